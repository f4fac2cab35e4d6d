"""Columns of ids that have a row of an embedding variable or share one of a table of buckets, as a mask says.

Source: tensorflow/python/feature_column/feature_column_v2.py of DeepRec.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kvarn import dtypes
from kvarn.feature_column.base import IdWeightPair
from kvarn.feature_column.categorical import KeyedCategoricalColumn
from kvarn.feature_column.embedding_variable import ALL_KEYS, EmbeddingCategoricalColumn
from kvarn.feature_column.utils import assert_key_is_string, assert_string_or_int
from kvarn.graph.tensor import SparseTensor
from kvarn.ops import array, ranges
from kvarn.ops import string as string_ops
from kvarn.variables.adaptive_embedding_ops import safe_adaptive_embedding_lookup_sparse
from kvarn.variables.scope import get_variable


class AdaptiveIds(NamedTuple):
    """What an adaptive column makes of a feature.

    Attributes:
      ids: SparseTensor of buckets where the mask is 0, of keys where it is 1.
      buckets: int64, of the values whose mask is 1: the bucket that the row of a new key starts from.
      mask: int32, one for each value.
    """

    ids: Any
    buckets: Any
    mask: Any


class _AdaptiveSettings(NamedTuple):
    key: str
    hash_bucket_size: int
    dtype: Any
    partition_num: int | None
    ev_option: Any


class AdaptiveEmbeddingCategoricalColumn(KeyedCategoricalColumn, _AdaptiveSettings):
    """See `categorical_column_with_adaptive_embedding`."""

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> AdaptiveIds:
        masks = getattr(transformation_cache, "adaptive_mask_tensors", None) or {}
        if self.key not in masks:
            raise ValueError(
                f"Column {self.key} needs a mask: give input_layer adaptive_mask_tensors with an int32 tensor under "
                f"'{self.key}'."
            )
        mask = masks[self.key]
        given = self.sparse_input(transformation_cache, state_manager)
        assert_string_or_int(given.dtype, prefix=f"column_name: {self.key} input_tensor")
        self.check_dtypes_agree(given)
        flat = array.reshape(given.values, [-1])
        places = array.dynamic_partition(ranges.range(array.size(flat)), mask, 2)
        hashed, keyed = array.dynamic_partition(flat, mask, 2)
        strings = self.dtype == dtypes.string
        ids = self._bucket(hashed, "lookup_hash")
        keys = string_ops.string_to_hash_bucket_fast(keyed, ALL_KEYS) if strings else keyed
        buckets = self._bucket(keyed, "lookup_hash_ev")
        stitched = array.dynamic_stitch(places, [ids, keys])
        return AdaptiveIds(SparseTensor(given.indices, stitched, given.dense_shape), buckets, mask)

    def _bucket(self, values: Any, name: str) -> Any:
        texts = values if self.dtype == dtypes.string else string_ops.as_string(values)
        return string_ops.string_to_hash_bucket_fast(texts, self.hash_bucket_size, name=name)

    @property
    def num_buckets(self) -> int:
        return self.hash_bucket_size

    def get_sparse_tensors(self, transformation_cache: Any, state_manager: Any) -> IdWeightPair:
        return IdWeightPair(transformation_cache.get(self, state_manager).ids, None)

    def looked_up(self, column: Any, inputs: Any, weight_collections: Any, trainable: Any) -> Any:
        """The vectors of an embedding column of these ids, whose variables are in the current variable scope."""
        found = inputs.get(self)
        keys = EmbeddingCategoricalColumn(self.key, self.dtype, self.partition_num, self.ev_option)
        trained = trainable and column.trainable
        ev_weights = keys.embedding_variable(
            "ev_weights", column.dimension, column.initializer, trained, weight_collections
        )
        hash_weights = get_variable(
            name="hash_weights",
            shape=(self.hash_bucket_size, column.dimension),
            dtype=dtypes.float32,
            initializer=column.initializer,
            trainable=trained,
            collections=weight_collections,
        )
        return safe_adaptive_embedding_lookup_sparse(
            hash_embedding_weights=hash_weights,
            ev_embedding_weights=ev_weights,
            sparse_ids=found.ids,
            hash_ev_ids=found.buckets,
            combiner=column.combiner,
            name=f"{column.name}_weights",
            max_norm=column.max_norm,
            adaptive_mask_tensor=found.mask,
        )


def categorical_column_with_adaptive_embedding(
    key: str,
    hash_bucket_size: int,
    dtype: Any = dtypes.string,
    partition_num: int | None = None,
    ev_option: Any = None,
) -> AdaptiveEmbeddingCategoricalColumn:
    """A feature whose values read a row of an embedding variable where a mask is 1, and of a bucket where it is 0.

    `input_layer` gets the masks, by key: int32, one for each value of the feature.

    Args:
      key: of the feature.
      hash_bucket_size: how many buckets.
      dtype: string, or int64.
      partition_num: in how many parts the embedding variable is.
      ev_option: an `EmbeddingVariableOption`.

    Raises:
      ValueError: the key is no string, the number not positive, or the type another.
    """
    assert_key_is_string(key)
    if hash_bucket_size is None or hash_bucket_size < 1:
        raise ValueError(
            f"hash_bucket_size must be at least 1. hash_bucket_size: {hash_bucket_size}, key: {key}"
        )
    assert_string_or_int(dtype, prefix=f"column_name: {key}")
    return AdaptiveEmbeddingCategoricalColumn(key, hash_bucket_size, dtype, partition_num, ev_option)
