"""Whole graphs of TensorFlow, with while loops and functions, in and out again.

Their ops are defined by the op lists that their own meta graphs carry, so that nothing here depends on which
ops are shipped.
"""

from __future__ import annotations

import pathlib

import pytest

from kvarn import protos
from kvarn.graph import meta_graph, op_def, registry
from kvarn.graph.graph import Graph
from kvarn.graph.importer import import_graph_def
from kvarn.graph.registry import OpRegistrationData, OpRegistry

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "graphs"
CASES = ["graph_control", "graph_functional"]


@pytest.fixture
def meta(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    found = meta_graph.read_meta_graph_file(GOLDEN / request.param / "model.ckpt.meta")
    ops = OpRegistry()
    for definition in found.meta_info_def.stripped_op_list.op:
        ops.register_data(OpRegistrationData(op_def.from_proto(definition)))
    monkeypatch.setattr(registry, "global_registry", ops)
    return found


@pytest.mark.parametrize("meta", CASES, indirect=True)
def test_a_meta_graph_comes_out_as_it_went_in(meta: object) -> None:
    with Graph().as_default() as graph:
        meta_graph.import_scoped_meta_graph(meta, restore_collections_predicate=lambda key: False)
        again = meta_graph.create_meta_graph_def(graph=graph)
    assert len(again.graph_def.node) > 40
    for new, old in zip(
        sorted(again.graph_def.node, key=lambda n: n.name),
        sorted(meta.graph_def.node, key=lambda n: n.name),
        strict=True,
    ):
        assert new == old
    assert sorted(f.signature.name for f in again.graph_def.library.function) == sorted(
        f.signature.name for f in meta.graph_def.library.function
    )
    assert again.graph_def.versions.producer == meta.graph_def.versions.producer
    assert again.meta_info_def.stripped_op_list == meta.meta_info_def.stripped_op_list


@pytest.mark.parametrize("meta", CASES, indirect=True)
def test_a_scope_around_it_changes_names_only(meta: object) -> None:
    with Graph().as_default() as graph:
        import_graph_def(meta.graph_def, name="deep/er")
        prefix = "deep/er/"
        for op in graph.get_operations():
            assert op.name.startswith(prefix)
        again = graph.as_graph_def()
    old = {n.name: n for n in meta.graph_def.node}
    for node in again.node:
        want = [i.replace("^", "^" + prefix) if i[0] == "^" else prefix + i for i in old[node.name[8:]].input]
        assert list(node.input) == want


@pytest.mark.parametrize("meta", ["graph_control"], indirect=True)
def test_loops_are_closed(meta: object) -> None:
    with Graph().as_default() as graph:
        import_graph_def(meta.graph_def, name="")
        merges = [op for op in graph.get_operations() if op.type == "Merge"]
        closing = [op for op in merges if any(x.op.type == "NextIteration" for x in op.inputs)]
        assert closing
        for op in closing:
            assert all(op in x.consumers() for x in op.inputs)
            entered = next(x for x in op.inputs if x.op.type == "Enter")
            assert entered.consumers().count(op) == 1
            assert entered._consumers.count(op) == 1


@pytest.mark.parametrize("meta", ["graph_control"], indirect=True)
def test_the_frozen_graph_imports_too(meta: object) -> None:
    frozen = protos.GraphDef.FromString((GOLDEN / "graph_control" / "frozen.pb").read_bytes())
    with Graph().as_default() as graph:
        import_graph_def(frozen, name="")
        again = graph.as_graph_def()
    assert {n.name: list(n.input) for n in again.node} == {n.name: list(n.input) for n in frozen.node}


@pytest.mark.parametrize("case", CASES)
def test_shipped_ops_are_defined_as_tensorflow_defines_them(case: str) -> None:
    meta = meta_graph.read_meta_graph_file(GOLDEN / case / "model.ckpt.meta")
    compared = 0
    for wanted in meta.meta_info_def.stripped_op_list.op:
        data = registry.global_registry.find(wanted.name)
        if data is not None:
            assert data.op_def.to_proto() == wanted
            compared += 1
    assert compared >= 12
