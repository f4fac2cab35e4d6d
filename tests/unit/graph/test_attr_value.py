"""Attribute values and their messages."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from kvarn import dtypes, protos
from kvarn.graph import attr_value
from kvarn.graph.attr_value import NameAttrList, Placeholder
from kvarn.graph.graph import Graph
from kvarn.graph.importer import import_graph_def
from kvarn.graph.tensor_proto import TensorValue

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "graphs"
TENSOR = TensorValue(np.array([1.5, 2.5], np.float32))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", -(1 << 63)),
        ("float", 0.5),
        ("bool", True),
        ("bool", False),
        ("string", b"\xff\x00"),
        ("type", dtypes.bfloat16),
        ("type", dtypes.float32._as_ref),
        ("shape", None),
        ("shape", ()),
        ("shape", (2, None, 0)),
        ("tensor", TENSOR),
        ("func", NameAttrList("f", {"T": dtypes.int32, "n": 3})),
        ("list(int)", [1, 2]),
        ("list(float)", [0.5]),
        ("list(bool)", [True, False]),
        ("list(string)", [b"a", b""]),
        ("list(type)", [dtypes.int8]),
        ("list(shape)", [None, (1,)]),
        ("list(tensor)", [TENSOR]),
        ("list(func)", [NameAttrList("g")]),
        ("list(int)", []),
    ],
)
def test_every_kind_comes_back(kind: str, value: object) -> None:
    proto = attr_value.to_attr_value(value, kind)
    assert attr_value.from_attr_value(proto, kind) == value
    assert attr_value.from_attr_value(proto) == value
    # Without being told, the kind is found.
    assert attr_value.to_attr_value(value) == proto


def test_values_take_the_form_they_are_kept_in() -> None:
    assert attr_value.normalize("text", "string") == b"text"
    assert attr_value.normalize("float32", "type") is dtypes.float32
    assert attr_value.normalize([1, None], "shape") == (1, None)
    assert attr_value.normalize(0.1, "float") == float(np.float32(0.1))
    assert attr_value.normalize(1e39, "float") == float("inf")
    assert attr_value.normalize(-1e39, "float") == float("-inf")


@pytest.mark.parametrize(
    ("proto", "kind", "match"),
    [
        ({"i": 3}, "type", "AttrValue had value with type 'int' when 'type' expected"),
        ({"list": {}}, "int", r"AttrValue had value with type 'list\(any\)' when 'int' expected"),
        ({"list": {"i": [3]}}, "list(bool)", r"type 'list\(int\)' when 'list\(bool\)' expected"),
        ({}, "int", "AttrValue missing value with expected type 'int'"),
    ],
)
def test_another_kind_is_refused(proto: dict, kind: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        attr_value.from_attr_value(protos.AttrValue(**proto), kind)


def test_values_of_no_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="no kind of attribute has values like"):
        attr_value.to_attr_value(object())
    with pytest.raises(TypeError, match="must be a list"):
        attr_value.to_attr_value(3, "list(int)")
    with pytest.raises(TypeError, match="must be bytes or str"):
        attr_value.to_attr_value(3, "string")


def test_placeholders_stay_placeholders() -> None:
    proto = protos.AttrValue(placeholder="T")
    assert attr_value.from_attr_value(proto, "type") == Placeholder("T")
    assert attr_value.to_attr_value(Placeholder("T"), "type") == proto


def test_get_attr_gives_what_tensorflow_gives() -> None:
    graph_def = protos.GraphDef.FromString((GOLDEN / "graph_attrs" / "graph.pb").read_bytes())
    original = graph_def.node[0].attr
    with Graph().as_default():
        (holder,) = import_graph_def(graph_def, name="", return_elements=["holder"])
    assert holder.get_attr("_i") == original["_i"].i
    assert holder.get_attr("_f") == original["_f"].f
    assert holder.get_attr("_s") == original["_s"].s
    assert holder.get_attr("_b") is original["_b"].b
    assert holder.get_attr("_type").as_datatype_enum == original["_type"].type
    assert holder.get_attr("_tensor") == original["_tensor"].tensor
    assert holder.get_attr("_func") == original["_func"].func
    for name in ("_shape", "_shape_named", "_shape_scalar", "_shape_unknown"):
        assert holder.get_attr(name) == original[name].shape
    assert holder.get_attr("_li") == list(original["_li"].list.i)
    assert holder.get_attr("_lshape") == list(original["_lshape"].list.shape)
    assert holder.get_attr("_ltensor") == list(original["_ltensor"].list.tensor)
    assert [t.as_datatype_enum for t in holder.get_attr("_lt")] == list(original["_lt"].list.type)
    assert holder.get_attr("_empty") == []
    with pytest.raises(ValueError, match=r"Operation 'holder' has no attr named 'none'\."):
        holder.get_attr("none")
