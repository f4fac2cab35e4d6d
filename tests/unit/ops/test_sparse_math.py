"""Sparse tensors calculate as the dense ones they stand for, and refuse what is no sparse tensor."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn import errors
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.graph.tensor import SparseTensor
from kvarn.ops import sparse_math as sm
from kvarn.ops import sparse_shape as ss
from kvarn.ops.array import sparse_placeholder
from kvarn.ops.sparse import sparse_tensor_to_dense
from kvarn.testing.gradients import check_grad

A = np.array([[[0.0, 1.5, 0.0, -2.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, -0.5, 0.25]]] * 2)
A[1] *= -2.0
B = np.array([[[1.0, 1.5, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0], [-3.0, 0.0, 0.0, 0.75]]] * 2)


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default():
        yield


def sparse(dense, values=None):
    dense = np.asarray(dense)
    given = dense != 0
    return SparseTensor(np.argwhere(given), dense[given] if values is None else values, dense.shape)


def run(fetches):
    with Session() as session:
        return session.run(fetches)


def dense_of(tensor):
    return run(sparse_tensor_to_dense(tensor))


@pytest.mark.parametrize("axis", [None, 0, -1, [0, 2], [1, -1], [0, 1, 2]])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_are_those_of_the_dense_tensor(axis, keepdims):
    total = sm.sparse_reduce_sum(sparse(A), axis, keepdims)
    want = A.sum(tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims)
    np.testing.assert_allclose(run(total), want)
    assert total.static_shape == want.shape


def test_the_greatest_is_that_of_the_given_elements():
    # Row 1 is empty and gives 0; in row 0 only -4 and 3 are given in the second half.
    got = run(sm.sparse_reduce_max(sparse(-np.abs(A)), 2))
    np.testing.assert_allclose(got, [[-1.5, 0.0, -0.25], [-3.0, 0.0, -0.5]])
    with pytest.raises(errors.InvalidArgumentError, match="Invalid reduction dimension"):
        run(sm.sparse_reduce_sum_(*parts(sparse(A)), np.int32(3)))


def parts(tensor):
    return tensor.indices, tensor.values, tensor.dense_shape


def test_two_sparse_tensors():
    a, b = sparse(A), sparse(B)
    np.testing.assert_allclose(dense_of(sm.sparse_add(a, b)), A + B)
    np.testing.assert_allclose(dense_of(sm.sparse_maximum(a, b)), np.maximum(A, B))
    np.testing.assert_allclose(dense_of(sm.sparse_minimum(a, b)), np.minimum(A, B))
    # A threshold leaves small sums out, not small terms.
    total = A + B
    got = run(sm.sparse_add(a, b, threshold=1.1))
    np.testing.assert_allclose(got.values, total[np.abs(total) >= 1.1])
    np.testing.assert_array_equal(got.indices, np.argwhere(np.abs(total) >= 1.1))


def test_a_sparse_and_a_dense_tensor():
    a = sparse(A)
    beside = np.array([[2.0], [5.0], [-4.0]])
    np.testing.assert_allclose(run(sm.sparse_add(a, B)), A + B)
    np.testing.assert_allclose(run(sm.sparse_add(B, a)), A + B)
    np.testing.assert_allclose(dense_of(a * beside), A * beside)
    np.testing.assert_allclose(dense_of(constant(beside) * a), A * beside)
    np.testing.assert_allclose(dense_of(a / beside), A / beside)
    np.testing.assert_allclose(run(sm.sparse_dense_cwise_add(a, beside).values), (A + beside)[A != 0])
    whole = sparse(np.array([[7, 0], [-7, 3]]))
    assert run((whole / 2).values).tolist() == [3.5, -3.5, 1.5]
    assert run(sm.divide(whole, 2).values).tolist() == [3, -3, 1]


def test_what_does_not_fit_together():
    a = sparse(A)
    with pytest.raises(errors.InvalidArgumentError, match="broadcasts dense to sparse only"):
        run((a * np.ones([5, 2, 3, 4])).values)
    with pytest.raises(errors.InvalidArgumentError, match="Integer division by zero"):
        run(sm.divide(sparse([[1, 2]]), 0).values)
    with pytest.raises(errors.InvalidArgumentError, match="Operands' shapes do not match"):
        run(sm.sparse_sparse_maximum(*parts(a), *parts(sparse(A[:, :2]))))
    with pytest.raises(errors.InvalidArgumentError, match="same ranks"):
        run(sm.sparse_sparse_maximum(*parts(a), *parts(sparse(A[0]))))
    with pytest.raises(TypeError, match="At least one input should be SparseTensor"):
        sm.sparse_add(A, B)
    outside = SparseTensor([[0, 9]], [1.0], [2, 3])
    for wrong in (
        sm.sparse_reduce_sum(outside),
        (outside * 2.0).values,
        sm.sparse_add(outside, A[0, :2, :3]),
    ):
        with pytest.raises(errors.InvalidArgumentError, match="out of bounds"):
            run(wrong)


def test_softmax_over_what_is_given():
    got = dense_of(sm.sparse_softmax(sparse(A)))
    given = A != 0
    powers = np.exp(A) * given
    want = np.divide(powers, powers.sum(-1, keepdims=True), where=given, out=np.zeros_like(A))
    np.testing.assert_allclose(got, want)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, d: sm.sparse_add(a, sparse(B)).values,
        lambda a, d: sm.sparse_add(a, d),
        lambda a, d: (a * d[:, :, :1]).values,
        lambda a, d: (a / d[0]).values,
        lambda a, d: sm.sparse_softmax(a).values,
        lambda a, d: sm.sparse_reduce_sum(a, [0, 2]),
        lambda a, d: ss.sparse_slice(a, [0, 0, 1], [2, 3, 2]).values,
    ],
)
def test_gradients_are_derivatives(function):
    beside = np.linspace(0.5, 2.0, A.size).reshape(A.shape)
    assert check_grad(lambda v, d: function(sparse(A, v), d), [A[A != 0], beside])


def test_concat_is_that_of_the_dense_tensors():
    for axis in (0, 1, -1):
        together = ss.sparse_concat(axis, [sparse(A), sparse(B)])
        np.testing.assert_allclose(dense_of(together), np.concatenate([A, B], axis))
    wide = run(ss.sparse_concat(0, [sparse([[1]]), sparse([[1, 2, 3]])], expand_nonconcat_dim=True))
    assert wide.dense_shape.tolist() == [2, 3]
    with pytest.raises(errors.InvalidArgumentError, match="expected 1 for dimension 1 but got 3"):
        run(ss.sparse_concat(0, [sparse([[1]]), sparse([[1, 2, 3]])]))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_parts_of_a_split_put_together_are_the_whole(count):
    pieces = ss.sparse_split(sp_input=sparse(A), num_split=count, axis=2)
    lengths = [p.dense_shape.tolist()[2] for p in run(pieces)]
    assert lengths == [len(p) for p in np.array_split(np.arange(4), count)]
    if count > 1:
        np.testing.assert_allclose(dense_of(ss.sparse_concat(2, pieces)), A)


def test_splits_that_are_none():
    with pytest.raises(ValueError, match="Keyword arguments"):
        ss.sparse_split(sparse(A), 2, 0)
    with pytest.raises(ValueError, match="axis is required"):
        ss.sparse_split(sp_input=sparse(A), num_split=2)
    with pytest.raises(errors.InvalidArgumentError, match="num_split should be between 1"):
        run(ss.sparse_split(sp_input=sparse(A), num_split=3, axis=0)[0])


def test_slices_and_transposes_are_those_of_the_dense_tensor():
    np.testing.assert_allclose(dense_of(ss.sparse_slice(sparse(A), [1, 0, 2], [1, 2, 9])), A[1:2, 0:2, 2:])
    with pytest.raises(errors.InvalidArgumentError, match="leave nothing"):
        run(ss.sparse_slice(sparse(A), [3, 0, 0], [1, 1, 1]))
    np.testing.assert_allclose(dense_of(ss.sparse_transpose(sparse(A))), A.T)
    np.testing.assert_allclose(dense_of(ss.sparse_transpose(sparse(A), [1, 0, 2])), A.transpose(1, 0, 2))


def test_a_shape_is_reset_to_a_larger_or_the_tightest_one():
    s = SparseTensor([[0, 1], [2, 0]], [5, 6], [4, 4])
    assert run(ss.sparse_reset_shape(s)).dense_shape.tolist() == [3, 2]
    assert run(ss.sparse_reset_shape(s, [4, 9])).dense_shape.tolist() == [4, 9]
    with pytest.raises(ValueError, match="dimension sizes >="):
        ss.sparse_reset_shape(s, [3, 9])
    unknown = sparse_placeholder("int32", [None, 4])
    smaller = ss.sparse_reset_shape(unknown, [3, 9])
    with Session() as session:
        assert session.run(smaller, {unknown: ([[0, 0]], [1], [3, 4])}).dense_shape.tolist() == [3, 9]
        with pytest.raises(errors.InvalidArgumentError, match="x <= y"):
            session.run(smaller, {unknown: ([[0, 0]], [1], [4, 4])})


def test_elements_outside_the_shape_are_in_no_slice():
    """As TensorFlow 1.15.5 gives it: a slice of the whole is a way to be rid of them."""
    stray = SparseTensor([[0, -1], [0, 1], [-1, 2], [5, 1], [0, 2]], [1.0, 2.0, 3.0, 4.0, 5.0], [1, 3])
    whole, part = run([ss.sparse_slice(stray, [0, 0], [1, 3]), ss.sparse_slice(stray, [0, 1], [1, 3])])
    assert whole.indices.tolist() == [[0, 1], [0, 2]]
    assert whole.values.tolist() == [2.0, 5.0]
    assert part.indices.tolist() == [[0, 0], [0, 1]]
    assert part.dense_shape.tolist() == [1, 2]


def test_ids_become_indices():
    ids = SparseTensor([[0, 0], [0, 1], [1, 0]], [3, 1, 0], [2, 2])
    weights = SparseTensor(ids.indices, [0.5, 2.0, 4.0], [2, 2])
    np.testing.assert_allclose(dense_of(ss.sparse_merge(ids, weights, 4)), [[0, 2, 0, 0.5], [4, 0, 0, 0]])
    assert run(ss.sparse_to_indicator(ids, 4)).tolist() == [
        [False, True, False, True],
        [True, False, False, False],
    ]
    both = run(ss.sparse_merge([ids, ids], weights, [4, 5]))
    assert both.indices.tolist() == [[0, 1, 1], [0, 3, 3], [1, 0, 0]]
    assert both.dense_shape.tolist() == [2, 4, 5]
    with pytest.raises(ValueError, match="equal lengths"):
        ss.sparse_merge([ids], weights, [4, 5])
    with pytest.raises(TypeError, match="vocab_size has to be"):
        ss.sparse_merge(ids, weights, [4])


@pytest.mark.parametrize("axis", [None, 0, 1, -2, 2])
def test_dimensions_of_one(axis):
    matrix = A[0]
    expanded = ss.sparse_expand_dims(sparse(matrix), axis)
    np.testing.assert_allclose(dense_of(expanded), np.expand_dims(matrix, -1 if axis is None else axis))
