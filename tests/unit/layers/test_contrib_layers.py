"""What tf.contrib.layers and argument scopes refuse; their graphs are compared in test_layers.py."""

from __future__ import annotations

import pytest

import kvarn as tf

LAYERS, FRAMEWORK = tf.contrib.layers, tf.contrib.framework


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LAYERS.l1_regularizer(1), ValueError, "scale cannot be an integer: 1"),
        (lambda: LAYERS.l2_regularizer(-1.0), ValueError, "Setting a scale less than 0 on a regularizer: -1"),
        (lambda: LAYERS.l1_l2_regularizer(1.0, 2), ValueError, "scale_l2 cannot be an integer: 2"),
        (
            lambda: LAYERS.apply_regularization(LAYERS.l1_regularizer(1.0)),
            ValueError,
            "No weights to regularize.",
        ),
        (
            lambda: LAYERS.apply_regularization(lambda w: w, [tf.constant([1.0])]),
            ValueError,
            "regularizer must return a scalar Tensor instead of a Tensor with rank 1.",
        ),
        (
            lambda: LAYERS.fully_connected(tf.ones([2, 2]), 2.0),
            ValueError,
            "num_outputs type should be one of",
        ),
        (lambda: LAYERS.variance_scaling_initializer(mode="FAN"), TypeError, "Unknown mode"),
        (lambda: LAYERS.xavier_initializer(dtype=tf.int32), TypeError, "non-floating point type"),
        (
            lambda: FRAMEWORK.arg_scope(3).__enter__(),
            TypeError,
            "must either be a list/tuple or reused scope",
        ),
        (
            lambda: FRAMEWORK.arg_scope([len], a=1).__enter__(),
            ValueError,
            "is not decorated with @add_arg_scope",
        ),
        (lambda: FRAMEWORK.arg_scope({}, a=1).__enter__(), ValueError, "kwargs must be empty"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_argument_scopes_nest_and_end():
    @FRAMEWORK.add_arg_scope
    def shown(a, b=1, c=2):
        return a, b, c

    assert FRAMEWORK.has_arg_scope(shown)
    assert tuple(FRAMEWORK.arg_scoped_arguments(shown)) == ("b", "c")
    with FRAMEWORK.arg_scope([shown], b=3) as scope:
        assert shown(0) == (0, 3, 2)
        with FRAMEWORK.arg_scope([shown], c=4):
            assert shown(0) == (0, 3, 4)
            assert shown(0, c=5) == (0, 3, 5)
    assert shown(0) == (0, 1, 2)
    with FRAMEWORK.arg_scope(scope):
        assert shown(0) == (0, 3, 2)


def test_outputs_in_collections_bear_their_names():
    y = LAYERS.fully_connected(tf.ones([2, 2]), 2, outputs_collections="ends", scope="one")
    assert tf.get_collection("ends") == [y]
    assert y.aliases == ["one"]


def test_regularizers_of_scale_zero_are_none():
    assert LAYERS.l1_regularizer(0.0)(tf.constant([1.0])) is None
    assert LAYERS.sum_regularizer([None]) is None
