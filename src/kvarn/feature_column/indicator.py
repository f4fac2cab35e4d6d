"""Columns that have an element for every id: how often it occurs, or its weight.

Source: tensorflow/python/feature_column/feature_column_v2.py (1.15).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kvarn.feature_column.base import (
    DenseColumn,
    SequenceDenseColumn,
    TensorSequenceLengthPair,
    sparse_tensors_of,
)
from kvarn.feature_column.embedding_variable import keys_of
from kvarn.feature_column.sequence import refuse_sequence, require_sequence
from kvarn.feature_column.utils import sequence_length_from_sparse_tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import array, sparse, sparse_shape
from kvarn.ops import math as math_ops


class _IndicatorSettings(NamedTuple):
    categorical_column: Any


class IndicatorColumn(DenseColumn, SequenceDenseColumn, _IndicatorSettings):
    """See `indicator_column`."""

    @property
    def name(self) -> str:
        return f"{self.categorical_column.name}_indicator"

    @property
    def parents(self) -> list[Any]:
        return [self.categorical_column]

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.categorical_column._parse_example_spec
        return spec

    @property
    def variable_shape(self) -> TensorShape:
        return TensorShape([1, self.categorical_column._num_buckets])

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        ids, weights = sparse_tensors_of(self.categorical_column, transformation_cache, state_manager)
        depth: Any = self.variable_shape[-1]
        if weights is not None:
            by_id = sparse_shape.sparse_merge(sp_ids=ids, sp_values=weights, vocab_size=int(depth))
            # Ids of -1 stand outside the shape; they go.
            by_id = sparse_shape.sparse_slice(by_id, [0, 0], by_id.dense_shape)
            return array.scatter_nd(by_id.indices, by_id.values, by_id.dense_shape)
        dense_ids = sparse.sparse_tensor_to_dense(ids, default_value=-1)
        one_hot = array.one_hot(dense_ids, depth=depth, on_value=1.0, off_value=0.0)
        return math_ops.reduce_sum(one_hot, axis=[-2])

    def get_dense_tensor(self, transformation_cache: Any, state_manager: Any) -> Any:
        refuse_sequence(self, "indicator_column")
        return transformation_cache.get(self, state_manager)

    def get_sequence_dense_tensor(
        self, transformation_cache: Any, state_manager: Any
    ) -> TensorSequenceLengthPair:
        require_sequence(self, "indicator_column")
        dense = transformation_cache.get(self, state_manager)
        pair = sparse_tensors_of(self.categorical_column, transformation_cache, state_manager)
        return TensorSequenceLengthPair(dense, sequence_length_from_sparse_tensor(pair.id_tensor))


def indicator_column(categorical_column: Any) -> IndicatorColumn:
    """A vector with as many elements as there are ids: how often each occurs, or the sum of its weights.

    Args:
      categorical_column: of the ids.

    Raises:
      ValueError: the ids are keys of an embedding variable, of which there is no number.
    """
    if keys_of(categorical_column) is not None:
        raise ValueError(
            f"indicator_column: {categorical_column.name} has keys of an embedding variable, of which there is no "
            "number that a vector could have elements for. Use embedding_column."
        )
    return IndicatorColumn(categorical_column)
