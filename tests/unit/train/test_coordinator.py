"""Threads that stop together. Expected texts are those of TensorFlow 1.15.5."""

from __future__ import annotations

import sys
import threading
import time

import pytest

import kvarn as tf


def start(*targets):
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def test_join_waits_for_threads_and_a_stop_reaches_all():
    coord = tf.train.Coordinator()
    seen = []

    def wait():
        coord.wait_for_stop()
        seen.append(coord.should_stop())

    threads = start(wait, wait, lambda: coord.request_stop())
    coord.join(threads)
    assert seen == [True, True]
    assert coord.joined


def test_the_first_error_is_raised_with_its_traceback():
    coord = tf.train.Coordinator()

    def fail():
        with coord.stop_on_exception():
            raise ValueError("first")

    def fail_later():
        coord.wait_for_stop()
        with coord.stop_on_exception():
            raise TypeError("second")

    for thread in start(fail, fail_later):
        coord.register_thread(thread)
    with pytest.raises(ValueError, match="first") as caught:
        coord.join()
    assert caught.traceback[-1].name == "fail"
    with pytest.raises(ValueError, match="first"):
        coord.raise_requested_exception()
    # After the join nobody would see it.
    with pytest.raises(KeyError), coord.stop_on_exception():
        raise KeyError("late")
    coord.clear_stop()
    assert not coord.should_stop()
    coord.raise_requested_exception()


def test_the_end_of_an_input_is_no_error():
    coord = tf.train.Coordinator()
    with coord.stop_on_exception():
        raise tf.errors.OutOfRangeError(None, None, "end")
    assert coord.should_stop()
    coord.join()
    coord = tf.train.Coordinator(clean_stop_exception_types=(ValueError,))
    with coord.stop_on_exception():
        raise ValueError
    coord.join()
    coord = tf.train.Coordinator(clean_stop_exception_types=())
    with coord.stop_on_exception():
        raise tf.errors.OutOfRangeError(None, None, "end")
    with pytest.raises(tf.errors.OutOfRangeError):
        coord.join()


def test_what_is_no_exception_info():
    coord = tf.train.Coordinator()
    coord.request_stop(ValueError("not being handled"))
    with pytest.raises(
        ValueError, match=r"ex must be a tuple or sys.exc_info must return the current exception"
    ):
        coord.join()
    coord = tf.train.Coordinator()
    try:
        raise KeyError("x")
    except KeyError:
        coord.request_stop(sys.exc_info())
    with pytest.raises(KeyError, match="x"):
        coord.join()


def test_stragglers():
    end = threading.Event()
    coord = tf.train.Coordinator()
    thread = threading.Thread(target=end.wait, name="lazy", daemon=True)
    thread.start()
    coord.request_stop()
    with pytest.raises(RuntimeError, match=r"^Coordinator stopped with threads still running: lazy$"):
        coord.join([thread], stop_grace_period_secs=0.02)
    coord.clear_stop()
    coord.request_stop()
    coord.join([thread], stop_grace_period_secs=0.02, ignore_live_threads=True)
    end.set()


def test_a_looper_calls_until_the_stop():
    coord = tf.train.Coordinator()
    calls = []

    def target(step, stop_at=None):
        calls.append(step)
        if len(calls) == stop_at:
            coord.request_stop()

    began = time.time()
    tf.train.LooperThread.loop(coord, 0.05, target, args=(7,), kwargs={"stop_at": 3})
    coord.join()
    assert calls == [7, 7, 7]
    assert time.time() - began >= 0.1

    class Looper(tf.train.LooperThread):
        def start_loop(self):
            calls.append("start")

        def run_loop(self):
            raise ValueError("in a loop")

        def stop_loop(self):
            calls.append("never reached")

    coord = tf.train.Coordinator()
    Looper(coord, None).start()
    with pytest.raises(ValueError, match="in a loop"):
        coord.join()
    assert calls[3:] == ["start"]


def test_arguments_of_a_looper():
    with pytest.raises(ValueError, match="'coord' argument must be a Coordinator: None"):
        tf.train.LooperThread(None, 1)
    with pytest.raises(ValueError, match="'args' and 'kwargs' argument require that you also pass 'target'"):
        tf.train.LooperThread(tf.train.Coordinator(), 1, args=(1,))
