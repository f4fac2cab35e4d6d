"""Multi-hash variables: two ordinary variables whose rows make the row of an id (reference 1.7)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import checkpoint
from kvarn.variables.multihash_variable import MultiHashVariable

JOIN: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "mul": np.multiply,
    "mult": np.multiply,
    "concat": lambda q, r: np.concatenate([q, r], -1),
}


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def values(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
    start = 0 if partition_info is None else partition_info.var_offset[0] * shape[1]
    return tf.constant(start + 1 + np.arange(np.prod(shape), dtype=np.float32).reshape(shape))


def expected(operation: str, ids: Any, q_rows: int, r_rows: int, q_dim: int, r_dim: int) -> Any:
    q = 1 + np.arange(q_rows * q_dim, dtype=np.float32).reshape(q_rows, q_dim)
    r = 1 + np.arange(r_rows * r_dim, dtype=np.float32).reshape(r_rows, r_dim)
    ids = np.asarray(ids)
    return JOIN[operation](q[ids // q_rows], r[ids % r_rows])


def started() -> Any:
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return session


def test_two_variables_with_deeprecs_names() -> None:
    with tf.variable_scope("s"):
        v = tf.get_multihash_variable("m", [[4, 3], [5, 3]])
    assert isinstance(v, MultiHashVariable)
    assert [p.name for p in tf.global_variables()] == ["s/m/multhash_Q:0", "s/m/multhash_R:0"]
    assert [p.shape.as_list() for p in v.val_list] == [[4, 3], [5, 3]]
    option = v.mhvconfig
    assert (option.num_of_partitions, option.strategy, option.operation) == (2, "Q-R", "add")
    assert (option.dims, v.name, v.dtype, v.shape.as_list()) == ([[4, 3], [5, 3]], "s/m", tf.float32, [3])
    assert all("truncated_normal" in p.initial_value.name for p in v.val_list)


@pytest.mark.parametrize("operation", list(JOIN))
@pytest.mark.parametrize("use_resource", [False, True])
def test_the_row_of_an_id_is_made_of_quotient_and_remainder(operation: str, use_resource: bool) -> None:
    """1.7: rows ``id // dims[0][0]`` and ``id % dims[1][0]``, added, multiplied or side by side."""
    r_dim = 2 if operation == "concat" else 3
    v = tf.get_multihash_variable(
        "m", [[4, 3], [6, r_dim]], operation=operation, initializer=values, use_resource=use_resource
    )
    ids = [0, 1, 5, 15, 7]
    rows = tf.nn.embedding_lookup(v, ids)
    square = tf.nn.embedding_lookup(v, tf.constant([ids, ids[::-1]], tf.int32))
    assert v.shape.as_list() == rows.shape.as_list()[1:] == square.shape.as_list()[2:]
    with started() as sess:
        found, found_square = sess.run([rows, square])
    want = expected(operation, ids, 4, 6, 3, r_dim)
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(found_square, np.stack([want, want[::-1]]))


def test_documented_example() -> None:
    """The program of DeepRec's documentation: two variables of ones, four ids, rows of ones."""
    v = tf.get_multihash_variable("v", [[2, 2], [2, 2]], operation="concat", initializer=tf.ones_initializer)
    rows = tf.nn.embedding_lookup(v, [0, 1, 2, 3])
    step = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows * 2.0))
    with started() as sess:
        np.testing.assert_array_equal(sess.run(rows), np.ones((4, 4)))
        sess.run(step)
        found = sess.run(rows)
    # Every row of both is used by two ids: gradient 4, accumulator 0.1 + 16.
    np.testing.assert_allclose(found, np.full((4, 4), 1 - 0.4 / np.sqrt(16.1)), rtol=1e-6)


def test_sparse_lookups() -> None:
    v = tf.get_multihash_variable("m", [[4, 3], [4, 3]], operation="mul", initializer=values)
    sparse = tf.SparseTensor([[0, 0], [0, 1], [2, 0]], tf.constant([3, 9, 9], tf.int64), [3, 2])
    weights = tf.SparseTensor(sparse.indices, tf.constant([1.0, 3.0, 2.0]), sparse.dense_shape)
    summed = tf.nn.safe_embedding_lookup_sparse(v, sparse, combiner="sum")
    mean = tf.nn.safe_embedding_lookup_sparse(v, sparse, weights, combiner="mean", default_id=1)
    with started() as sess:
        one, two = sess.run([summed, mean])
    three, nine, first = expected("mul", [3, 9, 1], 4, 4, 3, 3)
    np.testing.assert_array_equal(one, [three + nine, np.zeros(3), nine])
    np.testing.assert_allclose(two, [(three + 3 * nine) / 4, first, nine], rtol=1e-6)


@pytest.mark.parametrize("lookup", ["plain", "safe"])
def test_parts_hold_an_id_in_one_row_whatever_the_strategy(lookup: str) -> None:
    v = tf.get_multihash_variable(
        "m", [[4, 2], [4, 2]], initializer=values, partitioner=tf.fixed_size_partitioner(2)
    )
    assert [p.op.name for whole in v for p in whole] == [
        f"m/multhash_{half}/part_{i}" for half in "QR" for i in range(2)
    ]
    ids = np.arange(16)
    if lookup == "plain":
        rows = tf.nn.embedding_lookup(v, tf.constant(ids))
    else:
        sparse = tf.SparseTensor([[i, 0] for i in ids], tf.constant(ids), [16, 1])
        rows = tf.nn.safe_embedding_lookup_sparse(v, sparse, partition_strategy="div")
    with started() as sess:
        found = sess.run(rows)
    # Row k of a half is row k // 2 of part k % 2.
    half = 1 + np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    row = lambda k: half[k % 2, k // 2]  # noqa: E731
    np.testing.assert_array_equal(found, row(ids // 4) + row(ids % 4))


def test_it_is_saved_as_two_variables_and_trained_by_name(tmp_path: Path) -> None:
    v = tf.get_multihash_variable("m", [[4, 3], [4, 3]], initializer=values)
    rows = tf.nn.embedding_lookup(v, [5])
    step = tf.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(rows), var_list=[v])
    saver, renamed = tf.train.Saver([v]), tf.train.Saver({"x": v})
    with started() as sess:
        sess.run(step)
        np.testing.assert_array_equal(sess.run(rows), expected("add", [5], 4, 4, 3, 3) - 2)
        path = saver.save(sess, str(tmp_path / "m"))
        other = renamed.save(sess, str(tmp_path / "x"))
        trained = sess.run(rows)
        sess.run(tf.global_variables_initializer())
        saver.restore(sess, path)
        np.testing.assert_array_equal(sess.run(rows), trained)
    assert tf.train.list_variables(path) == [("m/multhash_Q", [4, 3]), ("m/multhash_R", [4, 3])]
    assert tf.train.list_variables(other) == [("x/multhash_Q", [4, 3]), ("x/multhash_R", [4, 3])]


@contextlib.contextmanager
def partitioned(parts: int | None) -> Iterator[tuple[Any, Any, Any, Any]]:
    """A session of a model with parts, the rows of some ids, a step of training, a Saver."""
    with tf.Graph().as_default():
        partitioner = tf.fixed_size_partitioner(parts) if parts else None
        v = tf.get_multihash_variable("m", [[9, 2], [9, 2]], operation="concat", partitioner=partitioner)
        rows = tf.nn.embedding_lookup(v, [0, 1, 57, 80])
        train = tf.train.AdagradOptimizer(1.0).minimize(tf.reduce_sum(rows * rows), var_list=[v])
        with started() as sess:
            yield sess, rows, train, tf.train.Saver()


@pytest.mark.parametrize(
    ("before", "after"), [(3, 2), (3, 1), (3, None), (None, 3), (2, 3), (None, 1), (1, None)]
)
def test_other_parts_would_give_ids_the_rows_of_others(
    tmp_path: Path, before: int | None, after: int | None
) -> None:
    with partitioned(before) as (sess, rows, train, saver):
        sess.run(train)
        path = saver.save(sess, str(tmp_path / "m"))
        saved = sess.run(rows)
    with partitioned(after) as (sess, rows, _, saver):
        fresh = sess.run(rows)
        if {before, after} == {None, 1}:  # the same
            saver.restore(sess, path)
            np.testing.assert_array_equal(sess.run(rows), saved)
        else:
            with pytest.raises(
                tf.errors.InvalidArgumentError, match=r"'m/multhash_Q.*is stored in other parts"
            ):
                saver.restore(sess, path)
            np.testing.assert_array_equal(sess.run(rows), fresh)
            assert {row.status for row in saver.plan(path).variables} == {("other parts",)}
    with partitioned(before) as (sess, rows, _, saver):
        saver.restore(sess, path)
        np.testing.assert_array_equal(sess.run(rows), saved)


def test_reshard_leaves_it_as_it_is(tmp_path: Path) -> None:
    with partitioned(3) as (sess, _, _, saver):
        path = saver.save(sess, str(tmp_path / "m"))
    assert checkpoint.reshard(path, str(tmp_path / "two"), partitions=2).changed == ()
    with pytest.raises(tf.errors.InvalidArgumentError, match="cannot reshard: 2 parts of 'm/multhash_Q'"):
        checkpoint.reshard(path, str(tmp_path / "other"), partitions={"m/multhash_Q": 2})
    assert checkpoint.diff(path, str(tmp_path / "two")).same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"complementary_strategy": "R-Q"}, "The strategy R-Q is not supported"),
        ({"operation": "sub"}, "The operation sub is not supported"),
        ({"num_of_partitions": 3}, "the num_of_partitions must be 2 when using Q-R strategy"),
        ({"dims": [[4, 3]]}, "the num_of_partitions must be 2 when using Q-R strategy"),
        ({"dims": [[4], [4, 3]]}, "dims must be two shapes"),
        ({"dims": [[0, 3], [4, 3]]}, "dims must be two shapes"),
        ({"dims": [[4, 2], [4, 3]]}, "cannot be joined by 'add'"),
        ({"dims": [[4, 2, 5], [4, 2, 6]], "operation": "concat"}, "cannot be joined by 'concat'"),
    ],
)
def test_what_no_row_can_be_made_by_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tf.get_multihash_variable("m", **{"dims": [[4, 3], [4, 3]], **arguments})


def test_an_id_too_large_is_an_error() -> None:
    v = tf.get_multihash_variable("m", [[4, 3], [4, 3]])
    rows = tf.nn.embedding_lookup(v, tf.constant([16], tf.int64))
    with started() as sess, pytest.raises(tf.errors.InvalidArgumentError, match=r"is not in \[0, 4\)"):
        sess.run(rows)
