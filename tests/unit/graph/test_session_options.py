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


def test_a_trace_tells_sizes_and_the_cpus_asked_for():
    with tf.device("/cpu:1"):
        x = array.identity(array.placeholder_with_default(np.zeros([2, 3], np.float32), [2, 3]), name="x")
    with tf.device("/cpu:7"):
        y = array.identity(x, name="y")
    axis = constant(1, name="axis")
    with tf.control_dependencies([x.op]):
        parts = tf.split(y, 3, axis, name="parts")
    metadata = protos.RunMetadata()
    config = protos.ConfigProto(device_count={"CPU": 2})
    with Session(config=config) as session:
        session.run(
            parts[1] + parts[2],
            options=protos.RunOptions(trace_level=protos.RunOptions.SOFTWARE_TRACE),
            run_metadata=metadata,
        )
    found = {d.device[-5:]: {n.node_name: n for n in d.node_stats} for d in metadata.step_stats.dev_stats}
    assert set(found) == {"CPU:0", "CPU:1"}
    # The session has no such CPU.
    assert "y" in found["CPU:0"]
    given = found["CPU:1"]["x"].output[0].tensor_description
    assert [d.size for d in given.shape.dim] == [2, 3]
    assert given.allocation_description.requested_bytes == 24
    assert given.allocation_description.allocator_name == "cpu"
    assert [o.slot for o in found["CPU:0"]["parts"].output] == [0, 1, 2]
    assert found["CPU:0"]["parts"].timeline_label == "parts = Split(axis, y, ^x)"
    assert found["CPU:0"]["add"].timeline_label == "add = AddV2(parts:1, parts:2)"


def test_a_trace_has_the_branch_that_ran():
    p = array.placeholder(dtypes.bool, [])
    x = array.placeholder(dtypes.float32, [])
    y = tf.cond(p, lambda: tf.sin(x, name="yes"), lambda: tf.cos(x, name="no"))
    metadata = protos.RunMetadata()
    options = protos.RunOptions(trace_level=protos.RunOptions.FULL_TRACE)
    with Session() as session:
        for taken in (True, False):
            session.run(y, {p: taken, x: 0.0}, options=options, run_metadata=metadata)
            names = {n.node_name for n in metadata.step_stats.dev_stats[0].node_stats}
            assert ("cond/yes" in names, "cond/no" in names) == (taken, not taken)


def test_partition_graphs_are_what_the_fetches_need():
    a = array.placeholder(dtypes.float32, [2], name="a")
    b = array.identity(a, name="b")
    with tf.control_dependencies([constant(1, name="first")]):
        c = tf.add(b, [1.0, 2.0], name="c")
    array.identity(c, name="not_asked_for")
    metadata = protos.RunMetadata()
    with Session() as session:
        session.run([c], {b: [1, 2]}, protos.RunOptions(output_partition_graphs=True), run_metadata=metadata)
        (graph,) = metadata.partition_graphs
        assert {n.name: (n.op, list(n.input)) for n in graph.node} == {
            "first": ("Const", []),
            "c/y": ("Const", ["^first"]),
            "c": ("Add", ["_arg_b_0_0", "c/y"]),
            "_arg_b_0_0": ("_Arg", []),
            "_retval_c_0_0": ("_Retval", ["c"]),
        }
        assert all(n.device for n in graph.node)
        assert not metadata.HasField("step_stats")
        # What an earlier run left goes.
        session.run(c, {a: [1, 2]}, run_metadata=metadata)
        assert not metadata.ListFields()


def test_costs_are_told_as_often_as_the_config_says():
    x = array.placeholder(dtypes.float32, [3], name="x")
    y = tf.multiply(x, x, name="y")
    graph_options = protos.GraphOptions(build_cost_model=2, build_cost_model_after=1)
    told = []
    with Session(config=protos.ConfigProto(graph_options=graph_options)) as session:
        for _ in range(6):
            metadata = protos.RunMetadata()
            session.run(y, {x: [1, 2, 3]}, run_metadata=metadata)
            told.append(metadata.HasField("cost_graph"))
    # Runs 1 and 2 after the first, then 3 and 4 after it: after every second.
    assert told == [False, False, True, False, True, False]
    with Session(config=protos.ConfigProto(graph_options=protos.GraphOptions(build_cost_model=1))) as session:
        session.run(y, {x: [1, 2, 3]}, run_metadata=metadata)
    nodes = {n.name: n for n in metadata.cost_graph.node}
    assert [n.id for n in metadata.cost_graph.node] == list(range(5))
    assert set(nodes) == {"_SOURCE", "_SINK", "y", "_arg_x_0_0", "_retval_y_0_0"}
    assert [i.preceding_node for i in nodes["y"].input_info] == [nodes["_arg_x_0_0"].id] * 2
    assert nodes["y"].output_info[0].size == 12
    assert [i.preceding_node for i in nodes["_retval_y_0_0"].input_info] == [nodes["y"].id]


def test_a_failing_step_is_still_in_the_trace():
    wrong = array.reshape(array.placeholder_with_default([1, 2, 3], [None]), [2], name="wrong")
    metadata = protos.RunMetadata()
    options = protos.RunOptions(trace_level=protos.RunOptions.SOFTWARE_TRACE)
    with Session() as session, pytest.raises(errors.InvalidArgumentError, match="wrong"):
        session.run(wrong, options=options, run_metadata=metadata)
    assert "wrong" in [n.node_name for n in metadata.step_stats.dev_stats[0].node_stats]


@pytest.mark.parametrize("value", [[1.5], np.array([1, 2]), [None], ["a", 1]])
def test_strings_are_not_made_of_other_things(value):
    s = array.placeholder(dtypes.string)
    with Session() as session, pytest.raises(TypeError, match="Unsupported object type"):
        session.run(array.identity(s), {s: value})


def test_an_int_is_no_string():
    s = array.placeholder(dtypes.string)
    with (
        Session() as session,
        pytest.raises(TypeError, match="Type of feed value 1 with type <class 'int'> is not"),
    ):
        session.run(array.identity(s), {s: 1})


def test_a_sparse_feed_needs_no_shape_where_it_is_constant():
    sparse = array.sparse_placeholder(dtypes.float32, [7, 9])
    with Session() as session:
        got = session.run(tf.sparse_add(sparse, sparse), {sparse: ([[3, 2]], [1.5])})
    assert (got.indices.tolist(), got.values.tolist(), got.dense_shape.tolist()) == ([[3, 2]], [3.0], [7, 9])


def test_shapes_in_the_graph_def_where_the_config_asks():
    constant([[1, 2]])
    config = protos.ConfigProto(graph_options=protos.GraphOptions(infer_shapes=True))
    assert "_output_shapes" in Session(config=config).graph_def.node[0].attr
    assert "_output_shapes" not in Session().graph_def.node[0].attr


def test_names_may_be_bytes():
    assert constant(1.0, name=b"one").name == "one:0"
    with Session() as session:
        assert session.run(b"one:0") == 1.0


def test_a_session_is_entered_once_at_a_time():
    session = Session()
    with session, pytest.raises(RuntimeError, match="not re-entrant"), session:
        pass
    assert tf.get_default_session() is None


def test_a_second_interactive_session_brings_a_warning():
    first = tf.InteractiveSession()
    with pytest.warns(UserWarning, match="An interactive session is already active"):
        second = tf.InteractiveSession()
    second.close()
    first.close()
    tf.InteractiveSession().close()


def test_partial_runs_are_refused():
    x = constant(1.0)
    with Session() as session:
        with pytest.raises(errors.UnimplementedError, match="no partial runs") as caught:
            session.partial_run_setup([x], [])
        assert caught.value.hint
        with pytest.raises(errors.InvalidArgumentError, match="Must run 'setup' before") as caught:
            session.partial_run("handle", x)
        assert caught.value.op is None


def test_callables_take_options_where_they_may():
    x = array.placeholder(dtypes.float32, [], name="x")
    y = tf.add(x, 1.0, name="y")
    full = protos.RunOptions(trace_level=protos.RunOptions.FULL_TRACE)
    with Session() as session:
        metadata = protos.RunMetadata()
        traced = session.make_callable(constant(3.0), accept_options=True)
        assert traced(options=full, run_metadata=metadata) == 3.0
        assert metadata.step_stats.dev_stats
        metadata = protos.RunMetadata()
        assert session.make_callable(y, [x])(1.0, options=full, run_metadata=metadata) == 2.0
        assert metadata.step_stats.dev_stats
        with pytest.raises(TypeError, match="options"):
            session.make_callable(constant(3.0))(options=full)
        endless = session.make_callable(tf.while_loop(lambda i: i >= x, lambda i: i + 1.0, [0.0]), [x])
        with pytest.raises(errors.DeadlineExceededError):
            endless(0.0, options=protos.RunOptions(timeout_in_ms=20))


def test_callables_of_sparse_feeds():
    sparse = array.sparse_placeholder(dtypes.float32, [2, 2])
    with Session() as session:
        values = session.make_callable(sparse.values, [sparse])
        assert values(tf.SparseTensorValue([[0, 1]], [4.0], [2, 2])).tolist() == [4.0]


def test_callables_of_names():
    x = array.placeholder(dtypes.float32, [], name="x")
    tf.add(x, 1.0, name="y")
    counter = tf.Variable(0, name="counter")
    tf.assign_add(counter, 1, name="count")
    options = protos.CallableOptions(feed=["x:0"], fetch=["y:0", "x:0"], target=["count"])
    options.run_options.trace_level = protos.RunOptions.FULL_TRACE
    metadata = protos.RunMetadata()
    with Session() as session:
        session.run(counter.initializer)
        run = session._make_callable_from_options(options)
        assert run(1.0) == [2.0, 1.0]
        assert run(2.0, run_metadata=metadata) == [3.0, 2.0]
        assert metadata.step_stats.dev_stats
        assert session.run(counter) == 2
        options.tensor_connection.add(from_tensor="x:0", to_tensor="y:0")
        with pytest.raises(errors.UnimplementedError, match="does not connect tensors"):
            session._make_callable_from_options(options)


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


def test_classes_of_attrs_are_fetched_field_by_field():
    attrs = pytest.importorskip("attr")
    Pair = attrs.make_class("Pair", ["first", "second"])
    with Session() as session:
        found = session.run(Pair(constant(1.0), Pair(constant([2]), "Const:0")))
    assert isinstance(found, Pair)
    assert (found.first, found.second.first.tolist(), found.second.second) == (1.0, [2], 1.0)
