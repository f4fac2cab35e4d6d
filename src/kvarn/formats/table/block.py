"""One block of a table, read whole.  Its bytes are drawn in `kvarn.formats.table.format`.

Source: tensorflow/core/lib/io/block.cc.
"""

from __future__ import annotations

import bisect

from kvarn import _native
from kvarn.formats.coding import DecodeError, decode_fixed32, decode_varint


class Block:
    """The entries of a block: ``keys`` (ascending) and ``values``, both bytes.

    `kvarn.formats.table.reference.parse_block` says in Python how they are found.

    Args:
      data: the block without its trailer, uncompressed.

    Raises:
      DecodeError: an entry or the restart array does not fit, or keys do not ascend; nothing of such a block
        is used.
    """

    __slots__ = ("keys", "values")

    def __init__(self, data: bytes | memoryview) -> None:
        self.keys: list[bytes]
        self.values: list[bytes]
        try:
            self.keys, self.values = _native.parse_block(data)
        except ValueError as error:
            raise DecodeError(str(error)) from None

    def find(self, key: bytes) -> bytes | None:
        """The value of exactly ``key``."""
        at = bisect.bisect_left(self.keys, key)
        if at < len(self.keys) and self.keys[at] == key:
            return self.values[at]
        return None


def first_entry(data: memoryview) -> tuple[bytes, memoryview] | None:
    """Key and value of a block that has just one entry, the value as a part of ``data``; else None."""
    try:
        count = decode_fixed32(data, len(data) - 4) if len(data) >= 4 else 0
        shared, at = decode_varint(data, 0)
        unshared, at = decode_varint(data, at)
        size, at = decode_varint(data, at)
    except DecodeError:
        return None
    if shared or count == 0 or at + unshared + size + 4 * (count + 1) != len(data):
        return None
    return bytes(data[at : at + unshared]), data[at + unshared : at + unshared + size]
