"""Convolutions in two and three dimensions, those of each channel alone, and their gradients.

The kernels make one matrix of all windows and multiply.

Source: tensorflow/core/ops/nn_ops.cc, core/framework/common_shape_fns.cc, python/ops/nn_grad.py (1.15).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
from kvarn import errors
from kvarn.graph.op import op
from kvarn.graph.shape_inference import with_rank
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
_CONV2D = [
    _FLOATS,
    "strides: list(int)",
    "use_cudnn_on_gpu: bool = true",
    "padding: {'SAME', 'VALID', 'EXPLICIT'}",
    "explicit_paddings: list(int) = []",
    "data_format: {'NHWC', 'NCHW'} = 'NHWC'",
    "dilations: list(int) = [1, 1, 1, 1]",
]
_CONV3D = [
    _FLOATS,
    "strides: list(int) >= 5",
    "padding: {'SAME', 'VALID'}",
    "data_format: {'NDHWC', 'NCDHW'} = 'NDHWC'",
    "dilations: list(int) = [1, 1, 1, 1, 1]",
]
_DEPTHWISE = [
    _FLOATS,
    "strides: list(int)",
    "padding: {'SAME', 'VALID'}",
    "data_format: {'NHWC', 'NCHW'} = 'NHWC'",
    "dilations: list(int) = [1, 1, 1, 1]",
]
_OPTIONS = ("strides", "padding", "explicit_paddings", "use_cudnn_on_gpu", "data_format", "dilations")


def _options(op: Any) -> dict[str, Any]:
    return {name: op.attrs[name] for name in _OPTIONS if name in op.attrs}


# -- shapes ----------------------------------------------------------------------------------------


def _explicit(attrs):
    """The explicit paddings of the inner dimensions, () for the other kinds of padding."""
    if attrs["padding"] != b"EXPLICIT":
        return ()
    flat = attrs["explicit_paddings"]
    return inner(tuple(zip(flat[::2], flat[1::2], strict=True)), attrs["data_format"])


def _check_lengths(name, rank, attrs):
    for what, key in (("dilation", "dilations"), ("stride", "strides")):
        if len(attrs[key]) != rank:
            raise ValueError(
                f"{name} requires the {what} attribute to contain {rank} values, but got: {len(attrs[key])}"
            )


def _inner_output(attrs, sizes, filter_sizes):
    form = attrs["data_format"]
    pads = [sum(p) for p in _explicit(attrs)] or [0] * len(sizes)
    return [
        output_size(size, k, stride, attrs["padding"], dilation, pad)
        for size, k, stride, dilation, pad in zip(
            sizes,
            filter_sizes,
            inner(attrs["strides"], form),
            inner(attrs["dilations"], form),
            pads,
            strict=True,
        )
    ]


def _forward(name, rank):
    def shape(c, input, filter):
        form = c.attrs["data_format"]
        x, f = with_rank(input, rank), with_rank(filter, rank)
        _check_lengths(name, rank, c.attrs)
        channels = x[1] if channels_first(form) else x[-1]
        if channels is not None and f[-2] is not None and (f[-2] == 0 or channels % f[-2]):
            raise ValueError(
                f"Depth of input ({channels}) is not a multiple of input depth of filter ({f[-2]})"
            )
        return in_format(x[0], _inner_output(c.attrs, inner(x, form), f[:-2]), f[-1], form)

    return shape


def _described(index, rank):
    """The shape that an input describes."""

    def shape(c, *shapes):
        return with_rank(c.constant_shape(index), rank)

    return shape


# -- kernels ---------------------------------------------------------------------------------------


def _geometry(attrs, x_shape, filter_shape):
    """The windows over an input whose shape is given with the channels last."""
    form = attrs["data_format"]
    return windows(
        x_shape[1:-1],
        filter_shape[:-2],
        inner(attrs["strides"], form),
        attrs["padding"],
        inner(attrs["dilations"], form),
        _explicit(attrs),
    )


def _check_depth(name, depth, filter_depth):
    if filter_depth == 0 or depth % filter_depth:
        raise errors.InvalidArgumentError.of(
            f"input depth must be evenly divisible by filter depth: {depth} vs {filter_depth}"
        )
    if depth != filter_depth:
        raise errors.UnimplementedError.of(
            f"The {name} op currently does not support grouped convolutions on the CPU. A grouped convolution was "
            f"attempted to be run because the input depth of {depth} does not match the filter input depth of "
            f"{filter_depth}"
        )


def _check_rank(x, rank, what):
    if x.ndim != rank:
        raise errors.InvalidArgumentError.of(f"{what} must be {rank}-dimensional: {list(x.shape)}")


def _last_shape(sizes, data_format):
    """A shape that is given as the value of an input, with the channels last."""
    sizes = tuple(map(int, sizes))
    return (sizes[0], *sizes[2:], sizes[1]) if channels_first(data_format) else sizes


def _convolve(name, rank):
    def kernel(ctx, input, filter):
        _check_rank(input, rank, "input")
        _check_rank(filter, rank, "filter")
        form = ctx.attrs["data_format"]
        x = to_last(input, form)
        _check_depth(name, x.shape[-1], filter.shape[-2])
        w = _geometry(ctx.attrs, x.shape, filter.shape)
        product = w.columns(wide(x)) @ wide(filter).reshape(-1, filter.shape[-1])
        y = product.reshape(x.shape[0], *w.counts, filter.shape[-1])
        return from_last(y.astype(input.dtype, copy=False), form)

    return kernel


def _check_backprop(w, dy, batch, channels):
    expected = (batch, *w.counts, channels)
    if dy.shape != expected:
        raise errors.InvalidArgumentError.of(
            f"Size of out_backprop doesn't match computed: actual = {list(dy.shape)}, computed = {list(expected)}"
        )


def _convolve_input(name, rank):
    """The gradient for the input: what each output adds to the elements of its window."""

    def kernel(ctx, input_sizes, filter, out_backprop):
        _check_rank(filter, rank, "filter")
        _check_rank(out_backprop, rank, "out_backprop")
        form = ctx.attrs["data_format"]
        shape = _last_shape(input_sizes, form)
        _check_depth(name, shape[-1], filter.shape[-2])
        w = _geometry(ctx.attrs, shape, filter.shape)
        dy = to_last(out_backprop, form)
        _check_backprop(w, dy, shape[0], filter.shape[-1])
        rows = wide(dy).reshape(-1, filter.shape[-1])
        weights = wide(filter)
        padded = w.zeros(shape[0], shape[-1], rows.dtype)
        for place, where in w.places():
            padded[where] += (rows @ weights[place].T).reshape(shape[0], *w.counts, shape[-1])
        return from_last(w.cropped(padded).astype(out_backprop.dtype), form)

    return kernel


def _convolve_filter(name, rank):
    """The gradient for the filter: the windows' matrix times the outputs'."""

    def kernel(ctx, input, filter_sizes, out_backprop):
        _check_rank(input, rank, "input")
        _check_rank(out_backprop, rank, "out_backprop")
        form = ctx.attrs["data_format"]
        x, dy = to_last(input, form), to_last(out_backprop, form)
        shape = tuple(map(int, filter_sizes))
        _check_depth(name, x.shape[-1], shape[-2])
        w = _geometry(ctx.attrs, x.shape, shape)
        _check_backprop(w, dy, x.shape[0], shape[-1])
        product = w.columns(wide(x)).T @ wide(dy).reshape(-1, shape[-1])
        return product.reshape(shape).astype(input.dtype, copy=False)

    return kernel


# -- two dimensions --------------------------------------------------------------------------------


@op("Conv2D", inputs="input: T, filter: T", outputs="output: T", attrs=_CONV2D)
class conv2d_:
    """The sum of each window of `input` [batch, height, width, in] times `filter` [height, width, in, out]."""

    shape = _forward("Conv2D", 4)
    kernel = _convolve("Conv2D", 4)

    def grad(op, d):
        input_shape, filter_shape = array_ops.shape_n([op.inputs[0], op.inputs[1]])
        return [
            conv2d_backprop_input_(input_shape, op.inputs[1], d, **_options(op)),
            conv2d_backprop_filter_(op.inputs[0], filter_shape, d, **_options(op)),
        ]


@op(
    "Conv2DBackpropInput",
    inputs="input_sizes: int32, filter: T, out_backprop: T",
    outputs="output: T",
    attrs=_CONV2D,
)
class conv2d_backprop_input_:
    """The gradient of `Conv2D` for its input, which has the shape `input_sizes`."""

    shape = _described(0, 4)
    kernel = _convolve_input("Conv2D", 4)

    def grad(op, d):
        filter_shape = array_ops.shape(op.inputs[1])
        return [
            None,
            conv2d_backprop_filter_(d, filter_shape, op.inputs[2], **_options(op)),
            conv2d_(d, op.inputs[1], **_options(op)),
        ]


@op(
    "Conv2DBackpropFilter",
    inputs="input: T, filter_sizes: int32, out_backprop: T",
    outputs="output: T",
    attrs=_CONV2D,
)
class conv2d_backprop_filter_:
    """The gradient of `Conv2D` for its filter, which has the shape `filter_sizes`."""

    shape = _described(1, 4)
    kernel = _convolve_filter("Conv2D", 4)

    def grad(op, d):
        input_shape = array_ops.shape(op.inputs[0])
        return [
            conv2d_backprop_input_(input_shape, d, op.inputs[2], **_options(op)),
            None,
            conv2d_(op.inputs[0], d, **_options(op)),
        ]


# -- three dimensions ------------------------------------------------------------------------------


@op("Conv3D", inputs="input: T, filter: T", outputs="output: T", attrs=_CONV3D)
class conv3d_:
    """`Conv2D` with depth, the first of three inner dimensions."""

    shape = _forward("Conv3D", 5)
    kernel = _convolve("Conv3D", 5)

    def grad(op, d):
        return [
            conv3d_backprop_input_v2_(array_ops.shape(op.inputs[0]), op.inputs[1], d, **_options(op)),
            conv3d_backprop_filter_v2_(op.inputs[0], array_ops.shape(op.inputs[1]), d, **_options(op)),
        ]


@op(
    "Conv3DBackpropInputV2",
    inputs="input_sizes: Tshape, filter: T, out_backprop: T",
    outputs="output: T",
    attrs=[*_CONV3D, "Tshape: {int32, int64} = DT_INT32"],
)
class conv3d_backprop_input_v2_:
    """The gradient of `Conv3D` for its input, which has the shape `input_sizes`."""

    shape = _described(0, 5)
    kernel = _convolve_input("Conv3D", 5)

    def grad(op, d):
        filter_shape = array_ops.shape(op.inputs[1])
        return [
            None,
            conv3d_backprop_filter_v2_(d, filter_shape, op.inputs[2], **_options(op)),
            conv3d_(d, op.inputs[1], **_options(op)),
        ]


@op(
    "Conv3DBackpropFilterV2",
    inputs="input: T, filter_sizes: int32, out_backprop: T",
    outputs="output: T",
    attrs=_CONV3D,
)
class conv3d_backprop_filter_v2_:
    """The gradient of `Conv3D` for its filter, which has the shape `filter_sizes`."""

    shape = _described(1, 5)
    kernel = _convolve_filter("Conv3D", 5)

    def grad(op, d):
        input_shape = array_ops.shape(op.inputs[0])
        return [
            conv3d_backprop_input_v2_(input_shape, d, op.inputs[2], **_options(op)),
            None,
            conv3d_(op.inputs[0], d, **_options(op)),
        ]


# -- each channel alone ----------------------------------------------------------------------------


def _depthwise_shape(c, input, filter):
    form = c.attrs["data_format"]
    x, f = with_rank(input, 4), with_rank(filter, 4)
    _check_lengths("DepthwiseConv2D", 4, c.attrs)
    channels = x[1] if channels_first(form) else x[-1]
    if channels is not None and f[2] is not None and channels != f[2]:
        raise ValueError(f"Dimensions must be equal, but are {channels} and {f[2]}")
    depth = channels if f[2] is None else f[2]
    out = None if depth is None or f[3] is None else depth * f[3]
    return in_format(x[0], _inner_output(c.attrs, inner(x, form), f[:2]), out, form)


def _check_channels(depth, filter_shape):
    if depth != filter_shape[2]:
        raise errors.InvalidArgumentError.of(
            f"input and filter must have the same depth: {depth} vs {filter_shape[2]}"
        )


@op("DepthwiseConv2dNative", inputs="input: T, filter: T", outputs="output: T", attrs=_DEPTHWISE)
class depthwise_conv2d_native_:
    """Each channel of `input` with filters of its own: `filter` [height, width, in, multiplier].

    The outputs have in * multiplier channels, those of the first input channel first.
    """

    shape = _depthwise_shape

    def kernel(ctx, input, filter):
        _check_rank(input, 4, "input")
        _check_rank(filter, 4, "filter")
        form = ctx.attrs["data_format"]
        x, f = wide(to_last(input, form)), wide(filter)
        _check_channels(x.shape[-1], f.shape)
        w = _geometry(ctx.attrs, x.shape, f.shape)
        padded = w.padded(x)
        y = np.zeros((x.shape[0], *w.counts, *f.shape[2:]), x.dtype)
        for place, where in w.places():
            y += padded[where][..., None] * f[place]
        y = y.reshape(*y.shape[:3], f.shape[2] * f.shape[3])
        return from_last(y.astype(input.dtype, copy=False), form)

    def grad(op, d):
        return [
            depthwise_conv2d_native_backprop_input_(
                array_ops.shape(op.inputs[0]), op.inputs[1], d, **_options(op)
            ),
            depthwise_conv2d_native_backprop_filter_(
                op.inputs[0], array_ops.shape(op.inputs[1]), d, **_options(op)
            ),
        ]


@op(
    "DepthwiseConv2dNativeBackpropInput",
    inputs="input_sizes: int32, filter: T, out_backprop: T",
    outputs="output: T",
    attrs=_DEPTHWISE,
)
class depthwise_conv2d_native_backprop_input_:
    """The gradient of `DepthwiseConv2dNative` for its input."""

    shape = _described(0, 4)

    def kernel(ctx, input_sizes, filter, out_backprop):
        form = ctx.attrs["data_format"]
        shape = _last_shape(input_sizes, form)
        _check_channels(shape[-1], filter.shape)
        w = _geometry(ctx.attrs, shape, filter.shape)
        dy, f = wide(to_last(out_backprop, form)), wide(filter)
        _check_backprop(w, dy, shape[0], math.prod(filter.shape[2:]))
        dy = dy.reshape(*dy.shape[:3], *filter.shape[2:])
        padded = w.zeros(shape[0], shape[-1], dy.dtype)
        for place, where in w.places():
            padded[where] += np.sum(dy * f[place], axis=-1)
        return from_last(w.cropped(padded).astype(out_backprop.dtype), form)

    def grad(op, d):
        filter_shape = array_ops.shape(op.inputs[1])
        return [
            None,
            depthwise_conv2d_native_backprop_filter_(d, filter_shape, op.inputs[2], **_options(op)),
            depthwise_conv2d_native_(d, op.inputs[1], **_options(op)),
        ]


@op(
    "DepthwiseConv2dNativeBackpropFilter",
    inputs="input: T, filter_sizes: int32, out_backprop: T",
    outputs="output: T",
    attrs=_DEPTHWISE,
)
class depthwise_conv2d_native_backprop_filter_:
    """The gradient of `DepthwiseConv2dNative` for its filter."""

    shape = _described(1, 4)

    def kernel(ctx, input, filter_sizes, out_backprop):
        form = ctx.attrs["data_format"]
        shape = tuple(map(int, filter_sizes))
        x, dy = wide(to_last(input, form)), wide(to_last(out_backprop, form))
        _check_channels(x.shape[-1], shape)
        w = _geometry(ctx.attrs, x.shape, shape)
        _check_backprop(w, dy, x.shape[0], math.prod(shape[2:]))
        dy = dy.reshape(*dy.shape[:3], *shape[2:])
        padded = w.padded(x)
        found = np.zeros(shape, x.dtype)
        for place, where in w.places():
            found[place] = np.einsum("nhwc,nhwcm->cm", padded[where], dy)
        return found.astype(input.dtype, copy=False)

    def grad(op, d):
        input_shape = array_ops.shape(op.inputs[0])
        return [
            depthwise_conv2d_native_backprop_input_(input_shape, d, op.inputs[2], **_options(op)),
            None,
            depthwise_conv2d_native_(op.inputs[0], d, **_options(op)),
        ]
