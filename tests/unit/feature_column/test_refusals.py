"""What columns, input layers and linear models refuse, in the words of TensorFlow 1.15.5."""

from __future__ import annotations

import re

import pytest

import kvarn as tf

FC = tf.feature_column
NUMBER = FC.numeric_column("n")
WORD = FC.categorical_column_with_hash_bucket("w", 5)


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: FC.numeric_column("n", shape=[1.0]),
            TypeError,
            "shape dimensions must be integer. shape: (1.0,), key: n",
        ),
        (
            lambda: FC.numeric_column("n", default_value=["a"]),
            TypeError,
            "default_value must be compatible with dtype. default_value: ['a'], dtype: <dtype: 'float32'>, key: n",
        ),
        (
            lambda: FC.numeric_column("n", shape=[2], default_value=[1, 2, 3]),
            ValueError,
            "The shape of default_value must be equal to given shape. default_value: [1, 2, 3], shape: (2,), key: n",
        ),
        (
            lambda: FC.bucketized_column(WORD, [1]),
            ValueError,
            "source_column must be a column generated with numeric_column().",
        ),
        (lambda: FC.bucketized_column(NUMBER, []), ValueError, "boundaries must not be empty."),
        (lambda: FC.bucketized_column(NUMBER, [1, 1]), ValueError, "boundaries must be a sorted list."),
        (
            lambda: FC.categorical_column_with_vocabulary_list("w", ["a", "a"]),
            ValueError,
            "Duplicate keys in vocabulary_list ['a', 'a'], column_name: w",
        ),
        (
            lambda: FC.categorical_column_with_vocabulary_file("w", "no_such_file"),
            ValueError,
            "vocabulary_file in w does not exist.",
        ),
        (
            lambda: FC.categorical_column_with_identity("w", 3, default_value=3),
            ValueError,
            "default_value 3 not in range [0, 3), column_name w",
        ),
        (lambda: FC.crossed_column([WORD, "b"], 9), ValueError, "is not supported for crossing."),
        (lambda: FC.embedding_column(WORD, 2, initializer=3), ValueError, "Embedding of column_name: w"),
        (
            lambda: FC.embedding_column(WORD, 2, ckpt_to_load_from="x"),
            ValueError,
            "Must specify both `ckpt_to_load_from` and `tensor_name_in_ckpt` or none of them.",
        ),
        (
            lambda: FC.input_layer({"w": [["a"]]}, [WORD]),
            ValueError,
            "Items of feature_columns must be a _DenseColumn.",
        ),
        (lambda: FC.input_layer({}, [NUMBER]), ValueError, "Feature n is not in features dictionary."),
        (lambda: FC.input_layer({"n": 1.0}, [NUMBER]), ValueError, "Feature (key: n) cannot have rank 0."),
        (
            lambda: FC.input_layer({"n": [[1.0]]}, [NUMBER, FC.numeric_column("n")]),
            ValueError,
            "Duplicate feature column name found for columns: NumericColumn(key='n', shape=(1,), default_value=None, "
            "dtype=tf.float32, normalizer_fn=None) and ",
        ),
        (
            lambda: FC.linear_model({"n": [[1.0]], "m": [[1.0], [2.0]]}, [NUMBER, FC.numeric_column("m")]),
            ValueError,
            "Batch size of columns (m, n): (2, 1)",
        ),
        (lambda: FC.linear_model({}, []), ValueError, "feature_columns must not be empty."),
        (
            lambda: FC.make_parse_example_spec([NUMBER, FC.numeric_column("n", shape=2)]),
            ValueError,
            "feature_columns contain different parse_spec for key n.",
        ),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()


def test_an_id_out_of_range_is_refused_when_run():
    column = FC.indicator_column(FC.categorical_column_with_identity("i", 3))
    net = FC.input_layer({"i": tf.placeholder_with_default([[3]], [None, 1])}, [column])
    with (
        tf.Session() as session,
        pytest.raises(tf.errors.InvalidArgumentError, match=r"exceeds number of buckets\] \[3\] \[3\]"),
    ):
        session.run(net)
