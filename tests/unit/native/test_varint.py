"""Runs of varints in native code agree with the one-by-one functions of kvarn.formats.coding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvarn._native import decode_varints, encode_varints
from kvarn.formats.coding import DecodeError, decode_varint, encode_varint

TYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@given(st.sampled_from(TYPES), st.data())
def test_as_one_by_one(name: str, data: st.DataObject) -> None:
    limits = np.iinfo(name)
    values = data.draw(st.lists(st.integers(limits.min, limits.max), max_size=20))
    array = np.array(values, name)
    encoded = encode_varints(array)
    assert encoded == b"".join(map(encode_varint, values))
    again = np.empty_like(array)
    assert decode_varints(encoded + b"\x05", again) == len(encoded)
    assert again.tolist() == values


@given(st.binary(max_size=30), st.integers(1, 5))
def test_any_bytes(data: bytes, count: int) -> None:
    wanted, position = [], 0
    out = np.empty(count, np.uint64)
    try:
        for _ in range(count):
            value, position = decode_varint(data, position)
            wanted.append(value)
    except DecodeError:
        with pytest.raises(ValueError, match="varints"):
            decode_varints(data, out)
    else:
        assert decode_varints(data, out) == position
        assert out.tolist() == wanted


def test_cut_to_the_width() -> None:
    out = np.empty(2, np.int8)
    assert decode_varints(encode_varint(-1) + encode_varint(0x1FF), out) == 12
    assert out.tolist() == [-1, -1]
