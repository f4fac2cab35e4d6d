"""Gradients of conditionals that are built as functions.

The gradient of a branch is a function, too.  What it needs of the branch's values the forward node is changed to
give, each in an optional: only one branch runs.

Source: tensorflow/python/ops/cond_v2.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph.gradients import gradients_helper, is_trainable
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, optionals
from kvarn.ops.cond_v2 import (
    build_case,
    build_cond,
    check_same_outputs,
    make_intermediates_match,
    make_output_composites_match,
)
from kvarn.ops.control_flow_context import zeros_of_variable
from kvarn.ops.func_graph import (
    CondBranchFuncGraph,
    FuncGraph,
    copy_handle_data,
    create_new_tf_function,
    func_graph_from_py_func,
    function_graph,
    resource_input_index,
    unique_grad_fn_name,
)


def if_grad(op: Operation, *grads: Any) -> list[Any]:
    """The gradient of an If node: another one."""
    keys = ("then_branch", "else_branch")
    graphs = [_branch(op, op.attrs[key]) for key in keys]
    made = _grad_graphs(op, graphs, grads)
    if any(g.op_needs_rewrite for g in made):
        extra = _rewrite(op, graphs, made)
        op.attrs.update((key, create_new_tf_function(g)) for key, g in zip(keys, graphs, strict=True))
        _add_outputs(op, graphs[0], extra)
    inputs = [_resolve(graph, g, op) for graph, g in zip(graphs, made, strict=True)]
    make_output_composites_match(made, "cond")
    return [None, *build_cond(op.inputs[0], list(made), inputs, building_gradient=True)]


def case_grad(op: Operation, *grads: Any) -> list[Any]:
    """The gradient of a Case node: another one."""
    graphs = [_branch(op, branch) for branch in op.attrs["branches"]]
    made = _grad_graphs(op, graphs, grads)
    if any(g.op_needs_rewrite for g in made):
        extra = _rewrite(op, graphs, made)
        op.attrs["branches"] = [create_new_tf_function(g) for g in graphs]
        _add_outputs(op, graphs[0], extra)
    inputs = [_resolve(graph, g, op) for graph, g in zip(graphs, made, strict=True)]
    make_output_composites_match(made, "case")
    return [None, *build_case(op.inputs[0], list(made), inputs, name="gradient")]


def _branch(op: Operation, function: Any) -> FuncGraph:
    """A branch of the forward node as a graph, with the node's inputs as what it has taken in."""
    inputs = op.inputs[1:]
    with op.graph.as_default():
        graph = CondBranchFuncGraph(function.name)
    function_graph(graph, op.graph, function, inputs)
    graph.reset_captures(zip(inputs, graph.inputs, strict=True))
    return graph


def _grad_graphs(op: Operation, graphs: Sequence[FuncGraph], grads: Sequence[Any]) -> list[CondGradFuncGraph]:
    made = []
    for graph in graphs:
        grad_graph = CondGradFuncGraph(unique_grad_fn_name(graph.name), graph)
        func_graph_from_py_func(
            grad_graph, lambda graph=graph: _gradients(graph, grads), add_control_dependencies=True
        )
        made.append(grad_graph)
    return made


def _gradients(graph: FuncGraph, grads: Sequence[Any]) -> list[Any]:
    """The gradients for the arguments of a branch, zeros where there are none."""
    pairs = [(y, g) for y, g in zip(graph.outputs, grads, strict=True) if is_trainable(y)]
    found = gradients_helper(
        [y for y, _ in pairs], graph.inputs, grad_ys=[g for _, g in pairs], src_graph=graph
    )
    return [_zeros(x) if g is None else g for x, g in zip(graph.inputs, found, strict=True)]


def _zeros(x: Tensor) -> Any:
    return zeros_of_variable(x) if x.dtype is dtypes.resource else array.zeros_like(x)


def _rewrite(
    op: Operation, graphs: Sequence[FuncGraph], made: Sequence[CondGradFuncGraph]
) -> list[list[Tensor]]:
    """Lets the branches return what their gradients need, under other names."""
    extra = make_intermediates_match(graphs, [g.wrapped_intermediates for g in made])
    for graph, outputs in zip(graphs, extra, strict=True):
        graph.outputs.extend(outputs)
        graph.name += "_rewritten"
    check_same_outputs(graphs, "case" if op.type == "Case" else "cond")
    return extra


def _add_outputs(op: Operation, graph: FuncGraph, extra: Sequence[Sequence[Tensor]]) -> None:
    op.attrs["Tout"] = graph.output_types
    op.attrs["output_shapes"] = graph.output_shapes
    op._add_outputs([x.dtype for x in extra[0]], [x.static_shape for x in extra[0]])


def _resolve(graph: FuncGraph, grad_graph: FuncGraph, op: Operation) -> list[Tensor]:
    """What the gradient of a branch takes in, as tensors of the graph that the conditional is in."""
    found = []
    outer = dict(zip(graph.internal_captures, graph.external_captures, strict=True))
    results = dict(zip(reversed(graph.outputs), reversed(op.outputs[: len(graph.outputs)]), strict=True))
    for x in grad_graph.external_captures:
        if x.graph is graph:
            x = results[x] if x in results else outer[x]
        found.append(x)
    return found


class CondGradFuncGraph(CondBranchFuncGraph):
    """The gradient of a branch.

    What it takes from the branch comes in an optional, which the forward node is to give.

    Attributes:
      op_needs_rewrite: whether there is such a value that it does not give yet.
    """

    def __init__(self, name: str, forward_graph: FuncGraph) -> None:
        super().__init__(name)
        self.op_needs_rewrite = False
        self._forward_graph = forward_graph
        # By value of the branch: what stands for it here, and its optional there.
        self._indirect: dict[Tensor, Tensor] = {}
        self._wrapped: dict[Tensor, Tensor] = {}

    @property
    def wrapped_intermediates(self) -> list[Tensor]:
        """The optionals of the forward branch."""
        return list(self._wrapped.values())

    def _captured_as(self, tensor: Tensor, name: str) -> Tensor:
        forward = self._forward_graph
        if tensor.graph is not forward or tensor in forward.inputs or tensor in forward.outputs:
            return super()._captured_as(tensor, name)
        found = self._indirect.get(tensor)
        if found is not None:
            return found
        if tensor.dtype is dtypes.resource:
            found = super()._captured_as(forward.inputs[resource_input_index(tensor, forward)], name)
        else:
            optional = super()._captured_as(self._optional(tensor), name)
            found = optionals.optional_get_value(
                optional, output_types=[tensor.dtype.base_dtype], output_shapes=[tensor.shape]
            )[0]
            copy_handle_data(tensor, found)
        self._indirect[tensor] = found
        return found

    def _optional(self, tensor: Tensor) -> Tensor:
        """The optional that gives a value of the branch: one that was made for another gradient, or a new one."""
        found = self._wrapped.get(tensor)
        if found is None:
            given = set(self._forward_graph.outputs)
            for consumer in tensor.consumers():
                if consumer.type == "OptionalFromValue" and consumer.outputs[0] in given:
                    found = consumer.outputs[0]
                    break
            else:
                with self._forward_graph.as_default():
                    found = optionals.optional_from_value([tensor])
                self.op_needs_rewrite = True
            self._wrapped[tensor] = found
        return found
