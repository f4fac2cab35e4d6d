"""Convolutions, pooling, batch normalisation: TensorFlow 1.15.5's graphs and values, formats, what is refused."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf

FOLDER = Path(__file__).parents[2] / "golden" / "nn"
RECORDED = json.loads(gzip.decompress((FOLDER / "tensorflow_1.15.5.json.gz").read_bytes()))


def _module() -> Any:
    spec = importlib.util.spec_from_file_location("nn_programs", FOLDER / "programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = _module()
X, FILTER = MODULE.X, MODULE.FILTER


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def _run(fetches, feeds=None):
    with tf.Session() as session:
        return session.run(fetches, feeds)


def test_every_program_is_recorded():
    assert set(MODULE.PROGRAMS) == set(RECORDED)


@pytest.mark.parametrize("name", sorted(MODULE.PROGRAMS))
def test_graphs_and_values(graph, name):
    fetches = MODULE.PROGRAMS[name](tf)
    expected = RECORDED[name]
    # TensorFlow makes the second derivative of batch normalisation by a gradient tape, which names nothing.
    if name != "batch_norm_twice":
        assert [[n.name, n.op, list(n.input)] for n in graph.as_graph_def().node] == expected["nodes"]
    assert [str(t.shape) for t in fetches] == expected["shapes"]
    for found, value in zip(_run(fetches), expected["values"], strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=2e-5)


def _channels_first(x):
    return np.moveaxis(x, -1, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda x, form: tf.nn.conv2d(x, FILTER, [2, 1], "SAME", data_format=form),
        lambda x, form: tf.nn.conv2d_transpose(
            x, MODULE.numbers(3, 2, 2, 3), [2, 2, 7, 5] if form == "NCHW" else [2, 7, 5, 2], 1, "VALID",
            data_format=form,
        ),
        lambda x, form: tf.nn.depthwise_conv2d(x, FILTER, [1, 1, 1, 1], "VALID", data_format=form),
        lambda x, form: tf.nn.max_pool(x, 2, [2, 1], "SAME", data_format=form),
        lambda x, form: tf.nn.avg_pool(x, 2, [2, 1], "SAME", data_format=form),
        lambda x, form: tf.nn.fused_batch_norm(x, [1.0, 2.0, 3.0], [0.1, 0.2, 0.3], data_format=form)[0],
        lambda x, form: tf.nn.fused_batch_norm(
            x, [1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [0.0, 0.1, 0.2], [1.0, 2.0, 3.0], data_format=form,
            is_training=False,
        )[0],
    ],
)  # fmt: skip
def test_channels_first_is_channels_last_with_dimensions_moved(make):
    x = tf.constant(X)
    last, moved = make(x, "NHWC"), tf.transpose(x, [0, 3, 1, 2])
    first = make(moved, "NCHW")
    pairs = [(last, first), (tf.gradients(last * last, x)[0], tf.gradients(first * first, x)[0])]
    wanted, found = _run(pairs[0])
    np.testing.assert_allclose(_channels_first(wanted), found, rtol=1e-5, atol=1e-6)
    wanted, found = _run(pairs[1])
    np.testing.assert_allclose(wanted, found, rtol=1e-4, atol=1e-5)


def test_convolution_of_short_floats_is_summed_in_long_ones():
    x, f = X.astype(np.float16), FILTER.astype(np.float16)
    short = _run(tf.nn.conv2d(x, f, 1, "SAME"))
    wide = _run(tf.nn.conv2d(x.astype(np.float32), f.astype(np.float32), 1, "SAME"))
    assert short.dtype == np.float16
    np.testing.assert_array_equal(short, wide.astype(np.float16))


def test_dilations_are_holes_in_the_filter():
    holes = np.zeros((5, 3, 3, 4), np.float32)
    holes[::2, ::2] = FILTER
    x = tf.constant(X)
    with_holes = tf.nn.conv2d(x, FILTER, 1, "SAME", dilations=[2, 2])
    wanted = tf.nn.conv2d(x, holes, 1, "SAME")
    for a, b in ((with_holes, wanted), (tf.gradients(with_holes**2, x), tf.gradients(wanted**2, x))):
        np.testing.assert_allclose(*_run([a, b]), rtol=1e-5, atol=1e-5)


def test_nothing_in_nothing_out():
    empty = tf.placeholder(tf.float32, [None, 5, 4, 3])
    made = [tf.nn.conv2d(empty, FILTER, 1, "SAME"), tf.nn.max_pool(empty, 2, 2, "VALID")]
    made += [tf.nn.avg_pool(empty, 2, 2, "SAME"), tf.gradients(made[0], empty)[0]]
    shapes = [v.shape for v in _run(made, {empty: np.zeros((0, 5, 4, 3))})]
    assert shapes == [(0, 5, 4, 4), (0, 2, 2, 3), (0, 3, 2, 3), (0, 5, 4, 3)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: tf.nn.conv2d(X, FILTER[:, :, :2], 1, "SAME"),
            r"Depth of input \(3\) is not a multiple of input ",
        ),
        (
            lambda: tf.nn.conv2d(X, FILTER, 1, "FOO"),
            "Attr 'padding' of 'Conv2D' Op passed string 'FOO' not in: ",
        ),
        (lambda: tf.nn.conv2d(X, FILTER, 1, "EXPLICIT"), '"EXPLICIT" is not a valid value for the padding'),
        (lambda: tf.nn.conv2d(X, FILTER, 1, [[0, 0]]), "it must be of size 4. Got padding of size: 1"),
        (
            lambda: tf.nn.conv2d(X, FILTER, [1, 2, 3], "SAME"),
            "strides should be of length 1, 2 or 4 but was 3",
        ),
        (
            lambda: tf.nn.conv2d(X, FILTER, 1, "SAME", filters=FILTER),
            "Cannot specify both 'filter' and 'filters'",
        ),
        (lambda: tf.nn.conv2d(X, FILTER[0], 1, "SAME"), "Shape must be rank 4 but is rank 3 for 'Conv2D' "),
        (
            lambda: tf.nn.max_pool(X, 9, 1, "VALID"),
            "Negative dimension size caused by subtracting 9 from 5 for ",
        ),
        (lambda: tf.nn.max_pool(X, 0, 1, "VALID"), "ksize cannot be zero."),
        (
            lambda: tf.nn.fused_batch_norm(X, [1.0] * 3, [1.0] * 3, mean=[1.0] * 3),
            "Both 'mean' and 'variance' must",
        ),
    ],
)
def test_what_is_refused_while_building(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_refused_while_running():
    x, f = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
    conv = tf.nn.conv2d(x, f, 1, "VALID")
    cases = [
        (
            conv,
            {x: X, f: np.zeros((3, 3, 2, 5))},
            "input depth must be evenly divisible by filter depth: 3 vs 2",
        ),
        (conv, {x: X, f: np.zeros((9, 3, 3, 5))}, "Computed output size would be negative: -3 "),
        (tf.nn.max_pool(x, 2, 1, "VALID"), {x: X[0]}, "tensor_in_shape must have 2 spatial dimensions"),
        (tf.image.resize_bilinear(X, [0, 2]), {}, "output dimensions must be positive"),
        (tf.image.resize_bilinear(x, [2, 2]), {x: X[0]}, r"input must be 4-dimensional\["),
        (tf.image.resize_bilinear(x, [2, 2]), {x: X[:, :0]}, "input image must be of non-zero size"),
        (
            tf.image.resize_nearest_neighbor(x, [2, 2]),
            {x: X[..., :0]},
            "image must have at least one channel",
        ),
        (
            tf.image.resize_nearest_neighbor(X, [2, 2], align_corners=True, half_pixel_centers=True),
            {},
            "If half_pixel_centers is True, align_corners must be False.",
        ),
    ]
    for fetch, feeds, message in cases:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            _run(fetch, feeds)
    for fetch, message in (
        (
            tf.nn.conv2d(X, np.zeros((1, 1, 1, 3), np.float32), 1, "SAME"),
            "does not support grouped convolutions",
        ),
        (tf.nn.avg_pool(X, [1, 1, 1, 3], [1, 1, 1, 3], "VALID"), "Non-spatial pooling is not yet supported"),
        (tf.nn.max_pool(X, [1, 2, 2, 3], [1, 1, 1, 3], "VALID"), "exactly one of pooling across depth"),
    ):
        with pytest.raises(tf.errors.UnimplementedError, match=message):
            _run(fetch)


def test_greatest_of_channels():
    x = MODULE.numbers(2, 3, 4, 6)
    found = _run(tf.nn.max_pool(x, [1, 1, 1, 3], [1, 1, 1, 3], "VALID"))
    np.testing.assert_array_equal(found, x.reshape(2, 3, 4, 2, 3).max(-1))


def test_pooling_and_transposes_of_any_rank():
    from kvarn.ops import nn_pooling

    line, block = MODULE.LINE, MODULE.BLOCK
    pairs = [
        (nn_pooling.max_pool_v2(line, 3, 2, "SAME"), tf.nn.max_pool1d(line, 3, 2, "SAME")),
        (nn_pooling.max_pool_v2(X, 2, 1, "VALID"), tf.nn.max_pool(X, 2, 1, "VALID")),
        (nn_pooling.avg_pool_v2(block, 2, 2, "SAME"), tf.nn.avg_pool3d(block, 2, 2, "SAME")),
        (
            tf.nn.conv_transpose(line, MODULE.numbers(3, 2, 3), [2, 14, 2], 2),
            tf.nn.conv1d_transpose(line, MODULE.numbers(3, 2, 3), [2, 14, 2], 2),
        ),
        (
            tf.nn.conv_transpose(X, MODULE.numbers(3, 2, 2, 3), tf.constant([2, 5, 4, 2]), 1),
            tf.nn.conv2d_transpose(X, MODULE.numbers(3, 2, 2, 3), [2, 5, 4, 2], 1),
        ),
    ]
    for found, wanted in _run(pairs):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match="Input tensor must be of rank 3, 4 or 5 but was 2"):
        nn_pooling.max_pool_v2(line[0], 2, 1, "SAME")
    with pytest.raises(ValueError, match="output_shape must be of length 3, 4 or 5 but was 2"):
        tf.nn.conv_transpose(X, FILTER, [1, 2], 1)


def test_images_of_unknown_size_have_gradients():
    images = tf.placeholder(tf.float32, [None, None, None, 3])
    resized = tf.image.resize_nearest_neighbor(images, [2, 2])
    assert resized.shape.as_list() == [None, 2, 2, 3]
    found = _run(tf.gradients(resized, images)[0], {images: X})
    assert found.sum() == 2 * 2 * 2 * 3
    assert set(found.ravel()) == {0.0, 1.0}


def test_gradients_of_resized_images_are_added_up_in_one_order():
    """As TensorFlow adds: any other order gives other last bits."""
    images = tf.constant(np.random.RandomState(0).rand(2, 5, 7, 2).astype(np.float32))
    resized = tf.image.resize_bilinear(images, [9, 18])
    found = _run(tf.gradients(resized * np.float32(1.1), images)[0], {})
    first = [2.9129629135131836, 3.972222328186035, 4.148764610290527, 4.0604939460754395, 4.060493469238281]
    assert found[0, 0, :5, 0].tolist() == first
