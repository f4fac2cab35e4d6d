"""Numbers in tables and messages: protobuf varints, and fixed32/fixed64 little-endian.

    varint     7 bits a byte, low bits first, the top bit set on all bytes but the last:
               300 is ac 02.  32-bit values take at most 5 bytes, 64-bit ones 10.
    fixed32    4 bytes, little-endian

Source: tensorflow/core/lib/core/coding.cc.
"""

from __future__ import annotations

import struct

MAX_VARINT64_BYTES = 10

_FIXED32 = struct.Struct("<I")


class DecodeError(ValueError):
    """The bytes are no such number or message.  Callers turn it into a DataLossError with names."""


def encode_varint(value: int) -> bytes:
    """The varint of ``value``; a negative one is taken modulo 2^64, as protobuf does."""
    if 0 <= value < 0x80:
        return _SINGLE[value]
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The varint at ``position``, below 2^64, and the position after it.

    Raises:
      DecodeError: the data ends in it, or it has more than 10 bytes.
    """
    try:
        byte = data[position]
        if byte < 0x80:
            return byte, position + 1
        value, shift = byte & 0x7F, 7
        for at in range(position + 1, position + MAX_VARINT64_BYTES):
            byte = data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, at + 1
            shift += 7
    except IndexError:
        raise DecodeError(f"varint at byte {position} is cut off") from None
    raise DecodeError(f"varint at byte {position} has more than {MAX_VARINT64_BYTES} bytes")


def to_signed(value: int) -> int:
    """The int64 that an unsigned 64-bit varint stands for."""
    return value - (1 << 64) if value >> 63 else value


def encode_fixed32(value: int) -> bytes:
    return _FIXED32.pack(value)


def decode_fixed32(data: bytes | memoryview, position: int) -> int:
    """Raises DecodeError when fewer than 4 bytes are left."""
    try:
        return int(_FIXED32.unpack_from(data, position)[0])
    except struct.error:
        raise DecodeError(f"fixed32 at byte {position} is cut off") from None


_SINGLE = [bytes([value]) for value in range(0x80)]
