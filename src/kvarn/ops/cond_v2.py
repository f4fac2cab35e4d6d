"""Conditionals as functions: If and Case nodes whose branches are functions of the graph's library.

Source: tensorflow/python/ops/cond_v2.py (1.15).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph import nest, tensor_shape
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.shape_inference import Shape
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array, casting, functional, optionals
from kvarn.ops.control_flow_v2_toggles import all_intermediates_wanted
from kvarn.ops.func_graph import (
    CondBranchFuncGraph,
    FuncGraph,
    create_new_tf_function,
    func_graph_from_py_func,
    is_stateful,
    pack_sequence_as,
    set_lowering_attr,
    unique_fn_name,
)


def cond_v2(
    pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any], name: str | None = "cond"
) -> Any:
    """`tf.cond` as an If node.

    Raises:
      TypeError: ``pred`` is a Python bool, or the functions return nests of different forms or types.
      ValueError: a function uses a tensor of the other one.
    """
    if isinstance(pred, bool):
        raise TypeError("pred must not be a Python bool", pred)
    with name_scope(name or "cond") as scope:
        names = unique_fn_name(scope, "true"), unique_fn_name(scope, "false")
        pred = convert_to_tensor(pred)
        if pred.static_shape != ():
            pred = array.squeeze(pred)
        graphs = _branches(names, (true_fn, false_fn), pred, "cond")
        return build_cond(pred, graphs, [g.external_captures for g in graphs], name=scope)


def indexed_case(
    branch_index: Any, branch_fns: Sequence[Callable[[], Any]], name: str = "indexed_case"
) -> Any:
    """What the function of number ``branch_index`` returns, as a Case node; the last one stands for other numbers.

    Raises:
      TypeError: ``branch_index`` is a Python int, or the functions return nests of different forms or types.
    """
    if isinstance(branch_index, int):
        raise TypeError("branch_index must not be a Python int", branch_index)
    with name_scope(name) as scope:
        names = [unique_fn_name(scope, f"branch{b}") for b in range(len(branch_fns))]
        branch_index = convert_to_tensor(branch_index, name="branch_index")
        graphs = _branches(names, branch_fns, branch_index, "case")
        return build_case(branch_index, graphs, [g.external_captures for g in graphs], name=scope)


def _branches(
    names: Sequence[str], fns: Sequence[Callable[[], Any]], chooser: Tensor, kind: str
) -> list[FuncGraph]:
    graphs: list[FuncGraph] = []
    for name, fn in zip(names, fns, strict=True):
        graph: FuncGraph = CondBranchFuncGraph(name)
        func_graph_from_py_func(graph, fn, op_return_value=chooser)
        graphs.append(graph)
    shown = ["true_fn", "false_fn"] if kind == "cond" else [f"branch {i}" for i in range(len(graphs))]
    numbers = {id(g): i for i, g in enumerate(graphs)}
    for i, graph in enumerate(graphs):
        for x in graph.external_captures:
            if id(x.graph) in numbers:
                raise ValueError(
                    f"Tensor {x.name} in {shown[numbers[id(x.graph)]]} is accessed from {shown[i]}."
                )
    return graphs


def build_cond(
    pred: Tensor,
    graphs: list[FuncGraph],
    inputs: Sequence[Sequence[Tensor]],
    name: str | None = None,
    building_gradient: bool = False,
) -> Any:
    """An If node of two branches; makes their arguments the same.

    Args:
      inputs: what each branch takes.

    Returns:
      What the branches return, in their form.
    """
    _make_indices_types_match(graphs, "cond")
    check_same_outputs(graphs, "cond")
    taken = _make_inputs_match(graphs, inputs)
    count = len(graphs[0].outputs)
    if not building_gradient and all_intermediates_wanted():
        wrapped = [_wrapped(g, _intermediates(g)) for g in graphs]
        for graph, extra in zip(graphs, make_intermediates_match(graphs, wrapped), strict=True):
            graph.outputs.extend(extra)
    make = functional.if_ if any(map(is_stateful, graphs)) else functional.stateless_if
    with control_dependencies([op for g in graphs for op in g.control_captures]):
        tensors = make(
            pred,
            taken,
            Tout=graphs[0].output_types,
            then_branch=create_new_tf_function(graphs[0]),
            else_branch=create_new_tf_function(graphs[1]),
            output_shapes=output_shapes(graphs),
            name=name,
        )
    return _results(tensors, graphs[0], count)


def build_case(
    branch_index: Tensor,
    graphs: list[FuncGraph],
    inputs: Sequence[Sequence[Tensor]],
    name: str | None = None,
) -> Any:
    """A Case node; see `build_cond`."""
    _make_indices_types_match(graphs, "case")
    check_same_outputs(graphs, "case")
    taken = _make_inputs_match(graphs, inputs)
    with control_dependencies([op for g in graphs for op in g.control_captures]):
        tensors = functional.case(
            branch_index,
            taken,
            Tout=graphs[0].output_types,
            branches=[create_new_tf_function(g) for g in graphs],
            output_shapes=output_shapes(graphs),
            name=name,
        )
    return _results(tensors, graphs[0], len(graphs[0].outputs))


def _results(tensors: Any, graph: FuncGraph, count: int) -> Any:
    """Identities of what the node gives, in the form of ``graph``; only they can be fetched."""
    node: Operation = tensors if isinstance(tensors, Operation) else tensors[0].op
    set_lowering_attr(node)
    found = [array.identity(x) for x in node.outputs]
    node.graph.prevent_fetching(node)
    return pack_sequence_as(graph.structured_outputs, found[:count])


def output_shapes(graphs: Sequence[FuncGraph]) -> list[Shape]:
    """What is known of the shapes of the results, whichever branch they come from."""
    found = []
    for outputs in zip(*(g.outputs for g in graphs), strict=True):
        shape = outputs[0].shape
        for other in outputs[1:]:
            shape = shape.most_specific_compatible_shape(other.shape)
        found.append(tensor_shape.to_tuple(shape))
    return found


# -- making branches fit one another ----------------------------------------------------------------


def _make_inputs_match(graphs: Sequence[FuncGraph], inputs: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Gives all branches the same arguments, and returns what these are."""
    together = list(dict.fromkeys(x for taken in inputs for x in taken))
    for graph, taken in zip(graphs, inputs, strict=True):
        arguments = dict(zip(taken, graph.inputs, strict=True))
        with graph.as_default():
            graph.inputs = [
                arguments[x]
                if x in arguments
                else array.placeholder(x.dtype.base_dtype, shape=x.shape, name="Placeholder")
                for x in together
            ]
        graph.reset_captures(zip(together, graph.inputs, strict=True))
    return together


def make_output_composites_match(graphs: Sequence[FuncGraph], kind: str) -> None:
    """Where one branch gives IndexedSlices, a tensor that another gives becomes IndexedSlices, too.

    Raises:
      TypeError: what another gives is no tensor.
    """
    from kvarn.ops.control_flow_values import as_indexed_slices

    results = [list(g.structured_outputs) for g in graphs]
    for i, outputs in enumerate(zip(*results, strict=True)):
        sparse = [isinstance(x, IndexedSlices) for x in outputs]
        if all(sparse) or not any(sparse):
            continue
        for graph, result, x in zip(graphs, results, outputs, strict=True):
            if isinstance(x, Tensor):
                with graph.as_default():
                    result[i] = as_indexed_slices(x)
            elif not isinstance(x, IndexedSlices):
                raise TypeError(
                    f"Cannot reconcile tf.{_FUNCTION[kind]} {i}-th outputs:\n  outputs from all branches: {outputs}"
                )
    for graph, result in zip(graphs, results, strict=True):
        graph.structured_outputs = result
        graph.outputs = nest.flatten(result, expand_composites=True)


_FUNCTION = {"cond": "cond", "case": "switch_case"}


def _make_indices_types_match(graphs: Sequence[FuncGraph], kind: str) -> None:
    """Makes the indices of IndexedSlices int64 where the branches differ.

    Raises:
      TypeError: only some branches give IndexedSlices, or their indices are no integers.
    """
    flat = [nest.flatten(g.structured_outputs) for g in graphs]
    if len({len(outputs) for outputs in flat}) != 1:
        return  # which is told by who compares the outputs
    positions, position = [], 0
    for i, outputs in enumerate(zip(*flat, strict=True)):
        if len({isinstance(x, IndexedSlices) for x in outputs}) != 1:
            raise TypeError(
                f"Cannot reconcile tf.{_FUNCTION[kind]} {i}-th outputs:\n  branches returned: {outputs}"
            )
        if isinstance(outputs[0], IndexedSlices):
            positions.append(position + 1)
        position += len(nest.flatten(outputs[0], expand_composites=True))
    if not positions:
        return
    for p in positions:
        types = [g.outputs[p].dtype.base_dtype for g in graphs]
        if any(t not in (dtypes.int32, dtypes.int64) for t in types):
            raise TypeError(f"Type of IndexedSlices.indices must be int32 or int64. Found: {types}")
        if len(set(types)) == 1:
            continue
        for graph in graphs:
            if graph.outputs[p].dtype is dtypes.int32:
                with graph.as_default():
                    graph.outputs[p] = casting.cast(graph.outputs[p], dtypes.int64)
    for graph in graphs:
        graph.structured_outputs = pack_sequence_as(graph.structured_outputs, graph.outputs)


def check_same_outputs(graphs: Sequence[FuncGraph], kind: str) -> None:
    """Raises TypeError if the branches return nests of different forms or types."""
    first = graphs[0]
    for i, other in enumerate(graphs[1:], 1):
        problem = ""
        try:
            nest.assert_same_structure(
                first.structured_outputs, other.structured_outputs, expand_composites=True
            )
        except (ValueError, TypeError) as e:
            problem = str(e)
        else:
            for x, y in zip(first.outputs, other.outputs, strict=True):
                if x.dtype is not y.dtype:
                    problem = f"{x} and {y} have different types"
        if problem:
            here, there = ("true_fn", "false_fn") if kind == "cond" else ("branches[0]", f"branches[{i}]")
            raise TypeError(
                f"{here} and {there} arguments to tf.{_FUNCTION[kind]} must have the same number, type, and overall "
                f"structure of return values.\n\n{here} output: {first.structured_outputs}\n{there} output: "
                f"{other.structured_outputs}\n\nError details:\n{problem}"
            )


# -- values that gradients need -----------------------------------------------------------------------


def _intermediates(graph: FuncGraph) -> list[Tensor]:
    """All that gradients of ``graph`` might need and it does not return."""
    kept = {*graph.inputs, *graph.outputs}
    outputs = itertools.chain.from_iterable(op.outputs for op in graph.get_operations())
    return [x for x in outputs if x not in kept and x.dtype is not dtypes.resource]


def _wrapped(graph: FuncGraph, tensors: Sequence[Tensor]) -> list[Tensor]:
    with graph.as_default():
        return [optionals.optional_from_value([x]) for x in tensors]


def make_intermediates_match(
    graphs: Sequence[FuncGraph], wrapped: Sequence[Sequence[Tensor]]
) -> list[list[Tensor]]:
    """As many optionals for each branch: empty ones for those that have fewer."""
    count = max(map(len, wrapped))
    found: list[list[Tensor]] = []
    for graph, own in zip(graphs, wrapped, strict=True):
        with graph.as_default():
            found.append([*own, *(optionals.optional_none() for _ in range(count - len(own)))])
    return found
