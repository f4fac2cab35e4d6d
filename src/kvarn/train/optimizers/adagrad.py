"""Adagrad.

Source: tensorflow/python/training/adagrad.py (1.15; embedding variables: DeepRec).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array, math, training, training_kv
from kvarn.train import training_util
from kvarn.train.optimizer import Optimizer
from kvarn.train.slot_creator import SlotConfig
from kvarn.variables import initializers
from kvarn.variables.embedding_variable import EmbeddingVariable


def initial_accumulator_of(v: Any, value: float, dtype: Any) -> Callable[[], Any]:
    """What makes the accumulator of a variable whose shape is not known: ``value`` in every element."""

    def init() -> Any:
        return math.cast(array.fill(array.shape(v), value), dtype)

    return init


class AdagradOptimizer(Optimizer):
    """``accumulator += gradient ** 2; var -= learning_rate * gradient / sqrt(accumulator)``.

    Args:
      learning_rate: a number, a Tensor or a function that gives one.
      initial_accumulator_value: what the accumulators start from.

    Raises:
      ValueError: ``initial_accumulator_value`` is not positive.
    """

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        use_locking: bool = False,
        name: str = "Adagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ValueError(f"initial_accumulator_value must be positive: {initial_accumulator_value}")
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._initial_accumulator_value = initial_accumulator_value
        self._learning_rate_tensor: Any = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for v in var_list:
            dtype = v.dtype.base_dtype
            if v.get_shape().is_fully_defined():
                init: Any = initializers.constant_initializer(self._initial_accumulator_value, dtype=dtype)
            else:
                init = initial_accumulator_of(v, self._initial_accumulator_value, dtype)
            self._get_or_make_slot_with_initializer(
                v,
                init,
                v.get_shape(),
                dtype,
                "accumulator",
                self._name,
                slot_config=SlotConfig(slot_num=1, slot_index=1),
            )

    def _prepare(self) -> None:
        learning_rate = self._call_if_callable(self._learning_rate)
        self._learning_rate_tensor = convert_to_tensor(learning_rate, name="learning_rate")

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        return training.apply_adagrad(
            var,
            self.get_slot(var, "accumulator"),
            math.cast(self._learning_rate_tensor, var.dtype.base_dtype),
            grad,
            use_locking=self._use_locking,
        )

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return training.resource_apply_adagrad(
            handle.handle,
            self.get_slot(handle, "accumulator").handle,
            math.cast(self._learning_rate_tensor, grad.dtype.base_dtype),
            grad,
            use_locking=self._use_locking,
        )

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        return training.sparse_apply_adagrad(
            var,
            self.get_slot(var, "accumulator"),
            math.cast(self._learning_rate_tensor, var.dtype.base_dtype),
            grad.values,
            grad.indices,
            use_locking=self._use_locking,
        )

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        accumulator = self.get_slot(handle, "accumulator")
        learning_rate = math.cast(self._learning_rate_tensor, grad.dtype)
        if isinstance(handle, EmbeddingVariable):
            return training_kv.sparse_apply(
                "Adagrad",
                handle.handle,
                accumulator.handle,
                learning_rate,
                grad,
                indices,
                training_util.get_or_create_global_step(),
                counts=indices_counts,
                use_locking=self._use_locking,
            )
        return training.resource_sparse_apply_adagrad(
            handle.handle,
            accumulator.handle,
            learning_rate,
            grad,
            indices,
            use_locking=self._use_locking,
        )
