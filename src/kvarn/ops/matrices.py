"""Matrices by their diagonal and by decomposition: what initializers need.

Source: tensorflow/core/ops/{array_ops,linalg_ops}.cc, tensorflow/python/ops/linalg_ops_impl.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph import shape_inference as shapes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import op
from kvarn.graph.tensor import Tensor

_TYPES = "T: {bfloat16, half, float, double, int32, int64, complex64, complex128}"


@op("Diag", inputs="diagonal: T", outputs="output: T", attrs=_TYPES)
class diag:
    """Zeros with ``diagonal`` where the first half of the indices is equal to the second half."""

    def shape(c: Any, diagonal: Any) -> Any:
        return None if diagonal is None else diagonal + diagonal

    def kernel(ctx: Any, diagonal: Any) -> Any:
        values = np.asarray(diagonal)
        out = np.zeros((values.size, values.size), values.dtype)
        np.fill_diagonal(out, values.reshape(-1))
        return out.reshape(values.shape + values.shape)

    def grad(op: Any, d: Any) -> Any:
        return diag_part(d)


def _diagonal_shape(c: Any, x: Any) -> Any:
    if x is None:
        return None
    if len(x) % 2 or not x:
        raise ValueError(f"Input must have even and non-zero rank, input rank is {len(x)}")
    half = len(x) // 2
    return shapes.merge(x[:half], x[half:])


@op("DiagPart", inputs="input: T", outputs="diagonal: T", attrs=_TYPES)
class diag_part:
    """The elements where the first half of the indices is equal to the second half."""

    shape = _diagonal_shape

    def kernel(ctx: Any, input: Any) -> Any:
        half = _diagonal_shape(None, input.shape)
        size = math.prod(half)
        return np.array(input.reshape(size, size).diagonal()).reshape(half)

    def grad(op: Any, d: Any) -> Any:
        return diag(d)


def _qr_shape(c: Any, x: Any) -> Any:
    shapes.with_rank_at_least(x, 2)
    if x is None:
        return [None, None]
    *batch, m, n = x
    inner = m if c.attrs["full_matrices"] else None if m is None or n is None else min(m, n)
    return [(*batch, m, inner), (*batch, inner, n)]


@op(
    "Qr",
    inputs="input: T",
    outputs=["q: T", "r: T"],
    attrs=["full_matrices: bool = False", "T: {double, float, half, complex64, complex128}"],
)
class qr:
    """Matrices as products of ``q``, with orthonormal columns, and ``r``, an upper triangle."""

    shape = _qr_shape

    def kernel(ctx: Any, input: Any) -> Any:
        kind = input.dtype
        # LAPACK knows no half precision.
        wide = input.astype(np.float32) if kind == np.float16 else input
        q, r = np.linalg.qr(wide, mode="complete" if ctx.attrs["full_matrices"] else "reduced")
        return q.astype(kind, copy=False), r.astype(kind, copy=False)


def eye(
    num_rows: Any,
    num_columns: Any = None,
    batch_shape: Any = None,
    dtype: Any = dtypes.float32,
    name: str | None = None,
) -> Tensor:
    """Identity matrices.

    Args:
      num_rows, num_columns: integers or scalar tensors; square by default.
      batch_shape: list of integers or tensor, the dimensions in front; none by default.

    Raises:
      TypeError: a size is neither an integer nor a tensor.
    """
    from kvarn.ops import array
    from kvarn.ops import math as math_ops

    with name_scope(name, "eye", [num_rows, num_columns, batch_shape]):
        batch: Any = [] if batch_shape is None else batch_shape
        square = num_columns is None
        columns = num_rows if square else num_columns
        size: Any
        if isinstance(num_rows, Tensor) or isinstance(columns, Tensor):
            size = math_ops.minimum(num_rows, columns)
        else:
            if not all(isinstance(d, (int, np.integer)) for d in (num_rows, columns)):
                raise TypeError("num_rows and num_columns must be positive integer values.")
            square = num_rows == columns
            size = min(num_rows, columns)
        whole: Any
        if isinstance(batch, Tensor) or isinstance(size, Tensor):
            batch = convert_to_tensor(batch, name="shape", dtype=dtypes.int32)
            diagonal_shape = array.concat((batch, [size]), axis=0)
            whole = None if square else array.concat((batch, [num_rows, columns]), axis=0)
        else:
            diagonal_shape = [*batch, size]
            whole = [*batch, num_rows, columns]
        ones = array.ones(diagonal_shape, dtype=dtype)
        result: Tensor
        if square:
            result = array.matrix_diag(ones)
        else:
            result = array.matrix_set_diag(array.zeros(whole, dtype=dtype), ones)
        return result
