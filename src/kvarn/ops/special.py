"""Functions of the gamma family: digamma, polygamma and Hurwitz' zeta.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/math_grad.py (1.15).
"""

from __future__ import annotations

import math as python_math
from typing import Any

import numpy as np

import kvarn.ops.array as array
import kvarn.ops.math as math_ops
import kvarn.ops.reduction as reduction
from kvarn.graph.graph import control_dependencies
from kvarn.graph.op import op
from kvarn.graph.shape_inference import broadcast, same_as

# Coefficients B(2k) / (2k) of the asymptotic series of digamma, k = 1, 2, ...
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
# (2k)! / B(2k) of the Euler-Maclaurin formula, k = 1, 2, ...
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798)
_ZETA_TERMS = 10


def digamma_of(x: Any) -> Any:
    """The logarithmic derivative of Γ, of float64 numbers; NaN at its poles."""
    x = np.asarray(x, np.float64)
    pole = (x <= 0) & (x == np.floor(x))
    reflected = x <= 0
    with np.errstate(all="ignore"):
        # ψ(x) = ψ(1 - x) - π / tan(πx), and ψ(y) = ψ(y + 1) - 1 / y up to where the series holds.
        y = np.where(reflected, 1 - x, x)
        below = np.zeros_like(y)
        while (y < 10).any():
            small = y < 10
            below = np.where(small, below + 1 / y, below)
            y = np.where(small, y + 1, y)
        inverse_square = 1 / (y * y)
        series = np.zeros_like(y)
        for coefficient in reversed(_DIGAMMA):
            series = (series + coefficient) * inverse_square
        value = np.log(y) - 0.5 / y - series - below
        value = np.where(reflected, value - np.pi / np.tan(np.pi * x), value)
    return np.where(pole, np.nan, value)


def zeta_of(x: Any, q: Any) -> Any:
    """The sum of (q + k)**-x over k = 0, 1, ..., of float64 numbers; inf at x = 1, NaN below."""
    x, q = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(q, np.float64))
    with np.errstate(all="ignore"):
        total = np.zeros(x.shape)
        for k in range(_ZETA_TERMS):
            total = total + (q + k) ** -x
        end = q + _ZETA_TERMS
        total = total + end ** (1 - x) / (x - 1) + 0.5 * end**-x
        factor = x * end ** (-x - 1)
        for k, bernoulli in enumerate(_BERNOULLI, start=1):
            total = total + bernoulli / python_math.factorial(2 * k) * factor
            factor = factor * (x + 2 * k - 1) * (x + 2 * k) / (end * end)
        pole = (q <= 0) & (q == np.floor(q))
        # A power of a negative number is real for whole exponents only.
        undefined = (x < 1) | ((q <= 0) & ~pole & (x != np.floor(x)))
        return np.where(x == 1, np.inf, np.where(undefined, np.nan, np.where(pole, np.inf, total)))


def polygamma_of(a: Any, x: Any) -> Any:
    """The ``a``-th derivative of digamma, of float64 numbers; NaN unless ``a`` is a natural number."""
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    natural = (a >= 0) & (a == np.floor(a))
    order = np.where(natural, a, 0)
    factorial = np.vectorize(lambda n: python_math.exp(python_math.lgamma(n + 1)), otypes=[np.float64])
    with np.errstate(all="ignore"):
        sign = np.where(order % 2 == 0, -1.0, 1.0)
        higher = sign * factorial(order) * zeta_of(order + 1, x)
    return np.where(natural, np.where(order == 0, digamma_of(x), higher), np.nan)


def _second_only(op: Any, d: Any, partial: Any) -> Any:
    """The gradient by the second argument alone, summed to its shape."""
    shape0, shape1 = array.shape(op.inputs[0]), array.shape(op.inputs[1])
    _, axes = array.broadcast_gradient_args(shape0, shape1)
    with control_dependencies([d]):
        first, second = math_ops.conj(op.inputs[0]), math_ops.conj(op.inputs[1])
        return None, array.reshape(reduction.reduce_sum(partial(first, second) * d, axes), shape1)


@op("Digamma", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double}")
class digamma:
    """The derivative of log |Γ(x)|."""

    shape = same_as(0)

    def kernel(ctx: Any, x: Any) -> Any:
        return digamma_of(x).astype(x.dtype)

    def grad(op: Any, d: Any) -> Any:
        from kvarn.graph.convert import constant

        with control_dependencies([d]):
            x = math_ops.conj(op.inputs[0])
            return d * polygamma(constant(1, dtype=x.dtype), x)


@op("Polygamma", inputs=["a: T", "x: T"], outputs="z: T", attrs="T: {float, double}")
class polygamma:
    """The ``a``-th derivative of digamma at x."""

    shape = broadcast

    def kernel(ctx: Any, a: Any, x: Any) -> Any:
        return polygamma_of(a, x).astype(x.dtype)

    def grad(op: Any, d: Any) -> Any:
        return _second_only(op, d, lambda n, x: polygamma(n + 1, x))


@op("Zeta", inputs=["x: T", "q: T"], outputs="z: T", attrs="T: {float, double}")
class zeta:
    """Hurwitz' zeta function, the sum of (q + k)**-x over k = 0, 1, ..."""

    shape = broadcast

    def kernel(ctx: Any, x: Any, q: Any) -> Any:
        return zeta_of(x, q).astype(x.dtype)

    def grad(op: Any, d: Any) -> Any:
        return _second_only(op, d, lambda x, q: -x * zeta(x + 1, q))
