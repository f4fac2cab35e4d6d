"""Graphs as FunctionDef messages.

Source: tensorflow/c/c_api_function.cc, tensorflow/python/framework/graph_to_function_def.py (1.15).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from kvarn import protos
from kvarn.graph import graph_def
from kvarn.graph.operation import Operation, arg_length
from kvarn.graph.tensor import Tensor


def graph_to_function_def(
    graph: Any,
    name: str | None,
    out_names: Sequence[str] | None = None,
    control_outputs: Iterable[Operation] = (),
) -> Any:
    """The FunctionDef of a body.

    Args:
      graph: the body; a graph with a ``name``, the placeholders ``inputs`` and the tensors ``outputs``.
      name: of the function; without one, that of the body and a hash of what it holds.
      out_names: of the results; by default those of the nodes that make them.
      control_outputs: what runs although no result needs it.

    Raises:
      ValueError: another number of ``out_names`` than of results, or repeated ones.
    """
    if out_names is not None:
        if len(out_names) != len(graph.outputs):
            raise ValueError(
                f"output names must be either empty or equal in size to outputs. output names size = "
                f"{len(out_names)} outputs size = {len(graph.outputs)}"
            )
        if len(set(out_names)) != len(out_names):
            raise ValueError(f"Must not have duplicates in out_names: {', '.join(out_names)}")
    definition = protos.FunctionDef()
    # Results, arguments and nodes have names of one space, given in this order.
    taken: set[str] = set(out_names or ())
    results = out_names or [_unique(_normalized(x.op.name), taken) for x in graph.outputs]
    sources: dict[Tensor, str] = {}
    for x in graph.inputs:
        sources[x] = _unique(_normalized(x.op.name), taken)
        definition.signature.input_arg.add(name=sources[x], type=x.dtype.as_datatype_enum)
    arguments = {x.op for x in graph.inputs}
    names = {op: _unique(op.name, taken) for op in graph.get_operations() if op not in arguments}
    for op, unique in names.items():
        sources.update(zip(op.outputs, _references(op, unique), strict=True))
    for op, unique in names.items():
        node = graph_def.node_def(op)
        node.name = unique
        del node.input[:]
        node.input.extend(sources[x] for x in op.inputs)
        node.input.extend(f"^{names[c]}" for c in op.control_inputs if c not in arguments)
        definition.node_def.add().CopyFrom(node)
        definition.signature.is_stateful |= op.definition.is_stateful
    for result, x in zip(results, graph.outputs, strict=True):
        definition.signature.output_arg.add(name=result, type=x.dtype.as_datatype_enum)
        definition.ret[result] = sources[x]
    for op in control_outputs:
        definition.signature.control_output.append(op.name)
        definition.control_ret[op.name] = names[op]
    definition.signature.name = name or f"{graph.name}_{_hash(definition)}"
    return definition


def _normalized(name: str) -> str:
    """``name`` as arguments of ops may be called: lower case, from its first letter on."""
    plain = re.sub(r"[^a-z0-9]", "_", name.lower())
    return re.sub(r"^[^a-z]+", "", plain) or "unknown"


def _unique(name: str, taken: set[str]) -> str:
    """``name`` or, if ``taken`` has that, with a number; ``taken`` has it then."""
    unique, count = name, 0
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    taken.add(unique)
    return unique


def _references(op: Operation, name: str) -> list[str]:
    """How the outputs of a node of this name are referred to inside of a function."""
    return [
        f"{name}:{arg.name}:{i}" for arg in op.definition.outputs for i in range(arg_length(arg, op.attrs))
    ]


def _hash(definition: Any) -> str:
    """Eleven letters and digits that tell functions of one name apart; not those that TensorFlow would give."""
    digest = hashlib.sha1(definition.SerializeToString(deterministic=True)).digest()
    return base64.b64encode(digest[:8], b"aA").decode()[:11]
