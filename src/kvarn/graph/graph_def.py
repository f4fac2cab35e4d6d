"""Graphs as GraphDef messages.

Source: `Graph.as_graph_def` and `Operation.node_def` of tensorflow/python/framework/ops.py (1.15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kvarn.graph import attr_value, tensor_shape

if TYPE_CHECKING:
    from kvarn.graph.graph import Graph
    from kvarn.graph.operation import Operation

# What TensorFlow names in files; those of kvarn carry it, so that they look like TensorFlow's.
TENSORFLOW_VERSION: Final = "1.15.5"
TENSORFLOW_GIT_VERSION: Final = "v1.15.4-39-g3db52be"

OUTPUT_SHAPES: Final = "_output_shapes"

_MAX_BYTES: Final = 1 << 31


def node_def(op: Operation) -> Any:
    """The NodeDef of an operation."""
    from kvarn import protos

    return _fill(protos.NodeDef(), op)


def graph_to_graph_def(graph: Graph, from_version: int | None = None, add_shapes: bool = False) -> Any:
    """The GraphDef of a graph, operations in order of creation.

    Args:
      graph: the graph.
      from_version: leave out the operations that were there when `Graph.version` had this value.
      add_shapes: give every node with outputs an attribute ``_output_shapes``.

    Raises:
      ValueError: the GraphDef would be larger than 2 GB.
    """
    from kvarn import protos

    operations = [op for op in graph.get_operations() if from_version is None or op._id > from_version]
    # Before anything is copied, as far as it can be told.
    size = sum(_constant_size(op) for op in operations)
    if size >= _MAX_BYTES:
        raise ValueError("GraphDef cannot be larger than 2GB.")
    proto = protos.GraphDef()
    proto.versions.CopyFrom(graph.graph_def_versions)
    for op in operations:
        node = _fill(proto.node.add(), op)
        if add_shapes and op._outputs:
            add_output_shapes(node, op)
    copy_functions(graph, proto)
    if size and proto.ByteSize() >= _MAX_BYTES:
        raise ValueError("GraphDef cannot be larger than 2GB.")
    return proto


def add_output_shapes(node: Any, op: Operation) -> None:
    """Sets ``_output_shapes`` of a NodeDef."""
    shapes = node.attr[OUTPUT_SHAPES].list
    shapes.SetInParent()
    for output in op._outputs:
        _fill_shape(shapes.shape.add(), output._shape)


def copy_functions(graph: Graph, proto: Any) -> None:
    """Copies the graph's function library into a GraphDef."""
    for function in graph._functions.values():
        definition = getattr(function, "definition", function)
        proto.library.function.add().CopyFrom(definition)
        gradient = getattr(function, "gradient", "")
        if gradient:
            proto.library.gradient.add(function_name=definition.signature.name, gradient_func=gradient)


def _fill(node: Any, op: Operation) -> Any:
    node.name = op._name
    node.op = op.type
    node.input.extend([x._as_node_def_input() for x in op._inputs])
    if op._control_inputs:
        # By name, as TensorFlow writes them, whatever order they were given in.
        node.input.extend(sorted(["^" + c._name for c in op._control_inputs]))
    if op._device:
        node.device = op._device
    kinds = op.registration.op_def.attr_by_name
    attr = node.attr
    for name, value in op.attrs.items():
        definition = kinds.get(name)
        if definition is not None and definition.extension and value == definition.default:
            continue
        attr[name].CopyFrom(attr_value.to_attr_value(value, None if definition is None else definition.type))
    return node


def _fill_shape(target: Any, shape: tensor_shape.StaticShape) -> None:
    if shape is None:
        target.unknown_rank = True
    else:
        for size in shape:
            target.dim.add(size=-1 if size is None else size)


def _constant_size(op: Operation) -> int:
    """A lower bound of what an operation adds to the message."""
    if op.type != "Const":
        return 0
    value = op.attrs["value"]
    return value.array.nbytes if value.stored is None or value.stored < 0 else 0
