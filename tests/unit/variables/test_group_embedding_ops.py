"""Lookups of many embeddings as one op: numbers, gradients, arguments."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.ops import kv_group

# What DeepRec's own test of these ops looks up, and finds (group_embedding_lookup_ops_test.cc).
IDS = np.array([3, 1, 4, 5, 7, 3, 12, 12, 15, 4])
ROWS = np.array([0, 0, 1, 1, 1, 2, 2, 2, 3, 3])
COLUMNS = np.array([0, 1, 0, 1, 2, 0, 1, 2, 0, 1])
TABLE = np.arange(128, dtype=np.float32).reshape(16, 8)
FIRST_ELEMENTS = {
    "sum": [32.0, 128.0, 216.0, 152.0],
    "mean": [16.0, 42.66666793823242, 72.0, 76.0],
    "sqrtn": [22.627416610717773, 73.90083312988281, 124.70765686035156, 107.48023223876953],
}


@pytest.fixture(autouse=True)
def own_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def sparse(
    ids: Any = IDS, rows: Any = ROWS, columns: Any = COLUMNS, shape: Any = (4, 3), dtype: Any = None
) -> Any:
    indices = np.stack([rows, columns], 1) if len(ids) else np.zeros((0, 2), np.int64)
    return tf.SparseTensor(indices, tf.constant(np.asarray(ids), dtype or tf.int64), list(shape))


def table_rows(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
    return tf.constant(np.resize(TABLE, shape))


def embedding(name: str, dim: int = 8, **kwargs: Any) -> Any:
    option = tf.EmbeddingVariableOption(init_option=tf.InitializerOption(default_value_dim=16))
    return tf.get_embedding_variable(name, dim, initializer=table_rows, ev_option=option, **kwargs)


def ordinary(name: str, **kwargs: Any) -> Any:
    return tf.get_variable(name, initializer=tf.constant(TABLE), **kwargs)


def started() -> Any:
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return session


def group_ops() -> list[str]:
    return [op.type for op in tf.get_default_graph().get_operations() if op.type.startswith("Group")]


@pytest.mark.parametrize("combiner", list(FIRST_ELEMENTS))
@pytest.mark.parametrize("kind", ["embedding", "resource", "reference"])
def test_deeprecs_own_numbers(combiner: str, kind: str) -> None:
    makers = {
        "embedding": embedding,
        "resource": lambda name: ordinary(name, use_resource=True),
        "reference": ordinary,
    }
    params = [makers[kind](name) for name in "ab"]
    found = tf.nn.group_embedding_lookup_sparse(params, [sparse()] * 2, [combiner] * 2)
    expected = (
        np.array(FIRST_ELEMENTS[combiner])[:, None]
        + np.arange(8)
        * {
            "sum": np.array([[2], [3], [3], [2]]),
            "mean": np.ones((4, 1)),
            "sqrtn": np.sqrt([[2], [3], [3], [2]]),
        }[combiner]
    )
    with started() as sess:
        for rows in sess.run(found):
            np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert [x.shape.as_list() for x in found] == [[4, 8]] * 2
    assert len(group_ops()) == 1


def test_outputs_of_the_op_beside_the_rows() -> None:
    """Distinct keys in order of first occurrence, each id's place, ids up to the end of each row."""
    ids = sparse()
    outputs = kv_group.group_embedding_var_lookup(
        [embedding("a").handle],
        [ids.values],
        [ids.indices],
        [tf.constant(1.0)],
        [ids.dense_shape],
        tf.constant(1.0),
        combiner="sum",
        dimension=8,
        ignore_weights=True,
    )
    with started() as sess:
        _, (keys,), (places,), (ends,) = sess.run(list(outputs))
    assert keys.tolist() == [3, 1, 4, 5, 7, 12, 15]
    assert places.tolist() == [0, 1, 2, 3, 4, 0, 5, 5, 6, 2]
    assert ends.tolist() == [2, 5, 8, 10]


@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
def test_weights_multiply_and_numbers_divide(combiner: str) -> None:
    """A sum with weights is divided by the number of ids, as DeepRec's kernels do."""
    weights = np.linspace(-1, 2, 10).astype(np.float32)
    of_ids = tf.SparseTensor(sparse().indices, tf.constant(weights), [4, 3])
    (found,) = tf.nn.group_embedding_lookup_sparse([embedding("a")], [sparse()], [combiner], [of_ids])
    with started() as sess:
        rows = sess.run(found)
    numbers = np.bincount(ROWS)[:, None]
    summed = np.stack([(TABLE[IDS] * weights[:, None])[r == ROWS].sum(0) for r in range(4)])
    by = {"sum": 1, "mean": numbers, "sqrtn": np.sqrt(numbers)}[combiner]
    np.testing.assert_allclose(rows, summed / by, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
@pytest.mark.parametrize("kind", ["embedding", "ordinary"])
def test_gradients_reach_variables_and_weights(combiner: str, kind: str, weighted: bool) -> None:
    """Against the formula: an id's gradient is its row's, over the divisor, times its weight; equal ids add up."""
    param = embedding("a") if kind == "embedding" else ordinary("a")
    w = np.linspace(0.5, 2, 10).astype(np.float32) if weighted else np.ones(10, np.float32)
    weights = tf.Variable(w, name="w") if weighted else None
    of_ids = None if weights is None else [tf.SparseTensor(sparse().indices, weights, [4, 3])]
    (found,) = tf.nn.group_embedding_lookup_sparse([param], [sparse()], [combiner], of_ids)
    g = np.arange(32, dtype=np.float32).reshape(4, 8) - 11
    loss = tf.reduce_sum(found * g)
    step = tf.train.GradientDescentOptimizer(1.0).minimize(loss)
    after = tf.nn.embedding_lookup(param, tf.constant(np.arange(16)))
    numbers = np.bincount(ROWS).astype(np.float32)
    by = {"sum": np.ones(4), "mean": numbers, "sqrtn": np.sqrt(numbers)}[combiner][ROWS][:, None]
    of_each = g[ROWS] / by
    expected = TABLE.copy()
    np.subtract.at(expected, IDS, of_each * w[:, None])
    with started() as sess:
        sess.run(step)
        np.testing.assert_allclose(sess.run(after), expected, rtol=1e-5, atol=1e-4)
        if weights is not None:
            np.testing.assert_allclose(sess.run(weights), w - (of_each * TABLE[IDS]).sum(1), rtol=1e-4)


@pytest.mark.parametrize("make", [tf.train.AdagradOptimizer, tf.train.AdamOptimizer, tf.train.FtrlOptimizer])
def test_optimizers_train_a_group_like_single_lookups(make: Any) -> None:
    def train(grouped: bool) -> list[Any]:
        with tf.Graph().as_default():
            params = [embedding("a"), ordinary("b", use_resource=True), embedding("c")]
            combiners = ["mean", "sum", "sqrtn"]
            if grouped:
                found = tf.nn.group_embedding_lookup_sparse(params, [sparse()] * 3, combiners)
            else:
                found = [
                    tf.nn.embedding_lookup_sparse(p, sparse(), None, combiner=c)
                    for p, c in zip(params, combiners, strict=True)
                ]
            loss = tf.add_n([tf.reduce_sum(tf.square(x)) for x in found])
            step = make(0.1).minimize(loss)
            rows = [tf.nn.embedding_lookup(p, tf.constant(np.arange(16))) for p in params]
            with started() as sess:
                for _ in range(3):
                    sess.run(step)
                return list(sess.run(rows))

    for one, two in zip(train(True), train(False), strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-5, atol=1e-5)
        assert not np.allclose(one, TABLE)


def test_one_op_for_each_kind_of_lookup() -> None:
    """Dimension, combiner, key type and weights tell lookups of one op from those of another."""
    params = [
        embedding("a"),
        embedding("b", 4),
        embedding("c"),
        embedding("d", key_dtype=tf.int32),
        ordinary("e"),
    ]
    ids = [sparse(), sparse(), sparse(), sparse(dtype=tf.int32), sparse()]
    found = tf.nn.group_embedding_lookup_sparse(params, ids, ["sum"] * 5)
    assert sorted(group_ops()) == ["GroupEmbeddingVarLookup"] * 3 + ["GroupVariableLookup"]
    with started() as sess:
        a, b, c, d, e = sess.run(found)
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(a, d)
    np.testing.assert_array_equal(a, e)
    assert b.shape == (4, 4)
    names = {op.name for op in tf.get_default_graph().get_operations()}
    assert "localized_group_embedding_lookup_ev_dim8/GroupEmbeddingVarLookup" in names
    assert "localized_group_embedding_lookup_variable_dim8/GroupVariableLookup" in names


def test_combiners_of_one_dimension_may_differ() -> None:
    params = [embedding("a"), embedding("b"), embedding("a2")]
    found = tf.nn.group_embedding_lookup_sparse(params, [sparse()] * 3, ["sum", "mean", "sum"])
    with started() as sess:
        first = [rows[:, 0] for rows in sess.run(found)]
    for rows, combiner in zip(first, ["sum", "mean", "sum"], strict=True):
        np.testing.assert_allclose(rows, FIRST_ELEMENTS[combiner], rtol=1e-6)
    assert len(group_ops()) == 2


def test_a_group_takes_at_most_so_many() -> None:
    params = [embedding(f"e{i}") for i in range(5)]
    tf.nn.group_embedding_lookup_sparse(params, [sparse()] * 5, ["sum"] * 5, params_num_per_group=2)
    assert len(group_ops()) == 3
    with pytest.raises(ValueError, match="params_num_per_group"):
        tf.nn.group_embedding_lookup_sparse(params, [sparse()] * 5, ["sum"] * 5, params_num_per_group=0)


def test_the_same_variable_twice_sums_its_gradients() -> None:
    a = embedding("a")
    found = tf.nn.group_embedding_lookup_sparse([a, a], [sparse([1], [0], [0], (1, 1))] * 2, ["sum"] * 2)
    step = tf.train.GradientDescentOptimizer(1.0).minimize(
        tf.reduce_sum(found[0]) + 2 * tf.reduce_sum(found[1])
    )
    with started() as sess:
        sess.run(step)
        np.testing.assert_array_equal(sess.run(found[0]), TABLE[[1]] - 3)


def test_rows_without_ids_are_zeros() -> None:
    ids = sparse([2, 2], [1, 1], [0, 1], (4, 2))
    nothing = sparse([], [], [], (3, 2))
    found = tf.nn.group_embedding_lookup_sparse(
        [embedding("a"), ordinary("b"), embedding("c")], [ids, ids, nothing], ["mean", "sqrtn", "sum"]
    )
    with started() as sess:
        a, b, c = sess.run(found)
    np.testing.assert_array_equal(a, [np.zeros(8), TABLE[2], np.zeros(8), np.zeros(8)])
    np.testing.assert_allclose(b[1], TABLE[2] * np.sqrt(2), rtol=1e-6)
    np.testing.assert_array_equal(c, np.zeros((3, 8)))


def test_a_sequence_is_not_combined() -> None:
    weights = tf.SparseTensor(sparse().indices, tf.constant(np.arange(10, dtype=np.float32)), [4, 3])
    params = [embedding("a"), ordinary("b")]
    plain = tf.nn.group_embedding_lookup_sparse(params, [sparse()] * 2, ["mean"] * 2, is_sequence=True)
    (heavy,) = tf.nn.group_embedding_lookup_sparse(
        params[:1], [sparse()], ["sum"], [weights], is_sequence=True
    )
    step = tf.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(plain[0]) + tf.reduce_sum(heavy))
    expected = np.zeros((4, 3, 8), np.float32)
    expected[ROWS, COLUMNS] = TABLE[IDS]
    assert [x.shape.as_list() for x in plain] == [[4, 3, 8]] * 2
    after = TABLE.copy()
    np.subtract.at(after, IDS, np.repeat(1 + np.arange(10, dtype=np.float32)[:, None], 8, 1))
    with started() as sess:
        one, two, three = sess.run([*plain, heavy])
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(two, expected)
        np.testing.assert_array_equal(three[ROWS, COLUMNS], TABLE[IDS] * np.arange(10)[:, None])
        sess.run(step)
        np.testing.assert_array_equal(sess.run(params[0].sparse_read(tf.constant(np.arange(16)))), after)


def test_the_documented_order_of_arguments() -> None:
    """DeepRec's guide: (params, sp_ids, combiners, partition_strategy, sp_weights, name)."""
    a = embedding("a")
    weights = [tf.SparseTensor(sparse().indices, tf.constant(np.full(10, 2, np.float32)), [4, 3])]
    (documented,) = tf.nn.group_embedding_lookup_sparse([a], [sparse()], ["sum"], "mod", weights, "mine")
    (plain,) = tf.nn.group_embedding_lookup_sparse([a], [sparse()], ["sum"], "mod")
    (real,) = tf.nn.group_embedding_lookup_sparse([a], [sparse()], ["sum"], weights, "mod", False)
    assert documented.op.name.startswith("mine")
    with started() as sess:
        one, two, three = sess.run([documented, real, plain])
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, 2 * three)


def test_weights_of_some_lookups_only() -> None:
    of_ids = tf.SparseTensor(sparse().indices, tf.constant(np.full(10, 3, np.float32)), [4, 3])
    found = tf.nn.group_embedding_lookup_sparse(
        [embedding("a"), embedding("b")], [sparse()] * 2, ["sum"] * 2, [None, of_ids]
    )
    with started() as sess:
        a, b = sess.run(found)
    np.testing.assert_array_equal(3 * a, b)


def test_ids_of_any_shape_without_combining() -> None:
    a, b, c = embedding("a"), ordinary("b", use_resource=True), embedding("c", 4)
    ids = [tf.constant([[1, 1, 3], [5, 1, -2]], tf.int64), tf.constant([2, 2, 4]), [7, 7]]
    found = tf.nn.group_embedding_lookup([a, b, c], ids)
    assert sorted(group_ops()) == ["GroupEmbeddingVarLookupDense"] * 2 + ["GroupVariableLookupDense"]
    step = tf.train.GradientDescentOptimizer(1.0).minimize(tf.add_n([tf.reduce_sum(x) for x in found]))
    with started() as sess:
        one, two, three = sess.run(found)
        # The rows come one after another, whatever the shape of the ids.
        np.testing.assert_array_equal(one, TABLE[[1, 1, 3, 5, 1, 2]])
        np.testing.assert_array_equal(two, TABLE[[2, 2, 4]])
        assert three.shape == (2, 4)
        sess.run(step)
        again, other, _ = sess.run(found)
    np.testing.assert_array_equal(again, one - np.array([3, 3, 1, 1, 3, 1])[:, None])
    np.testing.assert_array_equal(other, two - np.array([2, 2, 1])[:, None])


def test_dense_op_keeps_the_shape_of_its_ids() -> None:
    """2.1: at the level of the op the output is ids.shape + [dim]."""
    rows, keys, places = kv_group.group_embedding_var_lookup_dense(
        [embedding("a").handle], [tf.constant([[4, 2], [4, 4]], tf.int64)], tf.constant(1.0), dimension=8
    )
    assert rows[0].shape.as_list() == [2, 2, 8]
    with started() as sess:
        found, (distinct,), (at,) = sess.run([rows[0], keys, places])
    np.testing.assert_array_equal(found, TABLE[[[4, 2], [4, 4]]])
    assert (distinct.tolist(), at.tolist()) == ([4, 2], [0, 1, 0, 0])


@pytest.mark.parametrize("rule", ["lookup", "apply"])
def test_missing_keys_are_created_by_the_rule_of_lookups(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVARN_EV_INSERT", rule)
    a = embedding("a")
    (rows,) = tf.nn.group_embedding_lookup_sparse([a], [sparse()], ["sum"])
    with started() as sess:
        sess.run(rows)
        assert len(sess.run(a.export())[0]) == (7 if rule == "lookup" else 0)


def test_rows_for_missing_keys_can_be_given() -> None:
    a = embedding("a", 2)
    ids = sparse([9, 4, 9], [0, 0, 1], [0, 1, 0], (2, 2))
    given = tf.constant([[1.0, 2], [3, 4], [5, 6]])
    rows = kv_group.group_embedding_var_lookup(
        [a.handle],
        [ids.values],
        [ids.indices],
        [tf.constant(1.0)],
        [ids.dense_shape],
        given,
        combiner="sum",
        dimension=2,
        ignore_weights=True,
        is_use_default_value_tensor=True,
    )[0][0]
    with started() as sess:
        np.testing.assert_array_equal(sess.run(rows), [[4, 6], [1, 2]])
        np.testing.assert_array_equal(
            sess.run(a.sparse_read(tf.constant([4, 9], tf.int64))), [[3, 4], [1, 2]]
        )


@pytest.mark.parametrize(("max_norm", "first"), [(200.0, [22.627417, 73.900833, 92.613083, 71.202057])])
def test_max_norm_of_the_op(max_norm: float, first: list[float]) -> None:
    """The numbers are those that DeepRec's test expects of "sqrtn" with a norm of 200."""
    ids, table = sparse(), tf.constant(TABLE)
    rows = kv_group.group_variable_lookup(
        [table],
        [ids.values],
        [ids.indices],
        [tf.constant(1.0)],
        [ids.dense_shape],
        tf.constant(0.0),
        combiner="sqrtn",
        dimension=8,
        ignore_weights=True,
        max_norm=max_norm,
    )[0][0]
    with tf.Session() as sess:
        np.testing.assert_allclose(sess.run(rows)[:, 0], first, rtol=1e-6)
    with pytest.raises(tf.errors.UnimplementedError, match="no gradient"):
        tf.gradients(rows, [table])


def test_one_part_is_taken_for_the_whole_and_more_are_refused() -> None:
    one = embedding("one", partitioner=tf.fixed_size_partitioner(1))
    two = embedding("two", partitioner=tf.fixed_size_partitioner(2))
    (rows,) = tf.nn.group_embedding_lookup_sparse([one], [sparse()], ["sum"])
    with started() as sess:
        np.testing.assert_allclose(sess.run(rows)[:, 0], FIRST_ELEMENTS["sum"])
    hashed = tf.get_multihash_variable("m", [[2, 2], [2, 2]])
    for look_up in (
        lambda p: tf.nn.group_embedding_lookup_sparse([p], [sparse()], ["sum"]),
        lambda p: tf.nn.group_embedding_lookup([p], [[1]]),
    ):
        with pytest.raises(TypeError, match="PartitionedVariable not support"):
            look_up(two)
        with pytest.raises(TypeError, match="made of several variables"):
            look_up(hashed)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"params": None}, ValueError, "params must be specified"),
        ({"combiners": ["max", "sum"]}, ValueError, "combiners must be one of 'mean', 'sum'"),
        ({"combiners": ["sum"]}, ValueError, "len of combiners must be equal to len of sp_ids"),
        ({"params": 1}, ValueError, "len of combiners must be equal to len of params"),
        ({"sp_weights": [None]}, ValueError, "len of combiners must be equal to len of sp_weights"),
        ({"sp_ids": "dense"}, TypeError, r"sp_ids\[0\] must be SparseTensor"),
        ({"sp_weights": ["dense", None]}, TypeError, r"sp_weights\[0\] must be SparseTensor"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    params = [embedding("a"), embedding("b")]
    given: dict[str, Any] = {
        "params": params,
        "sp_ids": [sparse()] * 2,
        "combiners": ["sum"] * 2,
        **arguments,
    }
    if given["params"] == 1:
        given["params"] = params[:1]
    if given["sp_ids"] == "dense":
        given["sp_ids"] = [tf.constant([1])] * 2
    with pytest.raises(error, match=message):
        tf.nn.group_embedding_lookup_sparse(**given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": [[0, 0], [9, 0]]}, "outside of its shape"),
        ({"indices": [[0, 0], [-1, 0]]}, "outside of its shape"),
        ({"indices": [[0, 0]]}, r"indices.* for 2 keys"),
        ({"weights": [1.0]}, "1 weights for 2 keys"),
        ({"shape": [-1, 1]}, r"the dense_shape \[-1, 1\]"),
        ({"shape": [2, 1, 1]}, r"sp_indices of shape \[2, 2\] and the dense_shape \[2, 1, 1\]"),
        ({"dimension": 5}, "dimension 5"),
        ({"values": [1, 99], "kind": "ordinary"}, r"id 99, which is not in \[0, 16\)"),
        ({"values": [1, -1], "kind": "ordinary"}, r"id -1, which is not in \[0, 16\)"),
    ],
)
def test_inputs_that_do_not_fit_are_errors(change: dict[str, Any], message: str) -> None:
    given = {"values": [1, 2], "indices": [[0, 0], [1, 0]], "shape": [2, 1], "weights": [1.0, 1.0], **change}
    is_embedding = change.get("kind") != "ordinary"
    look_up = kv_group.group_embedding_var_lookup if is_embedding else kv_group.group_variable_lookup
    param = embedding("a").handle if is_embedding else tf.constant(TABLE)

    def fed(value: Any, dtype: Any) -> Any:
        return tf.placeholder_with_default(tf.constant(value, dtype), None)

    rows = look_up(
        [param],
        [fed(given["values"], tf.int64)],
        [fed(given["indices"], tf.int64)],
        [fed(given["weights"], tf.float32)],
        [fed(given["shape"], tf.int64)],
        tf.constant(1.0),
        combiner="sum",
        dimension=change.get("dimension", 8),
    )[0][0]
    with started() as sess, pytest.raises(tf.errors.InvalidArgumentError, match=message):
        sess.run(rows)


def test_a_variable_that_was_not_initialised_is_an_error() -> None:
    (rows,) = tf.nn.group_embedding_lookup_sparse([embedding("a")], [sparse()], ["sum"])
    with tf.Session() as sess, pytest.raises(tf.errors.FailedPreconditionError, match="uninitialized"):
        sess.run(rows)


def test_ids_are_counted_as_in_single_lookups() -> None:
    """A filter of 3 lets in what occurs three times in a batch, in the group and elsewhere together."""

    def frequencies(grouped: bool) -> dict[int, int]:
        with tf.Graph().as_default():
            option = tf.EmbeddingVariableOption(filter_option=tf.CounterFilter(3))
            a = tf.get_embedding_variable("a", 2, ev_option=option)
            ids = sparse([5, 5, 6, 5, 7], [0, 0, 0, 1, 1], [0, 1, 2, 0, 1], (2, 3))
            if grouped:
                (found,) = tf.nn.group_embedding_lookup_sparse([a], [ids], ["sum"])
            else:
                found = tf.nn.embedding_lookup_sparse(a, ids, None, combiner="sum")
            beside = tf.nn.embedding_lookup(a, tf.constant([7, 8], tf.int64))
            loss = tf.reduce_sum(found) + tf.reduce_sum(beside)
            step = tf.train.AdagradOptimizer(0.1).minimize(loss)
            with started() as sess:
                sess.run(step)
                sess.run(step)
                wanted = [5, 6, 7, 8]
                return dict(
                    zip(
                        wanted, sess.run(a.get_frequency(tf.constant(wanted, tf.int64))).tolist(), strict=True
                    )
                )

    # An admitted key reports the filter's number.
    assert frequencies(True) == frequencies(False) == {5: 3, 6: 2, 7: 3, 8: 2}


def test_groups_train_beside_saves_and_lookups_of_other_threads(tmp_path: Path) -> None:
    """Each step adds 1 to every key of a batch in every variable: any read sees whole numbers, alike in a row."""
    params = [tf.get_embedding_variable(f"e{i}", 4, initializer=tf.zeros_initializer()) for i in range(5)]
    random = np.random.default_rng(1)
    keys = tf.placeholder(tf.int64, [40])
    ids = tf.SparseTensor(np.stack([np.arange(40), np.zeros(40, int)], 1), keys, [40, 1])
    found = tf.nn.group_embedding_lookup_sparse(params, [ids] * 5, ["sum"] * 5)
    step = tf.train.GradientDescentOptimizer(-1.0).minimize(tf.add_n([tf.reduce_sum(x) for x in found]))
    saver = tf.train.Saver()
    stop = threading.Event()
    wrong: list[Any] = []
    with started() as sess:

        def look() -> None:
            while not stop.is_set():
                read = sess.run(found, {keys: np.arange(40)})
                wrong.extend(
                    rows for rows in read if (rows != rows[:, :1]).any() or (rows != np.round(rows)).any()
                )

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for n in range(30):
                sess.run(step, {keys: random.permutation(60)[:40]})
                if n % 10 == 9:
                    saver.save(sess, str(tmp_path / "m"), global_step=n)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert not wrong
