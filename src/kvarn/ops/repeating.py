"""Elements of a tensor, each repeated.

Source: tensorflow/python/ops/array_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.joining as joining
import kvarn.ops.layout as layout
import kvarn.ops.math as math_ops
import kvarn.ops.reduction as reduction_ops
import kvarn.ops.selection as selection
from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor


def repeat(input: Any, repeats: Any, axis: int | None = None, name: str | None = None) -> Tensor:
    """Each element of a tensor, or each slice along an axis, several times.

    Args:
      repeats: ints, how often each comes; one number for all, or one for each.
      axis: which axis; None for all elements as a vector.

    Raises:
      TypeError: the axis is not an int.
      ValueError: there is no such axis.
    """
    if axis is None:
        input = array_ops.reshape(input, [-1])
        axis = 0
    return repeat_with_axis(input, repeats, axis, name)


def repeat_with_axis(data: Any, repeats: Any, axis: int, name: str | None = None) -> Tensor:
    """`repeat` along an axis; ``repeats`` may also have a number for each slice of earlier axes."""
    if not isinstance(axis, int):
        raise TypeError(f"axis must be an int; got {type(axis).__name__}")
    with name_scope(name, "Repeat", [data, repeats]):
        data = convert_to_tensor(data, name="data")
        repeats = _ints(repeats)
        repeats.shape.with_rank_at_most(1)
        data = _with_a_dimension(data)
        data_shape = array_ops.shape(data)
        axis = _positive(axis, data.static_shape)
        repeats_rank = repeats.shape.ndims
        if repeats_rank == 1 and data.static_shape is not None:
            data.shape.dims[axis].assert_is_compatible_with(repeats.shape[0])
        if repeats_rank == 0:
            tiled = _tiled(array_ops.expand_dims(data, axis + 1), axis + 1, repeats)
            shape = joining.concat([data_shape[:axis], [-1], data_shape[axis + 1 :]], axis=0)
            every: Tensor = array_ops.reshape(tiled, shape)
            return every
        if repeats_rank != axis + 1:
            repeats_shape = array_ops.shape(repeats)
            rank = array_ops.rank(repeats)
            whole = joining.concat([data_shape[: axis + 1 - rank], repeats_shape], axis=0)
            repeats = array_ops.broadcast_to(repeats, whole)
            repeats.set_shape([None] * (axis + 1))
        # As often as the most frequent one, and then what is too much is cut away.
        most = math_ops.maximum(0, reduction_ops.max_(repeats, reduction_ops.all_dimensions(repeats)))
        mask = selection.sequence_mask(repeats, most)
        tiled = _tiled(array_ops.expand_dims(data, axis + 1), axis + 1, most)
        result: Tensor = selection.boolean_mask(tiled, mask)
        if axis != 0:
            shape = joining.concat([data_shape[:axis], [-1], data_shape[axis + 1 :]], axis=0)
            result = array_ops.reshape(result, shape)
        if data.static_shape is not None:
            none = repeats.static_shape[0] == 0
            result.set_shape((*data.static_shape[:axis], 0 if none else None, *data.static_shape[axis + 1 :]))
        return result


def _ints(repeats: Any) -> Any:
    tensor = convert_to_tensor(repeats, name="repeats", preferred_dtype=dtypes.int32)
    if not tensor.dtype.is_integer:
        raise TypeError(f"repeats must be an integer tensor; dtype={tensor.dtype}")
    return casting.cast_(tensor, dtypes.int32)


def _with_a_dimension(data: Tensor) -> Any:
    known = data.static_shape
    if known is not None:
        return joining.stack([data]) if len(known) == 0 else data
    shape, rank = array_ops.shape(data), array_ops.rank(data)
    return array_ops.reshape(data, joining.concat([[1], shape], axis=0)[-rank:])


def _positive(axis: int, shape: tuple[int | None, ...] | None) -> int:
    if shape is None:
        if axis < 0:
            raise ValueError("axis may only be negative if ndims is statically known.")
        return axis
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis={axis} out of bounds: expected {-len(shape)}<=axis<{len(shape)}")
    return axis % len(shape)


def _tiled(data: Any, axis: int, multiple: Any) -> Any:
    known = data.static_shape
    if known is None:
        ones = array_ops.ones(array_ops.rank(data), dtypes.int32)
        return layout.tile(data, joining.concat([ones[:axis], [multiple], ones[axis + 1 :]], axis=0))
    multiples: list[Any] = [1] * len(known)
    multiples[axis] = multiple
    return layout.tile(data, multiples)
