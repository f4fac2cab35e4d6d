"""Activations of neural networks, and softmax.

Source: tensorflow/core/ops/nn_ops.cc, tensorflow/python/ops/{nn_ops,nn_grad}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.comparison as comparison
import kvarn.ops.joining as joining
import kvarn.ops.math as math_ops
import kvarn.ops.ranges as ranges
import kvarn.ops.reduction as reduction_ops
import kvarn.ops.selection as selection
import kvarn.ops.unary as unary_ops
from kvarn import dtypes, errors
from kvarn.graph import tensor_util
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.op import op
from kvarn.graph.shape_inference import merge, same_as
from kvarn.graph.tensor import Tensor

_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_SCALE_ALPHA = 1.7580993408473768599402175208123


def _merged(c, gradients, other):
    return merge(gradients, other)


def _zeros_of(x):
    return array_ops.zeros(shape=array_ops.shape(x), dtype=x.dtype)


@op(
    "Relu",
    inputs="features: T",
    outputs="activations: T",
    attrs=(
        "T: {float, double, int32, uint8, int16, int8, int64, bfloat16, uint16, half, uint32, uint64, qint8}"
    ),
)
class relu:
    """max(x, 0)."""

    shape = same_as(0)

    def kernel(ctx, features):
        return np.maximum(features, features.dtype.type(0))

    def grad(op, d):
        return relu_grad(d, op.outputs[0])


@op("ReluGrad", inputs="gradients: T, features: T", outputs="backprops: T", attrs="T: realnumbertype")
class relu_grad:
    """`gradients` where `features` is above 0, else 0."""

    shape = _merged

    def kernel(ctx, gradients, features):
        return np.multiply(gradients, features > 0, dtype=gradients.dtype)

    def grad(op, d):
        x = op.inputs[1]
        return relu_grad(d, x), _zeros_of(x)


@op("Relu6", inputs="features: T", outputs="activations: T", attrs="T: realnumbertype")
class relu6_:
    """min(max(x, 0), 6)."""

    shape = same_as(0)

    def kernel(ctx, features):
        kind = features.dtype.type
        return np.minimum(np.maximum(features, kind(0)), kind(6))

    def grad(op, d):
        return relu6_grad(d, op.outputs[0])


@op("Relu6Grad", inputs="gradients: T, features: T", outputs="backprops: T", attrs="T: realnumbertype")
class relu6_grad:
    """`gradients` where `features` is between 0 and 6, else 0."""

    shape = _merged

    def kernel(ctx, gradients, features):
        return np.multiply(gradients, (features > 0) & (features < 6), dtype=gradients.dtype)

    def grad(op, d):
        x = op.inputs[1]
        return relu6_grad(d, x), _zeros_of(x)


@op(
    "LeakyRelu",
    inputs="features: T",
    outputs="activations: T",
    attrs=["alpha: float = 0.200000003", "T: {half, bfloat16, float, double} = DT_FLOAT"],
)
class leaky_relu_:
    """x where it is above 0, else alpha x."""

    shape = same_as(0)

    def kernel(ctx, features):
        return np.where(features > 0, features, features * features.dtype.type(ctx.attrs["alpha"]))

    def grad(op, d):
        return leaky_relu_grad(d, op.inputs[0], alpha=op.attrs["alpha"])


@op(
    "LeakyReluGrad",
    inputs="gradients: T, features: T",
    outputs="backprops: T",
    attrs=["alpha: float = 0.200000003", "T: {half, bfloat16, float, double} = DT_FLOAT"],
)
class leaky_relu_grad:
    """`gradients` where `features` is above 0, else alpha times it."""

    shape = _merged

    def kernel(ctx, gradients, features):
        return np.where(features > 0, gradients, gradients * gradients.dtype.type(ctx.attrs["alpha"]))

    def grad(op, d):
        x = op.inputs[1]
        return leaky_relu_grad(d, x, alpha=op.attrs["alpha"]), _zeros_of(x)


@op("Elu", inputs="features: T", outputs="activations: T", attrs="T: {half, bfloat16, float, double}")
class elu:
    """x where it is above 0, else eˣ - 1."""

    shape = same_as(0)

    def kernel(ctx, features):
        return np.where(features < 0, np.expm1(np.minimum(features, features.dtype.type(0))), features)

    def grad(op, d):
        return elu_grad(d, op.outputs[0])


@op(
    "EluGrad",
    inputs="gradients: T, outputs: T",
    outputs="backprops: T",
    attrs="T: {half, bfloat16, float, double}",
)
class elu_grad:
    """The gradient of `elu` from its outputs."""

    shape = _merged

    def kernel(ctx, gradients, outputs):
        return np.where(outputs < 0, (outputs + outputs.dtype.type(1)) * gradients, gradients)

    def grad(op, d):
        x = op.inputs[1]
        dx = elu_grad(d, x)
        return dx, selection.where(x < 0, d * op.inputs[0], array_ops.zeros_like(x))


@op("Selu", inputs="features: T", outputs="activations: T", attrs="T: {half, bfloat16, float, double}")
class selu:
    """scale x where x is above 0, else scale alpha (eˣ - 1)."""

    shape = same_as(0)

    def kernel(ctx, features):
        kind = features.dtype.type
        low = kind(_SELU_SCALE_ALPHA) * np.expm1(np.minimum(features, kind(0)))
        return np.where(features < 0, low, kind(_SELU_SCALE) * features)

    def grad(op, d):
        return selu_grad(d, op.outputs[0])


@op(
    "SeluGrad",
    inputs="gradients: T, outputs: T",
    outputs="backprops: T",
    attrs="T: {half, bfloat16, float, double}",
)
class selu_grad:
    """The gradient of `selu` from its outputs."""

    shape = _merged

    def kernel(ctx, gradients, outputs):
        kind = outputs.dtype.type
        return np.where(
            outputs < 0, gradients * (outputs + kind(_SELU_SCALE_ALPHA)), gradients * kind(_SELU_SCALE)
        )

    def grad(op, d):
        x = op.inputs[1]
        dx = selu_grad(d, x)
        return dx, selection.where(x < 0.0, d * op.inputs[0], array_ops.zeros_like(x))


@op("Softplus", inputs="features: T", outputs="activations: T", attrs="T: {half, bfloat16, float, double}")
class softplus:
    """log(1 + eˣ)."""

    shape = same_as(0)

    def kernel(ctx, features):
        return np.logaddexp(features, features.dtype.type(0)).astype(features.dtype, copy=False)

    def grad(op, d):
        return d * unary_ops.sigmoid(op.inputs[0])


@op(
    "SoftplusGrad",
    inputs="gradients: T, features: T",
    outputs="backprops: T",
    attrs="T: {half, bfloat16, float, double}",
)
class softplus_grad:
    """The gradient of `softplus`: gradients / (1 + e⁻ˣ)."""

    shape = _merged

    def kernel(ctx, gradients, features):
        return np.divide(gradients, np.exp(-features) + features.dtype.type(1))

    def grad(op, d):
        dy, x = op.inputs
        with control_dependencies([d]):
            ddy = softplus_grad(d, x)
            return ddy, d * dy / (unary_ops.exp(-x) + 2.0 + unary_ops.exp(x))


@op("Softsign", inputs="features: T", outputs="activations: T", attrs="T: {half, bfloat16, float, double}")
class softsign:
    """x / (1 + |x|)."""

    shape = same_as(0)

    def kernel(ctx, features):
        return np.divide(features, np.abs(features) + features.dtype.type(1))

    def grad(op, d):
        return softsign_grad(d, op.inputs[0])


@op(
    "SoftsignGrad",
    inputs="gradients: T, features: T",
    outputs="backprops: T",
    attrs="T: {half, bfloat16, float, double}",
)
class softsign_grad:
    """The gradient of `softsign`: gradients / (1 + |x|)²."""

    shape = _merged

    def kernel(ctx, gradients, features):
        return np.divide(gradients, np.square(np.abs(features) + features.dtype.type(1)))


def _at_least_vectors(c, logits):
    if logits is not None and len(logits) < 1:
        raise ValueError(f"Shape must be at least rank 1 but is rank {len(logits)}")
    return logits


def _normalized(x):
    """x less its greatest element along the last dimension, and the exponentials of that."""
    if x.shape[-1] == 0:
        return x, x
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return shifted, np.exp(shifted)


@op("Softmax", inputs="logits: T", outputs="softmax: T", attrs="T: {half, bfloat16, float, double}")
class softmax_:
    """eˣ over its sum along the last dimension."""

    shape = _at_least_vectors

    def kernel(ctx, logits):
        _, exps = _normalized(logits)
        return exps / np.sum(exps, axis=-1, keepdims=True, dtype=exps.dtype)

    def grad(op, d):
        out = op.outputs[0]
        total = reduction_ops.reduce_sum(d * out, -1, keepdims=True)
        return (d - total) * out


@op("LogSoftmax", inputs="logits: T", outputs="logsoftmax: T", attrs="T: {half, bfloat16, float, double}")
class log_softmax_:
    """The logarithm of `softmax`."""

    shape = _at_least_vectors

    def kernel(ctx, logits):
        shifted, exps = _normalized(logits)
        return shifted - np.log(np.sum(exps, axis=-1, keepdims=True, dtype=exps.dtype))

    def grad(op, d):
        out = unary_ops.exp(op.outputs[0])
        return d - reduction_ops.reduce_sum(d, -1, keepdims=True) * out


def _exchanged(x: Tensor, axis: Any, last: Any, name: str | None = None) -> Tensor:
    """`x` with its dimensions `axis` and `last` exchanged."""
    perm = joining.concat([ranges.range(axis), [last], ranges.range(axis + 1, last), [axis]], 0)
    found: Tensor = array_ops.transpose(x, perm, name=name)
    return found


def _along(function: Any, logits: Any, axis: Any, name: str | None) -> Tensor:
    """`function`, which works on the last dimension, along another."""
    logits = convert_to_tensor(logits)
    shape = logits.static_shape
    rank = None if shape is None else len(shape)
    if isinstance(axis, (int, np.integer)) and (axis == -1 or (rank is not None and axis == rank - 1)):
        found: Tensor = function(logits, name=name)
        return found
    known = tensor_util.constant_value(axis) if isinstance(axis, Tensor) else axis
    if known is not None and rank is not None and not -rank <= known < rank:
        raise errors.InvalidArgumentError.of(
            f"Dimension ({known}) must be in the range [{-rank}, {rank}) where {rank} is the number of "
            f"dimensions in "
            "the input."
        )
    count = array_ops.rank(logits)
    if isinstance(axis, Tensor):
        axis = selection.where(comparison.less(axis, 0), axis + count, axis)
    elif axis < 0:
        axis += count
    input_rank = array_ops.rank(logits)
    axis = axis % rank
    logits = _exchanged(logits, axis, math_ops.subtract(input_rank, 1))
    out: Tensor = function(logits)
    out = _exchanged(out, axis, math_ops.subtract(input_rank, 1), name=name)
    out.set_shape(shape)
    return out


def softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """eˣ over its sum along `axis` (the last one by default)."""
    return _along(softmax_, logits, _axis(axis, dim), name)


def log_softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """The logarithm of `softmax`."""
    return _along(log_softmax_, logits, _axis(axis, dim), name)


def softmax_v2(logits: Any, axis: Any = None, name: str | None = None) -> Tensor:
    """`softmax` as TensorFlow 2 has it."""
    return softmax(logits, axis, name)


def log_softmax_v2(logits: Any, axis: Any = None, name: str | None = None) -> Tensor:
    """`log_softmax` as TensorFlow 2 has it."""
    return log_softmax(logits, axis, name)


def _axis(axis: Any, dim: Any) -> Any:
    if axis is not None and dim is not None:
        raise ValueError("Cannot specify both 'axis' and 'dim'")
    axis = dim if axis is None else axis
    return -1 if axis is None else axis


def relu6(features: Any, name: str | None = None) -> Tensor:
    """min(max(x, 0), 6)."""
    with name_scope(name, "Relu6", [features]) as scope:
        return relu6_(convert_to_tensor(features, name="features"), name=scope)


def leaky_relu(features: Any, alpha: Any = 0.2, name: str | None = None) -> Tensor:
    """x where it is above 0, else alpha x."""
    with name_scope(name, "LeakyRelu", [features, alpha]) as scope:
        features = convert_to_tensor(features, name="features")
        if features.dtype.is_integer:
            features = casting.cast(features, dtypes.float32)
        return leaky_relu_(features, alpha=float(alpha), name=scope)


def crelu(features: Any, name: str | None = None, axis: int = -1) -> Tensor:
    """relu of x and of -x, one after the other along `axis`."""
    with name_scope(name, "CRelu", [features]) as scope:
        features = convert_to_tensor(features, name="features")
        return relu(joining.concat([features, -features], axis, name=scope))
