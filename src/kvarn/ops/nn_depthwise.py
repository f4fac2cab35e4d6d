"""Convolutions of each channel alone.

Source: tensorflow/python/ops/nn_impl.py (1.15).
"""

from __future__ import annotations

from typing import Any

import kvarn.ops.array as array_ops
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops.convolution import depthwise_conv2d_native_ as depthwise_conv2d_native
from kvarn.ops.convolution import (
    depthwise_conv2d_native_backprop_filter_ as depthwise_conv2d_native_backprop_filter,
)
from kvarn.ops.convolution import (
    depthwise_conv2d_native_backprop_input_ as depthwise_conv2d_native_backprop_input,
)
from kvarn.ops.nn_convolution import conv2d, either
from kvarn.ops.space_to_batch import with_space_to_batch

__all__ = [
    "depthwise_conv2d",
    "depthwise_conv2d_native",
    "depthwise_conv2d_native_backprop_filter",
    "depthwise_conv2d_native_backprop_input",
    "separable_conv2d",
]


def depthwise_conv2d(
    input: Any,
    filter: Any,
    strides: Any,
    padding: str,
    rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Tensor:
    """Each channel of `input` with filters of its own.

    Args:
      input: [batch, height, width, in], or as ``data_format`` says.
      filter: [height, width, in, multiplier].
      strides: four numbers.
      rate: two numbers, from one element of a window to the next.
      dilations: another name of ``rate``.

    Returns:
      [batch, height, width, in * multiplier].
    """
    rate = either("dilations", dilations, "rate", rate)
    with name_scope(name, "depthwise", [input, filter]) as scope:
        input = convert_to_tensor(input, name="tensor_in")
        filter = convert_to_tensor(filter, name="filter_in")

        def one(x: Any, _: int, padding: Any) -> Tensor:
            found: Tensor = depthwise_conv2d_native(
                x, filter, strides=strides, padding=padding, data_format=data_format or "NHWC", name=scope
            )
            return found

        return with_space_to_batch(
            input,
            dilation_rate=[1, 1] if rate is None else rate,
            padding=padding,
            op=one,
            filter_shape=array_ops.shape(filter),
            data_format=data_format,
        )


def separable_conv2d(
    input: Any,
    depthwise_filter: Any,
    pointwise_filter: Any,
    strides: Any,
    padding: str,
    rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Tensor:
    """`depthwise_conv2d`, then one of single elements: `pointwise_filter` [1, 1, in * multiplier, out]."""
    rate = either("dilations", dilations, "rate", rate)
    with name_scope(name, "separable_conv2d", [input, depthwise_filter, pointwise_filter]) as scope:
        input = convert_to_tensor(input, name="tensor_in")
        depthwise_filter = convert_to_tensor(depthwise_filter, name="depthwise_filter")
        pointwise_filter = convert_to_tensor(pointwise_filter, name="pointwise_filter")
        pointwise_shape = pointwise_filter.get_shape().with_rank(4)
        pointwise_shape[:2].assert_is_compatible_with([1, 1])

        def one(x: Any, _: int, padding: Any) -> Tensor:
            found: Tensor = depthwise_conv2d_native(
                x,
                depthwise_filter,
                strides=strides,
                padding=padding,
                data_format=data_format or "NHWC",
                name="depthwise",
            )
            return found

        depthwise = with_space_to_batch(
            input,
            dilation_rate=[1, 1] if rate is None else rate,
            padding=padding,
            op=one,
            filter_shape=array_ops.shape(depthwise_filter),
            data_format=data_format,
        )
        return conv2d(
            depthwise,
            pointwise_filter,
            [1, 1, 1, 1],
            padding="VALID",
            data_format=data_format,
            name=scope,
        )
