"""Datasets of the elements of others, in another number or order.

Source: tensorflow/core/ops/dataset_ops.cc, tensorflow/core/kernels/data/{repeat,take,skip,shard,concatenate,zip,
cache,window}_dataset_op(s).cc (1.15).
"""

from __future__ import annotations

import collections
import itertools
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops import _text
from kvarn.ops.datasets.base import Dataset, Element, Iteration, types_and_shapes, variant
from kvarn.ops.datasets.sources import ElementsDataset

_logger = logging.getLogger("tensorflow")
_OUTPUTS = ["output_types: list(type) >= 1", "output_shapes: list(shape) >= 1"]


class _OfOne(Dataset):
    """The elements of one input, with a number."""

    def __init__(self, input: Dataset, count: int = 0) -> None:
        super().__init__(input.types, input.shapes, [input])
        self.count = count

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return self.iterator(run, f"{prefix}::{self.name}")

    def iterator(self, run: Iteration, prefix: str) -> Iterator[Element]:
        """The iterator; ``prefix`` has the name of this dataset."""
        raise NotImplementedError


class Repeated(_OfOne):
    """The elements ``count`` times, for ever if it is negative."""

    name = "Repeat"

    def iterator(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _RepeatedIterator(self, run, prefix)


class _RepeatedIterator:
    def __init__(self, dataset: Repeated, run: Iteration, prefix: str) -> None:
        self._dataset, self._run, self._prefix = dataset, run, prefix
        self._left = dataset.count
        self._source = self._again() if dataset.count else None

    def _again(self) -> Iterator[Element]:
        self._fresh = True
        return self._dataset.input.iterate(self._run, self._prefix)

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        while self._source is not None:
            for element in self._source:
                self._fresh = False
                return element
            if self._dataset.count > 0:
                self._left -= 1
                # One is made after the last round, too: it takes seeds from an input that is shuffled.
                source = self._again()
                self._source = source if self._left else None
            else:
                # An empty input would be asked for ever.
                self._source = None if self._fresh else self._again()
        raise StopIteration


@op("RepeatDataset", "input_dataset: variant, count: int64", "handle: variant", _OUTPUTS)
class repeat_dataset:
    """The elements ``count`` times, for ever if it is negative."""

    shape = variant(0)

    def kernel(ctx: Any, input_dataset: Any, count: Any) -> Any:
        return Repeated(input_dataset, int(count))

    grad = NOT_DIFFERENTIABLE


class Taken(_OfOne):
    """The first ``count`` elements, all if it is negative."""

    name = "Take"

    def iterator(self, run: Iteration, prefix: str) -> Iterator[Element]:
        source = self.input.iterate(run, prefix)
        return source if self.count < 0 else itertools.islice(source, self.count)


@op("TakeDataset", "input_dataset: variant, count: int64", "handle: variant", _OUTPUTS)
class take_dataset:
    """The first ``count`` elements, all if it is negative."""

    shape = variant(0)

    def kernel(ctx: Any, input_dataset: Any, count: Any) -> Any:
        return Taken(input_dataset, int(count))

    grad = NOT_DIFFERENTIABLE


class Skipped(_OfOne):
    """The elements after the first ``count``, none if it is negative."""

    name = "Skip"

    def iterator(self, run: Iteration, prefix: str) -> Iterator[Element]:
        if self.count < 0:
            return iter(())
        return _SkippedIterator(self.input.iterate(run, prefix), self.count)


class _SkippedIterator:
    def __init__(self, source: Iterator[Element], count: int) -> None:
        self._source, self._count = source, count

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        while self._count:
            next(self._source)
            self._count -= 1
        return next(self._source)


@op("SkipDataset", "input_dataset: variant, count: int64", "handle: variant", _OUTPUTS)
class skip_dataset:
    """The elements after the first ``count``, none if it is negative."""

    shape = variant(0)

    def kernel(ctx: Any, input_dataset: Any, count: Any) -> Any:
        return Skipped(input_dataset, int(count))

    grad = NOT_DIFFERENTIABLE


class _Shard(_OfOne):
    name = "Shard"

    def __init__(self, input: Dataset, count: int, index: int, require_non_empty: bool) -> None:
        super().__init__(input, count)
        self.index, self.require_non_empty = index, require_non_empty

    def iterator(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _ShardIterator(self, self.input.iterate(run, prefix))


class _ShardIterator:
    def __init__(self, dataset: _Shard, source: Iterator[Element]) -> None:
        self._dataset, self._source = dataset, source
        self._at = 0

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        count, index = self._dataset.count, self._dataset.index
        while True:
            element = next(self._source)
            self._at += 1
            if (self._at - 1) % count == index:
                break
        if self._dataset.require_non_empty and self._at <= count:
            self._check_others()
        return element

    def _check_others(self) -> None:
        """There must be an element for each of the shards that follow in the first round."""
        count = self._dataset.count
        ahead = list(itertools.islice(self._source, count - self._at))
        if len(ahead) < count - self._at:
            raise errors.InvalidArgumentError.of(
                "There aren't enough elements in this dataset for each shard to have at least one element (# elems "
                f"= {self._at + len(ahead)}, # shards = {count}). If you are using datasets with distribution "
                "strategy, consider turning dataset autosharding off with `tf.data.Options`."
            )
        self._source = itertools.chain(ahead, self._source)


@op(
    "ShardDataset",
    "input_dataset: variant, num_shards: int64, index: int64",
    "handle: variant",
    ["require_non_empty: bool = false", *_OUTPUTS],
)
class shard_dataset:
    """Of ``num_shards`` elements in turn the one at ``index``."""

    shape = variant(0, 0)

    def kernel(ctx: Any, input_dataset: Any, num_shards: Any, index: Any) -> Any:
        if num_shards <= 0:
            raise errors.InvalidArgumentError.of(
                f"Number of shards must be greater than zero (currently num_shards = {num_shards})."
            )
        if not 0 <= index < num_shards:
            raise errors.InvalidArgumentError.of(
                f"Index must be between 0 and {num_shards - 1} (currently index = {index})."
            )
        return _Shard(input_dataset, int(num_shards), int(index), ctx.attrs["require_non_empty"])

    grad = NOT_DIFFERENTIABLE


class _Concatenated(Dataset):
    name = "Concatenate"

    def __init__(self, types: Any, shapes: Any, first: Dataset, second: Dataset) -> None:
        super().__init__(types, shapes, [first, second])

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _ConcatenatedIterator(self, run, f"{prefix}::{self.name}")


class _ConcatenatedIterator:
    def __init__(self, dataset: Dataset, run: Iteration, prefix: str) -> None:
        self._dataset, self._run, self._prefix = dataset, run, prefix
        self._number = 0
        self._source = dataset.inputs[0].iterate(run, prefix + "[0]")

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        while True:
            for element in self._source:
                return element
            self._number += 1
            if self._number >= len(self._dataset.inputs):
                raise StopIteration
            self._source = self._dataset.inputs[self._number].iterate(
                self._run, f"{self._prefix}[{self._number}]"
            )


@op(
    "ConcatenateDataset",
    "input_dataset: variant, another_dataset: variant",
    "handle: variant",
    _OUTPUTS,
)
class concatenate_dataset:
    """The elements of one dataset, then those of another."""

    shape = shapes.scalar

    def kernel(ctx: Any, input_dataset: Any, another_dataset: Any) -> Any:
        if input_dataset.types != another_dataset.types:
            raise errors.InvalidArgumentError.of(
                "input dataset and dataset to concatenate have different output_types "
                f"{[t.name for t in input_dataset.types]} and {[t.name for t in another_dataset.types]}"
            )
        return _Concatenated(*types_and_shapes(ctx), input_dataset, another_dataset)

    grad = NOT_DIFFERENTIABLE


class _Zipped(Dataset):
    name = "Zip"

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        sources = [d.iterate(run, f"{prefix}::{self.name}[{i}]") for i, d in enumerate(self.inputs)]
        return _ZippedIterator(sources)


class _ZippedIterator:
    """All inputs go on, even if one before has failed; the first one that ends ends all."""

    def __init__(self, sources: list[Iterator[Element]]) -> None:
        self._sources = sources

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        found: list[Any] = []
        problem: errors.OpError | None = None
        for source in self._sources:
            try:
                found.extend(next(source))
            except StopIteration:
                self._sources = [iter(())]
                if problem is None:
                    raise
                break
            except errors.OpError as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return tuple(found)


@op("ZipDataset", "input_datasets: N * variant", "handle: variant", [*_OUTPUTS, "N: int >= 1"])
class zip_dataset:
    """One element of each dataset at a time, until one ends."""

    shape = shapes.scalar

    def kernel(ctx: Any, input_datasets: Any) -> Any:
        return _Zipped(
            [t for d in input_datasets for t in d.types],
            [s for d in input_datasets for s in d.shapes],
            input_datasets,
        )

    grad = NOT_DIFFERENTIABLE


# -- kept in memory -----------------------------------------------------------------------------------


class _Cache:
    """Elements that are kept from the first time on."""

    def __init__(self) -> None:
        self.elements: list[Element] = []
        self.complete = False
        self._claimed = False
        self._lock = threading.Lock()

    def claim(self) -> bool:
        """Whether the caller is to fill it: the first one is, or the next after one that gave up."""
        with self._lock:
            claimed, self._claimed = self._claimed, True
        return not claimed

    def give_up(self) -> None:
        with self._lock:
            self.elements, self._claimed = [], False


class _Cached(_OfOne):
    name = "MemoryCache"

    def iterator(self, run: Iteration, prefix: str) -> Iterator[Element]:
        cache = run.shared(prefix + "::cache", _Cache)
        if cache.claim():
            return _Filling(cache, self.input.iterate(run, prefix))
        if not cache.complete:
            raise errors.InternalError.of("Cache should only be read after it has been completed.")
        return iter(cache.elements)


class _Filling:
    """Goes through the input for the first time."""

    def __init__(self, cache: _Cache, source: Iterator[Element]) -> None:
        self._cache, self._source = cache, source

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        for element in self._source:
            self._cache.elements.append(element)
            return element
        self._cache.complete = True
        raise StopIteration

    def __del__(self) -> None:
        cache = getattr(self, "_cache", None)
        if cache is None or cache.complete:
            return
        if cache.elements:
            _logger.warning(
                "The calling iterator did not fully read the dataset being cached. In order to avoid unexpected "
                "truncation of the dataset, the partially cached contents of the dataset will be discarded. This can "
                "happen if you have an input pipeline similar to `dataset.cache().take(k).repeat()`. You should use "
                "`dataset.take(k).cache().repeat()` instead."
            )
        cache.give_up()


@op("CacheDataset", "input_dataset: variant, filename: string", "handle: variant", _OUTPUTS)
class cache_dataset:
    """The elements, kept in memory when they have come for the first time."""

    shape = variant(0)

    def kernel(ctx: Any, input_dataset: Any, filename: Any) -> Any:
        if _text.scalar(filename):
            raise errors.UnimplementedError.of(
                "Datasets are cached in memory only.",
                path=_text.scalar(filename).decode(),
                hint="Leave the filename out, or write a TFRecord file and read that.",
            )
        return _Cached(input_dataset)

    grad = NOT_DIFFERENTIABLE


# -- windows ------------------------------------------------------------------------------------------


class _Windows(Dataset):
    name = "Window"

    def __init__(self, input: Dataset, size: int, shift: int, stride: int, drop_remainder: bool) -> None:
        count = len(input.types)
        super().__init__([dtypes.variant] * count, [()] * count, [input])
        self.size, self.shift, self.stride, self.drop_remainder = size, shift, stride, drop_remainder

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _WindowsIterator(self, self.input.iterate(run, f"{prefix}::{self.name}"))


class _WindowsIterator:
    def __init__(self, dataset: _Windows, source: Iterator[Element]) -> None:
        self._dataset, self._source = dataset, source
        # Elements, or the errors in their places.
        self._waiting: collections.deque[Element | errors.OpError] = collections.deque()
        self._ended = False

    def __iter__(self) -> Iterator[Element]:
        return self

    def _next(self) -> Element | errors.OpError | None:
        try:
            return next(self._source)
        except StopIteration:
            self._ended = True
            return None
        except errors.OpError as error:
            return error

    def __next__(self) -> Element:
        dataset, waiting = self._dataset, self._waiting
        target = (dataset.size - 1) * dataset.stride + 1
        while not self._ended and len(waiting) < target:
            found = self._next()
            if found is not None:
                waiting.append(found)
        if not waiting or (dataset.drop_remainder and len(waiting) < target):
            raise StopIteration
        window = list(itertools.islice(waiting, 0, None, dataset.stride))
        for _ in range(dataset.shift):
            if waiting:
                waiting.popleft()
            elif not self._ended:
                self._next()
        for item in window:
            if isinstance(item, errors.OpError):
                raise item
        return self._datasets(window)

    def _datasets(self, window: Sequence[Any]) -> Element:
        source = self._dataset.input
        return tuple(
            ElementsDataset([dtype], [shape], [(e[i],) for e in window])
            for i, (dtype, shape) in enumerate(zip(source.types, source.shapes, strict=True))
        )


@op(
    "WindowDataset",
    "input_dataset: variant, size: int64, shift: int64, stride: int64, drop_remainder: bool",
    "handle: variant",
    _OUTPUTS,
)
class window_dataset:
    """Datasets of ``size`` elements, ``stride`` apart, each beginning ``shift`` after the one before."""

    shape = variant(0, 0, 0, 0)

    def kernel(ctx: Any, input_dataset: Any, size: Any, shift: Any, stride: Any, drop_remainder: Any) -> Any:
        for what, value in (("size", size), ("shift", shift), ("stride", stride)):
            if value <= 0:
                raise errors.InvalidArgumentError.of(f"Window {what} must be greater than zero.")
        return _Windows(input_dataset, int(size), int(shift), int(stride), bool(drop_remainder))

    grad = NOT_DIFFERENTIABLE
