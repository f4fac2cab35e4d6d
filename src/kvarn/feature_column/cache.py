"""Features and columns as tensors, each made once.

Source: tensorflow/python/feature_column/{feature_column,feature_column_v2}.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn import dtypes, tf_logging
from kvarn.feature_column.base import FeatureColumn, _FeatureColumn
from kvarn.graph.convert import convert_to_tensor_or_sparse_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.tensor import SparseTensor
from kvarn.graph.tensor_shape import Dimension, dimension_value
from kvarn.ops import array, check, sparse
from kvarn.ops import math as math_ops
from kvarn.ops.conditional import cond


class FeatureTransformationCache:
    """Transformed columns, each computed when it is first asked for.

    Features of one dimension get a second, so that all have [batch, ...].

    Args:
      features: tensors and sparse tensors, or what converts to them, by key.
    """

    _column_class: Any = FeatureColumn

    def __init__(self, features: dict[Any, Any]) -> None:
        self._features = features.copy()
        self._feature_tensors: dict[Any, Any] = {}

    def get(self, key: Any, state_manager: Any) -> Any:
        """The tensor of a feature, or what a column makes of features.

        Args:
          key: of a feature, or a column.
          state_manager: for columns that need variables.

        Raises:
          ValueError: there is no such feature, it is a scalar, or the column makes nothing of it.
          TypeError: the key is neither a string nor a column.
        """
        return self._get(key, state_manager)

    def _get(self, key: Any, state_manager: Any) -> Any:
        if key not in self._feature_tensors:
            made = self._raw(key) if key in self._features else self._transformed(key, state_manager)
            self._feature_tensors[key] = made
        return self._feature_tensors[key]

    def _transformed(self, column: Any, state_manager: Any) -> Any:
        if isinstance(column, str):
            raise ValueError(f"Feature {column} is not in features dictionary.")
        if not isinstance(column, self._column_class):
            raise TypeError(
                f'"key" must be either a "str" or "{self._column_class.__name__}". Provided: {column}'
            )
        tf_logging.debug("Transforming feature_column %s.", column)
        transformed = self._ask(column, state_manager)
        if transformed is None:
            raise ValueError(f"Column {column.name} is not supported.")
        return transformed

    def _ask(self, column: Any, state_manager: Any) -> Any:
        return column.transform_feature(self, state_manager)

    def _raw(self, key: Any) -> Any:
        feature = convert_to_tensor_or_sparse_tensor(self._features[key])
        rank = feature.get_shape().ndims
        message = f"Feature (key: {key}) cannot have rank 0. Given: {feature}"
        if rank is not None:
            if rank == 0:
                raise ValueError(message)
            return _with_last_dimension(feature) if rank == 1 else feature
        with control_dependencies([check.assert_positive(array.rank(feature), message=message)]):
            return cond(
                math_ops.equal(1, array.rank(feature)),
                lambda: _with_last_dimension(feature),
                lambda: feature,
            )


class _LazyBuilder(FeatureTransformationCache):
    """The same for columns that are asked in the older way.

    Args:
      features: as in the base class.
      adaptive_mask_tensors: by key, for columns of adaptive embeddings.
    """

    _column_class = _FeatureColumn

    def __init__(self, features: dict[Any, Any], adaptive_mask_tensors: dict[str, Any] | None = None) -> None:
        super().__init__(features)
        self.adaptive_mask_tensors = adaptive_mask_tensors

    def get(self, key: Any, state_manager: Any = None) -> Any:
        """The tensor of a feature, or what a column makes of features; errors as in the base class."""
        return self._get(key, state_manager)

    def _ask(self, column: Any, state_manager: Any) -> Any:
        return column._transform_feature(self)


def _with_last_dimension(tensor: Any) -> Any:
    if isinstance(tensor, SparseTensor):
        return sparse.sparse_reshape(tensor, [array.shape(tensor)[0], 1])
    return array.expand_dims(tensor, -1)


def to_sparse_input_and_drop_ignore_values(input_tensor: Any, ignore_value: Any = None) -> SparseTensor:
    """A dense tensor as a sparse one; a sparse one as it is.

    Args:
      input_tensor: of any rank.
      ignore_value: what is left out; by default "" of strings, -1 of integers, and 0 of other types.
    """
    tensor = convert_to_tensor_or_sparse_tensor(input_tensor)
    if isinstance(tensor, SparseTensor):
        return tensor
    with name_scope(None, "to_sparse_input", (tensor, ignore_value)):
        if ignore_value is None:
            if tensor.dtype == dtypes.string:
                ignore_value = ""
            elif tensor.dtype.is_integer:
                ignore_value = -1
            else:
                ignore_value = tensor.dtype.as_numpy_dtype()
        ignored = math_ops.cast(ignore_value, tensor.dtype, name="ignore_value")
        indices = array.where(math_ops.not_equal(tensor, ignored), name="indices")
        return SparseTensor(
            indices,
            array.gather_nd(tensor, indices, name="values"),
            array.shape(tensor, out_type=dtypes.int64, name="dense_shape"),
        )


def normalize_feature_columns(feature_columns: Any) -> Any:
    """Columns as something to walk over more than once.

    Raises:
      ValueError: there are none, one is no column, or two have one name.
    """
    if isinstance(feature_columns, _FeatureColumn):
        feature_columns = [feature_columns]
    if isinstance(feature_columns, Iterator):
        feature_columns = list(feature_columns)
    if isinstance(feature_columns, dict):
        raise ValueError("Expected feature_columns to be iterable, found dict.")
    for column in feature_columns:
        if not isinstance(column, _FeatureColumn):
            raise ValueError(
                f"Items of feature_columns must be a _FeatureColumn. Given (type {type(column)}): {column}."
            )
    if not feature_columns:
        raise ValueError("feature_columns must not be empty.")
    by_name: dict[str, Any] = {}
    for column in feature_columns:
        if column.name in by_name:
            raise ValueError(
                f"Duplicate feature column name found for columns: {column} and {by_name[column.name]}. This usually "
                "means that these columns refer to same base feature. Either one must be discarded or a duplicated "
                "but renamed item must be inserted in features dict."
            )
        by_name[column.name] = column
    return feature_columns


def verify_static_batch_size_equality(tensors: list[Any], columns: list[Any]) -> None:
    """Raises ValueError if two tensors are known to have different first dimensions."""
    first: tuple[Any, Dimension] | None = None
    for tensor, column in zip(tensors, columns, strict=True):
        size = Dimension(dimension_value(tensor.shape[0]))
        if size.value is None:
            continue
        if first is None:
            first = column, size
        elif not first[1].is_compatible_with(size):
            raise ValueError(
                "Batch size (first dimension) of each feature must be same. Batch size of columns "
                f"({first[0].name}, {column.name}): ({first[1]}, {size})"
            )


def _transform_features(features: dict[Any, Any], feature_columns: Any) -> dict[Any, Any]:
    """What each column makes of the features: tensors and sparse tensors by column.

    Raises:
      ValueError: as `normalize_feature_columns`, or a feature is missing.
    """
    columns = normalize_feature_columns(feature_columns)
    outputs = {}
    with name_scope(None, default_name="transform_features", values=features.values()):
        builder = _LazyBuilder(features)
        for column in sorted(columns, key=lambda c: c.name):
            with name_scope(None, default_name=column.name):
                outputs[column] = builder.get(column)
    return outputs
