"""The queues behind `kvarn.ops.queues`: elements that threads put in and take out, waiting for one another.

Source: tensorflow/core/kernels/{queue_base,fifo_queue,padding_fifo_queue,random_shuffle_queue_op}.cc (1.15).
"""

from __future__ import annotations

import collections
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from kvarn import errors
from kvarn.dtypes import DType
from kvarn.graph.deadline import seconds_left
from kvarn.graph.shape_inference import Shape, fmt
from kvarn.ops._format import type_text
from kvarn.ops._philox import Philox

UNBOUNDED = 2**31 - 1
Element = tuple[Any, ...]


class Queue:
    """Elements of one or several arrays, first in, first out; safe to use from several threads.

    Whoever waits is served in the order of arrival, those who put in and those who take out each for themselves.

    Args:
      name: for messages.
      dtypes: of the components of an element.
      shapes: of the components; empty if they may have any.
      capacity: how many elements there may be.
    """

    kind: ClassVar[str] = "FIFOQueue"

    def __init__(self, name: str, dtypes: Sequence[DType], shapes: Sequence[Shape], capacity: int) -> None:
        if shapes and len(shapes) != len(dtypes):
            raise errors.InvalidArgumentError.of(
                f"Component types and shapes must have the same length: {len(dtypes)} vs. {len(shapes)}",
                name=name,
            )
        self.name = name
        self.dtypes = tuple(dtypes)
        self.shapes = tuple(shapes)
        self.capacity = capacity
        self._elements: collections.deque[Element] = collections.deque()
        self._closed = False
        self._changed = threading.Condition()
        self._putting: collections.deque[_Attempt] = collections.deque()
        self._taking: collections.deque[_Attempt] = collections.deque()

    # -- what operations do ---------------------------------------------------------------------------

    def put(self, components: Sequence[Any]) -> None:
        """Puts in one element, as soon as there is room.

        Raises:
          CancelledError: the queue is closed, or was while this waited.
          InvalidArgumentError: the element has another shape.
        """
        for i, (array, shape) in enumerate(zip(components, self.shapes, strict=False)):
            if not _fits(array.shape, shape):
                raise self._mismatch(i, shape, array.shape)
        self._put_all([tuple(components)])

    def put_many(self, components: Sequence[Any]) -> None:
        """Puts in the elements that the components have along their first dimension, each when there is room."""
        count = components[0].shape[0]
        for i, array in enumerate(components):
            shape = self.shapes[i] if self.shapes else None
            if self.shapes and not (array.shape[0] == count and _fits(array.shape[1:], shape)):
                raise self._mismatch(i, (count, *(shape or ())), array.shape)
            if array.shape[0] != count:
                raise errors.InvalidArgumentError.of(
                    "All input tensors must have the same size in the 0th dimension. Component "
                    f"{i} has {array.shape[0]}, and should have {count}",
                    name=self.name,
                )
        if count:
            self._put_all(
                [tuple(c[i : i + 1].reshape(c.shape[1:]) for c in components) for i in range(count)]
            )

    def take(self) -> Element:
        """Takes out one element, as soon as there is one.

        Raises:
          OutOfRangeError: the queue is closed and empty.
          CancelledError: the session was closed while this waited.
        """
        return self._take_all(1, False)[0]

    def take_many(self, count: int, allow_fewer: bool) -> list[Any]:
        """Takes out ``count`` elements as batches of their components.

        Args:
          allow_fewer: give what is left if the queue is closed and has something.

        Raises:
          InvalidArgumentError: the components have no shapes.
          OutOfRangeError: the queue is closed and has too few; they stay in it.
          CancelledError: the session was closed while this waited.
        """
        if not self.shapes:
            raise errors.InvalidArgumentError.of(
                f"{self.kind}'s DequeueMany and DequeueUpTo require the components to have specified shapes.",
                name=self.name,
            )
        if not count:
            return [
                np.zeros((0, *(d or 0 for d in shape or ())), dtype.np)
                for dtype, shape in zip(self.dtypes, self.shapes, strict=True)
            ]
        elements = self._take_all(count, allow_fewer)
        return [
            self._batched([e[i] for e in elements], dtype, self.shapes[i])
            for i, dtype in enumerate(self.dtypes)
        ]

    def close(self, cancel_pending: bool) -> None:
        """Lets nothing more in.

        Args:
          cancel_pending: those who wait to put something in get a CancelledError, otherwise they are waited for.

        Raises:
          CancelledError: the queue is closed already, and nobody is to be cancelled.
        """
        with self._changed:
            if cancel_pending:
                self._closed = True
                for attempt in self._putting:
                    attempt.cancelled = True
                self._changed.notify_all()
                return
        with _Attempt(self._putting, self._changed) as attempt:
            attempt.wait(lambda: True, "Enqueue")
            if self._closed:
                raise errors.CancelledError.of(f"Queue '{self.name}' is already closed.", name=self.name)
            self._closed = True

    def cancel(self) -> None:
        """Ends every waiting: the session is closed."""
        with self._changed:
            for attempt in (*self._putting, *self._taking):
                attempt.cancelled = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        return self._closed

    def size(self) -> int:
        with self._changed:
            return len(self._elements)

    # -- steps ----------------------------------------------------------------------------------------

    def _put_all(self, elements: list[Element]) -> None:
        with _Attempt(self._putting, self._changed) as attempt:
            for element in elements:
                attempt.wait(lambda: self._closed or len(self._elements) < self.capacity, "Enqueue")
                if self._closed:
                    raise errors.CancelledError.of(f"{self.kind} '{self.name}' is closed.", name=self.name)
                self._elements.append(element)
                self._changed.notify_all()

    def _take_all(self, count: int, allow_fewer: bool) -> list[Element]:
        taken: list[Element] = []
        with _Attempt(self._taking, self._changed) as attempt:
            try:
                while len(taken) < count:
                    attempt.wait(lambda: self._ready() or self._is_final(), "Dequeue")
                    # A closed queue that cannot give enough gives nothing, or what it has.
                    if self._is_final() and len(self._elements) < count - len(taken):
                        if allow_fewer and (taken or self._elements):
                            taken += [self._next() for _ in range(len(self._elements))]
                            break
                        raise errors.OutOfRangeError.of(
                            f"{self.kind} '{self.name}' is closed and has insufficient elements (requested "
                            f"{count - len(taken)}, current size {len(self._elements)})",
                            name=self.name,
                        )
                    taken.append(self._next())
                    self._changed.notify_all()
            except BaseException:
                self._give_back(taken)
                raise
        return taken

    def _is_final(self) -> bool:
        """Whether nothing will come in any more."""
        return self._closed and not self._putting

    def _ready(self) -> bool:
        """Whether an element may be taken out."""
        return bool(self._elements)

    def _next(self) -> Element:
        return self._elements.popleft()

    def _give_back(self, elements: list[Element]) -> None:
        self._elements.extendleft(reversed(elements))
        self._changed.notify_all()

    def _batched(self, arrays: list[Any], dtype: DType, shape: Shape) -> Any:
        return np.stack(arrays)

    def _mismatch(self, component: int, shape: Shape, found: tuple[int, ...]) -> errors.OpError:
        return errors.InvalidArgumentError.of(
            f"Shape mismatch in tuple component {component}. Expected {fmt(shape)}, got {fmt(found)}",
            name=self.name,
        )

    # -- sharing --------------------------------------------------------------------------------------

    def check_same(
        self, kind: str, node_type: str, dtypes: Sequence[DType], shapes: Sequence[Shape], capacity: int
    ) -> None:
        """InvalidArgumentError unless a node that shares the queue describes the same one."""
        problem = None
        if kind != self.kind:
            problem = f"Expected {self.kind}, found {node_type}"
        elif capacity != self.capacity:
            problem = f"Shared queue '{self.name}' has capacity {self.capacity} but requested capacity was {capacity}"
        elif tuple(dtypes) != self.dtypes:
            problem = (
                f"Shared queue '{self.name}' has component types {_type_texts(self.dtypes)} but requested "
                f"component types were {_type_texts(dtypes)}"
            )
        elif tuple(shapes) != self.shapes:
            problem = (
                f"Shared queue '{self.name}' has component shapes {_shape_texts(self.shapes)} but requested "
                f"component shapes were {_shape_texts(shapes)}"
            )
        if problem is not None:
            raise errors.InvalidArgumentError.of(problem, name=self.name)


class PaddingFIFOQueue(Queue):
    """A queue whose elements may differ in some dimensions: a batch is filled up with zeros."""

    kind = "PaddingFIFOQueue"

    def _batched(self, arrays: list[Any], dtype: DType, shape: Shape) -> Any:
        sizes = np.array([a.shape for a in arrays]).reshape(len(arrays), -1)
        largest = tuple(int(n) for n in sizes.max(axis=0))
        batch = np.zeros((len(arrays), *largest), dtype.np)
        if dtype.np.hasobject:
            batch.fill(b"")
        for i, array in enumerate(arrays):
            place: tuple[Any, ...] = (i, *(slice(0, n) for n in array.shape))
            batch[place] = array
        return batch


class RandomShuffleQueue(Queue):
    """A queue that gives any of its elements, and keeps some until it is closed.

    Args:
      min_after_dequeue: how many stay in it.
      seed, seed2: of the random choice; both 0 for other numbers each time.
    """

    kind = "RandomShuffleQueue"

    def __init__(
        self,
        name: str,
        dtypes: Sequence[DType],
        shapes: Sequence[Shape],
        capacity: int,
        min_after_dequeue: int,
        seed: int,
        seed2: int,
    ) -> None:
        super().__init__(name, dtypes, shapes, capacity)
        if min_after_dequeue < 0 or min_after_dequeue >= capacity:
            raise errors.InvalidArgumentError.of(
                f"min_after_dequeue must be at least 0 and less than the capacity, got {min_after_dequeue} and "
                f"{capacity}",
                name=name,
            )
        self._min_after_dequeue = min_after_dequeue
        if not seed and not seed2:
            seed, seed2 = random.getrandbits(64), random.getrandbits(64)
        self._generator = Philox(seed, seed2)
        self._numbers: list[int] = []

    def _ready(self) -> bool:
        return len(self._elements) > (0 if self._closed else self._min_after_dequeue)

    def _next(self) -> Element:
        if not self._numbers:
            self._numbers = self._generator.blocks(np.arange(1, dtype=np.uint64)).ravel().tolist()[::-1]
            self._generator.skip(1)
        chosen = self._numbers.pop() % len(self._elements)
        element = self._elements[chosen]
        last = self._elements.pop()
        if chosen < len(self._elements):
            self._elements[chosen] = last
        return element

    def _give_back(self, elements: list[Element]) -> None:
        self._elements.extend(reversed(elements))
        self._changed.notify_all()


class _Attempt:
    """A place in a line; inside the ``with`` the queue's lock is held."""

    def __init__(self, line: collections.deque[_Attempt], changed: threading.Condition) -> None:
        self.cancelled = False
        self._line = line
        self._changed = changed

    def __enter__(self) -> _Attempt:
        self._changed.acquire()
        self._line.append(self)
        return self

    def __exit__(self, *unused: Any) -> None:
        self._line.remove(self)
        self._changed.notify_all()
        self._changed.release()

    def wait(self, possible: Callable[[], bool], what: str) -> None:
        """Until this is the first in its line and the thing is possible.

        Raises:
          CancelledError: it is cancelled.
          DeadlineExceededError: the run has no time left.
        """

        def over() -> bool:
            return self.cancelled or (self._line[0] is self and possible())

        while not self._changed.wait_for(over, seconds_left()):
            pass
        if self.cancelled:
            raise errors.CancelledError.of(f"{what} operation was cancelled")


def _fits(found: tuple[int, ...], shape: Shape) -> bool:
    return shape is None or (
        len(found) == len(shape) and all(d is None or d == n for n, d in zip(found, shape, strict=True))
    )


def _type_texts(dtypes: Sequence[DType]) -> str:
    return ", ".join(type_text(d) for d in dtypes)


def _shape_texts(shapes: Sequence[Shape]) -> str:
    return f"[{', '.join(fmt(s) for s in shapes)}]"
