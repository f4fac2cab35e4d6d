"""Rows that DeepRec's SSD tier saved beside a checkpoint: read only, kvarn writes all tiers into the nine tensors.

For a primary embedding variable (or part of one) named N, at the checkpoint prefix P, with M = N where every "/" is
"_":

    P-M-ssd_record.index, .data-00000-of-00001    a V2 bundle
        keys                   int32 | int64 [s]
        keys_file_id           int64 [s]     which file has the key's record
        keys_offset            int64 [s]     and at which byte
        files                  int64 [f]     numbers of the files
        invalid_record_count   int64 [f]     records in each file that no key refers to any more
        record_count           int64 [f]     records in each file
    P-M-emb_files/<number>.emb                    records, one after the other, all of one length

    record := slot 0 | slot 1 | ... | freq int64 | version int64      each slot padded to a multiple of 4 float32s
    record := flags and version int64 | freq int64 | slot 0 | ...     until 2022: version in the lower 48 bits, above
                                                                      them a bit for each slot that has a value

A record holds all slots, whose names the files do not tell: they are those of the variable in the order of
their ``slot_index``.  Nor do they tell how long a record is: it is what the counts make of the files' sizes.
Which of the two kinds the records are shows in the flags.  Records have no checksum; what the bundle says of
them is checked against the files.

Source: DeepRec tensorflow/core/framework/embedding/{ssd_record_descriptor,ssd_hash_kv,emb_file,value_ptr}.h,
dram_ssd_storage.h.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import DataLossError, InvalidArgumentError, OpError
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.reader import CHUNK_BYTES
from kvarn.io import FileSystem, ReadFile

_Int64s = npt.NDArray[np.int64]

# Frequency and version, 8 bytes each.
_META_BYTES: Final = 16
_FLOATS_OF_META: Final = _META_BYTES // 4
# Slots are padded to this many floats, unless EV_DATA_ALIGNED=false was set.
_PADDING: Final = 4
_VERSION_BITS: Final = 48
_INDEX: Final = ".index"
_RECORD: Final = "-ssd_record"
_TENSORS: Final = ("keys", "keys_file_id", "keys_offset", "files", "invalid_record_count", "record_count")


@dataclass(frozen=True, slots=True)
class SsdRows:
    """Some rows.

    Attributes:
      keys: int32 or int64 [n].
      columns: float32 [n, dim] for every slot asked for.
      freqs, versions: int64 [n]; version -1 for a key that was never updated.
    """

    keys: npt.NDArray[Any]
    columns: list[npt.NDArray[np.float32]]
    freqs: _Int64s
    versions: _Int64s


def ssd_record_prefix(prefix: str, name: str) -> str:
    """The prefix of the bundle that tells of the rows of ``name`` beside checkpoint ``prefix``."""
    return f"{prefix}-{name.replace('/', '_')}{_RECORD}"


def ssd_records_beside(fs: FileSystem, prefix: str) -> frozenset[str]:
    """The `ssd_record_prefix` of all embedding variables of which rows lie beside checkpoint ``prefix``."""
    folder, slash, start = prefix.rpartition("/")
    return frozenset(
        folder + slash + name[: -len(_INDEX)]
        for name in fs.list_directory(folder or ("/" if slash else "."))
        if name.startswith(f"{start}-") and name.endswith(_RECORD + _INDEX)
    )


class SsdRecord:
    """The rows beside a checkpoint of one primary embedding variable, or part.

    Args:
      fs: where the files are.
      prefix: of the checkpoint.
      name: of the variable, such as ``b`` or ``b/part_1``.

    Raises:
      NotFoundError: there is no bundle, or a tensor or file that it names is not there.
      DataLossError: the bundle is damaged, or does not fit the files.
    """

    def __init__(self, fs: FileSystem, prefix: str, name: str) -> None:
        self.name = name
        self.prefix = ssd_record_prefix(prefix, name)
        self._fs = fs
        self._folder = f"{prefix}-{name.replace('/', '_')}-emb_files"
        with BundleReader(self.prefix, fs) as reader:
            found = {tensor: reader.lookup(tensor) for tensor in _TENSORS}
        self.keys: npt.NDArray[Any] = found["keys"]
        self._file_ids: _Int64s = found["keys_file_id"]
        self._offsets: _Int64s = found["keys_offset"]
        self._check_tensors(found)
        self._sizes = {file: fs.size(self._path(file)) for file in found["files"].tolist()}
        self._record_bytes = self._length_of_records(found)
        if self.keys.size:
            self._check_places()

    @property
    def num_keys(self) -> int:
        return int(self.keys.size)

    @property
    def key_dtype(self) -> dtypes.DType:
        return dtypes.as_dtype(self.keys.dtype)

    def check_slots(self, dims: Sequence[int]) -> None:
        """Raises InvalidArgumentError unless records have room for slots of these dims, the primary's first."""
        if self.keys.size:
            self._starts(dims)

    def rows(self, dims: Sequence[int], *, chunk_bytes: int = CHUNK_BYTES) -> Iterator[SsdRows]:
        """All rows, file by file, in pieces of about ``chunk_bytes`` of a file.

        Args:
          dims: of the slots, the primary's first; the record may have more.

        Raises:
          InvalidArgumentError: records have no room for such slots.
          DataLossError: records that are of neither kind.
        """
        if not self.keys.size:
            return
        starts = self._starts(dims)
        order = np.lexsort((self._offsets, self._file_ids))
        leading = self._is_leading(order)
        at_once = max(1, chunk_bytes // self._record_bytes)
        for positions, records in self._records(order, at_once):
            freqs, versions = _metas(records, leading)
            floats = records[:, _META_BYTES:] if leading else records[:, :-_META_BYTES]
            values = floats.view("<f4")
            columns = [
                values[:, start : start + dim].astype(np.float32)
                for start, dim in zip(starts, dims, strict=True)
            ]
            yield SsdRows(self.keys[positions], columns, freqs, versions)

    # -- where records lie ------------------------------------------------------------------------

    def _path(self, file: int) -> str:
        return f"{self._folder}/{file}.emb"

    def _check_tensors(self, found: dict[str, npt.NDArray[Any]]) -> None:
        for tensor, array in found.items():
            wanted = (np.int32, np.int64) if tensor == "keys" else (np.int64,)
            like = found["keys" if tensor.startswith("keys") else "files"]
            if array.dtype.type not in wanted or array.ndim != 1 or array.shape != like.shape:
                raise self._damaged(f"'{tensor}' is {array.dtype}{list(array.shape)}")
        missing = set(self._file_ids.tolist()) - set(found["files"].tolist())
        if missing:
            raise self._damaged(f"keys are in file {min(missing)}, which 'files' does not name")

    def _length_of_records(self, found: dict[str, npt.NDArray[Any]]) -> int:
        """By the counts, where they agree; by the distance of records otherwise."""
        by_counts = set()
        for file, count in zip(found["files"].tolist(), found["record_count"].tolist(), strict=True):
            if count > 0 and self._sizes[file] > 0:
                by_counts.add(self._sizes[file] / count)
        if len(by_counts) == 1 and (length := by_counts.pop()).is_integer():
            return int(length)
        # The counts of a file that was being written may lag behind: records of one length lie at multiples of it.
        lengths = np.concatenate([self._offsets, np.array(list(self._sizes.values()), np.int64)])
        common = int(np.gcd.reduce(lengths)) if lengths.size else 0
        if self.keys.size:
            in_first = np.sort(self._offsets[self._file_ids == self._file_ids[0]])
            if len(in_first) < 2 or int(np.diff(in_first).min()) != common:
                raise self._damaged("the lengths of its files do not fit their record counts")
        return common

    def _check_places(self) -> None:
        sizes = np.array([self._sizes[file] for file in self._file_ids.tolist()], np.int64)
        length = self._record_bytes
        if length <= _META_BYTES or length % 4:
            raise self._damaged(f"its files make records of {length} bytes")
        bad = (self._offsets < 0) | (self._offsets % length != 0) | (self._offsets + length > sizes)
        if bad.any():
            at = int(np.argmax(bad))
            raise self._damaged(
                f"the record of key {self.keys[at]} would be at byte {self._offsets[at]} of "
                f"'{self._path(int(self._file_ids[at]))}', which has {sizes[at]} bytes in records of {length}"
            )

    def _starts(self, dims: Sequence[int]) -> list[int]:
        """Where each slot begins, in floats from the first."""
        room = self._record_bytes // 4 - _FLOATS_OF_META
        padded = [-(-dim // _PADDING) * _PADDING for dim in dims]
        # Only all slots together can tell that none is padded.
        widths = list(dims) if sum(dims) == room else padded
        if sum(widths) > room:
            raise InvalidArgumentError.of(
                f"The records of '{self.name}' beside the checkpoint hold {room} elements, and its slots of dims "
                f"{list(dims)} are {sum(padded)} with their padding.",
                name=self.name,
                path=self.prefix,
                hint="Restore into a variable and an optimizer of the dims that it was saved with.",
            )
        return [sum(widths[:i]) for i in range(len(widths))]

    # -- records ----------------------------------------------------------------------------------

    def _records(self, order: _Int64s, at_once: int) -> Iterator[tuple[_Int64s, npt.NDArray[np.uint8]]]:
        """Positions of keys, and their records [n, bytes of a record], in this order."""
        length = self._record_bytes
        for file in np.unique(self._file_ids[order]).tolist():
            of_file = order[self._file_ids[order] == file]
            opened: ReadFile = self._fs.open_read(self._path(file))
            try:
                for start in range(0, len(of_file), at_once):
                    positions = of_file[start : start + at_once]
                    first, last = int(self._offsets[positions[0]]), int(self._offsets[positions[-1]])
                    # Records that nobody refers to lie between, at most twice as many as are wanted in a file.
                    if last + length - first <= 4 * len(positions) * length:
                        data = self._read(opened, first, last + length - first)
                        places = (self._offsets[positions] - first) // length
                        yield positions, data.reshape(-1, length)[places]
                        continue
                    pieces = [self._read(opened, int(offset), length) for offset in self._offsets[positions]]
                    yield positions, np.stack(pieces)
            finally:
                opened.close()

    def _read(self, file: ReadFile, offset: int, size: int) -> npt.NDArray[np.uint8]:
        data = file.read(offset, size)
        if len(data) != size:
            raise self._damaged(f"'{file.path}' ends at byte {offset + len(data)}, inside of a record")
        return np.frombuffer(data, np.uint8)

    def _is_leading(self, order: _Int64s) -> bool:
        """Whether frequency and version come before the values, as until 2022."""
        leading = trailing = True
        for _, records in self._records(order, max(1, CHUNK_BYTES // self._record_bytes)):
            words = np.ascontiguousarray(records[:, :_META_BYTES]).view("<i8")
            flags = words[:, 0] >> _VERSION_BITS
            leading &= bool(((flags > 0) & (flags < 256) & _plausible(words[:, 1])).all())
            freqs, versions = _metas(records, leading=False)
            trailing &= bool((_plausible(freqs) & (_plausible(versions) | (versions == -1))).all())
            if not leading and not trailing:
                raise self._damaged("records have frequencies and versions neither in front nor at their end")
        return leading

    def _damaged(self, what: str) -> OpError:
        return DataLossError.of(
            f"'{self.prefix}' does not tell of the rows of '{self.name}': {what}",
            name=self.name,
            path=self.prefix,
            hint="The checkpoint was damaged, or not written by DeepRec.",
        )


def _metas(records: npt.NDArray[np.uint8], leading: bool) -> tuple[_Int64s, _Int64s]:
    """Frequencies and versions."""
    if leading:
        words = np.ascontiguousarray(records[:, :_META_BYTES]).view("<i8")
        unset = (1 << _VERSION_BITS) - 1
        versions = words[:, 0] & unset
        return words[:, 1].astype(np.int64), np.where(versions == unset, -1, versions).astype(np.int64)
    words = np.ascontiguousarray(records[:, -_META_BYTES:]).view("<i8")
    return words[:, 0].astype(np.int64), words[:, 1].astype(np.int64)


def _plausible(numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Counts and steps; two floats in their place hardly ever look like one."""
    return (numbers >= 0) & (numbers < 1 << _VERSION_BITS)
