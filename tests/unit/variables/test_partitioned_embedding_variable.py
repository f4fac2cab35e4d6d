"""Partitioned embedding variables (reference 1.5) and lookups in them (1.8)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def keys(values: Any, dtype: Any = tf.int64) -> Any:
    return tf.constant(np.asarray(values), dtype)


def by_key(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
    """Row r of the matrix is (r, r + 0.5)."""
    return tf.constant(np.arange(shape[0], dtype=np.float32)[:, None] + np.array([0, 0.5], np.float32))


def variable(partitioner: Any, **kwargs: Any) -> Any:
    return tf.get_embedding_variable("b", 2, partitioner=partitioner, initializer=by_key, **kwargs)


def expected(ids: Any) -> Any:
    return (np.abs(np.asarray(ids)) % 4096)[..., None] + np.array([0, 0.5], np.float32)


def started() -> Any:
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return session


def held(sess: Any, b: Any) -> list[list[int]]:
    return [sorted(sess.run(part.export())[0].tolist()) for part in b]


def test_the_partitioner_is_asked_for_an_endless_table() -> None:
    """It is called with shape [sys.maxsize, dim]; element 0 of its answer is the number of parts."""
    asked = []

    def partitioner(shape: Any, dtype: Any) -> list[int]:
        asked.append((shape.as_list(), dtype))
        return [3, 1]

    b = variable(partitioner)
    assert asked == [([sys.maxsize, 2], tf.float32)]
    assert [part.name for part in b] == ["b/part_0:0", "b/part_1:0", "b/part_2:0"]


@pytest.mark.parametrize("number", [1, 2, 7])
def test_slice_infos_of_parts(number: int) -> None:
    """Shard i: full_name, full_shape [n, dim], var_offset [i, 0], var_full_name."""
    b = variable(tf.fixed_size_partitioner(number))
    for i, part in enumerate(b):
        info = part._get_save_slice_info()
        assert (info.full_name, info.full_shape) == ("b", [number, 2])
        assert (info.var_offset, info.var_shape) == ([i, 0], [1, 2])
        assert info.var_full_name == f"b/part_{i}"
        assert part.shape.as_list() == [2]


def test_slots_of_parts_have_slice_infos_too() -> None:
    """3.10: slot shards carry one with full_shape ``[n]``, the first element of the primary's."""
    b = variable(tf.fixed_size_partitioner(3))
    rows = tf.nn.embedding_lookup(b, keys([1]))
    tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows))
    slot = next(v for v in tf.global_variables() if v.op.name == "b/part_2/Adagrad")
    info = slot._get_save_slice_info()
    assert (info.full_name, info.full_shape, info.var_offset) == ("b/Adagrad", [3], [2])


def test_documented_example(tmp_path: Path) -> None:
    """Ids 5 to 9 in 4 parts: part_0 [8], part_1 [5 9], part_2 [6], part_3 [7]."""
    b = variable(tf.fixed_size_partitioner(4))
    rows = tf.nn.embedding_lookup(b, keys(range(5, 10)))
    with started() as sess:
        sess.run(rows)
        path = tf.train.Saver().save(sess, str(tmp_path / "m"))
    for i, there in enumerate([[8], [5, 9], [6], [7]]):
        assert sorted(tf.train.load_variable(path, f"b/part_{i}-keys").tolist()) == there
        assert tf.train.load_variable(path, f"b/part_{i}-values").shape == (len(there), 2)
        assert tf.train.load_variable(path, f"b/part_{i}-freqs").shape == (0,)
        assert tf.train.load_variable(path, f"b/part_{i}-versions").shape == (0,)


@pytest.mark.parametrize("key_type", [tf.int64, tf.int32])
@pytest.mark.parametrize("number", [2, 3, 7, 1024])
def test_part_of_a_key_is_by_floor_modulus(number: int, key_type: Any) -> None:
    """``id % 1000 % n`` with a result of at least 0, ids unchanged."""
    if number == 1024:
        number = 300
    least = np.iinfo(key_type.as_numpy_dtype).min
    ids = [
        0,
        1,
        999,
        1000,
        1001,
        123456,
        -1,
        -999,
        -1000,
        -1001,
        least + 1,
        np.iinfo(key_type.as_numpy_dtype).max,
    ]
    b = variable(tf.fixed_size_partitioner(number), key_dtype=key_type)
    rows = tf.nn.embedding_lookup(b, keys(ids, key_type))
    with started() as sess:
        found = sess.run(rows)
        parts = held(sess, b)
    np.testing.assert_array_equal(found, expected([int(i) for i in ids]))
    assert parts == [sorted(int(i) for i in ids if int(i) % 1000 % number == p) for p in range(number)]


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (lambda: tf.fixed_size_partitioner(5), 5),
        (lambda: tf.min_max_variable_partitioner(max_partitions=6), 6),
        (lambda: tf.variable_axis_size_partitioner(1 << 20, max_shards=4), 4),
        (lambda: lambda shape, dtype: (2, 1), 2),
    ],
)
def test_any_partitioner(make: Any, number: int) -> None:
    ids = list(range(40))
    b = variable(make())
    rows = tf.nn.embedding_lookup(b, keys(ids))
    with started() as sess:
        np.testing.assert_array_equal(sess.run(rows), expected(ids))
        assert [len(part) for part in held(sess, b)] == [len(ids[i::number]) for i in range(number)]
    with tf.variable_scope("", reuse=True):
        assert list(variable(make())) == list(b)


@pytest.mark.parametrize(
    ("partitioner", "message"),
    [
        (tf.variable_axis_size_partitioner(1 << 20), "has no size to cut by"),
        (lambda shape, dtype: [0, 1], "zero partitions"),
        (lambda shape, dtype: [2], "does not match the Variable's rank"),
        (lambda shape, dtype: [2, 2], "Can only slice a variable along one dimension"),
    ],
)
def test_partitioners_that_give_no_number_of_parts(partitioner: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        variable(partitioner)


def test_string_keys_are_refused_with_a_hint() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="to_hash_bucket_fast"):
        variable(tf.fixed_size_partitioner(2), key_dtype=tf.string)


@pytest.mark.parametrize("parts", [None, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("combiner", ["mean", "sum", "sqrtn", "tile"])
def test_sparse_lookups_in_whole_and_in_parts(combiner: str, weighted: bool, parts: int | None) -> None:
    """1.8, against NumPy: sums of rows times weights, over the sum of weights or the root of their squares."""
    b = variable(None if parts is None else tf.fixed_size_partitioner(parts))
    places = np.array([[0, 0], [0, 2], [1, 1], [2, 0], [2, 1]])
    ids, w = np.array([7, 1003, 7, -2, 7]), np.array([1, 2, 0.5, 3, 4], np.float32)
    sp_ids = tf.SparseTensor(places, keys(ids), [3, 3])
    sp_weights = tf.SparseTensor(places, tf.constant(w), [3, 3]) if weighted else None
    rows = tf.nn.embedding_lookup_sparse(b, sp_ids, sp_weights, combiner=combiner)
    clipped = tf.nn.embedding_lookup_sparse(b, sp_ids, sp_weights, combiner=combiner, max_norm=2.0)
    w = w if weighted else np.ones(5, np.float32)

    def combine(of_ids: Any) -> Any:
        if combiner == "tile":
            out = np.zeros((3, 3, 2))
            out[places[:, 0], places[:, 1]] = of_ids * w[:, None]
            return out.reshape(3, 6)
        total = np.zeros((3, 2))
        np.add.at(total, places[:, 0], of_ids * w[:, None])
        by = {"sum": np.ones(3), "mean": np.bincount(places[:, 0], w)}.get(
            combiner, np.sqrt(np.bincount(places[:, 0], w * w))
        )
        return total / by[:, None]

    of_ids = expected(ids)
    short = of_ids * np.minimum(1, 2 / np.linalg.norm(of_ids, axis=1, keepdims=True))
    with started() as sess:
        found, found_short = sess.run([rows, clipped])
    np.testing.assert_allclose(found, combine(of_ids), rtol=1e-6)
    np.testing.assert_allclose(found_short, combine(short), rtol=1e-6)


@pytest.mark.parametrize("parts", [None, 2])
@pytest.mark.parametrize("fused", [False, True])
def test_safe_lookups_prune_as_documented(parts: int | None, fused: bool) -> None:
    """1.8: ids below 0 are dropped, non-positive weights unless summed; empty rows read the default or zeros."""
    from kvarn.variables import safe_embedding_ops

    look_up = (
        safe_embedding_ops.fused_safe_embedding_lookup_sparse if fused else tf.nn.safe_embedding_lookup_sparse
    )
    b = variable(None if parts is None else tf.fixed_size_partitioner(parts))
    places = [[0, 0], [0, 1], [1, 0], [3, 0], [3, 1]]
    ids = tf.SparseTensor(places, keys([7, -2, -5, 9, 4]), [4, 2])
    weights = tf.SparseTensor(places, tf.constant([2.0, 1, 1, -1, 3]), [4, 2])
    pruned = look_up(b, ids, combiner="sum")
    kept = look_up(b, ids, combiner="sum", prune=False)
    summed = look_up(b, ids, weights, combiner="sum")
    mean = look_up(b, ids, weights, default_id=6)
    with started() as sess:
        one, two, three, four = sess.run([pruned, kept, summed, mean])
    seven, minus_two, minus_five, nine, four_, six = expected([7, -2, -5, 9, 4, 6])
    zeros = np.zeros(2)
    np.testing.assert_array_equal(one, [seven, zeros, zeros, nine + four_])
    np.testing.assert_array_equal(two, [seven + minus_two, minus_five, zeros, nine + four_])
    np.testing.assert_array_equal(three, [2 * seven, zeros, zeros, 3 * four_ - nine])
    np.testing.assert_allclose(four, [seven, six, six, four_], rtol=1e-6)


@pytest.mark.parametrize("parts", [None, 3])
def test_counts_go_to_the_part_of_their_key(parts: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frequencies of training are those of the ids that the lookup was given, in whole and in parts."""
    monkeypatch.setenv("TF_RECORD_FREQ", "1")
    b = variable(None if parts is None else tf.fixed_size_partitioner(parts))
    ids = tf.SparseTensor([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]], keys([7, 7, -1, 7, 1001]), [2, 3])
    rows = tf.nn.embedding_lookup_sparse(b, ids, None, combiner="sum")
    step = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(rows))
    with started() as sess:
        sess.run(step)
        sess.run(step)
        freqs: dict[int, int] = {}
        for part in [b] if parts is None else b:
            found = sess.run(part.export())
            freqs.update(zip(found[0].tolist(), found[3].tolist(), strict=True))
    assert freqs == {7: 6, -1: 2, 1001: 2}


@pytest.mark.parametrize("weighted", [False, True])
def test_no_ids_at_all(weighted: bool) -> None:
    b = variable(None)
    nothing = tf.SparseTensor(np.zeros((0, 2), np.int64), keys([]), [2, 3])
    weights = tf.SparseTensor(nothing.indices, tf.constant([], tf.float32), [2, 3]) if weighted else None
    rows = tf.nn.embedding_lookup_sparse(b, nothing, weights, combiner="sum")
    with started() as sess:
        assert sess.run(rows).shape == (0, 2)
