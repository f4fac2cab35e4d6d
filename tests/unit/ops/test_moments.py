"""Statistics of tensors: values of TensorFlow 1.15.5."""

from __future__ import annotations

import numpy as np
import pytest

from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.ops import array, moments, nn

Y = np.float32([[0, 1, 1, 0, 0], [0, 2, 0, 1, 0], [1, 0, 0, 2, 0], [1, 2, 0, 1, 1]])


def run(build):
    with Graph().as_default() as graph, Session(graph=graph) as session:
        return session.run([x for x in build() if x is not None])


def same(build, *expected):
    for found, wanted in zip(run(build), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_moments():
    same(lambda: moments.moments(constant(Y), [1]), [0.4, 0.6, 0.6, 1.0], [0.24, 0.64, 0.64, 0.4])
    same(lambda: moments.moments_v2(constant(Y), [0, 1], keepdims=True), [[0.65]], [[0.5275]])


def test_weighted_moments():
    weights = np.arange(1, 6, dtype=np.float32)
    mean, variance = [0.5, 1.25, 0.25, 1.0, 0.25], [0.25, 0.6875, 0.1875, 0.5, 0.1875]
    same(lambda: moments.weighted_moments(constant(Y), [0], constant(weights)), mean, variance)


def test_half_precision_is_summed_in_single():
    def build(function, **kwargs):
        return function(constant(Y.astype(np.float16)), [0, 1], constant([[1], [2], [0], [4]]), **kwargs)

    for found in (
        run(lambda: build(moments.weighted_moments, keep_dims=True)),
        run(lambda: build(moments.weighted_moments_v2, keepdims=True)),
    ):
        assert [f.dtype for f in found] == [np.float16, np.float16]
        assert [f.tolist() for f in found] == [[[0.7998046875]], [[0.5029296875]]]


def test_sufficient_statistics():
    static = run(lambda: moments.sufficient_statistics(constant(Y), [0]))
    assert [s.tolist() for s in static] == [4, [2, 5, 1, 4, 1], [2, 9, 1, 6, 1]]
    x = array.placeholder_with_default
    shifted = run(lambda: moments.sufficient_statistics(x(Y, None), [0, 1], shift=1.5, keep_dims=True))
    assert [s.tolist() for s in shifted] == [20, [[-17]], [[25]], 1.5]
    again = run(lambda: moments.sufficient_statistics_v2(x(Y, None), [0, 1], shift=1.5, keepdims=True))
    assert [s.tolist() for s in again] == [20, [[-17]], [[25]], 1.5]


def test_normalize_moments():
    def build(shift):
        return moments.normalize_moments(constant(4.0), constant([2.0, 3.0]), constant([5.0, 6.0]), shift)

    same(lambda: build(None), [0.5, 0.75], [1.0, 0.9375])
    same(lambda: build(constant(1.0)), [1.5, 1.75], [1.0, 0.9375])


def test_zero_fraction():
    same(lambda: [moments.zero_fraction(Y)], 0.5)
    same(lambda: [moments.zero_fraction(array.placeholder_with_default(Y, None))], 0.5)
    assert np.isnan(run(lambda: [moments.zero_fraction(np.zeros([0], np.float32))])[0])


def test_two_names_of_one_argument():
    for function in (moments.moments, moments.sufficient_statistics):
        with Graph().as_default(), pytest.raises(ValueError, match="Cannot specify both"):
            function(constant(Y), [0], keep_dims=True, keepdims=True)


def test_poisson_loss():
    def loss(full):
        return [nn.log_poisson_loss(constant([0.5, 1.0, 3.0]), constant([0.1, 0.2, 0.3]), full)]

    np.testing.assert_allclose(run(lambda: loss(False))[0], [1.05517, 1.0214, 0.44986], atol=5e-6)
    np.testing.assert_allclose(run(lambda: loss(True))[0], [1.05517, 1.0214, 2.21394], atol=5e-6)
    with (
        Graph().as_default(),
        pytest.raises(ValueError, match=r"must have the same shape \(\(2,\) vs \(3,\)\)"),
    ):
        nn.log_poisson_loss([0.5, 1.0, 3.0], [0.1, 0.2])
