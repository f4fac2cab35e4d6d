"""NodeDef messages and the names in their inputs.

Source: tensorflow/tools/graph_transforms/transform_utils.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph import tensor_util


def input_parts(text: str) -> tuple[str, str, str]:
    """("^" or "", name, ":1" or "") of an entry of ``NodeDef.input``."""
    name, colon, index = text.partition(":")
    mark = "^" if name.startswith("^") else ""
    return mark, name[len(mark) :], colon + index


def node_name(text: str) -> str:
    """The node that an input comes from."""
    return input_parts(text)[1]


def canonical(text: str) -> str:
    """An input with the index of its output, 0 when it has none."""
    mark, name, index = input_parts(text)
    return mark + name + (index or ":0")


def copy_of(node: Any, **changes: Any) -> Any:
    """A copy of a NodeDef, with other values of ``name``, ``op`` or ``input``."""
    copy = type(node)()
    copy.CopyFrom(node)
    if "input" in changes:
        del copy.input[:]
        copy.input.extend(changes.pop("input"))
    for field, value in changes.items():
        setattr(copy, field, value)
    return copy


def constant(name: str, value: Any, dtype: Any, packed: bool = False) -> Any:
    """The NodeDef of a Const.

    Args:
      name: of the node.
      value: an array or what makes one.
      dtype: its DType.
      packed: write single numbers as bytes, too, as the C++ tools of TensorFlow do.
    """
    from kvarn import protos

    node = protos.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = dtypes.as_dtype(dtype).as_datatype_enum
    array = np.asarray(value)
    tensor = node.attr["value"].tensor
    tensor.CopyFrom(tensor_util.make_tensor_proto(array, dtype, array.shape))
    if packed and not tensor.tensor_content:
        tensor.Clear()
        tensor.dtype = node.attr["dtype"].type
        tensor.tensor_shape.dim.extend([type(tensor.tensor_shape).Dim(size=n) for n in array.shape])
        tensor.tensor_content = array.tobytes()
    return node


def value_of(node: Any) -> Any:
    """The array of a Const."""
    return tensor_util.make_ndarray(node.attr["value"].tensor)


def graph_def_of(nodes: Iterable[Any]) -> Any:
    """A GraphDef that has nothing but these nodes."""
    from kvarn import protos

    return protos.GraphDef(node=nodes)
