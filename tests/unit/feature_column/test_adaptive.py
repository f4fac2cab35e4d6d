"""Adaptive embeddings: which variable a value reads, by the mask and whether its key is admitted."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf

FC = tf.feature_column
WORDS = ["x", "y", "x", "z"]


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def layer(mask, **options):
    column = FC.categorical_column_with_adaptive_embedding("a", 11, **options)
    features = {"a": tf.constant([[w] for w in WORDS])}
    embedded = FC.embedding_column(column, 2, initializer=tf.ones_initializer())
    return FC.input_layer(features, [embedded], adaptive_mask_tensors={"a": mask})


def set_buckets(session, least):
    variable = next(v for v in tf.global_variables() if "hash_weights" in v.name)
    session.run(variable.assign(np.arange(22, dtype=np.float32).reshape(11, 2) + least))


def test_the_mask_chooses_the_variable():
    mask = tf.constant([0, 0, 1, 1], tf.int32)
    net = layer(mask)
    assert sorted(v.name for v in tf.global_variables()) == [
        "input_layer/a_embedding/ev_weights:0",
        "input_layer/a_embedding/hash_weights:0",
    ]
    with tf.Session() as session:
        buckets = session.run(tf.string_to_hash_bucket_fast(WORDS, 11))
        session.run(tf.global_variables_initializer())
        set_buckets(session, 100)
        first = session.run(net)
        set_buckets(session, -100)
        second = session.run(net)
    rows = np.array([[2 * b, 2 * b + 1] for b in buckets])
    # The row of a new key starts from that of its bucket, and is its own from then on.
    np.testing.assert_array_equal(first, rows + 100)
    np.testing.assert_array_equal(second, np.concatenate([rows[:2] - 100, rows[2:] + 100]))


def test_both_variables_are_trained():
    net = layer(tf.constant([0, 0, 1, 1], tf.int32))
    train = tf.train.GradientDescentOptimizer(0.5).minimize(tf.reduce_sum(net))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(net)
        session.run(train)
        np.testing.assert_allclose(session.run(net), [[0.5, 0.5]] * 4)


def test_a_mask_is_needed():
    column = FC.categorical_column_with_adaptive_embedding("a", 11)
    with pytest.raises(ValueError, match="Column a needs a mask"):
        FC.input_layer({"a": tf.constant([["x"]])}, [FC.embedding_column(column, 2)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", 0), "hash_bucket_size must be at least 1"),
        ((1, 3), "key must be a string"),
        (("a", 3, tf.float32), "dtype must be string or integer"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FC.categorical_column_with_adaptive_embedding(*arguments)
