"""The part of a graph that a run is about, and what it cost: ``partition_graphs`` and ``cost_graph`` of RunMetadata.

As TensorFlow's runtime has it before it optimizes: pruned to what the fetches need, with a node ``_Arg`` for each
feed and ``_Retval`` for each fetch.

Source: tensorflow/core/graph/{subgraph,costmodel}.cc, tensorflow/core/framework/cost_graph.proto (1.15).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kvarn import protos
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor

CPU_0: Final = "/job:localhost/replica:0/task:0/device:CPU:0"


def partition_graph(fetches: Sequence[Tensor], targets: Sequence[Operation], feeds: Sequence[Tensor]) -> Any:
    """The GraphDef of what runs for ``fetches`` and ``targets`` when ``feeds`` are given."""
    graph = protos.GraphDef()
    arguments = {t: _argument(i, t) for i, t in enumerate(feeds)}
    for op in _pruned(fetches, targets, arguments):
        node = graph.node.add()
        node.CopyFrom(op.node_def)
        node.device = node.device or CPU_0
        node.ClearField("input")
        node.input.extend(arguments.get(x) or _name(x) for x in op.inputs)
        node.input.extend(f"^{c.name}" for c in op.control_inputs)
    for i, t in enumerate(feeds):
        _add_end(graph, arguments[t], "_Arg", t, i)
    for i, t in enumerate(fetches):
        node = _add_end(graph, f"_retval_{t.op.name}_{t.value_index}_{i}", "_Retval", t, i)
        node.input.append(arguments.get(t) or _name(t))
    if graph.node:
        graph.versions.CopyFrom((fetches[0].graph if fetches else targets[0].graph).graph_def_versions)
    return graph


def cost_graph(
    fetches: Sequence[Tensor],
    targets: Sequence[Operation],
    feeds: Sequence[Tensor],
    stats: Mapping[Operation, Any],
) -> Any:
    """The CostGraphDef of a run.

    Args:
      stats: the NodeExecStats of what ran; what did not costs nothing.
    """
    by_name = {op.name: s for op, s in stats.items()}
    nodes = partition_graph(fetches, targets, feeds).node
    costs = protos.CostGraphDef()
    costs.node.add(name="_SOURCE", id=0)
    costs.node.add(name="_SINK", id=1, control_input=[0])
    number = {node.name: i + 2 for i, node in enumerate(nodes)}
    for node in nodes:
        cost = costs.node.add(name=node.name, device=node.device, id=number[node.name])
        for text in node.input:
            if text.startswith("^"):
                cost.control_input.append(number[text[1:]])
            else:
                name, _, port = text.partition(":")
                cost.input_info.add(preceding_node=number[name], preceding_port=int(port or 0))
        if not node.input:
            cost.control_input.append(0)
        if node.name in by_name:
            cost.compute_cost = by_name[node.name].op_end_rel_micros
            for output in by_name[node.name].output:
                given = output.tensor_description
                cost.output_info.add(
                    size=given.allocation_description.requested_bytes,
                    alias_input_port=-1,
                    shape=given.shape,
                    dtype=given.dtype,
                )
    return costs


def _pruned(
    fetches: Sequence[Tensor], targets: Sequence[Operation], fed: Mapping[Tensor, str]
) -> list[Operation]:
    """What leads to ``fetches`` and ``targets``, not beyond what is fed, in order of creation."""
    found: set[Operation] = set()
    stack = [*(t.op for t in fetches if t not in fed), *targets]
    while stack:
        op = stack.pop()
        if op not in found:
            found.add(op)
            stack.extend(x.op for x in op.inputs if x not in fed)
            stack.extend(op.control_inputs)
    return sorted(found, key=lambda op: op._id)


def _argument(index: int, fed: Tensor) -> str:
    return f"_arg_{fed.op.name}_{fed.value_index}_{index}"


def _name(tensor: Tensor) -> str:
    return tensor.op.name if tensor.value_index == 0 else tensor.name


def _add_end(graph: Any, name: str, kind: str, tensor: Tensor, index: int) -> Any:
    """Adds the node of a feed or a fetch."""
    node = graph.node.add(name=name, op=kind, device=CPU_0)
    node.attr["T"].type = tensor.dtype.base_dtype.as_datatype_enum
    node.attr["index"].i = index
    return node
