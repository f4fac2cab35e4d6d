"""Functions with gradients of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kvarn as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def run(*tensors: Any) -> list[Any]:
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        found: list[Any] = sess.run(list(tensors))
        return found


def test_the_gradient_is_the_one_given(graph: tf.Graph) -> None:
    @tf.custom_gradient
    def log1pexp(x: Any) -> Any:
        e = tf.exp(x)
        return tf.log(1 + e), lambda dy: dy * (1 - 1 / (1 + e))

    x = tf.constant(100.0)
    y = log1pexp(x)
    (dy,) = tf.gradients(y * 2.0, x)
    assert y.op.type == "IdentityN"
    assert run(dy) == [2.0]


def test_several_arguments_and_results() -> None:
    @tf.custom_gradient
    def both(a: Any, b: Any) -> Any:
        return {"sum": a + b, "product": a * b}, lambda dp, ds: (dp * 10.0, ds * 100.0)

    a, b = tf.constant(2.0), tf.constant(3.0)
    out = both(a, b)
    grads = tf.gradients([out["product"], out["sum"]], [a, b], grad_ys=[tf.constant(1.0), tf.constant(2.0)])
    assert run(out["sum"], out["product"], *grads) == [5.0, 6.0, 10.0, 200.0]


def test_variables() -> None:
    @tf.custom_gradient
    def scaled(x: Any) -> Any:
        w = tf.get_variable("w", initializer=[2.0, 3.0], use_resource=True)

        def grad(dy: Any, variables: Any = None) -> Any:
            assert [v.name for v in variables] == ["w:0"]
            return dy * 7.0, [dy * 5.0]

        return x * w, grad

    with tf.variable_scope("", use_resource=True):
        x = tf.constant([1.0, 1.0])
        y = scaled(x)
        w = tf.trainable_variables()[0]
        grads = tf.gradients(y, [x, w])
    found = run(y, *grads)
    np.testing.assert_array_equal(found, [[2.0, 3.0], [7.0, 7.0], [5.0, 5.0]])


def test_mistakes() -> None:
    @tf.custom_gradient
    def keeps_quiet(x: Any) -> Any:
        return x * tf.get_variable("w", initializer=2.0, use_resource=True), lambda dy: dy

    with pytest.raises(TypeError, match="grad_fn must accept a keyword argument 'variables'"):
        keeps_quiet(tf.constant(1.0))
    with pytest.raises(ValueError, match="keywords arguments only when eager"):
        keeps_quiet(x=tf.constant(1.0))

    @tf.custom_gradient
    def old_variable(x: Any) -> Any:
        return x * tf.get_variable("v", initializer=2.0, use_resource=False), lambda dy, variables=None: dy

    with pytest.raises(TypeError, match="must be `ResourceVariable`s"):
        old_variable(tf.constant(1.0))


def test_recomputed(graph: tf.Graph) -> None:
    x = tf.constant(3.0)
    with tf.variable_scope("", use_resource=True):
        y = tf.recompute_grad(lambda v: tf.square(v) * v)(x)
    before = len([op for op in graph.get_operations() if op.type == "Square"])
    (dx,) = tf.gradients(y, x)
    assert len([op for op in graph.get_operations() if op.type == "Square"]) == before + 1
    assert run(y, dx) == [27.0, 27.0]


def test_passed_through() -> None:
    x = tf.constant(3.7)
    with tf.variable_scope("", use_resource=True):
        y = tf.grad_pass_through(tf.round)(x)
    assert run(y, *tf.gradients(y * 2.0, x)) == [4.0, 2.0]
