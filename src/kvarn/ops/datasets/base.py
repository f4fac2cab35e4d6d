"""What all datasets have in common.

Source: tensorflow/core/framework/dataset.h, tensorflow/core/kernels/data/{dataset_utils,captured_function}.cc (1.15).
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from kvarn.dtypes import DType
from kvarn.graph.attr_value import NameAttrList
from kvarn.graph.functions import Body, Callee, body_of
from kvarn.graph.resources import ResourceHandle, ResourceManager
from kvarn.graph.shape_inference import InferenceContext, Shape, with_rank

Element = tuple[Any, ...]
T = TypeVar("T")


class Dataset(ABC):
    """The value of a variant tensor: elements, which iterators go through.

    Attributes:
      types, shapes: of the components of an element, as far as they are known.
      inputs: the datasets that this one is made of.
    """

    # As it stands in the names of iterators, which say which of them share a source of seeds.
    name = ""

    def __init__(
        self, types: Sequence[DType], shapes: Sequence[Shape], inputs: Sequence[Dataset] = ()
    ) -> None:
        self.types = tuple(types)
        self.shapes = tuple(shapes)
        self.inputs = tuple(inputs)

    @abstractmethod
    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        """A new iterator from the first element on.

        An iterator may be asked again after an error: where it can, it goes on with the element after.

        Args:
          run: what the iterators of one initialization share.
          prefix: name of the iterator that asks.
        """

    def with_inputs(self, inputs: Sequence[Dataset]) -> Dataset:
        """The same dataset over other inputs of the same types."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.inputs = tuple(inputs)
        return copy

    @property
    def input(self) -> Dataset:
        """The only input."""
        return self.inputs[0]


class Iteration:
    """What the iterators of one initialization share: instances of functions, sources of seeds, threads.

    Args:
      resources: live objects of the session.
      session: the session.
    """

    def __init__(self, resources: ResourceManager, session: Any) -> None:
        self._resources = resources
        self._session = session
        self._lock = threading.Lock()
        self._functions: dict[int, Callee] = {}
        self._shared: dict[str, Any] = {}
        self._workers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.cancelled = False

    def function(self, captured: CapturedFunction) -> Callable[[Element], Element]:
        """An instance of a function, with states of its own, ready to be called with elements."""
        with self._lock:
            found = self._functions.get(id(captured.body))
            if found is None:
                resources = _OwnGenerators(self._resources)
                found = self._functions[id(captured.body)] = Callee(captured.body, resources, self._session)
        callee, more = found, captured.arguments

        def call(element: Element) -> Element:
            return tuple(callee([*as_values(element), *more]))

        return call

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """The object of that name, made by the first who asks."""
        with self._lock:
            if name not in self._shared:
                self._shared[name] = make()
            found: T = self._shared[name]
        return found

    def add_worker(self, worker: Any) -> None:
        """Keeps what has threads, without keeping it alive; `cancel` ends it."""
        with self._lock:
            self._workers.add(worker)
            cancelled = self.cancelled
        if cancelled:
            worker.cancel()

    def cancel(self, wait_until: float | None = None) -> None:
        """Ends all threads; whoever waits for one gets a CancelledError.

        Args:
          wait_until: until when to wait for what they are just doing, a time of `time.monotonic`.
        """
        with self._lock:
            self.cancelled = True
            workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        if wait_until is not None:
            for worker in workers:
                worker.join(wait_until)


class _OwnGenerators(ResourceManager):
    """The live objects of a session, but random generators of one's own: each instance begins with its seeds."""

    def __init__(self, outer: ResourceManager) -> None:
        super().__init__(outer.default_container)
        self._outer = outer
        self._resources = outer._resources
        self._lock = outer._lock
        self._generators = ResourceManager()

    def look_up_or_create(self, handle: ResourceHandle, create: Callable[[], T]) -> T:
        if handle.kind == "RandomGenerator":
            return self._generators.look_up_or_create(handle, create)
        return super().look_up_or_create(handle, create)


class CapturedFunction:
    """A function of a node's library and the values of what it takes from outside.

    Attributes:
      body: its graph.
      arguments: what follows an element when it is called.
    """

    def __init__(self, body: Body, arguments: Sequence[Any]) -> None:
        self.body = body
        self.arguments = tuple(arguments)


def captured(ctx: Any, key: str, arguments: Sequence[Any]) -> CapturedFunction:
    """The function that attribute ``key`` of a node names."""
    if ctx.cache is None:
        ctx.cache = {}
    body = ctx.cache.get(key)
    if body is None:
        function: NameAttrList = ctx.attrs[key]
        body = ctx.cache[key] = body_of(ctx.op.graph, function.name, dict(function.attrs))
    return CapturedFunction(body, arguments)


def variant(*ranks: int | None) -> Callable[..., Shape]:
    """The shape rule of ops that give a dataset.

    Args:
      ranks: of the inputs after the first; None for any, and for those that are not named.
    """

    def shape(c: InferenceContext, *inputs: Any) -> Shape:
        for given, rank in zip(inputs[1:], ranks, strict=False):
            if rank is not None:
                with_rank(given, rank)
        return ()

    return shape


def types_and_shapes(ctx: Any) -> tuple[Any, Any]:
    """What a node says of the components of its dataset."""
    return ctx.attrs["output_types"], ctx.attrs["output_shapes"]


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a component."""
    return tuple(getattr(value, "shape", ()))


def as_values(element: Element) -> list[Any]:
    """The components as kernels take them: strings, which iterators pass on as such, in arrays."""
    return [np.array(x, dtype=object) if type(x) is bytes else x for x in element]


def stacked(column: Sequence[Any], dtype: DType) -> Any:
    """Components of one shape and type as one array with a new first dimension."""
    first = column[0]
    if not dtype.np.hasobject and dtype.name not in ("variant", "resource"):
        if isinstance(first, np.ndarray):
            return np.stack(column)
        return np.array(column, dtype.np)
    out = np.empty((len(column), *shape_of(first)), dtype=object)
    for i, value in enumerate(column):
        out[i] = value
    return out
