"""Restore plans: what they say of variables and stored tensors, and what a restore by one does."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import checkpoint, errors
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.detect import open_checkpoint
from kvarn.saver.restore_plan import RestorePlan

W = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as g:
        yield g


def write(path: pathlib.Path, **tensors: Any) -> str:
    with BundleWriter(str(path / "m")) as writer:
        for name, value in tensors.items():
            writer.add(name.replace("__", "/"), np.asarray(value))
    return str(path / "m")


def row(plan: RestorePlan, variable: str) -> Any:
    [found] = [row for row in plan.rows if row.name == variable]
    return found


def variable(name: str, shape: list[int], dtype: Any = tf.float32, **options: Any) -> Any:
    return tf.get_variable(name, shape, dtype, tf.constant_initializer(7), **options)


@pytest.mark.parametrize("use_resource", [False, True])
def test_rows_of_tensors_and_what_a_restore_does(tmp_path: pathlib.Path, use_resource: bool) -> None:
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.add("same", W)
        writer.add("wide", np.arange(4, dtype=np.float64))
        writer.add("lost/kernel2", W)
        writer.add("same/Adam", W)
        writer.add_slice("cut", (4, 3), tf_slice("0,2:0,3"), W[:2])
        writer.add_slice("cut", (4, 3), tf_slice("2,2:0,3"), W[2:])
        writer.add("whole", W)
    options = {"use_resource": use_resource}
    same, wide, cut = (
        variable("same", [4, 3], **options),
        variable("wide", [4], **options),
        variable("cut", [4, 3]),
    )
    lost = variable("lost/kernel", [4, 3], **options)
    whole = variable("whole", [4, 3], partitioner=tf.fixed_size_partitioner(3), **options)
    saver = tf.train.Saver()
    plan = saver.plan(tmp_path / "m")

    assert {r.name: (r.action, r.status) for r in plan.rows} == {
        "cut": ("restore", ("slices joined",)),
        "lost/kernel": ("refuse", ("missing",)),
        "same": ("restore", ("matched",)),
        "whole/part_0": ("restore", ("resharded",)),
        "whole/part_1": ("restore", ("resharded",)),
        "whole/part_2": ("restore", ("resharded",)),
        "wide": ("restore", ("cast",)),
        "lost/kernel2": ("drop", ("unused",)),
        "same/Adam": ("drop", ("unused",)),
    }
    assert row(plan, "lost/kernel").near == ("lost/kernel2",)
    assert row(plan, "same/Adam").slot_of == "same"
    assert row(plan, "wide").note == "float64 to float32"
    assert [r.name for r in plan.undecided] == ["lost/kernel"]

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(
            errors.InvalidArgumentError, match=r"'lost/kernel' \(missing\).*near: lost/kernel2"
        ):
            saver.restore(sess, tmp_path / "m", plan=plan)
        np.testing.assert_array_equal(sess.run(same), np.full((4, 3), 7))
        saver.restore(sess, tmp_path / "m", plan=plan.with_source("lost/kernel", "lost/kernel2"))
        for v in (same, cut, lost, whole):
            np.testing.assert_array_equal(sess.run(tf.convert_to_tensor(v)), W)
        np.testing.assert_array_equal(sess.run(wide), [0, 1, 2, 3])


def tf_slice(text: str) -> Any:
    from kvarn.formats.tensor_slice import TensorSlice

    return TensorSlice.parse(text)


def test_a_plan_is_a_file_to_be_edited(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, old=W, b=[1.0, 2.0], c=np.int64(5))
    a, b, c = variable("new", [4, 3]), variable("b", [2]), variable("c", [], tf.int64)
    saver = tf.train.Saver()
    saver.plan(prefix).save(tmp_path / "plan.json")
    document = json.loads((tmp_path / "plan.json").read_text())
    assert (document["format"], document["checkpoint"]) == ("kvarn restore plan", prefix)
    rows = {r.get("variable"): r for r in document["rows"]}
    assert set(rows) == {"new", "b", "c", None}
    assert rows["new"]["action"] == "refuse"
    rows["new"].update(action="restore", source="old")
    rows["b"]["action"] = "leave"
    rows["c"]["action"] = "reset"
    (tmp_path / "plan.json").write_text(json.dumps(document, indent=1))
    with tf.Session() as sess:
        sess.run(b.assign([8.0, 9.0]))
        saver.restore(sess, prefix, plan=tmp_path / "plan.json")
        np.testing.assert_array_equal(sess.run(a), W)
        assert sess.run(b).tolist() == [8, 9]
        assert sess.run(c) == 7


def test_a_file_gives_the_plan_back(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, w=W, w__Adam=W, x=[1])
    variable("w", [4, 3], partitioner=tf.fixed_size_partitioner(2))
    variable("y", [3])
    plan = tf.train.Saver().plan(prefix)
    plan.save(tmp_path / "p")
    assert RestorePlan.load(tmp_path / "p") == plan


def test_without_a_plan_a_restore_is_strict(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, w=W.astype(np.float64))
    variable("w", [4, 3])
    saver = tf.train.Saver()
    with (
        tf.Session() as sess,
        pytest.raises(errors.InvalidArgumentError, match="does not equal original dtype"),
    ):
        saver.restore(sess, prefix)


def test_rules_rename_variables_and_their_slots(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, tower__w=W, tower__w__Adam=W + 1, tower__b=W[0])
    w = variable("net/w", [4, 3])
    adam = variable("net/w/Adam", [4, 3], trainable=False)
    b = variable("net/bias", [3])
    saver = tf.train.Saver()
    plan = saver.plan(prefix, rename=[("tower/w", "net/w"), ("re:^tower/b$", "net/bias")])
    assert (row(plan, "net/w").rule, row(plan, "net/w/Adam").rule) == ("tower/w=net/w",) * 2
    assert row(plan, "net/bias").rule == "re:^tower/b$=net/bias"
    assert {r.status for r in plan.rows} == {("renamed",)}
    assert (row(plan, "net/w/Adam").action, row(plan, "net/w/Adam").slot_of) == ("keep", "net/w")
    with tf.Session() as sess:
        saver.restore(sess, prefix, plan=plan)
        for v, value in ((w, W), (adam, W + 1), (b, W[0])):
            np.testing.assert_array_equal(sess.run(v), value)


def test_rules_that_mean_nothing_or_too_much_are_refused(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, a=[1.0], b=[1.0])
    variable("c", [1])
    saver = tf.train.Saver()
    with pytest.raises(errors.InvalidArgumentError, match="the rule to rename 'x' means nothing"):
        saver.plan(prefix, rename=[("x", "c")])
    with pytest.raises(errors.InvalidArgumentError, match="call both 'a' and 'b' 'c'"):
        saver.plan(prefix, rename=[("a", "c"), ("b", "c")])


def test_what_counts_as_another_is_not_found_under_its_own_name(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, a=np.ones(1, np.float32))
    variable("a", [1])
    variable("b", [1])
    plan = tf.train.Saver().plan(prefix, rename=[("a", "b")])
    assert (row(plan, "a").status, row(plan, "b").status) == (("missing",), ("renamed",))


def test_slots_and_missing_variables_can_start_anew(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, w=W, w__Momentum=W)
    w = variable("w", [4, 3])
    tf.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(w * variable("v", [4, 3])))
    saver = tf.train.Saver()
    plan = saver.plan(prefix, slots="reset", missing="leave")
    assert {r.name: r.action for r in plan.rows} == {
        "v": "leave", "v/Momentum": "reset", "w": "restore", "w/Momentum": "reset",
    }  # fmt: skip
    with tf.Session() as sess:
        saver.restore(sess, prefix, plan=plan)
        np.testing.assert_array_equal(sess.run("w/Momentum:0"), np.zeros((4, 3)))
        with pytest.raises(errors.FailedPreconditionError):
            sess.run("v:0")


def test_objects_are_found_by_their_graph(tmp_path: pathlib.Path) -> None:
    from kvarn import protos

    objects = protos.message("tensorflow.TrackableObjectGraph")()
    objects.nodes.add().attributes.add(
        name="VARIABLE_VALUE", full_name="w", checkpoint_key="m/w/.ATTRIBUTES/V"
    )
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.add("m/w/.ATTRIBUTES/V", W)
        text = np.empty((), object)
        text[()] = objects.SerializeToString()
        writer.add("_CHECKPOINTABLE_OBJECT_GRAPH", text, tf.string)
    w = variable("w", [4, 3])
    saver = tf.train.Saver()
    plan = saver.plan(tmp_path / "m")
    assert (row(plan, "w").source, row(plan, "w").rule) == ("m/w/.ATTRIBUTES/V", "object graph")
    with tf.Session() as sess:
        saver.restore(sess, tmp_path / "m", plan=plan)
        np.testing.assert_array_equal(sess.run(w), W)


# What no longer fits ------------------------------------------------------------------------------------


def refused(saver: Any, sess: Any, prefix: str, plan: Any, *reasons: str) -> None:
    with pytest.raises(errors.InvalidArgumentError) as caught:
        saver.restore(sess, prefix, plan=plan)
    for reason in (*reasons, "nothing was changed"):
        assert reason in str(caught.value)


def test_a_plan_of_another_graph_is_refused(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, w=W, b=[1.0])
    with tf.Graph().as_default():
        variable("w", [4, 3], tf.float64)
        variable("b", [1])
        plan = tf.train.Saver().plan(prefix)
    variable("w", [4, 3])
    variable("c", [1])
    with tf.Session() as sess:
        refused(
            tf.train.Saver(), sess, prefix, plan,
            "'w': its dtype is float32 in the graph, float64 in the plan",
            "'c' of the graph (saved as 'c') has no row",
            "'b' (saved as 'b') is not in the graph",
        )  # fmt: skip


def test_a_plan_of_another_checkpoint_is_refused(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, w=W, b=[1.0])
    variable("w", [4, 3])
    saver = tf.train.Saver()
    plan = saver.plan(prefix)
    (tmp_path / "n").mkdir()
    other = write(tmp_path / "n", w=W[:2], c=[1.0])
    with tf.Session() as sess:
        refused(
            saver, sess, other, plan,
            "'b' is not in the checkpoint",
            "'c' of the checkpoint is not in the plan",
            "'w' is float32[2, 3] in the checkpoint, float32[4, 3] in the plan",
            f"it is for '{prefix}'",
        )  # fmt: skip


def test_a_plan_serves_a_later_checkpoint_of_the_same_tensors(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, w=W)
    w = variable("w", [4, 3])
    saver = tf.train.Saver()
    plan = saver.plan(prefix)
    (tmp_path / "n").mkdir()
    with tf.Session() as sess:
        saver.restore(sess, write(tmp_path / "n", w=W + 1), plan=plan)
        np.testing.assert_array_equal(sess.run(w), W + 1)


def test_damaged_bytes_change_nothing(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, a=W, b=W)
    a, b = variable("a", [4, 3]), variable("b", [4, 3])
    saver = tf.train.Saver()
    plan = saver.plan(prefix)
    data = tmp_path / "m.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.DataLossError):
            saver.restore(sess, prefix, plan=plan)
        for v in (a, b):
            np.testing.assert_array_equal(sess.run(v), np.full((4, 3), 7))


def test_a_cast_that_loses_a_value_changes_nothing(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, a=W, b=np.array([1, 2**40]))
    a = variable("a", [4, 3])
    variable("b", [2], tf.int32)
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(errors.InvalidArgumentError, match="1099511627776, which int32 cannot hold"):
            saver.restore(sess, prefix, plan=saver.plan(prefix))
        assert sess.run(a)[0, 0] == 7


def test_choices_that_cannot_be_met_are_refused(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, a=W, b=["text"])
    variable("a", [3, 4])
    variable("b", [1])
    fed = tf.placeholder(tf.float32, [1])
    tf.Variable(fed, name="c")
    saver = tf.train.Saver()
    plan = saver.plan(prefix)
    assert (row(plan, "a").status, row(plan, "b").status) == (("other shape",), ("other type",))
    with tf.Session() as sess:
        refused(saver, sess, prefix, plan, "'a' (other shape)", "'b' (other type)", "'c' (missing)")
        refused(
            saver, sess, prefix, plan.with_action("*", "restore"),
            "'a' cannot take 'a' (float32[4, 3]): other shape",
            "'b' cannot take 'b' (string[1]): other type",
            "'c' cannot take 'c': missing",
        )  # fmt: skip
        refused(
            saver, sess, prefix, plan.with_action("*", "reset"), "'c' cannot be reset", "'Placeholder' fed"
        )


def test_reshaping_savers_take_other_shapes(tmp_path: pathlib.Path) -> None:
    prefix = write(tmp_path, a=W, b=W)
    a, b = variable("a", [3, 4]), variable("b", [6, 2], use_resource=True)
    saver = tf.train.Saver(reshape=True)
    plan = saver.plan(prefix)
    assert {r.status for r in plan.rows} == {("reshaped",)}
    with tf.Session() as sess:
        saver.restore(sess, prefix, plan=plan)
        np.testing.assert_array_equal(sess.run(a), W.reshape(3, 4))
        np.testing.assert_array_equal(sess.run(b), W.reshape(6, 2))


def test_what_is_set_together_is_restored_together(tmp_path: pathlib.Path) -> None:
    prefix = str(tmp_path / "m")
    with BundleWriter(prefix) as writer:
        writer.add("t-keys", np.array([3, 4]))
        writer.add("t-values", np.array([30.0, 40.0], np.float32))
    table = tf.contrib.lookup.MutableHashTable(tf.int64, tf.float32, -1.0, name="t")
    saver = tf.train.Saver()
    plan = saver.plan(prefix)
    assert [(r.name, r.key, r.action) for r in plan.rows] == [
        ("t", "t-keys", "restore"),
        ("t", "t-values", "restore"),
    ]
    with tf.Session() as sess:
        saver.restore(sess, prefix, plan=plan)
        assert sess.run(table.lookup(tf.constant([3, 4, 5], tf.int64))).tolist() == [30, 40, -1]
        rows = (plan.rows[0], *plan.with_action("t", "leave").rows[1:])
        refused(
            saver,
            sess,
            prefix,
            RestorePlan(prefix, rows),
            "'t-keys', 't-values' can only be restored together",
        )
        refused(
            saver, sess, prefix, plan.with_action("t", "reset"), "the graph does not tell of its initializer"
        )


# Embedding variables --------------------------------------------------------------------------------------


def write_embedding(path: pathlib.Path, name: str = "emb", dim: int = 2, parts: int = 1) -> str:
    with BundleWriter(str(path / "e")) as writer:
        for part in range(parts):
            keys = np.array([k for k in (5, 6, 7, 8) if k % 1000 % parts == part])
            stem = name if parts == 1 else f"{name}/part_{part}"
            rows = np.repeat(keys[:, None], dim, axis=1).astype(np.float32)
            embedding.write_embedding(writer, stem, keys, rows, dim=dim)
            embedding.write_embedding(writer, f"{stem}/Adagrad", keys, rows + 0.5, dim=dim)
        writer.add("global_step", np.int64(9))
    return str(path / "e")


def embedding_model(name: str = "emb", dim: int = 2, parts: int = 0) -> Any:
    options = {"partitioner": tf.fixed_size_partitioner(parts)} if parts else {}
    var = tf.get_embedding_variable(name, embedding_dim=dim, initializer=tf.ones_initializer(), **options)
    rows = tf.nn.embedding_lookup(var, tf.constant([5, 6, 99], tf.int64))
    step = tf.train.get_or_create_global_step()
    tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum(rows), global_step=step)
    return rows


def saved_rows(
    saver: Any, sess: Any, path: pathlib.Path, name: str = "emb"
) -> dict[int, tuple[list[float], list[float]]]:
    with open_checkpoint(saver.save(sess, str(path))) as reader:
        table = checkpoint.EmbeddingTable(reader, name).read()
    slots = table.slots["Adagrad"]
    return {
        int(key): (values.tolist(), slot.tolist())
        for key, values, slot in zip(table.keys, table.values, slots, strict=True)
    }


def test_embedding_variables_in_other_parts_dim_and_name(tmp_path: pathlib.Path) -> None:
    prefix = write_embedding(tmp_path, "old", parts=2)
    embedding_model("scope/new", dim=3, parts=3)
    saver = tf.train.Saver()
    plan = saver.plan(prefix, rename=[("old", "scope/new")])
    assert plan.summary() == "4 restore, 3 keep"
    found = row(plan, "scope/new/part_1")
    assert found.status == ("renamed", "resharded", "other dim")
    assert found.note == "2 parts to 3; 2 columns to 3, the rest is filled up"
    assert row(plan, "scope/new/part_1/Adagrad").slot_of == "scope/new/part_1"
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        saver.restore(sess, prefix, plan=plan)
        rows = saved_rows(saver, sess, tmp_path / "out", "scope/new")
        assert rows == {k: ([k, k, 1], [k + 0.5, k + 0.5, pytest.approx(0.1)]) for k in (5, 6, 7, 8)}
        assert sess.run("global_step:0") == 9


@pytest.mark.parametrize("initialized", [False, True])
def test_slots_of_embedding_variables_start_anew(tmp_path: pathlib.Path, initialized: bool) -> None:
    prefix = write_embedding(tmp_path)
    embedding_model()
    saver = tf.train.Saver()
    plan = saver.plan(prefix, slots="reset")
    actions = {r.name: r.action for r in plan.rows}
    assert actions == {"emb": "restore", "emb/Adagrad": "reset", "global_step": "restore"}
    with tf.Session() as sess:
        if initialized:
            sess.run(tf.global_variables_initializer())
        saver.restore(sess, prefix, plan=plan)
        tenth = pytest.approx(0.1)
        assert saved_rows(saver, sess, tmp_path / "out") == {
            k: ([k, k], [tenth, tenth]) for k in (5, 6, 7, 8)
        }


def test_rows_of_the_session_cannot_be_reset(tmp_path: pathlib.Path) -> None:
    prefix = write_embedding(tmp_path)
    rows = embedding_model()
    saver = tf.train.Saver()
    plan = saver.plan(prefix, slots="reset")
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(rows)
        refused(saver, sess, prefix, plan, "'emb/Adagrad' cannot be reset: it shares 3 rows of this session")
        refused(
            saver, sess, prefix, saver.plan(prefix).with_action("emb", "leave"),
            "'emb/Adagrad' is a slot in the rows of 'emb', which has the action 'leave'",
        )  # fmt: skip


def test_ordinary_and_embedding_variables_are_told_apart(tmp_path: pathlib.Path) -> None:
    prefix = write_embedding(tmp_path)
    variable("emb", [4, 2])
    tf.get_embedding_variable("global_step", embedding_dim=2)
    plan = tf.train.Saver().plan(prefix)
    notes = {r.variable: r.note for r in plan.variables}
    assert notes == {
        "emb": "an embedding variable is stored under this name",
        "global_step": "an ordinary tensor is stored under this name",
    }


# Files that are no plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda d: d.update(format="x"), 'has no "format"'),
        (lambda d: d.update(version=2), "of version 2, known is 1"),
        (lambda d: d.update(extra=1), "unknown fields: extra"),
        (lambda d: d["rows"][0].update(acton="reset"), "row 1 ('w') has unknown fields: acton"),
        (
            lambda d: d["rows"][0].update(action="keep"),
            "row 1 ('w') has the action 'keep'; it can have restore, reset",
        ),
        (lambda d: d["rows"][0].update(shape="4"), "row 1 ('w'): 'shape' is no list of int"),
        (lambda d: d["rows"][0].update(source=3), "row 1 ('w'): 'source' is no text"),
        (lambda d: d["rows"][0].pop("action"), "row 1 ('w') has no 'action'"),
        (lambda d: d["rows"][0]["stored"].update(dtype=1), "'dtype' of 'stored' is no text"),
        (lambda d: d["rows"][1].update(action="restore"), "row 2 has the action 'restore'; it can have drop"),
        (lambda d: d["rows"][1].update(source="w"), "row 2 has a 'source', but no variable"),
        (lambda d: d["rows"].append(3), "row 3 is no object"),
        (lambda d: d["rows"].append({"action": "drop"}), "row 3 has neither 'variable' nor 'stored'"),
    ],
)
def test_files_that_are_no_plan(tmp_path: pathlib.Path, edit: Any, said: str) -> None:
    prefix = write(tmp_path, w=W, x=[1.0])
    variable("w", [4, 3])
    path = tmp_path / "p.json"
    tf.train.Saver().plan(prefix).save(path)
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    with pytest.raises(errors.InvalidArgumentError) as caught:
        RestorePlan.load(path)
    assert said in str(caught.value)
    assert f"the restore plan '{path}' cannot be read" in str(caught.value)


def test_text_that_is_no_json(tmp_path: pathlib.Path) -> None:
    (tmp_path / "p").write_bytes(b"\xff{")
    with pytest.raises(errors.InvalidArgumentError, match="cannot be read"):
        RestorePlan.load(tmp_path / "p")
    with pytest.raises(errors.NotFoundError):
        RestorePlan.load(tmp_path / "q")


def test_choices_by_pattern() -> None:
    with pytest.raises(errors.InvalidArgumentError, match="no variable of the plan fits 'x'"):
        RestorePlan("p", ()).with_action("x", "reset")
    with pytest.raises(errors.InvalidArgumentError, match="no variable of the plan is called 'x'"):
        RestorePlan("p", ()).with_source("x", "y")
