"""`tensorflow.contrib.testing`: the FileWriter that writes nothing, and looking at event files."""

from __future__ import annotations

import unittest

import pytest

import kvarn as tf
from kvarn.compat.tensorflow.testing import summaries
from kvarn.compat.tensorflow.testing.fake_summary_writer import FakeSummaryWriter
from kvarn.summary import writer, writer_cache


def number(tag, value):
    return tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)])


@pytest.fixture
def fake():
    real = writer.FileWriter
    tf.summary.FileWriterCache.clear()
    FakeSummaryWriter.install()
    yield FakeSummaryWriter
    FakeSummaryWriter.uninstall()
    tf.summary.FileWriterCache.clear()
    assert writer.FileWriter is writer_cache.FileWriter is real


def test_hooks_write_to_the_fake(fake, tmp_path):
    with tf.Graph().as_default() as graph:
        tf.train.get_or_create_global_step()
        hook = tf.train.SummarySaverHook(1, output_dir=str(tmp_path), summary_op=tf.summary.scalar("a", 2.0))
        with tf.train.SingularMonitoredSession([hook]) as session:
            session.run(tf.train.get_global_step())
    found = tf.summary.FileWriterCache.get(str(tmp_path))
    case = unittest.TestCase()
    log = tf.SessionLog(status=tf.SessionLog.START)
    found.assert_summaries(case, str(tmp_path), graph, {0: {"a": 2.0}}, [], [], [log])
    assert list(found.summaries) == [0]
    for wrong in ({1: {"a": 2.0}}, {0: {"a": 3.0}}, {0: {}}):
        with pytest.raises(AssertionError):
            found.assert_summaries(case, expected_summaries=wrong)
    assert not list(tmp_path.iterdir())


def test_the_fake_is_put_there_once(fake):
    with pytest.raises(ValueError, match="already installed"):
        fake.install()


def test_the_fake_refuses(fake):
    one = fake("dir")
    for add in (one.add_graph, one.add_meta_graph, lambda x, step: one.add_run_metadata(x, "tag", step)):
        with pytest.raises(ValueError, match=r"^Invalid global_step -1\.$"):
            add(None, -1)
    with pytest.raises(ValueError, match=r"^Unexpected graph_def 5\.$"):
        one.add_graph(None, graph_def=5)


def test_event_files(tmp_path):
    assert summaries.latest_event_file(str(tmp_path)) is None
    assert summaries.latest_events(str(tmp_path)) == []
    for value in (1.0, 2.0):
        with tf.summary.FileWriter(tmp_path) as one:
            one.add_summary(number("x", value), 5)
            one.add_summary(number("x", 0.0), 4)
            one.add_summary(number("y", 0.5), 4)
    found = summaries.latest_summaries(str(tmp_path))
    assert [e.step for e in found] == [5, 4, 4]
    assert summaries.simple_values_from_events(found, ["x"]) == {"x": 2.0}
    with pytest.raises(ValueError, match=r"^Summary for z is not a simple_value\.$"):
        summaries.simple_values_from_events(
            [tf.Event(summary=tf.Summary(value=[tf.Summary.Value(tag="z")]))], ["z"]
        )


def test_summaries():
    found = summaries.to_summary_proto(number("x", 1.001).SerializeToString())
    summaries.assert_summary(["x"], {"x": 1.0}, found)
    with pytest.raises(AssertionError):
        summaries.assert_summary(["x"], {"x": 1.1}, found)
    with pytest.raises(ValueError, match=r"^Expected tags"):
        summaries.assert_summary(["y"], {}, found)
