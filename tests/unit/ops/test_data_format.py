"""Orders of dimensions: values and messages of TensorFlow 1.15.5."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kvarn import errors
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import data_format


def run(function, x, src, dst):
    with Graph().as_default() as graph, Session(graph=graph) as session:
        return session.run(function(np.array(x, np.int32), src_format=src, dst_format=dst)).tolist()


@pytest.mark.parametrize(
    ("x", "src", "dst", "expected"),
    [
        ([0, 1, -1, 3, -4, 2, 7, -9], "NHWC", "NCHW", [0, 2, 1, 1, 0, 3, 1, 1]),
        ([0, 1, -1, 3], "NHWC", "HWNC", [2, 0, 3, 3]),
        ([-6, -5, 4, 9], "NHWCD", "DNHWC", [4, 4, 1, 2]),
    ],
)
def test_dimensions(x, src, dst, expected):
    assert run(data_format.data_format_dim_map, x, src, dst) == expected


@pytest.mark.parametrize(
    ("x", "src", "dst", "expected"),
    [
        ([7, 4, 9, 3], "NHWC", "NCHW", [7, 3, 4, 9]),
        ([7, 4, 9, 3], "HWNC", "NHWC", [9, 7, 4, 3]),
        ([[7, 4], [9, 3], [4, 5], [5, 1]], "NHWC", "HWNC", [[9, 3], [4, 5], [7, 4], [5, 1]]),
    ],
)
def test_vectors(x, src, dst, expected):
    assert run(data_format.data_format_vec_permute, x, src, dst) == expected


@pytest.mark.parametrize(
    ("src", "dst", "message"),
    [
        ("NH", "NHWC", "Source format must be of length 4 or 5, received src_format = NH"),
        ("NHWC", "HW", "Destination format must be of length 4 or 5, received dst_format = HW"),
        ("NHWC", "NHHC", "Destination and source format must determine a permutation, got NHWC and NHHC"),
        ("NHHC", "NHHC", "Destination and source format must determine a permutation, got NHHC and NHHC"),
    ],
)
def test_formats_that_are_none(src, dst, message):
    for function in (data_format.data_format_dim_map, data_format.data_format_vec_permute):
        with pytest.raises(errors.InvalidArgumentError, match="^" + re.escape(message)):
            run(function, [0, 1, 2, 3], src, dst)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1, 2], "1D input must be of size 4, but got shape [2]"),
        ([[1, 2]], "First dimension of 2D input must be of size 4, but got shape [1,2]"),
        ([[1, 2, 3]] * 4, "Second dimension of 2D input must be of size 2, but got shape [4,3]"),
        (3, "input must be a vector or 2D tensor, but got shape []"),
    ],
)
def test_vectors_of_other_shapes(x, message):
    with pytest.raises(errors.InvalidArgumentError, match="^" + re.escape(message)):
        run(data_format.data_format_vec_permute, x, "NHWC", "NCHW")


def test_more_dimensions_than_numbers():
    with pytest.raises(errors.InvalidArgumentError, match="a format of 5 dimensions does not fit"):
        run(data_format.data_format_vec_permute, [1, 2, 3, 4], "NHWCD", "DNHWC")
