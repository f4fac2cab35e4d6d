"""Sparse lookups along several dimensions, against a loop over dense arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import kvarn as tf

TABLE = np.random.default_rng(5).normal(size=(20, 3)).astype(np.float32)
SHAPE = (3, 2, 4)
# Row 0 has both items, row 1 the second alone, row 2 nothing.
PLACES = [(0, 0, 0), (0, 0, 2), (0, 1, 3), (1, 1, 0), (1, 1, 1), (1, 1, 2)]
IDS = [4, 9, 4, 1, 1, 17]
WEIGHTS = [0.5, 2.0, 1.5, 3.0, 1.0, 0.25]


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def ids(values: Sequence[int] = IDS, places: Any = PLACES, shape: Any = SHAPE) -> Any:
    return tf.SparseTensor(places, tf.constant(values, tf.int64), list(shape))


def weights() -> Any:
    return tf.SparseTensor(PLACES, tf.constant(WEIGHTS, tf.float32), list(SHAPE))


def table(kind: str) -> Any:
    if kind == "ordinary":
        return tf.get_variable("t", initializer=tf.constant(TABLE))
    cut = {"partitioner": tf.fixed_size_partitioner(3)} if kind == "parts" else {}
    option = tf.EmbeddingVariableOption(init_option=tf.InitializerOption(default_value_dim=20))

    def rows(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        return tf.constant(TABLE)

    return tf.get_embedding_variable("t", 3, initializer=rows, ev_option=option, **cut)


def combined(items: list[tuple[int, Any, float]], how: str, size: int, by_weight: bool) -> Any:
    """Items (place, row, weight) of one level as one row."""
    rows = np.array([row for _, row, _ in items])
    by = np.array([w for _, _, w in items]) if by_weight else np.ones(len(items))
    if how == "sum":
        return rows.sum(0)
    if how == "mean":
        return rows.sum(0) / by.sum()
    if how == "sqrtn":
        return rows.sum(0) / np.sqrt((by**2).sum())
    if how == "max":
        return rows.max(0)
    if how == "min":
        return rows.min(0)
    out = np.zeros((size, rows.shape[1]))
    for place, row, _ in items:
        out[place] = row
    return out.ravel()


def expected(combiners: Sequence[str], weighted: bool, axis: int, shape: Sequence[int] = SHAPE) -> Any:
    level: dict[tuple[int, ...], tuple[Any, float]] = {
        p: (TABLE[i].astype(np.float64) * (w if weighted else 1), w if weighted else 1.0)
        for p, i, w in zip(PLACES, IDS, WEIGHTS, strict=True)
    }
    for depth in range(len(combiners), 0, -1):
        groups: dict[tuple[int, ...], list[tuple[int, Any, float]]] = {}
        for place, (row, w) in sorted(level.items()):
            groups.setdefault(place[:depth], []).append((place[depth], row, w))
        level = {
            place: (
                combined(items, combiners[depth - 1], shape[depth], weighted and depth == axis),
                float(np.mean([w for _, _, w in items])),
            )
            for place, items in groups.items()
        }
    width = len(next(iter(level.values()))[0])
    return np.array([level[(r,)][0] if (r,) in level else np.zeros(width) for r in range(shape[0])])


HOW = ("sum", "mean", "sqrtn", "max", "min", "tile")


def test_every_pair_of_combiners() -> None:
    pairs = list(itertools.product(HOW, HOW))
    t = table("ordinary")
    plain = [tf.nn.embedding_lookup_sparse_multi_dim(t, ids(), None, combiners=pair) for pair in pairs]
    heavy = {
        (pair, axis): tf.nn.embedding_lookup_sparse_multi_dim(
            t, ids(), weights(), combiners=list(pair), weight_axis=axis
        )
        for pair in pairs
        for axis in (1, 2)
    }
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        found, found_heavy = sess.run([plain, heavy])
    for pair, rows in zip(pairs, found, strict=True):
        np.testing.assert_allclose(rows, expected(pair, False, 0), rtol=2e-5, atol=1e-6, err_msg=str(pair))
    for (pair, axis), rows in found_heavy.items():
        np.testing.assert_allclose(
            rows, expected(pair, True, axis), rtol=2e-5, atol=1e-6, err_msg=f"{pair}, weights of {axis}"
        )


@pytest.mark.parametrize("kind", ["embedding", "parts"])
def test_embedding_variables(kind: str) -> None:
    t = table(kind)
    rows = tf.nn.embedding_lookup_sparse_multi_dim(t, ids(), weights(), combiners=["sum", "mean"])
    step = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(tf.square(rows)))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = sess.run(rows)
        sess.run(step)
        after = sess.run(rows)
    np.testing.assert_allclose(before, expected(["sum", "mean"], True, 2), rtol=1e-5)
    assert np.square(after).sum() < np.square(before).sum()


def test_one_combiner_is_a_sparse_lookup() -> None:
    t = table("ordinary")
    flat = tf.SparseTensor([(0, 0), (0, 3), (1, 1), (2, 0)], tf.constant([3, 3, 8, 2], tf.int64), [3, 4])
    one = tf.nn.embedding_lookup_sparse_multi_dim(t, flat, None, combiners="sqrtn")
    other = tf.nn.embedding_lookup_sparse(t, flat, None, combiner="sqrtn")
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        np.testing.assert_allclose(*sess.run([one, other]), rtol=1e-6)


def test_safe_lookup_keeps_the_dimensions_without_a_combiner() -> None:
    t = table("embedding")
    kept = tf.nn.safe_embedding_lookup_multi_dim(t, ids(), combiners=["sum"])
    merged = tf.nn.safe_embedding_lookup_multi_dim(
        t, ids(), weights(), combiners=["max", "sum"], weight_axis=2
    )
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        one, two = sess.run([kept, merged])
    np.testing.assert_allclose(one, expected(["tile", "sum"], False, 0).reshape(3, 2, 3), rtol=1e-5)
    np.testing.assert_allclose(two, expected(["max", "sum"], True, 2), rtol=1e-5)


@pytest.mark.parametrize("prune", [True, False])
def test_safe_lookup_drops_negative_ids_when_it_prunes(prune: bool) -> None:
    t = table("embedding")
    negative = ids([4, -9, 4, -1, 1, 17])
    rows = tf.nn.safe_embedding_lookup_multi_dim(t, negative, combiners=["sum", "sum"], prune=prune)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        found = sess.run(rows)
    # Key -9 starts from row 9.
    dropped = TABLE[9] if prune else 0
    np.testing.assert_allclose(found[0], TABLE[4] + TABLE[9] + TABLE[4] - dropped, rtol=1e-5, atol=1e-6)


def test_no_ids_at_all_are_zeros() -> None:
    rows = tf.nn.safe_embedding_lookup_multi_dim(
        table("embedding"), ids([-1], [(1, 0, 0)]), combiners=["mean", "max"]
    )
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(sess.run(rows), np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"combiners": ["avg", "sum"]}, ValueError, "combiner must be one of"),
        ({"combiners": ["sum"]}, ValueError, "sparse tensor rank: 3, num combiners: 1"),
        ({"sp_ids": tf.SparseTensorValue}, TypeError, "sp_ids must be SparseTensor"),
        ({"sp_weights": [1.0]}, TypeError, "sp_weights must be either None or SparseTensor"),
        ({"weight_axis": 0}, ValueError, "weight_axis is 0"),
        ({"weight_axis": 3}, ValueError, "weight_axis is 3"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"sp_ids": ids(), "sp_weights": None, "combiners": ["sum", "sum"], **arguments}
    with pytest.raises(error, match=message):
        tf.nn.embedding_lookup_sparse_multi_dim(table("ordinary"), **given)
