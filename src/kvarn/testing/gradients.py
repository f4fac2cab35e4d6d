"""Holding gradients against differences.

`check_grad` compares, along one random direction for each input, what an op's gradient function says with how
much its outputs change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph.convert import constant
from kvarn.graph.gradients import gradients
from kvarn.graph.graph import Graph
from kvarn.graph.session import Session
from kvarn.graph.tensor import IndexedSlices, Tensor


def check_grad(
    build: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    seed: int = 0,
    step: float = 1e-5,
    tolerance: float = 1e-5,
) -> list[int]:
    """Compares the gradients of ``build(*tensors)`` with differences of its values.

    The outputs of floating type are weighted with random numbers and summed; the derivative of that sum along
    a random direction of each floating input must be what the gradient says.

    Args:
      build: makes one output or several from one tensor for each input.
      inputs: arrays; those of float64 are moved, the others are constants.
      step: half the distance between the two points that are compared.
      tolerance: the greatest relative error.

    Returns:
      The indices of the inputs that have a gradient.

    Raises:
      AssertionError: a gradient is wrong, or has another shape than its input.
    """
    random = np.random.default_rng(seed)
    graph = Graph()
    with graph.as_default():
        tensors = [constant(x) for x in inputs]
        made = build(*tensors)
        outputs = [t for t in _flat(made) if t.dtype.base_dtype is dtypes.float64]
        moved = [i for i, t in enumerate(tensors) if t.dtype is dtypes.float64]
        with Session(graph=graph) as session:
            shapes = [np.shape(v) for v in session.run(outputs)]
            weights = [random.standard_normal(s) for s in shapes]
            found = gradients(outputs, [tensors[i] for i in moved], grad_ys=[constant(w) for w in weights])
            dense = [_dense(g) for g in found]
            values = iter(session.run([g for g in dense if g is not None]))

            def weighted(feed: dict[Tensor, Any]) -> float:
                results = session.run(outputs, feed)
                return float(sum(np.sum(w * v) for w, v in zip(weights, results, strict=True)))

            differentiable = []
            for i, gradient in zip(moved, dense, strict=True):
                if gradient is None:
                    continue
                value = next(values)
                at = np.asarray(inputs[i], np.float64)
                assert np.shape(value) == at.shape, (
                    f"input {i}: gradient of shape {np.shape(value)}, not {at.shape}"
                )
                direction = random.standard_normal(at.shape)
                ahead = weighted({tensors[i]: at + step * direction})
                behind = weighted({tensors[i]: at - step * direction})
                numeric = (ahead - behind) / (2 * step)
                analytic = float(np.sum(value * direction))
                scale = max(1.0, abs(numeric), abs(analytic))
                assert abs(numeric - analytic) <= tolerance * scale, (
                    f"input {i}: the gradient says {analytic}, differences say {numeric}"
                )
                differentiable.append(i)
            return differentiable


def _flat(made: Any) -> list[Tensor]:
    if isinstance(made, (list, tuple)):
        return [t for part in made for t in _flat(part)]
    return [made]


def _dense(gradient: Any) -> Tensor | None:
    if isinstance(gradient, IndexedSlices):
        from kvarn.graph.convert import convert_to_tensor

        return convert_to_tensor(gradient)
    found: Tensor | None = gradient
    return found
