"""Keys that sort as what they stand for: the names of stored slices in a table.

    number (unsigned)   one byte n = count of its significant bytes, then n bytes big-endian
                        0 is 00, 2 is 01 02
    string              00 becomes 00 ff, ff becomes ff 00; closed by 00 01
    signed number       L bytes big-endian, the top L bits flipped: a header of L ones for v >= 0
                        0 is 80, 1 is 81, 64 is c0 40, -1 is 7f, -65 is 3f bf

    key of a slice      number 0, string name, number rank, then start and length of each dimension
                        as signed numbers; a whole dimension is start 0, length -1

    p/w, 6,4:0,3        00 | 70 2f 77 00 01 | 01 02 | 86 84 | 80 83

Source: tensorflow/core/lib/strings/ordered_code.cc, tensorflow/core/util/saved_tensor_slice_util.cc
(`EncodeTensorNameSlice`).  The inverse is not needed: readers encode what they look for.
"""

from __future__ import annotations

from kvarn.formats.tensor_slice import TensorSlice


def encode_number(value: int) -> bytes:
    """An unsigned number."""
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "big")


def encode_string(value: bytes) -> bytes:
    """A string of any bytes."""
    return _escape(value) + b"\x00\x01"


def encode_signed(value: int) -> bytes:
    """A number of 64 bits with sign."""
    bits = (value if value >= 0 else ~value).bit_length()
    size = 1 if bits < 7 else bits // 7 + 1
    header = ((1 << size) - 1) << (7 * size)  # the top `size` of 8 * size bits
    return ((value & ((1 << 8 * size) - 1)) ^ header).to_bytes(size, "big")


def encode_slice_key(name: bytes, tensor_slice: TensorSlice) -> bytes:
    """The key under which the slice of a tensor is stored."""
    parts = [encode_number(0), encode_string(name), encode_number(len(tensor_slice.extents))]
    for start, length in tensor_slice.extents:
        parts += (encode_signed(start), encode_signed(length))
    return b"".join(parts)


def _escape(value: bytes) -> bytes:
    if b"\x00" not in value and b"\xff" not in value:
        return value
    return b"".join(_ESCAPES.get(byte, bytes([byte])) for byte in value)


_ESCAPES = {0x00: b"\x00\xff", 0xFF: b"\xff\x00"}
