"""Neural networks: biases, cross entropies, normalisation, dropout, top-k.

The activations stand in `kvarn.ops.activation`; their names can be taken from this module as well.

Source: tensorflow/core/ops/nn_ops.cc, tensorflow/python/ops/{nn_ops,nn_impl,nn_grad}.py (1.15).
"""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
import kvarn.ops.casting as casting
import kvarn.ops.comparison as comparison
import kvarn.ops.joining as joining
import kvarn.ops.layout as layout
import kvarn.ops.math as math_ops
import kvarn.ops.ranges as ranges
import kvarn.ops.reduction as reduction_ops
import kvarn.ops.selection as selection
import kvarn.ops.slicing as slicing
import kvarn.ops.unary as unary_ops
from kvarn import dtypes, errors, tf_logging
from kvarn.graph import tensor_shape, tensor_util
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import broadcast_shapes, merge_dim, scalar, with_rank
from kvarn.graph.tensor import Tensor
from kvarn.ops._elementwise import dims_text
from kvarn.ops.activation import (
    crelu,
    elu,
    leaky_relu,
    log_softmax,
    log_softmax_v2,
    relu,
    relu6,
    relu_grad,
    selu,
    softmax,
    softmax_v2,
    softplus,
    softsign,
)
from kvarn.ops.moments import moments
from kvarn.ops.unary import log_sigmoid, sigmoid, tanh

__all__ = [
    "batch_normalization",
    "bias_add",
    "crelu",
    "dropout",
    "dropout_v2",
    "elu",
    "in_top_k",
    "l2_loss",
    "l2_normalize",
    "l2_normalize_v2",
    "leaky_relu",
    "log_poisson_loss",
    "log_sigmoid",
    "log_softmax",
    "log_softmax_v2",
    "moments",
    "relu",
    "relu6",
    "relu_grad",
    "relu_layer",
    "selu",
    "sigmoid",
    "sigmoid_cross_entropy_with_logits",
    "softmax",
    "softmax_v2",
    "softmax_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits_v2",
    "softplus",
    "softsign",
    "sparse_softmax_cross_entropy_with_logits",
    "tanh",
    "top_k",
    "weighted_cross_entropy_with_logits",
    "xw_plus_b",
]

# -- biases ----------------------------------------------------------------------------------------


def _biased(c, value, bias):
    if value is None:
        return None
    (length,) = with_rank(bias, 1)
    if len(value) < 2:
        raise ValueError(f"Shape must be at least rank 2 but is rank {len(value)}")
    axis = 1 if c.attrs.get("data_format") == b"NCHW" else len(value) - 1
    return (*value[:axis], merge_dim(value[axis], length), *value[axis + 1 :])


def _add_bias(ctx, value, bias):
    if len(value.shape) < 2:
        raise errors.InvalidArgumentError.of(f"Input tensor must be at least 2D: {dims_text(value)}")
    if len(bias.shape) != 1:
        raise errors.InvalidArgumentError.of(f"Biases must be 1D: {dims_text(bias)}")
    channels_first = ctx.attrs.get("data_format") == b"NCHW"
    axis = 1 if channels_first else -1
    if bias.shape[0] != value.shape[axis]:
        raise errors.InvalidArgumentError.of(
            "Must provide as many biases as the last dimension of the input tensor: "
            f"{dims_text(bias)} vs. {dims_text(value)}"
        )
    if channels_first:
        bias = bias.reshape(-1, *(1,) * (len(value.shape) - 2))
    return np.add(value, bias)


@op(
    "BiasAdd",
    inputs="value: T, bias: T",
    outputs="output: T",
    attrs=["T: numbertype", "data_format: {'NHWC', 'NCHW'} = 'NHWC'"],
)
class bias_add_:
    """`value` plus the vector `bias` along the last dimension (the second one for NCHW)."""

    shape = _biased
    kernel = _add_bias

    def grad(op, d):
        return d, bias_add_grad(d, data_format=op.attrs["data_format"])


@op("BiasAddV1", inputs="value: T, bias: T", outputs="output: T", attrs="T: numbertype")
class bias_add_v1:
    """`value` plus the vector `bias` along the last dimension; the older form of `bias_add`."""

    shape = _biased
    kernel = _add_bias

    def grad(op, d):
        return d, reduction_ops.reduce_sum(d, ranges.range(array_ops.rank(d) - 1))


@op(
    "BiasAddGrad",
    inputs="out_backprop: T",
    outputs="output: T",
    attrs=["T: numbertype", "data_format: {'NHWC', 'NCHW'} = 'NHWC'"],
)
class bias_add_grad:
    """The sum over all dimensions but that of the bias."""

    def shape(c, out_backprop):
        if out_backprop is None:
            return (None,)
        return (out_backprop[1 if c.attrs["data_format"] == b"NCHW" else -1],)

    def kernel(ctx, out_backprop):
        rank = len(out_backprop.shape)
        keep = 1 if ctx.attrs["data_format"] == b"NCHW" else rank - 1
        axes = tuple(i for i in range(rank) if i != keep)
        return np.sum(out_backprop, axes, out_backprop.dtype)

    def grad(op, d):
        shape, bias_shape = array_ops.shape(op.inputs[0]), array_ops.shape(d)
        if op.attrs["data_format"] == b"NCHW":
            ones_before = array_ops.ones_like(shape[:1])
            expanded = joining.concat([ones_before, bias_shape, array_ops.ones_like(shape[2:])], 0)
            multiples = joining.concat([shape[:1], [1], shape[2:]], 0)
        else:
            expanded = joining.concat([array_ops.ones_like(shape[:-1]), bias_shape], 0)
            multiples = joining.concat([shape[:-1], [1]], 0)
        return layout.tile(array_ops.reshape(d, expanded), multiples)


def bias_add(value: Any, bias: Any, data_format: str | None = None, name: str | None = None) -> Tensor:
    """`value` plus the vector `bias` along its channels.

    Args:
      data_format: "N...C" (the default) or "NC...".
    """
    with name_scope(name, "BiasAdd", [value, bias]) as scope:
        if data_format is not None:
            if data_format.startswith("NC"):
                data_format = "NCHW"
            elif data_format.startswith("N") and data_format.endswith("C"):
                data_format = "NHWC"
            else:
                raise ValueError("data_format must be of the form `N...C` or `NC...`")
        value = convert_to_tensor(value, name="input")
        bias = convert_to_tensor(bias, dtype=value.dtype, name="bias")
        return bias_add_(value, bias, data_format=data_format or "NHWC", name=scope)


def xw_plus_b(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """matmul(x, weights) + biases."""
    from kvarn.ops.linalg import matmul

    with name_scope(name, "xw_plus_b", [x, weights, biases]) as scope:
        x = convert_to_tensor(x, name="x")
        weights = convert_to_tensor(weights, name="weights")
        biases = convert_to_tensor(biases, name="biases")
        product = matmul(x, weights)
        return bias_add(product, biases, name=scope)


def relu_layer(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """relu(matmul(x, weights) + biases)."""
    from kvarn.ops.linalg import matmul

    with name_scope(name, "relu_layer", [x, weights, biases]) as scope:
        x = convert_to_tensor(x, name="x")
        weights = convert_to_tensor(weights, name="weights")
        biases = convert_to_tensor(biases, name="biases")
        return relu(bias_add(matmul(x, weights), biases), name=scope)


@op("L2Loss", inputs="t: T", outputs="output: T", attrs="T: {half, bfloat16, float, double}")
class l2_loss:
    """Half the sum of squares."""

    shape = scalar

    def kernel(ctx, t):
        flat = np.ravel(t)
        return (
            t.dtype.type(np.dot(flat, flat) / t.dtype.type(2)) if t.dtype.kind == "f" else _half_squares(flat)
        )

    def grad(op, d):
        return op.inputs[0] * d


def _half_squares(flat):
    return (np.square(flat.astype(np.float32)).sum() / 2).astype(flat.dtype)


# -- cross entropies -------------------------------------------------------------------------------


def _cross_entropy_parts(features):
    """For logits [n, classes]: their shifted values, and the logarithm of the sum of exponentials [n, 1]."""
    shifted = features - np.max(features, axis=1, keepdims=True, initial=-np.inf)
    sums = np.sum(np.exp(shifted), axis=1, keepdims=True, dtype=features.dtype)
    return shifted, np.log(sums)


@op(
    "SoftmaxCrossEntropyWithLogits",
    inputs="features: T, labels: T",
    outputs="loss: T, backprop: T",
    attrs="T: {half, bfloat16, float, double}",
)
class softmax_cross_entropy_with_logits_:
    """The cross entropy of each row of logits with its probabilities `labels`, and its gradient."""

    def shape(c, features, labels):
        whole = broadcast_shapes(features, labels)
        rows, classes = with_rank(whole, 2)
        return [(rows,), (rows, classes)]

    def kernel(ctx, features, labels):
        if len(features.shape) != 2 or len(labels.shape) != 2:
            raise errors.InvalidArgumentError.of(
                "logits and labels must be either 2-dimensional, or broadcasted to be 2-dimensional"
            )
        try:
            features, labels = np.broadcast_arrays(features, labels)
        except ValueError:
            raise errors.InvalidArgumentError.of(
                f"logits and labels must be broadcastable: logits_size={dims_text(features)} "
                f"labels_size={dims_text(labels)}"
            ) from None
        shifted, log_sum = _cross_entropy_parts(features)
        # Where the label is 0 the logit may be infinite.
        terms = np.where(labels == 0, labels.dtype.type(0), labels * (log_sum - shifted))
        loss = np.sum(terms, axis=1, dtype=features.dtype)
        return loss, np.exp(shifted - log_sum) - labels

    def grad(op, d_loss, d_backprop):
        from kvarn.ops.linalg import matmul

        d = _times_rows(d_loss, op.outputs[1])
        logits = op.inputs[0]
        if d_backprop is not None and not _is_zero(d_backprop):
            probabilities = softmax(logits)
            inner = matmul(array_ops.expand_dims(d_backprop, 1), array_ops.expand_dims(probabilities, 2))
            d += (d_backprop - array_ops.squeeze(inner, axis=1)) * probabilities
        return d, _times_rows(d_loss, -log_softmax(logits))


def _times_rows(vector, matrix):
    return array_ops.expand_dims(vector, -1) * matrix


def _is_zero(d):
    if d.op.type in ("ZerosLike", "Zeros"):
        return True
    value = tensor_util.constant_value(d)
    return value is not None and not np.any(value)


@op(
    "SparseSoftmaxCrossEntropyWithLogits",
    inputs="features: T, labels: Tlabels",
    outputs="loss: T, backprop: T",
    attrs=["T: {half, bfloat16, float, double}", "Tlabels: {int32, int64} = DT_INT64"],
)
class sparse_softmax_cross_entropy_with_logits_:
    """The cross entropy of each row of logits with its class in `labels`, and its gradient for the logits."""

    def shape(c, features, labels):
        rows, classes = with_rank(features, 2)
        (count,) = with_rank(labels, 1)
        rows = merge_dim(rows, count)
        return [(rows,), (rows, classes)]

    def kernel(ctx, features, labels):
        if len(features.shape) != 2 or len(labels.shape) != 1 or features.shape[0] != labels.shape[0]:
            raise errors.InvalidArgumentError.of(
                "logits and labels must have the same first dimension, got logits shape "
                f"{dims_text(features)} and labels shape {dims_text(labels)}"
            )
        classes = features.shape[1]
        if classes == 0:
            raise errors.InvalidArgumentError.of(
                f"Must have at least one class, but got logits shape {dims_text(features)}"
            )
        bad = (labels < 0) | (labels >= classes)
        if bad.any():
            raise errors.InvalidArgumentError.of(
                f"Received a label value of {labels[np.argmax(bad)]} which is outside the valid range of [0, "
                f"{classes}).  Label values: {' '.join(map(str, labels.tolist()))}"
            )
        shifted, log_sum = _cross_entropy_parts(features)
        rows = np.arange(len(labels))
        loss = log_sum[:, 0] - shifted[rows, labels]
        backprop = np.exp(shifted - log_sum)
        backprop[rows, labels] -= features.dtype.type(1)
        return loss, backprop

    def grad(op, d_loss, d_backprop):
        backprop = array_ops.prevent_gradient(
            op.outputs[1],
            message="Currently there is no way to take the second derivative of "
            "sparse_softmax_cross_entropy_with_logits due to the fused implementation's interaction with "
            "tf.gradients()",
        )
        return _times_rows(d_loss, backprop), None


def _assert_equal(x: Tensor, y: Tensor) -> Any:
    """An operation that fails unless two tensors are equal."""
    from kvarn.ops.control import Assert

    with name_scope(None, "assert_equal", [x, y]):
        pass  # TensorFlow looks here whether the tensors are one and the same.
    with name_scope(None, "assert_equal", [x, y]):
        data = [
            "Condition x == y did not hold element-wise:",
            f"x ({x.name}) = ",
            x,
            f"y ({y.name}) = ",
            y,
        ]
        return Assert(reduction_ops.reduce_all(comparison.equal(x, y)), data)


def _named_only(function: str, sentinel: Any, labels: Any, logits: Any) -> None:
    if sentinel is not None:
        raise ValueError(f"Only call `{function}` with named arguments (labels=..., logits=..., ...)")
    if labels is None or logits is None:
        raise ValueError("Both labels and logits must be provided.")


def _same_shapes(labels: Tensor, logits: Tensor) -> None:
    try:
        labels.get_shape().merge_with(logits.get_shape())
    except ValueError:
        raise ValueError(
            f"logits and labels must have the same shape ({logits.get_shape()} vs {labels.get_shape()})"
        ) from None


def sigmoid_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """The cross entropy of sigmoid(logits) with independent probabilities `labels`, elementwise.

    Raises:
      ValueError: arguments without names, or different shapes.
    """
    _named_only("sigmoid_cross_entropy_with_logits", _sentinel, labels, logits)
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        labels = convert_to_tensor(labels, name="labels")
        _same_shapes(labels, logits)
        # max(x, 0) - x z + log(1 + exp(-|x|)): nothing can overflow.
        zeros = array_ops.zeros_like(logits, dtype=logits.dtype)
        positive = logits >= zeros
        relu_logits = selection.where(positive, logits, zeros)
        neg_abs_logits = selection.where(positive, -logits, logits)
        return math_ops.add(
            relu_logits - logits * labels, unary_ops.log1p(unary_ops.exp(neg_abs_logits)), name=scope
        )


def log_poisson_loss(
    targets: Any, log_input: Any, compute_full_loss: bool = False, name: str | None = None
) -> Tensor:
    """The loss of a Poisson distribution of mean exp(log_input), elementwise: exp(c) - z c.

    Args:
      targets: z, of the type and shape of ``log_input``.
      log_input: c, floats.
      compute_full_loss: whether the logarithm of z!, by Stirling's approximation, is added.

    Raises:
      ValueError: the shapes differ.
    """
    with name_scope(name, "log_poisson_loss", [log_input, targets]):
        log_input = convert_to_tensor(log_input, name="log_input")
        targets = convert_to_tensor(targets, name="targets")
        try:
            targets.get_shape().merge_with(log_input.get_shape())
        except ValueError:
            raise ValueError(
                "log_input and targets must have the same shape "
                f"({log_input.get_shape()} vs {targets.get_shape()})"
            ) from None
        result: Any = unary_ops.exp(log_input) - log_input * targets
        if compute_full_loss:
            half = constant(0.5, dtype=targets.dtype)
            two_pi = constant(2 * _math.pi, dtype=targets.dtype)
            stirling = (targets * unary_ops.log(targets)) - targets + half * unary_ops.log(two_pi * targets)
            zeros = array_ops.zeros_like(targets, dtype=targets.dtype)
            ones = array_ops.ones_like(targets, dtype=targets.dtype)
            # 0! and 1! are 1.
            small = comparison.logical_and(targets >= zeros, targets <= ones)
            result += selection.where(small, zeros, stirling)
        loss: Tensor = result
        return loss


def weighted_cross_entropy_with_logits(
    labels: Any = None,
    logits: Any = None,
    pos_weight: Any = None,
    name: str | None = None,
    targets: Any = None,
) -> Tensor:
    """`sigmoid_cross_entropy_with_logits` with positive examples counting `pos_weight` times."""
    if targets is not None:
        if labels is not None:
            raise ValueError("Cannot specify both 'labels' and 'targets'")
        labels = targets
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        labels = convert_to_tensor(labels, name="labels")
        _same_shapes(labels, logits)
        log_weight = 1 + (pos_weight - 1) * labels
        return math_ops.add(
            (1 - labels) * logits,
            log_weight * (unary_ops.log1p(unary_ops.exp(-unary_ops.abs(logits))) + relu(-logits)),
            name=scope,
        )


def _flatten_outer_dims(logits: Tensor) -> Tensor:
    """`logits` as a matrix: all dimensions but the last made one."""
    rank = array_ops.rank(logits)
    last = slicing.slice(array_ops.shape(logits), [math_ops.subtract(rank, 1)], [1])
    out: Tensor = array_ops.reshape(logits, joining.concat([[-1], last], 0))
    shape = logits.static_shape
    if shape is not None and None not in shape[:-1]:
        out.set_shape([_math.prod(shape[:-1]), shape[-1]])
    return out


def softmax_cross_entropy_with_logits_v2(
    labels: Any, logits: Any, axis: int | None = None, name: str | None = None, dim: int | None = None
) -> Tensor:
    """The cross entropy of softmax(logits) with probabilities `labels` along `axis`; gradients reach both."""
    if axis is None:
        axis = -1 if dim is None else dim
    with name_scope(name, "softmax_cross_entropy_with_logits", [logits, labels]) as scope:
        logits = convert_to_tensor(logits, name="logits")
        labels = convert_to_tensor(labels, name="labels")
        short = logits.dtype.base_dtype in (dtypes.float16, dtypes.bfloat16)
        precise = casting.cast(logits, dtypes.float32) if short else logits
        labels = casting.cast(labels, precise.dtype)
        rank = array_ops.rank(precise)
        shape = logits.static_shape
        if axis != -1:

            def moved(x: Any) -> Any:
                order = [ranges.range(axis), ranges.range(axis + 1, rank), [axis]]
                return array_ops.transpose(x, joining.concat(order, 0))

            precise, labels = moved(precise), moved(labels)
        input_shape = array_ops.shape(precise)
        precise, labels = _flatten_outer_dims(precise), _flatten_outer_dims(labels)
        cost, _ = softmax_cross_entropy_with_logits_(precise, labels, name=scope)
        output_shape = slicing.slice(input_shape, [0], [math_ops.subtract(rank, 1)])
        cost = array_ops.reshape(cost, output_shape)
        if shape is not None:
            kept = list(shape)
            del kept[axis]
            cost.set_shape(kept)
        return casting.cast(cost, logits.dtype) if short else cost


def softmax_cross_entropy_with_logits(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    dim: int = -1,
    name: str | None = None,
    axis: int | None = None,
) -> Tensor:
    """As `softmax_cross_entropy_with_logits_v2`, but gradients reach only the logits."""
    _named_only("softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    with name_scope(name, "softmax_cross_entropy_with_logits_sg", [logits, labels]) as scope:
        labels = array_ops.stop_gradient(labels, name="labels_stop_gradient")
    return softmax_cross_entropy_with_logits_v2(
        labels=labels, logits=logits, axis=dim if axis is None else axis, name=scope
    )


def sparse_softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """The cross entropy of softmax(logits) with classes `labels`, over the last dimension of the logits.

    Raises:
      ValueError: arguments without names, scalar logits, or shapes that do not fit.
    """
    _named_only("sparse_softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    with name_scope(name, "SparseSoftmaxCrossEntropyWithLogits", [labels, logits]):
        labels = convert_to_tensor(labels)
        logits = convert_to_tensor(logits)
        short = logits.dtype.base_dtype is dtypes.float16
        precise = casting.cast(logits, dtypes.float32) if short else logits
        labels_static, shape = labels.static_shape, logits.static_shape
        labels_shape = array_ops.shape(labels)
        known = (
            labels_static is not None
            and None not in labels_static
            and shape is not None
            and None not in shape[:-1]
        )
        if shape == ():
            raise ValueError(f"Logits cannot be scalars - received shape {logits.get_shape()}.")
        if shape is not None and labels_static is not None and len(labels_static) != len(shape) - 1:
            raise ValueError(
                f"Rank mismatch: Rank of labels (received {len(labels_static)}) should equal rank of "
                f"logits minus 1 "
                f"(received {len(shape)})."
            )
        if known and labels_static != shape[:-1]:
            raise ValueError(
                f"Shape mismatch: The shape of labels (received {labels.get_shape()}) should equal the "
                f"shape of logits "
                f"except for the last dimension (received {logits.get_shape()})."
            )
        if shape is not None and len(shape) == 2:
            cost, _ = sparse_softmax_cross_entropy_with_logits_(precise, labels, name=name)
            found: Tensor = casting.cast(cost, dtypes.float16) if short else cost
            return found
        checks = []
        if not known:
            checks.append(_assert_equal(array_ops.shape(labels), array_ops.shape(logits)[:-1]))
        with control_dependencies(checks):
            classes = array_ops.shape(logits)[array_ops.rank(logits) - 1]
            precise = array_ops.reshape(precise, [-1, classes])
            labels = array_ops.reshape(labels, [-1])
            cost, _ = sparse_softmax_cross_entropy_with_logits_(precise, labels, name=name)
            cost = array_ops.reshape(cost, labels_shape)
            cost.set_shape(labels_static)
            return casting.cast(cost, dtypes.float16) if short else cost


# -- normalisation and dropout ---------------------------------------------------------------------


def l2_normalize(
    x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None, dim: Any = None
) -> Tensor:
    """x over its Euclidean norm along `axis`."""
    if dim is not None:
        if axis is not None:
            raise ValueError("Cannot specify both 'axis' and 'dim'")
        axis = dim
    return l2_normalize_v2(x, axis, epsilon, name)


def l2_normalize_v2(x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None) -> Tensor:
    """`l2_normalize` as TensorFlow 2 has it."""
    with name_scope(name, "l2_normalize", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        square_sum = reduction_ops.reduce_sum(unary_ops.square(x), axis, keepdims=True)
        inverse = unary_ops.rsqrt(math_ops.maximum(square_sum, epsilon))
        return math_ops.multiply(x, inverse, name=scope)


def batch_normalization(
    x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: Any, name: str | None = None
) -> Tensor:
    """(x - mean) / √(variance + epsilon), times `scale`, plus `offset`; either may be None."""
    with name_scope(name, "batchnorm", [x, mean, variance, scale, offset]):
        inv = unary_ops.rsqrt(variance + variance_epsilon)
        if scale is not None:
            inv *= scale
        # One multiplication and one addition of the whole tensor.
        scaled = x * casting.cast(inv, x.dtype)
        shift = -mean * inv if offset is None else offset - mean * inv
        found: Tensor = scaled + casting.cast(shift, x.dtype)
        return found


def _noise_shape(x: Tensor, noise_shape: Any) -> Any:
    if noise_shape is None:
        return array_ops.shape(x)
    try:
        given = tensor_shape.to_tuple(noise_shape)
    except (TypeError, ValueError):
        return noise_shape
    shape = x.static_shape
    if given is not None and shape is not None and len(given) == len(shape):
        return tensor_shape.TensorShape([s if g is None else g for g, s in zip(given, shape, strict=True)])
    return noise_shape


def dropout(
    x: Any,
    keep_prob: Any = None,
    noise_shape: Any = None,
    seed: int | None = None,
    name: str | None = None,
    rate: Any = None,
) -> Tensor:
    """x with elements set to zero with probability `rate`, the others divided by 1 - rate.

    Raises:
      ValueError: no or two probabilities, a rate outside [0, 1), or x is not of floats.
    """
    if keep_prob is not None:
        if rate is not None:
            raise ValueError("Cannot specify both 'rate' and 'keep_prob'")
        try:
            rate = 1.0 - keep_prob
        except TypeError:
            raise ValueError(
                f"keep_prob must be a floating point number or Tensor (got {keep_prob!r})"
            ) from None
    if rate is None:
        raise ValueError("You must provide a rate to dropout.")
    return dropout_v2(x, rate, noise_shape=noise_shape, seed=seed, name=name)


def dropout_v2(
    x: Any, rate: Any, noise_shape: Any = None, seed: int | None = None, name: str | None = None
) -> Tensor:
    """`dropout` as TensorFlow 2 has it."""
    from kvarn.ops.random import random_uniform

    with name_scope(name, "dropout", [x]):
        x = convert_to_tensor(x, name="x")
        if not x.dtype.is_floating:
            raise ValueError(
                f"x has to be a floating point tensor since it's going to be scaled. Got a {x.dtype} "
                f"tensor instead."
            )
        if isinstance(rate, (int, float, np.integer, np.floating)):
            if not 0 <= rate < 1:
                raise ValueError(f"rate must be a scalar tensor or a float in the range [0, 1), got {rate:g}")
            if rate > 0.5:
                tf_logging.log_first_n(
                    tf_logging.WARN,
                    "Large dropout rate: %g (>0.5). In TensorFlow 2.x, dropout() uses dropout rate instead of "
                    "keep_prob. Please ensure that this is intended.",
                    5,
                    rate,
                )
            if rate == 0:
                return x  # type: ignore[no-any-return]
        rate = convert_to_tensor(rate, dtype=x.dtype, name="rate")
        rate.get_shape().assert_has_rank(0)
        if tensor_util.constant_value(rate) == 0:
            return x  # type: ignore[no-any-return]
        noise = random_uniform(_noise_shape(x, noise_shape), seed=seed, dtype=x.dtype)
        keep_prob = 1 - rate
        scale = 1 / keep_prob
        keep_mask = noise >= rate
        out: Tensor = x * scale * casting.cast(keep_mask, x.dtype)
        out.set_shape(x.static_shape)
        return out


# -- top-k -----------------------------------------------------------------------------------------


def _top_shape(k):
    def shape(c, input, *rest):
        if input is None:
            return [None, None]
        if len(input) < 1:
            raise ValueError(f"Shape must be at least rank 1 but is rank {len(input)}")
        count = k(c)
        if count is not None and input[-1] is not None and input[-1] < count:
            raise ValueError(f"input must have last dimension >= k = {count} but is {input[-1]}")
        return [(*input[:-1], count)] * 2

    return shape


def _top(x, k):
    if k < 0:
        raise errors.InvalidArgumentError.of(f"Need k >= 0, got {k}")
    if len(x.shape) < 1:
        raise errors.InvalidArgumentError.of(f"input must be >= 1-D, got shape {dims_text(x)}")
    size = x.shape[-1]
    if size < k:
        raise errors.InvalidArgumentError.of("input must have at least k columns")
    # From the back, so that the first of equal elements comes first.
    order = size - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1][..., :k]
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def _top_grad(op, d, d_indices):
    from kvarn.ops.gather import gather, scatter_nd

    shape = array_ops.shape(op.inputs[0])
    indices_shape = array_ops.shape(op.outputs[1])
    last = gather(casting.cast(indices_shape, dtypes.int64), array_ops.size(indices_shape) - 1)
    rows = array_ops.reshape(op.outputs[1], joining.stack([-1, last]))
    width = gather(casting.cast(shape, dtypes.int64), array_ops.size(shape) - 1)
    count = array_ops.shape(rows)[0]
    starts = ranges.range(0, casting.cast(count, dtypes.int64) * width, width)
    flat = array_ops.reshape(rows + casting.cast(array_ops.expand_dims(starts, -1), dtypes.int32), [-1])
    placed = scatter_nd(
        array_ops.expand_dims(flat, -1), array_ops.reshape(d, [-1]), [reduction_ops.reduce_prod(shape)]
    )
    dx = array_ops.reshape(placed, shape)
    return [dx, *[array_ops.zeros([], dtype=dtypes.int32)] * (len(op.inputs) - 1)]


@op(
    "TopK",
    inputs="input: T",
    outputs="values: T, indices: int32",
    attrs=["k: int >= 0", "sorted: bool = true", "T: realnumbertype"],
    deprecated=(7, "Use TopKV2 instead"),
)
class top_k_v1:
    """The `k` greatest elements of each row, greatest first, and where; the older form of `top_kv2`."""

    shape = _top_shape(lambda c: c.attrs["k"])

    def kernel(ctx, input):
        return _top(input, ctx.attrs["k"])

    grad = _top_grad


def _constant_k(c):
    value = c.constant_value(1)
    return None if value is None else int(value)


@op(
    "TopKV2",
    inputs="input: T, k: int32",
    outputs="values: T, indices: int32",
    attrs=["sorted: bool = true", "T: realnumbertype"],
)
class top_kv2:
    """The `k` greatest elements of each row, greatest first, and where they are."""

    shape = _top_shape(_constant_k)

    def kernel(ctx, input, k):
        return _top(input, int(k))

    grad = _top_grad


def top_k(input: Any, k: Any = 1, sorted: bool = True, name: str | None = None) -> Any:
    """(values, indices) of the `k` greatest elements of each row, greatest first."""
    return top_kv2(input, k, sorted=sorted, name=name)


def _in_top(predictions, targets, k):
    rows, classes = predictions.shape
    valid = (targets >= 0) & (targets < classes)
    chosen = predictions[np.arange(rows), np.where(valid, targets, 0)]
    valid &= np.isfinite(predictions).all(axis=1)
    return valid & ((predictions > chosen[:, None]).sum(axis=1) < k)


def _in_top_shape(c, predictions, targets, *k):
    (count,) = with_rank(targets, 1)
    return (merge_dim(with_rank(predictions, 2)[0], count),)


@op(
    "InTopK",
    inputs="predictions: float, targets: T",
    outputs="precision: bool",
    attrs=["k: int", "T: {int32, int64} = DT_INT32"],
)
class in_top_k_v1:
    """Whether the target class of each row is among its `k` greatest predictions."""

    shape = _in_top_shape

    def kernel(ctx, predictions, targets):
        return _in_top(predictions, targets, ctx.attrs["k"])

    grad = NOT_DIFFERENTIABLE


@op(
    "InTopKV2",
    inputs="predictions: float, targets: T, k: T",
    outputs="precision: bool",
    attrs="T: {int32, int64} = DT_INT32",
)
class in_top_kv2:
    """Whether the target class of each row is among its `k` greatest predictions."""

    shape = _in_top_shape

    def kernel(ctx, predictions, targets, k):
        return _in_top(predictions, targets, int(k))

    grad = NOT_DIFFERENTIABLE


def in_top_k(predictions: Any, targets: Any, k: Any, name: str | None = None) -> Tensor:
    """Whether the target class of each row is among its `k` greatest predictions."""
    with name_scope(name, "in_top_k"):
        return in_top_kv2(predictions, targets, k, name=name)
