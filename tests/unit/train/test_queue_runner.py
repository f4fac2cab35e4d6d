"""Threads that run operations until they come to their end."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import kvarn as tf
from kvarn.train.queue_runner import QueueRunner


class Queue:
    """What a QueueRunner asks of a queue."""

    def __init__(self, graph):
        self.name = "the_queue"
        self.closed, self.cancelled = tf.Variable(0), tf.Variable(0)

    def close(self, cancel_pending_enqueues=False, name=None):
        return (self.cancelled if cancel_pending_enqueues else self.closed).assign_add(1).op


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def counting(limit):
    var = tf.Variable(0, dtype=tf.int64)
    return var, tf.count_up_to(var, limit)


def test_threads_run_to_the_end_and_close_once(graph):
    queue = Queue(graph)
    (a, up_a), (b, up_b) = counting(3), counting(20)
    runner = QueueRunner(queue, [up_a.op, up_b.op])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        threads = runner.create_threads(sess)
        assert sorted(t.name for t in threads) == [
            f"QueueRunnerThread-the_queue-{up.op.name}" for up in (up_a, up_b)
        ]
        assert runner.create_threads(sess) == []
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sess.run([a, b, queue.closed, queue.cancelled]) == [3, 20, 1, 0]
        assert runner.exceptions_raised == []
        assert len(runner.create_threads(sess)) == 2


def test_a_stop_cancels(graph):
    queue = Queue(graph)
    n = tf.Variable(0)
    runner = QueueRunner(queue, [n.assign_add(1).op])
    coord = tf.train.Coordinator()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        threads = runner.create_threads(sess, coord, daemon=True, start=True)
        assert len(threads) == 2
        assert all(t.daemon for t in threads)
        coord.request_stop()
        coord.join()
        assert sess.run([queue.closed, queue.cancelled]) == [0, 1]


def test_errors_go_to_the_coordinator_or_are_kept(graph, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    queue = Queue(graph)
    fed = tf.placeholder(tf.float32, shape=())
    runner = QueueRunner(queue, [tf.identity(fed).op])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        coord = tf.train.Coordinator()
        runner.create_threads(sess, coord, start=True)
        with pytest.raises(tf.errors.InvalidArgumentError):
            coord.join()
        for t in runner.create_threads(sess, start=True):
            t.join()
        assert [type(e) for e in runner.exceptions_raised] == [tf.errors.InvalidArgumentError]


def test_other_errors_may_be_the_end(graph):
    queue = Queue(graph)
    fed = tf.placeholder(tf.float32, shape=())
    ends = (tf.errors.OutOfRangeError, tf.errors.InvalidArgumentError)
    runner = QueueRunner(queue, [tf.identity(fed).op], queue_closed_exception_types=ends)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for t in runner.create_threads(sess, start=True):
            t.join()
        assert sess.run(queue.closed) == 1


def test_arguments(graph):
    with pytest.raises(ValueError, match=r"^Must provide queue and enqueue_ops\.$"):
        QueueRunner()
    queue, op = Queue(graph), tf.no_op()
    with pytest.raises(TypeError, match=r"must be a tuple of tf.error types, but saw: "):
        QueueRunner(queue, [op], queue_closed_exception_types=(ValueError,))
    proto = QueueRunner(queue, [op]).to_proto
    queue.name = op.name
    with pytest.raises(ValueError, match="queue_runner_def and queue are mutually exclusive"):
        QueueRunner(queue, [op], queue_runner_def=proto())


def test_through_a_message(graph):
    queue = Queue(graph)
    queue.name = "no_op"
    op = tf.no_op(name="no_op")
    runner = QueueRunner(queue, [op], queue_closed_exception_types=(tf.errors.NotFoundError,))
    proto = runner.to_proto()
    assert proto.enqueue_op_name == ["no_op"]
    assert list(proto.queue_closed_exception_types) == [tf.errors.NOT_FOUND]
    again = QueueRunner.from_proto(proto)
    assert (again.queue, again.enqueue_ops, again.close_op) == (op, [op], runner.close_op)
    assert again.queue_closed_exception_types == (tf.errors.NotFoundError,)
    assert runner.to_proto(export_scope="elsewhere") is None
    del proto.queue_closed_exception_types[:]
    assert QueueRunner.from_proto(proto).queue_closed_exception_types == (tf.errors.OutOfRangeError,)


def test_a_collection_is_started(graph):
    queue = Queue(graph)
    var, up = counting(3)
    tf.train.add_queue_runner(QueueRunner(queue, [up.op]))
    with pytest.raises(ValueError, match="Cannot start queue runners: No default session is registered"):
        tf.train.start_queue_runners()
    with pytest.raises(TypeError, match=r"sess must be a `tf.Session` object. Given class: <class 'str'>"):
        tf.train.start_queue_runners("Test")
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert not tf.train.start_queue_runners(start=False)[0].is_alive()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for t in tf.train.start_queue_runners():
            t.join()
        np.testing.assert_equal(sess.run(var), 3)
