"""Products of matrices: MatMul, BatchMatMul, tensordot.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/{math_ops,math_grad}.py (1.15).
"""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.joining as joining
import kvarn.ops.math as math_ops
import kvarn.ops.ranges as ranges
import kvarn.ops.reduction as reduction_ops
from kvarn import dtypes, errors
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import op
from kvarn.graph.shape_inference import broadcast_shapes, merge, merge_dim, with_rank
from kvarn.graph.tensor import Tensor
from kvarn.ops._elementwise import dims_text


def _product(a, b):
    """The matrix product; types that NumPy multiplies badly go through float32."""
    if a.dtype.kind != "V" and (a.dtype.kind not in "fc" or a.dtype.itemsize >= 4):
        return np.matmul(a, b)
    return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)


def _multiplied(c, a, b):
    a, b = with_rank(a, 2), with_rank(b, 2)
    if c.attrs["transpose_a"]:
        a = a[::-1]
    if c.attrs["transpose_b"]:
        b = b[::-1]
    merge_dim(a[1], b[0])
    return (a[0], b[1])


def _mat_mul(ctx, a, b):
    for i, x in enumerate((a, b)):
        if len(x.shape) != 2:
            raise errors.InvalidArgumentError.of(
                f"In[{i}] is not a matrix. Instead it has shape {dims_text(x)}"
            )
    left = a.T if ctx.attrs["transpose_a"] else a
    right = b.T if ctx.attrs["transpose_b"] else b
    if left.shape[1] != right.shape[0]:
        raise errors.InvalidArgumentError.of(
            f"Matrix size-incompatible: In[0]: {dims_text(a)}, In[1]: {dims_text(b)}"
        )
    return left, right


def _product_grads(product, a, b, d, turned_a, turned_b):
    """The gradients of `product(a, b, turned_a, turned_b)`; a factor is turned before it is multiplied."""
    if turned_a:
        da = product(b, d, turned_b, True)
    else:
        da = product(d, b, False, not turned_b)
    if turned_b:
        return da, product(d, a, True, turned_a)
    return da, product(a, d, not turned_a, False)


@op(
    "MatMul",
    inputs="a: T, b: T",
    outputs="product: T",
    attrs=[
        "transpose_a: bool = false",
        "transpose_b: bool = false",
        "T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
    ],
)
class mat_mul:
    """The product of the matrices `a` and `b`."""

    shape = _multiplied

    def kernel(ctx, a, b):
        return _product(*_mat_mul(ctx, a, b))

    def grad(op, d):
        a, b = math_ops.conj(op.inputs[0]), math_ops.conj(op.inputs[1])
        return _product_grads(mat_mul, a, b, d, op.attrs["transpose_a"], op.attrs["transpose_b"])


@op(
    "SparseMatMul",
    inputs="a: Ta, b: Tb",
    outputs="product: float",
    attrs=[
        "transpose_a: bool = false",
        "transpose_b: bool = false",
        "a_is_sparse: bool = false",
        "b_is_sparse: bool = false",
        "Ta: {float, bfloat16} = DT_FLOAT",
        "Tb: {float, bfloat16} = DT_FLOAT",
    ],
)
class sparse_mat_mul:
    """The product in float32 of matrices of which one or both are mostly zeros."""

    shape = _multiplied

    def kernel(ctx, a, b):
        left, right = _mat_mul(ctx, a, b)
        return np.matmul(left.astype(np.float32, copy=False), right.astype(np.float32, copy=False))

    def grad(op, d):
        a, b = op.inputs
        sparse = {a: op.attrs["a_is_sparse"], b: op.attrs["b_is_sparse"], d: d.op.type == "ReluGrad"}
        turned_a, turned_b = op.attrs["transpose_a"], op.attrs["transpose_b"]

        def product(x, y, like, transpose_a=False, transpose_b=False):
            y_sparse = sparse[y]
            if transpose_b:
                y = array_ops.transpose(y)
            out = matmul(x, y, transpose_a=transpose_a, a_is_sparse=sparse[x], b_is_sparse=y_sparse)
            return out if out.dtype == like.dtype else casting.cast(out, like.dtype)

        if not turned_a and not turned_b:
            return product(d, b, a, transpose_b=True), product(a, d, b, transpose_a=True)
        if not turned_a:
            return product(d, b, a), product(d, a, b, transpose_a=True)
        if not turned_b:
            return product(b, d, a, transpose_b=True), product(a, d, b)
        return (
            product(b, d, a, transpose_a=True, transpose_b=True),
            product(d, a, b, transpose_a=True, transpose_b=True),
        )


def _adjoint(x, adjoint):
    return np.conj(np.swapaxes(x, -1, -2)) if adjoint else x


def _batch_multiplied(c, x, y, broadcasting):
    if x is None or y is None:
        return None
    for s in (x, y):
        if len(s) < 2:
            raise ValueError(f"Shape must be at least rank 2 but is rank {len(s)}")
    rows, inner_x = x[-2:][::-1] if c.attrs["adj_x"] else x[-2:]
    inner_y, columns = y[-2:][::-1] if c.attrs["adj_y"] else y[-2:]
    merge_dim(inner_x, inner_y)
    batch: Any = broadcast_shapes(x[:-2], y[:-2]) if broadcasting else merge(x[:-2], y[:-2])
    return (*batch, rows, columns)


def _batch_kernel(ctx, x, y):
    for i, m in enumerate((x, y)):
        if len(m.shape) < 2:
            raise errors.InvalidArgumentError.of(f"In[{i}] ndims must be >= 2: {len(m.shape)}")
    left, right = _adjoint(x, ctx.attrs["adj_x"]), _adjoint(y, ctx.attrs["adj_y"])
    if left.shape[-1] != right.shape[-2]:
        raise errors.InvalidArgumentError.of(
            f"In[0] mismatch In[1] shape: {left.shape[-1]} vs. {right.shape[-2]}: {dims_text(x)} "
            f"{dims_text(y)} {int(ctx.attrs['adj_x'])} {int(ctx.attrs['adj_y'])}"
        )
    try:
        return _product(left, right)
    except ValueError:
        raise errors.InvalidArgumentError.of(
            f"In[0] and In[1] must have compatible batch dimensions: {dims_text(x)} vs. {dims_text(y)}"
        ) from None


def _batch_grads(op, d):
    def product(a, b, adjoint_a, adjoint_b):
        return matmul(a, b, adjoint_a=adjoint_a, adjoint_b=adjoint_b)

    x, y = op.inputs
    return _product_grads(product, x, y, d, op.attrs["adj_x"], op.attrs["adj_y"])


@op(
    "BatchMatMul",
    inputs="x: T, y: T",
    outputs="output: T",
    attrs=[
        "T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
        "adj_x: bool = false",
        "adj_y: bool = false",
    ],
)
class batch_mat_mul:
    """Products of the matrices in the last two dimensions."""

    def shape(c, x, y):
        return _batch_multiplied(c, x, y, False)

    kernel = _batch_kernel
    grad = _batch_grads


@op(
    "BatchMatMulV2",
    inputs="x: T, y: T",
    outputs="output: T",
    attrs=[
        "T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
        "adj_x: bool = false",
        "adj_y: bool = false",
    ],
)
class batch_mat_mul_v2:
    """Products of the matrices in the last two dimensions; the others broadcast."""

    def shape(c, x, y):
        return _batch_multiplied(c, x, y, True)

    kernel = _batch_kernel

    def grad(op, d):
        x, y = op.inputs
        dx, dy = _batch_grads(op, d)
        known = x.static_shape
        if known is None or None in known or known != y.static_shape:
            sx, sy = array_ops.shape(x), array_ops.shape(y)
            rx, ry = array_ops.broadcast_gradient_args(sx[:-2], sy[:-2])
            dx = array_ops.reshape(reduction_ops.reduce_sum(dx, rx), sx)
            dy = array_ops.reshape(reduction_ops.reduce_sum(dy, ry), sy)
        return dx, dy


def matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    name: str | None = None,
) -> Tensor:
    """The product of matrices, or of the matrices in the last two dimensions of larger tensors.

    Raises:
      ValueError: an operand is to be both transposed and adjoint.
    """
    with name_scope(name, "MatMul", [a, b]) as scope:
        for letter, turned, adjoint in (("a", transpose_a, adjoint_a), ("b", transpose_b, adjoint_b)):
            if turned and adjoint:
                raise ValueError(f"Only one of transpose_{letter} and adjoint_{letter} can be True.")
        a = convert_to_tensor(a, name="a")
        b = convert_to_tensor(b, name="b")
        sparse = a_is_sparse or b_is_sparse
        batched = any(x.static_shape is None or len(x.static_shape) > 2 for x in (a, b))
        if batched and not sparse:
            if transpose_a:
                a, adjoint_a = math_ops.conj(a), True
            if transpose_b:
                b, adjoint_b = math_ops.conj(b), True
            return batch_mat_mul_v2(a, b, adj_x=adjoint_a, adj_y=adjoint_b, name=scope)
        if adjoint_a:
            a, transpose_a = math_ops.conj(a), True
        if adjoint_b:
            b, transpose_b = math_ops.conj(b), True
        short = (dtypes.bfloat16, dtypes.float32)
        mixed = a.dtype.base_dtype is not b.dtype.base_dtype and dtypes.bfloat16 in (a.dtype, b.dtype)
        if mixed or (sparse and a.dtype in short and b.dtype in short):
            out: Tensor = sparse_mat_mul(
                a,
                b,
                transpose_a=transpose_a,
                transpose_b=transpose_b,
                a_is_sparse=a_is_sparse,
                b_is_sparse=b_is_sparse,
                name=scope,
            )
            both_short = a.dtype.base_dtype is dtypes.bfloat16 and b.dtype.base_dtype is dtypes.bfloat16
            return casting.cast(out, dtypes.bfloat16) if both_short else out
        return mat_mul(a, b, transpose_a=transpose_a, transpose_b=transpose_b, name=scope)


def matvec(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    adjoint_a: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    name: str | None = None,
) -> Tensor:
    """The product of a matrix and a vector."""
    with name_scope(name, "MatVec", [a, b]):
        column = array_ops.expand_dims(b, axis=-1)
        out = matmul(
            a,
            column,
            transpose_a=transpose_a,
            adjoint_a=adjoint_a,
            a_is_sparse=a_is_sparse,
            b_is_sparse=b_is_sparse,
        )
        return array_ops.squeeze(out, axis=-1)


def trace(x: Any, name: str | None = None) -> Tensor:
    """The sum of the diagonal elements of matrices."""
    with name_scope(name, "Trace", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        found: Tensor = reduction_ops.reduce_sum(array_ops.matrix_diag_part(x), [-1], name=scope)
        return found


# -- tensordot ----------------------------------------------------------------------------------------------


def _contraction_axes(a, axes):
    """The axes of a, and those of b, to sum over."""
    if isinstance(axes, (int, np.integer)):
        if axes < 0:
            raise ValueError("'axes' must be at least 0.")
        shape = a.static_shape
        if shape is None:
            rank = array_ops.rank(a)
            return (
                ranges.range(rank - axes, rank, dtype=dtypes.int32),
                ranges.range(axes, dtype=dtypes.int32),
            )
        if axes > len(shape):
            raise ValueError(f"'axes' must not be larger than the number of dimensions of tensor {a}.")
        return list(range(len(shape) - axes, len(shape))), list(range(axes))
    if isinstance(axes, (list, tuple)):
        if len(axes) != 2:
            raise ValueError("'axes' must be an integer or have length 2.")
        first, second = axes
        if isinstance(first, (int, np.integer)) and isinstance(second, (int, np.integer)):
            first, second = [first], [second]
        if len(first) != len(second):
            raise ValueError(
                f"Different number of contraction axes 'a' and 'b', {len(first)} != {len(second)}."
            )
        return first, second
    axes = convert_to_tensor(axes, name="axes", dtype=dtypes.int32)
    return axes[0], axes[1]


def _as_matrix(x, axes, flipped):
    """`x` as a matrix whose columns (rows if flipped) run over `axes`; its free dimensions; those known."""
    shape = x.static_shape
    is_list = isinstance(axes, (list, tuple))
    free_static: Any = None
    if shape is not None and is_list:
        axes = [i % len(shape) if i < 0 else i for i in axes]
        free: Any = [i for i in range(len(shape)) if i not in axes]
        free_static = [shape[i] for i in free]
        if None not in shape:
            sizes = [_math.prod(free_static), _math.prod(shape[i] for i in axes)]
            perm = [*axes, *free] if flipped else [*free, *axes]
            out = array_ops.reshape(array_ops.transpose(x, perm), sizes[::-1] if flipped else sizes)
            return out, free_static, free_static
        axes = convert_to_tensor(axes, dtype=dtypes.int32, name="axes")
        free = convert_to_tensor(free, dtype=dtypes.int32, name="free")
        shape_tensor = array_ops.shape(x)
    else:
        shape_tensor = array_ops.shape(x)
        rank = array_ops.rank(x)
        axes = convert_to_tensor(axes, dtype=dtypes.int32, name="axes")
        axes = array_ops.where(axes >= 0, axes, axes + rank)
        free, _ = array_ops.setdiff1d(ranges.range(rank), axes)
    free_dims = array_ops.gather(shape_tensor, free)
    axes_dims = array_ops.gather(shape_tensor, axes)
    free_size = reduction_ops.reduce_prod(free_dims)
    axes_size = reduction_ops.reduce_prod(axes_dims)
    order = joining.concat([axes, free] if flipped else [free, axes], 0)
    new_shape = joining.stack([axes_size, free_size] if flipped else [free_size, axes_size])
    return array_ops.reshape(array_ops.transpose(x, order), new_shape), free_dims, free_static


def tensordot(a: Any, b: Any, axes: Any, name: str | None = None) -> Tensor:
    """The sum of products over pairs of axes of a and b.

    Args:
      axes: n for the last n of a and the first n of b, or one list for each.
    """
    with name_scope(name, "Tensordot", [a, b, axes]) as scope:
        a = convert_to_tensor(a, name="a")
        b = convert_to_tensor(b, name="b")
        a_axes, b_axes = _contraction_axes(a, axes)
        a_matrix, a_free, a_static = _as_matrix(a, a_axes, False)
        b_matrix, b_free, b_static = _as_matrix(b, b_axes, True)
        product = matmul(a_matrix, b_matrix)
        if isinstance(a_free, list) and isinstance(b_free, list):
            return array_ops.reshape(product, a_free + b_free, name=scope)
        a_free = convert_to_tensor(a_free, dtype=dtypes.int32)
        b_free = convert_to_tensor(b_free, dtype=dtypes.int32)
        out: Tensor = array_ops.reshape(product, joining.concat([a_free, b_free], 0), name=scope)
        if a_static is not None and b_static is not None:
            out.set_shape(a_static + b_static)
        return out
