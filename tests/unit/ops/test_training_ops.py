"""The updating ops on their own: equal rows, bad input, and that nobody else's array is changed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors
from kvarn.ops import training


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def two(shape=(3, 2), resource=False):
    v = tf.get_variable("v", initializer=np.ones(shape, np.float32), use_resource=resource)
    a = tf.get_variable("a", initializer=np.full(shape, 0.1, np.float32), use_resource=resource)
    return v, a


def run(*ops):
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        return [sess.run(o) for o in ops][-1]


def test_equal_rows_are_updated_one_after_the_other():
    v, a = two()
    grads = np.array([[1, 1], [2, 2], [3, 3]], np.float32)
    update = training.sparse_apply_adagrad(v, a, 0.5, grads, [1, 0, 1])
    values, sums = run(update, [v, a])
    expected, acc = np.ones((3, 2)), np.full((3, 2), 0.1)
    for row, g in zip([1, 0, 1], grads, strict=True):
        acc[row] += g * g
        expected[row] -= 0.5 * g / np.sqrt(acc[row])
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(sums, acc, rtol=1e-6)


def test_slots_may_be_left_alone():
    v, a = two()
    update = training.apply_adagrad(v, a, 0.5, np.ones((3, 2), np.float32), update_slots=False)
    assert (run(update, a) == np.float32(0.1)).all()


@pytest.mark.parametrize(
    ("dtype", "expected"), [(np.float16, 0.5), (np.float32, 0.5), (np.float64, 0.5), (np.int32, 0)]
)
def test_types_stay_what_they_are(dtype, expected):
    v = tf.get_variable("v", initializer=np.ones(2, dtype))
    alpha = dtype(0.5) if expected else dtype(1)
    found = run(training.apply_gradient_descent(v, alpha, np.ones(2, dtype)))
    assert found.dtype == dtype
    assert found.tolist() == [expected] * 2


def test_scalars_can_be_trained():
    v = tf.get_variable("v", initializer=2.0)
    assert run(training.apply_gradient_descent(v, 0.5, 1.0), v) == 1.5


@pytest.mark.parametrize("resource", [False, True])
def test_bad_input_is_named(resource):
    v, a = two(resource=resource)
    kind = "resource_" if resource else ""
    first, second = (v.handle, a.handle) if resource else (v, a)
    sparse = getattr(training, f"{kind}sparse_apply_adagrad")
    dense = getattr(training, f"{kind}apply_adagrad")
    hidden = tf.placeholder_with_default
    grads = hidden(np.ones((1, 2), np.float32), None)
    whole = np.ones((3, 2), np.float32)
    cases = [
        (lambda: sparse(first, second, 0.1, grads, [3]), "Index 3 at offset 0 in indices is out of range"),
        (lambda: sparse(first, second, 0.1, grads, [-1]), "Index -1 at offset 0 in indices is out of range"),
        (lambda: sparse(first, second, 0.1, grads, hidden([0, 1], None)), "same size as indices"),
        (
            lambda: sparse(first, second, 0.1, hidden(np.ones((1, 5), np.float32), None), [0]),
            "after the first",
        ),
        (lambda: sparse(first, second, 0.1, grads, hidden([[0]], None)), "indices must be one-dimensional"),
        (lambda: dense(first, second, 0.1, grads), r"var and grad do not have the same shape\[3,2\] \[1,2\]"),
        (lambda: dense(first, second, hidden([0.1], None), whole), r"lr is not a scalar: \[1\]"),
    ]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for build, message in cases:
            with pytest.raises(errors.InvalidArgumentError, match=message):
                sess.run(build())
        assert (sess.run(v) == 1).all()


@pytest.mark.parametrize("resource", [False, True])
def test_an_uninitialized_variable_is_named(resource):
    v, a = two(resource=resource)
    if resource:
        update = training.resource_apply_adagrad(v.handle, a.handle, 0.1, np.ones((3, 2), np.float32))
    else:
        update = training.apply_adagrad(v, a, 0.1, np.ones((3, 2), np.float32))
    with tf.Session() as sess, pytest.raises(errors.FailedPreconditionError, match="v"):
        sess.run(update)


def test_a_constant_that_a_variable_started_from_is_not_changed():
    v = tf.Variable(np.ones(3, np.float32))
    step = training.apply_gradient_descent(v, 1.0, np.ones(3, np.float32))
    with tf.Session() as sess:
        for _ in range(2):
            sess.run(v.initializer)
            assert sess.run(v).tolist() == [1, 1, 1]
            sess.run(step)
            assert sess.run(v).tolist() == [0, 0, 0]


@pytest.mark.parametrize("resource", [False, True])
def test_who_reads_during_an_update_of_another_thread_gets_one_moment(resource):
    shape = (1000, 1000)
    v, a = two(shape, resource)
    rates = {"use_locking": False} if not resource else {}
    apply = training.resource_apply_adagrad if resource else training.apply_adagrad
    holders = (v.handle, a.handle) if resource else (v._ref(), a._ref())
    train = apply(*holders, 0.5, tf.ones(shape), **rates)
    add = v.assign_add(tf.ones(shape))
    train, add = (x if isinstance(x, tf.Operation) else x.op for x in (train, add))
    reads = [tf.identity(v.read_value()), tf.identity(a.read_value())]
    torn = 0
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        ended = threading.Event()

        def go_on():
            while not ended.is_set():
                sess.run([train, add])

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            for _ in range(150):
                for read in reads:
                    value = sess.run(read)
                    torn += value.min() != value.max()
        finally:
            ended.set()
            thread.join()
    assert torn == 0
