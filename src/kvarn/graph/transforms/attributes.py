"""Transforms that change names, devices, ops and attributes of nodes, one by one.

Source: the file of tensorflow/tools/graph_transforms that has the name of the function (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn import errors
from kvarn.graph import registry
from kvarn.graph.transforms.node_defs import copy_of, graph_def_of, input_parts
from kvarn.graph.transforms.parameters import Context

_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def remove_attribute(graph_def: Any, context: Context) -> Any:
    """The graph without the attribute ``attribute_name``, on nodes of op ``op_name`` or on all.

    Raises:
      InvalidArgumentError: a parameter is missing, or there several times.
    """
    (attribute,) = _one_each(
        context, ("attribute_name",), "remove_attribute", "op_name=Mul, attribute_name=foo"
    )
    ops = context.values("op_name")
    if len(ops) > 1:
        raise errors.InvalidArgumentError.of(
            f"remove_attribute expects a single op_name argument, but found {len(ops)}"
        )
    result = _copies(graph_def)
    for node in _of_op(result, ops):
        node.attr.pop(attribute, None)
    return result


def rename_attribute(graph_def: Any, context: Context) -> Any:
    """The graph with ``new_attribute_name`` for ``old_attribute_name``, on nodes of op ``op_name`` or on all.

    Raises:
      InvalidArgumentError: a parameter is missing, or there several times.
    """
    old, new = _one_each(
        context,
        ("old_attribute_name", "new_attribute_name"),
        "rename_attribute",
        "old_attribute_name=foo, new_attribute_name=bar",
    )
    result = _copies(graph_def)
    for node in _of_op(result, context.values("op_name")):
        if old in node.attr:
            value = type(node.attr[old])()
            value.CopyFrom(node.attr[old])
            del node.attr[old]
            if new not in node.attr:
                node.attr[new].CopyFrom(value)
    return result


def rename_op(graph_def: Any, context: Context) -> Any:
    """The graph with the op ``new_op_name`` for ``old_op_name``.

    Raises:
      InvalidArgumentError: a parameter is missing, or there several times.
    """
    old, new = _one_each(
        context, ("old_op_name", "new_op_name"), "rename_op", "old_op_name=Mul, new_op_name=Multiply", "and"
    )
    result = _copies(graph_def)
    for node in _of_op(result, [old]):
        node.op = new
    return result


def remove_device(graph_def: Any, context: Context) -> Any:
    """The graph without devices."""
    result = _copies(graph_def)
    for node in result.node:
        node.device = ""
    return result


def set_device(graph_def: Any, context: Context) -> Any:
    """The graph with all nodes on ``device``; with ``if_default`` only those that have none.

    Raises:
      InvalidArgumentError: a parameter is there several times, or not true or false.
    """
    device = context.text("device", "")
    if_default = context.flag("if_default", False)
    result = _copies(graph_def)
    for node in result.node:
        if not (if_default and node.device):
            node.device = device
    return result


def add_default_attributes(graph_def: Any, context: Context) -> Any:
    """The graph with all attributes that its nodes lack, at their defaults.

    Raises:
      NotFoundError: an op is not registered.
    """
    result = type(graph_def)()
    result.CopyFrom(graph_def)
    functions = {function.signature.name: function.signature for function in graph_def.library.function}
    known: dict[str, Any] = {}
    for node in result.node:
        if node.op not in known:
            known[node.op] = functions.get(node.op) or registry.look_up(node.op).op_def.to_proto()
        for attr in known[node.op].attr:
            if attr.HasField("default_value") and attr.name not in node.attr:
                node.attr[attr.name].CopyFrom(attr.default_value)
    return result


def obfuscate_names(graph_def: Any, context: Context) -> Any:
    """The graph with short names for all nodes but the inputs and outputs.

    Raises:
      InvalidArgumentError: an input of a node does not exist.
    """
    required = {*context.inputs, *context.outputs}
    fresh = (name for name in _short_names() if name not in required)
    names = {node.name: node.name if node.name in required else next(fresh) for node in graph_def.node}
    nodes = []
    for node in graph_def.node:
        inputs = []
        for text in node.input:
            mark, name, index = input_parts(text)
            if name not in names:
                raise errors.InvalidArgumentError.of(f"No node named {name} for input to {node.name}")
            inputs.append(mark + names[name] + index)
        nodes.append(copy_of(node, name=names[node.name], input=inputs))
    return graph_def_of(nodes)


def _short_names() -> Iterator[str]:
    number = 0
    while True:
        rest, name = number, ""
        while rest or not name:
            rest, digit = divmod(rest, len(_CHARACTERS))
            name = _CHARACTERS[digit] + name
        yield name
        number += 1


def _copies(graph_def: Any) -> Any:
    return graph_def_of(graph_def.node)


def _of_op(graph_def: Any, ops: list[str]) -> Iterator[Any]:
    wanted = ops[0] if ops else "*"
    return (node for node in graph_def.node if wanted in ("*", node.op))


def _one_each(
    context: Context, names: tuple[str, ...], transform: str, example: str, joined: str = "and one"
) -> list[str]:
    if any(len(context.values(name)) != 1 for name in names):
        listed = f" {joined} ".join(f"'{name}'" for name in names)
        raise errors.InvalidArgumentError.of(
            f"{transform} expects exactly one {listed} argument, e.g. {transform}({example})"
        )
    return [context.values(name)[0] for name in names]
