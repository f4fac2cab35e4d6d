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


def test_values_that_are_only_measured_are_not_computed() -> None:
    x = tf.placeholder(tf.float32, [None, None])
    y = tf.placeholder(tf.float32, [None, 1])
    loss = tf.reduce_sum(tf.square(x) * y)
    gradient = tf.gradients(loss, y)[0]
    feed = {x: [[1.0, 2.0], [3.0, 4.0]], y: [[1.0], [2.0]]}
    with tf.Session() as sess:
        assert sess.run(gradient, feed).tolist() == [[5.0], [25.0]]
        assert sess.run([gradient, loss], feed)[1] == 55.0
        assert sess.run(tf.shape(tf.exp(x) + y), feed).tolist() == [2, 2]
        with pytest.raises(errors.InvalidArgumentError, match="Incompatible shapes"):
            sess.run(tf.shape(x + y), {x: [[1.0], [2.0]], y: [[1.0]] * 3})


def test_an_error_of_values_is_not_lost_by_measuring() -> None:
    x = tf.placeholder(tf.int32, [None])
    with tf.Session() as sess, pytest.raises(errors.InvalidArgumentError, match="division by zero"):
        sess.run(tf.shape(tf.floordiv(4, x)), {x: [0]})


def test_the_gradient_of_a_sum_is_the_callers_own() -> None:
    """It may be the factor itself; what a caller does with it changes no variable."""
    factor = tf.get_variable("factor", initializer=[[1.0, 2.0]], use_resource=True)
    x = tf.placeholder(tf.float32, [None, 2])
    gradient = tf.gradients(tf.reduce_sum(x * factor), x)[0]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        found = sess.run(gradient, {x: [[5.0, 6.0]]})
        found += 1
        assert sess.run(factor).tolist() == [[1.0, 2.0]]
        assert sess.run(gradient, {x: [[5.0, 6.0]] * 2}).tolist() == [[1.0, 2.0]] * 2
        doubled, updated = sess.run([gradient, factor.assign_add(gradient)], {x: [[5.0, 6.0]]})
        assert doubled.tolist() == [[1.0, 2.0]]
        assert updated.tolist() == [[2.0, 4.0]]


def test_what_waits_for_a_placeholder_waits_for_its_feed() -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        fed = tf.placeholder(tf.bool, [])
        with tf.control_dependencies([fed]):
            plain = tf.constant(1.0) + 1.0
            looped = tf.while_loop(lambda i: i < 3, lambda i: i + 1, [0])
        assert sess.run(plain, {fed: True}) == 2.0
        assert sess.run(looped, {fed: True}) == 3
        with pytest.raises(errors.InvalidArgumentError, match="You must feed a value for placeholder"):
            sess.run(plain)
