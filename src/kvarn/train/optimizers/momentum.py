"""Gradient descent with momentum.

Source: tensorflow/python/training/momentum.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import math, training
from kvarn.train.optimizer import Optimizer


class MomentumOptimizer(Optimizer):
    """``accumulator = momentum * accumulator + gradient; var -= learning_rate * accumulator``.

    Args:
      learning_rate, momentum: numbers, Tensors or functions that give one.
      use_nesterov: step by the gradient at the point that the momentum leads to (Sutskever et al. 2013).
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: Any,
        use_locking: bool = False,
        name: str = "Momentum",
        use_nesterov: bool = False,
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._use_nesterov = use_nesterov
        self._learning_rate_tensor: Any = None
        self._momentum_tensor: Any = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        self._refuse_embedding_variables(var_list)
        for v in var_list:
            self._zeros_slot(v, "momentum", self._name)

    def _prepare(self) -> None:
        self._learning_rate_tensor = convert_to_tensor(
            self._call_if_callable(self._learning_rate), name="learning_rate"
        )
        self._momentum_tensor = convert_to_tensor(self._call_if_callable(self._momentum), name="momentum")

    def _rates(self, dtype: Any) -> tuple[Any, Any]:
        return math.cast(self._learning_rate_tensor, dtype), math.cast(self._momentum_tensor, dtype)

    def _flags(self) -> dict[str, Any]:
        return {"use_locking": self._use_locking, "use_nesterov": self._use_nesterov}

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        lr, momentum = self._rates(var.dtype.base_dtype)
        slot = self.get_slot(var, "momentum")
        return training.apply_momentum(var, slot, lr, grad, momentum, **self._flags()).op

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        lr, momentum = self._rates(grad.dtype.base_dtype)
        slot = self.get_slot(handle, "momentum")
        return training.resource_apply_momentum(
            handle.handle, slot.handle, lr, grad, momentum, **self._flags()
        )

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        lr, momentum = self._rates(var.dtype.base_dtype)
        slot = self.get_slot(var, "momentum")
        return training.sparse_apply_momentum(
            var, slot, lr, grad.values, grad.indices, momentum, **self._flags()
        ).op

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        lr, momentum = self._rates(grad.dtype)
        slot = self.get_slot(handle, "momentum")
        return training.resource_sparse_apply_momentum(
            handle.handle, slot.handle, lr, grad, indices, momentum, **self._flags()
        )
