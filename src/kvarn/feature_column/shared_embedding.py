"""Columns that share the vectors of their ids.

Source: tensorflow/python/feature_column/{feature_column,feature_column_v2}.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kvarn.feature_column.base import (
    TensorSequenceLengthPair,
    _CategoricalColumn,
    _DenseColumn,
    _SequenceDenseColumn,
)
from kvarn.feature_column.categorical import WeightedCategoricalColumn
from kvarn.feature_column.embedding import (
    embedding_weights,
    initializer_for,
    look_up,
    start_from_checkpoint,
)
from kvarn.feature_column.embedding_variable import keys_of
from kvarn.feature_column.sequence import refuse_sequence, require_sequence
from kvarn.feature_column.utils import sequence_length_from_sparse_tensor
from kvarn.graph.graph import add_to_collection, get_collection, name_scope
from kvarn.graph.tensor_shape import TensorShape

_FIXES = (
    "Suggested fix A: Choose a unique name for this collection. Suggested fix B: Do not add any variables to this "
    "collection. The feature_column library already adds a variable under the hood."
)


class _SharedSettings(NamedTuple):
    categorical_column: Any
    dimension: int
    combiner: str
    initializer: Any
    shared_embedding_collection_name: str
    ckpt_to_load_from: str | None
    tensor_name_in_ckpt: str | None
    max_norm: float | None
    trainable: bool
    do_fusion: bool = False


class _SharedEmbeddingColumn(_DenseColumn, _SequenceDenseColumn, _SharedSettings):
    """See `shared_embedding_columns`.  The variable is found in a collection of its own."""

    @property
    def name(self) -> str:
        return f"{self.categorical_column.name}_shared_embedding"

    @property
    def _var_scope_name(self) -> str:
        return self.shared_embedding_collection_name

    @property
    def _parse_example_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.categorical_column._parse_example_spec
        return spec

    def _transform_feature(self, inputs: Any) -> Any:
        return inputs.get(self.categorical_column)

    @property
    def _variable_shape(self) -> TensorShape:
        return TensorShape([self.dimension])

    def _weights(self, weight_collections: Any, trainable: Any) -> Any:
        """The variable: what the collection holds, or a new one in the current variable scope."""
        shared = get_collection(self.shared_embedding_collection_name)
        if not shared:
            weights = embedding_weights(self, self.trainable and trainable, weight_collections)
            add_to_collection(self.shared_embedding_collection_name, weights)
            return weights
        if len(shared) > 1:
            raise ValueError(f"Collection {shared} can only contain one variable. {_FIXES}")
        weights = shared[0]
        has_keys = keys_of(self.categorical_column) is not None
        shape = (self.dimension,) if has_keys else (self.categorical_column._num_buckets, self.dimension)
        if weights.get_shape() != shape:
            raise ValueError(
                f"Shared embedding collection {self.shared_embedding_collection_name} contains variable "
                f"{weights.name} of unexpected shape {weights.get_shape()}. Expected shape is {shape}. {_FIXES}"
            )
        return weights

    def _looked_up(self, inputs: Any, weight_collections: Any, trainable: Any) -> Any:
        # The lookup has a scope of its own, for columns that share a variable have its scope in common.
        with name_scope(None, default_name=self.name):
            pair = self.categorical_column._get_sparse_tensors(
                inputs, weight_collections=weight_collections, trainable=trainable
            )
            weights = self._weights(weight_collections, trainable)
            start_from_checkpoint(self.ckpt_to_load_from, self.tensor_name_in_ckpt, weights)
            return look_up(self, pair, weights)

    def _get_dense_tensor(self, inputs: Any, weight_collections: Any = None, trainable: Any = None) -> Any:
        refuse_sequence(self, "embedding_column")
        return self._looked_up(inputs, weight_collections, trainable)

    def _get_sequence_dense_tensor(
        self, inputs: Any, weight_collections: Any = None, trainable: Any = None
    ) -> TensorSequenceLengthPair:
        require_sequence(self, "embedding_column")
        dense = self._looked_up(inputs, weight_collections, trainable)
        pair = self.categorical_column._get_sparse_tensors(inputs)
        return TensorSequenceLengthPair(dense, sequence_length_from_sparse_tensor(pair.id_tensor))


def shared_embedding_columns(
    categorical_columns: Sequence[Any],
    dimension: int,
    combiner: str = "mean",
    initializer: Any = None,
    shared_embedding_collection_name: str | None = None,
    ckpt_to_load_from: str | None = None,
    tensor_name_in_ckpt: str | None = None,
    max_norm: float | None = None,
    trainable: bool = True,
    do_fusion: bool = False,
) -> list[_SharedEmbeddingColumn]:
    """A column for each categorical column, with one variable for all.

    Args:
      categorical_columns: of one kind and number of ids.
      shared_embedding_collection_name: of the variable's collection and scope; made of the columns' names by
        default.
      dimension, combiner, initializer, ckpt_to_load_from, tensor_name_in_ckpt, max_norm, trainable, do_fusion:
        as for `embedding_column`.

    Raises:
      ValueError: the columns do not go together, or an argument is of another kind.
    """
    initializer = initializer_for(dimension, initializer, ckpt_to_load_from, tensor_name_in_ckpt)
    ordered = sorted(categorical_columns, key=lambda c: c.name)
    check_columns_agree(ordered)
    if not shared_embedding_collection_name:
        shared_embedding_collection_name = "_".join(c.name for c in ordered) + "_shared_embedding"
    return [
        _SharedEmbeddingColumn(
            categorical_column=column,
            dimension=dimension,
            combiner=combiner,
            initializer=initializer,
            shared_embedding_collection_name=shared_embedding_collection_name,
            ckpt_to_load_from=ckpt_to_load_from,
            tensor_name_in_ckpt=tensor_name_in_ckpt,
            max_norm=max_norm,
            trainable=trainable,
            do_fusion=do_fusion,
        )
        for column in categorical_columns
    ]


def check_columns_agree(columns: Sequence[Any]) -> None:
    """Raises ValueError unless the columns are of one kind, weights aside, and have one number of ids."""
    first = columns[0]
    num_buckets = first._num_buckets
    if not isinstance(first, _CategoricalColumn):
        raise ValueError(
            "All categorical_columns must be subclasses of _CategoricalColumn. "
            f"Given: {first}, of type: {type(first)}"
        )
    first = _without_weights(first)
    for given in columns[1:]:
        column = _without_weights(given)
        if not isinstance(column, type(first)):
            raise ValueError(
                "To use shared_embedding_column, all categorical_columns must have the same type, or be "
                f"weighted_categorical_column of the same type. Given column: {first} of type: {type(first)} does "
                f"not match given column: {column} of type: {type(column)}"
            )
        if num_buckets != column._num_buckets:
            raise ValueError(
                "To use shared_embedding_column, all categorical_columns must have the same number of buckets. Given "
                f"column: {first} with buckets: {num_buckets} does  not match column: {column} with buckets: "
                f"{column._num_buckets}"
            )


def _without_weights(column: Any) -> Any:
    return column.categorical_column if isinstance(column, WeightedCategoricalColumn) else column
