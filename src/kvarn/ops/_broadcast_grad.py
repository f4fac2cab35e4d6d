"""Steps that the gradients of operations of two broadcast tensors share.

Source: tensorflow/python/ops/math_grad.py (1.15).
"""

from __future__ import annotations

from typing import Any

import kvarn.ops.array as array_ops
import kvarn.ops.reduction as reduction_ops
from kvarn.graph.graph import get_default_graph
from kvarn.graph.tensor import Tensor


def broadcast_args(x: Tensor, y: Tensor) -> tuple[tuple[Any, Any, bool], tuple[Any, Any, bool]]:
    """For x and y: the shape, the axes to sum over, and that both are needed."""
    sx, sy = array_ops.shape(x), array_ops.shape(y)
    rx, ry = array_ops.broadcast_gradient_args(sx, sy)
    return (sx, rx, True), (sy, ry, True)


def smart_broadcast_args(x: Tensor, y: Tensor, d: Any) -> tuple[tuple[Any, Any, bool], tuple[Any, Any, bool]]:
    """As `broadcast_args`, without nodes for what the static shapes tell."""
    sx, sy = x.static_shape, y.static_shape
    if sx is None or None in sx or sy is None or None in sy or not isinstance(d, Tensor):
        shapes = array_ops.shape_(x), array_ops.shape_(y)
        rx, ry = array_ops.broadcast_gradient_args(*shapes)
        return (shapes[0], rx, True), (shapes[1], ry, True)
    cache = get_default_graph().__dict__.setdefault("_bcast_grad_args_cache", {})
    axes = cache.get((sx, sy))
    if axes is None:
        # The node stays unused, but it takes the name that it has in TensorFlow's graphs.
        array_ops.broadcast_gradient_args(sx, sy)
        axes = cache[sx, sy] = array_ops.broadcast_axes(sx, sy)
    shape = d.static_shape
    return (sx, axes[0], sx != shape), (sy, axes[1], sy != shape)


def sum_to(d: Any, args: tuple[Any, Any, bool]) -> Any:
    """`d` summed to the shape that its operand had before it was broadcast."""
    shape, axes, needed = args
    return array_ops.reshape(reduction_ops.reduce_sum(d, axes), shape) if needed else d


def same_known_shape(x: Tensor, y: Tensor, d: Any) -> bool:
    """Whether nothing was broadcast: all three have one shape, known in full."""
    if not isinstance(d, Tensor):
        return False
    shape = x.static_shape
    return shape is not None and None not in shape and shape == y.static_shape == d.static_shape
