"""Activations by name.

Source: tensorflow/python/keras/activations.py, keras/backend.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.tensor import Tensor
from kvarn.keras import identifiers
from kvarn.keras.backend import floatx
from kvarn.ops import activation, casting, clip, comparison, math, reduction, selection, unary


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) over its sum along ``axis``; ValueError for vectors."""
    rank = x.shape.ndims
    if rank == 2:
        return activation.softmax(x)
    if rank > 2:
        e = unary.exp(x - reduction.reduce_max(x, axis=axis, keepdims=True))
        s = reduction.reduce_sum(e, axis=axis, keepdims=True)
        return e / s
    raise ValueError(f"Cannot apply softmax to a tensor that is 1D. Received input: {x}")


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where it is above 0, else alpha (eˣ - 1)."""
    result: Tensor = activation.elu(x)
    return result if alpha == 1 else selection.where(x > 0, result, alpha * result)


def selu(x: Any) -> Tensor:
    """`elu` with the slopes that keep means and variances."""
    scaled: Tensor = 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)
    return scaled


def softplus(x: Any) -> Tensor:
    """log(eˣ + 1)."""
    found: Tensor = activation.softplus(x)
    return found


def softsign(x: Any) -> Tensor:
    """x / (|x| + 1)."""
    found: Tensor = activation.softsign(x)
    return found


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0) -> Tensor:
    """x, at most ``max_value``; alpha (x - threshold) where it is below the threshold."""
    negative: Any = None
    if alpha != 0.0:
        if max_value is None and threshold == 0:
            return activation.leaky_relu(x, alpha=alpha)
        negative = activation.relu(-x + threshold) if threshold != 0 else activation.relu(-x)
    clips = max_value is not None
    if threshold != 0:
        x = x * casting.cast(comparison.greater(x, threshold), floatx())
    elif max_value == 6:
        x = activation.relu6(x)
        clips = False
    else:
        x = activation.relu(x)
    if clips:
        kind = x.dtype.base_dtype
        most, zero = constant(max_value, dtype=kind), constant(0.0, dtype=kind)
        x = clip.clip_by_value(x, zero, most)
    if negative is not None:
        x -= convert_to_tensor(alpha, dtype=x.dtype.base_dtype) * negative
    return x  # type: ignore[no-any-return]


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent."""
    found: Tensor = unary.tanh(x)
    return found


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + e⁻ˣ)."""
    return unary.sigmoid(x)


def exponential(x: Any) -> Tensor:
    """eˣ."""
    found: Tensor = unary.exp(x)
    return found


def hard_sigmoid(x: Any) -> Tensor:
    """0.2 x + 0.5, at least 0 and at most 1."""
    kind = x.dtype.base_dtype
    slope, offset = constant(0.2, dtype=kind), constant(0.5, dtype=kind)
    found: Tensor = clip.clip_by_value(math.add(math.multiply(x, slope), offset), 0.0, 1.0)
    return found


def linear(x: Any) -> Any:
    """x itself."""
    return x


_KNOWN = {
    function.__name__: function
    for function in (
        softmax, elu, selu, softplus, softsign, relu, tanh, sigmoid, exponential, hard_sigmoid, linear,
    )
}  # fmt: skip


def get(identifier: Any) -> Any:
    """The function that a name stands for, `linear` for None; a function stays as it is.

    Raises:
      ValueError: a name that is not known.
      TypeError: something else.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    raise TypeError(f"Could not interpret activation function identifier: {identifier!r}")


def deserialize(name: Any, custom_objects: Any = None) -> Any:
    """The function of a name; ValueError if there is none."""
    return identifiers.deserialize(name, _KNOWN, "activation function", custom_objects)


def serialize(activation: Any) -> Any:
    """The name of a function."""
    return (
        "softmax"
        if getattr(activation, "__name__", "") == "softmax_v2"
        else identifiers.serialize(activation)
    )
