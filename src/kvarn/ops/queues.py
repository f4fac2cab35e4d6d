"""Queues as operations: handles, putting in and taking out, closing.

An operation waits in its thread for what it needs; closing the queue or the session ends the waiting.

Source: tensorflow/core/ops/data_flow_ops.cc, tensorflow/core/kernels/queue_{op,ops}.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import op
from kvarn.graph.resources import ResourceHandle
from kvarn.ops._handles import as_reference, look_up, own_handle
from kvarn.ops._queues import UNBOUNDED, PaddingFIFOQueue, Queue, RandomShuffleQueue

_KIND = "Queue"
_COMPONENTS = ["component_types: list(type) >= 1", "shapes: list(shape) >= 0 = []", "capacity: int = -1"]
_NAMES = ["container: string = ''", "shared_name: string = ''"]
_RANDOM = ["min_after_dequeue: int = 0", "seed: int = 0", "seed2: int = 0"]
_TIMEOUT = "timeout_ms: int = -1"
_PUT = ["Tcomponents: list(type) >= 1", _TIMEOUT]
_TAKE = ["component_types: list(type) >= 1", _TIMEOUT]


# -- handles ------------------------------------------------------------------------------------------


def _capacity(ctx: Any) -> int:
    capacity: int = ctx.attrs["capacity"]
    return UNBOUNDED if capacity < 0 else capacity


def _handle(ctx: Any, kind: str, make: Callable[[str], Queue]) -> ResourceHandle:
    handle = own_handle(ctx, _KIND)
    queue = ctx.resources.look_up_or_create(handle, lambda: make(handle.name))
    queue.check_same(kind, ctx.op.type, ctx.attrs["component_types"], ctx.attrs["shapes"], _capacity(ctx))
    return handle


def _fifo(ctx: Any) -> ResourceHandle:
    a = ctx.attrs
    return _handle(
        ctx, Queue.kind, lambda name: Queue(name, a["component_types"], a["shapes"], _capacity(ctx))
    )


def _padding(ctx: Any) -> ResourceHandle:
    a = ctx.attrs
    return _handle(
        ctx,
        PaddingFIFOQueue.kind,
        lambda name: PaddingFIFOQueue(name, a["component_types"], a["shapes"], _capacity(ctx)),
    )


def _random(ctx: Any) -> ResourceHandle:
    a = ctx.attrs
    return _handle(
        ctx,
        RandomShuffleQueue.kind,
        lambda name: RandomShuffleQueue(
            name,
            a["component_types"],
            a["shapes"],
            _capacity(ctx),
            a["min_after_dequeue"],
            a["seed"],
            a["seed2"],
        ),
    )


def _pair(c: Any, *unused: Any) -> Any:
    return (2,)


def _queue(ctx: Any, handle: Any) -> Queue:
    found: Queue = look_up(ctx, handle, _KIND)
    return found


@op("FIFOQueue", outputs="handle: Ref(string)", attrs=[*_COMPONENTS, *_NAMES], stateful=True)
class fifo_queue:
    """The handle of a queue, first in, first out, as a reference."""

    shape = _pair

    def kernel(ctx: Any) -> Any:
        return as_reference(ctx, _fifo(ctx))


@op("FIFOQueueV2", outputs="handle: resource", attrs=[*_COMPONENTS, *_NAMES], stateful=True)
class fifo_queue_v2:
    """The handle of a queue, first in, first out."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _fifo(ctx)


@op("PaddingFIFOQueue", outputs="handle: Ref(string)", attrs=[*_COMPONENTS, *_NAMES], stateful=True)
class padding_fifo_queue:
    """The handle of a queue whose batches are filled up with zeros, as a reference."""

    shape = _pair

    def kernel(ctx: Any) -> Any:
        return as_reference(ctx, _padding(ctx))


@op("PaddingFIFOQueueV2", outputs="handle: resource", attrs=[*_COMPONENTS, *_NAMES], stateful=True)
class padding_fifo_queue_v2:
    """The handle of a queue whose batches are filled up with zeros."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _padding(ctx)


@op(
    "RandomShuffleQueue",
    outputs="handle: Ref(string)",
    attrs=[*_COMPONENTS, *_RANDOM, *_NAMES],
    stateful=True,
)
class random_shuffle_queue:
    """The handle of a queue that gives any of its elements, as a reference."""

    shape = _pair

    def kernel(ctx: Any) -> Any:
        return as_reference(ctx, _random(ctx))


@op(
    "RandomShuffleQueueV2", outputs="handle: resource", attrs=[*_COMPONENTS, *_RANDOM, *_NAMES], stateful=True
)
class random_shuffle_queue_v2:
    """The handle of a queue that gives any of its elements."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _random(ctx)


@op("FakeQueue", inputs="resource: resource", outputs="handle: Ref(string)", stateful=True)
class fake_queue:
    """The handle of a queue as the reference that older operations take."""

    shape = _pair

    def kernel(ctx: Any, resource: Any) -> Any:
        return as_reference(ctx, resource)


# -- putting in ---------------------------------------------------------------------------------------


def _checked(ctx: Any, queue: Queue, components: list[Any]) -> list[Any]:
    """The components as arrays that the queue may keep."""
    if ctx.attrs["timeout_ms"] != -1:
        raise errors.InvalidArgumentError.of("Timeout not supported yet.", name=ctx.op.name)
    found = ctx.attrs["Tcomponents"]
    if tuple(found) != queue.dtypes:
        raise errors.InvalidArgumentError.of(
            f"The components are of types {[t.name for t in found]}, those of queue '{queue.name}' of "
            f"{[t.name for t in queue.dtypes]}",
            name=queue.name,
        )
    return [ctx.owned(np.asarray(x, dtype=t.np)) for x, t in zip(components, found, strict=True)]


def _enqueue(ctx: Any, handle: Any, components: list[Any]) -> None:
    queue = _queue(ctx, handle)
    queue.put(_checked(ctx, queue, components))


def _enqueue_many(ctx: Any, handle: Any, components: list[Any]) -> None:
    queue = _queue(ctx, handle)
    arrays = _checked(ctx, queue, components)
    if any(not a.ndim for a in arrays):
        raise errors.InvalidArgumentError.of(
            "Components to be put in many at a time must have a first dimension.", name=queue.name
        )
    queue.put_many(arrays)


@op("QueueEnqueue", inputs=["handle: Ref(string)", "components: Tcomponents"], attrs=_PUT)
class queue_enqueue:
    """Puts in one element."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, handle: Any, components: Any) -> None:
        _enqueue(ctx, handle, components)


@op("QueueEnqueueV2", inputs=["handle: resource", "components: Tcomponents"], attrs=_PUT, stateful=True)
class queue_enqueue_v2:
    """Puts in one element."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, handle: Any, components: Any) -> None:
        _enqueue(ctx, handle, components)


@op("QueueEnqueueMany", inputs=["handle: Ref(string)", "components: Tcomponents"], attrs=_PUT)
class queue_enqueue_many:
    """Puts in the elements along the first dimension."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, handle: Any, components: Any) -> None:
        _enqueue_many(ctx, handle, components)


@op("QueueEnqueueManyV2", inputs=["handle: resource", "components: Tcomponents"], attrs=_PUT, stateful=True)
class queue_enqueue_many_v2:
    """Puts in the elements along the first dimension."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, handle: Any, components: Any) -> None:
        _enqueue_many(ctx, handle, components)


# -- taking out ---------------------------------------------------------------------------------------


def _unknown_components(c: Any, *unused: Any) -> Any:
    return [None] * len(c.attrs["component_types"])


def _to_take_from(ctx: Any, handle: Any) -> Queue:
    if ctx.attrs["timeout_ms"] != -1:
        raise errors.InvalidArgumentError.of("Timeout not supported yet.", name=ctx.op.name)
    queue = _queue(ctx, handle)
    if tuple(ctx.attrs["component_types"]) != queue.dtypes:
        raise errors.InvalidArgumentError.of(
            f"The outputs are of types {[t.name for t in ctx.attrs['component_types']]}, the components of queue "
            f"'{queue.name}' of {[t.name for t in queue.dtypes]}",
            name=queue.name,
        )
    return queue


def _outputs(values: Any) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _dequeue(ctx: Any, handle: Any) -> Any:
    return _outputs(_to_take_from(ctx, handle).take())


def _dequeue_many(ctx: Any, handle: Any, n: Any, what: str) -> Any:
    queue = _to_take_from(ctx, handle)
    if n < 0:
        raise errors.InvalidArgumentError.of(f"{what}Op requested {int(n)} < 0 elements", name=queue.name)
    return _outputs(queue.take_many(int(n), allow_fewer=what == "DequeueUpTo"))


@op("QueueDequeue", inputs="handle: Ref(string)", outputs="components: component_types", attrs=_TAKE)
class queue_dequeue:
    """Takes out one element."""

    shape = _unknown_components

    def kernel(ctx: Any, handle: Any) -> Any:
        return _dequeue(ctx, handle)


@op(
    "QueueDequeueV2",
    inputs="handle: resource",
    outputs="components: component_types",
    attrs=_TAKE,
    stateful=True,
)
class queue_dequeue_v2:
    """Takes out one element."""

    shape = _unknown_components

    def kernel(ctx: Any, handle: Any) -> Any:
        return _dequeue(ctx, handle)


@op(
    "QueueDequeueMany",
    inputs=["handle: Ref(string)", "n: int32"],
    outputs="components: component_types",
    attrs=_TAKE,
)
class queue_dequeue_many:
    """Takes out a batch of ``n`` elements."""

    shape = _unknown_components

    def kernel(ctx: Any, handle: Any, n: Any) -> Any:
        return _dequeue_many(ctx, handle, n, "DequeueMany")


@op(
    "QueueDequeueManyV2",
    inputs=["handle: resource", "n: int32"],
    outputs="components: component_types",
    attrs=_TAKE,
    stateful=True,
)
class queue_dequeue_many_v2:
    """Takes out a batch of ``n`` elements."""

    shape = _unknown_components

    def kernel(ctx: Any, handle: Any, n: Any) -> Any:
        return _dequeue_many(ctx, handle, n, "DequeueMany")


@op(
    "QueueDequeueUpTo",
    inputs=["handle: Ref(string)", "n: int32"],
    outputs="components: component_types",
    attrs=_TAKE,
)
class queue_dequeue_up_to:
    """Takes out a batch of ``n`` elements, or of those that a closed queue still has."""

    shape = _unknown_components

    def kernel(ctx: Any, handle: Any, n: Any) -> Any:
        return _dequeue_many(ctx, handle, n, "DequeueUpTo")


@op(
    "QueueDequeueUpToV2",
    inputs=["handle: resource", "n: int32"],
    outputs="components: component_types",
    attrs=_TAKE,
    stateful=True,
)
class queue_dequeue_up_to_v2:
    """Takes out a batch of ``n`` elements, or of those that a closed queue still has."""

    shape = _unknown_components

    def kernel(ctx: Any, handle: Any, n: Any) -> Any:
        return _dequeue_many(ctx, handle, n, "DequeueUpTo")


# -- closing, and what a queue tells ------------------------------------------------------------------


@op("QueueClose", inputs="handle: Ref(string)", attrs="cancel_pending_enqueues: bool = false")
class queue_close:
    """Lets nothing more in."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, handle: Any) -> None:
        _queue(ctx, handle).close(ctx.attrs["cancel_pending_enqueues"])


@op("QueueCloseV2", inputs="handle: resource", attrs="cancel_pending_enqueues: bool = false", stateful=True)
class queue_close_v2:
    """Lets nothing more in."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, handle: Any) -> None:
        _queue(ctx, handle).close(ctx.attrs["cancel_pending_enqueues"])


@op("QueueIsClosed", inputs="handle: Ref(string)", outputs="is_closed: bool")
class queue_is_closed:
    """Whether the queue is closed."""

    shape = shapes.scalar

    def kernel(ctx: Any, handle: Any) -> Any:
        return np.bool_(_queue(ctx, handle).is_closed)


@op("QueueIsClosedV2", inputs="handle: resource", outputs="is_closed: bool", stateful=True)
class queue_is_closed_v2:
    """Whether the queue is closed."""

    shape = shapes.scalar

    def kernel(ctx: Any, handle: Any) -> Any:
        return np.bool_(_queue(ctx, handle).is_closed)


@op("QueueSize", inputs="handle: Ref(string)", outputs="size: int32")
class queue_size:
    """How many elements the queue has."""

    shape = shapes.scalar

    def kernel(ctx: Any, handle: Any) -> Any:
        return np.int32(_queue(ctx, handle).size())


@op("QueueSizeV2", inputs="handle: resource", outputs="size: int32", stateful=True)
class queue_size_v2:
    """How many elements the queue has."""

    shape = shapes.scalar

    def kernel(ctx: Any, handle: Any) -> Any:
        return np.int32(_queue(ctx, handle).size())
