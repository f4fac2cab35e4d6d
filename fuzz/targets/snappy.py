"""Snappy streams: the native decoder against one of a few lines of Python."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.contract import agree, attempt
from kvarn._native import snappy_uncompress
from kvarn.formats import compression
from kvarn.formats.coding import DecodeError, decode_varint

LONGEST = 512
WORDS = (b"\xf0\x3c", b"\xf4\x3c\x00", b"\x02\x01\x00", b"\x01\x01", b"\xff\xff\xff\xff\x0f")


def check(data: bytes) -> None:
    found = attempt(snappy_uncompress, data, refusals=(ValueError,))
    agree("snappy", found, attempt(uncompress, data, refusals=(DecodeError,)))
    block = attempt(compression.decompress, compression.SNAPPY, data, refusals=(DecodeError,))
    agree("block", block, found)


def uncompress(data: bytes) -> bytes:
    """The content of a raw snappy stream."""
    total, position = decode_varint(data, 0)
    if position > 5 or total > 0xFFFFFFFF:
        raise DecodeError("the length is no varint32")
    out = bytearray()
    while position < len(data):
        tag, position = data[position], position + 1
        length = (tag >> 2) + 1
        if tag & 3 == 0:
            if length > 60:
                more = length - 60
                length = int.from_bytes(_take(data, position, more), "little") + 1
                position += more
            out += _take(data, position, length)
            position += length
        else:
            size = (0, 1, 2, 4)[tag & 3]
            offset = int.from_bytes(_take(data, position, size), "little")
            position += size
            if size == 1:
                length, offset = (tag >> 2 & 7) + 4, tag >> 5 << 8 | offset
            if not 0 < offset <= len(out):
                raise DecodeError("a copy from before the start")
            pattern = out[-offset:]
            out += (pattern * (length // offset + 1))[:length]
        if len(out) > total:
            raise DecodeError("more than promised")
    if len(out) != total:
        raise DecodeError("not as much as promised")
    return bytes(out)


def _take(data: bytes, position: int, size: int) -> bytes:
    if position + size > len(data):
        raise DecodeError("cut off")
    return data[position : position + size]


def seeds() -> Iterator[bytes]:
    yield bytes([0])
    yield bytes([9, 0, ord("a"), (8 - 4) << 2 | 1, 1])
    good = bytes([30, 9 << 2]) + b"abcdefghij" + bytes([9 << 2 | 2, 10, 0, 9 << 2 | 3, 20, 0, 0, 0])
    yield good
    yield bytes([70, 60 << 2, 69]) + bytes(range(70))
    yield bytes([0xAC, 0x02, 61 << 2, 0x2B, 0x01]) + bytes(300)
