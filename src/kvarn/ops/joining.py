"""Putting tensors together and taking them apart: Pack, Unpack, Concat, Split.

Source: tensorflow/core/ops/array_ops.cc, tensorflow/python/ops/{array_ops,array_grad}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.comparison as comparison
import kvarn.ops.math as math_ops
from kvarn import dtypes, errors
from kvarn.graph import tensor_util
from kvarn.graph.control_flow_util import GetOutputContext
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.functions import packed
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import merge, merge_all
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops._elementwise import dims_text


def _canonical_axis(axis, rank):
    if not -rank <= axis < rank:
        raise ValueError(f"axis = {axis} not in [{-rank}, {rank})")
    return axis % rank


def _boxed(handle):
    """A handle, which has no shape of its own, as an array."""
    if isinstance(handle, np.ndarray):
        return handle
    out = np.empty((), object)
    out[()] = handle
    return out


@op("Pack", inputs="values: N * T", outputs="output: T", attrs=["N: int >= 1", "T: type", "axis: int = 0"])
class pack:
    """Tensors of one shape stacked along a new dimension `axis`."""

    def shape(c, values):
        whole = merge_all(c, values)
        if whole is None:
            return None
        axis = _canonical_axis(c.attrs["axis"], len(whole) + 1)
        return (*whole[:axis], len(values), *whole[axis:])

    def kernel(ctx, values):
        if ctx.attrs["T"] is dtypes.resource:
            values = [_boxed(v) for v in values]
        first = values[0].shape
        for i, v in enumerate(values):
            if v.shape != first:
                raise errors.InvalidArgumentError.of(
                    f"Shapes of all inputs must match: values[0].shape = {dims_text(values[0])} != "
                    f"values[{i}].shape = {dims_text(v)}"
                )
        if not first:
            out = np.empty(len(values), ctx.attrs["T"].np)
            for i, v in enumerate(values):
                out[i] = v[()]
            return out
        return np.stack(values, axis=ctx.attrs["axis"])

    def grad(op, d):
        return unstack(d, num=op.attrs["N"], axis=op.attrs["axis"])


def stack(values: Any, axis: int = 0, name: str = "stack") -> Tensor:
    """Tensors of one shape stacked along a new dimension; constants that are stacked become one constant.

    Raises:
      ValueError: `axis` is not in [-(rank + 1), rank + 1).
    """
    if axis == 0:
        try:
            return convert_to_tensor(values, name=name)
        except (TypeError, ValueError):
            pass
    shape = convert_to_tensor(values[0], name=name).static_shape
    if shape is not None:
        _canonical_axis(axis, len(shape) + 1)
    return pack(values, axis=axis, name=name)


@op(
    "Unpack",
    inputs="value: T",
    outputs="output: num * T",
    attrs=["num: int >= 0", "T: type", "axis: int = 0"],
)
class unpack:
    """The slices of `value` along `axis`, without that dimension."""

    def shape(c, value):
        num = c.attrs["num"]
        if value is None:
            return [None] * num
        axis = _canonical_axis(c.attrs["axis"], len(value))
        if value[axis] is not None and value[axis] != num:
            raise ValueError(f"Dimension must be {num} but is {value[axis]}")
        return [(*value[:axis], *value[axis + 1 :])] * num

    def kernel(ctx, value):
        axis, num = ctx.attrs["axis"], ctx.attrs["num"]
        if value.shape[axis] != num:
            raise errors.InvalidArgumentError.of(
                f"Input shape axis {axis} must equal {num}, got shape {dims_text(value)}"
            )
        moved = np.moveaxis(value, axis, 0)
        return packed([moved[i, ...] for i in range(num)])

    def grad(op, *d):
        return stack(list(d), axis=op.attrs["axis"])


def unstack(value: Any, num: int | None = None, axis: int = 0, name: str = "unstack") -> list[Tensor]:
    """The slices of a tensor along `axis`.

    Raises:
      ValueError: `num` is not given and not known, or `axis` is out of range.
    """
    if num is None:
        value = convert_to_tensor(value)
        shape = value.static_shape
        if shape is not None:
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"axis = {axis} not in [{-len(shape)}, {len(shape)})")
            num = shape[axis]
        if num is None:
            raise ValueError(f"Cannot infer num from shape {value.shape}")
    found: list[Tensor] = unpack(value, num=num, axis=axis, name=name)
    return found


# -- concatenation --------------------------------------------------------------------------------------


def _concat_shape(c, values, axis_index):
    axis = c.constant_value(axis_index)
    ranks = {len(s) for s in values if s is not None}
    if len(ranks) > 1:
        low, high = min(ranks), max(ranks)
        raise ValueError(f"Shape must be rank {low} but is rank {high}")
    if not ranks:
        return None
    rank = ranks.pop()
    if rank == 0:
        raise ValueError("Can't concatenate scalars (use tf.stack instead)")
    if axis is None:
        return (None,) * rank
    axis = int(np.ravel(axis)[0])
    if not -rank <= axis < rank:
        raise ValueError(f"Shape must be at least rank {axis + 1 if axis >= 0 else -axis} but is rank {rank}")
    axis %= rank
    whole: Any = None
    total: int | None = 0
    for s in values:
        if s is None:
            total = None
            continue
        total = None if total is None or s[axis] is None else total + s[axis]
        whole = merge(whole, (*s[:axis], None, *s[axis + 1 :]))
    return (*whole[:axis], total, *whole[axis + 1 :])


def _concat_kernel(values, axis):
    rank = len(values[0].shape)
    axis = int(np.ravel(axis)[0])
    if not -rank <= axis < rank:
        raise errors.InvalidArgumentError.of(
            f"ConcatOp : Expected concatenating dimensions in the range [{-rank}, {rank}), but got {axis}"
        )
    try:
        return np.concatenate(values, axis)
    except ValueError:
        first = values[0]
        for i, v in enumerate(values):
            same = len(v.shape) == rank and all(
                a == b for j, (a, b) in enumerate(zip(first.shape, v.shape, strict=True)) if j != axis % rank
            )
            if not same:
                what = (
                    "Dimensions of inputs should match"
                    if len(v.shape) == rank
                    else "Ranks of all input tensors should match"
                )
                raise errors.InvalidArgumentError.of(
                    f"ConcatOp : {what}: shape[0] = {dims_text(first)} vs. shape[{i}] = {dims_text(v)}"
                ) from None
        raise


def _concat_grads(op, d, values, axis):
    """The gradient of each of `values`."""
    if len(values) == 1:
        return [d]
    if not isinstance(d, (Tensor, IndexedSlices)):
        raise TypeError(f"Expected Tensor or IndexedSlices, got {type(d)}")
    if (
        axis.op.type == "Const"
        and isinstance(d, Tensor)
        and GetOutputContext(axis.op) is not GetOutputContext(d.op)
    ):
        # A constant of the loop that runs forwards: one of its own needs no way in.
        axis = constant(tensor_util.constant_value(axis), dtype=axis.dtype)
    wrapped = axis % array_ops.rank(values[0])
    if isinstance(d, IndexedSlices):
        return _concat_sparse_grads(d, values, axis, wrapped)
    return _dense_parts(d, wrapped, _input_shapes(values))


def _dense_parts(d, wrapped, sizes):
    from kvarn.ops.slicing import slice

    if len(sizes) > 16:
        lengths = array_ops.squeeze(slice(stack(sizes, axis=1), [wrapped, 0], [1, -1]))
        return split(d, lengths, wrapped)
    return [slice(d, begin, size) for begin, size in zip(concat_offset(wrapped, sizes), sizes, strict=True)]


def _input_shapes(values):
    """Shapes as constants, or as one ShapeN where one of them is not known."""
    sizes = []
    for x in values:
        size = array_ops.shape(x)
        if size.op.type != "Const":
            return array_ops.shape_n(values)
        sizes.append(size)
    return sizes


def _concat_sparse_grads(d, values, axis, wrapped):
    from kvarn.ops.gather import gather
    from kvarn.ops.selection import where
    from kvarn.ops.slicing import slice

    known = tensor_util.constant_value(axis)
    if known is None:
        raise ValueError("Can only compute IndexedSlices gradient with statically-known concat_dim")
    known = int(known)
    if known < 0:
        rank = tensor_util.constant_value(array_ops.rank(values[0]))
        if rank is None:
            raise ValueError(
                "Can only compute IndexedSlices gradient with negative concat_dim when first value rank is "
                "statically-known."
            )
        known %= int(rank)
    sizes = [array_ops.shape(x) for x in values]
    parts = []
    if known > 0:
        count = array_ops.shape(sizes[0])
        mask = concat(
            [
                array_ops.fill(array_ops.expand_dims(wrapped, 0), 0),
                [1],
                array_ops.fill(count - wrapped - 1, 0),
            ],
            0,
        )
        begin = array_ops.fill(count, 0)
        for size in sizes:
            rows = slice(d.values, begin, concat([[-1], slice(size, [1], [-1])], 0))
            parts.append(IndexedSlices(rows, d.indices, size))
            begin = math_ops.add(begin, size * mask)
        return parts
    start = constant(0, dtype=d.indices.dtype)
    for size in sizes:
        length = gather(size, wrapped)
        if length.dtype != d.indices.dtype:
            length = casting.cast(length, dtype=d.indices.dtype)
        end = start + length
        chosen = array_ops.squeeze(
            where(comparison.logical_and(d.indices >= start, d.indices < end)), axis=[1]
        )
        indices = gather(d.indices, chosen) - start
        parts.append(IndexedSlices(gather(d.values, chosen), indices, size))
        start = end
    return parts


@op(
    "ConcatV2",
    inputs="values: N * T, axis: Tidx",
    outputs="output: T",
    attrs=["N: int >= 2", "T: type", "Tidx: {int32, int64} = DT_INT32"],
)
class concat_v2:
    """Tensors one after another along `axis`."""

    def shape(c, values, axis):
        return _concat_shape(c, values, len(values))

    def kernel(ctx, values, axis):
        return _concat_kernel(values, axis)

    def grad(op, d):
        return [*_concat_grads(op, d, op.inputs[:-1], op.inputs[-1]), None]


@op(
    "Concat", inputs="concat_dim: int32, values: N * T", outputs="output: T", attrs=["N: int >= 2", "T: type"]
)
class concat_v1:
    """Tensors one after another along `concat_dim`; the older form of `concat_v2`."""

    def shape(c, concat_dim, values):
        return _concat_shape(c, values, 0)

    def kernel(ctx, concat_dim, values):
        return _concat_kernel(values, concat_dim)

    def grad(op, d):
        return [None, *_concat_grads(op, d, op.inputs[1:], op.inputs[0])]


def concat(values: Any, axis: Any, name: str = "concat") -> Tensor:
    """Tensors one after another along `axis`; a single one is passed on."""
    if not isinstance(values, (list, tuple)):
        values = [values]
    if len(values) == 1:
        with name_scope(name):
            convert_to_tensor(axis, name="concat_dim", dtype=dtypes.int32).get_shape().assert_has_rank(0)
            return array_ops.identity(values[0], name=name)
    return concat_v2(values, axis, name=name)


@op(
    "ConcatOffset",
    inputs="concat_dim: int32, shape: N * int32",
    outputs="offset: N * int32",
    attrs="N: int >= 2",
)
class concat_offset:
    """Where each of several tensors begins in their concatenation."""

    def shape(c, concat_dim, shape):
        return shape

    def kernel(ctx, concat_dim, shape):
        if concat_dim.size != 1:
            raise errors.InvalidArgumentError.of(
                f"Concat dim tensor should be a scalar integer, but got shape {dims_text(concat_dim)}"
            )
        for i, s in enumerate(shape):
            if len(s.shape) != 1:
                raise errors.InvalidArgumentError.of(
                    f"input {i + 1} should be a vector, but got shape {dims_text(s)}"
                )
        dim, dims = int(concat_dim), len(shape[0])
        axis = dim + dims if dim < 0 else dim
        if not 0 <= axis < dims:
            raise errors.InvalidArgumentError.of(f"Concat dim is out of range: {dim} vs. {dims}")
        offset, out = 0, []
        for i, s in enumerate(shape):
            if len(s) != dims:
                raise errors.InvalidArgumentError.of(
                    f"input {i} should contain {dims} elements, but got {len(s)}"
                )
            differs = np.flatnonzero(s != shape[0])
            if any(int(j) != axis for j in differs):
                raise errors.InvalidArgumentError.of(
                    f"All dimensions except {axis} must match. Input {i} has shape "
                    f"[{' '.join(map(str, s))}] and "
                    f"doesn't match input 0 with shape [{' '.join(map(str, shape[0]))}]."
                )
            start = np.zeros(len(s), np.int32)
            start[axis] = offset
            offset += int(s[axis])
            out.append(start)
        return tuple(out)

    grad = NOT_DIFFERENTIABLE


# -- splitting ---------------------------------------------------------------------------------------------


@op(
    "Split",
    inputs="split_dim: int32, value: T",
    outputs="output: num_split * T",
    attrs=["num_split: int >= 1", "T: type"],
)
class split_equal:
    """`value` cut into `num_split` equal parts along `split_dim`."""

    def shape(c, split_dim, value):
        num = c.attrs["num_split"]
        axis = c.constant_value(0)
        if value is None:
            return [None] * num
        if axis is None:
            return [(None,) * len(value)] * num
        axis = _canonical_axis(int(axis), len(value))
        size = value[axis]
        if size is not None and size % num:
            raise ValueError(f"Dimension size must be evenly divisible by {num} but is {size}")
        part = None if size is None else size // num
        return [(*value[:axis], part, *value[axis + 1 :])] * num

    def kernel(ctx, split_dim, value):
        axis, num = int(split_dim), ctx.attrs["num_split"]
        rank = len(value.shape)
        if not -rank <= axis < rank:
            raise errors.InvalidArgumentError.of(
                f"-input rank(-{rank}) <= split_dim < input rank ({rank}), but got {axis}"
            )
        size = value.shape[axis]
        if size % num:
            raise errors.InvalidArgumentError.of(
                "Number of ways to split should evenly divide the split dimension, but got split_dim "
                f"{axis % rank} (size = {size}) and num_split {num}"
            )
        return packed(np.split(value, num, axis))

    def grad(op, *d):
        return None, concat(list(d), op.inputs[0])


@op(
    "SplitV",
    inputs="value: T, size_splits: Tlen, split_dim: int32",
    outputs="output: num_split * T",
    attrs=["num_split: int >= 1", "T: type", "Tlen: {int32, int64} = DT_INT64"],
)
class split_v:
    """`value` cut into parts of the sizes `size_splits` along `split_dim`; one size may be -1."""

    def shape(c, value, size_splits, split_dim):
        num = c.attrs["num_split"]
        axis, sizes = c.constant_value(2), c.constant_value(1)
        if value is None:
            return [None] * num
        if axis is None:
            return [(None,) * len(value)] * num
        axis = _canonical_axis(int(axis), len(value))
        parts: list[Any] = [-1] * num if sizes is None else [int(s) for s in sizes]
        whole = value[axis]
        if sizes is not None and whole is not None:
            rest = whole - sum(p for p in parts if p >= 0)
            if (parts.count(-1) == 0 and rest) or rest < 0:
                raise ValueError(
                    f"Determined shape must match the sum of the sizes: {whole} and {sum(parts)}"
                )
            parts = [rest if p < 0 else p for p in parts]
        return [(*value[:axis], None if p < 0 else p, *value[axis + 1 :]) for p in parts]

    def kernel(ctx, value, size_splits, split_dim):
        axis = int(split_dim)
        sizes = [int(s) for s in size_splits]
        whole = value.shape[axis]
        if -1 in sizes:
            sizes[sizes.index(-1)] = whole - sum(sizes) - 1
        if min(sizes, default=0) < 0 or sum(sizes) != whole:
            raise errors.InvalidArgumentError.of(
                "Determined shape must either match input shape along split_dim exactly if fully "
                "specified, or be "
                f"less than the size of the input along split_dim if not fully specified.  Got: {sum(sizes)}"
            )
        return packed(np.split(value, np.cumsum(sizes)[:-1], axis))

    def grad(op, *d):
        return concat(list(d), op.inputs[2]), None, None


def split(
    value: Any, num_or_size_splits: Any, axis: Any = 0, num: int | None = None, name: str = "split"
) -> list[Tensor]:
    """A tensor cut along `axis` into equal parts (an int) or parts of given sizes (a vector).

    Raises:
      ValueError: the number of parts cannot be inferred.
    """
    from kvarn.graph.tensor_shape import Dimension

    sizes = convert_to_tensor(num_or_size_splits)
    found: list[Tensor]
    if isinstance(num_or_size_splits, (int, Dimension)):
        found = split_equal(axis, value, num_split=int(num_or_size_splits), name=name)
        return found
    shape = sizes.static_shape
    if shape == ():
        raise ValueError(
            "Rank-0 tensors are not supported as the num_or_size_splits argument to split. Argument "
            "provided: "
            f"{num_or_size_splits}"
        )
    if num is None:
        num = shape[0] if shape else None
        if num is None:
            raise ValueError(f"Cannot infer num from shape {num_or_size_splits}")
    found = split_v(value, sizes, axis, num_split=num, name=name)
    return found
