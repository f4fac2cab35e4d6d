"""What columns check, and lengths of sequences.

Source: tensorflow/python/feature_column/utils.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph import nest
from kvarn.graph.graph import name_scope
from kvarn.ops import array
from kvarn.ops import math as math_ops


def sequence_length_from_sparse_tensor(sp_tensor: Any, num_elements: int = 1) -> Any:
    """How many steps each example has: the last that has a value, counted from 1.

    Args:
      sp_tensor: SparseTensor [batch, steps, ...].
      num_elements: how many values make a step.

    Returns:
      int64 [batch].
    """
    with name_scope(None, "sequence_length") as scope:
        row_ids = sp_tensor.indices[:, 0]
        column_ids = sp_tensor.indices[:, 1]
        column_ids += array.ones_like(column_ids)
        lengths = math_ops.segment_max(column_ids, segment_ids=row_ids)
        lengths = math_ops.cast(math_ops.ceil(lengths / num_elements), dtypes.int64)
        # Segments end with the last row that has a value; rows after it have none.
        missing = array.shape(sp_tensor)[:1] - array.shape(lengths)[:1]
        padding = array.zeros(missing, dtype=lengths.dtype)
        return array.concat([lengths, padding], axis=0, name=scope)


def assert_string_or_int(dtype: Any, prefix: str) -> None:
    """Raises ValueError unless the type is string or an integer type."""
    if dtype != dtypes.string and not dtype.is_integer:
        raise ValueError(f"{prefix} dtype must be string or integer. dtype: {dtype}.")


def assert_key_is_string(key: Any) -> None:
    """Raises ValueError unless the key is a string."""
    if not isinstance(key, str):
        raise ValueError(f"key must be a string. Got: type {type(key)}. Given key: {key}.")


def check_shape(shape: Any, key: Any) -> tuple[int, ...]:
    """A shape as a tuple; TypeError if a dimension is no int, ValueError if it is not positive."""
    dimensions = tuple(shape) if nest.is_nested(shape) else (shape,)
    for dimension in dimensions:
        if not isinstance(dimension, int):
            raise TypeError(f"shape dimensions must be integer. shape: {dimensions}, key: {key}")
        if dimension < 1:
            raise ValueError(f"shape dimensions must be greater than 0. shape: {dimensions}, key: {key}")
    return dimensions


def check_default_value(shape: tuple[int, ...], default_value: Any, dtype: Any, key: Any) -> Any:
    """A default value as nested tuples of the shape; None stays None.

    Args:
      default_value: one number for all, or nested sequences, or an array, of the shape.

    Raises:
      ValueError: it has another shape.
      TypeError: it has no values of the type.
    """
    if default_value is None:
        return None
    if isinstance(default_value, int) or (isinstance(default_value, float) and dtype.is_floating):
        return _filled(shape, default_value)
    if callable(getattr(default_value, "tolist", None)):
        default_value = default_value.tolist()
    if nest.is_nested(default_value):
        if not _has_shape(default_value, shape):
            raise ValueError(
                "The shape of default_value must be equal to given shape. "
                f"default_value: {default_value}, shape: {shape}, key: {key}"
            )
        values = nest.flatten(default_value)
        if all(isinstance(v, int) for v in values) or (
            any(isinstance(v, float) for v in values) and dtype.is_floating
        ):
            return _as_tuple(default_value)
    raise TypeError(
        "default_value must be compatible with dtype. "
        f"default_value: {default_value}, dtype: {dtype}, key: {key}"
    )


def _filled(shape: tuple[int, ...], value: Any) -> Any:
    return tuple(_filled(shape[1:], value) for _ in range(shape[0])) if shape else value


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(v) for v in value) if nest.is_nested(value) else value


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    if not nest.is_nested(value) or not shape:
        return not nest.is_nested(value) and not shape
    return len(value) == shape[0] and all(_has_shape(v, shape[1:]) for v in value)
