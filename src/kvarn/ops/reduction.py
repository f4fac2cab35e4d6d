"""Reductions over dimensions of a tensor: sums, means, extremes, running sums.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/{math_ops,math_grad}.py (1.15).
"""

from __future__ import annotations

import math as _math
from collections.abc import Callable
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.comparison as comparison
import kvarn.ops.division as division
import kvarn.ops.gather as gather_ops
import kvarn.ops.joining as joining
import kvarn.ops.layout as layout
import kvarn.ops.math as math_ops
import kvarn.ops.ranges as ranges
import kvarn.ops.selection as selection
import kvarn.ops.unary as unary_ops
from kvarn import dtypes, errors
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import colocate_with, device, get_default_graph, name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import same_as, with_rank
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_util import constant_value
from kvarn.ops._elementwise import dims_text

# Sums of these are formed in float32, or they would lose digits quickly.
_SHORT = (dtypes.float16, dtypes.bfloat16)


def _axes(x, reduction_indices):
    """The axes to reduce, as NumPy takes them."""
    rank = len(x.shape)
    axes = []
    for a in reduction_indices.reshape(-1).tolist():
        if not -rank <= a < rank:
            raise errors.InvalidArgumentError.of(
                f"Invalid reduction dimension ({a} for input with {rank} dimension(s)"
            )
        axes.append(a % rank)
    # An axis that is named twice is reduced once.
    return tuple(dict.fromkeys(axes))


def _reduced(c, input, reduction_indices):
    """The shape after reducing the axes that the second input names."""
    keep = c.attrs["keep_dims"]
    if reduction_indices is not None and len(reduction_indices) > 1:
        raise ValueError(f"Shape must be at most rank 1 but is rank {len(reduction_indices)}")
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


def _summing(function):
    """The kernel of a NumPy reduction that takes the type to reduce in."""

    def kernel(ctx, input, reduction_indices):
        attrs = ctx.attrs
        dtype = attrs["T"]
        axes = _axes(input, reduction_indices)
        if not axes:  # as the gradients of most operations that broadcast
            return input
        inside = np.float32 if dtype in _SHORT else dtype.np
        return function(input, axes, inside, keepdims=attrs["keep_dims"]).astype(dtype.np, copy=False)

    return kernel


def reduced_shape(input_shape: Any, axes: Any) -> Tensor:
    """The shape that a reduction of `axes` gives when it keeps the dimensions, as an int32 vector."""
    input_shape = casting.cast(input_shape, dtypes.int32)
    axes = casting.cast(axes, dtypes.int32)
    rank = array_ops.size(input_shape)
    axes = (axes + rank) % rank
    axes_shape = array_ops.shape(axes)
    found: Tensor = gather_ops.dynamic_stitch(
        [ranges.range(rank), axes], [input_shape, array_ops.fill(axes_shape, 1)]
    )
    return found


def _safe_shape_div(x, y):
    """x // y with 0 // 0 = 0."""
    return x // math_ops.maximum(y, 1)


def _sum_grad(op, d):
    x = op.inputs[0]
    known = x.static_shape
    axes = None if known is None else constant_value(op.inputs[1])
    if axes is not None:
        rank = len(known)
        if np.array_equal(axes, np.arange(rank)):
            d = array_ops.reshape(d, [1] * rank)
            whole = array_ops.shape(x) if None in known else constant(known, dtype=dtypes.int32)
            return layout.tile(d, whole)
        if None not in known:
            kept, scaling = _known_reduction(known, tuple(np.ravel(axes).tolist()))
            return layout.tile(array_ops.reshape(d, kept), scaling)
    shape = array_ops.shape(x)
    with colocate_with(shape):
        kept = reduced_shape(shape, op.inputs[1])
        scaling = _safe_shape_div(shape, kept)
    d = array_ops.reshape(d, kept)
    return layout.tile(d, scaling)


def _known_reduction(shape, axes):
    """The kept shape and how often it must be tiled, for a known shape; once for each graph."""
    cache = get_default_graph().__dict__.setdefault("_reduced_shape_cache", {})
    found = cache.get((shape, axes))
    if found is None:
        chosen = {a % len(shape) for a in axes}
        kept = tuple(1 if i in chosen else s for i, s in enumerate(shape))
        # The nodes stay unused, but they take the names that they have in TensorFlow's graphs.
        reduced_shape(shape, axes)
        _safe_shape_div(shape, kept)
        found = cache[shape, axes] = kept, tuple(s // max(k, 1) for s, k in zip(shape, kept, strict=True))
    return found


@op(
    "Sum",
    inputs="input: T, reduction_indices: Tidx",
    outputs="output: T",
    attrs=["keep_dims: bool = false", "T: numbertype", "Tidx: {int32, int64} = DT_INT32"],
)
class sum_:
    """The sum of the elements along `reduction_indices`."""

    shape = _reduced
    kernel = _summing(np.sum)

    def grad(op, d):
        return _sum_grad(op, d), None


def _mean(x, axes, inside, keepdims):
    total = np.sum(x, axes, inside, keepdims=keepdims)
    count = _math.prod(x.shape[a] for a in axes)
    if np.dtype(inside).kind not in "iu":
        return np.divide(total, np.dtype(inside).type(count))
    if count == 0:
        raise errors.InvalidArgumentError.of("Integer division by zero")
    # Rounded towards zero.
    return (np.sign(total) * (np.abs(total) // count)).astype(inside)


@op(
    "Mean",
    inputs="input: T, reduction_indices: Tidx",
    outputs="output: T",
    attrs=["keep_dims: bool = false", "T: numbertype", "Tidx: {int32, int64} = DT_INT32"],
)
class mean_:
    """The mean of the elements along `reduction_indices`."""

    shape = _reduced
    kernel = _summing(_mean)

    def grad(op, d):
        total = _sum_grad(op, d)
        before, after = op.inputs[0].static_shape, op.outputs[0].static_shape
        if before is not None and after is not None and None not in before and None not in after:
            count = _math.prod(before) // max(_math.prod(after), 1)
            factor: Any = constant(count, dtype=total.dtype)
        else:
            before, after = array_ops.shape(op.inputs[0]), array_ops.shape(op.outputs[0])
            factor = _safe_shape_div(reduce_prod(before), reduce_prod(after))
        return division.truediv(total, casting.cast(factor, total.dtype)), None


@op(
    "Prod",
    inputs="input: T, reduction_indices: Tidx",
    outputs="output: T",
    attrs=["keep_dims: bool = false", "T: numbertype", "Tidx: {int32, int64} = DT_INT32"],
)
class prod_:
    """The product of the elements along `reduction_indices`."""

    shape = _reduced
    kernel = _summing(np.prod)

    def grad(op, d):
        x = op.inputs[0]
        shape = array_ops.shape(x)
        axes = array_ops.reshape(op.inputs[1], [-1])
        kept = reduced_shape(shape, op.inputs[1])
        scaling = _safe_shape_div(shape, kept)
        d = layout.tile(array_ops.reshape(d, kept), scaling)
        # The reduced dimensions are brought to the front and made one; there, the product of all other
        # elements is the running product from the left times the one from the right.
        with device("/cpu:0"):
            rank = array_ops.rank(x)
            reduced = casting.cast((axes + rank) % rank, dtypes.int32)
            idx = ranges.range(0, rank)
            other, _ = gather_ops.setdiff1d(idx, reduced)
            perm = joining.concat([reduced, other], 0)
            reduced_num = reduce_prod(gather_ops.gather(shape, reduced))
            other_num = reduce_prod(gather_ops.gather(shape, other))
        permuted = layout.transpose(x, perm)
        permuted_shape = array_ops.shape(permuted)
        reshaped = array_ops.reshape(permuted, (reduced_num, other_num))
        left = cumprod(reshaped, axis=0, exclusive=True)
        right = cumprod(reshaped, axis=0, exclusive=True, reverse=True)
        y = array_ops.reshape(math_ops.conj(left) * math_ops.conj(right), permuted_shape)
        out = d * layout.transpose(y, layout.invert_permutation(perm))
        return array_ops.reshape(out, shape), None


def _extreme(function, least):
    """The kernel of np.max or np.min; of no elements, the result is the least or greatest value."""

    def kernel(ctx, input, reduction_indices):
        attrs = ctx.attrs
        axes = _axes(input, reduction_indices)
        if not axes:
            return input
        if input.size == 0:
            dtype = attrs["T"]
            limit = (
                (-np.inf if least else np.inf) if dtype.is_floating else (dtype.min if least else dtype.max)
            )
            return function(input, axes, keepdims=attrs["keep_dims"], initial=dtype.np.type(limit))
        return function(input, axes, keepdims=attrs["keep_dims"])

    return kernel


def _extreme_grad(op, d):
    shape = array_ops.shape(op.inputs[0])
    kept = reduced_shape(shape, op.inputs[1])
    y = array_ops.reshape(op.outputs[0], kept)
    d = array_ops.reshape(d, kept)
    # Elements that are equally extreme share the gradient.
    indicators = casting.cast(comparison.equal(y, op.inputs[0]), d.dtype)
    selected = array_ops.reshape(reduce_sum(indicators, op.inputs[1]), kept)
    return division.divide(indicators, selected) * d, None


@op(
    "Max",
    inputs="input: T, reduction_indices: Tidx",
    outputs="output: T",
    attrs=["keep_dims: bool = false", "T: numbertype", "Tidx: {int32, int64} = DT_INT32"],
)
class max_:
    """The greatest of the elements along `reduction_indices`."""

    shape = _reduced
    kernel = _extreme(np.max, True)
    grad = _extreme_grad


@op(
    "Min",
    inputs="input: T, reduction_indices: Tidx",
    outputs="output: T",
    attrs=["keep_dims: bool = false", "T: numbertype", "Tidx: {int32, int64} = DT_INT32"],
)
class min_:
    """The least of the elements along `reduction_indices`."""

    shape = _reduced
    kernel = _extreme(np.min, False)
    grad = _extreme_grad


def _logical(function):
    def kernel(ctx, input, reduction_indices):
        return function(input, _axes(input, reduction_indices), keepdims=ctx.attrs["keep_dims"])

    return kernel


@op(
    "All",
    inputs="input: bool, reduction_indices: Tidx",
    outputs="output: bool",
    attrs=["keep_dims: bool = false", "Tidx: {int32, int64} = DT_INT32"],
)
class all_:
    """Whether all elements along `reduction_indices` are true."""

    shape = _reduced
    kernel = _logical(np.all)
    grad = NOT_DIFFERENTIABLE


@op(
    "Any",
    inputs="input: bool, reduction_indices: Tidx",
    outputs="output: bool",
    attrs=["keep_dims: bool = false", "Tidx: {int32, int64} = DT_INT32"],
)
class any_:
    """Whether one of the elements along `reduction_indices` is true."""

    shape = _reduced
    kernel = _logical(np.any)
    grad = NOT_DIFFERENTIABLE


def _norm(x, axes, inside, keepdims):
    squares = np.multiply(x, np.conj(x))
    return np.sqrt(np.sum(squares, axes, inside, keepdims=keepdims))


@op(
    "EuclideanNorm",
    inputs="input: T, reduction_indices: Tidx",
    outputs="output: T",
    attrs=["keep_dims: bool = false", "T: numbertype", "Tidx: {int32, int64} = DT_INT32"],
)
class euclidean_norm:
    """The square root of the sum of squares along `reduction_indices`."""

    shape = _reduced
    kernel = _summing(_norm)
    grad = NOT_DIFFERENTIABLE


# -- where the extreme is -----------------------------------------------------------------------------------


def _without_axis(c, input, dimension):
    with_rank(dimension, 0)
    if input is None:
        return None
    axis = c.constant_value(1)
    if axis is None:
        return (None,) * (len(input) - 1)
    axis = int(axis)
    if not -len(input) <= axis < len(input):
        raise ValueError(f"Dimension must be in the range [{-len(input)}, {len(input)}), but got {axis}")
    axis %= len(input)
    return (*input[:axis], *input[axis + 1 :])


def _arg(function):
    def kernel(ctx, input, dimension):
        if dimension.ndim:
            raise errors.InvalidArgumentError.of(
                f"dim must be a scalar, but received tensor of shape: {dims_text(dimension)}"
            )
        rank, axis = len(input.shape), int(dimension)
        if not -rank <= axis < rank:
            raise errors.InvalidArgumentError.of(
                f"Expected dimension in the range [{-rank}, {rank}), but got {axis}"
            )
        if input.shape[axis] == 0:
            raise errors.InvalidArgumentError.of(
                f"Reduction axis {axis} is empty in shape {dims_text(input)}"
            )
        return function(input, axis).astype(ctx.attrs["output_type"].np)

    return kernel


def _no_grads(op, d):
    return None, None


@op(
    "ArgMax",
    inputs="input: T, dimension: Tidx",
    outputs="output: output_type",
    attrs=["T: numbertype", "Tidx: {int32, int64} = DT_INT32", "output_type: {int32, int64} = DT_INT64"],
)
class arg_max:
    """The index of the greatest element along `dimension`; the first of equal ones."""

    shape = _without_axis
    kernel = _arg(np.argmax)
    grad = _no_grads


@op(
    "ArgMin",
    inputs="input: T, dimension: Tidx",
    outputs="output: output_type",
    attrs=["T: numbertype", "Tidx: {int32, int64} = DT_INT32", "output_type: {int32, int64} = DT_INT64"],
)
class arg_min:
    """The index of the least element along `dimension`; the first of equal ones."""

    shape = _without_axis
    kernel = _arg(np.argmin)
    grad = _no_grads


def _argument(function, input, axis, name, dimension, output_type):
    if dimension is not None:
        if axis is not None:
            raise ValueError("Cannot specify both 'axis' and 'dimension'")
        axis = dimension
    return function(input, 0 if axis is None else axis, output_type=output_type, name=name)


def argmax(
    input: Any,
    axis: Any = None,
    name: str | None = None,
    dimension: Any = None,
    output_type: Any = dtypes.int64,
) -> Tensor:
    """The index of the greatest element along `axis` (0 by default)."""
    found: Tensor = _argument(arg_max, input, axis, name, dimension, output_type)
    return found


def argmin(
    input: Any,
    axis: Any = None,
    name: str | None = None,
    dimension: Any = None,
    output_type: Any = dtypes.int64,
) -> Tensor:
    """The index of the least element along `axis` (0 by default)."""
    found: Tensor = _argument(arg_min, input, axis, name, dimension, output_type)
    return found


# -- running sums and products -------------------------------------------------------------------------------


def _running(function, neutral):
    def kernel(ctx, x, axis):
        rank, at = len(x.shape), int(axis)
        if rank == 0:
            return x if not ctx.attrs["exclusive"] else x.dtype.type(neutral)
        if not -rank <= at < rank:
            raise errors.InvalidArgumentError.of(
                f"ScanOp: Expected scan axis in the range [{-rank}, {rank}), but got {at}"
            )
        line = np.moveaxis(x, at, 0)
        if ctx.attrs["reverse"]:
            line = line[::-1]
        out = np.empty_like(line)
        if ctx.attrs["exclusive"]:
            if len(line):
                out[0] = neutral
                function(line[:-1], axis=0, dtype=x.dtype, out=out[1:])
        else:
            function(line, axis=0, dtype=x.dtype, out=out)
        if ctx.attrs["reverse"]:
            out = out[::-1]
        return np.ascontiguousarray(np.moveaxis(out, 0, at))

    return kernel


@op(
    "Cumsum",
    inputs="x: T, axis: Tidx",
    outputs="out: T",
    attrs=[
        "exclusive: bool = false",
        "reverse: bool = false",
        "T: numbertype",
        "Tidx: {int32, int64} = DT_INT32",
    ],
)
class cumsum_:
    """The sums of the elements up to each one along `axis`."""

    shape = same_as(0)
    kernel = _running(np.cumsum, 0)

    def grad(op, d):
        attrs = op.attrs
        return cumsum(d, op.inputs[1], exclusive=attrs["exclusive"], reverse=not attrs["reverse"]), None


@op(
    "Cumprod",
    inputs="x: T, axis: Tidx",
    outputs="out: T",
    attrs=[
        "exclusive: bool = false",
        "reverse: bool = false",
        "T: numbertype",
        "Tidx: {int32, int64} = DT_INT32",
    ],
)
class cumprod_:
    """The products of the elements up to each one along `axis`."""

    shape = same_as(0)
    kernel = _running(np.cumprod, 1)

    def grad(op, d):
        x, axis = op.inputs
        exclusive, reverse = op.attrs["exclusive"], op.attrs["reverse"]
        prod = cumprod(x, axis, exclusive=exclusive, reverse=reverse)
        return cumsum(prod * d, axis, exclusive=exclusive, reverse=not reverse) / x, None


def cumsum(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """The sums of the elements up to each one along `axis`.

    Args:
      exclusive: the element itself is left out.
      reverse: from the end.
    """
    with name_scope(name, "Cumsum", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return cumsum_(x, axis, exclusive=exclusive, reverse=reverse, name=scope)


def cumprod(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """The products of the elements up to each one along `axis`; see `cumsum`."""
    with name_scope(name, "Cumprod", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return cumprod_(x, axis, exclusive=exclusive, reverse=reverse, name=scope)


# -- public reductions -----------------------------------------------------------------------------


def all_dimensions(x: Any) -> Tensor:
    """All dimensions of `x`: a constant for a Tensor or SparseTensor whose rank is known.

    For anything else, such as a variable, TensorFlow builds a range up to the rank.
    """
    if not isinstance(x, (Tensor, SparseTensor)):
        return ranges.range(0, array_ops.rank(x))
    if isinstance(x, SparseTensor):
        shape = x.dense_shape.static_shape
        rank = None if shape is None else shape[0]
    else:
        rank = None if x.static_shape is None else len(x.static_shape)
    if rank is not None:
        return constant(np.arange(rank), dtype=dtypes.int32)
    return ranges.range(0, array_ops.rank(x))


def _reduction(function: Any, what: str) -> Any:
    def reduce(
        input_tensor: Any,
        axis: Any = None,
        keepdims: bool | None = None,
        name: str | None = None,
        reduction_indices: Any = None,
        keep_dims: bool | None = None,
    ) -> Tensor:
        x = input_tensor
        keep = _keeping(keepdims, keep_dims)
        axes = _chosen_axis(axis, reduction_indices)
        out = function(x, all_dimensions(x) if axes is None else axes, keep_dims=keep, name=name)
        return _to_scalar(out, axes, keep)

    reduce.__doc__ = f"""{what} over `axis` (an int, a list or a tensor; None is all dimensions).

    Args:
      keepdims: the reduced dimensions stay, with size 1.
      reduction_indices, keep_dims: older names of axis and keepdims.
    """
    return reduce


def _to_scalar(out: Tensor, axes: Any, keep: bool) -> Tensor:
    """`out`, known to be a scalar if all dimensions were reduced."""
    if axes is None and not keep and out.static_shape is None:
        out.set_shape(())
    return out


def _keeping(keepdims: bool | None, keep_dims: bool | None) -> bool:
    if keep_dims is not None and keepdims is not None:
        raise ValueError("Cannot specify both 'keepdims' and 'keep_dims'")
    return bool(keep_dims if keepdims is None else keepdims)


def _chosen_axis(axis: Any, reduction_indices: Any) -> Any:
    if axis is not None and reduction_indices is not None:
        raise ValueError("Cannot specify both 'axis' and 'reduction_indices'")
    return reduction_indices if axis is None else axis


reduce_sum: Callable[..., Tensor] = _reduction(sum_, "The sum of the elements")
reduce_mean: Callable[..., Tensor] = _reduction(mean_, "The mean of the elements")
reduce_prod: Callable[..., Tensor] = _reduction(prod_, "The product of the elements")
reduce_max: Callable[..., Tensor] = _reduction(max_, "The greatest of the elements")
reduce_min: Callable[..., Tensor] = _reduction(min_, "The least of the elements")
reduce_all: Callable[..., Tensor] = _reduction(all_, "Whether all elements are true")
reduce_any: Callable[..., Tensor] = _reduction(any_, "Whether one of the elements is true")
reduce_euclidean_norm: Callable[..., Tensor] = _reduction(
    euclidean_norm, "The square root of the sum of squares"
)


def reduce_logsumexp(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """log(sum(exp(x))) over `axis`, without overflow; arguments as `reduce_sum` has."""
    keep = _keeping(keepdims, keep_dims)
    axis = _chosen_axis(axis, reduction_indices)
    input_tensor = convert_to_tensor(input_tensor)
    with name_scope(name, "ReduceLogSumExp", [input_tensor]):
        raw_max = reduce_max(input_tensor, axis=axis, keepdims=True)
        finite = selection.where(unary_ops.is_finite(raw_max), raw_max, array_ops.zeros_like(raw_max))
        greatest = array_ops.stop_gradient(finite)
        result = unary_ops.log(
            reduce_sum(unary_ops.exp(math_ops.sub(input_tensor, greatest)), axis, keepdims=keep)
        )
        if not keep:
            greatest = array_ops.reshape(greatest, array_ops.shape(result))
        return _to_scalar(math_ops.add(result, greatest), axis, keep)


def reduce_variance(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The mean of the squared distances from the mean."""
    with name_scope(name or "reduce_variance"):
        means = reduce_mean(input_tensor, axis=axis, keepdims=True)
        squared = unary_ops.square(input_tensor - means)
        found: Tensor = reduce_mean(squared, axis=axis, keepdims=keepdims)
        return found


def reduce_std(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The square root of `reduce_variance`."""
    with name_scope(name or "reduce_std"):
        return unary_ops.sqrt(reduce_variance(input_tensor, axis=axis, keepdims=keepdims))


def count_nonzero(
    input_tensor: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
    dtype: Any = dtypes.int64,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """The number of elements that are not zero (not empty) over `axis`."""
    keep = _keeping(keepdims, keep_dims)
    axis = _chosen_axis(axis, reduction_indices)
    with name_scope(name, "count_nonzero", [input_tensor]):
        x = convert_to_tensor(input_tensor, name="input")
        zero = array_ops.zeros([], dtype=x.dtype)
        not_zero = casting.cast(comparison.not_equal(x, zero), dtypes.int64)
        found: Tensor = casting.cast(reduce_sum(not_zero, axis=axis, keepdims=keep), dtype=dtype)
        return found
