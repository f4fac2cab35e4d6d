"""Orthogonal initializers of convolutions: TensorFlow 1.15.5's values, and norms that are kept."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn.variables import convolutional_initializers

# Shape, values with gain 2 and seed 5 after `tf.set_random_seed(7)`, then values with no seed, number of operations.
RECORDED = {
    "delta_orthogonal": (
        (3, 1, 2),
        [0.0, 0.0, 0.07925, 1.99843, 0.0, 0.0],
        [0.0, 0.0, -0.97948, 0.20152, 0.0, 0.0],
        42,
    ),
    "orthogonal_1d": (
        (3, 1, 2),
        [0.0, 0.0, -0.77493, 0.41912, 0.85418, 1.57931],
        [0.0, 0.0, 0.44494, 0.11652, -0.22495, 0.85898],
        166,
    ),
    "orthogonal_2d": (
        (2, 2, 1, 2),
        [
            0.0,
            0.0,
            0.0,
            0.0,
            -0.77493,
            0.41912,
            0.85418,
            1.57931,
        ],
        [
            0.19029,
            0.34355,
            0.0,
            0.0,
            0.80449,
            -0.4456,
            0.0,
            0.0,
        ],
        158,
    ),
    "orthogonal_3d": (
        (2, 2, 2, 1, 2),
        [
            0.0,
            0.0,
            0.85418,
            1.57931,
            0.0,
            0.0,
            -0.77493,
            0.41912,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
        ],
        [
            0.0,
            0.0,
            0.33963,
            0.01653,
            0.0,
            0.0,
            -0.02617,
            0.53751,
            0.0,
            0.0,
            -0.6512,
            -0.0317,
            0.0,
            0.0,
            -0.02003,
            0.41146,
        ],
        524,
    ),
}
KINDS = {
    "delta_orthogonal": convolutional_initializers.ConvolutionDeltaOrthogonal,
    "orthogonal_1d": convolutional_initializers.ConvolutionOrthogonal1D,
    "orthogonal_2d": convolutional_initializers.ConvolutionOrthogonal2D,
    "orthogonal_3d": convolutional_initializers.ConvolutionOrthogonal3D,
}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_values(name):
    shape, seeded, plain, count = RECORDED[name]
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.set_random_seed(7)
        made = [KINDS[name](gain=2.0, seed=5)(shape), KINDS[name]()(shape)]
        assert len(graph.get_operations()) == count
        found = session.run(made)
    for value, wanted in zip(found, (seeded, plain), strict=True):
        np.testing.assert_allclose(value.ravel(), wanted, atol=1e-5)


def test_a_convolution_keeps_the_norm():
    with tf.Graph().as_default(), tf.Session() as session:
        kernel = KINDS["orthogonal_2d"](seed=1)([3, 3, 2, 4])
        x = np.random.RandomState(0).randn(2, 6, 6, 2).astype(np.float32)
        # Padded with its other end.
        around = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="wrap")
        y = session.run(tf.nn.conv2d(around, kernel, 1, "VALID"))
    assert np.linalg.norm(y) == pytest.approx(np.linalg.norm(x), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("delta_orthogonal", (2, 2), "at least three-dimensional and at most five-dimensional"),
        ("orthogonal_1d", (2, 2, 2, 2), "must be three-dimensional"),
        ("orthogonal_2d", (2, 2, 3, 2), "In_filters cannot be greater than out_filters."),
        ("orthogonal_2d", (2, 3, 2, 2), "Kernel sizes must be equal."),
        ("orthogonal_3d", (2, 2), "must be five-dimensional"),
    ],
)
def test_shapes_that_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=message):
        KINDS[name]()(shape)
