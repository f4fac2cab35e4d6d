"""Writes a table; its bytes are drawn in `kvarn.formats.table.format`.

A block ends when entries, restarts and count reach the block size, and before an entry that alone is at
least twice that.  Nothing is compressed, as no TensorFlow release does.

`TableBuilder` takes entries one by one and hands the file over in pieces; `build_table` makes the same bytes
of entries that are all there, in native code.

Source: tensorflow/core/lib/io/table_builder.cc, block_builder.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from kvarn import _native
from kvarn.formats import compression
from kvarn.formats.checksum import crc32c, mask
from kvarn.formats.coding import encode_fixed32, encode_varint
from kvarn.formats.table.format import BLOCK_BYTES, RESTART_INTERVAL, TRAILER_BYTES, BlockHandle, Footer

# How a block of one entry ends: a restart at 0, and their number.
_ONE_RESTART = struct.pack("<2I", 0, 1)


class TableBuilder:
    """Entries in ascending order in, bytes of the file out.

    Args:
      append: takes the bytes of the file, piece by piece.
      block_bytes, restart_interval: TensorFlow's are the defaults.
    """

    def __init__(
        self,
        append: Callable[[bytes], object],
        *,
        block_bytes: int = BLOCK_BYTES,
        restart_interval: int = RESTART_INTERVAL,
    ) -> None:
        self._append = append
        self._block_bytes = block_bytes
        self._offset = 0
        self._data = BlockBuilder(restart_interval)
        self._index = BlockBuilder(1)
        self._last_key: bytes | None = None
        # A finished block gets its index entry when the next key is known: that makes short separators.
        self._pending: BlockHandle | None = None

    def add(self, key: bytes, value: bytes) -> None:
        """Raises ValueError unless ``key`` is greater than the key before."""
        last = self._last_key
        large = len(key) + len(value) >= 2 * self._block_bytes
        if last is not None:
            if key <= last:
                raise ValueError(f"table keys must ascend: {key!r} after {last!r}")
            if large:
                self._flush()
            if self._pending is not None:
                self._index.add(_separator(last, key), self._pending.encode())
                self._pending = None
        self._last_key = key
        if large and self._data.empty():
            # A block of its own, written from where the value lies.
            lengths = b"\0" + encode_varint(len(key)) + encode_varint(len(value))
            self._pending = self._write(lengths + key, value, _ONE_RESTART)
            return
        self._data.add(key, value)
        if self._data.size() >= self._block_bytes:
            self._flush()

    def finish(self) -> int:
        """Writes what is left, index and footer; the size of the file."""
        self._flush()
        metaindex = self._write(BlockBuilder(1).finish())
        if self._pending is not None:
            assert self._last_key is not None
            self._index.add(_successor(self._last_key), self._pending.encode())
        index = self._write(self._index.finish())
        footer = Footer(metaindex, index).encode()
        self._append(footer)
        return self._offset + len(footer)

    def _flush(self) -> None:
        if not self._data.empty():
            self._pending = self._write(self._data.finish())

    def _write(self, *block: bytes) -> BlockHandle:
        """Writes a block, given in one or more pieces, with its trailer."""
        crc = size = 0
        for piece in block:
            crc = crc32c(piece, crc)
            size += len(piece)
            self._append(piece)
        kind = bytes([compression.NONE])
        self._append(kind + encode_fixed32(mask(crc32c(kind, crc))))
        handle = BlockHandle(self._offset, size)
        self._offset += size + TRAILER_BYTES
        return handle


def build_table(
    records: Mapping[bytes, bytes],
    *,
    block_bytes: int = BLOCK_BYTES,
    restart_interval: int = RESTART_INTERVAL,
) -> bytes:
    """The file of a table with these entries, given in any order."""
    keys = sorted(records)
    return _native.build_table(keys, [records[key] for key in keys], block_bytes, restart_interval)


class BlockBuilder:
    """Collects the entries of one block after the other."""

    def __init__(self, restart_interval: int) -> None:
        self._interval = restart_interval
        self._reset()

    def _reset(self) -> None:
        self._buffer = bytearray()
        self._restarts = [0]
        self._since_restart = 0
        self._last_key = b""

    def empty(self) -> bool:
        return not self._buffer

    def size(self) -> int:
        return len(self._buffer) + 4 * len(self._restarts) + 4

    def add(self, key: bytes, value: bytes) -> None:
        if self._since_restart < self._interval:
            shared = _shared_length(self._last_key, key)
        else:
            shared = 0
            self._restarts.append(len(self._buffer))
            self._since_restart = 0
        unshared = len(key) - shared
        size = len(value)
        if (shared | unshared | size) < 0x80:
            self._buffer += bytes((shared, unshared, size))
        else:
            self._buffer += encode_varint(shared) + encode_varint(unshared) + encode_varint(size)
        self._buffer += key[shared:] if shared else key
        self._buffer += value
        self._last_key = key
        self._since_restart += 1

    def finish(self) -> bytes:
        """The bytes of the block; the builder is empty again."""
        count = len(self._restarts)
        block = bytes(self._buffer) + struct.pack(f"<{count + 1}I", *self._restarts, count)
        self._reset()
        return block


def _shared_length(a: bytes, b: bytes) -> int:
    """How many leading bytes are equal, by halving: neighbours in an index share most of their names."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:  # equal up to low, not up to high
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _separator(a: bytes, b: bytes) -> bytes:
    """A short key k with a <= k < b."""
    at = _shared_length(a, b)
    if at < min(len(a), len(b)) and a[at] < 0xFF and a[at] + 1 < b[at]:
        return a[:at] + bytes([a[at] + 1])
    return a


def _successor(key: bytes) -> bytes:
    """A short key >= ``key``."""
    for at, byte in enumerate(key):
        if byte != 0xFF:
            return key[:at] + bytes([byte + 1])
    return key
