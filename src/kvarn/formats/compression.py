"""The bytes of a table block, by its type byte.

    0  as they are     what kvarn and every TensorFlow release write
    1  snappy, raw     read only: varint length, then literals and copies, no framing

Snappy blocks occur in public checkpoints that were written inside Google.

Source: tensorflow/core/lib/io/format.cc.
"""

from __future__ import annotations

from kvarn._native import snappy_uncompress
from kvarn.formats.coding import DecodeError, decode_varint

NONE = 0
SNAPPY = 1

# A snappy copy of three bytes yields 64: nothing honest grows more than this.
_SNAPPY_LARGEST_RATIO = 64


def decompress(kind: int, data: bytes | memoryview) -> bytes | memoryview:
    """The content of a stored block.

    Raises:
      DecodeError: an unknown kind, or damaged snappy; the text is TensorFlow's.
    """
    if kind == NONE:
        return data
    if kind != SNAPPY:
        raise DecodeError("bad block type")
    try:
        size, _ = decode_varint(data, 0)
        if size > _SNAPPY_LARGEST_RATIO * len(data):
            raise DecodeError("the promised size cannot be")
        return snappy_uncompress(data)
    except ValueError as error:
        raise DecodeError("corrupted compressed block contents") from error
