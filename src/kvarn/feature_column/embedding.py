"""Columns that have a trained vector for every id.

Source: tensorflow/python/feature_column/{feature_column,feature_column_v2}.py (1.15).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from kvarn import dtypes, errors
from kvarn.feature_column.adaptive import AdaptiveEmbeddingCategoricalColumn
from kvarn.feature_column.base import (
    DenseColumn,
    SequenceDenseColumn,
    TensorSequenceLengthPair,
    sparse_tensors_of,
)
from kvarn.feature_column.embedding_variable import keys_of
from kvarn.feature_column.grouping import current_group
from kvarn.feature_column.sequence import refuse_sequence, require_sequence
from kvarn.feature_column.utils import sequence_length_from_sparse_tensor
from kvarn.graph.graph import GraphKeys
from kvarn.graph.tensor_shape import TensorShape
from kvarn.train.checkpoint_utils import init_from_checkpoint
from kvarn.variables.initializers import TruncatedNormal
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.safe_embedding_ops import (
    fused_safe_embedding_lookup_sparse,
    safe_embedding_lookup_sparse,
)
from kvarn.variables.scope import get_variable


class _EmbeddingSettings(NamedTuple):
    categorical_column: Any
    dimension: int
    combiner: str
    initializer: Any
    ckpt_to_load_from: str | None
    tensor_name_in_ckpt: str | None
    max_norm: float | None
    trainable: bool
    do_fusion: bool = False
    group_name: str = ""


class EmbeddingColumn(DenseColumn, SequenceDenseColumn, _EmbeddingSettings):
    """See `embedding_column`."""

    @property
    def name(self) -> str:
        return f"{self.categorical_column.name}_embedding"

    @property
    def parents(self) -> list[Any]:
        return [self.categorical_column]

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.categorical_column._parse_example_spec
        return spec

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        return transformation_cache.get(self.categorical_column, state_manager)

    @property
    def variable_shape(self) -> TensorShape:
        return TensorShape([self.dimension])

    def create_state(self, state_manager: Any) -> None:
        column = self.categorical_column
        if keys_of(column) is not None or isinstance(column, AdaptiveEmbeddingCategoricalColumn):
            raise errors.UnimplementedError.of(
                f"{self.name}: layers that hold their variables themselves have no embedding variables.",
                name=self.name,
                hint="Use tf.feature_column.input_layer.",
            )
        state_manager.create_variable(
            self,
            name="embedding_weights",
            shape=(self.categorical_column._num_buckets, self.dimension),
            dtype=dtypes.float32,
            trainable=self.trainable,
            use_resource=True,
            initializer=self.initializer,
        )

    def weights_in_scope(self, weight_collections: Any, trainable: Any) -> Any:
        """The variable of the current variable scope."""
        if weight_collections and GraphKeys.GLOBAL_VARIABLES not in weight_collections:
            weight_collections = [*weight_collections, GraphKeys.GLOBAL_VARIABLES]
        return embedding_weights(self, self.trainable and trainable, weight_collections)

    def _looked_up(self, pair: Any, weights: Any) -> Any:
        start_from_checkpoint(self.ckpt_to_load_from, self.tensor_name_in_ckpt, weights)
        return look_up(self, pair, weights)

    def get_dense_tensor(self, transformation_cache: Any, state_manager: Any) -> Any:
        refuse_sequence(self, "embedding_column")
        pair = sparse_tensors_of(self.categorical_column, transformation_cache, state_manager)
        return self._looked_up(pair, state_manager.get_variable(self, name="embedding_weights"))

    def _get_dense_tensor(self, inputs: Any, weight_collections: Any = None, trainable: Any = None) -> Any:
        refuse_sequence(self, "embedding_column")
        if isinstance(self.categorical_column, AdaptiveEmbeddingCategoricalColumn):
            if self.ckpt_to_load_from is not None:
                raise ValueError(f"{self.name} has two variables; ckpt_to_load_from is for one.")
            return self.categorical_column.looked_up(self, inputs, weight_collections, trainable)
        pair = self.categorical_column._get_sparse_tensors(inputs, weight_collections, trainable)
        return self._looked_up(pair, self.weights_in_scope(weight_collections, trainable))

    def get_sequence_dense_tensor(
        self, transformation_cache: Any, state_manager: Any
    ) -> TensorSequenceLengthPair:
        require_sequence(self, "embedding_column")
        pair = sparse_tensors_of(self.categorical_column, transformation_cache, state_manager)
        dense = self._looked_up(pair, state_manager.get_variable(self, name="embedding_weights"))
        return TensorSequenceLengthPair(dense, sequence_length_from_sparse_tensor(pair.id_tensor))

    def _get_sequence_dense_tensor(
        self, inputs: Any, weight_collections: Any = None, trainable: Any = None
    ) -> TensorSequenceLengthPair:
        require_sequence(self, "embedding_column")
        pair = self.categorical_column._get_sparse_tensors(inputs)
        dense = self._looked_up(pair, self.weights_in_scope(weight_collections, trainable))
        return TensorSequenceLengthPair(dense, sequence_length_from_sparse_tensor(pair.id_tensor))


def embedding_column(
    categorical_column: Any,
    dimension: int,
    combiner: str = "mean",
    initializer: Any = None,
    ckpt_to_load_from: str | None = None,
    tensor_name_in_ckpt: str | None = None,
    max_norm: float | None = None,
    trainable: bool = True,
    do_fusion: bool = False,
) -> EmbeddingColumn:
    """A trained vector for each id; of several ids their mean, or as ``combiner`` says.

    Args:
      categorical_column: of the ids; with `categorical_column_with_embedding` the variable is an embedding variable.
      dimension: of the vectors.
      combiner: ``"mean"``, ``"sqrtn"`` or ``"sum"``.
      initializer: of the variable; by default a truncated normal one with standard deviation 1 / sqrt(dimension).
      ckpt_to_load_from: a checkpoint that the variable starts from.
      tensor_name_in_ckpt: the tensor there.
      max_norm: to which longer vectors are cut.
      trainable: whether the vectors are trained.
      do_fusion: look up by `fused_safe_embedding_lookup_sparse`.

    Raises:
      ValueError: an argument of another kind, or one of checkpoint and tensor is not given.
    """
    of = f" Embedding of column_name: {categorical_column.name}"
    initializer = initializer_for(dimension, initializer, ckpt_to_load_from, tensor_name_in_ckpt, of)
    return EmbeddingColumn(
        categorical_column=categorical_column,
        dimension=dimension,
        combiner=combiner,
        initializer=initializer,
        ckpt_to_load_from=ckpt_to_load_from,
        tensor_name_in_ckpt=tensor_name_in_ckpt,
        max_norm=max_norm,
        trainable=trainable,
        do_fusion=do_fusion,
        group_name=current_group(),
    )


def embedding_weights(column: Any, trainable: Any, collections: Any) -> Any:
    """The variable ``embedding_weights`` of the current variable scope, of the kind that the column's ids want."""
    keys = keys_of(column.categorical_column)
    if keys is not None:
        return keys.embedding_variable(
            "embedding_weights", column.dimension, column.initializer, trainable, collections
        )
    return get_variable(
        name="embedding_weights",
        shape=(column.categorical_column._num_buckets, column.dimension),
        dtype=dtypes.float32,
        initializer=column.initializer,
        trainable=trainable,
        collections=collections,
    )


def look_up(column: Any, pair: Any, weights: Any) -> Any:
    """The combined vectors of the ids of each example, by the column's settings."""
    function = fused_safe_embedding_lookup_sparse if column.do_fusion else safe_embedding_lookup_sparse
    return function(
        embedding_weights=weights,
        sparse_ids=pair.id_tensor,
        sparse_weights=pair.weight_tensor,
        combiner=column.combiner,
        name=f"{column.name}_weights",
        max_norm=column.max_norm,
    )


def initializer_for(
    dimension: int | None,
    initializer: Any,
    ckpt_to_load_from: str | None,
    tensor_name_in_ckpt: str | None,
    of: str = "",
) -> Any:
    """The initializer of an embedding whose arguments these are; ValueError if they are none.

    Args:
      of: added to the message if the initializer is no function.
    """
    if dimension is None or dimension < 1:
        raise ValueError(f"Invalid dimension {dimension}.")
    if (ckpt_to_load_from is None) != (tensor_name_in_ckpt is None):
        raise ValueError("Must specify both `ckpt_to_load_from` and `tensor_name_in_ckpt` or none of them.")
    if initializer is None:
        return TruncatedNormal(mean=0.0, stddev=1 / math.sqrt(dimension))
    if not callable(initializer):
        raise ValueError(f"initializer must be callable if specified.{of}")
    return initializer


def start_from_checkpoint(checkpoint: str | None, tensor_name: str | None, weights: Any) -> None:
    """Makes a variable's initializer read a tensor of a checkpoint, if one is given."""
    if checkpoint is None:
        return
    target = list(weights) if isinstance(weights, PartitionedVariable) else weights
    init_from_checkpoint(checkpoint, {tensor_name: target})  # type: ignore[dict-item]
