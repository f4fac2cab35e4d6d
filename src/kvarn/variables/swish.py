"""The activation x sigmoid(x).

Source: tensorflow/python/ops/nn_impl.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import control_dependencies
from kvarn.ops import unary
from kvarn.variables.custom_gradient import custom_gradient


@custom_gradient
def swish(features: Any) -> tuple[Any, Callable[..., Any]]:
    """x sigmoid(x), whose gradient computes the sigmoid anew, so that no step has to keep it."""
    features = convert_to_tensor(features, name="features")

    def grad(dy: Any) -> Any:
        with control_dependencies([dy]):
            sigmoid = unary.sigmoid(features)
        return dy * (sigmoid * (1.0 + features * (1.0 - sigmoid)))

    return features * unary.sigmoid(features), grad
