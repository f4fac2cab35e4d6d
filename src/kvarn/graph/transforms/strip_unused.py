"""One part of a graph, with placeholders where it begins.

Source: tensorflow/python/tools/strip_unused_lib.py (1.15).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from kvarn.graph.graph_util import extract_sub_graph
from kvarn.io import Path, as_path, atomic_replace, file_system_of


def strip_unused(
    input_graph_def: Any,
    input_node_names: Sequence[str],
    output_node_names: Sequence[str],
    placeholder_type_enum: int | list[int],
) -> Any:
    """The GraphDef of the nodes that outputs need, with placeholders for the inputs.

    Args:
      input_graph_def: a GraphDef message.
      input_node_names: nodes that are fed.
      output_node_names: nodes that are fetched.
      placeholder_type_enum: the type of the placeholders, as ``tf.float32.as_datatype_enum``, or a list with one for
        each of ``input_node_names``.

    Raises:
      ValueError: an input is a tensor instead of a node.
      KeyError: an input does not exist.
      AssertionError: an output does not exist.
    """
    for name in input_node_names:
        if ":" in name:
            raise ValueError(f"Name '{name}' appears to refer to a Tensor, not a Operation.")
    replaced = type(input_graph_def)()
    missing = set(input_node_names)
    for node in input_graph_def.node:
        if node.name not in input_node_names:
            replaced.node.add().CopyFrom(node)
            continue
        missing.discard(node.name)
        placeholder = replaced.node.add(name=node.name, op="Placeholder")
        types = placeholder_type_enum
        placeholder.attr["dtype"].type = (
            types[input_node_names.index(node.name)] if isinstance(types, list) else types
        )
        for key in ("_output_shapes", "shape"):
            if key in node.attr:
                placeholder.attr[key].CopyFrom(node.attr[key])
    if missing:
        raise KeyError(f"The following input nodes were not found: {missing}")
    return extract_sub_graph(replaced, output_node_names)


def strip_unused_from_files(
    input_graph: Path,
    input_binary: bool,
    output_graph: Path,
    output_binary: bool,
    input_node_names: str,
    output_node_names: str,
    placeholder_type_enum: int | list[int],
) -> int | None:
    """`strip_unused` from one file to another, with names separated by commas.

    As TensorFlow's, it prints what is wrong with the arguments and returns -1.

    Raises:
      KeyError, ValueError, AssertionError: as `strip_unused`.
      DecodeError, ParseError: the file holds no GraphDef of that form.
    """
    from kvarn import protos

    path, fs = as_path(input_graph), file_system_of(input_graph)
    if not fs.exists(path):
        print(f"Input graph file '{path}' does not exist!")
        return -1
    if not output_node_names:
        print("You need to supply the name of a node to --output_node_names.")
        return -1
    with contextlib.closing(fs.open_read(path)) as file:
        content = file.read(0, file.size)
    graph_def = protos.GraphDef()
    if input_binary:
        graph_def.ParseFromString(content)
    else:
        protos.from_text(content.decode("utf-8"), graph_def)
    stripped = strip_unused(
        graph_def, input_node_names.split(","), output_node_names.split(","), placeholder_type_enum
    )
    data = protos.serialize(stripped) if output_binary else protos.to_text(stripped).encode()
    atomic_replace(file_system_of(output_graph), as_path(output_graph), data)
    print(f"{len(stripped.node)} ops in the final graph.")
    return None
