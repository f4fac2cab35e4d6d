"""Moving averages; numbers and names are those of TensorFlow 1.15.5."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn.train import moving_averages

# Of `assign_moving_average` with a correction, without the variables beside it.
NODES = [
    "/decay", "/sub", "/mul", "/AssignSub", "/AssignAdd/value", "/AssignAdd", "/sub_1/x", "/sub_1", "/Pow",
    "/sub_2/x", "/sub_2", "/truediv", "",
]  # fmt: skip


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def names(graph):
    return [op.name for op in graph.get_operations()]


@pytest.mark.parametrize("use_resource", [False, True])
@pytest.mark.parametrize(
    ("zero_debias", "expected"),
    [
        (False, [[3.25, 2.75], [2.3125, 2.1875], [2.828125, 3.546875]]),
        (True, [[1.0, 0.0], [1.8, 1.6], [2.7142856, 3.4285715]]),
    ],
)
def test_assign(use_resource, zero_debias, expected):
    v = tf.get_variable("v", initializer=[10.0, 11.0], use_resource=use_resource)
    value = tf.placeholder(tf.float32, [2])
    update = moving_averages.assign_moving_average(v, value, 0.25, zero_debias=zero_debias)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for i, wanted in enumerate(expected):
            sess.run(update, {value: [1.0 + i, 2.0 * i]})
            np.testing.assert_allclose(sess.run(v), wanted, rtol=1e-6, atol=1e-7)


def test_weighted():
    decay, value = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [2])
    weight = tf.placeholder(tf.float32, [])
    average = moving_averages.weighted_moving_average(value, decay, weight)
    assert [v.name for v in tf.global_variables()] == [
        "WeightedMovingAvg/value_x_weight:0",
        "WeightedMovingAvg/weight:0",
    ]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for i, wanted in enumerate([[0.0, 0.0], [0.8888889, 1.7777778], [1.8245614, 3.6491227]]):
            found = sess.run(average, {decay: 0.25, value: [i, 2.0 * i], weight: i + 1.0})
            np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("zero_debias", "expected"),
    [
        (False, [[4.1538463, 4.8461542], [5.4319525, 6.3372784], [5.8252163, 6.7960858]]),
        (True, [[6.0, 7.0]] * 3),
    ],
)
def test_of_tensors(graph, zero_debias, expected):
    n = tf.Variable(5.0, name="n", trainable=False)
    t = tf.constant([1.0, 2.0], name="t") + n
    averages = tf.train.ExponentialMovingAverage(0.9, num_updates=3, zero_debias=zero_debias, name="foo")
    update = averages.apply([t])
    debiasing = ["add/foo/biased:0", "add/foo/local_step:0"] if zero_debias else []
    assert sorted(v.name for v in tf.global_variables()) == sorted([*debiasing, "add/foo:0", "n:0"])
    assert (averages.average_name(t), averages.average_name(n)) == ("add/foo", "n/foo")
    assert averages.average(n) is None
    assert tf.moving_average_variables() == []
    assert {"foo/decay", "foo/num_updates", "foo/Minimum", "foo/AssignMovingAvg/sub"} < set(names(graph))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for wanted in expected:
            sess.run(update)
            np.testing.assert_allclose(sess.run(averages.average(t)), wanted, rtol=1e-6)


def test_the_nodes_of_a_debiased_average(graph):
    v = tf.get_variable("v", initializer=[10.0, 11.0])
    value = tf.placeholder(tf.float32, [2], name="val")
    before = set(names(graph))
    moving_averages.assign_moving_average(v, value, 0.25)
    made = [n for n in names(graph) if n not in before and not n.startswith("v/")]
    assert made == [f"AssignMovingAvg{n}" for n in NODES]


@pytest.mark.parametrize("use_resource", [False, True])
def test_of_variables_and_their_restore(use_resource, tmp_path):
    v = tf.get_variable("v", initializer=[10.0, 11.0], use_resource=use_resource)
    tf.get_variable("w", initializer=1.0, use_resource=use_resource)
    tf.Variable(1.0, trainable=False, name="x")
    averages = tf.train.ExponentialMovingAverage(0.25)
    update, up = averages.apply(), v.assign_add([1.0, 1.0])
    assert [a.name for a in tf.moving_average_variables()] == ["v:0", "w:0"]
    names_to_restore = {name: var.name for name, var in averages.variables_to_restore().items()}
    assert names_to_restore == {
        "v/ExponentialMovingAverage": "v:0",
        "w/ExponentialMovingAverage": "w:0",
        "x": "x:0",
    }
    saver, restoring = tf.train.Saver(), tf.train.Saver(averages.variables_to_restore())
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for wanted in ([10.75, 11.75], [11.6875, 12.6875], [12.671875, 13.671875]):
            sess.run(up)
            sess.run(update)
            np.testing.assert_allclose(sess.run(averages.average(v)), wanted)
        path = saver.save(sess, str(tmp_path / "m"))
    with tf.Session() as sess:
        restoring.restore(sess, path)
        np.testing.assert_allclose(sess.run(v), wanted)


def test_what_cannot_be_averaged():
    n = tf.Variable(1, name="n")
    with pytest.raises(TypeError, match=r"^The variables must be half, float, or double: n:0$"):
        tf.train.ExponentialMovingAverage(0.9).apply([n])
