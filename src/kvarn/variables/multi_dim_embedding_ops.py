"""Sparse lookups that combine ids along several dimensions, each in its own way.

Source: `embedding_lookup_sparse_multi_dim` and `safe_embedding_lookup_multi_dim` in
tensorflow/python/ops/embedding_ops.py of DeepRec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kvarn import dtypes, tf_logging
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.ops import array, division, gather, math, segment, unary
from kvarn.ops import slicing as slicing_ops
from kvarn.variables.embedding_ops import as_parts, as_tensor, embedding_lookup, handles_of
from kvarn.variables.embedding_variable import EmbeddingVariable
from kvarn.variables.safe_embedding_ops import prune_invalid_ids, prune_invalid_weights, weights_of

_COMBINERS: Final = ("mean", "sqrtn", "sum", "max", "min", "tile")


def embedding_lookup_sparse_multi_dim(
    params: Any,
    sp_ids: Any,
    sp_weights: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    combiners: Any = None,
    max_norm: float | None = None,
    weight_axis: int | None = -1,
) -> Tensor:
    """The embeddings of ids, combined along the last dimension first, then along the one before, and so on.

    Args:
      params, partition_strategy, max_norm: see `embedding_lookup`.
      sp_ids: SparseTensor [d0, d1, …, dn] of ids, in row-major order.
      sp_weights: SparseTensor of the same places, or None for weights of one.
      combiners: for each of d1, …, dn how its items become one: "sum", "mean", "sqrtn", "max", "min" of those
        that are there, or "tile", side by side.  One string stands for one dimension.
      weight_axis: the dimension where "mean" and "sqrtn" divide by weights; the others divide by numbers.  Rows
        are multiplied by their weights whatever it is.

    Returns:
      [d0, dim], dim times the dimensions that are tiled; zeros where there are no ids.

    Raises:
      TypeError: ids or weights are no SparseTensor.
      ValueError: an unknown combiner, or not one for each dimension but the first.
    """
    combiners = _checked(combiners)
    params = as_parts(params)
    if not isinstance(sp_ids, SparseTensor):
        raise TypeError("sp_ids must be SparseTensor")
    rank = sp_ids.shape.ndims
    if rank != len(combiners) + 1:
        raise ValueError(
            "SparseTensor to embedding lookup rank should be combiner nums + 1, sparse tensor rank: "
            f"{rank}, num combiners: {len(combiners)}"
        )
    axis = -1 if weight_axis is None else weight_axis
    axis = axis + rank if axis < 0 else axis
    if not 0 < axis < rank:
        raise ValueError(
            f"weight_axis is {weight_axis}, expected one of the {rank - 1} dimensions after the first"
        )
    if sp_weights is not None and not isinstance(sp_weights, SparseTensor):
        raise TypeError("sp_weights must be either None or SparseTensor")
    with name_scope(name, "embedding_lookup_sparse", [*handles_of(params), sp_ids]) as scope:
        counts = None
        if isinstance(params[0], EmbeddingVariable) and params[0].need_counts():
            ids, idx, counts = gather.unique_with_counts(sp_ids.values)
        else:
            ids, idx = gather.unique(sp_ids.values)
        rows: Any = embedding_lookup(
            params, ids, partition_strategy=partition_strategy, max_norm=max_norm, counts=counts
        )
        if rows.dtype in (dtypes.float16, dtypes.bfloat16):
            rows = math.cast(rows, dtypes.float32)
        weights = None if sp_weights is None else math.cast(sp_weights.values, rows.dtype)
        return _combined(gather.gather(rows, idx), sp_ids, weights, combiners, axis, scope)


def _combined(
    rows: Any, sp_ids: SparseTensor, weights: Any, combiners: Sequence[str], weight_axis: int, name: str
) -> Tensor:
    """Rows [n, dim] of the ids as [d0, any], level by level: the items of a level are rows of the next."""
    shape = sp_ids.dense_shape
    items = sp_ids.indices[:, 0]
    for level in range(1, len(combiners) + 1):
        items = items * shape[level] + sp_ids.indices[:, level]
    weighted = weights is not None
    if weighted:
        rows = rows * array.reshape(weights, [-1, 1])
    else:
        weights = array.ones([array.size(items)], dtype=rows.dtype)
    for axis in range(len(combiners), 0, -1):
        places = math.cast(math.floormod(items, shape[axis]), dtypes.int32)
        items, into = gather.unique(math.floordiv(items, shape[axis]))
        n = array.size(items)
        by_weight = weighted and axis == weight_axis
        rows = _one_level(rows, into, n, combiners[axis - 1], weights, by_weight, places, shape[axis])
        weights = segment.unsorted_segment_sum(weights, into, n) / _numbers(weights, into, n)
    # Rows without ids are zeros.
    out = segment.unsorted_segment_sum(rows, items, shape[0], name=name)
    return as_tensor(out)


def _one_level(
    rows: Any, into: Any, n: Any, combiner: str, weights: Any, by_weight: bool, places: Any, most: Any
) -> Any:
    """Rows [m, dim] combined to [n, dim]: row i goes into row ``into[i]``.

    Args:
      weights: [m], divided by if ``by_weight``.
      places: [m], where in its row an item is, of ``most``.
    """
    if combiner == "tile":
        most = math.cast(most, dtypes.int32)
        spread = segment.unsorted_segment_sum(rows, into * most + places, n * most)
        return array.reshape(spread, array.stack([n, most * array.shape(rows)[1]]))
    if combiner == "max":
        return segment.unsorted_segment_max(rows, into, n)
    if combiner == "min":
        return segment.unsorted_segment_min(rows, into, n)
    summed = segment.unsorted_segment_sum(rows, into, n)
    if combiner == "sum":
        return summed
    if combiner == "mean":
        by = segment.unsorted_segment_sum(weights, into, n) if by_weight else _numbers(weights, into, n)
    else:
        squares = segment.unsorted_segment_sum(math.pow(weights, 2), into, n)
        by = unary.sqrt(squares if by_weight else _numbers(weights, into, n))
    return division.divide(summed, array.expand_dims(by, 1))


def _numbers(weights: Any, into: Any, n: Any) -> Any:
    """How many items go into each row."""
    return segment.unsorted_segment_sum(array.ones_like(weights), into, n)


def safe_embedding_lookup_multi_dim(
    embedding_weights: Any,
    sparse_ids: Any,
    sparse_weights: Any = None,
    combiners: Any = ("mean",),
    name: str | None = None,
    partition_strategy: str = "div",
    max_norm: float | None = None,
    weight_axis: int | None = 1,
    prune: bool = True,
) -> Tensor:
    """`embedding_lookup_sparse_multi_dim` of ids with any number of leading dimensions, which stay.

    Args:
      embedding_weights, sparse_weights, partition_strategy, max_norm, weight_axis: see there.
      sparse_ids: SparseTensor [d0, …, dn] of ids, n at least the number of combiners.
      combiners: for the last dimensions.
      prune: drop ids below 0 and, unless a combiner is "sum", weights that are not positive.

    Returns:
      [d0, …, dk, dim], dk the last dimension without a combiner; zeros where there are no ids.

    Raises:
      ValueError: no ``embedding_weights``, or see there.
    """
    combiners = _checked(combiners)
    rank = sparse_ids.shape.ndims
    if rank is None:
        raise ValueError("sparse_ids must have a known rank")
    kept = rank - len(combiners)
    # A dimension that stays is tiled, and cut up again in the end.
    all_combiners = ["tile"] * (kept - 1) + combiners
    embedding_weights = weights_of(embedding_weights, sparse_weights)
    values = [*handles_of(embedding_weights), sparse_ids, sparse_weights]
    with name_scope(name, "embedding_lookup", values):
        original_shape = sparse_ids.dense_shape
        if prune:
            sparse_ids, sparse_weights = prune_invalid_ids(sparse_ids, sparse_weights)
            if "sum" not in all_combiners:
                sparse_ids, sparse_weights = prune_invalid_weights(sparse_ids, sparse_weights)
        result: Any = embedding_lookup_sparse_multi_dim(
            embedding_weights,
            sparse_ids,
            sparse_weights,
            combiners=all_combiners,
            partition_strategy=partition_strategy,
            max_norm=max_norm,
            weight_axis=weight_axis,
        )
        leading = slicing_ops.slice(math.cast(original_shape, dtypes.int32), [0], [kept])
        return as_tensor(array.reshape(result, array.concat([leading, [-1]], 0)))


def _checked(combiners: Any) -> list[str]:
    if combiners is None:
        tf_logging.warning(
            'The default value of combiner will change from "mean" to "sqrtn" after 2016/11/01.'
        )
        combiners = ["mean"]
    found = list(combiners) if isinstance(combiners, (list, tuple)) else [combiners]
    if any(c not in _COMBINERS for c in found):
        raise ValueError("combiner must be one of 'mean', 'sqrtn', 'sum', 'max', 'min' or 'tile'")
    return found
