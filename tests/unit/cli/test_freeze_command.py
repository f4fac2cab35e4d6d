"""`kvarn freeze`: of SavedModels and of graphs beside checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn import protos
from kvarn.testing.commands import run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    with tf.Graph().as_default(), tf.Session() as sess:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        w = tf.get_variable("w", initializer=[[1.0], [2.0]], use_resource=True)
        y = tf.identity(tf.matmul(x, w) * tf.sqrt(tf.constant(4.0)), name="y")
        sess.run(tf.global_variables_initializer())
        tf.train.Saver().save(sess, str(tmp_path / "ckpt"))
        tf.saved_model.simple_save(sess, str(tmp_path / "model"), {"x": x}, {"y": y})
    return tmp_path


def result(path: Path) -> np.ndarray:
    graph_def = protos.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(graph_def, name="")
        return sess.run("y:0", {"x:0": [[1.0, 10.0]]})


def test_a_saved_model_by_its_signature(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = model / "frozen.pb"
    status, out, err = run(capsys, "freeze", str(model / "model"), str(target))
    assert status == 0, err
    size = target.stat().st_size
    assert out.splitlines() == [
        f"{target}: 8 nodes, 2 of them constants, {size} bytes",
        "  inputs: x",
        "  outputs: y",
    ]
    np.testing.assert_array_equal(result(target), [[42.0]])


def test_with_transforms_as_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = model / "frozen.pb"
    transforms = ["--transform", "remove_nodes(op=Identity)", "--transform", "fold_constants"]
    status, out, err = run(capsys, "freeze", str(model / "model"), str(target), *transforms, "--json")
    assert status == 0, err
    document = json.loads(out)
    assert document == {
        "target": str(target), "bytes": target.stat().st_size, "nodes": 6, "constants": 2, "inputs": ["x"],
        "outputs": ["y"],
    }  # fmt: skip
    np.testing.assert_array_equal(result(target), [[42.0]])


def test_a_meta_graph(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = model / "frozen.pb"
    status, _out, err = run(capsys, "freeze", str(model / "ckpt.meta"), str(target), "--output", "y")
    assert status == 0, err
    np.testing.assert_array_equal(result(target), [[42.0]])
    status, _, err = run(capsys, "freeze", str(model / "ckpt.meta"), str(target), "--output", "y")
    assert status == 2
    assert "--overwrite replaces it" in " ".join(err.split())
    status, _, _ = run(
        capsys, "freeze", str(model / "ckpt.meta"), str(target), "--output", "y", "--overwrite"
    )
    assert status == 0


def test_what_is_missing_is_said(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(model / "frozen.pb")
    for arguments, message in (
        (["ckpt.meta"], "does not say what its graph is for"),
        (["model", "--signature", "other"], "has no signature 'other': serving_default"),
        (["model", "--tags", "train"], "MetaGraphDef associated with tag-set train"),
        (["model", "--output", "gone"], "gone is not in graph"),
        (
            ["ckpt.meta", "--output", "y", "--checkpoint", "nowhere"],
            "Input checkpoint 'nowhere' doesn't exist!",
        ),
        (
            ["model", "--transform", "quantize_weights"],
            "kvarn does not have the transform 'quantize_weights'",
        ),
    ):
        status, _out, err = run(capsys, "freeze", str(model / arguments[0]), target, *arguments[1:])
        assert status == 2, arguments
        assert message in " ".join(err.replace("│", " ").split()), err
        assert not Path(target).exists()
