"""What is known of tensors' values before a run.

Source: `constant_value` and `constant_value_as_shape` of tensorflow/python/framework/tensor_util.py (1.15).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from kvarn.graph.tensor_shape import TensorShape, as_shape, unknown_shape


def is_tensor(x: Any) -> bool:
    """Whether ``x`` is a Tensor, a SparseTensor, IndexedSlices, a variable, or says ``is_tensor_like``."""
    from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor

    if isinstance(x, Tensor | SparseTensor | IndexedSlices):
        return True
    return hasattr(type(x), "_as_graph_element") or bool(getattr(x, "is_tensor_like", False))


def constant_value(tensor: Any, partial: bool = False) -> Any:
    """The value of a tensor if it can be told from the graph alone, else None.

    A tensor whose value was told can no longer be fed, because the graph may depend on it from now on.

    Args:
      tensor: a Tensor; anything else is returned as it is if it is no tensor at all.
      partial: items of a Pack that are not known are None instead of making all of it unknown.
    """
    from kvarn.graph.tensor import Tensor

    if not isinstance(tensor, Tensor):
        return None if is_tensor(tensor) else tensor
    value = _fold(tensor, partial, constant_value)
    if value is not None:
        tensor.graph.prevent_feeding(tensor)
    return value


def known_value(tensor: Any, partial: bool = False) -> Any:
    """`constant_value` for shape functions: the tensor may still be fed."""
    return _fold(tensor, partial, known_value)


def _fold(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    fold = _FOLDS.get(tensor.op.type)
    return None if fold is None else fold(tensor, partial, look)


def _fold_const(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    return np.array(tensor.op.attrs["value"].array)


def _fold_shape(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    shape = tensor.op.inputs[0].static_shape
    return None if shape is None or None in shape else np.array(shape, dtype=tensor.dtype.np)


def _fold_size(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    shape = tensor.op.inputs[0].static_shape
    return None if shape is None or None in shape else np.int32(math.prod(shape))


def _fold_rank(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    shape = tensor.op.inputs[0].static_shape
    return None if shape is None else np.array(len(shape), dtype=np.int32)


def _fold_range(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    limits = [look(x) for x in tensor.op.inputs]
    if any(x is None for x in limits):
        return None
    start, limit, delta = limits
    return np.arange(start, limit, delta, dtype=tensor.dtype.np)


def _fold_cast(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    value = look(tensor.op.inputs[0])
    if value is None:
        return None
    with np.errstate(all="ignore"):
        return value.astype(tensor.op.attrs["DstT"].np)


def _fold_concat(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    inputs = tensor.op.inputs
    axis_first = tensor.op.type == "Concat"
    axis = look(inputs[0] if axis_first else inputs[-1])
    if axis is None:
        return None
    values = [look(x) for x in (inputs[1:] if axis_first else inputs[:-1])]
    return None if any(v is None for v in values) else np.concatenate(values, axis=int(axis))


def _fold_pack(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    if not tensor.op.inputs or tensor.op.attrs["axis"] != 0:
        return None
    values = [look(x, partial) for x in tensor.op.inputs]
    if any(v is None for v in values):
        return np.array(values, dtype=object) if partial else None
    return np.array(values)


def _fold_fill(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    shape = tensor.static_shape
    value = look(tensor.op.inputs[1])
    if shape is None or None in shape or value is None:
        return None
    return np.full(shape, value, dtype=value.dtype)


def _fold_compare(tensor: Any, partial: bool, look: Callable[..., Any]) -> Any:
    x, y = (look(i) for i in tensor.op.inputs)
    if x is None or y is None:
        return None
    return np.equal(x, y) if tensor.op.type == "Equal" else np.not_equal(x, y)


_FOLDS: Final[dict[str, Callable[[Any, bool, Callable[..., Any]], Any]]] = {
    "Const": _fold_const,
    "Shape": _fold_shape,
    "Size": _fold_size,
    "Rank": _fold_rank,
    "Range": _fold_range,
    "Cast": _fold_cast,
    "Concat": _fold_concat,
    "ConcatV2": _fold_concat,
    "Pack": _fold_pack,
    "Fill": _fold_fill,
    "Equal": _fold_compare,
    "NotEqual": _fold_compare,
}


def constant_value_as_shape(tensor: Any) -> TensorShape:
    """The shape that a shape tensor describes, as far as the graph alone tells it.

    Args:
      tensor: an integer vector; or a scalar of value -1, which stands for an unknown shape.

    Raises:
      ValueError: the tensor has more than one dimension, or is a scalar that is not known to be -1.
    """
    return _described_shape(tensor, constant_value)


def known_shape(tensor: Any) -> TensorShape:
    """`constant_value_as_shape` for shape functions: the tensors may still be fed."""
    return _described_shape(tensor, _folded_value)


def _folded_value(tensor: Any) -> Any:
    from kvarn.graph import folding

    value = known_value(tensor)
    return folding.fold(tensor) if value is None else value


def _described_shape(tensor: Any, look: Callable[..., Any]) -> TensorShape:
    static = tensor.static_shape
    if static == ():
        value = look(tensor)
        if value is None:
            raise ValueError(
                "Received a scalar with unknown value as shape; require a statically known scalar "
                "with value '-1' to describe an unknown shape."
            )
        if value != -1:
            raise ValueError(
                f"Received a scalar value '{value}' as shape; require a statically known scalar "
                "with value '-1' to describe an unknown shape."
            )
        return unknown_shape()
    shape = as_shape(tensor.shape).with_rank(1)
    rank = shape.as_list()[0]
    if rank == 0:
        return TensorShape.from_tuple(())
    op = tensor.op
    if op.type == "Shape":
        return TensorShape.from_tuple(op.inputs[0].static_shape)
    if op.type == "Cast" and look is _folded_value:
        return _described_shape(op.inputs[0], look)
    if op.type == "Pack":
        sizes = [look(x) for x in op.inputs]
        return TensorShape.from_tuple(tuple([None if s is None or s < 0 else int(s) for s in sizes]))
    if op.type in ("Concat", "ConcatV2"):
        whole = TensorShape.from_tuple(())
        for part in op.inputs[1:] if op.type == "Concat" else op.inputs[:-1]:
            whole = whole.concatenate(_described_shape(part, look))
        return whole
    if op.type == "StridedSlice":
        sliced = _sliced_shape(op, look)
        if sliced is not None:
            return sliced
    result = unknown_shape(rank)
    value = look(tensor)
    if value is not None:
        result = result.merge_with([int(d) if d >= 0 else None for d in value])
    return result


def _sliced_shape(op: Any, look: Callable[..., Any]) -> TensorShape | None:
    """The shape that a plain slice ``shape[begin:end:stride]`` describes, None if it is another kind."""
    begin, end, stride = (look(x) for x in op.inputs[1:4])
    attrs = op.attrs
    if begin is None or end is None or stride is None or not len(begin) == len(end) == len(stride) == 1:
        return None
    if attrs["ellipsis_mask"] or attrs["new_axis_mask"] or attrs["shrink_axis_mask"]:
        return None
    if attrs["begin_mask"] not in (0, 1) or attrs["end_mask"] not in (0, 1):
        return None
    start = None if attrs["begin_mask"] else int(begin[0])
    stop = None if attrs["end_mask"] else int(end[0])
    try:
        whole = _described_shape(op.inputs[0], look)
        return whole[start : stop : int(stride[0])]
    except (TypeError, ValueError):
        return None
