"""The steps of a plan are run one after the other, by the native core."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import _native, errors


def add(context: Any, *values: Any) -> Any:
    return sum(values)


def test_slots_are_read_filled_and_emptied() -> None:
    values = [1, 2, None, None, None]
    assert (
        _native.run_steps(
            [
                (add, None, (0, 1), 2, ()),
                (lambda c, x: (x, x + 1), None, (2,), (3, -1), (0, 2)),
                (lambda c, x: [x], None, (3,), (4,), ()),
                (add, None, (), None, (1,)),
            ],
            values,
        )
        is None
    )
    assert values == [None, None, None, 3, 3]


@pytest.mark.parametrize("n", [15, 16, 17, 40])
def test_steps_with_many_inputs(n: int) -> None:
    values = [*range(n), None]
    assert _native.run_steps([(add, None, tuple(range(n)), n, ())] * 2, values) is None
    assert values[n] == sum(range(n))


def test_the_step_that_fails_is_named() -> None:
    def fail(context: Any) -> None:
        raise KeyError("x")

    values = [1, None]
    number, problem = _native.run_steps([(add, None, (0,), 1, ()), (fail, None, (), None, ())], values) or (
        0,
        None,
    )
    assert number == 1
    assert isinstance(problem, KeyError)
    assert problem.__traceback__ is not None
    assert values == [1, 1]


@pytest.mark.parametrize("returned", [(1, 2, 3), (1,), 5])
def test_another_number_of_outputs_than_there_are_is_an_error(returned: Any) -> None:
    failed = _native.run_steps([(lambda c: returned, None, (), (0, 1), ())], [None, None])
    assert failed is not None
    assert isinstance(failed[1], (ValueError, TypeError))


def test_nothing_is_kept() -> None:
    held = np.zeros(3)
    before = sys.getrefcount(held)
    values = [held, None]
    for _ in range(5):
        _native.run_steps([(lambda c, x: x, None, (0,), 1, ())], values)
        _native.run_steps([(lambda c, x: 1 / 0, None, (0,), 1, ())], values)
    del values
    assert sys.getrefcount(held) == before


def test_what_is_no_error_of_values_goes_through() -> None:
    class Stop(BaseException):
        pass

    def stop(x: Any) -> Any:
        raise Stop

    with tf.Graph().as_default(), tf.Session() as sess:
        y = tf.py_func(stop, [1.0], tf.float32)
        with pytest.raises((Stop, errors.OpError)):
            sess.run(y)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_arithmetic_of_scalars_has_the_type_and_the_overflow_of_arrays(dtype: str) -> None:
    kind = np.dtype(dtype).type
    big = np.iinfo(dtype).max if kind in (np.int32, np.int64) else np.finfo(dtype).max
    with tf.Graph().as_default(), tf.Session() as sess:
        x, y = tf.placeholder(dtype, []), tf.placeholder(dtype, [])
        found = sess.run([x + y, x - y, x * y], {x: big, y: kind(3)})
    with np.errstate(all="ignore"):
        a, b = np.array([big], dtype), np.array([3], dtype)
        expected = [(a + b)[0], (a - b)[0], (a * b)[0]]
    for f, e in zip(found, expected, strict=True):
        assert type(f) is kind
        assert f == e
