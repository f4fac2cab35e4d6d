"""The kernels of functions of two arrays that broadcast, and how their messages print shapes."""

from __future__ import annotations

import numpy as np

from kvarn import errors


def dims_text(x):
    """The shape of an array as TensorFlow's messages print it."""
    return "[" + ",".join(map(str, x.shape)) + "]"


def elementwise(kernel):
    """``kernel``, said to give an array of the shape that its inputs broadcast to and to have no errors of values.

    A run that asks for no more than the shape does not call it.
    """
    kernel.elementwise = True
    return kernel


def binary(function):
    """The kernel of a function of two arrays that broadcast; the result has the function's type."""

    @elementwise
    def kernel(ctx, x, y):
        try:
            return function(x, y)
        except ValueError:
            raise errors.InvalidArgumentError.of(
                f"Incompatible shapes: {dims_text(x)} vs. {dims_text(y)}"
            ) from None

    return kernel


def dividing(function):
    """As `binary`, for functions that cannot divide integers by zero."""

    def divide(x, y):
        if y.dtype.kind in "iu" and not np.all(y):
            raise errors.InvalidArgumentError.of("Integer division by zero")
        return function(x, y)

    kernel = binary(divide)
    kernel.elementwise = False
    return kernel
