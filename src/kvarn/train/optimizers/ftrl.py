"""FTRL-proximal.

Source: tensorflow/python/training/ftrl.py (1.15; embedding variables: DeepRec).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn import tf_logging
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import colocate_with
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import math, training, training_kv
from kvarn.train.optimizer import Optimizer
from kvarn.train.slot_creator import SlotConfig
from kvarn.variables import initializers
from kvarn.variables.embedding_variable import EmbeddingVariable


class FtrlOptimizer(Optimizer):
    """FTRL-proximal (McMahan et al. 2013), with an optional L2 shrinkage of the gradient.

    Of an embedding variable the L1 penalty is on the norm of each row, so that rows become zero as a whole (group
    lasso), and no version is written.

    Args:
      learning_rate: a number or Tensor.
      learning_rate_power: how the rate falls with the gradients' sum; not above 0.
      initial_accumulator_value: what the accumulators start from; not below 0.
      l1_regularization_strength, l2_regularization_strength: penalties; not below 0.
      accum_name, linear_name: names of the slots, by default the optimizer's.
      l2_shrinkage_regularization_strength: penalty on the size of the weights; not below 0.

    Raises:
      ValueError: a number out of its range.
    """

    def __init__(
        self,
        learning_rate: Any,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "Ftrl",
        accum_name: str | None = None,
        linear_name: str | None = None,
        l2_shrinkage_regularization_strength: float = 0.0,
    ) -> None:
        super().__init__(use_locking, name)
        for argument, value in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if value < 0.0:
                raise ValueError(f"{argument} {value:f} needs to be positive or zero")
        if learning_rate_power > 0.0:
            raise ValueError(f"learning_rate_power {learning_rate_power:f} needs to be negative or zero")
        self._learning_rate = learning_rate
        self._learning_rate_power = learning_rate_power
        self._initial_accumulator_value = initial_accumulator_value
        self._l1_regularization_strength = l1_regularization_strength
        self._l2_regularization_strength = l2_regularization_strength
        self._l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self._accum_name = accum_name
        self._linear_name = linear_name
        self._tensors: list[Any] = []

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        accum_name = self._accum_name or self._name
        linear_name = self._linear_name or self._name
        for v in var_list:
            dtype, shape = v.dtype.base_dtype, v.get_shape()
            with colocate_with(v):
                if isinstance(v, EmbeddingVariable):
                    init = initializers.constant_initializer(self._initial_accumulator_value, dtype=dtype)
                    self._get_or_make_slot_with_initializer(
                        v, init, shape, dtype, "accum", accum_name, slot_config=SlotConfig(2, 1)
                    )
                else:
                    val = constant(self._initial_accumulator_value, dtype=dtype, shape=shape)
                    self._get_or_make_slot(v, val, "accum", accum_name)
                self._zeros_slot(v, "linear", linear_name, slot_config=SlotConfig(2, 2))

    def _prepare(self) -> None:
        self._tensors = [
            convert_to_tensor(value, name=name)
            for name, value in (
                ("learning_rate", self._learning_rate),
                ("l1_regularization_strength", self._l1_regularization_strength),
                ("l2_regularization_strength", self._l2_regularization_strength),
                ("l2_shrinkage_regularization_strength", self._l2_shrinkage_regularization_strength),
                ("learning_rate_power", self._learning_rate_power),
            )
        ]

    @property
    def _shrinks(self) -> bool:
        return self._l2_shrinkage_regularization_strength > 0.0

    def _numbers(self, dtype: Any) -> list[Any]:
        """Learning rate, l1, l2, the shrinkage if there is any, and the power."""
        lr, l1, l2, shrinkage, power = self._tensors
        chosen = [lr, l1, l2, shrinkage, power] if self._shrinks else [lr, l1, l2, power]
        return [math.cast(x, dtype) for x in chosen]

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        apply: Any = training.apply_ftrl_v2 if self._shrinks else training.apply_ftrl
        slots = self.get_slot(var, "accum"), self.get_slot(var, "linear")
        return apply(var, *slots, grad, *self._numbers(var.dtype.base_dtype), use_locking=self._use_locking)

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        apply: Any = training.resource_apply_ftrl_v2 if self._shrinks else training.resource_apply_ftrl
        slots = self.get_slot(handle, "accum").handle, self.get_slot(handle, "linear").handle
        numbers = self._numbers(handle.dtype.base_dtype)
        return apply(handle.handle, *slots, grad, *numbers, use_locking=self._use_locking)

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        apply: Any = training.sparse_apply_ftrl_v2 if self._shrinks else training.sparse_apply_ftrl
        slots = self.get_slot(var, "accum"), self.get_slot(var, "linear")
        numbers = self._numbers(var.dtype.base_dtype)
        return apply(var, *slots, grad.values, grad.indices, *numbers, use_locking=self._use_locking)

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        apply: Any = (
            training.resource_sparse_apply_ftrl_v2 if self._shrinks else training.resource_sparse_apply_ftrl
        )
        slots = self.get_slot(handle, "accum").handle, self.get_slot(handle, "linear").handle
        numbers = self._numbers(grad.dtype)
        if isinstance(handle, EmbeddingVariable):
            if handle.steps_to_live > 0:
                tf_logging.warning(
                    "FTRL does not write at which step a key was updated: embedding variable '%s' will evict keys %d "
                    "steps after an eviction saw them first, however often they are trained. Use another optimizer, "
                    "or an eviction by frequency or norm.",
                    handle.name,
                    handle.steps_to_live,
                )
            return training_kv.sparse_apply(
                "FtrlV2" if self._shrinks else "Ftrl",
                handle.handle,
                *slots,
                grad,
                indices,
                *numbers,
                counts=indices_counts,
                use_locking=self._use_locking,
            )
        return apply(handle.handle, *slots, grad, indices, *numbers, use_locking=self._use_locking)
