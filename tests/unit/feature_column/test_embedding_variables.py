"""Columns of keys of embedding variables, as DeepRec has them: names of variables, formulas, saving."""

from __future__ import annotations

import math

import numpy as np
import pytest

import kvarn as tf

FC = tf.feature_column


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def features():
    return {
        "color": tf.constant([["a"], ["b"], ["a"]]),
        "id": tf.constant([[5], [7], [-1]], tf.int64),
        "weight": tf.constant([[1.0], [2.0], [3.0]]),
    }


def names():
    return [v.name for v in tf.global_variables()]


def ones(categorical_column, dimension, **options):
    return FC.embedding_column(categorical_column, dimension, initializer=tf.ones_initializer(), **options)


@pytest.mark.parametrize("fused", [False, True])
def test_rows_are_made_by_key_and_trained(fused):
    color = FC.categorical_column_with_embedding("color")
    key = FC.categorical_column_with_embedding("id", dtype=tf.int64, partition_num=2)
    columns = [ones(color, 3, do_fusion=fused), ones(key, 2, do_fusion=fused)]
    with tf.variable_scope("dnn"):
        net = FC.input_layer(features(), columns)
    assert names() == [
        "dnn/input_layer/color_embedding/embedding_weights:0",
        "dnn/input_layer/id_embedding/embedding_weights/part_0:0",
        "dnn/input_layer/id_embedding/embedding_weights/part_1:0",
    ]
    assert [v.name for v in tf.trainable_variables()] == names()
    assert [v.name for v in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)] == names()
    train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(net))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        # -1 stands for nothing.
        np.testing.assert_array_equal(session.run(net), [[1] * 5, [1] * 5, [1, 1, 1, 0, 0]])
        session.run(train)
        after = session.run(net)
    # Adagrad starts from 0.1; "a" stands in two examples.
    twice, once = (1 - 0.1 * g / math.sqrt(0.1 + g * g) for g in (2.0, 1.0))
    expected = [[twice] * 3 + [once] * 2, [once] * 5, [twice] * 3 + [0] * 2]
    np.testing.assert_allclose(after, expected, rtol=1e-6)


@pytest.mark.parametrize("fused", [False, True])
def test_linear_models_have_a_weight_for_each_key(fused):
    color = FC.categorical_column_with_embedding("color")
    weighted = FC.weighted_categorical_column(
        FC.categorical_column_with_embedding("id", tf.int64, 2), "weight"
    )
    data = features()
    data["id"] = tf.constant([[5], [7], [8]], tf.int64)
    predicted = FC.linear_model(data, [color, weighted], units=2, do_fusion=fused)
    assert names() == [
        "linear_model/color/weights:0",
        "linear_model/id_weighted_by_weight/weights/part_0:0",
        "linear_model/id_weighted_by_weight/weights/part_1:0",
        "linear_model/bias_weights:0",
    ]
    assert [v.name for v in tf.trainable_variables()] == names()
    train = tf.train.GradientDescentOptimizer(0.5).minimize(tf.reduce_sum(predicted))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert not session.run(predicted).any()
        session.run(train)
        after = session.run(predicted)
    # What moves: the bias by 3 examples, "a" by 2, each id by its weight, with which it counts again.
    np.testing.assert_allclose(
        after, [[-1.5 - 1.0 - 0.5] * 2, [-1.5 - 0.5 - 2.0] * 2, [-1.5 - 1.0 - 4.5] * 2]
    )


def test_shared_embeddings_share_an_embedding_variable():
    a, b = (FC.categorical_column_with_embedding(key, tf.int64) for key in "ab")
    shared = FC.shared_embedding_columns([a, b], 2, initializer=tf.ones_initializer())
    data = {"a": tf.constant([[1], [2]], tf.int64), "b": tf.constant([[2], [3]], tf.int64)}
    net = FC.input_layer(data, shared)
    assert names() == ["input_layer/a_b_shared_embedding/embedding_weights:0"]
    train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(net))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        after = session.run(net)
    twice, once = (1 - 0.1 * g / math.sqrt(0.1 + g * g) for g in (2.0, 1.0))
    np.testing.assert_allclose(after, [[once, once, twice, twice], [twice, twice, once, once]], rtol=1e-6)


def test_a_checkpoint_has_the_rows(tmp_path):
    def build():
        column = FC.categorical_column_with_embedding("color", ev_option=tf.EmbeddingVariableOption())
        net = FC.input_layer(features(), [ones(column, 2)])
        return net, tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(net)), tf.train.Saver()

    net, train, saver = build()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        expected = session.run(net)
        path = saver.save(session, str(tmp_path / "model"))
    with tf.Graph().as_default(), tf.Session() as session:
        net, _, saver = build()
        saver.restore(session, path)
        np.testing.assert_array_equal(session.run(net), expected)


def test_the_spec_of_examples():
    spec = FC.make_parse_example_spec([FC.categorical_column_with_embedding("id", tf.int64)])
    assert spec == {"id": tf.io.VarLenFeature(tf.int64)}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FC.categorical_column_with_embedding(3), ValueError, "key must be a string"),
        (
            lambda: FC.categorical_column_with_embedding("x", tf.float32),
            ValueError,
            "column_name: x dtype must be string or integer",
        ),
        (
            lambda: FC.indicator_column(FC.categorical_column_with_embedding("x")),
            ValueError,
            "x has keys of an embedding variable",
        ),
        (
            lambda: ones(FC.categorical_column_with_embedding("x"), 2).create_state(None),
            tf.errors.UnimplementedError,
            "layers that hold their variables themselves have no embedding variables",
        ),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
