"""The snappy decoder reads TensorFlow's streams and survives damaged ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from kvarn import _native

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/native/snappy.json").read_text())
STREAMS = [(bytes.fromhex(s["snappy"]), bytes.fromhex(s["plain"])) for s in GOLDEN["streams"]]


@pytest.mark.parametrize(("stream", "plain"), STREAMS)
def test_tensorflow_streams(stream: bytes, plain: bytes) -> None:
    assert _native.snappy_uncompress(stream) == plain


@pytest.mark.parametrize(
    ("stream", "plain"),
    [
        (bytes([4, 3 << 2]) + b"abcd", b"abcd"),
        (bytes([9, 0 << 2]) + b"a" + bytes([(8 - 4) << 2 | 1, 1]), b"a" * 9),
        (bytes([6, 2 << 2]) + b"abc" + bytes([2 << 2 | 2, 3, 0]), b"abcabc"),
        (bytes([6, 2 << 2]) + b"abc" + bytes([2 << 2 | 3, 3, 0, 0, 0]), b"abcabc"),
        (bytes([61, 60 << 2, 60]) + b"x" * 61, b"x" * 61),
    ],
    ids=["literal", "overlapping copy of 1 byte", "copy with 2 bytes", "copy with 4 bytes", "long literal"],
)
def test_each_element(stream: bytes, plain: bytes) -> None:
    assert _native.snappy_uncompress(stream) == plain


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "not a varint32"),
        (b"\xff\xff\xff\xff\xff\x01", "not a varint32"),
        (b"\xff\xff\xff\xff\x0f\x00a", "more than"),
        (bytes([4, 3 << 2]) + b"abc", "runs past its end"),
        (bytes([3, 3 << 2]) + b"abcd", "runs past its end"),
        (bytes([8, 3 << 2]) + b"abcd" + bytes([1, 5]), "leaves the output"),
        (bytes([8, 3 << 2]) + b"abcd" + bytes([1, 0]), "leaves the output"),
        (bytes([8, 3 << 2]) + b"abcd" + bytes([2, 1]), "cut off"),
        (bytes([9, 3 << 2]) + b"abcd", "ends after 4 of 9"),
    ],
)
def test_damage_is_named(stream: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        _native.snappy_uncompress(stream)


def test_flipped_and_cut_streams_never_crash() -> None:
    random = np.random.default_rng(1)
    for stream, plain in STREAMS:
        for _ in range(300):
            damaged = bytearray(stream)
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
            cut = damaged[: random.integers(len(damaged) + 1)]
            try:
                result = _native.snappy_uncompress(cut)
            except ValueError:
                continue
            assert len(result) <= 22 * len(cut), plain
