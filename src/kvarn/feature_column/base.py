"""What columns are: the questions that they answer.

Source: tensorflow/python/feature_column/{feature_column,feature_column_v2}.py (1.15).
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

from kvarn.graph.tensor_shape import TensorShape


class IdWeightPair(NamedTuple):
    """A SparseTensor of int64 ids, and one of their weights at the same places, or None."""

    id_tensor: Any
    weight_tensor: Any


class TensorSequenceLengthPair(NamedTuple):
    """A tensor [batch, steps, ...] and the int64 number of steps of each example [batch]."""

    dense_tensor: Any
    sequence_length: Any


# -- the older questions ------------------------------------------------------------------------------


class _FeatureColumn(abc.ABC):
    """Something that is made of features.  Columns are keys: immutable, compared by their settings."""

    # What messages advise to put columns into: single vectors, and sequences.
    advised_layers: tuple[str, str] = ("input_layer", "sequence_input_layer")

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Of the column, and of what is made for it in the graph."""

    def __lt__(self, other: Any) -> bool:
        return str(self) < str(other)

    def __gt__(self, other: Any) -> bool:
        return str(self) > str(other)

    @property
    def _var_scope_name(self) -> str:
        """The scope of the column's variables."""
        return self.name

    @abc.abstractmethod
    def _transform_feature(self, inputs: Any) -> Any:
        """What the column is computed from; ``inputs.get`` gives features by key, and transformed columns."""

    @property
    @abc.abstractmethod
    def _parse_example_spec(self) -> dict[str, Any]:
        """How `tf.io.parse_example` finds the features."""


class _DenseColumn(_FeatureColumn):
    """A column of vectors."""

    @property
    @abc.abstractmethod
    def _variable_shape(self) -> TensorShape:
        """The shape of one example."""

    @abc.abstractmethod
    def _get_dense_tensor(self, inputs: Any, weight_collections: Any = None, trainable: Any = None) -> Any:
        """A float tensor [batch, ...]; variables that it needs go to the collections."""


class _CategoricalColumn(_FeatureColumn):
    """A column of ids."""

    IdWeightPair = IdWeightPair

    @property
    @abc.abstractmethod
    def _num_buckets(self) -> int:
        """All ids are below."""

    @abc.abstractmethod
    def _get_sparse_tensors(self, inputs: Any, weight_collections: Any = None, trainable: Any = None) -> Any:
        """The ids and their weights, an `IdWeightPair`."""


class _SequenceDenseColumn(_FeatureColumn):
    """A column of sequences of vectors."""

    TensorSequenceLengthPair = TensorSequenceLengthPair

    @abc.abstractmethod
    def _get_sequence_dense_tensor(
        self, inputs: Any, weight_collections: Any = None, trainable: Any = None
    ) -> Any:
        """The sequences and their lengths, a `TensorSequenceLengthPair`."""


# -- the newer questions, which answer the older ones as well -------------------------------------------


class FeatureColumn(_FeatureColumn):
    """Something that is made of features.  Columns are keys: immutable, compared by their settings."""

    advised_layers = ("DenseFeatures", "SequenceFeatures")

    @abc.abstractmethod
    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        """What the column is computed from.

        Args:
          transformation_cache: its ``get`` gives features by key, and transformed columns.
          state_manager: holds the variables and tables; None for columns that are asked in the older way.
        """

    @property
    @abc.abstractmethod
    def parse_example_spec(self) -> dict[str, Any]:
        """How `tf.io.parse_example` finds the features."""

    @property
    @abc.abstractmethod
    def parents(self) -> list[Any]:
        """The columns and keys that this column is made of."""

    def create_state(self, state_manager: Any) -> None:
        """Has the state manager make what variables the column needs."""

    @property
    def _is_v2_column(self) -> bool:
        """Whether it can be asked in the newer way: it, and all that it is made of."""
        return all(isinstance(p, str) or getattr(p, "_is_v2_column", False) for p in self.parents)

    def _transform_feature(self, inputs: Any) -> Any:
        return self.transform_feature(inputs, None)

    @property
    def _parse_example_spec(self) -> dict[str, Any]:
        return self.parse_example_spec


class DenseColumn(FeatureColumn, _DenseColumn):
    """A column of vectors."""

    @property
    @abc.abstractmethod
    def variable_shape(self) -> TensorShape:
        """The shape of one example."""

    @abc.abstractmethod
    def get_dense_tensor(self, transformation_cache: Any, state_manager: Any) -> Any:
        """A float tensor [batch, ...]."""

    @property
    def _variable_shape(self) -> TensorShape:
        return self.variable_shape

    def _get_dense_tensor(self, inputs: Any, weight_collections: Any = None, trainable: Any = None) -> Any:
        return self.get_dense_tensor(inputs, None)


class CategoricalColumn(FeatureColumn, _CategoricalColumn):
    """A column of ids."""

    @property
    @abc.abstractmethod
    def num_buckets(self) -> int:
        """All ids are below."""

    @abc.abstractmethod
    def get_sparse_tensors(self, transformation_cache: Any, state_manager: Any) -> Any:
        """The ids and their weights, an `IdWeightPair`."""

    @property
    def _num_buckets(self) -> int:
        return self.num_buckets

    def _get_sparse_tensors(self, inputs: Any, weight_collections: Any = None, trainable: Any = None) -> Any:
        return self.get_sparse_tensors(inputs, None)


class SequenceDenseColumn(FeatureColumn, _SequenceDenseColumn):
    """A column of sequences of vectors."""

    @abc.abstractmethod
    def get_sequence_dense_tensor(self, transformation_cache: Any, state_manager: Any) -> Any:
        """The sequences and their lengths, a `TensorSequenceLengthPair`."""

    def _get_sequence_dense_tensor(
        self, inputs: Any, weight_collections: Any = None, trainable: Any = None
    ) -> Any:
        return self.get_sequence_dense_tensor(inputs, None)


def sparse_tensors_of(column: Any, transformation_cache: Any, state_manager: Any) -> Any:
    """The ids and weights of a categorical column, whichever way it is to be asked."""
    if isinstance(column, CategoricalColumn):
        return column.get_sparse_tensors(transformation_cache, state_manager)
    return column._get_sparse_tensors(transformation_cache)
