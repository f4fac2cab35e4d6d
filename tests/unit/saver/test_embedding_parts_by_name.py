"""Embedding variables whose scopes, slots or own names are called like parts, and files that lack some parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.saver.incremental_saver import IncrementalSaver
from kvarn.variables.partitioned_variable import PartitionedVariable

IDS = [1, 2, 3, -1, 1000, 1001]
Rows = dict[int, list[float]]


def variable(name: str, parts: int | None = None, **options: Any) -> Any:
    partitioner = tf.fixed_size_partitioner(parts) if parts else None
    return tf.get_embedding_variable(
        name, 2, initializer=tf.zeros_initializer(), partitioner=partitioner, **options
    )


def parts_of(item: Any) -> list[Any]:
    return list(item) if isinstance(item, PartitionedVariable) else [item]


class Model:
    """Some embedding variables in a session of their own, each trained another way."""

    def __init__(
        self, build: Callable[[], Sequence[Any]], optimizer: Any = None, incremental: bool = False
    ) -> None:
        with tf.Graph().as_default() as graph:
            self.variables = list(build())
            ids = tf.constant(IDS, tf.int64)
            factors = tf.constant([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
            losses = [
                10**number * tf.reduce_sum(tf.nn.embedding_lookup(each, ids) * factors)
                for number, each in enumerate(self.variables)
            ]
            chosen = tf.train.GradientDescentOptimizer(1.0) if optimizer is None else optimizer()
            self.train = chosen.minimize(tf.add_n(losses), tf.train.get_or_create_global_step())
            self.exports = [[part.export() for part in parts_of(each)] for each in self.variables]
            self.slots = [
                [chosen.get_slot(part, name).export() for part in parts_of(each)]
                for each in self.variables
                for name in chosen.get_slot_names()
            ]
            self.saver = tf.train.Saver(incremental_save_restore=incremental)
            if incremental:
                self.increments = IncrementalSaver(saver_def=self.saver.saver_def, defer_build=True)
                self.increments.build(self.saver._builder.filename_tensor)
            self.initializer = tf.global_variables_initializer()
            self.session = tf.Session(graph=graph)

    def trained(self, times: int = 1) -> Model:
        self.session.run(self.initializer)
        for _ in range(times):
            self.session.run(self.train)
        return self

    def rows(self) -> list[Rows]:
        """Of each variable, then of each slot, all rows by key; no key is in two parts."""
        found = []
        for exports in (*self.exports, *self.slots):
            rows: Rows = {}
            for keys, values, *_ in self.session.run(exports):
                assert rows.keys().isdisjoint(keys.tolist())
                rows |= dict(zip(keys.tolist(), values.tolist(), strict=True))
            found.append(rows)
        return found


def two_scopes() -> list[Any]:
    found = []
    for scope in ("tower/part_0", "tower/part_1"):
        with tf.variable_scope(scope):
            found.append(variable("emb"))
    return found


def two_called_parts() -> list[Any]:
    with tf.variable_scope("tower"):
        return [variable("part_0"), variable("part_1")]


def in_scope(scope: str, parts: int | None = None) -> Callable[[], list[Any]]:
    def build() -> list[Any]:
        with tf.variable_scope(scope):
            return [variable("e", parts)]

    return build


def adagrad(name: str = "Adagrad") -> Callable[[], Any]:
    return lambda: tf.train.AdagradOptimizer(1.0, name=name)


@pytest.mark.parametrize("optimizer", [None, adagrad(), adagrad("part_1")])
@pytest.mark.parametrize("build", [two_scopes, two_called_parts])
def test_variables_in_scopes_called_parts_stay_apart(tmp_path: Path, build: Any, optimizer: Any) -> None:
    saved = Model(build, optimizer).trained(2)
    prefix = saved.saver.save(saved.session, tmp_path / "m")
    restored = Model(build, optimizer)
    restored.saver.restore(restored.session, prefix)
    assert restored.rows() == saved.rows()
    assert saved.rows()[0] != saved.rows()[1]


@pytest.mark.parametrize("scope", ["part_1", "a/part_0", "part_0/part_2"])
@pytest.mark.parametrize("slot", ["Adagrad", "part_0", "part_1"])
@pytest.mark.parametrize(
    ("before", "after"), [(None, None), (2, 2), (1, 1), (3, None), (None, 2), (2, 3), (3, 1)]
)
def test_a_scope_or_slot_called_part(
    tmp_path: Path, scope: str, slot: str, before: int | None, after: int | None
) -> None:
    saved = Model(in_scope(scope, before), adagrad(slot)).trained()
    prefix = saved.saver.save(saved.session, tmp_path / "m")
    restored = Model(in_scope(scope, after), adagrad(slot))
    restored.saver.restore(restored.session, prefix)
    assert restored.rows() == saved.rows()
    with restored.session.graph.as_default():
        plan = restored.saver.plan(prefix)
    assert not [row for row in plan.rows if row.blocked], str(plan)


def test_increments_of_variables_in_scopes_called_parts(tmp_path: Path) -> None:
    saved = Model(two_scopes, incremental=True).trained()
    saved.saver.save(saved.session, tmp_path / "model.ckpt", 1)
    saved.session.run(saved.train)
    increments = tmp_path / ".incremental_checkpoint" / "incremental_model.ckpt"
    saved.increments.incremental_save(saved.session, increments, 2)
    restored = Model(two_scopes, incremental=True)
    restored.increments.recover(restored.session, str(tmp_path))
    assert restored.rows() == saved.rows()


def test_a_graph_from_a_file_keeps_them_apart(tmp_path: Path) -> None:
    saved = Model(two_called_parts).trained()
    prefix = saved.saver.save(saved.session, tmp_path / "m")
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(f"{prefix}.meta")
        saver.restore(session, prefix)
        again = saver.save(session, tmp_path / "again")
    for name, _ in tf.train.list_variables(prefix):
        first, second = (tf.train.load_variable(p, name) for p in (prefix, again))
        assert np.array_equal(first, second), name


@pytest.mark.parametrize("which", [[1], [2], [0, 2], [1, 2]])
def test_a_saver_of_some_parts_restores_what_it_saved(tmp_path: Path, which: list[int]) -> None:
    def rows_by_part(model: Model) -> list[list[int]]:
        return [keys.tolist() for keys, *_ in model.session.run(model.exports[0])]

    saved = Model(in_scope("m", 3)).trained()
    with saved.session.graph.as_default():
        saver = tf.train.Saver([parts_of(saved.variables[0])[part] for part in which])
        prefix = saver.save(saved.session, tmp_path / "m")
    restored = Model(in_scope("m", 3))
    restored.session.run(restored.initializer)
    with restored.session.graph.as_default():
        tf.train.Saver([parts_of(restored.variables[0])[part] for part in which]).restore(
            restored.session, prefix
        )
    expected = rows_by_part(saved)
    assert rows_by_part(restored) == [expected[part] if part in which else [] for part in range(3)]


@pytest.mark.parametrize("after", [None, 1, 2, 3, 5])
def test_parts_behind_a_gap_are_found_and_the_gap_is_told(
    tmp_path: Path, after: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    tensors: dict[str, Any] = {}
    for part, keys in ((0, [0, 3]), (2, [2, 5])):
        stem = f"m/e/part_{part}"
        tensors |= {
            f"{stem}-keys": np.array(keys, np.int64),
            f"{stem}-values": np.repeat(np.array(keys, np.float32)[:, None], 2, 1),
            f"{stem}-versions": np.zeros(0, np.int64),
        }
    tf.checkpoint.write(tmp_path / "m", tensors)
    restored = Model(in_scope("m", after))
    with restored.session.graph.as_default():
        tf.train.Saver(restored.variables).restore(restored.session, str(tmp_path / "m"))
    assert restored.rows()[0] == {key: [key, key] for key in (0, 3, 2, 5)}
    assert "but not part 1 of it" in caplog.text


@pytest.mark.parametrize(("before", "after"), [(3, None), (None, 3), (2, 5), (1, None), (None, 1)])
def test_blocks_and_their_slots_in_any_number_of_parts(
    tmp_path: Path, before: int | None, after: int | None
) -> None:
    def run(parts: int | None, prefix: str | None) -> tuple[str, dict[str, Rows]]:
        with tf.Graph().as_default(), tf.Session() as session:
            items = tf.get_dynamic_dimension_embedding_variable(
                "items", 2, 3, partitioner=tf.fixed_size_partitioner(parts) if parts else None
            )
            rows = tf.nn.embedding_lookup(items, tf.constant(IDS, tf.int64), blocknums=[1, 2, 3, 1, 2, 3])
            train = tf.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(rows * rows + rows))
            saver = tf.train.Saver()
            if prefix is None:
                session.run(tf.global_variables_initializer())
                session.run(train)
            else:
                saver.restore(session, prefix)
            out = saver.save(session, tmp_path / f"m{parts}")
        found: dict[str, Rows] = {}
        for name, _ in tf.train.list_variables(out):
            if name.endswith("-keys"):
                stem = name.removesuffix("-keys")
                whole = "/".join(piece for piece in stem.split("/") if not piece.startswith("part_"))
                keys, values = (tf.train.load_variable(out, stem + s) for s in ("-keys", "-values"))
                found.setdefault(whole, {}).update(zip(keys.tolist(), values.tolist(), strict=True))
        return out, found

    prefix, saved = run(before, None)
    assert len(saved) == 9
    assert run(after, prefix)[1] == saved
