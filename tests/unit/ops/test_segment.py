"""Segments: what is said of ids and indices that do not fit, as TensorFlow 1.15.5 says it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kvarn import errors
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import array, segment

X = np.arange(12, dtype=np.float32).reshape(4, 3)
UNSORTED = "possibly because 'segment_ids' input is not sorted."


def run(build):
    with Graph().as_default() as graph, Session(graph=graph) as session:
        return session.run(build())


def of(value):
    """A tensor of which nothing is known before the run."""
    return array.placeholder_with_default(np.array(value, np.int32), None)


def refused(message, build):
    with pytest.raises(errors.InvalidArgumentError, match="^" + re.escape(message)):
        run(build)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([-1, -1, 0, 0], f"Segment id -1 out of range [0, 1), {UNSORTED}"),
        ([0, 1, 0, 1], "segment ids are not increasing"),
        ([0, 1, 2, 0], f"Segment id 1 out of range [0, 1), {UNSORTED}"),
        ([0, 0, 0, -1], "segment ids must be >= 0"),
        ([0, 0, -3, 2], "segment ids are not increasing"),
        ([1, 0, 0, 5], "segment ids are not increasing"),
        ([[0, 1], [1, 2]], "segment_ids should be a vector."),
        ([0, 1], "segment_ids should be the same size as dimension 0 of input."),
    ],
)
def test_ids_of_sorted_segments(ids, message):
    refused(message, lambda: segment.segment_sum(X, of(ids)))


@pytest.mark.parametrize(
    ("indices", "ids", "message"),
    [
        ([3, -1, 0, 2], [0, 1, 2, 2], "Bad: indices[1] == -1 out of range [0, 4)"),
        ([3, 1, 0, 4], [0, 1, 2, 2], "Bad: indices[3] == 4 out of range [0, 4)"),
        ([3, 1, 0, 2], [0, 1, 2, 0], f"Segment id 1 out of range [0, 1), {UNSORTED}"),
        # The ids of a segment are looked at before its indices, but not before those of earlier segments.
        ([3, 9, 0, 2], [0, 1, 2, 0], f"Segment id 1 out of range [0, 1), {UNSORTED}"),
        ([9, 1, 0, 2], [0, 1, 2, 0], "Bad: indices[0] == 9 out of range [0, 4)"),
        ([9, 1, 0, 2], [-1, 0, 1, 1], f"Segment id -1 out of range [0, 2), {UNSORTED}"),
        ([0], [0, 1], "segment_ids and indices should have same size."),
        ([[0]], [0], "indices should be a vector."),
        ([0], [[0]], "segment_ids should be a vector."),
    ],
)
def test_ids_and_indices_of_chosen_rows(indices, ids, message):
    refused(message, lambda: segment.sparse_segment_mean(X, of(indices), of(ids)))


def test_given_number_of_segments():
    def sums(n):
        return segment.sparse_segment_sqrt_n(X, of([0, 1, 1]), of([0, 2, 2]), num_segments=of(n))

    expected = np.float32([[0, 1, 2], [0, 0, 0], [4.2426410, 5.6568542, 7.0710678], [0, 0, 0]])
    np.testing.assert_array_equal(run(lambda: sums(4)), expected)
    refused("segment ids must be < num_segments", lambda: sums(2))
    refused("segment ids must be >= 0", lambda: sums(-1))
    refused("num_segments should be a scalar, not shape [1]", lambda: sums([3]))


@pytest.mark.parametrize(
    ("indices", "ids", "message"),
    [
        ([2, 3, 0, 1], [0, 1, 1, 4], "Invalid number of segments"),
        ([2, 3, 0, 1], [0, 1, 5, 0], "Segment id 5 out of range [0, 4)."),
        ([2, 3, 0, 1], [-1, 0, 1, 1], "Segment id -1 out of range [0, 4)."),
        ([2, 3, 0, 5], [0, 1, 2, 3], "Index 5 out of range [0, 4)."),
        ([-2, 3, 0, 5], [0, 1, 2, 3], "Index -2 out of range [0, 4)."),
    ],
)
def test_ids_and_indices_of_a_gradient(indices, ids, message):
    refused(message, lambda: segment.sparse_segment_mean_grad(X, of(indices), of(ids), 4))


def test_gradients_are_spread_over_the_rows():
    def spread(function, rows):
        return run(lambda: function(X, of([2, 3, 0, 2]), of([0, 1, 1, 3]), rows))

    mean = np.float32([[1.5, 2, 2.5], [0, 0, 0], [9, 11, 13], [1.5, 2, 2.5]])
    np.testing.assert_array_equal(spread(segment.sparse_segment_mean_grad, 4), mean)
    half = [2.1213202476501465, 2.8284270763397217, 3.535533905029297]
    sqrt_n = np.float32([half, [0, 0, 0], [9, 11, 13], half, [0, 0, 0]])
    np.testing.assert_array_equal(spread(segment.sparse_segment_sqrt_n_grad, 5), sqrt_n)


@pytest.mark.parametrize(
    ("ids", "n", "message"),
    [
        ([0, 1, 2, 3], -2, "Input num_segments == -2 must not be negative."),
        ([0, 1, 2, 3], [2, 2], "num_segments should be a scalar, not shape [2]"),
        ([[0, 5], [2, 3]], 2, "data.shape = [4,3] does not start with segment_ids.shape = [2,2]"),
        ([0, 1, 7, 3], 4, "segment_ids[2] = 7 is out of range [0, 4)"),
    ],
)
def test_unsorted_segments(ids, n, message):
    refused(message, lambda: segment.unsorted_segment_sum(X, of(ids), of(n)))


def test_place_of_an_id_among_several_dimensions():
    def sums(function):
        return function(np.ones([2, 2]), of([[0, 1], [2, 3]]), of(2))

    for function in (
        segment.unsorted_segment_min,
        segment.unsorted_segment_sum,
        segment.unsorted_segment_prod,
    ):
        refused("segment_ids[1,0] = 2 is out of range [0, 2)", lambda function=function: sums(function))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: segment.segment_sum([17], [[1]]), "Shape must be rank 1 but is rank 2 for 'SegmentSum'"),
        (lambda: segment.segment_sum(3, [1]), "Shape must be at least rank 1 but is rank 0"),
        (
            lambda: segment.sparse_segment_sum([3.0], [1], [0, 1]),
            "Dimension 0 in both shapes must be equal, but are 1 and 2. Shapes are [1] and [2].",
        ),
        (
            lambda: segment.sparse_segment_sum([3.0], [1], [0], num_segments=-1),
            "Cannot specify a negative value for num_segments",
        ),
        (
            lambda: segment.sparse_segment_mean_grad([3.0], [1], [0], -1),
            "Cannot specify a negative value for output_dim0",
        ),
        (
            lambda: segment.unsorted_segment_sum([[17]], [[2]], -2),
            "Dimension size, given by scalar input 2, must be non-negative but is -2",
        ),
        (lambda: segment.unsorted_segment_sum([17], [[2]], 2), "Shape must be at least rank 2 but is rank 1"),
        (lambda: segment.unsorted_segment_sum([17], [1, 2], 2), "Dimensions must be equal, but are 1 and 2"),
    ],
)
def test_shapes_that_do_not_fit(build, message):
    with Graph().as_default(), pytest.raises(ValueError, match="^" + re.escape(message)):
        build()
