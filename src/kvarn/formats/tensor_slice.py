"""A rectangular part of a tensor, and the strings that name one.

    4,3:0,4      rows 4 to 6, columns 0 to 3: `start,length` per dimension, joined by `:`
    -            the whole dimension
    10 4 4,3:0,4 shape and slice, as ops take them; empty for the whole tensor

Source: tensorflow/core/framework/tensor_slice.cc, tensorflow/core/util/tensor_slice_util.cc,
`ParseShapeAndSlice` in tensorflow/core/util/saved_tensor_slice_util.cc.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvarn.errors import InternalError, InvalidArgumentError

# How a whole dimension is held: start 0, this length.
FULL_EXTENT = -1

_NUMBER = re.compile(r"[+-]?[0-9]+\Z")


@dataclass(frozen=True, slots=True)
class TensorSlice:
    """One ``(start, length)`` per dimension; length -1 is the whole dimension (its start is 0)."""

    extents: tuple[tuple[int, int], ...]

    @classmethod
    def full(cls, rank: int) -> TensorSlice:
        """Everything of a tensor with ``rank`` dimensions."""
        return cls(((0, FULL_EXTENT),) * rank)

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> TensorSlice:
        """Everything, spelled with numbers."""
        return cls(tuple((0, size) for size in shape))

    @classmethod
    def parse(cls, text: str) -> TensorSlice:
        """The slice that ``text`` names, such as ``4,3:-``.

        Raises:
          InvalidArgumentError: with TensorFlow's text.
        """
        if not text:
            return cls(())
        extents: list[tuple[int, int]] = []
        for item in text.split(":"):
            if item == "-":
                extents.append((0, FULL_EXTENT))
                continue
            numbers = item.split(",")
            if len(numbers) != 2 or not all(map(_NUMBER.match, numbers)):
                raise InvalidArgumentError.of(
                    f"Expected a pair of numbers or '-' but got '{item}': string = {text}",
                    hint="A slice is `start,length` or `-` per dimension, joined by `:`.",
                )
            start, length = map(int, numbers)
            if start < 0 or length <= 0:
                raise InvalidArgumentError.of(
                    f"Expected non-negative start and positive length but got start = {start}, "
                    f"length = {length}: string = {text}",
                    hint="Starts count from 0; a slice has at least one element per dimension.",
                )
            extents.append((start, length))
        return cls(tuple(extents))

    def __str__(self) -> str:
        return ":".join("-" if n == FULL_EXTENT else f"{start},{n}" for start, n in self.extents)

    @property
    def rank(self) -> int:
        return len(self.extents)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The shape of the part, if it has numbers."""
        return tuple(length for _, length in self.extents)

    @property
    def num_elements(self) -> int:
        """Elements in the part, if it has numbers."""
        return math.prod(self.lengths)

    def is_full(self) -> bool:
        """True if every dimension is whole by its spelling."""
        return all(length == FULL_EXTENT for _, length in self.extents)

    def resolve(self, shape: Sequence[int]) -> TensorSlice:
        """The slice with numbers in every dimension of a tensor of ``shape``.

        Raises:
          InternalError: another rank, or a slice that reaches past the tensor.
        """
        if len(shape) != self.rank:
            raise InternalError.of(
                f"Mismatching ranks: shape = {print_shape(shape)}, slice = {self}",
                hint="A slice names every dimension of the full tensor.",
            )
        extents: list[tuple[int, int]] = []
        for dimension, ((start, length), size) in enumerate(zip(self.extents, shape, strict=True)):
            if length == FULL_EXTENT:
                extents.append((0, size))
            elif start + length > size:
                raise InternalError.of(
                    f"Extent in dimension {dimension} out of bounds: "
                    f"shape = {print_shape(shape)}, slice = {self}",
                    hint="The slice reaches past the full tensor.",
                )
            else:
                extents.append((start, length))
        return TensorSlice(tuple(extents))

    def shape_within(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of this part of a tensor of ``shape``; raises as `resolve`."""
        return self.resolve(shape).lengths

    def intersect(self, other: TensorSlice) -> TensorSlice | None:
        """What both have, or None.  Whole dimensions take the other's extent."""
        extents: list[tuple[int, int]] = []
        for (a, a_length), (b, b_length) in zip(self.extents, other.extents, strict=True):
            if a_length == FULL_EXTENT:
                extents.append((b, b_length))
            elif b_length == FULL_EXTENT:
                extents.append((a, a_length))
            else:
                start, stop = max(a, b), min(a + a_length, b + b_length)
                if start >= stop:
                    return None
                extents.append((start, stop - start))
        return TensorSlice(tuple(extents))

    def relative_to(self, origin: TensorSlice) -> tuple[slice, ...]:
        """NumPy's index of this part inside an array that holds ``origin``; both have numbers."""
        return tuple(
            slice(start - base, start - base + length)
            for (start, length), (base, _) in zip(self.extents, origin.extents, strict=True)
        )


def first_overlap(slices: Sequence[TensorSlice]) -> tuple[int, int] | None:
    """The positions of two slices (all with numbers, of one rank) that have an element in common, or None.

    Sorted along the dimension in which the fewest pairs meet, only those are compared.
    """
    if len(slices) < 2:
        return None
    extents = np.array([piece.extents for piece in slices], np.int64).reshape(len(slices), -1, 2)
    starts, stops = extents[:, :, 0], extents.sum(axis=2)
    occupied = np.flatnonzero((starts < stops).all(axis=1))  # an empty slice meets none
    starts, stops = starts[occupied], stops[occupied]
    if not starts.shape[1]:
        return (0, 1)  # of a scalar
    fewest: tuple[int, Any, Any] | None = None
    for dimension in range(starts.shape[1]):
        order = np.argsort(starts[:, dimension], kind="stable")
        until = np.searchsorted(starts[order, dimension], stops[order, dimension])
        pairs = int((until - np.arange(len(order))).sum())
        if fewest is None or pairs < fewest[0]:
            fewest = pairs, order, until
    assert fewest is not None
    _, order, until = fewest
    starts, stops = starts[order], stops[order]
    for at, end in enumerate(until.tolist()):
        if end <= at + 1:
            continue
        met = (starts[at + 1 : end] < stops[at]) & (starts[at] < stops[at + 1 : end])
        hits = np.flatnonzero(met.all(axis=1))
        if len(hits):
            one, other = int(occupied[order[at]]), int(occupied[order[at + 1 + hits[0]]])
            return min(one, other), max(one, other)
    return None


def parse_shape_and_slice(text: str) -> tuple[tuple[int, ...], TensorSlice, tuple[int, ...]]:
    """Full shape, slice, and the shape of the slice, from a string such as ``10 4 4,3:0,4``.

    Raises:
      InvalidArgumentError, InternalError: with TensorFlow's text.
    """
    hint = "Write the full shape, then the slice: `10 4 4,3:0,4`."
    *dimensions, part = text.split(" ")
    if not dimensions:
        raise InvalidArgumentError.of(
            f"Need least two elements in shape_and_slice specification: {text}", hint=hint
        )
    tensor_slice = TensorSlice.parse(part)
    if not all(map(_NUMBER.match, dimensions)):
        raise InvalidArgumentError.of(f"Non numerical dimension in shape_and_slice: {text}", hint=hint)
    shape = list(map(int, dimensions))
    if min(shape) < 0:
        raise InvalidArgumentError.of(f"Negative dimension in shape_and_slice: {text}", hint=hint)
    return tuple(shape), tensor_slice, tensor_slice.shape_within(shape)


def print_shape(shape: Sequence[int]) -> str:
    """A shape as TensorFlow's messages show it: ``[10,4]``."""
    return "[" + ",".join(map(str, shape)) + "]"
