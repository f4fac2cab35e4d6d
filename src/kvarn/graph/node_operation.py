"""Operations that a NodeDef describes: what the constructor of `kvarn.graph.operation.Operation` does.

Source: `Operation.__init__` and `_create_c_op` in tensorflow/python/framework/ops.py (1.15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvarn import dtypes, protos
from kvarn.graph import registry
from kvarn.graph.node_validation import node_attrs
from kvarn.graph.tensor import Tensor

if TYPE_CHECKING:
    from kvarn.graph.graph import Graph
    from kvarn.graph.operation import Operation


def add(
    operation: Operation,
    node_def: Any,
    graph: Graph,
    inputs: Any,
    control_inputs: Any,
    input_types: Any,
    original_op: Operation | None,
) -> None:
    """Makes a blank operation the one that a NodeDef describes; arguments and errors as of the constructor."""
    from kvarn.graph import graph as graph_lib

    if not isinstance(node_def, protos.NodeDef):
        raise TypeError(f"node_def needs to be a NodeDef: {node_def}")
    if not isinstance(graph, graph_lib.Graph):
        raise TypeError(f"g needs to be a Graph: {graph}")
    if not graph_lib._VALID_OP_NAME_REGEX.match(node_def.name):
        raise ValueError(f"'{node_def.name}' is not a valid node name")
    tensors = [] if inputs is None else inputs
    if not isinstance(tensors, list):
        raise TypeError(f"inputs needs to be a list of Tensors: {tensors}")
    for x in tensors:
        if not isinstance(x, Tensor):
            raise TypeError(f"input needs to be a Tensor: {x}")
    data = registry.look_up(node_def.op)
    attrs = node_attrs(_with_types(node_def, data, tensors), data.op_def, node_def.name)
    _check_types(node_def, tensors, input_types)
    with graph.control_dependencies(control_inputs or ()):
        graph.add_op(data, list(tensors), attrs, f"{node_def.name}/", operation=operation, stack_depth=4)
    if node_def.device:
        operation._set_device(node_def.device)
    if original_op is not None:
        operation._original_op = original_op


def _with_types(node_def: Any, data: registry.OpRegistrationData, inputs: list[Tensor]) -> Any:
    """The NodeDef with the type attributes that follow from the inputs."""
    copy = protos.NodeDef()
    copy.CopyFrom(node_def)
    for arg, x in zip(data.op_def.inputs, inputs, strict=False):
        if not arg.is_list and arg.type_attr and arg.type_attr not in copy.attr:
            copy.attr[arg.type_attr].type = x.dtype.base_dtype.as_datatype_enum
    return copy


def _check_types(node_def: Any, inputs: list[Tensor], input_types: Any) -> None:
    if input_types is None:
        return
    wanted = [dtypes.as_dtype(t) for t in input_types]
    fit = len(wanted) == len(inputs) and all(
        t.is_compatible_with(x.dtype) for t, x in zip(wanted, inputs, strict=True)
    )
    if not fit:
        raise TypeError(
            f"In op '{node_def.name}', input types ({[x.dtype for x in inputs]}) are not compatible with expected "
            f"types ({wanted})"
        )
