"""Checkpoints and increments of monitored sessions, and what is told to event files."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

import kvarn as tf
from kvarn.saver.incremental_saver import SUB_INCR_CKPT_DIR
from kvarn.train import increments, summary_io


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


class Writer:
    """A FileWriter that keeps what it is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda *args: self.told.append((name, *args))

    def of(self, name):
        return [what[1:] for what in self.told if what[0] == name]


@pytest.fixture(autouse=True)
def events(monkeypatch):
    writers = {}

    def writer_of(logdir):
        return writers.setdefault(logdir, Writer())

    monkeypatch.setattr(summary_io, "writer_of", writer_of)
    monkeypatch.setattr(summary_io, "session_log", lambda status, path="": (status, path))
    monkeypatch.setattr(summary_io, "scalar", lambda tag, value: (tag, value))
    return writers


def counting():
    """A variable, and an operation that adds 1 to it and to the global step."""
    v = tf.get_variable("v", initializer=0.0)
    step = tf.train.create_global_step()
    return v, tf.group(v.assign_add(1.0), step.assign_add(1))


def steps_in(folder):
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(int(n.rpartition("-")[2][:-6]) for n in names if n.endswith(".index"))


class Listener(tf.train.CheckpointSaverListener):
    def __init__(self, stop_at=None):
        self.log, self.stop_at = [], stop_at

    def begin(self):
        self.log.append("begin")

    def before_save(self, session, global_step_value):
        self.log.append(f"before {global_step_value}")

    def after_save(self, session, global_step_value):
        self.log.append(f"after {global_step_value}")
        return global_step_value == self.stop_at

    def end(self, session, global_step_value):
        self.log.append(f"end {global_step_value}")


def test_every_few_steps_and_at_both_ends(tmp_path, events):
    _, up = counting()
    listener = Listener()
    folder = str(tmp_path)
    hook = tf.train.CheckpointSaverHook(
        folder, save_steps=2, scaffold=tf.train.Scaffold(), listeners=[listener]
    )
    creator = tf.train.ChiefSessionCreator(hook._scaffold, checkpoint_dir=folder)
    with tf.train.MonitoredSession(creator, hooks=[hook]) as sess:
        for _ in range(5):
            sess.run(up)
    assert steps_in(folder) == [0, 2, 4, 5]
    assert listener.log == [
        "begin", "before 0", "after 0", "before 2", "after 2", "before 4", "after 4", "before 5", "after 5", "end 5",
    ]  # fmt: skip
    assert {"checkpoint", "graph.pbtxt", "model.ckpt-5.meta"} < set(os.listdir(folder))
    path = os.path.join(folder, "model.ckpt")
    assert events[folder].of("add_session_log") == [(("CHECKPOINT", path), n) for n in (0, 2, 4, 5)]
    assert [name for name, *_ in events[folder].told[:2]] == ["add_graph", "add_meta_graph"]
    (meta_graph,) = events[folder].of("add_meta_graph")[0]
    assert meta_graph.saver_def.save_tensor_name == "save/Identity:0"


def test_a_listener_stops(tmp_path):
    _, up = counting()
    hook = tf.train.CheckpointSaverHook(str(tmp_path), save_steps=1, listeners=[Listener(stop_at=3)])
    runs = 0
    with tf.train.MonitoredSession(hooks=[hook]) as sess:
        while not sess.should_stop():
            sess.run(up)
            runs += 1
    assert runs == 3


def test_every_few_seconds(tmp_path, clock):
    _, up = counting()
    hook = tf.train.CheckpointSaverHook(
        str(tmp_path), save_secs=10, saver=tf.train.Saver(), checkpoint_basename="m"
    )
    with tf.train.SingularMonitoredSession(hooks=[hook]) as sess:
        for seconds in (4, 4, 4, 4, 8):
            sess.run(up)
            clock[0] += seconds
        assert steps_in(tmp_path) == [0, 4]
        assert tf.train.load_variable(str(tmp_path / "m-4"), "v") == 4.0


def test_which_saver(tmp_path):
    counting()
    hook = tf.train.CheckpointSaverHook(str(tmp_path), save_secs=10)
    with pytest.raises(RuntimeError, match=r"^No items in collection savers\. Please add a saver"):
        hook._get_saver()
    for _ in range(2):
        tf.add_to_collection(tf.GraphKeys.SAVERS, tf.train.Saver())
    with pytest.raises(RuntimeError, match=r"^More than one item in collection savers\. Please indicate"):
        hook._get_saver()


# -- MonitoredTrainingSession ----------------------------------------------------------------------


def hooks_of(sess):
    return [type(hook).__name__ for hook in sess._hooks]


def test_the_usual_hooks(tmp_path):
    counting()
    mine, chiefs = tf.train.FinalOpsHook(None), tf.train.FeedFnHook(dict)
    session = tf.train.MonitoredTrainingSession
    usual = ["StepCounterHook", "SummarySaverHook", "CheckpointSaverHook"]
    with session(checkpoint_dir=str(tmp_path), hooks=[mine], chief_only_hooks=[chiefs]) as sess:
        assert hooks_of(sess) == ["FeedFnHook", *usual, "FinalOpsHook"]
        saver, summaries = sess._hooks[3], sess._hooks[2]
        assert (saver._timer._every_secs, saver._timer._every_steps) == (600, None)
        assert (summaries._timer._every_secs, summaries._timer._every_steps) == (None, 100)
    with session(hooks=[mine]) as sess:
        assert hooks_of(sess) == ["FinalOpsHook"]
    with session(summary_dir=str(tmp_path), save_summaries_secs=3) as sess:
        assert hooks_of(sess) == usual[:2]
        assert sess._hooks[1]._timer._every_secs == 3
    with session(
        checkpoint_dir=str(tmp_path), log_step_count_steps=0, save_summaries_steps=None, save_summaries_secs=None,
        save_checkpoint_steps=5,
    ) as sess:  # fmt: skip
        assert hooks_of(sess) == usual[2:]
        assert sess._hooks[0]._timer._every_steps == 5
    with session(checkpoint_dir=str(tmp_path), save_checkpoint_secs=0) as sess:
        assert hooks_of(sess) == usual[:2]


def test_training_goes_on_where_it_ended(tmp_path, events):
    v, up = counting()
    for first in (0, 3):
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path), hooks=[tf.train.StopAtStepHook(num_steps=3)], log_step_count_steps=2
        ) as sess:
            assert sess.run(v) == first
            while not sess.should_stop():
                sess.run(up)
        assert steps_in(tmp_path)[-1] == first + 3
    told = events[str(tmp_path)]
    assert [log for (log, _), *_ in told.of("add_session_log")].count("START") == 2
    assert {tag for (tag, _), _ in told.of("add_summary")} == {"global_step/sec"}


# -- increments ------------------------------------------------------------------------------------


class Model:
    """An embedding variable whose rows of the fed ids are trained; the global step counts."""

    def __init__(self):
        self.var = tf.get_embedding_variable("ev", embedding_dim=2, initializer=tf.ones_initializer())
        self.ids = tf.placeholder(tf.int64, [None])
        self.rows = tf.nn.embedding_lookup(self.var, self.ids)
        step = tf.train.create_global_step()
        optimizer = tf.train.GradientDescentOptimizer(0.5)
        self.train = optimizer.minimize(tf.reduce_sum(self.rows), global_step=step)

    def session(self, folder, **kwargs):
        kwargs.setdefault("save_incremental_checkpoint_secs", 10)
        kwargs.setdefault("save_checkpoint_secs", 100)
        return tf.train.MonitoredTrainingSession(checkpoint_dir=str(folder), **kwargs)


def test_a_step_as_a_session_reads_it(tmp_path):
    model = Model()
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        step = sess.run("global_step:0")
        assert isinstance(step, np.int64)
        assert saver.save(sess, str(tmp_path / "m"), global_step=step) == str(tmp_path / "m-0")
        sess.run(model.train, {model.ids: [1]})
        assert saver.save(sess, str(tmp_path / "m"), global_step=sess.run("global_step:0")).endswith("-1")


def test_increments_between_checkpoints(tmp_path, clock):
    model = Model()
    sess = model.session(tmp_path)
    for second in range(5, 120, 5):
        clock[0] = 1000.0 + second
        sess.run(model.train, {model.ids: [second]})
    assert steps_in(tmp_path) == [0, 20]
    # The full save at second 100 needs none beside it.
    assert steps_in(tmp_path / SUB_INCR_CKPT_DIR) == [12, 14, 16, 18, 22]
    # Not closed, as if it were killed: the newest state is a checkpoint and an increment on it.
    with tf.Graph().as_default():
        again = Model()
        with again.session(tmp_path) as other:
            assert other.run("global_step:0") == 22
            found = other.run(again.rows, {again.ids: [5, 105, 110, 115]})
    np.testing.assert_array_equal(found[:, 0], [0.5, 0.5, 0.5, 1.0])


def test_increments_of_a_given_saver(tmp_path, clock):
    model = Model()
    saver = tf.train.Saver(incremental_save_restore=True)
    hook = tf.train.CheckpointSaverHook(str(tmp_path), save_steps=10, saver=saver, incremental_save_secs=1)
    with tf.train.MonitoredSession(hooks=[hook]) as sess:
        for n in range(3):
            clock[0] += 1
            sess.run(model.train, {model.ids: [n]})
    assert steps_in(tmp_path) == [0, 3]
    assert steps_in(tmp_path / SUB_INCR_CKPT_DIR) == [1, 2, 3]


def test_increments_that_cannot_be(graph, tmp_path):
    model = Model()
    plain = tf.train.Scaffold(saver=tf.train.Saver())
    with pytest.raises(ValueError, match=r"tf\.train\.Saver\(incremental_save_restore=True\)"):
        model.session(tmp_path, scaffold=plain)
    for arguments in ({"save_checkpoint_secs": None}, {"checkpoint_dir": None}):
        with pytest.raises(ValueError, match="an increment follows a checkpoint"):
            tf.train.MonitoredTrainingSession(
                **{"checkpoint_dir": str(tmp_path), "save_incremental_checkpoint_secs": 1, **arguments}
            )
    hook = tf.train.CheckpointSaverHook(str(tmp_path), save_steps=10, incremental_save_secs=1)
    with pytest.raises(ValueError, match=r"tf\.train\.Saver\(incremental_save_restore=True\)"):
        tf.train.MonitoredSession(hooks=[hook])
    graph._unsafe_unfinalize()
    recording = tf.train.Saver(incremental_save_restore=True)
    graph.finalize()
    with pytest.raises(RuntimeError, match=r"tf\.train\.Scaffold\(incremental_save_restore=True\)"):
        increments.incremental_saver_of(recording)
