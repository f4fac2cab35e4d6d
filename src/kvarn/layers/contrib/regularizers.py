"""Functions of variables that are losses.

Source: tensorflow/contrib/layers/python/layers/regularizers.py (1.15).
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import GraphKeys, add_to_collection, get_collection, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import math, nn, reduction, unary

_Regularizer = Callable[[Any], Any]


def _disabled(scale: Any, name: str = "scale") -> bool:
    """Whether a scale is zero; ValueError if it is an integer or negative."""
    if isinstance(scale, numbers.Integral):
        raise ValueError(f"{name} cannot be an integer: {scale}")
    if not isinstance(scale, numbers.Real):
        return False
    if scale < 0.0:
        raise ValueError(f"Setting a scale less than 0 on a regularizer: {scale:g}")
    return scale == 0.0


def _scaled(scale: Any, scope: Any, name: str, norm: Callable[[Any], Any]) -> _Regularizer:
    if _disabled(scale):
        return lambda _: None

    def regularizer(weights: Any) -> Any:
        with name_scope(scope, name, [weights]) as full_name:
            factor = convert_to_tensor(scale, dtype=weights.dtype.base_dtype, name="scale")
            return math.multiply(factor, norm(weights), name=full_name)

    return regularizer


def l1_regularizer(scale: Any, scope: str | None = None) -> _Regularizer:
    """``scale`` times the sum of absolute values; None for scale 0.

    Raises:
      ValueError: the scale is an integer or negative.
    """
    return _scaled(scale, scope, "l1_regularizer", lambda w: reduction.reduce_sum(unary.abs(w)))


def l2_regularizer(scale: Any, scope: str | None = None) -> _Regularizer:
    """``scale`` times half the sum of squares; None for scale 0.

    Raises:
      ValueError: the scale is an integer or negative.
    """
    return _scaled(scale, scope, "l2_regularizer", nn.l2_loss)


def l1_l2_regularizer(scale_l1: Any = 1.0, scale_l2: Any = 1.0, scope: str | None = None) -> Any:
    """The sum of both; ValueError for integers and negative scales."""
    _disabled(scale_l1, "scale_l1")
    _disabled(scale_l2, "scale_l2")
    scope = scope or "l1_l2_regularizer"
    if scale_l1 == 0.0:
        return l2_regularizer(scale_l2, scope)
    if scale_l2 == 0.0:
        return l1_regularizer(scale_l1, scope)
    return sum_regularizer([l1_regularizer(scale_l1), l2_regularizer(scale_l2)], scope=scope)


def sum_regularizer(regularizer_list: Any, scope: str | None = None) -> _Regularizer | None:
    """The sum of several; None for none."""
    regularizers = [r for r in regularizer_list if r is not None]
    if not regularizers:
        return None

    def regularizer(weights: Any) -> Any:
        with name_scope(scope, "sum_regularizer", [weights]) as name:
            losses = [loss for loss in [r(weights) for r in regularizers] if loss is not None]
            return math.add_n(losses, name=name) if losses else None

    return regularizer


def apply_regularization(regularizer: _Regularizer, weights_list: Any = None) -> Tensor:
    """The sum of a regularizer over several variables, which becomes a regularization loss.

    Args:
      weights_list: the collection ``WEIGHTS`` by default.

    Raises:
      ValueError: there are no weights, or a loss is no scalar.
    """
    weights = weights_list or get_collection(GraphKeys.WEIGHTS)
    if not weights:
        raise ValueError("No weights to regularize.")
    with name_scope(None, "get_regularization_penalty", weights) as name:
        penalties = [regularizer(w) for w in weights]
        penalties = [constant(0.0) if p is None else p for p in penalties]
        for penalty in penalties:
            if penalty.get_shape().ndims != 0:
                raise ValueError(
                    "regularizer must return a scalar Tensor instead of a Tensor with rank "
                    f"{penalty.get_shape().ndims}."
                )
        total: Tensor = math.add_n(penalties, name=name)
        add_to_collection(GraphKeys.REGULARIZATION_LOSSES, total)
        return total
