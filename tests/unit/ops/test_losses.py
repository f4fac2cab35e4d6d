"""tf.losses: the graphs and values of TensorFlow 1.15.5 (tests/golden/losses), and what is refused."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvarn as tf
from kvarn.ops.sets import dense_to_dense_set_operation
from kvarn.ops.weights_broadcast import assert_broadcastable, broadcast_weights

FOLDER = Path(__file__).parents[2] / "golden" / "losses"
RECORDED = json.loads(gzip.decompress((FOLDER / "tensorflow_1.15.5.json.gz").read_bytes()))


def _programs() -> Any:
    spec = importlib.util.spec_from_file_location("losses_programs", FOLDER / "programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROGRAMS


PROGRAMS = _programs()


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as g:
        yield g


def test_every_program_is_recorded():
    assert set(PROGRAMS) == set(RECORDED)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_graphs_and_values(graph, name):
    with tf.Session() as session:
        fetches, feeds = PROGRAMS[name](tf)
        values = session.run(fetches, feeds)
    expected = RECORDED[name]
    assert [[n.name, n.op, list(n.input)] for n in graph.as_graph_def().node] == expected["nodes"]
    for found, value in zip(
        values if isinstance(values, list) else [values], expected["values"], strict=True
    ):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    assert [t.name for t in tf.losses.get_losses()] == expected["losses"]


def test_what_is_refused():
    x = tf.constant([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"labels must not be None\."):
        tf.losses.mean_squared_error(None, x)
    with pytest.raises(ValueError, match=r"logits must not be None\."):
        tf.losses.hinge_loss(x, None)
    with pytest.raises(ValueError, match="You must specify 'axis'"):
        tf.losses.cosine_distance(x, x)
    with pytest.raises(ValueError, match="Cannot specify both"):
        tf.losses.cosine_distance(x, x, axis=1, dim=1)
    with pytest.raises(ValueError, match=r"Invalid Reduction Key product\."):
        tf.losses.compute_weighted_loss(x, reduction="product")
    with pytest.raises(ValueError, match="are incompatible"):
        tf.losses.log_loss(x, tf.constant([1.0]))
    with pytest.raises(
        ValueError, match=r"weights can not be broadcast to values\. values\.rank=2\. weights\.rank=1"
    ):
        tf.losses.huber_loss(x, x, weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="Mismatch at dim 1"):
        tf.losses.huber_loss(x, x, weights=[[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("weights", "fits"),
    [
        ([[2.0]], True),
        ([[1.0, 2.0], [3.0, 4.0]], True),
        (5.0, True),
        ([1.0, 2.0], False),
        ([[1.0, 2.0, 3.0]], False),
    ],
)
def test_weights_that_are_known_at_run_time(weights, fits):
    fed = tf.placeholder(tf.float32)
    values = tf.placeholder(tf.float32, [None, 2])
    checked, broad = assert_broadcastable(fed, values), broadcast_weights(fed, values)
    feeds = {fed: weights, values: np.zeros([2, 2])}
    with tf.Session() as session:
        if fits:
            session.run(checked, feeds)
            assert session.run(broad, feeds).tolist() == np.broadcast_to(weights, [2, 2]).tolist()
        else:
            with pytest.raises(
                tf.errors.InvalidArgumentError, match="weights can not be broadcast to values"
            ):
                session.run(checked, feeds)


@pytest.mark.parametrize(
    ("operation", "indices", "values", "shape"),
    [
        ("a-b", [[0, 0], [1, 0], [1, 1]], [3, 4, 9], [2, 2]),
        ("b-a", [[1, 0]], [5], [2, 1]),
        ("intersection", [[0, 0], [0, 1]], [1, 2], [2, 2]),
        ("union", [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]], [1, 2, 3, 4, 5, 9], [2, 3]),
    ],
)
def test_sets(operation, indices, values, shape):
    found = dense_to_dense_set_operation(
        [[3, 1, 2, 1], [9, 4, 9, 4]], [[2, 1], [5, 5]], set_operation=operation
    )
    assert [t.static_shape for t in found] == [(None, 2), (None,), (2,)]
    with tf.Session() as session:
        got = session.run(tuple(found))
    assert [v.tolist() for v in got] == [indices, values, shape]


def test_sets_of_strings_and_of_groups_that_differ():
    with tf.Session() as session:
        got = session.run(dense_to_dense_set_operation([["b", "a"]], [["a"]], set_operation="a-b"))
        assert got.result_values.tolist() == [b"b"]
        a, b = tf.placeholder(tf.int32), tf.placeholder(tf.int32)
        with pytest.raises(tf.errors.InvalidArgumentError, match="Mismatched group shapes"):
            session.run(dense_to_dense_set_operation(a, b, set_operation="a-b"), {a: [[1]], b: [[1], [2]]})
        with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid set_operation"):
            session.run(dense_to_dense_set_operation([[1]], [[1]], set_operation="product"))
    with pytest.raises(ValueError, match="rank"):
        dense_to_dense_set_operation([1], [[1]], set_operation="a-b")
