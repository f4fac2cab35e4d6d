"""Readers of queues: the records, counts, states and messages of TensorFlow 1.15.5."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

import kvarn as tf

FILES = {
    "a": b"one\r\ntwo\n\nfo\rur",
    "b": b"x\ny\nz\n",
    "empty": b"",
    "pieces": b"HH0123456789ABCDEFtt",
    "zlib": zlib.compress(b"HH0123456789ABCDEFtt"),
}
# How the message at the end of the queue ends.
END = "ient elements (requested 1, current size 0)"
GZIP = tf.python_io.TFRecordOptions(tf.python_io.TFRecordCompressionType.GZIP)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in FILES.items():
        Path(name).write_bytes(data)
    for name, options in (("records", None), ("gzip", GZIP)):
        with tf.python_io.TFRecordWriter(name, options) as writer:
            for record in (b"a", b"bcd", b""):
                writer.write(record)
    whole = Path("records").read_bytes()
    Path("cut").write_bytes(whole[:-3])
    Path("damaged").write_bytes(whole[:13] + bytes([whole[13] ^ 255]) + whole[14:])


def steps(make: Callable[[], Any], work: list[str], up_to: int | None = None, most: int = 12) -> list[Any]:
    """What one step after the other gives, each with the counts of records and of finished units of work."""
    found: list[Any] = []
    with tf.Graph().as_default(), tf.Session() as session:
        reader = make()
        queue = tf.FIFOQueue(99, [tf.string], shapes=[()])
        session.run(queue.enqueue_many([work]))
        session.run(queue.close())
        record = reader.read(queue) if up_to is None else reader.read_up_to(queue, up_to)
        assert [t.shape.as_list() for t in record] == ([[], []] if up_to is None else [[None], [None]])
        counts = [reader.num_records_produced(), reader.num_work_units_completed()]
        while len(found) < most:
            try:
                key, value = session.run(record)
            except tf.errors.OutOfRangeError as end:
                found.append((end.message.partition("\n")[0][-43:], *session.run(counts)))
                return found
            except tf.errors.OpError as problem:
                found.append((type(problem).__name__, *session.run(counts)))
            else:
                pair = (key, value) if up_to is None else (key.tolist(), value.tolist())
                found.append((*pair, *session.run(counts)))
    return found


def test_lines() -> None:
    assert steps(tf.TextLineReader, ["a", "empty", "b"]) == [
        (b"a:1", b"one", 1, 0),
        (b"a:2", b"two", 2, 0),
        (b"a:3", b"", 3, 0),
        (b"a:4", b"fo\rur", 4, 0),
        (b"b:1", b"x", 5, 2),
        (b"b:2", b"y", 6, 2),
        (b"b:3", b"z", 7, 2),
        (END, 7, 3),
    ]
    assert steps(lambda: tf.TextLineReader(skip_header_lines=2), ["a", "empty", "b"]) == [
        (b"a:3", b"", 1, 0),
        (b"a:4", b"fo\rur", 2, 0),
        (b"b:3", b"z", 3, 2),
        (END, 3, 3),
    ]
    assert steps(tf.TextLineReader, ["a", "empty", "b"], up_to=3) == [
        ([b"a:1", b"a:2", b"a:3"], [b"one", b"two", b""], 3, 0),
        ([b"a:4"], [b"fo\rur"], 4, 1),
        ([b"b:1", b"b:2", b"b:3"], [b"x", b"y", b"z"], 7, 2),
        (END, 7, 3),
    ]
    assert steps(tf.TextLineReader, ["a"], up_to=0, most=1) == [([], [], 0, 0)]


def test_a_missing_file_is_passed_over_by_readers_of_records_and_tried_again_by_those_of_whole_files() -> (
    None
):
    assert steps(tf.TextLineReader, ["nope", "b"], most=2) == [("NotFoundError", 0, 0), (b"b:1", b"x", 1, 0)]
    assert steps(tf.WholeFileReader, ["a", "nope", "b"], most=3) == [
        (b"a", FILES["a"], 1, 1),
        ("NotFoundError", 1, 1),
        ("NotFoundError", 1, 1),
    ]


def test_strings_of_the_queue() -> None:
    assert steps(tf.IdentityReader, ["q", "r"]) == [(b"q", b"q", 1, 1), (b"r", b"r", 2, 2), (END, 2, 2)]
    assert steps(tf.IdentityReader, ["q", "r"], up_to=2)[0] == ([b"q"], [b"q"], 1, 1)


def test_records() -> None:
    expected = [(b"gzip:0", b"a", 1, 0), (b"gzip:17", b"bcd", 2, 0), (b"gzip:36", b"", 3, 0), (END, 3, 1)]
    assert steps(lambda: tf.TFRecordReader(options=GZIP), ["gzip"]) == expected
    assert steps(tf.TFRecordReader, ["records", "records"], up_to=2)[1:3] == [
        ([b"records:36"], [b""], 3, 1),
        ([b"records:0", b"records:17"], [b"a", b"bcd"], 5, 1),
    ]
    assert steps(tf.TFRecordReader, ["cut", "records"], most=4)[1:] == [
        (b"cut:17", b"bcd", 2, 0),
        ("DataLossError", 2, 0),
        ("DataLossError", 2, 0),
    ]
    assert steps(tf.TFRecordReader, ["damaged", "records"], most=2) == [("DataLossError", 0, 0)] * 2


@pytest.mark.parametrize(
    ("options", "file", "values", "finished"),
    [
        ({}, "pieces", ["0123", "4567", "89AB", "CDEF"], 1),
        ({"hop_bytes": 2}, "pieces", ["0123", "2345", "4567", "6789", "89AB", "ABCD", "CDEF"], 1),
        ({"hop_bytes": 7}, "pieces", ["0123", "789A"], 1),
        ({"encoding": "ZLIB"}, "zlib", ["0123", "4567", "89AB", "CDEF"], 1),
    ],
)
def test_pieces(options: dict[str, Any], file: str, values: list[str], finished: int) -> None:
    found = steps(lambda: tf.FixedLengthRecordReader(4, 2, 2, **options), [file])
    assert found == [
        *[(f"{file}:{i}".encode(), value.encode(), i + 1, 0) for i, value in enumerate(values)],
        (END, len(values), finished),
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tf.TextLineReader(skip_header_lines=-2), "skip_header_lines must be >= 0 not -2"),
        (lambda: tf.FixedLengthRecordReader(4, -1), "header_bytes must be >= 0 not -1"),
        (lambda: tf.FixedLengthRecordReader(-4), "record_bytes must be >= 0 not -4"),
    ],
)
def test_negative_sizes_are_refused(make: Callable[[], Any], message: str) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        count = make().num_records_produced()
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            session.run(count)


def test_a_header_longer_than_the_file() -> None:
    assert steps(lambda: tf.FixedLengthRecordReader(4, 50, 2), ["pieces"]) == [("reached end of file", 0, 0)]


def test_states() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        reader, queue = tf.WholeFileReader("r"), tf.FIFOQueue(9, [tf.string], shapes=[()])
        assert reader.supports_serialize
        state, given = reader.serialize_state(), tf.placeholder(tf.string, [])
        restore, reset = reader.restore_state(given, name="restore"), reader.reset()
        assert (restore.type, reset.type) == ("ReaderRestoreStateV2", "ReaderResetV2")
        counts = [reader.num_records_produced(), reader.num_work_units_completed()]
        session.run(queue.enqueue_many([["a", "b", "empty"]]))
        read = reader.read(queue)
        session.run(read)
        first = session.run(state)
        assert first == b'\x08\x01\x10\x01\x18\x01"\x01a'
        session.run(read)
        session.run(restore, {given: first})
        assert session.run(counts) == [1, 1]
        for damaged, message in [
            (b"\xff", r"Could not parse state for WholeFileReader 'r': \\377"),
            (b"\x08\x05", "Inconsistent work started vs. finished .* WholeFileReader 'r': work_started: 5"),
            (b"\x08" + b"\xff" * 9 + b"\x01", "Unexpected negative value .* 'r': work_started: -1"),
        ]:
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                session.run(restore, {given: damaged})
            assert session.run(counts) == [0, 0]
            session.run(restore, {given: first})
        session.run(reset)
        assert session.run(counts) == [0, 0]
        lines = tf.TextLineReader()
        assert not lines.supports_serialize
        with pytest.raises(tf.errors.UnimplementedError, match="Reader SerializeState"):
            session.run(lines.serialize_state())
        with pytest.raises(tf.errors.UnimplementedError, match="Reader RestoreState"):
            session.run(lines.restore_state(""))


@pytest.mark.parametrize(
    ("dtypes", "shapes", "message"),
    [
        ([tf.string, tf.string], [(), ()], "Expected single component queue"),
        ([tf.int32], [()], "Expected queue with single string component"),
        ([tf.string], [(2,)], "Expected to dequeue a one-element string tensor"),
    ],
)
def test_queues_that_readers_cannot_use(dtypes: list[Any], shapes: list[Any], message: str) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        queue = tf.FIFOQueue(9, dtypes, shapes=shapes)
        values = [
            tf.zeros(s, d) if d is tf.int32 else tf.fill(s, "a") for s, d in zip(shapes, dtypes, strict=True)
        ]
        session.run(queue.enqueue(values))
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            session.run(tf.IdentityReader().read(queue))


OLD_GRAPH = """
node { name: "reader" op: "TextLineReader" }
node { name: "queue" op: "FIFOQueue" attr { key: "component_types" value { list { type: DT_STRING } } } }
node { name: "file" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
       attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape {} string_val: "b" } } } }
node { name: "two" op: "Const" attr { key: "dtype" value { type: DT_INT64 } }
       attr { key: "value" value { tensor { dtype: DT_INT64 tensor_shape {} int64_val: 2 } } } }
node { name: "put" op: "QueueEnqueue" input: "queue" input: "file"
       attr { key: "Tcomponents" value { list { type: DT_STRING } } } }
node { name: "read" op: "ReaderRead" input: "reader" input: "queue" }
node { name: "rest" op: "ReaderReadUpTo" input: "reader" input: "queue" input: "two" }
node { name: "count" op: "ReaderNumRecordsProduced" input: "reader" }
node { name: "reset" op: "ReaderReset" input: "reader" }
versions { producer: 20 }
"""


def test_readers_of_old_graphs() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(text_format.Parse(OLD_GRAPH, tf.GraphDef()), name="")
        session.run("put")
        assert session.run(["read:0", "read:1"]) == [b"b:1", b"x"]
        assert [x.tolist() for x in session.run(["rest:0", "rest:1"])] == [[b"b:2", b"b:3"], [b"y", b"z"]]
        assert session.run("count:0") == 3
        session.run("reset")
        assert session.run("count:0") == 0


def test_a_queue_for_readers_of_old_graphs() -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(text_format.Parse(OLD_GRAPH, tf.GraphDef()), name="")
        reader = tf.ReaderBase(graph.get_tensor_by_name("reader:0"))
        queue = tf.FIFOQueue(9, [tf.string], shapes=[()])
        record, rest = reader.read(queue), reader.read_up_to(queue, 2)
        assert [t.op.type for t in (record[0], rest[0])] == ["ReaderRead", "ReaderReadUpTo"]
        session.run(queue.enqueue("b"))
        assert tuple(session.run(record)) == (b"b:1", b"x")
        assert [x.tolist() for x in session.run(rest)] == [[b"b:2", b"b:3"], [b"y", b"z"]]
        assert session.run(reader.num_records_produced()) == 3


def test_a_pipeline_of_threads() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        files = tf.train.string_input_producer(["b", "a"], num_epochs=1, shuffle=False)
        _, line = tf.TextLineReader().read(files)
        batch = tf.train.batch([line], 3, allow_smaller_final_batch=True)
        session.run(tf.local_variables_initializer())
        coordinator = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(session, coordinator)
        found = [session.run(batch).tolist() for _ in range(3)]
        with pytest.raises(tf.errors.OutOfRangeError):
            session.run(batch)
        coordinator.request_stop()
        coordinator.join(threads)
    assert found == [[b"x", b"y", b"z"], [b"one", b"two", b""], [b"fo\rur"]]
