"""How programs of older TensorFlows registered shape functions; since 1.0 they come with the op.

Source: tensorflow/python/framework/ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class RegisterShape:
    """A decorator that leaves the function as it is, as in TensorFlow since shapes come with the op."""

    def __init__(self, op_type: str) -> None:
        self._op_type = op_type

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        return f


def _set_call_cpp_shape_fn(call_cpp_shape_fn: Any) -> None:
    """Nothing: no shape is worked out by C++ here."""
