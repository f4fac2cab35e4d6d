"""Adam whose sparse updates touch the rows of the gradient only.

Source: tensorflow/contrib/opt/python/training/lazy_adam_optimizer.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import control, gather, resource_variable, state, unary
from kvarn.train.optimizers.adam import AdamOptimizer
from kvarn.variables.embedding_variable import EmbeddingVariable


class LazyAdamOptimizer(AdamOptimizer):
    """`AdamOptimizer` that leaves moments and values alone of rows without a gradient.

    That is what Adam does on embedding variables anyway: there both are the same.
    """

    def _apply_rows(self, grad: Any, var: Any, indices: Tensor, scatter: Callable[..., Any]) -> Any:
        beta1_power, beta2_power, lr_t, beta1, beta2, epsilon = self._numbers(var.dtype.base_dtype)
        lr = lr_t * unary.sqrt(1 - beta2_power) / (1 - beta1_power)
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        m_rows = beta1 * gather.gather(m, indices) + (1 - beta1) * grad
        v_rows = beta2 * gather.gather(v, indices) + (1 - beta2) * unary.square(grad)
        return control.group(
            scatter("sub", var, indices, lr * m_rows / (unary.sqrt(v_rows) + epsilon)),
            scatter("update", m, indices, m_rows),
            scatter("update", v, indices, v_rows),
        )

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        def scatter(what: str, x: Any, i: Any, rows: Any) -> Any:
            change: Any = state.scatter_sub if what == "sub" else state.scatter_update
            return change(x, i, rows, use_locking=self._use_locking)

        return self._apply_rows(grad.values, var, grad.indices, scatter)

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        if isinstance(handle, EmbeddingVariable):
            return super()._resource_apply_sparse(grad, handle, indices, indices_counts)

        def scatter(what: str, x: Any, i: Any, rows: Any) -> Any:
            change: Any = (
                resource_variable.resource_scatter_sub
                if what == "sub"
                else resource_variable.resource_scatter_update
            )
            return change(x.handle, i, rows)

        return self._apply_rows(grad, handle, indices, scatter)
