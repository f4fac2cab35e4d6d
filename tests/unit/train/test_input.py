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


def test_what_cannot_be_put_into_a_queue() -> None:
    with pytest.raises(TypeError, match="does not put a SparseTensor into a queue"):
        tf.train.batch([tf.SparseTensor([[0]], [1], [1])], 2)
    with pytest.raises(ValueError, match="Cannot infer Tensor's rank"):
        tf.train.batch([tf.placeholder(tf.float32)], 2)
    with pytest.raises(ValueError, match="num_epochs must be > 0 not 0"):
        tf.train.limit_epochs(tf.constant(1), 0)
