"""How examples are parsed for columns.

Source: tensorflow/python/feature_column/feature_column.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kvarn.feature_column.base import _FeatureColumn


def make_parse_example_spec(feature_columns: Iterable[Any]) -> dict[str, Any]:
    """What `tf.io.parse_example` is to be given for columns: a `FixedLenFeature` or `VarLenFeature` for each key.

    Raises:
      ValueError: one is no column, or two want a feature in two ways.
    """
    result: dict[str, Any] = {}
    for column in feature_columns:
        if not isinstance(column, _FeatureColumn):
            raise ValueError(f"All feature_columns must be _FeatureColumn instances. Given: {column}")
        for key, value in column._parse_example_spec.items():
            if key in result and value != result[key]:
                raise ValueError(
                    f"feature_columns contain different parse_spec for key {key}. "
                    f"Given {value} and {result[key]}"
                )
            result[key] = value
    return result
