"""Comparisons and logic, element by element.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/math_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import broadcast, merge_all, same_as
from kvarn.graph.tensor import Tensor
from kvarn.ops._elementwise import binary, dims_text


def _equality_shape(c, x, y):
    try:
        return broadcast(c, x, y)
    except ValueError:
        if c.attrs["incompatible_shape_error"]:
            raise
        return ()


def _equality(function, otherwise):
    def kernel(ctx, x, y):
        try:
            return np.asarray(function(x, y), np.bool_)[()] if x.dtype == object else function(x, y)
        except ValueError:
            if not ctx.attrs["incompatible_shape_error"]:
                return np.bool_(otherwise)
            raise errors.InvalidArgumentError.of(
                f"Incompatible shapes: {dims_text(x)} vs. {dims_text(y)}"
            ) from None

    return kernel


@op(
    "Equal",
    inputs="x: T, y: T",
    outputs="z: bool",
    attrs=[
        (
            "T: {bfloat16, half, float, double, uint8, int8, int16, int32, int64, complex64, quint8, "
            "qint8, qint32, string, bool, complex128}"
        ),
        "incompatible_shape_error: bool = true",
    ],
    commutative=True,
)
class equal:
    """Whether x equals y."""

    shape = _equality_shape
    kernel = _equality(np.equal, False)
    grad = NOT_DIFFERENTIABLE


@op(
    "NotEqual",
    inputs="x: T, y: T",
    outputs="z: bool",
    attrs=[
        (
            "T: {bfloat16, half, float, double, uint8, int8, int16, int32, int64, complex64, quint8, "
            "qint8, qint32, string, bool, complex128}"
        ),
        "incompatible_shape_error: bool = true",
    ],
    commutative=True,
)
class not_equal:
    """Whether x differs from y."""

    shape = _equality_shape
    kernel = _equality(np.not_equal, True)
    grad = NOT_DIFFERENTIABLE


def _approximately_equal(ctx, x, y):
    return np.abs(np.subtract(x, y)) < x.dtype.type(ctx.attrs["tolerance"])


@op(
    "ApproximateEqual",
    inputs="x: T, y: T",
    outputs="z: bool",
    attrs=["T: numbertype", "tolerance: float = 9.99999975e-06"],
    commutative=True,
)
class approximate_equal:
    """Whether |x - y| < tolerance."""

    shape = merge_all
    kernel = _approximately_equal
    grad = NOT_DIFFERENTIABLE


@op("Less", inputs="x: T, y: T", outputs="z: bool", attrs="T: realnumbertype")
class less:
    """Whether x < y."""

    shape = broadcast
    kernel = binary(np.less)
    grad = NOT_DIFFERENTIABLE


@op("LessEqual", inputs="x: T, y: T", outputs="z: bool", attrs="T: realnumbertype")
class less_equal:
    """Whether x <= y."""

    shape = broadcast
    kernel = binary(np.less_equal)
    grad = NOT_DIFFERENTIABLE


@op("Greater", inputs="x: T, y: T", outputs="z: bool", attrs="T: realnumbertype")
class greater:
    """Whether x > y."""

    shape = broadcast
    kernel = binary(np.greater)
    grad = NOT_DIFFERENTIABLE


@op("GreaterEqual", inputs="x: T, y: T", outputs="z: bool", attrs="T: realnumbertype")
class greater_equal:
    """Whether x >= y."""

    shape = broadcast
    kernel = binary(np.greater_equal)
    grad = NOT_DIFFERENTIABLE


@op("LogicalAnd", inputs="x: bool, y: bool", outputs="z: bool", commutative=True)
class logical_and:
    """Whether x and y are both true."""

    shape = broadcast
    kernel = binary(np.logical_and)
    grad = NOT_DIFFERENTIABLE


@op("LogicalOr", inputs="x: bool, y: bool", outputs="z: bool", commutative=True)
class logical_or:
    """Whether x or y is true."""

    shape = broadcast
    kernel = binary(np.logical_or)
    grad = NOT_DIFFERENTIABLE


@op("LogicalNot", inputs="x: bool", outputs="y: bool")
class logical_not:
    """Whether x is false."""

    shape = same_as(0)

    def kernel(ctx, x):
        return np.logical_not(x)

    grad = NOT_DIFFERENTIABLE


def logical_xor(x: Any, y: Any, name: str = "LogicalXor") -> Tensor:
    """Whether exactly one of x and y is true: (x or y) and not (x and y)."""
    return logical_and(logical_or(x, y), logical_not(logical_and(x, y)), name=name)
