"""Every kind of saveable: what was saved, restored and saved again has the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.saver import saveables
from kvarn.saver.builder import BaseSaverBuilder
from kvarn.variables.mutable_tables import DenseHashTable, MutableHashTable

VALUES = np.arange(12, dtype=np.float32).reshape(6, 2)


class Halved(BaseSaverBuilder.SaveableObject):
    """A program's own: stores half of its variable."""

    def __init__(self, variable: Any) -> None:
        super().__init__(variable, [BaseSaverBuilder.SaveSpec(variable / 2.0, "", "half")], "half")

    def restore(self, restored_tensors, restored_shapes):
        return self.op.assign(restored_tensors[0] * 2.0)


class Holder:
    """An object that names its saveables."""

    name = "holder"

    def __init__(self, variable: Any) -> None:
        self._variable = variable

    def _gather_saveables_for_checkpoint(self) -> dict[str, Any]:
        return {"part": self._variable}


def variable(**kwargs: Any) -> Any:
    return tf.get_variable("v", initializer=tf.constant(VALUES), **kwargs)


def embedding_variable() -> Any:
    v = tf.get_embedding_variable("v", embedding_dim=2, initializer=tf.constant_initializer(0.0))
    ids = tf.constant([5, 1003, -1, 4, 2**40, 3], tf.int64)
    tf.add_to_collection("fill", v.sparse_read(ids, ev_init_value=tf.constant(VALUES)))
    return v


def dynamic_variable(**kwargs: Any) -> Any:
    v = tf.get_dynamic_dimension_embedding_variable("v", 2, 2, initializer=tf.ones_initializer(), **kwargs)
    ids = tf.constant([5, 1003, -1, 4, 2**40, 3], tf.int64)
    tf.add_to_collection("fill", tf.nn.embedding_lookup(v, ids, blocknums=[1, 2, 0, 2, 1, 2]))
    return v


def parts(**kwargs: Any) -> Any:
    return variable(partitioner=tf.fixed_size_partitioner(4), **kwargs)


def table(cls: Any, *args: Any) -> Any:
    made = cls(tf.int64, tf.float32, [0.0, 0.0], *args)
    tf.add_to_collection("fill", made.insert(tf.range(6, dtype=tf.int64), VALUES))
    return made


def table_contents() -> Any:
    table(MutableHashTable)
    return tf.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS)


# By the name of the kind: what a var_list may be.
EXAMPLES: dict[str, list[Callable[[], Any]]] = {
    "CustomKind": [lambda: [Halved(variable())]],
    "EmbeddingVariableKind": [lambda: [embedding_variable()], lambda: {"other": embedding_variable()}],
    "LookupTableKind": [
        table_contents,
        lambda: [table(DenseHashTable, -1, -2, 8)],
        lambda: {"q": table(DenseHashTable, -1, -2, 8)},
    ],
    "PartitionedVariableKind": [
        lambda: [parts()],
        lambda: {"q": parts(use_resource=True)},
        lambda: [dynamic_variable(partitioner=tf.fixed_size_partitioner(2))],
    ],
    "ReferenceVariableKind": [lambda: [variable()], lambda: {"q": variable()}],
    "ResourceVariableKind": [
        lambda: [variable(use_resource=True)],
        lambda: {"q": variable(use_resource=True)},
    ],
    "SlicesKind": [lambda: {"q": list(parts())}],
    "TensorKind": [lambda: [variable()._ref()], lambda: {"q": variable()._ref()}],
    "VariableOfVariablesKind": [
        lambda: [dynamic_variable()],
        lambda: [tf.get_multihash_variable("v", [[6, 2], [6, 2]])],
        lambda: {"q": tf.get_multihash_variable("v", [[6, 2], [6, 3]], operation="concat")},
    ],
    "TrackableKind": [lambda: {"q": Holder(variable())}, lambda: [Holder(variable())]],
}
CASES = [(kind, i) for kind, examples in EXAMPLES.items() for i in range(len(examples))]


def test_every_kind_has_an_example() -> None:
    saveables.kind_of(0)
    shipped = {type(k).__name__ for k in saveables._kinds.values() if type(k).__module__.startswith("kvarn.")}
    assert set(EXAMPLES) == shipped


@pytest.mark.parametrize(("kind", "example"), CASES)
@pytest.mark.parametrize("sharded", [False, True])
def test_save_restore_save_gives_the_same_bytes(
    kind: str, example: int, sharded: bool, tmp_path: Path
) -> None:
    with tf.Graph().as_default() as graph:
        saver = tf.train.Saver(EXAMPLES[kind][example](), sharded=sharded)
        init = tf.global_variables_initializer()
    with tf.Session(graph=graph) as sess:
        sess.run(init)
        sess.run(graph.get_collection("fill"))
        first = saver.save(sess, str(tmp_path / "a"))
    with tf.Session(graph=graph) as sess:
        saver.restore(sess, first)
        second = saver.save(sess, str(tmp_path / "b"))
    assert Path(first + ".data-00000-of-00001").stat().st_size >= VALUES.nbytes
    for end in (".index", ".data-00000-of-00001"):
        assert Path(first + end).read_bytes() == Path(second + end).read_bytes()


def test_a_program_registers_a_kind(tmp_path: Path, monkeypatch) -> None:
    class Counter:
        name = "counter"

        def __init__(self, variable: Any) -> None:
            self.variable = variable

    monkeypatch.setattr(saveables, "_kinds", dict(saveables._kinds))

    @saveables.saveable_for(Counter)
    class CounterKind(saveables.Kind):
        def add_to(self, names, value):
            saveables.add_unique(names, value.name, value)

        def saveables(self, value, name):
            yield from saveables.kind_of(value.variable).saveables(value.variable, name)

    with tf.Graph().as_default(), tf.Session() as sess:
        saver = tf.train.Saver([Counter(variable())])
        sess.run(tf.global_variables_initializer())
        path = saver.save(sess, str(tmp_path / "m"))
    assert tf.train.list_variables(path) == [("counter", [6, 2])]
