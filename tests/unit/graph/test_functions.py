"""Graphs that call functions, as TensorFlow 1.15.5 wrote them: what it computes comes out here."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import kvarn as tf
from kvarn import errors

GOLDEN = Path(__file__).parents[2] / "golden" / "functions" / "graphs.json.gz"
CASES = {c["name"]: c for c in json.loads(gzip.decompress(GOLDEN.read_bytes()))["cases"]}


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def imported(name: str, scope: str = "") -> dict[str, Any]:
    case: dict[str, Any] = CASES[name]
    tf.import_graph_def(text_format.Parse(case["graph"], tf.GraphDef()), name=scope)
    return case


@pytest.mark.parametrize("name", CASES)
def test_recorded_graphs(name: str) -> None:
    case = imported(name)
    with tf.Session() as sess:
        if case["init"]:
            sess.run(case["init"])
        for run in case["runs"]:
            for fetch, (dtype, shape, elements) in zip(case["fetches"], run["out"], strict=True):
                found = np.asarray(sess.run(fetch, run["feeds"]))
                assert (str(found.dtype), list(found.shape)) == (dtype, shape)
                np.testing.assert_allclose(found.ravel(), elements, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_written_again(name: str, graph: tf.Graph) -> None:
    case = imported(name)
    again = graph.as_graph_def()
    with tf.Graph().as_default():
        tf.import_graph_def(again, name="")
        with tf.Session() as sess:
            if case["init"]:
                sess.run(case["init"])
            run = case["runs"][0]
            for fetch, (_, _, elements) in zip(case["fetches"], run["out"], strict=True):
                found = np.asarray(sess.run(fetch, run["feeds"]))
                np.testing.assert_allclose(found.ravel(), elements, rtol=1e-6)


def test_gradients_of_imported_calls(graph: tf.Graph) -> None:
    imported("partitioned_calls")
    x, y = graph.get_tensor_by_name("x:0"), graph.get_tensor_by_name("y:0")
    call = next(op for op in graph.get_operations() if "PartitionedCall" in op.type)
    grads = tf.gradients(call.outputs[1], [x, y])
    with tf.Session() as sess:
        assert sess.run(grads, {x: 2.0, y: 3.0}) == [3.0, 2.0]


def test_a_function_that_is_not_there(graph: tf.Graph) -> None:
    definition = text_format.Parse(CASES["partitioned_calls"]["graph"], tf.GraphDef())
    del definition.library.function[:]
    tf.import_graph_def(definition, name="")
    call = next(op for op in graph.get_operations() if "PartitionedCall" in op.type)
    with tf.Session() as sess, pytest.raises(errors.NotFoundError, match="is not defined"):
        sess.run(call.outputs[0], {"x:0": 1.0, "y:0": 1.0})


def test_an_endless_loop_ends_with_its_time(graph: tf.Graph) -> None:
    definition = text_format.Parse(CASES["loops"]["graph"], tf.GraphDef())
    for function in definition.library.function:
        for node in function.node_def:
            if node.op == "Less":
                node.op = "LessEqual"
                node.input[1] = node.input[0]
    tf.import_graph_def(definition, name="")
    loop = next(op for op in graph.get_operations() if op.type == "While")
    with tf.Session() as sess, pytest.raises(errors.DeadlineExceededError):
        sess.run(loop.outputs[0], {"i:0": 0, "x:0": 1.0}, options=tf.RunOptions(timeout_in_ms=50))
