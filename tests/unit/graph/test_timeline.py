"""Timelines are those that TensorFlow 1.15.5 makes of the same step stats (tests/golden/timeline)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import text_format

import kvarn as tf
from kvarn import protos
from kvarn.graph.timeline import Timeline

RECORDED = json.loads(
    (Path(__file__).parents[2] / "golden" / "timeline" / "tensorflow_1.15.5.json").read_text()
)


@pytest.fixture
def timeline():
    step_stats = protos.RunMetadata().step_stats
    text_format.Parse(RECORDED["step_stats"], step_stats)
    return Timeline(step_stats)


def test_the_trace(timeline):
    text = timeline.generate_chrome_trace_format()
    assert json.loads(text) == RECORDED["default"]
    assert text.startswith(RECORDED["text"])


def test_the_trace_without_dataflow(timeline):
    assert json.loads(timeline.generate_chrome_trace_format(show_dataflow=False)) == RECORDED["no_dataflow"]


def test_the_trace_with_memory(timeline):
    analysis = timeline.analyze_step_stats()
    assert json.loads(analysis.chrome_trace.format_to_string()) == RECORDED["memory"]
    assert "\n" not in analysis.chrome_trace.format_to_string()
    assert {
        name: [found.timestamp, found.num_bytes, sorted(found.tensors)]
        for name, found in analysis.allocator_maximums.items()
    } == RECORDED["maximums"]


def test_one_timeline_may_be_asked_twice(timeline):
    first = timeline.generate_chrome_trace_format(show_memory=True)
    assert timeline.generate_chrome_trace_format(show_memory=True) == first
    assert timeline.analyze_step_stats(show_memory=False).allocator_maximums == {}


def test_the_timeline_of_a_run():
    metadata = protos.RunMetadata()
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [100])
        y = tf.sin(x, name="y")
        z = tf.reduce_sum(y * y, name="z")
        options = protos.RunOptions(trace_level=protos.RunOptions.FULL_TRACE)
        session.run(z, {x: [1.0] * 100}, options=options, run_metadata=metadata)
    analysis = Timeline(metadata.step_stats).analyze_step_stats()
    events = json.loads(analysis.chrome_trace.format_to_string())["traceEvents"]
    assert [e["args"]["name"] for e in events if e["ph"] == "X"] == ["y", "mul", "z"]
    assert {e["args"].get("input0") for e in events if e["ph"] == "X"} >= {"y", "mul"}
    assert analysis.allocator_maximums["cpu"].num_bytes >= 400
