"""Transforms give the graphs and errors that TensorFlow 1.15.5 gives (tests/golden/transforms/record.py)."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from kvarn import errors, protos
from kvarn.graph.transforms.optimize_for_inference import optimize_for_inference
from kvarn.graph.transforms.strip_unused import strip_unused
from kvarn.graph.transforms.transform_graph import TransformGraph

RECORDED = json.loads(
    gzip.decompress((Path(__file__).parents[3] / "golden" / "transforms" / "transforms.json.gz").read_bytes())
)
FUNCTIONS = {
    "TransformGraph": TransformGraph,
    "optimize_for_inference": optimize_for_inference,
    "strip_unused": strip_unused,
}
# What it counts up over a process, and so begins anywhere.
COUNTED = re.compile(r"__cf__\d+")


def parsed(text: str) -> protos.GraphDef:
    return protos.from_text(text, protos.GraphDef())


def nodes(graph_def: protos.GraphDef, ordered: bool) -> list[str]:
    found = [COUNTED.sub("__cf__", protos.to_text(node)) for node in graph_def.node]
    return found if ordered else sorted(found)


@pytest.mark.parametrize(
    "case", RECORDED["cases"], ids=lambda c: f"{c['on']}-{c['function']}-{json.dumps(c['arguments'])}"
)
def test_as_recorded(case: dict) -> None:
    graph_def = parsed(RECORDED["graphs"][case["on"]])
    before = graph_def.SerializeToString(deterministic=True)
    function = FUNCTIONS[case["function"]]
    if "error" in case:
        error = (
            getattr(errors, case["error"], None)
            or {"KeyError": KeyError, "ValueError": ValueError}[case["error"]]
        )
        with pytest.raises(error) as caught:
            function(graph_def, *case["arguments"])
        assert str(caught.value).startswith(case["message"])
    else:
        got = function(graph_def, *case["arguments"])
        wanted = parsed(case["graph"])
        # Inputs that are left over come in the order of a hash table.
        ordered = "fold_constants" not in str(case["arguments"])
        assert nodes(got, ordered) == nodes(wanted, ordered)
        assert got.versions == wanted.versions
    assert graph_def.SerializeToString(deterministic=True) == before
