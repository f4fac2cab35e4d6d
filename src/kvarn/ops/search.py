"""Where values lie among others: in sorted rows, between boundaries, in the bins of a histogram.

Source: tensorflow/core/ops/{array_ops,math_ops}.cc, tensorflow/core/kernels/{searchsorted,bucketize,
histogram}_op.cc, tensorflow/python/ops/{array_ops,histogram_ops}.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array
import kvarn.ops.casting as casting
import kvarn.ops.clip as clip
import kvarn.ops.division as division
import kvarn.ops.unary as unary
from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import Tensor


def _bound_shape(c: Any, sorted_inputs: Any, values: Any) -> Any:
    shapes.with_rank(sorted_inputs, 2)
    return shapes.with_rank(values, 2)


def _bounds(side: str) -> Any:
    def kernel(ctx: Any, sorted_inputs: Any, values: Any) -> Any:
        if len(sorted_inputs) != len(values):
            raise errors.InvalidArgumentError.of("Leading dim_size of both tensors must match.")
        out = np.empty(values.shape, ctx.attrs["out_type"].np)
        for row, ordered, wanted in zip(out, sorted_inputs, values, strict=True):
            row[:] = np.searchsorted(ordered, wanted, side=side)  # type: ignore[call-overload]
        return out

    return kernel


@op(
    "LowerBound",
    inputs=["sorted_inputs: T", "values: T"],
    outputs="output: out_type",
    attrs=["T: type", "out_type: {int32, int64} = DT_INT32"],
)
class lower_bound:
    """For each value of a row, the first place in the sorted row where it could be inserted."""

    shape = _bound_shape
    kernel = _bounds("left")
    grad = NOT_DIFFERENTIABLE


@op(
    "UpperBound",
    inputs=["sorted_inputs: T", "values: T"],
    outputs="output: out_type",
    attrs=["T: type", "out_type: {int32, int64} = DT_INT32"],
)
class upper_bound:
    """For each value of a row, the last place in the sorted row where it could be inserted."""

    shape = _bound_shape
    kernel = _bounds("right")
    grad = NOT_DIFFERENTIABLE


def searchsorted(
    sorted_sequence: Any,
    values: Any,
    side: str = "left",
    out_type: Any = dtypes.int32,
    name: str | None = None,
) -> Tensor:
    """Where values would have to be inserted into sorted rows to keep them sorted.

    Args:
      sorted_sequence: [..., n], each row sorted.
      values: [..., m], of the same type; the leading dimensions are the same.
      side: "left" for the first such place, "right" for the last.

    Returns:
      The places, of the shape of ``values``.

    Raises:
      ValueError: ``side`` is neither.
    """
    sequence_size = array.shape_internal(sorted_sequence)[-1]
    values_size = array.shape_internal(values)[-1]
    rows = array.reshape(sorted_sequence, [-1, sequence_size])
    wanted = array.reshape(values, [-1, values_size])
    if side not in ("left", "right"):
        raise ValueError(f"side must be either 'right' or 'left'.  Saw: {side}.")
    bound = upper_bound if side == "right" else lower_bound
    result: Tensor = array.reshape(bound(rows, wanted, out_type, name=name), array.shape_internal(values))
    return result


@op(
    "Bucketize",
    inputs="input: T",
    outputs="output: int32",
    attrs=["T: {int32, int64, float, double}", "boundaries: list(float)"],
)
class bucketize:
    """How many boundaries are not above each value."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        # The attribute holds single precision; values are compared in the wider of the two types.
        boundaries = np.array(ctx.attrs["boundaries"], np.float32)
        if (boundaries[1:] < boundaries[:-1]).any():
            raise errors.InvalidArgumentError.of("Expected sorted boundaries", name=ctx.op.name)
        values = np.asarray(input)
        # As in C++, an integer meets a float as a float.
        wide = values.astype(np.float32) if values.dtype.kind == "i" else values
        return np.searchsorted(boundaries, wide, side="right").astype(np.int32)

    grad = NOT_DIFFERENTIABLE


@op(
    "HistogramFixedWidth",
    inputs=["values: T", "value_range: T", "nbins: int32"],
    outputs="out: dtype",
    attrs=["T: {int32, int64, float32, float64}", "dtype: {int32, int64} = DT_INT32"],
)
class histogram_fixed_width_:
    """How many values fall into each of ``nbins`` bins of equal width over ``value_range``."""

    def shape(c: Any, values: Any, value_range: Any, nbins: Any) -> Any:
        given = shapes.with_rank(value_range, 1)
        shapes.merge_dim(given[0], 2)
        shapes.with_rank(nbins, 0)
        count = c.constant_value(2)
        if count is None:
            return (None,)
        if count <= 0:
            raise ValueError(f"Requires nbins > 0: {count}")
        return (int(count),)

    def kernel(ctx: Any, values: Any, value_range: Any, nbins: Any) -> Any:
        problem = (
            "value_range should be a vector."
            if np.ndim(value_range) != 1
            else "value_range should be a vector of 2 elements."
            if value_range.size != 2
            else "nbins should be a scalar."
            if np.ndim(nbins) != 0
            else f"value_range should satisfy value_range[0] < value_range[1], but got "
            f"'[{value_range[0]}, {value_range[1]}]'"
            if not value_range[0] < value_range[1]
            else f"nbins should be a positive number, but got '{nbins}'"
            if nbins <= 0
            else None
        )
        if problem is not None:
            raise errors.InvalidArgumentError.of(problem, name=ctx.op.name)
        low, high = value_range
        step = float(high - low) / float(nbins)
        above = (np.maximum(values, low) - low).astype(np.float64).reshape(-1)
        bins = np.minimum(above / step, float(nbins - 1)).astype(np.int32)
        return np.bincount(bins, minlength=int(nbins)).astype(ctx.attrs["dtype"].np)

    grad = NOT_DIFFERENTIABLE


def histogram_fixed_width(
    values: Any, value_range: Any, nbins: Any = 100, dtype: Any = dtypes.int32, name: str | None = None
) -> Tensor:
    """How many values fall into each of ``nbins`` bins of equal width; those outside count in the end bins.

    Args:
      values: numbers of any shape.
      value_range: [2], the lower and the upper end, of the same type.
      nbins: int32 scalar.

    Returns:
      Counts of type ``dtype``, [nbins].
    """
    with name_scope(name, "histogram_fixed_width", [values, value_range, nbins]) as scope:
        result: Tensor = histogram_fixed_width_(values, value_range, nbins, dtype=dtype, name=scope)
        return result


def histogram_fixed_width_bins(
    values: Any, value_range: Any, nbins: Any = 100, dtype: Any = dtypes.int32, name: str | None = None
) -> Tensor:
    """The bin of `histogram_fixed_width` that each value falls into, int32 of the shape of ``values``."""
    del dtype
    with name_scope(name, "histogram_fixed_width_bins", [values, value_range, nbins]):
        values = convert_to_tensor(values, name="values")
        shape = array.shape(values)
        flat = array.reshape(values, [-1])
        value_range = convert_to_tensor(value_range, name="value_range")
        nbins = convert_to_tensor(nbins, dtype=dtypes.int32, name="nbins")
        count = casting.cast(nbins, flat.dtype)
        above = flat - value_range[0]
        scaled = division.truediv(above, value_range[1] - value_range[0], name="scaled_values")
        indices = unary.floor(count * scaled, name="indices")
        bins = casting.cast(clip.clip_by_value(indices, 0, count - 1), dtypes.int32)
        result: Tensor = array.reshape(bins, shape)
        return result
