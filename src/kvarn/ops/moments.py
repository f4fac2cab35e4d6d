"""Means, variances and other statistics of tensors.

Source: tensorflow/python/ops/nn_impl.py (1.15).
"""

from __future__ import annotations

from typing import Any

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.comparison as comparison
import kvarn.ops.division as division
import kvarn.ops.math as math_ops
import kvarn.ops.reduction as reduction_ops
import kvarn.ops.unary as unary_ops
from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor


def _keep(keep_dims: bool | None, keepdims: bool | None) -> bool:
    if keep_dims is not None and keepdims is not None:
        raise ValueError("Cannot specify both 'keepdims' and 'keep_dims'")
    return bool(keep_dims if keepdims is None else keepdims)


def moments(
    x: Any,
    axes: Any,
    shift: Any = None,
    name: str | None = None,
    keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """The mean and the variance over `axes`; `shift` is not used."""
    keep = _keep(keep_dims, keepdims)
    with name_scope(name, "moments", [x, axes]):
        short = x.dtype.base_dtype is dtypes.float16
        y = casting.cast(x, dtypes.float32) if short else x
        mean = reduction_ops.reduce_mean(y, axes, keepdims=True, name="mean")
        variance = reduction_ops.reduce_mean(
            math_ops.squared_difference(y, array_ops.stop_gradient(mean)),
            axes,
            keepdims=True,
            name="variance",
        )
        if not keep:
            mean, variance = array_ops.squeeze(mean, axes), array_ops.squeeze(variance, axes)
        if short:
            return casting.cast(mean, dtypes.float16), casting.cast(variance, dtypes.float16)
        return mean, variance


def moments_v2(
    x: Any, axes: Any, shift: Any = None, keepdims: bool = False, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """`moments` as TensorFlow 2 has it."""
    return moments(x, axes, shift=shift, name=name, keep_dims=keepdims)


def weighted_moments(
    x: Any,
    axes: Any,
    frequency_weights: Any,
    name: str | None = None,
    keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """The mean and the variance over `axes` where each element counts as often as its weight says.

    Args:
      x: a tensor of floats.
      axes: ints.
      frequency_weights: positive, of a shape that broadcasts to that of ``x``.
      keepdims: whether the axes stay, as dimensions of length 1; ``keep_dims`` is its older name.
    """
    keep = _keep(keep_dims, keepdims)
    with name_scope(name, "weighted_moments", [x, frequency_weights, axes]):
        x = convert_to_tensor(x, name="x")
        weights = convert_to_tensor(frequency_weights, name="frequency_weights")
        # Half precision is too little for sums.
        short = x.dtype == dtypes.float16
        if short:
            x = casting.cast(x, dtypes.float32)
        if weights.dtype != x.dtype:
            weights = casting.cast(weights, x.dtype)
        weighted_sum = reduction_ops.reduce_sum(weights * x, axes, name="weighted_input_sum", keepdims=True)
        # Weights of a smaller shape count once for each element of x.
        whole_weights = weights + array_ops.zeros_like(x)
        sum_of_weights = reduction_ops.reduce_sum(whole_weights, axes, name="sum_of_weights", keepdims=True)
        divisor = unary_ops.reciprocal(sum_of_weights, name="inv_weight_sum")
        mean = math_ops.multiply(weighted_sum, divisor)
        distances = reduction_ops.reduce_sum(
            weights * math_ops.squared_difference(x, mean), axes, name="weighted_distsq", keepdims=True
        )
        variance = math_ops.multiply(distances, divisor)
        if not keep:
            mean, variance = array_ops.squeeze(mean, axis=axes), array_ops.squeeze(variance, axis=axes)
        if short:
            mean, variance = casting.cast(mean, dtypes.float16), casting.cast(variance, dtypes.float16)
        return mean, variance


def weighted_moments_v2(
    x: Any, axes: Any, frequency_weights: Any, keepdims: bool = False, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """`weighted_moments` as TensorFlow 2 has it."""
    return weighted_moments(x, axes, frequency_weights, name=name, keep_dims=keepdims)


def sufficient_statistics(
    x: Any,
    axes: Any,
    shift: Any = None,
    keep_dims: bool | None = None,
    name: str | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """What mean and variance over `axes` can be made of, part by part.

    Args:
      x: a tensor of floats.
      axes: ints.
      shift: a number near the mean, for precision; None for none.
      keepdims: whether the axes stay, as dimensions of length 1; ``keep_dims`` is its older name.

    Returns:
      (the number of elements, the sum, the sum of squares, both of the differences from the shift, the shift).
    """
    axes = list(set(axes))
    keep = _keep(keep_dims, keepdims)
    with name_scope(name, "sufficient_statistics", [x, shift]):
        x = convert_to_tensor(x, name="x")
        shape = x.static_shape
        if shape is not None and all(shape[d] is not None for d in axes):
            number = 1
            for d in axes:
                number *= shape[d]
            counts: Tensor = constant(number, dtype=x.dtype)
        else:
            dims = array_ops.gather(casting.cast(array_ops.shape(x), x.dtype), axes)
            counts = reduction_ops.reduce_prod(dims, name="count")
        if shift is not None:
            shift = convert_to_tensor(shift, name="shift")
            differences = math_ops.subtract(x, shift)
            squares = math_ops.squared_difference(x, shift)
        else:
            differences, squares = x, unary_ops.square(x)
        mean_ss = reduction_ops.reduce_sum(differences, axes, keepdims=keep, name="mean_ss")
        var_ss = reduction_ops.reduce_sum(squares, axes, keepdims=keep, name="var_ss")
    return counts, mean_ss, var_ss, shift


def sufficient_statistics_v2(
    x: Any, axes: Any, shift: Any = None, keepdims: bool = False, name: str | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """`sufficient_statistics` as TensorFlow 2 has it."""
    return sufficient_statistics(x, axes, shift=shift, keep_dims=keepdims, name=name)


def normalize_moments(
    counts: Any, mean_ss: Any, variance_ss: Any, shift: Any, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """The mean and the variance of what `sufficient_statistics` returned."""
    with name_scope(name, "normalize", [counts, mean_ss, variance_ss, shift]):
        divisor = unary_ops.reciprocal(counts, name="divisor")
        if shift is not None:
            shifted_mean = math_ops.multiply(mean_ss, divisor, name="shifted_mean")
            mean: Tensor = math_ops.add(shifted_mean, shift, name="mean")
        else:
            mean = shifted_mean = math_ops.multiply(mean_ss, divisor, name="mean")
        variance = math_ops.subtract(
            math_ops.multiply(variance_ss, divisor), unary_ops.square(shifted_mean), name="variance"
        )
    return mean, variance


def _count_nonzero(x: Tensor, dtype: Any) -> Tensor:
    with name_scope("count_nonzero", values=[x]):
        zero = array_ops.zeros([], dtype=x.dtype)
        return reduction_ops.reduce_sum(
            casting.cast(comparison.not_equal(x, zero), dtype), name="nonzero_count"
        )


def zero_fraction(value: Any, name: str | None = None) -> Tensor:
    """The share of elements that are zero: a float32; NaN where there are no elements."""
    from kvarn.ops.conditional import cond

    with name_scope(name, "zero_fraction", [value]):
        value = convert_to_tensor(value, name="value")
        size: Any = array_ops.size(value, out_type=dtypes.int64)
        # Where int32 is enough it is the faster one to count with.
        nonzero = cond(
            size <= dtypes.int32.max,
            true_fn=lambda: casting.cast(_count_nonzero(value, dtypes.int32), dtypes.int64),
            false_fn=lambda: _count_nonzero(value, dtypes.int64),
        )
        with name_scope("counts_to_fraction"):
            zeros = casting.cast(size - nonzero, dtypes.float32)
            fraction = division.truediv(zeros, casting.cast(size, dtypes.float32))
        return array_ops.identity(fraction, "fraction")
