"""The kernels of functions of two arrays that broadcast, and how their messages print shapes."""

from __future__ import annotations

import operator

import numpy as np

from kvarn import errors


def dims_text(x):
    """The shape of an array as TensorFlow's messages print it."""
    return "[" + ",".join(map(str, x.shape)) + "]"


def place_text(shape, index):
    """Where the flat `index` lies in an array of `shape`, as TensorFlow's messages print it; nothing for scalars."""
    if not shape:
        return ""
    return "[" + ",".join(str(int(i)) for i in np.unravel_index(index, shape)) + "]"


def elementwise(kernel):
    """``kernel``, said to give an array of the shape that its inputs broadcast to and to have no errors of values.

    A run that asks for no more than the shape does not call it.
    """
    kernel.elementwise = True
    return kernel


# Python's operators do with two scalars in a tenth of the time what NumPy's functions do.
_SCALARS = frozenset((np.float32, np.float64, np.int32, np.int64))
_OPERATORS = {np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul}


def binary(function, ufunc=None):
    """The kernel of a function of two arrays that broadcast; the result has the function's type.

    Args:
      ufunc: the NumPy function that ``function`` stands for, if it is none itself.
    """
    of_scalars = _OPERATORS.get(ufunc or function)

    @elementwise
    def kernel(ctx, x, y):
        if of_scalars is not None and type(x) in _SCALARS and type(y) in _SCALARS:
            return of_scalars(x, y)
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
        if y.dtype.kind in "iu" and x.size and not np.all(y):
            raise errors.InvalidArgumentError.of("Integer division by zero")
        return function(x, y)

    kernel = binary(divide)
    kernel.elementwise = False
    return kernel
