"""`tf.FIFOQueue` and its relatives.

Source: tensorflow/python/ops/data_flow_ops.py (1.15).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

from kvarn import dtypes as _dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.random_seed import get_seed
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import Dimension, TensorShape, as_shape, unknown_shape
from kvarn.graph.tensor_util import constant_value
from kvarn.ops import array
from kvarn.ops import queues as ops


class QueueBase:
    """The base of queues; several threads may put elements in and take them out.

    Args:
      dtypes: types of the components of an element.
      shapes: their shapes, or None if elements may have any.
      names: their names, or None.
      queue_ref: the handle.

    Raises:
      ValueError: ``shapes`` or ``names`` are not as many as ``dtypes``.
    """

    def __init__(self, dtypes: Sequence[Any], shapes: Any, names: Any, queue_ref: Tensor) -> None:
        for what, given in (("shapes", shapes), ("names", names)):
            if given is not None and len(given) != len(dtypes):
                raise ValueError(f"Queue {what} must have the same length as dtypes")
        self._dtypes = list(dtypes)
        self._shapes = (
            [unknown_shape() for _ in dtypes] if shapes is None else [TensorShape(s) for s in shapes]
        )
        self._names = names
        self._queue_ref = queue_ref
        self._name = queue_ref.op.name.split("/")[-1]

    @staticmethod
    def from_list(index: Any, queues: Any) -> QueueBase:
        """The queue at a position of a list, chosen when the graph runs.

        Args:
          index: an int32 scalar.
          queues: a list of queues of the same types and names.

        Raises:
          TypeError: not such a list.
        """
        if not queues or not isinstance(queues, list) or not all(isinstance(q, QueueBase) for q in queues):
            raise TypeError("A list of queues expected")
        first = queues[0]
        if any(q.dtypes != first.dtypes for q in queues):
            raise TypeError("Queues do not have matching component dtypes.")
        if any(q.names != first.names for q in queues):
            raise TypeError("Queues do not have matching component names.")
        shapes = [functools.reduce(_common, s) for s in zip(*[q.shapes for q in queues], strict=True)]
        chosen = array.gather(array.stack([q.queue_ref for q in queues]), index)
        return QueueBase(first.dtypes, shapes, first.names, chosen)

    @property
    def queue_ref(self) -> Tensor:
        """The handle."""
        return self._queue_ref

    @property
    def name(self) -> str:
        """The name of the handle's operation."""
        return self._queue_ref.op.name

    @property
    def dtypes(self) -> list[Any]:
        return self._dtypes

    @property
    def shapes(self) -> list[TensorShape]:
        return self._shapes

    @property
    def names(self) -> Any:
        return self._names

    def _components(self, vals: Any) -> list[Tensor]:
        if isinstance(vals, dict):
            if not self._names:
                raise ValueError("Queue must have names to enqueue a dictionary")
            if sorted(self._names, key=str) != sorted(vals, key=str):
                raise ValueError(
                    f"Keys in dictionary to enqueue do not match names of Queue.  Dictionary: ({sorted(vals)}), "
                    f"Queue: ({sorted(self._names)})"
                )
            vals = [vals[k] for k in self._names]
        elif self._names:
            raise ValueError("You must enqueue a dictionary in a Queue with names")
        elif not isinstance(vals, (list, tuple)):
            vals = [vals]
        if len(vals) != len(self._dtypes):
            raise ValueError(f"An element has {len(self._dtypes)} components, {len(vals)} are given")
        return [
            convert_to_tensor(val, dtype=dtype, name=f"component_{i}")
            for i, (val, dtype) in enumerate(zip(vals, self._dtypes, strict=True))
        ]

    def enqueue(self, vals: Any, name: str | None = None) -> Operation:
        """The operation that puts in one element, as soon as there is room.

        Args:
          vals: its components: a tensor, a list, or a dictionary if the queue has names.

        Raises:
          ValueError: other components than those of the queue.
        """
        with name_scope(name, f"{self._name}_enqueue", _in_scope(vals)) as scope:
            tensors = self._components(vals)
            for tensor, shape in zip(tensors, self._shapes, strict=True):
                tensor.get_shape().assert_is_compatible_with(shape)
            made: Operation = ops.queue_enqueue_v2(self._queue_ref, tensors, name=scope)
        return made

    def enqueue_many(self, vals: Any, name: str | None = None) -> Operation:
        """The operation that puts in the elements along the first dimension, each when there is room."""
        with name_scope(name, f"{self._name}_EnqueueMany", _in_scope(vals)) as scope:
            tensors = self._components(vals)
            batch = Dimension(None)
            for tensor, shape in zip(tensors, self._shapes, strict=True):
                found = tensor.get_shape().with_rank_at_least(1)
                batch = batch.merge_with(found[0])
                found[1:].assert_is_compatible_with(shape)
            made: Operation = ops.queue_enqueue_many_v2(self._queue_ref, tensors, name=scope)
        return made

    def dequeue(self, name: str | None = None) -> Any:
        """One element: a tensor, a list of them, or a dictionary if the queue has names."""
        found = ops.queue_dequeue_v2(self._queue_ref, self._dtypes, name=name or f"{self._name}_Dequeue")
        return self._shaped(found, None)

    def dequeue_many(self, n: Any, name: str | None = None) -> Any:
        """A batch of ``n`` elements; OutOfRangeError when run if the queue is closed and has fewer."""
        found = ops.queue_dequeue_many_v2(
            self._queue_ref, n=n, component_types=self._dtypes, name=name or f"{self._name}_DequeueMany"
        )
        count = constant_value(found[0].op.inputs[1])
        return self._shaped(found, TensorShape([None if count is None else int(count)]))

    def dequeue_up_to(self, n: Any, name: str | None = None) -> Any:
        """`dequeue_many`, which gives what is left if the queue is closed and has fewer, but at least one."""
        found = ops.queue_dequeue_up_to_v2(
            self._queue_ref, n=n, component_types=self._dtypes, name=name or f"{self._name}_DequeueUpTo"
        )
        return self._shaped(found, TensorShape([None]))

    def _shaped(self, tensors: list[Tensor], batch: TensorShape | None) -> Any:
        for tensor, shape in zip(tensors, self._shapes, strict=True):
            tensor.set_shape(shape if batch is None else batch.concatenate(shape))
        if self._names:
            return dict(zip(self._names, tensors, strict=True))
        return tensors[0] if len(tensors) == 1 else tensors

    def close(self, cancel_pending_enqueues: bool = False, name: str | None = None) -> Operation:
        """The operation that lets nothing more in.

        Args:
          cancel_pending_enqueues: those who wait for room get a CancelledError; otherwise they are waited for.
        """
        made: Operation = ops.queue_close_v2(
            self._queue_ref,
            cancel_pending_enqueues=cancel_pending_enqueues,
            name=name or f"{self._name}_Close",
        )
        return made

    def is_closed(self, name: str | None = None) -> Tensor:
        """Whether it is closed, a bool scalar."""
        found: Tensor = ops.queue_is_closed_v2(self._queue_ref, name=name or f"{self._name}_Is_Closed")
        return found

    def size(self, name: str | None = None) -> Tensor:
        """How many elements it has, an int32 scalar."""
        found: Tensor = ops.queue_size_v2(self._queue_ref, name=name or f"{self._name}_Size")
        return found


class FIFOQueue(QueueBase):
    """First in, first out.

    Args:
      capacity: how many elements there may be; more wait.
      dtypes: the type of an element, or a list of types.
      shapes: the shapes of its components, which `QueueBase.dequeue_many` needs.
      names: names of the components.
      shared_name: queues of one shared name are one in a session.
      name: of the operation.
    """

    def __init__(
        self,
        capacity: int,
        dtypes: Any,
        shapes: Any = None,
        names: Any = None,
        shared_name: str | None = None,
        name: str = "fifo_queue",
    ) -> None:
        types = _type_list(dtypes)
        shapes = _shape_list(shapes)
        queue_ref = ops.fifo_queue_v2(
            component_types=types,
            shapes=shapes or [],
            capacity=capacity,
            shared_name=shared_name or "",
            name=name,
        )
        super().__init__(types, shapes, _name_list(names, types), queue_ref)


class PaddingFIFOQueue(QueueBase):
    """First in, first out; batches of elements of different shapes are filled up with zeros.

    Args:
      shapes: a list of shapes of known rank, with None for a dimension that may differ.
      capacity, dtypes, names, shared_name, name: as of `FIFOQueue`.
    """

    def __init__(
        self,
        capacity: int,
        dtypes: Any,
        shapes: Any,
        names: Any = None,
        shared_name: str | None = None,
        name: str = "padding_fifo_queue",
    ) -> None:
        types = _type_list(dtypes)
        shapes = _shape_list(shapes, partial=True) or []
        names = _name_list(names, types)
        if len(types) != len(shapes):
            raise ValueError(
                f"Shapes must be provided for all components, but received {len(types)} dtypes and "
                f"{len(shapes)} shapes."
            )
        queue_ref = ops.padding_fifo_queue_v2(
            component_types=types, shapes=shapes, capacity=capacity, shared_name=shared_name or "", name=name
        )
        super().__init__(types, shapes, names, queue_ref)


class RandomShuffleQueue(QueueBase):
    """Gives any of its elements.

    Args:
      min_after_dequeue: how many stay in it until it is closed, so that the choice is a choice.
      seed: of the choice.
      capacity, dtypes, shapes, names, shared_name, name: as of `FIFOQueue`.
    """

    def __init__(
        self,
        capacity: int,
        min_after_dequeue: int,
        dtypes: Any,
        shapes: Any = None,
        names: Any = None,
        seed: int | None = None,
        shared_name: str | None = None,
        name: str = "random_shuffle_queue",
    ) -> None:
        types = _type_list(dtypes)
        shapes = _shape_list(shapes)
        names = _name_list(names, types)
        seed1, seed2 = get_seed(seed)
        if seed is None and seed1 is not None and shared_name is not None:
            # All that share it must come to the same seed.
            digest = hashlib.md5(f"{seed1}{shared_name}".encode()).hexdigest()
            seed2 = int(digest[:8], 16) & 0x7FFFFFFF
        queue_ref = ops.random_shuffle_queue_v2(
            component_types=types,
            shapes=shapes or [],
            capacity=capacity,
            min_after_dequeue=min_after_dequeue,
            seed=seed1 or 0,
            seed2=seed2 or 0,
            shared_name=shared_name or "",
            name=name,
        )
        super().__init__(types, shapes, names, queue_ref)


def _in_scope(vals: Any) -> Any:
    if isinstance(vals, dict):
        return list(vals.values())
    return vals if isinstance(vals, (list, tuple)) else [vals]


def _common(a: Any, b: Any) -> TensorShape:
    a, b = TensorShape(a), TensorShape(b)
    if a.ndims is None or a.ndims != b.ndims:
        return unknown_shape()
    return TensorShape([x if x == y else None for x, y in zip(a.as_list(), b.as_list(), strict=True)])


def _type_list(dtypes: Any) -> list[Any]:
    given = dtypes if isinstance(dtypes, (list, tuple)) else [dtypes]
    return [_dtypes.as_dtype(d) for d in given]


def _shape_list(shapes: Any, partial: bool = False) -> list[TensorShape] | None:
    single = isinstance(shapes, (list, tuple)) and all(s is None or isinstance(s, int) for s in shapes)
    if partial and (not isinstance(shapes, (list, tuple)) or not shapes or single):
        raise ValueError("When providing partial shapes, a list of shapes must be provided.")
    if shapes is None:
        return None
    if isinstance(shapes, TensorShape) or single:
        shapes = [shapes]
    if not isinstance(shapes, (tuple, list)):
        raise TypeError("shapes must be a TensorShape or a list or tuple of TensorShapes.")
    found = [as_shape(s) for s in shapes]
    if not partial and not all(s.is_fully_defined() for s in found):
        raise ValueError(f"All shapes must be fully defined: {found}")
    if any(s.dims is None for s in found):
        raise ValueError(f"All shapes must have a defined rank: {found}")
    return found


def _name_list(names: Any, dtypes: list[Any]) -> list[Any] | None:
    if names is None:
        return None
    given = list(names) if isinstance(names, (list, tuple)) else [names]
    if len(given) != len(dtypes):
        raise ValueError("List of names must have the same length as the list of dtypes")
    return given
