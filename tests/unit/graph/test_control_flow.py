"""Conditionals and loops of graphs that TensorFlow 1.15.5 wrote: what it computes comes out here."""

from __future__ import annotations

import json
import pathlib
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import kvarn as tf
from kvarn import errors
from kvarn.ops import control_flow, math

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
CASES = {c["name"]: c for c in json.loads((GOLDEN / "control_flow" / "graphs.json").read_text())["cases"]}


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


@pytest.mark.parametrize("name", CASES)
def test_recorded_graphs(name: str) -> None:
    case: dict[str, Any] = CASES[name]
    definition = text_format.Parse(case["graph"], tf.GraphDef())
    tf.import_graph_def(definition, name="")
    with tf.Session() as sess:
        if case["init"]:
            sess.run(case["init"])
        for run in case["runs"]:
            for fetch, expected in zip(case["fetches"], run["out"], strict=True):
                if "error" in expected:
                    with pytest.raises(getattr(errors, expected["error"]), match=expected["message"]):
                        sess.run(fetch, run["feeds"])
                else:
                    np.testing.assert_array_equal(sess.run(fetch, run["feeds"]), expected["value"])


def test_a_frozen_model_with_a_loop_and_a_conditional() -> None:
    folder = GOLDEN / "graphs" / "graph_control"
    tf.import_graph_def(tf.GraphDef.FromString((folder / "frozen.pb").read_bytes()), name="")
    with tf.Session() as sess:
        for run in json.loads((folder / "runs.json").read_text()):
            found = sess.run("out:0", run["feeds"])
            np.testing.assert_allclose(found, np.float32(run["fetches"]["out:0"]), rtol=1e-6)


def switched(pred: bool) -> tuple[Any, Any]:
    output_false, output_true = control_flow.switch(tf.constant(3.0), tf.constant(pred))
    return output_false, output_true


def test_a_dead_value_is_not_fetched() -> None:
    output_false, output_true = switched(True)
    with tf.Session() as sess:
        assert sess.run(output_true) == 3.0
        with pytest.raises(errors.InvalidArgumentError, match=r"Retval\[0\] does not have value"):
            sess.run(output_false)


def test_what_waits_for_a_dead_value_does_not_run() -> None:
    v = tf.get_variable("v", initializer=1.0, use_resource=True)
    output_false, output_true = switched(False)
    with tf.control_dependencies([tf.identity(output_true)]):
        dead = v.assign_add(100.0, read_value=False)
    with tf.control_dependencies([tf.identity(output_false)]):
        alive = v.assign_add(10.0, read_value=False)
    with tf.Session() as sess:
        sess.run(v.initializer)
        sess.run([dead, alive])
        assert sess.run(v) == 11.0


def test_a_merge_of_dead_values_is_dead() -> None:
    _, dead = switched(False)
    merged, index = control_flow.merge([dead, tf.identity(dead)])
    alive, which = control_flow.merge([dead, tf.constant(7.0)])
    with tf.Session() as sess:
        assert sess.run([alive, which]) == [7.0, 1]
        for fetch in (merged, index):
            with pytest.raises(errors.InvalidArgumentError, match="does not have value"):
                sess.run(fetch)


def test_a_value_inside_a_loop_is_not_fetched() -> None:
    inside = control_flow.enter(tf.constant(1.0), frame_name="loop")
    with tf.Session() as sess, pytest.raises(errors.InvalidArgumentError, match="inside of the loop 'loop'"):
        sess.run(math.add(inside, inside))


def test_values_of_two_loops_do_not_meet() -> None:
    one = control_flow.enter(tf.constant(1.0), frame_name="one")
    two = control_flow.enter(tf.constant(1.0), frame_name="two")
    out = control_flow.exit(math.add(one, two))
    with (
        tf.Session() as sess,
        pytest.raises(errors.InvalidArgumentError, match="inputs from different frames"),
    ):
        sess.run(out)


def test_values_are_dropped_after_their_last_use() -> None:
    alive: list[Any] = []

    def noted(x: Any) -> Any:
        value = np.array(x) + 1.0
        alive.append(weakref.ref(value))
        return value

    def count(x: Any) -> Any:
        return np.float32(sum(ref() is not None for ref in alive))

    with tf.Session() as sess:
        x = tf.placeholder(tf.float32, [3])
        first = tf.py_func(noted, [x], tf.float32)
        second = tf.py_func(noted, [first * 2.0], tf.float32)
        chosen = tf.cond(tf.reduce_sum(second) > 0.0, lambda: second * 1.0, lambda: -second)
        with tf.control_dependencies([chosen]):
            living = tf.py_func(count, [tf.identity(chosen)], tf.float32)
        for _ in range(2):
            alive.clear()
            assert sess.run(living, {x: [1.0, 2.0, 3.0]}) == 0.0
