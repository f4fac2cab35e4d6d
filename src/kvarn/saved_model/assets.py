"""Assets: files that a graph reads, named by constants of it, which move with a SavedModel.

Source: tensorflow/python/saved_model/builder_impl.py and loader_impl.py (1.15).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from kvarn import dtypes, tf_logging
from kvarn.graph.graph import add_to_collection
from kvarn.graph.tensor import Tensor
from kvarn.io import AtomicFile, Path, ReadFile, as_path, file_system_of
from kvarn.saved_model import constants, utils

_PIECE_BYTES = 8 << 20


def name_assets(asset_tensors: Iterable[Any] | None, add: Callable[[str, Any], None]) -> dict[str, str]:
    """Finds a name in the SavedModel for the file of each tensor.

    Args:
      asset_tensors: constant string Tensors with one path each.
      add: is called with the name and the tensor.

    Returns:
      The files' paths by their names.

    Raises:
      TypeError: it is no such tensor.
      ValueError: the path is empty.
      NotFoundError: two files have the same name, and one does not exist.
    """
    paths: dict[str, str] = {}
    if asset_tensors is None:
        tf_logging.info("No assets to save.")
        return paths
    for tensor in asset_tensors:
        path = _path_of(tensor)
        if not path:
            raise ValueError(f"Invalid asset filepath tensor {tensor}")
        name = _name_for(path, paths)
        add(name, tensor)
        paths[name] = path
    tf_logging.info("Assets added to graph.")
    return paths


def copy_assets_to_destination_dir(asset_filename_map: dict[str, str], destination_dir: Path) -> None:
    """Copies files into the ``assets`` folder; one of that name that is there already stays as it is.

    Args:
      asset_filename_map: the files' paths by their names there.
      destination_dir: the folder of the SavedModel.
    """
    directory = utils.get_or_create_assets_dir(destination_dir)
    for name, path in asset_filename_map.items():
        target = os.path.join(directory, name)
        if not file_system_of(target).exists(target):
            _copy(path, target)
    tf_logging.info("Assets written to: %s", directory)


def asset_file_def(name: str, tensor: Tensor) -> Any:
    """The AssetFileDef message of one file."""
    from kvarn import protos

    message = protos.AssetFileDef(filename=name)
    message.tensor_info.name = tensor.name
    return message


def add_asset_to_collection(name: str, tensor: Tensor) -> None:
    """Notes a file in the collection of the default graph, where TensorFlow 1.x has it."""
    from kvarn import protos

    packed = protos.message("google.protobuf.Any")()
    packed.Pack(asset_file_def(name, tensor))
    add_to_collection(constants.ASSETS_KEY, packed)


def get_asset_tensors(
    export_dir: Path, meta_graph_def_to_load: Any, import_scope: str | None = None
) -> dict[str, str]:
    """The paths of the assets of a meta graph by the names of their tensors.

    Args:
      export_dir: the folder of the SavedModel.
      meta_graph_def_to_load: a MetaGraphDef of it.
      import_scope: the name scope that it was imported into.
    """
    from kvarn import protos

    messages = list(meta_graph_def_to_load.asset_file_def)
    if not messages and constants.ASSETS_KEY in meta_graph_def_to_load.collection_def:
        for packed in meta_graph_def_to_load.collection_def[constants.ASSETS_KEY].any_list.value:
            message = protos.AssetFileDef()
            packed.Unpack(message)
            messages.append(message)
    directory = utils.get_assets_dir(export_dir)
    scope = f"{import_scope}/" if import_scope else ""
    return {scope + m.tensor_info.name: os.path.join(directory, m.filename) for m in messages}


def _path_of(tensor: Any) -> str:
    if not isinstance(tensor, Tensor):
        raise TypeError("Asset path tensor must be a Tensor.")
    if tensor.op.type != "Const":
        raise TypeError("Asset path tensor must be of type constant.")
    if tensor.dtype != dtypes.string:
        raise TypeError("Asset path tensor must be of dtype string.")
    values = tensor.op.get_attr("value").string_val
    if len(values) != 1:
        raise TypeError("Asset path tensor must be a scalar.")
    return as_path(values[0])


def _name_for(path: str, paths: dict[str, str]) -> str:
    name = os.path.basename(path)
    other = paths.get(name)
    if other is None or other == path or _equal(path, other):
        return name
    unique, i = name, 1
    while unique in paths:
        unique = f"{name}_{i}"
        i += 1
    return unique


def _pieces(file: ReadFile) -> Iterable[bytes]:
    for offset in range(0, file.size, _PIECE_BYTES):
        yield file.read(offset, _PIECE_BYTES)


def _equal(path: str, other: str) -> bool:
    a = file_system_of(path).open_read(path)
    try:
        b = file_system_of(other).open_read(other)
        try:
            return a.size == b.size and all(x == y for x, y in zip(_pieces(a), _pieces(b), strict=True))
        finally:
            b.close()
    finally:
        a.close()


def _copy(path: str, target: str) -> None:
    source = file_system_of(path).open_read(path)
    try:
        with AtomicFile(file_system_of(target), target) as file:
            for piece in _pieces(source):
                file.append(piece)
    finally:
        source.close()
