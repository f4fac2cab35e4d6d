"""Programs with variables build the graphs that TensorFlow 1.15.5 builds: names, ops, inputs, places."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kvarn import dtypes
from kvarn.graph import convert, graph, tensor, tensor_shape
from kvarn.ops import array, reduction
from kvarn.variables import initializers, partitioners, scope, variable

GOLDEN = Path(__file__).parents[2] / "golden" / "variables"
RECORDED = json.loads((GOLDEN / "graphs.json").read_text())


def _load_programs() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("golden_variable_programs", GOLDEN / "programs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROGRAMS


PROGRAMS = _load_programs()


class _Names:
    """The names of `tf` that the programs use, looked up in the modules that define them."""

    Variable = variable.VariableV1
    constant_initializer = initializers.Constant
    _modules: tuple[ModuleType, ...] = (
        variable,
        scope,
        partitioners,
        initializers,
        graph,
        convert,
        tensor,
        tensor_shape,
        dtypes,
        array,
        reduction,
    )

    def __getattr__(self, name: str) -> Any:
        for module in self._modules:
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(name)


def test_all_programs_are_recorded() -> None:
    assert sorted(PROGRAMS) == sorted(RECORDED)


def _node(node: Any) -> dict[str, Any]:
    entry = {"name": node.name, "op": node.op, "inputs": list(node.input)}
    if node.device:
        entry["device"] = node.device
    groups = [g.decode() for g in node.attr["_class"].list.s]
    if groups:
        entry["class"] = groups
    return entry


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def built(request: pytest.FixtureRequest) -> tuple[str, list[dict[str, Any]], Any]:
    with graph.Graph().as_default() as g:
        result = PROGRAMS[request.param](_Names())
        nodes = [_node(node) for node in g.as_graph_def().node]
    return request.param, nodes, json.loads(json.dumps(result))


def test_nodes(built: tuple[str, list[dict[str, Any]], Any]) -> None:
    name, nodes, _ = built
    expected = RECORDED[name]["nodes"]
    for got, wanted in zip(nodes, expected, strict=False):
        assert got == wanted
    assert [n["name"] for n in nodes] == [n["name"] for n in expected]


def test_values_and_messages(built: tuple[str, list[dict[str, Any]], Any]) -> None:
    name, _, result = built
    expected = RECORDED[name]["result"]
    assert (result is None) == (expected is None)
    for key in expected or ():
        assert result[key] == expected[key], key
