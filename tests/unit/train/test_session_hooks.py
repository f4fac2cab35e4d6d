"""The hooks of basic_session_run_hooks: when they act, and what they log. Texts are those of TensorFlow 1.15.5."""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest

import kvarn as tf
from kvarn.train.hooks import stopping, timer


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.INFO, logger="tensorflow")
    return lambda: [r.getMessage() for r in caplog.records if "loss" in r.getMessage()]


# -- timers ----------------------------------------------------------------------------------------


def test_a_timer_of_seconds(clock):
    found = tf.train.SecondOrStepTimer(every_secs=1.0)
    assert found.should_trigger_for_step(1)
    assert found.update_last_triggered_step(1) == (None, None)
    assert not found.should_trigger_for_step(1)
    assert not found.should_trigger_for_step(2)
    clock[0] += 1.0
    assert not found.should_trigger_for_step(1)
    assert found.should_trigger_for_step(2)
    assert found.update_last_triggered_step(5) == (1.0, 4)
    assert found.last_triggered_step() == 5
    found.reset()
    assert found.should_trigger_for_step(5)


def test_a_timer_of_steps():
    found = tf.train.SecondOrStepTimer(every_steps=3)
    assert found.should_trigger_for_step(1)
    found.update_last_triggered_step(1)
    assert [found.should_trigger_for_step(n) for n in (1, 2, 3, 4)] == [False, False, False, True]
    assert not timer.NeverTriggerTimer().should_trigger_for_step(1)


def test_arguments_of_a_timer():
    with pytest.raises(ValueError, match=r"^Can not provide both every_secs and every_steps\.$"):
        tf.train.SecondOrStepTimer(every_secs=2.0, every_steps=10)
    with pytest.raises(ValueError, match=r"^Either every_secs or every_steps should be provided\.$"):
        tf.train.SecondOrStepTimer()


# -- logging ---------------------------------------------------------------------------------------


def test_values_are_logged_every_few_runs(clock, messages):
    v = tf.Variable(0.0)
    loss, up = tf.identity(v, name="loss"), v.assign_add(1.5)
    hook = tf.train.LoggingTensorHook({"the loss": loss, "again": "loss"}, every_n_iter=2)
    with tf.train.MonitoredSession(hooks=[hook]) as sess:
        for _ in range(4):
            sess.run(up)
            clock[0] += 0.25
    # Which of both runs first in one run is not said.
    assert [m.partition(" = ")[0] for m in messages()] == ["again", "again"]
    assert messages()[1].endswith("(0.500 sec)")


def test_names_format_and_end(messages):
    loss = tf.constant([0.00001, 2.0], name="loss")
    hooks = [
        tf.train.LoggingTensorHook(["loss:0"], at_end=True),
        tf.train.LoggingTensorHook(["loss"], every_n_secs=100, formatter=lambda d: f"loss!{d['loss'][1]}"),
    ]
    with tf.train.MonitoredSession(hooks=hooks) as sess:
        sess.run(loss)
        assert messages() == ["loss!2.0"]
    assert messages() == ["loss!2.0", "loss:0 = [0.00001 2.     ]"]


def test_arguments_of_logging():
    text = r"^either at_end and/or exactly one of every_n_iter and every_n_secs must be provided\.$"
    with pytest.raises(ValueError, match=text):
        tf.train.LoggingTensorHook(["t"])
    with pytest.raises(ValueError, match=text):
        tf.train.LoggingTensorHook(["t"], every_n_iter=5, every_n_secs=5)
    with pytest.raises(ValueError, match=r"^invalid every_n_iter=0\.$"):
        tf.train.LoggingTensorHook(["t"], every_n_iter=0)
    tf.split(tf.constant([1, 2]), 2, name="parts")
    with pytest.raises(
        ValueError, match=r"^Name parts is ambiguous, as this `Operation` has multiple outputs"
    ):
        tf.train.LoggingTensorHook(["parts"], every_n_iter=1).begin()
    with tf.Graph().as_default():
        other = tf.constant(1)
    with pytest.raises(ValueError, match="should have graph attribute that is equal to current graph"):
        tf.train.LoggingTensorHook([other], every_n_iter=1).begin()


# -- stopping --------------------------------------------------------------------------------------


def count_runs(hook, first=0):
    step = tf.train.create_global_step()
    up, start = step.assign_add(1), step.assign(first)
    runs = 0
    scaffold = tf.train.Scaffold(init_fn=lambda _, sess: sess.run(start))
    creator = tf.train.ChiefSessionCreator(scaffold)
    with tf.train.MonitoredSession(creator, hooks=[hook]) as sess:
        while not sess.should_stop():
            sess.run(up)
            runs += 1
    return runs


@pytest.mark.parametrize(
    ("arguments", "first", "runs"),
    [({"num_steps": 3}, 5, 3), ({"last_step": 8}, 5, 3), ({"last_step": 3}, 5, 1)],
)
def test_stop_at_step(arguments, first, runs):
    assert count_runs(tf.train.StopAtStepHook(**arguments), first) == runs


def test_arguments_of_stops():
    for kind in (tf.train.StopAtStepHook, stopping._MultiStepStopAtStepHook):
        with pytest.raises(ValueError, match=r"^One of num_steps or last_step must be specified\.$"):
            kind()
        with pytest.raises(ValueError, match=r"^Only one of num_steps or last_step can be specified\.$"):
            kind(num_steps=8, last_step=7)
    with pytest.raises(ValueError, match="steps_per_run should be greater than 0"):
        stopping._MultiStepStopAtStepHook(num_steps=1, steps_per_run=0)


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        (tf.train.StopAtStepHook(1), "StopAtStepHook"),
        (tf.train.StepCounterHook(), "StepCounterHook"),
        (tf.train.SummarySaverHook(1, summary_op=0), "SummarySaverHook"),
        (tf.train.GlobalStepWaiterHook(1), "_GlobalStepWaiterHook"),
        (stopping._MultiStepStopAtStepHook(1), "StopAtStepHook"),
    ],
)
def test_there_must_be_a_global_step(hook, name):
    with pytest.raises(RuntimeError, match=f"^Global step should be created to use {name}\\.$"):
        hook.begin()


def test_the_last_of_several_steps_a_run():
    hook = stopping._MultiStepStopAtStepHook(num_steps=5, steps_per_run=2)
    step = tf.train.create_global_step()
    steps = stopping.get_or_create_steps_per_run_variable()
    assert stopping.get_or_create_steps_per_run_variable() is steps
    up, made = step.assign_add(tf.cast(steps, tf.int64)), []
    with tf.train.MonitoredSession(hooks=[hook]) as sess:
        while not sess.should_stop():
            made.append(int(sess.run(up)))
    assert made == [2, 4, 5]


def test_nan_stops_or_fails(messages):
    loss = tf.placeholder(tf.float32, name="loss")
    with tf.train.MonitoredSession(hooks=[tf.train.NanTensorHook(loss, fail_on_nan_loss=False)]) as sess:
        sess.run(loss, {loss: 1.0})
        assert not sess.should_stop()
        sess.run(loss, {loss: np.nan})
        assert sess.should_stop()
    with (
        tf.train.MonitoredSession(hooks=[tf.train.NanTensorHook(loss)]) as sess,
        pytest.raises(tf.train.NanLossDuringTrainingError, match=r"^NaN loss during training\.$"),
    ):
        sess.run(loss, {loss: np.nan})
    assert messages() == ["Model diverged with loss = NaN."] * 2


def test_waiting_for_a_step(monkeypatch):
    step = tf.train.create_global_step()
    up = step.assign_add(1000)
    hook = tf.train.GlobalStepWaiterHook(3000)
    with tf.train.SingularMonitoredSession(hooks=[hook]) as sess:
        naps = []

        def sleep(seconds):
            naps.append(seconds)
            sess.raw_session().run(up)

        monkeypatch.setattr(time, "sleep", sleep)
        sess.run(step)
        sess.run(step)
        assert naps == [0.5] * 3
        monkeypatch.undo()


# -- feeding and the end ---------------------------------------------------------------------------


def test_feeds_of_a_function():
    p = tf.placeholder(tf.int32)
    with tf.train.MonitoredSession(hooks=[tf.train.FeedFnHook(lambda: {p: 6})]) as sess:
        assert sess.run(p) == 6


def test_final_ops():
    p = tf.placeholder(tf.int32)
    ended = tf.count_up_to(tf.Variable(1), 1)
    hook = tf.train.FinalOpsHook([p, p], {p: 3})
    with tf.train.MonitoredSession(hooks=[hook, tf.train.FinalOpsHook(None)]):
        assert hook.final_ops_values is None
    assert hook.final_ops_values == [3, 3]
    sess = tf.train.MonitoredSession(hooks=[tf.train.FinalOpsHook(ended)])
    with pytest.raises(tf.errors.OutOfRangeError):
        sess.close()


# -- what is refused -------------------------------------------------------------------------------


def test_arguments_of_writers(tmp_path):
    with pytest.raises(
        ValueError, match=r"^exactly one of every_n_steps and every_n_secs should be provided\.$"
    ):
        tf.train.StepCounterHook(every_n_secs=1)
    for arguments in ({}, {"scaffold": 1, "summary_op": 1}):
        with pytest.raises(ValueError, match=r"^Exactly one of scaffold or summary_op must be provided\.$"):
            tf.train.SummarySaverHook(save_steps=1, **arguments)
    with pytest.raises(ValueError, match=r"^You cannot provide both saver and scaffold\.$"):
        tf.train.CheckpointSaverHook(str(tmp_path), 1, saver=1, scaffold=1)
    for arguments in ({}, {"save_secs": 10, "save_steps": 20}):
        with pytest.raises(ValueError, match=r"every_secs (or|and) every_steps"):
            tf.train.ProfilerHook(**arguments)
