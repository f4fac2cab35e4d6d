"""Sessions with hooks: the order of calls, stops, losses and errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import kvarn as tf
from kvarn.train import wrapped_sessions


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


class Recorder(tf.train.SessionRunHook):
    """Notes its calls in ``log``."""

    def __init__(self, log, name, request=None, stop_after=None):
        self.log, self.name, self.request, self.left = log, name, request, stop_after

    def begin(self):
        self.log.append(f"{self.name} begin")
        assert not tf.get_default_graph().finalized

    def after_create_session(self, session, coord):
        self.log.append(f"{self.name} created")
        assert tf.get_default_graph().finalized
        assert isinstance(coord, tf.train.Coordinator)

    def before_run(self, run_context):
        self.log.append(f"{self.name} before {run_context.original_args.feed_dict}")
        return self.request

    def after_run(self, run_context, run_values):
        self.log.append(f"{self.name} after {np.asarray(run_values.results).tolist()}")
        assert not run_context.stop_requested
        if self.left is not None:
            self.left -= 1
            if not self.left:
                run_context.request_stop()

    def end(self, session):
        self.log.append(f"{self.name} end")
        assert session.run(session.graph.get_tensor_by_name("three:0")) == 3


def test_the_order_of_calls(graph):
    three, v = tf.constant(3, name="three"), tf.Variable(5, name="v")
    args = tf.train.SessionRunArgs
    log = []
    hooks = [Recorder(log, "a", args([three, v])), Recorder(log, "b", args(v), stop_after=2)]
    with tf.train.MonitoredSession(hooks=hooks) as sess:
        assert sess.graph is graph
        assert not sess.should_stop()
        assert sess.run([three, v]) == [3, 5]
        assert sess.run(v, feed_dict={v: 7}) == 7
        assert sess.should_stop()
        with pytest.raises(RuntimeError, match=r"^Run called even after should_stop requested\.$"):
            sess.run(v)
    shown = "{" + repr(v) + ": 7}"
    assert log == [
        "a begin", "b begin", "a created", "b created",
        "a before None", "b before None", "a after [3, 5]", "b after 5",
        f"a before {shown}", f"b before {shown}", "a after [3, 7]", "b after 7",
        "a end", "b end",
    ]  # fmt: skip
    assert sess.should_stop()
    assert sess.graph is None
    assert not graph.finalized
    with pytest.raises(RuntimeError, match="Session is already closed"):
        sess.close()


def test_no_end_after_an_error(graph):
    tf.constant(3, name="three")
    log = []
    with (
        pytest.raises(ValueError, match="mine"),
        tf.train.MonitoredSession(hooks=[Recorder(log, "a")]) as sess,
    ):
        raise ValueError("mine")
    assert sess.should_stop()
    assert log == ["a begin", "a created"]
    for clean in (tf.errors.OutOfRangeError(None, None, "end"), StopIteration()):
        with tf.train.MonitoredSession(hooks=[Recorder(log, "b")]):
            raise clean
    assert log[2:] == ["b begin", "b created", "b end"] * 2


def test_feeds(graph):
    p, q = tf.placeholder(tf.int32, name="p"), tf.placeholder(tf.int32, name="q")
    tf.constant(3, name="three")
    args = tf.train.SessionRunArgs
    with tf.train.MonitoredSession(hooks=[Recorder([], "a", args(None, {p: 1}))]) as sess:
        assert sess.run([p, q], {q: 2}) == [1, 2]
        with pytest.raises(RuntimeError, match=r"Same tensor is fed by a SessionRunHook and user\. Conflict"):
            sess.run(p, {p: 4})
    hooks = [Recorder([], name, args(None, {p: 1})) for name in "ab"]
    with (
        tf.train.MonitoredSession(hooks=hooks) as sess,
        pytest.raises(RuntimeError, match="fed by two hooks"),
    ):
        sess.run(p)


def test_options_of_hooks_are_merged(graph):
    tf.constant(3, name="three")
    seen = []

    class See(tf.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            seen.append((run_values.options, run_values.run_metadata))

    options = tf.RunOptions(trace_level=tf.RunOptions.SOFTWARE_TRACE, timeout_in_ms=30000)
    wanted = tf.RunOptions(
        trace_level=tf.RunOptions.FULL_TRACE, timeout_in_ms=60000, report_tensor_allocations_upon_oom=True
    )
    wanted.debug_options.debug_tensor_watch_opts.add(node_name="three")
    metadata = tf.RunMetadata()
    ask = Recorder([], "a", tf.train.SessionRunArgs(None, None, wanted))
    with tf.train.MonitoredSession(hooks=[ask, See()]) as sess:
        sess.run("three:0", options=options, run_metadata=metadata)
    assert seen == [(wanted, metadata)]
    assert metadata.step_stats.dev_stats


def lossy(error, times):
    """A hook that raises an error in the first runs."""
    left = [times]

    class Lossy(tf.train.SessionRunHook):
        created = 0

        def after_create_session(self, session, coord):
            self.created += 1

        def before_run(self, run_context):
            if left[0]:
                left[0] -= 1
                raise error(None, None, "gone")

    return Lossy()


@pytest.mark.parametrize("error", [tf.errors.AbortedError, tf.errors.UnavailableError])
def test_a_lost_session_is_made_anew(error, graph):
    v = tf.Variable(0)
    up = v.assign_add(1)
    hook = lossy(error, 2)
    with tf.train.MonitoredSession(hooks=[hook]) as sess:
        assert sess.run(up) == 1
        assert hook.created == 3
        assert sess.run_step_fn(lambda step_context: step_context.run_with_hooks(up)) == 2
    with (
        pytest.raises(error),
        tf.train.SingularMonitoredSession(hooks=[lossy(error, 1)]) as sess,
    ):
        sess.run(up)


def test_errors_of_threads_come_out(graph):
    v = tf.Variable(0)

    class Failing(tf.train.SessionRunHook):
        def after_create_session(self, session, coord):
            def fail():
                with coord.stop_on_exception():
                    raise ValueError("in a thread")

            thread = threading.Thread(target=fail, daemon=True)
            coord.register_thread(thread)
            thread.start()
            thread.join()

    sess = tf.train.MonitoredSession(hooks=[Failing()])
    assert sess.should_stop()
    assert sess.run(v) == 0
    with pytest.raises(ValueError, match="in a thread"):
        sess.close()


def test_an_error_of_a_run_comes_before_that_of_a_thread(graph):
    p = tf.placeholder(tf.float32, shape=())
    coord = tf.train.Coordinator()
    with tf.Session() as raw:
        sess = wrapped_sessions._CoordinatedSession(raw, coord)
        try:
            raise ValueError("of a thread")
        except ValueError as e:
            coord.request_stop(e)
        with pytest.raises(tf.errors.InvalidArgumentError):
            sess.run(tf.identity(p))


def test_step_functions(graph):
    v = tf.Variable(1)
    log = []
    tf.constant(3, name="three")
    with tf.train.MonitoredSession(hooks=[Recorder(log, "a")]) as sess:
        del log[:]

        def step(step_context):
            return step_context.session.run(v), step_context.run_with_hooks(fetches=v)

        class Model:
            def step(self, step_context):
                step_context.request_stop()

        assert sess.run_step_fn(step) == (1, 1)
        assert log == ["a before None", "a after None"]
        with pytest.raises(
            ValueError,
            match=r"`step_fn` may either have one `step_context` argument, or `self` and `step_context` arguments if "
            r"it's an instance method\. Got \('x', 'y'\) instead\.",
        ):
            sess.run_step_fn(lambda x, y: None)
        with pytest.raises(StopIteration):
            sess.run_step_fn(Model().step)


def test_singular_sessions_can_be_saved(graph, tmp_path):
    v = tf.Variable(1.0, name="v")
    set_to_four = v.assign(4.0)
    saver = tf.train.Saver()
    with tf.train.SingularMonitoredSession() as sess:
        assert sess.run(set_to_four) == 4.0
        path = saver.save(sess.raw_session(), str(tmp_path / "m"))
    with tf.train.SingularMonitoredSession(checkpoint_filename_with_path=path) as sess:
        assert sess.run(v) == 4.0
    with tf.train.SingularMonitoredSession(checkpoint_dir=str(tmp_path)) as sess:
        assert sess.run(v) == 4.0


def test_defaults_of_a_scaffold(graph):
    tf.Variable(1, name="v")
    tf.Variable(1, name="w", collections=[tf.GraphKeys.LOCAL_VARIABLES])
    scaffold = tf.train.Scaffold().finalize()
    for key, made in (
        (tf.GraphKeys.INIT_OP, scaffold.init_op),
        (tf.GraphKeys.READY_OP, scaffold.ready_op),
        (tf.GraphKeys.READY_FOR_LOCAL_INIT_OP, scaffold.ready_for_local_init_op),
        (tf.GraphKeys.LOCAL_INIT_OP, scaffold.local_init_op),
        (tf.GraphKeys.SAVERS, scaffold.saver),
    ):
        assert tf.get_collection(key) == [made]
    assert scaffold.summary_op is None
    assert scaffold.incr_saver is None
    assert scaffold.saver.saver_def.sharded
    with pytest.raises(RuntimeError, match="Graph is finalized and cannot be modified"):
        tf.constant(0)
    with tf.Session() as sess:
        assert list(sess.run(scaffold.ready_op)) == [b"v", b"w"]
        sess.run(scaffold.init_op)
        assert list(sess.run(scaffold.ready_op)) == [b"w"]
        assert list(sess.run(scaffold.ready_for_local_init_op)) == []
        sess.run(scaffold.local_init_op)
        assert list(sess.run(scaffold.ready_op)) == []


def test_what_is_given_to_a_scaffold(graph):
    tf.Variable([1])
    saver = tf.train.Saver()
    calls = []
    first = tf.train.Scaffold(
        init_op=2, init_feed_dict=3, init_fn=lambda scaffold, sess: calls.append((scaffold, sess)), ready_op=5,
        ready_for_local_init_op=6, local_init_op=7, summary_op=8, saver=saver,
    )  # fmt: skip
    copy = tf.train.Scaffold(local_init_op=1, copy_from_scaffold=first).finalize()
    found = [copy.init_op, copy.init_feed_dict, copy.ready_op, copy.ready_for_local_init_op, copy.summary_op]
    assert found == [2, 3, 5, 6, 8]
    assert (copy.local_init_op, copy.saver) == (1, saver)
    copy.init_fn("a session")
    assert calls == [(copy, "a session")]
    with pytest.raises(TypeError, match=r"^copy_from_scaffold is not a Scaffold instance\.$"):
        tf.train.Scaffold(copy_from_scaffold=1)


def test_a_collection_with_several_defaults(graph):
    tf.add_to_collection(tf.GraphKeys.SAVERS, tf.train.Saver([tf.Variable(1)]))
    tf.add_to_collection(tf.GraphKeys.SAVERS, tf.train.Saver([tf.Variable(1)]))
    with pytest.raises(RuntimeError, match="More than one item"):
        tf.train.Scaffold().finalize()


def test_a_worker_waits_for_the_chief(graph):
    v = tf.Variable(1)
    creator = tf.train.WorkerSessionCreator(
        scaffold=tf.train.Scaffold(ready_op=tf.report_uninitialized_variables(), local_init_op=v.initializer),
    )
    tf.add_to_collection(tf.GraphKeys.READY_FOR_LOCAL_INIT_OP, tf.constant([], tf.string))
    with tf.train.MonitoredSession(session_creator=creator) as sess:
        assert sess.run(v) == 1
    with pytest.raises(TypeError, match="abstract"):
        tf.train.SessionCreator()
