"""Many tensors of a V2 checkpoint at once: read together, or looked at where they lie.

    small    neighbours in a file are read by one request into one buffer, of which the arrays are parts
    large    each into its own memory, several threads at a time, the checksum right behind the read
    views    no read at all: arrays over the map of the file

Tensors that do not lie in a file as in memory (strings, slices, big-endian files, int4) are read one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kvarn import _native, dtypes
from kvarn.errors import DataLossError, OutOfRangeError
from kvarn.formats import elements
from kvarn.formats.bundle.columns import IndexColumns
from kvarn.formats.checksum import mask_all
from kvarn.formats.names import decode_name
from kvarn.io import ReadFile
from kvarn.io.checked import read_runs
from kvarn.io.local import LocalReadFile

if TYPE_CHECKING:
    from kvarn.formats.bundle.reader import BundleReader

Arrays = dict[str, npt.NDArray[Any]]
_Rows = npt.NDArray[np.int64]

# Smaller tensors share a buffer with their neighbours, which are no farther than this from each other.
_SMALL_BYTES = 1 << 16
_GAP_BYTES = 1 << 12
# What one request reads for small tensors, and one buffer holds.
_RUN_BYTES = 4 << 20
# Arrays begin at a multiple of their element size: the largest there is.
_ALIGNMENT = 16


def read(
    reader: BundleReader,
    names: Iterable[str | bytes] | None,
    out: Mapping[str, npt.NDArray[Any]],
    threads: int,
) -> Arrays:
    """What `BundleReader.read` says."""
    chosen = _Chosen(reader, names)
    if out:
        elements.check_targets(out, set(chosen.name_of.values()), reader.prefix)
    found: dict[int, npt.NDArray[Any]] = {}
    for file, rows in chosen.by_file():
        sizes = chosen.columns.size[rows]
        small = sizes < _SMALL_BYTES
        if out:
            small &= [chosen.name_of[row] not in out for row in rows.tolist()]
        _read_large(chosen, file, rows[~small], out, threads, found)
        _read_small(chosen, file, rows[small], threads, found)
    for row in chosen.others:
        name = chosen.name_of[row]
        found[row] = reader.lookup(name, out.get(name))
    return chosen.in_order(found)


def view(reader: BundleReader, names: Iterable[str | bytes] | None, *, verify: bool, threads: int) -> Arrays:
    """What `BundleReader.views` says."""
    chosen = _Chosen(reader, names)
    columns = chosen.columns
    found: dict[int, npt.NDArray[Any]] = {}
    for file, rows in chosen.by_file():
        if not isinstance(file, LocalReadFile):
            chosen.others += rows.tolist()
            continue
        content = file.view()
        if verify:
            sizes = columns.size[rows]
            chosen.check(file, rows, _native.checksums(content, columns.offset[rows], sizes, threads))
        _parts(chosen, rows, content, columns.offset[rows], found)
    for row in chosen.others:
        found[row] = reader.lookup(chosen.name_of[row])
        found[row].setflags(write=False)
    return chosen.in_order(found)


class _Chosen:
    """Rows of the index that are wanted: ``plain`` ones, whose place is known to be sound, and ``others``."""

    def __init__(self, reader: BundleReader, names: Iterable[str | bytes] | None) -> None:
        self.reader = reader
        self.columns: IndexColumns = reader.columns
        self.name_of: dict[int, str]
        if names is None:
            rows = self.columns.rows
            self.name_of = dict(zip(rows.tolist(), self.columns.names, strict=True))
        else:
            self.name_of = {}
            for name in names:
                text = decode_name(name)
                row = self.columns.row_of.get(text)
                if row is None:
                    raise reader.not_found(text)
                self.name_of[row] = text
            rows = np.fromiter(self.name_of, np.int64, len(self.name_of))
        plain = self.columns.num_elements[rows] >= 0
        self.dtype_of: dict[int, dtypes.DType] = {}
        numbers = self.columns.dtype[rows]
        for number in np.unique(numbers[plain]).tolist():
            same = plain & (numbers == number)
            dtype = elements.dtype_of(number, self.name_of[int(rows[same][0])], reader.prefix)
            self.dtype_of[number] = dtype
            if reader.big_endian or not elements.is_plain(dtype):
                plain &= ~same
            else:
                self._check_sizes(rows[same], dtype)
        self.plain: _Rows = rows[plain]
        self.others: list[int] = rows[~plain].tolist()

    def by_file(self) -> Iterable[tuple[ReadFile, _Rows]]:
        """The plain rows of each data file, by their place in it."""
        shards = self.columns.shard_id[self.plain]
        for shard in np.unique(shards).tolist():
            rows = self.plain[shards == shard]
            rows = rows[np.argsort(self.columns.offset[rows], kind="stable")]
            offset, size = self.columns.offset[rows], self.columns.size[rows]
            first = int(rows[0])
            file = self.reader.data.of(self.name_of[first], self.columns.entry(first))
            beyond = np.flatnonzero(offset > file.size - size)
            if len(beyond):
                row = int(rows[beyond[0]])
                self.reader.data.of(self.name_of[row], self.columns.entry(row))  # raises
            if int(size.sum()) > file.size:
                raise DataLossError.of(
                    f"tensors overlap in '{file.path}': {int(size.sum())} bytes are asked of {file.size}",
                    path=file.path,
                    hint="The index is damaged or was made by hand; read the tensors one by one.",
                )
            yield file, rows

    def check(self, file: ReadFile, rows: _Rows, crcs: npt.NDArray[np.uint32]) -> None:
        """Raises DataLossError for the first tensor whose checksum is not the stored one."""
        wrong = np.flatnonzero(mask_all(crcs) != self.columns.crc32c[rows])
        if len(wrong):
            row = int(rows[wrong[0]])
            entry = self.columns.entry(row)
            self.reader.data.check_crc(self.name_of[row], entry, file, int(crcs[wrong[0]]))

    def in_order(self, found: dict[int, npt.NDArray[Any]]) -> Arrays:
        return {name: found[row] for row, name in self.name_of.items()}

    def _check_sizes(self, rows: _Rows, dtype: dtypes.DType) -> None:
        count, rest = np.divmod(self.columns.size[rows], dtype.size)
        wrong = np.flatnonzero((rest != 0) | (count != self.columns.num_elements[rows]))
        if len(wrong):
            row = int(rows[wrong[0]])
            entry = self.columns.entry(row)
            self.reader.data.check_size(self.name_of[row], entry, entry.num_elements * dtype.size)


def _read_large(
    chosen: _Chosen,
    file: ReadFile,
    rows: _Rows,
    out: Mapping[str, npt.NDArray[Any]],
    threads: int,
    found: dict[int, npt.NDArray[Any]],
) -> None:
    if not len(rows):
        return
    columns = chosen.columns
    targets: list[memoryview] = []
    for row in rows.tolist():
        name, shape = chosen.name_of[row], columns.shape[row]
        dtype = chosen.dtype_of[int(columns.dtype[row])]
        array = elements.target(out.get(name), shape or (), dtype, name, chosen.reader.prefix)
        found[row] = array
        targets.append(array.reshape(-1).view(np.uint8).data)
    chosen.check(file, rows, _fill(chosen, file, columns.offset[rows], targets, threads, rows))


def _read_small(
    chosen: _Chosen, file: ReadFile, rows: _Rows, threads: int, found: dict[int, npt.NDArray[Any]]
) -> None:
    if not len(rows):
        return
    columns = chosen.columns
    begins, ends = columns.offset[rows], columns.offset[rows] + columns.size[rows]
    # A run ends before a gap, before what lies under what came before, and where its buffer is full.
    gaps = begins[1:] - ends[:-1]
    starts = np.concatenate(([True], (gaps < 0) | (gaps > _GAP_BYTES)))
    filled = begins - np.maximum.accumulate(np.where(starts, begins, 0))
    starts[1:] |= np.diff(filled // _RUN_BYTES) != 0
    firsts = np.flatnonzero(starts).tolist()
    for first, stop in zip(firsts, [*firsts[1:], len(rows)], strict=True):
        begin, size = int(begins[first]), int(ends[stop - 1] - begins[first])
        # What is aligned in the file is so in memory.
        lead = begin % _ALIGNMENT
        buffer = np.empty(lead + size, np.uint8)
        part = rows[first:stop]
        _fill(chosen, file, begins[first : first + 1], [buffer[lead:].data], threads, part)
        offsets = begins[first:stop] - (begin - lead)
        chosen.check(file, part, _native.checksums(buffer, offsets, columns.size[part], threads))
        _parts(chosen, part, buffer, offsets, found)


def _fill(
    chosen: _Chosen, file: ReadFile, offsets: _Rows, targets: list[memoryview], threads: int, rows: _Rows
) -> npt.NDArray[np.uint32]:
    try:
        return read_runs(file, offsets.tolist(), targets, threads)
    except EOFError as error:
        row = int(rows[error.args[0]])
        raise OutOfRangeError.of(
            f"Read less bytes than requested\n  tensor '{chosen.name_of[row]}' in '{file.path}' at byte "
            f"{int(chosen.columns.offset[row])}",
            name=chosen.name_of[row],
            path=file.path,
            offset=int(chosen.columns.offset[row]),
            hint="The file became shorter while it was read: take another copy or an older checkpoint.",
        ) from error


def _parts(
    chosen: _Chosen, rows: _Rows, buffer: Any, offsets: _Rows, found: dict[int, npt.NDArray[Any]]
) -> None:
    """Arrays over parts of a buffer; of one of our own, those that are not aligned there are copies."""
    columns = chosen.columns
    numbers = columns.dtype[rows].tolist()
    kinds = {number: chosen.dtype_of[number].np for number in set(numbers)}
    shapes = map(columns.shape.__getitem__, rows.tolist())
    make: Any = np.ndarray
    try:
        arrays: list[npt.NDArray[Any]] = list(
            map(make, shapes, map(kinds.__getitem__, numbers), repeat(buffer), offsets.tolist())
        )
    except ValueError:
        for row, number in zip(
            rows.tolist(), numbers, strict=True
        ):  # raises for the one that no array can be
            shape, size = columns.shape[row] or (), kinds[number].itemsize
            elements.check_dimensions(shape, chosen.name_of[row], chosen.reader.prefix, size)
        raise
    if isinstance(buffer, np.ndarray):
        widths = np.array([chosen.dtype_of[number].size for number in numbers])
        for at in np.flatnonzero(offsets % widths).tolist():
            arrays[at] = arrays[at].copy()
    found.update(zip(rows.tolist(), arrays, strict=True))
