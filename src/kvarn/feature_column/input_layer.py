"""Columns side by side as the input of a model.

Source: tensorflow/python/feature_column/feature_column.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.feature_column.base import _DenseColumn
from kvarn.feature_column.cache import (
    _LazyBuilder,
    normalize_feature_columns,
    verify_static_batch_size_equality,
)
from kvarn.feature_column.group_lookup import looked_up_in_groups
from kvarn.graph.graph import GraphKeys, get_collection
from kvarn.ops import array
from kvarn.variables.scope import variable_scope
from kvarn.variables.template import make_template


def input_layer(
    features: dict[str, Any],
    feature_columns: Any,
    weight_collections: Any = None,
    trainable: bool = True,
    cols_to_vars: dict[Any, Any] | None = None,
    cols_to_output_tensors: dict[Any, Any] | None = None,
    adaptive_mask_tensors: dict[str, Any] | None = None,
) -> Any:
    """The vectors of dense columns, one behind the other in the order of the columns' names.

    Args:
      features: tensors and sparse tensors by key.
      feature_columns: dense columns.
      weight_collections: where variables go, besides GLOBAL_VARIABLES and MODEL_VARIABLES.
      trainable: whether they are among the trainable ones.
      cols_to_vars: gets the variables of each column.
      cols_to_output_tensors: gets the vectors of each column.
      adaptive_mask_tensors: by key, for columns of `categorical_column_with_adaptive_embedding`.

    Returns:
      float32 [batch, sum of the columns' elements].

    Raises:
      ValueError: a column is not dense, two have one name, or a feature is missing.
    """
    columns = _dense_columns(feature_columns)
    with variable_scope(None, default_name="input_layer", values=features.values()):
        return _concatenated(
            features,
            columns,
            weight_collections,
            trainable,
            cols_to_vars,
            cols_to_output_tensors,
            adaptive_mask_tensors,
        )


def _dense_columns(feature_columns: Any) -> Any:
    columns = normalize_feature_columns(feature_columns)
    for column in columns:
        if not isinstance(column, _DenseColumn):
            raise ValueError(
                "Items of feature_columns must be a _DenseColumn. You can wrap a categorical column with an "
                f"embedding_column or indicator_column. Given: {column}"
            )
    return columns


def with_model_collections(weight_collections: Any) -> list[str]:
    """The collections, GLOBAL_VARIABLES and MODEL_VARIABLES among them."""
    collections = list(weight_collections or [])
    for always in (GraphKeys.GLOBAL_VARIABLES, GraphKeys.MODEL_VARIABLES):
        if always not in collections:
            collections.append(always)
    return collections


def _concatenated(
    features: dict[str, Any],
    feature_columns: Any,
    weight_collections: Any,
    trainable: bool,
    cols_to_vars: dict[Any, Any] | None = None,
    cols_to_output_tensors: dict[Any, Any] | None = None,
    adaptive_mask_tensors: dict[str, Any] | None = None,
) -> Any:
    collections = with_model_collections(weight_collections)
    builder = _LazyBuilder(features, adaptive_mask_tensors)
    ordered = sorted(feature_columns, key=lambda c: c.name)
    together = looked_up_in_groups(ordered, builder, collections, trainable)
    outputs = []
    for column in ordered:
        if column in together:
            output, weights = together[column]
            variables = [weights]
        else:
            with variable_scope(None, default_name=column._var_scope_name) as scope:
                tensor = column._get_dense_tensor(
                    builder, weight_collections=collections, trainable=trainable
                )
                output = flattened(column, tensor)
                variables = get_collection(GraphKeys.GLOBAL_VARIABLES, scope=scope.name)
        outputs.append(output)
        if cols_to_vars is not None:
            cols_to_vars[column] = variables
        if cols_to_output_tensors is not None:
            cols_to_output_tensors[column] = output
    verify_static_batch_size_equality(outputs, ordered)
    return array.concat(outputs, 1)


def flattened(column: _DenseColumn, tensor: Any) -> Any:
    """The tensor of a dense column as [batch, elements]."""
    num_elements = column._variable_shape.num_elements()
    batch_size = array.shape(tensor)[0]
    return array.reshape(tensor, shape=(batch_size, num_elements))


class InputLayer:
    """`input_layer` as an object that makes its variables at the first call and shares them at later ones.

    Args:
      feature_columns, weight_collections, trainable: as for `input_layer`.
      cols_to_vars: kept, as TensorFlow keeps it; calls fill none.
      name: of the variable scope.
      create_scope_now: whether the scope is made here rather than at the first call.
    """

    def __init__(
        self,
        feature_columns: Any,
        weight_collections: Any = None,
        trainable: bool = True,
        cols_to_vars: dict[Any, Any] | None = None,
        name: str = "feature_column_input_layer",
        create_scope_now: bool = True,
    ) -> None:
        self._feature_columns = feature_columns
        self._weight_collections = weight_collections
        self._trainable = trainable
        self._cols_to_vars = cols_to_vars
        self._name = name
        self._template = make_template(name, self._apply, create_scope_now_=create_scope_now)
        self._scope = self._template.variable_scope

    def _apply(self, features: dict[str, Any]) -> Any:
        columns = _dense_columns(self._feature_columns)
        return _concatenated(features, columns, self._weight_collections, self._trainable)

    def __call__(self, features: dict[str, Any]) -> Any:
        return self._template(features)

    @property
    def name(self) -> str:
        """The name it was made with."""
        return self._name

    @property
    def variables(self) -> Any:
        """All variables, after the first call."""
        return self._template.variables

    @property
    def trainable_variables(self) -> Any:
        """Those that are trained."""
        return self._template.trainable_variables

    @property
    def non_trainable_variables(self) -> Any:
        """Those that are not."""
        return self._template.non_trainable_variables

    @property
    def weights(self) -> Any:
        """`variables`."""
        return self._template.weights

    @property
    def trainable_weights(self) -> Any:
        """`trainable_variables`."""
        return self._template.trainable_weights

    @property
    def non_trainable_weights(self) -> Any:
        """`non_trainable_variables`."""
        return self._template.non_trainable_weights
