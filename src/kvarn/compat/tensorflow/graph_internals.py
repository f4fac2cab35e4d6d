"""What only `tensorflow.python.framework.ops` has: NodeDefs by hand, types that count as tensors.

Source: tensorflow/python/framework/ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import protos
from kvarn.graph.device import canonical_name
from kvarn.graph.tensor import Tensor

_dense_tensor_like: list[type] = []


def _NodeDef(op_type: Any, name: Any, device: Any = None, attrs: Any = None) -> Any:
    """A NodeDef.

    Args:
      device: a name, a DeviceSpec, or a function that gives one of the NodeDef.
      attrs: AttrValue messages by name.
    """
    node = protos.NodeDef(op=op_type, name=name)
    for key, value in (attrs or {}).items():
        node.attr[key].CopyFrom(value)
    if device is not None:
        node.device = device(node) if callable(device) else canonical_name(device)
    return node


def register_dense_tensor_like_type(tensor_type: type) -> None:
    """Lets `is_dense_tensor_like` count a type; TypeError unless it has properties ``name`` and ``dtype``."""
    for what in ("name", "dtype"):
        if not isinstance(getattr(tensor_type, what, None), property):
            raise TypeError(f"Type {tensor_type.__name__} does not define a `{what}` property")
    _dense_tensor_like.append(tensor_type)


def is_dense_tensor_like(t: Any) -> bool:
    """Whether ``t`` is a tensor, a variable, or of a registered type."""
    from kvarn.variables.variable import Variable

    return isinstance(t, (Tensor, Variable, *_dense_tensor_like))
