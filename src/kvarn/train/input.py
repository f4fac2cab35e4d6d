"""Input pipelines of queues: producers that fill one; `kvarn.train.batching` has the batches taken from them.

Source: tensorflow/python/training/input.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes as _dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import GraphKeys, control_dependencies, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, control, math, random, ranges
from kvarn.train.batching import fraction_full, summarize
from kvarn.train.queue_runner import QueueRunner, add_queue_runner
from kvarn.variables.queues import FIFOQueue, QueueBase
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
            summarize(summary_name, lambda: fraction_full(queue, 0, capacity))
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
