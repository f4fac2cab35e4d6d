"""Rows and elements by index, partitions and stitches: values at the edges and messages of TensorFlow 1.15.5."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kvarn import errors
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import array, gather, joining, state
from kvarn.variables.variable import VariableV1

MATRIX = [[1, 2], [3, 4]]


def run(build):
    with Graph().as_default() as graph, Session(graph=graph) as session:
        return session.run(build())


def of(value):
    """A tensor of which nothing is known before the run."""
    return array.placeholder_with_default(np.array(value, np.int32), None)


def refused(build, message):
    with pytest.raises(errors.InvalidArgumentError, match="^" + re.escape(message)):
        run(build)


def refused_when_built(build, message):
    with Graph().as_default(), pytest.raises(ValueError, match="^" + re.escape(message)):
        build()


# -- gather ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "indices", "axis", "batch_dims", "message"),
    [
        (MATRIX, [0], 2, 0, "Expected axis in the range [-2, 2), but got 2"),
        (MATRIX, [0], [1], 0, "axis must be scalar"),
        (3, [0], 0, 0, "params must be at least 1 dimensional"),
        (MATRIX, [0, 1], 1, 1, "Expected batch_dims in the range [-1, 1), but got 1"),
        (MATRIX, [[0], [1]], 0, 1, "batch_dims (1) must be less than or equal to axis (0)."),
        ([1, 2], [[0], [1]], 0, 1, "batch_dims (1) must be less than rank(params) (1)."),
        (MATRIX, [5], 1, 0, "indices[0] = 5 is not in [0, 2)"),
    ],
)
def test_gather_refuses(params, indices, axis, batch_dims, message):
    refused(lambda: gather.gather(of(params), of(indices), axis=of(axis), batch_dims=batch_dims), message)


def test_gather_refuses_when_built():
    refused_when_built(
        lambda: gather.gather(MATRIX, [0], axis=2),
        "Shape must be at least rank 3 but is rank 2 for 'GatherV2'",
    )
    refused_when_built(lambda: gather.gather(MATRIX, [0], axis=[1]), "Shape must be rank 0 but is rank 1")


def test_gather_nd_of_no_dimensions_takes_all():
    np.testing.assert_array_equal(
        run(lambda: gather.gather_nd(MATRIX, np.zeros([2, 0], np.int32))), [MATRIX, MATRIX]
    )
    several = run(lambda: gather.gather_nd(MATRIX, np.zeros([2, 3, 0], np.int32)))
    assert several.shape == (2, 3, 2, 2)
    assert run(lambda: gather.gather_nd(MATRIX, np.zeros([0, 1], np.int32))).shape == (0, 2)


def test_gather_nd_refuses():
    empty = np.zeros([0, 2], np.float32)
    message = "Requested more than 0 entries, but params is empty.  Params shape: [0,2]"
    refused(lambda: gather.gather_nd(empty, np.zeros([1, 2], np.int32)), message)
    refused(lambda: gather.gather_nd(empty, np.zeros([2, 0], np.int32)), message)
    refused(
        lambda: gather.gather_nd(MATRIX, [[0, 5]]),
        "indices[0] = [0, 5] does not index into param shape [2,2]",
    )
    refused(
        lambda: gather.gather_nd(MATRIX, [0, 5]), "indices = [0, 5] does not index into param shape [2,2]"
    )
    refused_when_built(
        lambda: gather.gather_nd(MATRIX, [[0, 5, 6]]),
        "indices.shape[-1] must be <= params.rank, but saw indices shape: [1,3] and params shape: [2,2]",
    )
    refused_when_built(lambda: gather.gather_nd(MATRIX, 0), "Shape must be at least rank 1 but is rank 0")


# -- scatter ---------------------------------------------------------------------------------------


def test_scatter_nd_adds():
    strings = run(lambda: gather.scatter_nd([[1], [2], [2]], ["a", "b", "c"], [4]))
    assert strings.tolist() == [b"", b"a", b"bc", b""]
    truths = run(lambda: gather.scatter_nd([[1], [2], [2]], [True, True, False], [4]))
    assert truths.tolist() == [False, True, True, False]
    assert run(lambda: gather.tensor_scatter_sub([5, 6, 7], [[1], [1]], [1, 2])).tolist() == [5, 3, 7]
    none = np.zeros([0], np.int32)
    assert run(lambda: gather.scatter_nd(none, none, [0])).tolist() == []


@pytest.mark.parametrize(
    ("indices", "updates", "shape", "message"),
    [
        ([[0], [1]], [[1], [2]], [4], "Inner dimensions of output shape must match inner dimensions of updates "
         "shape. Output: [4] updates: [2,1]"),
        ([[0], [1]], [1], [4], "Outer dimensions of indices and update must match. Indices shape: [2,1], updates "
         "shape:[1]"),
        ([[0], [1]], [[1, 2], [3, 4]], [4, 3], "The inner 1 dimensions of output.shape=[4,3] must match the inner 1 "
         "dimensions of updates.shape=[2,2]"),
        ([[0], [1]], [[1, 2], [3, 4]], [0, 2], "Indices and updates specified for empty output.  indices "
         "shape: [2,1]"),
        ([[0], [1]], [[1, 2], [3, 4]], [[4, 2]], "Shape must be a vector"),
        ([[1], [2], [7]], [1, 2, 3], [4], "indices[2] = [7] does not index into shape [4]"),
        (np.zeros([1, 0]), [[1, 2]], [2], "Indices and updates specified for empty output shape"),
    ],
)  # fmt: skip
def test_scatter_nd_refuses(indices, updates, shape, message):
    refused(lambda: gather.scatter_nd(of(indices), of(updates), of(shape)), message)


@pytest.mark.parametrize(
    ("indices", "updates", "shape", "message"),
    [
        (np.zeros([2, 2, 2], np.int32), np.zeros([2, 2, 2]), [0, 3, 2], "Indices and updates specified for empty "
         "output shape"),
        ([[1], [2], [7]], [1, 2], [4], "The outer 1 dimensions of indices.shape=[3,1] must match the outer 1 "
         "dimensions of updates.shape=[2]: Dimension 0 in both shapes must be equal, but are 3 and "
         "2. Shapes are [3] and [2]."),
        ([[1], [2]], [[1], [2]], [4], "The inner 0 dimensions of output.shape=[?] must match the inner 1 dimensions "
         "of updates.shape=[2,1]: Shapes must be equal rank, but are 0 and 1 for 'ScatterNd'"),
        ([1, 2, 2], [1, 2, 3], [4], "The inner -2 dimensions of output.shape=[?] must match the inner 1 dimensions "
         "of updates.shape=[3]"),
    ],
)  # fmt: skip
def test_scatter_nd_refuses_when_built(indices, updates, shape, message):
    refused_when_built(lambda: gather.scatter_nd(indices, updates, shape), message)


def test_tensor_scatter_refuses():
    refused(
        lambda: gather.tensor_scatter_add(MATRIX, [[0, 5]], [1]),
        "indices[0] = [0, 5] does not index into shape [2,2]",
    )
    refused_when_built(
        lambda: gather.tensor_scatter_sub(5, [[1], [1]], [1, 2]),
        "Shape must be at least rank 1 but is rank 0",
    )
    add = gather.scatter_nd_non_aliasing_add
    refused(
        lambda: add(of([5, 6, 7]), of([[1], [1]]), of([1])),
        "The outermost dimension of updates and indices must match. Got indices.shape [2,1], updates.shape [1]",
    )
    refused(
        lambda: add(of(np.zeros([0, 2])), of([[1], [1]]), of([[1, 1], [1, 1]])),
        "Indices and updates specified for empty output.  indices shape: [2,1]",
    )


@pytest.mark.parametrize("use_resource", [False, True])
def test_one_row_of_a_variable_by_a_scalar_index(use_resource):
    with Graph().as_default() as graph, Session(graph=graph) as session:
        variable = VariableV1([[1.0, 2.0], [3.0, 4.0]], use_resource=use_resource)
        added = state.scatter_add(variable, 1, [10.0, 20.0])
        session.run(variable.initializer)
        assert session.run(added).tolist() == [[1, 2], [13, 24]]


# -- partitions, stitches, offsets -----------------------------------------------------------------


def test_partitions_refuse():
    data = [1.0, 2.0, 3.0]
    refused(lambda: gather.dynamic_partition(data, of(17), 7), "partitions = 17 is not in [0, 7)")
    refused(
        lambda: gather.dynamic_partition([data[:2]], of([[0, -1]]), 2),
        "partitions[0,1] = -1 is not in [0, 2)",
    )
    refused_when_built(
        lambda: gather.dynamic_partition(data, [0, 1], 2), "Dimensions must be equal, but are 3 and 2"
    )


def test_stitches_refuse_when_built():
    refused_when_built(
        lambda: gather.dynamic_stitch([[0, 1], [2]], [[1.0], [2.0]]),
        "Dimensions must be equal, but are 1 and 2",
    )
    refused_when_built(
        lambda: gather.dynamic_stitch([[0], [[2]]], [[1.0], [2.0]]),
        "Shape must be at least rank 2 but is rank 1",
    )


@pytest.mark.parametrize(
    ("dim", "shapes", "message"),
    [
        (4, [[1, 2, 3]] * 2, "Concat dim is out of range: 4 vs. 3"),
        (1, [[1, 2, 3], [1, 2, 5]], "All dimensions except 1 must match. Input 1 has shape [1 2 5] and doesn't match "
         "input 0 with shape [1 2 3]."),
        (1, [[1, 2, 3], [1, 2, 3, 4]], "input 1 should contain 3 elements, but got 4"),
        (1, [[[1, 2, 3]]] * 2, "input 1 should be a vector, but got shape [1,3]"),
        ([1, 2], [[1, 2, 3]] * 2, "Concat dim tensor should be a scalar integer, but got shape [2]"),
    ],
)  # fmt: skip
def test_offsets_refuse(dim, shapes, message):
    refused(lambda: joining.concat_offset(of(dim), [of(s) for s in shapes]), message)


def test_offsets():
    found = run(lambda: joining.concat_offset(of(-1), [of([1, 2, 3]), of([1, 2, 5])]))
    assert [f.tolist() for f in found] == [[0, 0, 0], [0, 0, 3]]
