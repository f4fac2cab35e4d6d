"""Proximal gradient descent.

Source: tensorflow/python/training/proximal_gradient_descent.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import math, training
from kvarn.train.optimizer import Optimizer


class ProximalGradientDescentOptimizer(Optimizer):
    """Gradient descent followed by the proximal step of L1 and L2 penalties (Duchi and Singer 2009).

    Args:
      learning_rate, l1_regularization_strength, l2_regularization_strength: numbers or Tensors.
    """

    def __init__(
        self,
        learning_rate: Any,
        l1_regularization_strength: Any = 0.0,
        l2_regularization_strength: Any = 0.0,
        use_locking: bool = False,
        name: str = "ProximalGradientDescent",
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._l1_regularization_strength = l1_regularization_strength
        self._l2_regularization_strength = l2_regularization_strength
        self._tensors: list[Any] = []

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        self._refuse_embedding_variables(var_list)

    def _prepare(self) -> None:
        self._tensors = [
            convert_to_tensor(value, name=name)
            for name, value in (
                ("learning_rate", self._learning_rate),
                ("l1_regularization_strength", self._l1_regularization_strength),
                ("l2_regularization_strength", self._l2_regularization_strength),
            )
        ]

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        return training.apply_proximal_gradient_descent(
            var, *self._tensors, grad, use_locking=self._use_locking
        ).op

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return training.resource_apply_proximal_gradient_descent(
            handle.handle, *self._tensors, grad, use_locking=self._use_locking
        )

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        return training.sparse_apply_proximal_gradient_descent(
            var, *self._tensors, grad.values, grad.indices, use_locking=self._use_locking
        ).op

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        numbers = [math.cast(x, grad.dtype) for x in self._tensors]
        return training.resource_sparse_apply_proximal_gradient_descent(
            handle.handle, *numbers, grad, indices, use_locking=self._use_locking
        )
