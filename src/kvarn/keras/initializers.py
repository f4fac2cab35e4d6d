"""Initializers by name, and those whose defaults are others in Keras.

Source: tensorflow/python/keras/initializers.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.keras import identifiers
from kvarn.variables import initializers
from kvarn.variables.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    Identity,
    Initializer,
    Ones,
    Orthogonal,
    VarianceScaling,
    Zeros,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
)

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "Identity",
    "Initializer",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "deserialize",
    "get",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "serialize",
]


class TruncatedNormal(initializers.TruncatedNormal):
    """Normally distributed values less than two standard deviations from ``mean``."""

    def __init__(
        self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None, dtype: Any = dtypes.float32
    ) -> None:
        super().__init__(mean=mean, stddev=stddev, seed=seed, dtype=dtype)


class RandomUniform(initializers.RandomUniform):
    """Values spread evenly from ``minval`` to ``maxval``."""

    def __init__(
        self,
        minval: float = -0.05,
        maxval: float = 0.05,
        seed: int | None = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        super().__init__(minval=minval, maxval=maxval, seed=seed, dtype=dtype)


class RandomNormal(initializers.RandomNormal):
    """Normally distributed values."""

    def __init__(
        self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None, dtype: Any = dtypes.float32
    ) -> None:
        super().__init__(mean=mean, stddev=stddev, seed=seed, dtype=dtype)


_KNOWN: dict[str, Any] = {
    **{
        kind.__name__: kind
        for kind in (
            Constant, GlorotNormal, GlorotUniform, Identity, Ones, Orthogonal, RandomNormal, RandomUniform,
            TruncatedNormal, VarianceScaling, Zeros, he_normal, he_uniform, lecun_normal, lecun_uniform,
        )
    },
    "zero": Zeros, "zeros": Zeros, "one": Ones, "ones": Ones, "constant": Constant,
    "uniform": RandomUniform, "random_uniform": RandomUniform,
    "normal": RandomNormal, "random_normal": RandomNormal, "truncated_normal": TruncatedNormal,
    "identity": Identity, "orthogonal": Orthogonal,
    "glorot_normal": GlorotNormal, "glorot_uniform": GlorotUniform,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """The initializer that a name or a configuration stands for; None and what can be called stay as they are.

    Raises:
      ValueError: it stands for none.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str) and identifier in (
        "he_normal",
        "he_uniform",
        "lecun_normal",
        "lecun_uniform",
    ):
        return _KNOWN[identifier]()
    if isinstance(identifier, (dict, str)):
        return deserialize(identifier)
    if callable(identifier):
        return identifier
    raise ValueError(f"Could not interpret initializer identifier: {identifier}")


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The initializer of a name or a configuration; ValueError if there is none."""
    return identifiers.deserialize(config, _KNOWN, "initializer", custom_objects)


def serialize(initializer: Any) -> Any:
    """The configuration of an initializer."""
    return identifiers.serialize(initializer)
