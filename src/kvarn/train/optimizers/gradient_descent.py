"""Gradient descent.

Source: tensorflow/python/training/gradient_descent.py (1.15; embedding variables: DeepRec).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import math, resource_variable, training, training_kv
from kvarn.train import training_util
from kvarn.train.occurrences import occurrences
from kvarn.train.optimizer import Optimizer
from kvarn.variables.embedding_variable import EmbeddingVariable


class GradientDescentOptimizer(Optimizer):
    """``var -= learning_rate * gradient``.

    Args:
      learning_rate: a number, a Tensor or a function that gives one.
    """

    def __init__(self, learning_rate: Any, use_locking: bool = False, name: str = "GradientDescent") -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._learning_rate_tensor: Any = None

    def _prepare(self) -> None:
        learning_rate = self._call_if_callable(self._learning_rate)
        self._learning_rate_tensor = convert_to_tensor(learning_rate, name="learning_rate")

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        return training.apply_gradient_descent(
            var,
            math.cast(self._learning_rate_tensor, var.dtype.base_dtype),
            grad,
            use_locking=self._use_locking,
        ).op

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return training.resource_apply_gradient_descent(
            handle.handle,
            math.cast(self._learning_rate_tensor, grad.dtype.base_dtype),
            grad,
            use_locking=self._use_locking,
        )

    def _resource_apply_sparse(
        self, grad: Tensor, handle: Any, indices: Tensor, indices_counts: Any = None
    ) -> Any:
        return training_kv.sparse_apply(
            "GradientDescent",
            handle.handle,
            math.cast(self._learning_rate_tensor, grad.dtype.base_dtype),
            grad,
            indices,
            training_util.get_or_create_global_step(),
            counts=indices_counts,
            use_locking=self._use_locking,
        )

    def _resource_apply_sparse_duplicate_indices(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        if isinstance(handle, EmbeddingVariable):
            # Equal keys need no summing beforehand: the update is linear, and the table sums them itself.
            counts = occurrences(handle, indices) if handle.need_counts() else None
            return self._resource_apply_sparse(grad, handle, indices, indices_counts=counts)
        return resource_variable.resource_scatter_add(
            handle.handle, indices, math.negative(grad) * self._learning_rate
        )

    def _apply_sparse_duplicate_indices(self, grad: IndexedSlices, var: Any) -> Any:
        rate = math.cast(self._learning_rate_tensor, var.dtype.base_dtype)
        delta = IndexedSlices(grad.values * rate, grad.indices, grad.dense_shape)
        return var.scatter_sub(delta, use_locking=self._use_locking)
