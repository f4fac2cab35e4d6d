"""tf.gradients: seeds, stops, aggregation, overrides and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.graph.gradients import RegisterGradient, gradients, no_gradient
from kvarn.graph.graph import Graph


@pytest.fixture(autouse=True)
def graph() -> Iterator[Graph]:
    with Graph().as_default() as g:
        yield g


def value(fetch: object, feed: object = None) -> object:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetch, feed)


def test_the_seed_is_ones_and_named_as_tensorflow_names_it(graph: Graph) -> None:
    x = tf.constant([1.0, 2.0, 3.0])
    (dx,) = gradients(x * x, x)
    np.testing.assert_array_equal(value(dx), [2, 4, 6])
    names = [op.name for op in graph.get_operations()]
    assert {"gradients/Shape", "gradients/grad_ys_0", "gradients/Fill", "gradients/mul_grad/Mul_1"} <= set(
        names
    )


def test_several_ys_add_up_and_grad_ys_weigh_them() -> None:
    x = tf.constant([1.0, 2.0])
    ys = [x * 3.0, tf.square(x)]
    np.testing.assert_array_equal(value(gradients(ys, x)[0]), [5, 7])
    weighed = gradients(ys, x, grad_ys=[tf.constant([1.0, 10.0]), None])[0]
    np.testing.assert_array_equal(value(weighed), [5, 34])
    with pytest.raises(ValueError, match="Passed 1 grad_ys for 2 ys"):
        gradients(ys, x, grad_ys=[None])


def test_a_y_that_is_also_an_x() -> None:
    x = tf.constant(2.0)
    y = x * 3.0
    dx, dy = gradients([y, y * 5.0], [x, y])
    assert value([dx, dy]) == [18.0, 6.0]


def test_stop_gradients_make_constants_of_tensors() -> None:
    a = tf.constant(2.0)
    b = a * 3.0
    y = a * b
    assert value(gradients(y, [a, b], stop_gradients=[a, b])) == [6.0, 2.0]
    assert value(gradients(y, [a])) == [12.0]


def test_nothing_between_gives_none_or_zeros() -> None:
    x, other = tf.constant([1.0, 2.0]), tf.constant([5.0])
    assert gradients(x * 2.0, other) == [None]
    zeros = gradients(x * 2.0, other, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    np.testing.assert_array_equal(value(zeros[0]), [0])
    with pytest.raises(ValueError, match="Unknown value for unconnected_gradients: 'other'"):
        gradients(x * 2.0, other, unconnected_gradients="other")
    assert gradients(tf.cast(tf.cast(x, tf.int32), tf.float32), x) == [None]


def test_rows_of_several_lookups_stay_sparse_and_join_dense_ones() -> None:
    table = tf.get_variable("table", initializer=np.zeros((4, 2), np.float32))
    first, second = tf.gather(table, [0, 2]), tf.gather(table, [2])
    loss = tf.reduce_sum(first) + 10.0 * tf.reduce_sum(second)
    (sparse,) = gradients(loss, table)
    assert isinstance(sparse, tf.IndexedSlices)
    found = value(sparse)
    assert sorted(zip(found.indices.tolist(), found.values[:, 0].tolist(), strict=True)) == [
        (0, 1),
        (2, 1),
        (2, 10),
    ]
    (dense,) = gradients(loss + tf.reduce_sum(table), table)
    np.testing.assert_array_equal(value(dense)[:, 0], [2, 1, 12, 1])


def test_a_resource_variables_gradient_is_that_of_its_value() -> None:
    v = tf.get_variable("v", initializer=np.float32([1, 2]), use_resource=True)
    np.testing.assert_array_equal(value(gradients(tf.square(v), v)[0]), [2, 4])


def test_an_op_without_a_gradient_is_named() -> None:
    x = tf.constant([3.0, 1.0])
    y = tf.nn.top_k(x).values
    graph_y = tf.scatter_nd([[0]], y, [2])
    assert gradients(graph_y, x)[0] is not None
    missing = tf.invert_permutation(tf.constant([1, 0]))
    assert gradients(tf.cast(missing, tf.float32), missing) == [None]


@pytest.mark.parametrize(
    "build",
    [
        lambda x: tf.unique(x)[0],
        lambda x: tf.unique_with_counts(x)[0],
        lambda x: tf.setdiff1d(x, [1.0])[0],
        lambda x: tf.random_shuffle(x),
        lambda x: tf.truncatemod(x, 2.0),
        lambda x: tf.bitcast(x, tf.float64),
    ],
)
def test_ops_that_tensorflow_has_no_gradient_for_stop_the_program_not_the_training(build: Any) -> None:
    x = tf.constant([3.0, 5.0])
    with pytest.raises(LookupError, match="No gradient defined for operation"):
        gradients(build(x * 2.0), x)


def test_an_aggregation_method_that_does_not_exist() -> None:
    x = tf.constant(1.0)
    with pytest.raises(ValueError, match=r"Invalid aggregation_method specified 17\."):
        gradients(x, x, aggregation_method=17)


def test_own_gradients_and_overrides(graph: Graph) -> None:
    @RegisterGradient("TestSquareTimesTen")
    def times_ten(op: tf.Operation, grad: tf.Tensor) -> tf.Tensor:
        return grad * 10.0 * op.inputs[0]

    with graph.gradient_override_map({"Square": "TestSquareTimesTen"}):
        x = tf.constant(3.0)
        y = tf.square(x)
    assert value(gradients(y, x)) == [30.0]
    with pytest.raises(KeyError, match="Registering two gradient with name 'TestSquareTimesTen'"):
        RegisterGradient("TestSquareTimesTen")(times_ten)
    no_gradient("TestNothing")
    with graph.gradient_override_map({"Square": "TestNothing"}):
        z = tf.square(x)
    assert gradients(z, x) == [None]
    with graph.gradient_override_map({"Square": "TestUnheardOf"}):
        w = tf.square(x, name="nosuch")
    with pytest.raises(LookupError, match=r"No gradient defined for operation 'nosuch' \(op type: Square\)"):
        gradients(w, x)


def test_a_gradient_function_must_give_one_for_each_input(graph: Graph) -> None:
    @RegisterGradient("TestTooFew")
    def too_few(op: tf.Operation, grad: tf.Tensor) -> list[tf.Tensor]:
        return [grad]

    with graph.gradient_override_map({"Mul": "TestTooFew"}):
        y = tf.constant(1.0) * tf.constant(2.0)
    with pytest.raises(
        ValueError, match=r"Num gradients 1 generated for op mul .* do not match num inputs 2"
    ):
        gradients(y, y.op.inputs[0])


def test_gated_gradients_are_all_ready_together() -> None:
    a, b = tf.constant([2.0]), tf.constant([3.0])
    da, db = gradients(a * b, [a, b], gate_gradients=True)
    assert value([da, db])[0][0] == 3.0
    assert da.op.control_inputs == db.op.control_inputs != []


def test_colocated_gradients_bear_the_forward_ops_name() -> None:
    x = tf.constant([1.0])
    y = tf.multiply(x, 2.0, name="forward")
    (dx,) = gradients(y, x, colocate_gradients_with_ops=True)
    assert dx.op.colocation_groups() == [b"loc:@forward"]
