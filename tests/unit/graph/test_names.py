"""What a graph refuses to take in, and what it says when asked for what it does not have."""

from __future__ import annotations

import pytest

import kvarn as tf


@pytest.mark.parametrize("name", ["_a", "a b", "a\\b", "é", "a>b", "-a", "a:0", "^a", "/a"])
def test_a_name_that_no_graph_def_may_hold_is_refused(name: str) -> None:
    with tf.Graph().as_default() as graph:
        with pytest.raises(ValueError, match="is not a valid node name"):
            tf.constant(1.0, name=name)
        assert not graph.get_operations()


def test_names_that_are_valid_inside_a_scope_only() -> None:
    with tf.Graph().as_default(), tf.name_scope("s"):
        assert [tf.constant(1.0, name=n).name for n in ("_a", "-a", ".a")] == ["s/_a:0", "s/-a:0", "s/.a:0"]


def test_a_node_does_not_take_the_name_of_another() -> None:
    with tf.Graph().as_default() as graph:
        first = tf.constant(1.0, name="a")
        with pytest.raises(ValueError, match="Duplicate node name in graph: 'a'"):
            tf.constant(2.0, name="a/")
        assert graph.get_operations() == [first.op]
        assert graph.get_tensor_by_name("a:0") is first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a", "The name 'a' refers to an Operation, not a Tensor"),
        ("b", r"The name 'b' looks like an \(invalid\) Operation name, not a Tensor"),
    ],
)
def test_a_tensor_needs_the_index_of_its_output(name: str, message: str) -> None:
    with tf.Graph().as_default() as graph:
        tf.constant(1.0, name="a")
        with pytest.raises(ValueError, match=message):
            graph.get_tensor_by_name(name)


def test_an_operation_that_does_not_fit_leaves_no_trace_at_its_inputs() -> None:
    with tf.Graph().as_default() as graph:
        x, y = tf.ones([2, 3], name="x"), tf.ones([4], name="y")
        with pytest.raises(ValueError, match="Dimensions must be equal"), tf.control_dependencies([y]):
            tf.matmul(x, x)
        assert x.consumers() == []
        assert y.op._control_outputs in (None, [])
        assert [op.name for op in graph.get_operations()] == ["x", "y"]
