"""Columns: the graphs, values and collections of TensorFlow 1.15.5 (tests/golden/feature_column)."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf

FOLDER = Path(__file__).parents[2] / "golden" / "feature_column"
RECORDED = json.loads(gzip.decompress((FOLDER / "tensorflow_1.15.5.json.gz").read_bytes()))


def _programs() -> Any:
    spec = importlib.util.spec_from_file_location("feature_column_programs", FOLDER / "programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROGRAMS


PROGRAMS = _programs()


def test_every_program_is_recorded():
    assert set(PROGRAMS) == set(RECORDED)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_graphs_values_and_collections(name):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        fetches, feeds = PROGRAMS[name](tf)
        session.run(graph.get_collection("table_initializer"))
        session.run(tf.global_variables_initializer())
        values = session.run(fetches, feeds)
    expected = RECORDED[name]
    assert [[n.name, n.op, list(n.input)] for n in graph.as_graph_def().node] == expected["nodes"]
    assert [str(t.shape) for t in fetches] == expected["shapes"]
    for found, value in zip(values, expected["values"], strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    assert {
        key: [x.name for x in graph.get_collection(key) if hasattr(x, "name")]
        for key in graph.get_all_collection_keys()
    } == expected["collections"]
