"""What transforms make of graphs gives the numbers of the graph before; what there is not is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors, protos
from kvarn.graph.transforms.strip_unused import strip_unused_from_files
from kvarn.graph.transforms.transform_graph import TransformGraph


def dense() -> protos.GraphDef:
    """y = ((identity of x) w) scale + bias, where scale and bias are computed from constants and a shape."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder_with_default(tf.zeros([2, 3]), [None, 3], name="x")
        w = tf.constant(np.arange(6.0, dtype=np.float32).reshape(3, 2) - 2)
        scale = tf.sqrt(tf.constant([4.0, 9.0]), name="scale")
        bias = tf.cast(tf.raw_ops.Shape(input=w), tf.float32) * 0.5
        y = tf.add(tf.multiply(tf.matmul(tf.identity(tf.check_numerics(x, "x")), w), scale), bias, name="y")
        tf.identity(y, name="unused")
    return graph.as_graph_def()


def run(graph_def: protos.GraphDef) -> np.ndarray:
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(graph_def, name="")
        return sess.run("y:0", {"x:0": [[1.0, 2.0, 3.0], [-1.0, 0.5, 4.0]]})


def test_the_usual_transforms_give_equal_numbers() -> None:
    before = dense()
    after = TransformGraph(
        before,
        ["x"],
        ["y"],
        [
            'strip_unused_nodes(shape="2,3")',
            "remove_nodes(op=Identity, op=CheckNumerics)",
            "fold_constants(ignore_errors=true)",
            "fold_batch_norms",
            "sort_by_execution_order",
        ],
    )
    assert sorted(node.op for node in after.node) == ["Add", "Const", "Const", "MatMul", "Placeholder"]
    np.testing.assert_allclose(run(after), run(before), rtol=1e-6)


def test_an_input_with_a_default_becomes_a_placeholder() -> None:
    after = TransformGraph(dense(), ["x"], ["y"], ["fold_constants"])
    (x,) = [node for node in after.node if node.name == "x"]
    assert x.op == "Placeholder"
    assert list(x.input) == []
    np.testing.assert_array_equal(run(after), run(dense()))


def test_large_constants_are_not_made() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [], name="x")
        tf.multiply(x, tf.fill([1000], 2.0, name="twos"), name="y")
    graph_def = graph.as_graph_def()
    folded = TransformGraph(graph_def, ["x"], ["y"], ["fold_constants"])
    assert "Fill" not in [node.op for node in folded.node]
    kept = TransformGraph(graph_def, ["x"], ["y"], ["fold_constants(max_constant_size_in_bytes=3999)"])
    assert "Fill" in [node.op for node in kept.node]


def test_ops_that_cannot_be_run_are_not_folded() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [], name="x")
        noise = tf.random_uniform([], seed=3)
        tf.add(x, noise * (tf.sqrt(tf.constant(4.0)) + 1.0), name="y")
    ops = [n.op for n in TransformGraph(graph.as_graph_def(), ["x"], ["y"], ["fold_constants"]).node]
    assert "RandomUniform" in ops
    assert "Sqrt" not in ops


def test_transforms_that_there_are_not() -> None:
    with pytest.raises(
        errors.UnimplementedError, match=r"transform 'quantize_weights'(?s:.*)fold_constants"
    ) as caught:
        TransformGraph(dense(), ["x"], ["y"], ["quantize_weights"])
    assert caught.value.name == "quantize_weights"
    with pytest.raises(errors.InvalidArgumentError, match="Transform 'fold' not recognized"):
        TransformGraph(dense(), ["x"], ["y"], ["fold"])


def test_functions_stay() -> None:
    graph_def = dense()
    graph_def.library.function.add().signature.name = "f"
    assert TransformGraph(graph_def, ["x"], ["y"], ["remove_device"]).library == graph_def.library
    assert TransformGraph(graph_def, ["x"], ["y"], []) == graph_def


def test_a_missing_input_is_found() -> None:
    graph_def = protos.from_text('node { name: "a" op: "Identity" input: "gone" }', protos.GraphDef())
    with pytest.raises(
        errors.InternalError, match="Invalid graph with inputs referring to nonexistent nodes"
    ):
        TransformGraph(graph_def, [], ["a"], ["remove_device"])


@pytest.mark.parametrize("binary", [False, True])
def test_strip_unused_from_files(tmp_path: Path, capsys: pytest.CaptureFixture, binary: bool) -> None:
    path, target = tmp_path / "graph", tmp_path / "stripped"
    tf.train.write_graph(dense(), str(tmp_path), "graph", as_text=not binary)
    kind = tf.float32.as_datatype_enum
    assert strip_unused_from_files(path, binary, target, not binary, "x", "y", kind) is None
    data = target.read_bytes()
    stripped = protos.from_text(data, protos.GraphDef()) if binary else protos.GraphDef.FromString(data)
    assert "unused" not in [node.name for node in stripped.node]
    assert capsys.readouterr().out == f"{len(stripped.node)} ops in the final graph.\n"
    np.testing.assert_array_equal(run(stripped), run(dense()))
    assert strip_unused_from_files(tmp_path / "gone", True, target, True, "x", "y", kind) == -1
    assert strip_unused_from_files(path, True, target, True, "x", "", kind) == -1
