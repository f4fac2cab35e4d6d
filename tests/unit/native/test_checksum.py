"""crc32c takes every kind of buffer and gives the published answers."""

from typing import Any

import numpy as np
import pytest

from kvarn import _native

DATA = bytes(np.random.default_rng(0).integers(0, 256, 100_003, np.uint8))


def bitwise(data: bytes) -> int:
    """The definition: a remainder, one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_published_answer() -> None:
    assert _native.crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 255, 767, 768, 769, 2000])
def test_definition(n: int) -> None:
    assert _native.crc32c(DATA[:n]) == bitwise(DATA[:n])


@pytest.mark.parametrize("cut", [0, 1, 5000, 50_001, len(DATA)])
def test_extends(cut: int) -> None:
    assert _native.crc32c(DATA[cut:], _native.crc32c(DATA[:cut])) == _native.crc32c(DATA)


@pytest.mark.parametrize(
    "buffer",
    [
        bytearray(DATA),
        memoryview(DATA),
        np.frombuffer(DATA, np.uint8),
        np.frombuffer(DATA[:100_000], np.float32).reshape(50, 500),
    ],
    ids=["bytearray", "memoryview", "read-only array", "matrix"],
)
def test_any_contiguous_buffer(buffer: Any) -> None:
    assert _native.crc32c(buffer) == _native.crc32c(memoryview(buffer).tobytes())


def test_strided_buffer_is_refused() -> None:
    with pytest.raises((BufferError, ValueError)):
        _native.crc32c(np.frombuffer(DATA, np.uint8)[::2])
