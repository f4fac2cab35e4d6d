"""Sequences with what is the same for a whole example, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn.feature_column.sequence_input_layer import concatenate_context_input

FC = tf.feature_column


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def test_context_is_added_to_every_step():
    sequence = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    context = np.float32([[10, 20, 30], [40, 50, 60]])
    with tf.Session() as session:
        got = session.run(concatenate_context_input(tf.constant(context), tf.constant(sequence)))
    expected = np.concatenate([sequence, np.repeat(context[:, None], 3, axis=1)], axis=2)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: concatenate_context_input(tf.ones([2, 1, 1]), tf.ones([2, 3, 2])),
            ValueError,
            "context_input must have rank 2",
        ),
        (
            lambda: concatenate_context_input(tf.ones([2, 1]), tf.ones([2, 3, 2], tf.int64)),
            TypeError,
            "sequence_input must have dtype float32; got <dtype: 'int64'>.",
        ),
        (
            lambda: tf.contrib.feature_column.sequence_input_layer(
                {"a": tf.constant([[1.0]])}, [FC.numeric_column("a")]
            ),
            ValueError,
            "All feature_columns must be of type _SequenceDenseColumn",
        ),
        (
            lambda: FC.input_layer(
                {"a": tf.constant([[1]])},
                [FC.indicator_column(FC.sequence_categorical_column_with_identity("a", 3))],
            ),
            ValueError,
            "In indicator_column: a_indicator. categorical_column must not be of type _SequenceCategoricalColumn",
        ),
        (lambda: FC.sequence_numeric_column("a", (0,)), ValueError, "dimensions must be greater than 0"),
        (lambda: FC.sequence_numeric_column("a", dtype=tf.string), ValueError, "convertible to float"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
