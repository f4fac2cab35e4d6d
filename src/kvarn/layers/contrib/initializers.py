"""Initializers that keep the variance from layer to layer.

Source: tensorflow/contrib/layers/python/layers/initializers.py (1.15).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kvarn import dtypes
from kvarn.graph.tensor import Tensor
from kvarn.ops import random


def xavier_initializer(
    uniform: bool = True, seed: int | None = None, dtype: Any = dtypes.float32
) -> Callable[..., Tensor]:
    """`variance_scaling_initializer` for the mean of inputs and outputs, with factor 1."""
    return variance_scaling_initializer(factor=1.0, mode="FAN_AVG", uniform=uniform, seed=seed, dtype=dtype)


xavier_initializer_conv2d = xavier_initializer


def variance_scaling_initializer(
    factor: float = 2.0,
    mode: str = "FAN_IN",
    uniform: bool = False,
    seed: int | None = None,
    dtype: Any = dtypes.float32,
) -> Callable[..., Tensor]:
    """An initializer of numbers with variance ``factor`` / n.

    Args:
      mode: n is the number of inputs (``FAN_IN``), of outputs (``FAN_OUT``) or their mean (``FAN_AVG``).
      uniform: whether they are spread evenly; else they are normal, cut at two standard deviations.
      seed: of the operation.
      dtype: a floating type.

    Raises:
      TypeError: another mode or type.
    """
    if not dtype.is_floating:
        raise TypeError("Cannot create initializer for non-floating point type.")
    if mode not in ("FAN_IN", "FAN_OUT", "FAN_AVG"):
        raise TypeError("Unknown mode %s [FAN_IN, FAN_OUT, FAN_AVG]", mode)

    def initializer(shape: Any, dtype: Any = dtype, partition_info: Any = None) -> Tensor:
        if not dtype.is_floating:
            raise TypeError("Cannot create initializer for non-floating point type.")
        sizes = [float(d) for d in shape]
        field = math.prod(sizes[:-2])
        fan_in = (sizes[-2] if len(sizes) > 1 else sizes[-1]) * field if sizes else 1.0
        fan_out = sizes[-1] * field if sizes else 1.0
        n = {"FAN_IN": fan_in, "FAN_OUT": fan_out, "FAN_AVG": (fan_in + fan_out) / 2.0}[mode]
        if uniform:
            limit = math.sqrt(3.0 * factor / n)
            return random.random_uniform(shape, -limit, limit, dtype, seed=seed)
        # The cut takes away from the variance.
        return random.truncated_normal(shape, 0.0, math.sqrt(1.3 * factor / n), dtype, seed=seed)

    return initializer
