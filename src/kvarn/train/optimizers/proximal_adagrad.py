"""Proximal Adagrad.

Source: tensorflow/python/training/proximal_adagrad.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import colocate_with
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import math, training
from kvarn.train.optimizer import Optimizer


class ProximalAdagradOptimizer(Optimizer):
    """Adagrad followed by the proximal step of L1 and L2 penalties (Duchi and Singer 2009).

    Args:
      learning_rate, l1_regularization_strength, l2_regularization_strength: numbers or Tensors.
      initial_accumulator_value: what the accumulators start from.

    Raises:
      ValueError: ``initial_accumulator_value`` is not positive.
    """

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: Any = 0.0,
        l2_regularization_strength: Any = 0.0,
        use_locking: bool = False,
        name: str = "ProximalAdagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ValueError(f"initial_accumulator_value must be positive: {initial_accumulator_value}")
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._initial_accumulator_value = initial_accumulator_value
        self._l1_regularization_strength = l1_regularization_strength
        self._l2_regularization_strength = l2_regularization_strength
        self._tensors: list[Any] = []

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        self._refuse_embedding_variables(var_list)
        for v in var_list:
            with colocate_with(v):
                val = constant(self._initial_accumulator_value, shape=v.get_shape(), dtype=v.dtype.base_dtype)
            self._get_or_make_slot(v, val, "accumulator", self._name)

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
        slot = self.get_slot(var, "accumulator")
        return training.apply_proximal_adagrad(var, slot, *self._tensors, grad, use_locking=self._use_locking)

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        slot = self.get_slot(handle, "accumulator")
        return training.resource_apply_proximal_adagrad(
            handle.handle, slot.handle, *self._tensors, grad, use_locking=self._use_locking
        )

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        slot = self.get_slot(var, "accumulator")
        return training.sparse_apply_proximal_adagrad(
            var, slot, *self._tensors, grad.values, grad.indices, use_locking=self._use_locking
        )

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        slot = self.get_slot(handle, "accumulator")
        numbers = [math.cast(x, grad.dtype) for x in self._tensors]
        return training.resource_sparse_apply_proximal_adagrad(
            handle.handle, slot.handle, *numbers, grad, indices, use_locking=self._use_locking
        )
