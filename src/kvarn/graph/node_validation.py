"""Checks of a NodeDef against the definition of its op, before it becomes an Operation.

Source: tensorflow/core/framework/{node_def_util,op_def_util,attr_value_util}.cc (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.dtypes import DType
from kvarn.graph import attr_value
from kvarn.graph.op_def import REQUIRED, ArgDef, AttrDef, OpDef
from kvarn.graph.operation import arg_types
from kvarn.graph.tensor_proto import TensorValue

_SHORT_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


def type_name(dtype: DType) -> str:
    """The name of a type in error messages, such as ``float`` or ``float_ref``."""
    base = _SHORT_NAMES.get(dtype.base_dtype.name, dtype.base_dtype.name)
    return base + "_ref" if dtype.is_ref else base


def node_attrs(node: Any, definition: OpDef, name: str) -> dict[str, Any]:
    """The attribute values of a NodeDef, defaults filled in, checked against the definition.

    Args:
      node: the NodeDef.
      definition: of its op.
      name: what to call the node in messages.

    Raises:
      ValueError: an attribute is unknown, missing, of the wrong kind or not permitted.
    """
    attrs: dict[str, Any] = {}
    kinds = definition.attr_by_name
    for key, proto in node.attr.items():
        attr = kinds.get(key)
        if attr is None:
            if not key.startswith("_"):
                raise ValueError(
                    f"NodeDef mentions attr '{key}' not in {summary(definition)}; "
                    f"NodeDef: {{{{node {name}}}}}. "
                    "(Check whether your GraphDef-interpreting binary is up to date with your "
                    "GraphDef-generating binary.)."
                )
            attrs[key] = _free_attr(key, proto)
            continue
        if proto.WhichOneof("value") is None and attr.default is not REQUIRED:
            continue
        try:
            value = attr_value.from_attr_value(proto, attr.type)
            if isinstance(value, attr_value.Placeholder):
                raise ValueError("AttrValue had value with unexpected type 'placeholder'")
        except (TypeError, ValueError) as e:
            raise ValueError(f"{e}\n\t for attr '{key}'\n\t; {_where(definition, name)}") from None
        problem = _not_permitted(value, attr)
        if problem:
            raise ValueError(f"{problem}\n\t; {_where(definition, name)}")
        attrs[key] = value
    missing = []
    for attr in definition.attrs:
        if attr.name not in attrs:
            if attr.default is REQUIRED:
                missing.append(attr.name)
            else:
                attrs[attr.name] = attr.default
    if missing:
        names = ", ".join(f"'{n}'" for n in sorted(missing))
        raise ValueError(
            f"NodeDef missing attr{'s' if len(missing) > 1 else ''} {names} from {summary(definition)}; "
            f"NodeDef: {{{{node {name}}}}}"
        )
    if definition.name == "Const":
        _check_constant(attrs, name)
    return attrs


def input_types(definition: OpDef, attrs: dict[str, Any], count: int, name: str) -> list[DType]:
    """The types of a node's inputs.

    Args:
      count: how many data inputs the node has.

    Raises:
      ValueError: the definition asks for another number.
    """
    types: list[DType] = []
    for arg in definition.inputs:
        types.extend(arg_types(arg, attrs))
    if len(types) != count:
        expected = ", ".join(type_name(t) for t in types)
        raise ValueError(
            f"NodeDef expected inputs '{expected}' do not match {count} inputs specified; "
            f"{summary(definition)}; NodeDef: {{{{node {name}}}}}"
        )
    return types


def summary(definition: OpDef) -> str:
    """A definition as error messages show it: ``Op<name=…; signature=… -> …; attr=…>``."""
    inputs = ", ".join(_arg_summary(a) for a in definition.inputs)
    outputs = ", ".join(_arg_summary(a) for a in definition.outputs)
    text = f"Op<name={definition.name}; signature={inputs} -> {outputs}"
    for attr in definition.attrs:
        text += f"; attr={attr.name}:{attr.type}"
        if attr.default is not REQUIRED:
            text += f",default={_value_summary(attr.default)}"
        if attr.minimum is not None:
            text += f",min={attr.minimum}"
        if attr.allowed is not None:
            text += f",allowed={_value_summary(list(attr.allowed))}"
    return text + ("; is_stateful=true>" if definition.is_stateful else ">")


def _free_attr(key: str, proto: Any) -> Any:
    """The value of an attribute that no definition describes."""
    value = attr_value.from_attr_value(proto)
    if key not in ("_class", "_output_shapes") and attr_value.to_attr_value(value) != proto:
        # It says something that the value cannot hold, such as names of dimensions: keep all of it.
        value = type(proto)()
        value.CopyFrom(proto)
    return value


def _where(definition: OpDef, name: str) -> str:
    return f"NodeDef: {{{{node {name}}}}}; {summary(definition)}"


def _check_constant(attrs: dict[str, Any], name: str) -> None:
    value: TensorValue = attrs["value"]
    if value.dtype is not attrs["dtype"]:
        raise ValueError(
            f"The constant of node '{name}' holds {type_name(value.dtype)} values although its attr 'dtype' "
            f"says {type_name(attrs['dtype'])}"
        )


def _not_permitted(value: Any, attr: AttrDef) -> str | None:
    """What is wrong with a value whose kind is right."""
    items = value if isinstance(value, list) else [value]
    if attr.minimum is not None:
        if isinstance(value, list):
            if len(value) < attr.minimum:
                return (
                    f"Length for attr '{attr.name}' of {len(value)} must be at least minimum {attr.minimum}"
                )
        elif value < attr.minimum:
            return f"Value for attr '{attr.name}' of {value} must be at least minimum {attr.minimum}"
    if attr.allowed is not None:
        for item in items:
            if item not in attr.allowed:
                allowed = ", ".join(_plain(a) for a in attr.allowed)
                return (
                    f"Value for attr '{attr.name}' of {_plain(item)} is not in the list of allowed values: "
                    f"{allowed}"
                )
    return None


def _plain(value: Any) -> str:
    return type_name(value) if isinstance(value, DType) else _value_summary(value)


def _arg_summary(arg: ArgDef) -> str:
    kind = type_name(arg.type) if arg.type is not None else arg.type_attr or arg.type_list_attr
    if arg.number_attr:
        kind = f"{arg.number_attr}*{kind}"
    return f"{arg.name}:Ref({kind})" if arg.is_ref else f"{arg.name}:{kind}"


def _value_summary(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, DType):
        return "DT_" + type_name(value).upper()
    if isinstance(value, bytes):
        return '"' + value.decode(errors="backslashreplace") + '"'
    if isinstance(value, list):
        return "[" + ", ".join(_value_summary(v) for v in value) + "]"
    if value is None:
        return "<unknown>"
    if isinstance(value, tuple):
        return "[" + ",".join("?" if d is None else str(d) for d in value) + "]"
    if isinstance(value, attr_value.NameAttrList):
        return value.name
    return str(value)
