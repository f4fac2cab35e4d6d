"""One block of a table, read whole.  Its bytes are drawn in `kvarn.formats.table.format`.

Source: tensorflow/core/lib/io/block.cc.
"""

from __future__ import annotations

import bisect

from kvarn.formats.coding import DecodeError, decode_fixed32, decode_varint


class Block:
    """The entries of a block: ``keys`` (ascending) and ``values``, both bytes.

    Raises:
      DecodeError: an entry or the restart array does not fit; nothing of such a block is used.
    """

    __slots__ = ("keys", "values")

    def __init__(self, data: bytes) -> None:
        self.keys: list[bytes] = []
        self.values: list[bytes] = []
        keys, values = self.keys, self.values
        end = _entries_end(data)
        position = 0
        key = b""
        while position < end:
            shared, unshared, size = data[position : position + 3].ljust(3, b"\xff")
            if (shared | unshared | size) < 0x80:  # one byte each: nearly always
                position += 3
            else:
                shared, position = decode_varint(data, position)
                unshared, position = decode_varint(data, position)
                size, position = decode_varint(data, position)
            value_at = position + unshared
            if shared > len(key) or value_at + size > end:
                raise DecodeError("bad entry in block")
            key = key[:shared] + data[position:value_at]
            position = value_at + size
            keys.append(key)
            values.append(data[value_at:position])

    def find(self, key: bytes) -> bytes | None:
        """The value of exactly ``key``."""
        at = bisect.bisect_left(self.keys, key)
        if at < len(self.keys) and self.keys[at] == key:
            return self.values[at]
        return None


def _entries_end(data: bytes) -> int:
    """Where the entries stop and the restart array begins."""
    count = decode_fixed32(data, len(data) - 4) if len(data) >= 4 else 0
    end = len(data) - 4 * (count + 1)
    if end < 0 or (end > 0 and count == 0):
        raise DecodeError("bad block contents")
    return end
