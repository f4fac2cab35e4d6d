"""Arithmetic of sparse tensors: reductions, sums, the greater of two, with dense tensors, softmax.

Source: tensorflow/core/ops/sparse_ops.cc, tensorflow/core/kernels/{sparse_reduce,sparse_add,sparse_add_grad,
sparse_tensor_dense_add,sparse_sparse_binary_op_shared,sparse_dense_binary_op_shared,sparse_softmax}_op.cc,
tensorflow/python/ops/{sparse_ops,sparse_grad}.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array
import kvarn.ops.casting as casting
import kvarn.ops.math as math_ops
import kvarn.ops.reduction as reduction
from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import SparseTensor, SparseTensorValue, Tensor
from kvarn.ops.sparse import convert_to_sparse_tensor


def _checked(indices: Any, values: Any, shape: Any, what: str = "", bounds: bool = True) -> tuple[int, ...]:
    """The dense shape; InvalidArgumentError unless the three parts make a sparse tensor.

    Args:
      bounds: whether indices have to lie inside the shape.
    """
    problem = (
        f"Input {what}indices should be a matrix but received shape: {shapes.fmt(indices.shape)}"
        if indices.ndim != 2
        else f"Input {what}values should be a vector but received shape: {shapes.fmt(np.shape(values))}"
        if np.ndim(values) != 1
        else f"Input {what}shape should be a vector but received shape: {shapes.fmt(np.shape(shape))}"
        if np.ndim(shape) != 1
        else f"Expected {len(indices)} non-empty input values, got {len(values)}"
        if len(indices) != len(values)
        else f"Input {what}indices have {indices.shape[1]} columns, the shape has rank {len(shape)}"
        if indices.shape[1] != len(shape)
        else None
    )
    if problem is None and bounds:
        outside = np.flatnonzero(((indices < 0) | (indices >= np.asarray(shape))).any(axis=1))
        if outside.size:
            n = int(outside[0])
            index = ",".join(str(i) for i in indices[n])
            dims = ",".join(str(d) for d in shape)
            problem = f"{what}indices[{n}] = [{index}] is out of bounds: need 0 <= index < [{dims}]"
    if problem is not None:
        raise errors.InvalidArgumentError.of(problem)
    return tuple(int(d) for d in shape)


# -- reductions -----------------------------------------------------------------------------------


def _reduced(dims: tuple[int, ...], axes: Any, keep: bool) -> tuple[list[int], tuple[int, ...]]:
    """The axes that stay, and the shape of the result."""
    rank = len(dims)
    gone = set()
    for axis in np.ravel(axes):
        if not -rank <= axis < rank:
            raise errors.InvalidArgumentError.of(
                f"Invalid reduction dimension {axis}, for input with {rank} dims"
            )
        gone.add(int(axis) % rank)
    stay = [d for d in range(rank) if d not in gone]
    if keep:
        return stay, tuple(1 if d in gone else dims[d] for d in range(rank))
    return stay, tuple(dims[d] for d in stay)


def _reduce_shape(c: Any, indices: Any, values: Any, shape: Any, axes: Any) -> Any:
    dims, reduced = c.constant_value(2), c.constant_value(3)
    if dims is None or reduced is None:
        return None
    rank = len(dims)
    gone = {int(a) % rank for a in np.ravel(reduced)}
    if c.attrs["keep_dims"]:
        return tuple(1 if d in gone else int(dims[d]) for d in range(rank))
    return tuple(int(dims[d]) for d in range(rank) if d not in gone)


def _reduce(combine: Any) -> Any:
    def kernel(ctx: Any, input_indices: Any, input_values: Any, input_shape: Any, reduction_axes: Any) -> Any:
        dims = _checked(input_indices, input_values, input_shape, "input_")
        stay, result = _reduced(dims, reduction_axes, ctx.attrs["keep_dims"])
        places = np.zeros(len(input_indices), np.int64)
        for axis in stay:
            places = places * dims[axis] + input_indices[:, axis]
        size = int(np.prod([dims[axis] for axis in stay], dtype=np.int64))
        out = np.zeros(size, input_values.dtype)
        combine(out, places, input_values)
        return out.reshape(result)

    return kernel


def _add_up(out: Any, places: Any, values: Any) -> None:
    np.add.at(out, places, values)


def _keep_greatest(out: Any, places: Any, values: Any) -> None:
    # Only what is given counts: the greatest of negative numbers is negative, though others are absent.
    out[places] = values
    np.maximum.at(out, places, values)


@op(
    "SparseReduceSum",
    inputs=["input_indices: int64", "input_values: T", "input_shape: int64", "reduction_axes: int32"],
    outputs="output: T",
    attrs=["keep_dims: bool = False", "T: numbertype"],
)
class sparse_reduce_sum_:
    """The sums of a sparse tensor's elements over some axes, dense."""

    shape = _reduce_shape
    kernel = _reduce(_add_up)

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import gather

        indices, shape, axes = op.inputs[0], op.inputs[2], op.inputs[3]
        kept = reduction.reduced_shape(shape, axes)
        reshaped = array.reshape(d, kept)
        scale = shape // casting.cast(kept, dtypes.int64)
        return None, gather.gather_nd(reshaped, indices // scale), None, None


@op(
    "SparseReduceMax",
    inputs=["input_indices: int64", "input_values: T", "input_shape: int64", "reduction_axes: int32"],
    outputs="output: T",
    attrs=["keep_dims: bool = False", "T: realnumbertype"],
)
class sparse_reduce_max_:
    """The greatest of a sparse tensor's given elements over some axes, dense; 0 where none is given."""

    shape = _reduce_shape
    kernel = _reduce(_keep_greatest)


def _axes(sparse: SparseTensor, axis: Any) -> Any:
    """What to reduce over: ``axis``, or all axes."""
    if axis is not None:
        return axis
    rank = sparse.get_shape().ndims
    if rank is not None:
        return constant(np.arange(rank), dtype=dtypes.int32)
    from kvarn.ops import ranges

    return ranges.range(0, array.rank(sparse))


def _one_of(new: Any, old: Any, new_name: str, old_name: str) -> Any:
    if new is not None and old is not None:
        raise ValueError(f"Cannot specify both '{old_name}' and '{new_name}'")
    return old if new is None else new


def sparse_reduce_sum(
    sp_input: Any, axis: Any = None, keepdims: Any = None, reduction_axes: Any = None, keep_dims: Any = None
) -> Tensor:
    """The sums of a sparse tensor's elements over ``axis``, all axes by default, as a dense tensor.

    ``reduction_axes`` and ``keep_dims`` are old names of ``axis`` and ``keepdims``.
    """
    keep = bool(_one_of(keepdims, keep_dims, "keepdims", "keep_dims"))
    axes = _axes(sp_input, _one_of(axis, reduction_axes, "axis", "reduction_axes"))
    result: Tensor = sparse_reduce_sum_(
        sp_input.indices, sp_input.values, sp_input.dense_shape, axes, keep_dims=keep
    )
    return result


def sparse_reduce_max(
    sp_input: Any, axis: Any = None, keepdims: Any = None, reduction_axes: Any = None, keep_dims: Any = None
) -> Tensor:
    """The greatest of a sparse tensor's given elements over ``axis``; see `sparse_reduce_sum`."""
    keep = bool(_one_of(keepdims, keep_dims, "keepdims", "keep_dims"))
    axes = _axes(sp_input, _one_of(axis, reduction_axes, "axis", "reduction_axes"))
    result: Tensor = sparse_reduce_max_(
        sp_input.indices, sp_input.values, sp_input.dense_shape, axes, keep_dims=keep
    )
    return result


# -- two sparse tensors ---------------------------------------------------------------------------


def _union(a: tuple[Any, Any, Any], b: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """All indices in order, and for each the two values, 0 where one is absent."""
    a_indices, a_values, a_shape = a
    b_indices, b_values, b_shape = b
    a_dims = _checked(a_indices, a_values, a_shape, "a_")
    b_dims = _checked(b_indices, b_values, b_shape, "b_")
    if len(a_dims) != len(b_dims):
        raise errors.InvalidArgumentError.of(
            f"Operands do not have the same ranks; got shapes: {list(a_dims)} and {list(b_dims)}"
        )
    for i, (m, n) in enumerate(zip(a_dims, b_dims, strict=True)):
        if m != n:
            raise errors.InvalidArgumentError.of(
                f"Operands' shapes do not match: got {m} and {n} for dimension {i}"
            )
    indices, places = np.unique(np.concatenate([a_indices, b_indices]), axis=0, return_inverse=True)
    places = places.reshape(-1)
    left = np.zeros(len(indices), a_values.dtype)
    right = np.zeros(len(indices), a_values.dtype)
    left[places[: len(a_indices)]] = a_values
    right[places[len(a_indices) :]] = b_values
    return indices, left, right


_TWO = [
    "a_indices: int64",
    "a_values: T",
    "a_shape: int64",
    "b_indices: int64",
    "b_values: T",
    "b_shape: int64",
]


def _extreme_shape(c: Any, *inputs: Any) -> Any:
    for shape, rank in zip(inputs, (2, 1, 1, 2, 1, 1), strict=True):
        shapes.with_rank(shape, rank)
    return [(None, None), (None,)]


def _extreme(function: Any) -> Any:
    def kernel(
        ctx: Any, a_indices: Any, a_values: Any, a_shape: Any, b_indices: Any, b_values: Any, b_shape: Any
    ) -> Any:
        indices, left, right = _union((a_indices, a_values, a_shape), (b_indices, b_values, b_shape))
        return indices, function(left, right)

    return kernel


@op(
    "SparseSparseMaximum",
    inputs=_TWO,
    outputs=["output_indices: int64", "output_values: T"],
    attrs="T: realnumbertype",
)
class sparse_sparse_maximum:
    """The greater of the elements of two sparse tensors where one is given; an absent one counts as 0."""

    shape = _extreme_shape
    kernel = _extreme(np.maximum)


@op(
    "SparseSparseMinimum",
    inputs=_TWO,
    outputs=["output_indices: int64", "output_values: T"],
    attrs="T: numbertype",
)
class sparse_sparse_minimum:
    """The lesser of the elements of two sparse tensors where one is given; an absent one counts as 0."""

    shape = _extreme_shape
    kernel = _extreme(np.minimum)


def _of_two(function: Any, what: str, sp_a: Any, sp_b: Any, name: str | None) -> SparseTensor:
    values = [sp_a.indices, sp_a.values, sp_b.indices, sp_b.values]
    with name_scope(name, what, values) as scope:
        indices, found = function(
            sp_a.indices,
            sp_a.values,
            sp_a.dense_shape,
            sp_b.indices,
            sp_b.values,
            sp_b.dense_shape,
            name=scope,
        )
    return SparseTensor(indices, found, sp_a.dense_shape)


def sparse_maximum(sp_a: Any, sp_b: Any, name: str | None = None) -> SparseTensor:
    """The elementwise greater of two sparse tensors of one shape; an absent element counts as 0."""
    return _of_two(sparse_sparse_maximum, "SparseSparseMaximum", sp_a, sp_b, name)


def sparse_minimum(sp_a: Any, sp_b: Any, name: str | None = None) -> SparseTensor:
    """The elementwise lesser of two sparse tensors of one shape; an absent element counts as 0."""
    return _of_two(sparse_sparse_minimum, "SparseSparseMinimum", sp_a, sp_b, name)


@op(
    "SparseAdd",
    inputs=[*_TWO, "thresh: Treal"],
    outputs=["sum_indices: int64", "sum_values: T", "sum_shape: int64"],
    attrs=["T: numbertype", "Treal: realnumbertype"],
)
class sparse_add_:
    """The sum of two sparse tensors without the elements whose magnitude is below ``thresh``."""

    def shape(c: Any, *inputs: Any) -> Any:
        whole = shapes.with_rank(inputs[2], 1)
        return [(None, whole[0]), (None,), whole]

    def kernel(
        ctx: Any,
        a_indices: Any,
        a_values: Any,
        a_shape: Any,
        b_indices: Any,
        b_values: Any,
        b_shape: Any,
        thresh: Any,
    ) -> Any:
        if np.ndim(thresh) != 0:
            raise errors.InvalidArgumentError.of(
                f"The magnitude threshold must be a scalar: got shape {shapes.fmt(np.shape(thresh))}"
            )
        indices, left, right = _union((a_indices, a_values, a_shape), (b_indices, b_values, b_shape))
        total = left + right
        kept = np.abs(total) >= thresh
        return indices[kept], total[kept], a_shape

    def grad(op: Any, d_indices: Any, d_values: Any, d_shape: Any) -> Any:
        d_a, d_b = sparse_add_grad(d_values, op.inputs[0], op.inputs[3], op.outputs[0])
        d_a.set_shape(op.inputs[1].get_shape())
        d_b.set_shape(op.inputs[4].get_shape())
        return None, d_a, None, None, d_b, None, None


@op(
    "SparseAddGrad",
    inputs=["backprop_val_grad: T", "a_indices: int64", "b_indices: int64", "sum_indices: int64"],
    outputs=["a_val_grad: T", "b_val_grad: T"],
    attrs="T: numbertype",
)
class sparse_add_grad:
    """The gradients of SparseAdd by the values of both: that of the sum where it has the element, else 0."""

    def shape(c: Any, backprop_val_grad: Any, a_indices: Any, b_indices: Any, sum_indices: Any) -> Any:
        return [(shapes.with_rank(x, 2)[0],) for x in (a_indices, b_indices)]

    def kernel(ctx: Any, backprop_val_grad: Any, a_indices: Any, b_indices: Any, sum_indices: Any) -> Any:
        return _picked(backprop_val_grad, sum_indices, a_indices), _picked(
            backprop_val_grad, sum_indices, b_indices
        )

    grad = NOT_DIFFERENTIABLE


def _picked(values: Any, indices: Any, wanted: Any) -> Any:
    """For each index wanted its value, 0 where it is not among ``indices``."""
    if len(values) != len(indices) or indices.shape[1:] != wanted.shape[1:]:
        raise errors.InvalidArgumentError.of(
            f"# elements in backprop_val_grad and sum_indices do not match: {len(values)} vs. {len(indices)}"
        )
    distinct, places = np.unique(np.concatenate([indices, wanted]), axis=0, return_inverse=True)
    places = places.reshape(-1)
    table = np.zeros(len(distinct), values.dtype)
    table[places[: len(indices)]] = values
    return table[places[len(indices) :]]


def sparse_add(a: Any, b: Any, threshold: Any = None, thresh: Any = None) -> Any:
    """The sum of two tensors, one of them sparse at least.

    Args:
      threshold: of two sparse tensors, elements of the sum with a smaller magnitude are left out; 0 by
        default. ``thresh`` is the old name.

    Returns:
      A SparseTensor if both are sparse, otherwise a dense tensor.

    Raises:
      TypeError: neither is sparse.
      ValueError: the shapes, where known, differ.
    """
    threshold = _one_of(threshold, thresh, "threshold", "thresh")
    kinds = (SparseTensor, SparseTensorValue)
    if isinstance(a, kinds) and isinstance(b, kinds):
        left, right = convert_to_sparse_tensor(a), convert_to_sparse_tensor(b)
        limit = convert_to_tensor(
            0 if threshold is None else threshold,
            dtype=left.values.dtype.real_dtype.base_dtype,
            name="threshold",
        )
        indices, values, shape = sparse_add_(
            left.indices,
            left.values,
            left.dense_shape,
            right.indices,
            right.values,
            right.dense_shape,
            limit,
        )
        left.get_shape().assert_is_compatible_with(right.get_shape())
        static = array.broadcast_static_shape(left.get_shape(), right.get_shape())
        return SparseTensor(indices, values, static.as_list() if static.is_fully_defined() else shape)
    if isinstance(b, kinds):
        a, b = b, a
    if not isinstance(a, kinds):
        raise TypeError("At least one input should be SparseTensor; do you mean to use tf.add()?")
    return sparse_tensor_dense_add(a.indices, a.values, a.dense_shape, b)


# -- a sparse and a dense tensor ------------------------------------------------------------------


@op(
    "SparseTensorDenseAdd",
    inputs=["a_indices: Tindices", "a_values: T", "a_shape: Tindices", "b: T"],
    outputs="output: T",
    attrs=["T: numbertype", "Tindices: {int32, int64}"],
)
class sparse_tensor_dense_add:
    """The dense sum of a sparse tensor and a dense one of the same shape."""

    shape = shapes.same_as(3)

    def kernel(ctx: Any, a_indices: Any, a_values: Any, a_shape: Any, b: Any) -> Any:
        dims = _checked(a_indices, a_values, a_shape, "a_")
        if dims != np.shape(b):
            raise errors.InvalidArgumentError.of(
                f"Shapes of the operands do not match: {shapes.fmt(dims)} vs. {shapes.fmt(np.shape(b))}"
            )
        out = np.array(b)
        np.add.at(out, tuple(a_indices.T), a_values)
        return out

    def grad(op: Any, d: Any) -> Any:
        from kvarn.ops import gather

        return None, gather.gather_nd(d, op.inputs[0]), None, d


_CWISE = ["sp_indices: int64", "sp_values: T", "sp_shape: int64", "dense: T"]


def _cwise_shape(c: Any, sp_indices: Any, sp_values: Any, sp_shape: Any, dense: Any) -> Any:
    return (shapes.with_rank(sp_indices, 2)[0],)


def _cwise(function: Any) -> Any:
    def kernel(ctx: Any, sp_indices: Any, sp_values: Any, sp_shape: Any, dense: Any) -> Any:
        dims = _checked(sp_indices, sp_values, sp_shape, "sp_")
        try:
            fits = np.broadcast_shapes(dims, np.shape(dense)) == dims
        except ValueError:
            fits = False
        if not fits:
            raise errors.InvalidArgumentError.of(
                "SparseDenseBinaryOpShared broadcasts dense to sparse only; got incompatible shapes: "
                f"{shapes.fmt(dims)} vs. {shapes.fmt(np.shape(dense))}"
            )
        beside = np.broadcast_to(dense, dims)[tuple(sp_indices.T)]
        return function(sp_values, beside)

    return kernel


def _divided(x: Any, y: Any) -> Any:
    if x.dtype.kind not in "iu":
        return x / y
    if not np.all(y):
        raise errors.InvalidArgumentError.of("Integer division by zero")
    # As in C++, towards zero.
    quotient = np.floor_divide(x, y)
    return quotient + ((quotient < 0) & (quotient * y != x)).astype(x.dtype)


def _cwise_grad(op: Any, d: Any, multiplied: bool) -> Any:
    from kvarn.ops import gather
    from kvarn.ops import slicing as slicing_ops

    indices, values, shape, y = op.inputs
    y_shape = casting.cast(array.shape(y), dtypes.int64)
    added = array.expand_dims(array.size(shape) - array.size(y_shape), 0)
    wide_y = array.concat([array.ones(added, dtypes.int64), y_shape], 0)
    scaling = shape // wide_y
    scaled = indices // scaling
    scaled = slicing_ops.slice(scaled, array.concat([[0], added], 0), [-1, -1])
    beside = gather.gather_nd(y, scaled)
    if multiplied:
        d_values, d_beside = d * beside, d * values
    else:
        d_values, d_beside = d / beside, d * (-values / math_ops.square(beside))
    d_y = sparse_add(array.zeros_like(y), SparseTensor(scaled, d_beside, y_shape))
    return None, d_values, None, d_y


@op("SparseDenseCwiseMul", inputs=_CWISE, outputs="output: T", attrs="T: numbertype")
class sparse_dense_cwise_mul:
    """The given elements of a sparse tensor times those of a dense one, broadcast to its shape."""

    shape = _cwise_shape
    kernel = _cwise(np.multiply)

    def grad(op: Any, d: Any) -> Any:
        return _cwise_grad(op, d, True)


@op("SparseDenseCwiseDiv", inputs=_CWISE, outputs="output: T", attrs="T: numbertype")
class sparse_dense_cwise_div:
    """The given elements of a sparse tensor over those of a dense one, broadcast to its shape."""

    shape = _cwise_shape
    kernel = _cwise(_divided)

    def grad(op: Any, d: Any) -> Any:
        return _cwise_grad(op, d, False)


@op("SparseDenseCwiseAdd", inputs=_CWISE, outputs="output: T", attrs="T: numbertype")
class sparse_dense_cwise_add_:
    """The given elements of a sparse tensor plus those of a dense one, broadcast to its shape."""

    shape = _cwise_shape
    kernel = _cwise(np.add)


def sparse_dense_cwise_add(sp_t: SparseTensor, dense_t: Any) -> SparseTensor:
    """The given elements of a sparse tensor plus those of a dense one, broadcast to its shape."""
    values = sparse_dense_cwise_add_(sp_t.indices, sp_t.values, sp_t.dense_shape, dense_t)
    return SparseTensor(sp_t.indices, values, sp_t.dense_shape)


def _operator(name: str, function: Any) -> Any:
    def apply(sparse: SparseTensor, y: Any) -> SparseTensor:
        with name_scope(None, name, [sparse, y]) as scope:
            y = convert_to_tensor(y, dtype=sparse.dtype.base_dtype, name="y")
            values = function(sparse.indices, sparse.values, sparse.dense_shape, y, scope)
            return SparseTensor(sparse.indices, values, sparse.dense_shape)

    return apply


def _true_division(indices: Any, values: Any, shape: Any, y: Any, name: str) -> Any:
    with name_scope(name, "truediv", [indices, values, shape, y]) as scope:
        kind = values.dtype.base_dtype
        if kind.is_integer:
            # Small integers divide as float32, others as float64.
            wide = dtypes.float32 if kind.size < 4 else dtypes.float64
            values, y = casting.cast(values, wide), casting.cast(y, wide)
        return sparse_dense_cwise_div(indices, values, shape, y, name=scope)


multiply = _operator("mul", lambda i, v, s, y, name: sparse_dense_cwise_mul(i, v, s, y, name=name))
divide = _operator("div", lambda i, v, s, y, name: sparse_dense_cwise_div(i, v, s, y, name=name))
truediv = _operator("truediv", _true_division)


# -- softmax --------------------------------------------------------------------------------------


@op(
    "SparseSoftmax",
    inputs=["sp_indices: int64", "sp_values: T", "sp_shape: int64"],
    outputs="output: T",
    attrs="T: {float, double}",
)
class sparse_softmax_:
    """Softmax along the last dimension over the given elements; absent ones stay absent."""

    def shape(c: Any, sp_indices: Any, sp_values: Any, sp_shape: Any) -> Any:
        shapes.with_rank(sp_indices, 2)
        shapes.with_rank(sp_shape, 1)
        return shapes.with_rank(sp_values, 1)

    def kernel(ctx: Any, sp_indices: Any, sp_values: Any, sp_shape: Any) -> Any:
        _checked(sp_indices, sp_values, sp_shape, "sp_")
        if len(sp_shape) < 2:
            raise errors.InvalidArgumentError.of(
                f"Input should have rank >= 2, but received shape: {list(sp_shape)}"
            )
        rows, row_of = np.unique(sp_indices[:, :-1], axis=0, return_inverse=True)
        row_of = row_of.reshape(-1)
        greatest = np.full(len(rows), -np.inf, sp_values.dtype)
        np.maximum.at(greatest, row_of, sp_values)
        powers = np.exp(sp_values - greatest[row_of])
        total = np.zeros(len(rows), sp_values.dtype)
        np.add.at(total, row_of, powers)
        return powers / total[row_of]

    def grad(op: Any, d: Any) -> Any:
        indices, shape = op.inputs[0], op.inputs[2]
        result = SparseTensor(indices, op.outputs[0], shape)
        incoming = SparseTensor(indices, d, shape)
        product = SparseTensor(indices, result.values * incoming.values, shape)
        reduced = -sparse_reduce_sum(product, [-1], keepdims=True)
        return None, sparse_dense_cwise_add(incoming, reduced).values * result.values, None


def sparse_softmax(sp_input: Any, name: str | None = None) -> SparseTensor:
    """Softmax along the last dimension of a sparse tensor of rank 2 at least, over its given elements."""
    with name_scope(name, "SparseSoftmax", [sp_input.indices, sp_input.values]):
        values = sparse_softmax_(sp_input.indices, sp_input.values, sp_input.dense_shape)
        return SparseTensor(sp_input.indices, values, sp_input.dense_shape)
