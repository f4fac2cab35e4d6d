"""Constraints: what an optimizer does to a variable after each step.

Source: tensorflow/python/keras/constraints.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.convert import constant
from kvarn.keras import identifiers
from kvarn.keras.backend import epsilon, floatx
from kvarn.ops import casting, clip, comparison, reduction, unary


class Constraint:
    """Base of constraints, and one that changes nothing."""

    def __call__(self, w: Any) -> Any:
        """What ``w`` becomes, of its shape."""
        return w

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}


def _norms(w: Any, axis: Any) -> Any:
    squares = reduction.reduce_sum(unary.square(w), axis=axis, keepdims=True)
    kind = squares.dtype.base_dtype
    return unary.sqrt(clip.clip_by_value(squares, constant(0.0, kind), constant(float("inf"), kind)))


def _clipped(norms: Any, least: float, most: float) -> Any:
    kind = norms.dtype.base_dtype
    return clip.clip_by_value(norms, constant(least, kind), constant(max(least, most), kind))


class MaxNorm(Constraint):
    """Norms along ``axis`` of at most ``max_value``."""

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        desired = _clipped(norms, 0, self.max_value)
        return w * (desired / (epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """No negative values: they become zero."""

    def __call__(self, w: Any) -> Any:
        return w * casting.cast(comparison.greater_equal(w, 0.0), floatx())


class UnitNorm(Constraint):
    """Norms of 1 along ``axis``."""

    def __init__(self, axis: Any = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        return w / (epsilon() + _norms(w, self.axis))

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """Norms along ``axis`` from ``min_value`` to ``max_value``, or ``rate`` of the way there."""

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0
    ) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        desired = self.rate * _clipped(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (desired / (epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        return {
            "min_value": self.min_value,
            "max_value": self.max_value,
            "rate": self.rate,
            "axis": self.axis,
        }


_KNOWN: dict[str, Any] = {
    **{kind.__name__: kind for kind in (Constraint, MaxNorm, NonNeg, UnitNorm, MinMaxNorm)},
    "max_norm": MaxNorm,
    "non_neg": NonNeg,
    "nonneg": NonNeg,
    "unit_norm": UnitNorm,
    "unitnorm": UnitNorm,
    "min_max_norm": MinMaxNorm,
}


def get(identifier: Any) -> Any:
    """The constraint that a name or a configuration stands for; None and what can be called stay as they are.

    Raises:
      ValueError: it stands for none.
    """
    if identifier is None or callable(identifier):
        return identifier
    if isinstance(identifier, (dict, str)):
        return deserialize(identifier)
    raise ValueError(f"Could not interpret constraint identifier: {identifier}")


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The constraint of a name or a configuration; ValueError if there is none."""
    return identifiers.deserialize(config, _KNOWN, "constraint", custom_objects)


def serialize(constraint: Any) -> Any:
    """The configuration of a constraint."""
    return identifiers.serialize(constraint)
