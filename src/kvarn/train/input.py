"""Input pipelines of queues: producers that fill one, and batches taken from one.

Source: tensorflow/python/training/input.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn import dtypes as _dtypes
from kvarn.graph import registry
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import GraphKeys, add_to_collection, control_dependencies, name_scope
from kvarn.graph.op import apply_op
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import as_shape
from kvarn.ops import array, control, math, random, ranges
from kvarn.train.queue_runner import QueueRunner, add_queue_runner
from kvarn.variables.queues import FIFOQueue, PaddingFIFOQueue, QueueBase, RandomShuffleQueue
from kvarn.variables.variable import VariableV1


def limit_epochs(tensor: Any, num_epochs: int | None = None, name: str | None = None) -> Any:
    """``tensor``, which raises OutOfRangeError once it has been read ``num_epochs`` times.

    The count is a local variable, ``epochs``.  Raises ValueError if ``num_epochs`` is not positive.
    """
    if num_epochs is None:
        return tensor
    if num_epochs <= 0:
        raise ValueError(f"num_epochs must be > 0 not {num_epochs}.")
    with name_scope(name, "limit_epochs", [tensor]) as scope:
        epochs: Any = VariableV1(  # type: ignore[call-arg]
            constant(0, dtype=_dtypes.int64),
            name="epochs",
            trainable=False,
            collections=[GraphKeys.LOCAL_VARIABLES],
        )
        with control_dependencies([epochs.count_up_to(num_epochs)]):
            return array.identity(tensor, name=scope)


def input_producer(
    input_tensor: Any,
    element_shape: Any = None,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    summary_name: str | None = None,
    name: str | None = None,
    cancel_op: Any = None,
) -> QueueBase:
    """A queue that a QueueRunner fills with the rows of a tensor.

    Args:
      input_tensor: at least of rank 1.
      element_shape: the shape of a row, if the tensor does not tell.
      num_epochs: how often each row is put in; None for ever.
      shuffle: in another order each time.
      seed: of the order.
      capacity, shared_name: of the queue.
      summary_name: of a summary of how full the queue is.
      cancel_op: what the QueueRunner runs to close the queue after an error.

    Raises:
      ValueError: the shape of a row is not known.
    """
    with name_scope(name, "input_producer", [input_tensor]):
        input_tensor = convert_to_tensor(input_tensor, name="input_tensor")
        shape = input_tensor.shape[1:].merge_with(element_shape)
        if not shape.is_fully_defined():
            raise ValueError(
                "Either `input_tensor` must have a fully defined shape or `element_shape` must be specified"
            )
        if shuffle:
            input_tensor = random.random_shuffle(input_tensor, seed=seed)
        input_tensor = limit_epochs(input_tensor, num_epochs)
        queue = FIFOQueue(
            capacity,
            [input_tensor.dtype.base_dtype],
            shapes=[shape],
            shared_name=shared_name,
            name=name or "fifo_queue",
        )
        add_queue_runner(QueueRunner(queue, [queue.enqueue_many([input_tensor])], cancel_op=cancel_op))
        if summary_name is not None:
            _summarize(summary_name, lambda: _fraction(queue, 0, capacity))
        return queue


def string_input_producer(
    string_tensor: Any,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    name: str | None = None,
    cancel_op: Any = None,
) -> QueueBase:
    """`input_producer` of a vector of strings, such as names of files.

    Raises:
      ValueError: an empty list.  Of a tensor, InvalidArgumentError when it is run.
    """
    problem = "string_input_producer requires a non-null input tensor"
    if not isinstance(string_tensor, Tensor) and not len(string_tensor):
        raise ValueError(problem)
    with name_scope(name, "input_producer", [string_tensor]) as scope:
        strings = convert_to_tensor(string_tensor, dtype=_dtypes.string)
        with control_dependencies([control.Assert(math.greater(array.size(strings), 0), [problem])]):
            strings = array.identity(strings)
        return input_producer(
            strings,
            [],
            num_epochs,
            shuffle,
            seed,
            capacity,
            shared_name,
            f"fraction_of_{capacity}_full",
            scope,
            cancel_op,
        )


def range_input_producer(
    limit: Any,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    name: str | None = None,
) -> QueueBase:
    """`input_producer` of the integers below ``limit``."""
    with name_scope(name, "input_producer", [limit]) as scope:
        return input_producer(
            ranges.range(limit),
            [],
            num_epochs,
            shuffle,
            seed,
            capacity,
            shared_name,
            f"fraction_of_{capacity}_full",
            scope,
        )


def slice_input_producer(
    tensor_list: Any,
    num_epochs: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    capacity: int = 32,
    shared_name: str | None = None,
    name: str | None = None,
) -> list[Any]:
    """One row of each tensor of a list, all of the same position, another one each time.

    Raises:
      ValueError: no tensors.
    """
    with name_scope(name, "input_producer", tensor_list):
        tensors = [convert_to_tensor(t) for t in tensor_list]
        if not tensors:
            raise ValueError("Expected at least one tensor in slice_input_producer().")
        count = array.shape(tensors[0])[0]
        queue = range_input_producer(count, num_epochs, shuffle, seed, capacity, shared_name)
        index = queue.dequeue()
        return [array.gather(t, index) for t in tensors]


def batch(
    tensors: Any,
    batch_size: Any,
    num_threads: int = 1,
    capacity: int = 32,
    enqueue_many: bool = False,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """Batches of ``tensors``, through a queue that ``num_threads`` threads fill.

    Args:
      tensors: a list or dictionary of tensors; the result is one like it.
      batch_size: how many elements.
      capacity, shared_name: of the queue.
      enqueue_many: the tensors are many elements each, along their first dimension.
      shapes: of an element, if the tensors do not tell.
      dynamic_pad: elements may differ in their unknown dimensions; batches are filled up with zeros.
      allow_smaller_final_batch: give what is left at the end.

    Raises:
      ValueError: no tensors, or the rank of one is not known.
      TypeError: a SparseTensor, which kvarn does not put into queues.
    """
    kind = PaddingFIFOQueue if dynamic_pad else FIFOQueue

    def make(types: list[Any], shapes: list[Any]) -> QueueBase:
        return kind(capacity, types, shapes, shared_name=shared_name)

    return _batches(
        tensors,
        batch_size,
        num_threads,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        make,
        (name, "batch"),
        (0, capacity, f"fraction_of_{capacity}_full"),
    )


def shuffle_batch(
    tensors: Any,
    batch_size: Any,
    capacity: int,
    min_after_dequeue: int,
    num_threads: int = 1,
    seed: int | None = None,
    enqueue_many: bool = False,
    shapes: Any = None,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """`batch`, of elements chosen at random from a queue that keeps at least ``min_after_dequeue``.

    Raises:
      ValueError: ``capacity`` is not bigger than that.
    """
    if capacity <= min_after_dequeue:
        raise ValueError(f"capacity {capacity} must be bigger than min_after_dequeue {min_after_dequeue}.")

    def make(types: list[Any], shapes: list[Any]) -> QueueBase:
        return RandomShuffleQueue(
            capacity, min_after_dequeue, types, shapes, seed=seed, shared_name=shared_name
        )

    summary = f"fraction_over_{min_after_dequeue}_of_{capacity - min_after_dequeue}_full"
    return _batches(
        tensors,
        batch_size,
        num_threads,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        make,
        (name, "shuffle_batch"),
        (min_after_dequeue, capacity, summary),
    )


def _batches(
    tensors: Any,
    batch_size: Any,
    num_threads: int,
    enqueue_many: bool,
    shapes: Any,
    allow_smaller: bool,
    make: Callable[[list[Any], list[Any]], QueueBase],
    names: tuple[str | None, str],
    summary: tuple[int, int, str],
) -> Any:
    keys = sorted(tensors, key=str) if isinstance(tensors, dict) else None
    given = list(tensors) if keys is None else [tensors[k] for k in keys]
    with name_scope(names[0], names[1], given) as scope:
        if any(isinstance(t, SparseTensor) for t in given):
            raise TypeError(
                "kvarn does not put a SparseTensor into a queue; give its indices, values and dense_shape, or "
                "serialize it first (tf.io.serialize_many_sparse)."
            )
        flat = [convert_to_tensor(t) for t in given]
        if not flat:
            raise ValueError("Expected at least one tensor in batch().")
        constant(True)  # TensorFlow's `keep_input`, which takes this name
        queue = make([t.dtype for t in flat], _element_shapes(flat, shapes, enqueue_many))
        put = queue.enqueue_many(flat) if enqueue_many else queue.enqueue(flat)
        add_queue_runner(QueueRunner(queue, [put] * num_threads))
        lowest, capacity, summary_name = summary
        _summarize(summary_name, lambda: _fraction(queue, lowest, capacity))
        take = queue.dequeue_up_to if allow_smaller else queue.dequeue_many
        taken = take(batch_size, name=scope)
        if keys is None:
            return taken
        return dict(zip(keys, [taken] if len(keys) == 1 else taken, strict=True))


def _element_shapes(tensors: list[Tensor], shapes: Any, enqueue_many: bool) -> list[Any]:
    if shapes is not None:
        given: list[Any] = shapes
        return given
    for tensor in tensors:
        if tensor.shape.ndims is None:
            raise ValueError(f"Cannot infer Tensor's rank: {tensor}")
    found = [as_shape(t.shape) for t in tensors]
    return [(s.with_rank_at_least(1)[1:] if enqueue_many else s).as_list() for s in found]


def _fraction(queue: QueueBase, lowest: int, capacity: int) -> Tensor:
    size = queue.size()
    if lowest:
        size = math.maximum(0, size - lowest)
    full: Tensor = math.cast(size, _dtypes.float32) * (1.0 / (capacity - lowest))
    return full


def _summarize(name: str, value: Callable[[], Tensor]) -> None:
    """Adds a summary of a number, if summaries are there to be written."""
    summary = registry.global_registry.find("ScalarSummary")
    if summary is None:
        return
    number = value()
    with name_scope(name, values=[number]) as scope:
        node = apply_op(summary, {"tags": scope.rstrip("/"), "values": number}, scope)
    add_to_collection(GraphKeys.SUMMARIES, node.outputs[0])
