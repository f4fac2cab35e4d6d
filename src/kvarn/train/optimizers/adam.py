"""Adam.

Source: tensorflow/python/training/adam.py (1.15; embedding variables: DeepRec).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import colocate_with, control_dependencies, get_default_graph, init_scope
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import control, math, resource_variable, state, training, training_kv, unary
from kvarn.train import training_util
from kvarn.train.optimizer import Optimizer
from kvarn.train.slot_creator import SlotConfig
from kvarn.variables.embedding_variable import EmbeddingVariable


class AdamOptimizer(Optimizer):
    """Adam (Kingma and Ba 2014): steps by the first moment of the gradient over the root of the second.

    Sparse gradients decay the moments of all rows and move all rows, as if the others were zeros; of an embedding
    variable they touch the keys of the gradient only.

    Args:
      learning_rate, beta1, beta2, epsilon: numbers, Tensors or functions that give one.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adam",
    ) -> None:
        super().__init__(use_locking, name)
        self._lr = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon
        self._lr_t: Any = None
        self._beta1_t: Any = None
        self._beta2_t: Any = None
        self._epsilon_t: Any = None

    def _get_beta_accumulators(self) -> tuple[Any, Any]:
        with init_scope():
            graph = get_default_graph()
            return (
                self._get_non_slot_variable("beta1_power", graph=graph),
                self._get_non_slot_variable("beta2_power", graph=graph),
            )

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        # The same one whatever the order of the variables.
        first = min(var_list, key=lambda v: str(v.name))
        self._create_non_slot_variable(self._beta1, "beta1_power", first)
        self._create_non_slot_variable(self._beta2, "beta2_power", first)
        for v in var_list:
            self._zeros_slot(v, "m", self._name, slot_config=SlotConfig(slot_num=2, slot_index=1))
            self._zeros_slot(v, "v", self._name, slot_config=SlotConfig(slot_num=2, slot_index=2))

    def _prepare(self) -> None:
        self._lr_t = convert_to_tensor(self._call_if_callable(self._lr), name="learning_rate")
        self._beta1_t = convert_to_tensor(self._call_if_callable(self._beta1), name="beta1")
        self._beta2_t = convert_to_tensor(self._call_if_callable(self._beta2), name="beta2")
        self._epsilon_t = convert_to_tensor(self._call_if_callable(self._epsilon), name="epsilon")

    def _numbers(self, dtype: Any) -> list[Any]:
        """beta1_power, beta2_power, learning rate, beta1, beta2 and epsilon."""
        numbers = (*self._get_beta_accumulators(), self._lr_t, self._beta1_t, self._beta2_t, self._epsilon_t)
        return [math.cast(x, dtype) for x in numbers]

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        numbers = self._numbers(var.dtype.base_dtype)
        return training.apply_adam(var, m, v, *numbers, grad, use_locking=self._use_locking).op

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        m, v = self.get_slot(handle, "m"), self.get_slot(handle, "v")
        numbers = self._numbers(grad.dtype.base_dtype)
        return training.resource_apply_adam(
            handle.handle, m.handle, v.handle, *numbers, grad, use_locking=self._use_locking
        )

    def _apply_sparse_shared(
        self, grad: Any, var: Any, indices: Tensor, scatter_add: Callable[[Any, Any, Any], Any]
    ) -> Any:
        beta1_power, beta2_power, lr_t, beta1_t, beta2_t, epsilon_t = self._numbers(var.dtype.base_dtype)
        lr = lr_t * unary.sqrt(1 - beta2_power) / (1 - beta1_power)

        def decayed(slot: Any, beta: Any, scaled: Any) -> Any:
            """The slot after its decay and the gradient's part."""
            kept = state.assign(slot, slot * beta, use_locking=self._use_locking)
            with control_dependencies([kept]):
                return scatter_add(slot, indices, scaled)

        m_t = decayed(self.get_slot(var, "m"), beta1_t, grad * (1 - beta1_t))
        v_t = decayed(self.get_slot(var, "v"), beta2_t, (grad * grad) * (1 - beta2_t))
        root = unary.sqrt(v_t)
        update = state.assign_sub(var, lr * m_t / (root + epsilon_t), use_locking=self._use_locking)
        return control.group(update, m_t, v_t)

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        def scatter_add(x: Any, i: Any, v: Any) -> Any:
            return state.scatter_add(x, i, v, use_locking=self._use_locking)

        return self._apply_sparse_shared(grad.values, var, grad.indices, scatter_add)

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        if isinstance(handle, EmbeddingVariable):
            return self._apply_embedding("Adam", grad, handle, indices, indices_counts)

        def scatter_add(x: Any, i: Any, v: Any) -> Any:
            with control_dependencies([resource_variable.resource_scatter_add(x.handle, i, v)]):
                return x.value()

        return self._apply_sparse_shared(grad, handle, indices, scatter_add)

    def _apply_embedding(
        self, rule: str, grad: Tensor, var: Any, indices: Tensor, indices_counts: Any, *more: Any
    ) -> Any:
        """The update of keys of an embedding variable by a rule of Adam's inputs and ``more`` behind them."""
        return training_kv.sparse_apply(
            rule,
            var.handle,
            self.get_slot(var, "m").handle,
            self.get_slot(var, "v").handle,
            *self._numbers(grad.dtype),
            grad,
            indices,
            training_util.get_or_create_global_step(),
            *more,
            counts=indices_counts,
            use_locking=self._use_locking,
        )

    def _finish(self, update_ops: Sequence[Any], name_scope: str) -> Any:
        # The powers belong to the next step once all updates have used them.
        with control_dependencies(update_ops):
            beta1_power, beta2_power = self._get_beta_accumulators()
            with colocate_with(beta1_power):
                update_beta1 = beta1_power.assign(beta1_power * self._beta1_t, use_locking=self._use_locking)
                update_beta2 = beta2_power.assign(beta2_power * self._beta2_t, use_locking=self._use_locking)
        return control.group(*update_ops, update_beta1, update_beta2, name=name_scope)
