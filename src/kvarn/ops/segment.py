"""Sums, means and extremes of rows that share a segment.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/core/kernels/segment_reduction_ops.cc,
tensorflow/python/ops/{math_ops,math_grad}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.comparison as comparison
import kvarn.ops.division as division
import kvarn.ops.gather as gather_ops
import kvarn.ops.joining as joining
import kvarn.ops.math as math_ops
import kvarn.ops.selection as selection
from kvarn import _native, dtypes, errors
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import op
from kvarn.graph.shape_inference import merge, merge_prefix, with_rank, with_rank_at_least
from kvarn.graph.tensor import Tensor
from kvarn.ops._elementwise import dims_text, place_text
from kvarn.ops.gather import gather

# -- segments in order -----------------------------------------------------------------------------


def _segmented(c, data, segment_ids):
    with_rank_at_least(data, 1)
    with_rank(segment_ids, 1)
    return None if data is None else (None, *data[1:])


def _checked_ids(data, ids):
    """The number of segments of sorted ids."""
    if len(ids.shape) != 1:
        raise errors.InvalidArgumentError.of("segment_ids should be a vector.")
    if ids.size != data.shape[0]:
        raise errors.InvalidArgumentError.of("segment_ids should be the same size as dimension 0 of input.")
    if not ids.size:
        return 0
    n = _last_segment(ids) + 1
    fault = _first_fault(ids, n)
    if fault is not None:
        raise fault[1]
    return n


def _last_segment(ids):
    if ids[-1] < 0:
        raise errors.InvalidArgumentError.of("segment ids must be >= 0")
    return int(ids[-1])


def _first_fault(ids, n):
    """Where the first segment starts that is out of order or not below `n`, and the error; None if all is well."""
    steps = np.diff(ids)
    if ids[0] >= 0 and ids[-1] < n and (steps >= 0).all():
        return None
    # Segment by segment: whether the next one is greater, and then whether this one is in range.
    ends = np.flatnonzero(steps)
    heads, following = ids[ends], ids[ends + 1]
    first = int(np.argmax((following < heads) | (heads < 0) | (heads >= n)))
    start = int(ends[first - 1]) + 1 if first else 0
    if following[first] < heads[first]:
        return start, errors.InvalidArgumentError.of("segment ids are not increasing")
    return start, errors.InvalidArgumentError.of(
        f"Segment id {heads[first]} out of range [0, {n}), possibly because 'segment_ids' input is not sorted."
    )


def _sums(data, ids, num_segments, shape=None):
    """out[s] = the sum of data[i] over ids[i] == s; negative ids are left out.

    `shape` is what the ids had before they were made a vector.
    """
    if data.dtype in (np.float32, np.float64):
        try:
            return _native.unsorted_segment_sum(
                np.ascontiguousarray(data), np.ascontiguousarray(ids), num_segments
            )
        except errors.InvalidArgumentError:
            raise _bad_id(ids, num_segments, shape or ids.shape) from None
    out = np.zeros((num_segments, *data.shape[1:]), data.dtype)
    _at(np.add, out, data, ids, shape)
    return out


def _at(function, out, data, ids, shape=None):
    if ids.size:
        if int(ids.max()) >= len(out):
            raise _bad_id(ids, len(out), shape or ids.shape)
        if int(ids.min()) < 0:
            data, ids = data[ids >= 0], ids[ids >= 0]
        function.at(out, ids, data)


def _bad_id(ids, num_segments, shape):
    first = int(np.argmax(ids >= num_segments))
    return errors.InvalidArgumentError.of(
        f"segment_ids{place_text(shape, first)} = {int(ids[first])} is out of range [0, {num_segments})"
    )


def _columns(counts, data):
    """`counts` so that it broadcasts against rows of `data`."""
    return counts.astype(data.dtype).reshape(-1, *(1,) * (len(data.shape) - 1))


@op(
    "SegmentSum",
    inputs="data: T, segment_ids: Tindices",
    outputs="output: T",
    attrs=["T: numbertype", "Tindices: {int32, int64}"],
)
class segment_sum:
    """The sum of the rows of each segment; `segment_ids` are sorted."""

    shape = _segmented

    def kernel(ctx, data, segment_ids):
        return _sums(data, segment_ids, _checked_ids(data, segment_ids))

    def grad(op, d):
        return gather(d, op.inputs[1]), None


@op(
    "SegmentMean",
    inputs="data: T, segment_ids: Tindices",
    outputs="output: T",
    attrs=["T: numbertype", "Tindices: {int32, int64}"],
)
class segment_mean:
    """The mean of the rows of each segment; `segment_ids` are sorted."""

    shape = _segmented

    def kernel(ctx, data, segment_ids):
        n = _checked_ids(data, segment_ids)
        counts = np.maximum(np.bincount(segment_ids, minlength=n), 1)
        total = _sums(data, segment_ids, n)
        if data.dtype.kind in "iu":
            return (np.sign(total) * (np.abs(total) // _columns(counts, data))).astype(data.dtype)
        return total / _columns(counts, data)

    def grad(op, d):
        data, ids = op.inputs
        rank = array_ops.rank(data)
        ones_shape = joining.concat(
            [array_ops.shape(ids), array_ops.fill(array_ops.expand_dims(rank - 1, 0), 1)], 0
        )
        ones = array_ops.fill(ones_shape, constant(1, dtype=d.dtype))
        scaled = division.divide(d, segment_sum(ones, ids))
        return gather(scaled, ids), None


@op(
    "SegmentProd",
    inputs="data: T, segment_ids: Tindices",
    outputs="output: T",
    attrs=["T: numbertype", "Tindices: {int32, int64}"],
)
class segment_prod:
    """The product of the rows of each segment; `segment_ids` are sorted."""

    shape = _segmented

    def kernel(ctx, data, segment_ids):
        out = np.ones((_checked_ids(data, segment_ids), *data.shape[1:]), data.dtype)
        _at(np.multiply, out, data, segment_ids)
        return out


def _extreme(function, greatest):
    def kernel(ctx, data, segment_ids):
        n = _checked_ids(data, segment_ids)
        out = _limits(n, data, greatest)
        _at(function, out, data, segment_ids)
        empty = np.bincount(segment_ids, minlength=n) == 0
        out[empty] = 0
        return out

    return kernel


def _limits(n, data, greatest):
    """Rows of the least (greatest) values, to find a greatest (least) one from."""
    dtype = dtypes.as_dtype(data.dtype)
    return np.full((n, *data.shape[1:]), dtype.min if greatest else dtype.max, data.dtype)


def _extreme_grad(op, d):
    data, ids = op.inputs
    zeros = array_ops.zeros_like(data, dtype=data.dtype)
    # Rows that are equally extreme share the gradient.
    gathered = gather(op.outputs[0], ids)
    selected = comparison.equal(data, gathered)
    count = segment_sum(casting.cast(selected, d.dtype), ids)
    weighted = division.divide(d, count)
    return selection.where(selected, gather(weighted, ids), zeros), None


@op(
    "SegmentMax",
    inputs="data: T, segment_ids: Tindices",
    outputs="output: T",
    attrs=["T: realnumbertype", "Tindices: {int32, int64}"],
)
class segment_max:
    """The greatest of the rows of each segment, elementwise; `segment_ids` are sorted."""

    shape = _segmented
    kernel = _extreme(np.maximum, True)
    grad = _extreme_grad


@op(
    "SegmentMin",
    inputs="data: T, segment_ids: Tindices",
    outputs="output: T",
    attrs=["T: realnumbertype", "Tindices: {int32, int64}"],
)
class segment_min:
    """The least of the rows of each segment, elementwise; `segment_ids` are sorted."""

    shape = _segmented
    kernel = _extreme(np.minimum, False)
    grad = _extreme_grad


# -- segments in any order -------------------------------------------------------------------------


def _unsorted(c, data, segment_ids, num_segments):
    with_rank(num_segments, 0)
    if segment_ids is None:
        return None
    merge_prefix(data, segment_ids)
    if data is None:
        return None
    n = c.constant_value(2)
    if n is not None and n < 0:
        raise ValueError(f"Dimension size, given by scalar input 2, must be non-negative but is {int(n)}")
    return (None if n is None else int(n), *data[len(segment_ids) :])


def _rows_of(num_segments):
    """The value of `num_segments`."""
    if len(num_segments.shape):
        raise errors.InvalidArgumentError.of(
            f"num_segments should be a scalar, not shape {dims_text(num_segments)}"
        )
    n = int(num_segments)
    if n < 0:
        raise errors.InvalidArgumentError.of(f"Input num_segments == {n} must not be negative.")
    return n


def _flat(data, ids):
    """Data and ids with the dimensions of ids made one."""
    if data.shape[: len(ids.shape)] != ids.shape:
        raise errors.InvalidArgumentError.of(
            f"data.shape = {dims_text(data)} does not start with segment_ids.shape = {dims_text(ids)}"
        )
    flat = np.reshape(ids, -1)
    return np.reshape(data, (flat.size, *data.shape[len(ids.shape) :])), flat


@op(
    "UnsortedSegmentSum",
    inputs="data: T, segment_ids: Tindices, num_segments: Tnumsegments",
    outputs="output: T",
    attrs=["T: numbertype", "Tindices: {int32, int64}", "Tnumsegments: {int32, int64} = DT_INT32"],
)
class unsorted_segment_sum:
    """The sum of the rows of each segment; rows with negative ids are left out."""

    shape = _unsorted

    def kernel(ctx, data, segment_ids, num_segments):
        rows, ids = _flat(data, segment_ids)
        return _sums(rows, ids, _rows_of(num_segments), segment_ids.shape)

    def grad(op, d):
        return _gather_drop_negatives(d, op.inputs[1])[0], None, None


def _gather_drop_negatives(params, ids, clipped=None, is_positive=None):
    """Rows of `params`, zeros for negative ids; the ids cut off at zero; and which are not negative."""
    if clipped is None:
        clipped = math_ops.maximum(ids, array_ops.zeros_like(ids))
    gathered = gather(params, clipped)
    if is_positive is None:
        is_positive = comparison.greater_equal(ids, 0)
        for _ in range(len(gathered.static_shape or ()) - len(is_positive.static_shape or ())):
            is_positive = array_ops.expand_dims(is_positive, -1)
        is_positive = is_positive & array_ops.ones_like(gathered, dtype=dtypes.bool)
    zeros = array_ops.zeros_like(gathered)
    return selection.where(is_positive, gathered, zeros), clipped, is_positive


def _unsorted_extreme(function, greatest):
    def kernel(ctx, data, segment_ids, num_segments):
        data, ids = _flat(data, segment_ids)
        out = _limits(_rows_of(num_segments), data, greatest)
        _at(function, out, data, ids, segment_ids.shape)
        return out

    return kernel


def _unsorted_extreme_grad(op, d):
    data, ids, n = op.inputs
    gathered, clipped, is_positive = _gather_drop_negatives(op.outputs[0], ids)
    selected = comparison.logical_and(comparison.equal(data, gathered), is_positive)
    count = unsorted_segment_sum(casting.cast(selected, d.dtype), ids, n)
    weighted = division.divide(d, count)
    grads, _, _ = _gather_drop_negatives(weighted, None, clipped, is_positive)
    return selection.where(selected, grads, array_ops.zeros_like(grads)), None, None


@op(
    "UnsortedSegmentMax",
    inputs="data: T, segment_ids: Tindices, num_segments: Tnumsegments",
    outputs="output: T",
    attrs=["T: realnumbertype", "Tindices: {int32, int64}", "Tnumsegments: {int32, int64} = DT_INT32"],
)
class unsorted_segment_max:
    """The greatest of the rows of each segment; the least value of the type where there is none."""

    shape = _unsorted
    kernel = _unsorted_extreme(np.maximum, True)
    grad = _unsorted_extreme_grad


@op(
    "UnsortedSegmentMin",
    inputs="data: T, segment_ids: Tindices, num_segments: Tnumsegments",
    outputs="output: T",
    attrs=["T: realnumbertype", "Tindices: {int32, int64}", "Tnumsegments: {int32, int64} = DT_INT32"],
)
class unsorted_segment_min:
    """The least of the rows of each segment; the greatest value of the type where there is none."""

    shape = _unsorted
    kernel = _unsorted_extreme(np.minimum, False)
    grad = _unsorted_extreme_grad


@op(
    "UnsortedSegmentProd",
    inputs="data: T, segment_ids: Tindices, num_segments: Tnumsegments",
    outputs="output: T",
    attrs=["T: numbertype", "Tindices: {int32, int64}", "Tnumsegments: {int32, int64} = DT_INT32"],
)
class unsorted_segment_prod:
    """The product of the rows of each segment."""

    shape = _unsorted

    def kernel(ctx, data, segment_ids, num_segments):
        data, ids = _flat(data, segment_ids)
        out = np.ones((_rows_of(num_segments), *data.shape[1:]), data.dtype)
        _at(np.multiply, out, data, ids, segment_ids.shape)
        return out

    def grad(op, d):
        # Product over element is right where no element of the segment is zero. With one zero, only that
        # element has a gradient: the product of the others. With more, none has.
        data, ids, n = op.inputs
        is_zero = comparison.equal(data, 0)
        zeros = unsorted_segment_sum(casting.cast(is_zero, dtype=dtypes.int32), ids, n)
        d = selection.where(comparison.greater(zeros, 1), array_ops.zeros_like(d), d)
        non_zero = selection.where(is_zero, array_ops.ones_like(data), data)
        non_zero_prod = unsorted_segment_prod(non_zero, ids, n)
        clipped = math_ops.maximum(ids, array_ops.zeros_like(ids))
        prod = gather(op.outputs[0], clipped)
        without = gather(non_zero_prod, clipped)
        partial = selection.where(is_zero, without, prod / data)
        return _gather_drop_negatives(d, ids, clipped)[0] * partial, None, None


def _segment_sizes(data, segment_ids, num_segments):
    """The number of rows of each segment, at least 1, to divide rows by."""
    ones = array_ops.ones(array_ops.shape(segment_ids), dtype=data.dtype)
    counts = unsorted_segment_sum(ones, segment_ids, num_segments)
    tail = len(data.static_shape) - len(segment_ids.static_shape)
    counts = array_ops.reshape(counts, [num_segments] + [1] * tail)
    return math_ops.maximum(counts, 1)


def unsorted_segment_mean(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """The mean of the rows of each segment; zeros where there is none."""
    with name_scope(name, "UnsortedSegmentMean"):
        data = convert_to_tensor(data)
        segment_ids = convert_to_tensor(segment_ids)
        n = _segment_sizes(data, segment_ids, num_segments)
        found: Tensor = unsorted_segment_sum(data, segment_ids, num_segments) / n
        return found


def unsorted_segment_sqrt_n(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """The sum of the rows of each segment over the square root of their number."""
    from kvarn.ops.unary import sqrt

    with name_scope(name, "UnsortedSegmentSqrtN"):
        data = convert_to_tensor(data)
        segment_ids = convert_to_tensor(segment_ids)
        n = _segment_sizes(data, segment_ids, num_segments)
        found: Tensor = unsorted_segment_sum(data, segment_ids, num_segments) / sqrt(n)
        return found


# -- segments of chosen rows -----------------------------------------------------------------------

_DIVISORS: dict[str, Any] = {"sum": None, "mean": lambda n: n, "sqrtn": np.sqrt}


def _sparse_segments(combiner, counted=False):
    """The kernel that combines data[indices] by segments: of a given number if `counted`."""
    divisor = _DIVISORS[combiner]

    def kernel(ctx, data, indices, segment_ids, *num_segments):
        n = _segments_of(segment_ids, indices, num_segments if counted else ())
        rows = _chosen_rows(data, indices, segment_ids, n)
        out = _sums(rows, segment_ids, n)
        if divisor is None:
            return out
        counts = np.maximum(np.bincount(segment_ids, minlength=n), 1)
        return out / _columns(divisor(counts), data)

    return kernel


def _check_vectors(indices, segment_ids):
    if len(indices.shape) != 1:
        raise errors.InvalidArgumentError.of("indices should be a vector.")
    if len(segment_ids.shape) != 1:
        raise errors.InvalidArgumentError.of("segment_ids should be a vector.")


def _segments_of(segment_ids, indices, num_segments):
    """The number of segments of the output: the given one, or one more than the last id."""
    wanted = None
    if num_segments:
        if len(num_segments[0].shape):
            raise errors.InvalidArgumentError.of(
                f"num_segments should be a scalar, not shape {dims_text(num_segments[0])}"
            )
        wanted = int(num_segments[0])
        if wanted < 0:
            raise errors.InvalidArgumentError.of("segment ids must be >= 0")
    _check_vectors(indices, segment_ids)
    if indices.size != segment_ids.size:
        raise errors.InvalidArgumentError.of("segment_ids and indices should have same size.")
    if wanted is None:
        return _last_segment(segment_ids) + 1 if segment_ids.size else 0
    if segment_ids.size and segment_ids[-1] >= wanted:
        raise errors.InvalidArgumentError.of("segment ids must be < num_segments")
    return wanted


def _chosen_rows(data, indices, segment_ids, n):
    """data[indices], for ids in order that are below `n`; the first fault of ids or indices is the one raised."""
    bad = (indices < 0) | (indices >= len(data))
    fault = _first_fault(segment_ids, n) if segment_ids.size else None
    first = int(np.argmax(bad)) if bad.any() else None
    if first is not None and (fault is None or first < fault[0]):
        raise errors.InvalidArgumentError.of(
            f"Bad: indices[{first}] == {indices[first]} out of range [0, {len(data)})"
        )
    if fault is not None:
        raise fault[1]
    return gather_ops.take(data, indices)


def _sparse_shape(c, data, indices, segment_ids, *num_segments):
    with_rank_at_least(data, 1)
    indices, segment_ids = with_rank(indices, 1), with_rank(segment_ids, 1)
    if num_segments:
        with_rank(num_segments[0], 0)
    merge(indices, segment_ids)
    n = _given_rows(c, "num_segments") if num_segments else None
    return None if data is None else (n, *data[1:])


def _given_rows(c, what):
    """The constant value of the fourth input, if it is one."""
    n = c.constant_value(3)
    if n is not None and n < 0:
        raise ValueError(f"Cannot specify a negative value for {what}")
    return None if n is None else int(n)


def _sparse_sum_grad(op, d):
    rows = array_ops.shape(op.inputs[0])[0]
    dx = unsorted_segment_sum(gather(d, op.inputs[2]), op.inputs[1], rows)
    return [dx] + [None] * (len(op.inputs) - 1)


def _sparse_divided_grad(function):
    def grad(op, d):
        rows = array_ops.shape(op.inputs[0])[0]
        dx = function()(d, op.inputs[1], op.inputs[2], rows)
        return [dx] + [None] * (len(op.inputs) - 1)

    return grad


@op(
    "SparseSegmentSum",
    inputs="data: T, indices: Tidx, segment_ids: int32",
    outputs="output: T",
    attrs=["T: realnumbertype", "Tidx: {int32, int64} = DT_INT32"],
)
class sparse_segment_sum_:
    """The sum of the rows data[indices] of each segment; `segment_ids` are sorted."""

    shape = _sparse_shape
    kernel = _sparse_segments("sum")
    grad = _sparse_sum_grad


@op(
    "SparseSegmentSumWithNumSegments",
    inputs="data: T, indices: Tidx, segment_ids: int32, num_segments: Tnumsegments",
    outputs="output: T",
    attrs=["T: realnumbertype", "Tidx: {int32, int64} = DT_INT32", "Tnumsegments: {int32, int64} = DT_INT32"],
)
class sparse_segment_sum_with_num_segments:
    """As `sparse_segment_sum`, for a given number of segments."""

    shape = _sparse_shape
    kernel = _sparse_segments("sum", counted=True)
    grad = _sparse_sum_grad


@op(
    "SparseSegmentMean",
    inputs="data: T, indices: Tidx, segment_ids: int32",
    outputs="output: T",
    attrs=["T: {float, double}", "Tidx: {int32, int64} = DT_INT32"],
)
class sparse_segment_mean_:
    """The mean of the rows data[indices] of each segment; `segment_ids` are sorted."""

    shape = _sparse_shape
    kernel = _sparse_segments("mean")
    grad = _sparse_divided_grad(lambda: sparse_segment_mean_grad)


@op(
    "SparseSegmentMeanWithNumSegments",
    inputs="data: T, indices: Tidx, segment_ids: int32, num_segments: Tnumsegments",
    outputs="output: T",
    attrs=[
        "T: {float, double}",
        "Tidx: {int32, int64} = DT_INT32",
        "Tnumsegments: {int32, int64} = DT_INT32",
    ],
)
class sparse_segment_mean_with_num_segments:
    """As `sparse_segment_mean`, for a given number of segments."""

    shape = _sparse_shape
    kernel = _sparse_segments("mean", counted=True)
    grad = _sparse_divided_grad(lambda: sparse_segment_mean_grad)


@op(
    "SparseSegmentSqrtN",
    inputs="data: T, indices: Tidx, segment_ids: int32",
    outputs="output: T",
    attrs=["T: {float, double}", "Tidx: {int32, int64} = DT_INT32"],
)
class sparse_segment_sqrt_n_:
    """The sum of the rows data[indices] of each segment over the square root of their number."""

    shape = _sparse_shape
    kernel = _sparse_segments("sqrtn")
    grad = _sparse_divided_grad(lambda: sparse_segment_sqrt_n_grad)


@op(
    "SparseSegmentSqrtNWithNumSegments",
    inputs="data: T, indices: Tidx, segment_ids: int32, num_segments: Tnumsegments",
    outputs="output: T",
    attrs=[
        "T: {float, double}",
        "Tidx: {int32, int64} = DT_INT32",
        "Tnumsegments: {int32, int64} = DT_INT32",
    ],
)
class sparse_segment_sqrt_n_with_num_segments:
    """As `sparse_segment_sqrt_n`, for a given number of segments."""

    shape = _sparse_shape
    kernel = _sparse_segments("sqrtn", counted=True)
    grad = _sparse_divided_grad(lambda: sparse_segment_sqrt_n_grad)


def _grad_shape(c, grad, indices, segment_ids, output_dim0):
    with_rank_at_least(grad, 1)
    merge(segment_ids, with_rank(indices, 1))
    with_rank(output_dim0, 0)
    n = _given_rows(c, "output_dim0")
    return None if grad is None else (n, *grad[1:])


def _spread(combiner):
    """The kernel of the gradient: each row's share goes back to the row of `data` it came from."""
    divisor = _DIVISORS[combiner]

    def kernel(ctx, grad, indices, segment_ids, output_dim0):
        _check_vectors(indices, segment_ids)
        if indices.size != segment_ids.size:
            raise errors.InvalidArgumentError.of("segment_ids and indices should have same size.")
        n, segments = int(output_dim0), len(grad)
        if n == 0 or indices.size == 0:
            return np.zeros((n, *grad.shape[1:]), grad.dtype)
        if segment_ids[-1] >= segments:
            raise errors.InvalidArgumentError.of("Invalid number of segments")
        _check_range(segment_ids, segments, "Segment id")
        _check_range(indices, n, "Index")
        counts = np.maximum(np.bincount(segment_ids, minlength=segments), 1)
        shares = gather_ops.take(grad * _columns(1.0 / divisor(counts), grad), segment_ids)
        return _sums(shares, indices, n)

    return kernel


def _check_range(ids, limit, what):
    bad = (ids < 0) | (ids >= limit)
    if bad.any():
        raise errors.InvalidArgumentError.of(f"{what} {ids[np.argmax(bad)]} out of range [0, {limit}).")


@op(
    "SparseSegmentMeanGrad",
    inputs="grad: T, indices: Tidx, segment_ids: int32, output_dim0: int32",
    outputs="output: T",
    attrs=["T: {float, double}", "Tidx: {int32, int64} = DT_INT32"],
)
class sparse_segment_mean_grad:
    """The gradient of `sparse_segment_mean` for its data of `output_dim0` rows."""

    shape = _grad_shape
    kernel = _spread("mean")


@op(
    "SparseSegmentSqrtNGrad",
    inputs="grad: T, indices: Tidx, segment_ids: int32, output_dim0: int32",
    outputs="output: T",
    attrs=["T: {float, double}", "Tidx: {int32, int64} = DT_INT32"],
)
class sparse_segment_sqrt_n_grad:
    """The gradient of `sparse_segment_sqrt_n` for its data of `output_dim0` rows."""

    shape = _grad_shape
    kernel = _spread("sqrtn")


def _sparse_public(plain: Any, counted: Any, what: str) -> Any:
    def function(
        data: Any, indices: Any, segment_ids: Any, name: str | None = None, num_segments: Any = None
    ) -> Any:
        if num_segments is not None:
            return counted(data, indices, segment_ids, num_segments, name=name)
        return plain(data, indices, segment_ids, name=name)

    function.__doc__ = f"{what} of the rows data[indices] of each segment; `segment_ids` are sorted."
    return function


sparse_segment_sum = _sparse_public(sparse_segment_sum_, sparse_segment_sum_with_num_segments, "The sum")
sparse_segment_mean = _sparse_public(sparse_segment_mean_, sparse_segment_mean_with_num_segments, "The mean")
sparse_segment_sqrt_n = _sparse_public(
    sparse_segment_sqrt_n_,
    sparse_segment_sqrt_n_with_num_segments,
    "The sum over the square root of the number",
)
