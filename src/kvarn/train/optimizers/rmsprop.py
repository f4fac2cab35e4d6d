"""RMSProp.

Source: tensorflow/python/training/rmsprop.py (1.15). Embedding variables, for which DeepRec
has no such rule, follow the same formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array, math, training, training_kv
from kvarn.train import training_util
from kvarn.train.optimizer import Optimizer
from kvarn.train.slot_creator import SlotConfig
from kvarn.variables import initializers
from kvarn.variables.embedding_variable import EmbeddingVariable


class RMSPropOptimizer(Optimizer):
    """Steps by the gradient over the root of its mean square (Tieleman and Hinton 2012).

    Args:
      learning_rate, decay, momentum, epsilon: numbers, Tensors or functions that give one.
      centered: divide by the estimated variance of the gradient instead of its second moment.
    """

    def __init__(
        self,
        learning_rate: Any,
        decay: Any = 0.9,
        momentum: Any = 0.0,
        epsilon: Any = 1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._decay = decay
        self._momentum = momentum
        self._epsilon = epsilon
        self._centered = centered
        self._tensors: list[Any] = []

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        slot_num = 3 if self._centered else 2
        for v in var_list:
            dtype = v.dtype.base_dtype
            init_rms: Any
            if v.get_shape().is_fully_defined():
                init_rms = initializers.ones_initializer(dtype=dtype)
            else:
                init_rms = array.ones_like(v)
            self._get_or_make_slot_with_initializer(
                v,
                init_rms,
                v.get_shape(),
                dtype,
                "rms",
                self._name,
                slot_config=SlotConfig(slot_num, 1),
            )
            if self._centered:
                self._zeros_slot(v, "mg", self._name, slot_config=SlotConfig(slot_num, 2))
            self._zeros_slot(v, "momentum", self._name, slot_config=SlotConfig(slot_num, slot_num))

    def _prepare(self) -> None:
        self._tensors = [
            convert_to_tensor(self._call_if_callable(value), name=name)
            for name, value in (
                ("learning_rate", self._learning_rate),
                ("decay", self._decay),
                ("momentum", self._momentum),
                ("epsilon", self._epsilon),
            )
        ]

    def _numbers(self, dtype: Any) -> list[Any]:
        return [math.cast(x, dtype) for x in self._tensors]

    def _slots_of(self, var: Any) -> list[Any]:
        names = ["mg", "rms", "momentum"] if self._centered else ["rms", "momentum"]
        return [self.get_slot(var, name) for name in names]

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        apply: Any = training.apply_centered_rms_prop if self._centered else training.apply_rms_prop
        numbers = self._numbers(var.dtype.base_dtype)
        return apply(var, *self._slots_of(var), *numbers, grad, use_locking=self._use_locking).op

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        apply: Any = (
            training.resource_apply_centered_rms_prop if self._centered else training.resource_apply_rms_prop
        )
        slots = [s.handle for s in self._slots_of(handle)]
        numbers = self._numbers(grad.dtype.base_dtype)
        return apply(handle.handle, *slots, *numbers, grad, use_locking=self._use_locking)

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        apply: Any = (
            training.sparse_apply_centered_rms_prop if self._centered else training.sparse_apply_rms_prop
        )
        numbers = self._numbers(var.dtype.base_dtype)
        slots = self._slots_of(var)
        return apply(var, *slots, *numbers, grad.values, grad.indices, use_locking=self._use_locking)

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        apply: Any = (
            training.resource_sparse_apply_centered_rms_prop
            if self._centered
            else training.resource_sparse_apply_rms_prop
        )
        slots = [s.handle for s in self._slots_of(handle)]
        if isinstance(handle, EmbeddingVariable):
            return training_kv.sparse_apply(
                "CenteredRMSProp" if self._centered else "RMSProp",
                handle.handle,
                *slots,
                *self._numbers(grad.dtype),
                grad,
                indices,
                training_util.get_or_create_global_step(),
                counts=indices_counts,
                use_locking=self._use_locking,
            )
        return apply(
            handle.handle, *slots, *self._numbers(grad.dtype), grad, indices, use_locking=self._use_locking
        )
