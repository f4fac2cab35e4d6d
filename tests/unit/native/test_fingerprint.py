"""Fingerprint64 and its concatenation against TensorFlow 1.15's own answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from kvarn import _native, errors

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/native/fingerprint64.json").read_text())
BYTES = bytes.fromhex(GOLDEN["bytes"])
STRINGS = [BYTES[:n] for n in range(301)]


@pytest.mark.parametrize(
    ("buckets", "field"), [(2**63 - 1, "buckets_2_63_minus_1"), (1000003, "buckets_1000003")]
)
def test_hash_bucket_of_every_length(buckets: int, field: str) -> None:
    prints = _native.farmhash_fingerprint64(STRINGS)
    assert prints.dtype == np.uint64
    assert [int(p) % buckets for p in prints] == GOLDEN[field]


def test_object_arrays() -> None:
    array = np.array(STRINGS, dtype=object)
    np.testing.assert_array_equal(
        _native.farmhash_fingerprint64(array), _native.farmhash_fingerprint64(STRINGS)
    )
    assert _native.farmhash_fingerprint64([]).shape == (0,)


def test_text_is_refused() -> None:
    with pytest.raises(errors.InvalidArgumentError, match="element 1: expected bytes, found str"):
        _native.farmhash_fingerprint64([b"a", "b"])  # type: ignore[list-item]


@pytest.mark.parametrize(("a", "b", "crossed"), GOLDEN["crosses"])
def test_crosses(a: int, b: int, crossed: int) -> None:
    mask = 2**64 - 1
    cat = _native.fingerprint_cat64(_native.fingerprint_cat64(0xDECAFCAFFE, a & mask), b & mask)
    assert cat % (2**63 - 1) == crossed


def test_arrays_of_fingerprints() -> None:
    a = np.arange(5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    b = a[::-1].copy()
    expected = [_native.fingerprint_cat64(int(x), int(y)) for x, y in zip(a, b, strict=True)]
    assert _native.fingerprint_cat64(a, b).tolist() == expected
    with pytest.raises(errors.InvalidArgumentError, match="5 and 4"):
        _native.fingerprint_cat64(a, b[:4])
