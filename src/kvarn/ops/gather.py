"""Rows and elements by index: Gather, Scatter, Unique, DynamicPartition and DynamicStitch.

Source: tensorflow/core/ops/{array,data_flow}_ops.cc and
tensorflow/python/ops/{array_ops,array_grad,data_flow_grad}.py (1.15).
"""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.joining as joining
import kvarn.ops.layout as layout
import kvarn.ops.ranges as ranges
import kvarn.ops.reduction as reduction_ops
from kvarn import _native, dtypes, errors
from kvarn.graph import tensor_util
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.functions import packed
from kvarn.graph.graph import colocate_with, name_scope
from kvarn.graph.op import op
from kvarn.graph.shape_inference import fmt, merge, merge_prefix, with_rank, with_rank_at_least
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import _scatter
from kvarn.ops._elementwise import dims_text, place_text

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def bad_index(indices: Any, limit: int, first: int) -> errors.OpError:
    """The error for the flat index `first` of `indices`, which is not below `limit`."""
    return errors.InvalidArgumentError.of(
        f"indices{place_text(indices.shape, first)} = {int(np.ravel(indices)[first])} is not in [0, {limit})"
    )


def take(params: Any, indices: Any, axis: int = 0) -> Any:
    """params with indices taken along an axis.

    Raises:
      InvalidArgumentError: an index is negative or too large.
    """
    limit = params.shape[axis]
    if axis == 0 and len(params.shape) > 1 and params.dtype.itemsize in _UNSIGNED and params.dtype != object:
        # The width is not left to NumPy, which cannot tell it of no rows.
        width = _math.prod(params.shape[1:])
        rows = np.ascontiguousarray(params).view(_UNSIGNED[params.dtype.itemsize]).reshape(limit, width)
        flat = np.ascontiguousarray(indices).reshape(-1)
        out = np.empty((flat.size, rows.shape[1]), rows.dtype)
        first = _native.gather_rows(rows, flat, out)
        if first >= 0:
            raise bad_index(indices, limit, first)
        return out.view(params.dtype).reshape(*indices.shape, *params.shape[1:])
    if indices.size:
        flat = np.ravel(indices)
        bad = (flat < 0) | (flat >= limit)
        if bad.any():
            raise bad_index(indices, limit, int(np.argmax(bad)))
    out = np.take(params, indices, axis)
    return _boxed(out) if params.dtype.kind == "O" and not isinstance(out, np.ndarray) else out


def _boxed(value):
    out = np.empty((), object)
    out[()] = value
    return out


@op(
    "Gather",
    inputs="params: Tparams, indices: Tindices",
    outputs="output: Tparams",
    attrs=["validate_indices: bool = true", "Tparams: type", "Tindices: {int32, int64}"],
)
class gather_v1:
    """Rows of `params` at `indices`; the older form of `gather_v2`."""

    def shape(c, params, indices):
        return None if params is None or indices is None else (*indices, *params[1:])

    def kernel(ctx, params, indices):
        return take(params, indices)

    def grad(op, d):
        params, indices = op.inputs
        with colocate_with(params):
            params_shape = array_ops.shape(params, out_type=dtypes.int64)
            params_shape = casting.cast(params_shape, dtypes.int32)
        size = array_ops.expand_dims(array_ops.size(indices), 0)
        values = array_ops.reshape(d, joining.concat([size, params_shape[1:]], 0))
        return IndexedSlices(values, array_ops.reshape(indices, size), params_shape), None


def _gather_dims(params, indices, axis, batch):
    """The axis and the number of batch dimensions, both counted from the front."""
    rank, indices_rank = len(params.shape), len(indices.shape)
    if rank < 1:
        raise errors.InvalidArgumentError.of("params must be at least 1 dimensional")
    if len(axis.shape):
        raise errors.InvalidArgumentError.of("axis must be scalar")
    at = int(axis)
    if not -rank <= at < rank:
        raise errors.InvalidArgumentError.of(f"Expected axis in the range [{-rank}, {rank}), but got {at}")
    at %= rank
    if batch == 0:
        return at, 0
    batch += indices_rank if batch < 0 else 0
    if not 0 <= batch < indices_rank:
        raise errors.InvalidArgumentError.of(
            f"Expected batch_dims in the range [{-indices_rank}, {indices_rank}), but got {batch}"
        )
    if batch >= rank:
        raise errors.InvalidArgumentError.of(f"batch_dims ({batch}) must be less than rank(params) ({rank}).")
    if at < batch:
        raise errors.InvalidArgumentError.of(
            f"batch_dims ({batch}) must be less than or equal to axis ({at})."
        )
    if params.shape[:batch] != indices.shape[:batch]:
        dim = next(i for i in range(batch) if params.shape[i] != indices.shape[i])
        raise errors.InvalidArgumentError.of(
            f"params.shape[{dim}]: {params.shape[dim]} should be equal to indices.shape[{dim}]: "
            f"{indices.shape[dim]}"
        )
    return at, batch


@op(
    "GatherV2",
    inputs="params: Tparams, indices: Tindices, axis: Taxis",
    outputs="output: Tparams",
    attrs=["batch_dims: int = 0", "Tparams: type", "Tindices: {int32, int64}", "Taxis: {int32, int64}"],
)
class gather_v2_:
    """Slices of `params` at `indices` along `axis`; the first `batch_dims` dimensions go in pairs."""

    def shape(c, params, indices, axis):
        with_rank_at_least(params, 1)
        with_rank(axis, 0)
        where = c.constant_value(2)
        batch = c.attrs["batch_dims"]
        if where is not None:
            for at in (int(where), batch):
                with_rank_at_least(params, -at if at < 0 else at + 1)
        if params is None or indices is None:
            return None
        batch += len(indices) if batch < 0 else 0
        if where is None:
            return (None,) * (len(params) + len(indices) - 1 - batch)
        at = int(where) % len(params)
        return (*params[:at], *indices[batch:], *params[at + 1 :])

    def kernel(ctx, params, indices, axis):
        at, batch = _gather_dims(params, indices, axis, ctx.attrs["batch_dims"])
        if not batch:
            return take(params, indices, at)
        count = _math.prod(params.shape[:batch])
        p = params.reshape(count, *params.shape[batch:])
        i = indices.reshape(count, *indices.shape[batch:])
        parts = [take(p[b], i[b], at - batch) for b in range(count)]
        tail = (*params.shape[batch:at], *indices.shape[batch:], *params.shape[at + 1 :])
        out = np.stack(parts) if parts else np.empty((0, *tail), params.dtype)
        return out.reshape(*params.shape[:batch], *tail)

    def grad(op, d):
        return _gather_grad(op, d), None, None


def _gather_grad(op, d):
    params, indices, axis = op.inputs
    with colocate_with(params):
        params_shape = array_ops.shape(params, out_type=dtypes.int64)
        params_shape = casting.cast(params_shape, dtypes.int32)
    size = array_ops.expand_dims(array_ops.size(indices), 0)
    at = tensor_util.constant_value(axis)
    batch = op.attrs["batch_dims"]
    if batch < 0:
        batch += len(indices.static_shape)
    if at is not None and int(at) == 0:
        tail = params_shape[1:]
        values = array_ops.reshape(d, joining.concat([size, tail], 0))
        return IndexedSlices(values, array_ops.reshape(indices, size), params_shape)
    # The axis is moved to the front (behind the batch), summed by segments there, and moved back.
    outer = params_shape[:axis]
    inner = params_shape[axis:][1:]
    values_shape = joining.concat([outer, [-1], inner], 0)
    values_dims, axis_dims = array_ops.size(values_shape), array_ops.size(outer)
    batches = ranges.range(batch)
    before = ranges.range(batch, axis_dims)
    after = ranges.range(axis_dims + 1, values_dims)
    moved: Tensor = array_ops.reshape(d, values_shape)
    there = joining.concat([batches, [axis_dims], before, after], 0)
    moved = layout.transpose(moved, there)
    summed = _batch_gather_grad(params_shape, moved, indices, batch, params_shape[axis])
    back = joining.concat([batches, before + 1, [batch], after], 0)
    return layout.transpose(summed, back)


def _batch_gather_grad(params_shape, values, indices, batch, gather_dim_size):
    from kvarn.ops.segment import unsorted_segment_sum

    size = array_ops.expand_dims(array_ops.size(indices), 0)
    if batch:
        values_shape = array_ops.shape(values)
        outer = values_shape[:batch]
        inner = values_shape[batch:][1:]
        batch_size = reduction_ops.prod_(outer, [0], False)
        flat_shape = joining.concat([[-1], inner], 0)
        gather_dim_size *= batch_size
        indices = _batch_indices(params_shape, indices, batch)
        values = array_ops.reshape(values, flat_shape)
    indices = array_ops.reshape(indices, size)
    summed = unsorted_segment_sum(values, indices, gather_dim_size)
    if batch:
        summed = array_ops.reshape(summed, joining.concat([outer, flat_shape], 0))
    return summed


def _batch_indices(params_shape, indices, batch):
    """`indices` counted through all batches."""
    rank = len(indices.static_shape)
    dtype = indices.dtype.base_dtype
    sizes = casting.cast(params_shape, dtype)
    step = array_ops.ones((), dtype=dtype)
    for dim in range(batch, 0, -1):
        count = sizes[dim - 1]
        step *= sizes[dim]
        zero, one = array_ops.zeros((), dtype=dtype), array_ops.ones((), dtype=dtype)
        offsets = ranges.range(zero, count, one)
        offsets *= step
        dim_shape = joining.stack([1] * (dim - 1) + [count] + [1] * (rank - dim), axis=0)
        indices += array_ops.reshape(offsets, dim_shape)
    return indices


def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    name: str | None = None,
    axis: Any = None,
    batch_dims: int = 0,
) -> Tensor:
    """Slices of `params` at `indices` along `axis`; variables are read sparsely."""
    del validate_indices
    if axis is None:
        axis = batch_dims
    if tensor_util.constant_value(axis) != 0:
        return gather_v2_(params, indices, axis, batch_dims=batch_dims, name=name)
    sparse_read = getattr(params, "sparse_read", None)
    if sparse_read is not None:
        found: Tensor = sparse_read(indices, name=name)
        return found
    return gather_v2_(params, indices, axis, name=name)


def gather_v2(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    axis: Any = None,
    batch_dims: int = 0,
    name: str | None = None,
) -> Tensor:
    """`gather` with TensorFlow 2's order of arguments."""
    return gather(params, indices, validate_indices, name, axis, batch_dims)


def batch_gather(params: Any, indices: Any, name: str | None = None) -> Tensor:
    """Slices of `params` at `indices`, all but the last dimension of `indices` going in pairs."""
    with name_scope(name, "BatchGather", [params, indices]):
        indices = convert_to_tensor(indices, name="indices")
        params = convert_to_tensor(params, name="params")
        shape = indices.static_shape
        if shape is None:
            raise ValueError("batch_gather does not allow indices with unknown shape.")
        batch = len(shape) - 1
        indices_shape, params_shape = array_ops.shape(indices), array_ops.shape(params)
        places = _batch_indices(params_shape, indices, batch)
        flat = array_ops.reshape(places, [-1])
        outer = params_shape[batch + 1 :]
        rows = reduction_ops.prod_(params_shape[: batch + 1], [0], False)
        taken = gather(array_ops.reshape(params, joining.concat([[rows], outer], axis=0)), flat)
        result: Tensor = array_ops.reshape(taken, joining.concat([indices_shape, outer], axis=0))
        known = params.static_shape
        if known is not None:
            result.set_shape((*shape, *known[batch + 1 :]))
        return result


def _take_nd(params, indices):
    """Slices of `params` at index tuples [..., k]."""
    depth = indices.shape[-1]
    batch = indices.shape[:-1]
    count = _math.prod(batch)
    if count == 0:
        return np.empty((*batch, *params.shape[depth:]), params.dtype)
    if params.size == 0:
        raise errors.InvalidArgumentError.of(
            f"Requested more than 0 entries, but params is empty.  Params shape: {dims_text(params)}"
        )
    if depth == 0:
        return np.broadcast_to(params, (*batch, *params.shape)).copy()
    rows = indices.reshape(count, depth)
    bad = ((rows < 0) | (rows >= np.array(params.shape[:depth], np.int64))).any(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise errors.InvalidArgumentError.of(
            f"indices{place_text(batch, first)} = [{', '.join(map(str, rows[first].tolist()))}] does not "
            f"index into param shape {dims_text(params)}"
        )
    return params[tuple(np.moveaxis(indices, -1, 0))]


@op(
    "GatherNd",
    inputs="params: Tparams, indices: Tindices",
    outputs="output: Tparams",
    attrs=["Tparams: type", "Tindices: {int32, int64}"],
)
class gather_nd_:
    """Slices of `params` at the places that the last dimension of `indices` holds."""

    def shape(c, params, indices):
        with_rank_at_least(indices, 1)
        if params is None or indices is None or indices[-1] is None:
            return None
        if indices[-1] > len(params):
            raise ValueError(
                f"indices.shape[-1] must be <= params.rank, but saw indices shape: {fmt(indices)} and params "
                f"shape: {fmt(params)}"
            )
        return (*indices[:-1], *params[indices[-1] :])

    def kernel(ctx, params, indices):
        for name, array in (("params", params), ("indices", indices)):
            if len(array.shape) < 1:
                raise errors.InvalidArgumentError.of(f"{name} must be at least a vector")
        if indices.shape[-1] > len(params.shape):
            raise errors.InvalidArgumentError.of(
                "index innermost dimension length must be <= params rank; saw: "
                f"{indices.shape[-1]} vs. {len(params.shape)}"
            )
        out = _take_nd(params, indices)
        return _boxed(out) if params.dtype == object and not isinstance(out, np.ndarray) else out

    def grad(op, d):
        params, indices = op.inputs
        shape = array_ops.shape(params, out_type=indices.dtype)
        known = indices.static_shape
        if known is not None and len(known) == 2 and known[-1] == 1:
            return IndexedSlices(d, array_ops.squeeze(indices, axis=-1), shape), None
        return scatter_nd(indices, d, shape), None


def gather_nd(params: Any, indices: Any, name: str | None = None, batch_dims: Any = 0) -> Tensor:
    """Slices of `params` at the places that the last dimension of `indices` holds.

    The first `batch_dims` dimensions of both go in pairs.
    """
    known = tensor_util.constant_value(batch_dims)
    if known is not None:
        batch_dims = int(np.asarray(known).item())
    if batch_dims != 0:
        return batch_gather_nd(params, indices, batch_dims, name=name)
    sparse_read = getattr(params, "gather_nd", None)
    if sparse_read is not None:
        found: Tensor = sparse_read(indices, name=name)
        return found
    return gather_nd_(params, indices, name=name)


def batch_gather_nd(params: Any, indices: Any, batch_dims: Any, name: str | None = None) -> Tensor:
    """`gather_nd` where the first `batch_dims` dimensions of both inputs go in pairs.

    Raises:
      TypeError: `batch_dims` is not an int.
      ValueError: it is negative, or one of the inputs has too few dimensions.
    """
    with name_scope(name, "BatchGatherND", [params, indices]):
        indices = convert_to_tensor(indices, name="indices")
        params = convert_to_tensor(params, name="params")
        _check_batch_dims(params, indices, batch_dims)
        expand = batch_dims == 0
        if expand:
            params = array_ops.expand_dims(params, axis=0)
            indices = array_ops.expand_dims(indices, axis=0)
            batch_dims = 1
        params_shape, indices_shape = array_ops.shape(params), array_ops.shape(indices)
        batch_shape = params_shape[:batch_dims]
        batch_size = reduction_ops.prod_(batch_shape, [0])
        inner_dims = array_ops.rank(indices) - batch_dims - 1
        inner_shape = indices_shape[batch_dims:-1]
        # Each index tuple gets the place of its batch in front.
        counts = [
            casting.cast_(ranges.range_(0, n, 1), indices.dtype) for n in joining.unstack(batch_shape, axis=0)
        ]
        places = [array_ops.reshape(m, shape=(-1,)) for m in layout.meshgrid(*counts, indexing="ij")]
        grid = layout.transpose(joining.stack(places, axis=0))
        grid_shape = array_ops.shape(grid)
        wide = [grid_shape[:1], array_ops.ones(inner_dims, dtype=dtypes.int32), grid_shape[1:]]
        grid = array_ops.reshape(grid, joining.concat(wide, axis=0))
        grid = layout.tile(grid, multiples=joining.concat(((1,), inner_shape, (1,)), axis=0))
        flat_shape = joining.concat(([batch_size], indices_shape[batch_dims:]), axis=0)
        flat_indices = array_ops.reshape(indices, shape=flat_shape)
        out: Any = gather_nd_(params, joining.concat((grid, flat_indices), axis=-1))
        out_shape = array_ops.shape(out)
        out = array_ops.reshape(out, shape=joining.concat((batch_shape, out_shape[1:]), axis=0))
        if expand:
            out = array_ops.squeeze(out, axis=0)
        result: Tensor = out
    return result


def _check_batch_dims(params: Tensor, indices: Tensor, batch_dims: Any) -> None:
    if not isinstance(batch_dims, int):
        raise TypeError(f"batch_dims must be an int; got {batch_dims!r}")
    if batch_dims < 0:
        raise ValueError("tf.gather_nd does not allow negative batch_dims.")
    for what, tensor in (("indices", indices), ("params", params)):
        shape = tensor.static_shape
        if shape is not None and batch_dims >= len(shape):
            raise ValueError(f"batch_dims = {batch_dims} must be less than rank({what}) = {len(shape)}")


@op(
    "ScatterNd",
    inputs="indices: Tindices, updates: T, shape: Tindices",
    outputs="output: T",
    attrs=["T: type", "Tindices: {int32, int64}"],
)
class scatter_nd:
    """Zeros of shape `shape` with `updates` added at `indices`."""

    def shape(c, indices, updates, shape):
        output = c.constant_shape(2)
        if output is not None:
            # As in TensorFlow, the rank is looked at before the dimensions are.
            _scatter.scatter_nd_shape((None,) * len(output), indices, updates, "output")
        return _scatter.scatter_nd_shape(output, indices, updates, "output")

    def kernel(ctx, indices, updates, shape):
        if len(shape.shape) != 1:
            raise errors.InvalidArgumentError.of("Shape must be a vector")
        dtype = ctx.attrs["T"]
        dims = tuple(shape.tolist())
        # Strings are added by putting one behind the other.
        output = np.full(dims, b"", object) if dtype is dtypes.string else np.zeros(dims, dtype.np)
        return _scatter.scatter_nd_new(output, indices, updates, "Add", empty=not dims)

    def grad(op, d):
        return None, gather_nd(d, op.inputs[0]), None


def _tensor_scatter(how):
    def kernel(ctx, tensor, indices, updates):
        output = np.array(tensor, copy=True)
        return _scatter.scatter_nd_new(output, indices, updates, how, empty=output.size == 0)

    return kernel


def _tensor_shape(c, tensor, indices, updates):
    return _scatter.scatter_nd_shape(with_rank_at_least(tensor, 1), indices, updates, "output")


@op(
    "ScatterNdNonAliasingAdd",
    inputs="input: T, indices: Tindices, updates: T",
    outputs="output: T",
    attrs=[
        (
            "T: {float, double, int32, uint8, int16, int8, complex64, int64, qint8, quint8, qint32, bfloat16, "
            "uint16, complex128, half, uint32, uint64, bool}"
        ),
        "Tindices: {int32, int64}",
    ],
)
class scatter_nd_non_aliasing_add:
    """`input` with `updates` added at `indices`; `input` itself stays as it is."""

    def shape(c, input, indices, updates):
        return _scatter.scatter_nd_shape(input, indices, updates)

    def kernel(ctx, input, indices, updates):
        output = np.array(input, copy=True)
        _scatter.scatter_nd(output, indices, updates, "Add")
        return output

    def grad(op, d):
        return d, None, gather_nd(d, op.inputs[1])


@op(
    "TensorScatterUpdate",
    inputs="tensor: T, indices: Tindices, updates: T",
    outputs="output: T",
    attrs=["T: type", "Tindices: {int32, int64}"],
)
class tensor_scatter_update:
    """`tensor` with `updates` in place of its elements at `indices`."""

    shape = _tensor_shape
    kernel = _tensor_scatter("Update")

    def grad(op, d):
        indices = op.inputs[1]
        d_updates = gather_nd(d, indices)
        passed = array_ops.identity(d)
        zeros = array_ops.zeros_like(op.inputs[2], dtype=d.dtype)
        return tensor_scatter_update(passed, indices, zeros), None, d_updates


@op(
    "TensorScatterAdd",
    inputs="tensor: T, indices: Tindices, updates: T",
    outputs="output: T",
    attrs=["T: type", "Tindices: {int32, int64}"],
)
class tensor_scatter_add:
    """`tensor` with `updates` added to its elements at `indices`."""

    shape = _tensor_shape
    kernel = _tensor_scatter("Add")

    def grad(op, d):
        d_updates = gather_nd(d, op.inputs[1])
        return array_ops.identity(d), None, d_updates


@op(
    "TensorScatterSub",
    inputs="tensor: T, indices: Tindices, updates: T",
    outputs="output: T",
    attrs=["T: type", "Tindices: {int32, int64}"],
)
class tensor_scatter_sub:
    """`tensor` with `updates` subtracted from its elements at `indices`."""

    shape = _tensor_shape
    kernel = _tensor_scatter("Sub")

    def grad(op, d):
        d_updates = gather_nd(d, op.inputs[1])
        return array_ops.identity(d), None, -d_updates


# -- distinct values -------------------------------------------------------------------------------


def _distinct(x):
    """Distinct values in order of first occurrence, where each element is among them, and their counts."""
    if x.dtype in (np.int32, np.int64):
        return _native.unique_with_counts(np.ascontiguousarray(x))
    if x.dtype == object:
        places: dict[bytes, int] = {}
        idx = np.fromiter((places.setdefault(v, len(places)) for v in x), np.int32, x.size)
        values = np.empty(len(places), object)
        values[:] = list(places)
        return values, idx, np.bincount(idx, minlength=len(places)).astype(np.int32)
    ordered, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    order = np.argsort(first, kind="stable")
    rank = np.empty(order.size, np.int32)
    rank[order] = np.arange(order.size, dtype=np.int32)
    return ordered[order], rank[inverse.reshape(-1)], counts[order].astype(np.int32)


def _vector(x):
    if len(x.shape) != 1:
        raise errors.InvalidArgumentError.of("unique expects a 1D vector.")
    return x


@op(
    "Unique",
    inputs="x: T",
    outputs="y: T, idx: out_idx",
    attrs=["T: type", "out_idx: {int32, int64} = DT_INT32"],
)
class unique_:
    """The distinct values of the vector `x` by first occurrence, and where each element is among them."""

    def shape(c, x):
        return [(None,), x]

    def kernel(ctx, x):
        values, idx, _ = _distinct(_vector(x))
        return values, idx.astype(ctx.attrs["out_idx"].np, copy=False)


@op(
    "UniqueWithCounts",
    inputs="x: T",
    outputs="y: T, idx: out_idx, count: out_idx",
    attrs=["T: type", "out_idx: {int32, int64} = DT_INT32"],
)
class unique_with_counts_:
    """As `unique`, and how often each value occurs."""

    def shape(c, x):
        return [(None,), x, (None,)]

    def kernel(ctx, x):
        kind = ctx.attrs["out_idx"].np
        values, idx, counts = _distinct(_vector(x))
        return values, idx.astype(kind, copy=False), counts.astype(kind, copy=False)


def _distinct_along(x, axis):
    """`_distinct` of the slices of `x` along the dimension that `axis` (at most one number) names."""
    if axis.size == 0:
        return _distinct(_vector(x))
    at = int(axis.reshape(-1)[0])
    if len(x.shape) == 1 and at in (0, -1):
        return _distinct(x)
    _, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=at
    )
    order = np.argsort(first, kind="stable")
    rank = np.empty(order.size, np.int32)
    rank[order] = np.arange(order.size, dtype=np.int32)
    return np.take(x, first[order], at), rank[inverse.reshape(-1)], counts[order].astype(np.int32)


@op(
    "UniqueV2",
    inputs="x: T, axis: Taxis",
    outputs="y: T, idx: out_idx",
    attrs=["T: type", "Taxis: {int32, int64} = DT_INT64", "out_idx: {int32, int64} = DT_INT32"],
)
class unique_v2:
    """The distinct slices of `x` along `axis` in order of first occurrence, and where each is among them."""

    def shape(c, x, axis):
        return [None if x is None else (None,) * len(x), (None,)]

    def kernel(ctx, x, axis):
        values, idx, _ = _distinct_along(x, axis)
        return values, idx.astype(ctx.attrs["out_idx"].np, copy=False)


@op(
    "UniqueWithCountsV2",
    inputs="x: T, axis: Taxis",
    outputs="y: T, idx: out_idx, count: out_idx",
    attrs=["T: type", "Taxis: {int32, int64} = DT_INT64", "out_idx: {int32, int64} = DT_INT32"],
)
class unique_with_counts_v2:
    """As `unique_v2`, and how often each slice occurs."""

    def shape(c, x, axis):
        return [None if x is None else (None,) * len(x), (None,), (None,)]

    def kernel(ctx, x, axis):
        kind = ctx.attrs["out_idx"].np
        values, idx, counts = _distinct_along(x, axis)
        return values, idx.astype(kind, copy=False), counts.astype(kind, copy=False)


def unique(x: Any, out_idx: Any = dtypes.int32, name: str | None = None) -> Any:
    """The distinct values of a vector in order of first occurrence: (y, idx) with y[idx] == x."""
    return unique_(x, out_idx, name=name)


def unique_with_counts(x: Any, out_idx: Any = dtypes.int32, name: str | None = None) -> Any:
    """The distinct values of a vector in order of first occurrence: (y, idx, count) with y[idx] == x."""
    return unique_with_counts_(x, out_idx, name=name)


@op(
    "ListDiff",
    inputs="x: T, y: T",
    outputs="out: T, idx: out_idx",
    attrs=["T: type", "out_idx: {int32, int64} = DT_INT32"],
)
class list_diff:
    """The values of `x` that are not in `y`, in order, and their places in `x`."""

    def shape(c, x, y):
        return [(None,), (None,)]

    def kernel(ctx, x, y):
        if x.dtype == object:
            others = set(y.tolist())
            keep = np.array([v not in others for v in x.tolist()], np.bool_)
        else:
            keep = ~np.isin(x, y)
        return x[keep], np.flatnonzero(keep).astype(ctx.attrs["out_idx"].np)


def setdiff1d(x: Any, y: Any, index_dtype: Any = dtypes.int32, name: str | None = None) -> Any:
    """The values of `x` that are not in `y`, and their places in `x`."""
    return list_diff(x, y, index_dtype, name=name)


def listdiff(x: Any, y: Any, out_idx: Any = None, name: str | None = None) -> Any:
    """`setdiff1d` by its older name."""
    return list_diff(x, y, dtypes.int32 if out_idx is None else out_idx, name=name)


# -- partition and stitch --------------------------------------------------------------------------


@op(
    "DynamicPartition",
    inputs="data: T, partitions: int32",
    outputs="outputs: num_partitions * T",
    attrs=["num_partitions: int >= 1", "T: type"],
)
class dynamic_partition:
    """`data` cut into `num_partitions` parts: element i goes to part `partitions[i]`."""

    def shape(c, data, partitions):
        num = c.attrs["num_partitions"]
        merge_prefix(data, partitions)
        if partitions is None or data is None:
            return [None] * num
        return [(None, *data[len(partitions) :])] * num

    def kernel(ctx, data, partitions):
        num = ctx.attrs["num_partitions"]
        if data.shape[: len(partitions.shape)] != partitions.shape:
            raise errors.InvalidArgumentError.of(
                f"data.shape must start with partitions.shape, got data.shape = {dims_text(data)}, "
                f"partitions.shape = {dims_text(partitions)}"
            )
        flat = partitions.reshape(-1)
        bad = (flat < 0) | (flat >= num)
        if bad.any():
            first = int(np.argmax(bad))
            raise errors.InvalidArgumentError.of(
                f"partitions{place_text(partitions.shape, first)} = {flat[first]} is not in [0, {num})"
            )
        rows = data.reshape(flat.size, *data.shape[len(partitions.shape) :])
        return packed([rows[flat == i] for i in range(num)])

    def grad(op, *d):
        data, partitions = op.inputs
        num = op.attrs["num_partitions"]
        prefix = array_ops.shape(partitions)
        indices = array_ops.reshape(ranges.range(reduction_ops.reduce_prod(prefix)), prefix)
        places = dynamic_partition(indices, partitions, num)
        whole = dynamic_stitch(places, list(d))
        return array_ops.reshape(whole, array_ops.shape(data)), None


def _stitch(indices, data):
    size = max((int(i.max()) for i in indices if i.size), default=-1) + 1
    tail = data[0].shape[len(indices[0].shape) :]
    # What no index names stays undefined in TensorFlow; here it is zero.
    kind = data[0].dtype
    out = np.full((size, *tail), b"", object) if kind.kind == "O" else np.zeros((size, *tail), kind)
    for n, (i, d) in enumerate(zip(indices, data, strict=True)):
        if d.shape[: len(i.shape)] != i.shape:
            raise errors.InvalidArgumentError.of(
                f"data[{n}].shape = {dims_text(d)} does not start with indices[{n}].shape = {dims_text(i)}"
            )
        if d.shape[len(i.shape) :] != tail:
            raise errors.InvalidArgumentError.of(
                f"Need data[0].shape[{len(indices[0].shape)}:] = data[{n}].shape[{len(i.shape)}:], got "
                f"data[0].shape = "
                f"{dims_text(data[0])}, data[{n}].shape = {dims_text(d)}, "
                f"indices[0].shape = "
                f"{dims_text(indices[0])}, indices[{n}].shape = {dims_text(i)}"
            )
        if i.size and int(i.min()) < 0:
            raise errors.InvalidArgumentError.of(f"indices[{n}] is out of range")
        out[i.reshape(-1)] = d.reshape(-1, *tail)
    return out


def _stitched(c, indices, data):
    tail: Any = None
    for i, d in zip(indices, data, strict=True):
        merge_prefix(d, i)
        if i is not None and d is not None:
            tail = merge(tail, d[len(i) :])
    sizes = [c.constant_value(i) for i in range(len(indices))]
    size = None
    if all(s is not None for s in sizes):
        size = max((int(s.max()) for s in sizes if s.size), default=-1) + 1
    return None if tail is None else (size, *tail)


def _stitch_grad(op, d):
    num = op.attrs["N"]
    values = [gather(d, op.inputs[i]) for i in range(num)]
    return [None] * num + values


@op(
    "DynamicStitch",
    inputs="indices: N * int32, data: N * T",
    outputs="merged: T",
    attrs=["N: int >= 1", "T: type"],
)
class dynamic_stitch:
    """out[indices[m][i]] = data[m][i]; where several write to one place, the last one counts."""

    shape = _stitched

    def kernel(ctx, indices, data):
        return _stitch(indices, data)

    grad = _stitch_grad


@op(
    "ParallelDynamicStitch",
    inputs="indices: N * int32, data: N * T",
    outputs="merged: T",
    attrs=["N: int >= 1", "T: type"],
)
class parallel_dynamic_stitch:
    """As `dynamic_stitch`, without a promise of order."""

    shape = _stitched

    def kernel(ctx, indices, data):
        return _stitch(indices, data)

    grad = _stitch_grad
