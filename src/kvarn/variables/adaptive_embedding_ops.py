"""Adaptive embeddings: ids share the buckets of an ordinary variable until a mask gives them rows of their own.

Source: `adaptive_embedding_lookup_sparse` in tensorflow/python/ops/embedding_ops.py of DeepRec.
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.ops import array, gather, math, ranges, segment, selection, sparse
from kvarn.variables.embedding_ops import as_parts, as_tensor, embedding_lookup, handles_of
from kvarn.variables.safe_embedding_ops import as_matrix, shaped_back, weights_of, zeros_where_empty


def adaptive_embedding_lookup_sparse(
    hash_params: Any,
    ev_params: Any,
    sp_ids: Any,
    hash_ev_ids: Any,
    sp_weights: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    combiner: str | None = None,
    max_norm: float | None = None,
    bucket_size: int | None = None,
    adaptive_mask_tensor: Any = None,
    blocknums: Any = None,
) -> Tensor:
    """The embeddings of the ids of each row, each from the shared buckets or from the embedding variable.

    An id of the embedding variable that is not there yet starts from the row of its bucket.

    Args:
      hash_params: an ordinary variable [buckets, dim], whole or in parts.
      ev_params: an embedding variable of the same dim, whole or in parts.
      sp_ids: SparseTensor [rows, columns] of ids, at least one in each row: buckets where the mask is 0, keys
        where it is 1.
      hash_ev_ids: for each id with mask 1, in order, the bucket that it starts from.
      sp_weights: None; weights are not supported.
      combiner: "mean" by default, "sum" or "sqrtn", over the ids of a row.
      bucket_size: of no effect.
      adaptive_mask_tensor: int32, 0 or 1 for each of ``sp_ids.values``.
      partition_strategy, max_norm: see `embedding_lookup`; the strategy is that of ``hash_params``.

    Returns:
      [rows, dim].

    Raises:
      TypeError: ``sp_ids`` is no SparseTensor.
      ValueError: an unknown combiner, no embeddings or mask, or what is not supported.
    """
    del bucket_size
    combiner = _checked(combiner, sp_weights, adaptive_mask_tensor, blocknums)
    hash_params, ev_params = as_parts(hash_params), as_parts(ev_params)
    if not hash_params or not ev_params:
        raise ValueError(f"Missing hash_params: {hash_params}, ev_params: {ev_params}.")
    if not isinstance(sp_ids, SparseTensor):
        raise TypeError("sp_ids must be SparseTensor")
    with name_scope(name, "embedding_lookup_sparse", [*handles_of(ev_params), sp_ids]) as scope:
        mask = math.cast(convert_to_tensor(adaptive_mask_tensor, name="adaptive_mask"), dtypes.int32)
        ids = sp_ids.values
        places = gather.dynamic_partition(ranges.range(array.size(ids)), mask, 2)
        buckets, keys = gather.dynamic_partition(ids, mask, 2)
        unique_buckets, idx = gather.unique(buckets)

        def of_buckets(wanted: Any) -> Any:
            return embedding_lookup(
                hash_params, wanted, partition_strategy=partition_strategy, max_norm=max_norm
            )

        shared = gather.gather(of_buckets(unique_buckets), idx)
        own = embedding_lookup(
            ev_params,
            keys,
            partition_strategy=partition_strategy,
            max_norm=max_norm,
            ev_init_value=of_buckets(hash_ev_ids),
        )
        rows = gather.dynamic_stitch(places, [shared, own])
        segment_ids = math.cast(sp_ids.indices[:, 0], dtypes.int32)
        combine = {
            "sum": segment.sparse_segment_sum,
            "mean": segment.sparse_segment_mean,
            "sqrtn": segment.sparse_segment_sqrt_n,
        }[combiner]
        return as_tensor(combine(rows, ranges.range(array.size(ids)), segment_ids, name=scope))


def safe_adaptive_embedding_lookup_sparse(
    hash_embedding_weights: Any,
    ev_embedding_weights: Any,
    sparse_ids: Any,
    hash_ev_ids: Any,
    sparse_weights: Any = None,
    combiner: str | None = None,
    default_id: int | None = None,
    name: str | None = None,
    partition_strategy: str = "div",
    max_norm: float | None = None,
    bucket_size: int | None = None,
    adaptive_mask_tensor: Any = None,
    blocknums: Any = None,
) -> Tensor:
    """`adaptive_embedding_lookup_sparse` that takes rows without ids, along the last dimension of any number.

    Ids below 0 are dropped, with their mask and bucket.

    Args:
      hash_embedding_weights, ev_embedding_weights: ``hash_params`` and ``ev_params`` there.
      sparse_ids: SparseTensor [d0, …, dn] of ids.
      default_id: the bucket that a row without ids reads; without it such a row is zeros.

    Returns:
      [d0, …, dn-1, dim].

    Raises:
      ValueError: see there.
    """
    del bucket_size
    combiner = _checked(combiner, sparse_weights, adaptive_mask_tensor, blocknums)
    hash_embedding_weights = weights_of(hash_embedding_weights, None)
    with name_scope(name, "embedding_lookup", [*handles_of(hash_embedding_weights), sparse_ids]) as scope:
        original_shape = sparse_ids.dense_shape
        sparse_ids, _ = as_matrix(sparse_ids, None)
        mask = math.cast(convert_to_tensor(adaptive_mask_tensor, name="adaptive_mask"), dtypes.int32)
        is_id_valid = math.greater_equal(sparse_ids.values, 0)
        # The buckets go with the ids of mask 1 alone.
        keep = selection.boolean_mask(is_id_valid, math.equal(mask, 1))
        hash_ev_ids = selection.boolean_mask(convert_to_tensor(hash_ev_ids), keep)
        masks = SparseTensor(sparse_ids.indices, mask, sparse_ids.dense_shape)
        masks = sparse.sparse_retain(masks, is_id_valid)
        sparse_ids = sparse.sparse_retain(sparse_ids, is_id_valid)
        # What an empty row gets is a bucket.
        masks, _ = sparse.sparse_fill_empty_rows(masks, 0)
        sparse_ids, is_row_empty = sparse.sparse_fill_empty_rows(sparse_ids, default_id or 0)
        result = adaptive_embedding_lookup_sparse(
            hash_embedding_weights,
            ev_embedding_weights,
            sparse_ids,
            hash_ev_ids,
            None,
            partition_strategy=partition_strategy,
            name=None if default_id is None else scope,
            combiner=combiner,
            max_norm=max_norm,
            adaptive_mask_tensor=masks.values,
        )
        if default_id is None:
            result = zeros_where_empty(is_row_empty, result, scope)
        return shaped_back(result, original_shape)


def _checked(combiner: str | None, weights: Any, mask: Any, blocknums: Any) -> str:
    """The combiner; ValueError for what adaptive embeddings cannot do."""
    combiner = "mean" if combiner is None else combiner
    if combiner not in ("mean", "sqrtn", "sum"):
        raise ValueError("combiner must be one of 'mean', 'sqrtn' or 'sum'")
    if weights is not None:
        raise ValueError("AdaptiveEmbedding lookup not support not ignore weights")
    if mask is None:
        raise ValueError("AdaptiveEmbedding lookup needs adaptive_mask_tensor, 0 or 1 for each id")
    if blocknums is not None:
        raise ValueError("AdaptiveEmbedding lookup has no blocks: leave blocknums out")
    return combiner
