"""Functions made by Defun are those that TensorFlow 1.15.5 makes (tests/golden/functions/defun_programs.py)."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format

import kvarn as tf
from kvarn.variables import function

GOLDEN = Path(__file__).parents[2] / "golden" / "functions"
EXPECTED = json.loads((GOLDEN / "defun_programs.json").read_text())


def _programs() -> Any:
    spec = importlib.util.spec_from_file_location("defun_programs", GOLDEN / "defun_programs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROGRAMS


PROGRAMS = _programs()


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def _plain(message: Any) -> str:
    """The FunctionDef without attributes and without the hash in names, which differs."""
    kept = type(message)()
    kept.signature.CopyFrom(message.signature)
    kept.node_def.extend(message.node_def)
    for key, value in message.ret.items():
        kept.ret[key] = value
    text = json.dumps(json_format.MessageToDict(kept), sort_keys=True)
    return re.sub(r"_[A-Za-z0-9]{11}(?![A-Za-z0-9])", "", text)


@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_programs(name: str, graph: tf.Graph) -> None:
    expected = EXPECTED[name]
    fetches = PROGRAMS[name](tf, function)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for found, value in zip(sess.run(fetches), expected["values"], strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-6)
    assert sorted(_plain(f) for f in graph.as_graph_def().library.function) == expected["functions"]
    assert [v.name for v in tf.global_variables()] == expected["variables"]


@pytest.mark.parametrize("name", EXPECTED)
def test_written_and_imported(name: str, graph: tf.Graph) -> None:
    fetches = PROGRAMS[name](tf, function)
    init = tf.global_variables_initializer()
    definition = graph.as_graph_def()
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(definition, name="")
        sess.run(init.name)
        for found, value in zip(sess.run([t.name for t in fetches]), EXPECTED[name]["values"], strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-6)


def test_a_failed_body_leaves_nothing(graph: tf.Graph) -> None:
    @function.Defun(tf.float32)
    def broken(x: Any) -> Any:
        raise RuntimeError("in the body")

    with pytest.raises(RuntimeError, match="in the body"):
        broken(1.0)
    assert tf.Graph.functions_being_built == 0
    assert tf.get_default_graph() is graph
    assert (tf.constant(1.0) + 1.0).graph is graph


def test_refusals() -> None:
    fed = tf.placeholder(tf.float32, [], name="fed")
    counted = tf.random_uniform([], name="drawn")

    def by_value(x: Any) -> Any:
        return function.Defun(tf.float32, capture_by_value=True)(lambda a: a * x)

    with pytest.raises(ValueError, match=r"Cannot capture a placeholder \(name:fed"):
        by_value(fed)(1.0)
    with pytest.raises(ValueError, match=r"Cannot capture a stateful node \(name:drawn"):
        by_value(counted)(1.0)
    with pytest.raises(ValueError, match="can not return None"):
        function.Defun(tf.float32)(lambda a: [a, None])(1.0)
    with pytest.raises(ValueError, match="argument defaults"):
        function.Defun(tf.float32)(lambda a, b=1: a)
    with pytest.raises(ValueError, match="fewer arguments"):
        function.Defun(tf.float32, tf.float32)(lambda a: a)
    with pytest.raises(ValueError, match="output names size = 2 outputs size = 1"):
        function.Defun(tf.float32, out_names=["a", "b"])(lambda a: a)(1.0)
    with pytest.raises(ValueError, match="duplicates"):
        function.Defun(tf.float32, out_names=["a", "a"])(lambda a: (a, a))(1.0)
    with pytest.raises(ValueError, match="Expected number of arguments: 1, received: 2"):
        function.Defun(tf.float32)(lambda a: a)(1.0, 2.0)
    with pytest.raises(TypeError, match="has type int32"):
        function.Defun(tf.float32)(lambda a: a)(tf.constant(1))
