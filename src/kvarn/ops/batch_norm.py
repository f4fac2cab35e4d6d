"""Batch normalisation in one operation, and normalisation over neighbouring channels.

Source: tensorflow/core/kernels/{fused_batch_norm_op,lrn_op}.cc, python/ops/{nn_grad,nn_impl}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.reduction as reduction_ops
import kvarn.ops.unary as unary_ops
from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.gradients import gradients
from kvarn.graph.op import op
from kvarn.graph.shape_inference import merge_dim, same_as, with_rank
from kvarn.graph.tensor import Tensor
from kvarn.ops import math as math_ops
from kvarn.ops._windows import channels_first, from_last, to_last

_OPTIONS = [
    "epsilon: float = 0.0001",
    "data_format: {'NHWC', 'NCHW'} = 'NHWC'",
    "is_training: bool = true",
]
_V1 = ["T: {float}", *_OPTIONS]
_V2 = ["T: {half, bfloat16, float}", "U: {float}", *_OPTIONS]

# cuDNN takes none that is less.
_MIN_EPSILON = 1.001e-5


def _normal_shape(outputs):
    def shape(c, x, scale, offset, mean, variance):
        full = with_rank(x, 4)
        axis = 1 if channels_first(c.attrs["data_format"]) else 3
        channels = full[axis]
        for vector in (scale, offset) if c.attrs["is_training"] else (scale, offset, mean, variance):
            channels = merge_dim(channels, with_rank(vector, 1)[0])
        found = [(*full[:axis], channels, *full[axis + 1 :]), *[(channels,)] * 4]
        return found if outputs == 5 else [*found, None]

    return shape


def _normalize(ctx, x, scale, offset, mean, variance):
    form = ctx.attrs["data_format"]
    values = to_last(x, form).astype(np.float32, copy=False)
    if ctx.attrs["is_training"]:
        count = values.size // max(values.shape[-1], 1)
        mean = values.mean(axis=(0, 1, 2))
        centred = values - mean
        saved = np.square(centred).mean(axis=(0, 1, 2))
        # What the moving averages get is not biased.
        variance = saved * np.float32(count / max(count - 1, 1))
    else:
        centred, saved = values - mean, variance
    y = centred * (scale / np.sqrt(saved + np.float32(ctx.attrs["epsilon"]))) + offset
    return from_last(y.astype(x.dtype, copy=False), form), mean, variance, mean, saved


def _normalize_v3(ctx, x, scale, offset, mean, variance):
    return (*_normalize(ctx, x, scale, offset, mean, variance), np.zeros((), np.float32))


def _backprop_shape(c, y_backprop, x, scale, *reserved):
    full = with_rank(y_backprop, 4)
    axis = 1 if channels_first(c.attrs["data_format"]) else 3
    channels = merge_dim(full[axis], with_rank(x, 4)[axis])
    vectors = (scale, *reserved[:2])
    for vector in vectors:
        channels = merge_dim(channels, with_rank(vector, 1)[0])
    return [(*full[:axis], channels, *full[axis + 1 :]), (channels,), (channels,), (0,), (0,)]


def _backprop(ctx, y_backprop, x, scale, mean, variance):
    form = ctx.attrs["data_format"]
    d = to_last(y_backprop, form).astype(np.float32, copy=False)
    centred = to_last(x, form).astype(np.float32, copy=False) - mean
    inverse = 1 / np.sqrt(variance + np.float32(ctx.attrs["epsilon"]))
    over = (0, 1, 2)
    d_offset = d.sum(axis=over)
    products = (d * centred).sum(axis=over)
    if ctx.attrs["is_training"]:
        count = np.float32(d.size // max(d.shape[-1], 1))
        d = d - d_offset / count - centred * (np.square(inverse) * products / count)
    dx = from_last((d * (scale * inverse)).astype(x.dtype, copy=False), form)
    unused = np.zeros((), np.float32)
    return dx, products * inverse, d_offset, unused, unused


def _gradient(backprop, of_v3=False):
    """The gradient function of one version."""

    def grad(op, d, *unused):
        x, scale, form = op.inputs[0], op.inputs[1], op.attrs["data_format"]
        options = {name: op.attrs[name] for name in ("epsilon", "is_training")}
        last = (op.outputs[5],) if of_v3 else ()
        if op.attrs["is_training"]:
            reserved = (op.outputs[3], op.outputs[4], *last)
            dx, d_scale, d_offset, *rest = backprop(d, x, scale, *reserved, data_format=form, **options)
            return dx, d_scale, d_offset, *rest
        first = channels_first(form)
        if first:
            x = array_ops.transpose(x, [0, 2, 3, 1])
            d = array_ops.transpose(d, [0, 2, 3, 1])
        reserved = (op.inputs[3], op.inputs[4], *last)
        dx, d_scale, d_offset, *_ = backprop(d, x, scale, *reserved, data_format="NHWC", **options)
        if first:
            dx = array_ops.transpose(dx, [0, 3, 1, 2])
        return dx, d_scale, d_offset, None, None

    return grad


def _in_parts(d, x, scale, mean, variance, epsilon, data_format, is_training):
    """What a backprop operation computes, in operations that have gradients."""
    kind = x.dtype.base_dtype
    if kind is dtypes.float16:
        x, d = casting.cast(x, dtypes.float32), casting.cast(d, dtypes.float32)
    first = channels_first(data_format)
    axes = [0, 2, 3] if first else [0, 1, 2]

    def along(vector):
        return array_ops.reshape(vector, [1, array_ops.size(vector), 1, 1]) if first else vector

    scale = along(scale)
    d_offset = reduction_ops.reduce_sum(d, axis=axes)
    if not is_training:
        mean, inverse = along(mean), unary_ops.rsqrt(along(variance) + epsilon)
        d_scale = reduction_ops.reduce_sum(d * (x - mean) * inverse, axis=axes)
        return casting.cast(d * scale * inverse, kind), d_scale, d_offset
    mean = reduction_ops.reduce_mean(x, axes, keepdims=first)
    variance = reduction_ops.reduce_mean(
        math_ops.squared_difference(x, array_ops.stop_gradient(mean)), axes, keepdims=first
    )
    inverse = unary_ops.rsqrt(variance + epsilon)
    centred = x - mean
    share = reduction_ops.reduce_mean(d * centred, axis=axes, keepdims=first)
    d_centred = d - reduction_ops.reduce_mean(d, axes, keepdims=first)
    dx = scale * inverse * (d_centred - unary_ops.reciprocal(variance + epsilon) * share * centred)
    d_scale = inverse * reduction_ops.reduce_sum(d * centred, axis=axes, keepdims=first)
    if first:
        d_scale = array_ops.squeeze(d_scale)
    return casting.cast(dx, kind), d_scale, d_offset


def _second(op, d_dx, d_d_scale, d_d_offset, *unused):
    """The gradient of a backprop operation."""
    inputs = op.inputs
    options = [op.attrs[name] for name in ("epsilon", "data_format", "is_training")]
    made = _in_parts(*inputs[:5], *options)
    given = [(y, d) for y, d in zip(made, (d_dx, d_d_scale, d_d_offset), strict=True) if d is not None]
    leaves = list(inputs[:3])
    # They may depend on one another, which is no matter of this operation.
    found = gradients([y for y, _ in given], leaves, [d for _, d in given], stop_gradients=leaves)
    return [*found, *[None] * (len(inputs) - 3)]


@op(
    "FusedBatchNorm",
    inputs="x: T, scale: T, offset: T, mean: T, variance: T",
    outputs="y: T, batch_mean: T, batch_variance: T, reserve_space_1: T, reserve_space_2: T",
    attrs=_V1,
)
class fused_batch_norm_v1_:
    """`x` [batch, height, width, channels] less its mean over its standard deviation, times `scale`, plus `offset`.

    While training mean and variance are those of `x`, which are outputs (the variance without bias), else inputs.
    """

    shape = _normal_shape(5)
    kernel = _normalize

    grad = _gradient(lambda *args, **kwargs: fused_batch_norm_grad(*args, **kwargs))


@op(
    "FusedBatchNormV2",
    inputs="x: T, scale: U, offset: U, mean: U, variance: U",
    outputs="y: T, batch_mean: U, batch_variance: U, reserve_space_1: U, reserve_space_2: U",
    attrs=_V2,
)
class fused_batch_norm_v2_:
    """`FusedBatchNorm`, of short floats too."""

    shape = _normal_shape(5)
    kernel = _normalize

    grad = _gradient(lambda *args, **kwargs: fused_batch_norm_grad_v2(*args, **kwargs))


@op(
    "FusedBatchNormV3",
    inputs="x: T, scale: U, offset: U, mean: U, variance: U",
    outputs=(
        "y: T, batch_mean: U, batch_variance: U, reserve_space_1: U, reserve_space_2: U, reserve_space_3: U"
    ),
    attrs=_V2,
)
class fused_batch_norm_v3_:
    """`FusedBatchNormV2` with one more output that its gradient takes."""

    shape = _normal_shape(6)
    kernel = _normalize_v3

    grad = _gradient(lambda *args, **kwargs: fused_batch_norm_grad_v3(*args, **kwargs), of_v3=True)


@op(
    "FusedBatchNormGrad",
    inputs="y_backprop: T, x: T, scale: T, reserve_space_1: T, reserve_space_2: T",
    outputs="x_backprop: T, scale_backprop: T, offset_backprop: T, reserve_space_3: T, reserve_space_4: T",
    attrs=_V1,
)
class fused_batch_norm_grad:
    """The gradient of `FusedBatchNorm` for `x`, `scale` and `offset`."""

    shape = _backprop_shape

    def kernel(ctx, y_backprop, x, scale, reserve_space_1, reserve_space_2):
        return _backprop(ctx, y_backprop, x, scale, reserve_space_1, reserve_space_2)

    grad = _second


@op(
    "FusedBatchNormGradV2",
    inputs="y_backprop: T, x: T, scale: float, reserve_space_1: U, reserve_space_2: U",
    outputs="x_backprop: T, scale_backprop: U, offset_backprop: U, reserve_space_3: U, reserve_space_4: U",
    attrs=_V2,
)
class fused_batch_norm_grad_v2:
    """The gradient of `FusedBatchNormV2` for `x`, `scale` and `offset`."""

    shape = _backprop_shape

    def kernel(ctx, y_backprop, x, scale, reserve_space_1, reserve_space_2):
        return _backprop(ctx, y_backprop, x, scale, reserve_space_1, reserve_space_2)

    grad = _second


@op(
    "FusedBatchNormGradV3",
    inputs=("y_backprop: T, x: T, scale: float, reserve_space_1: U, reserve_space_2: U, reserve_space_3: U"),
    outputs="x_backprop: T, scale_backprop: U, offset_backprop: U, reserve_space_4: U, reserve_space_5: U",
    attrs=_V2,
)
class fused_batch_norm_grad_v3:
    """The gradient of `FusedBatchNormV3` for `x`, `scale` and `offset`."""

    shape = _backprop_shape

    def kernel(ctx, y_backprop, x, scale, reserve_space_1, reserve_space_2, reserve_space_3):
        return _backprop(ctx, y_backprop, x, scale, reserve_space_1, reserve_space_2)

    grad = _second


def fused_batch_norm(
    x: Any,
    scale: Any,
    offset: Any,
    mean: Any = None,
    variance: Any = None,
    epsilon: float = 0.001,
    data_format: str = "NHWC",
    is_training: bool = True,
    name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`x` normalised over all dimensions but that of the channels.

    Args:
      x: [batch, height, width, channels], or as ``data_format`` says.
      scale, offset: [channels], what the normalised values are multiplied with, and what is added.
      mean, variance: [channels], unless ``is_training``.
      epsilon: added to the variance; at least 1.001e-5.

    Returns:
      The normalised tensor, and the mean and the variance, without bias, of the batch.

    Raises:
      ValueError: mean or variance is given while training.
    """
    x = convert_to_tensor(x, name="input")
    scale = convert_to_tensor(scale, name="scale")
    offset = convert_to_tensor(offset, name="offset")
    if is_training and (mean is not None or variance is not None):
        raise ValueError("Both 'mean' and 'variance' must be None if is_training is True.")
    mean = constant([]) if mean is None else mean
    variance = constant([]) if variance is None else variance
    y, batch_mean, batch_variance, *_ = fused_batch_norm_v3_(
        x,
        scale,
        offset,
        mean,
        variance,
        epsilon=max(epsilon, _MIN_EPSILON),
        data_format=data_format,
        is_training=is_training,
        name=name,
    )
    return y, batch_mean, batch_variance


# -- over neighbouring channels --------------------------------------------------------------------

_LRN = [
    "depth_radius: int = 5",
    "bias: float = 1.0",
    "alpha: float = 1.0",
    "beta: float = 0.5",
    "T: {half, bfloat16, float} = DT_FLOAT",
]


def _over_neighbours(x, radius):
    """For each channel the sum over the channels at most ``radius`` away."""
    channels = x.shape[-1]
    sums = np.zeros((*x.shape[:-1], channels + 1), x.dtype)
    np.cumsum(x, axis=-1, out=sums[..., 1:])
    at = np.arange(channels)
    return sums[..., np.minimum(at + radius + 1, channels)] - sums[..., np.maximum(at - radius, 0)]


def _norms(attrs, x):
    return attrs["bias"] + attrs["alpha"] * _over_neighbours(np.square(x), attrs["depth_radius"])


@op("LRN", inputs="input: T", outputs="output: T", attrs=_LRN)
class lrn:
    """`input` [batch, height, width, channels] over (bias + alpha · Σ squares of neighbours) to the power of beta."""

    def shape(c, input):
        return with_rank(input, 4)

    def kernel(ctx, input):
        x = input.astype(np.float64)
        return (x / _norms(ctx.attrs, x) ** ctx.attrs["beta"]).astype(input.dtype)

    def grad(op, d):
        options = {name: op.attrs[name] for name in ("depth_radius", "bias", "alpha", "beta")}
        return lrn_grad(d, op.inputs[0], op.outputs[0], **options)


@op("LRNGrad", inputs="input_grads: T, input_image: T, output_image: T", outputs="output: T", attrs=_LRN)
class lrn_grad:
    """The gradient of `LRN`."""

    shape = same_as(0)

    def kernel(ctx, input_grads, input_image, output_image):
        attrs = ctx.attrs
        d, x, y = (a.astype(np.float64) for a in (input_grads, input_image, output_image))
        norms = _norms(attrs, x)
        through = _over_neighbours(d * y / norms, attrs["depth_radius"])
        found = d * norms ** -attrs["beta"] - 2 * attrs["alpha"] * attrs["beta"] * x * through
        return found.astype(input_grads.dtype)
