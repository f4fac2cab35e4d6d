"""Session options: the target, the listed devices, traces of a run; and what a string feed takes."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn import dtypes, errors, protos
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.graph.tensor import IndexedSlices
from kvarn.ops import array


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default() as g:
        yield g


@pytest.mark.parametrize("target", ["grpc://localhost:2222", b"nonsense"])
def test_another_target_than_this_process_is_refused(target):
    with pytest.raises(errors.NotFoundError, match="No session factory registered") as caught:
        Session(target)
    assert caught.value.hint


@pytest.mark.parametrize("target", ["", "local", b"", None])
def test_this_process_as_target(target):
    one = constant(1.0)
    with Session(target) as session:
        assert session.run(one) == 1.0


def test_as_many_cpus_are_listed_as_configured():
    assert [d.name for d in Session().list_devices()] == ["/job:localhost/replica:0/task:0/device:CPU:0"]
    three = Session(config=protos.ConfigProto(device_count={"CPU": 3}))
    assert [d.name[-1] for d in three.list_devices()] == ["0", "1", "2"]


def test_an_empty_graph_runs_nothing():
    with pytest.raises(RuntimeError, match="graph is empty"):
        Session().run("x:0")


def test_a_trace_names_what_ran_and_changes_no_result():
    x = array.placeholder(dtypes.float32, [2], name="x")
    y = array.identity(x + 1.0, name="y")
    array.identity(y, name="not_asked_for")
    full = protos.RunOptions(trace_level=protos.RunOptions.FULL_TRACE)
    untraced, traced = protos.RunMetadata(), protos.RunMetadata()
    with Session() as session:
        session.run(y, {x: [1.0, 2.0]}, run_metadata=untraced)
        got = session.run(y, {x: [1.0, 2.0]}, options=full, run_metadata=traced)
    assert got.tolist() == [2.0, 3.0]
    assert not untraced.step_stats.dev_stats
    (device,) = traced.step_stats.dev_stats
    assert device.device.endswith("CPU:0")
    labels = {n.node_name: n.timeline_label for n in device.node_stats}
    assert labels["y"] == "y = Identity(add)"
    assert "not_asked_for" not in labels
    assert all(n.all_start_micros > 0 and n.all_end_rel_micros >= 0 for n in device.node_stats)


def test_a_failing_step_is_still_in_the_trace():
    wrong = array.reshape(array.placeholder_with_default([1, 2, 3], [None]), [2], name="wrong")
    metadata = protos.RunMetadata()
    options = protos.RunOptions(trace_level=protos.RunOptions.SOFTWARE_TRACE)
    with Session() as session, pytest.raises(errors.InvalidArgumentError, match="wrong"):
        session.run(wrong, options=options, run_metadata=metadata)
    assert "wrong" in [n.node_name for n in metadata.step_stats.dev_stats[0].node_stats]


@pytest.mark.parametrize("value", [3, [1.5], np.array([1, 2]), [None], ["a", 1]])
def test_strings_are_not_made_of_other_things(value):
    s = array.placeholder(dtypes.string)
    with Session() as session, pytest.raises(TypeError, match="Unsupported object type"):
        session.run(array.identity(s), {s: value})


@pytest.mark.parametrize(
    "value", [["ab", b"c\x00"], np.array(["ab", "c\x00"], object), np.array([b"ab", b"c\x00"], object)]
)
def test_text_and_bytes_are_strings(value):
    s = array.placeholder(dtypes.string)
    with Session() as session:
        assert session.run(array.identity(s), {s: value}).tolist() == [b"ab", b"c\x00"]


def test_a_config_is_a_config_proto():
    with pytest.raises(TypeError, match=r"config must be a tf\.ConfigProto, but got <class 'dict'>"):
        Session(config={"device_count": 1})


def test_reset_empties_containers_and_closes_the_sessions():
    with tf.container("kept"):
        kept = tf.Variable(1.0)
    with tf.container("dropped"):
        dropped = tf.get_variable("dropped", initializer=2.0, use_resource=True)
    session, closed = Session(), Session()
    closed.close()
    session.run(tf.global_variables_initializer())
    resources = session.resources
    Session.reset("", ["dropped"])
    assert resources.has_container("kept")
    assert not resources.has_container("dropped")
    for run in (lambda: session.run(kept), session.make_callable(dropped)):
        with pytest.raises(errors.CancelledError, match="Session has been closed"):
            run()
    with pytest.raises(RuntimeError, match="closed Session"):
        closed.run(kept)
    Session.reset("")
    assert not resources.has_container("kept")
    with Session() as later:
        later.run(tf.global_variables_initializer())
        assert later.run([kept, dropped]) == [1.0, 2.0]


def test_a_nest_that_the_program_changes_does_not_lend_its_plan_to_another():
    values = [constant(float(i)) for i in range(200)]
    indices = constant([0])
    nest = [IndexedSlices(values[0], indices)]
    with Session() as session:
        for i, value in enumerate(values):
            # The slices before are freed here, and the next ones may have their address.
            nest[0] = None
            nest[0] = IndexedSlices(value, indices)
            assert session.run(nest)[0].values == i


def test_a_loop_has_no_more_time_than_the_options_give() -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        endless = tf.while_loop(lambda i: i >= 0.0, lambda i: i + 1.0, [0.0])
        with pytest.raises(errors.DeadlineExceededError, match="Timed out waiting for notification"):
            sess.run(endless, options=tf.RunOptions(timeout_in_ms=20))
        assert sess.run(tf.constant(1), options=tf.RunOptions(timeout_in_ms=20)) == 1


def test_waiting_for_a_queue_has_no_more_time_than_the_session_gives() -> None:
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(operation_timeout_in_ms=20)) as sess:
        queue = tf.FIFOQueue(1, tf.float32)
        with pytest.raises(errors.DeadlineExceededError, match="operation_timeout_in_ms"):
            sess.run(queue.dequeue())
        sess.run(queue.enqueue(2.0))
        assert sess.run(queue.dequeue()) == 2.0
