"""Many threads in one session: two that train, one that saves; nothing is lost, mixed up or waited for in vain."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.checkpoint import load_checkpoint

RUNS = 10_000
ROWS = 64
# Nobody waits longer than this; what is not done by then hangs.
PATIENCE_SECS = 120.0


class Model:
    """Variables of every kind and operations on them whose order does not matter: sums of small integers."""

    def __init__(self):
        self.amount = tf.placeholder(tf.float32, [], name="amount")
        self.rows = tf.placeholder(tf.int64, [3], name="rows")
        self.reference = tf.Variable(tf.zeros([8]), name="reference", use_resource=False)
        self.resource = tf.get_variable(
            "resource", [8], initializer=tf.zeros_initializer(), use_resource=True
        )
        self.table = tf.get_variable("table", [ROWS, 4], initializer=tf.zeros_initializer())
        self.embedding = tf.get_embedding_variable(
            "embedding", 4, key_dtype=tf.int64, initializer=tf.zeros_initializer()
        )
        self.step = tf.train.get_or_create_global_step()
        looked_up = tf.nn.embedding_lookup(self.embedding, self.rows)
        loss = -tf.reduce_sum(looked_up) * self.amount
        updates = [
            tf.assign_add(self.reference, tf.fill([8], self.amount)),
            self.resource.assign_add(tf.fill([8], self.amount)),
            tf.scatter_add(self.table, self.rows, tf.fill([3, 4], self.amount)),
            tf.train.GradientDescentOptimizer(1.0).minimize(loss, global_step=self.step),
        ]
        self.train = tf.group(*updates)
        self.same = tf.reduce_sum(tf.fill([100], self.amount))

    def values(self, session):
        rows = tf.nn.embedding_lookup(self.embedding, np.arange(ROWS))
        return session.run([self.reference, self.resource, self.table, rows, self.step])


def fed(thread, run):
    return float(1 + thread), [run % ROWS, run * 7 % ROWS, run % ROWS]


def in_threads(*functions):
    """Runs functions at once; raises what one of them raises, and fails if one does not end."""
    failed = []

    def guarded(function):
        try:
            function()
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=guarded, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE_SECS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    if failed:
        raise failed[0]
    assert not [t for t in threads if t.is_alive()], "a thread waits for ever"


@pytest.fixture(autouse=True)
def frequent_switches():
    """The interpreter goes from thread to thread as often as it can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def test_two_threads_that_train_while_a_third_saves(graph, tmp_path):
    model = Model()
    saver = tf.train.Saver(max_to_keep=5)
    initialize = tf.global_variables_initializer()
    with tf.Session() as serial:
        serial.run(initialize)
        run = serial.make_callable(model.train, [model.amount, model.rows])
        for thread in range(2):
            for i in range(RUNS):
                run(*fed(thread, i))
        expected = model.values(serial)

    prefix = str(tmp_path / "model.ckpt")
    done = []
    saved = []
    with tf.Session() as session:
        session.run(initialize)

        def train(thread):
            try:
                for i in range(RUNS):
                    amount, rows = fed(thread, i)
                    feeds = {model.amount: amount, model.rows: rows}
                    # What a run is fed is its own.
                    assert session.run([model.train, model.same], feeds)[1] == 100.0 * amount
            finally:
                done.append(thread)

        def save():
            while len(done) < 2:
                saved.append(saver.save(session, prefix, global_step=len(saved)))

        in_threads(lambda: train(0), lambda: train(1), save)
        found = model.values(session)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[-1] == 2 * RUNS
    # A save is of moments between whole updates of each variable, and the last ones are later ones.
    assert len(saved) >= 2
    steps = []
    for path in saver.last_checkpoints:
        reader = load_checkpoint(path)
        for name in ("reference", "resource"):
            values = reader.get_tensor(name)
            assert 0 < values[0] <= 3.0 * RUNS
            assert (values == values[0]).all()
        assert (reader.get_tensor("table") % 1.0 == 0.0).all()
        steps.append(int(reader.get_tensor("global_step")))
    assert steps == sorted(steps)
    with tf.Session() as session:
        saver.restore(session, saver.last_checkpoints[-1])
        assert session.run(model.step) == steps[-1]


def test_threads_that_run_different_things_of_one_graph(graph):
    x = tf.placeholder(tf.float32, [16])
    fetches = [tf.reduce_sum(x * float(k)) for k in range(8)]
    wrong = []
    with tf.Session() as session:

        def ask(thread):
            for i in range(2_000):
                k = (i + thread) % len(fetches)
                got = session.run(fetches[k], {x: np.full(16, thread, np.float32)})
                if got != 16.0 * thread * k:
                    wrong.append((thread, i, got))

        in_threads(*(lambda t=t: ask(t) for t in range(4)))
    assert wrong == []


def test_a_run_whose_session_is_closed_is_cancelled(graph):
    began = threading.Event()

    def begin(value):
        began.set()
        return value

    with tf.control_dependencies([tf.py_func(begin, [np.int64(0)], tf.int64)]):
        start = tf.constant(0)
    variable = tf.get_variable("v", initializer=1.0)
    endless = tf.while_loop(lambda i: i < 2, lambda i: i * 1, [start])

    def wait(value):
        began.set()
        closed.wait(PATIENCE_SECS)
        return value

    waited = tf.py_func(wait, [np.float32(1)], tf.float32)
    with tf.control_dependencies([waited]):
        late = tf.add(variable, 1.0)
    for fetch, message in ((endless, "Loop execution was"), (late, "Run call was"), (waited, "Run call was")):
        session = tf.Session()
        session.run(variable.initializer)
        began.clear()
        closed = threading.Event()

        def run(session=session, fetch=fetch, message=message):
            with pytest.raises(errors.CancelledError, match=f"{message} cancelled"):
                session.run(fetch)

        def close(session=session, closed=closed):
            assert began.wait(PATIENCE_SECS)
            session.close()
            closed.set()

        in_threads(run, close)


def test_a_session_that_is_closed_ends_the_threads_that_use_it(graph):
    one = tf.constant(1.0)
    session = tf.Session()
    running = threading.Event()

    def run_for_ever():
        while True:
            assert session.run(one) == 1.0
            running.set()

    def ask():
        # Of the run that was under way, and of the one after it.
        with pytest.raises((RuntimeError, errors.CancelledError), match=r"closed Session|was cancelled"):
            run_for_ever()

    def close():
        running.wait(PATIENCE_SECS)
        session.close()

    in_threads(ask, ask, close)
