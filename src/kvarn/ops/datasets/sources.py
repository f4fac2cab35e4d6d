"""Datasets of tensors, of numbers, and of what a function gives.

Source: tensorflow/core/ops/dataset_ops.cc, tensorflow/core/kernels/data/{tensor,tensor_slice,sparse_tensor_slice,
range,generator}_dataset_op.cc, tensorflow/core/kernels/data/experimental/random_dataset_op.cc (1.15).
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops._philox import Philox
from kvarn.ops.datasets.base import (
    CapturedFunction,
    Dataset,
    Element,
    Iteration,
    captured,
    shape_of,
    types_and_shapes,
    variant,
)
from kvarn.ops.datasets.randomness import Samples

_COMPONENTS = ["Toutput_types: list(type) >= 1", "output_shapes: list(shape) >= 1"]
_OUTPUTS = ["output_types: list(type) >= 1", "output_shapes: list(shape) >= 1"]


class _Repeatable(Dataset):
    """Elements that are there already."""

    name = "Tensor"

    def __init__(self, types: Any, shapes: Any, elements: Sequence[Element]) -> None:
        super().__init__(types, shapes)
        self.elements = elements

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return iter(self.elements)


class ElementsDataset(_Repeatable):
    """The elements of one window."""

    name = "Window"


@op("TensorDataset", "components: Toutput_types", "handle: variant", _COMPONENTS, stateful=True)
class tensor_dataset:
    """One element of these components."""

    shape = shapes.scalar

    def kernel(ctx: Any, components: Any) -> Any:
        return _Repeatable(ctx.attrs["Toutput_types"], map(shape_of, components), [tuple(components)])

    grad = NOT_DIFFERENTIABLE


class _Slices(Dataset):
    name = "TensorSlice"

    def __init__(self, types: Any, components: Sequence[Any]) -> None:
        super().__init__(types, [shape_of(c)[1:] for c in components])
        self.components = components

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return zip(*self.components, strict=True)


@op("TensorSliceDataset", "components: Toutput_types", "handle: variant", _COMPONENTS, stateful=True)
class tensor_slice_dataset:
    """The slices of the components along their first dimension."""

    def shape(c: Any, components: Any) -> Any:
        batch: Any = None
        for component in components:
            if component is not None:
                shapes.with_rank_at_least(component, 1)
                batch = shapes.merge_dim(batch, component[0])
        return ()

    def kernel(ctx: Any, components: Any) -> Any:
        if any(not shape_of(c) for c in components):
            raise errors.InvalidArgumentError.of("All components must be at least 1-dimensional")
        if len({len(c) for c in components}) != 1:
            raise errors.InvalidArgumentError.of(
                "All components must have the same size in the 0th dimension"
            )
        return _Slices(ctx.attrs["Toutput_types"], components)

    grad = NOT_DIFFERENTIABLE


class _SparseSlices(Dataset):
    name = "SparseTensorSlice"

    def __init__(self, dtype: Any, indices: Any, values: Any, dense_shape: Any) -> None:
        rank = len(dense_shape) - 1
        super().__init__([dtypes.int64, dtype, dtypes.int64], [(None, rank), (None,), (rank,)])
        self.indices, self.values, self.dense_shape = indices, values, dense_shape

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        starts = np.searchsorted(self.indices[:, 0], np.arange(int(self.dense_shape[0]) + 1))
        for start, end in itertools.pairwise(starts):
            yield self.indices[start:end, 1:], self.values[start:end], self.dense_shape[1:]


@op(
    "SparseTensorSliceDataset",
    "indices: int64, values: Tvalues, dense_shape: int64",
    "handle: variant",
    "Tvalues: type",
    stateful=True,
)
class sparse_tensor_slice_dataset:
    """The slices of a sparse tensor along its first dimension: indices, values and shape of each."""

    shape = shapes.scalar

    def kernel(ctx: Any, indices: Any, values: Any, dense_shape: Any) -> Any:
        if indices.ndim != 2 or values.ndim != 1 or dense_shape.ndim != 1:
            raise errors.InvalidArgumentError.of(
                "Input indices must be a matrix, values and shape vectors. Got: "
                f"{', '.join(shapes.fmt(x.shape) for x in (indices, values, dense_shape))}"
            )
        if (np.diff(indices[:, 0]) < 0).any():
            raise errors.UnimplementedError.of(
                "The SparseTensor must be ordered in the batch dimension; handling arbitrarily ordered input is "
                "not currently supported."
            )
        return _SparseSlices(ctx.attrs["Tvalues"], indices, values, dense_shape)

    grad = NOT_DIFFERENTIABLE


class _Range(Dataset):
    name = "Range"

    def __init__(self, numbers: range) -> None:
        super().__init__([dtypes.int64], [()])
        self.numbers = numbers

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return zip(map(np.int64, self.numbers), strict=True)


@op(
    "RangeDataset",
    "start: int64, stop: int64, step: int64",
    "handle: variant",
    _OUTPUTS,
    stateful=True,
)
class range_dataset:
    """The numbers from ``start`` on, each by ``step`` more, before ``stop``."""

    def shape(c: Any, start: Any, stop: Any, step: Any) -> Any:
        for given in (start, stop, step):
            shapes.with_rank(given, 0)
        return ()

    def kernel(ctx: Any, start: Any, stop: Any, step: Any) -> Any:
        if step == 0:
            raise errors.InvalidArgumentError.of("step must be a non-zero integer.")
        return _Range(range(int(start), int(stop), int(step)))

    grad = NOT_DIFFERENTIABLE


class _Generated(Dataset):
    name = "Generator"

    def __init__(
        self, types: Any, shapes: Any, init: CapturedFunction, next_: CapturedFunction, end: CapturedFunction
    ) -> None:
        super().__init__(types, shapes)
        self.init, self.next, self.end = init, next_, end

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _GeneratedIterator(self, run)


class _GeneratedIterator:
    """Calls the first function, then the second until it says OutOfRange, then the third."""

    def __init__(self, dataset: _Generated, run: Iteration) -> None:
        self._init, self._next, self._end = (
            run.function(f) for f in (dataset.init, dataset.next, dataset.end)
        )
        self._state: Element | None = None
        self._ended = False

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        if self._ended:
            raise StopIteration
        if self._state is None:
            self._state = self._init(())
        try:
            return self._next(self._state)
        except errors.OutOfRangeError:
            self._finish()
            raise StopIteration from None

    def _finish(self) -> None:
        self._ended = True
        if self._state is not None:
            self._end(self._state)

    def __del__(self) -> None:
        if not getattr(self, "_ended", True) and not sys.is_finalizing():
            self._finish()


@op(
    "GeneratorDataset",
    [
        "init_func_other_args: Tinit_func_args",
        "next_func_other_args: Tnext_func_args",
        "finalize_func_other_args: Tfinalize_func_args",
    ],
    "handle: variant",
    [
        "init_func: func",
        "next_func: func",
        "finalize_func: func",
        "Tinit_func_args: list(type) >= 0",
        "Tnext_func_args: list(type) >= 0",
        "Tfinalize_func_args: list(type) >= 0",
        *_OUTPUTS,
    ],
    stateful=True,
)
class generator_dataset:
    """What a function gives for the state that another one made, until it raises OutOfRangeError."""

    shape = shapes.scalar

    def kernel(
        ctx: Any, init_func_other_args: Any, next_func_other_args: Any, finalize_func_other_args: Any
    ) -> Any:
        return _Generated(
            *types_and_shapes(ctx),
            captured(ctx, "init_func", init_func_other_args),
            captured(ctx, "next_func", next_func_other_args),
            captured(ctx, "finalize_func", finalize_func_other_args),
        )

    grad = NOT_DIFFERENTIABLE


class _Random(Dataset):
    name = "Random"

    def __init__(self, seed: int, seed2: int) -> None:
        super().__init__([dtypes.int64], [()])
        self.seed, self.seed2 = seed, seed2

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        samples = Samples(Philox(self.seed, self.seed2))
        while True:
            yield (np.int64(samples.next()),)


@op("RandomDataset", "seed: int64, seed2: int64", "handle: variant", _OUTPUTS, stateful=True)
class random_dataset:
    """Random numbers of 32 bits, without end."""

    shape = variant(0)

    def kernel(ctx: Any, seed: Any, seed2: Any) -> Any:
        if seed == 0 and seed2 == 0:
            seed, seed2 = (int.from_bytes(os.urandom(8), "little") for _ in range(2))
        return _Random(int(seed), int(seed2))

    grad = NOT_DIFFERENTIABLE
