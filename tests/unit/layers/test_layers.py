"""tf.layers: the graphs, values and collections of TensorFlow 1.15.5 (tests/golden/layers), and what is refused."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf

FOLDER = Path(__file__).parents[2] / "golden" / "layers"
RECORDED = json.loads(gzip.decompress((FOLDER / "tensorflow_1.15.5.json.gz").read_bytes()))


def _programs() -> Any:
    spec = importlib.util.spec_from_file_location("layers_programs", FOLDER / "programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROGRAMS


PROGRAMS = _programs()


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def test_every_program_is_recorded():
    assert set(PROGRAMS) == set(RECORDED)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_graphs_values_and_collections(graph, name):
    with tf.Session() as session:
        fetches, feeds = PROGRAMS[name](tf)
        session.run(tf.global_variables_initializer())
        values = session.run(fetches, feeds)
    expected = RECORDED[name]
    assert [[n.name, n.op, list(n.input)] for n in graph.as_graph_def().node] == expected["nodes"]
    assert [str(t.shape) for t in fetches] == expected["shapes"]
    for found, value in zip(values, expected["values"], strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-5)
    assert {
        key: [x.name for x in graph.get_collection(key) if hasattr(x, "name")]
        for key in graph.get_all_collection_keys()
    } == expected["collections"]


IMAGES = np.linspace(-1.0, 1.0, 2 * 5 * 4 * 3).reshape(2, 5, 4, 3).astype(np.float32)


def _values(fetches):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches)


@pytest.mark.parametrize("strides", [1, 2])
def test_transpose_with_channels_first_is_that_with_channels_last(strides):
    options = {"strides": strides, "kernel_initializer": tf.random_uniform_initializer(seed=3)}
    last = tf.layers.conv2d_transpose(IMAGES, 2, (3, 2), **options)
    moved = tf.constant(np.moveaxis(IMAGES, -1, 1))
    first = tf.layers.conv2d_transpose(moved, 2, (3, 2), data_format="channels_first", **options)
    wanted, found = _values([last, first])
    np.testing.assert_allclose(np.moveaxis(wanted, -1, 1), found, rtol=1e-5, atol=1e-6)
    assert first.shape.as_list() == list(found.shape)


def test_convolution_with_channels_first_is_that_with_channels_last():
    options = {
        "kernel_initializer": tf.random_uniform_initializer(seed=3),
        "bias_initializer": tf.ones_initializer(),
    }
    moved = tf.constant(np.moveaxis(IMAGES, -1, 1))
    for function in (tf.layers.conv2d, tf.layers.average_pooling2d, tf.layers.max_pooling2d):
        given = options if function is tf.layers.conv2d else {}
        arguments = (2, 3) if function is tf.layers.conv2d else (2, 1)
        last = function(IMAGES, *arguments, **given)
        first = function(moved, *arguments, data_format="channels_first", **given)
        wanted, found = _values([last, first])
        np.testing.assert_allclose(np.moveaxis(wanted, -1, 1), found, rtol=1e-5, atol=1e-6)


def test_updates_move_the_averages():
    x = tf.constant([[1.0], [3.0], [8.0]])
    layer = tf.layers.BatchNormalization(momentum=0.75)
    layer(x, training=True)
    assert layer.updates == tf.get_collection(tf.GraphKeys.UPDATE_OPS) == layer.get_updates_for(x)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(2):
            session.run(layer.updates)
        mean, variance = session.run([layer.moving_mean, layer.moving_variance])
    np.testing.assert_allclose(mean, [4.0 * (1 - 0.75**2)], rtol=1e-6)
    np.testing.assert_allclose(variance, [0.75**2 + (26.0 / 3) * (1 - 0.75**2)], rtol=1e-6)


def test_layers_of_keras_find_what_is_assigned_to_them():
    class Outer(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__(name="outer")
            self.inner = tf.keras.layers.Dense(2, kernel_regularizer=tf.keras.regularizers.l1(1.0))
            self.parts = [tf.keras.layers.Dense(1), tf.layers.Dense(1)]
            self.own = tf.Variable(1.0, trainable=False)

        def call(self, x):
            return self.parts[1](self.parts[0](self.inner(x))) * self.own

    layer = Outer()
    layer(tf.ones([2, 3]))
    assert len(layer.trainable_weights) == 6
    assert layer.non_trainable_weights == [layer.own]
    assert len(layer.losses) == 1
    assert layer.count_params() == 14
    layer.trainable = False
    assert layer.trainable_weights == []
    assert not layer.inner.trainable
    del layer.inner
    assert len(layer.weights) == 5


def test_dropout_follows_the_learning_phase():
    x = tf.ones([100])
    dropped = tf.keras.layers.Dropout(0.5)(x)
    phase = tf.get_default_graph().get_tensor_by_name("keras_learning_phase:0")
    with tf.Session() as session:
        assert (session.run(dropped) == 1).all()
        assert set(session.run(dropped, {phase: True})) == {0.0, 2.0}


def test_layers_are_saved_by_the_paths_to_their_variables(tmp_path):
    layer = tf.keras.layers.Dense(2)
    layer(tf.ones([1, 3]))
    checkpoint = tf.train.Checkpoint(layer=layer)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        path = checkpoint.save(str(tmp_path / "c"), session=session)
    names = [name for name, _ in tf.train.list_variables(path)]
    assert "layer/kernel/.ATTRIBUTES/VARIABLE_VALUE" in names


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: tf.layers.conv2d(IMAGES[0], 1, 1),
            ValueError,
            "Input 0 of layer conv2d_1 is incompatible with the ",
        ),
        (
            lambda: tf.layers.conv2d(IMAGES, 1, 1, padding="causal"),
            ValueError,
            "The `padding` argument must be one ",
        ),
        (
            lambda: tf.layers.conv2d(IMAGES, 1, (1, 2, 3)),
            ValueError,
            "The `kernel_size` argument must be a tuple of 2",
        ),
        (
            lambda: tf.layers.conv2d(IMAGES, 1, 1, data_format="NHWC"),
            ValueError,
            "The `data_format` argument must be ",
        ),
        (
            lambda: tf.layers.conv2d(IMAGES, 1, 2, strides=2, dilation_rate=2),
            ValueError,
            "strides > 1 not supported in conjunction with dilation_rate > 1",
        ),
        (
            lambda: tf.layers.max_pooling2d(IMAGES, 2, None),
            ValueError,
            "Argument `strides` must not be None.",
        ),
        (
            lambda: tf.layers.dense(tf.constant([[1, 2]]), 2),
            TypeError,
            "Unable to build `Dense` layer with non-float",
        ),
        (lambda: tf.layers.batch_normalization(IMAGES, axis=7), ValueError, "Invalid axis: 7"),
        (
            lambda: tf.layers.batch_normalization(IMAGES, renorm=True, renorm_clipping={"r": 1}),
            ValueError,
            "contains keys not in",
        ),
        (
            lambda: tf.layers.batch_normalization(IMAGES, virtual_batch_size=0),
            ValueError,
            "virtual_batch_size must be a positive integer",
        ),
        (lambda: tf.keras.layers.Embedding(3, 2, mask_zero=True), TypeError, "Masks are not supported"),
        (lambda: tf.layers.Dense(2, wrong=1), TypeError, "Keyword argument not understood"),
        (lambda: tf.keras.layers.Dense(2, activation="no"), ValueError, "Unknown activation function:no"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_layers_of_keras_style_take_no_scope():
    with tf.layers.experimental.keras_style_scope():
        with pytest.raises(
            ValueError, match="scope argument not allowed when keras style layers are enabled"
        ):
            tf.layers.dense(IMAGES, 2, name="named")
        first, second = tf.layers.Dense(2, name="same"), tf.layers.Dense(2, name="same")
        first(IMAGES)
        second(IMAGES)
    assert [v.name for v in first.weights] == ["same/kernel:0", "same/bias:0"]
    assert [v.name for v in second.weights] == ["same_1/kernel:0", "same_1/bias:0"]
