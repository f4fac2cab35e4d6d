"""Datasets of batches, and of what batches are made of.

Source: tensorflow/core/ops/{dataset_ops,experimental_dataset_ops}.cc, tensorflow/core/kernels/data/{batch,
padded_batch}_dataset_op.cc, tensorflow/core/kernels/data/experimental/unbatch_dataset_op.cc (1.15).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops.datasets.base import Dataset, Element, Iteration, shape_of, stacked, types_and_shapes, variant

_OUTPUTS = ["output_types: list(type) >= 1", "output_shapes: list(shape) >= 1"]
_PADDED = [
    "Toutput_types: list(type) >= 1",
    "output_shapes: list(shape) >= 1",
    "N: int >= 1",
]


class Batched(Dataset):
    """Batches of ``size`` elements."""

    name = "Batch"

    def __init__(self, input: Dataset, size: int, drop_remainder: bool) -> None:
        first = size if drop_remainder else None
        super().__init__(input.types, [None if s is None else (first, *s) for s in input.shapes], [input])
        self.size, self.drop_remainder = size, drop_remainder

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _BatchedIterator(self, self.input.iterate(run, f"{prefix}::{self.name}"))

    def batch(self, elements: Sequence[Element]) -> Element:
        """The batch of some elements.

        Raises:
          InvalidArgumentError: they have different shapes.
        """
        columns = []
        for number, (column, dtype) in enumerate(zip(zip(*elements, strict=True), self.types, strict=True)):
            # Scalars by what is known beforehand need no look at each of them.
            known = self.shapes[number]
            same = column if known is not None and len(known) == 1 else self.same_shapes(column, number)
            columns.append(stacked(same, dtype))
        return tuple(columns)

    def same_shapes(self, column: Sequence[Any], number: int) -> Sequence[Any]:
        """The components of one number if they have one shape; InvalidArgumentError otherwise."""
        first = shape_of(column[0])
        for i, value in enumerate(column):
            if shape_of(value) != first:
                raise errors.InvalidArgumentError.of(
                    f"Cannot batch tensors with different shapes in component {number}. First element had shape "
                    f"{shapes.fmt(first)} and element {i} had shape {shapes.fmt(shape_of(value))}."
                )
        return column


class _BatchedIterator:
    def __init__(self, dataset: Batched, source: Iterator[Element]) -> None:
        self._dataset, self._source = dataset, source

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        dataset = self._dataset
        elements = list(itertools.islice(self._source, dataset.size))
        if not elements or (dataset.drop_remainder and len(elements) < dataset.size):
            self._source = iter(())
            raise StopIteration
        return dataset.batch(elements)


def checked_size(batch_size: Any) -> int:
    """A batch size; InvalidArgumentError if it is not positive."""
    if batch_size <= 0:
        raise errors.InvalidArgumentError.of("Batch size must be greater than zero.")
    return int(batch_size)


@op("BatchDataset", "input_dataset: variant, batch_size: int64", "handle: variant", _OUTPUTS)
class batch_dataset:
    """Batches of ``batch_size`` elements; the last one may be smaller."""

    shape = variant(0)

    def kernel(ctx: Any, input_dataset: Any, batch_size: Any) -> Any:
        return Batched(input_dataset, checked_size(batch_size), False)

    grad = NOT_DIFFERENTIABLE


@op(
    "BatchDatasetV2",
    "input_dataset: variant, batch_size: int64, drop_remainder: bool",
    "handle: variant",
    ["parallel_copy: bool = false", *_OUTPUTS],
)
class batch_dataset_v2:
    """Batches of ``batch_size`` elements; a smaller last one comes, too, unless ``drop_remainder``."""

    shape = variant(0, 0)

    def kernel(ctx: Any, input_dataset: Any, batch_size: Any, drop_remainder: Any) -> Any:
        return Batched(input_dataset, checked_size(batch_size), bool(drop_remainder))

    grad = NOT_DIFFERENTIABLE


# -- padded -------------------------------------------------------------------------------------------


class _PaddedBatched(Batched):
    name = "PaddedBatch"

    def __init__(
        self, input: Dataset, size: int, drop_remainder: bool, padded_shapes: Sequence[Any], padding: Any
    ) -> None:
        super().__init__(input, size, drop_remainder)
        first = size if drop_remainder else None
        self.shapes = tuple((first, *(None if d < 0 else int(d) for d in s)) for s in padded_shapes)
        self.padded_shapes, self.padding = padded_shapes, padding

    def batch(self, elements: Sequence[Element]) -> Element:
        columns = zip(*elements, strict=True)
        return tuple(self._padded(number, column) for number, column in enumerate(columns))

    def _padded(self, number: int, column: Sequence[Any]) -> Any:
        wanted = self.padded_shapes[number]
        shape = [int(d) for d in wanted]
        for value in column:
            found = shape_of(value)
            if len(found) != len(shape):
                raise errors.InvalidArgumentError.of(
                    "All elements in a batch must have the same rank as the padded shape for component"
                    f"{number}: expected rank {len(shape)} but got element with rank {len(found)}"
                )
            for i, size in enumerate(found):
                if wanted[i] < 0:
                    shape[i] = max(shape[i], size)
                elif size > shape[i]:
                    raise errors.DataLossError.of(
                        "Attempted to pad to a smaller size than the input element."
                    )
        out = np.empty((len(column), *(max(d, 0) for d in shape)), self.types[number].np)
        out[...] = self.padding[number]
        for i, value in enumerate(column):
            out[i][tuple(slice(d) for d in shape_of(value))] = value
        return out


def _padded_batch(
    ctx: Any, input: Dataset, size: Any, padded_shapes: Any, padding: Any, drop_remainder: bool
) -> Dataset:
    count = len(input.types)
    size = checked_size(size)
    for what, given in (("shapes", padded_shapes), ("values", padding)):
        if len(given) != count:
            raise errors.InvalidArgumentError.of(
                f"Number of padding {what} ({len(given)}) must match the number of components in the input "
                f"dataset's elements ({count})"
            )
    if any(s.ndim != 1 for s in padded_shapes):
        raise errors.InvalidArgumentError.of("All padded shapes must be vectors")
    for i, (value, dtype, found) in enumerate(
        zip(padding, input.types, ctx.attrs["Toutput_types"], strict=True)
    ):
        if shape_of(value):
            raise errors.InvalidArgumentError.of("All padding values must be scalars")
        if found is not dtype:
            raise errors.InvalidArgumentError.of(
                f"Mismatched type between padding value {i} and input dataset's component {i}: "
                f"{found.name} vs. {dtype.name}"
            )
    return _PaddedBatched(input, size, drop_remainder, padded_shapes, padding)


@op(
    "PaddedBatchDataset",
    [
        "input_dataset: variant",
        "batch_size: int64",
        "padded_shapes: N * int64",
        "padding_values: Toutput_types",
    ],
    "handle: variant",
    _PADDED,
)
class padded_batch_dataset:
    """Batches of elements that are padded to one shape, the greatest where that has -1."""

    shape = variant(0)

    def kernel(ctx: Any, input_dataset: Any, batch_size: Any, padded_shapes: Any, padding_values: Any) -> Any:
        return _padded_batch(ctx, input_dataset, batch_size, padded_shapes, padding_values, False)

    grad = NOT_DIFFERENTIABLE


@op(
    "PaddedBatchDatasetV2",
    [
        "input_dataset: variant",
        "batch_size: int64",
        "padded_shapes: N * int64",
        "padding_values: Toutput_types",
        "drop_remainder: bool",
    ],
    "handle: variant",
    ["parallel_copy: bool = false", *_PADDED],
)
class padded_batch_dataset_v2:
    """`PaddedBatchDataset`, whose smaller last batch comes unless ``drop_remainder``."""

    shape = variant(0)

    def kernel(
        ctx: Any,
        input_dataset: Any,
        batch_size: Any,
        padded_shapes: Any,
        padding_values: Any,
        drop_remainder: Any,
    ) -> Any:
        return _padded_batch(
            ctx, input_dataset, batch_size, padded_shapes, padding_values, bool(drop_remainder)
        )

    grad = NOT_DIFFERENTIABLE


# -- taken apart --------------------------------------------------------------------------------------


class _Unbatched(Dataset):
    name = "Unbatch"

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _UnbatchedIterator(self.input.iterate(run, f"{prefix}::{self.name}"))


class _UnbatchedIterator:
    def __init__(self, source: Iterator[Element]) -> None:
        self._source = source
        self._rows: Iterator[Element] = iter(())

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        while True:
            for row in self._rows:
                return row
            self._rows = self._of(next(self._source))

    @staticmethod
    def _of(batch: Element) -> Iterator[Element]:
        sizes = []
        for i, component in enumerate(batch):
            if not shape_of(component):
                raise errors.InvalidArgumentError.of(
                    "Input element must have a non-scalar value in each component."
                )
            sizes.append(len(component))
            if sizes[i] != sizes[0]:
                raise errors.InvalidArgumentError.of(
                    "Input element must have the same batch size in each component. Component 0 had size "
                    f"{sizes[0]} but component {i} had size, {sizes[i]}."
                )
        return zip(*batch, strict=True)


@op("UnbatchDataset", "input_dataset: variant", "handle: variant", _OUTPUTS)
class unbatch_dataset:
    """The rows of batches."""

    shape = variant()

    def kernel(ctx: Any, input_dataset: Any) -> Any:
        return _Unbatched(*types_and_shapes(ctx), [input_dataset])

    grad = NOT_DIFFERENTIABLE
