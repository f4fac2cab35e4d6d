"""Sparse tensors of a dense one, and with ones on the diagonal.

Source: tensorflow/python/ops/sparse_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.comparison as comparison
import kvarn.ops.gather as gather_ops
import kvarn.ops.joining as joining
import kvarn.ops.math as math_ops
import kvarn.ops.ranges as ranges
import kvarn.ops.selection as selection
from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import SparseTensor, Tensor


def from_dense(tensor: Any, name: str | None = None) -> SparseTensor:
    """The elements of a tensor that are not zero, as a SparseTensor of its shape."""
    with name_scope(name, "dense_to_sparse"):
        tensor = convert_to_tensor(tensor)
        indices = selection.where(comparison.not_equal(tensor, constant(0, tensor.dtype)))
        values = gather_ops.gather_nd(tensor, indices)
        return SparseTensor(indices, values, array_ops.shape(tensor, out_type=dtypes.int64))


def sparse_eye(
    num_rows: Any, num_columns: Any = None, dtype: Any = dtypes.float32, name: str | None = None
) -> SparseTensor:
    """A sparse matrix of [num_rows, num_columns], square by default, with ones on its diagonal.

    Raises:
      TypeError: a number is neither an int nor a Tensor.
    """
    with name_scope(name, "eye", [num_rows, num_columns]):
        rows = _int64(num_rows, "num_rows")
        columns = rows if num_columns is None else _int64(num_columns, "num_columns")
        size = math_ops.minimum(rows, columns)
        diagonal = ranges.range(size, dtype=dtypes.int64)
        return SparseTensor(
            indices=joining.stack([diagonal, diagonal], axis=1),
            values=array_ops.ones(size, dtype=dtype),
            dense_shape=[rows, columns],
        )


def _int64(value: Any, name: str) -> Tensor:
    if isinstance(value, (int, np.integer)):
        return convert_to_tensor(value, name=name, dtype=dtypes.int64)
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be an integer value")
    found: Tensor = casting.cast(value, dtypes.int64)
    return found
