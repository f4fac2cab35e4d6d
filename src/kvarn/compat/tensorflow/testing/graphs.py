"""Assertions about graphs and meta graphs.

Source: tensorflow/python/framework/test_util.py and tensorflow/core/util/equal_graph_def.cc (1.15).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from kvarn import protos
from kvarn.graph.graph import Graph
from kvarn.graph.importer import import_graph_def
from kvarn.graph.proto_functions import get_collection_proto_type
from kvarn.graph.tensor_util import make_ndarray

# What differs from run to run: the temporary prefix of a sharded save, and the shared name of a table.
_SHARDED_SAVE = re.compile(rb"_temp_[0-9a-z]{32}/part")
_TABLE_SHARED_NAME = re.compile(rb"hash_table_[0-9a-z\-]+")


def assert_ops_in_graph(expected_ops: dict[str, str], graph: Graph) -> dict[str, Any]:
    """The NodeDefs of the named operations.

    Args:
      expected_ops: op type by operation name.

    Raises:
      ValueError: one is not there, or of another type.
    """
    found = {node.name: node for node in graph.as_graph_def().node if node.name in expected_ops}
    for name, node in found.items():
        if node.op != expected_ops[name]:
            raise ValueError(f"Expected op for node {name} is different. {expected_ops[name]} vs {node.op}")
    if found.keys() != expected_ops.keys():
        raise ValueError(
            f"Not all expected ops are present. Expected {expected_ops.keys()}, found {found.keys()}"
        )
    return found


def assert_equal_graph_def(
    actual: Any, expected: Any, checkpoint_v2: bool = False, hash_table_shared_name: bool = False
) -> None:
    """Two GraphDefs have the same nodes, in any order; versions and functions are not compared.

    Args:
      checkpoint_v2: take the temporary prefixes of sharded saves out of both first.
      hash_table_shared_name: take the shared names of tables out of both first.

    Raises:
      AssertionError: they differ; the message says where.
      TypeError: an argument is no GraphDef.
    """
    for what, graph_def in (("actual", actual), ("expected", expected)):
        if not isinstance(graph_def, protos.GraphDef):
            raise TypeError(f"Expected tf.GraphDef for {what}, got {type(graph_def).__name__}")
        if checkpoint_v2:
            _strip(graph_def, _is_temporary_prefix)
        if hash_table_shared_name:
            _strip(graph_def, _is_table_name)
    difference = _graph_difference(actual, expected)
    if difference:
        raise AssertionError(difference)


def assert_equal_graph_def_v2(expected: Any, actual: Any) -> None:
    """`assert_equal_graph_def` without anything that differs from run to run."""
    assert_equal_graph_def(actual, expected, checkpoint_v2=True, hash_table_shared_name=True)


def assert_meta_graph_protos_equal(tester: Any, a: Any, b: Any) -> None:
    """Two MetaGraphDefs are equal, of their collections the messages; both lose what was compared."""
    tester.assertEqual(set(a.collection_def), set(b.collection_def))
    for key, collection in a.collection_def.items():
        other = b.collection_def[key]
        proto_type = get_collection_proto_type(key)
        if proto_type is None:
            tester.assertEqual(collection, other)
            continue
        pairs = collection.bytes_list.value, other.bytes_list.value
        tester.assertEqual(len(pairs[0]), len(pairs[1]))
        for x, y in zip(*pairs, strict=True):
            tester.assertProtoEquals(proto_type.FromString(x), proto_type.FromString(y))
    assert_equal_graph_def(a.graph_def, b.graph_def, checkpoint_v2=True)
    tester.assertProtoEquals(a.graph_def.versions, b.graph_def.versions)
    for meta_graph in (a, b):
        meta_graph.ClearField("collection_def")
        meta_graph.ClearField("graph_def")
    tester.assertProtoEquals(a, b)


def get_node_def_from_graph(node_name: str, graph_def: Any) -> Any:
    """The NodeDef of a name, or None."""
    return next((node for node in graph_def.node if node.name == node_name), None)


def set_producer_version(graph: Graph, producer_version: int) -> None:
    """Makes the version of the graph's producer what it would be after the import of an older GraphDef."""
    graph_def = protos.GraphDef()
    graph_def.versions.producer = producer_version
    with graph.as_default():
        import_graph_def(graph_def)


def _is_temporary_prefix(node: Any, attr: str) -> bool:
    values = node.attr[attr].tensor.string_val
    return len(values) == 1 and _SHARDED_SAVE.match(values[0]) is not None


def _is_table_name(node: Any, attr: str) -> bool:
    return (
        node.op == "HashTableV2"
        and attr == "shared_name"
        and _TABLE_SHARED_NAME.match(node.attr[attr].s) is not None
    )


def _strip(graph_def: Any, unwanted: Any) -> None:
    for node in graph_def.node:
        for attr in [a for a in node.attr if unwanted(node, a)]:
            del node.attr[attr]


def _graph_difference(actual: Any, expected: Any) -> str | None:
    nodes = {node.name: node for node in actual.node}
    for wanted in expected.node:
        found = nodes.pop(wanted.name, None)
        if found is None:
            return f"Did not find expected node '{_summary(wanted)}'"
        difference = _node_difference(found, wanted)
        if difference:
            return f"Node named '{wanted.name}' {difference}"
    if nodes:
        return f"Found unexpected node '{_summary(next(iter(nodes.values())))}'"
    return None


def _node_difference(actual: Any, expected: Any) -> str | None:
    for what in ("op", "device"):
        found, wanted = getattr(actual, what), getattr(expected, what)
        if found != wanted:
            return f"has {what} '{found}' that is not expected '{wanted}'"
    if len(actual.input) != len(expected.input):
        return (
            f"has inputs '{', '.join(actual.input)}' that don't match expected '{', '.join(expected.input)}'"
        )
    (data, control), (wanted_data, wanted_control) = _inputs(actual), _inputs(expected)
    for i, (x, y) in enumerate(zip(data, wanted_data, strict=False)):
        if x.removesuffix(":0") != y.removesuffix(":0"):
            return f"has input {i} '{x}' that doesn't match expected '{y}'"
    for name in wanted_control - control:
        return f"missing expected control input '{name}'"
    for name in control - wanted_control:
        return f"has unexpected control input '{name}'"
    attrs, wanted_attrs = _public_attrs(actual), _public_attrs(expected)
    for name, value in wanted_attrs.items():
        if name not in attrs:
            return f"missing expected attr '{name}' with value: {_line(value)}"
        if not _same_attr(attrs[name], value):
            return f"has attr '{name}' with value: {_line(attrs[name])} that does not match expected: {_line(value)}"
    for name in attrs.keys() - wanted_attrs.keys():
        return f"has unexpected attr '{name}' with value: {_line(attrs[name])}"
    return None


def _inputs(node: Any) -> tuple[list[str], set[str]]:
    return [i for i in node.input if not i.startswith("^")], {i for i in node.input if i.startswith("^")}


def _public_attrs(node: Any) -> dict[str, Any]:
    return {name: value for name, value in node.attr.items() if not name.startswith("_")}


def _same_attr(a: Any, b: Any) -> bool:
    if a == b:
        return True
    if not (a.HasField("tensor") and b.HasField("tensor")) or a.tensor.dtype != b.tensor.dtype:
        return False
    # One tensor can be written in several ways.
    x, y = make_ndarray(a.tensor), make_ndarray(b.tensor)
    return x.shape == y.shape and (bool(np.all(x == y)) if x.dtype.hasobject else x.tobytes() == y.tobytes())


def _line(message: Any) -> str:
    return " ".join(protos.to_text(message).split())


def _summary(node: Any) -> str:
    attrs = ", ".join(f"{name}={_line(value)}" for name, value in sorted(_public_attrs(node).items()))
    return f"{node.name} = {node.op}[{attrs}]({', '.join(node.input)})"
