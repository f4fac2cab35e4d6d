"""Conditionals and loops as functions: numbers of TensorFlow 1.15.5, also of gradients of gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.graph import control_flow_util
from kvarn.ops import control_flow_v2_toggles as toggles
from kvarn.ops.conditional import switch_case
from kvarn.ops.func_graph import InaccessibleTensorError


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    toggles.enable_control_flow_v2()
    with tf.Graph().as_default() as g:
        yield g
    toggles.disable_control_flow_v2()


def _run(tensors: Any, feeds: Any = None) -> list[Any]:
    with tf.Session() as session:
        return [np.asarray(v).tolist() for v in session.run(tensors, feeds)]


def test_conditionals_in_conditionals_with_gradients_of_gradients(graph: Any) -> None:
    x, p = tf.constant(3.0), tf.placeholder(tf.bool, [])
    y = tf.cond(p, lambda: x * x, lambda: tf.sin(x) * 2.0)
    g = tf.gradients(y, x)[0]
    z = tf.cond(
        p,
        lambda: tf.cond(x > 2.0, lambda: tf.exp(y * x), lambda: y),
        lambda: tf.cond(x > 5.0, lambda: x, lambda: tf.exp(x) * tf.exp(x) * y),
    )
    gz = tf.gradients(z, x)[0]
    fetches = [y, g, tf.gradients(g, x)[0], z, gz, tf.gradients(gz, x)[0]]
    assert {op.type for op in graph.get_operations() if "If" in op.type} == {"StatelessIf"}
    np.testing.assert_allclose(
        _run(fetches, {p: True}),
        [9.0, 6.0, 2.0, 532048248832.0, 14365303504896.0, 397440033226752.0],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        _run(fetches, {p: False}),
        [0.28224, -1.979985, -0.28224, 113.8637466430664, -571.0554809570312, -2853.54052734375],
        rtol=1e-5,
    )


@pytest.mark.parametrize("everything", [False, True])
def test_loops_in_loops_with_conditionals_and_gradients_of_gradients(everything: bool) -> None:
    toggles.output_all_intermediates(everything)
    try:
        x, k = tf.constant(3.0), tf.constant(1.5)
        _, y = tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * tf.sin(a) * k), [0, x])
        g = tf.gradients(y, [x, k])

        def body(i: Any, a: Any) -> Any:
            a = tf.cond(a > 2.0, lambda: a * x, lambda: a + k)
            _, b = tf.while_loop(lambda j, b: j < i, lambda j, b: (j + 1, b * a * 0.1), [0, a])
            return i + 1, b

        _, z = tf.while_loop(lambda i, a: i < 4, body, [1, x], maximum_iterations=5)
        gz = tf.gradients(z, [x, k])
        fetches = [y, *g, *tf.gradients(g[0], [x, k]), z, *gz, *tf.gradients(gz[0], [x, k])]
    finally:
        toggles.output_all_intermediates(None)
    expected = [
        *[
            0.45386794209480286,
            -10.678537368774414,
            1.9402402639389038,
            144.30679321289062,
            -42.16762924194336,
        ],
        *[34336872.0, 732519936.0, 0.0, 15382917120.0, 0.0],
    ]
    if everything:
        expected[8] = 8195066880.0  # what TensorFlow gives then, which is not the derivative
    np.testing.assert_allclose(_run(fetches), expected, rtol=1e-5)


def test_switch_case() -> None:
    x, i = tf.constant(3.0), tf.placeholder(tf.int32, [])
    y = switch_case(i, [lambda: x * x, lambda: tf.exp(x), lambda: x + 1.0])
    (g,) = tf.gradients(y, x)
    for number, (value, slope) in {
        0: (9, 6),
        1: (np.e**3, np.e**3),
        2: (4, 1),
        7: (4, 1),
        -1: (4, 1),
    }.items():
        np.testing.assert_allclose(_run([y, g], {i: number}), [value, slope], rtol=1e-6)
    with pytest.raises(ValueError, match=r"contiguous range of \[0 to 2\) but found \{0,2\}"):
        switch_case(i, {0: lambda: x, 2: lambda: x})


def test_variables_in_branches_and_loops_are_shared_with_the_graph_around() -> None:
    def double() -> Any:
        with tf.variable_scope("s", reuse=tf.AUTO_REUSE):
            v = tf.get_variable("v", [], initializer=tf.ones_initializer())
        with tf.control_dependencies([v.assign_add(1.0)]):
            return v.read_value() * 2.0

    p = tf.placeholder(tf.bool, [])
    y = tf.cond(p, double, lambda: 0.0)
    (v,) = tf.global_variables()
    _, z = tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * v), [0, 1.0])
    (g,) = tf.gradients(z, v)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(y, {p: True}) == 4.0
        assert session.run(y, {p: False}) == 0.0
        assert session.run([v, z, g]) == [2.0, 8.0, 12.0]


def test_what_does_not_fit_is_refused() -> None:
    x, p = tf.constant(3.0), tf.placeholder(tf.bool, [])
    with pytest.raises(TypeError, match="pred must not be a Python bool"):
        tf.cond(True, lambda: x, lambda: x)
    with pytest.raises(
        TypeError, match=r"true_fn and false_fn arguments to tf\.cond must have the same number"
    ):
        tf.cond(p, lambda: x, lambda: 1)
    with pytest.raises(ValueError, match=r"has shape .* after one iteration"):
        tf.while_loop(lambda a: True, lambda a: tf.concat([a, a], 0), [tf.zeros([2])])
    kept: list[Any] = []
    with pytest.raises(ValueError, match="in true_fn is accessed from false_fn"):
        tf.cond(p, lambda: kept.append(x * 2.0) or kept[0], lambda: kept[0] + 1.0)
    tf.cond(p, lambda: kept.append(x * 3.0) or kept[1], lambda: x)
    assert issubclass(InaccessibleTensorError, ValueError)


def test_the_switch_is_off_again() -> None:
    toggles.disable_control_flow_v2()
    assert not control_flow_util.ENABLE_CONTROL_FLOW_V2
    y = tf.cond(tf.placeholder(tf.bool, []), lambda: 1.0, lambda: 2.0)
    assert y.op.type == "Merge"


def _afterwards(build: Any) -> tuple[Any, list[float]]:
    """What ``build`` of a variable of [2, 3] gives, and the variable then."""
    v = tf.get_variable("v", initializer=[2.0, 3.0], use_resource=True)
    out = build(v)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(out), session.run(v).tolist()


@pytest.mark.parametrize("waits", [False, True])
def test_what_nothing_waits_for_does_not_run(waits: bool) -> None:
    def assigned(v: Any, result: Any) -> Any:
        with tf.control_dependencies([v.assign_add([1.0, 1.0])] if waits else []):
            return tf.identity(result)

    def branch(v: Any) -> Any:
        return tf.cond(tf.constant(True), lambda: assigned(v, 5.0), lambda: tf.constant(0.0))

    def loop(v: Any) -> Any:
        return tf.while_loop(lambda i: i < 3, lambda i: assigned(v, i + 1), [0])

    def unused(v: Any) -> Any:
        v.assign_add([1.0, 1.0])
        return 5.0

    assert _afterwards(branch) == (5.0, [3.0, 4.0] if waits else [2.0, 3.0])
    with tf.Graph().as_default():
        assert _afterwards(loop) == (3, [5.0, 6.0] if waits else [2.0, 3.0])
    with tf.Graph().as_default():
        dropped = _afterwards(lambda v: tf.cond(tf.constant(True), lambda: unused(v), lambda: 0.0))
        assert dropped == (5.0, [2.0, 3.0])


def test_arrays_are_lists_of_tensors() -> None:
    array = tf.TensorArray(tf.float32, 2, element_shape=[2])
    assert array.handle is None
    assert array.flow.dtype is tf.variant
    assert _run([array.read(0)]) == [[0.0, 0.0]]
    refused = [
        (lambda: tf.TensorArray(tf.float32), ValueError, "Size must be provided if flow is not provided"),
        (lambda: tf.TensorArray(tf.float32, 2, flow=array.flow), ValueError, "both a flow and size"),
        (
            lambda: tf.TensorArray(tf.float32, flow=array.flow, element_shape=[2]),
            ValueError,
            "both a flow and element_shape",
        ),
        (
            lambda: tf.TensorArray(tf.float32, flow=tf.constant(1.0)),
            TypeError,
            "flow must be a variant tensor",
        ),
        (lambda: tf.TensorArray(tf.float32, 2, handle=tf.constant("a")), ValueError, "has no handle"),
        (lambda: array.write(0, [1.0]), ValueError, r"Inconsistent shapes: saw \(1,\) but expected \(2,\)"),
        (lambda: array.grad("a"), NotImplementedError, "go through its flow"),
        (lambda: array.split([1.0, 2.0], 2), ValueError, "Shape must be rank 1 but is rank 0"),
    ]
    for build, kind, message in refused:
        with pytest.raises(kind, match=message):
            build()


def test_lists_in_arrays_are_checked_while_running() -> None:
    array = tf.TensorArray(tf.float32, 2, infer_shape=False)
    other = array.write(0, [1.0]).write(1, [1.0, 2.0])
    for fetch, message in [
        (array.write(2, [1.0]).stack(), "Trying to modify element 2 in a list with 2 elements."),
        (array.read(0), "Trying to read an uninitialized tensor but element_shape is not fully defined"),
        (other.stack(), r"PartialTensorShape: Incompatible shapes during merge: \[1\] vs. \[2\]"),
        (
            array.write(0, [1.0]).write(1, [[1.0]]).concat(),
            "PartialTensorShape: Incompatible ranks during merge: 0 vs. 1",
        ),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            _run([fetch])


def test_an_array_with_a_handle_is_not_taken_along() -> None:
    toggles.disable_control_flow_v2()
    array = tf.TensorArray(tf.float32, 2)
    toggles.enable_control_flow_v2()
    with pytest.raises(NotImplementedError, match="Attempting to build a graph-mode TF2-style TensorArray"):
        array.write(0, 1.0)


def test_flows_that_are_lists_make_arrays_of_lists() -> None:
    flow = tf.TensorArray(tf.float32, 2).write(0, 1.0).write(1, 2.0).flow
    toggles.disable_control_flow_v2()
    assert _run([tf.TensorArray(tf.float32, flow=flow).stack()]) == [[1.0, 2.0]]


def _pair(v: Any) -> Any:
    """A conditional with an assignment and something else."""
    return tf.cond(
        tf.constant(True),
        lambda: [v.assign_add([1.0, 1.0]), tf.constant(5.0)],
        lambda: [v.read_value(), tf.constant(1.0)],
    )


def _rounds(v: Any) -> Any:
    """A loop of which the second variable waits for an assignment, and the third is read by the second."""

    def body(i: Any, x: Any, y: Any) -> Any:
        with tf.control_dependencies([v.assign_add([1.0, 1.0])]):
            y = tf.identity(y)
        return i + 1, x + y, y

    return tf.while_loop(lambda i, x, y: i < 3, body, [0, 1.0, 1.0])


def _after(kinds: tuple[str, ...]) -> Any:
    """Something that waits for the last operation of these kinds."""
    op = [op for op in tf.get_default_graph().get_operations() if op.type in kinds][-1]
    with tf.control_dependencies([op]):
        return tf.identity(tf.constant(1.0))


LOOPS, CONDITIONALS = ("While", "StatelessWhile"), ("If", "StatelessIf")


@pytest.mark.parametrize(
    ("build", "result", "variable"),
    [
        (lambda v: _pair(v)[1], 5.0, [2.0, 3.0]),
        (lambda v: tf.reduce_sum(_pair(v)[0]), 7.0, [3.0, 4.0]),
        (lambda v: _pair(v) and _after(CONDITIONALS), 1.0, [2.0, 3.0]),
        (lambda v: _rounds(v)[0], 3, [2.0, 3.0]),
        (lambda v: _rounds(v)[1], 4.0, [5.0, 6.0]),
        (lambda v: _rounds(v) and _after(LOOPS), 1.0, [5.0, 6.0]),
        (
            lambda v: tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x + _pair(v)[1]), [0, 1.0])[1],
            16.0,
            [2.0, 3.0],
        ),
    ],
)
def test_what_only_other_results_need_does_not_run(build: Any, result: float, variable: list[float]) -> None:
    assert _afterwards(build) == (result, variable)


def test_a_loop_without_its_gradient_keeps_nothing_for_it() -> None:
    x = tf.constant(3.0)
    _, y = tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * x), [0, x])
    (g,) = tf.gradients(y, x)
    assert _run([y]) == [81.0]
    assert _run([y, g]) == [81.0, 108.0]
