"""Adagrad by dual averaging.

Source: tensorflow/python/training/adagrad_da.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import colocate_with, device
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array, math, training
from kvarn.train.optimizer import Optimizer


class AdagradDAOptimizer(Optimizer):
    """Adagrad by dual averaging (Duchi et al. 2011): weights follow from the sums of all gradients.

    Args:
      learning_rate: a number or Tensor.
      global_step: int64 variable that counts the steps.
      initial_gradient_squared_accumulator_value: what the sums of squares start from.
      l1_regularization_strength, l2_regularization_strength: penalties.

    Raises:
      ValueError: ``initial_gradient_squared_accumulator_value`` is not positive.
    """

    def __init__(
        self,
        learning_rate: Any,
        global_step: Any,
        initial_gradient_squared_accumulator_value: float = 0.1,
        l1_regularization_strength: Any = 0.0,
        l2_regularization_strength: Any = 0.0,
        use_locking: bool = False,
        name: str = "AdagradDA",
    ) -> None:
        if initial_gradient_squared_accumulator_value <= 0.0:
            raise ValueError(
                "initial_gradient_squared_accumulator_value must be positive: "
                f"{initial_gradient_squared_accumulator_value}"
            )
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._initial_gradient_squared_accumulator_value = initial_gradient_squared_accumulator_value
        self._l1_regularization_strength = l1_regularization_strength
        self._l2_regularization_strength = l2_regularization_strength
        self._global_step = global_step
        self._learning_rate_tensor: Any = None
        self._global_step_on_worker: Any = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        self._refuse_embedding_variables(var_list)
        for v in var_list:
            shape, dtype = v.get_shape(), v.dtype.base_dtype
            with colocate_with(v):
                sums = constant(0.0, shape=shape, dtype=dtype)
                squares = constant(self._initial_gradient_squared_accumulator_value, shape=shape, dtype=dtype)
            self._get_or_make_slot(v, sums, "gradient_accumulator", self._name)
            self._get_or_make_slot(v, squares, "gradient_squared_accumulator", self._name)

    def _prepare(self) -> None:
        self._learning_rate_tensor = convert_to_tensor(self._learning_rate, name="learning_rate")
        # The number of the step that is being made, from 1.
        with colocate_with(self._learning_rate_tensor):
            step: Any = array.identity(self._global_step)
            self._global_step_on_worker = step + 1

    def _slots_of(self, var: Any) -> list[Any]:
        names = ("gradient_accumulator", "gradient_squared_accumulator")
        return [self.get_slot(var, name) for name in names]

    def _numbers(self, var: Any, dtype: Any) -> list[Any]:
        """Learning rate, l1, l2 and the step."""
        with device(var.device):
            step = array.identity(self._global_step_on_worker)
        numbers = (
            self._learning_rate_tensor,
            self._l1_regularization_strength,
            self._l2_regularization_strength,
        )
        return [*[math.cast(x, dtype) for x in numbers], step]

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        numbers = self._numbers(var, var.dtype.base_dtype)
        return training.apply_adagrad_da(
            var, *self._slots_of(var), grad, *numbers, use_locking=self._use_locking
        )

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        slots = [s.handle for s in self._slots_of(handle)]
        numbers = self._numbers(handle, grad.dtype.base_dtype)
        return training.resource_apply_adagrad_da(
            handle.handle, *slots, grad, *numbers, use_locking=self._use_locking
        )

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        numbers = self._numbers(var, var.dtype.base_dtype)
        return training.sparse_apply_adagrad_da(
            var, *self._slots_of(var), grad.values, grad.indices, *numbers, use_locking=self._use_locking
        )

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        slots = [s.handle for s in self._slots_of(handle)]
        numbers = self._numbers(handle, grad.dtype)
        return training.resource_sparse_apply_adagrad_da(
            handle.handle, *slots, grad, indices, *numbers, use_locking=self._use_locking
        )
