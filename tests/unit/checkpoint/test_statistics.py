"""Statistics by chunks are those of the whole."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kvarn.checkpoint.verbs.statistics import has_statistics, statistics_of

# Squares of larger ones overflow, in NumPy as here.
FLOATS = st.floats(-1e100, 1e100) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0])


@given(hnp.arrays(np.float64, st.integers(0, 50), elements=FLOATS), st.integers(1, 7))
def test_floats(values: np.ndarray, at_once: int) -> None:
    found = statistics_of(lambda: (values[i : i + at_once] for i in range(0, len(values), at_once)), bins=5)
    finite = values[np.isfinite(values)]
    assert found.count == values.size
    assert found.num_nan == np.isnan(values).sum()
    assert found.num_inf == np.isinf(values).sum()
    assert found.num_zero == (values == 0).sum()
    if not finite.size:
        assert (found.minimum, found.mean, found.std, found.histogram) == (None,) * 4
        return
    assert (found.minimum, found.maximum) == (finite.min(), finite.max())
    scale = max(1.0, float(np.abs(finite).max()))
    assert found.mean == pytest.approx(finite.mean(), abs=1e-12 * scale)
    assert found.std == pytest.approx(finite.std(), abs=1e-10 * scale)
    assert found.histogram is not None
    assert sum(found.histogram.counts) == finite.size
    assert len(found.histogram.edges) == len(found.histogram.counts) + 1


def test_integers_are_exact() -> None:
    values = np.array([2**63 - 1, -(2**63), 2**62 + 1], np.int64)
    found = statistics_of(lambda: [values], bins=3)
    assert (found.minimum, found.maximum) == (-(2**63), 2**63 - 1)
    assert statistics_of(lambda: [np.array([2**64 - 1], np.uint64)]).maximum == 2**64 - 1


def test_variance_far_from_zero() -> None:
    values = 1e9 + np.arange(1000.0)
    found = statistics_of(lambda: np.split(values, 100))
    assert found.std == pytest.approx(np.arange(1000.0).std(), rel=1e-9)


def test_the_whole_range_of_float64() -> None:
    values = np.array([-1.7e308, 1.7e308, 0.0])
    found = statistics_of(lambda: [values], bins=4)
    assert found.histogram is not None
    assert found.histogram.counts == (1, 0, 1, 1)
    assert found.histogram.edges[0] == -1.7e308


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4", "uint4"])
def test_small_types(name: str) -> None:
    values = np.array([1, 2, 3]).astype(getattr(ml_dtypes, name))
    assert has_statistics(values.dtype)
    assert statistics_of(lambda: [values]).mean == 2


def test_what_has_none() -> None:
    for value in (np.array([b"a"], np.object_), np.array([True])):
        assert not has_statistics(value.dtype)
        with pytest.raises(ValueError, match="no statistics"):
            statistics_of(lambda value=value: [value])
    assert statistics_of(lambda: [np.array([3 + 4j])]).maximum == 5
