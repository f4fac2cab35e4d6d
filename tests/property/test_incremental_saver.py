"""Sessions that train, evict, save in full and by increments, and recover into other parts: a dictionary tells
what has to come back.  Where files were lost, swapped, copied, or come from another run, it comes back all the
same or is refused with the number of the save that is wrong."""

from __future__ import annotations

import functools
import importlib
import os
import re
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import kvarn as tf
from kvarn.checkpoint.chain import Chain
from kvarn.errors import OpError
from kvarn.formats.embedding_increment import BASENAME, FOLDER
from kvarn.formats.manifest import SUFFIX
from kvarn.io import MemoryFileSystem
from kvarn.ops.kv_resource import KIND
from kvarn.saver.incremental_saver import IncrementalSaver

KEYS = (-1, 0, 3, 5, 1003, 2003, 999, 2**40)
BATCH = st.lists(st.sampled_from(KEYS), max_size=4)
NUMBERED = re.compile(
    r"(number|increment|full save) \d+|ends with step \d+|last save is \d+|no checkpoint in"
)
LR, START = np.float32(0.5), np.float32(0.25)
HOLDERS = [importlib.import_module(f"kvarn.{name}") for name in ("io", "io.urls")]

# A key: rows of value and accumulator, or how often a filter has counted it.
State = dict[int, tuple[float, float] | int]


@contextmanager
def files_in(fs: MemoryFileSystem) -> Any:
    """Everything that kvarn reads and writes is in ``fs``."""
    local = HOLDERS[0].LOCAL
    for module in HOLDERS:
        module.LOCAL = fs
    try:
        yield
    finally:
        for module in HOLDERS:
            module.LOCAL = local


class Program:
    """A graph: an embedding variable under Adagrad, and both Savers."""

    def __init__(self, parts: int, cumulative: bool, filter_freq: int) -> None:
        with tf.Graph().as_default() as self.graph:
            self.ids = tf.placeholder(tf.int64, [None])
            ev = tf.get_embedding_variable(
                "b",
                2,
                initializer=tf.ones_initializer(),
                partitioner=tf.fixed_size_partitioner(parts) if parts else None,
                ev_option=tf.EmbeddingVariableOption(
                    filter_option=tf.CounterFilter(filter_freq=filter_freq) if filter_freq else None
                ),
            )
            loss = tf.reduce_sum(tf.nn.embedding_lookup(ev, self.ids))
            optimizer = tf.train.AdagradOptimizer(float(LR), initial_accumulator_value=float(START))
            self.train = optimizer.minimize(loss, var_list=[*ev] if parts else [ev])
            self.init = tf.global_variables_initializer()
            self.saver = tf.train.Saver(max_to_keep=0, incremental_save_restore=True)
            self.make_increments = functools.partial(
                IncrementalSaver,
                max_to_keep=0,
                saver_def=self.saver.saver_def,
                defer_build=True,
                cumulative=cumulative,
            )
            made = self.make_increments()
            made.build(self.saver._builder.filename_tensor)
            self.increments = made


@functools.cache
def program(parts: int, cumulative: bool, filter_freq: int) -> Program:
    return Program(parts, cumulative, filter_freq)


def tables(session: Any) -> list[Any]:
    return list({id(r.shared): r.table for r in session.resources.all_of(KIND)}.values())


def state_of(session: Any) -> State:
    state: State = {}
    for table in tables(session):
        with table.snapshot() as cut:
            values, accums = cut.values(0), cut.values(1)
            assert (values[:, 0] == values[:, 1]).all()
            state |= {
                key: (float(value), float(accum))
                for key, value, accum in zip(cut.keys.tolist(), values[:, 0], accums[:, 0], strict=True)
            }
            counted = zip(cut.filtered_keys.tolist(), cut.filtered_freqs.tolist(), strict=True)
            state |= dict(counted)
    return state


class Run:
    """A session and what it should hold."""

    def __init__(self, program: Program, filter_freq: int) -> None:
        self.program = program
        self.filter_freq = filter_freq
        self.session = tf.Session(graph=program.graph)
        self.state: State = {}

    def train(self, batch: list[int]) -> None:
        self.session.run(self.program.train, {self.program.ids: np.array(batch, np.int64)})
        for key in set(batch):
            count = batch.count(key)
            row = self.state.get(key, 0)
            if isinstance(row, int):
                if row + count < self.filter_freq:
                    self.state[key] = row + count
                    continue
                row = (1.0, float(START))
            accum = np.float32(row[1]) + np.float32(count) * np.float32(count)
            value = np.float32(row[0]) - LR * np.float32(count) / np.sqrt(accum)
            self.state[key] = (float(value), float(accum))

    def evict(self, batch: list[int]) -> None:
        for table in tables(self.session):
            table.remove(np.array(batch, np.int64))
        for key in batch:
            self.state.pop(key, None)

    def save(self, step: int, full: bool) -> None:
        with self.program.graph.as_default():
            if full:
                self.program.saver.save(self.session, "m/model.ckpt", step, write_meta_graph=False)
            else:
                self.program.increments.incremental_save(self.session, f"m/{FOLDER}/{BASENAME}", step)


def same(found: State, wanted: State) -> bool:
    return found.keys() == wanted.keys() and all(
        np.allclose(found[key], wanted[key], rtol=1e-6)
        and isinstance(found[key], int) == isinstance(row, int)
        for key, row in wanted.items()
    )


class SaverMachine(RuleBasedStateMachine):
    @initialize(cumulative=st.booleans(), filter_freq=st.sampled_from([0, 2]), parts=st.sampled_from([0, 2]))
    def begin(self, cumulative: bool, filter_freq: int, parts: int) -> None:
        self.fs = MemoryFileSystem()
        self.fs.make_directory("m")
        self.cumulative, self.filter_freq = cumulative, filter_freq
        self.run = self.new_run(parts)
        self.run.session.run(self.run.program.init)
        self.states: dict[int, State] = {}
        self.step = 0
        self.save([3, 3, 5], [], full=True)
        self.chain = Chain.open("m", self.fs).id
        self.other: State = {}

    def new_run(self, parts: int) -> Run:
        return Run(program(parts, self.cumulative, self.filter_freq), self.filter_freq)

    @rule(batch=BATCH, gone=BATCH, full=st.sampled_from([True, False, False]), after=BATCH)
    def save(self, batch: list[int], gone: list[int], full: bool, after: Any = ()) -> None:
        """Trains, evicts, perhaps trains an evicted key again, and saves."""
        if batch:
            self.run.train(batch)
        self.run.evict(gone)
        if after:
            self.run.train(list(after))
        self.step += 10
        with files_in(self.fs):
            self.run.save(self.step, full)
        self.states[self.step] = dict(self.run.state)
        assert same(state_of(self.run.session), self.run.state)

    @rule(parts=st.sampled_from([0, 2, 3]))
    def recover(self, parts: int) -> None:
        """Another process goes on from the newest save, perhaps with other parts."""
        run = self.new_run(parts)
        with files_in(self.fs), run.program.graph.as_default():
            run.program.increments.recover(run.session, "m")
        self.run.session.close()
        self.run, run.state = run, dict(self.states[self.step])
        assert same(state_of(run.session), run.state)

    @rule(parts=st.sampled_from([0, 2, 3]), data=st.data())
    def recover_a_step(self, parts: int, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(sorted(self.states)))
        assert self.recovered(step, parts) is None

    def recovered(self, step: int | None, parts: int = 0) -> str | None:
        """None if a step was recovered as it was, else the error."""
        run = self.new_run(parts)
        with files_in(self.fs), run.program.graph.as_default(), run.session:
            try:
                last = run.program.increments.recover(run.session, "m", step)
            except OpError as error:
                assert state_of(run.session) == {}
                return error.without_hint
            found = state_of(run.session)
            chain = Chain.open(last)
        if chain.id != self.chain:
            # A full save of another run has taken the place of ours: then that is what the folder is about.
            assert step is None
            assert same(found, self.other)
            return None
        done = chain.last.step if step is None else step
        assert same(found, self.states[done or 0]), (step, done)
        return None

    # -- harm ------------------------------------------------------------------------------------------

    def see(self, harmed: dict[str, bytearray]) -> None:
        whole, self.fs.files = self.fs.files, harmed
        for step in [*sorted(self.states)[-3:], None]:
            error = self.recovered(step)
            if error is not None:
                event(re.sub(r"'[^']*'|[0-9a-f]{8}|\d+", "…", error.partition(";")[0])[:60])
                assert NUMBERED.search(error), error
        self.fs.files = whole

    def saves(self) -> list[str]:
        return sorted(path.removesuffix(SUFFIX) for path in self.fs.files if path.endswith(SUFFIX))

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data())
    def lose_a_file(self, data: st.DataObject) -> None:
        lost = data.draw(st.sampled_from(sorted(path for path in self.fs.files if "ckpt" in path)))
        self.see({path: file for path, file in self.fs.files.items() if path != lost})

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data())
    def lose_a_save(self, data: st.DataObject) -> None:
        lost = data.draw(st.sampled_from(self.saves()))
        self.see({path: file for path, file in self.fs.files.items() if not path.startswith(lost + ".")})

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data())
    def swap_two_files(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(p for p in self.fs.files if "ckpt" in p)))
        kind = os.path.splitext(path)[1]
        other = data.draw(st.sampled_from(sorted(p for p in self.fs.files if p.endswith(kind))))
        self.see({**self.fs.files, path: self.fs.files[other], other: self.fs.files[path]})

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data())
    def copy_a_save(self, data: st.DataObject) -> None:
        copied = data.draw(st.sampled_from(self.saves()))
        files = {p: f for p, f in self.fs.files.items() if p.startswith(copied + ".")}
        self.see(self.fs.files | {f"m/copy{os.path.splitext(p)[1]}": f for p, f in files.items()})

    @precondition(lambda self: self.step > 20)
    @rule(data=st.data(), full=st.booleans())
    def bring_a_save_of_another_run(self, data: st.DataObject, full: bool) -> None:
        whole, self.fs.files = self.fs.files, {}
        other = self.new_run(0)
        other.session.run(other.program.init)
        other.train([3, 3])
        with files_in(self.fs):
            other.save(self.step, True)
            other.save(self.step + 5, full)
        brought, self.fs.files = self.fs.files, whole
        self.other = other.state
        other.session.close()
        in_place = data.draw(st.booleans())
        target = data.draw(st.sampled_from(self.saves())) if in_place else "m/foreign"
        newest = f"ckpt-{self.step + 5}."
        self.see(
            self.fs.files | {target + os.path.splitext(p)[1]: f for p, f in brought.items() if newest in p}
        )

    def teardown(self) -> None:
        self.run.session.close()


SaverMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
test_sessions = SaverMachine.TestCase
