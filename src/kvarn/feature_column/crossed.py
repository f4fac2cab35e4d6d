"""Columns of the combinations of other columns' values.

Source: tensorflow/python/feature_column/feature_column_v2.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kvarn import dtypes
from kvarn.feature_column.base import CategoricalColumn, IdWeightPair, _CategoricalColumn, sparse_tensors_of
from kvarn.feature_column.categorical import HashedCategoricalColumn
from kvarn.graph.tensor import SparseTensor
from kvarn.ops.parsing import VarLenFeature
from kvarn.ops.sparse_cross import sparse_cross_hashed


class _CrossedSettings(NamedTuple):
    keys: tuple[Any, ...]
    hash_bucket_size: int
    hash_key: int | None


class CrossedColumn(CategoricalColumn, _CrossedSettings):
    """See `crossed_column`."""

    @property
    def name(self) -> str:
        return "_X_".join(sorted(key if isinstance(key, str) else key.name for key in self._leaves()))

    @property
    def parents(self) -> list[Any]:
        return list(self.keys)

    def _leaves(self) -> Iterator[Any]:
        """Keys and columns; of crosses inside, what these are made of."""
        for key in self.keys:
            if isinstance(key, CrossedColumn):
                yield from key._leaves()
            else:
                yield key

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        for key in self.keys:
            if isinstance(key, str):
                spec[key] = VarLenFeature(dtypes.string)
            else:
                spec.update(key._parse_example_spec)
        return spec

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> SparseTensor:
        inputs = []
        for key in self._leaves():
            if isinstance(key, str):
                inputs.append(transformation_cache.get(key, state_manager))
                continue
            pair = sparse_tensors_of(key, transformation_cache, state_manager)
            if pair.weight_tensor is not None:
                raise ValueError(
                    "crossed_column does not support weight_tensor, but the given column populates weight_tensor. "
                    f"Given column: {key.name}"
                )
            inputs.append(pair.id_tensor)
        return sparse_cross_hashed(inputs, num_buckets=self.hash_bucket_size, hash_key=self.hash_key)

    @property
    def num_buckets(self) -> int:
        return self.hash_bucket_size

    def get_sparse_tensors(self, transformation_cache: Any, state_manager: Any) -> IdWeightPair:
        return IdWeightPair(transformation_cache.get(self, state_manager), None)


def crossed_column(keys: Sequence[Any], hash_bucket_size: int, hash_key: int | None = None) -> CrossedColumn:
    """Every combination of values of several features, hashed to an id.

    Args:
      keys: at least two: keys of string features, or categorical columns that are not hashed ones.
      hash_bucket_size: how many ids.
      hash_key: what the hash begins with.

    Raises:
      ValueError: the number or one of the keys is of another kind.
    """
    if not hash_bucket_size or hash_bucket_size < 1:
        raise ValueError(f"hash_bucket_size must be > 1. hash_bucket_size: {hash_bucket_size}")
    if not keys or len(keys) < 2:
        raise ValueError(f"keys must be a list with length > 1. Given: {keys}")
    for key in keys:
        if not isinstance(key, (str, _CategoricalColumn)):
            raise ValueError(
                "Unsupported key type. All keys must be either string, or categorical column except "
                f"HashedCategoricalColumn. Given: {key}"
            )
        if isinstance(key, HashedCategoricalColumn):
            raise ValueError(
                "categorical_column_with_hash_bucket is not supported for crossing. Hashing before crossing will "
                "increase probability of collision. Instead, use the feature name as a string. "
                f"Given: {key}"
            )
    return CrossedColumn(tuple(keys), hash_bucket_size, hash_key)
