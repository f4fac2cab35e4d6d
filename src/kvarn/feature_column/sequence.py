"""Columns of sequences of ids.

Source: tensorflow/python/feature_column/feature_column_v2.py (1.15).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kvarn.feature_column.base import CategoricalColumn, IdWeightPair, sparse_tensors_of
from kvarn.ops import array, sparse
from kvarn.ops import math as math_ops


class _SequenceSettings(NamedTuple):
    categorical_column: Any


class SequenceCategoricalColumn(CategoricalColumn, _SequenceSettings):
    """A categorical column whose ids are steps of a sequence."""

    @property
    def name(self) -> str:
        name: str = self.categorical_column.name
        return name

    @property
    def parents(self) -> list[Any]:
        return [self.categorical_column]

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.categorical_column._parse_example_spec
        return spec

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        return self.categorical_column.transform_feature(transformation_cache, state_manager)

    def _transform_feature(self, inputs: Any) -> Any:
        return self.categorical_column._transform_feature(inputs)

    @property
    def num_buckets(self) -> int:
        count: int = self.categorical_column._num_buckets
        return count

    def get_sparse_tensors(self, transformation_cache: Any, state_manager: Any) -> IdWeightPair:
        """Ids and weights [batch, steps, all the rest]."""
        ids, weights = sparse_tensors_of(self.categorical_column, transformation_cache, state_manager)
        shape = array.shape(ids)
        target = [shape[0], shape[1], math_ops.reduce_prod(shape[2:])]
        ids = sparse.sparse_reshape(ids, target)
        if weights is not None:
            weights = sparse.sparse_reshape(weights, target)
        return IdWeightPair(ids, weights)


def refuse_sequence(column: Any, kind: str) -> None:
    """Raises ValueError if the ids of a column of kind ``kind`` are sequences, and it is to give one vector each."""
    plain, sequence = column.advised_layers
    if isinstance(column.categorical_column, SequenceCategoricalColumn):
        raise ValueError(
            f"In {kind}: {column.name}. categorical_column must not be of type _SequenceCategoricalColumn. "
            f"Suggested fix A: If you wish to use {plain}, use a non-sequence categorical_column_with_*. "
            f"Suggested fix B: If you wish to create sequence input, use {sequence} instead of {plain}. "
            f"Given (type {type(column.categorical_column)}): {column.categorical_column}"
        )


def require_sequence(column: Any, kind: str) -> None:
    """Raises ValueError unless the ids of a column of kind ``kind`` are sequences."""
    if not isinstance(column.categorical_column, SequenceCategoricalColumn):
        raise ValueError(
            f"In {kind}: {column.name}. categorical_column must be of type _SequenceCategoricalColumn to use "
            f"{column.advised_layers[1]}. Suggested fix: Use one of sequence_categorical_column_with_*. "
            f"Given (type {type(column.categorical_column)}): {column.categorical_column}"
        )
