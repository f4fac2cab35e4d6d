"""Sessions of a Supervisor. Expected texts are those of TensorFlow 1.15.5."""

from __future__ import annotations

import os
import time

import pytest

import kvarn as tf
from kvarn.train import summary_io


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


class Writer:
    """A FileWriter that keeps what it is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda *args: self.told.append((name, *args))

    def of(self, name):
        return [what[1:] for what in self.told if what[0] == name]


@pytest.fixture(autouse=True)
def writer(monkeypatch):
    found = Writer()
    monkeypatch.setattr(summary_io, "new_writer", lambda logdir: found)
    monkeypatch.setattr(summary_io, "session_log", lambda status, path="": (status, path))
    monkeypatch.setattr(summary_io, "scalar", lambda tag, value: (tag, value))
    return found


def wait_for(condition):
    deadline = time.time() + 10
    while not condition():
        assert time.time() < deadline
        time.sleep(0.01)


def test_a_managed_session_goes_on_where_the_last_one_ended(tmp_path, writer):
    v = tf.get_variable("v", initializer=1.0)
    step = tf.train.create_global_step()
    up = tf.group(v.assign_add(1.0), step.assign_add(1))
    sv = tf.train.Supervisor(logdir=str(tmp_path), save_summaries_secs=0.02, save_model_secs=0.02)
    assert sv.save_path == str(tmp_path / "model.ckpt")
    with pytest.raises(RuntimeError, match="Graph is finalized"):
        tf.constant(1)
    with sv.managed_session() as sess:
        sess.run(up)
        wait_for(lambda: (tmp_path / "model.ckpt-1.index").exists())
        wait_for(lambda: writer.of("add_summary"))
    assert sv.should_stop()
    assert {"checkpoint", "graph.pbtxt"} < set(os.listdir(tmp_path))
    assert writer.told[0] == ("reopen",)
    assert [name for name, *_ in writer.told[1:3]] == ["add_graph", "add_meta_graph"]
    logs = writer.of("add_session_log")
    assert logs[0] == (("START", ""), 0)
    assert (("CHECKPOINT", sv.save_path), 1) in logs
    assert writer.told[-2:] == [("add_session_log", ("STOP", "")), ("close",)]
    assert {tag for (tag, _), _ in writer.of("add_summary")} == {"global_step/sec"}
    with sv.managed_session(start_standard_services=False) as sess:
        assert sess.run([v, step]) == [2.0, 1]
        assert not sv.should_stop()


def test_summaries(tmp_path, writer):
    step = tf.train.create_global_step()
    sv = tf.train.Supervisor(
        logdir=str(tmp_path), summary_op=tf.constant("all"), save_summaries_secs=0.02, save_model_secs=0
    )
    with sv.managed_session() as sess:
        wait_for(lambda: (b"all", 0) in writer.of("add_summary"))
        sv.summary_computed(sess, "mine")
        sv.summary_computed(sess, "mine", 7)
    assert ("mine", 0) in writer.of("add_summary")
    assert ("mine", 7) in writer.of("add_summary")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".index")]
    sv = tf.train.Supervisor(graph=step.graph)
    with pytest.raises(RuntimeError, match=r"^Writing a summary requires a summary writer\.$"):
        sv.summary_computed(None, "mine")


def test_errors_come_out_at_the_end(graph):
    tf.Variable(1)
    sv = tf.train.Supervisor()
    with pytest.raises(ValueError, match="mine"), sv.managed_session():
        raise ValueError("mine")
    with sv.managed_session():
        raise tf.errors.OutOfRangeError(None, None, "the input ends")

    def fail():
        raise TypeError("in a loop")

    sv.prepare_or_wait_for_session()
    sv.loop(0.01, fail)
    sv.wait_for_stop()
    with pytest.raises(TypeError, match="in a loop"):
        sv.stop()
    assert sv.should_stop()


def test_defaults_and_collections(graph):
    v = tf.Variable(1, name="global_step")
    tf.add_to_collection(tf.GraphKeys.INIT_OP, v.initializer)
    sv = tf.train.Supervisor(saver=None, local_init_op=None)
    assert sv.init_op is v.initializer
    assert (sv.saver, sv.summary_op, sv.summary_writer, sv.save_path) == (None, None, None, None)
    assert sv.global_step.name == "global_step:0"
    assert tf.get_collection(tf.GraphKeys.READY_OP) == [sv.ready_op]
    assert tf.get_collection(tf.GraphKeys.LOCAL_INIT_OP) == []
    assert sv.ready_for_local_init_op is None
    with sv.managed_session() as sess:
        assert sess.run(v) == 1


def test_who_is_not_chief(tmp_path, graph):
    v = tf.Variable(1, name="v")
    with pytest.raises(
        ValueError, match=r"^When using replicas, all Variables must have their device set: name: \"v\""
    ):
        tf.train.Supervisor(is_chief=False)
    graph._unsafe_unfinalize()
    v.op._set_device("/job:ps/task:0")
    sv = tf.train.Supervisor(is_chief=False, logdir=str(tmp_path), local_init_op=v.initializer)
    assert (sv.save_path, sv.save_model_secs, sv.summary_writer) == (None, None, None)
    with sv.managed_session(start_standard_services=False) as sess:
        assert sess.run(v) == 1
    with pytest.raises(RuntimeError, match="Only chief supervisor can start standard services"):
        sv.start_standard_services(None)


def test_queues_are_filled(graph):
    v = tf.Variable(0)
    n = tf.count_up_to(v, 3)
    runner = tf.train.QueueRunner(v, [n.op], close_op=tf.no_op(), cancel_op=tf.no_op())
    tf.train.add_queue_runner(runner)
    sv = tf.train.Supervisor()
    sess = sv.prepare_or_wait_for_session()
    wait_for(lambda: sess.run(v) == 3)
    sv.Stop()
    assert sv.ShouldStop()
