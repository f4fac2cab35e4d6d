"""Loops as functions: While nodes whose condition and body are functions of the graph's library.

Source: tensorflow/python/ops/while_v2.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph import nest, tensor_shape
from kvarn.graph.convert import constant, convert_to_tensor, convert_to_tensor_or_indexed_slices
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import array, functional, list_ops, math
from kvarn.ops.control_flow_v2_toggles import all_intermediates_wanted
from kvarn.ops.func_graph import (
    FuncGraph,
    WhileBodyFuncGraph,
    WhileCondFuncGraph,
    copy_handle_data,
    create_new_tf_function,
    flatten,
    func_graph_from_py_func,
    pack_sequence_as,
    set_lowering_attr,
    unique_fn_name,
)
from kvarn.ops.tensor_array import flow_of
from kvarn.ops.while_context import _at_least_as_specific, invariants_of

# The first variables of every loop are its counter and its limit.
_OWN = 2


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    shape_invariants: Any = None,
    parallel_iterations: int = 10,
    maximum_iterations: Any = None,
    name: str | None = None,
    return_same_structure: bool = True,
    back_prop: bool = True,
) -> Any:
    """`tf.while_loop` as a While node.

    Raises:
      ValueError: ``body`` returns another nest, or a shape does not stay.
      TypeError: a variable does not keep its type.
    """
    structure = loop_vars
    count = len(structure)
    variables = nest.map_structure(
        lambda x: convert_to_tensor_or_indexed_slices(flow_of(x)), list(structure), expand_composites=True
    )
    if shape_invariants is None:
        invariants = nest.map_structure(invariants_of, variables)
    else:
        nest.assert_same_structure(structure, shape_invariants)
        invariants = nest.map_structure(invariants_of, variables, list(shape_invariants))
    shapes = [tensor_shape.as_shape(s) for s in nest.flatten(invariants)]
    with name_scope(name or "while") as scope:
        names = unique_fn_name(scope, "cond"), unique_fn_name(scope, "body")
        limit = convert_to_tensor(
            -1 if maximum_iterations is None else maximum_iterations,
            dtype=dtypes.int32,
            name="maximum_iterations",
        )
        counter = constant(0, dtype=None if maximum_iterations is None else limit.dtype, name="loop_counter")
        flat = [counter, limit, *nest.flatten(variables, expand_composites=True)]
        arguments: list[tuple[Any, Any, str | None]] = [(x.dtype, x.shape, x.op.name) for x in flat[:_OWN]]
        arguments += [(x.dtype, s, None) for x, s in zip(flat[_OWN:], shapes, strict=True)]
        form = [counter, limit, *structure]

        def wrapped_cond(i: Tensor, i_max: Tensor, *args: Any) -> Any:
            pred = cond(*_like(structure, args))
            if isinstance(pred, Tensor) and pred.static_shape != ():
                pred = array.squeeze(pred)
            return pred if maximum_iterations is None else math.logical_and(i < i_max, pred)

        cond_graph = WhileCondFuncGraph(names[0])
        func_graph_from_py_func(cond_graph, wrapped_cond, arguments, form)

        def wrapped_body(i: Tensor, i_max: Tensor, *args: Any) -> Any:
            for x in cond_graph.external_captures:
                # In the same order as there.
                body_graph.capture(x)
            outputs = body(*_like(structure, args))
            if not nest.is_nested_or_composite(outputs):
                outputs = [outputs]
            nest.assert_same_structure(list(outputs), list(structure), expand_composites=True)
            return [i + 1, i_max, *outputs]

        body_graph = WhileBodyFuncGraph(names[1])
        func_graph_from_py_func(body_graph, wrapped_body, arguments, form)
        _share_captures(cond_graph, body_graph)
        end = _OWN + len(shapes)
        _check_shapes(body_graph.outputs[_OWN:end], shapes, flat[_OWN:end])
        flat += body_graph.external_captures
        original = len(body_graph.outputs)
        if back_prop and all_intermediates_wanted():
            for x in _intermediates(body_graph):
                flat.append(_accumulate(x, cond_graph, body_graph, maximum_iterations))
        _check_types(body_graph, flat)
        outputs = _build(
            flat,
            cond_graph,
            body_graph,
            output_shapes=[
                *[x.static_shape for x in body_graph.outputs[:_OWN]],
                *[tensor_shape.to_tuple(s) for s in shapes],
                *[x.static_shape for x in body_graph.outputs[end:]],
            ],
            parallel_iterations=parallel_iterations,
            name=scope,
        )
        outputs[0].op.attrs["_num_original_outputs"] = original
        found = [array.identity(x) for x in outputs]
    result = _like(structure, found[_OWN:end])
    if return_same_structure or count != 1:
        return result
    leaves = nest.flatten(result, expand_composites=True)
    return leaves[0] if len(leaves) == 1 else result


def _like(structure: Any, values: Any) -> Any:
    return pack_sequence_as(structure, flatten(values))


def _build(
    flat: Sequence[Tensor], cond_graph: FuncGraph, body_graph: FuncGraph, **kwargs: Any
) -> list[Tensor]:
    """The outputs of a While node."""
    with control_dependencies([*cond_graph.control_captures, *body_graph.control_captures]):
        outputs: list[Tensor] = functional.while_(
            flat, cond=create_new_tf_function(cond_graph), body=create_new_tf_function(body_graph), **kwargs
        )
    for inside, outside in zip(body_graph.outputs, outputs, strict=True):
        copy_handle_data(inside, outside)
    set_lowering_attr(outputs[0].op)
    return outputs


def _share_captures(cond_graph: FuncGraph, body_graph: FuncGraph) -> None:
    """What one function takes in the other takes, too, and it goes round the loop as it is."""
    body_graph.outputs.extend(body_graph.internal_captures)
    with cond_graph.as_default():
        for x in body_graph.external_captures:
            cond_graph.capture(x)


def _check_shapes(outputs: Sequence[Tensor], shapes: Sequence[TensorShape], inputs: Sequence[Tensor]) -> None:
    for y, shape, x in zip(outputs, shapes, inputs, strict=True):
        if not _at_least_as_specific(y.shape, shape):
            raise ValueError(
                f"Input tensor '{x.name}' enters the loop with shape {shape}, but has shape {y.shape} after one "
                "iteration. To allow the shape to vary across iterations, use the `shape_invariants` argument of "
                "tf.while_loop to specify a less-specific shape."
            )


def _check_types(body_graph: FuncGraph, flat: Sequence[Tensor]) -> None:
    for x, y, variable in zip(body_graph.inputs, body_graph.outputs, flat, strict=True):
        if x.dtype is not y.dtype:
            raise TypeError(
                f"Loop var {variable.name} enters the loop with type {x.dtype!r} but has type {y.dtype!r} after 1 "
                "iteration."
            )


def _intermediates(graph: FuncGraph) -> list[Tensor]:
    """All values of a round that gradients might need."""
    taken = set(graph.internal_captures)
    return [
        x
        for op in graph.get_operations()
        if op.type != "Identity"
        for x in op.outputs
        if x is not graph.inputs[0]
        and x.dtype is not dtypes.resource
        and x not in taken
        and accumulator_of(x, graph) is None
    ]


def _accumulate(x: Tensor, cond_graph: FuncGraph, body_graph: FuncGraph, limit: Any) -> Tensor:
    """Lets the body keep the values of ``x`` of all rounds, in the list that is returned."""
    empty: Tensor = list_ops.empty_tensor_list(
        element_dtype=x.dtype, element_shape=x.shape, max_num_elements=limit
    )
    with cond_graph.as_default():
        cond_graph.capture(empty)
    with body_graph.as_default():
        body_graph.outputs.append(list_ops.tensor_list_push_back(empty, x))
    return empty


def accumulator_of(x: Tensor, graph: FuncGraph) -> Tensor | None:
    """The output of a body that is the list of all values of ``x``, if there is one."""
    for consumer in x.consumers():
        if consumer.type != "TensorListPushBack" or consumer.inputs[0] not in graph.inputs:
            continue
        pushed = consumer.outputs[0]
        candidates = [pushed, *(c.outputs[0] for c in pushed.consumers()[:1] if c.type == "Identity")]
        for output in candidates:
            if output in graph.outputs:
                if graph.outputs.index(output) == graph.inputs.index(consumer.inputs[0]):
                    return output
                break
    return None
