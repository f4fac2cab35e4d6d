"""Columns of ids that are keys of an embedding variable: any number of them, none known before.

Source: tensorflow/python/feature_column/{feature_column,feature_column_v2}.py of DeepRec.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from kvarn import dtypes
from kvarn.feature_column.categorical import KeyedCategoricalColumn
from kvarn.feature_column.utils import assert_key_is_string, assert_string_or_int
from kvarn.graph.tensor import SparseTensor
from kvarn.ops import string as string_ops
from kvarn.variables.embedding_scope import get_embedding_variable_internal
from kvarn.variables.partitioners import fixed_size_partitioner

# Strings become keys by a hash of this many values.
ALL_KEYS: Final = int(np.iinfo(np.int64).max)


class _KeySettings(NamedTuple):
    key: str
    dtype: Any
    partition_num: int | None
    ev_option: Any


class EmbeddingCategoricalColumn(KeyedCategoricalColumn, _KeySettings):
    """See `categorical_column_with_embedding`."""

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> SparseTensor:
        given = self.sparse_input(transformation_cache, state_manager)
        assert_string_or_int(given.dtype, prefix=f"column_name: {self.key} input_tensor")
        self.check_dtypes_agree(given)
        keys = given.values
        if self.dtype == dtypes.string:
            keys = string_ops.string_to_hash_bucket_fast(keys, ALL_KEYS)
        return SparseTensor(given.indices, keys, given.dense_shape)

    @property
    def num_buckets(self) -> int:
        """1, for there is no number that keys are below."""
        return 1

    def embedding_variable(
        self, name: str, dimension: int, initializer: Any, trainable: bool, collections: Any
    ) -> Any:
        """The embedding variable of a name in the current variable scope, with rows of ``dimension`` elements."""
        return get_embedding_variable_internal(
            name=name,
            embedding_dim=dimension,
            key_dtype=dtypes.int64 if self.dtype == dtypes.string else self.dtype,
            initializer=initializer,
            trainable=trainable,
            collections=collections,
            partitioner=None if self.partition_num is None else fixed_size_partitioner(self.partition_num),
            ev_option=self.ev_option,
        )


def categorical_column_with_embedding(
    key: str, dtype: Any = dtypes.string, partition_num: int | None = None, ev_option: Any = None
) -> EmbeddingCategoricalColumn:
    """A feature whose values are keys of an embedding variable: `embedding_column` of it makes one.

    Args:
      key: of the feature.
      dtype: string, whose values are hashed to int64 keys, or int64 or int32.
      partition_num: in how many parts the variable is; by default as the variable scope says.
      ev_option: an `EmbeddingVariableOption`.

    Raises:
      ValueError: the key is no string, or the type another.
    """
    assert_key_is_string(key)
    assert_string_or_int(dtype, prefix=f"column_name: {key}")
    return EmbeddingCategoricalColumn(key, dtype, partition_num, ev_option)


def keys_of(column: Any) -> EmbeddingCategoricalColumn | None:
    """The column of keys that a categorical column is, or has inside it; None if its ids are numbered."""
    while not isinstance(column, EmbeddingCategoricalColumn):
        column = getattr(column, "categorical_column", None)
        if column is None:
            return None
    return column
