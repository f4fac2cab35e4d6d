"""Recurrent layers besides their numbers, which `test_models.py` compares: cells, shapes, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf

layers = tf.keras.layers


@pytest.fixture(autouse=True)
def cleared():
    tf.keras.backend.clear_session()
    yield
    tf.keras.backend.clear_session()


class Sum:
    """A cell without variables: what came so far, summed."""

    state_size = 2

    def call(self, inputs, states):
        total = inputs + states[0]
        return total, total


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_cell_of_ones_own(unroll, go_backwards):
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    layer = layers.RNN(
        Sum(), return_sequences=True, return_state=True, unroll=unroll, go_backwards=go_backwards
    )
    sums, state = layer(tf.constant(x))
    with tf.Session() as session:
        sums, state = session.run([sums, state])
    expected = np.cumsum(x[:, ::-1] if go_backwards else x, axis=1)
    np.testing.assert_array_equal(sums, expected)
    np.testing.assert_array_equal(state, expected[:, -1])


def test_shapes_of_outputs():
    assert layers.LSTM(4).compute_output_shape((2, 3, 5)).as_list() == [2, 4]
    shapes = layers.LSTM(4, return_sequences=True, return_state=True).compute_output_shape((2, 3, 5))
    assert [shape.as_list() for shape in shapes] == [[2, 3, 4], [2, 4], [2, 4]]


def test_a_configuration_makes_the_layer_again():
    layer = layers.LSTM(4, activation="relu", go_backwards=True, kernel_regularizer="l2", name="memory")
    config = layer.get_config()
    assert "cell" not in config
    config.pop("time_major")
    again = layers.LSTM.from_config(config)
    assert again.get_config() == layer.get_config()
    assert (again.units, again.name, again.go_backwards) == (4, "memory", True)


def test_the_first_bias_opens_the_forget_gate():
    layer = layers.LSTM(2)
    layer(tf.zeros([1, 2, 3]))
    assert layer.get_weights()[2].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert [w.name for w in layer.weights] == ["lstm/kernel:0", "lstm/recurrent_kernel:0", "lstm/bias:0"]


def test_what_is_refused():
    with pytest.raises(NotImplementedError, match="configuration of its cell"):
        layers.RNN.from_config(layers.RNN(layers.LSTMCell(2)).get_config())
    x = tf.zeros([1, 2, 3])
    with pytest.raises(NotImplementedError, match="`stateful`"):
        layers.LSTM(2, stateful=True)
    with pytest.raises(NotImplementedError, match="Masks"):
        layers.LSTM(2)(x, mask=tf.ones([1, 2], tf.bool))
    with pytest.raises(NotImplementedError, match="list of cells"):
        layers.RNN([layers.LSTMCell(2)])
    with pytest.raises(ValueError, match="`call` method"):
        layers.RNN(3)
    with pytest.raises(ValueError, match="has 2 states but was passed 1"):
        layers.LSTM(2)(x, initial_state=[tf.zeros([1, 2])])
    with pytest.raises(ValueError, match="mix of Keras tensors"):
        layers.LSTM(2)(layers.Input((2, 3)), initial_state=[layers.Input((2,)), tf.zeros([1, 2])])
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        layers.LSTM(2)(x[0])
    with pytest.raises(ValueError, match="fixed number of timesteps"):
        layers.LSTM(2, unroll=True)(tf.placeholder(tf.float32, [1, None, 3]))
