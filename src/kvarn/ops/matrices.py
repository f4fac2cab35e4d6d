"""Matrices by their diagonals and by decomposition, their inverses, determinants and norms.

Source: tensorflow/core/ops/{array_ops,linalg_ops}.cc, tensorflow/python/ops/{linalg_ops,linalg_ops_impl,
linalg_grad}.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kvarn import dtypes, errors
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


@op(
    "MatrixBandPart",
    inputs=["input: T", "num_lower: Tindex", "num_upper: Tindex"],
    outputs="band: T",
    attrs=["T: type", "Tindex: {int32, int64} = DT_INT64"],
)
class matrix_band_part:
    """Matrices with zeros where an element is not in the band around the diagonal.

    ``num_lower`` diagonals below it and ``num_upper`` above it are kept, all of them if negative.
    """

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any, num_lower: Any, num_upper: Any) -> Any:
        if input.ndim < 2:
            raise errors.InvalidArgumentError.of(
                f"input must be at least 2-dim, received shape: {shapes.fmt(input.shape)}", name=ctx.op.name
            )
        rows, columns = input.shape[-2:]
        for what, limit, size, kind in (
            ("num_lower", num_lower, rows, "rows"),
            ("num_upper", num_upper, columns, "columns"),
        ):
            if np.ndim(limit) != 0:
                raise errors.InvalidArgumentError.of(
                    f"{what} must be scalar, got shape {shapes.fmt(np.shape(limit))}", name=ctx.op.name
                )
            if limit > size:
                raise errors.InvalidArgumentError.of(
                    f"{what} must be negative or less or equal to number of {kind} ({size}) got: {limit}",
                    name=ctx.op.name,
                )
        above = np.arange(columns) - np.arange(rows)[:, None]
        kept = ((num_lower < 0) | (-above <= num_lower)) & ((num_upper < 0) | (above <= num_upper))
        nothing: Any = b"" if input.dtype.hasobject else np.zeros((), input.dtype)
        return np.where(kept, input, nothing)

    def grad(op: Any, d: Any) -> Any:
        return matrix_band_part(d, op.inputs[1], op.inputs[2]), None, None


def _square(x: Any) -> Any:
    """``x`` with what its last two dimensions, which are equal, tell about each other."""
    shapes.with_rank_at_least(x, 2)
    if x is None:
        return None
    side = shapes.merge_dim(x[-2], x[-1])
    return (*x[:-2], side, side)


def _square_input(ctx: Any, x: Any) -> Any:
    """Matrices in a type that LAPACK knows; InvalidArgumentError unless they are square."""
    if x.ndim < 2:
        raise errors.InvalidArgumentError.of(
            f"Input tensor 0 must have rank >= 2 but has rank {x.ndim}", name=ctx.op.name
        )
    if x.shape[-1] != x.shape[-2]:
        raise errors.InvalidArgumentError.of("Input matrix must be square.", name=ctx.op.name)
    return x.astype(np.float32) if x.dtype == np.float16 else x


@op(
    "MatrixInverse",
    inputs="input: T",
    outputs="output: T",
    attrs=["adjoint: bool = False", "T: {double, float, half, complex64, complex128}"],
)
class matrix_inverse:
    """The inverses of square matrices, or of their adjoints."""

    def shape(c: Any, input: Any) -> Any:
        return _square(input)

    def kernel(ctx: Any, input: Any) -> Any:
        wide = _square_input(ctx, input)
        if ctx.attrs["adjoint"]:
            wide = np.conj(np.swapaxes(wide, -1, -2))
        try:
            return np.linalg.inv(wide).astype(input.dtype, copy=False)
        except np.linalg.LinAlgError:
            raise errors.InvalidArgumentError.of("Input is not invertible.", name=ctx.op.name) from None

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import linalg

        inverse = op.outputs[0]
        return -linalg.matmul(inverse, linalg.matmul(d, inverse, adjoint_b=True), adjoint_a=True)


@op(
    "MatrixDeterminant",
    inputs="input: T",
    outputs="output: T",
    attrs="T: {half, float, double, complex64, complex128}",
)
class matrix_determinant:
    """The determinants of square matrices."""

    def shape(c: Any, input: Any) -> Any:
        whole = _square(input)
        return None if whole is None else whole[:-2]

    def kernel(ctx: Any, input: Any) -> Any:
        return np.asarray(np.linalg.det(_square_input(ctx, input))).astype(input.dtype, copy=False)

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import array

        determinant = op.outputs[0]
        inverse = matrix_inverse(op.inputs[0], adjoint=True)
        factors = array.reshape(d * determinant, array.concat([array.shape(determinant), [1, 1]], 0))
        return factors * inverse


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


def norm(
    tensor: Any,
    ord: Any = "euclidean",
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """Norms of vectors or matrices.

    Args:
      tensor: numbers of any shape.
      ord: "euclidean" (of a matrix "fro" as well), 1, 2, infinity, or of vectors any positive number.
      axis: the axis that vectors lie along, two for matrices; None for all numbers as one vector.
      keepdims: whether the axes stay, with size 1; ``keep_dims`` is the old name.

    Raises:
      ValueError: ``axis`` or ``ord`` is none of these.
      UnimplementedError: the 2-norm of matrices.
    """
    from kvarn.ops import array, reduction, unary
    from kvarn.ops import math as math_ops

    if keepdims is not None and keep_dims is not None:
        raise ValueError("Cannot specify both 'keep_dims' and 'keepdims'")
    of_matrices = isinstance(axis, (tuple, list)) and len(axis) == 2
    axes: tuple[int, ...] | None
    if of_matrices:
        axes = tuple(axis)
        known: tuple[Any, ...] = ("euclidean", "fro", 1, 2, np.inf)
        valid_axis = all(isinstance(a, int) for a in axes) and axes[0] != axes[1]
        valid_order = ord in known
    else:
        axes = None if axis is None else (axis,)
        known = ("euclidean", 1, 2, np.inf)
        valid_axis = axis is None or isinstance(axis, int)
        valid_order = ord in known or (not isinstance(ord, str) and bool(np.isreal(ord)) and ord > 0)
    if not valid_axis:
        raise ValueError("'axis' must be None, an integer, or a tuple of 2 unique integers")
    if not valid_order:
        kind = "matrix" if of_matrices else "vector"
        raise ValueError(f"'ord' must be a supported {kind} norm in {list(known)}, got {ord}")
    if of_matrices and ord == 2:
        raise errors.UnimplementedError.of(
            "The 2-norm of matrices needs their singular values, which kvarn does not compute.",
            hint="Use ord='fro', 1 or infinity.",
        )
    with name_scope(name, "norm", [tensor]):
        tensor = convert_to_tensor(tensor)
        result: Any
        if ord in ("fro", "euclidean", 2):
            squares = tensor * math_ops.conj(tensor)
            result = unary.sqrt(reduction.reduce_sum(squares, axes, keepdims=True))
        else:
            result = math_ops.abs(tensor)
            if ord == 1:
                result = reduction.reduce_sum(result, None if axes is None else axes[0], keepdims=True)
                if of_matrices:
                    result = reduction.reduce_max(result, axes[-1], keepdims=True)  # type: ignore[index]
            elif ord == np.inf:
                if of_matrices:
                    result = reduction.reduce_sum(result, axes[1], keepdims=True)  # type: ignore[index]
                result = reduction.reduce_max(result, None if axes is None else axes[0], keepdims=True)
            else:
                powers = reduction.reduce_sum(math_ops.pow(result, ord), axes, keepdims=True)
                result = math_ops.pow(powers, 1.0 / ord)
        if not (keepdims or keep_dims):
            result = array.squeeze(result, axes)
        found: Tensor = result
        return found
