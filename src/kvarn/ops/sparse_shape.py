"""Sparse tensors put together, taken apart and in other shapes.

Source: tensorflow/core/ops/sparse_ops.cc, tensorflow/core/kernels/{sparse_concat,sparse_split,sparse_slice,
sparse_slice_grad}_op.cc, tensorflow/core/util/sparse/sparse_tensor.h, tensorflow/python/ops/sparse_ops.py.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

import kvarn.ops.array as array
import kvarn.ops.casting as casting
import kvarn.ops.math as math_ops
import kvarn.ops.reduction as reduction
from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph import tensor_util
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import SparseTensor, SparseTensorValue, Tensor
from kvarn.ops import check, control
from kvarn.ops.sparse import convert_to_sparse_tensor, sparse_reorder, sparse_tensor_to_dense
from kvarn.ops.sparse_math import _checked, _picked

# -- concat ---------------------------------------------------------------------------------------


def _concat_shape(c: Any, indices: Any, values: Any, given: Any) -> Any:
    rows: int | None = 0
    columns: int | None = None
    whole: Any = None
    for index, value, shape in zip(indices, values, given, strict=True):
        pair = shapes.with_rank(index, 2)
        count = shapes.merge_dim(pair[0], shapes.with_rank(value, 1)[0])
        rows = None if rows is None or count is None else rows + count
        columns = shapes.merge_dim(columns, pair[1])
        whole = shapes.merge(whole, shapes.with_rank(shape, 1))
    return [(rows, columns), (rows,), whole]


@op(
    "SparseConcat",
    inputs=["indices: N * int64", "values: N * T", "shapes: N * int64"],
    outputs=["output_indices: int64", "output_values: T", "output_shape: int64"],
    attrs=["concat_dim: int", "N: int >= 2", "T: type"],
)
class sparse_concat_:
    """Sparse tensors one behind the other along a dimension, the elements in order."""

    shape = _concat_shape

    def kernel(ctx: Any, indices: Any, values: Any, shapes: Any) -> Any:
        dims = [_checked(i, v, s) for i, v, s in zip(indices, values, shapes, strict=True)]
        rank = len(dims[0])
        axis = ctx.attrs["concat_dim"]
        if not -rank <= axis < rank:
            raise errors.InvalidArgumentError.of(
                f"Concat dimension must be in range [{-rank}, {rank}), got {axis}"
            )
        axis %= rank
        moved, offset = [], 0
        for n, (own, index) in enumerate(zip(dims, indices, strict=True)):
            if len(own) != rank:
                raise errors.InvalidArgumentError.of(
                    f"Ranks of all input tensors must match: expected {rank} but got {len(own)} at position {n}"
                )
            for d in range(rank):
                if d != axis and own[d] != dims[0][d]:
                    raise errors.InvalidArgumentError.of(
                        f"Input shapes must match: expected {dims[0][d]} for dimension {d} but got {own[d]} "
                        f"at position {n}"
                    )
            shift = np.zeros(rank, np.int64)
            shift[axis] = offset
            moved.append(index + shift)
            offset += own[axis]
        whole = np.concatenate(moved)
        order = np.lexsort(whole.T[::-1])
        shape = np.array(dims[0], np.int64)
        shape[axis] = offset
        return whole[order], np.concatenate(values)[order], shape

    grad = NOT_DIFFERENTIABLE


def sparse_concat(
    axis: Any = None,
    sp_inputs: Any = None,
    name: str | None = None,
    expand_nonconcat_dim: bool = False,
    concat_dim: Any = None,
    expand_nonconcat_dims: bool | None = None,
) -> SparseTensor:
    """Sparse tensors one behind the other along ``axis``.

    Args:
      sp_inputs: list of sparse tensors of one rank.
      expand_nonconcat_dim: whether the other dimensions may differ; the result has the greatest of each.
      concat_dim, expand_nonconcat_dims: old and new names of ``axis`` and ``expand_nonconcat_dim``.

    Raises:
      TypeError: something else than sparse tensors is given.
    """
    if not isinstance(sp_inputs, (list, tuple)):
        raise TypeError("Inputs must be a list")
    parts = [convert_to_sparse_tensor(s) for s in sp_inputs]
    if len(parts) == 1:
        return parts[0]
    axis = concat_dim if axis is None else axis
    dense_shapes: list[Any] = [s.dense_shape for s in parts]
    if expand_nonconcat_dim or expand_nonconcat_dims:
        rows = [array.reshape(shape, [1, -1]) for shape in dense_shapes]
        greatest = reduction.reduce_max(array.concat(rows, 0), 0)
        last = axis == -1
        dense_shapes = [
            array.concat(
                [
                    greatest[:axis],
                    shape[-1:] if last else shape[axis : axis + 1],
                    [] if last else greatest[axis + 1 :],
                ],
                0,
            )
            for shape in dense_shapes
        ]
    indices, values, shape = sparse_concat_(
        [s.indices for s in parts], [s.values for s in parts], dense_shapes, axis, name=name
    )
    known = [tensor_util.constant_value(s) for s in dense_shapes]
    if all(k is not None for k in known):
        total = np.array(known[0])
        total[axis] = sum(k[axis] for k in known if k is not None)
        shape = convert_to_tensor(total)
    return SparseTensor(indices, values, shape)


# -- split ----------------------------------------------------------------------------------------


@op(
    "SparseSplit",
    inputs=["split_dim: int64", "indices: int64", "values: T", "shape: int64"],
    outputs=[
        "output_indices: num_split * int64",
        "output_values:  num_split * T",
        "output_shape:   num_split * int64",
    ],
    attrs=["num_split: int >= 1", "T: type"],
)
class sparse_split_:
    """A sparse tensor cut along a dimension; the first parts are one longer if it does not come out even."""

    def shape(c: Any, split_dim: Any, indices: Any, values: Any, shape: Any) -> Any:
        count = c.attrs["num_split"]
        rank = shape[0] if shape is not None and len(shape) == 1 else None
        return [(None, rank)] * count + [(None,)] * count + [shape] * count

    def kernel(ctx: Any, split_dim: Any, indices: Any, values: Any, shape: Any) -> Any:
        dims = _checked(indices, values, shape)
        axis, count = int(split_dim), ctx.attrs["num_split"]
        if not 0 <= axis < len(dims):
            raise errors.InvalidArgumentError.of(
                f"Input split_dim should be between 0 and rank ({len(dims)}), got {axis}"
            )
        if not 1 <= count <= dims[axis]:
            raise errors.InvalidArgumentError.of(
                f"Input num_split should be between 1 and the splitting dimension size ({dims[axis]}), "
                f"got {count}"
            )
        size, longer = divmod(dims[axis], count)
        starts = np.array([n * size + min(n, longer) for n in range(count + 1)])
        part_of = np.searchsorted(starts, indices[:, axis], side="right") - 1
        out_indices, out_values, out_shapes = [], [], []
        for n in range(count):
            mine = part_of == n
            own = indices[mine]
            own[:, axis] -= starts[n]
            whole = np.array(shape)
            whole[axis] = starts[n + 1] - starts[n]
            out_indices.append(own)
            out_values.append(values[mine])
            out_shapes.append(whole)
        return (*out_indices, *out_values, *out_shapes)


def sparse_split(
    keyword_required: Any = None,
    sp_input: Any = None,
    num_split: int | None = None,
    axis: Any = None,
    name: str | None = None,
    split_dim: Any = None,
) -> list[SparseTensor]:
    """The parts of a sparse tensor cut along ``axis``; arguments by keyword only.

    Raises:
      ValueError: an argument is missing, or given by position.
    """
    if keyword_required is not None:
        raise ValueError("Keyword arguments are required for this function.")
    axis = split_dim if axis is None else axis
    for what, value in (("sp_input", sp_input), ("num_split", num_split), ("axis", axis)):
        if value is None:
            raise ValueError(f"{what} is required")
    sparse = convert_to_sparse_tensor(sp_input)
    indices, values, dense_shapes = sparse_split_(
        axis, sparse.indices, sparse.values, sparse.dense_shape, num_split, name=name
    )
    return [SparseTensor(i, v, s) for i, v, s in zip(indices, values, dense_shapes, strict=True)]


# -- slice ----------------------------------------------------------------------------------------


@op(
    "SparseSlice",
    inputs=["indices: int64", "values: T", "shape: int64", "start: int64", "size: int64"],
    outputs=["output_indices: int64", "output_values: T", "output_shape: int64"],
    attrs="T: type",
)
class sparse_slice_:
    """The elements of a sparse tensor from ``start`` on, ``size`` of them in each dimension."""

    def shape(c: Any, indices: Any, values: Any, shape: Any, start: Any, size: Any) -> Any:
        rank = shape[0] if shape is not None and len(shape) == 1 else None
        return [(None, rank), (None,), shape]

    def kernel(ctx: Any, indices: Any, values: Any, shape: Any, start: Any, size: Any) -> Any:
        # Elements outside the shape are in no slice, so that a slice from 0 on is rid of them.
        dims = _checked(indices, values, shape, bounds=False)
        for what, given in (("start", start), ("size", size)):
            if np.ndim(given) != 1:
                raise errors.InvalidArgumentError.of(
                    f"Input {what} should be a vector but received shape {shapes.fmt(np.shape(given))}"
                )
            if len(given) != len(dims):
                raise errors.InvalidArgumentError.of(
                    f"Expected {what} to be a vector of length {len(dims)} but got length {len(given)}"
                )
        end = start + size
        inside = ((indices >= start) & (indices < end)).all(axis=1)
        whole = np.where(end < shape, size, shape - start)
        if (whole < 0).any():
            raise errors.InvalidArgumentError.of(
                f"start {start.tolist()} and size {size.tolist()} leave nothing of shape {list(dims)}"
            )
        return indices[inside] - start, values[inside], whole

    def grad(op: Any, d_indices: Any, d_values: Any, d_shape: Any) -> Any:
        found = sparse_slice_grad(d_values, op.inputs[0], op.inputs[3], op.outputs[0])
        found.set_shape(op.inputs[1].get_shape())
        return None, found, None, None, None


@op(
    "SparseSliceGrad",
    inputs=["backprop_val_grad: T", "input_indices: int64", "input_start: int64", "output_indices: int64"],
    outputs="val_grad: T",
    attrs="T: numbertype",
)
class sparse_slice_grad:
    """The gradient of SparseSlice by the values: that of the slice where it has the element, else 0."""

    def shape(
        c: Any, backprop_val_grad: Any, input_indices: Any, input_start: Any, output_indices: Any
    ) -> Any:
        return (shapes.with_rank(input_indices, 2)[0],)

    def kernel(
        ctx: Any, backprop_val_grad: Any, input_indices: Any, input_start: Any, output_indices: Any
    ) -> Any:
        return _picked(backprop_val_grad, output_indices, input_indices - input_start)


def sparse_slice(sp_input: Any, start: Any, size: Any, name: str | None = None) -> SparseTensor:
    """The part of a sparse tensor from ``start`` on, ``size`` long in each dimension or up to the end."""
    sparse = convert_to_sparse_tensor(sp_input)
    start = convert_to_tensor(start, dtypes.int64)
    size = convert_to_tensor(size, dtypes.int64)
    with name_scope(name, "SparseSlice", [sparse]) as scope:
        indices, values, shape = sparse_slice_(
            sparse.indices, sparse.values, sparse.dense_shape, start, size, name=scope
        )
        return SparseTensor(indices, values, shape)


# -- other shapes ---------------------------------------------------------------------------------


def sparse_transpose(sp_input: Any, perm: Any = None, name: str | None = None) -> SparseTensor:
    """A sparse tensor with its dimensions in the order ``perm``, reversed by default."""
    from kvarn.ops import gather, layout, ranges

    with name_scope(name, "SparseTranspose", [sp_input]):
        if perm is None:
            rank = array.rank(sp_input)
            perm = rank - 1 - ranges.range(0, rank, 1)
        columns = gather.gather(layout.transpose(sp_input.indices), perm)
        indices = layout.transpose(columns)
        known = tensor_util.constant_value(convert_to_tensor(perm))
        shape: Any
        if known is not None and sp_input.get_shape().is_fully_defined():
            old = sp_input.get_shape().as_list()
            shape = [old[p] for p in known]
        else:
            shape = gather.gather(sp_input.dense_shape, perm)
        return sparse_reorder(SparseTensor(indices, sp_input.values, shape))


def sparse_reset_shape(sp_input: Any, new_shape: Any = None) -> SparseTensor:
    """A sparse tensor in another shape with the same indices: a larger one, or by default the tightest.

    Raises:
      ValueError: the new shape, where known, is too small.
      InvalidArgumentError: it is, when run.
    """
    sparse = convert_to_sparse_tensor(sp_input)
    indices = array.identity(sparse.indices)
    values = array.identity(sparse.values)
    shape = array.identity(sparse.dense_shape)
    result: Any
    if new_shape is None:
        lowest = reduction.reduce_max(indices, axis=0)
        result = math_ops.maximum(
            constant(0, dtype=dtypes.int64), math_ops.add(lowest, array.ones_like(shape))
        )
    else:
        result = convert_to_tensor(new_shape)
        result.get_shape().assert_has_rank(1)
        result = casting.cast(result, dtypes.int64)
        if result.static_shape is not None:
            shapes.merge_dim(result.static_shape[0], shapes.with_rank(shape.static_shape, 1)[0])
        known = tensor_util.constant_value(result)
        if known is not None and sparse.get_shape().is_fully_defined():
            old = np.array(sparse.get_shape().as_list())
            if not (old <= known).all():
                raise ValueError(
                    f"Requested new_shape should have dimension sizes >= sp_input.shape.  Found new_shape "
                    f"({known}), sp_input.shape ({old})."
                )
            result = known
        else:
            same_rank = check.assert_equal(array.shape(shape), array.shape(result))
            result = control.with_dependencies([same_rank], result)
            result = control.with_dependencies([check.assert_less_equal(shape, result)], result)
    return SparseTensor(indices, values, result)


def sparse_expand_dims(sp_input: SparseTensor, axis: Any = None, name: str | None = None) -> SparseTensor:
    """A sparse tensor with a dimension of size 1 inserted at ``axis``, the last by default.

    Raises:
      TypeError: ``axis`` is neither an integer nor a tensor.
    """
    from kvarn.ops import selection
    from kvarn.ops import slicing as slicing_ops

    rank = sp_input.dense_shape.static_shape[0] if sp_input.dense_shape.static_shape is not None else None
    axis = -1 if axis is None else axis
    with name_scope(name, "expand_dims", [sp_input]):
        if isinstance(axis, numbers.Integral):
            axis = convert_to_tensor(axis, name="axis", dtype=dtypes.int32)
        elif not isinstance(axis, Tensor):
            raise TypeError("axis must be an integer value in range [-rank(sp_input) - 1, rank(sp_input)]")
        axis = selection.where_v2(axis >= 0, axis, axis + rank + 1)
        count = array.shape(sp_input.indices)[0]
        column = array.zeros([count, 1], dtype=dtypes.int64)
        before = slicing_ops.slice(sp_input.indices, [0, 0], [-1, axis])
        after = slicing_ops.slice(sp_input.indices, [0, axis], [-1, -1])
        indices = array.concat([before, column, after], axis=1)
        shape_before = slicing_ops.slice(sp_input.dense_shape, [0], [axis])
        shape_after = slicing_ops.slice(sp_input.dense_shape, [axis], [-1])
        one = convert_to_tensor([1], name="new_shape", dtype=dtypes.int64)
        shape = array.concat([shape_before, one, shape_after], axis=0)
        return SparseTensor(indices, sp_input.values, shape)


# -- ids as indices -------------------------------------------------------------------------------


def _is_size(value: Any) -> bool:
    return isinstance(value, (Tensor, numbers.Integral))


def sparse_merge(
    sp_ids: Any, sp_values: Any, vocab_size: Any, name: str | None = None, already_sorted: bool = False
) -> SparseTensor:
    """A sparse tensor whose last indices are the values of another: ids with weights as weights by id.

    Args:
      sp_ids: int32 or int64 sparse tensor, or a list of these for several last dimensions.
      sp_values: of the same indices.
      vocab_size: the size of the last dimension, or a list of these.
      already_sorted: whether the result is known to be in order.

    Raises:
      TypeError, ValueError: the ids and sizes are not of these kinds, or not equally many.
    """
    if isinstance(sp_ids, (SparseTensor, SparseTensorValue)):
        sp_ids = [sp_ids]
        if not _is_size(vocab_size):
            raise TypeError(f"vocab_size has to be a Tensor or Python int. Found {type(vocab_size)}")
        vocab_size = [vocab_size]
    else:
        if not isinstance(sp_ids, Iterable):
            raise TypeError(f"sp_ids has to be a SparseTensor or list thereof. Found {type(sp_ids)}")
        if not isinstance(vocab_size, Iterable) or isinstance(vocab_size, Tensor):
            raise TypeError(
                f"vocab_size has to be a list of Tensors or Python ints. Found {type(vocab_size)}"
            )
        for size in vocab_size:
            if not _is_size(size):
                raise TypeError(f"vocab_size has to be a list of Tensors or Python ints. Found {type(size)}")
    ids = list(sp_ids)
    sizes = list(vocab_size)
    if len(ids) != len(sizes):
        raise ValueError("sp_ids and vocab_size have to have equal lengths.")
    with name_scope(name, "SparseMerge", [ids, sp_values]):
        ids = [convert_to_sparse_tensor(i) for i in ids]
        weights = convert_to_sparse_tensor(sp_values)
        columns = []
        for i in ids:
            column = i.values
            if column.dtype != dtypes.int64:
                column = casting.cast(column, dtypes.int64)
            columns.append(array.expand_dims(column, axis=1))
        sizes = [casting.cast(size, dtypes.int64) for size in sizes]
        kept = ids[0].indices[:, :-1]
        indices = array.concat([kept, *columns], 1)
        shape = array.concat([ids[0].dense_shape[:-1], sizes], 0)
        result = SparseTensor(indices, weights.values, shape)
        if already_sorted:
            return result
        ordered = sparse_reorder(result)
        return SparseTensor(ordered.indices, ordered.values, shape)


def sparse_to_indicator(sp_input: Any, vocab_size: Any, name: str | None = None) -> Tensor:
    """A dense bool tensor, true where a row has the id; the last dimension has size ``vocab_size``."""
    sparse = convert_to_sparse_tensor(sp_input)
    with name_scope(name, "SparseToIndicator", [sparse]) as scope:
        count = array.shape(sparse.indices)[0]
        values = array.fill(array.expand_dims(count, 0), True)
        present = SparseTensor(sparse.indices, values, sparse.dense_shape)
        merged = sparse_merge(sparse, present, vocab_size, scope)
        return sparse_tensor_to_dense(merged, default_value=False, validate_indices=False, name=scope)
