"""Calls of functions that were traced, and their gradients: two functions instead of one.

The function that is called then also returns what its gradient needs, so that nothing is computed twice: what is
random or has effects would come out differently.

Source: `_EagerDefinedFunction` and `ConcreteFunction` of tensorflow/python/eager/function.py, `partitioned_call` of
tensorflow/python/ops/functional_ops.py (1.15).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from kvarn import dtypes, protos
from kvarn.graph import functions, nest, registry
from kvarn.graph.gradients import gradients_helper, is_trainable
from kvarn.graph.graph import control_dependencies, get_default_graph
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops.func_graph import (
    FuncGraph,
    copy_handle_data,
    create_new_tf_function,
    func_graph_from_py_func,
    function_graph,
    is_stateful,
    pack_sequence_as,
    resource_input_index,
)

_numbers = itertools.count(1)


def inference_name(name: str) -> str:
    """A name for the function that stands for a Python function of this name."""
    return f"__inference_{re.sub(r'[^A-Za-z0-9_.]', '_', name)}_{next(_numbers)}"


def call_node(graph: FuncGraph, inputs: Sequence[Tensor]) -> Operation:
    """A node that calls a function.

    Args:
      graph: the function; its name is the name in the library.
      inputs: a tensor for each of its ``inputs``.
    """
    op_type = "StatefulPartitionedCall" if is_stateful(graph) else "PartitionedCall"
    attrs = {
        "Tin": [x.dtype.base_dtype for x in inputs],
        "Tout": graph.output_types,
        "f": create_new_tf_function(graph),
        "config": b"",
        "config_proto": _config_proto(),
        "executor_type": b"",
    }
    with control_dependencies(list(graph.control_captures)):
        # A node without results is called like this whatever its type.
        name = op_type if graph.outputs else "PartitionedFunctionCall"
        node = get_default_graph().add_op(registry.look_up(op_type), list(inputs), attrs, name)
    node.attrs["_gradient_op_type"] = f"PartitionedCall-{next(_numbers)}".encode()
    for inside, outside in zip(graph.outputs, node.outputs, strict=True):
        outside.set_shape(inside.static_shape)
        copy_handle_data(inside, outside)
    return node


def _config_proto() -> bytes:
    """Says that the function is not optimized on its own."""
    config = protos.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    serialized: bytes = config.SerializeToString()
    return serialized


def partitioned_call_grad(op: Operation, *grads: Any) -> list[Any]:
    """The gradient of a call: a call of another function.

    The function of a node that no traced function has made is differentiated where it runs (SymbolicGradient).

    Args:
      op: a PartitionedCall or StatefulPartitionedCall; it is changed to give what its gradient needs as further
        outputs.
      *grads: for each of its outputs, a tensor of its shape and dtype, or None.

    Returns:
      For each of its inputs a gradient (a tensor or IndexedSlices), or None.
    """
    if "_gradient_op_type" not in op.attrs:
        return list(functions.call_grad(op, *grads))
    forward = _forward(op)
    given = [(y, g) for y, g in zip(forward.outputs, grads, strict=True) if g is not None and is_trainable(y)]
    if not given:
        return [None] * len(op.inputs)
    name = _base_name(forward.name)
    backward = BackwardFuncGraph(f"__inference___backward_{name}_{next(_numbers)}_{next(_numbers)}", forward)
    func_graph_from_py_func(
        backward,
        lambda *grad_ys: gradients_helper(
            [y for y, _ in given], forward.inputs, grad_ys=list(grad_ys), src_graph=forward
        ),
        [(g.dtype, g.static_shape, None) for _, g in given],
        add_control_dependencies=True,
    )
    _return_intermediates(op, forward, backward, name)
    results = dict(zip(forward.outputs, op.outputs, strict=True))
    arguments = dict(zip(forward.inputs, op.inputs, strict=True))
    taken = [results.get(x, arguments.get(x, x)) for x in backward.external_captures]
    node = call_node(backward, [*(g for _, g in given), *taken])
    found: list[Any] = results_of(backward, node)
    return found


def _forward(op: Operation) -> FuncGraph:
    """The function that a node calls."""
    function = op.attrs["f"]
    with op.graph.as_default():
        graph = FuncGraph(function.name)
    return function_graph(graph, op.graph, function, op.inputs)


def _base_name(name: str) -> str:
    """What the Python function is called that a function was made of."""
    return re.sub(r"^__(inference|forward)_|_\d+$", "", name)


def _return_intermediates(op: Operation, forward: FuncGraph, backward: BackwardFuncGraph, name: str) -> None:
    """Lets the node call a function that also returns what the gradient takes of it."""
    known = {*forward.outputs, *(x for x in forward.inputs if x.dtype is dtypes.resource)}
    extra = [x for x in backward.external_captures if x.graph is forward and x not in known]
    if not extra:
        return
    forward.name = f"__forward_{name}_{next(_numbers)}"
    forward.outputs.extend(extra)
    forward.attrs["backward_function_name"] = backward.name
    backward.attrs["forward_function_name"] = forward.name
    op.attrs["f"] = create_new_tf_function(forward)
    op.attrs["Tout"] = forward.output_types
    op._add_outputs([x.dtype.base_dtype for x in extra], [x.static_shape for x in extra])
    for inside, outside in zip(forward.outputs, op.outputs, strict=True):
        copy_handle_data(inside, outside)


def results_of(graph: FuncGraph, node: Operation) -> Any:
    """The outputs of a node that calls ``graph``, in the form of what the Python function returned."""
    results = iter(node.outputs)
    leaves = nest.flatten(graph.structured_outputs, expand_composites=True)
    return pack_sequence_as(graph.structured_outputs, [None if x is None else next(results) for x in leaves])


class BackwardFuncGraph(FuncGraph):
    """The gradient of a function: takes what it needs of ``forward`` as arguments."""

    def __init__(self, name: str, forward: FuncGraph) -> None:
        super().__init__(name)
        self._forward_graph = forward

    def _captured_as(self, tensor: Tensor, name: str) -> Tensor:
        if tensor.graph is self._forward_graph and tensor.dtype is dtypes.resource:
            # A variable comes from outside: there is no need to return it.
            tensor = self._forward_graph.inputs[resource_input_index(tensor, self._forward_graph)]
        return super()._captured_as(tensor, name)
