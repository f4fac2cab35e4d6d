"""Arithmetic of two tensors, element by element; sums of many.

TensorFlow keeps all its mathematical functions in one module.  Here they stand by subject, and every
public name of the modules in `_ELSEWHERE` can be taken from this module as well.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/{math_ops,math_grad}.py (1.15).
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

import kvarn.ops._broadcast_grad as broadcast_grad
import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.comparison as comparison
import kvarn.ops.reduction as reduction_ops
import kvarn.ops.selection as selection
import kvarn.ops.unary as unary_ops
from kvarn import dtypes, errors
from kvarn.graph.convert import (
    convert_n_to_tensor,
    convert_to_tensor,
    convert_to_tensor_or_indexed_slices,
)
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.op import op
from kvarn.graph.shape_inference import broadcast, merge, merge_all, same_as
from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor
from kvarn.graph.tensor_shape import to_tuple
from kvarn.ops._elementwise import binary, dims_text

_ELSEWHERE = (
    "casting",
    "comparison",
    "division",
    "unary",
    "reduction",
    "linalg",
    "einsum",
    "segment",
    "ranges",
    "bitwise",
    "clip",
)


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for module in _ELSEWHERE:
            found = getattr(importlib.import_module(f"kvarn.ops.{module}"), name, None)
            if found is not None and getattr(found, "__module__", "").startswith("kvarn.ops"):
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
    if broadcast_grad.same_known_shape(x, y, d):
        return d, d
    ax, ay = broadcast_grad.smart_broadcast_args(x, y, d)
    return broadcast_grad.sum_to(d, ax), broadcast_grad.sum_to(d, ay)


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
    kernel = binary(np.add)
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
    kernel = binary(np.add)
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
    kernel = binary(np.subtract)

    def grad(op, d):
        x, y = op.inputs
        if broadcast_grad.same_known_shape(x, y, d):
            return d, -d
        ax, ay = broadcast_grad.smart_broadcast_args(x, y, d)
        dx = broadcast_grad.sum_to(d, ax)
        return dx, broadcast_grad.sum_to(-d, ay)


def _multiply(x, y):
    # The gradient of a sum is a one that is seen many times: nothing needs to be multiplied by it.
    for one, other in ((x, y), (y, x)):
        if one.ndim and not any(one.strides) and one.shape == other.shape and one.size and one.flat[0] == 1:
            return other
    return np.multiply(x, y)


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
    kernel = binary(_multiply, np.multiply)

    def grad(op, d):
        x, y = op.inputs
        if broadcast_grad.same_known_shape(x, y, d) and d.dtype in (dtypes.int32, dtypes.float32):
            return mul(d, y), mul(d, x)
        ax, ay = broadcast_grad.smart_broadcast_args(x, y, d)
        x, y = conj(x), conj(y)
        dx = broadcast_grad.sum_to(mul(d, y), ax)
        return dx, broadcast_grad.sum_to(mul(x, d), ay)


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
    kernel = binary(_pow)

    def grad(op, d):
        x, y = op.inputs
        z = op.outputs[0]
        ax, ay = broadcast_grad.smart_broadcast_args(x, y, d)
        x, y = conj(x), conj(y)
        dx = broadcast_grad.sum_to(d * y * pow(x, y - 1), ax)
        z = conj(z)
        # The logarithm counts only where it exists.
        mask = comparison.not_equal(x, 0) if x.dtype.is_complex else x > 0
        safe_x = selection.where(mask, x, array_ops.ones_like(x))
        log_x = selection.where(mask, unary_ops.log(safe_x), array_ops.zeros_like(x))
        return dx, broadcast_grad.sum_to(d * z * log_x, ay)


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
    kernel = binary(np.maximum)
    grad = _choosing_grad(lambda x, y: comparison.greater_equal(x, y))


@op("Minimum", inputs="x: T, y: T", outputs="z: T", attrs="T: {bfloat16, half, float, double, int32, int64}")
class minimum:
    """The lesser of x and y."""

    shape = broadcast
    kernel = binary(np.minimum)
    grad = _choosing_grad(lambda x, y: comparison.less_equal(x, y))


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
    kernel = binary(_squared_difference)

    def grad(op, d):
        x, y = op.inputs
        with control_dependencies([d]):
            x_grad = scalar_mul(2.0, d) * (x - y)
        if broadcast_grad.same_known_shape(x, y, d):
            return x_grad, -x_grad
        ax, ay = broadcast_grad.smart_broadcast_args(x, y, d)
        dx = broadcast_grad.sum_to(x_grad, ax)
        return dx, -broadcast_grad.sum_to(x_grad, ay)


def _xlogy(x, y):
    out = np.multiply(x, np.log(y))
    return np.where(np.equal(x, 0), out.dtype.type(0), out)


def _xdivy(x, y):
    out = np.divide(x, y)
    return np.where(np.equal(x, 0), out.dtype.type(0), out)


def _x_grad(partials):
    def grad(op, d):
        x, y = op.inputs
        ax, ay = broadcast_grad.broadcast_args(x, y)
        with control_dependencies([d]):
            not_zero_x = casting.cast(
                comparison.not_equal(x, casting.cast(0.0, dtype=x.dtype)), dtype=x.dtype
            )
            partial_x, partial_y = partials(x, y, not_zero_x)
            dx = broadcast_grad.sum_to(partial_x * d, ax)
            return dx, broadcast_grad.sum_to(partial_y * d, ay)

    return grad


@op("Xlogy", inputs="x: T, y: T", outputs="z: T", attrs="T: {half, float, double, complex64, complex128}")
class xlogy:
    """x log(y), zero where x is zero."""

    shape = broadcast
    kernel = binary(_xlogy)
    grad = _x_grad(lambda x, y, not_zero_x: (xlogy(not_zero_x, y), xdivy(x, y)))


@op("Xdivy", inputs="x: T, y: T", outputs="z: T", attrs="T: {half, float, double, complex64, complex128}")
class xdivy:
    """x / y, zero where x is zero."""

    shape = broadcast
    kernel = binary(_xdivy)
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


@op("NextAfter", inputs="x1: T, x2: T", outputs="output: T", attrs="T: {double, float} = DT_FLOAT")
class nextafter:
    """The number next to `x1` in the direction of `x2`."""

    shape = broadcast

    def kernel(ctx, x1, x2):
        return np.nextafter(x1, x2)

    def grad(op, d):
        x1, x2 = op.inputs
        shapes = array_ops.shape(x1), array_ops.shape(x2)
        axes = array_ops.broadcast_gradient_args(*shapes)
        with control_dependencies([d]):
            partials = array_ops.ones(shapes[0], dtype=x1.dtype), array_ops.zeros(shapes[1], dtype=x2.dtype)
            return tuple(
                array_ops.reshape(reduction_ops.reduce_sum(partial * d, over), shape)
                for partial, over, shape in zip(partials, axes, shapes, strict=True)
            )


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


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Any:
    """`x` (a Tensor or IndexedSlices) times a scalar."""
    scalar = convert_to_tensor(scalar, dtype=x.dtype.base_dtype, name="scalar")
    shape = scalar.static_shape
    if shape is not None and shape != ():
        raise ValueError(f"Only scalar multiply works, got shape {scalar.shape}")
    if isinstance(x, IndexedSlices):
        return IndexedSlices(mul(scalar, x.values, name=name), x.indices, x.dense_shape)
    return mul(scalar, x, name=name)


# -- sums of many -----------------------------------------------------------------------------------


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
        if ctx.attrs["T"] is dtypes.variant:
            return functools.reduce(lambda x, y: x.plus(y), inputs)
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
