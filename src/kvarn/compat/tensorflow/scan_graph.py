"""Which types of operations a graph in a file uses, and which of them kvarn can run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from kvarn.graph import registry
from kvarn.graph.flow import CONTROL_FLOW
from kvarn.graph.graph_io import read_message
from kvarn.graph.meta_graph import FUNCTION_OPS

UNKNOWN: Final = "kvarn does not know it: the graph cannot be imported"
NO_KERNEL: Final = "can be imported, but not run"

_NAME = re.compile(r"[A-Za-z0-9.>_][A-Za-z0-9_.>/\\-]*\Z")
_OP = re.compile(r"[A-Za-z_][A-Za-z0-9_>]*\Z")
# What a file may hold, the likeliest first, by the end of its name.
_KINDS: Final = {
    ".meta": ("MetaGraphDef",),
    "saved_model.pb": ("SavedModel",),
    "saved_model.pbtxt": ("SavedModel",),
    "": ("GraphDef", "MetaGraphDef", "SavedModel"),
}


@dataclass(frozen=True, slots=True)
class UsedOp:
    """One type of operation.

    Attributes:
      op: its name.
      covered: kvarn can run it.
      nodes: how many there are, those in functions included.
      first: the first node; one in a function as ``function/node``.
      why: of one that is not covered.
    """

    op: str
    covered: bool
    nodes: int
    first: str
    why: str = ""


def scan_graph(path: str) -> list[UsedOp]:
    """The types of operations in the graphs of a file and their functions, sorted; functions themselves are none.

    Args:
      path: a GraphDef, MetaGraphDef or SavedModel, binary or text; or the folder of a SavedModel.

    Raises:
      OSError: there is no such file, or it has no graph.
    """
    if os.path.isdir(path):
        inside = [os.path.join(path, name) for name in ("saved_model.pb", "saved_model.pbtxt")]
        path = next((name for name in inside if os.path.exists(name)), inside[0])
    found: dict[str, tuple[int, str]] = {}
    for graph_def in _graphs_of(path):
        functions = {function.signature.name for function in graph_def.library.function}
        for op, name in _nodes(graph_def):
            if op not in functions:
                count, first = found.get(op, (0, name))
                found[op] = (count + 1, first)
    return [_used(op, *found[op]) for op in sorted(found)]


def _used(op: str, nodes: int, first: str) -> UsedOp:
    data = registry.global_registry.find(op)
    why = ""
    if data is None:
        why = "" if op in FUNCTION_OPS else UNKNOWN
    elif data.kernel is None and op not in CONTROL_FLOW:
        why = NO_KERNEL
    return UsedOp(op, not why, nodes, first, why)


def _nodes(graph_def: Any) -> Iterator[tuple[str, str]]:
    for node in graph_def.node:
        yield node.op, node.name
    for function in graph_def.library.function:
        for node in function.node_def:
            yield node.op, f"{function.signature.name}/{node.name}"


def _graphs_of(path: str) -> list[Any]:
    """The GraphDefs in a file; OSError if it has none."""
    from kvarn import protos

    kinds = next(kinds for end, kinds in _KINDS.items() if path.endswith(end))
    reasons = []
    for kind in kinds:
        try:
            message = read_message(path, protos.message(f"tensorflow.{kind}")())
        except OSError as e:
            reasons.append(str(e))
            continue
        graphs = _graphs_in(message, kind)
        # The bytes of one message may be read as another.
        if all(
            _NAME.match(node.name) and _OP.match(node.op) for graph in graphs for node in graph.node
        ) and any(len(graph.node) for graph in graphs):
            return graphs
        reasons.append(f"File {path} has no nodes as a {kind}.")
    raise OSError(reasons[0] if len(kinds) == 1 or not os.path.exists(path) else f"File {path} has no graph.")


def _graphs_in(message: Any, kind: str) -> list[Any]:
    if kind == "GraphDef":
        return [message]
    if kind == "MetaGraphDef":
        return [message.graph_def]
    return [meta_graph.graph_def for meta_graph in message.meta_graphs]
