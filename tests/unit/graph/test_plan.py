"""What a run leaves out, and in which order it runs the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kvarn as tf
from kvarn import errors


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def test_what_is_only_waited_for_and_has_no_effect_does_not_run() -> None:
    """As TensorFlow 1.15.5 (its dependency optimizer): no error of a gather whose value nobody reads."""
    x = tf.placeholder(tf.int32, [None])
    gathered = tf.gather([1, 2], x)
    with tf.control_dependencies([gathered]):
        y = tf.identity(tf.constant([3]) + x[:1])
    with tf.Session() as sess:
        assert sess.run(y, {x: [5]}).tolist() == [8]
        with pytest.raises(errors.InvalidArgumentError):
            sess.run(gathered, {x: [5]})
        with pytest.raises(errors.InvalidArgumentError, match="must feed a value"):
            sess.run(tf.group(x))


def test_effects_come_in_order_through_what_does_not_run() -> None:
    v = tf.Variable(1, use_resource=True)
    added = v.assign_add(10, read_value=False)
    with tf.control_dependencies([added]):
        between = tf.identity(tf.constant(2))
    with tf.control_dependencies([between]):
        y = v.read_value()
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run(y) == 11


def test_the_order_does_not_depend_on_that_of_the_nodes() -> None:
    v = tf.Variable(1, use_resource=True, name="v")
    added = v.assign_add(10, read_value=False)
    with tf.control_dependencies([added]):
        between = tf.identity(tf.constant(2), name="between")
    with tf.control_dependencies([between]):
        y = v.read_value()
    nodes = list(tf.get_default_graph().as_graph_def().node)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tf.GraphDef(node=nodes[::-1]), name="")
        with tf.Session(graph=graph) as sess:
            sess.run("v/Assign")
            assert sess.run(y.name) == 11
