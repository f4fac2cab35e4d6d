"""Functions inlined into graphs: the numbers stay.  Which nodes there are is recorded beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn import protos
from kvarn.graph.transforms.inline_functions import inline_functions
from kvarn.graph.transforms.tf_optimizer import OptimizeGraph
from kvarn.variables.function import Defun


def nodes(graph_def: Any) -> list[tuple[str, str, list[str]]]:
    return [(node.name, node.op, list(node.input)) for node in graph_def.node]


def run(graph_def: Any, fetch: str, **feeds: Any) -> Any:
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(graph_def, name="")
        return sess.run(f"{fetch}:0", {f"{name}:0": value for name, value in feeds.items()})


def graph_of(build: Callable[[], Any]) -> Any:
    with tf.Graph().as_default() as graph:
        build()
        return graph.as_graph_def()


def two_outputs() -> None:
    @Defun(tf.float32, tf.float32, func_name="f")
    def f(x: Any, y: Any) -> Any:
        with tf.control_dependencies([tf.identity(y, name="cd")]):
            return x * y, x + y

    a = tf.placeholder(tf.float32, name="a")
    with tf.control_dependencies([tf.no_op(name="before")]):
        _, total = f(a, a)
    tf.identity(total, name="out")


def nested() -> None:
    @Defun(tf.float32)
    def inner(x: Any) -> Any:
        return tf.square(x, name="same") * 3.0

    @Defun(tf.float32)
    def outer(x: Any) -> Any:
        return inner(x) + inner(x - 1.0)

    tf.identity(outer(tf.placeholder(tf.float32, [], name="a")), name="out")


def in_a_branch() -> None:
    @Defun(tf.float32)
    def thrice(x: Any) -> Any:
        return x * 3.0

    a = tf.placeholder(tf.float32, [], name="a")
    tf.enable_control_flow_v2()
    try:
        chosen = tf.cond(a > 2.0, lambda: thrice(a) + 1.0, lambda: -a)
    finally:
        tf.disable_control_flow_v2()
    tf.identity(chosen + thrice(a), name="out")


@pytest.mark.parametrize("build", [two_outputs, nested, in_a_branch])
@pytest.mark.parametrize("value", [0.5, 4.0])
def test_the_numbers_stay(build: Callable[[], None], value: float) -> None:
    graph_def = graph_of(build)
    inlined = inline_functions(graph_def)
    called = {f.signature.name for f in graph_def.library.function}
    assert not called & {node.op for node in inlined.node}
    assert run(inlined, "out", a=value) == run(graph_def, "out", a=value)


def test_what_branches_call_stays_in_the_library() -> None:
    inlined = inline_functions(graph_of(in_a_branch))
    assert len(inlined.library.function) == 3
    assert not inline_functions(graph_of(nested)).library.function


def test_noinline_stays_a_call() -> None:
    def build() -> None:
        @Defun(tf.float32, noinline=True, func_name="f")
        def f(x: Any) -> Any:
            return x * 3.0

        tf.identity(f(tf.placeholder(tf.float32, [], name="a")), name="out")

    inlined = inline_functions(graph_of(build))
    assert ("f", "f", ["a"]) in nodes(inlined)
    assert [f.signature.name for f in inlined.library.function] == ["f"]
    assert run(inlined, "out", a=2.0) == 6.0


def test_effects_run_before_what_waits_for_the_call() -> None:
    def build() -> None:
        handle = tf.get_variable("v", initializer=1.0, use_resource=True)

        @Defun(tf.resource, func_name="f")
        def f(v: Any) -> Any:
            tf.raw_ops.AssignAddVariableOp(resource=v, value=tf.constant(2.0))
            return tf.constant(0.0)

        done = f(handle.handle)
        with tf.control_dependencies([done.op]):
            tf.identity(handle.read_value(), name="out")

    graph_def = graph_of(build)
    inlined = inline_functions(graph_def)
    for given in (graph_def, inlined):
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.import_graph_def(given, name="")
            sess.run("v/Assign")
            assert sess.run("out:0") == 3.0


def test_frozen_with_functions() -> None:
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        v = tf.Variable([1.0, 2.0], name="v")

        @Defun(tf.float32)
        def plus_one(x: Any) -> Any:
            return x + 1.0

        tf.multiply(plus_one(v), 2.0, name="out")
        sess.run(tf.global_variables_initializer())
        config = tf.ConfigProto()
        config.graph_options.rewrite_options.optimizers.append("function")
        meta = tf.train.export_meta_graph(graph=graph)
        meta.collection_def["train_op"].node_list.value.append("out")
        inlined = OptimizeGraph(config, meta)
        frozen = tf.graph_util.convert_variables_to_constants(sess, inlined, ["out"])
    assert not {"VariableV2", "Assign"} & {node.op for node in frozen.node}
    np.testing.assert_array_equal(run(frozen, "out"), [4.0, 6.0])


def test_other_optimizers_change_nothing() -> None:
    meta = protos.MetaGraphDef(graph_def=graph_of(nested))
    meta.collection_def["train_op"].node_list.value.append("out")
    config = tf.ConfigProto()
    assert OptimizeGraph(config, meta) == meta.graph_def  # of less than four nodes
    config.graph_options.rewrite_options.min_graph_nodes = -1
    assert not OptimizeGraph(config, meta).library.function
    config.graph_options.rewrite_options.function_optimization = 2  # OFF
    assert OptimizeGraph(config, meta) == meta.graph_def
    config.graph_options.rewrite_options.optimizers.append("layout")
    assert OptimizeGraph(config, meta) == meta.graph_def
