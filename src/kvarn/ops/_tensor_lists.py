"""Lists of tensors as values: what the operations of `kvarn.ops.list_ops` work on.

Source: tensorflow/core/kernels/list_kernels.{h,cc} (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.dtypes import DType
from kvarn.graph.shape_inference import Shape, fmt, merge
from kvarn.ops._format import type_text


class TensorList:
    """Tensors of one element type; never changes.

    A list that something was pushed to shares all else with the list before, and popping gives that list back: a
    loop may push and pop as often as it likes.

    Args:
      element_dtype: element type of the tensors.
      element_shape: what is known of their shape.
      items: the tensors; None for what was not set.
      max_num_elements: how many it can have, -1 for any number.

    Attributes:
      shape: that of the value itself: a list is a scalar.
    """

    __slots__ = ("_before", "_items", "_last", "element_dtype", "element_shape", "length", "max_num_elements")
    shape: tuple[int, ...] = ()
    ndim = 0
    size = 1

    def __init__(
        self, element_dtype: DType, element_shape: Shape, items: list[Any], max_num_elements: int = -1
    ) -> None:
        self.element_dtype = element_dtype
        self.element_shape = element_shape
        self.max_num_elements = max_num_elements
        self.length = len(items)
        self._items: list[Any] | None = items
        self._before: TensorList | None = None
        self._last: Any = None

    def items(self) -> list[Any]:
        """Its tensors; do not change the list."""
        if self._items is None:
            pushed = []
            node: TensorList = self
            while node._items is None:
                pushed.append(node._last)
                assert node._before is not None
                node = node._before
            self._items = [*node._items, *reversed(pushed)]
        return self._items

    def with_items(self, items: list[Any]) -> TensorList:
        """A list of the same kind with other tensors."""
        return TensorList(self.element_dtype, self.element_shape, items, self.max_num_elements)

    def pushed(self, item: Any) -> TensorList:
        """The list with ``item`` at its end."""
        new = self.with_items([])
        new.length = self.length + 1
        new._items, new._before, new._last = None, self, item
        return new

    def popped(self) -> tuple[TensorList, Any]:
        """The list without its last tensor, and that tensor."""
        if self._before is not None:
            return self._before, self._last
        items = self.items()
        return self.with_items(items[:-1]), items[-1]

    def zeros_like(self) -> TensorList:
        """A list with zeros in the place of tensors."""
        zeros = [None if x is None else zeros_of(x, self.element_dtype) for x in self.items()]
        return TensorList(self.element_dtype, self.element_shape, zeros)

    def plus(self, other: Any) -> TensorList:
        """The list of the sums.

        Raises:
          InvalidArgumentError: the lists differ in length, element type or shape.
        """
        if not isinstance(other, TensorList):
            raise errors.InvalidArgumentError.of("A list of tensors can only be added to another one.")
        if self.element_dtype is not other.element_dtype:
            raise errors.InvalidArgumentError.of(
                f"Trying to add two lists of tensors of different dtypes. One is {type_text(self.element_dtype)} and "
                f"the other is {type_text(other.element_dtype)}"
            )
        try:
            shape = merge(self.element_shape, other.element_shape)
        except ValueError:
            raise errors.InvalidArgumentError.of(
                "Trying to add two lists of tensors with incompatible element shapes. One is "
                f"{fmt(self.element_shape)} and the other is {fmt(other.element_shape)}"
            ) from None
        if self.length != other.length:
            raise errors.InvalidArgumentError.of(
                f"Trying to add two lists of tensors with different lengths. One is {self.length} and the other is "
                f"{other.length}"
            )
        sums = [sum_of(x, y) for x, y in zip(self.items(), other.items(), strict=True)]
        return TensorList(self.element_dtype, shape, sums)


def zeros_of(value: Any, dtype: DType) -> Any:
    """Zeros like a tensor, which may be a variant."""
    if dtype is dtypes.variant:
        return value.zeros_like()
    return np.full(value.shape, b"", object) if dtype is dtypes.string else np.zeros(value.shape, dtype.np)


def sum_of(x: Any, y: Any) -> Any:
    """The sum of two tensors, which may be variants or not set."""
    if x is None or y is None:
        return y if x is None else x
    return x.plus(y) if hasattr(x, "plus") else x + y


def zeros(shape: Sequence[int], dtype: DType) -> Any:
    """Zeros in the place of a tensor that was not set."""
    if dtype is dtypes.variant:
        raise errors.InvalidArgumentError.of(
            "A list of variants has no value for an element that was not set."
        )
    return np.full(tuple(shape), b"", object) if dtype is dtypes.string else np.zeros(tuple(shape), dtype.np)


def stacked(items: Sequence[Any], shape: Sequence[int], dtype: DType) -> Any:
    """Tensors of one shape as the rows of one; zeros for those not set."""
    if dtype is dtypes.variant:
        rows = np.empty(len(items), object)
        rows[:] = items
        return rows
    out = zeros((len(items), *shape), dtype)
    for i, x in enumerate(items):
        if x is not None:
            out[i] = x
    return out


def rows_of(tensor: Any) -> list[Any]:
    """The rows of a tensor, each for itself."""
    return [np.array(row) if isinstance(row, np.ndarray) else row for row in tensor]


def given_shape(value: Any) -> Shape:
    """The shape that a shape vector says; -1 alone says nothing.

    Raises:
      InvalidArgumentError: it is another scalar.
    """
    value = np.asarray(value)
    if value.ndim == 0:
        if value == -1:
            return None
        raise errors.InvalidArgumentError.of(
            "The only valid scalar shape tensor is the fully unknown shape specified as -1."
        )
    return tuple(None if d < 0 else int(d) for d in value)


def merged(a: Shape, b: Shape) -> Shape:
    """What is known of a shape described by both; InvalidArgumentError if they contradict each other."""
    try:
        return merge(a, b)
    except ValueError:
        ranks = len(a or ()), len(b or ())
        what, pair = ("shapes", (fmt(a), fmt(b))) if ranks[0] == ranks[1] else ("ranks", ranks)
        raise errors.InvalidArgumentError.of(
            f"PartialTensorShape: Incompatible {what} during merge: {pair[0]} vs. {pair[1]}"
        ) from None


def is_compatible(known: Shape, shape: Shape) -> bool:
    """Whether a tensor of ``shape`` may be one of ``known``."""
    try:
        merge(known, shape)
    except ValueError:
        return False
    return True


def fully_defined(shape: Shape) -> bool:
    """Whether all of a shape is known."""
    return shape is not None and None not in shape
