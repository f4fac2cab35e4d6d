"""String and variant tensors: what is decoded is what encodes to the same bytes.

byte 0      bit 0: variants; bit 1: big-endian; the other bits: number of elements
rest        the bytes of the tensor
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.contract import Broken, agree, attempt
from kvarn.formats.bundle.strings import decode_strings, decode_variants, encode_strings, encode_variants
from kvarn.formats.checksum import crc32c, mask
from kvarn.formats.coding import DecodeError, decode_varint, encode_fixed32

LONGEST = 512
WORDS = (b"\xd8\xea\x82\xa2", b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x10")


def check(data: bytes) -> None:
    if not data:
        return
    flags, count, rest = data[0], data[0] >> 2, data[1:]
    if flags & 1:
        found = attempt(decode_variants, rest, count, refusals=(DecodeError,))
        encode = encode_variants
    else:
        rest = _mended(rest, count, big_endian=bool(flags & 2))
        found = attempt(
            lambda: decode_strings(rest, count, big_endian=bool(flags & 2)), refusals=(DecodeError,)
        )
        encode = encode_strings
    if found is None:
        return
    values, crc = found
    if len(values) != count or not all(type(value) is bytes for value in values):
        raise Broken(f"{count} strings became {values!r}")
    pieces, written_crc = encode(values.tolist())
    if not flags & 2 and rest and len(b"".join(pieces)) == len(rest):  # varints as short as they can be
        agree("bytes", b"".join(pieces), rest)
        agree("crc", written_crc, crc)


def _mended(data: bytes, count: int, *, big_endian: bool) -> bytes:
    """The bytes of a string tensor with the checksum of its lengths made right."""
    position, lengths = 0, b""
    try:
        for _ in range(count):
            length, position = decode_varint(data, position)
            lengths += length.to_bytes(4 if length <= 0xFFFFFFFF else 8, "big" if big_endian else "little")
    except DecodeError:
        return data
    checksum = encode_fixed32(mask(crc32c(lengths)))
    if position + 4 > len(data):
        return data
    return data[:position] + (checksum[::-1] if big_endian else checksum) + data[position + 4 :]


def seeds() -> Iterator[bytes]:
    yield bytes([3 << 2]) + bytes.fromhex("020002a0d8fc1f6162c3a9")
    yield bytes([3 << 2 | 2]) + bytes.fromhex("0200021ffcd8a06162c3a9")
    yield bytes([1 << 2]) + bytes.fromhex("00a67b113a")
    yield bytes([0]) + bytes.fromhex("d8ea82a2")
    yield bytes([0])
    pieces, _ = encode_variants([b"ab", b"", b"c" * 200])
    yield bytes([3 << 2 | 1]) + b"".join(pieces)
