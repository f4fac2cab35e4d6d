"""Single random numbers in order, and shuffling, number for number TensorFlow's.

Source: tensorflow/core/lib/random/random_distributions.h (`SingleSampleAdapter`), tensorflow/core/kernels/data/
{shuffle_dataset_op,random_seed_ops}.cc (1.15).
"""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops._philox import Philox
from kvarn.ops.datasets.base import Dataset, Element, Iteration, variant

_OUTPUTS = ["output_types: list(type) >= 1", "output_shapes: list(shape) >= 1"]
_FOREVER = -1
# Of so many epochs elements may wait at a time.
_MAX_EPOCHS = 3
# Blocks of four numbers that are computed at a time: few at first, for those who want few.
_FIRST_BLOCKS, _MORE_BLOCKS = 8, 1024


class Samples:
    """The numbers of a generator (uint32) one by one."""

    def __init__(self, generator: Philox) -> None:
        self._generator = generator
        self._waiting: Iterator[int] = iter(())
        self._blocks = _FIRST_BLOCKS

    def next(self) -> int:
        for number in self._waiting:
            return number
        blocks = self._generator.blocks(np.arange(self._blocks, dtype=np.uint64))
        self._generator.skip(self._blocks)
        self._blocks = _MORE_BLOCKS
        self._waiting = iter(blocks.reshape(-1).tolist())
        return next(self._waiting)


class SeedGenerator:
    """A pair of seeds for each iterator of a dataset; safe to use from several threads."""

    def __init__(self, seed: int, seed2: int) -> None:
        self._samples = Samples(Philox(seed, seed2))
        self._lock = threading.Lock()

    def next(self) -> tuple[int, int]:
        with self._lock:
            return self._samples.next(), self._samples.next()


class Shuffled(Dataset):
    """The elements of the input in another order.

    Args:
      buffer_size: among so many elements each one is chosen.
      seeds: of the order.
      count: how often the input is gone through, -1 for ever; epochs do not mix.
      reshuffles: whether each iterator has an order of its own.
    """

    name = "Shuffle"

    def __init__(
        self, input: Dataset, buffer_size: int, seeds: tuple[int, int], count: int, reshuffles: bool
    ) -> None:
        super().__init__(input.types, input.shapes, [input])
        self.buffer_size = buffer_size
        self.seeds = seeds
        self.count = count
        self.reshuffles = reshuffles

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        prefix += "::" + self.name
        seeds = self.seeds
        if self.reshuffles:
            seeds = run.shared(prefix + "::seeds", lambda: SeedGenerator(*self.seeds)).next()
        return _ShuffledIterator(self, run, prefix, Samples(Philox(*seeds)))


class _ShuffledIterator:
    """Fills a buffer, of which it takes elements by chance.

    The buffer is a ring that holds a slice ``[start, end)`` of each epoch; elements are taken of the oldest one.
    """

    def __init__(self, dataset: Shuffled, run: Iteration, prefix: str, samples: Samples) -> None:
        self._dataset, self._run, self._prefix = dataset, run, prefix
        self._samples = samples
        self._buffer: list[Any] = [None] * min(dataset.buffer_size, 1024)
        self._slices = collections.deque([[0, 0]])
        self._held = 0
        self._epoch = 0
        self._source: Iterator[Element] | None = None
        self._started = self._seen = False

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        self._fill()
        if not self._held:
            raise StopIteration
        slices, size = self._slices, self._dataset.buffer_size
        while slices[0][0] == slices[0][1]:
            slices.popleft()
        oldest = slices[0]
        start = oldest[0] % size
        index = (oldest[0] + self._samples.next() % (oldest[1] - oldest[0])) % size
        buffer = self._buffer
        chosen: Element = buffer[index]
        buffer[index] = buffer[start]
        buffer[start] = None
        oldest[0] += 1
        self._held -= 1
        return chosen

    def _fill(self) -> None:
        dataset = self._dataset
        if not self._started:
            self._source = dataset.input.iterate(self._run, self._prefix)
            self._started = True
        while self._source is not None and self._held < dataset.buffer_size:
            element = self._next_of_input(self._source)
            if element is None:
                self._source = None
            else:
                self._add(element)
            if len(self._slices) > _MAX_EPOCHS:
                break

    def _next_of_input(self, source: Iterator[Element]) -> Element | None:
        """The next element of this epoch or of one that follows; None if there is none."""
        dataset = self._dataset
        while dataset.count == _FOREVER or self._epoch < dataset.count:
            element = next(source, None)
            if element is not None:
                self._seen = True
                return element
            if not self._seen and dataset.count == _FOREVER:
                break  # an empty input would be asked for ever
            self._epoch += 1
            end = self._slices[-1][1]
            self._slices.append([end, end])
            # One is made after the last epoch, too: it takes seeds from an input that is shuffled itself.
            source = self._source = dataset.input.iterate(self._run, self._prefix)
        return None

    def _add(self, element: Element) -> None:
        newest = self._slices[-1]
        place = newest[1] % self._dataset.buffer_size
        while place >= len(self._buffer):
            self._buffer.extend([None] * len(self._buffer))
        self._buffer[place] = element
        newest[1] += 1
        self._held += 1


def _seeds(seed: Any, seed2: Any) -> tuple[int, int]:
    """The seeds, or two that nobody can foresee if both are zero."""
    if seed == 0 and seed2 == 0:
        return int.from_bytes(os.urandom(8), "little"), int.from_bytes(os.urandom(8), "little")
    return int(seed), int(seed2)


def _checked(buffer_size: Any) -> int:
    if buffer_size <= 0:
        raise errors.InvalidArgumentError.of("buffer_size must be greater than zero.")
    return int(buffer_size)


@op(
    "ShuffleDataset",
    "input_dataset: variant, buffer_size: int64, seed: int64, seed2: int64",
    "handle: variant",
    ["reshuffle_each_iteration: bool = true", *_OUTPUTS],
)
class shuffle_dataset:
    """The elements in another order, each chosen among the next ``buffer_size``."""

    shape = variant(0, 0, 0)

    def kernel(ctx: Any, input_dataset: Any, buffer_size: Any, seed: Any, seed2: Any) -> Any:
        size = _checked(buffer_size)
        return Shuffled(input_dataset, size, _seeds(seed, seed2), 1, ctx.attrs["reshuffle_each_iteration"])

    grad = NOT_DIFFERENTIABLE


@op(
    "ShuffleAndRepeatDataset",
    "input_dataset: variant, buffer_size: int64, seed: int64, seed2: int64, count: int64",
    "handle: variant",
    _OUTPUTS,
)
class shuffle_and_repeat_dataset:
    """The elements ``count`` times (-1: for ever), each time in another order."""

    shape = variant(0, 0, 0, 0)

    def kernel(ctx: Any, input_dataset: Any, buffer_size: Any, seed: Any, seed2: Any, count: Any) -> Any:
        size = _checked(buffer_size)
        if count <= 0 and count != _FOREVER:
            raise errors.InvalidArgumentError.of("count must be greater than zero or equal to -1.")
        return Shuffled(input_dataset, size, _seeds(seed, seed2), int(count), False)

    grad = NOT_DIFFERENTIABLE
