"""Transforms that leave nodes out, or put them into another order.

Source: tensorflow/tools/graph_transforms/strip_unused_nodes.cc, remove_nodes.cc, remove_control_dependencies.cc and
sort_by_execution_order.cc (1.15).
"""

from __future__ import annotations

import re
from typing import Any

from kvarn import dtypes, errors
from kvarn.graph.transforms.matching import (
    Match,
    Pattern,
    replace_matching,
    sorted_by_execution,
    with_renamed_inputs,
)
from kvarn.graph.transforms.node_defs import copy_of, graph_def_of, node_name
from kvarn.graph.transforms.parameters import Context


def strip_unused_nodes(graph_def: Any, context: Context) -> Any:
    """What the outputs need, with placeholders for the inputs.

    Parameters: ``type`` and ``shape`` of the placeholders, ``float`` and a scalar by default; for single ones
    ``name`` with ``type_for_name`` and ``shape_for_name``.

    Raises:
      InvalidArgumentError: an output does not exist, or a parameter is no type, no shape, or lacks its partner.
    """
    nodes = {node.name: node for node in graph_def.node}
    inputs = {node_name(text) for text in context.inputs}
    required = context.required_nodes()
    waiting = [node_name(text) for text in context.outputs]
    visited: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in visited:
            continue
        visited.add(name)
        if name in inputs:
            continue
        if name not in nodes:
            raise errors.InvalidArgumentError.of(f"Input node {name} not found in graph", name=name)
        waiting.extend(node_name(text) for text in nodes[name].input)
    required |= visited
    kept = [node for node in graph_def.node if node.name in required]
    return graph_def_of(
        _placeholder(node, context) if node.name in inputs and node.op != "Placeholder" else node
        for node in kept
    )


def _placeholder(node: Any, context: Context) -> Any:
    placeholder = type(node)(name=node.name, op="Placeholder")
    placeholder.attr["dtype"].type = _type(_parameter(node.name, "type", "float", context, "quint8"))
    shape = placeholder.attr["shape"].shape
    shape.SetInParent()
    text = _parameter(node.name, "shape", None, context, '"1"')
    if text is not None:
        for size in _sizes(text):
            shape.dim.add(size=size)
    return placeholder


def _parameter(node: str, kind: str, default: Any, context: Context, example: str) -> Any:
    """The ``type`` or ``shape`` of the placeholder for a node."""
    general, names, single = (context.values(key) for key in (kind, "name", f"{kind}_for_name"))
    if len(general) > 1:
        raise errors.InvalidArgumentError.of(
            f"You must pass no more than one default '{kind}' to strip_unused_nodes"
        )
    if (names or single) and len(names) != len(single):
        first = "float" if kind == "type" else '"2,2,1"'
        end = "" if kind == "type" else ")"
        raise errors.InvalidArgumentError.of(
            f"You must pass a '{kind}_for_name' arg for every 'name', e.g. strip_unused_nodes(name=foo, "
            f"{kind}_for_name={first}, name=bar, {kind}_for_name={example}{end}"
        )
    found = general[0] if general else default
    for name, value in zip(names, single, strict=True):
        if name == node:
            found = value
    return found


def _type(text: str) -> int:
    try:
        return dtypes.as_dtype(text).as_datatype_enum
    except TypeError:
        raise errors.InvalidArgumentError.of(f"Couldn't understand type argument '{text}'") from None


def _sizes(text: str) -> list[int]:
    if not text:
        raise errors.InvalidArgumentError.of("Specificed shape is empty.")
    sizes = text.split(",")
    if not all(re.fullmatch(r"\s*-?\d+\s*", size) for size in sizes):
        raise errors.InvalidArgumentError.of(f"Could parse as shape: '{text}'")
    return [int(size) for size in sizes]


def remove_nodes(graph_def: Any, context: Context) -> Any:
    """The graph without nodes of some ops; what used them uses their first inputs.

    Nodes that are inputs or outputs stay.  Parameters: ``op``, any number of them; ``max_inputs``, up to how many
    inputs a node may have to go, 1 by default.

    Raises:
      InvalidArgumentError: there is no ``op``, or ``max_inputs`` is no number.
    """
    ops = context.values("op")
    if not ops:
        raise errors.InvalidArgumentError.of(
            "remove_nodes expects at least one 'op'argument, e.g. remove_nodes(op=Identity)"
        )
    max_inputs = context.integer("max_inputs", 1)
    required = context.required_nodes()
    nodes = list(graph_def.node)
    for op in ops:
        for count in range(1, max_inputs + 1):
            nodes = _without(nodes, Pattern(op, (Pattern("*"),) * count), required)
    return graph_def_of(nodes)


def _without(nodes: list[Any], pattern: Pattern, required: set[str]) -> list[Any]:
    while True:
        renamed: dict[str, str] = {}

        def bypass(match: Match, needed: set[str], renamed: dict[str, str] = renamed) -> list[Any]:
            node = match.node
            if node.name in required:
                return match.nodes()
            source = match.inputs[0].node
            renamed[node.name] = next(
                (t for t in node.input if t == source.name or t.startswith(f"{source.name}:")), source.name
            )
            renamed[f"^{node.name}"] = f"^{source.name}"
            return [source]

        replaced = replace_matching(nodes, pattern, bypass, allow_inconsistencies=True)
        nodes = with_renamed_inputs(replaced, renamed)
        if not renamed:
            return nodes


def remove_control_dependencies(graph_def: Any, context: Context) -> Any:
    """The graph without control inputs."""
    return graph_def_of(
        copy_of(node, input=[text for text in node.input if not text.startswith("^")])
        for node in graph_def.node
    )


def sort_by_execution_order(graph_def: Any, context: Context) -> Any:
    """The graph with each node after its inputs.

    Raises:
      InvalidArgumentError: an input does not exist, or nodes wait for each other.
    """
    return graph_def_of(sorted_by_execution(graph_def.node))
