"""Adagrad whose accumulators decay as training goes on.

Source: tensorflow/python/training/adagrad_decay.py and adagrad_decay_v2.py of DeepRec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import colocate_with
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import array, math, training_deeprec, training_kv
from kvarn.train.optimizer import Optimizer
from kvarn.train.optimizers.adagrad import initial_accumulator_of
from kvarn.train.slot_creator import SlotConfig
from kvarn.variables import initializers
from kvarn.variables.embedding_variable import EmbeddingVariable


class AdagradDecayOptimizer(Optimizer):
    """Adagrad; a row's accumulator is multiplied by a rate at the first update in each period of steps.

    However many periods have gone by since the last one, an update decays once. Accumulators never fall below where
    they started. How many decays a row has had is a slot of the variable's own shape.

    Args:
      learning_rate: a number, a Tensor or a function that gives one.
      global_step: an integer variable, the step by which periods are counted.
      initial_accumulator_value: what accumulators start from, and their least value.
      accumulator_decay_step: steps from one decay to the next.
      accumulator_decay_rate: between 0 and 1.

    Raises:
      ValueError: a number out of its range.
    """

    def __init__(
        self,
        learning_rate: Any,
        global_step: Any,
        initial_accumulator_value: float = 0.1,
        accumulator_decay_step: int = 100000,
        accumulator_decay_rate: float = 0.9,
        use_locking: bool = False,
        name: str = "AdagradDecay",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise ValueError(f"initial_accumulator_value must be positive: {initial_accumulator_value}")
        if accumulator_decay_step <= 0:
            raise ValueError(f"accumulator_decay_step must be positive: {accumulator_decay_step}")
        if not 0.0 < accumulator_decay_rate < 1.0:
            raise ValueError(f"accumulator_decay_rate must be in (0.0, 1.0): {accumulator_decay_rate}")
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._global_step = global_step
        self._initial_accumulator_value = initial_accumulator_value
        self._accumulator_decay_step = accumulator_decay_step
        self._accumulator_decay_rate = accumulator_decay_rate
        self._learning_rate_tensor: Any = None
        self._tensors: list[Any] = []
        self._global_step_on_worker: Any = None

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for v in var_list:
            dtype, shape = v.dtype.base_dtype, v.get_shape()
            if shape.is_fully_defined():
                init: Any = initializers.constant_initializer(self._initial_accumulator_value, dtype=dtype)
            else:
                init = initial_accumulator_of(v, self._initial_accumulator_value, dtype)
            is_embedding = isinstance(v, EmbeddingVariable)
            self._get_or_make_slot_with_initializer(
                v,
                init,
                shape,
                dtype,
                "accumulator",
                self._name,
                slot_config=SlotConfig(slot_num=2, slot_index=1),
            )
            # Everything in an entry of an embedding variable is of its own type.
            power_dtype = dtype if is_embedding else self._global_step.dtype.base_dtype
            self._get_or_make_slot_with_initializer(
                v,
                initializers.zeros_initializer(dtype=power_dtype),
                self._power_shape(v),
                power_dtype,
                "accumulator_decay_power",
                self._name,
                slot_config=SlotConfig(slot_num=2, slot_index=2),
            )

    def _power_shape(self, v: Any) -> TensorShape:
        shape: TensorShape = v.get_shape()
        return shape

    def _prepare(self) -> None:
        self._learning_rate_tensor = convert_to_tensor(
            self._call_if_callable(self._learning_rate), name="learning_rate"
        )
        self._tensors = [
            convert_to_tensor(
                self._accumulator_decay_step,
                name="accumulator_decay_step",
                dtype=self._global_step.dtype.base_dtype,
            ),
            convert_to_tensor(self._accumulator_decay_rate, name="accumulator_decay_rate"),
            convert_to_tensor(self._initial_accumulator_value, name="accumulator_baseline"),
        ]
        with colocate_with(self._learning_rate_tensor):
            self._global_step_on_worker = array.identity(self._global_step) + 1

    def _numbers(self, dtype: Any) -> list[Any]:
        """Learning rate, decay step, decay rate, baseline, and the number of this step, the first being 1."""
        decay_step, decay_rate, baseline = self._tensors
        return [
            math.cast(self._learning_rate_tensor, dtype),
            decay_step,
            math.cast(decay_rate, dtype),
            math.cast(baseline, dtype),
            array.identity(self._global_step_on_worker),
        ]

    def _slots_of(self, var: Any) -> list[Any]:
        return [self.get_slot(var, name) for name in ("accumulator", "accumulator_decay_power")]

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        numbers = self._numbers(var.dtype.base_dtype)
        apply: Any = training_deeprec.apply_adagrad_decay
        return apply(var, *self._slots_of(var), *numbers, grad, use_locking=self._use_locking)

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        slots = [s.handle for s in self._slots_of(handle)]
        numbers = self._numbers(grad.dtype.base_dtype)
        apply: Any = training_deeprec.resource_apply_adagrad_decay
        return apply(handle.handle, *slots, *numbers, grad, use_locking=self._use_locking)

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        numbers = self._numbers(var.dtype.base_dtype)
        apply: Any = training_deeprec.sparse_apply_adagrad_decay
        return apply(
            var, *self._slots_of(var), *numbers, grad.values, grad.indices, use_locking=self._use_locking
        )

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        slots = [s.handle for s in self._slots_of(handle)]
        inputs = (handle.handle, *slots, *self._numbers(grad.dtype), grad, indices)
        if isinstance(handle, EmbeddingVariable):
            return training_kv.sparse_apply(
                "AdagradDecay", *inputs, counts=indices_counts, use_locking=self._use_locking
            )
        apply: Any = training_deeprec.resource_sparse_apply_adagrad_decay
        return apply(*inputs, use_locking=self._use_locking)


class AdagradDecayOptimizerV2(AdagradDecayOptimizer):
    """`AdagradDecayOptimizer` that keeps one number of decays for a row, or for a key, instead of a row of them."""

    def _power_shape(self, v: Any) -> TensorShape:
        if isinstance(v, EmbeddingVariable):
            return TensorShape([1])
        shape: TensorShape = v.get_shape()
        return shape[:1]
