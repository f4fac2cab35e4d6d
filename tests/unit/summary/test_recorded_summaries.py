"""Summary operations and functions make what TensorFlow 1.15.5 makes of the same (tests/golden/summaries)."""

import base64
import gzip
import importlib.util
import json
from pathlib import Path

import pytest

import kvarn as tf
from kvarn import protos
from kvarn.compat.tensorflow.gen_ops import GeneratedOps
from kvarn.summary import logging_ops
from kvarn.train import summary_ops_v2

GOLDEN = Path(__file__).parents[2] / "golden" / "summaries"


@pytest.fixture(scope="module")
def recorded():
    return json.loads(gzip.decompress((GOLDEN / "tensorflow_1.15.5.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def cases():
    spec = importlib.util.spec_from_file_location("summary_cases", GOLDEN / "cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_messages_and_errors(recorded, cases):
    with tf.Graph().as_default(), tf.Session() as session:
        made = cases.operations(tf, GeneratedOps("gen_logging_ops"))
        assert made.keys() == recorded["operations"].keys()
        for name, tensor in made.items():
            try:
                found = base64.b64encode(session.run(tensor)).decode()
            except tf.errors.OpError as error:
                found = [type(error).__name__, error.message.split("\n")[0]]
            assert found == recorded["operations"][name], name


def test_graph(recorded, cases):
    with tf.Graph().as_default() as graph:
        collections = cases.graph(tf)
    assert collections == recorded["collections"]
    _compare(graph, recorded["graph"])


def test_tagged(recorded, cases):
    with tf.Graph().as_default() as graph:
        assert cases.tagged(tf, logging_ops) == recorded["tagged"]["collections"]
    _compare(graph, recorded["tagged"]["graph"])


def _compare(graph, recorded):
    want = protos.GraphDef.FromString(base64.b64decode(recorded))
    assert [n.name for n in graph.as_graph_def().node] == [n.name for n in want.node]
    for node, theirs in zip(graph.as_graph_def(add_shapes=True).node, want.node, strict=True):
        assert node == theirs, node.name


def test_session_writer(recorded, cases, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    want = recorded["session_writer"]
    with tf.Graph().as_default() as graph:
        assert cases.session_writer(tf, summary_ops_v2) == want["names"]
    _compare(graph, want["graph"])
    (path,) = (tmp_path / "logs").iterdir()
    assert path.name.endswith(".v2")
    assert [base64.b64encode(e).decode() for e in cases.events_in(tf, path)] == want["events"]
