"""Restore plans of random graphs and checkpoints: a plan says what a restore then does.

What a restore without a plan does is found out by doing it, what one with a plan should do by arithmetic on
the arrays that were written.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

import kvarn as tf
from kvarn import errors
from kvarn.checkpoint import EmbeddingTable
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.detect import open_checkpoint
from kvarn.formats.embedding import part_name, write_embedding
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.saver.restore_plan import RestorePlan

NAMES = ["a", "b", "a/Adagrad", "scope/a", "scope/c", "d"]
TABLES = ["e", "scope/e"]
DTYPES = [tf.float32, tf.float64, tf.int32, tf.int64]
SHAPES = [(4, 2), (2, 4), (5, 2)]
# What a restore without a plan does too.
STRICT = {"matched", "slices joined", "resharded", "other dim"}
START = 7
KEYS = np.arange(1, 8)


@dataclass
class Stored:
    """What a checkpoint holds: tensors by name, and the rows of embedding variables by name."""

    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    tables: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Model:
    """What a graph has: (dtype, shape, parts) of variables, (dim, parts) of embedding variables."""

    variables: dict[str, tuple[Any, tuple[int, int], int, bool]]
    tables: dict[str, tuple[int, int]]


@st.composite
def stored(draw: st.DrawFn, prefix: str) -> Stored:
    """A checkpoint that is written to ``prefix``."""
    found = Stored()
    with BundleWriter(prefix) as writer:
        writer.add("global_step", np.int64(3))
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
            dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(SHAPES))
            start = draw(st.integers(-5, 5))
            value = (np.arange(np.prod(shape)) + start).reshape(shape).astype(dtype.np)
            found.tensors[name] = value
            cut = draw(st.integers(0, shape[0] - 1))
            if cut == 0:
                writer.add(name, value)
                continue
            for first, last in ((0, cut), (cut, shape[0])):
                piece = TensorSlice(((first, last - first), (0, shape[1])))
                writer.add_slice(name, shape, piece, value[first:last])
        for name in draw(st.lists(st.sampled_from(TABLES), unique=True)):
            dim, parts, slot = draw(st.integers(1, 4)), draw(st.integers(0, 3)), draw(st.booleans())
            rows = np.arange(len(KEYS) * dim, dtype=np.float32).reshape(-1, dim) + draw(st.integers(0, 9))
            for family in ("", "Adagrad") if slot else ("",):
                stem = f"{name}/{family}" if family else name
                found.tables[stem] = rows + (100 if family else 0)
                for part in range(max(1, parts)):
                    own = KEYS % 1000 % max(1, parts) == part
                    write_embedding(
                        writer,
                        part_name(name, part, family) if parts else stem,
                        KEYS[own],
                        found.tables[stem][own],
                        dim=dim,
                    )
    return found


@st.composite
def models(draw: st.DrawFn, checkpoint: Stored) -> Model:
    """A graph, often one that fits what is stored."""
    names = st.lists(st.sampled_from(NAMES), unique=True, min_size=1)
    tables = st.lists(st.sampled_from(TABLES), unique=True)
    fitting = draw(st.booleans())
    if fitting:
        names = st.just(list(checkpoint.tensors) or ["a"])
        tables = st.just([name for name in TABLES if f"{name}/Adagrad" in checkpoint.tables])
    variables = {}
    for name in draw(names):
        dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(SHAPES))
        if name in checkpoint.tensors and (fitting or draw(st.booleans())):
            value = checkpoint.tensors[name]
            dtype, shape = tf.as_dtype(value.dtype), value.shape
        variables[name] = (dtype, shape, draw(st.sampled_from([0, 0, 2, 3])), draw(st.booleans()))
    return Model(
        variables, {name: (draw(st.integers(1, 4)), draw(st.integers(0, 3))) for name in draw(tables)}
    )


def build(model: Model) -> tuple[Any, dict[str, Any]]:
    """The Saver of the graph, and its variables."""
    variables = {}
    for name, (dtype, shape, parts, use_resource) in model.variables.items():
        variables[name] = tf.get_variable(
            name,
            shape,
            dtype,
            tf.constant_initializer(START),
            trainable="Adagrad" not in name,
            use_resource=use_resource,
            partitioner=tf.fixed_size_partitioner(parts) if parts else None,
        )
    step = tf.train.get_or_create_global_step()
    losses = []
    for name, (dim, parts) in model.tables.items():
        table = tf.get_embedding_variable(
            name,
            embedding_dim=dim,
            initializer=tf.constant_initializer(START),
            partitioner=tf.fixed_size_partitioner(parts) if parts else None,
        )
        losses.append(tf.reduce_sum(tf.nn.embedding_lookup(table, tf.constant([1], tf.int64))))
    if losses:
        tf.train.AdagradOptimizer(0.1, initial_accumulator_value=START).minimize(
            tf.add_n(losses), global_step=step
        )
    return tf.train.Saver(), variables


def values_of(sess: Any, saver: Any, model: Model, variables: dict[str, Any]) -> dict[str, list[Any]]:
    """All that a session has: variables as lists, embedding variables and slots as rows by key."""
    found: dict[str, Any] = {
        name: sess.run(tf.convert_to_tensor(v)).tolist() for name, v in variables.items()
    }
    found["global_step"] = sess.run("global_step:0")
    with tempfile.TemporaryDirectory() as folder:
        prefix = saver.save(sess, folder + "/m", write_meta_graph=False)
        with open_checkpoint(prefix) as reader:
            for name in model.tables:
                table = EmbeddingTable(reader, name).read()
                order = np.argsort(table.keys)
                found[name] = table.values[order].tolist()
                found[f"{name}/Adagrad"] = table.slots["Adagrad"][order].tolist()
    return found


def full_name(row: Any) -> str:
    """The name of the whole of what a row is a part of."""
    return row.variable.partition("/part_")[0] + row.variable.partition("/part_")[2][1:]


def expected(plan: RestorePlan, model: Model, checkpoint: Stored) -> dict[str, Any]:
    """What a session has after a restore by ``plan``, that had its initial values before."""
    found: dict[str, Any] = {"global_step": 3}
    for row in plan.variables:
        if row.kind == "embedding":
            name, slash, slot = row.variable.partition("/Adagrad")
            name = name.partition("/part_")[0] + slash + slot
            if row.action not in ("restore", "keep"):
                has_rows = any(
                    r.action == "restore" and r.kind == "embedding" and _base(r) == _base(row)
                    for r in plan.variables
                )
                dim = model.tables[_base(row)][0]
                found[name] = [[START] * dim] * len(KEYS) if has_rows else []
                continue
            rows = checkpoint.tables[name]
            dim = model.tables[_base(row)][0]
            wider = np.full((len(rows), max(dim, rows.shape[1])), START, np.float32)
            wider[:, : rows.shape[1]] = rows
            found[name] = wider[:, :dim].tolist()
        elif row.key in model.variables:
            dtype, shape, _, _ = model.variables[row.key]
            taken = (
                checkpoint.tensors[row.source] if row.action in ("restore", "keep") else np.full(shape, START)
            )
            found[row.key] = taken.astype(dtype.np).tolist()
    return found


def _base(row: Any) -> str:
    return str(row.variable).partition("/part_")[0].removesuffix("/Adagrad")


def of_all_parts(plan: RestorePlan, choose: Any) -> RestorePlan:
    """The plan with actions chosen by variable: parts of one get the same."""
    chosen: dict[tuple[str, str], str] = {}
    rows = []
    for row in plan.rows:
        if row.variable is None:
            rows.append(row)
            continue
        whole = (row.key if row.kind == "tensor" else _base(row), row.slot_of is not None and row.kind)
        action = chosen.setdefault(whole, choose(row))
        rows.append(dataclasses.replace(row, action=action))
    return RestorePlan(plan.checkpoint, tuple(rows))


@settings(max_examples=80)
@given(st.data())
def test_a_plan_says_what_a_restore_does(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default():
        prefix = folder + "/m"
        checkpoint = data.draw(stored(prefix))
        model = data.draw(models(checkpoint))
        saver, variables = build(model)
        plan = saver.plan(prefix)
        assert RestorePlan.from_json(plan.to_json()) == plan
        check_complete(plan, model, checkpoint)

        # Without a plan: it works just where the plan has nothing to say against it.
        strict = all(set(row.status) <= STRICT for row in plan.variables)
        event(f"without a plan: {strict}")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            try:
                saver.restore(sess, prefix)
                worked = True
            except (errors.NotFoundError, errors.InvalidArgumentError):
                worked = False
            assert worked == strict, str(plan)
            if worked:
                before = values_of(sess, saver, model, variables)
        if strict:
            with tf.Session() as sess:
                sess.run(tf.global_variables_initializer())
                saver.restore(sess, prefix, plan=plan)
                assert values_of(sess, saver, model, variables) == before

        # With one: what was chosen, or nothing at all.
        def choose(row: Any) -> str:
            possible = list(row.actions[1:3]) if row.blocked else list(row.actions[:3])
            return str(data.draw(st.sampled_from(possible)))

        chosen = of_all_parts(plan, choose)
        step = [
            dataclasses.replace(r, action=r.taking) if r.variable == "global_step" else r for r in chosen.rows
        ]
        chosen = RestorePlan(plan.checkpoint, tuple(step))
        torn = {
            _base(row)
            for row in chosen.variables
            if row.kind == "embedding" and row.slot_of is None and not row.reads
        } & {
            _base(row)
            for row in chosen.variables
            if row.slot_of is not None and row.reads and row.kind == "embedding"
        }
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            untouched = values_of(sess, saver, model, variables)
            refusal = ""
            try:
                saver.restore(sess, prefix, plan=chosen)
            except errors.InvalidArgumentError as e:
                refusal = str(e)
            assert bool(refusal) == bool(torn), refusal
            wanted = untouched if refusal else expected(chosen, model, checkpoint)
            assert values_of(sess, saver, model, variables) == wanted


def check_complete(plan: RestorePlan, model: Model, checkpoint: Stored) -> None:
    """There is a row for every variable and every stored tensor, and no other."""
    parts = [min(max(1, parts), shape[0]) for _, shape, parts, _ in model.variables.values()]
    parts += [2 * max(1, parts) for _, parts in model.tables.values()]
    assert len(plan.variables) == sum(parts) + 1
    of_variables = {row.stored.name for row in plan.variables if row.stored is not None}
    alone = [row.name for row in plan.rows if row.variable is None]
    assert len(set(alone)) == len(alone)
    assert not of_variables & set(alone)
    assert of_variables | set(alone) == {"global_step", *checkpoint.tensors, *checkpoint.tables}


@settings(max_examples=80)
@given(st.data())
def test_a_plan_of_something_else_is_refused_and_changes_nothing(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = folder + "/m", folder + "/n"
        model = data.draw(models(data.draw(stored(first))))
        changed = data.draw(models(data.draw(stored(second))))
        with tf.Graph().as_default():
            plan = build(model)[0].plan(first, missing="reset")
        with tf.Graph().as_default():
            saver, variables = build(changed)
            now = saver.plan(second, missing="reset")

            def facts(of: RestorePlan) -> Any:
                rows = [
                    (r.variable, r.key, r.slice, r.kind, r.dtype, r.shape, r.key_dtype) for r in of.variables
                ]
                return rows, {r.stored.name: r.stored for r in of.rows if r.stored is not None}

            fits = facts(plan) == facts(now) and not plan.undecided
            with tf.Session() as sess:
                sess.run(tf.global_variables_initializer())
                untouched = values_of(sess, saver, changed, variables)
                refusal = ""
                try:
                    saver.restore(sess, second, plan=plan)
                except errors.InvalidArgumentError as e:
                    refusal = str(e)
                assert bool(refusal) != fits, refusal
                if refusal:
                    assert values_of(sess, saver, changed, variables) == untouched


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats()
    | st.sampled_from(["", "a", "restore", "keep", "drop"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "dtype"]), inner),
    max_leaves=4,
)


@settings(max_examples=150)
@given(st.data())
def test_whatever_is_in_a_file_is_a_plan_or_refused(data: st.DataObject) -> None:
    """An edited file gives a plan that is run, or an error that says what is wrong, and then nothing changes."""
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default():
        prefix = folder + "/m"
        checkpoint = data.draw(stored(prefix))
        model = data.draw(models(checkpoint))
        saver, variables = build(model)
        document = json.loads(saver.plan(prefix, missing="leave").to_json())
        for _ in range(data.draw(st.integers(1, 2))):
            place: Any = document
            while True:
                key = data.draw(
                    st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
                )
                if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
                    break
                place = place[key]
            place[key] = data.draw(JSON)
            if not isinstance(document.get("rows"), list) or not document["rows"]:
                break
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            untouched = values_of(sess, saver, model, variables)
            try:
                plan = RestorePlan.from_json(json.dumps(document))
                str(plan)
                assert RestorePlan.from_json(plan.to_json()) == plan
                saver.restore(sess, prefix, plan=plan)
            except errors.InvalidArgumentError:
                assert values_of(sess, saver, model, variables) == untouched
