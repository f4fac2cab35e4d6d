"""What an op is: its name, arguments and attributes, written in TensorFlow's registration language.

The strings that `REGISTER_OP` takes in TensorFlow (tensorflow/core/framework/op_def_builder.cc) are used
here unchanged, so that a definition can be read beside the original:

    inputs   "x: T"   "ref: Ref(T)"   "values: N * T"   "data: dtypes"   "ids: int64"
    attrs    "T: {float, double} = DT_FLOAT"   "N: int >= 1"   "shape: shape"   "name: string = ''"
             "dtypes: list(type) >= 1"   "use_locking: bool = false"
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kvarn import dtypes
from kvarn.dtypes import DType


class _Required:
    """Marks an attribute without a default value."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()

_NUMBER_TYPES: Final = (
    "float", "double", "int32", "uint8", "int16", "int8", "complex64", "int64", "qint8", "quint8",
    "qint32", "bfloat16", "uint16", "complex128", "half", "uint32", "uint64",
)  # fmt: skip
_REAL_NUMBER_TYPES: Final = (
    "float", "double", "int32", "uint8", "int16", "int8", "int64", "bfloat16", "uint16", "half", "uint32",
    "uint64",
)  # fmt: skip
_TYPE_SETS: Final = {
    "numbertype": _NUMBER_TYPES,
    "realnumbertype": _REAL_NUMBER_TYPES,
    "quantizedtype": ("qint8", "quint8", "qint32", "qint16", "quint16"),
}


@dataclass(slots=True, frozen=True)
class ArgDef:
    """One input or output argument.

    Exactly one of `type`, `type_attr` and `type_list_attr` says the element type; `number_attr` names the
    attribute that counts the tensors of a homogeneous list.
    """

    name: str
    type: DType | None = None
    type_attr: str = ""
    number_attr: str = ""
    type_list_attr: str = ""
    is_ref: bool = False

    @property
    def is_list(self) -> bool:
        return bool(self.number_attr or self.type_list_attr)


@dataclass(slots=True, frozen=True)
class AttrDef:
    """One attribute.

    Attributes:
      type: TensorFlow's name of the kind: ``type``, ``int``, ``list(shape)`` and so on.
      default: the Python value (see `kvarn.graph.attr_value`), or `REQUIRED`.
      allowed: permitted DTypes or strings; None permits all.
      minimum: the least value of an int, or the least length of a list; None for no limit.
      extension: DeepRec's addition to one of TensorFlow's ops.  It is no part of the OpDef message, and a
        NodeDef holds it only when it is not the default, so that other graphs load in TensorFlow.
    """

    name: str
    type: str
    default: Any = REQUIRED
    allowed: tuple[Any, ...] | None = None
    minimum: int | None = None
    extension: bool = False


@dataclass(slots=True)
class OpDef:
    """A parsed op definition; `to_proto` gives TensorFlow's OpDef message."""

    name: str
    inputs: tuple[ArgDef, ...]
    outputs: tuple[ArgDef, ...]
    attrs: tuple[AttrDef, ...]
    is_stateful: bool = False
    is_commutative: bool = False
    is_aggregate: bool = False
    allows_uninitialized_input: bool = False
    # Since which version of graphs the op is not to be used any more, and what to do instead.
    deprecation: tuple[int, str] | None = None
    attr_by_name: dict[str, AttrDef] = field(init=False)
    inferred: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.attr_by_name = {a.name: a for a in self.attrs}
        inferred: set[str] = set()
        for arg in self.inputs:
            inferred.update(n for n in (arg.type_attr, arg.number_attr, arg.type_list_attr) if n)
        self.inferred = frozenset(inferred)

    def to_proto(self) -> Any:
        """The OpDef message, as the op list of TensorFlow holds it, without descriptions."""
        from kvarn import protos
        from kvarn.graph import attr_value

        proto = protos.OpDef(
            name=self.name,
            is_stateful=self.is_stateful,
            is_commutative=self.is_commutative,
            is_aggregate=self.is_aggregate,
            allows_uninitialized_input=self.allows_uninitialized_input,
        )
        if self.deprecation is not None:
            proto.deprecation.version, proto.deprecation.explanation = self.deprecation
        for args, target in ((self.inputs, proto.input_arg), (self.outputs, proto.output_arg)):
            for arg in args:
                target.add(
                    name=arg.name,
                    type=arg.type.as_datatype_enum if arg.type is not None else 0,
                    type_attr=arg.type_attr,
                    number_attr=arg.number_attr,
                    type_list_attr=arg.type_list_attr,
                    is_ref=arg.is_ref,
                )
        for attr in self.attrs:
            if attr.extension:
                continue
            item = proto.attr.add(name=attr.name, type=attr.type)
            if attr.minimum is not None:
                item.has_minimum = True
                item.minimum = attr.minimum
            if attr.allowed is not None:
                kind = (
                    "list(string)"
                    if attr.type.endswith("string") or attr.type == "list(string)"
                    else "list(type)"
                )
                item.allowed_values.CopyFrom(attr_value.to_attr_value(list(attr.allowed), kind))
            if attr.default is not REQUIRED:
                item.default_value.CopyFrom(attr_value.to_attr_value(attr.default, attr.type))
        return proto


def from_proto(proto: Any) -> OpDef:
    """The definition that an OpDef message holds (a function of a library, or a custom op)."""
    from kvarn.graph import attr_value

    def arg(a: Any) -> ArgDef:
        return ArgDef(
            a.name,
            dtypes.as_dtype(a.type) if a.type else None,
            a.type_attr,
            a.number_attr,
            a.type_list_attr,
            a.is_ref,
        )

    def attr(a: Any) -> AttrDef:
        allowed = None
        if a.HasField("allowed_values"):
            kind = "list(string)" if a.type.endswith("string") else "list(type)"
            allowed = tuple(attr_value.from_attr_value(a.allowed_values, kind))
        default = (
            attr_value.from_attr_value(a.default_value, a.type) if a.HasField("default_value") else REQUIRED
        )
        return AttrDef(a.name, a.type, default, allowed, a.minimum if a.has_minimum else None)

    return OpDef(
        proto.name,
        tuple(arg(a) for a in proto.input_arg),
        tuple(arg(a) for a in proto.output_arg),
        tuple(attr(a) for a in proto.attr),
        proto.is_stateful,
        proto.is_commutative,
        proto.is_aggregate,
        proto.allows_uninitialized_input,
    )


def _type(name: str) -> DType:
    return dtypes.as_dtype(name.strip().removeprefix("DT_").lower())


def _split(specs: str | Sequence[str]) -> list[str]:
    """The items of a comma-separated string; commas inside braces and brackets do not separate."""
    if not isinstance(specs, str):
        return list(specs)
    items, depth, start = [], 0, 0
    for i, c in enumerate(specs):
        if c in "{[(":
            depth += 1
        elif c in "}])":
            depth -= 1
        elif c == "," and depth == 0:
            items.append(specs[start:i])
            start = i + 1
    items.append(specs[start:])
    return [item.strip() for item in items if item.strip()]


def parse_arg(spec: str, attrs: dict[str, AttrDef]) -> ArgDef:
    """The argument that ``name: type`` describes; ValueError for anything else."""
    name, _, kind = (part.strip() for part in spec.partition(":"))
    is_ref = kind.startswith("Ref(")
    if is_ref:
        kind = kind[4:-1].strip()
    number = ""
    if "*" in kind:
        number, kind = (part.strip() for part in kind.split("*"))
    attr = attrs.get(kind)
    if attr is not None:
        if attr.type == "list(type)":
            return ArgDef(name, type_list_attr=kind, is_ref=is_ref)
        return ArgDef(name, type_attr=kind, number_attr=number, is_ref=is_ref)
    return ArgDef(name, _type(kind), number_attr=number, is_ref=is_ref)


_ATTR = re.compile(
    r"""^\s*(?P<name>\w+)\s*:\s*
        (?P<list>list\s*\(\s*)?
        (?P<kind>\w+|\{[^}]*\})
        (?(list)\s*\))
        \s*(?:>=\s*(?P<minimum>-?\d+))?
        \s*(?:=\s*(?P<default>.*))?$""",
    re.VERBOSE | re.DOTALL,
)


def parse_attr(spec: str) -> AttrDef:
    """The attribute that ``name: kind [>= minimum] [= default]`` describes, an extension if a ``+`` stands in
    front; ValueError for anything else."""
    extension = spec.startswith("+")
    match = _ATTR.match(spec.removeprefix("+"))
    if match is None:
        raise ValueError(f"not an attribute definition: {spec!r}")
    kind: str = match["kind"]
    allowed: tuple[Any, ...] | None = None
    if kind.startswith("{"):
        items = [i.strip() for i in kind[1:-1].split(",") if i.strip()]
        if items and items[0][0] in "'\"":
            kind, allowed = "string", tuple(i[1:-1].encode() for i in items)
        else:
            names: list[str] = []
            for item in items:
                names.extend(_TYPE_SETS.get(item, (item,)))
            kind, allowed = "type", tuple(_type(n) for n in names)
    elif kind in _TYPE_SETS:
        kind, allowed = "type", tuple(_type(n) for n in _TYPE_SETS[kind])
    if match["list"]:
        kind = f"list({kind})"
    minimum = int(match["minimum"]) if match["minimum"] else None
    text = match["default"]
    default = REQUIRED if text is None else _default(text.strip(), kind)
    return AttrDef(match["name"], kind, default, allowed, minimum, extension)


def _default(text: str, kind: str) -> Any:
    if kind.startswith("list("):
        return [_default(item, kind[5:-1]) for item in _split(text[1:-1])]
    if kind == "type":
        return _type(text)
    if kind == "bool":
        return text == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text)
    if kind == "string":
        return text[1:-1].encode()
    if kind == "shape":
        # `{ unknown_rank: true }`, `{}` or `[2,3]`
        if "unknown_rank" in text:
            return None
        digits = re.findall(r"-?\d+", text)
        return tuple(None if d == "-1" else int(d) for d in digits)
    if kind == "tensor":
        # The text format of a TensorProto, in braces.
        from kvarn import protos
        from kvarn.graph.tensor_proto import TensorValue

        return TensorValue.from_proto(protos.from_text(text[1:-1], protos.TensorProto()))
    raise ValueError(f"no defaults are known for attributes of kind {kind!r}: {text!r}")


def parse(
    name: str,
    inputs: str | Sequence[str] = (),
    outputs: str | Sequence[str] = (),
    attrs: str | Sequence[str] = (),
    **flags: Any,
) -> OpDef:
    """The definition of op ``name``.

    Args:
      inputs, outputs, attrs: items of the registration language, in a sequence or comma-separated.
      flags: ``is_stateful``, ``is_commutative``, ``is_aggregate``, ``allows_uninitialized_input``.
    """
    parsed = tuple(parse_attr(a) for a in _split(attrs))
    by_name = {a.name: a for a in parsed}
    input_args = tuple(parse_arg(i, by_name) for i in _split(inputs))
    output_args = tuple(parse_arg(o, by_name) for o in _split(outputs))
    # What counts the tensors of an argument is at least 1 unless it says otherwise.
    counting = {arg.number_attr or arg.type_list_attr for arg in input_args + output_args}
    parsed = tuple(replace(a, minimum=1) if a.name in counting and a.minimum is None else a for a in parsed)
    if any(arg.type is dtypes.resource for arg in input_args + output_args):
        # TensorFlow marks every op that touches a resource.
        flags["is_stateful"] = True
    return OpDef(name, input_args, output_args, parsed, **flags)
