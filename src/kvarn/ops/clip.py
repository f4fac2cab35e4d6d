"""Keeping values and norms within bounds.

Source: tensorflow/python/ops/clip_ops.py, tensorflow/core/ops/math_ops.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.joining as joining
import kvarn.ops.math as math_ops
import kvarn.ops.nn as nn_ops
import kvarn.ops.ranges as ranges
import kvarn.ops.reduction as reduction_ops
import kvarn.ops.selection as selection
import kvarn.ops.unary as unary_ops
from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import colocate_with, name_scope
from kvarn.graph.op import op
from kvarn.graph.shape_inference import same_as
from kvarn.graph.tensor import IndexedSlices, Tensor


@op(
    "ClipByValue",
    inputs="t: T, clip_value_min: T, clip_value_max: T",
    outputs="output: T",
    attrs="T: numbertype",
)
class clip_by_value_:
    """`t` with values below `clip_value_min` or above `clip_value_max` set to these."""

    shape = same_as(0)

    def kernel(ctx, t, clip_value_min, clip_value_max):
        return np.minimum(np.maximum(t, clip_value_min), clip_value_max)


def _values(t: Any, name: str = "t") -> Tensor:
    return convert_to_tensor(t.values if isinstance(t, IndexedSlices) else t, name=name)


def _like(t: Any, values: Tensor) -> Any:
    return IndexedSlices(values, t.indices, t.dense_shape) if isinstance(t, IndexedSlices) else values


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """`t` (a Tensor or IndexedSlices) with values outside the bounds set to them.

    Raises:
      ValueError: the bounds would broadcast `t` to another shape.
    """
    with name_scope(name, "clip_by_value", [t, clip_value_min, clip_value_max]) as scope:
        values = _values(t)
        low = math_ops.minimum(values, clip_value_max)
        values.shape.merge_with(low.shape)
        out = math_ops.maximum(low, clip_value_min, name=scope)
        values.shape.merge_with(out.shape)
        return _like(t, out)


def clip_by_norm(t: Any, clip_norm: Any, axes: Any = None, name: str | None = None) -> Any:
    """`t` scaled so that its Euclidean norm (along `axes`) is at most `clip_norm`."""
    with name_scope(name, "clip_by_norm", [t, clip_norm]) as scope:
        values = _values(t)
        squares = reduction_ops.reduce_sum(values * values, axes, keepdims=True)
        positive = squares > 0
        # The square root has no gradient at zero.
        safe = selection.where(positive, squares, array_ops.ones_like(squares))
        norm = selection.where(positive, unary_ops.sqrt(safe), squares)
        scaled = values * clip_norm
        values.shape.merge_with(scaled.shape)
        return _like(t, array_ops.identity(scaled / math_ops.maximum(norm, clip_norm), name=scope))


def _sequence(t_list: Any) -> list[Any]:
    if not isinstance(t_list, Sequence) or isinstance(t_list, (str, bytes)):
        raise TypeError("t_list should be a sequence")
    return list(t_list)


def _each(t_list: list[Any]) -> list[Any]:
    return [None if t is None else _values(t, f"t_{i}") for i, t in enumerate(t_list)]


def global_norm(t_list: Any, name: str | None = None) -> Tensor:
    """The Euclidean norm of all elements of the tensors together; None is left out."""
    t_list = _sequence(t_list)
    with name_scope(name, "global_norm", t_list):
        halves = []
        for v in _each(t_list):
            if v is not None:
                with colocate_with(v):
                    halves.append(nn_ops.l2_loss(v))
        half = reduction_ops.reduce_sum(joining.stack(halves))
        return unary_ops.sqrt(half * constant(2.0, dtype=half.dtype), name="global_norm")


def clip_by_global_norm(
    t_list: Any, clip_norm: Any, use_norm: Any = None, name: str | None = None
) -> tuple[list[Any], Tensor]:
    """The tensors scaled so that their global norm is at most `clip_norm`; and their norm before."""
    t_list = _sequence(t_list)
    if use_norm is None:
        use_norm = global_norm(t_list, name)
    with name_scope(name, "clip_by_global_norm", [*t_list, clip_norm]) as scope:
        finite_scale = clip_norm * math_ops.minimum(
            1.0 / use_norm, constant(1.0, dtype=use_norm.dtype) / clip_norm
        )
        scale = selection.where(
            unary_ops.is_finite(use_norm), finite_scale, constant(float("nan"), dtype=use_norm.dtype)
        )
        clipped: list[Any] = []
        for i, (t, v) in enumerate(zip(t_list, _each(t_list), strict=True)):
            if v is None:
                clipped.append(None)
                continue
            with colocate_with(v):
                clipped.append(_like(t, array_ops.identity(v * scale, name=f"{scope}_{i}")))
        return clipped, use_norm


def clip_by_average_norm(t: Any, clip_norm: Any, name: str | None = None) -> Tensor:
    """`t` scaled so that its Euclidean norm over its number of elements is at most `clip_norm`."""
    with name_scope(name, "clip_by_average_norm", [t, clip_norm]) as scope:
        t = convert_to_tensor(t, name="t")
        count = casting.cast(array_ops.size(t), dtypes.float32)
        inverse = unary_ops.rsqrt(reduction_ops.reduce_sum(t * t, ranges.range(array_ops.rank(t))))
        found: Tensor = array_ops.identity(
            t * clip_norm * math_ops.minimum(inverse * count, constant(1.0) / clip_norm), name=scope
        )
        return found
