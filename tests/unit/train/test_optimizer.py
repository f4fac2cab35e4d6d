"""What `Optimizer` checks and promises, beside the programs recorded from TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest

import kvarn as tf
from kvarn.graph.graph import GraphKeys


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


@pytest.fixture
def w():
    return tf.get_variable("w", initializer=np.array([1.0, 2.0], np.float32))


def descent():
    return tf.train.GradientDescentOptimizer(0.5)


def test_a_name_is_needed():
    with pytest.raises(ValueError, match="Must specify the optimizer name"):
        tf.train.GradientDescentOptimizer(0.5, name="")


def test_variables_are_needed(w):
    with pytest.raises(ValueError, match="No variables to optimize"):
        descent().compute_gradients(tf.constant(1.0), var_list=[])
    with pytest.raises(ValueError, match="No variables provided"):
        descent().apply_gradients([])
    with pytest.raises(NotImplementedError, match="unsupported type"):
        descent().compute_gradients(tf.reduce_sum(w), var_list=["w"])


def test_gradients_are_needed(w):
    with pytest.raises(ValueError, match=r"No gradients provided for any variable, check your graph"):
        descent().minimize(tf.constant(1.0))
    with pytest.raises(ValueError, match=r"No gradients provided for any variable: \["):
        descent().apply_gradients([(None, w)])


def test_the_gate_is_one_of_three(w):
    with pytest.raises(ValueError, match=r"gate_gradients must be one of: .* Not 7"):
        descent().compute_gradients(tf.reduce_sum(w), gate_gradients=7)


@pytest.mark.parametrize("gate", [0, 1, 2])
def test_every_gate_gives_the_same_gradients(w, gate):
    (pair,) = descent().compute_gradients(tf.reduce_sum(w * w * w), gate_gradients=gate)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(sess.run(pair[0]), [3.0, 12.0])


def test_integers_cannot_be_trained():
    i = tf.get_variable("i", initializer=np.array([1, 2], np.int32))
    with pytest.raises(ValueError, match="Invalid type"):
        descent().compute_gradients(tf.reduce_sum(i))


def test_a_variable_without_gradient_is_listed_and_left_alone(w):
    other = tf.get_variable("other", initializer=1.0)
    pairs = descent().compute_gradients(tf.reduce_sum(w))
    assert [(g is None, v) for g, v in pairs] == [(False, w), (True, other)]
    step = descent().apply_gradients(pairs)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step)
        assert sess.run(w).tolist() == [0.5, 1.5]
        assert sess.run(other) == 1.0


def test_a_partitioned_variable_in_the_list_stands_for_its_parts():
    whole = tf.get_variable(
        "p",
        shape=[4, 2],
        initializer=tf.ones_initializer(),
        partitioner=tf.fixed_size_partitioner(2),
    )
    pairs = descent().compute_gradients(tf.reduce_sum(tf.convert_to_tensor(whole)), var_list=[whole])
    assert [v.name for _, v in pairs] == ["p/part_0:0", "p/part_1:0"]


def test_gradients_of_a_plain_tensor_can_be_had_but_not_applied(w):
    x = w * 2.0
    pairs = descent().compute_gradients(tf.reduce_sum(x * x), var_list=[x])
    with pytest.raises(NotImplementedError, match="Trying to update a Tensor"):
        descent().apply_gradients(pairs)


def test_a_loss_may_be_a_function_and_have_a_gradient_of_its_own(w):
    ((g, _),) = descent().compute_gradients(lambda: w * w, grad_loss=tf.constant([1.0, 10.0]))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(g).tolist() == [2.0, 40.0]


@pytest.mark.parametrize("resource", [False, True])
def test_a_constraint_sees_the_updated_value(resource):
    v = tf.get_variable(
        "v",
        initializer=np.array([1.0, -1.0], np.float32),
        constraint=lambda x: tf.clip_by_value(x, 0.0, 0.75),
        use_resource=resource,
    )
    step = descent().minimize(tf.reduce_sum(v * np.array([1.0, -4.0], np.float32)))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step)
        assert sess.run(v).tolist() == [0.5, 0.75]


def test_a_sparse_gradient_and_a_constraint_do_not_go_together():
    v = tf.get_variable("v", shape=[3, 2], constraint=lambda x: x)
    with pytest.raises(RuntimeError, match="Cannot use a constraint function on a sparse variable"):
        descent().minimize(tf.reduce_sum(tf.gather(v, [1])))


@pytest.mark.parametrize("resource", [False, True])
def test_the_step_is_counted_after_the_updates(w, resource):
    count = tf.get_variable("count", initializer=np.int64(3), trainable=False, use_resource=resource)
    step = descent().minimize(tf.reduce_sum(w), global_step=count)
    assert tf.get_collection(GraphKeys.TRAIN_OP) == [step.op if hasattr(step, "op") else step]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step)
        sess.run(step)
        assert sess.run(count) == 5
        assert sess.run(w).tolist() == [0.0, 1.0]


def test_slots_by_name_and_variable(w):
    opt = tf.train.MomentumOptimizer(0.1, 0.9)
    other = tf.get_variable("other", initializer=1.0)
    opt.minimize(tf.reduce_sum(w), var_list=[w])
    slot = opt.get_slot(w, "momentum")
    assert slot.name == "w/Momentum:0"
    assert opt.get_slot(other, "momentum") is None
    assert opt.get_slot(w, "nothing") is None
    assert opt.get_slot_names() == ["momentum"]
    assert opt.variables() == [slot]


def test_adams_own_variables_are_among_its_variables(w):
    opt = tf.train.AdamOptimizer()
    opt.minimize(tf.reduce_sum(w))
    assert [v.name for v in opt.variables()] == ["beta1_power:0", "beta2_power:0", "w/Adam:0", "w/Adam_1:0"]


def test_the_learning_rate_may_be_a_function_or_a_tensor(w):
    rate = tf.placeholder(tf.float32, [])
    step = tf.train.GradientDescentOptimizer(lambda: rate).minimize(tf.reduce_sum(w))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step, {rate: 2.0})
        assert sess.run(w).tolist() == [-1.0, 0.0]


def test_a_value_that_was_fetched_stays_what_it_was(w):
    step = descent().minimize(tf.reduce_sum(w))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before, _ = sess.run([w, step])
        sess.run(step)
        assert sess.run(w).tolist() == [0.0, 1.0]
        assert before.tolist() in ([1.0, 2.0], [0.5, 1.5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tf.train.AdagradOptimizer(0.1, 0.0), "initial_accumulator_value must be positive: 0.0"),
        (lambda: tf.train.FtrlOptimizer(0.1, learning_rate_power=0.5), "needs to be negative or zero"),
        (
            lambda: tf.train.FtrlOptimizer(0.1, l1_regularization_strength=-1.0),
            "needs to be positive or zero",
        ),
    ],
)
def test_numbers_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Fixed(tf.train.Optimizer):
    """A user's own optimizer: steps of one size."""

    def __init__(self):
        super().__init__(False, "Fixed")

    def _apply_dense(self, grad, var):
        return tf.assign_sub(var, tf.sign(grad))


def test_a_programs_own_optimizer(w):
    step = Fixed().minimize(tf.reduce_sum(w * w))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step)
        assert sess.run(w).tolist() == [0.0, 1.0]
