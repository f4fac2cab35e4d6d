"""The columns of the time before state managers: the same settings under names with an underscore.

Source: tensorflow/python/feature_column/feature_column.py (1.15).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from kvarn.feature_column import categorical, crossed, embedding, indicator, numeric, sequence, vocabulary
from kvarn.feature_column.base import _FeatureColumn


class _Older:
    """What the columns have in common: there is no state manager for them."""

    _is_v2_column = False
    advised_layers = _FeatureColumn.advised_layers


class _NumericColumn(_Older, numeric.NumericColumn):
    """See `numeric_column`."""


class _BucketizedColumn(_Older, numeric.BucketizedColumn):
    """See `bucketized_column`."""


class _HashedCategoricalColumn(_Older, categorical.HashedCategoricalColumn):
    """See `categorical_column_with_hash_bucket`."""


class _IdentityCategoricalColumn(_Older, categorical.IdentityCategoricalColumn):
    """See `categorical_column_with_identity`."""


class _WeightedCategoricalColumn(_Older, categorical.WeightedCategoricalColumn):
    """See `weighted_categorical_column`."""


class _VocabularyFileCategoricalColumn(_Older, vocabulary.VocabularyFileCategoricalColumn):
    """See `categorical_column_with_vocabulary_file`."""


class _VocabularyListCategoricalColumn(_Older, vocabulary.VocabularyListCategoricalColumn):
    """See `categorical_column_with_vocabulary_list`."""


class _CrossedColumn(_Older, crossed.CrossedColumn):
    """See `crossed_column`."""


class _SequenceCategoricalColumn(_Older, sequence.SequenceCategoricalColumn):
    """A categorical column whose ids are steps of a sequence."""


class _IndicatorColumn(_Older, indicator.IndicatorColumn):
    """See `indicator_column`."""


class _EmbeddingColumn(_Older, embedding.EmbeddingColumn):
    """See `embedding_column`."""


def _older(function: Callable[..., Any], column_class: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives the settings which ``function`` gives, as another class."""

    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> Any:
        return column_class(*function(*args, **kwargs))

    make.__name__ = make.__qualname__ = f"_{function.__name__}"
    return make


def _bucketized_column(source_column: Any, boundaries: Any) -> _BucketizedColumn:
    """`bucketized_column`, to which no boundaries are boundaries that are not sorted."""
    boundaries = boundaries or None
    if boundaries is None and isinstance(source_column, numeric.NumericColumn):
        raise ValueError("boundaries must be a sorted list.")
    return _BucketizedColumn(*numeric.bucketized_column(source_column, boundaries))


_numeric_column = _older(numeric.numeric_column, _NumericColumn)
_categorical_column_with_hash_bucket = _older(
    categorical.categorical_column_with_hash_bucket, _HashedCategoricalColumn
)
_categorical_column_with_identity = _older(
    categorical.categorical_column_with_identity, _IdentityCategoricalColumn
)
_weighted_categorical_column = _older(categorical.weighted_categorical_column, _WeightedCategoricalColumn)
_categorical_column_with_vocabulary_file = _older(
    vocabulary.categorical_column_with_vocabulary_file, _VocabularyFileCategoricalColumn
)
_categorical_column_with_vocabulary_list = _older(
    vocabulary.categorical_column_with_vocabulary_list, _VocabularyListCategoricalColumn
)
_crossed_column = _older(crossed.crossed_column, _CrossedColumn)
_indicator_column = _older(indicator.indicator_column, _IndicatorColumn)
_embedding_column = _older(embedding.embedding_column, _EmbeddingColumn)
