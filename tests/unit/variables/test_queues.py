"""Queues: order, waiting, closing and errors, as TensorFlow 1.15.5 gave them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import kvarn as tf

CANCELLED, OUT_OF_RANGE = tf.errors.CancelledError, tf.errors.OutOfRangeError
INVALID = tf.errors.InvalidArgumentError


@pytest.fixture(autouse=True)
def _graph():
    with tf.Graph().as_default():
        yield


class Pair:
    """A queue of pairs for three elements, and operations on it."""

    def __init__(self) -> None:
        self.queue = tf.FIFOQueue(3, [tf.int32, tf.float32], shapes=[[], [2]])
        self.put = self.queue.enqueue((1, [1.0, 2.0]))
        self.put_two = self.queue.enqueue_many(([5, 6], [[1.0, 2.0], [3.0, 4.0]]))
        self.take = self.queue.dequeue()
        self.take_two = self.queue.dequeue_many(2)
        self.take_up_to_five = self.queue.dequeue_up_to(5)
        self.close, self.cancel = self.queue.close(), self.queue.close(cancel_pending_enqueues=True)
        self.size = self.queue.size()


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list]:
    result: list = []

    def run() -> None:
        try:
            result.append(function())
        except tf.errors.OpError as e:
            result.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()
    return thread, result


def finished(waiting: tuple[threading.Thread, list]) -> object:
    thread, result = waiting
    thread.join(10)
    assert not thread.is_alive()
    return result[0]


def test_names_and_static_shapes() -> None:
    pair = Pair()
    assert [t.name for t in pair.take] == ["fifo_queue_Dequeue:0", "fifo_queue_Dequeue:1"]
    assert [t.shape.as_list() for t in pair.take] == [[], [2]]
    assert [t.shape.as_list() for t in pair.take_two] == [[2], [2, 2]]
    assert [t.shape.as_list() for t in pair.take_up_to_five] == [[None], [None, 2]]
    assert (pair.put.name, pair.put_two.name) == ("fifo_queue_enqueue", "fifo_queue_EnqueueMany")
    assert pair.put.inputs[1].name == "fifo_queue_enqueue/component_0:0"
    assert (pair.close.name, pair.cancel.name) == ("fifo_queue_Close", "fifo_queue_Close_1")
    assert (pair.size.name, pair.queue.is_closed().name) == ("fifo_queue_Size:0", "fifo_queue_Is_Closed:0")


def test_first_in_first_out() -> None:
    pair = Pair()
    with tf.Session() as session:
        session.run(pair.put)
        session.run(pair.put_two)
        assert session.run([pair.size, pair.queue.is_closed()]) == [3, False]
        number, vector = session.run(pair.take)
        assert (number, vector.tolist()) == (1, [1.0, 2.0])
        numbers, vectors = session.run(pair.take_two)
        assert (numbers.tolist(), vectors.tolist()) == ([5, 6], [[1.0, 2.0], [3.0, 4.0]])
        assert session.run(pair.size) == 0


def test_what_was_fed_may_change_afterwards() -> None:
    queue = tf.FIFOQueue(1, tf.float32, shapes=[[2]])
    fed = tf.placeholder(tf.float32, [2])
    put, take = queue.enqueue(fed), queue.dequeue()
    value = np.ones(2, np.float32)
    with tf.Session() as session:
        session.run(put, {fed: value})
        value[:] = 7
        assert session.run(take).tolist() == [1.0, 1.0]


def test_a_closed_queue_gives_what_it_has() -> None:
    pair = Pair()
    with tf.Session() as session:
        session.run(pair.put)
        session.run(pair.close)
        assert session.run(pair.take_up_to_five)[0].tolist() == [1]
        for operation in (pair.put, pair.put_two):
            with pytest.raises(CANCELLED, match=r"FIFOQueue '_0_fifo_queue' is closed\."):
                session.run(operation)
        for operation, requested in ((pair.take, 1), (pair.take_two, 2), (pair.take_up_to_five, 5)):
            text = rf"insufficient elements \(requested {requested}, current size 0\)"
            with pytest.raises(OUT_OF_RANGE, match="FIFOQueue '_0_fifo_queue' is closed and has " + text):
                session.run(operation)
        with pytest.raises(CANCELLED, match=r"Queue '_0_fifo_queue' is already closed\."):
            session.run(pair.close)
        session.run(pair.cancel)
        assert session.run(pair.queue.is_closed())


def test_errors_of_elements_and_counts() -> None:
    pair = Pair()
    strings = tf.FIFOQueue(2, tf.string, name="s")
    fed, count = tf.placeholder(tf.float32), tf.placeholder(tf.int32, [])
    put, some, up_to = (
        pair.queue.enqueue((1, fed)),
        pair.queue.dequeue_many(count),
        pair.queue.dequeue_up_to(count),
    )
    with tf.Session() as session:
        with pytest.raises(INVALID, match=r"Shape mismatch in tuple component 1. Expected \[2\], got \[3\]"):
            session.run(put, {fed: [1.0, 2.0, 3.0]})
        with pytest.raises(INVALID, match="DequeueManyOp requested -1 < 0 elements"):
            session.run(some, {count: -1})
        with pytest.raises(INVALID, match="DequeueUpToOp requested -1 < 0 elements"):
            session.run(up_to, {count: -1})
        assert session.run(some, {count: 0})[1].shape == (0, 2)
        with pytest.raises(INVALID, match="require the components to have specified shapes"):
            session.run(strings.dequeue_many(1))
    with pytest.raises(ValueError, match="are incompatible"):
        pair.queue.enqueue((1, [1.0]))
    with pytest.raises(ValueError, match="2 components, 1 are given"):
        pair.queue.enqueue(1)


def test_putting_in_waits_for_room_until_it_is_cancelled() -> None:
    pair = Pair()
    with tf.Session() as session:
        session.run(pair.put_two)
        waiting = in_thread(lambda: session.run(pair.put_two))
        assert session.run(pair.size) == 3
        session.run(pair.take)
        assert finished(waiting) is None
        waiting = in_thread(lambda: session.run(pair.put))
        session.run(pair.cancel)
        error = finished(waiting)
        assert isinstance(error, CANCELLED)
        assert error.message.startswith("Enqueue operation was cancelled")
        assert session.run(pair.take_up_to_five)[0].tolist() == [6, 5, 6]


def test_closing_waits_for_those_who_wait_for_room() -> None:
    pair = Pair()
    with tf.Session() as session:
        session.run(pair.put_two)
        putting = in_thread(lambda: session.run(pair.put_two))
        closing = in_thread(lambda: session.run(pair.close))
        assert session.run(pair.take_two)[0].tolist() == [5, 6]
        assert finished(putting) is None
        assert finished(closing) is None
        assert session.run(pair.take_up_to_five)[0].tolist() == [5, 6]


def test_taking_out_waits_until_the_queue_is_closed_and_gives_back() -> None:
    pair = Pair()
    with tf.Session() as session:
        session.run(pair.put)
        waiting = in_thread(lambda: session.run(pair.take_two))
        assert session.run(pair.size) == 0
        session.run(pair.close)
        error = finished(waiting)
        assert isinstance(error, OUT_OF_RANGE)
        assert "insufficient elements (requested 1, current size 0)" in error.message
        assert session.run(pair.size) == 1
        assert session.run(pair.take)[0] == 1


def test_closing_the_session_ends_the_waiting() -> None:
    pair = Pair()
    session = tf.Session()
    waiting = in_thread(lambda: session.run(pair.take))
    session.close()
    error = finished(waiting)
    assert isinstance(error, CANCELLED)
    assert error.message.startswith("Dequeue operation was cancelled")


def test_many_threads_lose_nothing() -> None:
    queue = tf.FIFOQueue(5, tf.int32, shapes=[[]])
    fed = tf.placeholder(tf.int32, [10])
    put, take = queue.enqueue_many(fed), queue.dequeue_many(4)
    found: list[int] = []
    with tf.Session() as session:

        def fill(start: int) -> None:
            for i in range(20):
                session.run(put, {fed: np.arange(10, dtype=np.int32) + 200 * start + 10 * i})

        def drain() -> None:
            for _ in range(50):
                found.extend(session.run(take).tolist())

        threads = [threading.Thread(target=fill, args=(i,)) for i in range(4)]
        threads += [threading.Thread(target=drain) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(found) == list(range(800))


def test_batches_of_different_sizes_are_filled_up() -> None:
    queue = tf.PaddingFIFOQueue(10, [tf.int32, tf.string], [[None], [None]])
    puts = [queue.enqueue(([1] * k, ["a"] * k)) for k in (1, 3, 2)]
    numbers, texts = queue.dequeue_many(3)
    assert numbers.shape.as_list() == [3, None]
    with tf.Session() as session:
        for put in puts:
            session.run(put)
        found = session.run([numbers, texts])
    assert found[0].tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]
    assert found[1].tolist() == [[b"a", b"", b""], [b"a", b"a", b"a"], [b"a", b"a", b""]]
    with pytest.raises(ValueError, match="a list of shapes must be provided"):
        tf.PaddingFIFOQueue(10, [tf.int32], [None])


def test_the_random_choice_is_tensorflows() -> None:
    queue = tf.RandomShuffleQueue(10, 2, tf.int32, shapes=[[]], seed=7)
    put, take, take_three, close = (
        queue.enqueue_many([[1, 2, 3, 4, 5, 6]]), queue.dequeue(), queue.dequeue_many(3), queue.close(),
    )  # fmt: skip
    with tf.Session() as session:
        session.run(put)
        assert [session.run(take), session.run(take), session.run(queue.size())] == [4, 3, 4]
        session.run(close)
        assert session.run(take_three).tolist() == [2, 6, 1]
        with pytest.raises(OUT_OF_RANGE, match=r"RandomShuffleQueue .*\(requested 3, current size 1\)"):
            session.run(take_three)
        assert session.run(take) == 5


def test_a_shuffled_queue_keeps_some_until_it_is_closed() -> None:
    queue = tf.RandomShuffleQueue(10, 2, tf.int32, shapes=[[]])
    put, take, close = queue.enqueue_many([[1, 2, 3]]), queue.dequeue(), queue.close()
    with tf.Session() as session:
        session.run(put)
        found = [session.run(take)]
        waiting = in_thread(lambda: session.run(take))
        session.run(close)
        found += [finished(waiting), session.run(take)]
    assert sorted(found) == [1, 2, 3]


def test_named_components() -> None:
    queue = tf.FIFOQueue(2, [tf.int32, tf.string], names=["i", "s"])
    put, take = queue.enqueue({"s": "a", "i": 3}), queue.dequeue()
    with tf.Session() as session:
        session.run(put)
        assert session.run(take) == {"i": 3, "s": b"a"}
    with pytest.raises(ValueError, match="do not match names of Queue"):
        queue.enqueue({"i": 3})
    with pytest.raises(ValueError, match="You must enqueue a dictionary"):
        queue.enqueue([3, "a"])


def test_queues_of_one_shared_name_are_one() -> None:
    def size(kind=tf.FIFOQueue, capacity=3, dtype=tf.int32, **options):
        return kind(capacity, *options.pop("more", ()), dtype, shared_name="z", **options).size()

    with tf.Session() as session:
        session.run(tf.FIFOQueue(3, tf.int32, shared_name="z").enqueue(4))
        assert session.run(size()) == 1
        for other, text in (
            (size(capacity=4), "Shared queue 'z' has capacity 3 but requested capacity was 4"),
            (size(dtype=tf.float32), "has component types int32 but requested component types were float"),
            (size(shapes=[[]]), r"has component shapes \[\] but requested component shapes were \[\[\]\]"),
            (size(tf.RandomShuffleQueue, more=(0,)), "Expected FIFOQueue, found RandomShuffleQueueV2"),
        ):
            with pytest.raises(INVALID, match=text):
                session.run(other)


def test_references_to_queues_of_old_graphs() -> None:
    raw = tf.raw_ops
    handle = raw.FIFOQueue(component_types=[tf.int32], shared_name="old")
    put = raw.QueueEnqueue(handle=handle, components=[3])
    take = raw.QueueDequeue(handle=handle, component_types=[tf.int32])
    with tf.Session() as session:
        assert session.run(handle).tolist() == [b"localhost", b"old"]
        session.run(put)
        assert session.run(raw.QueueSize(handle=handle)) == 1
        assert session.run(take) == [3]


def test_one_of_several_queues():
    queues = [tf.FIFOQueue(9, [tf.float32], shapes=[()]) for _ in range(3)]
    index = tf.placeholder(tf.int32, [])
    chosen = tf.QueueBase.from_list(index, queues)
    assert [op.type for op in tf.get_default_graph().get_operations()][4:] == ["Pack", "Const", "GatherV2"]
    put, size, taken = chosen.enqueue(10.0), chosen.size(), [queue.dequeue() for queue in queues]
    with tf.Session() as session:
        for i in range(3):
            session.run(put, {index: i})
            assert session.run(size, {index: i}) == 1
            assert session.run(taken[i]) == 10.0
        with pytest.raises(INVALID, match=r"indices = 5 is not in \[0, 3\)"):
            session.run(put, {index: 5})
