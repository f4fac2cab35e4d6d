"""Reads a table; its bytes are drawn in `kvarn.formats.table.format`.

Opening reads the footer and the index block.  Data blocks are read and checked when needed, and the last
few are kept.

Source: tensorflow/core/lib/io/table.cc, format.cc (`ReadBlock`).
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
from kvarn.formats.table.block import Block
from kvarn.formats.table.format import FOOTER_BYTES, TRAILER_BYTES, BlockHandle, Footer
from kvarn.io import ReadFile

# Slice records and tensor records of a large index lie in different blocks: both stay at hand.
_CACHED_BLOCKS = 8


class TableReader:
    """A table in an open file.  Thread-safe.  Does not close the file.

    Raises (on opening and on every read):
      DataLossError: damaged, or no table at all.
      OutOfRangeError: the file is shorter than it says.
    """

    def __init__(self, file: ReadFile) -> None:
        self._file = file
        self._cache: OrderedDict[int, Block] = OrderedDict()
        self._lock = threading.Lock()
        if file.size < FOOTER_BYTES:
            raise self._loss("file is too short to be an sstable", 0)
        footer_at = file.size - FOOTER_BYTES
        try:
            footer = Footer.decode(file.read(footer_at, FOOTER_BYTES))
        except DecodeError as error:
            raise self._loss(str(error), footer_at) from error
        index = self._read_block(footer.index)
        self._separators = index.keys
        try:
            self._handles = [BlockHandle.decode(value)[0] for value in index.values]
        except DecodeError as error:
            raise self._loss("bad block handle", footer.index.offset) from error

    def find(self, key: bytes) -> bytes | None:
        """The value of exactly ``key``, or None."""
        at = bisect.bisect_left(self._separators, key)
        if at == len(self._separators):
            return None
        return self._block(at).find(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values in order."""
        for at in range(len(self._handles)):
            block = self._block(at)
            yield from zip(block.keys, block.values, strict=True)

    def _block(self, at: int) -> Block:
        with self._lock:
            block = self._cache.pop(at, None)
        if block is None:
            block = self._read_block(self._handles[at])
        with self._lock:
            self._cache[at] = block
            while len(self._cache) > _CACHED_BLOCKS:
                self._cache.popitem(last=False)
        return block

    def _read_block(self, handle: BlockHandle) -> Block:
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
        stored = self._file.read(handle.offset, size)
        kind = stored[handle.size]
        expected = unmask(decode_fixed32(stored, handle.size + 1))
        actual = crc32c(memoryview(stored)[: handle.size + 1])
        if actual != expected:
            raise self._loss(
                "block checksum mismatch", handle.offset, f"stored {expected:#010x}, computed {actual:#010x}"
            )
        try:
            return Block(compression.decompress(kind, stored[: handle.size]))
        except DecodeError as error:
            raise self._loss(str(error), handle.offset) from error

    def _loss(self, text: str, offset: int, detail: str = "") -> OpError:
        return DataLossError.of(
            f"{text}\n  in '{self._file.path}' at byte {offset} of {self._file.size}"
            + (f": {detail}" if detail else ""),
            path=self._file.path,
            offset=offset,
            hint=_HINT,
        )


_HINT = "The file is damaged or not whole: take another copy or an older checkpoint."
