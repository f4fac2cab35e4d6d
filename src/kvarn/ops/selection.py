"""Choosing elements by conditions: Where, Select, boolean_mask, OneHot, sequence_mask.

Source: tensorflow/core/ops/{array,math}_ops.cc, tensorflow/python/ops/array_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.math as math_ops
from kvarn import dtypes, errors
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import merge
from kvarn.graph.tensor import Tensor


@op(
    "Where",
    inputs="input: T",
    outputs="index: int64",
    attrs=(
        "T: {float, double, int32, uint8, int16, int8, complex64, int64, qint8, quint8, qint32, "
        "bfloat16, uint16, complex128, half, uint32, uint64, bool} = DT_BOOL"
    ),
)
class where_:
    """The coordinates of the true (non-zero) elements of `input`, one row each, in order."""

    def shape(c, input):
        return (None, None if input is None else len(input))

    def kernel(ctx, input):
        return np.argwhere(input).astype(np.int64, copy=False)

    grad = NOT_DIFFERENTIABLE


@op("Select", inputs="condition: bool, t: T, e: T", outputs="output: T", attrs="T: type")
class select:
    """Elements of `t` where `condition` holds, of `e` elsewhere; a vector condition chooses rows."""

    def shape(c, condition, t, e):
        whole = merge(t, e)
        if condition is not None and whole is not None and condition:
            if len(condition) == 1 and len(whole) != 1:
                merge(condition, whole[:1])
            else:
                whole = merge(whole, condition)
        return whole

    def kernel(ctx, condition, t, e):
        if t.shape != e.shape:
            raise errors.InvalidArgumentError.of(
                f"'then' and 'else' must have the same size.  but received: {math_ops.dims_text(t)} vs. "
                f"{math_ops.dims_text(e)}"
            )
        if condition.shape != t.shape and condition.shape:
            if len(condition.shape) != 1 or not t.shape or condition.shape[0] != t.shape[0]:
                raise errors.InvalidArgumentError.of(
                    f"Inputs to operation {ctx.op.name} of type Select must have compatible shapes.  Condition: "
                    f"{math_ops.dims_text(condition)}, then: {math_ops.dims_text(t)}"
                )
            condition = condition.reshape(-1, *(1,) * (len(t.shape) - 1))
        return np.where(condition, t, e)

    def grad(op, d):
        condition, x = op.inputs[0], op.inputs[1]
        zeros = array_ops.zeros_like(x)
        return None, select(condition, d, zeros), select(condition, zeros, d)


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """Elements of x where the condition holds and of y elsewhere; without x and y, where it holds: int64 [n, rank].

    Raises:
      ValueError: exactly one of x and y is given.
    """
    if x is None and y is None:
        with name_scope(name, "Where", [condition]) as scope:
            return where_(
                convert_to_tensor(condition, preferred_dtype=dtypes.bool, name="condition"), name=scope
            )
    if x is None or y is None:
        raise ValueError("x and y must both be non-None or both be None.")
    return select(condition, x, y, name=name)
