"""A linear model on columns: each element and each id has a weight, and there is a bias.

Source: tensorflow/python/feature_column/feature_column.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.feature_column.base import _CategoricalColumn, _DenseColumn
from kvarn.feature_column.cache import (
    _LazyBuilder,
    normalize_feature_columns,
    verify_static_batch_size_equality,
)
from kvarn.feature_column.embedding_variable import keys_of
from kvarn.feature_column.input_layer import flattened, with_model_collections
from kvarn.graph.graph import GraphKeys, add_to_collection, get_collection
from kvarn.keras import base_layer as keras
from kvarn.layers.base import Layer
from kvarn.ops import array, nn, sparse
from kvarn.ops import math as math_ops
from kvarn.variables.initializers import Zeros
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.safe_embedding_ops import (
    fused_safe_embedding_lookup_sparse,
    safe_embedding_lookup_sparse,
)
from kvarn.variables.scope import get_variable_scope, variable_scope


def linear_model(
    features: dict[str, Any],
    feature_columns: Any,
    units: int = 1,
    sparse_combiner: str = "sum",
    weight_collections: Any = None,
    trainable: bool = True,
    cols_to_vars: dict[Any, Any] | None = None,
    do_fusion: bool = False,
) -> Any:
    """The sum over the columns of their elements times weights, or of the weights of their ids, and of a bias.

    Args:
      features: tensors and sparse tensors by key.
      feature_columns: dense and categorical columns.
      units: how many outputs an example has.
      sparse_combiner: ``"sum"``, ``"mean"`` or ``"sqrtn"`` of the weights of several ids of a column.
      weight_collections: where variables go, besides GLOBAL_VARIABLES and MODEL_VARIABLES.
      trainable: whether they are among the trainable ones.
      cols_to_vars: gets the variables of each column, and those of ``"bias"``.
      do_fusion: look weights up by `fused_safe_embedding_lookup_sparse`.

    Returns:
      float32 [batch, units].

    Raises:
      ValueError: a column is of another kind, two have one name, or a feature is missing.
    """
    with variable_scope(None, "linear_model") as scope:
        name = _last_part(scope.name)
    model = _LinearModel(
        feature_columns=feature_columns,
        units=units,
        sparse_combiner=sparse_combiner,
        weight_collections=weight_collections,
        trainable=trainable,
        name=name,
        do_fusion=do_fusion,
    )
    result = model(features)
    if cols_to_vars is not None:
        cols_to_vars.update(model.cols_to_vars())
    return result


def _last_part(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _parts(variable: Any) -> list[Any]:
    return list(variable) if isinstance(variable, PartitionedVariable) else [variable]


def _add_to_collections(variable: Any, collections: list[str]) -> None:
    for collection in collections:
        # Every variable is in this one by itself.
        if collection != GraphKeys.GLOBAL_VARIABLES:
            for part in _parts(variable):
                add_to_collection(collection, part)


class _ColumnLayer(Layer):
    """The part of one column: its elements times weights, or the weights of its ids."""

    def __init__(
        self,
        feature_column: Any,
        units: int,
        sparse_combiner: str,
        weight_collections: list[str],
        trainable: bool,
        name: str,
        do_fusion: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable=trainable, name=name, **kwargs)
        self._lookup = fused_safe_embedding_lookup_sparse if do_fusion else safe_embedding_lookup_sparse
        self._feature_column = feature_column
        self._units = units
        self._sparse_combiner = sparse_combiner
        self._weight_collections = weight_collections

    def build(self, _: Any) -> None:
        column = self._feature_column
        keys = keys_of(column) if isinstance(column, _CategoricalColumn) else None
        if keys is not None:
            collections = [GraphKeys.GLOBAL_VARIABLES]
            self._weights = keys.embedding_variable(
                "weights", self._units, Zeros(), self.trainable, collections
            )
            (self._trainable_weights if self.trainable else self._non_trainable_weights).append(self._weights)
            _add_to_collections(self._weights, self._weight_collections)
            self.built = True
            return
        if isinstance(column, _CategoricalColumn):
            size = column._num_buckets
        else:
            size = column._variable_shape.num_elements()
        self._weights = self.add_variable(
            name="weights",
            shape=[size, self._units],
            initializer=Zeros(),
            trainable=self.trainable,
        )
        _add_to_collections(self._weights, self._weight_collections)
        self.built = True

    def call(self, builder: _LazyBuilder) -> Any:
        column = self._feature_column
        asked: dict[str, Any] = {
            "weight_collections": self._weight_collections,
            "trainable": self.trainable,
        }
        if not isinstance(column, _CategoricalColumn):
            tensor = flattened(column, column._get_dense_tensor(builder, **asked))
            return math_ops.matmul(tensor, self._weights, name="weighted_sum")
        ids, weights = column._get_sparse_tensors(builder, **asked)
        ids = sparse.sparse_reshape(ids, [array.shape(ids)[0], -1])
        if weights is not None:
            weights = sparse.sparse_reshape(weights, [array.shape(weights)[0], -1])
        return self._lookup(
            self._weights,
            ids,
            sparse_weights=weights,
            combiner=self._sparse_combiner,
            name="weighted_sum",
        )


class _BiasLayer(Layer):
    """One variable, which is its own output."""

    def __init__(
        self, units: int, trainable: bool, weight_collections: list[str], name: str, **kwargs: Any
    ) -> None:
        super().__init__(trainable=trainable, name=name, **kwargs)
        self._units = units
        self._weight_collections = weight_collections

    def build(self, _: Any) -> None:
        self._bias = self.add_variable(
            "bias_weights", shape=[self._units], initializer=Zeros(), trainable=self.trainable
        )
        _add_to_collections(self._bias, self._weight_collections)
        self.built = True

    def call(self, _: Any) -> Any:
        return self._bias


class _LinearModel(keras.Layer):
    """`linear_model` as a layer; arguments as there."""

    def __init__(
        self,
        feature_columns: Any,
        units: int = 1,
        sparse_combiner: str = "sum",
        weight_collections: Any = None,
        trainable: bool = True,
        name: str | None = None,
        do_fusion: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self._feature_columns = normalize_feature_columns(feature_columns)
        self._weight_collections = with_model_collections(weight_collections)
        self._column_layers = {}
        for column in sorted(self._feature_columns, key=lambda c: c.name):
            with variable_scope(None, default_name=column._var_scope_name) as scope:
                # Only the name is wanted, one that no other column has.
                column_name = _last_part(scope.name)
            layer = _ColumnLayer(
                column,
                units,
                sparse_combiner,
                self._weight_collections,
                trainable,
                column_name,
                do_fusion,
                **kwargs,
            )
            setattr(self, f"layer-{column_name}", layer)
            self._column_layers[column_name] = layer
        self._bias_layer = _BiasLayer(
            units=units,
            trainable=trainable,
            weight_collections=self._weight_collections,
            name="bias_layer",
            **kwargs,
        )
        self._cols_to_vars: dict[Any, list[Any]] = {}

    def cols_to_vars(self) -> dict[Any, list[Any]]:
        """The variables of each column, and those of ``"bias"``."""
        return self._cols_to_vars

    def call(self, features: dict[str, Any]) -> Any:
        with variable_scope(self.name):
            for column in self._feature_columns:
                if not isinstance(column, (_DenseColumn, _CategoricalColumn)):
                    raise ValueError(
                        "Items of feature_columns must be either a _DenseColumn or _CategoricalColumn. "
                        f"Given: {column}"
                    )
            builder = _LazyBuilder(features)
            sums, columns = [], []
            for layer in sorted(self._column_layers.values(), key=lambda x: x.name):
                column = layer._feature_column
                columns.append(column)
                sums.append(layer(builder))
                self._cols_to_vars[column] = get_collection(
                    GraphKeys.GLOBAL_VARIABLES, scope=layer.scope_name
                )
            verify_static_batch_size_equality(sums, columns)
            without_bias = math_ops.add_n(sums, name="weighted_sum_no_bias")
            bias = self._bias_layer(builder, scope=get_variable_scope())
            predictions = nn.bias_add(without_bias, bias, name="weighted_sum")
            self._cols_to_vars["bias"] = _parts(self._bias_layer.variables[0])
        return predictions
