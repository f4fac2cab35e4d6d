"""Operations made of NodeDefs, and inputs that are replaced."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import kvarn as tf
from kvarn import protos
from kvarn.compat.tensorflow import graph_internals
from kvarn.graph.graph import get_name_scope, init_scope, name_scope_v2
from kvarn.ops import nn


@pytest.fixture
def graph() -> Any:
    with tf.Graph().as_default() as made:
        yield made


def test_an_operation_of_a_node_def(graph: Any) -> None:
    one = tf.constant([1.0, 2.0])
    waited = tf.no_op()
    node = graph_internals._NodeDef("Identity", "same", device="/job:a/cpu:0")
    op = tf.Operation(node, graph, [one], [tf.float32], [waited])
    assert (op.name, op.type, op.device) == ("same", "Identity", "/job:a/device:CPU:0")
    assert (op.inputs, op.control_inputs, graph.get_operation_by_name("same")) == ([one], [waited], op)
    assert op.get_attr("T") is tf.float32
    with tf.Session() as session:
        assert session.run(op.outputs[0]).tolist() == [1.0, 2.0]
    assert tf.Operation(node_def("NoOp", "n"), graph, original_op=op)._original_op is op


def node_def(op: str, name: str) -> Any:
    return protos.NodeDef(op=op, name=name)


def test_what_is_no_operation(graph: Any) -> None:
    one = tf.constant(1.0)
    for name in ("", "_a", "-a", "/a", "a:0"):
        with pytest.raises(ValueError, match="is not a valid node name"):
            tf.Operation(node_def("NoOp", name), graph)
    for arguments, message in (
        ((None, graph), "node_def needs to be a NodeDef"),
        ((node_def("NoOp", "a"), None), "g needs to be a Graph"),
        ((node_def("Identity", "a"), graph, one), "inputs needs to be a list of Tensors"),
        ((node_def("Identity", "a"), graph, [1]), "input needs to be a Tensor: 1"),
        (
            (node_def("Identity", "a"), graph, [one], None, None, [tf.int32]),
            "are not compatible with expected",
        ),
    ):
        with pytest.raises(TypeError, match=message):
            tf.Operation(*arguments)
    with pytest.raises(ValueError, match="Duplicate node name"):
        tf.Operation(node_def("NoOp", "Const"), graph)
    assert [op.name for op in graph.get_operations()] == ["Const"]


def test_inputs_that_are_replaced(graph: Any) -> None:
    x, y, text = tf.constant(1), tf.constant(2), tf.constant("")
    z = x + y
    z.op._update_input(0, y)
    assert y.consumers() == [z.op, z.op]
    assert x.consumers() == []
    with pytest.raises(
        tf.errors.OutOfRangeError, match=r"Input index \[2\] is greater than the number of total"
    ):
        z.op._update_input(2, x)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"incompatible shapes: \[2\] and \[\]"):
        z.op._update_input(0, tf.constant([1, 2]))
    z.op._update_input(0, text)
    with (
        tf.Session() as session,
        pytest.raises(
            tf.errors.InvalidArgumentError,
            match="Input 0 of node add was passed string from Const_2:0 incompatible with expected int32",
        ),
    ):
        session.run(z)
    z.op._update_input(0, x)
    with tf.Session() as session:
        assert session.run(z) == 3


def test_a_cycle_is_named_with_its_nodes(graph: Any) -> None:
    x, y, z = tf.constant(1), tf.constant(2), tf.constant(0)
    y.op._add_control_inputs([z.op, x.op])
    x.op._add_control_input(y.op)
    message = "Graph is invalid, contains a cycle with 2 nodes, including: Const, Const_1"
    with tf.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match=message):
        session.run(x)


def test_scopes_of_threads(graph: Any) -> None:
    others = [tf.constant(number, name=f"other_{number}") for number in range(3)]
    graph.switch_to_thread_local()
    inside, leave = threading.Barrier(4), threading.Event()

    def build(number: int) -> None:
        with (
            graph.as_default(),
            tf.name_scope(f"s{number}"),
            tf.device(f"/job:j/task:{number}"),
            tf.control_dependencies([others[number]]),
        ):
            inside.wait(10)
            leave.wait(10)
            tf.no_op(name="op")

    threads = [threading.Thread(target=build, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    assert tf.no_op(name="mine").device == ""
    leave.set()
    for thread in threads:
        thread.join()
    for number in range(3):
        op = graph.get_operation_by_name(f"s{number}/op")
        assert op.device == f"/job:j/task:{number}"
        assert op.control_inputs == [others[number].op]


def test_scopes_that_are_left_out_of_order(graph: Any) -> None:
    outer = graph.device("/cpu:0")
    outer.__enter__()
    with pytest.raises(RuntimeError, match="without proper scope nesting"), graph.device("/cpu:1"):
        outer.__exit__(None, None, None)
    with pytest.raises(TypeError, match="meant to pass this into the `values` kwarg"):
        tf.name_scope("a", [tf.constant(1)])


def test_a_name_scope_that_is_entered_again(graph: Any) -> None:
    foo, bar = name_scope_v2("foo"), name_scope_v2("bar")
    with foo as first, bar as second, foo as third:
        assert (first, second, third) == ("foo/", "foo/bar/", "foo/bar/foo/")
        assert get_name_scope() == "foo/bar/foo"
    assert get_name_scope() == ""
    with pytest.raises(TypeError):
        name_scope_v2(None)


def test_init_scope_keeps_the_innermost_devices(graph: Any) -> None:
    with tf.device("CPU:0"):
        inner = tf.Graph()
        inner._building_function = True
        with inner.as_default():
            with tf.device("GPU:0"), init_scope():
                on_gpu = tf.constant(1.0)
            with init_scope():
                on_cpu = tf.constant(1.0)
    assert (on_gpu.graph, on_gpu.device, on_cpu.device) == (graph, "/device:GPU:0", "/device:CPU:0")


def test_python_types_that_are_ambiguous_are_no_dtypes() -> None:
    assert (tf.as_dtype(float), tf.as_dtype(bool), tf.as_dtype(object)) == (tf.float32, tf.bool, tf.string)
    for kind in (int, str, bytes, complex):
        assert tf.int32 != kind
        with pytest.raises(TypeError, match="to a TensorFlow DType"):
            tf.as_dtype(kind)


def test_dense_tensor_likes(graph: Any) -> None:
    class Like:
        name = property(lambda self: "a")
        dtype = property(lambda self: tf.float32)

    class Nameless:
        def name(self) -> None: ...

    assert graph_internals.is_dense_tensor_like(tf.constant(1))
    assert graph_internals.is_dense_tensor_like(tf.Variable(1))
    assert not graph_internals.is_dense_tensor_like(Like())
    graph_internals.register_dense_tensor_like_type(Like)
    assert graph_internals.is_dense_tensor_like(Like())
    with pytest.raises(TypeError, match="does not define a `name` property"):
        graph_internals.register_dense_tensor_like_type(Nameless)
    graph_internals._dense_tensor_like.remove(Like)


def test_ops_that_are_not_for_new_graphs(graph: Any) -> None:
    message = (
        r"Op TopK is not available in GraphDef version 134. It has been removed in version 7. Use TopKV2"
    )
    with pytest.raises(NotImplementedError, match=message):
        nn.top_k_v1(tf.constant([1.0, 3.0, 2.0]), 2)
    graph._graph_def_versions = (6, 0, [])
    with tf.Session() as session:
        assert session.run(nn.top_k_v1(tf.constant([1.0, 3.0, 2.0]), 2))[0].tolist() == [3.0, 2.0]
    with tf.Graph().as_default(), tf.Session() as session:
        values, _ = tf.import_graph_def(graph.as_graph_def(), return_elements=["TopK:0", "TopK:1"])
        assert session.run(values).tolist() == [3.0, 2.0]
