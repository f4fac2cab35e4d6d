"""FileWriter: what it writes, when, and what it does when it cannot."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import kvarn as tf
from kvarn import errors, protos
from kvarn.summary import plugin_asset, writer_cache
from kvarn.summary.event_file_writer import EventFileWriter

GOLDEN = Path(__file__).parents[2] / "golden" / "summaries"


def events(folder) -> list:
    return [e for path in sorted(Path(folder).glob("events*")) for e in tf.train.summary_iterator(str(path))]


def kinds(folder) -> list[str]:
    return [e.WhichOneof("what") for e in events(folder)]


def number(tag: str, value: float = 1.0):
    return tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)])


def test_every_kind_of_event_is_tensorflows(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("summary_cases", GOLDEN / "cases.py")
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    monkeypatch.chdir(tmp_path)
    before = time.time()
    cases.write_events(tf)
    (path,) = (tmp_path / "logs").iterdir()
    assert path.name.endswith(".end")
    found = events(tmp_path / "logs")
    want = list(tf.train.summary_iterator(str(GOLDEN / "tensorflow_1.15.5.tfevents")))
    assert all(before - 1 <= e.wall_time <= time.time() for e in found[:-1])
    assert found[-1].wall_time == 1.5
    for event, theirs in zip(found, want, strict=True):
        event.ClearField("wall_time")
        theirs.ClearField("wall_time")
        for field, message in (("graph_def", protos.GraphDef), ("meta_graph_def", protos.MetaGraphDef)):
            assert event.HasField(field) == theirs.HasField(field)
            assert message.FromString(getattr(event, field)) == message.FromString(getattr(theirs, field))
            event.ClearField(field)
            theirs.ClearField(field)
        assert event == theirs


def test_numbers_and_metadata(tmp_path):
    metadata = protos.SummaryMetadata(display_name="shown")
    with tf.summary.FileWriter(tmp_path) as writer:
        assert writer.get_logdir() == str(tmp_path)
        for step in range(2):
            own = tf.Summary(value=[tf.Summary.Value(tag="x", simple_value=step, metadata=metadata)])
            writer.add_summary(own, step)
            assert own.value[0].HasField("metadata")
        writer.add_summary(number("x").SerializeToString(), np.array([7]))
    assert [e.step for e in events(tmp_path)] == [0, 0, 1, 7]
    values = [e.summary.value[0] for e in events(tmp_path)[1:]]
    assert [v.simple_value for v in values] == [0, 1, 1]
    assert [v.metadata.display_name for v in values] == ["shown", "", ""]


def test_what_is_no_summary(tmp_path):
    from google.protobuf.message import DecodeError

    with tf.summary.FileWriter(tmp_path) as writer:
        with pytest.raises(DecodeError):
            writer.add_summary(b"\xff")
        with pytest.raises(TypeError, match=r"^Expected an event_pb2.Event proto,  but got"):
            writer.add_event(number("x"))
        with pytest.raises(TypeError, match=r"^meta_graph_def must be type MetaGraphDef, saw type: "):
            writer.add_meta_graph(protos.GraphDef())
        with pytest.raises(
            TypeError, match=r"^The passed graph must be an instance of `Graph` or the deprecated"
        ):
            writer.add_graph(5)
        with pytest.raises(
            ValueError, match=r"^Please pass only graph, or graph_def \(deprecated\), but not both\.$"
        ):
            writer.add_graph(tf.Graph(), graph_def=protos.GraphDef())
        writer.add_run_metadata(tf.RunMetadata(), "tag")
        with pytest.raises(ValueError, match=r"^The provided tag was already used for this event type$"):
            writer.add_run_metadata(tf.RunMetadata(), "tag")
    assert kinds(tmp_path) == ["file_version", "tagged_run_metadata"]


@pytest.mark.parametrize("argument", ["graph", "graph_def"])
@pytest.mark.parametrize("as_message", [False, True])
def test_graphs(tmp_path, argument, as_message):
    with tf.Graph().as_default() as graph:
        tf.constant([1.0, 2.0], name="c")
    want = graph.as_graph_def(add_shapes=True)
    tf.summary.FileWriter(tmp_path, **{argument: want if as_message else graph}).close()
    _, first, second = events(tmp_path)
    assert protos.GraphDef.FromString(first.graph_def) == want
    assert protos.MetaGraphDef.FromString(second.meta_graph_def).graph_def == want


def test_no_event_no_file(tmp_path):
    writer = tf.summary.FileWriter(tmp_path / "a" / "b")
    writer.flush()
    writer.close()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_close_and_reopen(tmp_path):
    writer = tf.summary.FileWriter(tmp_path)
    writer.add_summary(number("a"), 1)
    writer.close()
    with pytest.warns(
        UserWarning, match=r"^Attempting to use a closed FileWriter. The operation will be a noop unless"
    ):
        writer.add_summary(number("lost"), 2)
    with pytest.warns(UserWarning, match="closed FileWriter"):
        writer.flush()
    writer.close()
    writer.reopen()
    writer.reopen()
    writer.add_summary(number("b"), 3)
    writer.close()
    files = sorted(tmp_path.iterdir())
    assert [[e.step for e in tf.train.summary_iterator(str(f))] for f in files] == [[0, 1], [0, 3]]


def test_the_first_event_is_on_disk_at_once_and_others_in_time(tmp_path):
    def until(count):
        limit = time.monotonic() + 20
        while len(kinds(tmp_path)) < count:
            assert time.monotonic() < limit
            time.sleep(0.01)

    slow = tf.summary.FileWriter(tmp_path)
    slow.add_summary(number("first"))
    until(2)
    slow.add_summary(number("second"))
    time.sleep(0.1)
    assert len(kinds(tmp_path)) == 2
    slow.flush()
    assert len(kinds(tmp_path)) == 3
    slow.close()
    quick = tf.summary.FileWriter(tmp_path, flush_secs=0.05)
    quick.add_summary(number("first"))
    quick.add_summary(number("second"))
    until(6)
    quick.close()


def test_many_threads_and_a_short_queue(tmp_path):
    with tf.summary.FileWriter(tmp_path, max_queue=2) as writer:

        def add(thread):
            for i in range(200):
                writer.add_summary(number(str(thread)), i)
                if i % 50 == 0:
                    writer.flush()

        threads = [threading.Thread(target=add, args=(t,)) for t in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found: dict[str, list[int]] = {}
    for event in events(tmp_path)[1:]:
        found.setdefault(event.summary.value[0].tag, []).append(event.step)
    assert found == {str(t): list(range(200)) for t in range(4)}


def test_a_writer_that_nobody_closes(tmp_path):
    writer = EventFileWriter(tmp_path)
    worker = writer._worker
    for step in range(5):
        writer.add_event(tf.Event(step=step))
    del writer
    gc.collect()
    worker.join(20)
    assert not worker.is_alive()
    assert [e.step for e in events(tmp_path)] == [0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("end", ["", "os.fork()", "sys.exit(1)", "raise ValueError"])
def test_a_process_that_ends_without_closing(tmp_path, end):
    program = f"""
        import os, sys
        import kvarn as tf
        writer = tf.summary.FileWriter("logs", tf.Graph(), max_queue=0)
        session = tf.Session(graph=tf.Graph())
        other = tf.summary.FileWriter("session", session=session, filename_suffix="")
        for step in range(100):
            for w in (writer, other):
                w.add_summary(tf.Summary(value=[tf.Summary.Value(tag="x", simple_value=step)]), step)
        {end}
        """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == (1 if "sys" in end or "raise" in end else 0), done.stderr
    assert [e.step for e in events(tmp_path / "logs")][3:] == list(range(100))
    assert [e.step for e in events(tmp_path / "session")][1:] == list(range(100))


def test_a_forked_process_leaves_its_parents_file_alone(tmp_path):
    with tf.summary.FileWriter(tmp_path, max_queue=0) as writer:
        writer.add_summary(number("a"), 1)
        writer.flush()
        pid = os.fork()
        if pid == 0:
            try:
                writer._closed = True
                writer.event_writer.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        writer.add_summary(number("b"), 2)
    assert [e.step for e in events(tmp_path)] == [0, 1, 2]


def test_a_file_that_disappears_stops_no_program(tmp_path, caplog):
    writer = tf.summary.FileWriter(tmp_path)
    writer.add_summary(number("a"))
    writer.flush()
    for path in tmp_path.iterdir():
        path.unlink()
    with caplog.at_level(logging.ERROR, logger="tensorflow"):
        writer.add_summary(number("b"))
        writer.flush()
        writer.close()
    assert "has disappeared.\n\tFailed to flush 1 events to " in caplog.text


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.OpError):
        tf.summary.FileWriter(tmp_path / "file" / "logs")


def test_cache(tmp_path):
    tf.summary.FileWriterCache.clear()
    with tf.Graph().as_default():
        one = tf.summary.FileWriterCache.get(str(tmp_path / "1"))
        assert tf.summary.FileWriterCache.get(str(tmp_path / "1")) is one
        assert tf.summary.FileWriterCache.get(str(tmp_path / "2")) is not one
    tf.summary.FileWriterCache.clear()
    assert one._closed
    assert not writer_cache.FileWriterCache._cache
    for folder in ("1", "2"):
        assert kinds(tmp_path / folder) == ["file_version", "graph_def", "meta_graph_def"]


class Example(plugin_asset.PluginAsset):
    plugin_name = "example"

    def assets(self):
        return {"a.txt": "ä", "b.txt": "b"}


class SameName(Example):
    pass


class Nameless(Example):
    plugin_name = None


def test_assets_of_plugins(tmp_path):
    with tf.Graph().as_default() as graph:
        found = plugin_asset.get_plugin_asset(Example)
        assert plugin_asset.get_plugin_asset(Example, graph) is found
        assert plugin_asset.get_all_plugin_assets() == [found]
        with pytest.raises(ValueError, match=r"^Plugin name collision between classes SameName and Example$"):
            plugin_asset.get_plugin_asset(SameName)
        with pytest.raises(ValueError, match=r"^Class Nameless has no plugin_name$"):
            plugin_asset.get_plugin_asset(Nameless)
    tf.summary.FileWriter(tmp_path, graph).close()
    folder = tmp_path / "plugins" / "example"
    assert {f.name: f.read_text() for f in folder.iterdir()} == {"a.txt": "ä", "b.txt": "b"}


def test_writers_of_one_session_and_folder_share_a_file(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        one = tf.summary.FileWriter(str(tmp_path), session=session)
        two = tf.summary.FileWriter(str(tmp_path), session=session, graph=tf.Graph())
        one.add_summary(number("a"), 1)
        two.add_summary(number("b"), 2)
        one.flush()
        assert [e.step for e in events(tmp_path)] == [0, 0, 0, 1, 2]
        one.close()
        one.reopen()
        one.add_summary(number("c"), 3)
        one.close()
        with (
            pytest.warns(UserWarning, match="closed"),
            pytest.raises(errors.NotFoundError, match="does not exist"),
        ):
            one.flush()
    assert len(list(tmp_path.iterdir())) == 2
    assert [e.step for e in events(tmp_path)] == [0, 0, 0, 1, 2, 0, 3]


def test_a_session_that_ends_writes_what_is_pending(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        writer = tf.summary.FileWriter(str(tmp_path), session=session, max_queue=100)
        writer.add_summary(number("a"), 1)
        assert [e.step for e in events(tmp_path)] == [0]
    gc.collect()
    assert [e.step for e in events(tmp_path)] == [0, 1]
