"""Adaptive embeddings: rows that missing keys start from (reference 3.3), and lookups by mask (1.8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kvarn as tf

BUCKETS = np.arange(8 * 2, dtype=np.float32).reshape(8, 2)


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def keys(*values: int) -> Any:
    return tf.constant(list(values), tf.int64)


def embedding(**kwargs: Any) -> Any:
    return tf.get_embedding_variable("ev", 2, initializer=tf.constant_initializer(-1.0), **kwargs)


def buckets(**kwargs: Any) -> Any:
    return tf.get_variable("hash", initializer=tf.constant(BUCKETS), **kwargs)


def started() -> Any:
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return session


# -- ev_init_value ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["lookup", "apply"])
@pytest.mark.parametrize("parts", [None, 3])
def test_a_missing_key_is_created_from_the_row_given(
    rule: str, parts: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3.3: the new block starts from the given row, under either rule of insertion; known keys keep theirs."""
    monkeypatch.setenv("KVARN_EV_INSERT", rule)
    ev = embedding(partitioner=None if parts is None else tf.fixed_size_partitioner(parts))
    ids = keys(7, -3, 7, 1004)
    rows = tf.constant([[1.0, 2], [3, 4], [5, 6], [7, 8]])
    first = tf.nn.embedding_lookup(ev, ids, ev_init_value=rows)
    again = tf.nn.embedding_lookup(ev, ids, ev_init_value=rows + 100)
    plain = tf.nn.embedding_lookup(ev, keys(7, -3, 1004))
    with started() as sess:
        # Of equal keys the first decides.
        np.testing.assert_array_equal(sess.run(first), [[1, 2], [3, 4], [1, 2], [7, 8]])
        np.testing.assert_array_equal(sess.run(again), [[1, 2], [3, 4], [1, 2], [7, 8]])
        np.testing.assert_array_equal(sess.run(plain), [[1, 2], [3, 4], [7, 8]])


def test_slots_of_a_key_created_from_a_row_start_from_their_own_defaults() -> None:
    ev = embedding()
    rows = tf.nn.embedding_lookup(ev, keys(7), ev_init_value=tf.constant([[1.0, 2]]))
    step = tf.train.AdagradOptimizer(0.5, initial_accumulator_value=0.25).minimize(tf.reduce_sum(3 * rows))
    with started() as sess:
        sess.run(step)
        np.testing.assert_allclose(
            sess.run(ev.sparse_read(keys(7))), [np.array([1, 2]) - 1.5 / np.sqrt(9.25)], rtol=1e-6
        )


def test_ids_of_any_shape_have_a_row_each() -> None:
    ev = embedding()
    rows = tf.nn.embedding_lookup(
        ev, tf.constant([[1, 2], [3, 1]], tf.int64), ev_init_value=tf.constant(BUCKETS[:4].reshape(2, 2, 2))
    )
    with started() as sess:
        np.testing.assert_array_equal(sess.run(rows)[0], BUCKETS[:2])


def test_rows_that_are_not_one_for_each_id_are_an_error() -> None:
    rows = tf.nn.embedding_lookup(embedding(), keys(1, 2), ev_init_value=tf.constant(BUCKETS[:3]))
    with started() as sess, pytest.raises(tf.errors.InvalidArgumentError, match="ev"):
        sess.run(rows)


# -- lookups by mask --------------------------------------------------------------------------------


@pytest.mark.parametrize("combiner", [None, "mean", "sum", "sqrtn"])
@pytest.mark.parametrize("parts", [None, 2])
def test_the_mask_chooses_between_bucket_and_key(combiner: str | None, parts: int | None) -> None:
    """1.8: mask 0 reads the hash variable, mask 1 the EV, where a new key starts from its bucket's row."""
    cut = {} if parts is None else {"partitioner": tf.fixed_size_partitioner(parts)}
    shared, ev = buckets(), embedding(**cut)
    ids = tf.SparseTensor([[0, 0], [1, 0], [2, 0], [3, 0]], keys(3, 1000, 3, 2001), [4, 1])
    rows = tf.nn.adaptive_embedding_lookup_sparse(
        shared, ev, ids, keys(5, 6), None, combiner=combiner, adaptive_mask_tensor=tf.constant([0, 1, 0, 1])
    )
    with started() as sess:
        np.testing.assert_array_equal(sess.run(rows), BUCKETS[[3, 5, 3, 6]])
        held = sess.run(ev.export())[0] if parts is None else None
    assert held is None or sorted(held.tolist()) == [1000, 2001]


def test_several_ids_of_a_row_are_combined() -> None:
    shared, ev = buckets(), embedding()
    ids = tf.SparseTensor([[0, 0], [0, 1], [1, 0]], keys(3, 1000, 1), [2, 2])
    look_up = {
        combiner: tf.nn.adaptive_embedding_lookup_sparse(
            shared, ev, ids, keys(5), None, combiner=combiner, adaptive_mask_tensor=tf.constant([0, 1, 0])
        )
        for combiner in ("sum", "mean", "sqrtn")
    }
    with started() as sess:
        found = sess.run(look_up)
    both = BUCKETS[3] + BUCKETS[5]
    np.testing.assert_array_equal(found["sum"], [both, BUCKETS[1]])
    np.testing.assert_array_equal(found["mean"], [both / 2, BUCKETS[1]])
    np.testing.assert_allclose(found["sqrtn"], [both / np.sqrt(2), BUCKETS[1]], rtol=1e-6)


def test_buckets_and_keys_are_trained_apart() -> None:
    shared, ev = buckets(), embedding()
    ids = tf.SparseTensor([[0, 0], [1, 0]], keys(3, 1000), [2, 1])
    rows = tf.nn.adaptive_embedding_lookup_sparse(
        shared, ev, ids, keys(5), None, adaptive_mask_tensor=tf.constant([0, 1])
    )
    step = tf.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(rows * [[1.0], [2.0]]))
    with started() as sess:
        sess.run(step)
        np.testing.assert_array_equal(sess.run(rows), BUCKETS[[3, 5]] - [[1], [2]])
        # The bucket that a key started from is not its own.
        np.testing.assert_array_equal(sess.run(shared)[5], BUCKETS[5])


def test_safe_lookup_drops_negative_ids_with_their_mask_and_bucket() -> None:
    shared, ev = buckets(), embedding()
    ids = tf.SparseTensor(
        [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 0], [1, 1, 1]], keys(-4, 3, 1000, -1, 2000), [2, 2, 2]
    )
    mask = tf.constant([1, 0, 1, 0, 1])
    zeros = tf.nn.safe_adaptive_embedding_lookup_sparse(
        shared, ev, ids, keys(7, 5, 6), adaptive_mask_tensor=mask, combiner="sum"
    )
    default = tf.nn.safe_adaptive_embedding_lookup_sparse(
        shared, ev, ids, keys(7, 5, 6), adaptive_mask_tensor=mask, default_id=2
    )
    assert zeros.shape.as_list() == [2, 2, 2]
    with started() as sess:
        one, two = sess.run([zeros, default])
        held = sess.run(ev.export())[0]
    np.testing.assert_array_equal(one, [[BUCKETS[3], BUCKETS[5]], [[0, 0], BUCKETS[6]]])
    np.testing.assert_array_equal(two, [[BUCKETS[3], BUCKETS[5]], [BUCKETS[2], BUCKETS[6]]])
    assert sorted(held.tolist()) == [1000, 2000]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"combiner": "tile"}, "combiner must be one of 'mean', 'sqrtn' or 'sum'"),
        ({"adaptive_mask_tensor": None}, "needs adaptive_mask_tensor"),
        ({"blocknums": [1]}, "leave blocknums out"),
    ],
)
def test_what_adaptive_lookups_cannot_do_is_refused(arguments: dict[str, Any], message: str) -> None:
    shared, ev = buckets(), embedding()
    ids = tf.SparseTensor([[0, 0]], keys(1), [1, 1])
    given: dict[str, Any] = {"adaptive_mask_tensor": tf.constant([1]), **arguments}
    with pytest.raises(ValueError, match=message):
        tf.nn.adaptive_embedding_lookup_sparse(shared, ev, ids, keys(1), None, **given)
    with pytest.raises(ValueError, match=message):
        tf.nn.safe_adaptive_embedding_lookup_sparse(shared, ev, ids, keys(1), **given)


def test_weights_and_dense_ids_are_refused() -> None:
    shared, ev = buckets(), embedding()
    ids = tf.SparseTensor([[0, 0]], keys(1), [1, 1])
    mask = tf.constant([1])
    with pytest.raises(ValueError, match="not support not ignore weights"):
        tf.nn.adaptive_embedding_lookup_sparse(shared, ev, ids, keys(1), ids, adaptive_mask_tensor=mask)
    with pytest.raises(TypeError, match="sp_ids must be SparseTensor"):
        tf.nn.adaptive_embedding_lookup_sparse(shared, ev, keys(1), keys(1), None, adaptive_mask_tensor=mask)
