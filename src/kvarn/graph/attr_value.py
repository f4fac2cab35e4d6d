"""Attribute values: AttrValue messages and what kvarn holds in their place.

    kind      in `Operation.attrs`                     from `Operation.get_attr`
    int       int                                      the same
    float     float, rounded to float32                the same
    bool      bool                                     the same
    string    bytes                                    the same
    type      DType                                    the same
    shape     static shape tuple or None               TensorShapeProto
    tensor    TensorValue                              TensorProto
    func      NameAttrList                             NameAttrList message
    list(k)   list of these                            list of these

An attribute that no definition describes, and that says more than these can hold, such as names of
dimensions, stays an AttrValue.

Source: tensorflow/core/framework/attr_value.proto and `Operation.get_attr` of ops.py (1.15).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from kvarn import dtypes
from kvarn.dtypes import DType
from kvarn.graph import tensor_shape
from kvarn.graph.tensor_proto import TensorValue

# The AttrValue field of each kind, which is also the field of ListValue.
_FIELDS = {
    "int": "i",
    "float": "f",
    "bool": "b",
    "string": "s",
    "type": "type",
    "shape": "shape",
    "tensor": "tensor",
    "func": "func",
}
_KINDS = {name: kind for kind, name in _FIELDS.items()}


@dataclass(slots=True)
class NameAttrList:
    """A function as an attribute: its name and attributes.

    Attributes:
      attrs: values by name, in the form that this module describes.
    """

    name: str
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Placeholder:
    """Inside a function's body: the value of the function's attribute ``name``."""

    name: str


def to_attr_value(value: Any, attr_type: str | None = None) -> Any:
    """The AttrValue message of a value.

    Args:
      value: in the form that this module describes; also what converts to it (str, dtype names, TensorShape,
        TensorProto, AttrValue).
      attr_type: the kind, such as ``list(type)``; None to tell it from the value.

    Raises:
      TypeError, ValueError: the value is not of that kind.
    """
    from kvarn import protos

    if _is(value, "tensorflow.AttrValue"):
        return value
    proto = protos.AttrValue()
    if isinstance(value, Placeholder):
        proto.placeholder = value.name
        return proto
    kind = attr_type or infer_kind(value)
    if kind.startswith("list("):
        if not isinstance(value, list | tuple):
            raise TypeError(f"an attribute of kind {kind} must be a list, not {value!r}")
        # An empty list is present, too.
        proto.list.SetInParent()
        if value:
            kind = kind[5:-1]
            if kind == "any":
                kind = infer_kind(value[0])
            items = getattr(proto.list, _FIELDS[kind])
            if kind in ("shape", "tensor", "func"):
                for item in value:
                    _set_message(items.add(), item, kind)
            else:
                items.extend([_scalar(item, kind) for item in value])
        return proto
    if kind in ("shape", "tensor", "func"):
        target = getattr(proto, _FIELDS[kind])
        target.SetInParent()
        _set_message(target, value, kind)
    else:
        setattr(proto, _FIELDS[kind], _scalar(value, kind))
    return proto


def from_attr_value(proto: Any, attr_type: str | None = None) -> Any:
    """The value of an AttrValue message, in the form that this module describes.

    Args:
      proto: the message.
      attr_type: the kind it must be; None to take what it holds.

    Raises:
      ValueError: the message holds nothing, or another kind.
      TypeError: a tensor of a type that no array can hold.
    """
    which = proto.WhichOneof("value")
    if which is None:
        raise ValueError(f"AttrValue missing value with expected type '{attr_type or 'any'}'")
    if which == "placeholder":
        return Placeholder(proto.placeholder)
    if which == "list":
        if attr_type is not None and not attr_type.startswith("list("):
            raise ValueError(f"AttrValue had value with type 'list(any)' when '{attr_type}' expected")
        return _from_list(proto.list, None if attr_type is None else attr_type[5:-1])
    kind = _KINDS[which]
    if attr_type is not None and attr_type != kind:
        raise ValueError(f"AttrValue had value with type '{kind}' when '{attr_type}' expected")
    return _from_field(getattr(proto, which), kind)


def normalize(value: Any, attr_type: str | None) -> Any:
    """``value`` in the form that this module describes, as if it had been written and read again.

    Raises:
      TypeError, ValueError: it is not of that kind.
    """
    if _is(value, "tensorflow.AttrValue"):
        return from_attr_value(value, attr_type)
    return from_attr_value(to_attr_value(value, attr_type), attr_type)


def to_python(value: Any, attr_type: str | None = None) -> Any:
    """The value that `Operation.get_attr` gives for a held ``value``."""
    if isinstance(value, list):
        kind = None if attr_type is None else attr_type[5:-1]
        return [to_python(item, kind) for item in value]
    if isinstance(value, TensorValue):
        return value.to_proto()
    if isinstance(value, NameAttrList):
        return to_attr_value(value, "func").func
    if value is None or isinstance(value, tuple):
        return tensor_shape.tuple_to_proto(value)
    if _is(value, "tensorflow.AttrValue"):
        return getattr(value, value.WhichOneof("value"))
    return value


def infer_kind(value: Any) -> str:
    """The kind of attribute that ``value`` is; ``list(any)`` for an empty list.

    Raises:
      TypeError: no kind has such values.
    """
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str | bytes):
        return "string"
    if isinstance(value, DType):
        return "type"
    if isinstance(value, list):
        return f"list({infer_kind(value[0]) if value else 'any'})"
    if isinstance(value, TensorValue) or _is(value, "tensorflow.TensorProto"):
        return "tensor"
    if isinstance(value, NameAttrList) or _is(value, "tensorflow.NameAttrList"):
        return "func"
    if (
        value is None
        or isinstance(value, tuple | tensor_shape.TensorShape)
        or _is(value, "tensorflow.TensorShapeProto")
    ):
        return "shape"
    raise TypeError(f"no kind of attribute has values like {value!r}")


def as_float32(value: Any) -> float:
    """``value`` rounded to float32, infinite when it is too large."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return rounded


def _scalar(value: Any, kind: str) -> Any:
    if kind == "type":
        return dtypes.as_dtype(value).as_datatype_enum
    if kind == "string":
        if not isinstance(value, str | bytes):
            raise TypeError(f"an attribute of kind string must be bytes or str, not {value!r}")
        return value.encode() if isinstance(value, str) else value
    if kind == "float":
        return as_float32(value)
    if kind == "bool":
        return bool(value)
    if kind == "int":
        return int(value)
    raise ValueError(f"there is no kind of attribute {kind!r}")


def _set_message(target: Any, value: Any, kind: str) -> None:
    if kind == "shape":
        target.CopyFrom(value if _is(value, "tensorflow.TensorShapeProto") else _shape_proto(value))
    elif kind == "tensor":
        target.CopyFrom(value.to_proto() if isinstance(value, TensorValue) else value)
    elif _is(value, "tensorflow.NameAttrList"):
        target.CopyFrom(value)
    else:
        if isinstance(value, str):
            value = NameAttrList(value)
        target.name = value.name
        for name, item in value.attrs.items():
            target.attr[name].CopyFrom(to_attr_value(item))


def _shape_proto(value: Any) -> Any:
    return tensor_shape.tuple_to_proto(tensor_shape.to_tuple(value))


def _from_list(proto: Any, kind: str | None) -> list[Any]:
    # Exactly one field of a list is used; which one says the kind.
    found = [_KINDS[descriptor.name] for descriptor, _ in proto.ListFields()]
    if not found:
        return []
    if kind is None or kind == "any":
        kind = found[0]
    if found != [kind]:
        raise ValueError(f"AttrValue had value with type 'list({found[0]})' when 'list({kind})' expected")
    return [_from_field(item, kind) for item in getattr(proto, _FIELDS[kind])]


def _from_field(value: Any, kind: str) -> Any:
    if kind == "type":
        return dtypes.as_dtype(value)
    if kind == "shape":
        return tensor_shape.proto_to_tuple(value)
    if kind == "tensor":
        return TensorValue.from_proto(value)
    if kind == "func":
        return NameAttrList(value.name, {name: from_attr_value(item) for name, item in value.attr.items()})
    return value


def _is(value: Any, full_name: str) -> bool:
    descriptor = getattr(value, "DESCRIPTOR", None)
    return descriptor is not None and getattr(descriptor, "full_name", None) == full_name
