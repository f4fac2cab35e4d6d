"""Array ops at run time: messages, slices as NumPy's, order of distinct values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import array, division, gather, joining, layout, reduction, repeating, selection, slicing


def run(build, feed=None):
    with Graph().as_default() as graph:
        fetches = build()
        with Session(graph=graph) as session:
            return session.run(fetches, feed)


def unknown(value):
    """A tensor whose value is known only while running."""
    value = np.asarray(value)
    return array.placeholder_with_default(value, [None] * value.ndim)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: array.placeholder("float32", [None, 2], name="p"),
            r"You must feed a value for placeholder tensor 'p' with dtype float and shape \[\?,2\]",
        ),
        (
            lambda: array.reshape(unknown(np.zeros((2, 3))), [4]),
            "Input to reshape is a tensor with 6 values, but the requested shape has 4",
        ),
        (
            lambda: array.reshape(unknown(np.zeros((2, 3))), [4, -1]),
            "requested shape requires a multiple of 4",
        ),
        (lambda: gather.gather(unknown([1, 2, 3, 4, 5]), [0, 1, 7]), r"indices\[2\] = 7 is not in \[0, 5\)"),
        (
            lambda: gather.gather(unknown(np.zeros((5, 2))), [[0, -1]]),
            r"indices\[0,1\] = -1 is not in \[0, 5\)",
        ),
        (lambda: gather.gather(unknown(np.zeros((2, 5))), 5, axis=1), r"indices = 5 is not in \[0, 5\)"),
        (
            lambda: gather.gather_nd(unknown(np.zeros((2, 5))), [[0, 1], [2, 0]]),
            r"indices\[1\] = \[2, 0\] does not index into param shape \[2,5\]",
        ),
        (
            lambda: gather.dynamic_partition(unknown([1, 2]), [0, 3], 2),
            r"partitions\[1\] = 3 is not in \[0, 2\)",
        ),
        (
            lambda: joining.concat([unknown(np.zeros((2, 3))), unknown(np.zeros((2, 4)))], 0),
            r"Dimensions of inputs should match: shape\[0\] = \[2,3\] vs. shape\[1\] = \[2,4\]",
        ),
        (lambda: joining.stack([unknown([1]), unknown([1, 2])]), "Shapes of all inputs must match"),
        (lambda: unknown([1, 2])[2], "slice index 2 of dimension 0 out of bounds"),
        (lambda: layout.invert_permutation(unknown([0, 0])), "0 is duplicated in the input"),
        (
            lambda: layout.transpose(unknown(np.zeros((2, 3))), unknown([0])),
            "transpose expects a vector of size 2. But input\\(1\\) is a vector of size 1",
        ),
        (
            lambda: array.check_numerics(unknown([np.inf, np.nan]), "here"),
            "here : Tensor had Inf and NaN values",
        ),
        (
            lambda: array.squeeze(unknown(np.zeros((2, 1))), [0]),
            r"Can not squeeze dim\[0\], expected a dimension of 1, got 2",
        ),
        (lambda: array.broadcast_to(unknown(np.zeros((2, 3))), [4, 3]), "Incompatible shapes"),
        (lambda: slicing.slice(unknown([1, 2, 3]), [2], [2]), r"Expected size\[0\] in \[0, 1\], but got 2"),
        (
            lambda: layout.reverse_v2(unknown(np.zeros((2, 4, 3))), unknown([0, -4])),
            r"'axis'\[1\] = -4 is out of valid range \[0, 2",
        ),
        (
            lambda: layout.reverse_v2(unknown(np.zeros((2, 4, 3))), unknown([1, 1])),
            r"axis 1 specified more than once\.",
        ),
        (
            lambda: layout.reverse_v2(unknown([1, 2]), array.placeholder_with_default(0, None)),
            "'dims' must be 1-dimension, not 0",
        ),
        (
            lambda: array.expand_dims(unknown([1, 2]), unknown([0, 1])),
            "'dim' must be a tensor with a single value",
        ),
        (
            lambda: reduction.argmax(unknown([1, 2]), array.placeholder_with_default([0], None)),
            r"dim must be a scalar, but received tensor of shape: \[1\]",
        ),
        (lambda: repeating.repeat(unknown([1, 2]), -1), r"Expected multiples\[1\] >= 0, but got -1"),
    ],
)
def test_message(build, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        run(build)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: joining.concat([constant([[1]]), constant([1])], 0), "Shape must be rank"),
        (lambda: array.reshape(constant([1, 2, 3]), [2]), "Cannot reshape a tensor with 3 elements"),
        (lambda: selection.where([True], [1], None), "x and y must both be non-None or both be None."),
        (lambda: selection.boolean_mask([1, 2], True), "mask cannot be scalar."),
        (lambda: joining.split([1, 2, 3], 2), "must be evenly divisible by 2 but is 3"),
        (lambda: array.expand_dims([1]), "Must specify an axis"),
        (lambda: array.expand_dims([1], [0, 1]), "'dim' input must be a tensor with a single value"),
        (
            lambda: layout.reverse_v2(np.zeros((2, 4, 3)), [3]),
            r"'axis'\[0\] = 3 is out of valid range \[0, 2",
        ),
        (lambda: layout.reverse_v2(np.zeros((2, 4, 3)), [1, -2]), "axis 1 specified more than once"),
        (lambda: layout.reverse_v2([1, 2], 0), "Shape must be rank 1 but is rank 0"),
        (
            lambda: layout.reverse_v2(np.zeros([1] * 9), [0]),
            "reverse does not work on tensors with more than 8",
        ),
        (lambda: reduction.reduce_sum([1], [[0]]), "Shape must be at most rank 1 but is rank 2"),
        (lambda: reduction.argmax([1], [0]), "Shape must be rank 0 but is rank 1"),
        (lambda: gather.gather_nd([[1]], [[0]], batch_dims=-1), "does not allow negative batch_dims"),
        (
            lambda: gather.gather_nd([[1]], [[0]], batch_dims=2),
            r"batch_dims = 2 must be less than rank\(indices\) = 2",
        ),
        (
            lambda: gather.gather_nd([1], [[0]], batch_dims=1),
            r"batch_dims = 1 must be less than rank\(params\) = 1",
        ),
        (lambda: repeating.repeat([[1, 2]], 2, axis=3), "axis=3 out of bounds: expected -2<=axis<2"),
        (lambda: repeating.repeat([1, 2], [1, 2, 3], axis=0), "Dimensions 2 and 3 are not compatible"),
        (lambda: repeating.repeat([1, 2], [[1, 2]], axis=0), r"Shape \(1, 2\) must have rank at most 1"),
        (
            lambda: repeating.repeat(array.placeholder("float32"), 2, axis=-1),
            "axis may only be negative if ndims is statically known",
        ),
    ],
)
def test_refused_while_building(build, message):
    with Graph().as_default(), pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: repeating.repeat([1, 2], 2, axis=1.5), "axis must be an int; got float"),
        (
            lambda: repeating.repeat([1, 2], 1.5),
            "repeats must be an integer tensor; dtype=<dtype: 'float32'>",
        ),
        (
            lambda: gather.gather_nd([1], [[0]], batch_dims=array.placeholder("int32")),
            "batch_dims must be an int",
        ),
    ],
)
def test_types_that_are_refused(build, message):
    with Graph().as_default(), pytest.raises(TypeError, match=message):
        build()


def test_tensors_in_a_list_become_what_the_others_are():
    found = run(lambda: joining.concat([constant([[1]], dtypes.int64), [[constant(3)], [4]]], 0))
    assert (found.tolist(), found.dtype) == ([[1], [3], [4]], np.int64)


def test_nothing_is_not_divided_by_zero():
    zero = np.int32(0)
    assert run(lambda: division.floormod(constant([], dtypes.int32), zero)).shape == (0,)
    with pytest.raises(errors.InvalidArgumentError, match="Integer division by zero"):
        run(lambda: division.floormod(constant([1]), zero))


def test_a_tensor_is_no_index():
    with Graph().as_default(), pytest.raises(TypeError, match="Only integers, slices"):
        constant([1, 2])["a"]


bounds = st.one_of(st.none(), st.integers(-6, 6))
items = st.one_of(
    st.builds(slice, bounds, bounds, st.one_of(st.none(), st.integers(1, 3), st.integers(-3, -1))),
    st.integers(0, 1),
    st.none(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(items, max_size=4), st.integers(0, 4), st.booleans())
def test_slices_are_those_of_numpy(spec, place, ellipsis):
    x = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    index = list(spec)
    if sum(i is not None for i in index) > 3:
        return
    if ellipsis:
        index.insert(min(place, len(index)), Ellipsis)
    wanted = x[tuple(index)]
    found, static = run_slice(x, tuple(index))
    np.testing.assert_array_equal(found, wanted)
    assert static == wanted.shape


def run_slice(x, index):
    with Graph().as_default() as graph:
        part = constant(x)[index]
        with Session(graph=graph) as session:
            return session.run(part), part.static_shape


@given(st.lists(st.integers(-3, 3), max_size=20))
@settings(deadline=None)
def test_distinct_values_come_by_first_occurrence(numbers):
    for dtype in (np.int32, np.int64, np.float32, np.int16):
        x = np.array(numbers, dtype)
        y, idx, count = run(lambda x=x: gather.unique_with_counts(constant(x)))
        assert y.tolist() == list(dict.fromkeys(x.tolist()))
        assert y.dtype == dtype
        np.testing.assert_array_equal(y[idx], x)
        assert count.tolist() == [numbers.count(v) for v in y]


def test_results_belong_to_the_caller():
    with Graph().as_default() as graph:
        x = constant([1.0, 2.0])
        y = array.reshape(x, [2, 1])
        with Session(graph=graph) as session:
            first = session.run(y)
            first[:] = 9
            assert session.run(y).tolist() == [[1.0], [2.0]]


def test_zero_dimensional_strings_stay_strings():
    assert run(lambda: gather.gather(constant(["a", "b"]), 1)) == b"b"
    assert run(lambda: constant(["a", "b"])[0]) == b"a"


def test_shape_of_a_fed_value_can_be_asked():
    with Graph().as_default() as graph:
        x = array.placeholder(dtypes.float32)
        with Session(graph=graph) as session:
            fetched = session.run([array.shape(x), array.size(x), array.rank(x)], {x: np.zeros((2, 0))})
    assert [np.asarray(f).tolist() for f in fetched] == [[2, 0], 0, 2]
