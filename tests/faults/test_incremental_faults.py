"""Incremental and full saves stopped anywhere: the state before can be recovered, and errors lose nothing."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.checkpoint.chain import Chain
from kvarn.errors import OpError
from kvarn.formats.embedding_increment import BASENAME, FOLDER
from kvarn.io import FileSystem
from kvarn.ops.kv_resource import KIND
from kvarn.saver.incremental_saver import IncrementalSaver
from kvarn.testing.files import FaultyFileSystem, SimulatedCrash

HOLDERS = [importlib.import_module(f"kvarn.{name}") for name in ("io", "io.urls")]


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
    """A table whose rows count how often their keys were trained, and a dense variable that counts steps."""

    def __init__(self, cumulative: bool, sharded: bool = False) -> None:
        with tf.Graph().as_default() as self.graph:
            self.ids = tf.placeholder(tf.int64, [None])
            ev = tf.get_embedding_variable("b", 1, initializer=tf.zeros_initializer())
            step = tf.train.get_or_create_global_step()
            loss = -tf.reduce_sum(tf.nn.embedding_lookup(ev, self.ids))
            optimizer = tf.train.GradientDescentOptimizer(1.0)
            self.train_op = optimizer.minimize(loss, step, var_list=[ev])
            self.init = tf.global_variables_initializer()
            self.step = step
            self.saver = tf.train.Saver(max_to_keep=2, sharded=sharded, incremental_save_restore=True)
            self.increments = IncrementalSaver(
                max_to_keep=2,
                sharded=sharded,
                saver_def=self.saver.saver_def,
                defer_build=True,
                cumulative=cumulative,
            )
            self.increments.build(self.saver._builder.filename_tensor)

    def session(self) -> Any:
        return tf.Session(graph=self.graph)

    def train(self, session: Any, keys: list[int]) -> None:
        session.run(self.train_op, {self.ids: keys})

    def save(self, session: Any, step: int | None, full: bool) -> None:
        with self.graph.as_default():
            if full:
                self.saver.save(session, "d/model.ckpt", step, write_meta_graph=False)
            else:
                self.increments.incremental_save(session, f"d/{FOLDER}/{BASENAME}", step)

    def recovered(self, step: int | None = None) -> tuple[int, dict[int, float]]:
        """Step and rows of what can be recovered."""
        with self.graph.as_default(), self.session() as session:
            self.increments.recover(session, "d", step)
            return int(session.run(self.step)), rows(session)


def rows(session: Any) -> dict[int, float]:
    (table,) = {id(r.shared): r.table for r in session.resources.all_of(KIND)}.values()
    with table.snapshot() as cut:
        return dict(zip(cut.keys.tolist(), cut.values(0)[:, 0].tolist(), strict=True))


# By step: what the rows are then.
STATES = {1: {1: 1.0, 2: 1.0}, 2: {1: 1.0, 2: 2.0, 3: 1.0}, 3: {1: 1.0, 2: 2.0, 3: 2.0, 4: 1.0}}
BATCHES = {1: [1, 2], 2: [2, 3], 3: [3, 4]}


@pytest.fixture(scope="module", params=[True, False], ids=["cumulative", "links"])
def model(request: pytest.FixtureRequest) -> Model:
    return Model(request.param)


def recovered(model: Model, step: int | None = None) -> tuple[tuple[int, dict[int, float]] | None, str]:
    """What is recovered, or why not."""
    try:
        return model.recovered(step), ""
    except OpError as error:
        return None, error.without_hint


def saved(model: Model, session: Any, fs: FileSystem, upto: int, full: tuple[int, ...] = (1,)) -> None:
    session.run(model.init)
    with files_in(fs):
        for step in range(1, upto + 1):
            model.train(session, BATCHES[step])
            model.save(session, step, step in full)


@pytest.mark.parametrize("full", [False, True], ids=["increment", "full"])
def test_a_crash_at_any_write_of_a_save(model: Model, full: bool) -> None:
    """Afterwards the state before the save is there, or the one of the save; never anything else."""
    base = FaultyFileSystem()
    with model.session() as session:
        saved(model, session, base, 2)
    counting = FaultyFileSystem(base=base)

    def third(fs: FaultyFileSystem) -> None:
        with model.session() as session, model.graph.as_default():
            with files_in(base):
                model.increments.recover(session, "d")
            model.train(session, BATCHES[3])
            with files_in(fs):
                model.save(session, 3, full)

    third(counting)
    assert counting.operations > 10
    seen = set()
    for at in range(1, counting.operations + 1):
        fs = FaultyFileSystem(at, base=base, torn=at % 2 == 0)
        with pytest.raises(SimulatedCrash):
            third(fs)
        for left in fs.after_crash():
            with files_in(left):
                state, refusal = recovered(model)
                if state is None:
                    # Between the index and its manifest the save is not in the chain, which must be said.
                    assert "ckpt-3" in refusal, refusal
                    state, _ = recovered(model, step=2)
                assert state is not None
                step, found = state
            assert found == STATES[step], (at, step)
            seen.add(step)
    assert {2, 3} <= seen


@pytest.mark.parametrize("full", [False, True], ids=["increment", "full"])
def test_a_crash_in_a_save_over_another_of_its_name(full: bool) -> None:
    """Without steps in the names: no manifest tells of an index that is no more, and no increment of another save."""
    model = Model(cumulative=True)
    base = FaultyFileSystem()
    with model.session() as session, files_in(base):
        session.run(model.init)
        for step in (1, 2):
            model.train(session, BATCHES[step])
            model.save(session, None, full=step == 1)

    def third(fs: FaultyFileSystem) -> None:
        with model.session() as session, model.graph.as_default():
            with files_in(base):
                model.increments.recover(session, "d")
            model.train(session, BATCHES[3])
            with files_in(fs):
                model.save(session, None, full)

    counting = FaultyFileSystem(base=base)
    third(counting)
    seen = set()
    for at in range(1, counting.operations + 1):
        fs = FaultyFileSystem(at, base=base, torn=at % 2 == 0)
        with pytest.raises(SimulatedCrash):
            third(fs)
        for left in fs.after_crash():
            with files_in(left):
                state, refusal = recovered(model)
                if state is None:
                    assert refusal
                    with model.graph.as_default(), model.session() as session:
                        model.saver.restore(session, "d/model.ckpt")
                        state = int(session.run(model.step)), rows(session)
                    assert state[0] == (3 if full else 1)
                step, found = state
            assert found == STATES[step], (at, step)
            seen.add(step)
    assert seen == ({2, 3} if full else {1, 2, 3})


@pytest.mark.parametrize("full", [False, True], ids=["increment", "full"])
def test_an_error_at_any_write_of_a_save_loses_nothing(model: Model, full: bool) -> None:
    """A full disk, or a server that fails: the next increment has what the failed save should have had."""
    counting = FaultyFileSystem()
    with model.session() as session:
        saved(model, session, counting, 1)
        before = counting.operations
        with files_in(counting):
            model.train(session, BATCHES[2])
            model.save(session, 2, full)
        during = counting.operations - before
    for at in range(before + 1, before + during + 1):
        fs = FaultyFileSystem(at, error=True)
        with model.session() as session:
            saved(model, session, fs, 1)
            with files_in(fs):
                model.train(session, BATCHES[2])
                with contextlib.suppress(OpError):
                    model.save(session, 2, full)
                model.train(session, BATCHES[3])
                model.save(session, 3, False)
                assert model.recovered() == (3, STATES[3]), (at, fs.log[at - 1])
                assert not [path for path in fs.files if ".tmp" in path or "_temp_" in path]


def test_nothing_that_is_touched_while_saves_run_is_lost(model: Model) -> None:
    """Two threads train on while full saves and increments are written: in the end all is there."""
    fs = FaultyFileSystem()
    stop = threading.Event()
    with model.session() as session:
        session.run(model.init)

        def work(seed: int) -> None:
            random = np.random.default_rng(seed)
            while not stop.is_set():
                model.train(session, np.unique(random.integers(0, 50, 3)).tolist())

        with files_in(fs):
            model.save(session, 1, True)
            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
            for thread in threads:
                thread.start()
            for step in range(2, 30):
                model.save(session, step, step % 7 == 0)
            stop.set()
            for thread in threads:
                thread.join()
            model.save(session, 30, False)
            wanted = rows(session)
            with model.graph.as_default(), model.session() as other:
                model.increments.recover(other, "d")
                assert rows(other) == wanted
            assert Chain.open("d").last.step == 30


@pytest.mark.parametrize("second", ["full", "plain", "increment"])
def test_saves_of_one_session_wait_for_each_other(
    model: Model, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that saves while another is about to commit a full save: increments follow both, nothing is lost."""
    from kvarn.formats.bundle.writer import BundleWriter

    fs = FaultyFileSystem()
    with model.graph.as_default():
        plain = tf.train.Saver()
    finish = BundleWriter.finish
    threads: list[threading.Thread] = []
    with model.session() as session, files_in(fs):

        def other() -> None:
            if second == "plain":
                with model.graph.as_default():
                    plain.save(session, "d/plain/model.ckpt", 3, write_meta_graph=False)
            else:
                model.save(session, 3, second == "full")

        def in_between(writer: Any) -> None:
            monkeypatch.setattr(BundleWriter, "finish", finish)
            model.train(session, BATCHES[2])
            threads.append(threading.Thread(target=other))
            threads[0].start()
            threads[0].join(0.2)  # time enough to save, were it not its turn later
            model.train(session, BATCHES[3])
            finish(writer)

        session.run(model.init)
        model.train(session, BATCHES[1])
        model.save(session, 1, True)
        monkeypatch.setattr(BundleWriter, "finish", in_between)
        model.save(session, 2, True)
        threads[0].join()
        model.save(session, 4, False)
        assert model.recovered()[1] == rows(session) == STATES[3]


@pytest.mark.parametrize("next_fails", [False, True])
def test_increments_follow_a_full_save_that_could_not_be_listed(
    model: Model, next_fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for the state file: the checkpoint is whole, and so is the chain from there on."""

    def no_room(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "no space left")

    fs = FaultyFileSystem()
    with model.session() as session, files_in(fs):
        session.run(model.init)
        model.train(session, BATCHES[1])
        model.save(session, 1, True)
        model.train(session, BATCHES[2])
        with monkeypatch.context() as patched:
            patched.setattr("kvarn.checkpoint.update_checkpoint_state_internal", no_room)
            with pytest.raises(OSError, match="no space left"):
                model.save(session, 2, True)
        with monkeypatch.context() as patched:
            if next_fails:
                patched.setattr("kvarn.formats.manifest.write_manifest", no_room)
                with pytest.raises(OSError, match="no space left"):
                    model.save(session, 3, True)
            else:
                model.save(session, 3, True)
        model.train(session, BATCHES[3])
        model.save(session, 4, False)
        assert model.recovered()[1] == rows(session) == STATES[3]
