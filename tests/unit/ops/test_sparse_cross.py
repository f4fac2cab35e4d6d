"""Crosses of features; the values are what TensorFlow 1.15.5 gives for the same programs."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


@pytest.fixture
def inputs(graph):
    return {
        "letters": tf.SparseTensor([[0, 0], [1, 0], [1, 1]], ["a", "b", "c"], [2, 2]),
        "numbers": tf.SparseTensor([[0, 0], [1, 0]], tf.constant([-3, 7], tf.int64), [2, 1]),
        "dense": tf.constant([["f", "ff"], ["g", ""]]),
        "small": tf.constant([[1], [2]], tf.int32),
    }


def run(sparse):
    with tf.Session() as sess:
        return sess.run(sparse)


def test_strings_are_joined_the_last_input_fastest(inputs):
    got = run(tf.sparse.cross([inputs["letters"], inputs["numbers"], inputs["dense"]]))
    assert got.indices.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [1, 3]]
    assert got.values.tolist() == [
        b"a_X_-3_X_f",
        b"a_X_-3_X_ff",
        b"b_X_7_X_g",
        b"b_X_7_X_",
        b"c_X_7_X_g",
        b"c_X_7_X_",
    ]
    assert got.dense_shape.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("names", "options", "values"),
    [
        (
            ("letters", "numbers", "dense"),
            {},
            [
                7943592257301184025,
                3662620316501804177,
                6206482611265394882,
                9103180904697784057,
                8779246946053534010,
                8673691350884488526,
            ],
        ),
        (("letters", "dense"), {"num_buckets": 100}, [16, 92, 6, 92, 89, 64]),
        (("numbers", "small"), {"num_buckets": 100, "hash_key": 5}, [46, 12]),
        (
            ("small", "dense"),
            {},
            [3419707899628603438, 3484500780889158551, 602359491918093827, 6362022086352603909],
        ),
    ],
)
def test_hashes(inputs, names, options, values):
    got = run(tf.sparse.cross_hashed([inputs[n] for n in names], **options))
    assert got.values.tolist() == values


def test_a_row_that_lacks_a_feature_has_no_crosses(inputs):
    empty = tf.SparseTensor(np.zeros((0, 2), np.int64), tf.constant([], tf.string), [2, 3])
    got = run(tf.sparse.cross([inputs["letters"], empty]))
    assert got.values.tolist() == []
    assert got.indices.shape == (0, 2)
    assert got.dense_shape.tolist() == [2, 0]


def test_batches_of_other_sizes_are_refused(inputs):
    other = tf.SparseTensor([[0, 0]], ["x"], [3, 1])
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected batch size 2 got 3 at position 1"):
        run(tf.sparse.cross([inputs["letters"], other]))


@pytest.mark.parametrize(
    ("given", "message"), [((), "Inputs must be a list"), (["a"], "All inputs must be Sp")]
)
def test_what_is_no_tensor_is_refused(given, message):
    with pytest.raises(TypeError, match=message):
        tf.sparse.cross(given)
