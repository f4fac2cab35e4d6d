"""Calls become nodes as TensorFlow 1.15.5 does it (tests/golden/transforms/record_functions.py)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import kvarn as tf
from kvarn import errors, protos
from kvarn.graph.transforms.inline_functions import inline_functions
from kvarn.graph.transforms.tf_optimizer import OptimizeGraph

RECORDED = json.loads(
    gzip.decompress((Path(__file__).parents[3] / "golden" / "transforms" / "functions.json.gz").read_bytes())
)


def parsed(text: str) -> Any:
    return protos.from_text(text, protos.GraphDef())


def nodes(graph_def: Any) -> dict[str, tuple[str, list[str], str, Any]]:
    return {
        n.name: (n.op, list(n.input), n.device, n.attr["T"].SerializeToString() if "T" in n.attr else b"")
        for n in graph_def.node
    }


def meta_graph(case: dict[str, Any]) -> Any:
    made = protos.MetaGraphDef(graph_def=parsed(case["graph"]))
    made.collection_def["train_op"].node_list.value.extend(case["fetches"])
    return made


def config(*optimizers: str, min_graph_nodes: int = -1) -> Any:
    made = protos.ConfigProto()
    made.graph_options.rewrite_options.optimizers.extend(optimizers)
    made.graph_options.rewrite_options.min_graph_nodes = min_graph_nodes
    return made


@pytest.mark.parametrize("case", RECORDED, ids=lambda c: c["name"])
def test_as_recorded(case: dict[str, Any]) -> None:
    got = OptimizeGraph(config("function", min_graph_nodes=case["min_graph_nodes"]), meta_graph(case))
    wanted = parsed(case["made"])
    assert nodes(got) == nodes(wanted)
    names = [{f.signature.name for f in g.library.function} for g in (got, wanted)]
    assert names[0] == names[1]


def test_the_inlined_graph_gives_the_same_numbers() -> None:
    case = next(c for c in RECORDED if c["name"] == "nested_calls")
    results = []
    for graph_def in (parsed(case["graph"]), inline_functions(parsed(case["graph"]), case["fetches"])):
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            with tf.Session(graph=graph) as session:
                results.append(session.run(["out:0", "third:0"], {"a:0": 3.0}))
    assert results[0] == results[1]


def case_call(graph_def: Any) -> str:
    """The name of the one call in a graph."""
    names = {f.signature.name for f in graph_def.library.function}
    (call,) = [node.name for node in graph_def.node if node.op in names]
    return str(call)


def test_a_function_that_calls_itself_is_inlined_once() -> None:
    case = next(c for c in RECORDED if c["name"] == "fetched_call")
    graph_def = parsed(case["graph"])
    function = graph_def.library.function[0]
    function.node_def[0].op = function.signature.name
    function.ret[function.signature.output_arg[0].name] = (
        f"{function.node_def[0].name}:{function.signature.output_arg[0].name}:0"
    )
    inlined = inline_functions(graph_def)
    assert [node.name for node in inlined.node if node.op == function.signature.name] == [
        f"{case_call(graph_def)}/{function.node_def[0].name}"
    ]
    assert [f.signature.name for f in inlined.library.function] == [function.signature.name]


def test_other_optimizers_leave_the_calls() -> None:
    case = next(c for c in RECORDED if c["name"] == "call_that_waits")
    assert OptimizeGraph(config("pruning"), meta_graph(case)) == parsed(case["graph"])


def test_what_is_missing_is_said() -> None:
    with pytest.raises(TypeError, match="Expected config_proto to be a ConfigProto"):
        OptimizeGraph(None, protos.MetaGraphDef())
    with pytest.raises(errors.InvalidArgumentError, match="Failed to import metagraph"):
        OptimizeGraph(config("function"), protos.MetaGraphDef())
