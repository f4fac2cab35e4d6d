"""Ops that make tensors and say or change their shapes: constants, placeholders, Shape, Reshape, Fill.

TensorFlow keeps all its array functions in one module.  Here they stand by subject, and every name of
`_ELSEWHERE` can be taken from this module as well.

Source: tensorflow/core/ops/array_ops.cc, tensorflow/python/ops/array_ops.py (1.15).
"""

from __future__ import annotations

import functools
import importlib
import math as _math
import operator
from typing import Any

import numpy as np

import kvarn.ops.casting as casting
import kvarn.ops.reduction as reduction_ops
from kvarn import dtypes, errors
from kvarn.graph import tensor_shape
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.functions import packed
from kvarn.graph.graph import name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import broadcast_shapes, from_attr, same_as, scalar
from kvarn.graph.tensor import SparseTensor, SparseTensorValue, Tensor

_ELSEWHERE = {
    "joining": "concat concat_v2 concat_offset pack parallel_stack split split_v stack unpack unstack",
    "layout": "invert_permutation matrix_diag matrix_diag_part matrix_set_diag matrix_transpose meshgrid "
    "mirror_pad pad reverse reverse_sequence reverse_v2 tile transpose",
    "slicing": "newaxis slice strided_slice strided_slice_grad",
    "gather": "batch_gather dynamic_partition dynamic_stitch gather gather_nd gather_v2 listdiff "
    "parallel_dynamic_stitch scatter_nd setdiff1d tensor_scatter_add tensor_scatter_sub "
    "tensor_scatter_update unique unique_with_counts",
    "ranges": "lin_space linspace range",
    "selection": "boolean_mask one_hot select sequence_mask where where_v2",
}
_MODULE_OF = {name: module for module, names in _ELSEWHERE.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"kvarn.ops.{module}"), name)
    return found


# -- constants and placeholders ---------------------------------------------------------------------


@op("Const", outputs="output: dtype", attrs=["value: tensor", "dtype: type"])
class const:
    """A tensor with the value of its attribute."""

    def shape(c):
        return c.attrs["value"].array.shape

    def kernel(ctx):
        return ctx.attrs["value"].array

    grad = NOT_DIFFERENTIABLE


@op("Placeholder", outputs="output: dtype", attrs=["dtype: type", "shape: shape = { unknown_rank: true }"])
class placeholder_:
    """A tensor that must be fed."""

    shape = from_attr("shape")

    def kernel(ctx):
        dtype, shape = ctx.attrs["dtype"], ctx.attrs["shape"]
        text = "" if shape is None else f" and shape {_fmt(shape)}"
        raise errors.InvalidArgumentError.of(
            f"You must feed a value for placeholder tensor '{ctx.op.name}' with dtype {_c_name(dtype)}{text}",
            name=ctx.op.name,
        )

    grad = NOT_DIFFERENTIABLE


def _c_name(dtype: dtypes.DType) -> str:
    """The name that TensorFlow's C++ code prints."""
    return {"float32": "float", "float64": "double", "float16": "half"}.get(dtype.name, dtype.name)


@op(
    "PlaceholderWithDefault",
    inputs="input: dtype",
    outputs="output: dtype",
    attrs=["dtype: type", "shape: shape"],
)
class placeholder_with_default_:
    """`input`, unless another value is fed."""

    shape = from_attr("shape")

    def kernel(ctx, input):
        return input

    def grad(op, d):
        return d


def _pass(op, d):
    return d


@op("Identity", inputs="input: T", outputs="output: T", attrs="T: type")
class identity:
    """`input` itself."""

    shape = same_as(0)

    def kernel(ctx, input):
        return input

    grad = _pass


@op(
    "RefIdentity",
    inputs="input: Ref(T)",
    outputs="output: Ref(T)",
    attrs="T: type",
    allows_uninitialized_input=True,
)
class ref_identity:
    """The reference `input` itself."""

    shape = same_as(0)

    def kernel(ctx, input):
        return input

    grad = _pass


@op(
    "Shape",
    inputs="input: T",
    outputs="output: out_type",
    attrs=["T: type", "out_type: {int32, int64} = DT_INT32"],
)
class shape_:
    """The shape of `input` as a vector [rank]."""

    def shape(c, input):
        return (None if input is None else len(input),)

    def kernel(ctx, input):
        return np.array(input.shape, ctx.attrs["out_type"].np)

    grad = NOT_DIFFERENTIABLE


def shape(input: Any, name: str | None = None, out_type: Any = dtypes.int32) -> Tensor:
    """The shape of a tensor, or the dense shape of a SparseTensor, a constant where it is known."""
    return shape_internal(input, name, True, out_type)


def shape_v2(input: Any, out_type: Any = dtypes.int32, name: str | None = None) -> Tensor:
    """`shape` with TensorFlow 2's order of arguments."""
    return shape_internal(input, name, True, out_type)


def shape_internal(
    input: Any, name: str | None = None, optimize: bool = True, out_type: Any = dtypes.int32
) -> Tensor:
    with name_scope(name, "Shape", [input]) as scope:
        if isinstance(input, (SparseTensor, SparseTensorValue)):
            dense_shape: Tensor = casting.cast(input.dense_shape, out_type)
            return dense_shape
        tensor = convert_to_tensor(input)
        known = tensor.static_shape
        if optimize and known is not None and None not in known:
            return constant(list(known), out_type, name=scope)
        return shape_(tensor, out_type=out_type, name=scope)


@op(
    "Fill",
    inputs="dims: index_type, value: T",
    outputs="output: T",
    attrs=["T: type", "index_type: {int32, int64} = DT_INT32"],
)
class fill:
    """A tensor of shape `dims` filled with the scalar `value`."""

    def shape(c, dims, value):
        return c.constant_shape(0)

    def kernel(ctx, dims, value):
        out = np.empty(dims, ctx.attrs["T"].np)
        out[...] = value
        return out

    def grad(op, d):
        return None, reduction_ops.reduce_sum(d)


@op("ZerosLike", inputs="x: T", outputs="y: T", attrs="T: type")
class zeros_like_:
    """Zeros (empty strings) of the shape and type of `x`."""

    shape = same_as(0)

    def kernel(ctx, x):
        dtype = ctx.attrs["T"]
        if dtype is dtypes.variant:
            return x.zeros_like()
        return np.full(x.shape, b"", object) if dtype is dtypes.string else np.zeros(x.shape, dtype.np)

    grad = NOT_DIFFERENTIABLE


@op(
    "OnesLike",
    inputs="x: T",
    outputs="y: T",
    attrs=(
        "T: {bfloat16, half, float, double, int8, uint8, int16, uint16, int32, int64, complex64, "
        "complex128, bool}"
    ),
)
class ones_like_:
    """Ones of the shape and type of `x`."""

    shape = same_as(0)

    def kernel(ctx, x):
        return np.ones(x.shape, ctx.attrs["T"].np)

    grad = NOT_DIFFERENTIABLE


def _constant_if_small(value, shape, dtype, name):
    """A constant when the shape is known and small, so that graphs do not grow; else None."""
    if isinstance(shape, (list, tuple)) and any(isinstance(d, Tensor) for d in shape):
        # These nodes stay unused, but they take the names that they have in TensorFlow's graphs, where the
        # product of the dimensions is compared before it turns out to be a tensor.
        _ = functools.reduce(operator.mul, shape) < 1000
        return None
    try:
        known = tensor_shape.to_tuple(shape)
    except (TypeError, ValueError):
        return None
    if known is None or None in known or _math.prod(d or 0 for d in known) >= 1000:
        return None
    return constant(value, shape=known, dtype=dtype, name=name)


def _filled(value, shape, dtype, scope):
    if not isinstance(shape, Tensor):
        small = _constant_if_small(value, shape, dtype, scope)
        if small is not None:
            return small
        try:
            shape = convert_to_tensor(tensor_shape.as_shape(shape))
        except (TypeError, ValueError):
            shape = convert_to_tensor(shape, dtype=dtypes.int32)
    if not shape.static_shape:
        shape = reshape(shape, [-1])
    return fill(shape, constant(value, dtype=dtype), name=scope)


def zeros(shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Tensor:
    """Zeros (False, empty strings) of a shape: a constant below 1000 elements, else a Fill."""
    base = dtypes.as_dtype(dtype).base_dtype
    value = False if base is dtypes.bool else b"" if base is dtypes.string else 0
    with name_scope(name, "zeros", [shape]) as scope:
        result: Tensor = _filled(value, shape, base, scope)
        return result


def ones(shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Tensor:
    """Ones (True) of a shape: a constant below 1000 elements, else a Fill."""
    base = dtypes.as_dtype(dtype).base_dtype
    with name_scope(name, "ones", [shape]) as scope:
        result: Tensor = _filled(True if base is dtypes.bool else 1, shape, base, scope)
        return result


def zeros_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Zeros of the shape of `tensor`; a constant where the shape is known."""
    with name_scope(name, "zeros_like", [tensor]) as scope:
        tensor = convert_to_tensor(tensor, name="tensor")
        base = tensor.dtype.base_dtype
        wanted = base if dtype is None else dtypes.as_dtype(dtype).base_dtype
        known = tensor.static_shape
        if optimize and known is not None and None not in known and base is not dtypes.variant:
            return zeros(known, wanted, name=scope)
        if dtype is not None and wanted is not base and base is not dtypes.variant:
            return zeros(shape_internal(tensor, optimize=optimize), wanted, name=scope)
        return zeros_like_(tensor, name=scope)


def ones_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Ones of the shape of `tensor`."""
    with name_scope(name, "ones_like", [tensor]) as scope:
        tensor = convert_to_tensor(tensor, name="tensor")
        ones_shape = shape_internal(tensor, optimize=optimize)
        result = ones(ones_shape, tensor.dtype if dtype is None else dtype, name=scope)
        result.set_shape(tensor.static_shape)
        return result


def zeros_like_v2(input: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """`zeros_like` as TensorFlow 2 has it."""
    return zeros_like(input, dtype, name)


def ones_like_v2(input: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """`ones_like` as TensorFlow 2 has it."""
    return ones_like(input, dtype, name)


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor that must be fed."""
    return placeholder_(dtype=dtype, shape=shape, name=name)


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """`input`, unless another value is fed."""
    return placeholder_with_default_(input, shape, name=name)


def sparse_placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> SparseTensor:
    """A SparseTensor that must be fed; `shape` is a shape or an int64 tensor."""
    if shape is None:
        dense_shape = placeholder(dtypes.int64, shape=[None], name=None if name is None else f"{name}/shape")
    elif isinstance(shape, Tensor):
        dense_shape = shape
    else:
        static = tensor_shape.to_tuple(shape)
        if static is None or None in static:
            rank = None if static is None else len(static)
            dense_shape = placeholder(
                dtypes.int64, shape=[rank], name=None if name is None else f"{name}/shape"
            )
        else:
            dense_shape = convert_to_tensor(
                np.array(static, np.int64), name="shape" if name is None else f"{name}/shape"
            )
    rank = None if dense_shape.static_shape is None else dense_shape.static_shape[0]
    values = placeholder(dtype, shape=[None], name=None if name is None else f"{name}/values")
    indices = placeholder(dtypes.int64, shape=[None, rank], name=None if name is None else f"{name}/indices")
    return SparseTensor(values=values, indices=indices, dense_shape=dense_shape)


# -- shapes as tensors --------------------------------------------------------------------------------


@op(
    "ShapeN",
    inputs="input: N * T",
    outputs="output: N * out_type",
    attrs=["N: int >= 1", "T: type", "out_type: {int32, int64} = DT_INT32"],
)
class shape_n:
    """The shapes of several tensors."""

    def shape(c, input):
        return [(None if s is None else len(s),) for s in input]

    def kernel(ctx, input):
        return packed([np.array(x.shape, ctx.attrs["out_type"].np) for x in input])

    grad = NOT_DIFFERENTIABLE


@op(
    "Size",
    inputs="input: T",
    outputs="output: out_type",
    attrs=["T: type", "out_type: {int32, int64} = DT_INT32"],
)
class size_:
    """The number of elements of `input`."""

    shape = scalar

    def kernel(ctx, input):
        return ctx.attrs["out_type"].np.type(_math.prod(input.shape))

    grad = NOT_DIFFERENTIABLE


@op("Rank", inputs="input: T", outputs="output: int32", attrs="T: type")
class rank_:
    """The number of dimensions of `input`."""

    shape = scalar

    def kernel(ctx, input):
        return np.int32(len(input.shape))

    grad = NOT_DIFFERENTIABLE


def size(input: Any, name: str | None = None, out_type: Any = dtypes.int32) -> Tensor:
    """The number of elements of a tensor; a constant where it is known."""
    return size_internal(input, name, True, out_type)


def size_internal(
    input: Any, name: str | None = None, optimize: bool = True, out_type: Any = dtypes.int32
) -> Tensor:
    with name_scope(name, "Size", [input]) as scope:
        if isinstance(input, (SparseTensor, SparseTensorValue)):
            return reduction_ops.reduce_prod(casting.cast(input.dense_shape, out_type), 0, name=scope)
        tensor = convert_to_tensor(input)
        known = tensor.static_shape
        if optimize and known is not None and None not in known:
            return constant(_math.prod(known), out_type, name=scope)
        return size_(tensor, out_type=out_type, name=scope)


def rank(input: Any, name: str | None = None) -> Tensor:
    """The number of dimensions of a tensor; a constant where it is known."""
    return rank_internal(input, name)


def rank_internal(input: Any, name: str | None = None, optimize: bool = True) -> Tensor:
    with name_scope(name, "Rank", [input]) as scope:
        if isinstance(input, (SparseTensor, SparseTensorValue)):
            return size_(input.dense_shape, name=scope)
        tensor = convert_to_tensor(input)
        if optimize and tensor.static_shape is not None:
            return constant(len(tensor.static_shape), dtypes.int32, name=scope)
        return rank_(tensor, name=scope)


# -- the same elements in another shape -------------------------------------------------------------------


@op(
    "Reshape",
    inputs="tensor: T, shape: Tshape",
    outputs="output: T",
    attrs=["T: type", "Tshape: {int32, int64} = DT_INT32"],
)
class reshape:
    """The elements of `tensor` in another shape; one dimension may be -1, which is then worked out."""

    def shape(c, tensor, shape):
        wanted = c.constant_shape(1)
        if wanted is None:
            return None
        total = None if tensor is None or None in tensor else _math.prod(tensor)
        unknown_dims = wanted.count(None)
        known = _math.prod(d for d in wanted if d is not None)
        if total is None:
            return wanted
        if unknown_dims == 0:
            if total != known:
                raise ValueError(
                    f"Cannot reshape a tensor with {total} elements to shape {_fmt(wanted)} ({known} "
                    f"elements)"
                )
            return wanted
        if unknown_dims > 1:
            return wanted
        if known == 0 or total % known:
            if known == 0 and total == 0:
                return tuple(0 if d is None else d for d in wanted)
            raise ValueError(
                f"Dimension size must be evenly divisible by {known} but is {total} for shape {_fmt(wanted)}"
            )
        return tuple(total // known if d is None else d for d in wanted)

    def kernel(ctx, tensor, shape):
        wanted = shape.tolist()
        total = _math.prod(tensor.shape)
        if wanted.count(-1) > 1:
            raise errors.InvalidArgumentError.of("Only one input size may be -1, not both")
        if -1 in wanted:
            known = -_math.prod(wanted)
            if known == 0:
                if total:
                    raise errors.InvalidArgumentError.of(
                        "reshape cannot infer the missing input size for an empty tensor unless all "
                        "specified "
                        "input sizes are non-zero"
                    )
            elif total % known:
                raise errors.InvalidArgumentError.of(
                    f"Input to reshape is a tensor with {total} values, but the requested shape requires a "
                    f"multiple of {known}"
                )
            wanted[wanted.index(-1)] = total // known if known else 0
        elif _math.prod(wanted) != total:
            raise errors.InvalidArgumentError.of(
                f"Input to reshape is a tensor with {total} values, but the requested shape has "
                f"{_math.prod(wanted)}"
            )
        return np.reshape(tensor, wanted)

    def grad(op, d):
        return reshape(d, shape(op.inputs[0])), None


def _fmt(shape):
    return "[" + ",".join("?" if d is None else str(d) for d in shape) + "]"


def _through_shape(op, d):
    """The gradient of an op that only changes the shape."""
    return reshape(d, shape(op.inputs[0]))


@op(
    "ExpandDims",
    inputs="input: T, dim: Tdim",
    outputs="output: T",
    attrs=["T: type", "Tdim: {int32, int64} = DT_INT32"],
)
class expand_dims_:
    """`input` with a dimension of size 1 inserted at `dim`."""

    def shape(c, input, dim):
        axis = c.constant_value(1)
        if axis is not None and axis.size != 1:
            raise ValueError("'dim' input must be a tensor with a single value")
        if input is None:
            return None
        rank = len(input) + 1
        if axis is None:
            return (None,) * rank
        axis = int(np.ravel(axis)[0])
        if not -rank <= axis < rank:
            raise ValueError(f"dim {axis} not in the interval [{-rank}, {rank - 1}].")
        axis %= rank
        return (*input[:axis], 1, *input[axis:])

    def kernel(ctx, input, dim):
        if dim.size != 1:
            raise errors.InvalidArgumentError.of("'dim' must be a tensor with a single value")
        axis, rank = int(np.ravel(dim)[0]), len(input.shape) + 1
        if not -rank <= axis < rank:
            raise errors.InvalidArgumentError.of(
                f"Tried to expand dim index {axis} for tensor with {rank - 1} dimensions."
            )
        return np.expand_dims(input, axis)

    def grad(op, d):
        return _through_shape(op, d), None


def expand_dims(input: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """`input` with a dimension of size 1 inserted at `axis`."""
    if dim is not None:
        if axis is not None:
            raise ValueError("Cannot specify both 'axis' and 'dim'")
        axis = dim
    if axis is None:
        raise ValueError("Must specify an axis argument to tf.expand_dims()")
    return expand_dims_(input, axis, name=name)


@op("Squeeze", inputs="input: T", outputs="output: T", attrs=["T: type", "squeeze_dims: list(int) >= 0 = []"])
class squeeze_:
    """`input` without the dimensions of size 1, or without those of `squeeze_dims`."""

    def shape(c, input):
        if input is None:
            return None
        dims = c.attrs["squeeze_dims"]
        if not dims:
            return None if None in input else tuple(d for d in input if d != 1)
        rank = len(input)
        for d in dims:
            if not -rank <= d < rank:
                raise ValueError(f"squeeze_dims {d} not in [{-rank},{rank}).")
            if input[d] not in (1, None):
                raise ValueError(
                    f"Can not squeeze dim[{d % rank}], expected a dimension of 1, got {input[d]}"
                )
        gone = {d % rank for d in dims}
        return tuple(d for i, d in enumerate(input) if i not in gone)

    def kernel(ctx, input):
        dims = ctx.attrs["squeeze_dims"]
        for d in dims:
            if input.shape[d] != 1:
                raise errors.InvalidArgumentError.of(
                    f"Can not squeeze dim[{d % len(input.shape)}], expected a dimension of 1, got "
                    f"{input.shape[d]}"
                )
        return np.squeeze(input, tuple(dims) if dims else None)

    grad = _through_shape


def squeeze(input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None) -> Tensor:
    """`input` without its dimensions of size 1, or without those that `axis` names."""
    if squeeze_dims is not None:
        if axis is not None:
            raise ValueError("Cannot specify both 'axis' and 'squeeze_dims'")
        axis = squeeze_dims
    if axis is None:
        return squeeze_(input, name=name)
    return squeeze_(input, squeeze_dims=[axis] if np.ndim(axis) == 0 else axis, name=name)


@op(
    "Bitcast",
    inputs="input: T",
    outputs="output: type",
    attrs=[
        (
            "T: {bfloat16, half, float, double, int64, int32, uint8, uint16, uint32, uint64, int8, "
            "int16, complex64, complex128, qint8, quint8, qint16, quint16, qint32}"
        ),
        (
            "type: {bfloat16, half, float, double, int64, int32, uint8, uint16, uint32, uint64, int8, "
            "int16, complex64, complex128, qint8, quint8, qint16, quint16, qint32}"
        ),
    ],
)
class bitcast:
    """The bytes of `input` read as another type."""

    def shape(c, input):
        if input is None:
            return None
        old, new = c.attrs["T"].size, c.attrs["type"].size
        if old == new:
            return input
        if old > new:
            return (*input, old // new)
        if input and input[-1] is not None and input[-1] != new // old:
            raise ValueError(f"Cannot bitcast due to shape. {input[-1]} does not match {new // old}")
        return input[:-1]

    def kernel(ctx, input):
        x = np.ascontiguousarray(input)
        old, new = x.dtype, ctx.attrs["type"].np
        if old.itemsize == new.itemsize:
            return x.view(new).reshape(input.shape)
        if old.itemsize > new.itemsize:
            return x.reshape(*input.shape, 1).view(new)
        return x.view(new).reshape(input.shape[:-1])


# -- broadcasting -----------------------------------------------------------------------------------------


def broadcast_axes(sx: Any, sy: Any) -> tuple[list[int], list[int]]:
    """The axes over which the gradients of x and of y are summed when shapes `sx` and `sy` were broadcast."""
    rank = max(len(sx), len(sy))
    wide_x = (1,) * (rank - len(sx)) + tuple(sx)
    wide_y = (1,) * (rank - len(sy)) + tuple(sy)
    ax: list[int] = []
    ay: list[int] = []
    for i, (a, b) in enumerate(zip(wide_x, wide_y, strict=True)):
        if a != b and a != 1 and b != 1:
            raise errors.InvalidArgumentError.of(f"Incompatible shapes: {list(sx)} vs. {list(sy)}")
        if a == 1:
            ax.append(i)
        if b == 1:
            ay.append(i)
    return ax, ay


@op(
    "BroadcastGradientArgs",
    inputs="s0: T, s1: T",
    outputs="r0: T, r1: T",
    attrs="T: {int32, int64} = DT_INT32",
)
class broadcast_gradient_args:
    """The axes over which the gradients of two operands of shapes `s0` and `s1` must be summed."""

    def shape(c, s0, s1):
        return [(None,), (None,)]

    def kernel(ctx, s0, s1):
        kind = ctx.attrs["T"].np
        r0, r1 = broadcast_axes(s0.tolist(), s1.tolist())
        return np.array(r0, kind), np.array(r1, kind)

    grad = NOT_DIFFERENTIABLE


@op("BroadcastArgs", inputs="s0: T, s1: T", outputs="r0: T", attrs="T: {int32, int64} = DT_INT32")
class broadcast_args:
    """The shape that operands of shapes `s0` and `s1` broadcast to."""

    def shape(c, s0, s1):
        if s0 is None or s1 is None or s0[0] is None or s1[0] is None:
            return (None,)
        return (max(s0[0], s1[0]),)

    def kernel(ctx, s0, s1):
        try:
            out = np.broadcast_shapes(tuple(s0.tolist()), tuple(s1.tolist()))
        except ValueError:
            raise errors.InvalidArgumentError.of(
                f"Incompatible shapes: {s0.tolist()} vs. {s1.tolist()}"
            ) from None
        return np.array(out, ctx.attrs["T"].np)

    grad = NOT_DIFFERENTIABLE


def broadcast_dynamic_shape(shape_x: Any, shape_y: Any) -> Tensor:
    """The shape, as a tensor, that two shape tensors broadcast to."""
    return broadcast_args(shape_x, shape_y)


def broadcast_static_shape(shape_x: Any, shape_y: Any) -> tensor_shape.TensorShape:
    """The shape that two static shapes broadcast to."""
    return tensor_shape.TensorShape.from_tuple(
        broadcast_shapes(tensor_shape.to_tuple(shape_x), tensor_shape.to_tuple(shape_y))
    )


@op(
    "BroadcastTo",
    inputs="input: T, shape: Tidx",
    outputs="output: T",
    attrs=["T: type", "Tidx: {int32, int64} = DT_INT32"],
)
class broadcast_to:
    """`input` repeated to a larger shape."""

    def shape(c, input, shape):
        wanted = c.constant_shape(1)
        if wanted is not None and input is not None and len(input) > len(wanted):
            raise ValueError(f"Shape must be at most rank {len(wanted)} but is rank {len(input)}")
        return wanted

    def kernel(ctx, input, shape):
        wanted = tuple(shape.tolist())
        try:
            return np.broadcast_to(input, wanted).copy()
        except ValueError:
            raise errors.InvalidArgumentError.of(
                f"Incompatible shapes: {list(input.shape)} vs. {list(wanted)}"
            ) from None

    def grad(op, d):
        x, wanted = op.inputs
        x_shape = shape(x)
        _, axes = broadcast_gradient_args(wanted, x_shape)
        return reshape(reduction_ops.reduce_sum(d, axis=axes, keepdims=True), x_shape), None


# -- ops that pass their input on ------------------------------------------------------------------


@op("IdentityN", inputs="input: T", outputs="output: T", attrs="T: list(type) >= 1")
class identity_n:
    """The inputs themselves."""

    def shape(c, input):
        return input

    def kernel(ctx, input):
        return packed(input)

    def grad(op, *d):
        return list(d)


@op("StopGradient", inputs="input: T", outputs="output: T", attrs="T: type")
class stop_gradient:
    """`input` itself; gradients do not flow through."""

    shape = same_as(0)

    def kernel(ctx, input):
        return input

    grad = NOT_DIFFERENTIABLE


def _prevented(op, d):
    raise LookupError(f"Gradient explicitly disabled. Reason: {op.attrs['message']!r}")


@op("PreventGradient", inputs="input: T", outputs="output: T", attrs=["T: type", "message: string = ''"])
class prevent_gradient:
    """`input` itself; asking for a gradient through it is an error."""

    shape = same_as(0)

    def kernel(ctx, input):
        return input

    grad = _prevented


@op("Snapshot", inputs="input: T", outputs="output: T", attrs="T: type")
class snapshot:
    """`input` itself."""

    shape = same_as(0)

    def kernel(ctx, input):
        return input


@op("GuaranteeConst", inputs="input: T", outputs="output: T", attrs="T: type", stateful=True)
class guarantee_const:
    """`input` itself, promised to be constant."""

    shape = same_as(0)

    def kernel(ctx, input):
        if ctx.attrs["T"] is dtypes.resource:
            raise errors.InvalidArgumentError.of("Input tensor cannot be a resource variable handle.")
        return input

    grad = _pass


@op(
    "CheckNumerics",
    inputs="tensor: T",
    outputs="output: T",
    attrs=["T: {bfloat16, half, float, double}", "message: string"],
    stateful=True,
)
class check_numerics:
    """`tensor` itself; InvalidArgumentError if it holds infinities or NaNs."""

    shape = same_as(0)

    def kernel(ctx, tensor):
        if not np.all(np.isfinite(tensor)):
            nan, inf = bool(np.any(np.isnan(tensor))), bool(np.any(np.isinf(tensor)))
            what = "Inf and NaN" if nan and inf else "NaN" if nan else "Inf"
            raise errors.InvalidArgumentError.of(
                f"{ctx.attrs['message'].decode()} : Tensor had {what} values"
            )
        return tensor

    def grad(op, d):
        return check_numerics(
            d,
            "Not a number (NaN) or infinity (Inf) values detected in gradient. "
            f"{op.attrs['message'].decode()}",
        )
