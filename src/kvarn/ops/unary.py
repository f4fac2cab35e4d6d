"""Elementwise functions of one tensor.

Source: tensorflow/core/ops/math_ops.cc, tensorflow/python/ops/{math_ops,math_grad}.py (1.15).
"""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.division as division
import kvarn.ops.math as math_ops
from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import same_as
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.ops._elementwise import elementwise


def _of(function):
    """The kernel of a NumPy function of one array that keeps the element type."""

    @elementwise
    def kernel(ctx, x):
        return function(x)

    return kernel


def _through_x(derivative):
    """The gradient d * derivative(x)."""

    def grad(op, d):
        with control_dependencies([d]):
            return d * derivative(math_ops.conj(op.inputs[0]))

    return grad


@op(
    "Abs",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int8, int16, int32, int64}",
)
class abs_:
    """|x| of real numbers."""

    shape = same_as(0)
    kernel = _of(np.abs)

    def grad(op, d):
        return d * sign(op.inputs[0])


@op(
    "ComplexAbs",
    inputs="x: T",
    outputs="y: Tout",
    attrs=["T: {complex64, complex128} = DT_COMPLEX64", "Tout: {float, double} = DT_FLOAT"],
)
class complex_abs:
    """|x| of complex numbers."""

    shape = same_as(0)
    kernel = _of(np.abs)

    def grad(op, d):
        return division.div_no_nan(
            complex(d, array_ops.zeros_like(d)) * op.inputs[0],
            complex(op.outputs[0], array_ops.zeros_like(op.outputs[0])),
        )


@op(
    "Sign",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class sign:
    """-1, 0 or 1; x / |x| of complex numbers."""

    shape = same_as(0)

    def kernel(ctx, x):
        return np.sign(x)

    def grad(op, d):
        x = op.inputs[0]
        return array_ops.zeros(array_ops.shape(x), dtype=x.dtype)


@op(
    "Conj", inputs="input: T", outputs="output: T", attrs="T: {complex64, complex128, variant} = DT_COMPLEX64"
)
class conj_:
    """The complex conjugate."""

    shape = same_as(0)

    def kernel(ctx, input):
        return np.conj(input)

    def grad(op, d):
        return math_ops.conj(d)


@op(
    "Square",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class square:
    """x²."""

    shape = same_as(0)
    kernel = _of(np.square)

    def grad(op, d):
        x = op.inputs[0]
        with control_dependencies([d]):
            x = math_ops.conj(x)
            two = constant(2.0, dtype=x.dtype)
            return math_ops.multiply(d, math_ops.multiply(x, two))


@op("Sqrt", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class sqrt:
    """The square root."""

    shape = same_as(0)
    kernel = _of(np.sqrt)

    def grad(op, d):
        return sqrt_grad(op.outputs[0], d)


@op(
    "SqrtGrad",
    inputs="y: T, dy: T",
    outputs="z: T",
    attrs="T: {bfloat16, half, float, double, complex64, complex128}",
)
class sqrt_grad:
    """The gradient of `sqrt`: dy / (2 y)."""

    shape = same_as(0)

    def kernel(ctx, y, dy):
        return np.divide(np.multiply(dy, y.dtype.type(0.5)), np.conj(y))

    def grad(op, d):
        a, y = op.inputs[0], op.outputs[0]
        with control_dependencies([d]):
            ga = d / a
            return -math_ops.conj(ga) * y, 0.5 * ga


@op("Rsqrt", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class rsqrt:
    """1 / √x."""

    shape = same_as(0)

    def kernel(ctx, x):
        return np.reciprocal(np.sqrt(x))

    def grad(op, d):
        return rsqrt_grad(op.outputs[0], d)


@op(
    "RsqrtGrad",
    inputs="y: T, dy: T",
    outputs="z: T",
    attrs="T: {bfloat16, half, float, double, complex64, complex128}",
)
class rsqrt_grad:
    """The gradient of `rsqrt`: -dy y³ / 2."""

    shape = same_as(0)

    def kernel(ctx, y, dy):
        c = np.conj(y)
        return np.multiply(np.multiply(y.dtype.type(-0.5), dy), c * c * c)

    def grad(op, d):
        a, b = op.inputs
        with control_dependencies([d]):
            ca, cd = math_ops.conj(a), math_ops.conj(d)
            grad_a = -1.5 * cd * b * square(ca)
            return grad_a, rsqrt_grad(ca, d)


@op("Exp", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class exp:
    """eˣ."""

    shape = same_as(0)
    kernel = _of(np.exp)

    def grad(op, d):
        with control_dependencies([d]):
            return d * math_ops.conj(op.outputs[0])


@op("Expm1", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class expm1:
    """eˣ - 1, exact near zero."""

    shape = same_as(0)
    kernel = _of(np.expm1)
    grad = _through_x(lambda x: exp(x))


@op("Log", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class log:
    """The natural logarithm."""

    shape = same_as(0)
    kernel = _of(np.log)
    grad = _through_x(lambda x: reciprocal(x))


@op("Log1p", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class log1p:
    """log(1 + x), exact near zero."""

    shape = same_as(0)
    kernel = _of(np.log1p)
    grad = _through_x(lambda x: reciprocal(1 + x))


@op("Sin", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class sin:
    """The sine of radians."""

    shape = same_as(0)
    kernel = _of(np.sin)
    grad = _through_x(lambda x: cos(x))


@op("Cos", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class cos:
    """The cosine of radians."""

    shape = same_as(0)
    kernel = _of(np.cos)

    def grad(op, d):
        x = op.inputs[0]
        with control_dependencies([d]):
            x = math_ops.conj(x)
            return -d * sin(x)


@op(
    "Tan",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class tan:
    """The tangent of radians."""

    shape = same_as(0)
    kernel = _of(np.tan)

    def grad(op, d):
        x = op.inputs[0]
        with control_dependencies([d]):
            x = math_ops.conj(x)
            return square(reciprocal(cos(x))) * d


def _arc_grad(negated):
    def grad(op, d):
        x = op.inputs[0]
        with control_dependencies([d]):
            x = math_ops.conj(x)
            x2 = square(x)
            one = constant(1, dtype=d.dtype)
            inv = reciprocal(sqrt(math_ops.subtract(one, x2)))
            return -d * inv if negated else d * inv

    return grad


@op(
    "Asin",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class asin:
    """The angle in radians whose sine is x."""

    shape = same_as(0)
    kernel = _of(np.arcsin)
    grad = _arc_grad(False)


@op(
    "Acos",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class acos:
    """The angle in radians whose cosine is x."""

    shape = same_as(0)
    kernel = _of(np.arccos)
    grad = _arc_grad(True)


@op(
    "Atan",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class atan:
    """The angle in radians whose tangent is x."""

    shape = same_as(0)
    kernel = _of(np.arctan)

    def grad(op, d):
        x = op.inputs[0]
        with control_dependencies([d]):
            x = math_ops.conj(x)
            x2 = square(x)
            one = constant(1, dtype=d.dtype)
            return d * reciprocal(math_ops.add(one, x2))


@op("Sinh", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class sinh:
    """The hyperbolic sine."""

    shape = same_as(0)
    kernel = _of(np.sinh)
    grad = _through_x(lambda x: cosh(x))


@op("Cosh", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class cosh:
    """The hyperbolic cosine."""

    shape = same_as(0)
    kernel = _of(np.cosh)
    grad = _through_x(lambda x: sinh(x))


@op("Acosh", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class acosh:
    """The number whose hyperbolic cosine is x."""

    shape = same_as(0)
    kernel = _of(np.arccosh)

    def grad(op, d):
        y = op.outputs[0]
        with control_dependencies([d]):
            y = math_ops.conj(y)
            return d / sinh(y)


@op("Tanh", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double, complex64, complex128}")
class tanh_:
    """The hyperbolic tangent."""

    shape = same_as(0)
    kernel = _of(np.tanh)

    def grad(op, d):
        with control_dependencies([d]):
            return tanh_grad(math_ops.conj(op.outputs[0]), d)


@op(
    "TanhGrad",
    inputs="y: T, dy: T",
    outputs="z: T",
    attrs="T: {bfloat16, half, float, double, complex64, complex128}",
)
class tanh_grad:
    """The gradient of `tanh`: dy (1 - y²)."""

    shape = same_as(0)

    def kernel(ctx, y, dy):
        c = np.conj(y)
        return np.multiply(dy, 1 - c * c)

    def grad(op, d):
        with control_dependencies([d]):
            a = math_ops.conj(op.inputs[0])
            b = math_ops.conj(op.inputs[1])
            return d * -2.0 * b * a, tanh_grad(a, d)


def sigmoid_array(x):
    """1 / (1 + e⁻ˣ) without overflow."""
    out = np.negative(x)
    if type(out) is not np.ndarray:
        with np.errstate(over="ignore"):
            return x.dtype.type(1) / (x.dtype.type(1) + np.exp(out))
    with np.errstate(over="ignore"):
        np.exp(out, out=out)
    out += x.dtype.type(1)
    return np.reciprocal(out, out=out)


@op(
    "Sigmoid",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, complex64, complex128}",
)
class sigmoid_:
    """1 / (1 + e⁻ˣ)."""

    shape = same_as(0)
    kernel = _of(sigmoid_array)

    def grad(op, d):
        with control_dependencies([d]):
            return sigmoid_grad(math_ops.conj(op.outputs[0]), d)


@op(
    "SigmoidGrad",
    inputs="y: T, dy: T",
    outputs="z: T",
    attrs="T: {bfloat16, half, float, double, complex64, complex128}",
)
class sigmoid_grad:
    """The gradient of `sigmoid`: dy y (1 - y)."""

    shape = same_as(0)

    def kernel(ctx, y, dy):
        c = np.conj(y)
        return np.multiply(np.multiply(dy, c), 1 - c)

    def grad(op, d):
        with control_dependencies([d]):
            a = math_ops.conj(op.inputs[0])
            b = math_ops.conj(op.inputs[1])
            gb = d * b
            return gb - 2.0 * gb * a, sigmoid_grad(a, d)


def _by_element(function):
    """The kernel of a function of one Python float."""

    def kernel(ctx, x):
        flat = np.asarray(x, np.float64).ravel()
        out = np.fromiter((function(v) for v in flat.tolist()), np.float64, flat.size)
        return out.reshape(x.shape).astype(x.dtype)

    return kernel


@op("Erf", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double}")
class erf:
    """The error function."""

    shape = same_as(0)
    kernel = _by_element(_math.erf)

    def grad(op, d):
        return _erf_grad(op, d, 2)


@op("Erfc", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double}")
class erfc:
    """1 - erf(x)."""

    shape = same_as(0)
    kernel = _by_element(_math.erfc)

    def grad(op, d):
        return _erf_grad(op, d, -2)


def _erf_grad(op, d, factor):
    x = op.inputs[0]
    scale = constant(factor / np.sqrt(np.pi), dtype=d.dtype)
    with control_dependencies([d]):
        x = math_ops.conj(x)
        return d * scale * exp(-square(x))


def _lgamma(v):
    if v != v or v == -_math.inf:
        return _math.nan if v != v else _math.inf
    return _math.inf if v <= 0 and v == _math.floor(v) else _math.lgamma(v)


@op("Lgamma", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double}")
class lgamma:
    """log |Γ(x)|."""

    shape = same_as(0)
    kernel = _by_element(_lgamma)

    def grad(op, d):
        from kvarn.ops import special

        with control_dependencies([d]):
            return d * special.digamma(math_ops.conj(op.inputs[0]))


def _unary_rounding(function):
    def kernel(ctx, x):
        return x if x.dtype.kind in "iu" else function(x)

    return kernel


def _zero_grad(op, d):
    return None


@op("Floor", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double}")
class floor:
    """The greatest integer that is not above x."""

    shape = same_as(0)
    kernel = _of(np.floor)
    grad = _zero_grad


@op("Ceil", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double}")
class ceil:
    """The least integer that is not below x."""

    shape = same_as(0)
    kernel = _of(np.ceil)
    grad = _zero_grad


@op(
    "Round",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class round_:
    """The nearest integer; halves go to the even one."""

    shape = same_as(0)
    kernel = _unary_rounding(np.rint)
    grad = _zero_grad


@op("Rint", inputs="x: T", outputs="y: T", attrs="T: {bfloat16, half, float, double}")
class rint:
    """The nearest integer; halves go to the even one."""

    shape = same_as(0)
    kernel = _of(np.rint)
    grad = _zero_grad


def _reciprocal(x):
    if x.dtype.kind in "iu":
        from kvarn import errors

        if not np.all(x):
            raise errors.InvalidArgumentError.of("Integer division by zero")
    return np.reciprocal(x)


@op(
    "Reciprocal",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class reciprocal:
    """1 / x."""

    shape = same_as(0)
    kernel = _of(_reciprocal)

    def grad(op, d):
        return reciprocal_grad(op.outputs[0], d)


def _reciprocal_grad_grad(function):
    def grad(op, d):
        b = op.inputs[1]
        with control_dependencies([d]):
            ca = math_ops.conj(op.inputs[0])
            cg = math_ops.conj(d)
            return cg * -2.0 * b * ca, function(ca, d)

    return grad


def _reciprocal_grad(ctx, y, dy):
    c = np.conj(y)
    return np.multiply(np.negative(dy), c * c)


@op(
    "ReciprocalGrad",
    inputs="y: T, dy: T",
    outputs="z: T",
    attrs="T: {bfloat16, half, float, double, complex64, complex128}",
)
class reciprocal_grad:
    """The gradient of `reciprocal`: -dy y²."""

    shape = same_as(0)
    kernel = _reciprocal_grad
    grad = _reciprocal_grad_grad(lambda a, d: reciprocal_grad(a, d))


@op(
    "Inv",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {bfloat16, half, float, double, int32, int64, complex64, complex128}",
)
class inv:
    """1 / x; the older name of `reciprocal`."""

    shape = same_as(0)
    kernel = _of(_reciprocal)

    def grad(op, d):
        return inv_grad(op.outputs[0], d)


@op(
    "InvGrad",
    inputs="y: T, dy: T",
    outputs="z: T",
    attrs="T: {bfloat16, half, float, double, complex64, complex128}",
)
class inv_grad:
    """The gradient of `inv`: -dy y²."""

    shape = same_as(0)
    kernel = _reciprocal_grad
    grad = _reciprocal_grad_grad(lambda a, d: inv_grad(a, d))


@op("IsNan", inputs="x: T", outputs="y: bool", attrs="T: {bfloat16, half, float, double}")
class is_nan:
    """Whether x is not a number."""

    shape = same_as(0)
    kernel = _of(np.isnan)
    grad = NOT_DIFFERENTIABLE


@op("IsInf", inputs="x: T", outputs="y: bool", attrs="T: {bfloat16, half, float, double}")
class is_inf:
    """Whether x is infinite."""

    shape = same_as(0)
    kernel = _of(np.isinf)
    grad = NOT_DIFFERENTIABLE


@op("IsFinite", inputs="x: T", outputs="y: bool", attrs="T: {bfloat16, half, float, double}")
class is_finite:
    """Whether x is neither infinite nor NaN."""

    shape = same_as(0)
    kernel = _of(np.isfinite)
    grad = NOT_DIFFERENTIABLE


@op(
    "Complex",
    inputs="real: T, imag: T",
    outputs="out: Tout",
    attrs=["T: {float, double} = DT_FLOAT", "Tout: {complex64, complex128} = DT_COMPLEX64"],
)
class complex_:
    """real + i imag."""

    def shape(c, real, imag):
        from kvarn.graph.shape_inference import broadcast_shapes

        return broadcast_shapes(real, imag)

    def kernel(ctx, real, imag):
        out = np.empty(np.broadcast_shapes(real.shape, imag.shape), ctx.attrs["Tout"].np)
        out.real, out.imag = real, imag
        return out

    def grad(op, d):
        real_, imag_ = op.inputs
        sx, sy = array_ops.shape(real_), array_ops.shape(imag_)
        rx, ry = array_ops.broadcast_gradient_args(sx, sy)
        from kvarn.ops.reduction import reduce_sum

        dx = array_ops.reshape(reduce_sum(real(d), rx), sx)
        return dx, array_ops.reshape(reduce_sum(imag(d), ry), sy)


@op(
    "Real",
    inputs="input: T",
    outputs="output: Tout",
    attrs=["T: {complex64, complex128} = DT_COMPLEX64", "Tout: {float, double} = DT_FLOAT"],
)
class real_part:
    """The real part."""

    shape = same_as(0)

    def kernel(ctx, input):
        return np.real(input).copy()

    def grad(op, d):
        return complex(d, constant(0, dtype=d.dtype))


@op(
    "Imag",
    inputs="input: T",
    outputs="output: Tout",
    attrs=["T: {complex64, complex128} = DT_COMPLEX64", "Tout: {float, double} = DT_FLOAT"],
)
class imag_part:
    """The imaginary part."""

    shape = same_as(0)

    def kernel(ctx, input):
        return np.imag(input).copy()

    def grad(op, d):
        return complex(constant(0, dtype=d.dtype), d)


# -- public functions that are more than their op ------------------------------------------------------


def abs(x: Any, name: str | None = None) -> Any:
    """|x|."""
    with name_scope(name, "Abs", [x]) as scope:
        if isinstance(x, SparseTensor):
            return SparseTensor(x.indices, abs(x.values, name=scope), x.dense_shape)
        x = convert_to_tensor(x, name="x")
        if x.dtype.is_complex:
            return complex_abs(x, Tout=x.dtype.real_dtype, name=scope)
        return abs_(x, name=scope)


def round(x: Any, name: str | None = None) -> Tensor:
    """The nearest integer; halves go to the even one."""
    x = convert_to_tensor(x, name="x")
    return x if x.dtype.is_integer else round_(x, name=name)


def tanh(x: Any, name: str | None = None) -> Any:
    """The hyperbolic tangent of a Tensor or a SparseTensor."""
    if isinstance(x, SparseTensor):
        return SparseTensor(x.indices, tanh_(x.values, name=name), x.dense_shape)
    return tanh_(x, name=name)


def sigmoid(x: Any, name: str | None = None) -> Tensor:
    """1 / (1 + e⁻ˣ)."""
    with name_scope(name, "Sigmoid", [x]) as scope:
        return sigmoid_(convert_to_tensor(x, name="x"), name=scope)


def log_sigmoid(x: Any, name: str | None = None) -> Tensor:
    """log(1 / (1 + e⁻ˣ)) = -softplus(-x)."""
    from kvarn.ops.nn import softplus

    with name_scope(name, "LogSigmoid", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return math_ops.neg(softplus(-x), name=scope)


def complex(real: Any, imag: Any, name: str | None = None) -> Tensor:
    """real + i imag: complex64 of float32, complex128 of float64."""
    real = convert_to_tensor(real, name="real")
    imag = convert_to_tensor(imag, name="imag")
    with name_scope(name, "Complex", [real, imag]) as scope:
        types = (real.dtype.base_dtype, imag.dtype.base_dtype)
        out = {(dtypes.float64,) * 2: dtypes.complex128, (dtypes.float32,) * 2: dtypes.complex64}.get(types)
        if out is None:
            raise TypeError(f"real and imag have incorrect types: {real.dtype.name} {imag.dtype.name}")
        return complex_(real, imag, Tout=out, name=scope)


def real(input: Any, name: str | None = None) -> Tensor:
    """The real part; a real tensor is returned as it is."""
    with name_scope(name, "Real", [input]) as scope:
        if input.dtype.is_complex:
            return real_part(input, Tout=input.dtype.real_dtype, name=scope)
        same: Tensor = input
        return same


def imag(input: Any, name: str | None = None) -> Tensor:
    """The imaginary part; zeros of a real tensor."""
    with name_scope(name, "Imag", [input]) as scope:
        input = convert_to_tensor(input, name="input")
        if input.dtype.is_complex:
            return imag_part(input, Tout=input.dtype.real_dtype, name=scope)
        return array_ops.zeros_like(input)
