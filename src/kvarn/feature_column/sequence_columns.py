"""Features that are sequences: ids and numbers, a step after the other.

Source: tensorflow/python/feature_column/sequence_feature_column.py (1.15).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kvarn import dtypes
from kvarn.feature_column import categorical, vocabulary
from kvarn.feature_column.base import SequenceDenseColumn, TensorSequenceLengthPair
from kvarn.feature_column.sequence import SequenceCategoricalColumn
from kvarn.feature_column.utils import check_shape, sequence_length_from_sparse_tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import array, sparse
from kvarn.ops.parsing import VarLenFeature


def sequence_categorical_column_with_identity(
    key: str, num_buckets: int, default_value: int | None = None
) -> SequenceCategoricalColumn:
    """A sequence of integers that are ids; arguments and errors as for `categorical_column_with_identity`."""
    return SequenceCategoricalColumn(
        categorical.categorical_column_with_identity(key, num_buckets, default_value)
    )


def sequence_categorical_column_with_hash_bucket(
    key: str, hash_bucket_size: int, dtype: Any = dtypes.string
) -> SequenceCategoricalColumn:
    """A sequence of hashed values; arguments and errors as for `categorical_column_with_hash_bucket`."""
    return SequenceCategoricalColumn(
        categorical.categorical_column_with_hash_bucket(key, hash_bucket_size, dtype)
    )


def sequence_categorical_column_with_vocabulary_file(
    key: str,
    vocabulary_file: str,
    vocabulary_size: int | None = None,
    num_oov_buckets: int = 0,
    default_value: int | None = None,
    dtype: Any = dtypes.string,
) -> SequenceCategoricalColumn:
    """A sequence of lines of a file; arguments and errors as for `categorical_column_with_vocabulary_file`."""
    return SequenceCategoricalColumn(
        vocabulary.categorical_column_with_vocabulary_file(
            key, vocabulary_file, vocabulary_size, num_oov_buckets, default_value, dtype
        )
    )


def sequence_categorical_column_with_vocabulary_list(
    key: str, vocabulary_list: Any, dtype: Any = None, default_value: int = -1, num_oov_buckets: int = 0
) -> SequenceCategoricalColumn:
    """A sequence of values of a list; arguments and errors as for `categorical_column_with_vocabulary_list`."""
    return SequenceCategoricalColumn(
        vocabulary.categorical_column_with_vocabulary_list(
            key, vocabulary_list, dtype, default_value, num_oov_buckets
        )
    )


class _NumericSettings(NamedTuple):
    key: str
    shape: tuple[int, ...]
    default_value: float
    dtype: Any
    normalizer_fn: Any


class SequenceNumericColumn(SequenceDenseColumn, _NumericSettings):
    """See `sequence_numeric_column`."""

    @property
    def name(self) -> str:
        return self.key

    @property
    def parents(self) -> list[Any]:
        return [self.key]

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        return {self.key: VarLenFeature(self.dtype)}

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        tensor = transformation_cache.get(self.key, state_manager)
        return tensor if self.normalizer_fn is None else self.normalizer_fn(tensor)

    @property
    def variable_shape(self) -> TensorShape:
        """The shape of one step."""
        return TensorShape(self.shape)

    @property
    def _variable_shape(self) -> TensorShape:
        return self.variable_shape

    def get_sequence_dense_tensor(
        self, transformation_cache: Any, state_manager: Any
    ) -> TensorSequenceLengthPair:
        values = transformation_cache.get(self, state_manager)
        dense = sparse.sparse_tensor_to_dense(values, default_value=self.default_value)
        shape = array.concat([array.shape(dense)[:1], [-1], self.variable_shape], axis=0)
        # In two dimensions the numbers of a step stand one behind the other.
        count = self.variable_shape.num_elements() if values.shape.ndims == 2 else 1
        return TensorSequenceLengthPair(
            array.reshape(dense, shape=shape),
            sequence_length_from_sparse_tensor(values, num_elements=int(count or 0)),
        )


def sequence_numeric_column(
    key: str,
    shape: Any = (1,),
    default_value: float = 0.0,
    dtype: Any = dtypes.float32,
    normalizer_fn: Any = None,
) -> SequenceNumericColumn:
    """A sequence of numbers.

    Args:
      key: of the feature, a SparseTensor.
      shape: of a step: an int or a sequence of ints.
      default_value: after the last step of an example.
      dtype: of the feature.
      normalizer_fn: from a sparse tensor to a sparse tensor, applied to the feature.

    Raises:
      TypeError, ValueError: the shape or the type is none.
    """
    shape = check_shape(shape, key)
    if not (dtype.is_integer or dtype.is_floating):
        raise ValueError(f"dtype must be convertible to float. dtype: {dtype}, key: {key}")
    if normalizer_fn is not None and not callable(normalizer_fn):
        raise TypeError(f"normalizer_fn must be a callable. Given: {normalizer_fn}")
    return SequenceNumericColumn(key, shape, default_value, dtype, normalizer_fn)
