"""Lists of tensors: values, gradients and errors as TensorFlow 1.15.5 gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.gradients import gradients
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import array, list_ops
from kvarn.ops import tensor_list_ops as raw

F = dtypes.float32


@pytest.fixture(autouse=True)
def graph() -> Any:
    with Graph().as_default() as g:
        yield g


@pytest.fixture
def x() -> Any:
    return constant([1.0, 2.0, 3.0])


def _pushed(x: Any) -> Any:
    handle = list_ops.empty_tensor_list(element_shape=[], element_dtype=F)
    return list_ops.tensor_list_push_back(list_ops.tensor_list_push_back(handle, x[0] * x[1]), x[2])


def _set(x: Any) -> Any:
    rows = constant([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]) * x[0]
    handle = list_ops.tensor_list_from_tensor(rows, element_shape=[2])
    return list_ops.tensor_list_set_item(handle, 1, x[:2] * x[1:])


def _gotten(x: Any) -> Any:
    handle = _set(x)
    return list_ops.tensor_list_get_item(handle, 1, F) * 3.0 + list_ops.tensor_list_get_item(handle, 2, F)


def _split(x: Any) -> Any:
    handle = list_ops.tensor_list_split(x * x, element_shape=[None], lengths=[1, 2])
    return list_ops.tensor_list_concat(handle, F, element_shape=[None])


def _scattered(x: Any) -> Any:
    return list_ops.tensor_list_stack(list_ops.tensor_list_scatter(x * x, [3, 0, 1], element_shape=[]), F)


# What is made of x, the shape known while building, its value, and the gradient of its square (or of itself).
CASES = {
    "stack": (lambda x: list_ops.tensor_list_stack(_pushed(x), F), (None,), [2, 3], True, [8, 4, 6]),
    "pop": (lambda x: list_ops.tensor_list_pop_back(_pushed(x), F)[1], (), 3, True, [0, 0, 6]),
    "get": (_gotten, (2,), [10, 23], False, [15, 12, 6]),
    "gather": (
        lambda x: list_ops.tensor_list_gather(_set(x), [0, 2], F),
        (2, 2),
        [[0, 1], [4, 5]],
        True,
        [84, 0, 0],
    ),
    "concat": (_split, (None,), [1, 4, 9], True, [4, 32, 108]),
    "scatter": (_scattered, (None,), [4, 9, 0, 1], True, [4, 32, 108]),
    "resize": (
        lambda x: list_ops.tensor_list_stack(list_ops.tensor_list_resize(_pushed(x), 1), F),
        (None,),
        [2],
        True,
        [8, 4, 0],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, x: Any) -> None:
    make, shape, value, squared, grad = CASES[name]
    y = make(x)
    assert y.static_shape == shape
    (d,) = gradients(y * y if squared else y, x)
    with Session() as session:
        got, slope = session.run([y, d])
    np.testing.assert_array_equal(got, value)
    np.testing.assert_array_equal(slope, grad)


def test_what_was_not_set_is_zeros(x: Any) -> None:
    handle = list_ops.tensor_list_set_item(list_ops.tensor_list_reserve([None], 3, F), 0, x)
    item = list_ops.tensor_list_get_item(handle, 2, F)
    shape = list_ops.tensor_list_element_shape(handle, shape_type=dtypes.int32)
    with Session() as session:
        got = session.run([item, shape, list_ops.tensor_list_length(handle)])
    assert [np.asarray(v).tolist() for v in got] == [[0, 0, 0], [-1], 3]


def test_a_list_that_others_grow_from_stays_as_it_is(x: Any) -> None:
    first = _pushed(x)
    rest, _ = list_ops.tensor_list_pop_back(first, F)
    lists = [first, list_ops.tensor_list_push_back(first, 7.0), list_ops.tensor_list_push_back(rest, 8.0)]
    stacks = [list_ops.tensor_list_stack(handle, F) for handle in lists]
    with Session() as session:
        for _ in range(2):
            assert [v.tolist() for v in session.run(stacks)] == [[2, 3], [2, 3, 7], [2, 8]]


def test_long_lists_come_and_go(x: Any) -> None:
    handle = raw.TensorList(F, (), [])
    for i in range(50_000):
        handle = handle.pushed(np.float32(i))
    again, last = handle.popped()
    assert (again.length, last) == (49_999, 49_999)
    assert handle.items()[:3] == [0, 1, 2]


def test_sums_and_zeros_of_lists(x: Any) -> None:
    from kvarn.ops import math

    a, b = _set(x), list_ops.tensor_list_from_tensor(array.ones([3, 2]), element_shape=[2])
    total = list_ops.tensor_list_stack(math.add_n([a, b, array.zeros_like(a)]), F)
    with Session() as session:
        assert session.run(total).tolist() == [[1, 2], [3, 7], [5, 6]]


def test_errors(x: Any) -> None:
    empty = list_ops.empty_tensor_list(None, F)
    some_shape = array.placeholder_with_default([1.0], None)
    of_two = list_ops.empty_tensor_list([2], F)
    failing = {
        "Trying to pop from an empty list.": list_ops.tensor_list_pop_back(empty, F)[1],
        "Tried to stack elements of an empty list with non-fully-defined element_shape: <unknown>": (
            list_ops.tensor_list_stack(empty, F)
        ),
        "Tried to append a tensor with incompatible shape to a list. Op element shape: [1] list shape: [2]": (
            list_ops.tensor_list_push_back(of_two, some_shape)
        ),
        "Trying to access element 7 in a list with 2 elements.": (
            list_ops.tensor_list_get_item(_pushed(x), 7, F)
        ),
        "Tried to push item into a full list list size: 0 max_num_elements: 0": (
            list_ops.tensor_list_push_back(list_ops.empty_tensor_list([], F, max_num_elements=0), 1.0)
        ),
    }
    with Session() as session:
        for message, y in failing.items():
            with pytest.raises(errors.InvalidArgumentError) as caught:
                session.run(y.op)
            assert message in str(caught.value)
    with pytest.raises(
        ValueError, match=r"wrong element dtype\. List has type float but trying to push element"
    ):
        list_ops.tensor_list_push_back(_pushed(x), 1)
