"""unique, unsorted_segment_sum and gather_rows against NumPy, on one thread and on several."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kvarn import _native, errors

RANDOM = np.random.default_rng(5)


@pytest.fixture(params=[1, 4], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = _native.num_threads()
    _native.set_num_threads(request.param)
    yield
    _native.set_num_threads(before)


def unique_reference(x: npt.NDArray[Any]) -> tuple[list[int], list[int], list[int]]:
    position: dict[int, int] = {}
    counts: list[int] = []
    idx = []
    for value in x.tolist():
        if value not in position:
            position[value] = len(position)
            counts.append(0)
        idx.append(position[value])
        counts[position[value]] += 1
    return list(position), idx, counts


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
@pytest.mark.parametrize("n", [0, 1, 70, 5000, 60_000])
@pytest.mark.parametrize("spread", [3, 10**9])
def test_unique(dtype: Any, n: int, spread: int) -> None:
    x = RANDOM.integers(-spread, spread, n).astype(dtype)
    x[n // 2 :: 7] = np.iinfo(dtype).min
    x[n // 3 :: 11] = np.iinfo(dtype).max
    values, idx = _native.unique(x)
    same_values, same_idx, counts = _native.unique_with_counts(x)
    assert (values.dtype, idx.dtype, counts.dtype) == (dtype, np.int32, np.int32)
    assert (values.tolist(), idx.tolist(), counts.tolist()) == unique_reference(x)
    np.testing.assert_array_equal(values, same_values)
    np.testing.assert_array_equal(idx, same_idx)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ids", [np.int32, np.int64])
@pytest.mark.parametrize("shape", [(), (1,), (16,), (5, 3), (0,), (64,)])
def test_segment_sum_adds_in_order(dtype: Any, ids: Any, shape: tuple[int, ...]) -> None:
    n, segments = 30_000, 701
    data = RANDOM.standard_normal((n, *shape)).astype(dtype)
    segment = RANDOM.integers(-3, segments, n).astype(ids)
    expected = np.zeros((segments, *shape), dtype)
    np.add.at(expected, segment[segment >= 0], data[segment >= 0])
    result = _native.unsorted_segment_sum(data, segment, segments)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


def test_segment_sum_of_nothing() -> None:
    empty = np.zeros((0, 4), np.float32)
    np.testing.assert_array_equal(
        _native.unsorted_segment_sum(empty, np.zeros(0, np.int32), 3), np.zeros((3, 4), np.float32)
    )
    assert _native.unsorted_segment_sum(empty, np.zeros(0, np.int32), 0).shape == (0, 4)


def test_segment_sum_refuses() -> None:
    data = np.ones((2, 4), np.float32)
    with pytest.raises(errors.InvalidArgumentError, match=r"segment_ids\[1\] = 3 is out of range \[0, 3\)"):
        _native.unsorted_segment_sum(data, np.array([0, 3]), 3)
    with pytest.raises(errors.InvalidArgumentError, match="3 segment ids"):
        _native.unsorted_segment_sum(data, np.array([0, 1, 2]), 3)
    with pytest.raises(errors.InvalidArgumentError, match="num_segments is -1"):
        _native.unsorted_segment_sum(data, np.array([0, 1]), -1)
    with pytest.raises(errors.ResourceExhaustedError):
        _native.unsorted_segment_sum(data, np.array([0, 1]), 2**62)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_, np.uint16, np.complex64])
@pytest.mark.parametrize("width", [0, 1, 3, 16])
@pytest.mark.parametrize("ids", [np.int32, np.int64])
def test_gather_rows(dtype: Any, width: int, ids: Any) -> None:
    params = RANDOM.integers(0, 100, (50, width)).astype(dtype)
    params.flags.writeable = False
    indices = RANDOM.integers(0, 50, 20_000).astype(ids)
    out = np.empty((len(indices), width), dtype)
    assert _native.gather_rows(params, indices, out) == -1
    np.testing.assert_array_equal(out, params[indices])


@pytest.mark.parametrize("bad", [-1, 50, 2**40])
def test_gather_rows_names_the_first_bad_index(bad: int) -> None:
    params = np.ones((50, 4), np.float32)
    indices = np.zeros(20_000, np.int64)
    indices[[12_345, 15_000]] = bad
    out = np.full((len(indices), 4), 7, np.float32)
    assert _native.gather_rows(params, indices, out) == 12_345
    assert (out == 7).all()


def test_gather_rows_refuses_an_out_that_does_not_fit() -> None:
    params = np.ones((50, 4), np.float32)
    indices = np.zeros(3, np.int64)
    for out in (np.empty((2, 4), np.float32), np.empty((3, 5), np.float32), np.empty((3, 4), np.float64)):
        with pytest.raises(errors.InvalidArgumentError, match="expected 3 rows of 4 elements of 4 bytes"):
            _native.gather_rows(params, indices, out)


def test_pool_works_in_a_forked_child() -> None:
    data = np.ones((200_000, 16), np.float32)
    ids = np.arange(200_000) % 1000
    expected = _native.unsorted_segment_sum(data, ids, 1000)
    child = os.fork()
    if child == 0:
        same = (_native.unsorted_segment_sum(data, ids, 1000) == expected).all()
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_build_says_what_it_is() -> None:
    info = _native.build_info()
    assert set(info) == {"build_type", "sanitize", "compiler"}
    assert info["build_type"] in {"Release", "Debug", "RelWithDebInfo", "MinSizeRel"}
