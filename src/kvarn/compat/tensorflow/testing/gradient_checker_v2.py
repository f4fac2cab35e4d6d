"""Gradients of Python functions held against differences, as TensorFlow 2's `tf.test.compute_gradient`.

Source: tensorflow/python/ops/gradient_checker_v2.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvarn.compat.tensorflow.testing import gradient_checker
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.session import get_default_session
from kvarn.graph.tensor import IndexedSlicesValue, Tensor
from kvarn.ops.array import placeholder_with_default


def compute_gradient(
    f: Callable[..., Any], x: list[Any], delta: float = 1e-3
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The Jacobians of ``f`` by each of its arguments, in the default session.

    Args:
      f: gives one tensor.
      x: its arguments.
      delta: half the distance between the points that are compared.

    Returns:
      (by gradients, by differences): for each argument an array of shape [size of the argument, size of the
      result].

    Raises:
      ValueError: ``x`` is no list.
    """
    if not isinstance(x, list):
        raise ValueError(f"`x` must be a list of Tensors (arguments to `f`), not a {type(x)}")
    points = [_to_numpy(convert_to_tensor(v)) for v in x]
    inputs = [placeholder_with_default(p, np.shape(p)) for p in points]
    y = f(*inputs)
    shapes = [np.shape(p) for p in points]
    found = gradient_checker.compute_gradient(inputs, shapes, y, np.shape(_to_numpy(y)), points, delta)
    return tuple(a for a, _ in found), tuple(b for _, b in found)


def max_error(grad1: Sequence[Any], grad2: Sequence[Any]) -> Any:
    """The greatest difference between Jacobians of `compute_gradient`; 0 if they are empty."""
    return max(
        (np.fabs(a - b).max() for a, b in zip(grad1, grad2, strict=True) if a.size or b.size), default=0
    )


def _to_numpy(a: Any) -> Any:
    """The value of a tensor in the default session, of IndexedSlices as an array; anything else as it is."""
    session = get_default_session()
    if isinstance(a, Tensor) and session is not None:
        return session.run(a)
    if isinstance(a, IndexedSlicesValue):
        found = np.zeros(tuple(a.dense_shape))
        np.add.at(found, a.indices, a.values)
        return found
    return a
