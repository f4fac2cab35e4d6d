"""Embedding variables in a Saver: what is written, and what comes back into tables of other shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors

SUFFIXES = [
    "-keys",
    "-values",
    "-versions",
    "-freqs",
    "-keys_filtered",
    "-versions_filtered",
    "-freqs_filtered",
    "-partition_offset",
    "-partition_filter_offset",
]


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


def ev(name: str, dim: int, value: float = 1.0, **kwargs):
    return tf.get_embedding_variable(
        name, embedding_dim=dim, initializer=tf.constant_initializer(value), **kwargs
    )


def rows(sess, variable, keys) -> np.ndarray:
    return sess.run(variable.sparse_read(tf.constant(keys, tf.int64)))


def load(path: str, name: str) -> np.ndarray:
    return tf.train.load_variable(path, name)


def saved(tmp_path: Path, dim: int = 4) -> str:
    """A checkpoint of two variables with keys 3, 1005, 7, of which `a` was set from numbered rows."""
    with tf.Graph().as_default(), tf.Session() as sess:
        a, b = ev("a", dim), ev("b", dim, 5.0)
        sess.run(tf.global_variables_initializer())
        numbers = tf.constant(np.arange(3 * dim, dtype=np.float32).reshape(3, dim))
        sess.run([a.sparse_read(tf.constant([3, 1005, 7], tf.int64), ev_init_value=numbers), rows_of(b)])
        return tf.train.Saver().save(sess, str(tmp_path / "m"))


def rows_of(b):
    return b.sparse_read(tf.constant([3], tf.int64))


def test_saving_before_the_initializer_ran_is_refused(tmp_path: Path) -> None:
    ev("a", 4)
    with tf.Session() as sess, pytest.raises(errors.FailedPreconditionError, match="a") as info:
        tf.train.Saver().save(sess, str(tmp_path / "m"))
    assert info.value.name == "a"
    assert info.value.hint
    assert list(tmp_path.iterdir()) == []


def test_initialized_but_never_looked_up_saves_no_keys(tmp_path: Path) -> None:
    ev("a", 4)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(sess, str(tmp_path / "m"))
    shapes = dict(tf.train.list_variables(path))
    assert sorted(shapes) == sorted("a" + s for s in SUFFIXES)
    assert shapes["a-keys"] == [0]
    assert shapes["a-values"] == [0, 4]
    np.testing.assert_array_equal(load(path, "a-partition_offset"), np.zeros(1001, np.int32))


def test_looked_up_keys_are_saved_in_buckets(tmp_path: Path) -> None:
    path = saved(tmp_path)
    np.testing.assert_array_equal(load(path, "a-keys"), [3, 1005, 7])
    np.testing.assert_array_equal(load(path, "a-values"), np.arange(12, dtype=np.float32).reshape(3, 4))
    offsets = load(path, "a-partition_offset")
    assert [offsets[i] for i in (3, 4, 5, 6, 7, 8, 1000)] == [0, 1, 1, 2, 2, 3, 3]


def test_the_save_node_says_that_there_are_embedding_variables() -> None:
    ev("a", 4)
    tf.Variable([1.0], name="w")
    tf.train.Saver()
    node = tf.get_default_graph().get_operation_by_name("save/SaveV2").node_def
    assert node.attr["has_ev"].b
    assert list(node.attr["ev_key_types"].list.type) == [tf.int64.as_datatype_enum]
    assert list(node.attr["dtypes"].list.type) == [
        tf.int64.as_datatype_enum,
        tf.resource.as_datatype_enum,
        tf.float32.as_datatype_enum,
    ]
    restore = tf.get_default_graph().get_operation_by_name("save/restore_all").node_def
    assert list(restore.input) == ["^save/Assign", "^save/KvResourceImportV2"]


def test_dense_variables_and_global_step_beside_them(tmp_path: Path) -> None:
    a = ev("a", 2)
    step = tf.get_variable(
        "global_step",
        [],
        tf.int64,
        tf.zeros_initializer(),
        trainable=False,
        collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.GLOBAL_STEP],
    )
    w = tf.Variable([1.0, 2.0], name="w")
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step.assign(41))
        rows(sess, a, [5, 6])
        path = saver.save(sess, str(tmp_path / "m"), global_step=step)
    assert path.endswith("m-41")
    assert load(path, "global_step") == 41
    with tf.Session() as sess:
        saver.restore(sess, path)
        assert sess.run(step) == 41
        np.testing.assert_array_equal(sess.run(w), np.float32([1, 2]))
        np.testing.assert_array_equal(sess.run(a.total_count()), [2, 2])


def test_restore_needs_no_initializer_and_gives_the_same_rows(tmp_path: Path) -> None:
    path = saved(tmp_path)
    a, b = ev("a", 4), ev("b", 4)
    with tf.Session() as sess:
        tf.train.Saver().restore(sess, path)
        np.testing.assert_array_equal(
            rows(sess, a, [3, 1005, 7]), np.arange(12, dtype=np.float32).reshape(3, 4)
        )
        np.testing.assert_array_equal(sess.run(b.total_count()), [1, 4])


def test_save_restore_save_gives_the_same_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path)
    ev("a", 4)
    ev("b", 4)
    with tf.Session() as sess:
        saver = tf.train.Saver()
        saver.restore(sess, path)
        again = saver.save(sess, str(tmp_path / "n"))
    for kind in (".index", ".data-00000-of-00001"):
        assert Path(again + kind).read_bytes() == Path(path + kind).read_bytes()


@pytest.mark.parametrize("dim", [2, 6])
def test_all_variables_into_another_dim_after_init(tmp_path: Path, dim: int) -> None:
    path = saved(tmp_path)
    a = ev("a", dim, 0.25)
    ev("b", dim)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        tf.train.Saver().restore(sess, path)
        got = rows(sess, a, [3, 1005, 7])
    common = min(dim, 4)
    np.testing.assert_array_equal(got[:, :common], np.arange(12, dtype=np.float32).reshape(3, 4)[:, :common])
    np.testing.assert_array_equal(got[:, common:], np.full((3, dim - common), np.float32(0.25)))


@pytest.mark.parametrize("initialized", [False, True])
def test_some_variables_into_another_dim_fills_with_zeros(tmp_path: Path, initialized: bool) -> None:
    path = saved(tmp_path)
    a = ev("a", 6, 0.25)
    ev("b", 6)
    with tf.Session() as sess:
        if initialized:
            sess.run(tf.global_variables_initializer())
        tf.train.Saver([a]).restore(sess, path)
        got = rows(sess, a, [3, 1005, 7])
    np.testing.assert_array_equal(got[:, :4], np.arange(12, dtype=np.float32).reshape(3, 4))
    np.testing.assert_array_equal(got[:, 4:], np.zeros((3, 2), np.float32))


@pytest.mark.parametrize(("before", "after"), [(None, 3), (3, None), (2, 5), (4, 1)])
def test_any_number_of_parts_into_any_other(tmp_path: Path, before, after) -> None:
    keys = np.array([0, 1, 2, 5, 999, 1000, 1001, 123456789, -4], np.int64)

    def parts_of(n):
        v = ev("a", 3, partitioner=None if n is None else tf.fixed_size_partitioner(n))
        return [v] if n is None else list(v)

    with tf.Graph().as_default(), tf.Session() as sess:
        parts = parts_of(before)
        sess.run(tf.global_variables_initializer())
        for i, part in enumerate(parts):
            own = keys[keys % 1000 % len(parts) == i]
            values = np.repeat(own.astype(np.float32)[:, None], 3, 1)
            sess.run(part.sparse_read(tf.constant(own), ev_init_value=tf.constant(values)))
        path = tf.train.Saver().save(sess, str(tmp_path / "m"))
    listed = {n for n, _ in tf.train.list_variables(path) if n.endswith("-keys")}
    assert listed == ({"a-keys"} if before is None else {f"a/part_{i}-keys" for i in range(before)})

    parts = parts_of(after)
    with tf.Session() as sess:
        tf.train.Saver().restore(sess, path)
        found = {}
        for i, part in enumerate(parts):
            got, values, _, _ = sess.run(part.export())
            assert set(got % 1000 % len(parts)) <= {i}
            found.update(zip(got.tolist(), values.tolist(), strict=True))
    assert found == {int(k): [np.float32(k)] * 3 for k in keys}


def test_a_partitioned_variable_may_stand_in_the_list(tmp_path: Path) -> None:
    v = ev("a", 3, partitioner=tf.fixed_size_partitioner(2))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for saver in (tf.train.Saver([v]), tf.train.Saver({"other": v}), tf.train.Saver(list(v))):
            path = saver.save(sess, str(tmp_path / "m"))
            listed = {n for n, _ in tf.train.list_variables(path)}
            assert listed == {f"a/part_{i}{s}" for i in range(2) for s in SUFFIXES}


def test_sharded(tmp_path: Path) -> None:
    a = ev("a", 3)
    w = tf.Variable([1.0], name="w")
    saver = tf.train.Saver(sharded=True)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        rows(sess, a, [1, 2])
        path = saver.save(sess, str(tmp_path / "m"))
    with tf.Session() as sess:
        saver.restore(sess, path)
        np.testing.assert_array_equal(sess.run(a.total_count()), [2, 3])
        np.testing.assert_array_equal(sess.run(w), [1.0])


def test_a_variable_that_the_checkpoint_lacks(tmp_path: Path) -> None:
    path = saved(tmp_path)
    ev("c", 4)
    with tf.Session() as sess, pytest.raises(errors.NotFoundError) as info:
        tf.train.Saver().restore(sess, path)
    assert "c-keys" in str(info.value)
    assert str(info.value).startswith("Restoring from checkpoint failed.")
    assert info.value.path is not None
    assert info.value.path.startswith(path)
    assert info.value.hint


def test_through_the_meta_graph(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with tf.Session() as sess:
        saver = tf.train.import_meta_graph(path + ".meta")
        saver.restore(sess, path)
        (a,) = [v for v in tf.get_collection(tf.GraphKeys.EMBEDDING_VARIABLES) if v.name == "a:0"]
        np.testing.assert_array_equal(rows(sess, a, [1005]), [np.arange(4, 8, dtype=np.float32)])
        again = saver.save(sess, str(tmp_path / "n"))
    assert Path(again + ".index").read_bytes() == Path(path + ".index").read_bytes()


def test_the_newer_save_and_import_ops_in_an_imported_graph(tmp_path: Path) -> None:
    """SaveV3 takes embedding variables by address; KvResourceImportV3 needs the variable to exist."""
    from kvarn.ops import checkpoint, kv
    from kvarn.variables.embedding_variable import lookup_resource

    with tf.Graph().as_default() as graph:
        a = ev("a", 2)
        prefix = tf.placeholder(tf.string, [], name="prefix")
        checkpoint.save_v3(
            prefix,
            ["global_step", "w"],
            ["", ""],
            ["a"],
            tf.reshape(lookup_resource(a), [1]),
            [tf.constant(3, tf.int64), tf.constant([7.0])],
            ev_key_types=[tf.int64],
            has_ev=True,
            name="save",
        )
        kv.kv_resource_import_v3(
            prefix, a.handle, "a", tf.constant(-1, tf.int64), shape=[2], dtype=tf.float32, name="read"
        )
        a.sparse_read(tf.constant([4, 5], tf.int64), name="rows")
        tf.identity(a.total_count(), name="count")
        definition = graph.as_graph_def()
        init = a.initializer.name
    tf.import_graph_def(definition, name="")
    feed = {"prefix:0": str(tmp_path / "m")}
    with tf.Session() as sess:
        sess.run(init)
        sess.run("rows:0")
        sess.run("save", feed)
    assert tf.train.list_variables(str(tmp_path / "m"))[-1] == ("w", [1])
    np.testing.assert_array_equal(sorted(load(str(tmp_path / "m"), "a-keys")), [4, 5])
    with tf.Session() as sess:
        sess.run(init)
        sess.run("read", feed)
        np.testing.assert_array_equal(sess.run("count:0"), [2, 2])


def test_a_save_during_training_has_value_and_slot_of_the_same_step(tmp_path: Path) -> None:
    """Primary and slots are written from one snapshot, while another thread goes on training."""
    import threading

    a = ev("a", 4, 0.0)
    ids = tf.constant(np.arange(20000, dtype=np.int64))
    optimizer = tf.train.AdagradOptimizer(0.0, initial_accumulator_value=1.0)
    # With rate 0 rows stay; the slot grows by 1 with every step, alike for all keys.
    train = optimizer.minimize(tf.reduce_sum(tf.nn.embedding_lookup(a, ids)))
    slot = optimizer.get_slot(a, "accumulator")
    saver = tf.train.Saver([a, slot], max_to_keep=None)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        stop = threading.Event()

        def go_on() -> None:
            while not stop.is_set():
                sess.run(train)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            paths = [
                saver.save(sess, str(tmp_path / "m"), global_step=i, write_meta_graph=False)
                for i in range(10)
            ]
        finally:
            stop.set()
            thread.join()
    sums = []
    for path in paths:
        values = load(path, "a/Adagrad-values")
        assert values.shape == (20000, 4)
        np.testing.assert_array_equal(load(path, "a-keys"), load(path, "a/Adagrad-keys"))
        np.testing.assert_array_equal(values, np.full_like(values, values[0, 0]))
        sums.append(values[0, 0])
    assert sums == sorted(sums)
