"""Adam for asynchronous training: every variable has powers of the betas of its own.

Source: tensorflow/python/training/adam_async.py of DeepRec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import colocate_with
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array, math, training_deeprec, training_kv
from kvarn.train import training_util
from kvarn.train.optimizer import Optimizer
from kvarn.train.slot_creator import SlotConfig
from kvarn.variables.embedding_variable import EmbeddingVariable, SlotType


class AdamAsyncOptimizer(Optimizer):
    """Adam, where no update waits for the powers that another one multiplies.

    A sparse update moves the rows of the gradient only.

    Args:
      learning_rate, beta1, beta2, epsilon: numbers, Tensors or functions that give one.
      apply_sparse_rmsprop: of sparse gradients, step by RMSProp with momentum ``beta1`` and decay ``beta2``.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        apply_sparse_rmsprop: bool = False,
        name: str = "AdamAsync",
    ) -> None:
        super().__init__(use_locking, name)
        self._lr = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon
        self._apply_sparse_rmsprop = apply_sparse_rmsprop
        self._tensors: list[Any] = []

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for v in var_list:
            with colocate_with(v):
                self._zeros_slot(v, "m", self._name, slot_config=SlotConfig(slot_num=2, slot_index=1))
                self._zeros_slot(v, "v", self._name, slot_config=SlotConfig(slot_num=2, slot_index=2))
                for name, beta in (("beta1_power", self._beta1), ("beta2_power", self._beta2)):
                    power = convert_to_tensor(self._call_if_callable(beta), dtype=v.dtype.base_dtype)
                    if isinstance(v, EmbeddingVariable):
                        power = array.expand_dims(power, -1)
                    self._get_or_make_slot(
                        v, power, name, self._name, slot_config=SlotConfig(slot_type=SlotType.VARIABLE)
                    )

    def _prepare(self) -> None:
        self._tensors = [
            convert_to_tensor(self._call_if_callable(value), name=name)
            for name, value in (
                ("learning_rate", self._lr),
                ("beta1", self._beta1),
                ("beta2", self._beta2),
                ("epsilon", self._epsilon),
            )
        ]

    def _numbers(self, dtype: Any) -> list[Any]:
        return [math.cast(x, dtype) for x in self._tensors]

    def _slots_of(self, var: Any) -> list[Any]:
        return [self.get_slot(var, name) for name in ("m", "v", "beta1_power", "beta2_power")]

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        numbers = self._numbers(var.dtype.base_dtype)
        apply: Any = training_deeprec.apply_adam_async
        return apply(var, *self._slots_of(var), *numbers, grad, use_locking=self._use_locking).op

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        slots = [s.handle for s in self._slots_of(handle)]
        numbers = self._numbers(grad.dtype.base_dtype)
        apply: Any = training_deeprec.resource_apply_adam_async
        return apply(handle.handle, *slots, *numbers, grad, use_locking=self._use_locking)

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        numbers = self._numbers(var.dtype.base_dtype)
        apply: Any = training_deeprec.sparse_apply_adam_async
        return apply(var, *self._slots_of(var), *numbers, grad.values, grad.indices, **self._sparse_flags())

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        slots = [s.handle for s in self._slots_of(handle)]
        numbers = self._numbers(grad.dtype)
        if isinstance(handle, EmbeddingVariable):
            return training_kv.sparse_apply(
                "AdamAsync",
                handle.handle,
                *slots,
                *numbers,
                grad,
                indices,
                training_util.get_or_create_global_step(),
                counts=indices_counts,
                **self._sparse_flags(),
            )
        apply: Any = training_deeprec.resource_sparse_apply_adam_async
        return apply(handle.handle, *slots, *numbers, grad, indices, **self._sparse_flags())

    def _sparse_flags(self) -> dict[str, bool]:
        return {"use_locking": self._use_locking, "apply_sparse_rmsprop": self._apply_sparse_rmsprop}
