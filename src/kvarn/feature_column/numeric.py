"""Columns of numbers, and of the ranges that numbers fall into.

Source: tensorflow/python/feature_column/feature_column_v2.py (1.15).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from kvarn import dtypes
from kvarn.feature_column.base import CategoricalColumn, DenseColumn, IdWeightPair
from kvarn.feature_column.utils import assert_key_is_string, check_default_value, check_shape
from kvarn.graph.tensor import SparseTensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import array, ranges
from kvarn.ops import math as math_ops
from kvarn.ops.parsing import FixedLenFeature
from kvarn.ops.search import bucketize


class _NumericSettings(NamedTuple):
    key: str
    shape: tuple[int, ...]
    default_value: Any
    dtype: Any
    normalizer_fn: Any


class NumericColumn(DenseColumn, _NumericSettings):
    """See `numeric_column`."""

    @property
    def name(self) -> str:
        return self.key

    @property
    def parents(self) -> list[Any]:
        return [self.key]

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        return {self.key: FixedLenFeature(self.shape, self.dtype, self.default_value)}

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        tensor = transformation_cache.get(self.key, state_manager)
        if isinstance(tensor, SparseTensor):
            raise ValueError(
                "The corresponding Tensor of numerical column must be a Tensor. SparseTensor is not supported. "
                f"key: {self.key}"
            )
        if self.normalizer_fn is not None:
            tensor = self.normalizer_fn(tensor)
        return math_ops.cast(tensor, dtypes.float32)

    @property
    def variable_shape(self) -> TensorShape:
        return TensorShape(self.shape)

    def get_dense_tensor(self, transformation_cache: Any, state_manager: Any) -> Any:
        return transformation_cache.get(self, state_manager)


def numeric_column(
    key: str,
    shape: Any = (1,),
    default_value: Any = None,
    dtype: Any = dtypes.float32,
    normalizer_fn: Any = None,
) -> NumericColumn:
    """A feature of real numbers.

    Args:
      key: of the feature.
      shape: of an example: an int or a sequence of ints.
      default_value: for examples that lack it: one number for all or nested sequences of them.
      dtype: of the feature in examples; what the column gives is float32.
      normalizer_fn: from a tensor to a tensor, applied to the feature before the cast.

    Raises:
      TypeError, ValueError: the shape, the type, or the default value is none.
    """
    shape = check_shape(shape, key)
    if not (dtype.is_integer or dtype.is_floating):
        raise ValueError(f"dtype must be convertible to float. dtype: {dtype}, key: {key}")
    default_value = check_default_value(shape, default_value, dtype, key)
    if normalizer_fn is not None and not callable(normalizer_fn):
        raise TypeError(f"normalizer_fn must be a callable. Given: {normalizer_fn}")
    assert_key_is_string(key)
    return NumericColumn(key, shape, default_value, dtype, normalizer_fn)


class _BucketizedSettings(NamedTuple):
    source_column: Any
    boundaries: tuple[float, ...]


class BucketizedColumn(DenseColumn, CategoricalColumn, _BucketizedSettings):
    """See `bucketized_column`."""

    @property
    def name(self) -> str:
        return f"{self.source_column.name}_bucketized"

    @property
    def parents(self) -> list[Any]:
        return [self.source_column]

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.source_column._parse_example_spec
        return spec

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        source = transformation_cache.get(self.source_column, state_manager)
        return bucketize(source, boundaries=self.boundaries)

    @property
    def variable_shape(self) -> TensorShape:
        return TensorShape((*self.source_column.shape, len(self.boundaries) + 1))

    def get_dense_tensor(self, transformation_cache: Any, state_manager: Any) -> Any:
        buckets = transformation_cache.get(self, state_manager)
        return array.one_hot(
            indices=math_ops.cast(buckets, dtypes.int64),
            depth=len(self.boundaries) + 1,
            on_value=1.0,
            off_value=0.0,
        )

    @property
    def num_buckets(self) -> int:
        return (len(self.boundaries) + 1) * int(self.source_column.shape[0])

    def get_sparse_tensors(self, transformation_cache: Any, state_manager: Any) -> IdWeightPair:
        """Every number has the ids of its own: those of number i begin at i times the number of ranges."""
        buckets = transformation_cache.get(self, state_manager)
        batch = array.shape(buckets)[0]
        width = self.source_column.shape[0]
        rows = array.reshape(array.tile(array.expand_dims(ranges.range(0, batch), 1), [1, width]), (-1,))
        columns = array.tile(ranges.range(0, width), [batch])
        ids = array.reshape(buckets, (-1,)) + (len(self.boundaries) + 1) * columns
        indices = math_ops.cast(array.transpose(array.stack((rows, columns))), dtypes.int64)
        shape = math_ops.cast(array.stack([batch, width]), dtypes.int64)
        return IdWeightPair(SparseTensor(indices, ids, shape), None)


def bucketized_column(source_column: Any, boundaries: Sequence[float]) -> BucketizedColumn:
    """The range that a number falls into: below the first boundary, from one to the next, from the last on.

    Args:
      source_column: a `numeric_column` of one dimension.
      boundaries: ascending.

    Raises:
      ValueError: the column or the boundaries are of another kind.
    """
    if not isinstance(source_column, NumericColumn):
        raise ValueError(
            f"source_column must be a column generated with numeric_column(). Given: {source_column}"
        )
    if len(source_column.shape) > 1:
        raise ValueError(f"source_column must be one-dimensional column. Given: {source_column}")
    if not boundaries:
        raise ValueError("boundaries must not be empty.")
    ascending = isinstance(boundaries, (list, tuple)) and all(
        a < b for a, b in itertools.pairwise(boundaries)
    )
    if not ascending:
        raise ValueError("boundaries must be a sorted list.")
    return BucketizedColumn(source_column, tuple(boundaries))
