"""Varints, ordered codes, checksums and masks: the bytes of TensorFlow's own tables."""

from __future__ import annotations

import pytest

from kvarn.formats.checksum import crc32c, crc32c_combine, mask, unmask
from kvarn.formats.coding import (
    DecodeError,
    decode_fixed32,
    decode_varint,
    encode_fixed32,
    encode_varint,
    to_signed,
)
from kvarn.formats.compression import NONE, SNAPPY, decompress
from kvarn.formats.ordered_code import encode_number, encode_signed, encode_slice_key, encode_string
from kvarn.formats.tensor_slice import TensorSlice


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**32 - 1, "ffffffff0f")],
)
def test_varints(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded
    assert decode_varint(b"\xff" + bytes.fromhex(encoded), 1) == (value, 1 + len(encoded) // 2)


def test_negative_numbers_are_ten_bytes() -> None:
    encoded = encode_varint(-1)
    assert encoded.hex() == "ff" * 9 + "01"
    assert to_signed(decode_varint(encoded, 0)[0]) == -1


@pytest.mark.parametrize("encoded", ["", "80", "ff" * 10 + "01"])
def test_varints_that_do_not_end(encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode_varint(bytes.fromhex(encoded), 0)


def test_fixed32() -> None:
    assert decode_fixed32(encode_fixed32(0x01020304), 0) == 0x01020304
    assert encode_fixed32(0x01020304).hex() == "04030201"
    with pytest.raises(DecodeError):
        decode_fixed32(b"abc", 0)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "80"), (1, "81"), (63, "bf"), (64, "c040"), (8191, "dfff"), (8192, "e02000"),
        (1000000, "ef4240"), (2**20, "f0100000"), (2**55 - 1, "ff7fffffffffffff"),
        (2**55, "ff8080000000000000"), (2**63 - 1, "ffc07fffffffffffffff"),
        (-1, "7f"), (-2, "7e"), (-64, "40"), (-65, "3fbf"), (-8192, "2000"), (-8193, "1fdfff"),
        (-(2**63), "003f8000000000000000"),
    ],
)  # fmt: skip
def test_signed_numbers_of_keys(value: int, encoded: str) -> None:
    assert encode_signed(value).hex() == encoded


@pytest.mark.parametrize(("value", "encoded"), [(0, "00"), (2, "0102"), (255, "01ff"), (256, "020100")])
def test_numbers_of_keys(value: int, encoded: str) -> None:
    assert encode_number(value).hex() == encoded


@pytest.mark.parametrize(
    ("name", "piece", "encoded"),
    [
        ("p/w", "0,6:0,3", "00702f770001010280868083"),
        ("p/w", "6,4:0,3", "00702f770001010286848083"),
        ("k", "100,100", "006b00010101c064c064"),
        ("d", "1,3:-", "00640001010281 83807f".replace(" ", "")),
        ("nul\0/в", "64,8192", "006e756c00ff2fd0b200010101c040e02000"),
    ],
)
def test_slice_keys(name: str, piece: str, encoded: str) -> None:
    assert encode_slice_key(name.encode(), TensorSlice.parse(piece)).hex() == encoded


def test_escapes_of_strings() -> None:
    assert encode_string(b"\x00\xff\x01").hex() == "00ffff00010001"


def test_checksums() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283
    assert mask(0) == 0xA282EAD8
    assert all(unmask(mask(crc)) == crc for crc in (0, 1, 0xE3069283, 0xFFFFFFFF))


def test_checksums_of_pieces_combine() -> None:
    data = bytes(range(251)) * 40
    for cut in (0, 1, 255, 4096, len(data)):
        a, b = data[:cut], data[cut:]
        assert crc32c_combine(crc32c(a), crc32c(b), len(b)) == crc32c(data)
    assert crc32c_combine(0xE3069283, 0, 1 << 63) != 0xE3069283


def test_compression_kinds() -> None:
    assert decompress(NONE, b"abc") == b"abc"
    assert decompress(SNAPPY, bytes([3, 2 << 2]) + b"abc") == b"abc"
    with pytest.raises(DecodeError, match="bad block type"):
        decompress(2, b"abc")
    for damaged in (b"", b"\x05\x08abc", b"\xff\xff\xff\xff\x0f\x08abc"):
        with pytest.raises(DecodeError, match="corrupted compressed block contents"):
            decompress(SNAPPY, damaged)
