"""Programs with conditionals and loops make the graphs, contexts and numbers that TensorFlow 1.15.5 makes of them
(tests/golden/control_flow)."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import kvarn as tf
from kvarn import errors, protos
from kvarn.ops import control_flow_v2_toggles as toggles

GOLDEN = Path(__file__).parents[2] / "golden" / "control_flow"
EXPECTED = json.loads(gzip.decompress((GOLDEN / "programs.json.gz").read_bytes()))
AS_FUNCTIONS = json.loads(gzip.decompress((GOLDEN / "functional_programs.json.gz").read_bytes()))


def _programs() -> Any:
    spec = importlib.util.spec_from_file_location("control_flow_programs", GOLDEN / "programs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROGRAMS


PROGRAMS = _programs()


def _nodes(graph: Any) -> list[Any]:
    return [
        [op.name, op.type, [i.name for i in op.inputs], sorted(c.name for c in op.control_inputs)]
        for op in graph.get_operations()
    ]


def _check(value: Any, expected: list[Any]) -> None:
    dtype, shape, elements = expected
    found = np.asarray(value)
    assert (str(found.dtype), list(found.shape)) == (dtype, shape)
    np.testing.assert_allclose(np.ravel(found), elements, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", EXPECTED)
def test_graph_and_numbers(name: str) -> None:
    _check_graph_and_numbers(name, EXPECTED[name])


@pytest.mark.parametrize("name", AS_FUNCTIONS)
def test_graph_and_numbers_as_functions(name: str) -> None:
    toggles.enable_control_flow_v2()
    try:
        _check_graph_and_numbers(name, AS_FUNCTIONS[name])
    finally:
        toggles.disable_control_flow_v2()


def _check_graph_and_numbers(name: str, expected: dict[str, Any]) -> None:
    with tf.Graph().as_default() as graph:
        runs, fetches = PROGRAMS[name](tf)
        assert _nodes(graph) == expected["nodes"]
        assert [None if t.shape.ndims is None else t.shape.as_list() for t in fetches] == expected["shapes"]
        init = tf.global_variables_initializer()
        for feeds, values in zip(runs, expected["runs"], strict=True):
            with tf.Session() as session:
                session.run(init)
                for fetch, wanted in zip(fetches, values, strict=True):
                    if isinstance(wanted, dict):
                        with pytest.raises(getattr(errors, wanted["error"])):
                            session.run(fetch, feeds)
                    else:
                        _check(session.run(fetch, feeds), wanted)


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if e["contexts"]])
def test_contexts_in_meta_graphs(name: str) -> None:
    kinds = {"cond_context": "tensorflow.CondContextDef", "while_context": "tensorflow.WhileContextDef"}
    with tf.Graph().as_default():
        PROGRAMS[name](tf)
        collections = tf.train.export_meta_graph().collection_def
    for key, texts in EXPECTED[name]["contexts"].items():
        kind = protos.message(kinds[key])
        found = [kind.FromString(value) for value in collections[key].bytes_list.value]
        assert found == [text_format.Parse(text, kind()) for text in texts]


@pytest.mark.parametrize("name", EXPECTED)
def test_gone_through_a_meta_graph(name: str) -> None:
    expected = EXPECTED[name]
    with tf.Graph().as_default():
        runs, fetches = PROGRAMS[name](tf)
        init = tf.global_variables_initializer()
        meta = tf.train.export_meta_graph()
    feeds_by_name = [{k.name: v for k, v in feeds.items()} for feeds in runs]
    with tf.Graph().as_default():
        tf.train.import_meta_graph(meta, import_scope="again")
        again = tf.train.export_meta_graph(export_scope="again")
        for key in expected["contexts"]:
            assert again.collection_def[key] == meta.collection_def[key]
        for feeds, values in zip(feeds_by_name, expected["runs"], strict=True):
            with tf.Session() as session:
                session.run("again/" + init.name)
                for fetch, wanted in zip(fetches, values, strict=True):
                    if not isinstance(wanted, dict):
                        scoped = {"again/" + k: v for k, v in feeds.items()}
                        _check(session.run("again/" + fetch.name, scoped), wanted)


@pytest.mark.parametrize("as_functions", [False, True])
def test_invariants_of_loops(as_functions: bool) -> None:
    def loop(value: Any, invariant: Any) -> Any:
        shapes = [tf.TensorShape([]), invariant]
        return tf.while_loop(lambda i, _: i < 2, lambda i, x: (i + 1, x), [0, value], shapes)[1]

    def shape_of(value: Any, invariant: Any) -> Any:
        return loop(value, invariant).get_shape()

    if as_functions:
        toggles.enable_control_flow_v2()
    try:
        with tf.Graph().as_default():
            x, sparse = tf.constant(1.0), tf.SparseTensor([[0], [3]], [2.0, 4.0], [10])
            assert shape_of(x, tf.TensorSpec(None, tf.float32)).ndims is None
            assert shape_of(sparse, tf.SparseTensorSpec([None], tf.float32)).ndims == 1
            with pytest.raises(
                TypeError, match=r"TypeSpec TensorSpec\(shape=\(\), .* is not compatible with"
            ):
                loop(x, tf.TensorSpec([], tf.int32))
            with pytest.raises(TypeError, match=r"TypeSpec SparseTensorSpec\(.*is not compatible with"):
                loop(sparse, tf.SparseTensorSpec([None], tf.int32))
            with pytest.raises(ValueError, match="Expected a shape with 1 dimension"):
                loop(sparse, tf.TensorShape([5, 5]))
            if not as_functions:  # functions take the shape for granted
                with pytest.raises(ValueError, match="is not compatible with the initial shape"):
                    loop(sparse, tf.TensorShape([5]))
    finally:
        toggles.disable_control_flow_v2()
