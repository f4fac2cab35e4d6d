"""Divisions, remainders, and the products and quotients that are zero rather than NaN.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/{math_ops,math_grad}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops._broadcast_grad as broadcast_grad
import kvarn.ops.casting as casting
import kvarn.ops.math as math_ops
from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import op
from kvarn.graph.shape_inference import broadcast
from kvarn.graph.tensor import Tensor
from kvarn.ops._elementwise import binary, dividing


def _div_grad(divide):
    def grad(op, d):
        x, y = op.inputs
        ax, ay = broadcast_grad.broadcast_args(x, y)
        x, y = math_ops.conj(x), math_ops.conj(y)
        dx = broadcast_grad.sum_to(divide(d, y), ax)
        return dx, broadcast_grad.sum_to(d * divide(divide(-x, y), y), ay)

    return grad


def _truncated(x, y):
    """x / y for floats, rounded towards zero for integers."""
    if x.dtype.kind not in "iu":
        return np.divide(x, y)
    quotient = np.floor_divide(x, y)
    if x.dtype.kind == "u":
        return quotient
    return quotient + ((quotient < 0) & (quotient * y != x)).astype(quotient.dtype)


@op(
    "Div",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
)
class div_:
    """x / y; integers are rounded towards zero."""

    shape = broadcast
    kernel = dividing(_truncated)
    grad = _div_grad(lambda x, y: divide(x, y))


@op(
    "RealDiv",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
)
class real_div:
    """x / y."""

    shape = broadcast
    kernel = dividing(_truncated)
    grad = _div_grad(lambda x, y: real_div(x, y))


@op(
    "FloorDiv",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
)
class floor_div:
    """x / y rounded down."""

    shape = broadcast
    kernel = dividing(
        lambda x, y: np.floor(np.divide(x, y)) if x.dtype.kind not in "iu" else np.floor_divide(x, y)
    )

    def grad(op, d):
        return None, None


@op(
    "TruncateDiv",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
)
class truncate_div:
    """x / y rounded towards zero."""

    shape = broadcast
    kernel = dividing(_truncated)

    def grad(op, d):
        return None, None


@op("FloorMod", inputs="x: T, y: T", outputs="z: T", attrs="T: {int32, int64, bfloat16, half, float, double}")
class floor_mod:
    """The remainder of `floor_div`: it has the sign of y."""

    shape = broadcast
    kernel = dividing(np.mod)

    def grad(op, d):
        x, y = math_ops.conj(op.inputs[0]), math_ops.conj(op.inputs[1])
        ax, ay = broadcast_grad.broadcast_args(x, y)
        floor_xy = floor_div(x, y)
        dx = broadcast_grad.sum_to(d, ax)
        return dx, broadcast_grad.sum_to(d * math_ops.neg(floor_xy), ay)


@op(
    "Mod", inputs="x: T, y: T", outputs="z: T", attrs="T: {int32, int64, half, half, bfloat16, float, double}"
)
class mod_:
    """The remainder of a division rounded towards zero: it has the sign of x."""

    shape = broadcast
    kernel = dividing(np.fmod)


@op(
    "TruncateMod",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {int32, int64, bfloat16, half, float, double}",
)
class truncate_mod:
    """The remainder of `truncate_div`: it has the sign of x."""

    shape = broadcast
    kernel = dividing(np.fmod)


def _div_no_nan(x, y):
    quotient = np.divide(x, y)
    return np.where(np.equal(y, 0), quotient.dtype.type(0), quotient)


@op("DivNoNan", inputs="x: T, y: T", outputs="z: T", attrs="T: {half, float, double, complex64, complex128}")
class div_no_nan_:
    """x / y, zero where y is zero."""

    shape = broadcast
    kernel = binary(_div_no_nan)
    grad = _div_grad(lambda x, y: div_no_nan(x, y))


def _mul_no_nan(x, y):
    product = np.multiply(x, y)
    return np.where(np.equal(y, 0), product.dtype.type(0), product)


@op("MulNoNan", inputs="x: T, y: T", outputs="z: T", attrs="T: {half, float, double, complex64, complex128}")
class mul_no_nan:
    """x * y, zero where y is zero even if x is infinite or NaN."""

    shape = broadcast
    kernel = binary(_mul_no_nan)

    def grad(op, d):
        x, y = op.inputs
        if broadcast_grad.same_known_shape(x, y, d):
            return mul_no_nan(d, y), mul_no_nan(x, d)
        ax, ay = broadcast_grad.broadcast_args(x, y)
        dx = broadcast_grad.sum_to(mul_no_nan(d, y), ax)
        return dx, broadcast_grad.sum_to(mul_no_nan(x, d), ay)


# -- the public names ---------------------------------------------------------------------------------

# What `/` converts integers to.
_TRUEDIV = {
    dtypes.uint8: dtypes.float32,
    dtypes.int8: dtypes.float32,
    dtypes.uint16: dtypes.float32,
    dtypes.int16: dtypes.float32,
    dtypes.int32: dtypes.float64,
    dtypes.int64: dtypes.float64,
}


def _same_types(x: Any, y: Any) -> None:
    if x.dtype.base_dtype is not y.dtype.base_dtype:
        raise TypeError(
            f"x and y must have the same dtype, got {x.dtype.base_dtype!r} != {y.dtype.base_dtype!r}"
        )


def truediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y as Python divides: integers become floats first."""
    with name_scope(name, "truediv", [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y")
        _same_types(x, y)
        base = x.dtype.base_dtype
        if not (base.is_floating or base.is_complex):
            if base not in _TRUEDIV:
                raise TypeError(f"Invalid dtype {base!r} in __truediv__")
            x, y = casting.cast(x, _TRUEDIV[base]), casting.cast(y, _TRUEDIV[base])
        return real_div(x, y, name=scope)


def div(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y as Python 2 divides: integers are rounded down."""
    with name_scope(name, "div", [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y", dtype=x.dtype.base_dtype)
        _same_types(x, y)
        function = real_div if x.dtype.is_floating or x.dtype.is_complex else floor_div
        return function(x, y, name=scope)


def divide(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y, the operator; with a name, a scope of that name around it."""
    if name is not None:
        x = convert_to_tensor(x)
        return truediv(x, convert_to_tensor(y, dtype_hint=x.dtype.base_dtype), name=name)
    return x / y


def floordiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y rounded down."""
    with name_scope(name, "floordiv", [x, y]) as scope:
        return floor_div(x, y, name=scope)


def div_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y, zero where y is zero."""
    return _no_nan(div_no_nan_, "div_no_nan", x, y, name)


def reciprocal_no_nan(x: Any, name: str | None = None) -> Tensor:
    """1 / x, zero where x is zero."""
    with name_scope(name, "reciprocal_no_nan", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        one = constant(1, dtype=x.dtype.base_dtype, name="one")
        result: Tensor = div_no_nan_(one, x, name=scope)
        return result


def multiply_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x * y, zero where y is zero even if x is infinite or NaN."""
    return _no_nan(mul_no_nan, "multiply_no_nan", x, y, name)


def _no_nan(function: Any, default: str, x: Any, y: Any, name: str | None) -> Tensor:
    with name_scope(name, default, [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y", dtype=x.dtype.base_dtype)
        _same_types(x, y)
        result: Tensor = function(x, y, name=scope)
        return result


mod = floormod = floor_mod
realdiv = real_div
truncatediv = truncate_div
truncatemod = truncate_mod
