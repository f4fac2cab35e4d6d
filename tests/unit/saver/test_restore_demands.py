"""What graphs ask a checkpoint for: every way in which a restore can be built."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors, protos
from kvarn.formats.bundle import BundleWriter
from kvarn.saver.restore_demands import RestoreDemands
from kvarn.saver.saveable_object import SaveableObject, SaveSpec

W = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as g:
        yield g


def demands_of(saver: Any) -> RestoreDemands:
    return RestoreDemands(tf.get_default_graph().get_operation_by_name(saver.saver_def.restore_op_name))


def asked(demands: RestoreDemands) -> list[tuple[Any, ...]]:
    return [(d.key, d.variable, d.slice, d.dtype.name, d.shape) for d in demands.demands]


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("sequentially", [False, True])
@pytest.mark.parametrize("version", [tf.train.SaverDef.V1, tf.train.SaverDef.V2])
def test_savers(sharded: bool, sequentially: bool, version: int) -> None:
    tf.get_variable("a", [4, 3])
    with tf.device("/job:ps/task:1"):
        tf.get_variable("b", [2], tf.int64, tf.zeros_initializer(), use_resource=True)
        tf.get_variable("c", [4, 2], partitioner=tf.fixed_size_partitioner(2))
    saver = tf.train.Saver(sharded=sharded, restore_sequentially=sequentially, write_version=version)
    demands = demands_of(saver)
    assert asked(demands) == [
        ("a", "a", "", "float32", (4, 3)),
        ("b", "b", "", "int64", (2,)),
        ("c", "c/part_0", "4 2 0,2:0,2", "float32", (2, 2)),
        ("c", "c/part_1", "4 2 2,2:0,2", "float32", (2, 2)),
    ]
    assert [len(unit.demands) for unit in demands.units] == [1] * 4
    assert set(demands.initializers) == {"a", "b", "c/part_0", "c/part_1"} == demands.trainable


def test_builders_with_an_operation_for_each_variable() -> None:
    from kvarn.saver.builder import BaseSaverBuilder

    tf.get_variable("a", [4, 3])
    tf.get_variable("b", [2])
    assert [d.key for d in demands_of(tf.train.Saver(builder=BaseSaverBuilder())).demands] == ["a", "b"]


def test_names_of_a_dictionary_and_of_averages() -> None:
    a, b = tf.get_variable("a", [2]), tf.get_variable("b", [2])
    average = tf.train.ExponentialMovingAverage(0.9)
    average.apply([b])
    names = {"x/y": a, **average.variables_to_restore([b])}
    del names["a"]
    assert [(d.key, d.variable) for d in demands_of(tf.train.Saver(names)).demands] == [
        ("b/ExponentialMovingAverage", "b"), ("x/y", "a"),
    ]  # fmt: skip


def test_shapes_that_any_value_fits() -> None:
    tf.Variable(tf.placeholder_with_default(np.zeros(3, np.float32), [None]), validate_shape=False, name="v")
    assert asked(demands_of(tf.train.Saver())) == [("v", "v", "", "float32", None)]


@pytest.mark.parametrize("old", [False, True])
def test_operations_of_older_graphs(tmp_path: pathlib.Path, old: bool) -> None:
    """Graphs of before RestoreV2 read tensor by tensor."""
    with tf.compat.v1.Session() as sess:
        w = tf.get_variable("w", [2, 3])
        const = tf.placeholder_with_default("model", [], name="save/Const")
        if old:
            value = tf.raw_ops.Restore(file_pattern=const, tensor_name=tf.constant("w"), dt=tf.float32)
        else:
            value = tf.raw_ops.RestoreSlice(
                file_pattern=const,
                tensor_name=tf.constant("w"),
                shape_and_slice=tf.constant("4 3 2,2:0,3"),
                dt=tf.float32,
            )
        tf.group(tf.assign(w, value), name="save/restore_all")
        saved = tf.identity(const, name="save/control_dependency")
        saver = tf.train.Saver(
            saver_def=protos.SaverDef(
                filename_tensor_name=const.name,
                save_tensor_name=saved.name,
                restore_op_name="save/restore_all",
                version=2,
            )
        )
        with BundleWriter(str(tmp_path / "m")) as writer:
            writer.add("w", W[:2] if old else W)
        plan = saver.plan(tmp_path / "m")
        assert [(row.name, row.slice, row.action) for row in plan.rows] == [
            ("w", "" if old else "4 3 2,2:0,3", "restore")
        ]
        saver.restore(sess, tmp_path / "m", plan=plan)
        np.testing.assert_array_equal(sess.run(w), W[:2] if old else W[2:])


def test_names_that_are_only_known_when_the_graph_runs() -> None:
    names = tf.placeholder(tf.string, [1])
    value = tf.raw_ops.RestoreV2(prefix="m", tensor_names=names, shape_and_slices=[""], dtypes=[tf.float32])[
        0
    ]
    restore = tf.group(tf.assign(tf.get_variable("w", [2]), value))
    with pytest.raises(errors.UnimplementedError, match="only known when it runs"):
        RestoreDemands(restore)


class TwoInOne(SaveableObject):
    """Two tensors of the checkpoint that one variable gets the sum of."""

    def __init__(self, variable: Any) -> None:
        specs = [SaveSpec(variable, "", f"two/{name}", dtype=tf.float32, device="") for name in ("x", "y")]
        super().__init__(variable, specs, "two")

    def restore(self, restored_tensors: Any, restored_shapes: Any) -> Any:
        return tf.assign(self.op, tf.add_n(restored_tensors), name="sum")


def test_saveables_of_a_program(tmp_path: pathlib.Path) -> None:
    v = tf.get_variable("v", [2])
    saver = tf.train.Saver([TwoInOne(v)])
    demands = demands_of(saver)
    assert asked(demands) == [
        ("two/x", "save/sum", "", "float32", None),
        ("two/y", "save/sum", "", "float32", None),
    ]
    assert [len(unit.demands) for unit in demands.units] == [2]
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.add("two/x", np.ones(2, np.float32))
        writer.add("other", np.full(2, 5, np.float64))
    plan = saver.plan(tmp_path / "m")
    assert [row.action for row in plan.rows] == ["restore", "refuse", "drop"]
    rows = (plan.rows[0], *plan.with_source("save/sum", "other").rows[1:])
    with tf.Session() as sess:
        saver.restore(sess, tmp_path / "m", plan=type(plan)(plan.checkpoint, rows))
        assert sess.run(v).tolist() == [6, 6]


def test_savers_of_nothing_and_not_built(tmp_path: pathlib.Path) -> None:
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.add("x", W)
    empty = tf.train.Saver(allow_empty=True)
    plan = empty.plan(tmp_path / "m")
    assert [(row.name, row.action) for row in plan.rows] == [("x", "drop")]
    with tf.Session() as sess:
        empty.restore(sess, tmp_path / "m", plan=plan)
        with BundleWriter(str(tmp_path / "n")) as writer:
            writer.add("y", W)
        with pytest.raises(errors.InvalidArgumentError, match="'x' is not in the checkpoint"):
            empty.restore(sess, tmp_path / "n", plan=plan)
    with pytest.raises(RuntimeError, match="before plan"):
        tf.train.Saver(defer_build=True).plan(tmp_path / "m")
    with pytest.raises(errors.NotFoundError):
        empty.plan(tmp_path / "nothing")


# Embedding variables of all kinds ----------------------------------------------------------------------


def dynamic() -> Any:
    var = tf.get_dynamic_dimension_embedding_variable(
        "d", embedding_block_dimension=2, embedding_block_num=2, initializer=tf.ones_initializer()
    )
    ids = tf.constant([1, 2], tf.int64)
    return tf.nn.embedding_lookup(var, ids, blocknums=tf.constant([1, 2]))


def in_parts() -> Any:
    var = tf.get_embedding_variable(
        "e", embedding_dim=3, initializer=tf.ones_initializer(), partitioner=tf.fixed_size_partitioner(2)
    )
    return tf.nn.embedding_lookup(var, tf.constant([1, 2], tf.int64))


@pytest.mark.parametrize("build", [dynamic, in_parts])
def test_what_was_saved_matches(tmp_path: pathlib.Path, build: Any) -> None:
    def model() -> tuple[Any, Any, Any]:
        rows = build()
        step = tf.train.get_or_create_global_step()
        train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows), global_step=step)
        return rows, train, tf.train.Saver()

    with tf.Graph().as_default(), tf.Session() as sess:
        rows, train, saver = model()
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        saver.save(sess, str(tmp_path / "m"))
        trained = sess.run(rows)
    with tf.Graph().as_default(), tf.Session() as sess:
        rows, train, saver = model()
        plan = saver.plan(tmp_path / "m")
        assert {row.status for row in plan.rows} == {("matched",)}
        assert {row.action for row in plan.rows} == {"restore", "keep"}
        saver.restore(sess, tmp_path / "m", plan=plan)
        np.testing.assert_array_equal(sess.run(rows), trained)
        sess.run(train)
