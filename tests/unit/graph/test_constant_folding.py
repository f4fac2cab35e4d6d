"""What depends on constants alone is computed once for all runs of a plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors, protos


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def _types(session: tf.Session, fetch: Any, feeds: Any = None) -> set[str]:
    """The types of the nodes that run."""
    metadata = protos.RunMetadata()
    options = protos.RunOptions(trace_level=protos.RunOptions.FULL_TRACE)
    session.run(fetch, feeds, options=options, run_metadata=metadata)
    nodes = {op.name: op.type for op in session.graph.get_operations()}
    return {nodes[n.node_name] for d in metadata.step_stats.dev_stats for n in d.node_stats}


def _fed_square() -> tuple[Any, Any]:
    x = tf.placeholder(tf.float32, [2])
    return x, x * tf.square(tf.exp([1.0, 2.0]))


def test_constants_are_computed_once() -> None:
    x, y = _fed_square()
    with tf.Session() as sess:
        assert not {"Exp", "Square"} & _types(sess, y, {x: [1.0, 1.0]})
        np.testing.assert_allclose(sess.run(y, {x: [1.0, 3.0]}), np.exp([2.0, 4.0]) * [1, 3], rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"rewrite_options": {"constant_folding": protos.RewriterConfig.OFF}},
        {"rewrite_options": {"disable_meta_optimizer": True}},
        {"optimizer_options": {"opt_level": -1}},
    ],
)
def test_it_can_be_turned_off(options: dict[str, Any]) -> None:
    x, y = _fed_square()
    with tf.Session(config=protos.ConfigProto(graph_options=protos.GraphOptions(**options))) as sess:
        assert {"Exp", "Square"} <= _types(sess, y, {x: [1.0, 1.0]})


def test_what_is_fed_is_no_constant() -> None:
    e = tf.exp([0.0, 0.0])
    y = e + 1.0
    with tf.Session() as sess:
        assert sess.run(y).tolist() == [2.0, 2.0]
        assert sess.run(y, {e: [5.0, 6.0]}).tolist() == [6.0, 7.0]
        default = tf.placeholder_with_default([1.0], [1]) * 2.0
        assert sess.run(default).tolist() == [2.0]


def test_random_numbers_and_variables_stay() -> None:
    drawn = tf.random_uniform([4]) + 1.0
    v = tf.Variable(1.0)
    doubled = v * 2.0
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(drawn).tolist() != sess.run(drawn).tolist()
        assert sess.run(doubled) == 2.0
        sess.run(v.assign(4.0))
        assert sess.run(doubled) == 8.0


def test_results_belong_to_the_caller() -> None:
    y = tf.exp([0.0, 0.0])
    with tf.Session() as sess:
        sess.run(y)[0] = 7.0
        assert sess.run(y).tolist() == [1.0, 1.0]


def test_large_results_are_computed_in_each_run() -> None:
    x = tf.placeholder(tf.float32, [])
    y = tf.fill([300, 300], 2.0) * x
    with tf.Session() as sess:
        assert "Fill" in _types(sess, y, {x: 1.0})


def test_errors_are_those_of_the_run() -> None:
    y = tf.matrix_inverse([[1.0, 1.0], [1.0, 1.0]])
    with tf.Session() as sess:
        for _ in range(2):
            with pytest.raises(errors.InvalidArgumentError, match="not invertible"):
                sess.run(y)


def test_products_with_zeros_leave_the_other_factor_out() -> None:
    """As Grappler does when the shape is known; recorded: TensorFlow 1.15.5 gives zeros here and not an error."""
    singular = tf.matrix_inverse([[1.0, 1.0], [1.0, 1.0]])
    zeros = tf.constant(np.zeros([2, 2], np.float32))
    x = tf.placeholder(tf.float32, [None, 2])
    with tf.Session() as sess:
        assert not sess.run(singular * zeros).any()
        assert not sess.run(tf.matmul(zeros, singular)).any()
        # Of unknown shape, zeros and numbers that are none give what they give.
        assert np.isnan(sess.run(x * [0.0, 0.0], {x: [[np.inf, 1.0]]})).tolist() == [[True, False]]


def test_what_a_constant_waits_for_still_runs() -> None:
    v = tf.Variable(1.0)
    with tf.control_dependencies([v.assign_add(1.0).op]):
        y = tf.exp(tf.constant(0.0)) * 3.0
    with tf.control_dependencies([v.assign_add(10.0).op]):
        read = tf.identity(tf.ones([2]), name="waits")
    product = tf.square(read) * tf.zeros([2])
    x = tf.placeholder(tf.float32, [])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for expected in (2.0, 3.0):
            assert sess.run(y) == 3.0
            assert sess.run(v) == expected
        assert sess.run(y * x, {x: 2.0}) == 6.0
        assert sess.run(v) == 4.0
        assert sess.run(product).tolist() == [0.0, 0.0]
        assert sess.run(v) == 14.0


def test_of_the_shape_of_a_tensor_no_more_is_known_than_of_the_tensor():
    """As TensorFlow 1.15.5 has it, though all of it is computed from constants."""
    x = tf.constant([[0.5], [1.0]])
    picked = tf.gather_nd(x, tf.where(tf.not_equal(x, 0.0)))
    shape = tf.shape(picked)
    assert picked.shape.as_list() == [None]
    assert tf.ones_like(picked, dtype=tf.bool).shape.as_list() == [None]
    assert tf.broadcast_to(1.0, shape).shape.as_list() == [None]
    assert tf.zeros(tf.identity(shape)).shape.as_list() == [2]
    assert tf.zeros(tf.stack([shape[0], 2])).shape.as_list() == [2, 2]
