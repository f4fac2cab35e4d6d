"""Adadelta.

Source: tensorflow/python/training/adadelta.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import math, training
from kvarn.train.optimizer import Optimizer


class AdadeltaOptimizer(Optimizer):
    """Adadelta (Zeiler 2012): steps by the ratio of the root mean squares of updates and gradients.

    Args:
      learning_rate, rho, epsilon: numbers, Tensors or functions that give one.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: Any = 0.95,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adadelta",
    ) -> None:
        super().__init__(use_locking, name)
        self._lr = learning_rate
        self._rho = rho
        self._epsilon = epsilon
        self._tensors: list[Any] = []

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        self._refuse_embedding_variables(var_list)
        for v in var_list:
            self._zeros_slot(v, "accum", self._name)
            self._zeros_slot(v, "accum_update", self._name)

    def _prepare(self) -> None:
        self._tensors = [
            convert_to_tensor(self._call_if_callable(value), name=name)
            for name, value in (("lr", self._lr), ("rho", self._rho), ("epsilon", self._epsilon))
        ]

    def _numbers(self, dtype: Any) -> list[Any]:
        return [math.cast(x, dtype) for x in self._tensors]

    def _slots_of(self, var: Any) -> tuple[Any, Any]:
        return self.get_slot(var, "accum"), self.get_slot(var, "accum_update")

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        numbers = self._numbers(var.dtype.base_dtype)
        return training.apply_adadelta(
            var, *self._slots_of(var), *numbers, grad, use_locking=self._use_locking
        )

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        slots = [s.handle for s in self._slots_of(handle)]
        numbers = self._numbers(grad.dtype.base_dtype)
        return training.resource_apply_adadelta(
            handle.handle, *slots, *numbers, grad, use_locking=self._use_locking
        )

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        numbers = self._numbers(var.dtype.base_dtype)
        return training.sparse_apply_adadelta(
            var, *self._slots_of(var), *numbers, grad.values, grad.indices, use_locking=self._use_locking
        )

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        slots = [s.handle for s in self._slots_of(handle)]
        return training.resource_sparse_apply_adadelta(
            handle.handle, *slots, *self._numbers(grad.dtype), grad, indices, use_locking=self._use_locking
        )
