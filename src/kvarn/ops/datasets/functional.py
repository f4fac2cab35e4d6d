"""Datasets that call functions: of elements, or of datasets that functions give.

Source: tensorflow/core/ops/{dataset_ops,experimental_dataset_ops}.cc, tensorflow/core/kernels/data/{map,
parallel_map,flat_map,interleave,parallel_interleave,filter}_dataset_op.cc, tensorflow/core/kernels/data/experimental/
{map_and_batch,parallel_interleave,scan,take_while,group_by_window}_dataset_op.cc (1.15).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops.datasets.background import Ahead
from kvarn.ops.datasets.base import (
    CapturedFunction,
    Dataset,
    Element,
    Iteration,
    captured,
    shape_of,
    types_and_shapes,
)
from kvarn.ops.datasets.batching import Batched
from kvarn.ops.datasets.sources import ElementsDataset

_OUTPUTS = ["output_types: list(type) >= 1", "output_shapes: list(shape) >= 1"]
_F = ["f: func", "Targuments: list(type) >= 0", *_OUTPUTS]
_MAPPED = "input_dataset: variant, other_arguments: Targuments"
_PRESERVE = "preserve_cardinality: bool = false"
_INTER_OP = "use_inter_op_parallelism: bool = true"
_AUTOTUNE = -1


def threads_for(parallel_calls: int) -> tuple[int, int]:
    """How many elements are worked on ahead, and by how many threads, for ``num_parallel_calls``.

    Raises:
      InvalidArgumentError: it is neither positive nor -1, which leaves it to kvarn.
    """
    if parallel_calls <= 0 and parallel_calls != _AUTOTUNE:
        raise errors.InvalidArgumentError.of("num_parallel_calls must be greater than zero.")
    cores = max(len(os.sched_getaffinity(0)), 2)
    limit = cores if parallel_calls == _AUTOTUNE else parallel_calls
    return limit, min(limit, cores)


class _OfFunction(Dataset):
    """A dataset of one input and a function."""

    def __init__(self, ctx: Any, input: Dataset, function: CapturedFunction) -> None:
        super().__init__(*types_and_shapes(ctx), [input])
        self.function = function
        self.preserves = bool(ctx.attrs.get("preserve_cardinality"))

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        prefix = f"{prefix}::{self.name}"
        return self.iterator(run, prefix, self.input.iterate(run, prefix), run.function(self.function))

    def iterator(
        self, run: Iteration, prefix: str, source: Iterator[Element], call: Any
    ) -> Iterator[Element]:
        """The iterator; ``prefix`` has the name of this dataset, ``call`` is the function."""
        raise NotImplementedError

    def ended(self, error: errors.OutOfRangeError) -> BaseException:
        """What the OutOfRangeError of a function means: the end, or a failure if there must not be one."""
        if not self.preserves:
            return StopIteration()
        return errors.InvalidArgumentError.of(
            f"Function invocation produced OutOfRangeError: {error.message}"
        )

    def checked(self, call: Callable[[Element], Element]) -> Callable[[Element], Element]:
        """``call`` with OutOfRangeErrors as `ended` says."""

        def checked(element: Element) -> Element:
            try:
                return call(element)
            except errors.OutOfRangeError as error:
                raise self.ended(error) from error

        return checked


class Mapped(_OfFunction):
    """What a function gives for each element."""

    name = "Map"

    def iterator(
        self, run: Iteration, prefix: str, source: Iterator[Element], call: Any
    ) -> Iterator[Element]:
        return _MappedIterator(source, self.checked(call))


class _MappedIterator:
    def __init__(self, source: Iterator[Element], call: Callable[[Element], Element]) -> None:
        self._source, self._call = source, call

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        return self._call(next(self._source))


@op("MapDataset", _MAPPED, "handle: variant", [*_F, _INTER_OP, _PRESERVE])
class map_dataset:
    """What function ``f`` gives for each element."""

    shape = shapes.scalar

    def kernel(ctx: Any, input_dataset: Any, other_arguments: Any) -> Any:
        return Mapped(ctx, input_dataset, captured(ctx, "f", other_arguments))

    grad = NOT_DIFFERENTIABLE


class ParallelMapped(Mapped):
    """`Mapped`, worked out by threads ahead, in the order of the input."""

    name = "ParallelMap"

    def __init__(self, ctx: Any, input: Dataset, function: CapturedFunction, parallel_calls: int) -> None:
        super().__init__(ctx, input, function)
        self.limit, self.threads = threads_for(parallel_calls)

    def iterator(
        self, run: Iteration, prefix: str, source: Iterator[Element], call: Any
    ) -> Iterator[Element]:
        return Ahead(run, source, self.limit, self.threads, self.checked(call))


@op(
    "ParallelMapDataset",
    f"{_MAPPED}, num_parallel_calls: int32",
    "handle: variant",
    [*_F, _INTER_OP, "sloppy: bool = false", _PRESERVE],
)
class parallel_map_dataset:
    """What function ``f`` gives for each element, for several at a time."""

    shape = shapes.scalar

    def kernel(ctx: Any, input_dataset: Any, other_arguments: Any, num_parallel_calls: Any) -> Any:
        function = captured(ctx, "f", other_arguments)
        return ParallelMapped(ctx, input_dataset, function, int(num_parallel_calls))

    grad = NOT_DIFFERENTIABLE


class MappedAndBatched(Batched):
    """Batches of a mapped dataset: as many numbers in each element are enough."""

    name = "MapAndBatch"

    def same_shapes(self, column: Sequence[Any], number: int) -> Sequence[Any]:
        first = shape_of(column[0])
        return [column[0], *(_as_first(value, first) for value in column[1:])]


def _as_first(value: Any, first: tuple[int, ...]) -> Any:
    found = shape_of(value)
    if found == first:
        return value
    if math.prod(found) != math.prod(first):
        raise errors.InvalidArgumentError.of(
            "Cannot add tensor to the batch: number of elements does not match. Shapes are: [tensor]: "
            f"{shapes.fmt(found)}, [batch]: {shapes.fmt(first)}"
        )
    return np.reshape(value, first)


@op(
    "MapAndBatchDataset",
    f"{_MAPPED}, batch_size: int64, num_parallel_calls: int64, drop_remainder: bool",
    "handle: variant",
    [*_F, _PRESERVE],
)
class map_and_batch_dataset:
    """Batches of what function ``f`` gives, for several elements at a time."""

    shape = shapes.scalar

    def kernel(
        ctx: Any,
        input_dataset: Any,
        other_arguments: Any,
        batch_size: Any,
        num_parallel_calls: Any,
        drop_remainder: Any,
    ) -> Any:
        if batch_size <= 0:
            raise errors.InvalidArgumentError.of("batch_size must be greater than zero.")
        function = captured(ctx, "f", other_arguments)
        mapped = ParallelMapped(ctx, input_dataset, function, int(num_parallel_calls))
        mapped.shapes = tuple(None if s is None else s[1:] for s in mapped.shapes)
        return MappedAndBatched(mapped, int(batch_size), bool(drop_remainder))

    grad = NOT_DIFFERENTIABLE


# -- some of the elements -------------------------------------------------------------------------------


def _holds(result: Element) -> bool:
    if len(result) != 1 or shape_of(result[0]):
        raise errors.InvalidArgumentError.of("Filter predicate `f` must return a scalar bool.")
    return bool(result[0])


class _Filtered(_OfFunction):
    name = "Filter"

    def iterator(
        self, run: Iteration, prefix: str, source: Iterator[Element], call: Any
    ) -> Iterator[Element]:
        return _FilteredIterator(source, call)


class _FilteredIterator:
    def __init__(self, source: Iterator[Element], call: Any) -> None:
        self._source, self._call = source, call

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        while True:
            element = next(self._source)
            if _holds(self._call(element)):
                return element


@op(
    "FilterDataset",
    _MAPPED,
    "handle: variant",
    ["predicate: func", "Targuments: list(type) >= 0", *_OUTPUTS],
)
class filter_dataset:
    """The elements for which function ``predicate`` holds."""

    shape = shapes.scalar

    def kernel(ctx: Any, input_dataset: Any, other_arguments: Any) -> Any:
        return _Filtered(ctx, input_dataset, captured(ctx, "predicate", other_arguments))

    grad = NOT_DIFFERENTIABLE


class _TakenWhile(_OfFunction):
    name = "TakeWhile"

    def iterator(
        self, run: Iteration, prefix: str, source: Iterator[Element], call: Any
    ) -> Iterator[Element]:
        return _TakenWhileIterator(source, call)


class _TakenWhileIterator(_FilteredIterator):
    def __next__(self) -> Element:
        element = next(self._source)
        if not _holds(self._call(element)):
            self._source = iter(())
            raise StopIteration
        return element


@op(
    "TakeWhileDataset",
    _MAPPED,
    "handle: variant",
    ["predicate: func", "Targuments: list(type) >= 0", *_OUTPUTS],
)
class take_while_dataset:
    """The elements up to the first one for which function ``predicate`` does not hold."""

    shape = shapes.scalar

    def kernel(ctx: Any, input_dataset: Any, other_arguments: Any) -> Any:
        return _TakenWhile(ctx, input_dataset, captured(ctx, "predicate", other_arguments))

    grad = NOT_DIFFERENTIABLE


# -- datasets that functions give -----------------------------------------------------------------------


class _FlatMapped(_OfFunction):
    name = "FlatMap"

    def iterator(
        self, run: Iteration, prefix: str, source: Iterator[Element], call: Any
    ) -> Iterator[Element]:
        return _FlatMappedIterator(run, prefix, source, call)


class _Opening(Iterator[Element]):
    """Makes iterators of the datasets that a function gives for elements."""

    def __init__(self, run: Iteration, prefix: str, source: Iterator[Element], call: Any) -> None:
        self._run, self._prefix, self._source, self._call = run, prefix, source, call
        self._opened = 0

    def _open_next(self) -> Iterator[Element]:
        """The iterator for the next element; StopIteration if there is none."""
        (dataset,) = self._call(next(self._source))
        name = f"{self._prefix}[{self._opened}]"
        self._opened += 1
        found: Iterator[Element] = dataset.iterate(self._run, name)
        return found


class _FlatMappedIterator(_Opening):
    _inner: Iterator[Element] = iter(())

    def __next__(self) -> Element:
        while True:
            for element in self._inner:
                return element
            self._inner = self._open_next()


@op("FlatMapDataset", _MAPPED, "handle: variant", _F)
class flat_map_dataset:
    """The elements of the datasets that function ``f`` gives, one after the other."""

    shape = shapes.scalar

    def kernel(ctx: Any, input_dataset: Any, other_arguments: Any) -> Any:
        return _FlatMapped(ctx, input_dataset, captured(ctx, "f", other_arguments))

    grad = NOT_DIFFERENTIABLE


class _Interleaved(_OfFunction):
    """Elements of several datasets in turn; with ``ahead``, so many are made before they are asked for."""

    name = "Interleave"

    def __init__(
        self,
        ctx: Any,
        input: Dataset,
        function: CapturedFunction,
        cycle_length: int,
        block_length: int,
        ahead: int = 0,
    ) -> None:
        super().__init__(ctx, input, function)
        self.cycle_length, self.block_length, self.ahead = cycle_length, block_length, ahead

    def iterator(
        self, run: Iteration, prefix: str, source: Iterator[Element], call: Any
    ) -> Iterator[Element]:
        inner = _InterleavedIterator(self, run, prefix, source, call)
        return Ahead(run, inner, self.ahead) if self.ahead else inner


class _InterleavedIterator(_Opening):
    """A place of the cycle that becomes empty waits for its next turn to be filled."""

    def __init__(self, dataset: _Interleaved, *args: Any) -> None:
        super().__init__(*args)
        self._places: list[Iterator[Element] | None] = [None] * dataset.cycle_length
        self._block_length = dataset.block_length
        self._place = self._taken = 0
        self._open = 0
        self._ended = False

    def __next__(self) -> Element:
        while not self._ended or self._open:
            inner = self._places[self._place]
            if inner is not None:
                for element in inner:
                    self._taken += 1
                    if self._taken == self._block_length:
                        self._to_next_place()
                    return element
                self._places[self._place] = None
                self._open -= 1
                self._to_next_place()
            elif self._ended:
                self._to_next_place()
            else:
                self._fill()
        raise StopIteration

    def _fill(self) -> None:
        try:
            self._places[self._place] = self._open_next()
            self._open += 1
        except StopIteration:
            self._ended = True

    def _to_next_place(self) -> None:
        self._taken = 0
        self._place = (self._place + 1) % len(self._places)


def _checked_lengths(cycle_length: Any, block_length: Any, quote: str = "") -> tuple[int, int]:
    more = "> 0" if quote else "greater than zero."
    for name, value in (("cycle_length", cycle_length), ("block_length", block_length)):
        if value <= 0:
            raise errors.InvalidArgumentError.of(f"{quote}{name}{quote} must be {more}")
    return int(cycle_length), int(block_length)


@op(
    "InterleaveDataset",
    f"{_MAPPED}, cycle_length: int64, block_length: int64",
    "handle: variant",
    _F,
)
class interleave_dataset:
    """Blocks of elements of ``cycle_length`` datasets that function ``f`` gives, in turn."""

    shape = shapes.scalar

    def kernel(
        ctx: Any, input_dataset: Any, other_arguments: Any, cycle_length: Any, block_length: Any
    ) -> Any:
        if cycle_length == _AUTOTUNE:
            cycle_length = len(os.sched_getaffinity(0))
        lengths = _checked_lengths(cycle_length, block_length)
        return _Interleaved(ctx, input_dataset, captured(ctx, "f", other_arguments), *lengths)

    grad = NOT_DIFFERENTIABLE


@op(
    "ParallelInterleaveDatasetV2",
    f"{_MAPPED}, cycle_length: int64, block_length: int64, num_parallel_calls: int64",
    "handle: variant",
    [*_F, "sloppy: bool = false"],
)
class parallel_interleave_dataset_v2:
    """`InterleaveDataset`, whose elements a thread has ready."""

    shape = shapes.scalar

    def kernel(
        ctx: Any,
        input_dataset: Any,
        other_arguments: Any,
        cycle_length: Any,
        block_length: Any,
        num_parallel_calls: Any,
    ) -> Any:
        if cycle_length == _AUTOTUNE:
            cycle_length = len(os.sched_getaffinity(0))
        cycle, block = _checked_lengths(cycle_length, block_length, "`")
        threads_for(int(num_parallel_calls))
        if num_parallel_calls > cycle:
            raise errors.InvalidArgumentError.of(
                "num_parallel_calls must less than or equal to cycle_length."
            )
        function = captured(ctx, "f", other_arguments)
        return _Interleaved(ctx, input_dataset, function, cycle, block, cycle * block)

    grad = NOT_DIFFERENTIABLE


@op(
    "ParallelInterleaveDataset",
    f"{_MAPPED}, cycle_length: int64, block_length: int64, sloppy: bool, buffer_output_elements: int64, "
    "prefetch_input_elements: int64",
    "handle: variant",
    _F,
)
class parallel_interleave_dataset:
    """`InterleaveDataset`, whose elements a thread has ready; always in the order without ``sloppy``."""

    shape = shapes.scalar

    def kernel(
        ctx: Any,
        input_dataset: Any,
        other_arguments: Any,
        cycle_length: Any,
        block_length: Any,
        sloppy: Any,
        buffer_output_elements: Any,
        prefetch_input_elements: Any,
    ) -> Any:
        cycle, block = _checked_lengths(cycle_length, block_length, "`")
        if buffer_output_elements <= 0:
            raise errors.InvalidArgumentError.of("`buffer_output_elements` must be > 0")
        if prefetch_input_elements < 0:
            raise errors.InvalidArgumentError.of("`prefetch_input_elements` must be >= 0")
        function = captured(ctx, "f", other_arguments)
        ahead = cycle * int(buffer_output_elements)
        return _Interleaved(ctx, input_dataset, function, cycle, block, ahead)

    grad = NOT_DIFFERENTIABLE


# -- with a state ---------------------------------------------------------------------------------------


class _Scanned(_OfFunction):
    name = "Scan"

    def __init__(self, ctx: Any, input: Dataset, state: Element, function: CapturedFunction) -> None:
        super().__init__(ctx, input, function)
        self.state = state

    def iterator(
        self, run: Iteration, prefix: str, source: Iterator[Element], call: Any
    ) -> Iterator[Element]:
        return _ScannedIterator(self.state, source, self.checked(call))


class _ScannedIterator:
    def __init__(self, state: Element, source: Iterator[Element], call: Any) -> None:
        self._state, self._source, self._call = state, source, call

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        count = len(self._state)
        found = self._call((*self._state, *next(self._source)))
        self._state = found[:count]
        element: Element = found[count:]
        return element


@op(
    "ScanDataset",
    "input_dataset: variant, initial_state: Tstate, other_arguments: Targuments",
    "handle: variant",
    ["f: func", "Tstate: list(type) >= 1", "Targuments: list(type) >= 0", *_OUTPUTS, _PRESERVE],
)
class scan_dataset:
    """What function ``f`` gives for a state and each element, after the next state."""

    shape = shapes.scalar

    def kernel(ctx: Any, input_dataset: Any, initial_state: Any, other_arguments: Any) -> Any:
        return _Scanned(ctx, input_dataset, tuple(initial_state), captured(ctx, "f", other_arguments))

    grad = NOT_DIFFERENTIABLE


class _GroupedByWindow(Dataset):
    name = "GroupByWindow"

    def __init__(
        self,
        ctx: Any,
        input: Dataset,
        key: CapturedFunction,
        reduce: CapturedFunction,
        size: CapturedFunction,
    ) -> None:
        super().__init__(*types_and_shapes(ctx), [input])
        self.key, self.reduce, self.size = key, reduce, size

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _GroupedByWindowIterator(self, run, f"{prefix}::{self.name}")


class _GroupedByWindowIterator:
    def __init__(self, dataset: _GroupedByWindow, run: Iteration, prefix: str) -> None:
        self._run, self._prefix = run, prefix
        self._input = dataset.input
        self._source = dataset.input.iterate(run, prefix)
        self._key, self._reduce, self._size = (
            run.function(f) for f in (dataset.key, dataset.reduce, dataset.size)
        )
        self._groups: dict[int, list[Element]] = {}
        self._sizes: dict[int, int] = {}
        self._group: Iterator[Element] = iter(())
        self._ended = False

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        while True:
            for element in self._group:
                return element
            if self._ended:
                if not self._groups:
                    raise StopIteration
                self._start_group(min(self._groups))
                continue
            try:
                element = next(self._source)
            except StopIteration:
                self._ended = True
                continue
            key = self._number(self._key(element), "`key_func` must return a scalar int64.")
            if key not in self._sizes:
                self._sizes[key] = self._size_of(key)
            group = self._groups.setdefault(key, [])
            group.append(element)
            if len(group) == self._sizes[key]:
                self._start_group(key)

    def _size_of(self, key: int) -> int:
        size = self._number(self._size((np.int64(key),)), "`window_size_func` must return a scalar int64.")
        if size <= 0:
            raise errors.InvalidArgumentError.of(f"Window size must be greater than zero, but got {size}.")
        return size

    @staticmethod
    def _number(result: Element, message: str) -> int:
        if len(result) != 1 or shape_of(result[0]):
            raise errors.InvalidArgumentError.of(message)
        return int(result[0])

    def _start_group(self, key: int) -> None:
        group = ElementsDataset(self._input.types, self._input.shapes, self._groups.pop(key))
        result = self._reduce((np.int64(key), group))
        if len(result) != 1 or not isinstance(result[0], Dataset):
            raise errors.InvalidArgumentError.of(
                "`reduce_func` must return a single scalar of dtype DT_VARIANT."
            )
        self._group = result[0].iterate(self._run, self._prefix)


@op(
    "GroupByWindowDataset",
    [
        "input_dataset: variant",
        "key_func_other_arguments: Tkey_func_other_arguments",
        "reduce_func_other_arguments: Treduce_func_other_arguments",
        "window_size_func_other_arguments: Twindow_size_func_other_arguments",
    ],
    "handle: variant",
    [
        "key_func: func",
        "reduce_func: func",
        "window_size_func: func",
        "Tkey_func_other_arguments: list(type) >= 0",
        "Treduce_func_other_arguments: list(type) >= 0",
        "Twindow_size_func_other_arguments: list(type) >= 0",
        *_OUTPUTS,
    ],
)
class group_by_window_dataset:
    """What function ``reduce_func`` gives for windows of elements of one key."""

    shape = shapes.scalar

    def kernel(
        ctx: Any,
        input_dataset: Any,
        key_func_other_arguments: Any,
        reduce_func_other_arguments: Any,
        window_size_func_other_arguments: Any,
    ) -> Any:
        return _GroupedByWindow(
            ctx,
            input_dataset,
            captured(ctx, "key_func", key_func_other_arguments),
            captured(ctx, "reduce_func", reduce_func_other_arguments),
            captured(ctx, "window_size_func", window_size_func_other_arguments),
        )

    grad = NOT_DIFFERENTIABLE


@op(
    "ReduceDataset",
    "input_dataset: variant, initial_state: Tstate, other_arguments: Targuments",
    "components: output_types",
    ["f: func", "Tstate: list(type) >= 1", "Targuments: list(type) >= 0", *_OUTPUTS, _INTER_OP],
    stateful=True,
)
class reduce_dataset:
    """The state that is left when function ``f`` was called with it and each element in turn."""

    def shape(c: Any, input_dataset: Any, initial_state: Any, other_arguments: Any) -> Any:
        return list(c.attrs["output_shapes"])

    def kernel(ctx: Any, input_dataset: Any, initial_state: Any, other_arguments: Any) -> Any:
        run = Iteration(ctx.resources, ctx.session)
        call = run.function(captured(ctx, "f", other_arguments))
        state = tuple(initial_state)
        try:
            for element in input_dataset.iterate(run, "ReduceIterator"):
                state = call((*state, *element))
        finally:
            run.cancel()
        return state if len(state) > 1 else state[0]

    grad = NOT_DIFFERENTIABLE
