"""The columns of a group looked up in as few operations as there are kinds of lookups.

Source: `GroupEmbeddingScope` in tensorflow/python/feature_column/feature_column_v2.py of DeepRec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.feature_column.categorical import HashedCategoricalColumn, IdentityCategoricalColumn
from kvarn.feature_column.crossed import CrossedColumn
from kvarn.feature_column.embedding import EmbeddingColumn, start_from_checkpoint
from kvarn.feature_column.embedding_variable import EmbeddingCategoricalColumn
from kvarn.variables.group_embedding_ops import group_embedding_lookup_sparse
from kvarn.variables.scope import variable_scope

# Columns that give no id which means nothing, and no weights.
_IDS_ALONE = (
    CrossedColumn,
    EmbeddingCategoricalColumn,
    HashedCategoricalColumn,
    IdentityCategoricalColumn,
)


def looked_up_in_groups(
    columns: Sequence[Any], builder: Any, weight_collections: Any, trainable: bool
) -> dict[Any, tuple[Any, Any]]:
    """The vectors and the variable of each column that is in a group, with one lookup a group.

    Args:
      columns: of an input layer; those that are in no group are left alone.
      builder, weight_collections, trainable: as columns are asked with.

    Raises:
      TypeError: the variable of a column in a group is in several parts.
    """
    groups: dict[str, list[EmbeddingColumn]] = {}
    for column in columns:
        if (
            isinstance(column, EmbeddingColumn)
            and column.group_name
            and column.max_norm is None
            and isinstance(column.categorical_column, _IDS_ALONE)
        ):
            groups.setdefault(column.group_name, []).append(column)
    found: dict[Any, tuple[Any, Any]] = {}
    for members in groups.values():
        variables, ids = [], []
        for column in members:
            pair = column.categorical_column._get_sparse_tensors(builder, weight_collections, trainable)
            ids.append(pair.id_tensor)
            with variable_scope(None, default_name=column._var_scope_name):
                weights = column.weights_in_scope(weight_collections, trainable)
            start_from_checkpoint(column.ckpt_to_load_from, column.tensor_name_in_ckpt, weights)
            variables.append(weights)
        vectors = group_embedding_lookup_sparse(variables, ids, [c.combiner for c in members])
        found.update(zip(members, zip(vectors, variables, strict=True), strict=True))
    return found
