"""Matrices of a checkpoint in the order of other vocabularies.

Source: tensorflow/core/ops/checkpoint_ops.cc,
tensorflow/core/kernels/{generate_vocab_remapping,load_and_remap_matrix}_op.cc (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops import _vocabulary_file
from kvarn.ops._format import type_text
from kvarn.ops._lookup_tables import HashTable

# What a remapping has for a new entry that is not among the old ones.
NOT_FOUND = -1


def _text(value: Any) -> str:
    found: bytes = np.ravel(np.asarray(value, dtype=object))[0]
    return found.decode(errors="surrogateescape")


@op(
    "GenerateVocabRemapping",
    inputs=["new_vocab_file: string", "old_vocab_file: string"],
    outputs=["remapping: int64", "num_present: int32"],
    attrs=["new_vocab_offset: int >= 0", "num_new_vocab: int >= 0", "old_vocab_size: int >= -1 = -1"],
)
class generate_vocab_remapping:
    """For entries of a vocabulary, their numbers in an older one, or -1; and how many are in both.

    The ``num_new_vocab`` entries (lines of a file) from ``new_vocab_offset`` on, among the first ``old_vocab_size``
    lines of the other file, all if that is -1.
    """

    def shape(c: Any, new_vocab_file: Any, old_vocab_file: Any) -> Any:
        shapes.with_rank(new_vocab_file, 0)
        shapes.with_rank(old_vocab_file, 0)
        return [(c.attrs["num_new_vocab"],), ()]

    def kernel(ctx: Any, new_vocab_file: Any, old_vocab_file: Any) -> Any:
        for what, file in (("new", new_vocab_file), ("old", old_vocab_file)):
            if np.ndim(file) != 0:
                raise errors.InvalidArgumentError.of(
                    f"{what}_vocab_file should be a single string, but got {shapes.fmt(np.shape(file))}"
                )
            if not _text(file):
                raise errors.InvalidArgumentError.of("new vocab filename cannot be empty.")
        first, count = ctx.attrs["new_vocab_offset"], ctx.attrs["num_new_vocab"]
        new = HashTable(ctx.op.name, dtypes.int64, dtypes.string)
        line, number = _vocabulary_file.WHOLE_LINE, _vocabulary_file.LINE_NUMBER
        _vocabulary_file.initialize(new, _text(new_vocab_file), -1, b"\t", number, line)
        if first + count > new.size():
            raise errors.InvalidArgumentError.of(
                "lookup table size must be larger than last new vocab entry's line",
                hint=f"The vocabulary has {new.size()} lines, {first + count} are asked for.",
            )
        old = HashTable(ctx.op.name, dtypes.string, dtypes.int64)
        size = ctx.attrs["old_vocab_size"]
        _vocabulary_file.initialize(old, _text(old_vocab_file), size, b"\t", line, number)
        entries = new.find(np.arange(first, first + count), np.array(b"", object))
        remapping = old.find(entries, np.array(NOT_FOUND))
        return remapping, np.int32(np.count_nonzero(remapping != NOT_FOUND))

    grad = NOT_DIFFERENTIABLE


def _check_once(remapping: Any) -> None:
    """UnimplementedError if an old entry is to come twice."""
    seen: dict[int, int] = {}
    for new, old in enumerate(remapping.tolist()):
        if old >= 0 and seen.setdefault(old, new) != new:
            raise errors.UnimplementedError.of(
                f"Old ID {old} is mapped to both new ID {seen[old]} and {new}, which is not supported."
            )


@op(
    "LoadAndRemapMatrix",
    inputs=[
        "ckpt_path: string",
        "old_tensor_name: string",
        "row_remapping: int64",
        "col_remapping: int64",
        "initializing_values: float",
    ],
    outputs="output_matrix: float",
    attrs=["num_rows: int >= 0", "num_cols: int >= 1", "max_rows_in_memory: int = -1"],
    stateful=True,
)
class load_and_remap_matrix:
    """A matrix of a checkpoint with its rows and columns in another order.

    Row i is old row ``row_remapping[i]``, column j old column ``col_remapping[j]`` (all as they are, if that is
    empty).  Where one of both is negative, the next of ``initializing_values`` is taken, row by row; they must be
    as many as that.  At most ``max_rows_in_memory`` rows are read at once.
    """

    def shape(c: Any, ckpt_path: Any, old_tensor_name: Any, *others: Any) -> Any:
        shapes.with_rank(old_tensor_name, 0)
        return [(c.attrs["num_rows"], c.attrs["num_cols"])]

    def kernel(
        ctx: Any,
        ckpt_path: Any,
        old_tensor_name: Any,
        row_remapping: Any,
        col_remapping: Any,
        initializing_values: Any,
    ) -> Any:
        from kvarn.formats.detect import open_checkpoint

        n_rows, n_columns = ctx.attrs["num_rows"], ctx.attrs["num_cols"]
        if row_remapping.size != n_rows:
            raise errors.InvalidArgumentError.of(
                f"Size of row_remapping is {row_remapping.size} instead of being equal to num_rows={n_rows}"
            )
        _check_once(row_remapping)
        columns = col_remapping if col_remapping.size else np.arange(n_columns)
        if columns.size != n_columns:
            raise errors.InvalidArgumentError.of(
                f"Provided col_remapping, but its size is {columns.size} instead of being equal to "
                f"num_cols={n_columns}"
            )
        _check_once(columns)
        output = np.empty((n_rows, n_columns), np.float32)
        with open_checkpoint(_text(ckpt_path)) as reader:
            name = _text(old_tensor_name)
            _check_matrix(reader, name, n_columns if not col_remapping.size else None)
            _read_rows(reader, name, row_remapping, columns, ctx.attrs["max_rows_in_memory"], output)
        missing = (row_remapping < 0)[:, None] | (columns < 0)
        given, wanted = initializing_values.size, np.count_nonzero(missing)
        if given < wanted:
            raise errors.InvalidArgumentError.of(
                f"initializing_values contained {given} elements, but more missing values remain."
            )
        if given > wanted:
            raise errors.InvalidArgumentError.of(
                f"initializing_values contained {given} elements, but only {wanted} elements were used to fill in "
                "missing values."
            )
        output[missing] = initializing_values.ravel()
        return output

    grad = NOT_DIFFERENTIABLE


def _check_matrix(reader: Any, name: str, n_columns: int | None) -> None:
    """InvalidArgumentError unless the tensor is a matrix of floats, with so many columns if they are given."""
    dtype, shape = reader.lookup_dtype_and_shape(name)
    problem = None
    if dtype is not dtypes.float32:
        problem = f"has invalid type {type_text(dtype)} instead of expected type {type_text(dtypes.float32)}"
    elif len(shape) != 2:
        problem = (
            f"has shape {shapes.fmt(shape)} of invalid rank {len(shape)} instead of expected shape of rank 2."
        )
    elif n_columns is not None and n_columns != shape[1]:
        problem = (
            f"has shape {shapes.fmt(shape)}, where the size of its 2nd dimension is {shape[1]} instead of being "
            f"equal to num_cols={n_columns}"
        )
    if problem is not None:
        raise errors.InvalidArgumentError.of(f"Tensor {name} {problem}", name=name, path=reader.prefix)


def _read_rows(reader: Any, name: str, rows: Any, columns: Any, at_once: int, output: Any) -> None:
    """Puts the elements that the checkpoint has in their places of ``output``."""
    from kvarn.formats.tensor_slice import FULL_EXTENT, TensorSlice

    present = rows[rows >= 0]
    if not present.size:
        return
    new_columns = np.flatnonzero(columns >= 0)
    start, end = int(present.min()), int(present.max()) + 1
    step = at_once if at_once > 0 else end - start
    for first in range(start, end, step):
        last = min(first + step, end)
        # Which rows there are, the reader says; columns are all taken.
        read = reader.lookup_slice(name, TensorSlice(((first, last - first), (0, FULL_EXTENT))))
        new_rows = np.flatnonzero((rows >= first) & (rows < last))
        output[np.ix_(new_rows, new_columns)] = read[np.ix_(rows[new_rows] - first, columns[new_columns])]
