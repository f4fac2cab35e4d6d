"""Gradient descent with momentum.

Source: tensorflow/python/training/momentum.py (1.15). Embedding variables, for which DeepRec
has no such rule, follow the same formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import math, training, training_kv
from kvarn.train import training_util
from kvarn.train.optimizer import Optimizer
from kvarn.train.slot_creator import SlotConfig
from kvarn.variables.embedding_variable import EmbeddingVariable


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
        for v in var_list:
            self._zeros_slot(v, "momentum", self._name, slot_config=SlotConfig(slot_num=1, slot_index=1))

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

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        lr, momentum = self._rates(grad.dtype)
        slot = self.get_slot(handle, "momentum")
        if isinstance(handle, EmbeddingVariable):
            return training_kv.sparse_apply(
                "Momentum",
                handle.handle,
                slot.handle,
                lr,
                grad,
                indices,
                momentum,
                training_util.get_or_create_global_step(),
                counts=indices_counts,
                **self._flags(),
            )
        return training.resource_sparse_apply_momentum(
            handle.handle, slot.handle, lr, grad, indices, momentum, **self._flags()
        )
