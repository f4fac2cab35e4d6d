"""The data files of a V2 checkpoint: opened as they are needed, and read with every checksum compared.

What an entry of the index says of a tensor's bytes is held against its shape and its file before memory is
taken for them.  Strings, variants and the int4 types become arrays here, big-endian files are turned round.

Source: `BundleReader::GetValue` in tensorflow/core/util/tensor_bundle/tensor_bundle.cc; the streaming is
that of DeepRec, but checked.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import DataLossError, NotFoundError, OpError, OutOfRangeError, UnimplementedError
from kvarn.formats import elements
from kvarn.formats.bundle import naming, strings
from kvarn.formats.bundle.entry import BundleEntry
from kvarn.formats.checksum import crc32c_combine, unmask
from kvarn.formats.coding import DecodeError
from kvarn.formats.reader import DAMAGED
from kvarn.io import FileSystem, ReadFile
from kvarn.io.checked import read_runs
from kvarn.io.local import LocalReadFile

# Bytes read and checked at a time: small enough to be in the cache when the checksum wants them.
_CHUNK_BYTES = 1 << 20


class DataFiles:
    """The data files of one bundle.  Thread-safe.

    Of every method ``text`` is the name of the tensor that errors speak of, ``entry`` the index record of the
    tensor, or of one of its stored slices.

    Args:
      index_path: the index, which errors name.
      suffix: what the names end in while a commit is unfinished (`naming.committed_index`).
      big_endian: whether the bytes are.
    """

    def __init__(
        self, fs: FileSystem, prefix: str, index_path: str, num_shards: int, suffix: str, *, big_endian: bool
    ) -> None:
        self._fs = fs
        self._prefix = prefix
        self._index_path = index_path
        self._num_shards = num_shards
        self._suffix = suffix
        self._big_endian = big_endian
        self._files: dict[int, ReadFile] = {}
        self._lock = threading.Lock()

    def paths(self) -> list[str]:
        """Where the files of all shards are, or should be."""
        paths = [naming.data_filename(self._prefix, n, self._num_shards) for n in range(self._num_shards)]
        return [path + self._suffix if self._waits(path) else path for path in paths]

    def of(self, text: str, entry: BundleEntry) -> ReadFile:
        """The data file of an entry, once it is known to hold the entry's bytes."""
        with self._lock:
            file = self._files.get(entry.shard_id)
            if file is None:
                file = self._files[entry.shard_id] = self._open(text, entry.shard_id)
        if entry.offset + entry.size > file.size:
            raise OutOfRangeError.of(
                f"Read less bytes than requested\n  tensor '{text}' in '{file.path}': bytes {entry.offset}.."
                f"{entry.offset + entry.size - 1} of a file of {file.size}",
                name=text,
                path=file.path,
                offset=entry.offset,
                hint=DAMAGED,
            )
        return file

    def read(self, text: str, entry: BundleEntry, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """A tensor or slice stored whole; in ``out``, which fits, where it lies there as in the file."""
        dtype = elements.dtype_of(entry.dtype, text, self._prefix)
        if dtype.np.hasobject:
            return self._read_objects(text, entry, dtype)
        self.check_size(text, entry, entry.num_elements * dtype.size)
        file = self.of(text, entry)
        array = elements.target(out, entry.shape, dtype, text, self._prefix)
        raw = array.reshape(-1).view(np.uint8)
        crc = self.fill(file, entry.offset, raw.data, 0, text)
        self.check_crc(text, entry, file, crc)
        flat = elements.from_bytes(raw, dtype, big_endian=self._big_endian)
        # The array that owns its memory, and no view of it: a variable can take it over without a copy.
        return array if np.may_share_memory(flat, array) else flat.reshape(entry.shape)

    def verify(self, text: str, entry: BundleEntry) -> None:
        """Reads all bytes of a tensor or slice stored whole and compares their checksum, keeping none."""
        dtype = elements.dtype_of(entry.dtype, text, self._prefix)
        if dtype.np.hasobject:
            self._read_objects(text, entry, dtype)
            return
        self.check_size(text, entry, entry.num_elements * dtype.size)
        file = self.of(text, entry)
        buffer = memoryview(bytearray(min(entry.size, _CHUNK_BYTES)))
        crc = 0
        for start in range(0, entry.size, _CHUNK_BYTES):
            piece = buffer[: min(_CHUNK_BYTES, entry.size - start)]
            crc = self.fill(file, entry.offset + start, piece, crc, text)
        self.check_crc(text, entry, file, crc)

    def stream(self, text: str, entry: BundleEntry) -> TensorStream:
        """The bytes of a tensor stored whole, to be read piece by piece."""
        return TensorStream(self, text, entry)

    def fill(self, file: ReadFile, offset: int, target: memoryview, crc: int, text: str) -> int:
        """Reads into ``target``; the checksum ``crc`` continued over it."""
        try:
            (own,) = read_runs(file, [offset], [target]).tolist()
        except EOFError as error:
            raise OutOfRangeError.of(
                f"Read less bytes than requested\n  tensor '{text}' in '{file.path}' at byte {offset}",
                name=text,
                path=file.path,
                offset=offset,
                hint=DAMAGED,
            ) from error
        return crc32c_combine(crc, own, len(target)) if crc else own

    def check_size(self, text: str, entry: BundleEntry, expected: int) -> None:
        """Raises DataLossError if the index has another number of bytes than the shape needs."""
        if entry.size != expected:
            raise self._bad_size(text, entry, str(expected))

    def check_room(self, text: str, dtype: dtypes.DType, entries: list[BundleEntry]) -> None:
        """Raises unless the data files have the bytes of all these, each its own: then memory may be taken."""
        left: dict[int, int] = {}
        for entry in entries:
            self.check_size(text, entry, entry.num_elements * dtype.size)
            file = self.of(text, entry)
            left[entry.shard_id] = left.get(entry.shard_id, file.size) - entry.size
            if left[entry.shard_id] < 0:
                raise DataLossError.of(
                    f"slices of tensor '{text}' share bytes of '{file.path}'",
                    name=text,
                    path=file.path,
                    offset=entry.offset,
                    hint=DAMAGED,
                )

    def check_crc(self, text: str, entry: BundleEntry, file: ReadFile, actual: int) -> None:
        """Raises DataLossError if the CRC-32C of a tensor's bytes is not the stored one."""
        expected = unmask(entry.crc32c)
        if actual != expected:
            raise DataLossError.of(
                f"Checksum does not match: stored {expected:08d} vs. calculated on the restored bytes "
                f"{actual}\n  tensor '{text}' in '{file.path}' at bytes {entry.offset}.."
                f"{entry.offset + entry.size - 1}: stored {expected:#010x}, computed {actual:#010x}",
                name=text,
                path=file.path,
                offset=entry.offset,
                hint="The other tensors may be intact: each has its own checksum.",
            )

    def release_pages(self) -> None:
        """Lets the pages of maps go that were looked at; they come back when they are looked at again."""
        with self._lock:
            files = list(self._files.values())
        for file in files:
            if isinstance(file, LocalReadFile):
                file.release_pages()

    def close(self) -> None:
        """Lets go of all files; what was read stays valid.

        A file closes when nobody reads it any more: the number of one that is closed while another thread reads
        may be another file's by then.
        """
        with self._lock:
            self._files.clear()

    # Steps -------------------------------------------------------------------------------------------

    def _open(self, text: str, shard: int) -> ReadFile:
        path = naming.data_filename(self._prefix, shard, self._num_shards)
        try:
            if self._suffix:
                with contextlib.suppress(NotFoundError):
                    return self._fs.open_read(path + self._suffix)
            return self._fs.open_read(path)
        except NotFoundError as error:
            raise NotFoundError.of(
                f"{error.message}\n  shard {shard} of {self._num_shards}, which holds tensor '{text}'",
                name=text,
                path=path,
                hint="Put the file back beside the index, or take an older checkpoint.",
            ) from error

    def _waits(self, path: str) -> bool:
        """Whether a data file still has the name of an interrupted commit."""
        return bool(self._suffix) and self._fs.exists(path + self._suffix)

    def _read_objects(self, text: str, entry: BundleEntry, dtype: dtypes.DType) -> npt.NDArray[Any]:
        elements.check_dimensions(entry.shape, text, self._prefix, dtype.np.itemsize)
        if dtype is dtypes.variant and self._big_endian:
            raise UnimplementedError.of(
                f"variant tensor '{text}' in the big-endian '{self._prefix}' cannot be read",
                name=text,
                path=self._prefix,
                hint="Its bytes can only be swapped by the code that wrote them.",
            )
        if dtype is dtypes.string and entry.size < entry.num_elements:
            raise self._bad_size(text, entry, f"is at least {entry.num_elements}")
        file = self.of(text, entry)
        data = file.read(entry.offset, entry.size)
        try:
            if dtype is dtypes.string:
                flat, crc = strings.decode_strings(data, entry.num_elements, big_endian=self._big_endian)
            else:
                flat, crc = strings.decode_variants(data, entry.num_elements)
        except DecodeError as error:
            raise DataLossError.of(
                f"{error}\n  tensor '{text}' in '{file.path}' at bytes "
                f"{entry.offset}..{entry.offset + entry.size - 1}",
                name=text,
                path=file.path,
                offset=entry.offset,
                hint=DAMAGED,
            ) from error
        self.check_crc(text, entry, file, crc)
        return flat.reshape(entry.shape)

    def _bad_size(self, text: str, entry: BundleEntry, expected: str) -> OpError:
        return DataLossError.of(
            f"Invalid size in bundle entry: key {text}; stored size {entry.size}; expected size {expected}\n"
            f"  in '{self._index_path}'",
            name=text,
            path=self._index_path,
            hint=DAMAGED,
        )


class TensorStream:
    """The piecewise reading of a tensor."""

    __slots__ = ("_checked", "_crc", "_data", "_file", "_position", "_text", "entry")

    def __init__(self, data: DataFiles, text: str, entry: BundleEntry) -> None:
        self.entry = entry
        self._data = data
        self._text = text
        self._file = data.of(text, entry)
        self._position = entry.offset
        self._crc = 0
        self._checked = False

    def read(self, target: memoryview) -> int:
        """The next bytes into ``target``; how many.  The whole is checked with the last."""
        end = self.entry.offset + self.entry.size
        size = min(len(target), end - self._position)
        self._crc = self._data.fill(self._file, self._position, target[:size], self._crc, self._text)
        self._position += size
        if self._position == end and not self._checked:
            self._checked = True
            self._data.check_crc(self._text, self.entry, self._file, self._crc)
        return size
