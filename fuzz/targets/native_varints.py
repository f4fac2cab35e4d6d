"""Runs of varints, as native/fuzz/fuzz_varints.cc has them, against the decoder of one.

byte 0      how many numbers
rest        the numbers, and whatever follows
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fuzz.contract import agree, attempt
from kvarn._native import decode_varints, encode_varints
from kvarn.formats.coding import DecodeError, decode_varint, encode_varint

LONGEST = 512
WORDS = (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\xff\xff\xff\xff\x0f", b"\x80\x00")


def check(data: bytes) -> None:
    count, run = data[0] if data else 0, data[1:]
    expected = attempt(_one_by_one, run, count, refusals=(DecodeError,))
    for dtype in (np.int32, np.int64, np.uint8, np.uint64):
        out = np.empty(count, dtype)
        used = attempt(decode_varints, run, out, refusals=(ValueError,))
        agree("used", used, None if expected is None else expected[1])
        if expected is not None:
            cut = np.array(expected[0], np.uint64).astype(dtype)
            agree(f"{dtype.__name__}", out.tolist(), cut.tolist())
            agree("written", encode_varints(out), b"".join(map(encode_varint, out.tolist())))


def _one_by_one(run: bytes, count: int) -> tuple[list[int], int]:
    values, position = [], 0
    for _ in range(count):
        value, position = decode_varint(run, position)
        values.append(value)
    return values, position


def seeds() -> Iterator[bytes]:
    yield b"\x03\x01\xac\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    yield bytes([200]) + bytes(range(128)) + bytes(72)
