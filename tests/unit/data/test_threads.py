"""Elements are made ahead by threads, which end with the session, the iterator and the process."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time

import pytest

import kvarn as tf
from kvarn import errors

SECS = 10.0


def until(condition, secs=SECS):
    """Waits for what threads bring about; False if it does not come."""
    end = time.monotonic() + secs
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def workers():
    return [t for t in threading.enumerate() if t.name == "kvarn-data"]


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g
    gc.collect()
    assert until(lambda: not workers()), "threads are left"


def counting(made, wait=None):
    def numbers():
        while True:
            made.append(len(made))
            if wait is not None:
                wait()
            yield made[-1]

    return tf.data.Dataset.from_generator(numbers, tf.int64, [])


def test_prefetch_makes_elements_before_they_are_asked_for():
    made = []
    element = counting(made).prefetch(3).make_one_shot_iterator().get_next()
    with tf.Session() as session:
        assert session.run(element) == 0
        # Three wait; whoever takes them has begun with none more.
        assert until(lambda: len(made) == 4)
        time.sleep(0.05)
        assert len(made) == 4
        assert session.run(element) == 1
        assert until(lambda: len(made) == 5)


def test_a_map_with_parallel_calls_calls_its_function_for_several_elements_at_a_time():
    together = threading.Barrier(2, timeout=SECS)

    def meet(x):
        together.wait()
        return x

    dataset = tf.data.Dataset.range(6).map(lambda x: tf.py_func(meet, [x], tf.int64), num_parallel_calls=2)
    element = dataset.make_one_shot_iterator().get_next()
    with tf.Session() as session:
        assert [session.run(element) for _ in range(6)] == list(range(6))


def test_a_map_with_parallel_calls_keeps_the_order():
    def slow(x):
        time.sleep(0.02 if x % 2 == 0 else 0)
        return x

    dataset = tf.data.Dataset.range(10).map(lambda x: tf.py_func(slow, [x], tf.int64), num_parallel_calls=4)
    element = dataset.make_one_shot_iterator().get_next()
    with tf.Session() as session:
        assert [session.run(element) for _ in range(10)] == list(range(10))
        with pytest.raises(errors.OutOfRangeError):
            session.run(element)


def test_closing_the_session_ends_the_threads():
    made = []
    element = (
        counting(made).prefetch(2).map(lambda x: x, num_parallel_calls=2).make_one_shot_iterator().get_next()
    )
    session = tf.Session()
    session.run(element)
    assert workers()
    session.close()
    assert not workers()
    count = len(made)
    time.sleep(0.02)
    assert len(made) == count


def test_who_waits_when_the_session_is_closed_is_told():
    release = threading.Event()
    element = counting([], lambda: release.wait(SECS)).prefetch(1).make_one_shot_iterator().get_next()
    session = tf.Session()
    problems = []

    def ask():
        try:
            session.run(element)
        except errors.OpError as error:
            problems.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert until(workers)
    time.sleep(0.05)
    threading.Timer(0.1, release.set).start()
    session.close()
    asking.join(SECS)
    assert [type(p) for p in problems] == [errors.CancelledError]


def test_a_run_with_a_time_limit_does_not_wait_longer():
    release = threading.Event()
    element = counting([], lambda: release.wait(SECS)).prefetch(1).make_one_shot_iterator().get_next()
    with tf.Session() as session:
        with pytest.raises(errors.DeadlineExceededError):
            session.run(element, options=tf.RunOptions(timeout_in_ms=50))
        release.set()
        assert session.run(element) == 0


def test_beginning_anew_ends_the_threads_before():
    made = []
    iterator = counting(made).prefetch(2).make_initializable_iterator()
    element = iterator.get_next()
    with tf.Session() as session:
        for _ in range(5):
            session.run(iterator.initializer)
            session.run(element)
        assert until(lambda: len(workers()) == 1)


def test_threads_that_nobody_asks_any_more_end_although_the_session_is_open():
    element = counting([]).prefetch(2).make_one_shot_iterator().get_next()
    with tf.Session() as session:
        session.run(element)
        assert until(lambda: not workers())
        assert [session.run(element) for _ in range(4)] == [1, 2, 3, 4]


def test_errors_come_where_their_elements_would():
    dataset = tf.data.Dataset.range(5).map(
        lambda x: tf.check_numerics(1.0 / tf.to_float(x - 2), "bad"), num_parallel_calls=3
    )
    element = dataset.prefetch(2).make_one_shot_iterator().get_next()
    found = []
    with tf.Session() as session:
        for _ in range(5):
            try:
                found.append(float(session.run(element)))
            except errors.InvalidArgumentError:
                found.append("bad")
    assert found == [-0.5, -1.0, "bad", 1.0, 0.5]


def test_many_threads_share_an_iterator():
    element = tf.data.Dataset.range(400).prefetch(10).make_one_shot_iterator().get_next()
    found = []
    with tf.Session() as session:

        def take():
            try:
                while True:
                    found.append(int(session.run(element)))
            except errors.OutOfRangeError:
                pass

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECS)
    assert sorted(found) == list(range(400))


def test_a_process_ends_while_threads_are_at_work(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        """
import itertools
import kvarn as tf

numbers = tf.data.Dataset.from_generator(itertools.count, tf.int64, [])
dataset = numbers.map(lambda x: tf.reduce_sum(tf.fill([1000], x)), num_parallel_calls=4).repeat().prefetch(1000000)
element = dataset.make_one_shot_iterator().get_next()
session = tf.Session()
print(session.run(element), session.run(element))
"""
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 1000\n", "")
