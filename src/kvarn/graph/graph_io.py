"""Graph messages in files.

Source: tensorflow/python/framework/graph_io.py (1.15).
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any

from kvarn.graph.graph import Graph
from kvarn.io import as_path, atomic_replace, file_system_of


def write_graph(
    graph_or_graph_def: Any, logdir: str | os.PathLike[str], name: str, as_text: bool = True
) -> str:
    """Writes a graph or a message of one to ``logdir/name``, whole or not at all.

    Args:
      graph_or_graph_def: a Graph, or a GraphDef, MetaGraphDef or other message.
      logdir: directory; made when it does not exist.
      name: file name.
      as_text: text format instead of binary.

    Returns:
      The path of the file.

    Raises:
      OpError: the file cannot be written.
    """
    from kvarn import protos

    graph_def = graph_or_graph_def
    if isinstance(graph_def, Graph):
        graph_def = graph_def.as_graph_def()
    directory = as_path(logdir)
    fs = file_system_of(logdir)
    if directory and not fs.exists(directory):
        fs.make_directories(directory)
    path = os.path.join(directory, name)
    data = protos.to_text(graph_def).encode() if as_text else protos.serialize(graph_def)
    atomic_replace(fs, path, data)
    return path


def read_message(path: str | os.PathLike[str], message: Any) -> Any:
    """Reads a binary or text file into ``message`` and returns it.

    Raises:
      OSError: the file does not exist, or is no such message.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError

    from kvarn import protos

    name, fs = as_path(path), file_system_of(path)
    if not fs.exists(name):
        raise OSError(f"File {name} does not exist.")
    with closing(fs.open_read(name)) as file:
        content = file.read(0, file.size)
    try:
        message.ParseFromString(content)
    except DecodeError:
        message.Clear()
    else:
        return message
    try:
        return protos.from_text(content.decode("utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as e:
        raise OSError(
            f"Cannot parse file {name}: it holds neither a binary nor a text "
            f"{message.DESCRIPTOR.full_name}: {e}."
        ) from None
