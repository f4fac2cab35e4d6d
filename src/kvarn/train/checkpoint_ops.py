"""Initializers that take a matrix of a checkpoint in the order of other vocabularies.

A vocabulary is a text file with an entry a line.  Row i of the new matrix is the row of the old one that stands for
the same entry, and likewise for columns; what is new starts from an initializer.

Source: tensorflow/python/training/checkpoint_ops.py (1.15).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.ops import array, ranges
from kvarn.ops.remapping import generate_vocab_remapping, load_and_remap_matrix
from kvarn.variables.initializers import TruncatedNormal, Zeros

Initializer = Callable[..., Any]


def _load_and_remap_matrix(
    ckpt_path: Any,
    old_tensor_name: Any,
    new_row_vocab_offset: int,
    num_rows_to_load: int,
    new_col_vocab_size: int,
    initializer: Initializer,
    old_row_vocab_size: int = -1,
    old_row_vocab_file: Any = None,
    new_row_vocab_file: Any = None,
    old_col_vocab_file: Any = None,
    new_col_vocab_file: Any = None,
    num_row_oov_buckets: int = 0,
    num_col_oov_buckets: int = 0,
    max_rows_in_memory: int = -1,
) -> Any:
    """A matrix of a checkpoint, with rows or columns or both in another order.

    Args:
      ckpt_path, old_tensor_name: the checkpoint and the name of the matrix there.
      new_row_vocab_offset: the line of the new row vocabulary to begin at, for a part of a variable.
      num_rows_to_load, new_col_vocab_size: how many rows and columns.
      initializer: makes a tensor of a shape, for what is not there.
      old_row_vocab_size: how many lines of the old row vocabulary count; -1 for all.
      old_row_vocab_file, new_row_vocab_file, old_col_vocab_file, new_col_vocab_file: the files, in pairs; rows or
        columns without them stay as they are.
      num_row_oov_buckets, num_col_oov_buckets: rows and columns after these, all from the initializer.
      max_rows_in_memory: how many rows to read at once; all if it is not positive.

    Returns:
      float32 [rows + row buckets, columns + column buckets].

    Raises:
      ValueError: a negative number of buckets, one file of a pair, or none at all.
    """
    for what, buckets in (("row", num_row_oov_buckets), ("col", num_col_oov_buckets)):
        if buckets < 0:
            raise ValueError(f"num_{what}_oov_buckets must be >= 0, but received {buckets}")
    for what, old, new in (
        ("row", old_row_vocab_file, new_row_vocab_file),
        ("col", old_col_vocab_file, new_col_vocab_file),
    ):
        if bool(old) != bool(new):
            raise ValueError(
                f"old_{what}_vocab_file and new_{what}_vocab_file must both be specified or left unspecified. "
                f"old_{what}_vocab_file='{old}', new_{what}_vocab_file='{new}'"
            )
    if not new_row_vocab_file and not new_col_vocab_file:
        raise ValueError(
            "Must provide either row or column vocab files. If no remapping is necessary, consider using "
            "`tf.contrib.framework.init_from_checkpoint` instead."
        )
    num_rows_present: Any = num_rows_to_load
    if new_row_vocab_file:
        row_remapping, num_rows_present = generate_vocab_remapping(
            new_vocab_file=new_row_vocab_file,
            old_vocab_file=old_row_vocab_file,
            new_vocab_offset=new_row_vocab_offset,
            num_new_vocab=num_rows_to_load,
            old_vocab_size=old_row_vocab_size,
        )
    else:
        row_remapping = ranges.range(
            new_row_vocab_offset, new_row_vocab_offset + num_rows_to_load, dtype=dtypes.int64
        )
    col_remapping: Any = []
    num_cols_present: Any = new_col_vocab_size
    if new_col_vocab_file:
        col_remapping, num_cols_present = generate_vocab_remapping(
            new_vocab_file=new_col_vocab_file,
            old_vocab_file=old_col_vocab_file,
            new_vocab_offset=0,
            num_new_vocab=new_col_vocab_size,
        )
    found = load_and_remap_matrix(
        ckpt_path=ckpt_path,
        old_tensor_name=old_tensor_name,
        row_remapping=row_remapping,
        col_remapping=col_remapping,
        initializing_values=initializer(
            [num_rows_to_load * new_col_vocab_size - num_rows_present * num_cols_present, 1]
        ),
        num_rows=num_rows_to_load,
        num_cols=new_col_vocab_size,
        max_rows_in_memory=max_rows_in_memory,
    )
    if num_row_oov_buckets > 0:
        rows = convert_to_tensor(initializer([num_row_oov_buckets, new_col_vocab_size]))
        found = array.concat([found, rows], 0)
    if num_col_oov_buckets > 0:
        columns = initializer([num_rows_to_load + num_row_oov_buckets, num_col_oov_buckets])
        found = array.concat([found, convert_to_tensor(columns)], 1)
    return found


def _load_and_remap_matrix_initializer(
    ckpt_path: Any,
    old_tensor_name: Any,
    new_row_vocab_size: int,
    new_col_vocab_size: int,
    old_row_vocab_size: int = -1,
    old_row_vocab_file: Any = None,
    new_row_vocab_file: Any = None,
    old_col_vocab_file: Any = None,
    new_col_vocab_file: Any = None,
    num_row_oov_buckets: int = 0,
    num_col_oov_buckets: int = 0,
    initializer: Initializer | None = None,
    max_rows_in_memory: int = -1,
) -> Initializer:
    """The initializer of a variable, or of its parts along the rows, that is `_load_and_remap_matrix`.

    Args:
      new_row_vocab_size, new_col_vocab_size: rows and columns of the whole variable, without buckets.
      initializer: for what is not there; zeros by default.

    Raises:
      TypeError: ``initializer`` cannot be called; (when called) another type than float32.
      ValueError: (when called) a shape that does not fit these numbers.
    """
    if initializer is None:
        initializer = Zeros()
    if not callable(initializer):
        raise TypeError(
            f"initializer must be callable, instead of being {initializer} of type {type(initializer)}."
        )
    n_columns = new_col_vocab_size + num_col_oov_buckets
    n_rows = new_row_vocab_size + num_row_oov_buckets

    def initialize(shape: Any, dtype: Any = dtypes.float32, partition_info: Any = None) -> Any:
        if dtype != dtypes.float32:
            raise TypeError(f"Currently, only float32 is supported. Received dtype: {dtype}")
        if len(shape) != 2:
            raise ValueError(f"Expected 2-dim shape, but received: {shape}")
        if shape[0] <= 0:
            raise ValueError(f"Expected 1st dim of shape to be > 0, but received shape: {shape}")
        if shape[1] != n_columns:
            raise ValueError(
                f"Expected 2nd dim of shape to be new_col_vocab_size ({new_col_vocab_size}) + num_col_oov_buckets "
                f"({num_col_oov_buckets}) = {n_columns}, but received shape: {shape}"
            )
        offset = 0 if partition_info is None else partition_info.single_offset(shape)
        if offset + shape[0] > n_rows:
            raise ValueError(
                f"Trying to initialize {shape[0]} additional rows after {offset} rows have already been "
                f"initialized, which would exceed expected total row count of new_row_vocab_size "
                f"({new_row_vocab_size}) + num_row_oov_buckets ({num_row_oov_buckets}) = {n_rows}."
            )
        buckets = min(shape[0], max(0, offset + shape[0] - new_row_vocab_size))
        if offset > new_row_vocab_size:
            return initializer(shape)
        return _load_and_remap_matrix(
            ckpt_path,
            old_tensor_name,
            new_row_vocab_offset=offset,
            num_rows_to_load=shape[0] - buckets,
            new_col_vocab_size=new_col_vocab_size,
            initializer=initializer,
            old_row_vocab_size=old_row_vocab_size,
            old_row_vocab_file=old_row_vocab_file,
            new_row_vocab_file=new_row_vocab_file,
            old_col_vocab_file=old_col_vocab_file,
            new_col_vocab_file=new_col_vocab_file,
            num_row_oov_buckets=buckets,
            num_col_oov_buckets=num_col_oov_buckets,
            max_rows_in_memory=max_rows_in_memory,
        )

    return initialize


def _load_embedding_initializer(
    ckpt_path: Any,
    embedding_tensor_name: Any,
    new_vocab_size: int,
    embedding_dim: int,
    old_vocab_file: Any,
    new_vocab_file: Any,
    old_vocab_size: int = -1,
    num_oov_buckets: int = 0,
    initializer: Initializer | None = None,
    max_rows_in_memory: int = -1,
) -> Initializer:
    """`_load_and_remap_matrix_initializer` of the rows of an embedding; what is new is a truncated normal."""
    if initializer is None:
        initializer = TruncatedNormal(stddev=1.0 / math.sqrt(embedding_dim))
    return _load_and_remap_matrix_initializer(
        ckpt_path,
        embedding_tensor_name,
        new_row_vocab_size=new_vocab_size,
        new_col_vocab_size=embedding_dim,
        old_row_vocab_size=old_vocab_size,
        old_row_vocab_file=old_vocab_file,
        new_row_vocab_file=new_vocab_file,
        num_row_oov_buckets=num_oov_buckets,
        initializer=initializer,
        max_rows_in_memory=max_rows_in_memory,
    )
