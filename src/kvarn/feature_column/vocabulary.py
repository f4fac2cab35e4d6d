"""Columns of ids that are positions in a vocabulary.

Source: tensorflow/python/feature_column/feature_column_v2.py (1.15).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kvarn import dtypes, tf_logging
from kvarn.feature_column.categorical import KeyedCategoricalColumn
from kvarn.feature_column.utils import assert_key_is_string, assert_string_or_int
from kvarn.graph.tensor import SparseTensor
from kvarn.io import as_path, file_system_of
from kvarn.ops import math as math_ops
from kvarn.variables.vocabularies import index_table_from_file, index_table_from_tensor


class _VocabularyColumn(KeyedCategoricalColumn):
    """A column that looks its values up in a table."""

    num_oov_buckets: int
    default_value: int

    def table(self, key_dtype: Any, name: str) -> Any:
        """The table from values to ids; string keys, or int64."""
        raise NotImplementedError

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> SparseTensor:
        given: Any = self.sparse_input(transformation_cache, state_manager)
        self.check_dtypes_agree(given)
        assert_string_or_int(given.dtype, prefix=f"column_name: {self.key} input_tensor")
        key_dtype = self.dtype
        if given.dtype.is_integer:
            # There are tables of int64 only.
            key_dtype = dtypes.int64
            given = math_ops.cast(given, dtypes.int64)
        name = f"{self.key}_lookup"
        table = self.table(key_dtype, name)
        if state_manager is not None:
            state_manager.add_resource(self, name, table)
        found: SparseTensor = table.lookup(given)
        return found


def _check_buckets(num_oov_buckets: int, has_default: bool, key: str) -> None:
    if not num_oov_buckets:
        return
    if has_default:
        raise ValueError(f"Can't specify both num_oov_buckets and default_value in {key}.")
    if num_oov_buckets < 0:
        raise ValueError(f"Invalid num_oov_buckets {num_oov_buckets} in {key}.")


# -- files --------------------------------------------------------------------------------------------


class _FileSettings(NamedTuple):
    key: str
    vocabulary_file: str
    vocabulary_size: int
    num_oov_buckets: int
    dtype: Any
    default_value: int


class VocabularyFileCategoricalColumn(_VocabularyColumn, _FileSettings):
    """See `categorical_column_with_vocabulary_file`."""

    def table(self, key_dtype: Any, name: str) -> Any:
        return index_table_from_file(
            vocabulary_file=self.vocabulary_file,
            num_oov_buckets=self.num_oov_buckets,
            vocab_size=self.vocabulary_size,
            default_value=self.default_value,
            key_dtype=key_dtype,
            name=name,
        )

    @property
    def num_buckets(self) -> int:
        return self.vocabulary_size + self.num_oov_buckets


def categorical_column_with_vocabulary_file(
    key: str,
    vocabulary_file: str,
    vocabulary_size: int | None = None,
    num_oov_buckets: int = 0,
    default_value: int | None = None,
    dtype: Any = dtypes.string,
) -> VocabularyFileCategoricalColumn:
    """A feature whose values stand in a file, one a line; the ids are the numbers of the lines.

    Args:
      key: of the feature.
      vocabulary_file: a path.
      vocabulary_size: how many lines to take; all by default, which are counted here.
      num_oov_buckets: how many ids after those of the lines for other values, by their hash.
      default_value: the id of other values, -1 by default; not with ``num_oov_buckets``.
      dtype: string or an integer type.

    Raises:
      ValueError: a number or type of another kind, no file, or both a default and buckets.
    """
    if not vocabulary_file:
        raise ValueError(f"Missing vocabulary_file in {key}.")
    if vocabulary_size is None:
        vocabulary_size = _count_lines(vocabulary_file, key)
        tf_logging.info(
            "vocabulary_size = %d in %s is inferred from the number of elements in the vocabulary_file %s.",
            vocabulary_size,
            key,
            vocabulary_file,
        )
    if vocabulary_size < 1:
        raise ValueError(f"Invalid vocabulary_size in {key}.")
    _check_buckets(num_oov_buckets, default_value is not None, key)
    assert_string_or_int(dtype, prefix=f"column_name: {key}")
    assert_key_is_string(key)
    return VocabularyFileCategoricalColumn(
        key=key,
        vocabulary_file=vocabulary_file,
        vocabulary_size=vocabulary_size,
        num_oov_buckets=num_oov_buckets or 0,
        default_value=-1 if default_value is None else default_value,
        dtype=dtype,
    )


def categorical_column_with_vocabulary_file_v2(
    key: str,
    vocabulary_file: str,
    vocabulary_size: int | None = None,
    dtype: Any = dtypes.string,
    default_value: int | None = None,
    num_oov_buckets: int = 0,
) -> VocabularyFileCategoricalColumn:
    """`categorical_column_with_vocabulary_file` with its arguments in TensorFlow 2's order."""
    return categorical_column_with_vocabulary_file(
        key, vocabulary_file, vocabulary_size, num_oov_buckets, default_value, dtype
    )


def _count_lines(vocabulary_file: str, key: str) -> int:
    fs, path = file_system_of(vocabulary_file), as_path(vocabulary_file)
    if not fs.exists(path):
        raise ValueError(f"vocabulary_file in {key} does not exist.")
    file = fs.open_read(path)
    try:
        content = bytes(file.read(0, fs.size(path)))
    finally:
        file.close()
    return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))


# -- lists --------------------------------------------------------------------------------------------


class _ListSettings(NamedTuple):
    key: str
    vocabulary_list: tuple[Any, ...]
    dtype: Any
    default_value: int
    num_oov_buckets: int


class VocabularyListCategoricalColumn(_VocabularyColumn, _ListSettings):
    """See `categorical_column_with_vocabulary_list`."""

    def table(self, key_dtype: Any, name: str) -> Any:
        return index_table_from_tensor(
            vocabulary_list=tuple(self.vocabulary_list),
            default_value=self.default_value,
            num_oov_buckets=self.num_oov_buckets,
            dtype=key_dtype,
            name=name,
        )

    @property
    def num_buckets(self) -> int:
        return len(self.vocabulary_list) + self.num_oov_buckets


def categorical_column_with_vocabulary_list(
    key: str, vocabulary_list: Any, dtype: Any = None, default_value: int = -1, num_oov_buckets: int = 0
) -> VocabularyListCategoricalColumn:
    """A feature whose values are those of a list; the ids are their positions.

    Args:
      key: of the feature.
      vocabulary_list: different strings or integers.
      dtype: of the feature; by default that of the list.
      default_value: the id of other values; not with ``num_oov_buckets``.
      num_oov_buckets: how many ids after those of the list for other values, by their hash.

    Raises:
      ValueError: the list is empty or has a value twice, a type or number is of another kind, or there are both a
        default and buckets.
    """
    if vocabulary_list is None or len(vocabulary_list) < 1:
        raise ValueError(f"vocabulary_list {vocabulary_list} must be non-empty, column_name: {key}")
    if len(set(vocabulary_list)) != len(vocabulary_list):
        raise ValueError(f"Duplicate keys in vocabulary_list {vocabulary_list}, column_name: {key}")
    vocabulary_dtype = dtypes.as_dtype(np.array(vocabulary_list).dtype)
    _check_buckets(num_oov_buckets, default_value != -1, key)
    assert_string_or_int(vocabulary_dtype, prefix=f"column_name: {key} vocabulary")
    if dtype is None:
        dtype = vocabulary_dtype
    elif dtype.is_integer != vocabulary_dtype.is_integer:
        raise ValueError(
            f"dtype {dtype} and vocabulary dtype {vocabulary_dtype} do not match, column_name: {key}"
        )
    assert_string_or_int(dtype, prefix=f"column_name: {key}")
    assert_key_is_string(key)
    return VocabularyListCategoricalColumn(
        key=key,
        vocabulary_list=tuple(vocabulary_list),
        dtype=dtype,
        default_value=default_value,
        num_oov_buckets=num_oov_buckets,
    )
