"""What the native core does with blocks, in plain Python: the specification that tests hold it against.

Source: tensorflow/core/lib/io/block.cc.
"""

from __future__ import annotations

from kvarn.formats.coding import DecodeError, decode_fixed32, decode_varint

# Bytes of keys for each byte of a block.  A key is written out at least once in a restart interval, which is
# 16: nothing honest comes near, and a small block cannot unfold to gigabytes.
MOST_KEY_BYTES = 64


def parse_block(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of a block, in order.

    Raises:
      DecodeError: an entry or the restart array does not fit, or keys do not ascend; nothing of such a block
        is used.
    """
    keys: list[bytes] = []
    values: list[bytes] = []
    end = entries_end(data)
    position = key_bytes = 0
    key = b""
    while position < end:
        shared, position = decode_varint(data, position)
        unshared, position = decode_varint(data, position)
        size, position = decode_varint(data, position)
        value_at = position + unshared
        if shared > len(key) or value_at + size > end:
            raise DecodeError("bad entry in block")
        before, key = key, key[:shared] + data[position:value_at]
        if keys and key <= before:
            raise DecodeError("keys do not ascend")
        key_bytes += len(key)
        if key_bytes > MOST_KEY_BYTES * len(data):
            raise DecodeError("keys share too much")
        position = value_at + size
        keys.append(key)
        values.append(data[value_at:position])
    return keys, values


def entries_end(data: bytes) -> int:
    """Where the entries stop and the restart array begins."""
    count = decode_fixed32(data, len(data) - 4) if len(data) >= 4 else 0
    end = len(data) - 4 * (count + 1)
    if end < 0 or (end > 0 and count == 0):
        raise DecodeError("bad block contents")
    return end
