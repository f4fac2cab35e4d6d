"""Parts of graphs, and graphs without variables.

Source: tensorflow/python/framework/graph_util_impl.py (1.15).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph import tensor_util

_PASS_THROUGH = frozenset(("Switch", "Enter", "Exit", "Identity", "Merge", "NextIteration"))
_VARIABLES = frozenset(("Variable", "VariableV2", "VarHandleOp"))


def extract_sub_graph(graph_def: Any, dest_nodes: Sequence[str]) -> Any:
    """The GraphDef of the nodes that ``dest_nodes`` need, in their old order.

    Args:
      graph_def: a GraphDef message.
      dest_nodes: names of nodes.

    Raises:
      TypeError: ``graph_def`` is no GraphDef, or ``dest_nodes`` is one name instead of a list.
      AssertionError: a name is not in the graph.
    """
    _check_graph_def(graph_def)
    if isinstance(dest_nodes, str):
        raise TypeError("dest_nodes must be a list.")
    nodes = {node.name: node for node in graph_def.node}
    for name in dest_nodes:
        if name not in nodes:
            raise AssertionError(f"{name} is not in graph")
    keep: set[str] = set()
    waiting = deque(dest_nodes)
    while waiting:
        name = waiting.popleft()
        if name in keep or name not in nodes:
            continue
        keep.add(name)
        node = nodes[name]
        waiting.extend(_node_name(i) for i in node.input)
        # A node that another one wants to be with has to stay, too.
        if "_class" in node.attr:
            groups = [g.decode() for g in node.attr["_class"].list.s]
            waiting.extend(g[5:] for g in groups if g.startswith("loc:@"))
    result = type(graph_def)()
    for node in graph_def.node:
        if node.name in keep:
            result.node.add().CopyFrom(node)
    result.library.CopyFrom(graph_def.library)
    result.versions.CopyFrom(graph_def.versions)
    return result


def remove_training_nodes(input_graph: Any, protected_nodes: Collection[str] | None = None) -> Any:
    """The GraphDef without CheckNumerics and plain Identity nodes, which only training needs.

    Args:
      input_graph: a GraphDef message.
      protected_nodes: names of nodes that must stay.
    """
    protected = protected_nodes or ()
    # CheckNumerics goes, and with it every edge from it, exactly as TensorFlow does it.
    removed = {n.name for n in input_graph.node if n.op == "CheckNumerics" and n.name not in protected}
    remaining = []
    for node in input_graph.node:
        if node.name not in removed:
            inputs = [i for i in node.input if i.removeprefix("^") not in removed]
            remaining.append(_with_inputs(node, inputs))
    controlled: set[str] = set()
    controlling: set[str] = set()
    for node in remaining:
        for text in node.input:
            if "^" in text:
                controlling.add(text.replace("^", ""))
                controlled.add(node.name)
    # An Identity that takes part in control edges may be there for their sake.
    spliced = {
        node.name: node.input[0]
        for node in remaining
        if node.op == "Identity"
        and node.name not in protected
        and node.name not in controlled
        and node.name not in controlling
    }
    result = type(input_graph)()
    for node in remaining:
        if node.name in spliced:
            continue
        inputs = []
        for text in node.input:
            while text.removeprefix("^") in spliced:
                text = spliced[text.removeprefix("^")]
            inputs.append(text)
        result.node.add().CopyFrom(_with_inputs(node, inputs))
    return result


def tensor_shape_from_node_def_name(graph: Any, input_name: str) -> Any:
    """The TensorShape of a tensor of ``graph``; the name may lack ``:0``."""
    return graph.get_tensor_by_name(input_name if ":" in input_name else f"{input_name}:0").get_shape()


def must_run_on_cpu(node: Any, pin_variables_on_cpu: bool = False) -> bool:
    """Whether TensorFlow would refuse to place ``node``, an Operation or NodeDef, on a GPU."""
    node_def = getattr(node, "node_def", node)
    if pin_variables_on_cpu and node_def.op in _CPU_VARIABLES:
        return True
    strings_and_ints = (dtypes.string.as_datatype_enum, dtypes.int32.as_datatype_enum)
    if node_def.op == "Const":
        return node_def.attr["dtype"].type in strings_and_ints
    if node_def.op in ("DynamicStitch", "ParallelDynamicStitch"):
        return bool(node_def.attr["T"].type == dtypes.int32.as_datatype_enum)
    if node_def.op == "Cast":
        return bool(node_def.attr["SrcT"].type == dtypes.int32.as_datatype_enum)
    return False


_CPU_VARIABLES = frozenset((
    "Assign", "AssignAdd", "AssignSub", "Queue", "ScatterAdd", "ScatterSub", "ScatterUpdate",
    "TruncatedNormal", "Variable", "VariableV2",
))  # fmt: skip


def convert_variables_to_constants(
    sess: Any,
    input_graph_def: Any,
    output_node_names: Sequence[str],
    variable_names_whitelist: Collection[str] | None = None,
    variable_names_blacklist: Collection[str] | None = None,
) -> Any:
    """The GraphDef that ``output_node_names`` need, with the variables' values in place of the variables.

    Args:
      sess: a Session in which the variables have values.
      input_graph_def: the GraphDef message of its graph.
      output_node_names: names of nodes.
      variable_names_whitelist: convert only these.
      variable_names_blacklist: leave these as they are.

    Raises:
      ValueError: a read of a resource does not lead to a variable, or gathers with batch dimensions.
      AssertionError: an output name is not in the graph.
    """
    graph_def = extract_sub_graph(input_graph_def, output_node_names)
    nodes = {node.name: node for node in graph_def.node}
    fetches: dict[str, str] = {}
    # Nodes between a variable's handle and its reads carry the value's type from now on.
    handle_types: dict[str, Any] = {}
    for node in graph_def.node:
        if node.op in _VARIABLES:
            if variable_names_whitelist is not None and node.name not in variable_names_whitelist:
                continue
            if variable_names_blacklist is not None and node.name in variable_names_blacklist:
                continue
            suffix = "/Read/ReadVariableOp:0" if node.op == "VarHandleOp" else ":0"
            fetches[node.name] = node.name + suffix
        elif node.op in ("ReadVariableOp", "ResourceGather"):
            _follow_handle(node, nodes, handle_types)
    values = sess.run(list(fetches.values())) if fetches else []
    data = dict(zip(fetches, values, strict=True))
    result = type(graph_def)()
    for node in graph_def.node:
        if node.name in data:
            value = np.asarray(data[node.name])
            _constant(result.node.add(), node.name, node.attr["dtype"], value, value.shape)
        elif node.name in handle_types:
            output = result.node.add()
            output.CopyFrom(node)
            output.attr.pop("_output_shapes", None)
            output.device = ""
            output.attr["T"].CopyFrom(handle_types[node.name])
        elif node.op == "ReadVariableOp":
            output = result.node.add(name=node.name, op="Identity", input=[node.input[0]])
            output.attr["T"].CopyFrom(node.attr["dtype"])
            if "_class" in node.attr:
                output.attr["_class"].CopyFrom(node.attr["_class"])
        elif node.op == "ResourceGather":
            _gather(result, node)
        else:
            result.node.add().CopyFrom(node)
    result.library.CopyFrom(graph_def.library)
    return result


def _follow_handle(node: Any, nodes: dict[str, Any], types: dict[str, Any]) -> None:
    """Notes the value type of all nodes between ``node`` and the variable that it reads."""
    waiting = [_node_name(node.input[0])]
    while waiting:
        name = waiting.pop()
        source = nodes[name]
        if source.op in _PASS_THROUGH:
            if name not in types:
                types[name] = node.attr["dtype"]
                waiting.extend(_node_name(i) for i in source.input[: 2 if source.op == "Merge" else 1])
        elif source.op != "VarHandleOp":
            raise ValueError("Cannot find the variable that is an input to the ReadVariableOp.")


def _gather(result: Any, node: Any) -> None:
    if node.attr["batch_dims"].i != 0:
        raise ValueError("batch_dims != 0 is not supported by freeze_graph.")
    axis = f"{node.name}/axis"
    _constant(result.node.add(), axis, node.attr["Tindices"], 0)
    output = result.node.add(name=node.name, op="GatherV2", input=[*node.input[:2], axis])
    output.attr["Tparams"].CopyFrom(node.attr["dtype"])
    output.attr["Tindices"].CopyFrom(node.attr["Tindices"])
    output.attr["Taxis"].CopyFrom(node.attr["Tindices"])
    if "_class" in node.attr:
        output.attr["_class"].CopyFrom(node.attr["_class"])


def _constant(node: Any, name: str, dtype: Any, value: Any, shape: Any = None) -> None:
    node.name = name
    node.op = "Const"
    node.attr["dtype"].CopyFrom(dtype)
    node.attr["value"].tensor.CopyFrom(tensor_util.make_tensor_proto(value, dtype.type, shape))


def _with_inputs(node: Any, inputs: list[str]) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    del copy.input[:]
    copy.input.extend(inputs)
    return copy


def _node_name(text: str) -> str:
    return text[1:] if text.startswith("^") else text.partition(":")[0]


def _check_graph_def(graph_def: Any) -> None:
    descriptor = getattr(graph_def, "DESCRIPTOR", None)
    if getattr(descriptor, "full_name", None) != "tensorflow.GraphDef":
        raise TypeError("graph_def must be a graph_pb2.GraphDef proto.")
