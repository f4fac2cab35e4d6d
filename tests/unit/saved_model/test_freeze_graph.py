"""Frozen graphs from all that a graph and its variables can be given as."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn import protos
from kvarn.saved_model import freeze_graph as tool
from kvarn.saved_model import saved_model_utils


@pytest.fixture(params=[False, True], ids=["reference", "resource"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """y = 2 x v + table[i], with v = 3 and table = [[1, 2], [3, 4]], saved in all forms."""
    with tf.Graph().as_default(), tf.device("/cpu:0"):
        x = tf.placeholder(tf.float32, [], name="x")
        v = tf.get_variable("v", initializer=0.0, use_resource=request.param)
        table = tf.get_variable("table", initializer=[[1.0, 2.0], [3.0, 4.0]], use_resource=request.param)
        rows = tf.nn.embedding_lookup(table, tf.constant([1, 0]))
        y = tf.add(2.0 * x * v, rows, name="y")
        v.assign_add(1.0, name="training")
        tf.group(v.assign(5.0), name="start")
        tf.train.create_global_step()
        saver = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            sess.run(v.assign(3.0))
            saver.save(sess, str(tmp_path / "ckpt"))
            tf.train.write_graph(sess.graph, str(tmp_path), "graph.pbtxt")
            tf.train.write_graph(saver.to_proto(), str(tmp_path), "saver.pbtxt")
            tf.saved_model.simple_save(sess, str(tmp_path / "model"), {"x": x}, {"y": y})
    return tmp_path


def freeze(model: Path, **changes: object) -> protos.GraphDef:
    arguments: dict = {
        "input_graph": str(model / "graph.pbtxt"),
        "input_saver": "",
        "input_binary": False,
        "input_checkpoint": str(model / "ckpt"),
        "output_node_names": "y",
        "restore_op_name": None,
        "filename_tensor_name": None,
        "output_graph": str(model / "frozen.pb"),
        "clear_devices": True,
        "initializer_nodes": "",
        **changes,
    }
    with tf.Graph().as_default():
        return tool.freeze_graph(**arguments)


def run(graph_def: protos.GraphDef) -> np.ndarray:
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(graph_def, name="")
        return sess.run("y:0", {"x:0": 10.0})


def test_every_form_gives_the_same(model: Path) -> None:
    forms = [
        {},
        {"input_saver": str(model / "saver.pbtxt")},
        {"input_graph": "", "input_meta_graph": str(model / "ckpt.meta"), "input_binary": True},
        {"input_graph": "", "input_checkpoint": "", "input_saved_model_dir": str(model / "model")},
    ]
    for form in forms:
        frozen = freeze(model, **form)
        assert not any(n.device or "Var" in n.op or "Resource" in n.op for n in frozen.node)
        assert "training" not in [n.name for n in frozen.node]
        np.testing.assert_array_equal(run(frozen), [[63.0, 64.0], [61.0, 62.0]])
        stored = protos.GraphDef.FromString((model / "frozen.pb").read_bytes())
        assert stored == frozen


def test_initializers_run_after_the_restore(model: Path) -> None:
    np.testing.assert_array_equal(
        run(freeze(model, initializer_nodes="start")), [[103.0, 104.0], [101.0, 102.0]]
    )


def test_some_variables_stay(model: Path) -> None:
    assert not {"v"} & {n.name for n in freeze(model).node if n.op in ("VariableV2", "VarHandleOp")}
    for changes in ({"variable_names_blacklist": "v"}, {"variable_names_whitelist": " table , other"}):
        frozen = freeze(model, **changes)
        assert [n.name for n in frozen.node if n.op in ("VariableV2", "VarHandleOp")] == ["v"]


def test_refused(model: Path) -> None:
    for error, message, changes in (
        (ValueError, "Input checkpoint '.*gone' doesn't exist!", {"input_checkpoint": str(model / "gone")}),
        (ValueError, "You need to supply the name of a node", {"output_node_names": ""}),
        (OSError, "Input graph file 'gone' does not exist!", {"input_graph": "gone"}),
        (OSError, "(?s)Cannot parse binary file .*set input_binary to False", {"input_binary": True}),
        (OSError, "(?s)Cannot parse text file", {"input_graph": str(model / "ckpt.meta")}),
        (AssertionError, "gone is not in graph", {"output_node_names": "y, gone"}),
        (
            RuntimeError,
            "MetaGraphDef associated with tag-set a,b could not be found",
            {"input_saved_model_dir": str(model / "model"), "saved_model_tags": "a,b"},
        ),
    ):
        with pytest.raises(error, match=message):
            freeze(model, **changes)


def test_twice(model: Path) -> None:
    """A frozen graph has constants by the names of the variables, which no Saver takes."""
    freeze(model)
    with pytest.raises(ValueError, match="You cannot freeze a graph twice"):
        freeze(model, input_graph=str(model / "frozen.pb"), input_binary=True)


def test_partitioned_variables_need_a_saved_model(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        x = tf.placeholder(tf.float32, [], name="x")
        w = tf.get_variable(
            "p/w", [4], partitioner=tf.fixed_size_partitioner(1), initializer=tf.ones_initializer()
        )
        y = tf.multiply(x, tf.convert_to_tensor(w), name="y")
        sess.run(tf.global_variables_initializer())
        tf.train.Saver().save(sess, str(tmp_path / "ckpt"))
        tf.train.write_graph(sess.graph, str(tmp_path), "graph.pbtxt")
        tf.saved_model.simple_save(sess, str(tmp_path / "model"), {"x": x}, {"y": y})
    with pytest.raises(ValueError, match="Models containing partition variables cannot be converted"):
        freeze(tmp_path)
    frozen = freeze(
        tmp_path, input_graph="", input_checkpoint="", input_saved_model_dir=str(tmp_path / "model")
    )
    np.testing.assert_array_equal(run(frozen), np.full(4, 10.0))


def test_the_tool(model: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "kvarn.saved_model.freeze_graph",
            "--input_graph", str(model / "graph.pbtxt"), "--input_checkpoint", str(model / "ckpt"),
            "--output_node_names", "y", "--output_graph", str(model / "by_tool.pb"), "--input_binary", "false",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (model / "by_tool.pb").read_bytes() == protos.serialize(freeze(model))
    with pytest.raises(ValueError, match="Invalid checkpoint version"):
        tool.run_main(["--checkpoint_version", "3"])


def test_tags(model: Path) -> None:
    assert saved_model_utils.get_saved_model_tag_sets(model / "model") == [["serve"]]
    found = saved_model_utils.get_meta_graph_def(model / "model", "serve")
    assert found == saved_model_utils.read_saved_model(model / "model").meta_graphs[0]
