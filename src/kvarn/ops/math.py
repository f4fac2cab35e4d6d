"""Elementwise operations of two tensors: arithmetic, division, comparisons, logic; AddN and Cast.

TensorFlow keeps all its mathematical functions in one module.  Here they stand by subject, and every
public name of the modules in `_ELSEWHERE` can be taken from this module as well.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/{math_ops,math_grad}.py (1.15).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.reduction as reduction_ops
import kvarn.ops.selection as selection
import kvarn.ops.unary as unary_ops
from kvarn import dtypes, errors
from kvarn.graph.convert import (
    convert_n_to_tensor,
    convert_to_tensor,
    convert_to_tensor_or_indexed_slices,
)
from kvarn.graph.graph import control_dependencies, get_default_graph, name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import broadcast, merge, merge_all, same_as
from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor
from kvarn.graph.tensor_shape import to_tuple

_ELSEWHERE = ("unary", "reduction", "linalg", "einsum", "segment", "ranges", "bitwise", "clip")


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for module in _ELSEWHERE:
            found = getattr(importlib.import_module(f"kvarn.ops.{module}"), name, None)
            if found is not None and getattr(found, "__module__", "").startswith("kvarn.ops"):
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def dims_text(x):
    """The shape of an array as TensorFlow's messages print it."""
    return "[" + ",".join(map(str, x.shape)) + "]"


def _binary(function):
    """The kernel of a function of two arrays that broadcast; the result has the function's type."""

    def kernel(ctx, x, y):
        try:
            return function(x, y)
        except ValueError:
            raise errors.InvalidArgumentError.of(
                f"Incompatible shapes: {dims_text(x)} vs. {dims_text(y)}"
            ) from None

    return kernel


def _dividing(function):
    """As `_binary`, for functions that cannot divide integers by zero."""

    def divide(x, y):
        if y.dtype.kind in "iu" and not np.all(y):
            raise errors.InvalidArgumentError.of("Integer division by zero")
        return function(x, y)

    return _binary(divide)


# -- gradients of operations that broadcast --------------------------------------------------------


def _broadcast_args(x: Tensor, y: Tensor) -> tuple[tuple[Any, Any, bool], tuple[Any, Any, bool]]:
    """For x and y: the shape, the axes to sum over, and that both are needed."""
    sx, sy = array_ops.shape(x), array_ops.shape(y)
    rx, ry = array_ops.broadcast_gradient_args(sx, sy)
    return (sx, rx, True), (sy, ry, True)


def _smart_broadcast_args(
    x: Tensor, y: Tensor, d: Any
) -> tuple[tuple[Any, Any, bool], tuple[Any, Any, bool]]:
    """As `_broadcast_args`, without nodes for what the static shapes tell."""
    sx, sy = x.static_shape, y.static_shape
    if sx is None or None in sx or sy is None or None in sy or not isinstance(d, Tensor):
        shapes = array_ops.shape_(x), array_ops.shape_(y)
        rx, ry = array_ops.broadcast_gradient_args(*shapes)
        return (shapes[0], rx, True), (shapes[1], ry, True)
    cache = get_default_graph().__dict__.setdefault("_bcast_grad_args_cache", {})
    axes = cache.get((sx, sy))
    if axes is None:
        # The node stays unused, but it takes the name that it has in TensorFlow's graphs.
        array_ops.broadcast_gradient_args(sx, sy)
        axes = cache[sx, sy] = array_ops.broadcast_axes(sx, sy)
    shape = d.static_shape
    return (sx, axes[0], sx != shape), (sy, axes[1], sy != shape)


def _sum_to(d: Any, args: tuple[Any, Any, bool]) -> Any:
    """`d` summed to the shape that its operand had before it was broadcast."""
    shape, axes, needed = args
    return array_ops.reshape(reduction_ops.reduce_sum(d, axes), shape) if needed else d


def _same_known_shape(x: Tensor, y: Tensor, d: Any) -> bool:
    if not isinstance(d, Tensor):
        return False
    shape = x.static_shape
    return shape is not None and None not in shape and shape == y.static_shape == d.static_shape


def conj(x: Any, name: str | None = None) -> Any:
    """The complex conjugate; a real tensor is returned as it is."""
    if isinstance(x, Tensor) and not x.dtype.is_complex:
        if not (x.dtype.is_floating or x.dtype.is_integer):
            raise TypeError(f"Expected numeric or variant tensor, got dtype {x.dtype!r}")
        return x
    with name_scope(name, "Conj", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return unary_ops.conj_(x, name=scope) if x.dtype.is_complex else x


# -- arithmetic -------------------------------------------------------------------------------------


def _add_grad(op, d):
    x, y = op.inputs
    if _same_known_shape(x, y, d):
        return d, d
    ax, ay = _smart_broadcast_args(x, y, d)
    return _sum_to(d, ax), _sum_to(d, ay)


@op(
    "Add",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, int16, int32, int64, complex64, complex128, string}"
    ),
)
class add:
    """x + y; strings are joined."""

    shape = broadcast
    kernel = _binary(np.add)
    grad = _add_grad


@op(
    "AddV2",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {bfloat16, half, float, double, uint8, int8, int16, int32, int64, complex64, complex128}",
    commutative=True,
    aggregate=True,
)
class add_v2:
    """x + y, for numbers."""

    shape = broadcast
    kernel = _binary(np.add)
    grad = _add_grad


@op(
    "Sub",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
)
class sub:
    """x - y."""

    shape = broadcast
    kernel = _binary(np.subtract)

    def grad(op, d):
        x, y = op.inputs
        if _same_known_shape(x, y, d):
            return d, -d
        ax, ay = _smart_broadcast_args(x, y, d)
        dx = _sum_to(d, ax)
        return dx, _sum_to(-d, ay)


@op(
    "Mul",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
    commutative=True,
)
class mul:
    """x * y."""

    shape = broadcast
    kernel = _binary(np.multiply)

    def grad(op, d):
        x, y = op.inputs
        if _same_known_shape(x, y, d) and d.dtype in (dtypes.int32, dtypes.float32):
            return mul(d, y), mul(d, x)
        ax, ay = _smart_broadcast_args(x, y, d)
        x, y = conj(x), conj(y)
        dx = _sum_to(mul(d, y), ax)
        return dx, _sum_to(mul(x, d), ay)


def _mul_no_nan(x, y):
    product = np.multiply(x, y)
    return np.where(np.equal(y, 0), product.dtype.type(0), product)


@op("MulNoNan", inputs="x: T, y: T", outputs="z: T", attrs="T: {half, float, double, complex64, complex128}")
class mul_no_nan:
    """x * y, zero where y is zero even if x is infinite or NaN."""

    shape = broadcast
    kernel = _binary(_mul_no_nan)

    def grad(op, d):
        x, y = op.inputs
        if _same_known_shape(x, y, d):
            return mul_no_nan(d, y), mul_no_nan(x, d)
        ax, ay = _broadcast_args(x, y)
        dx = _sum_to(mul_no_nan(d, y), ax)
        return dx, _sum_to(mul_no_nan(x, d), ay)


def _div_grad(divide):
    def grad(op, d):
        x, y = op.inputs
        ax, ay = _broadcast_args(x, y)
        x, y = conj(x), conj(y)
        dx = _sum_to(divide(d, y), ax)
        return dx, _sum_to(d * divide(divide(-x, y), y), ay)

    return grad


def _truncated(x, y):
    """x / y for floats, rounded towards zero for integers."""
    if x.dtype.kind not in "iu":
        return np.divide(x, y)
    quotient = np.floor_divide(x, y)
    if x.dtype.kind == "u":
        return quotient
    return quotient + ((quotient < 0) & (quotient * y != x)).astype(quotient.dtype)


@op(
    "Div",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
)
class div_:
    """x / y; integers are rounded towards zero."""

    shape = broadcast
    kernel = _dividing(_truncated)
    grad = _div_grad(lambda x, y: divide(x, y))


@op(
    "RealDiv",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
)
class real_div:
    """x / y."""

    shape = broadcast
    kernel = _dividing(_truncated)
    grad = _div_grad(lambda x, y: real_div(x, y))


def _div_no_nan(x, y):
    quotient = np.divide(x, y)
    return np.where(np.equal(y, 0), quotient.dtype.type(0), quotient)


@op("DivNoNan", inputs="x: T, y: T", outputs="z: T", attrs="T: {half, float, double, complex64, complex128}")
class div_no_nan_:
    """x / y, zero where y is zero."""

    shape = broadcast
    kernel = _binary(_div_no_nan)
    grad = _div_grad(lambda x, y: div_no_nan(x, y))


@op(
    "FloorDiv",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
)
class floor_div:
    """x / y rounded down."""

    shape = broadcast
    kernel = _dividing(
        lambda x, y: np.floor(np.divide(x, y)) if x.dtype.kind not in "iu" else np.floor_divide(x, y)
    )

    def grad(op, d):
        return None, None


@op(
    "TruncateDiv",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs=(
        "T: {bfloat16, half, float, double, uint8, int8, uint16, int16, int32, int64, complex64, complex128}"
    ),
)
class truncate_div:
    """x / y rounded towards zero."""

    shape = broadcast
    kernel = _dividing(_truncated)

    def grad(op, d):
        return None, None


@op("FloorMod", inputs="x: T, y: T", outputs="z: T", attrs="T: {int32, int64, bfloat16, half, float, double}")
class floor_mod:
    """The remainder of `floor_div`: it has the sign of y."""

    shape = broadcast
    kernel = _dividing(np.mod)

    def grad(op, d):
        x, y = conj(op.inputs[0]), conj(op.inputs[1])
        ax, ay = _broadcast_args(x, y)
        floor_xy = floor_div(x, y)
        dx = _sum_to(d, ax)
        return dx, _sum_to(d * neg(floor_xy), ay)


@op(
    "Mod", inputs="x: T, y: T", outputs="z: T", attrs="T: {int32, int64, half, half, bfloat16, float, double}"
)
class mod_:
    """The remainder of a division rounded towards zero: it has the sign of x."""

    shape = broadcast
    kernel = _dividing(np.fmod)


@op(
    "TruncateMod",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {int32, int64, bfloat16, half, float, double}",
)
class truncate_mod:
    """The remainder of `truncate_div`: it has the sign of x."""

    shape = broadcast
    kernel = _dividing(np.fmod)


def _pow(x, y):
    if x.dtype.kind in "iu":
        if np.any(y < 0):
            raise errors.InvalidArgumentError.of("Integers to negative integer powers are not allowed")
        return np.power(x, y)
    return np.power(x, y)


@op(
    "Pow",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {bfloat16, float, half, double, int32, int64, complex64, complex128}",
)
class pow:
    """x to the power of y."""

    shape = broadcast
    kernel = _binary(_pow)

    def grad(op, d):
        x, y = op.inputs
        z = op.outputs[0]
        ax, ay = _smart_broadcast_args(x, y, d)
        x, y = conj(x), conj(y)
        dx = _sum_to(d * y * pow(x, y - 1), ax)
        z = conj(z)
        # The logarithm counts only where it exists.
        mask = not_equal(x, 0) if x.dtype.is_complex else x > 0
        safe_x = selection.where(mask, x, array_ops.ones_like(x))
        log_x = selection.where(mask, unary_ops.log(safe_x), array_ops.zeros_like(x))
        return dx, _sum_to(d * z * log_x, ay)


def _choosing_grad(selector):
    def grad(op, d):
        x, y = op.inputs
        sx, sy = array_ops.shape(x), array_ops.shape(y)
        d_shape = array_ops.shape(d)
        zeros = array_ops.zeros(d_shape, d.dtype)
        from_x = selector(x, y)
        rx, ry = array_ops.broadcast_gradient_args(sx, sy)
        dx = selection.where(from_x, d, zeros)
        gx = array_ops.reshape(reduction_ops.reduce_sum(dx, rx), sx)
        dy = selection.where(from_x, zeros, d)
        return gx, array_ops.reshape(reduction_ops.reduce_sum(dy, ry), sy)

    return grad


@op("Maximum", inputs="x: T, y: T", outputs="z: T", attrs="T: {bfloat16, half, float, double, int32, int64}")
class maximum:
    """The greater of x and y."""

    shape = broadcast
    kernel = _binary(np.maximum)
    grad = _choosing_grad(lambda x, y: greater_equal(x, y))


@op("Minimum", inputs="x: T, y: T", outputs="z: T", attrs="T: {bfloat16, half, float, double, int32, int64}")
class minimum:
    """The lesser of x and y."""

    shape = broadcast
    kernel = _binary(np.minimum)
    grad = _choosing_grad(lambda x, y: less_equal(x, y))


def _squared_difference(x, y):
    d = np.subtract(x, y)
    return np.multiply(d, np.conj(d)) if d.dtype.kind == "c" else np.multiply(d, d)


@op(
    "SquaredDifference",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
    commutative=True,
)
class squared_difference:
    """(x - y)²."""

    shape = broadcast
    kernel = _binary(_squared_difference)

    def grad(op, d):
        x, y = op.inputs
        with control_dependencies([d]):
            x_grad = scalar_mul(2.0, d) * (x - y)
        if _same_known_shape(x, y, d):
            return x_grad, -x_grad
        ax, ay = _smart_broadcast_args(x, y, d)
        dx = _sum_to(x_grad, ax)
        return dx, -_sum_to(x_grad, ay)


def _xlogy(x, y):
    out = np.multiply(x, np.log(y))
    return np.where(np.equal(x, 0), out.dtype.type(0), out)


def _xdivy(x, y):
    out = np.divide(x, y)
    return np.where(np.equal(x, 0), out.dtype.type(0), out)


def _x_grad(partials):
    def grad(op, d):
        x, y = op.inputs
        ax, ay = _broadcast_args(x, y)
        with control_dependencies([d]):
            not_zero_x = cast(not_equal(x, cast(0.0, dtype=x.dtype)), dtype=x.dtype)
            partial_x, partial_y = partials(x, y, not_zero_x)
            dx = _sum_to(partial_x * d, ax)
            return dx, _sum_to(partial_y * d, ay)

    return grad


@op("Xlogy", inputs="x: T, y: T", outputs="z: T", attrs="T: {half, float, double, complex64, complex128}")
class xlogy:
    """x log(y), zero where x is zero."""

    shape = broadcast
    kernel = _binary(_xlogy)
    grad = _x_grad(lambda x, y, not_zero_x: (xlogy(not_zero_x, y), xdivy(x, y)))


@op("Xdivy", inputs="x: T, y: T", outputs="z: T", attrs="T: {half, float, double, complex64, complex128}")
class xdivy:
    """x / y, zero where x is zero."""

    shape = broadcast
    kernel = _binary(_xdivy)
    grad = _x_grad(lambda x, y, not_zero_x: (xdivy(not_zero_x, y), xdivy(neg(x), y**2)))


@op("Atan2", inputs="y: T, x: T", outputs="z: T", attrs="T: {bfloat16, half, float, double}")
class atan2:
    """The angle of the point (x, y), in radians."""

    shape = broadcast

    def kernel(ctx, y, x):
        return np.arctan2(y, x)

    def grad(op, d):
        y, x = op.inputs
        with control_dependencies([d]):
            d_inv = d / (unary_ops.square(x) + unary_ops.square(y))
            return x * d_inv, -y * d_inv


@op(
    "Neg",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class neg:
    """-x."""

    shape = same_as(0)

    def kernel(ctx, x):
        return np.negative(x)

    def grad(op, d):
        return neg(d)


# -- comparisons and logic --------------------------------------------------------------------------


def _equality_shape(c, x, y):
    try:
        return broadcast(c, x, y)
    except ValueError:
        if c.attrs["incompatible_shape_error"]:
            raise
        return ()


def _equality(function, otherwise):
    def kernel(ctx, x, y):
        try:
            return np.asarray(function(x, y), np.bool_)[()] if x.dtype == object else function(x, y)
        except ValueError:
            if not ctx.attrs["incompatible_shape_error"]:
                return np.bool_(otherwise)
            raise errors.InvalidArgumentError.of(
                f"Incompatible shapes: {dims_text(x)} vs. {dims_text(y)}"
            ) from None

    return kernel


@op(
    "Equal",
    inputs="x: T, y: T",
    outputs="z: bool",
    attrs=[
        (
            "T: {bfloat16, half, float, double, uint8, int8, int16, int32, int64, complex64, quint8, "
            "qint8, qint32, string, bool, complex128}"
        ),
        "incompatible_shape_error: bool = true",
    ],
    commutative=True,
)
class equal:
    """Whether x equals y."""

    shape = _equality_shape
    kernel = _equality(np.equal, False)
    grad = NOT_DIFFERENTIABLE


@op(
    "NotEqual",
    inputs="x: T, y: T",
    outputs="z: bool",
    attrs=[
        (
            "T: {bfloat16, half, float, double, uint8, int8, int16, int32, int64, complex64, quint8, "
            "qint8, qint32, string, bool, complex128}"
        ),
        "incompatible_shape_error: bool = true",
    ],
    commutative=True,
)
class not_equal:
    """Whether x differs from y."""

    shape = _equality_shape
    kernel = _equality(np.not_equal, True)
    grad = NOT_DIFFERENTIABLE


def _approximately_equal(ctx, x, y):
    return np.abs(np.subtract(x, y)) < x.dtype.type(ctx.attrs["tolerance"])


@op(
    "ApproximateEqual",
    inputs="x: T, y: T",
    outputs="z: bool",
    attrs=["T: numbertype", "tolerance: float = 9.99999975e-06"],
    commutative=True,
)
class approximate_equal:
    """Whether |x - y| < tolerance."""

    shape = merge_all
    kernel = _approximately_equal
    grad = NOT_DIFFERENTIABLE


@op("Less", inputs="x: T, y: T", outputs="z: bool", attrs="T: realnumbertype")
class less:
    """Whether x < y."""

    shape = broadcast
    kernel = _binary(np.less)
    grad = NOT_DIFFERENTIABLE


@op("LessEqual", inputs="x: T, y: T", outputs="z: bool", attrs="T: realnumbertype")
class less_equal:
    """Whether x <= y."""

    shape = broadcast
    kernel = _binary(np.less_equal)
    grad = NOT_DIFFERENTIABLE


@op("Greater", inputs="x: T, y: T", outputs="z: bool", attrs="T: realnumbertype")
class greater:
    """Whether x > y."""

    shape = broadcast
    kernel = _binary(np.greater)
    grad = NOT_DIFFERENTIABLE


@op("GreaterEqual", inputs="x: T, y: T", outputs="z: bool", attrs="T: realnumbertype")
class greater_equal:
    """Whether x >= y."""

    shape = broadcast
    kernel = _binary(np.greater_equal)
    grad = NOT_DIFFERENTIABLE


@op("LogicalAnd", inputs="x: bool, y: bool", outputs="z: bool", commutative=True)
class logical_and:
    """Whether x and y are both true."""

    shape = broadcast
    kernel = _binary(np.logical_and)
    grad = NOT_DIFFERENTIABLE


@op("LogicalOr", inputs="x: bool, y: bool", outputs="z: bool", commutative=True)
class logical_or:
    """Whether x or y is true."""

    shape = broadcast
    kernel = _binary(np.logical_or)
    grad = NOT_DIFFERENTIABLE


@op("LogicalNot", inputs="x: bool", outputs="y: bool")
class logical_not:
    """Whether x is false."""

    shape = same_as(0)

    def kernel(ctx, x):
        return np.logical_not(x)

    grad = NOT_DIFFERENTIABLE


def logical_xor(x: Any, y: Any, name: str = "LogicalXor") -> Tensor:
    """Whether exactly one of x and y is true: (x or y) and not (x and y)."""
    return logical_and(logical_or(x, y), logical_not(logical_and(x, y)), name=name)


# -- sums of many, and Cast -------------------------------------------------------------------------


@op(
    "AddN",
    inputs="inputs: N * T",
    outputs="sum: T",
    attrs=[
        "N: int >= 1",
        (
            "T: {float, double, int32, uint8, int16, int8, complex64, int64, qint8, quint8, qint32, "
            "bfloat16, uint16, complex128, half, uint32, uint64, variant}"
        ),
    ],
    commutative=True,
    aggregate=True,
)
class add_n_:
    """The sum of tensors of one shape."""

    shape = merge_all

    def kernel(ctx, inputs):
        if len(inputs) == 1:
            return inputs[0]
        for i, x in enumerate(inputs):
            if x.shape != inputs[0].shape:
                raise errors.InvalidArgumentError.of(
                    f"Inputs to operation {ctx.op.name} of type AddN must have the same size and shape.  "
                    f"Input 0: {dims_text(inputs[0])} != input {i}: {dims_text(x)}"
                )
        out = np.add(inputs[0], inputs[1])
        for x in inputs[2:]:
            out = np.add(out, x, out=out) if type(out) is np.ndarray else out + x
        return out

    def grad(op, d):
        return [d] * op.attrs["N"]


def add_n(inputs: Any, name: str | None = None) -> Tensor:
    """The sum of tensors, or of IndexedSlices turned dense, of one shape."""
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise ValueError(
            "inputs must be an iterable of at least one Tensor/IndexedSlices with the same dtype and shape"
        )
    # It teaches `convert_to_tensor` to take IndexedSlices.
    import kvarn.graph.gradients  # noqa: F401

    tensors = [convert_to_tensor_or_indexed_slices(x) for x in inputs]
    if len(tensors) == 1:
        only = convert_to_tensor(tensors[0])
        return array_ops.identity(only, name=name) if name else only
    return add_n_(tensors, name=name)


@op(
    "AccumulateNV2",
    inputs="inputs: N * T",
    outputs="sum: T",
    attrs=["N: int >= 1", "T: numbertype", "shape: shape"],
    commutative=True,
    aggregate=True,
)
class accumulate_nv2:
    """The sum of tensors of one shape; the older way to save memory over `add_n`."""

    def shape(c, inputs):
        return merge(merge_all(c, inputs), c.attrs["shape"])

    kernel = add_n_.kernel

    def grad(op, d):
        return [d] * op.attrs["N"]


def accumulate_n(inputs: Any, shape: Any = None, tensor_dtype: Any = None, name: str | None = None) -> Tensor:
    """The sum of tensors of one shape and type.

    Raises:
      ValueError: no inputs, or of several shapes or types.
      TypeError: `tensor_dtype` is not their type.
    """
    problem = "inputs must be a list of at least one Tensor with the same dtype and shape"
    if not inputs or not isinstance(inputs, (list, tuple)):
        raise ValueError(problem)
    inputs = convert_n_to_tensor(inputs)
    if any(x.dtype.base_dtype is not inputs[0].dtype.base_dtype for x in inputs):
        raise ValueError(problem)
    known = None if shape is None else to_tuple(shape)
    for x in inputs:
        known = merge(known, x.static_shape)
    if tensor_dtype is not None and tensor_dtype != inputs[0].dtype:
        raise TypeError(f"tensor_dtype is {tensor_dtype}, but input is of type {inputs[0].dtype}")
    if len(inputs) == 1:
        return inputs[0] if name is None else array_ops.identity(inputs[0], name=name)
    return accumulate_nv2(inputs, name=name, shape=known)


def _cast_array(x, wanted):
    """`x` with another element type, as C++ converts."""
    if x.dtype.kind == "f" or x.dtype.kind == "V":
        if wanted.kind in "iu":
            return _float_to_int(x, wanted)
    elif x.dtype.kind == "c" and wanted.kind != "c":
        return _cast_array(np.real(x), wanted) if wanted.kind != "b" else x.astype(wanted)
    return x.astype(wanted)


def _float_to_int(x, wanted):
    # What does not fit becomes the least integer, as x86 does; NumPy's own answer depends on its build.
    with np.errstate(invalid="ignore"):
        return x.astype(wanted)


@op("Cast", inputs="x: SrcT", outputs="y: DstT", attrs=["SrcT: type", "DstT: type", "Truncate: bool = false"])
class cast_:
    """`x` as type DstT."""

    shape = same_as(0)

    def kernel(ctx, x):
        attrs = ctx.attrs
        if attrs["SrcT"] is attrs["DstT"]:
            return x
        return _cast_array(x, attrs["DstT"].np)

    def grad(op, d):
        differentiable = (
            dtypes.float16,
            dtypes.float32,
            dtypes.float64,
            dtypes.bfloat16,
            dtypes.complex64,
            dtypes.complex128,
        )
        source = op.inputs[0].dtype.base_dtype
        if source in differentiable and d.dtype.base_dtype in differentiable:
            return cast(d, source)
        return None


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """`x` (a Tensor, SparseTensor or IndexedSlices) as `dtype`; itself if it has that type already."""
    base = dtypes.as_dtype(dtype).base_dtype
    # A resource variable too: whoever takes the result reads it.
    is_variable = isinstance(getattr(x, "handle", None), Tensor)
    if (is_variable or isinstance(x, (Tensor, IndexedSlices, SparseTensor))) and base is x.dtype:
        return x
    with name_scope(name, "Cast", [x]) as scope:
        if isinstance(x, SparseTensor):
            return SparseTensor(x.indices, cast(x.values, base, name=scope), x.dense_shape)
        if isinstance(x, IndexedSlices):
            return IndexedSlices(cast(x.values, base, name=scope), x.indices, x.dense_shape)
        x = convert_to_tensor(x, name="x")
        return x if x.dtype.base_dtype is base else cast_(x, base, name=scope)


def saturate_cast(value: Any, dtype: Any, name: str | None = None) -> Tensor:
    """`value` as `dtype`, values outside its range moved to its ends."""
    with name_scope(name, "saturate_cast", [value]) as scope:
        value = convert_to_tensor(value, name="value")
        wanted = dtypes.as_dtype(dtype).base_dtype
        if value.dtype.min < wanted.min:
            value = maximum(value, convert_to_tensor(wanted.min, dtype=value.dtype, name="min"))
        if value.dtype.max > wanted.max:
            value = minimum(value, convert_to_tensor(wanted.max, dtype=value.dtype, name="max"))
        found: Tensor = cast(value, wanted, name=scope)
        return found


def _to(dtype: dtypes.DType, default: str) -> Any:
    def convert(x: Any, name: str = default) -> Any:
        return cast(x, dtype, name=name)

    convert.__doc__ = f"`cast` to {dtype.name}."
    return convert


to_float = _to(dtypes.float32, "ToFloat")
to_double = _to(dtypes.float64, "ToDouble")
to_int32 = _to(dtypes.int32, "ToInt32")
to_int64 = _to(dtypes.int64, "ToInt64")
to_bfloat16 = _to(dtypes.bfloat16, "ToBFloat16")
to_complex64 = _to(dtypes.complex64, "ToComplex64")
to_complex128 = _to(dtypes.complex128, "ToComplex128")

# -- divisions and the other public names -------------------------------------------------------------

# What `/` converts integers to.
_TRUEDIV = {
    dtypes.uint8: dtypes.float32,
    dtypes.int8: dtypes.float32,
    dtypes.uint16: dtypes.float32,
    dtypes.int16: dtypes.float32,
    dtypes.int32: dtypes.float64,
    dtypes.int64: dtypes.float64,
}


def _same_types(x: Any, y: Any) -> None:
    if x.dtype.base_dtype is not y.dtype.base_dtype:
        raise TypeError(
            f"x and y must have the same dtype, got {x.dtype.base_dtype!r} != {y.dtype.base_dtype!r}"
        )


def truediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y as Python divides: integers become floats first."""
    with name_scope(name, "truediv", [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y")
        _same_types(x, y)
        base = x.dtype.base_dtype
        if not (base.is_floating or base.is_complex):
            if base not in _TRUEDIV:
                raise TypeError(f"Invalid dtype {base!r} in __truediv__")
            x, y = cast(x, _TRUEDIV[base]), cast(y, _TRUEDIV[base])
        return real_div(x, y, name=scope)


def div(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y as Python 2 divides: integers are rounded down."""
    with name_scope(name, "div", [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y", dtype=x.dtype.base_dtype)
        _same_types(x, y)
        function = real_div if x.dtype.is_floating or x.dtype.is_complex else floor_div
        return function(x, y, name=scope)


def divide(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y, the operator; with a name, a scope of that name around it."""
    if name is not None:
        x = convert_to_tensor(x)
        return truediv(x, convert_to_tensor(y, dtype_hint=x.dtype.base_dtype), name=name)
    return x / y


def div_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y, zero where y is zero."""
    return _no_nan(div_no_nan_, "div_no_nan", x, y, name)


def multiply_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x * y, zero where y is zero even if x is infinite or NaN."""
    return _no_nan(mul_no_nan, "multiply_no_nan", x, y, name)


def _no_nan(function: Any, default: str, x: Any, y: Any, name: str | None) -> Tensor:
    with name_scope(name, default, [x, y]) as scope:
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y", dtype=x.dtype.base_dtype)
        _same_types(x, y)
        result: Tensor = function(x, y, name=scope)
        return result


def floordiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y rounded down."""
    with name_scope(name, "floordiv", [x, y]) as scope:
        return floor_div(x, y, name=scope)


def multiply(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x * y."""
    return mul(x, y, name=name)


def subtract(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x - y."""
    return sub(x, y, name=name)


def negative(x: Any, name: str | None = None) -> Any:
    """-x; of a SparseTensor, of its values."""
    if isinstance(x, SparseTensor):
        with name_scope(name, "Neg", [x]) as scope:
            return SparseTensor(x.indices, neg(x.values, name=scope), x.dense_shape)
    return neg(x, name=name)


mod = floormod = floor_mod
realdiv = real_div
truncatediv = truncate_div
truncatemod = truncate_mod


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Any:
    """`x` (a Tensor or IndexedSlices) times a scalar."""
    scalar = convert_to_tensor(scalar, dtype=x.dtype.base_dtype, name="scalar")
    shape = scalar.static_shape
    if shape is not None and shape != ():
        raise ValueError(f"Only scalar multiply works, got shape {scalar.shape}")
    if isinstance(x, IndexedSlices):
        return IndexedSlices(mul(scalar, x.values, name=name), x.indices, x.dense_shape)
    return mul(scalar, x, name=name)
