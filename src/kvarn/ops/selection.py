"""Choosing elements by conditions: Where, Select, boolean_mask, OneHot, sequence_mask.

Source: tensorflow/core/ops/{array,math}_ops.cc, tensorflow/python/ops/array_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.gather as gather_ops
import kvarn.ops.joining as joining
import kvarn.ops.math as math_ops
import kvarn.ops.ranges as ranges
import kvarn.ops.reduction as reduction_ops
from kvarn import dtypes, errors
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import broadcast_shapes, merge
from kvarn.graph.tensor import Tensor
from kvarn.ops._elementwise import dims_text


@op(
    "Where",
    inputs="input: T",
    outputs="index: int64",
    attrs=(
        "T: {float, double, int32, uint8, int16, int8, complex64, int64, qint8, quint8, qint32, "
        "bfloat16, uint16, complex128, half, uint32, uint64, bool} = DT_BOOL"
    ),
)
class where_:
    """The coordinates of the true (non-zero) elements of `input`, one row each, in order."""

    def shape(c, input):
        return (None, None if input is None else len(input))

    def kernel(ctx, input):
        return np.argwhere(input).astype(np.int64, copy=False)

    grad = NOT_DIFFERENTIABLE


@op("Select", inputs="condition: bool, t: T, e: T", outputs="output: T", attrs="T: type")
class select:
    """Elements of `t` where `condition` holds, of `e` elsewhere; a vector condition chooses rows."""

    def shape(c, condition, t, e):
        whole = merge(t, e)
        if condition is not None and whole is not None and condition:
            if len(condition) == 1 and len(whole) != 1:
                merge(condition, whole[:1])
            else:
                whole = merge(whole, condition)
        return whole

    def kernel(ctx, condition, t, e):
        if t.shape != e.shape:
            raise errors.InvalidArgumentError.of(
                f"'then' and 'else' must have the same size.  but received: {dims_text(t)} vs. {dims_text(e)}"
            )
        if condition.shape != t.shape and condition.shape:
            if len(condition.shape) != 1 or not t.shape or condition.shape[0] != t.shape[0]:
                raise errors.InvalidArgumentError.of(
                    f"Inputs to operation {ctx.op.name} of type Select must have compatible shapes.  "
                    f"Condition: "
                    f"{dims_text(condition)}, then: {dims_text(t)}"
                )
            condition = condition.reshape(-1, *(1,) * (len(t.shape) - 1))
        return np.where(condition, t, e)

    def grad(op, d):
        condition, x = op.inputs[0], op.inputs[1]
        zeros = array_ops.zeros_like(x)
        return None, select(condition, d, zeros), select(condition, zeros, d)


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """Elements of x where the condition holds and of y elsewhere; without them, where it holds, [n, rank].

    Raises:
      ValueError: exactly one of x and y is given.
    """
    if x is None and y is None:
        with name_scope(name, "Where", [condition]) as scope:
            return where_(
                convert_to_tensor(condition, preferred_dtype=dtypes.bool, name="condition"), name=scope
            )
    if x is None or y is None:
        raise ValueError("x and y must both be non-None or both be None.")
    return select(condition, x, y, name=name)


def where_v2(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """`where` as TensorFlow 2 has it, whose arguments broadcast."""
    if x is None and y is None:
        return where(condition, name=name)
    if x is None or y is None:
        raise ValueError("x and y must both be non-None or both be None.")
    return select_v2(condition, x, y, name=name)


@op("SelectV2", inputs="condition: bool, t: T, e: T", outputs="output: T", attrs="T: type")
class select_v2:
    """Elements of `t` where `condition` holds, of `e` elsewhere, with broadcasting."""

    def shape(c, condition, t, e):
        return broadcast_shapes(condition, broadcast_shapes(t, e))

    def kernel(ctx, condition, t, e):
        return np.where(condition, t, e)

    def grad(op, d):
        condition, x, y = op.inputs
        zeros = array_ops.zeros([], dtype=d.dtype.base_dtype)
        gx = select_v2(condition, d, zeros)
        gx_shape = array_ops.shape(gx)
        x_shape = array_ops.shape(x)
        axes_x, _ = array_ops.broadcast_gradient_args(x_shape, gx_shape)
        gx = array_ops.reshape(reduction_ops.reduce_sum(gx, keepdims=True, axis=axes_x), x_shape)
        gy = select_v2(condition, zeros, d)
        gy_shape = array_ops.shape(gy)
        y_shape = array_ops.shape(y)
        axes_y, _ = array_ops.broadcast_gradient_args(y_shape, gy_shape)
        gy = array_ops.reshape(reduction_ops.reduce_sum(gy, keepdims=True, axis=axes_y), y_shape)
        return None, gx, gy


def boolean_mask(tensor: Any, mask: Any, name: str = "boolean_mask", axis: int | None = None) -> Tensor:
    """The elements (or slices) of a tensor at which `mask` is true.

    Args:
      mask: as many leading dimensions, from `axis` on, as it has itself.

    Raises:
      ValueError: the mask is a scalar, of unknown rank, or does not fit.
    """
    with name_scope(name, values=[tensor, mask]):
        tensor = convert_to_tensor(tensor, name="tensor")
        mask = convert_to_tensor(mask, name="mask")
        mask_shape = mask.get_shape()
        depth = mask_shape.ndims
        whole = tensor.get_shape()
        if depth == 0:
            raise ValueError("mask cannot be scalar.")
        if depth is None:
            raise ValueError(
                "Number of mask dimensions must be specified, even if some dimensions are None.  E.g. "
                "shape=[None] is "
                "ok, but shape=None is not."
            )
        axis = 0 if axis is None else axis
        whole[axis : axis + depth].assert_is_compatible_with(mask_shape)
        leading = reduction_ops.prod_(array_ops.shape(tensor)[axis : axis + depth], [0])
        tensor = array_ops.reshape(
            tensor,
            joining.concat(
                [array_ops.shape(tensor)[:axis], [leading], array_ops.shape(tensor)[axis + depth :]], 0
            ),
        )
        if whole.ndims is not None:
            count = whole[axis : axis + depth].num_elements()
            tensor.set_shape([*whole.as_list()[:axis], count, *whole.as_list()[axis + depth :]])
        mask = array_ops.reshape(mask, [-1])
        indices = array_ops.squeeze(where(mask), axis=[1])
        found: Tensor = gather_ops.gather(tensor, indices, axis=axis)
        return found


@op(
    "OneHot",
    inputs="indices: TI, depth: int32, on_value: T, off_value: T",
    outputs="output: T",
    attrs=["axis: int = -1", "T: type", "TI: {uint8, int32, int64} = DT_INT64"],
)
class one_hot_:
    """A new dimension of size `depth` at `axis`, `on_value` at the index and `off_value` elsewhere."""

    def shape(c, indices, depth, on_value, off_value):
        if indices is None:
            return None
        size = c.constant_value(1)
        axis = c.attrs["axis"] % (len(indices) + 1)
        return (*indices[:axis], None if size is None else int(size), *indices[axis:])

    def kernel(ctx, indices, depth, on_value, off_value):
        size = int(depth)
        if size < 0:
            raise errors.InvalidArgumentError.of(f"depth must be non-negative, got: {size}")
        rank = len(indices.shape)
        axis = ctx.attrs["axis"]
        at = np.expand_dims(indices, axis if axis != -1 else rank)
        places = np.arange(size).reshape([size if i == axis % (rank + 1) else 1 for i in range(rank + 1)])
        return np.where(at == places, on_value, off_value)

    grad = NOT_DIFFERENTIABLE


def one_hot(
    indices: Any,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: int | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> Tensor:
    """`indices` as vectors of `depth` elements with one of them on (1 and 0 of float32 by default).

    Raises:
      TypeError: the types of the values and `dtype` do not match.
    """
    with name_scope(name, "one_hot", [indices, depth, on_value, off_value, axis, dtype]) as scope:
        on_type = None if on_value is None else convert_to_tensor(on_value).dtype.base_dtype
        off_type = None if off_value is None else convert_to_tensor(off_value).dtype.base_dtype
        for what, found in (("on_value", on_type), ("off_value", off_type)):
            if dtype is not None and found is not None and found != dtype:
                raise TypeError(f"dtype {found} of {what} does not match dtype parameter {dtype}")
        wanted = dtypes.as_dtype(dtype or on_type or off_type or dtypes.float32)
        if on_value is None:
            on_value, on_type = convert_to_tensor(1, wanted, name="on_value"), wanted
        if off_value is None:
            off_value, off_type = convert_to_tensor(0, wanted, name="off_value"), wanted
        if on_type != off_type:
            raise TypeError(f"dtype {on_type} of on_value does not match dtype {off_type} of off_value")
        return one_hot_(indices, depth, on_value, off_value, -1 if axis is None else axis, name=scope)


def sequence_mask(
    lengths: Any, maxlen: Any = None, dtype: Any = dtypes.bool, name: str | None = None
) -> Tensor:
    """mask[..., j] = j < lengths[...], for j below `maxlen` (the greatest length by default)."""
    with name_scope(name, "SequenceMask", [lengths, maxlen]):
        lengths = convert_to_tensor(lengths)
        if maxlen is None:
            maxlen = reduction_ops.max_(lengths, reduction_ops.all_dimensions(lengths))
            maxlen = math_ops.maximum(constant(0, maxlen.dtype), maxlen)
        else:
            maxlen = convert_to_tensor(maxlen)
        if maxlen.static_shape not in (None, ()):
            raise ValueError("maxlen must be scalar for sequence_mask")
        row = ranges.range_(constant(0, maxlen.dtype), maxlen, constant(1, maxlen.dtype))
        matrix = casting.cast_(array_ops.expand_dims(lengths, -1), maxlen.dtype)
        result: Tensor = row < matrix
        wanted = None if dtype is None else dtypes.as_dtype(dtype).base_dtype
        return result if wanted in (None, dtypes.bool) else casting.cast_(result, wanted)
