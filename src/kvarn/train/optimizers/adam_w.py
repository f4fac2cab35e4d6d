"""Adam with decoupled weight decay.

Source: tensorflow/python/training/weight_decay_optimizers.py of DeepRec, which has the class of
tensorflow/contrib/opt/python/training/weight_decay_optimizers.py (1.15) and an update of embedding variables.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import control_dependencies
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import control, gather, math, resource_variable, state
from kvarn.train.optimizer import Optimizer, flat_variables
from kvarn.train.optimizers.adam import AdamOptimizer
from kvarn.variables.embedding_variable import EmbeddingVariable


class DecoupledWeightDecayExtension(Optimizer):
    """What a class has to inherit from, before its optimizer, to decay weights (Loshchilov and Hutter 2017).

    Before its gradient is applied a variable, of a sparse gradient its rows, loses ``weight_decay`` of itself:
    ``var -= weight_decay * var``. It is not scaled by the learning rate.

    Args:
      weight_decay: a number, a Tensor or a function that gives one.
    """

    def __init__(self, weight_decay: Any, **kwargs: Any) -> None:
        self._decay_var_list: list[Any] | None = None
        self._weight_decay = weight_decay
        self._weight_decay_tensor: Any = None
        super().__init__(**kwargs)

    def minimize(self, *args: Any, decay_var_list: Iterable[Any] | None = None, **kwargs: Any) -> Any:
        """`Optimizer.minimize`; ``decay_var_list`` has the variables that decay, by default all."""
        self._set_decay_var_list(decay_var_list)
        return super().minimize(*args, **kwargs)

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, Any]],
        global_step: Any = None,
        name: str | None = None,
        decay_var_list: Iterable[Any] | None = None,
    ) -> Any:
        """`Optimizer.apply_gradients`; ``decay_var_list`` has the variables that decay, by default all."""
        if decay_var_list is not None:
            self._set_decay_var_list(decay_var_list)
        return super().apply_gradients(grads_and_vars, global_step, name)

    def _set_decay_var_list(self, decay_var_list: Iterable[Any] | None) -> None:
        self._decay_var_list = list(flat_variables(list(decay_var_list))) if decay_var_list else None

    def _decays(self, var: Any) -> bool:
        return self._decay_var_list is None or any(v is var for v in self._decay_var_list)

    def _prepare(self) -> None:
        weight_decay = self._call_if_callable(self._weight_decay)
        self._weight_decay_tensor = convert_to_tensor(weight_decay, name="weight_decay")
        super()._prepare()

    def _rate(self, dtype: Any) -> Any:
        return math.cast(self._weight_decay_tensor, dtype)

    def _decayed(self, var: Any) -> Any:
        if not self._decays(var):
            return control.no_op()
        return var.assign_sub(self._rate(var.dtype.base_dtype) * var, use_locking=self._use_locking)

    def _loss_of_rows(self, var: Any, indices: Any) -> Any:
        return -self._rate(var.dtype.base_dtype) * gather.gather(var, indices)

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        with control_dependencies([self._decayed(var)]):
            return super()._apply_dense(grad, var)

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        with control_dependencies([self._decayed(handle)]):
            return super()._resource_apply_dense(grad, handle)

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        decayed: Any = control.no_op()
        if self._decays(var):
            loss = self._loss_of_rows(var, grad.indices)
            decayed = state.scatter_add(var, grad.indices, loss, use_locking=self._use_locking)
        with control_dependencies([decayed]):
            return super()._apply_sparse(grad, var)

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        decayed: Any = control.no_op()
        if self._decays(handle):
            loss = self._loss_of_rows(handle, indices)
            decayed = resource_variable.resource_scatter_add(handle.handle, indices, loss)
        with control_dependencies([decayed]):
            return super()._resource_apply_sparse(grad, handle, indices, indices_counts)


class AdamWOptimizer(DecoupledWeightDecayExtension, AdamOptimizer):
    """Adam that also decays what it trains.

    Of an embedding variable the keys of the gradient move by ``alpha * (m / (sqrt(v) + epsilon) + weight_decay *
    value)``, alpha being Adam's corrected learning rate; all other variables as in `DecoupledWeightDecayExtension`.

    Args:
      weight_decay: a number, a Tensor or a function that gives one.
      learning_rate, beta1, beta2, epsilon: see `AdamOptimizer`.
    """

    def __init__(
        self,
        weight_decay: Any,
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "AdamW",
    ) -> None:
        super().__init__(
            weight_decay,
            learning_rate=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            use_locking=use_locking,
            name=name,
        )

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        if not isinstance(handle, EmbeddingVariable):
            return super()._resource_apply_sparse(grad, handle, indices, indices_counts)
        rate = self._rate(grad.dtype) if self._decays(handle) else constant(0.0, dtype=grad.dtype)
        return self._apply_embedding("AdamW", grad, handle, indices, indices_counts, rate)
