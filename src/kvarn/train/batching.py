"""Batches of tensors, through queues that threads fill.

Source: tensorflow/python/training/input.py (1.15).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from kvarn import dtypes as _dtypes
from kvarn.graph import registry
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GraphKeys, add_to_collection, name_scope
from kvarn.graph.op import apply_op
from kvarn.graph.static_value import constant_value
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import as_shape
from kvarn.ops import array, conditional, control, math
from kvarn.train.queue_runner import QueueRunner, add_queue_runner
from kvarn.variables.queues import FIFOQueue, PaddingFIFOQueue, QueueBase, RandomShuffleQueue


@dataclasses.dataclass(frozen=True)
class _Way:
    """How batches are made.

    Attributes:
      name, default_name: of the scope.
      batch_size, enqueue_many, shapes, allow_smaller, shared_name: arguments of `batch`.
      capacity, lowest: most elements of the queue, and how many stay in it.
      make: makes the queue of types and shapes.
    """

    name: str | None
    default_name: str
    batch_size: Any
    enqueue_many: bool
    shapes: Any
    allow_smaller: bool
    capacity: int
    lowest: int
    make: Callable[[list[Any], list[Any]], QueueBase]


def _in_order(
    default_name: str,
    name: str | None,
    batch_size: Any,
    capacity: int,
    enqueue_many: bool,
    shapes: Any,
    dynamic_pad: bool,
    allow_smaller: bool,
    shared_name: str | None,
) -> _Way:
    kind = PaddingFIFOQueue if dynamic_pad else FIFOQueue

    def make(types: list[Any], element_shapes: list[Any]) -> QueueBase:
        return kind(capacity, types, element_shapes, shared_name=shared_name)

    return _Way(name, default_name, batch_size, enqueue_many, shapes, allow_smaller, capacity, 0, make)


def _shuffled(
    default_name: str,
    name: str | None,
    batch_size: Any,
    capacity: int,
    min_after_dequeue: int,
    seed: int | None,
    enqueue_many: bool,
    shapes: Any,
    allow_smaller: bool,
    shared_name: str | None,
) -> _Way:
    if capacity <= min_after_dequeue:
        raise ValueError(f"capacity {capacity} must be bigger than min_after_dequeue {min_after_dequeue}.")

    def make(types: list[Any], element_shapes: list[Any]) -> QueueBase:
        return RandomShuffleQueue(
            capacity, min_after_dequeue, types, element_shapes, seed=seed, shared_name=shared_name
        )

    return _Way(
        name, default_name, batch_size, enqueue_many, shapes, allow_smaller, capacity, min_after_dequeue, make
    )


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
    return maybe_batch(
        tensors,
        True,
        batch_size,
        num_threads,
        capacity,
        enqueue_many,
        shapes,
        dynamic_pad,
        allow_smaller_final_batch,
        shared_name,
        name,
    )


def maybe_batch(
    tensors: Any,
    keep_input: Any,
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
    """`batch` of those elements only for which ``keep_input`` is true.

    Args:
      keep_input: a bool scalar; with ``enqueue_many`` also a vector, one for each element.

    Raises:
      ValueError: ``keep_input`` is of another rank, and as `batch`.
    """
    way = _in_order(
        "batch",
        name,
        batch_size,
        capacity,
        enqueue_many,
        shapes,
        dynamic_pad,
        allow_smaller_final_batch,
        shared_name,
    )
    return _batches([tensors], keep_input, num_threads, way)


def batch_join(
    tensors_list: Sequence[Any],
    batch_size: Any,
    capacity: int = 32,
    enqueue_many: bool = False,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """`batch` of several lists or dictionaries of tensors, each put into the queue by a thread of its own.

    Raises:
      TypeError, ValueError: they differ in types, keys or shapes, and as `batch`.
    """
    return maybe_batch_join(
        tensors_list,
        True,
        batch_size,
        capacity,
        enqueue_many,
        shapes,
        dynamic_pad,
        allow_smaller_final_batch,
        shared_name,
        name,
    )


def maybe_batch_join(
    tensors_list: Sequence[Any],
    keep_input: Any,
    batch_size: Any,
    capacity: int = 32,
    enqueue_many: bool = False,
    shapes: Any = None,
    dynamic_pad: bool = False,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """`batch_join` as `maybe_batch`."""
    way = _in_order(
        "batch_join",
        name,
        batch_size,
        capacity,
        enqueue_many,
        shapes,
        dynamic_pad,
        allow_smaller_final_batch,
        shared_name,
    )
    return _batches(tensors_list, keep_input, 1, way)


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
    return maybe_shuffle_batch(
        tensors,
        batch_size,
        capacity,
        min_after_dequeue,
        True,
        num_threads,
        seed,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        shared_name,
        name,
    )


def maybe_shuffle_batch(
    tensors: Any,
    batch_size: Any,
    capacity: int,
    min_after_dequeue: int,
    keep_input: Any,
    num_threads: int = 1,
    seed: int | None = None,
    enqueue_many: bool = False,
    shapes: Any = None,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """`shuffle_batch` as `maybe_batch`."""
    way = _shuffled(
        "shuffle_batch",
        name,
        batch_size,
        capacity,
        min_after_dequeue,
        seed,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        shared_name,
    )
    return _batches([tensors], keep_input, num_threads, way)


def shuffle_batch_join(
    tensors_list: Sequence[Any],
    batch_size: Any,
    capacity: int,
    min_after_dequeue: int,
    seed: int | None = None,
    enqueue_many: bool = False,
    shapes: Any = None,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """`shuffle_batch` as `batch_join`."""
    return maybe_shuffle_batch_join(
        tensors_list,
        batch_size,
        capacity,
        min_after_dequeue,
        True,
        seed,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        shared_name,
        name,
    )


def maybe_shuffle_batch_join(
    tensors_list: Sequence[Any],
    batch_size: Any,
    capacity: int,
    min_after_dequeue: int,
    keep_input: Any,
    seed: int | None = None,
    enqueue_many: bool = False,
    shapes: Any = None,
    allow_smaller_final_batch: bool = False,
    shared_name: str | None = None,
    name: str | None = None,
) -> Any:
    """`shuffle_batch_join` as `maybe_batch`."""
    way = _shuffled(
        "shuffle_batch_join",
        name,
        batch_size,
        capacity,
        min_after_dequeue,
        seed,
        enqueue_many,
        shapes,
        allow_smaller_final_batch,
        shared_name,
    )
    return _batches(tensors_list, keep_input, 1, way)


def _batches(tensors_list: Sequence[Any], keep_input: Any, num_threads: int, way: _Way) -> Any:
    if not tensors_list:
        raise ValueError("Expected at least one set of tensors")
    keys = sorted(tensors_list[0], key=str) if isinstance(tensors_list[0], dict) else None
    if keys is not None and any(set(tensors) != set(keys) for tensors in tensors_list):
        raise ValueError("All dictionaries in tensors_list must have the same keys")
    given = [list(t) if keys is None else [t[k] for k in keys] for t in tensors_list]
    with name_scope(way.name, way.default_name, [x for each in given for x in each] + [keep_input]) as scope:
        if any(isinstance(x, SparseTensor) for each in given for x in each):
            raise TypeError(
                "kvarn does not put a SparseTensor into a queue; give its indices, values and dense_shape, or "
                "serialize it first (tf.io.serialize_many_sparse)."
            )
        flat = [[convert_to_tensor(x) for x in each] for each in given]
        if not flat[0]:
            raise ValueError("Expected at least one tensor in batch().")
        keep = _keep_input(keep_input, way.enqueue_many)
        queue = way.make(_types(flat), _element_shapes(flat, way.shapes, way.enqueue_many))
        puts = [_put(queue, each, way.enqueue_many, keep) for each in flat]
        add_queue_runner(QueueRunner(queue, puts * num_threads))
        what = f"of_{way.capacity - way.lowest}_full"
        summary = (
            f"fraction_over_{way.lowest}_{what}" if "shuffle" in way.default_name else f"fraction_{what}"
        )
        summarize(summary, lambda: fraction_full(queue, way.lowest, way.capacity))
        take = queue.dequeue_up_to if way.allow_smaller else queue.dequeue_many
        taken = take(way.batch_size, name=scope)
        if keys is None:
            return taken
        return dict(zip(keys, [taken] if len(keys) == 1 else taken, strict=True))


def _keep_input(keep_input: Any, enqueue_many: bool) -> Tensor:
    keep: Tensor = convert_to_tensor(keep_input)
    rank = keep.shape.ndims
    if rank is None:
        raise ValueError("`keep_input` dimensions must be known at graph construction.")
    if not enqueue_many and rank == 1:
        raise ValueError("`keep_input` cannot be a vector when `enqueue_many=False`.")
    if rank > 1:
        raise ValueError("`keep_input` must be 0 or 1 dimensions.")
    return keep


def _put(queue: QueueBase, tensors: list[Tensor], enqueue_many: bool, keep: Tensor) -> Any:
    """What puts tensors into a queue, or some of their elements, or nothing."""
    put = queue.enqueue_many if enqueue_many else queue.enqueue
    if keep.shape.ndims == 1:
        chosen = math.cast(keep, _dtypes.int32)
        return put([array.dynamic_partition(x, chosen, num_partitions=2)[1] for x in tensors])
    known = constant_value(keep)
    if known is None:
        return conditional.cond(keep, lambda: put(tensors), control.no_op)
    return put(tensors) if known else control.no_op()


def _types(sets: list[list[Tensor]]) -> list[Any]:
    types = [t.dtype for t in sets[0]]
    for other in sets[1:]:
        found = [t.dtype for t in other]
        if found != types:
            raise TypeError(
                f"Expected types to be consistent: {', '.join(t.name for t in types)} vs. "
                f"{', '.join(t.name for t in found)}."
            )
    return types


def _element_shapes(sets: list[list[Tensor]], shapes: Any, enqueue_many: bool) -> list[Any]:
    if shapes is not None:
        given: list[Any] = shapes
        return given
    for tensors in sets:
        for tensor in tensors:
            if tensor.shape.ndims is None:
                raise ValueError(f"Cannot infer Tensor's rank: {tensor}")
    found = []
    for alike in zip(*sets, strict=True):
        elements = [as_shape(t.shape).with_rank_at_least(1)[1:] if enqueue_many else t.shape for t in alike]
        for other in elements[1:]:
            elements[0].assert_is_compatible_with(other)
        found.append(elements[0].as_list())
    return found


def fraction_full(queue: QueueBase, lowest: int, capacity: int) -> Tensor:
    """How full a queue is, from ``lowest`` elements (0.0) to its capacity (1.0)."""
    size = queue.size()
    if lowest:
        size = math.maximum(0, size - lowest)
    full: Tensor = math.cast(size, _dtypes.float32) * (1.0 / (capacity - lowest))
    return full


def summarize(name: str, value: Callable[[], Tensor]) -> None:
    """Adds a summary of a number, if summaries are there to be written."""
    summary = registry.global_registry.find("ScalarSummary")
    if summary is None:
        return
    number = value()
    with name_scope(name, values=[number]) as scope:
        node = apply_op(summary, {"tags": scope.rstrip("/"), "values": number}, scope)
    add_to_collection(GraphKeys.SUMMARIES, node.outputs[0])
