"""Input pipelines of queues; node names as TensorFlow 1.15.5 gives them."""

from __future__ import annotations

import functools
import operator

import pytest

import kvarn as tf


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


def all_of(fetches) -> list:
    """What a pipeline gives until its end."""
    found = []
    with tf.Session() as session:
        session.run(tf.local_variables_initializer())
        coordinator = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(session, coordinator)
        try:
            while True:
                found.append(session.run(fetches))
        except tf.errors.OutOfRangeError:
            pass
        coordinator.request_stop()
        coordinator.join(threads, stop_grace_period_secs=20)
    return found


def runners() -> list:
    found = tf.get_collection(tf.GraphKeys.QUEUE_RUNNERS)
    return [(r.name, [o.name for o in r.enqueue_ops], r.close_op.name, r.cancel_op.name) for r in found]


def test_strings_in_batches() -> None:
    queue = tf.train.string_input_producer(["a", "b", "c"], num_epochs=2, shuffle=False)
    texts = tf.train.batch([queue.dequeue()], 4, allow_smaller_final_batch=True)
    assert texts.name == "batch:0"
    assert runners() == [
        (
            "input_producer",
            ["input_producer/input_producer_EnqueueMany"],
            "input_producer/input_producer_Close",
            "input_producer/input_producer_Close_1",
        ),
        (
            "batch/fifo_queue",
            ["batch/fifo_queue_enqueue"],
            "batch/fifo_queue_Close",
            "batch/fifo_queue_Close_1",
        ),
    ]
    epochs = tf.get_default_graph().get_operation_by_name("input_producer/limit_epochs/epochs")
    assert [v.op for v in tf.local_variables()] == [epochs]
    assert [x.tolist() for x in all_of(texts)] == [[b"a", b"b", b"c", b"a"], [b"b", b"c"]]
    with pytest.raises(ValueError, match="requires a non-null input tensor"):
        tf.train.string_input_producer([])


def test_rows_of_several_tensors() -> None:
    tensors = [tf.constant([1, 2, 3]), tf.constant([[10], [20], [30]])]
    number, vector = tf.train.slice_input_producer(tensors, num_epochs=1, seed=3)
    assert number.name == "input_producer/GatherV2:0"
    assert runners()[0][0] == "input_producer/input_producer"
    found = all_of([number, vector])
    assert sorted((int(a), b.tolist()) for a, b in found) == [(1, [10]), (2, [20]), (3, [30])]


def test_shuffled_batches_of_a_dictionary() -> None:
    rows = tf.train.limit_epochs(tf.constant([1, 2, 3, 4]), 1)
    made = tf.train.shuffle_batch({"k": rows}, 2, 10, 2, enqueue_many=True)
    assert made["k"].name == "shuffle_batch:0"
    assert made["k"].shape.as_list() == [2]
    found = [x["k"].tolist() for x in all_of(made)]
    assert sorted(functools.reduce(operator.iadd, found, [])) == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="capacity 2 must be bigger than min_after_dequeue 2"):
        tf.train.shuffle_batch([rows], 2, 2, 2)


def test_padded_batches() -> None:
    size = tf.train.range_input_producer(4, num_epochs=1, shuffle=False).dequeue()
    rows = tf.train.batch([tf.fill([size], 7)], 4, dynamic_pad=True)
    assert [x.tolist() for x in all_of(rows)] == [[[0, 0, 0], [7, 0, 0], [7, 7, 0], [7, 7, 7]]]


def test_padded_batches_of_scalars() -> None:
    number = tf.train.range_input_producer(3, num_epochs=1, shuffle=False).dequeue()
    text = tf.as_string(number)
    made = tf.train.batch([number, text], 3, dynamic_pad=True)
    assert [[x.tolist() for x in pair] for pair in all_of(made)] == [[[0, 1, 2], [b"0", b"1", b"2"]]]


# Nodes: those of TensorFlow 1.15.5, but for summaries.
def nodes() -> list:
    return [(n.name, n.op, list(n.input)) for n in tf.get_default_graph().as_graph_def().node]


def test_batches_of_what_several_threads_put_in() -> None:
    left = tf.train.range_input_producer(4, num_epochs=1, shuffle=False, name="left").dequeue()
    right = 10 + tf.train.range_input_producer(2, num_epochs=1, shuffle=False, name="right").dequeue()
    made = tf.train.batch_join([[left], [right]], 2)
    assert made.name == "batch_join:0"
    assert runners()[-1][1] == ["batch_join/fifo_queue_enqueue", "batch_join/fifo_queue_enqueue_1"]
    assert sorted(functools.reduce(operator.iadd, [x.tolist() for x in all_of(made)], [])) == [
        0,
        1,
        2,
        3,
        10,
        11,
    ]


def test_shuffled_batches_of_what_several_threads_put_in() -> None:
    rows = [tf.train.limit_epochs(tf.constant(x), 1) for x in ([1, 2], [3, 4])]
    made = tf.train.shuffle_batch_join([{"k": x} for x in rows], 2, 10, 2, enqueue_many=True)
    assert made["k"].name == "shuffle_batch_join:0"
    assert sorted(functools.reduce(operator.iadd, [x["k"].tolist() for x in all_of(made)], [])) == [
        1,
        2,
        3,
        4,
    ]


def test_sets_of_tensors_that_differ() -> None:
    one, text = tf.constant(1), tf.constant("a")
    with pytest.raises(ValueError, match="at least one set of tensors"):
        tf.train.batch_join([], 2)
    with pytest.raises(ValueError, match="must have the same keys"):
        tf.train.batch_join([{"a": one}, {"b": one}], 2)
    with pytest.raises(TypeError, match=r"Expected types to be consistent: int32 vs\. string\."):
        tf.train.batch_join([[one], [text]], 2)
    with pytest.raises(ValueError, match="are incompatible"):
        tf.train.batch_join([[one], [tf.constant([1])]], 2)


def test_elements_that_are_kept() -> None:
    keep = tf.constant([True, False, True])
    rows = tf.train.limit_epochs(tf.constant([1, 2, 3]), 2)
    made = tf.train.maybe_batch([rows], keep, 2, enqueue_many=True)
    assert ("batch/DynamicPartition", "DynamicPartition", ["limit_epochs", "batch/Cast"]) in nodes()
    assert [x.tolist() for x in all_of(made)] == [[1, 3], [1, 3]]


def test_runs_that_are_kept() -> None:
    number = tf.train.range_input_producer(6, num_epochs=1, shuffle=False).dequeue()
    odd = tf.equal(number % 2, 1)
    made = tf.train.maybe_shuffle_batch([number], 3, 10, 1, odd)
    assert runners()[-1][1] == ["shuffle_batch/cond/Merge:0"]
    assert sorted(all_of(made)[0].tolist()) == [1, 3, 5]


def test_nothing_is_kept() -> None:
    tf.train.maybe_batch([tf.constant(1)], False, 2)
    assert nodes()[:4] == [
        ("Const", "Const", []),
        ("batch/Const", "Const", []),
        ("batch/fifo_queue", "FIFOQueueV2", []),
        ("batch/NoOp", "NoOp", []),
    ]


@pytest.mark.parametrize(
    ("keep", "enqueue_many", "message"),
    [
        ([True], False, "cannot be a vector when `enqueue_many=False`"),
        ([[True]], True, "must be 0 or 1 dimensions"),
        (None, True, "dimensions must be known"),
    ],
)
def test_what_says_what_to_keep(keep, enqueue_many, message) -> None:
    given = tf.placeholder(tf.bool) if keep is None else tf.constant(keep)
    with pytest.raises(ValueError, match=message):
        tf.train.maybe_batch_join([[tf.constant([1])]], given, 2, enqueue_many=enqueue_many)


def test_what_cannot_be_put_into_a_queue() -> None:
    with pytest.raises(TypeError, match="does not put a SparseTensor into a queue"):
        tf.train.batch([tf.SparseTensor([[0]], [1], [1])], 2)
    with pytest.raises(ValueError, match="Cannot infer Tensor's rank"):
        tf.train.batch([tf.placeholder(tf.float32)], 2)
    with pytest.raises(ValueError, match="num_epochs must be > 0 not 0"):
        tf.train.limit_epochs(tf.constant(1), 0)
