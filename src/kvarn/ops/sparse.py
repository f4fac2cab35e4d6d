"""Sparse tensors: to dense ones and back into order, reshaped, filled up, multiplied.

Source: tensorflow/core/ops/sparse_ops.cc, tensorflow/core/kernels/{sparse_to_dense,sparse_reorder,
sparse_fill_empty_rows,sparse_tensor_dense_matmul}_op.cc, tensorflow/core/kernels/reshape_util.cc,
tensorflow/python/ops/{sparse_ops,sparse_grad}.py.
"""

from __future__ import annotations

import math as python_math
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph import tensor_util
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import SparseTensor, SparseTensorValue, Tensor


def convert_to_sparse_tensor(value: Any) -> SparseTensor:
    """``value``, a SparseTensor or SparseTensorValue, as a SparseTensor; TypeError for anything else."""
    if isinstance(value, SparseTensorValue):
        return SparseTensor.from_value(value)
    if not isinstance(value, SparseTensor):
        raise TypeError("Input must be a SparseTensor.")
    return value


def _check_rank(value: Any, rank: int, what: str, kind: str) -> None:
    if np.ndim(value) != rank:
        raise errors.InvalidArgumentError.of(
            f"{what} should be a {kind} but received shape {shapes.fmt(np.shape(value))}"
        )


# -- order ----------------------------------------------------------------------------------------


def check_indices(indices: Any, shape: Any) -> None:
    """InvalidArgumentError unless ``indices`` [n, rank] lie in ``shape``, in order and none twice."""
    if len(indices) == 0:
        return
    outside = ((indices < 0) | (indices >= np.asarray(shape))).any(axis=1)
    steps = np.diff(indices, axis=0)
    changed = steps != 0
    first = np.argmax(changed, axis=1)
    lead = steps[np.arange(len(steps)), first] if steps.shape[1] else np.zeros(len(steps), np.int64)
    # A row's place relative to the row before: below it, the same, or above it.
    backward = np.concatenate([[False], lead < 0])
    repeated = np.concatenate([[False], lead == 0])
    wrong = np.flatnonzero(outside | backward | repeated)
    if wrong.size == 0:
        return
    n = int(wrong[0])
    index = f"indices[{n}] = [{','.join(str(i) for i in indices[n])}]"
    if outside[n]:
        dims = ",".join(str(int(d)) for d in shape)
        raise errors.InvalidArgumentError.of(f"{index} is out of bounds: need 0 <= index < [{dims}]")
    if backward[n]:
        raise errors.InvalidArgumentError.of(
            f"{index} is out of order. Many sparse ops require sorted indices.\n"
            "    Use `tf.sparse.reorder` to create a correctly ordered copy.\n\n"
        )
    raise errors.InvalidArgumentError.of(f"{index} is repeated")


@op(
    "SparseReorder",
    inputs=["input_indices: int64", "input_values: T", "input_shape: int64"],
    outputs=["output_indices: int64", "output_values: T"],
    attrs="T: type",
)
class sparse_reorder_:
    """A sparse tensor with its elements in the order of their indices, the first dimension leading."""

    def shape(c: Any, input_indices: Any, input_values: Any, input_shape: Any) -> Any:
        shapes.with_rank(input_shape, 1)
        return [shapes.with_rank(input_indices, 2), shapes.with_rank(input_values, 1)]

    def kernel(ctx: Any, input_indices: Any, input_values: Any, input_shape: Any) -> Any:
        _check_rank(input_indices, 2, "Input indices", "matrix")
        _check_rank(input_values, 1, "Input values", "vector")
        _check_rank(input_shape, 1, "Input shape", "vector")
        order = np.lexsort(input_indices.T[::-1])
        return input_indices[order], input_values[order]

    def grad(op: Any, d_indices: Any, d_values: Any) -> Any:
        from kvarn.ops import array, gather, layout, ranges

        count = array.shape(op.inputs[0])[0]
        numbered = SparseTensor(op.inputs[0], ranges.range(count), op.inputs[2])
        back = layout.invert_permutation(sparse_reorder(numbered).values)
        return [None, gather.gather(d_values, back), None]


def sparse_reorder(sp_input: Any, name: str | None = None) -> SparseTensor:
    """The same sparse tensor with its elements in the order of their indices."""
    from kvarn.ops import array

    sparse = convert_to_sparse_tensor(sp_input)
    indices, values = sparse_reorder_(sparse.indices, sparse.values, sparse.dense_shape, name=name)
    static = sparse.get_shape()
    shape = static.as_list() if static.is_fully_defined() else array.identity(sparse.dense_shape)
    return SparseTensor(indices, values, shape)


# -- to dense -------------------------------------------------------------------------------------


@op(
    "SparseToDense",
    inputs=["sparse_indices: Tindices", "output_shape: Tindices", "sparse_values: T", "default_value: T"],
    outputs="dense: T",
    attrs=["validate_indices: bool = true", "T: type", "Tindices: {int32, int64}"],
)
class sparse_to_dense_:
    """A dense tensor with some elements given and all others ``default_value``."""

    def shape(c: Any, sparse_indices: Any, output_shape: Any, sparse_values: Any, default_value: Any) -> Any:
        return c.constant_shape(1)

    def kernel(
        ctx: Any, sparse_indices: Any, output_shape: Any, sparse_values: Any, default_value: Any
    ) -> Any:
        indices = np.asarray(sparse_indices)
        if indices.ndim > 2:
            raise errors.InvalidArgumentError.of(
                f"sparse_indices should be a scalar, vector, or matrix, got shape {shapes.fmt(indices.shape)}"
            )
        count = indices.shape[0] if indices.ndim > 0 else 1
        rank = indices.shape[1] if indices.ndim > 1 else 1
        if np.ndim(output_shape) > 1:
            raise errors.InvalidArgumentError.of(
                f"output_shape should be a vector, got shape {shapes.fmt(np.shape(output_shape))}"
            )
        dims = np.ravel(output_shape)
        if dims.size != rank:
            raise errors.InvalidArgumentError.of(
                f"output_shape has incorrect number of elements: {dims.size} should be: {rank}"
            )
        values = np.asarray(sparse_values)
        if values.ndim != 0 and values.shape != (count,):
            raise errors.InvalidArgumentError.of(
                f"sparse_values has incorrect shape {shapes.fmt(values.shape)}, should be [] or [{count}]"
            )
        if np.ndim(default_value) != 0:
            raise errors.InvalidArgumentError.of("default_value should be a scalar.")
        indices = indices.reshape(count, rank).astype(np.int64, copy=False)
        if ctx.attrs["validate_indices"]:
            check_indices(indices, dims)
        elif ((indices < 0) | (indices >= dims)).any():
            raise errors.InvalidArgumentError.of(
                f"Indices are not valid (out of bounds).  Shape: {shapes.fmt(tuple(dims.tolist()))}"
            )
        out = np.empty(tuple(int(d) for d in dims), ctx.attrs["T"].np)
        out[...] = np.asarray(default_value)
        out[tuple(indices.T)] = values
        return out

    def grad(op: Any, d_dense: Any) -> Any:
        from kvarn.ops import array, gather, reduction

        indices, output_shape = op.inputs[:2]
        d_values = gather.gather_nd(d_dense, indices)
        d_default = reduction.reduce_sum(d_dense) - reduction.reduce_sum(d_values)
        return [array.zeros_like(indices), array.zeros_like(output_shape), d_values, d_default]


def sparse_to_dense(
    sparse_indices: Any,
    output_shape: Any,
    sparse_values: Any,
    default_value: Any = 0,
    validate_indices: bool = True,
    name: str | None = None,
) -> Tensor:
    """A dense tensor with some elements given.

    Args:
      sparse_indices: int32 or int64, a scalar, [n] or [n, rank].
      output_shape: of the same type, [rank].
      sparse_values: [n], or a scalar for all.
      default_value: scalar, all other elements.
      validate_indices: whether they must be in order and different.

    Raises (when run):
      InvalidArgumentError: the indices are not valid.
    """
    result: Tensor = sparse_to_dense_(
        sparse_indices,
        output_shape,
        sparse_values,
        default_value=default_value,
        validate_indices=validate_indices,
        name=name,
    )
    return result


def sparse_tensor_to_dense(
    sp_input: Any, default_value: Any = None, validate_indices: bool = True, name: str | None = None
) -> Tensor:
    """The dense tensor of a sparse one; elements not given are ``default_value``, 0 or "" if that is None."""
    from kvarn.ops import array

    sparse = convert_to_sparse_tensor(sp_input)
    if default_value is None:
        default_value = array.zeros([], dtype=sparse.dtype)
    return sparse_to_dense(
        sparse.indices, sparse.dense_shape, sparse.values, default_value, validate_indices, name
    )


def sparse_retain(sp_input: Any, to_retain: Any) -> SparseTensor:
    """The elements of a sparse tensor for which ``to_retain``, bool [n], holds."""
    from kvarn.ops import array, gather, selection

    sparse = convert_to_sparse_tensor(sp_input)
    keep = convert_to_tensor(to_retain)
    keep.shape.assert_has_rank(1)
    values_shape = sparse.values.static_shape
    if values_shape is not None:
        shapes.merge_dim(values_shape[0], shapes.with_rank(keep.static_shape, 1)[0])
    places = array.reshape(selection.where_v2(keep), [-1])
    indices = gather.gather(sparse.indices, places)
    values = gather.gather(sparse.values, places)
    return SparseTensor(indices, values, array.identity(sparse.dense_shape))


# -- shape ----------------------------------------------------------------------------------------


def _resolved(input_shape: tuple[int, ...], target: list[int]) -> tuple[int, ...]:
    """``target`` with its -1, if any, replaced by what is missing."""
    size = python_math.prod(input_shape)
    unknown = [i for i, d in enumerate(target) if d == -1]
    if len(unknown) > 1:
        raise errors.InvalidArgumentError.of(
            f"only one output dimension may be -1, not both {unknown[0]} and {unknown[1]}"
        )
    for i, d in enumerate(target):
        if d < -1:
            raise errors.InvalidArgumentError.of(f"size {i} must be non-negative, not {d}")
    output = [1 if d == -1 else d for d in target]
    if unknown:
        product = python_math.prod(output)
        if product <= 0:
            raise errors.InvalidArgumentError.of(
                "reshape cannot infer the missing input size for an empty tensor unless all specified input "
                "sizes are non-zero"
            )
        if size % product:
            raise errors.InvalidArgumentError.of(
                f"Input to reshape is a SparseTensor with {size} dense values, but the requested shape "
                f"requires a multiple of {product}. input_shape={shapes.fmt(input_shape)} "
                f"output_shape={shapes.fmt(tuple(output))}"
            )
        output[unknown[0]] = size // product
    if python_math.prod(output) != size:
        raise errors.InvalidArgumentError.of(
            f"Input to reshape is a tensor with {size} dense values, but the requested shape has "
            f"{python_math.prod(output)}. input_shape={shapes.fmt(input_shape)} "
            f"output_shape={shapes.fmt(tuple(output))}"
        )
    return tuple(output)


@op(
    "SparseReshape",
    inputs=["input_indices: int64", "input_shape: int64", "new_shape: int64"],
    outputs=["output_indices: int64", "output_shape: int64"],
)
class sparse_reshape_:
    """The indices and the shape of a sparse tensor as those of another shape with as many elements."""

    def shape(c: Any, input_indices: Any, input_shape: Any, new_shape: Any) -> Any:
        shapes.with_rank(input_shape, 1)
        rows, rank = shapes.with_rank(input_indices, 2)[0], shapes.with_rank(new_shape, 1)[0]
        return [(rows, rank), (rank,)]

    def kernel(ctx: Any, input_indices: Any, input_shape: Any, new_shape: Any) -> Any:
        _check_rank(input_indices, 2, "Input indices", "matrix")
        _check_rank(input_shape, 1, "Input shape", "vector")
        _check_rank(new_shape, 1, "Target shape", "vector")
        old = tuple(int(d) for d in input_shape)
        new = _resolved(old, [int(d) for d in new_shape])
        if old == new:
            return input_indices, input_shape
        number = np.zeros(len(input_indices), np.int64)
        for axis, dim in enumerate(old):
            number = number * dim + input_indices[:, axis]
        out = np.empty((len(input_indices), len(new)), np.int64)
        for axis in range(len(new) - 1, 0, -1):
            number, out[:, axis] = np.divmod(number, max(new[axis], 1))
        if new:
            out[:, 0] = number
        return out, np.array(new, np.int64)

    grad = NOT_DIFFERENTIABLE


def sparse_reshape(sp_input: Any, shape: Any, name: str | None = None) -> SparseTensor:
    """A sparse tensor in another shape, one of whose dimensions may be -1.

    Raises:
      ValueError: the shapes, where known, do not have as many elements.
    """
    from kvarn.ops import array, math

    sparse = convert_to_sparse_tensor(sp_input)
    shape = math.cast(shape, dtype=dtypes.int64)
    with name_scope(name, "SparseReshape", [sparse]) as scope:
        indices, new_shape = sparse_reshape_(sparse.indices, sparse.dense_shape, shape, name=scope)
        static = tensor_util.constant_value_as_shape(shape)
        if static.ndims is not None and sparse.shape.is_fully_defined():
            asked = tensor_util.constant_value(shape)
            if asked is not None and sum(d == -1 for d in asked) > 1:
                raise ValueError(f"At most one dimension can be inferred (-1). Found: {asked}")
            dims: list[Any] = static.as_list()
            whole: list[Any] = sparse.shape.as_list()
            size = python_math.prod(whole)
            unknown = [i for i, d in enumerate(dims) if d is None]
            if len(unknown) <= 1:
                full = list(dims)
                if unknown:
                    full[unknown[0]] = size // python_math.prod(d for d in dims if d is not None)
                if python_math.prod(full) != size:
                    raise ValueError(
                        f"Cannot reshape a tensor with {size} elements to shape {dims} "
                        f"({python_math.prod(full)} elements)."
                    )
                new_shape = constant(full, dtype=dtypes.int64)
        return SparseTensor(indices, array.identity(sparse.values), new_shape)


# -- empty rows -----------------------------------------------------------------------------------


def _filled_shape(c: Any, indices: Any, values: Any, dense_shape: Any, default_value: Any) -> Any:
    indices, values = shapes.with_rank(indices, 2), shapes.with_rank(values, 1)
    dense_shape = shapes.with_rank(dense_shape, 1)
    shapes.with_rank(default_value, 0)
    count = shapes.merge_dim(indices[0], values[0])
    shapes.merge_dim(indices[1], dense_shape[0])
    known = c.constant_shape(2)
    return [(None, dense_shape[0]), (None,), (known[0] if known else None,), (count,)]


@op(
    "SparseFillEmptyRows",
    inputs=["indices: int64", "values: T", "dense_shape: int64", "default_value: T"],
    outputs=[
        "output_indices: int64",
        "output_values: T",
        "empty_row_indicator: bool",
        "reverse_index_map: int64",
    ],
    attrs="T: type",
)
class sparse_fill_empty_rows_:
    """A sparse matrix with one element, the default value, in every row that had none."""

    shape = _filled_shape

    def kernel(ctx: Any, indices: Any, values: Any, dense_shape: Any, default_value: Any) -> Any:
        for what, value, rank, kind in (
            ("dense_shape", dense_shape, 1, "vector"),
            ("indices", indices, 2, "matrix"),
            ("values", values, 1, "vector"),
            ("default_value", default_value, 0, "scalar"),
        ):
            if np.ndim(value) != rank:
                raise errors.InvalidArgumentError.of(
                    f"{what} must be a {kind}, saw: {shapes.fmt(np.shape(value))}"
                )
        count, rows = len(indices), int(dense_shape[0])
        if rows == 0 and count:
            raise errors.InvalidArgumentError.of(
                f"Received SparseTensor with dense_shape[0] = 0 but indices.shape[0] = {count}"
            )
        row_of = indices[:, 0]
        bad = np.flatnonzero((row_of < 0) | (row_of >= rows))
        if bad.size:
            raise errors.InvalidArgumentError.of(
                f"indices({bad[0]}, 0) is invalid: {row_of[bad[0]]} >= {rows}"
            )
        lengths = np.bincount(row_of, minlength=rows).astype(np.int64)
        empty = lengths == 0
        starts = np.concatenate([[0], np.cumsum(np.maximum(lengths, 1))]).astype(np.int64)
        # The elements of a row stay in their order, wherever they stood.
        order = np.argsort(row_of, kind="stable")
        place_in_row = np.arange(count) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        where = np.empty(count, np.int64)
        where[order] = starts[row_of[order]] + place_in_row
        out_indices = np.zeros((int(starts[-1]), indices.shape[1]), np.int64)
        out_values = np.empty(int(starts[-1]), values.dtype)
        out_values[:] = np.asarray(default_value)
        out_indices[where] = indices
        out_values[where] = values
        out_indices[starts[:-1][empty], 0] = np.flatnonzero(empty)
        return out_indices, out_values, empty, where

    def grad(op: Any, d_indices: Any, d_values: Any, d_empty: Any, d_map: Any) -> Any:
        d_given, d_default = sparse_fill_empty_rows_grad(op.outputs[3], d_values)
        return [None, d_given, None, d_default]


@op(
    "SparseFillEmptyRowsGrad",
    inputs=["reverse_index_map: int64", "grad_values: T"],
    outputs=["d_values: T", "d_default_value: T"],
    attrs="T: type",
)
class sparse_fill_empty_rows_grad:
    """The gradients of SparseFillEmptyRows by the values and by the default value."""

    def shape(c: Any, reverse_index_map: Any, grad_values: Any) -> Any:
        shapes.with_rank(grad_values, 1)
        return [shapes.with_rank(reverse_index_map, 1), ()]

    def kernel(ctx: Any, reverse_index_map: Any, grad_values: Any) -> Any:
        total = len(grad_values)
        bad = np.flatnonzero((reverse_index_map < 0) | (reverse_index_map >= total))
        if bad.size:
            raise errors.InvalidArgumentError.of(
                f"Elements in reverse index must be in [0, {total}) but got {reverse_index_map[bad[0]]}"
            )
        rest = np.ones(total, bool)
        rest[reverse_index_map] = False
        return grad_values[reverse_index_map], grad_values[rest].sum(dtype=grad_values.dtype)


def sparse_fill_empty_rows(
    sp_input: Any, default_value: Any, name: str | None = None
) -> tuple[SparseTensor, Tensor]:
    """Gives every row of a sparse matrix at least one element.

    Args:
      sp_input: [n, m].
      default_value: scalar, the element that an empty row gets in its first column.

    Returns:
      (the filled sparse tensor, bool [n]: which rows were empty).
    """
    sparse = convert_to_sparse_tensor(sp_input)
    with name_scope(name, "SparseFillEmptyRows", [sparse]):
        default = convert_to_tensor(default_value, dtype=sparse.values.dtype)
        indices, values, empty, _ = sparse_fill_empty_rows_(
            sparse.indices, sparse.values, sparse.dense_shape, default
        )
        return SparseTensor(indices, values, sparse.dense_shape), empty


# -- product --------------------------------------------------------------------------------------


def _matmul_shape(c: Any, a_indices: Any, a_values: Any, a_shape: Any, b: Any) -> Any:
    shapes.with_rank(a_indices, 2)
    shapes.with_rank(a_values, 1)
    left = shapes.with_rank(c.constant_shape(2), 2)
    right = shapes.with_rank(b, 2)
    left = left[::-1] if c.attrs["adjoint_a"] else left
    right = right[::-1] if c.attrs["adjoint_b"] else right
    shapes.merge_dim(left[1], right[0])
    return (left[0], right[1])


@op(
    "SparseTensorDenseMatMul",
    inputs=["a_indices: Tindices", "a_values: T", "a_shape: int64", "b: T"],
    outputs="product: T",
    attrs=[
        "T: type",
        "Tindices: {int32,int64} = DT_INT64",
        "adjoint_a: bool = false",
        "adjoint_b: bool = false",
    ],
)
class sparse_tensor_dense_mat_mul:
    """The product of a sparse matrix ``a`` and a dense one ``b``."""

    shape = _matmul_shape

    def kernel(ctx: Any, a_indices: Any, a_values: Any, a_shape: Any, b: Any) -> Any:
        problem = (
            "Tensor 'b' is not a matrix"
            if b.ndim != 2
            else "Tensor 'a_shape' is not a vector"
            if a_shape.ndim != 1
            else "Tensor 'a_shape' must have 2 elements"
            if a_shape.size != 2
            else "Tensor 'a_values' is not a vector"
            if a_values.ndim != 1
            else "Tensor 'a_indices' is not a matrix"
            if a_indices.ndim != 2
            else "Number of rows of a_indices does not match number of entries in a_values"
            if len(a_indices) != len(a_values)
            else "Number of columns of a_indices does not match number of entries in a_shape"
            if a_indices.shape[1] != 2
            else None
        )
        if problem is not None:
            raise errors.InvalidArgumentError.of(problem)
        rows, columns = a_indices[:, 0], a_indices[:, 1]
        left = (int(a_shape[0]), int(a_shape[1]))
        if ctx.attrs["adjoint_a"]:
            rows, columns, left = columns, rows, left[::-1]
            a_values = np.conj(a_values)
        right = np.conj(b).T if ctx.attrs["adjoint_b"] else b
        if left[1] != right.shape[0]:
            raise errors.InvalidArgumentError.of(
                "Cannot multiply A and B because inner dimension does not match: "
                f"{left[1]} vs. {right.shape[0]}.  Did you forget a transpose?  Dimensions of A: "
                f"[{a_shape[0]}, {a_shape[1]}).  Dimensions of B: {shapes.fmt(b.shape)}"
            )
        for index, limit, what in ((columns, left[1], "k"), (rows, left[0], "m")):
            bad = np.flatnonzero((index < 0) | (index >= limit))
            if bad.size:
                raise errors.InvalidArgumentError.of(
                    f"{what} ({index[bad[0]]}) from index[{bad[0]}] out of bounds (>={limit})"
                )
        out = np.zeros((left[0], right.shape[1]), b.dtype)
        np.add.at(out, rows, a_values[:, None] * right[columns])
        return out

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import gather, layout, reduction

        a_indices, a_values, a_shape, b = op.inputs
        adjoint_a, adjoint_b = op.attrs["adjoint_a"], op.attrs["adjoint_b"]
        if a_values.dtype.is_complex:
            raise NotImplementedError("SparseTensorDenseMatMul op does not support complex gradients.")
        d_b: Any = sparse_tensor_dense_mat_mul(a_indices, a_values, a_shape, d, adjoint_a=not adjoint_a)
        if adjoint_b:
            d_b = layout.transpose(d_b)
        rows, columns = a_indices[:, 0], a_indices[:, 1]
        parts_a = gather.gather(d, columns if adjoint_a else rows)
        parts_b = gather.gather(layout.transpose(b) if adjoint_b else b, rows if adjoint_a else columns)
        return [None, reduction.reduce_sum(parts_a * parts_b, axis=1), None, d_b]


def sparse_tensor_dense_matmul(
    sp_a: Any, b: Any, adjoint_a: bool = False, adjoint_b: bool = False, name: str | None = None
) -> Tensor:
    """The product of a sparse and a dense matrix.

    Args:
      sp_a: [n, m].
      b: [m, k].
      adjoint_a, adjoint_b: whether to transpose (and conjugate) them first.

    Returns:
      Dense [n, k].
    """
    sparse = convert_to_sparse_tensor(sp_a)
    with name_scope(name, "SparseTensorDenseMatMul", [sparse.indices, sparse.values, b]):
        b = convert_to_tensor(b, name="b")
        result: Tensor = sparse_tensor_dense_mat_mul(
            sparse.indices, sparse.values, sparse.dense_shape, b, adjoint_a=adjoint_a, adjoint_b=adjoint_b
        )
        return result
