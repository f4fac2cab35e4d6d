"""``.meta`` files: one MetaGraphDef, binary, or in text form.

Source: tensorflow/python/framework/meta_graph.py (`read_meta_graph_file`, `export_scoped_meta_graph`).
"""

from __future__ import annotations

import re
from typing import Any

from kvarn.io import FileSystem, Path, as_path, atomic_replace, file_system_of

_SHARD_SUFFIX = re.compile(r"-[\d\?]+-of-\d+$")


def meta_graph_filename(checkpoint_filename: Path, meta_graph_suffix: str = "meta") -> str:
    """The name of the meta graph beside a checkpoint; shards of one checkpoint share it."""
    return f"{_SHARD_SUFFIX.sub('', as_path(checkpoint_filename))}.{meta_graph_suffix}"


def read_meta_graph_file(filename: Path, fs: FileSystem | None = None) -> Any:
    """The MetaGraphDef in a file, binary or text.

    Raises:
      OSError: the file does not exist, or holds neither form; as TensorFlow says it.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError

    from kvarn import protos

    path = as_path(filename)
    files = fs or file_system_of(path)
    if not files.exists(path):
        raise OSError(f"File {path} does not exist.")
    file = files.open_read(path)
    try:
        content = file.read(0, file.size)
    finally:
        file.close()
    try:
        return protos.MetaGraphDef.FromString(content)
    except DecodeError:
        pass  # then it is text
    try:
        return protos.from_text(content.decode("utf-8"), protos.MetaGraphDef())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise OSError(f"Cannot parse file {path}: {error}.") from error


def write_meta_graph_file(
    filename: Path, meta_graph: Any, *, as_text: bool = False, fs: FileSystem | None = None
) -> None:
    """Replaces a file by a MetaGraphDef at once; a failure leaves the old one."""
    from kvarn import protos

    content = protos.to_text(meta_graph).encode() if as_text else protos.serialize(meta_graph)
    atomic_replace(fs or file_system_of(filename), as_path(filename), content)
