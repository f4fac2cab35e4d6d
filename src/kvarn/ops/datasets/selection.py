"""A dataset that chooses among others.

Source: tensorflow/core/ops/experimental_dataset_ops.cc, tensorflow/core/kernels/data/experimental/
directed_interleave_dataset_op.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops.datasets.base import Dataset, Element, Iteration, types_and_shapes


class _Directed(Dataset):
    name = "DirectedInterleave"

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        prefix = f"{prefix}::{self.name}"
        selector, *data = [d.iterate(run, f"{prefix}[{i}]") for i, d in enumerate(self.inputs)]
        return _DirectedIterator(selector, data)


class _DirectedIterator:
    """Choices of what has ended are passed over; the end is where all have ended, or there is no choice more."""

    def __init__(self, selector: Iterator[Element], data: list[Iterator[Element]]) -> None:
        self._selector = selector
        self._data: list[Iterator[Element] | None] = list(data)

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        while any(source is not None for source in self._data):
            choice = int(next(self._selector)[0])
            if not 0 <= choice < len(self._data):
                raise errors.InvalidArgumentError.of(
                    f"Selector index out of range: {choice} >= {len(self._data)}"
                )
            source = self._data[choice]
            if source is not None:
                for element in source:
                    return element
                self._data[choice] = None
        raise StopIteration


@op(
    "DirectedInterleaveDataset",
    "selector_input_dataset: variant, data_input_datasets: N * variant",
    "handle: variant",
    ["output_types: list(type) >= 1", "output_shapes: list(shape) >= 1", "N: int >= 1"],
)
class directed_interleave_dataset:
    """Of several datasets the next element of the one whose number another dataset gives."""

    shape = shapes.scalar

    def kernel(ctx: Any, selector_input_dataset: Any, data_input_datasets: Any) -> Any:
        if selector_input_dataset.types != (dtypes.int64,) or selector_input_dataset.shapes not in (
            ((),),
            (None,),
        ):
            raise errors.InvalidArgumentError.of(
                "The selector input must be a dataset of scalar int64 elements."
            )
        if len({d.types for d in data_input_datasets}) > 1:
            raise errors.InvalidArgumentError.of("All inputs must have the same output_dtypes.")
        return _Directed(*types_and_shapes(ctx), [selector_input_dataset, *data_input_datasets])

    grad = NOT_DIFFERENTIABLE
