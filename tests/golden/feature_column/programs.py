"""Columns, each program in a graph of its own: ``PROGRAMS[name](tf)`` returns what to fetch and what to feed.

Variables are made by ``ramp``, so that the values are those of every implementation.
"""

import os
from importlib import import_module

import numpy as np

PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def ramp(shape, dtype, partition_info=None):
    """An initializer in plain NumPy: rising values, so that no two weights are alike."""
    del partition_info
    shape = [int(d) for d in shape]
    return np.linspace(-0.5, 0.7, int(np.prod(shape))).reshape(shape).astype(dtype.as_numpy_dtype)


def raw(tf):
    """Features of every kind."""
    return {
        "price": tf.constant([[1.0], [20.0], [300.0]]),
        "pair": tf.constant([[1.0, 2.0], [3.0, 4.0], [-5.0, 6.0]]),
        "flat": tf.constant([7.0, 8.0, 9.0]),
        "id": tf.constant([[3], [0], [-1]], tf.int64),
        "small_id": tf.constant([[3], [9], [0]], tf.int32),
        "word": tf.constant([["green"], [""], ["pink"]]),
        "words": tf.SparseTensor([[0, 0], [0, 1], [2, 0]], ["red", "pink", "green"], [3, 2]),
        "weight": tf.SparseTensor([[0, 0], [0, 1], [2, 0]], [0.5, 2.0, -1.0], [3, 2]),
        "ids": tf.SparseTensor([[0, 0], [0, 1], [2, 1]], tf.constant([1, 3, 2], tf.int64), [3, 2]),
    }


def gradients(tf, outputs):
    return [tf.convert_to_tensor(g) for g in tf.gradients(outputs, tf.trainable_variables())]


@program
def numbers(tf):
    fc = tf.feature_column
    columns = [
        fc.numeric_column("price"),
        fc.numeric_column("pair", shape=2, normalizer_fn=lambda t: (t - 1.0) / 2.0),
        fc.numeric_column("flat"),
        fc.bucketized_column(fc.numeric_column("price"), [10, 100]),
        fc.bucketized_column(fc.numeric_column("pair", (2,)), [0.0, 2.5]),
    ]
    return [fc.input_layer(raw(tf), columns)], {}


@program
def numbers_of_unknown_shape(tf):
    fc = tf.feature_column
    x = tf.placeholder(tf.float32, name="x")
    y = tf.placeholder(tf.int32, [None], name="y")
    columns = [fc.numeric_column("x"), fc.numeric_column("y")]
    return [fc.input_layer({"x": x, "y": y}, columns)], {x: np.float32([1, 2, 3]), y: np.int32([4, 5, 6])}


def _one_hot(tf, *columns):
    fc = tf.feature_column
    return [fc.input_layer(raw(tf), [fc.indicator_column(c)]) for c in columns], {}


@program
def hashes(tf):
    fc = tf.feature_column
    return _one_hot(
        tf,
        fc.categorical_column_with_hash_bucket("word", 10),
        fc.categorical_column_with_hash_bucket("words", 6),
        fc.categorical_column_with_hash_bucket("id", 7, tf.int64),
        fc.categorical_column_with_hash_bucket("small_id", 7, tf.int32),
    )


@program
def identities(tf):
    fc = tf.feature_column
    return _one_hot(
        tf,
        fc.categorical_column_with_identity("id", 4),
        fc.categorical_column_with_identity("small_id", 5, default_value=2),
    )


@program
def vocabularies(tf):
    fc = tf.feature_column
    path = os.path.join(os.path.dirname(__file__), "colors.txt")
    return _one_hot(
        tf,
        fc.categorical_column_with_vocabulary_list("word", ["red", "green", "blue"]),
        fc.categorical_column_with_vocabulary_list("words", ["red", "green"], num_oov_buckets=2),
        fc.categorical_column_with_vocabulary_list("small_id", [9, 3], default_value=1),
        fc.categorical_column_with_vocabulary_file("word", path, 3, default_value=2),
        fc.categorical_column_with_vocabulary_file("words", path, num_oov_buckets=3),
    )


@program
def weights(tf):
    fc = tf.feature_column
    column = fc.categorical_column_with_hash_bucket("words", 6)
    weighted = fc.weighted_categorical_column(column, "weight")
    dense = fc.weighted_categorical_column(fc.categorical_column_with_hash_bucket("word", 6), "price")
    features = raw(tf)
    features["word"] = tf.constant([["a"], ["b"], ["c"]])
    outputs = [
        fc.input_layer(features, [fc.indicator_column(weighted)]),
        fc.input_layer(features, [fc.embedding_column(weighted, 2, initializer=ramp)]),
        fc.linear_model(features, [weighted, dense]),
    ]
    return outputs, {}


@program
def crosses(tf):
    fc = tf.feature_column
    words = fc.crossed_column(["word", "words"], 50)
    bucket = fc.bucketized_column(fc.numeric_column("pair", 2), [3.0, 6.0])
    identity = fc.categorical_column_with_identity("ids", 5)
    mixed = fc.crossed_column([bucket, "word"], 20, hash_key=7)
    nested = fc.crossed_column([words, identity], 30)
    outputs, feeds = _one_hot(tf, words, mixed, nested)
    return [*outputs, fc.linear_model(raw(tf), [words, mixed, nested], units=2)], feeds


@program
def embeddings(tf):
    fc = tf.feature_column
    ids = fc.categorical_column_with_identity("ids", 4)
    outputs = [
        fc.input_layer(raw(tf), [fc.embedding_column(ids, 2, combiner, initializer=ramp)])
        for combiner in ("mean", "sum", "sqrtn")
    ]
    short = fc.embedding_column(ids, 3, initializer=ramp, max_norm=0.3)
    fixed = fc.embedding_column(
        fc.categorical_column_with_hash_bucket("word", 5), 2, initializer=ramp, trainable=False
    )
    outputs.append(fc.input_layer(raw(tf), [short, fixed], weight_collections=["mine"]))
    return outputs + gradients(tf, outputs), {}


@program
def embeddings_in_parts(tf):
    fc = tf.feature_column
    ids = fc.categorical_column_with_identity("ids", 4)
    column = fc.embedding_column(ids, 2, initializer=ramp)
    with tf.variable_scope("model", partitioner=tf.fixed_size_partitioner(2)):
        outputs = [fc.input_layer(raw(tf), [column]), fc.linear_model(raw(tf), [ids, column])]
    return outputs + gradients(tf, outputs), {}


@program
def shared_embeddings(tf):
    fc = tf.feature_column
    features = {"a": tf.constant([[1], [3]], tf.int64), "b": tf.constant([[0], [3]], tf.int64)}
    a, b = (fc.categorical_column_with_identity(key, 4) for key in "ab")
    shared = fc.shared_embedding_columns([b, a], 2, initializer=ramp)
    named = fc.shared_embedding_columns([a, b], 3, "sum", ramp, shared_embedding_collection_name="both")
    outputs = [
        fc.input_layer(features, shared),
        fc.input_layer(features, named),
        fc.input_layer(features, shared[:1]),
        fc.linear_model(features, named),
    ]
    return outputs + gradients(tf, outputs), {}


@program
def linear_models(tf):
    fc = tf.feature_column
    columns = [
        fc.numeric_column("price"),
        fc.bucketized_column(fc.numeric_column("pair", 2), [0.0, 2.5]),
        fc.categorical_column_with_identity("ids", 4),
        fc.indicator_column(fc.categorical_column_with_hash_bucket("words", 6)),
    ]
    outputs = [
        fc.linear_model(raw(tf), columns),
        fc.linear_model(raw(tf), columns, units=3, sparse_combiner="mean", weight_collections=["mine"]),
        fc.linear_model(raw(tf), columns[2:3], trainable=False),
    ]
    with tf.variable_scope("inside"):
        outputs.append(fc.linear_model(raw(tf), columns[:1]))
    return outputs + gradients(tf, outputs), {}


@program
def input_layers_that_share(tf):
    fc = tf.feature_column
    # The class has no public name.
    name = "tensorflow.python.feature_column.feature_column"
    name = name if tf.__name__.startswith("tensorflow") else "kvarn.feature_column.input_layer"
    layer_class = import_module(name).InputLayer
    column = fc.embedding_column(fc.categorical_column_with_identity("ids", 4), 2, initializer=ramp)
    layer = layer_class([column, fc.numeric_column("price")])
    return [layer(raw(tf)), layer(raw(tf))], {}


def sequence_features(tf):
    return {
        "ids": tf.SparseTensor([[0, 0], [0, 1], [2, 0]], tf.constant([2, 0, 1], tf.int64), [3, 2]),
        "words": tf.SparseTensor([[0, 0], [0, 1], [2, 0]], ["red", "pink", "green"], [3, 2]),
        "numbers": tf.SparseTensor(
            [[0, 0], [0, 1], [0, 2], [0, 3], [2, 1]], [0.0, 1.0, 2.0, 3.0, 4.0], [3, 4]
        ),
    }


@program
def sequences(tf):
    fc = tf.feature_column
    ids = fc.sequence_categorical_column_with_identity("ids", 3)
    words = fc.sequence_categorical_column_with_vocabulary_list("words", ["red", "green"], num_oov_buckets=1)
    columns = [fc.embedding_column(ids, 2, initializer=ramp), fc.indicator_column(words)]
    net, lengths = tf.contrib.feature_column.sequence_input_layer(sequence_features(tf), columns)
    return [net, lengths, *gradients(tf, [net])], {}


@program
def sequences_of_numbers(tf):
    column = tf.contrib.feature_column.sequence_numeric_column("numbers", shape=(2,), default_value=-1.0)
    return list(tf.contrib.feature_column.sequence_input_layer(sequence_features(tf), [column])), {}
