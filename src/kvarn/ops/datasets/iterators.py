"""Iterators of datasets, as resources of a session.

Source: tensorflow/core/ops/dataset_ops.cc, tensorflow/core/kernels/data/{iterator_ops,optional_ops}.cc,
tensorflow/core/framework/resource_handle.proto (1.15).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from kvarn import errors, protos
from kvarn.dtypes import DType
from kvarn.graph import shape_inference as shapes
from kvarn.graph.functions import callee, packed
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.resources import ResourceHandle, ResourceManager
from kvarn.graph.shape_inference import Shape, fmt
from kvarn.ops import _text
from kvarn.ops._format import type_text
from kvarn.ops._handles import own_handle
from kvarn.ops.datasets.base import Dataset, Element, Iteration, as_values, shape_of
from kvarn.ops.optionals import Optional

_OUTPUTS = ["output_types: list(type) >= 1", "output_shapes: list(shape) >= 1"]
_ANY_OUTPUTS = ["output_types: list(type) >= 0 = []", "output_shapes: list(shape) >= 0 = []"]
_NAMES = ["shared_name: string", "container: string"]
_KIND = "tensorflow::data::IteratorResource"
# A session that ends waits so long for what threads are just doing.
_PATIENCE_SECS = 2.0


class IteratorResource:
    """An iterator of a session, over one dataset after the other; safe to use from several threads.

    Args:
      types, shapes: of the components of an element, as far as they are known.
    """

    def __init__(self, types: Sequence[DType], shapes: Sequence[Shape]) -> None:
        self.types = tuple(types)
        self.shapes = tuple(shapes)
        self._lock = threading.Lock()
        self._run: Iteration | None = None
        self._iterator: Iterator[Element] | None = None

    def start(self, dataset: Dataset, resources: ResourceManager, session: Any) -> None:
        """Begins with the first element of ``dataset``.

        Raises:
          InvalidArgumentError: its elements are of other types or shapes.
        """
        check_same(self.types, self.shapes, dataset)
        run = Iteration(resources, session)
        iterator = dataset.iterate(run, "Iterator")
        old, self._run = self._run, run
        if old is not None:
            old.cancel()
        with self._lock:
            if self._run is run:
                self._iterator = iterator

    def next(self) -> Element:
        """The next element.

        Raises:
          FailedPreconditionError: it was not initialized.
          StopIteration: there is none.
        """
        with self._lock:
            if self._iterator is None:
                raise errors.FailedPreconditionError.of(
                    "GetNext() failed because the iterator has not been initialized. Ensure that you have run the "
                    "initializer operation for this iterator before getting the next element."
                )
            return next(self._iterator)

    def cancel(self) -> None:
        """Ends what it has running: the session is closed."""
        run, self._run = self._run, None
        if run is not None:
            run.cancel(time.monotonic() + _PATIENCE_SECS)

    def __del__(self) -> None:
        run = getattr(self, "_run", None)
        if run is not None:
            run.cancel()


def check_same(types: Sequence[DType], shapes: Sequence[Shape], found: Dataset | IteratorResource) -> None:
    """InvalidArgumentError unless the elements of ``found`` may be of these types and shapes."""
    if len(types) != len(found.types):
        raise errors.InvalidArgumentError.of(
            f"Number of components does not match: expected {len(types)} types but got {len(found.types)}."
        )
    for i, (dtype, other) in enumerate(zip(types, found.types, strict=True)):
        if dtype is not other:
            raise errors.InvalidArgumentError.of(
                f"Data type mismatch at component {i}: expected {type_text(dtype)} but got {type_text(other)}."
            )
    for i, (shape, other_shape) in enumerate(zip(shapes, found.shapes, strict=False)):
        if not _compatible(shape, other_shape):
            raise errors.InvalidArgumentError.of(
                f"Incompatible shapes at component {i}: expected {fmt(shape)} but got {fmt(other_shape)}."
            )


def _compatible(a: Shape, b: Shape) -> bool:
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(x is None or y is None or x == y for x, y in zip(a, b, strict=True))


def _made(ctx: Any) -> ResourceHandle:
    handle = own_handle(ctx, _KIND)
    attrs = ctx.attrs
    ctx.resources.look_up_or_create(
        handle, lambda: IteratorResource(attrs["output_types"], attrs["output_shapes"])
    )
    return handle


@op("Iterator", outputs="handle: resource", attrs=[*_NAMES, *_OUTPUTS], stateful=True)
class iterator:
    """An iterator."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _made(ctx)

    grad = NOT_DIFFERENTIABLE


@op("IteratorV2", outputs="handle: resource", attrs=[*_NAMES, *_OUTPUTS], stateful=True)
class iterator_v2:
    """An iterator."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _made(ctx)

    grad = NOT_DIFFERENTIABLE


@op("MakeIterator", inputs="dataset: variant, iterator: resource", stateful=True)
class make_iterator:
    """Lets an iterator begin with the first element of a dataset."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, dataset: Any, iterator: Any) -> None:
        ctx.resources.look_up(iterator).start(dataset, ctx.resources, ctx.session)


@op(
    "OneShotIterator",
    outputs="handle: resource",
    attrs=["dataset_factory: func", *_OUTPUTS, "container: string = ''", "shared_name: string = ''"],
    stateful=True,
)
class one_shot_iterator:
    """An iterator of the dataset that a function gives, which begins when it is first used."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        if ctx.attrs["shared_name"]:
            raise errors.InvalidArgumentError.of(
                "OneShotIteratorOp does not currently support the 'shared_name' attr."
            )
        if ctx.cache is None:
            ctx.cache = {"handle": ResourceHandle("", f"_0_{ctx.op.name}", _KIND)}
        handle: ResourceHandle = ctx.cache["handle"]

        def make() -> IteratorResource:
            resource = IteratorResource(ctx.attrs["output_types"], ctx.attrs["output_shapes"])
            (dataset,) = callee(ctx, "dataset_factory")([])
            resource.start(dataset, ctx.resources, ctx.session)
            return resource

        ctx.resources.look_up_or_create(handle, make)
        return handle

    grad = NOT_DIFFERENTIABLE


# -- elements -------------------------------------------------------------------------------------------


def _component_shapes(c: Any, iterator: Any) -> Any:
    return list(c.attrs["output_shapes"])


def _get_next(ctx: Any, iterator: Any) -> Any:
    try:
        return packed(as_values(ctx.resources.look_up(iterator).next()))
    except StopIteration:
        raise errors.OutOfRangeError.of("End of sequence") from None


@op("IteratorGetNext", "iterator: resource", "components: output_types", _OUTPUTS, stateful=True)
class iterator_get_next:
    """The next element; OutOfRangeError if there is none."""

    shape = _component_shapes

    def kernel(ctx: Any, iterator: Any) -> Any:
        return _get_next(ctx, iterator)

    grad = NOT_DIFFERENTIABLE


@op("IteratorGetNextSync", "iterator: resource", "components: output_types", _OUTPUTS, stateful=True)
class iterator_get_next_sync:
    """The next element; OutOfRangeError if there is none."""

    shape = _component_shapes

    def kernel(ctx: Any, iterator: Any) -> Any:
        return _get_next(ctx, iterator)

    grad = NOT_DIFFERENTIABLE


@op("IteratorGetNextAsOptional", "iterator: resource", "optional: variant", _OUTPUTS, stateful=True)
class iterator_get_next_as_optional:
    """The next element as an optional, which has nothing if there is none."""

    shape = shapes.scalar

    def kernel(ctx: Any, iterator: Any) -> Any:
        try:
            return Optional(as_values(ctx.resources.look_up(iterator).next()))
        except StopIteration:
            return Optional(None)

    grad = NOT_DIFFERENTIABLE


@op("DatasetToSingleElement", "dataset: variant", "components: output_types", _OUTPUTS, stateful=True)
class dataset_to_single_element:
    """The only element of a dataset."""

    def shape(c: Any, dataset: Any) -> Any:
        return list(c.attrs["output_shapes"])

    def kernel(ctx: Any, dataset: Any) -> Any:
        run = Iteration(ctx.resources, ctx.session)
        try:
            elements = dataset.iterate(run, "SingleElementIterator")
            element = next(elements, None)
            if element is None:
                raise errors.InvalidArgumentError.of("Dataset was empty.")
            if next(elements, None) is not None:
                raise errors.InvalidArgumentError.of("Dataset had more than one element.")
        finally:
            run.cancel()
        return packed(as_values(element))

    grad = NOT_DIFFERENTIABLE


# -- handles as strings ---------------------------------------------------------------------------------


@op("IteratorToStringHandle", "resource_handle: resource", "string_handle: string", stateful=True)
class iterator_to_string_handle:
    """The handle as a string, which can be fed."""

    shape = shapes.scalar

    def kernel(ctx: Any, resource_handle: Any) -> Any:
        ctx.resources.look_up(resource_handle)
        proto = protos.ResourceHandleProto(
            device=resource_handle.device,
            container=resource_handle.container or ctx.resources.default_container,
            name=resource_handle.name,
            maybe_type_name=_KIND,
        )
        return proto.SerializeToString(deterministic=True)

    grad = NOT_DIFFERENTIABLE


def _from_string(ctx: Any, string_handle: Any) -> Any:
    from google.protobuf.message import DecodeError

    proto = protos.ResourceHandleProto()
    try:
        if shape_of(string_handle):
            raise errors.InvalidArgumentError.of("string_handle must be a scalar")
        proto.ParseFromString(_text.scalar(string_handle))
    except DecodeError:
        proto.Clear()
    if proto.maybe_type_name != _KIND:
        raise errors.InvalidArgumentError.of("Could not parse string_handle as a valid ResourceHandle")
    container = "" if proto.container == ctx.resources.default_container else proto.container
    handle = ResourceHandle(container, proto.name, _KIND)
    found = ctx.resources.look_up(handle)
    attrs = ctx.attrs
    if attrs["output_types"]:
        check_same(attrs["output_types"], attrs["output_shapes"], found)
    return handle


@op(
    "IteratorFromStringHandle",
    "string_handle: string",
    "resource_handle: resource",
    _ANY_OUTPUTS,
    stateful=True,
)
class iterator_from_string_handle:
    """The handle that a string stands for."""

    shape = shapes.scalar

    def kernel(ctx: Any, string_handle: Any) -> Any:
        return _from_string(ctx, string_handle)

    grad = NOT_DIFFERENTIABLE


@op(
    "IteratorFromStringHandleV2",
    "string_handle: string",
    "resource_handle: resource",
    _ANY_OUTPUTS,
    stateful=True,
)
class iterator_from_string_handle_v2:
    """The handle that a string stands for."""

    shape = shapes.scalar

    def kernel(ctx: Any, string_handle: Any) -> Any:
        return _from_string(ctx, string_handle)

    grad = NOT_DIFFERENTIABLE


@op("SerializeIterator", "resource_handle: resource", "serialized: variant", stateful=True)
class serialize_iterator:
    """Refused: where an iterator stands is not saved."""

    shape = shapes.scalar

    def kernel(ctx: Any, resource_handle: Any) -> Any:
        raise errors.UnimplementedError.of(
            "kvarn does not save where iterators of datasets stand",
            hint="Save the number of elements that were used, and begin with dataset.skip of that.",
        )

    grad = NOT_DIFFERENTIABLE
