"""A `Saver.save` that is stopped anywhere: what `checkpoint` names is whole, and errors leave no litter."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import kvarn as tf
from kvarn.errors import OpError, UnavailableError
from kvarn.io import FileSystem, MemoryFileSystem
from kvarn.testing.files import FaultyFileSystem, SimulatedCrash

KEYS = np.array([3, 1005, -7], np.int64)


# All that hold the machine's own files by name; they must be loaded before another takes its place.
HOLDERS = [
    importlib.import_module(f"kvarn.{name}")
    for name in (
        "io",
        "io.urls",
    )
]


def test_no_holder_is_forgotten() -> None:
    local = HOLDERS[0].LOCAL
    found = {
        name
        for name, module in sys.modules.items()
        if name.startswith("kvarn.") and vars(module).get("LOCAL") is local
    }
    assert found - {m.__name__ for m in HOLDERS} <= {"kvarn.io.local"}


@contextmanager
def files_in(fs: FileSystem) -> Iterator[None]:
    """Everything that kvarn reads and writes is in ``fs``."""
    local = HOLDERS[0].LOCAL
    for module in HOLDERS:
        module.LOCAL = fs
    try:
        yield
    finally:
        for module in HOLDERS:
            module.LOCAL = local


class Model:
    """A variable, a partitioned variable and an embedding variable whose values are all the step's number."""

    def __init__(self, sharded: bool) -> None:
        with tf.Graph().as_default() as self.graph:
            self.w = tf.get_variable("w", [5], initializer=tf.zeros_initializer())
            parts = tf.get_variable(
                "p", [4, 2], initializer=tf.zeros_initializer(), partitioner=tf.fixed_size_partitioner(2)
            )
            self.parts = list(parts)
            self.ev = tf.get_embedding_variable(
                "e", embedding_dim=2, initializer=tf.constant_initializer(0.0)
            )
            self.values = tf.placeholder(tf.float32, [3, 2])
            self.rows = self.ev.sparse_read(tf.constant(KEYS), ev_init_value=self.values)
            self.table = self.ev.export()
            self.saver = tf.train.Saver(max_to_keep=1, sharded=sharded)
            self.init = tf.global_variables_initializer()
            self.step = tf.placeholder(tf.float32, [])
            self.advance = tf.group(
                self.w.assign(tf.fill([5], self.step)),
                *[part.assign(tf.fill([2, 2], self.step)) for part in self.parts],
            )

    def save(self, step: int, known: list[str]) -> list[str]:
        """Saves a session at ``step``, knowing older checkpoints; those that are known then."""
        with tf.Session(graph=self.graph) as sess:
            sess.run(self.init)
            sess.run(self.advance, {self.step: step})
            sess.run(self.rows, {self.values: np.full((3, 2), step)})
            self.saver.set_last_checkpoints_with_time([(prefix, 0.0) for prefix in known])
            self.saver.save(sess, "d/m", global_step=step)
        return self.saver.last_checkpoints

    def restored(self) -> int:
        """The step of what `checkpoint` names, restored whole; 0 when it names nothing."""
        prefix = tf.train.latest_checkpoint("d")
        if prefix is None:
            return 0
        step = int(prefix.rpartition("-")[2])
        with tf.Session(graph=self.graph) as sess:
            self.saver.restore(sess, prefix)
            assert sess.run(self.w).tolist() == [step] * 5
            assert [p.tolist() for p in sess.run(self.parts)] == [[[step] * 2] * 2] * 2
            keys, rows, _, _ = sess.run(self.table)
            assert sorted(keys) == sorted(KEYS)
            assert rows.tolist() == [[step] * 2] * 3
        with tf.Graph().as_default():
            tf.train.import_meta_graph(prefix + ".meta")
        return step


@pytest.fixture(params=[False, True], ids=["one file", "sharded"])
def model(request) -> Model:
    return Model(request.param)


RENAMES = pytest.mark.parametrize("renames", [True, False], ids=["disk", "object store"])


def written(model: Model, renames: bool) -> MemoryFileSystem:
    """A directory with the checkpoint of step 1."""
    fs = MemoryFileSystem(renames=renames)
    fs.make_directories("d")
    with files_in(fs):
        model.save(1, [])
        assert model.restored() == 1
    return fs


@RENAMES
def test_a_crash_anywhere_leaves_what_the_state_names_whole(model: Model, renames: bool) -> None:
    base = written(model, renames)
    fs = FaultyFileSystem(base=base)
    with files_in(fs):
        assert model.save(2, ["d/m-1"]) == ["d/m-2"]
    assert not fs.exists("d/m-1.index")
    assert fs.operations >= 15
    for stop_at in range(1, fs.operations + 1):
        crashing = FaultyFileSystem(stop_at, torn=True, base=base)
        with files_in(crashing), pytest.raises(SimulatedCrash):
            model.save(2, ["d/m-1"])
        for state in crashing.after_crash():
            with files_in(state):
                assert model.restored() in (1, 2)


@RENAMES
def test_a_crash_in_the_first_save_of_a_directory(model: Model, renames: bool) -> None:
    base = MemoryFileSystem(renames=renames)
    base.make_directories("d")
    fs = FaultyFileSystem(base=base)
    with files_in(fs):
        model.save(1, [])
    for stop_at in range(1, fs.operations + 1):
        crashing = FaultyFileSystem(stop_at, torn=True, base=base)
        with files_in(crashing), pytest.raises(SimulatedCrash):
            model.save(1, [])
        for state in crashing.after_crash():
            with files_in(state):
                assert model.restored() in (0, 1)
                # What a crash left is in nobody's way.
                model.save(2, [])
                assert model.restored() == 2


@RENAMES
def test_an_error_anywhere_is_raised_and_leaves_only_whole_checkpoints(model: Model, renames: bool) -> None:
    base = written(model, renames)
    fs = FaultyFileSystem(base=base)
    with files_in(fs):
        model.save(2, ["d/m-1"])
    removals = {i for i, line in enumerate(fs.log, 1) if line.startswith("remove d/m-1")}
    for stop_at in range(1, fs.operations + 1):
        failing = FaultyFileSystem(stop_at, torn=True, error=True, base=base)
        with files_in(failing):
            if stop_at in removals:
                # The new checkpoint is there; what could not be deleted is only logged.
                model.save(2, ["d/m-1"])
            else:
                try:
                    model.save(2, ["d/m-1"])
                except UnavailableError:
                    pass
                except OpError as e:
                    pytest.fail(f"another error at {failing.log[stop_at - 1]}: {e!r}")
            assert model.restored() in (1, 2)
            left = {os.path.relpath(p, "d") for p in failing.files}
        if failing.log[stop_at - 1].startswith("remove"):
            continue  # what cannot be removed stays
        for name in left:
            assert "temp" not in name, (failing.log[stop_at - 1], left)
            assert ".tmp" not in name, (failing.log[stop_at - 1], left)
        new = {n for n in left if n.startswith("m-2.")}
        assert not new or {"m-2.index", "m-2.meta"} <= new, (failing.log[stop_at - 1], left)
