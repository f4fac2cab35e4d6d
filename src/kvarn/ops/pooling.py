"""The greatest element and the mean of each window, and their gradients.

Source: tensorflow/core/ops/nn_ops.cc, core/kernels/{maxpooling_op,avgpooling_op}.cc, python/ops/nn_grad.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
from kvarn import errors
from kvarn.graph.op import op
from kvarn.graph.shape_inference import merge, with_rank
from kvarn.ops._windows import (
    channels_first,
    from_last,
    in_format,
    inner,
    output_size,
    to_last,
    wide,
    windows,
)

_FLOATS = "T: {half, bfloat16, float, double}"
_SIZES = ["ksize: list(int) >= 4", "strides: list(int) >= 4", "padding: {'SAME', 'VALID'}"]
_SIZES3D = ["ksize: list(int) >= 5", "strides: list(int) >= 5", "padding: {'SAME', 'VALID'}"]
_FORMAT = "data_format: {'NHWC', 'NCHW'} = 'NHWC'"
_FORMAT3D = "data_format: {'NDHWC', 'NCDHW'} = 'NDHWC'"


def _options(op: Any) -> dict[str, Any]:
    return {name: op.attrs[name] for name in ("ksize", "strides", "padding", "data_format")}


def _zeros_of(x):
    return array_ops.zeros(shape=array_ops.shape(x), dtype=x.dtype)


def _channel(values, data_format):
    return values[1] if channels_first(data_format) else values[-1]


def _pooled(name, rank, over_channels=False):
    def shape(c, input):
        form = c.attrs["data_format"]
        x = with_rank(input, rank)
        for key, what in (("strides", "stride"), ("ksize", "ksize")):
            if len(c.attrs[key]) != rank:
                raise ValueError(
                    f"{name} requires the {what} attribute to contain {rank} values, but got: {len(c.attrs[key])}"
                )
        window, strides, padding = c.attrs["ksize"], c.attrs["strides"], c.attrs["padding"]
        sizes = [
            output_size(size, k, stride, padding)
            for size, k, stride in zip(inner(x, form), inner(window, form), inner(strides, form), strict=True)
        ]
        channels = _channel(x, form)
        if over_channels:
            channels = output_size(channels, _channel(window, form), _channel(strides, form), padding)
        return in_format(x[0], sizes, channels, form)

    return shape


def _like_first(c, first, second, third):
    return first


def _like_second(c, first, second, third):
    return merge(second, with_rank(second, len(c.attrs["ksize"])))


def _described(c, orig_input_shape, grad):
    return with_rank(c.constant_shape(0), len(c.attrs["ksize"]))


def _geometry(attrs, shape):
    """The windows over an input whose shape is given with the channels last."""
    form, window, strides = attrs["data_format"], attrs["ksize"], attrs["strides"]
    if window[0] != 1 or strides[0] != 1:
        raise errors.UnimplementedError.of("Pooling is not yet supported on the batch dimension.")
    return windows(shape[1:-1], inner(window, form), inner(strides, form), attrs["padding"])


def _check_rank(x, attrs):
    rank = len(attrs["ksize"])
    if x.ndim != rank:
        raise errors.InvalidArgumentError.of(
            f"tensor_in_shape must have {rank - 2} spatial dimensions. {x.ndim} {max(x.ndim - 2, 0)}"
        )


# -- the greatest ----------------------------------------------------------------------------------


def _least(dtype):
    if dtype.kind in "iu":
        return np.iinfo(dtype).min
    return dtype.type(-np.inf)


def _over_channels(attrs):
    """Windows over the channels, as strange views on windows over a dimension; None if there are none."""
    form = attrs["data_format"]
    k, stride = _channel(attrs["ksize"], form), _channel(attrs["strides"], form)
    if k == 1 and stride == 1:
        return None
    if any(n != 1 for n in inner(attrs["ksize"], form)):
        raise errors.UnimplementedError.of(
            "MaxPooling supports exactly one of pooling across depth or pooling across width/height."
        )
    if k != stride:
        raise errors.UnimplementedError.of(
            "Depthwise max pooling requires the depth window to equal the depth stride."
        )
    return k


def _grouped(x, k):
    """[..., channels] as [..., channels / k, k]."""
    if x.shape[-1] % k:
        raise errors.UnimplementedError.of(
            "Depthwise max pooling requires the depth window to evenly divide the input depth."
        )
    return x.reshape(*x.shape[:-1], x.shape[-1] // k, k)


def _max_pool(ctx, input):
    _check_rank(input, ctx.attrs)
    form = ctx.attrs["data_format"]
    x = to_last(input, form)
    k = _over_channels(ctx.attrs)
    if k is not None:
        return from_last(_grouped(x, k).max(axis=-1), form)
    w = _geometry(ctx.attrs, x.shape)
    padded = w.padded(x, _least(x.dtype))
    places = (where for _, where in w.places())
    y = padded[next(places)].copy()
    for where in places:
        np.maximum(y, padded[where], out=y)
    return from_last(y, form)


def _first_greatest(w, x, y):
    """For each place in the windows, where in ``y`` the greatest element is first met there."""
    padded = w.padded(x, _least(x.dtype))
    waiting = np.ones(y.shape, np.bool_)
    for _, where in w.places():
        here = waiting & (padded[where] == y)
        waiting &= ~here
        yield where, here


def _max_pool_grad(ctx, orig_input, orig_output, grad):
    _check_rank(orig_input, ctx.attrs)
    form = ctx.attrs["data_format"]
    x, y, d = (to_last(t, form) for t in (orig_input, orig_output, grad))
    k = _over_channels(ctx.attrs)
    if k is not None:
        raise errors.UnimplementedError.of("MaxPoolingGrad is not yet supported on the depth dimension.")
    w = _geometry(ctx.attrs, x.shape)
    if y.shape != (x.shape[0], *w.counts, x.shape[-1]) or d.shape != y.shape:
        raise errors.InvalidArgumentError.of(
            f"Expected orig_output and grad of the pooled shape, got {list(y.shape)} and {list(d.shape)}"
        )
    padded = w.zeros(x.shape[0], x.shape[-1], wide(d).dtype)
    for where, here in _first_greatest(w, x, y):
        padded[where] += np.where(here, d, d.dtype.type(0))
    return from_last(w.cropped(padded).astype(grad.dtype), form)


def _max_pool_grad_grad(ctx, orig_input, orig_output, grad):
    _check_rank(orig_input, ctx.attrs)
    form = ctx.attrs["data_format"]
    x, y, d = (to_last(t, form) for t in (orig_input, orig_output, grad))
    if _over_channels(ctx.attrs) is not None:
        raise errors.UnimplementedError.of("MaxPoolingGradGrad is not yet supported on the depth dimension.")
    w = _geometry(ctx.attrs, x.shape)
    padded = w.padded(d)
    found = np.zeros(y.shape, d.dtype)
    for where, here in _first_greatest(w, x, y):
        np.copyto(found, padded[where], where=here)
    return from_last(found, form)


@op(
    "MaxPool",
    inputs="input: T",
    outputs="output: T",
    attrs=[
        "T: {half, bfloat16, float, double, int32, int64, uint8, int16, int8, uint16, qint8} = DT_FLOAT",
        *_SIZES,
        "data_format: {'NHWC', 'NCHW', 'NCHW_VECT_C'} = 'NHWC'",
    ],
)
class max_pool_:
    """The greatest element of each window of `input` [batch, height, width, channels]."""

    shape = _pooled("MaxPool", 4, over_channels=True)
    kernel = _max_pool

    def grad(op, d):
        return max_pool_grad(op.inputs[0], op.outputs[0], d, **_options(op))


@op(
    "MaxPoolGrad",
    inputs="orig_input: T, orig_output: T, grad: T",
    outputs="output: T",
    attrs=[*_SIZES, _FORMAT, "T: realnumbertype = DT_FLOAT"],
)
class max_pool_grad:
    """`grad` where the greatest element of each window is first met in `orig_input`."""

    shape = _like_first
    kernel = _max_pool_grad

    def grad(op, d):
        zeros = [_zeros_of(x) for x in op.inputs[:2]]
        return [*zeros, max_pool_grad_grad(op.inputs[0], op.inputs[1], d, **_options(op))]


@op(
    "MaxPoolGradGrad",
    inputs="orig_input: T, orig_output: T, grad: T",
    outputs="output: T",
    attrs=[*_SIZES, _FORMAT, "T: realnumbertype"],
)
class max_pool_grad_grad:
    """Of `grad`, which is like `orig_input`, the elements where the greatest of each window are."""

    shape = _like_second
    kernel = _max_pool_grad_grad

    def grad(op, d):
        zeros = [_zeros_of(x) for x in op.inputs[:2]]
        return [*zeros, max_pool_grad(op.inputs[0], op.inputs[1], d, **_options(op))]


@op(
    "MaxPool3D",
    inputs="input: T",
    outputs="output: T",
    attrs=[*_SIZES3D, _FORMAT3D, "T: {half, bfloat16, float}"],
)
class max_pool3d_:
    """`MaxPool` with depth, the first of three inner dimensions."""

    shape = _pooled("MaxPool3D", 5)
    kernel = _max_pool

    def grad(op, d):
        return max_pool3d_grad(op.inputs[0], op.outputs[0], d, **_options(op))


@op(
    "MaxPool3DGrad",
    inputs="orig_input: TInput, orig_output: TInput, grad: T",
    outputs="output: T",
    attrs=[
        *_SIZES3D,
        _FORMAT3D,
        "T: {half, bfloat16, float} = DT_FLOAT",
        "TInput: {half, bfloat16, float} = DT_FLOAT",
    ],
)
class max_pool3d_grad:
    """`grad` where the greatest element of each window is first met in `orig_input`."""

    shape = _like_first
    kernel = _max_pool_grad

    def grad(op, d):
        zeros = [_zeros_of(x) for x in op.inputs[:2]]
        return [*zeros, max_pool3d_grad_grad(op.inputs[0], op.inputs[1], d, **_options(op))]


@op(
    "MaxPool3DGradGrad",
    inputs="orig_input: T, orig_output: T, grad: T",
    outputs="output: T",
    attrs=[*_SIZES3D, _FORMAT3D, "T: realnumbertype"],
)
class max_pool3d_grad_grad:
    """Of `grad`, which is like `orig_input`, the elements where the greatest of each window are."""

    shape = _like_second
    kernel = _max_pool_grad_grad

    def grad(op, d):
        zeros = [_zeros_of(x) for x in op.inputs[:2]]
        return [*zeros, max_pool3d_grad(op.inputs[0], op.inputs[1], d, **_options(op))]


# -- the mean --------------------------------------------------------------------------------------


def _check_inner_only(attrs):
    if _channel(attrs["ksize"], attrs["data_format"]) != 1:
        raise errors.UnimplementedError.of("Non-spatial pooling is not yet supported. Volunteers? :)")


def _counts(w, dtype):
    """How many elements that are no padding each window has, [*counts, 1]."""
    found = np.ones(1, dtype)
    for i, (size, (before, _)) in enumerate(zip(w.sizes, w.pads, strict=True)):
        starts = np.arange(w.counts[i]) * w.strides[i] - before
        inside = np.minimum(starts + w.window[i], size) - np.maximum(starts, 0)
        found = found[..., None] * inside.astype(dtype)
    return found.reshape(*w.counts, 1)


def _avg_pool(ctx, value):
    _check_rank(value, ctx.attrs)
    _check_inner_only(ctx.attrs)
    form = ctx.attrs["data_format"]
    x = wide(to_last(value, form))
    w = _geometry(ctx.attrs, x.shape)
    padded = w.padded(x)
    y = np.zeros((x.shape[0], *w.counts, x.shape[-1]), x.dtype)
    for _, where in w.places():
        y += padded[where]
    return from_last((y / _counts(w, x.dtype)).astype(value.dtype), form)


def _avg_pool_grad(ctx, orig_input_shape, grad):
    _check_inner_only(ctx.attrs)
    form = ctx.attrs["data_format"]
    sizes = tuple(map(int, orig_input_shape))
    shape = (sizes[0], *sizes[2:], sizes[1]) if channels_first(form) else sizes
    d = wide(to_last(grad, form))
    w = _geometry(ctx.attrs, shape)
    share = d / _counts(w, d.dtype)
    padded = w.zeros(shape[0], shape[-1], d.dtype)
    for _, where in w.places():
        padded[where] += share
    return from_last(w.cropped(padded).astype(grad.dtype), form)


@op("AvgPool", inputs="value: T", outputs="output: T", attrs=[*_SIZES, _FORMAT, _FLOATS])
class avg_pool_:
    """The mean of each window of `value` [batch, height, width, channels]; padding does not count."""

    shape = _pooled("AvgPool", 4)
    kernel = _avg_pool

    def grad(op, d):
        return avg_pool_grad(array_ops.shape(op.inputs[0]), d, **_options(op))


@op(
    "AvgPoolGrad",
    inputs="orig_input_shape: int32, grad: T",
    outputs="output: T",
    attrs=[*_SIZES, _FORMAT, _FLOATS],
)
class avg_pool_grad:
    """The gradient of `AvgPool`: to each element its share of its windows."""

    shape = _described
    kernel = _avg_pool_grad

    def grad(op, d):
        return array_ops.stop_gradient(op.inputs[0]), avg_pool_(d, **_options(op))


@op("AvgPool3D", inputs="input: T", outputs="output: T", attrs=[*_SIZES3D, _FORMAT3D, _FLOATS])
class avg_pool3d_:
    """`AvgPool` with depth, the first of three inner dimensions."""

    shape = _pooled("AvgPool3D", 5)

    def kernel(ctx, input):
        return _avg_pool(ctx, input)

    def grad(op, d):
        return avg_pool3d_grad(array_ops.shape(op.inputs[0]), d, **_options(op))


@op(
    "AvgPool3DGrad",
    inputs="orig_input_shape: int32, grad: T",
    outputs="output: T",
    attrs=[*_SIZES3D, _FORMAT3D, _FLOATS],
)
class avg_pool3d_grad:
    """The gradient of `AvgPool3D`: to each element its share of its windows."""

    shape = _described
    kernel = _avg_pool_grad

    def grad(op, d):
        return array_ops.stop_gradient(op.inputs[0]), avg_pool3d_(d, **_options(op))
