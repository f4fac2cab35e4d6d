"""Graphs of TensorFlow 2.x whose nodes have attributes that 1.15 does not know."""

from __future__ import annotations

import pytest

from kvarn import protos
from kvarn.graph import newer_attrs, registry
from kvarn.graph.graph import Graph
from kvarn.graph.importer import import_graph_def

NODES = """
    node { name: "a" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
           attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 1 } }
                                                float_val: 2 } } } }
    node { name: "m" op: "MatMul" input: "a" input: "a" attr { key: "T" value { type: DT_FLOAT } }
           attr { key: "grad_a" value { b: true } } }
    node { name: "v" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } }
           attr { key: "shape" value { shape { } } } attr { key: "debug_name" value { s: "scope/v" } }
           attr { key: "allowed_devices" value { list { } } } }
    node { name: "t" op: "TopKV2" input: "a" input: "k" attr { key: "T" value { type: DT_FLOAT } }
           attr { key: "index_type" value { type: INDEX } } }
    node { name: "k" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
           attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 1 } } } }
"""


def test_what_says_nothing_is_left_out() -> None:
    with Graph().as_default() as graph:
        import_graph_def(protos.from_text(NODES.replace("INDEX", "DT_INT32"), protos.GraphDef()), name="")
        attrs = {op.name: set(op.node_def.attr) for op in graph.get_operations()}
    assert "grad_a" not in attrs["m"]
    assert attrs["v"] == {"dtype", "shape", "container", "shared_name"}
    assert "index_type" not in attrs["t"]


def test_what_says_something_is_refused() -> None:
    with (
        Graph().as_default(),
        pytest.raises(ValueError, match="NodeDef mentions attr 'index_type' not in Op<name=TopKV2"),
    ):
        import_graph_def(protos.from_text(NODES.replace("INDEX", "DT_INT64"), protos.GraphDef()), name="")


def test_no_op_of_115_has_them() -> None:
    for op_type, name in [*newer_attrs._defaults(), *newer_attrs._LABELS]:
        data = registry.global_registry.find(op_type)
        assert data is None or name not in data.op_def.attr_by_name, (op_type, name)
