"""ProfilerHook: which runs it traces, and what it writes; the steps are those of TensorFlow 1.15.5's own tests."""

from __future__ import annotations

import json
import time

import pytest

import kvarn as tf
from kvarn.train import summary_io


class Writer:
    """A FileWriter that keeps the tags of RunMetadata."""

    def __init__(self):
        self.tags = []

    def add_run_metadata(self, run_metadata, tag):
        assert run_metadata.step_stats.dev_stats
        self.tags.append(tag)


@pytest.fixture(autouse=True)
def writer(monkeypatch):
    found = Writer()
    monkeypatch.setattr(summary_io, "writer_of", lambda logdir: found)
    return found


@pytest.fixture
def train_op():
    with tf.Graph().as_default():
        step = tf.train.get_or_create_global_step()
        yield tf.assign_add(step, 1, name="train_op")


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_so_many_steps_but_not_the_first(train_op, writer, tmp_path):
    hook = tf.train.ProfilerHook(save_steps=2, output_dir=str(tmp_path))
    found = []
    with tf.train.SingularMonitoredSession(hooks=[hook]) as session:
        for _ in range(5):
            session.run(train_op)
            found.append(written(tmp_path))
    two, four = "timeline-2.json", "timeline-4.json"
    assert found == [[], [two], [two], [two, four], [two, four]]
    assert writer.tags == ["step_2", "step_4"]
    events = json.loads((tmp_path / two).read_text())["traceEvents"]
    assert "train_op" in [e["args"]["name"] for e in events if e["ph"] == "X"]
    assert not [e for e in events if e["ph"] == "O"]


def test_every_so_many_seconds(train_op, tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    hook = tf.train.ProfilerHook(save_secs=2, output_dir=tmp_path, show_memory=True)
    found = []
    with tf.train.SingularMonitoredSession(hooks=[hook]) as session:
        for at in (0, 2.5, 2.6, 4.4, 4.5):
            now[0] = 1000.0 + at
            session.run(train_op)
            found.append(len(written(tmp_path)))
    assert found == [0, 1, 1, 1, 2]
    events = json.loads((tmp_path / "timeline-2.json").read_text())["traceEvents"]
    assert [e for e in events if e["ph"] == "O"]


def test_there_must_be_a_global_step(tmp_path):
    hook = tf.train.ProfilerHook(save_steps=1, output_dir=tmp_path)
    with (
        tf.Graph().as_default(),
        pytest.raises(RuntimeError, match="Global step should be created to use ProfilerHook"),
    ):
        hook.begin()
