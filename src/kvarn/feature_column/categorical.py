"""Columns of ids: hashed, as they are, and with weights.

Source: tensorflow/python/feature_column/feature_column_v2.py (1.15).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kvarn import dtypes
from kvarn.feature_column.base import CategoricalColumn, IdWeightPair
from kvarn.feature_column.cache import to_sparse_input_and_drop_ignore_values
from kvarn.feature_column.utils import assert_key_is_string, assert_string_or_int
from kvarn.graph.convert import convert_to_tensor_or_sparse_tensor
from kvarn.graph.graph import control_dependencies
from kvarn.graph.tensor import SparseTensor
from kvarn.ops import array, check
from kvarn.ops import math as math_ops
from kvarn.ops import string as string_ops
from kvarn.ops.parsing import VarLenFeature


class KeyedCategoricalColumn(CategoricalColumn):
    """A column made of one feature, whose key is its name."""

    key: str
    dtype: Any

    @property
    def name(self) -> str:
        return self.key

    @property
    def parents(self) -> list[Any]:
        return [self.key]

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        return {self.key: VarLenFeature(self.dtype)}

    def get_sparse_tensors(self, transformation_cache: Any, state_manager: Any) -> IdWeightPair:
        return IdWeightPair(transformation_cache.get(self, state_manager), None)

    def sparse_input(self, transformation_cache: Any, state_manager: Any) -> SparseTensor:
        """The feature as a sparse tensor."""
        return to_sparse_input_and_drop_ignore_values(transformation_cache.get(self.key, state_manager))

    def check_dtypes_agree(self, input_tensor: SparseTensor) -> None:
        """Raises ValueError if one of column and feature has integers and the other strings."""
        if self.dtype.is_integer != input_tensor.dtype.is_integer:
            raise ValueError(
                f"Column dtype and SparseTensors dtype must be compatible. key: {self.key}, "
                f"column dtype: {self.dtype}, tensor dtype: {input_tensor.dtype}"
            )


# -- hashes -------------------------------------------------------------------------------------------


class _HashedSettings(NamedTuple):
    key: str
    hash_bucket_size: int
    dtype: Any


class HashedCategoricalColumn(KeyedCategoricalColumn, _HashedSettings):
    """See `categorical_column_with_hash_bucket`."""

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> SparseTensor:
        given = self.sparse_input(transformation_cache, state_manager)
        assert_string_or_int(given.dtype, prefix=f"column_name: {self.key} input_tensor")
        self.check_dtypes_agree(given)
        texts = given.values if self.dtype == dtypes.string else string_ops.as_string(given.values)
        ids = string_ops.string_to_hash_bucket_fast(texts, self.hash_bucket_size, name="lookup")
        return SparseTensor(given.indices, ids, given.dense_shape)

    @property
    def num_buckets(self) -> int:
        return self.hash_bucket_size


def categorical_column_with_hash_bucket(
    key: str, hash_bucket_size: int, dtype: Any = dtypes.string
) -> HashedCategoricalColumn:
    """A feature whose values are hashed to ids: strings, or integers as they are written.

    Args:
      key: of the feature.
      hash_bucket_size: how many ids.
      dtype: string or an integer type.

    Raises:
      ValueError: the number is not positive, the key no string, or the type another.
    """
    if hash_bucket_size is None:
        raise ValueError(f"hash_bucket_size must be set. key: {key}")
    if hash_bucket_size < 1:
        raise ValueError(
            f"hash_bucket_size must be at least 1. hash_bucket_size: {hash_bucket_size}, key: {key}"
        )
    assert_key_is_string(key)
    assert_string_or_int(dtype, prefix=f"column_name: {key}")
    return HashedCategoricalColumn(key, hash_bucket_size, dtype)


# -- ids ----------------------------------------------------------------------------------------------


class _IdentitySettings(NamedTuple):
    key: str
    number_buckets: int
    default_value: int | None


class IdentityCategoricalColumn(KeyedCategoricalColumn, _IdentitySettings):
    """See `categorical_column_with_identity`."""

    dtype = dtypes.int64

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> SparseTensor:
        given = self.sparse_input(transformation_cache, state_manager)
        if not given.dtype.is_integer:
            raise ValueError(f"Invalid input, not integer. key: {self.key} dtype: {given.dtype}")
        values = math_ops.cast(given.values, dtypes.int64, name="values")
        num_buckets = math_ops.cast(self.num_buckets, dtypes.int64, name="num_buckets")
        zero = math_ops.cast(0, dtypes.int64, name="zero")
        if self.default_value is None:
            below = check.assert_less(
                values,
                num_buckets,
                data=(values, num_buckets),
                message=f'Bucket index for categorical column "{self.name}" exceeds number of buckets',
                name="assert_less_than_num_buckets",
            )
            above = check.assert_greater_equal(
                values,
                zero,
                data=(values,),
                message=f'Negative bucket index for categorical column "{self.name}"',
                name="assert_greater_or_equal_0",
            )
            with control_dependencies((below, above)):
                values = array.identity(values)
        else:
            values = array.where_v2(
                math_ops.logical_or(values < zero, values >= num_buckets, name="out_of_range"),
                array.fill(
                    dims=array.shape(values),
                    value=math_ops.cast(self.default_value, dtypes.int64),
                    name="default_values",
                ),
                values,
            )
        return SparseTensor(given.indices, values, given.dense_shape)

    @property
    def num_buckets(self) -> int:
        return self.number_buckets


def categorical_column_with_identity(
    key: str, num_buckets: int, default_value: int | None = None
) -> IdentityCategoricalColumn:
    """A feature of integers that are ids themselves.

    Args:
      key: of the feature.
      num_buckets: ids are below it.
      default_value: the id for what is none; without it that is an error when run.

    Raises:
      ValueError: the number is not positive, the default none of the ids, or the key no string.
    """
    if num_buckets < 1:
        raise ValueError(f"num_buckets {num_buckets} < 1, column_name {key}")
    if default_value is not None and not 0 <= default_value < num_buckets:
        raise ValueError(f"default_value {default_value} not in range [0, {num_buckets}), column_name {key}")
    assert_key_is_string(key)
    return IdentityCategoricalColumn(key, num_buckets, default_value)


# -- weights ------------------------------------------------------------------------------------------


class _WeightedSettings(NamedTuple):
    categorical_column: Any
    weight_feature_key: str
    dtype: Any


class WeightedCategoricalColumn(CategoricalColumn, _WeightedSettings):
    """See `weighted_categorical_column`."""

    @property
    def name(self) -> str:
        return f"{self.categorical_column.name}_weighted_by_{self.weight_feature_key}"

    @property
    def parents(self) -> list[Any]:
        return [self.categorical_column, self.weight_feature_key]

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.categorical_column._parse_example_spec
        if self.weight_feature_key in spec:
            raise ValueError(
                f"Parse config {spec[self.weight_feature_key]} already exists for {self.weight_feature_key}."
            )
        spec[self.weight_feature_key] = VarLenFeature(self.dtype)
        return spec

    @property
    def num_buckets(self) -> int:
        count: int = self.categorical_column._num_buckets
        return count

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> tuple[Any, Any]:
        weights = transformation_cache.get(self.weight_feature_key, state_manager)
        if weights is None:
            raise ValueError(f"Missing weights {self.weight_feature_key}.")
        weights = convert_to_tensor_or_sparse_tensor(weights)
        if self.dtype != weights.dtype.base_dtype:
            raise ValueError(f"Bad dtype, expected {self.dtype}, but got {weights.dtype}.")
        if not isinstance(weights, SparseTensor):
            weights = to_sparse_input_and_drop_ignore_values(weights, ignore_value=0.0)
        if not weights.dtype.is_floating:
            weights = math_ops.cast(weights, dtypes.float32)
        return transformation_cache.get(self.categorical_column, state_manager), weights

    def get_sparse_tensors(self, transformation_cache: Any, state_manager: Any) -> IdWeightPair:
        return IdWeightPair(*transformation_cache.get(self, state_manager))


def weighted_categorical_column(
    categorical_column: Any, weight_feature_key: str, dtype: Any = dtypes.float32
) -> WeightedCategoricalColumn:
    """A categorical column whose values have weights, which are another feature of the same places.

    Args:
      categorical_column: of the ids.
      weight_feature_key: of the weights; where these are dense, zeros are left out.
      dtype: of the weights.

    Raises:
      ValueError: the type is none of numbers.
    """
    if dtype is None or not (dtype.is_integer or dtype.is_floating):
        raise ValueError(f"dtype {dtype} is not convertible to float.")
    return WeightedCategoricalColumn(categorical_column, weight_feature_key, dtype)
