"""Regularizers: losses of variables, and of outputs.

Source: tensorflow/python/keras/regularizers.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn.graph.convert import constant
from kvarn.keras import identifiers
from kvarn.keras.backend import floatx
from kvarn.ops import reduction, unary


class Regularizer:
    """Base of regularizers, and one that does nothing."""

    def __call__(self, x: Any) -> Any:
        """The loss for the tensor ``x``, a scalar."""
        return 0.0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """The regularizer whose `get_config` gave ``config``."""
        return cls(**config)


class L1L2(Regularizer):
    """``l1`` times the sum of the absolute values plus ``l2`` times the sum of the squares."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = np.asarray(l1, floatx())
        self.l2 = np.asarray(l2, floatx())

    def __call__(self, x: Any) -> Any:
        if not self.l1 and not self.l2:
            return constant(0.0)
        regularization: Any = 0.0
        if self.l1:
            regularization += self.l1 * reduction.reduce_sum(unary.abs(x))
        if self.l2:
            regularization += self.l2 * reduction.reduce_sum(unary.square(x))
        return regularization

    def get_config(self) -> dict[str, float]:
        """The two factors."""
        return {"l1": float(self.l1), "l2": float(self.l2)}


def l1(l: float = 0.01) -> L1L2:  # noqa: E741
    """``l`` times the sum of the absolute values."""
    return L1L2(l1=l)


def l2(l: float = 0.01) -> L1L2:  # noqa: E741
    """``l`` times the sum of the squares."""
    return L1L2(l2=l)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """Both."""
    return L1L2(l1=l1, l2=l2)


_KNOWN: dict[str, Any] = {"Regularizer": Regularizer, "L1L2": L1L2, "l1": l1, "l2": l2, "l1_l2": l1_l2}


def get(identifier: Any) -> Any:
    """The regularizer that a name or a configuration stands for; None and what can be called stay as they are.

    Raises:
      ValueError: it stands for none.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str) and identifier in ("l1", "l2", "l1_l2"):
        return _KNOWN[identifier]()
    if isinstance(identifier, (dict, str)):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    raise ValueError("Could not interpret regularizer identifier:", identifier)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The regularizer of a name or a configuration; ValueError if there is none."""
    return identifiers.deserialize(config, _KNOWN, "regularizer", custom_objects)


def serialize(regularizer: Any) -> Any:
    """The configuration of a regularizer."""
    return identifiers.serialize(regularizer)
