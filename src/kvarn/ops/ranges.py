"""Sequences of numbers: Range and LinSpace.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/math_ops.py (1.15).
"""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

import kvarn.ops.casting as casting
from kvarn import dtypes, errors
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import Tensor


@op(
    "Range",
    inputs="start: Tidx, limit: Tidx, delta: Tidx",
    outputs="output: Tidx",
    attrs="Tidx: {bfloat16, float, double, int32, int64} = DT_INT32",
)
class range_:
    """start, start + delta, … as long as it is before limit."""

    def shape(c, start, limit, delta):
        values = [c.constant_value(i) for i in (0, 1, 2)]
        if any(v is None for v in values):
            return (None,)
        start, limit, delta = (v.item() for v in values)
        return (_length(start, limit, delta, ValueError),)

    def kernel(ctx, start, limit, delta):
        def problem(message):
            return errors.InvalidArgumentError.of(message)

        length = _length(start.item(), limit.item(), delta.item(), problem)
        kind = ctx.attrs["Tidx"].np
        if kind.kind in "iu":
            return np.arange(length, dtype=kind) * kind.type(delta) + kind.type(start)
        # Each element is the sum before it plus delta, as TensorFlow adds.
        out = np.full(length, delta, kind)
        if length:
            out[0] = start
            np.cumsum(out, out=out)
        return out

    grad = NOT_DIFFERENTIABLE


def _length(start, limit, delta, problem):
    if delta == 0:
        raise problem("Requires delta != 0: 0")
    if delta > 0 and start > limit:
        raise problem(f"Requires start <= limit when delta > 0: {start}/{limit}")
    if delta < 0 and start < limit:
        raise problem(f"Requires start >= limit when delta < 0: {start}/{limit}")
    if isinstance(start, int):
        return (abs(limit - start) + abs(delta) - 1) // abs(delta)
    return _math.ceil(abs((limit - start) / delta))


def range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str = "range") -> Tensor:
    """start, start + delta, … below limit; with one number, 0 up to it."""
    if limit is None:
        start, limit = 0, start
    with name_scope(name, "Range", [start, limit, delta]) as scope:
        start = convert_to_tensor(start, dtype=dtype, name="start")
        limit = convert_to_tensor(limit, dtype=dtype, name="limit")
        delta = convert_to_tensor(delta, dtype=dtype, name="delta")
        if dtype is None:
            order = [dtypes.int32, dtypes.int64, dtypes.float32, dtypes.float64]
            widest = max((x.dtype.base_dtype for x in (start, limit, delta)), key=order.index)
            start, limit, delta = (casting.cast(x, widest) for x in (start, limit, delta))
        return range_(start, limit, delta, name=scope)


@op(
    "LinSpace",
    inputs="start: T, stop: T, num: Tidx",
    outputs="output: T",
    attrs=["T: {bfloat16, float, double}", "Tidx: {int32, int64} = DT_INT32"],
)
class lin_space:
    """`num` evenly spaced numbers from `start` to `stop`, both included."""

    def shape(c, start, stop, num):
        count = c.constant_value(2)
        return (None,) if count is None else (int(count),)

    def kernel(ctx, start, stop, num):
        count = int(num)
        if count <= 0:
            raise errors.InvalidArgumentError.of(f"Requires num > 0: {count}")
        kind = ctx.attrs["T"].np
        if count == 1:
            return np.array([start], kind)
        step = kind.type((stop - start) / kind.type(count - 1))
        out = (np.arange(count).astype(kind) * step + start).astype(kind)
        out[-1] = stop
        return out

    grad = NOT_DIFFERENTIABLE


linspace = lin_space
