"""Datasets of the same elements: had ready by threads, or the subject of optimizations.

Of the optimizations that change datasets only those are done that show: a shuffled dataset that is repeated has one
generator of random numbers for all epochs, what has no effect does not stand between the two, and batches of what
functions give fail with another message.

Source: tensorflow/core/ops/{dataset_ops,experimental_dataset_ops}.cc, tensorflow/core/kernels/data/{prefetch,
optimize,model}_dataset_op.cc, tensorflow/core/grappler/optimizers/data/{shuffle_and_repeat_fusion,
noop_elimination}.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops.datasets.background import Ahead
from kvarn.ops.datasets.base import Dataset, Element, Iteration, variant
from kvarn.ops.datasets.batching import Batched
from kvarn.ops.datasets.functional import Mapped, MappedAndBatched
from kvarn.ops.datasets.ordering import Repeated, Skipped, Taken
from kvarn.ops.datasets.randomness import Shuffled

_OUTPUTS = ["output_types: list(type) >= 1", "output_shapes: list(shape) >= 1"]
_AUTOTUNE = -1
# So many elements are had ready if that is left to kvarn.
_AUTOTUNED = 8


class Prefetched(Dataset):
    """The elements, ``count`` of them made before they are asked for."""

    name = "Prefetch"

    def __init__(self, input: Dataset, count: int) -> None:
        super().__init__(input.types, input.shapes, [input])
        self.count = count

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        source = self.input.iterate(run, f"{prefix}::{self.name}")
        if self.count == 0:
            return source
        return Ahead(run, source, _AUTOTUNED if self.count == _AUTOTUNE else self.count)


@op(
    "PrefetchDataset",
    "input_dataset: variant, buffer_size: int64",
    "handle: variant",
    [*_OUTPUTS, "slack_period: int = 0", "legacy_autotune: bool = true"],
)
class prefetch_dataset:
    """The elements, ``buffer_size`` of them made before they are asked for."""

    shape = variant(0)

    def kernel(ctx: Any, input_dataset: Any, buffer_size: Any) -> Any:
        if buffer_size < 0 and buffer_size != _AUTOTUNE:
            raise errors.InvalidArgumentError.of(
                f"buffer_size must be >= 0 or set buffer_size to be {_AUTOTUNE} for auto-tuning"
            )
        return Prefetched(input_dataset, int(buffer_size))

    grad = NOT_DIFFERENTIABLE


def _is_noop(dataset: Dataset) -> bool:
    return (
        (isinstance(dataset, Taken) and dataset.count < 0)
        or (isinstance(dataset, Skipped) and dataset.count == 0)
        or (isinstance(dataset, Repeated) and dataset.count == 1)
        or (isinstance(dataset, Prefetched) and dataset.count == 0)
    )


def _optimized(dataset: Dataset, wanted: frozenset[bytes]) -> Dataset:
    """The dataset, and those that it is made of, changed as the optimizations say."""
    inputs = [_optimized(d, wanted) for d in dataset.inputs]
    if b"noop_elimination" in wanted and _is_noop(dataset):
        return inputs[0]
    if b"shuffle_and_repeat_fusion" in wanted and isinstance(dataset, Repeated):
        shuffled = inputs[0]
        if isinstance(shuffled, Shuffled) and shuffled.reshuffles and dataset.count != 0:
            return Shuffled(
                shuffled.input, shuffled.buffer_size, shuffled.seeds, max(dataset.count, -1), False
            )
    if b"map_and_batch_fusion" in wanted and type(dataset) is Batched and isinstance(inputs[0], Mapped):
        return MappedAndBatched(inputs[0], dataset.size, dataset.drop_remainder)
    if all(a is b for a, b in zip(inputs, dataset.inputs, strict=True)):
        return dataset
    return dataset.with_inputs(inputs)


@op(
    "OptimizeDataset",
    "input_dataset: variant, optimizations: string",
    "handle: variant",
    [*_OUTPUTS, "optimization_configs: list(string) = []"],
)
class optimize_dataset:
    """The same elements by the optimizations of these names."""

    shape = variant(1)

    def kernel(ctx: Any, input_dataset: Any, optimizations: Any) -> Any:
        return _optimized(input_dataset, frozenset(np.asarray(optimizations, dtype=object).tolist()))

    grad = NOT_DIFFERENTIABLE


@op(
    "ModelDataset",
    "input_dataset: variant",
    "handle: variant",
    ["algorithm: int = 0", "cpu_budget: int = 0", *_OUTPUTS],
)
class model_dataset:
    """The same elements; how many are made ahead is not tuned while they are."""

    shape = variant()

    def kernel(ctx: Any, input_dataset: Any) -> Any:
        return input_dataset

    grad = NOT_DIFFERENTIABLE


@op(
    "MaxIntraOpParallelismDataset",
    "input_dataset: variant, max_intra_op_parallelism: int64",
    "handle: variant",
    _OUTPUTS,
)
class max_intra_op_parallelism_dataset:
    """The same elements: operations in functions of datasets use one thread anyway."""

    shape = variant(0)

    def kernel(ctx: Any, input_dataset: Any, max_intra_op_parallelism: Any) -> Any:
        if max_intra_op_parallelism < 0:
            raise errors.InvalidArgumentError.of("`max_intra_op_parallelism` must be greater than 0.")
        return input_dataset

    grad = NOT_DIFFERENTIABLE


@op("PrivateThreadPoolDataset", "input_dataset: variant, num_threads: int64", "handle: variant", _OUTPUTS)
class private_thread_pool_dataset:
    """The same elements: iterators have threads of their own anyway, no more than there are cores."""

    shape = variant(0)

    def kernel(ctx: Any, input_dataset: Any, num_threads: Any) -> Any:
        if num_threads < 0:
            raise errors.InvalidArgumentError.of("`num_threads` must be greater than 0.")
        return input_dataset

    grad = NOT_DIFFERENTIABLE


class _Ignoring(Dataset):
    name = "IgnoreErrors"

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _IgnoringIterator(self.input.iterate(run, f"{prefix}::{self.name}"))


class _IgnoringIterator:
    def __init__(self, source: Iterator[Element]) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        while True:
            try:
                return next(self._source)
            except errors.CancelledError:
                raise
            except errors.OpError:
                continue


@op("IgnoreErrorsDataset", "input_dataset: variant", "handle: variant", _OUTPUTS)
class ignore_errors_dataset:
    """The elements that can be made."""

    shape = variant()

    def kernel(ctx: Any, input_dataset: Any) -> Any:
        return _Ignoring(input_dataset.types, input_dataset.shapes, [input_dataset])

    grad = NOT_DIFFERENTIABLE
