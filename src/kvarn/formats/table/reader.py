"""Reads a table; its bytes are drawn in `kvarn.formats.table.format`.

Opening reads the end of the file: footer, index block and, of a small table, the data blocks too.  Other
data blocks are read and checked when needed, neighbours in one go, and the last ones are kept.

Source: tensorflow/core/lib/io/table.cc, two_level_iterator.cc, format.cc (`ReadBlock`).
"""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Iterator

from kvarn.errors import DataLossError, OpError, OutOfRangeError
from kvarn.formats import compression
from kvarn.formats.checksum import crc32c, unmask
from kvarn.formats.coding import DecodeError, decode_fixed32
from kvarn.formats.table.block import Block, first_entry
from kvarn.formats.table.format import FOOTER_BYTES, TRAILER_BYTES, BlockHandle, Footer
from kvarn.io import ReadFile

# Slice records and tensor records of a large index lie in different blocks, and names are looked up in any
# order: many stay at hand.  Beyond that many bytes only the last one does.
_CACHED_BLOCKS = 64
_CACHED_BYTES = 32 << 20
# Of the only entry of a block from this size on, `Table.view` makes no copy.
_LARGE_BYTES = 1 << 20
# What opening reads from the end of the file, in one request.
_TAIL_BYTES = 1 << 16
# Neighbouring blocks are read together up to this: few requests to a remote file, little memory.
_READ_AHEAD_BYTES = 4 << 20


class Table:
    """A table in an open file.  Thread-safe.  Does not close the file.

    Raises (on opening and on every read):
      DataLossError: damaged, or no table at all.
      OutOfRangeError: the file is shorter than it says.
    """

    def __init__(self, file: ReadFile) -> None:
        self._file = file
        self._cache: OrderedDict[int, Block] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()
        if file.size < FOOTER_BYTES:
            raise self._loss("file is too short to be an sstable", 0)
        self._tail_at = max(0, file.size - _TAIL_BYTES)
        self._tail = file.read(self._tail_at, file.size - self._tail_at)
        footer_at = file.size - FOOTER_BYTES
        try:
            footer = Footer.decode(self._bytes(footer_at, FOOTER_BYTES))
        except DecodeError as error:
            raise self._loss(str(error), footer_at) from error
        index = self._read_block(footer.index)
        self._separators = index.keys
        try:
            self._handles = [BlockHandle.decode(value)[0] for value in index.values]
        except DecodeError as error:
            raise self._loss("bad block handle", footer.index.offset) from error
        end = 0
        for handle in self._handles:
            if handle.offset < end:
                # A block that is listed twice would let a small file unfold to a large table.
                raise self._loss("blocks overlap", handle.offset)
            end = handle.offset + handle.size + TRAILER_BYTES

    def find(self, key: bytes) -> bytes | None:
        """The value of exactly ``key``, or None."""
        at = bisect.bisect_left(self._separators, key)
        if at == len(self._separators):
            return None
        return self._block(at).find(key)

    def view(self, key: bytes) -> memoryview | None:
        """As `find`, for values that may be large: without a copy of one in a block of its own."""
        at = bisect.bisect_left(self._separators, key)
        if at == len(self._separators):
            return None
        if self._handles[at].size >= _LARGE_BYTES and at not in self._cache:
            first = first_entry(self._content(self._handles[at]))
            if first is not None:
                return first[1] if first[0] == key else None
        found = self._block(at).find(key)
        return None if found is None else memoryview(found)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values in order."""
        for block in self._blocks():
            yield from zip(block.keys, block.values, strict=True)

    def records(self) -> tuple[list[bytes], list[bytes]]:
        """All keys, and all values, in order."""
        keys: list[bytes] = []
        values: list[bytes] = []
        for block in self._blocks():
            keys += block.keys
            values += block.values
        return keys, values

    def iterator(self) -> TableIterator:
        """A position in the table, at first nowhere; blocks are read when it comes to them."""
        return TableIterator(self)

    def _blocks(self) -> Iterator[Block]:
        """All data blocks in order, read once and not kept."""
        at = 0
        while at < len(self._handles):
            first = self._handles[at]
            stop, end = at + 1, first.offset + first.size + TRAILER_BYTES
            while (
                stop < len(self._handles)
                and self._handles[stop].offset == end
                and end + self._handles[stop].size - first.offset <= _READ_AHEAD_BYTES
            ):
                end += self._handles[stop].size + TRAILER_BYTES
                stop += 1
            # A block that reaches past the end of the file is left to the check of that block.
            ahead = (
                self._bytes(first.offset, min(end, self._file.size) - first.offset) if stop > at + 1 else b""
            )
            for number, handle in enumerate(self._handles[at:stop], at):
                begin = handle.offset - first.offset
                yield self._data_block(number, ahead[begin : begin + handle.size + TRAILER_BYTES])
            at = stop

    def _block(self, at: int) -> Block:
        with self._lock:
            block = self._cache.get(at)
            if block is not None:
                self._cache.move_to_end(at)
                return block
        block = self._data_block(at)
        with self._lock:
            if at not in self._cache:
                self._cache[at] = block
                self._cached_bytes += self._handles[at].size
            while len(self._cache) > _CACHED_BLOCKS or (
                len(self._cache) > 1 and self._cached_bytes > _CACHED_BYTES
            ):
                old, _ = self._cache.popitem(last=False)
                self._cached_bytes -= self._handles[old].size
        return block

    def _data_block(self, at: int, stored: bytes = b"") -> Block:
        """Data block ``at``, checked against its place in the index as well: what is listed can be found."""
        handle = self._handles[at]
        block = self._read_block(handle, stored)
        if block.keys and (
            block.keys[-1] > self._separators[at] or (at and block.keys[0] <= self._separators[at - 1])
        ):
            raise self._loss("keys of a block are not between its separators", handle.offset)
        return block

    def _read_block(self, handle: BlockHandle, stored: bytes = b"") -> Block:
        """The block of a handle, checked; ``stored`` if its bytes are already read."""
        try:
            return Block(self._content(handle, stored))
        except DecodeError as error:
            raise self._loss(str(error), handle.offset) from error

    def _content(self, handle: BlockHandle, stored: bytes = b"") -> memoryview:
        """What `Block` takes, checked; as `_read_block`."""
        size = handle.size + TRAILER_BYTES
        if handle.offset + size > self._file.size:
            raise OutOfRangeError.of(
                "Read less bytes than requested\n"
                f"  in '{self._file.path}': a block at bytes {handle.offset}..{handle.offset + size - 1} "
                f"of a file of {self._file.size}",
                path=self._file.path,
                offset=handle.offset,
                hint=_HINT,
            )
        stored = stored or self._bytes(handle.offset, size)
        kind = stored[handle.size]
        expected = unmask(decode_fixed32(stored, handle.size + 1))
        actual = crc32c(memoryview(stored)[: handle.size + 1])
        if actual != expected:
            raise self._loss(
                "block checksum mismatch", handle.offset, f"stored {expected:#010x}, computed {actual:#010x}"
            )
        try:
            return memoryview(compression.decompress(kind, memoryview(stored)[: handle.size]))
        except DecodeError as error:
            raise self._loss(str(error), handle.offset) from error

    def _bytes(self, offset: int, size: int) -> bytes:
        """Bytes of the file, from the tail if they are there; the caller knows that the file has them."""
        begin = offset - self._tail_at
        found = self._tail[begin : begin + size] if begin >= 0 else self._file.read(offset, size)
        if len(found) != size:
            raise OutOfRangeError.of(
                f"Read less bytes than requested\n  in '{self._file.path}': {len(found)} of {size} bytes at "
                f"byte {offset}",
                path=self._file.path,
                offset=offset,
                hint=_HINT,
            )
        return found

    def _loss(self, text: str, offset: int, detail: str = "") -> OpError:
        return DataLossError.of(
            f"{text}\n  in '{self._file.path}' at byte {offset} of {self._file.size}"
            + (f": {detail}" if detail else ""),
            path=self._file.path,
            offset=offset,
            hint=_HINT,
        )


class TableIterator:
    """A position in a table: `seek` or `seek_to_first`, then `next` while `valid`.  Not thread-safe.

    Every move raises as the table it is of.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._block_at = 0
        self._entry_at = 0
        self._block: Block | None = None

    @property
    def valid(self) -> bool:
        """Whether there is an entry here."""
        return self._block is not None

    @property
    def key(self) -> bytes:
        """The key here.  Raises ValueError if there is none."""
        return self._here().keys[self._entry_at]

    @property
    def value(self) -> bytes:
        """The value here.  Raises ValueError if there is none."""
        return self._here().values[self._entry_at]

    def seek_to_first(self) -> None:
        """Moves to the first entry."""
        self._enter(0)

    def seek(self, key: bytes) -> None:
        """Moves to the first entry whose key is not less than ``key``."""
        at = bisect.bisect_left(self._table._separators, key)
        self._enter(at)
        if self._block is not None and self._block_at == at:
            self._entry_at = bisect.bisect_left(self._block.keys, key)
            if self._entry_at == len(self._block.keys):  # a separator may lie between two blocks
                self._enter(at + 1)

    def next(self) -> None:
        """Moves to the entry after this one.  Raises ValueError if there is none here."""
        block = self._here()
        self._entry_at += 1
        if self._entry_at == len(block.keys):
            self._enter(self._block_at + 1)

    def _enter(self, at: int) -> None:
        """Moves to the first entry of block ``at``, or of the next one that has any."""
        self._block = None
        for number in range(at, len(self._table._handles)):
            block = self._table._block(number)
            if block.keys:
                self._block, self._block_at, self._entry_at = block, number, 0
                return

    def _here(self) -> Block:
        if self._block is None:
            raise ValueError("the iterator is at no entry")
        return self._block


_HINT = "The file is damaged or not whole: take another copy or an older checkpoint."
