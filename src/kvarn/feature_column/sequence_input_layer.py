"""Sequences side by side as the input of a recurrent model.

Source: tensorflow/contrib/feature_column/python/feature_column/sequence_feature_column.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.feature_column.base import _SequenceDenseColumn
from kvarn.feature_column.cache import (
    _LazyBuilder,
    normalize_feature_columns,
    verify_static_batch_size_equality,
)
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.ops import array, check
from kvarn.variables.scope import variable_scope


def sequence_input_layer(
    features: dict[str, Any], feature_columns: Any, weight_collections: Any = None, trainable: bool = True
) -> tuple[Any, Any]:
    """The vectors of columns of sequences, one behind the other at each step.

    Args:
      features: tensors and sparse tensors by key.
      feature_columns: columns of sequences, all with the same number of steps in an example.
      weight_collections: where variables go, besides GLOBAL_VARIABLES.
      trainable: whether they are among the trainable ones.

    Returns:
      float32 [batch, steps, sum of the columns' elements], and the int64 number of steps of each example.

    Raises:
      ValueError: a column is no sequence, two have one name, or a feature is missing.
    """
    columns = normalize_feature_columns(feature_columns)
    for column in columns:
        if not isinstance(column, _SequenceDenseColumn):
            raise ValueError(
                "All feature_columns must be of type _SequenceDenseColumn. You can wrap a "
                "sequence_categorical_column with an embedding_column or indicator_column. "
                f"Given (type {type(column)}): {column}"
            )
    with variable_scope(None, default_name="sequence_input_layer", values=features.values()):
        builder = _LazyBuilder(features)
        ordered: list[Any] = sorted(columns, key=lambda c: c.name)
        outputs, lengths = [], []
        for column in ordered:
            with variable_scope(None, default_name=column._var_scope_name):
                dense, length = column._get_sequence_dense_tensor(
                    builder, weight_collections=weight_collections, trainable=trainable
                )
                shape = array.shape(dense)
                count = column._variable_shape.num_elements()
                outputs.append(array.reshape(dense, shape=[shape[0], shape[1], count]))
                lengths.append(length)
        verify_static_batch_size_equality(outputs, ordered)
        verify_static_batch_size_equality(lengths, ordered)
        steps = _all_equal(lengths)
        return array.concat(outputs, -1), steps


def _all_equal(tensors: list[Any]) -> Any:
    """The first of the tensors, checked to equal the others."""
    with name_scope(None, "assert_all_equal", values=tensors):
        if len(tensors) == 1:
            return tensors[0]
        checks = [check.assert_equal(tensors[0], t) for t in tensors[1:]]
        with control_dependencies(checks):
            return array.identity(tensors[0])


def concatenate_context_input(context_input: Any, sequence_input: Any) -> Any:
    """Vectors of sequences with a vector of each example added to every step.

    Args:
      context_input: float32 [batch, n].
      sequence_input: float32 [batch, steps, m].

    Returns:
      float32 [batch, steps, m + n].

    Raises:
      ValueError, TypeError: known ranks or types are others.
      InvalidArgumentError: the ranks are, when run.
    """
    checks = []
    for what, tensor, rank in (("sequence", sequence_input, 3), ("context", context_input, 2)):
        checks.append(
            check.assert_rank(
                tensor,
                rank,
                message=f"{what}_input must have rank {rank}",
                data=[array.shape(tensor)],
            )
        )
        checks.append(
            check.assert_type(
                tensor,
                dtypes.float32,
                message=f"{what}_input must have dtype float32; got {tensor.dtype}.",
            )
        )
    with control_dependencies(checks):
        steps = array.shape(sequence_input)[1]
        repeated = array.tile(array.expand_dims(context_input, 1), array.concat([[1], [steps], [1]], 0))
    return array.concat([sequence_input, repeated], 2)
