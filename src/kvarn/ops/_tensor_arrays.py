"""What a run keeps of a TensorArray.

Source: tensorflow/core/kernels/tensor_array.{h,cc} (1.15).
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.dtypes import DType, string
from kvarn.graph.shape_inference import Shape, fmt, merge
from kvarn.ops._format import type_text

_numbers = itertools.count()


class _Element:
    """One place of an array.

    Attributes:
      value: None before it is written, when it is all zeros, and when it has been cleared.
      shape: of the value, once it is written.
    """

    __slots__ = ("cleared", "read", "shape", "value", "written")

    def __init__(self) -> None:
        self.value: Any = None
        self.shape: tuple[int, ...] = ()
        self.written = self.read = self.cleared = False


class TensorArray:
    """Values by number; one array for each run of the node that makes it.

    Args:
      name: for messages.
      identical: all values have one shape, that of the first.
      dynamic_size: it grows when a value is written behind its end.
      clear_after_read: values are dropped when they have been read.
      is_grad: it holds gradients: values of one number are summed, those never written are zeros.

    Attributes:
      split_into: how many values the last split of a tensor made; None if there was none.
    """

    def __init__(
        self,
        name: str,
        dtype: DType,
        size: int,
        element_shape: Shape,
        identical: bool,
        dynamic_size: bool = False,
        clear_after_read: bool = True,
        is_grad: bool = False,
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.element_shape = element_shape
        self.identical = identical
        self.dynamic_size = dynamic_size
        self.clear_after_read = clear_after_read
        self.is_grad = is_grad
        self.closed = False
        self.split_into: int | None = None
        self._summed = False
        self._elements = [_Element() for _ in range(size)]
        self._gradients: dict[str, TensorArray] = {}

    @staticmethod
    def unique_name(name: str) -> str:
        """A name that no other array has."""
        return f"{name}_{next(_numbers)}"

    def _problem(self, what: str) -> errors.OpError:
        return errors.InvalidArgumentError.of(f"TensorArray {self.name}: {what}")

    def size(self) -> int:
        """How many values there are."""
        self._check_open()
        return len(self._elements)

    def size_to_concatenate(self) -> int:
        """How many values make the whole: of gradients those of what was split, whatever was written behind it."""
        size = self.size()
        return size if self.split_into is None or not self.is_grad else self.split_into

    def close(self) -> None:
        """Drops all values; nothing may be done with it any more."""
        self._elements.clear()
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise errors.InvalidArgumentError.of(f"TensorArray {self.name} has already been closed.")

    def gradient(self, source: str, prepend: tuple[int, ...] = ()) -> TensorArray:
        """The array of its gradients for one call of `tf.gradients`, which ``source`` names.

        Args:
          prepend: dimensions that gradients have before those of the values.
        """
        self._check_open()
        self.dynamic_size = False
        if self._summed:
            raise errors.InvalidArgumentError.of(
                f"Unable to create a gradients TensorArray for {self.name}.  Perhaps you used the "
                "multiple_writes_aggregate flag on a previous write?  Gradient calculation is impossible when "
                "multiple writes are performed to the same index."
            )
        found = self._gradients.get(source)
        if found is None:
            shape = None if self.element_shape is None else (*prepend, *self.element_shape)
            found = self._gradients[source] = TensorArray(
                f"{self.name}@{source}", self.dtype, len(self._elements), shape, self.identical, is_grad=True
            )
            found.split_into = self.split_into
            for own, its in zip(self._elements, found._elements, strict=True):
                if own.written:
                    its.shape, its.written = (*prepend, *own.shape), True
        return found

    def write(self, index: int, value: Any, dtype: DType) -> None:
        """Puts a value in, or adds it to the one that is there if this holds gradients."""
        self._check_open()
        if index < 0 or (not self.dynamic_size and index >= len(self._elements)):
            raise self._problem(
                f"Tried to write to index {index} but array is not resizeable and size is: {len(self._elements)}"
            )
        where = f"Could not write to TensorArray index {index} because"
        if dtype is not self.dtype:
            raise self._problem(
                f"{where} the value dtype is {type_text(dtype)} but TensorArray dtype is {type_text(self.dtype)}."
            )
        while index >= len(self._elements):
            self._elements.append(_Element())
        element, shape = self._elements[index], np.shape(value)
        try:
            merge(self.element_shape, shape)
        except ValueError:
            raise self._problem(
                f"{where} the value shape is {fmt(shape)} which is incompatible with the TensorArray's inferred "
                f"element shape: {fmt(self.element_shape)} (consider setting infer_shape=False)."
            ) from None
        if self.identical:
            self.element_shape = shape
        if element.read:
            raise self._problem(f"{where} it has already been read.")
        if not element.written:
            element.value, element.shape, element.written = value, shape, True
            return
        if not self.is_grad:
            raise self._problem(f"{where} it has already been written to.")
        if shape != element.shape:
            raise self._problem(
                f"Could not aggregate to TensorArray index {index} because the existing shape is "
                f"{fmt(element.shape)} but the new input shape is {fmt(shape)}."
            )
        if element.value is None:
            element.value = value
        else:
            element.value = element.value + value
            self._summed = True

    def read(self, index: int) -> Any:
        """A value."""
        self._check_open()
        if index < 0 or (not self.is_grad and index >= len(self._elements)):
            raise errors.InvalidArgumentError.of(
                f"Tried to read from index {index} but array size is: {len(self._elements)}"
            )
        if index >= len(self._elements) or not self._elements[index].written:
            self._write_zeros(index)
        element = self._elements[index]
        if element.cleared:
            raise self._problem(
                f"Could not read index {index} twice because it was cleared after a previous read (perhaps try "
                "setting clear_after_read = false?)."
            )
        value = element.value
        if value is None:
            empty = self.dtype is string
            value = np.full(element.shape, b"", object) if empty else np.zeros(element.shape, self.dtype.np)
        element.value = value
        element.read = True
        if self.clear_after_read:
            element.value, element.cleared = None, True
        return value

    def _write_zeros(self, index: int) -> None:
        shape = self.element_shape
        if shape is None or None in shape:
            raise self._problem(
                f"Could not read from TensorArray index {index}.  Furthermore, the element shape is not fully "
                f"defined: {fmt(shape)}.  It is possible you are working with a resizeable TensorArray and "
                "stop_gradients is not allowing the gradients to be written.  If you set the full element_shape "
                "property on the forward TensorArray, the proper all-zeros tensor will be returned instead of "
                "incurring this error."
            )
        known = tuple(d for d in shape if d is not None)
        while index >= len(self._elements):
            self._elements.append(_Element())
        for element in self._elements[: index + 1] if self.is_grad else [self._elements[index]]:
            if not element.written:
                element.shape, element.written = known, True
