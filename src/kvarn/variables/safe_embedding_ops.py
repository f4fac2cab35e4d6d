"""Sparse lookups that take what real data has: rows without ids, ids and weights that mean nothing.

Source: tensorflow/python/ops/embedding_ops.py (1.15 and DeepRec).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import dimension_value, unknown_shape
from kvarn.ops import array, gather, math, reduction, selection, sparse
from kvarn.ops import slicing as slicing_ops
from kvarn.variables.dynamic_embedding_variable import DynamicEmbeddingVariable
from kvarn.variables.embedding_ops import as_parts, as_tensor, embedding_lookup_sparse, handles_of
from kvarn.variables.multihash_variable import MultiHashVariable
from kvarn.variables.resource_variable import ResourceVariable

# What a lookup reads rows of; all else becomes a tensor first.
_LOOKED_UP_BY_ROW = (ResourceVariable, DynamicEmbeddingVariable, MultiHashVariable)


def safe_embedding_lookup_sparse(
    embedding_weights: Any,
    sparse_ids: Any,
    sparse_weights: Any = None,
    combiner: str = "mean",
    default_id: int | None = None,
    name: str | None = None,
    partition_strategy: str = "div",
    max_norm: float | None = None,
    prune: bool = True,
) -> Tensor:
    """`embedding_lookup_sparse` that takes rows without ids, along the last dimension of any number.

    Args:
      embedding_weights: see ``params`` of `embedding_lookup`.
      sparse_ids: SparseTensor [d0, …, dn] of ids.
      sparse_weights: SparseTensor of the same places, or None.
      default_id: what a row without ids reads; without it such a row is zeros.
      prune: drop ids below 0 and, unless the combiner is "sum", weights that are not positive, as TensorFlow
        documents.  Negative keys of an embedding variable are dropped too: give False if they are ids.

    Returns:
      [d0, …, dn-1, dim].

    Raises:
      ValueError: no ``embedding_weights``.
    """
    embedding_weights = weights_of(embedding_weights, sparse_weights)
    values = [*handles_of(embedding_weights), sparse_ids, sparse_weights]
    with name_scope(name, "embedding_lookup", values) as scope:
        original_shape = sparse_ids.dense_shape
        sparse_ids, sparse_weights = as_matrix(sparse_ids, sparse_weights)
        if prune:
            sparse_ids, sparse_weights = prune_invalid_ids(sparse_ids, sparse_weights)
            if combiner != "sum":
                sparse_ids, sparse_weights = prune_invalid_weights(sparse_ids, sparse_weights)
        sparse_ids, is_row_empty = sparse.sparse_fill_empty_rows(sparse_ids, default_id or 0)
        if sparse_weights is not None:
            sparse_weights, _ = sparse.sparse_fill_empty_rows(sparse_weights, 1.0)
        result: Any = embedding_lookup_sparse(
            embedding_weights,
            sparse_ids,
            sparse_weights,
            combiner=combiner,
            partition_strategy=partition_strategy,
            name=None if default_id is None else scope,
            max_norm=max_norm,
        )
        if default_id is None:
            result = zeros_where_empty(is_row_empty, result, scope)
        return shaped_back(result, original_shape)


def fused_safe_embedding_lookup_sparse(
    embedding_weights: Any,
    sparse_ids: Any,
    sparse_weights: Any = None,
    combiner: str = "mean",
    default_id: int | None = None,
    name: str | None = None,
    partition_strategy: str = "div",
    max_norm: float | None = None,
    prune: bool = True,
) -> Tensor:
    """`safe_embedding_lookup_sparse`, by another name of its scope: the ops it is made of are the same here.

    DeepRec has ops of its own for it, with the same numbers.
    """
    return safe_embedding_lookup_sparse(
        embedding_weights,
        sparse_ids,
        sparse_weights,
        combiner,
        default_id,
        "fused_embedding_lookup" if name is None else name,
        partition_strategy,
        max_norm,
        prune,
    )


# -- what safe lookups have in common ---------------------------------------------------------------


def weights_of(embedding_weights: Any, sparse_weights: Any) -> list[Any]:
    """The embeddings as a list of what rows can be looked up in.

    Raises:
      ValueError: there are none.
    """
    found = [] if embedding_weights is None else as_parts(embedding_weights)
    if not found:
        raise ValueError(f"Missing embedding_weights {embedding_weights}.")
    dtype = None if sparse_weights is None else sparse_weights.dtype
    return [
        w
        if isinstance(w, _LOOKED_UP_BY_ROW) and (dtype is None or dtype == w.dtype)
        else convert_to_tensor(w, dtype=dtype)
        for w in found
    ]


def as_matrix(sparse_ids: Any, sparse_weights: Any) -> tuple[Any, Any]:
    """Ids, and weights if there are any, with all dimensions but the last as one."""
    shape = sparse_ids.dense_shape
    rank = _rank(shape)
    rows = [
        reduction.reduce_prod(slicing_ops.slice(shape, [0], [rank - 1])),
        gather.gather(shape, rank - 1),
    ]
    sparse_ids = sparse.sparse_reshape(sparse_ids, rows)
    if sparse_weights is not None:
        sparse_weights = SparseTensor(sparse_ids.indices, sparse_weights.values, sparse_ids.dense_shape)
    return sparse_ids, sparse_weights


def _rank(shape: Any) -> Any:
    known = dimension_value(shape.get_shape()[0])
    return array.size(shape) if known is None else known


def zeros_where_empty(is_row_empty: Any, rows: Any, name: str) -> Any:
    """Rows [n, dim], zeros where ``is_row_empty`` [n]."""
    wide = array.tile(array.reshape(is_row_empty, [-1, 1]), array.stack([1, array.shape(rows)[1]]))
    return selection.where(wide, array.zeros_like(rows), rows, name=name)


def shaped_back(rows: Any, ids_shape: Any) -> Tensor:
    """Rows of ids that `as_matrix` made a matrix: the shape of the ids with dim in place of its last."""
    rank = _rank(ids_shape)
    shape = [
        slicing_ops.slice(math.cast(ids_shape, dtypes.int32), [0], [rank - 1]),
        slicing_ops.slice(array.shape(rows), [1], [-1]),
    ]
    final: Any = array.reshape(rows, array.concat(shape, 0))
    known = dimension_value(ids_shape.get_shape()[0])
    leading = unknown_shape(None if known is None else known - 1)
    final.set_shape(leading.concatenate(rows.get_shape()[1:]))
    return as_tensor(final)


def prune_invalid_ids(sparse_ids: Any, sparse_weights: Any) -> tuple[Any, Any]:
    is_id_valid = math.greater_equal(sparse_ids.values, 0)
    if sparse_weights is not None:
        is_id_valid = math.logical_and(is_id_valid, array.ones_like(sparse_weights.values, dtype=dtypes.bool))
    sparse_ids = sparse.sparse_retain(sparse_ids, is_id_valid)
    if sparse_weights is not None:
        sparse_weights = sparse.sparse_retain(sparse_weights, is_id_valid)
    return sparse_ids, sparse_weights


def prune_invalid_weights(sparse_ids: Any, sparse_weights: Any) -> tuple[Any, Any]:
    if sparse_weights is not None:
        is_weights_valid = math.greater(sparse_weights.values, 0)
        sparse_ids = sparse.sparse_retain(sparse_ids, is_weights_valid)
        sparse_weights = sparse.sparse_retain(sparse_weights, is_weights_valid)
    return sparse_ids, sparse_weights


def safe_embedding_lookup_sparse_v2(
    embedding_weights: Any,
    sparse_ids: Any,
    sparse_weights: Any = None,
    combiner: str = "mean",
    default_id: int | None = None,
    max_norm: float | None = None,
    name: str | None = None,
) -> Tensor:
    """`safe_embedding_lookup_sparse` with TensorFlow 2's order of arguments."""
    return safe_embedding_lookup_sparse(
        embedding_weights,
        sparse_ids,
        sparse_weights=sparse_weights,
        combiner=combiner,
        default_id=default_id,
        name=name,
        partition_strategy="div",
        max_norm=max_norm,
    )
