"""TensorInfo messages, which say which tensor of a graph is meant, and the paths in a SavedModel.

Source: tensorflow/python/saved_model/utils_impl.py (1.15).
"""

from __future__ import annotations

import os
from typing import Any

from kvarn import dtypes, errors
from kvarn.graph.graph import Graph, get_default_graph
from kvarn.graph.proto_functions import prepend_name_scope
from kvarn.graph.tensor import IndexedSlices, SparseTensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.io import Path, as_path, file_system_of
from kvarn.saved_model import constants


def build_tensor_info(tensor: Any) -> Any:
    """The TensorInfo of a tensor.

    Args:
      tensor: a Tensor, a variable or a SparseTensor; of the last, the names of its three tensors are noted.

    Raises:
      UnimplementedError: ``tensor`` is an IndexedSlices: there is no message for it here.
    """
    from kvarn import protos

    if isinstance(tensor, IndexedSlices):
        raise errors.UnimplementedError.of(
            f"a signature cannot have the IndexedSlices '{tensor.name}' for an input or output",
            name=tensor.name,
            hint="Give its values and its indices, or tf.convert_to_tensor of it.",
        )
    info = protos.TensorInfo(
        dtype=dtypes.as_dtype(tensor.dtype).as_datatype_enum, tensor_shape=tensor.get_shape().as_proto()
    )
    if isinstance(tensor, SparseTensor):
        info.coo_sparse.values_tensor_name = tensor.values.name
        info.coo_sparse.indices_tensor_name = tensor.indices.name
        info.coo_sparse.dense_shape_tensor_name = tensor.dense_shape.name
    else:
        info.name = tensor.name
    return info


def build_tensor_info_from_op(op: Any) -> Any:
    """A TensorInfo with the name of an operation, which has neither type nor shape."""
    from kvarn import protos

    return protos.TensorInfo(dtype=protos.DT_INVALID, tensor_shape=TensorShape(None).as_proto(), name=op.name)


def get_tensor_from_tensor_info(
    tensor_info: Any, graph: Graph | None = None, import_scope: str | None = None
) -> Any:
    """The Tensor or SparseTensor that a TensorInfo means.

    Args:
      tensor_info: a TensorInfo message.
      graph: where it is; the default graph when None.
      import_scope: the name scope that its graph was imported into.

    Raises:
      KeyError: the graph has no such tensor.
      ValueError: the message names none.
      UnimplementedError: it is a composite tensor other than a SparseTensor.
    """
    graph = graph or get_default_graph()

    def find(name: str) -> Any:
        return graph.get_tensor_by_name(prepend_name_scope(name, import_scope))

    encoding = tensor_info.WhichOneof("encoding")
    if encoding == "name":
        return find(tensor_info.name)
    if encoding == "coo_sparse":
        parts = tensor_info.coo_sparse
        return SparseTensor(
            find(parts.indices_tensor_name),
            find(parts.values_tensor_name),
            find(parts.dense_shape_tensor_name),
        )
    if encoding == "composite_tensor":
        names = [component.name for component in tensor_info.composite_tensor.components]
        raise errors.UnimplementedError.of(
            f"kvarn has no composite tensors; the components are {names}",
            hint="Take the components by graph.get_tensor_by_name.",
        )
    raise ValueError(f"Invalid TensorInfo.encoding: {encoding}")


def get_element_from_tensor_info(
    tensor_info: Any, graph: Graph | None = None, import_scope: str | None = None
) -> Any:
    """The Operation or Tensor whose name a TensorInfo has.

    Raises:
      KeyError: the graph has no such element.
    """
    graph = graph or get_default_graph()
    return graph.as_graph_element(prepend_name_scope(tensor_info.name, import_scope))


def get_variables_dir(export_dir: Path) -> str:
    """The folder of the checkpoint."""
    return os.path.join(as_path(export_dir), constants.VARIABLES_DIRECTORY)


def get_variables_path(export_dir: Path) -> str:
    """The prefix of the checkpoint."""
    return os.path.join(get_variables_dir(export_dir), constants.VARIABLES_FILENAME)


def get_or_create_variables_dir(export_dir: Path) -> str:
    """The folder of the checkpoint, which exists afterwards."""
    return _existing(get_variables_dir(export_dir))


def get_assets_dir(export_dir: Path) -> str:
    """The folder of the assets."""
    return os.path.join(as_path(export_dir), constants.ASSETS_DIRECTORY)


def get_or_create_assets_dir(export_dir: Path) -> str:
    """The folder of the assets, which exists afterwards."""
    return _existing(get_assets_dir(export_dir))


def _existing(directory: str) -> str:
    file_system_of(directory).make_directories(directory)
    return directory
