"""Reductions: sums, means, extremes and the rest over dimensions of a tensor.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/{math_ops,math_grad}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.ranges as ranges
from kvarn import dtypes, errors
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.op import op
from kvarn.graph.tensor import SparseTensor, Tensor


def _axes(x, reduction_indices):
    """The axes to reduce, as NumPy takes them."""
    rank = x.ndim
    axes = []
    for a in np.ravel(reduction_indices).tolist():
        if not -rank <= a < rank:
            raise errors.InvalidArgumentError.of(
                f"Invalid reduction dimension ({a} for input with {rank} dimension(s)"
            )
        axes.append(a % rank)
    return tuple(dict.fromkeys(axes))


def _reduced(c, input, reduction_indices):
    """The shape after reducing the axes that the second input names."""
    keep = c.attrs["keep_dims"]
    if input is None:
        return None
    axes = c.constant_value(1)
    rank = len(input)
    if axes is None:
        return (None,) * rank if keep else None
    chosen = set()
    for a in np.ravel(axes).tolist():
        if not -rank <= a < rank:
            raise ValueError(f"Invalid reduction dimension {a} for input with {rank} dimensions.")
        chosen.add(a % rank)
    if keep:
        return tuple(1 if i in chosen else d for i, d in enumerate(input))
    return tuple(d for i, d in enumerate(input) if i not in chosen)


@op(
    "Sum",
    inputs="input: T, reduction_indices: Tidx",
    outputs="output: T",
    attrs=["keep_dims: bool = false", "T: numbertype", "Tidx: {int32, int64} = DT_INT32"],
)
class sum_:
    """The sum of the elements along `reduction_indices`."""

    shape = _reduced

    def kernel(ctx, input, reduction_indices):
        attrs = ctx.attrs
        return np.sum(input, _axes(input, reduction_indices), attrs["T"].np, keepdims=attrs["keep_dims"])


def _reduction_dims(x, axis, reduction_indices=None):
    """The axes of a reduction: those asked for, or all, as a constant where the rank is known."""
    if reduction_indices is not None:
        if axis is not None:
            raise ValueError("Can't specify both axis' and 'reduction_indices'.")
        axis = reduction_indices
    if axis is not None:
        return axis
    shape = x.dense_shape.shape.with_rank(1).as_list() if isinstance(x, SparseTensor) else x.static_shape
    if isinstance(x, SparseTensor):
        known = shape[0]
    else:
        known = None if shape is None else len(shape)
    if known is not None:
        return constant(np.arange(known), dtype=dtypes.int32)
    return ranges.range(0, array_ops.rank(x))


def _keep_dims(keepdims, keep_dims):
    if keep_dims is not None and keepdims is not None:
        raise ValueError("Cannot specify both 'keep_dims' and 'keepdims'")
    return bool(keepdims if keepdims is not None else keep_dims)


def reduce_sum(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """The sum of the elements of a tensor over `axis` (an int, a list, or None for all)."""
    x = convert_to_tensor(input_tensor)
    return sum_(
        x, _reduction_dims(x, axis, reduction_indices), keep_dims=_keep_dims(keepdims, keep_dims), name=name
    )
