"""Columns looked up in groups: the numbers and variables of columns looked up one by one."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import kvarn as tf

FC = tf.feature_column


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def ramp(shape, dtype, partition_info=None):
    size = [int(d) for d in shape]
    return np.linspace(-0.5, 0.7, int(np.prod(size))).reshape(size).astype(dtype.as_numpy_dtype)


def features():
    return {
        "a": tf.constant([["x"], [""], ["z"]]),
        "b": tf.SparseTensor([[0, 0], [0, 1], [2, 0]], ["u", "v", "u"], [3, 2]),
        "c": tf.SparseTensor([[0, 0], [0, 1], [2, 1]], tf.constant([1, 3, 2], tf.int64), [3, 2]),
        "d": tf.constant([["red"], ["blue"], ["pink"]]),
        "w": tf.SparseTensor([[0, 0], [0, 1], [2, 0]], [0.5, 2.0, 1.5], [3, 2]),
    }


def columns():
    hashed = FC.categorical_column_with_hash_bucket("b", 7)
    return [
        FC.embedding_column(FC.categorical_column_with_embedding("a"), 3, initializer=tf.ones_initializer()),
        FC.embedding_column(hashed, 3, "sum", ramp),
        FC.embedding_column(FC.categorical_column_with_identity("c", 4), 2, "sqrtn", ramp),
        FC.embedding_column(
            FC.categorical_column_with_vocabulary_list("d", ["red", "blue"]), 2, "mean", ramp
        ),
        FC.embedding_column(FC.weighted_categorical_column(hashed, "w"), 2, "mean", ramp),
        FC.numeric_column("e"),
    ]


def trained(in_groups):
    """The vectors before and after a step, the variables' names, and the types of the operations."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        with FC.group_embedding_column_scope("all") if in_groups else contextlib.nullcontext():
            made = columns()
        variables = {}
        net = FC.input_layer({**features(), "e": tf.ones([3, 1])}, made, cols_to_vars=variables)
        train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(net * net))
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        before = session.run(net)
        session.run(train)
        by_column = {c.name: [v.name for v in found] for c, found in variables.items()}
        names = sorted(v.name for v in tf.global_variables())
        return before, session.run(net), by_column, names, {op.type for op in graph.get_operations()}


def test_numbers_and_variables_are_those_of_single_lookups():
    alone, together = trained(False), trained(True)
    for expected, found in zip(alone[:2], together[:2], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert together[2:4] == alone[2:4]
    assert not any(kind.startswith("Group") for kind in alone[4])
    assert any(kind.startswith("Group") for kind in together[4])


def test_a_group_ends_with_its_scope():
    column = FC.categorical_column_with_hash_bucket("a", 7)
    with FC.group_embedding_column_scope(name="one"):
        inside = FC.embedding_column(column, 2)
        with FC.group_embedding_column_scope():
            numbered = FC.embedding_column(column, 2)
    outside = FC.embedding_column(column, 2)
    assert inside.group_name == "group_embedding_column_scope_one"
    assert numbered.group_name.startswith("group_embedding_column_scope_")
    assert numbered.group_name not in (inside.group_name, "")
    assert outside.group_name == ""


def test_variables_in_parts_are_refused():
    with FC.group_embedding_column_scope("all"):
        column = FC.embedding_column(FC.categorical_column_with_embedding("a", partition_num=2), 2)
    with pytest.raises(TypeError, match="parts"):
        FC.input_layer(features(), [column])
