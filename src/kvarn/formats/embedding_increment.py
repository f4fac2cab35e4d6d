"""Increments of embedding variables in a checkpoint, as DeepRec names and lays them out.

What was touched of the embedding variable, part or slot N since a full save, or since the increment before:

    N-incr_partition_offset          int32 [1001]
    N-sparse_incr_keys               int32 | int64 [c]     keys that own values
    N-sparse_incr_values             float32 [c, dim]
    N-sparse_incr_versions           int64 [c]             zeros where versions are not kept
    N-sparse_incr_freqs              int64 [c]             zeros where frequencies are not kept

and behind them four that only kvarn knows, others pass over them:

    N-sparse_incr_removed_keys       as keys [r]           keys that are no longer there
    N-sparse_incr_keys_filtered      as keys [f]           keys that a filter has not admitted (any more)
    N-sparse_incr_versions_filtered  int64 [f] or [0]
    N-sparse_incr_freqs_filtered     int64 [f]

Keys lie by bucket, ``key mod 1000``, ascending inside a bucket; the three sets of keys have none in common.
Of the nine tensors of a full save only those of keys without values have a counterpart here that DeepRec
does not write: there a key that lost its values between two saves keeps them.

An ordinary variable N of which single rows changed, such as a part ``w/part_1`` of a partitioned one:

    N-sparse_incr_keys               int32 | int64 [c]     numbers of rows of this part, ascending
    N-sparse_incr_values             as the variable [c, …]

All other variables of an increment are whole tensors under their own names.

    files    <dir>/.incremental_checkpoint/incremental_model.ckpt-<step>.index, .data-00000-of-00001, and
             <dir>/.incremental_checkpoint/checkpoint, the state file of this folder alone

Where kvarn differs: the modulus is the floor modulus, so that negative keys are there too; versions are
those of the table wherever it keeps them (DeepRec writes zeros unless ``steps_to_live`` is set).

Source: DeepRec tensorflow/core/kernels/incr_save_restore_ops.{h,cc}, tensorflow/python/training/saver.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.errors import DataLossError, InvalidArgumentError, NotFoundError, OpError
from kvarn.formats.embedding import (
    Int64s,
    Keys,
    Values,
    bucket_of,
    bucket_order,
    part_of,
)
from kvarn.formats.embedding_names import embedding_sources
from kvarn.formats.reader import CHUNK_BYTES, TensorReader
from kvarn.formats.writer import TensorWriter

# basic_session_run_hooks.py and incremental_saver.py: where increments lie below a folder of full saves.
FOLDER = ".incremental_checkpoint"
BASENAME = "incremental_model.ckpt"

OFFSET = "-incr_partition_offset"
KEYS = "-sparse_incr_keys"
VALUES = "-sparse_incr_values"
VERSIONS = "-sparse_incr_versions"
FREQS = "-sparse_incr_freqs"
REMOVED_KEYS = "-sparse_incr_removed_keys"
KEYS_FILTERED = "-sparse_incr_keys_filtered"
VERSIONS_FILTERED = "-sparse_incr_versions_filtered"
FREQS_FILTERED = "-sparse_incr_freqs_filtered"
# In the order of the data file.
SUFFIXES = (
    OFFSET, KEYS, VALUES, VERSIONS, FREQS, REMOVED_KEYS, KEYS_FILTERED, VERSIONS_FILTERED, FREQS_FILTERED,
)  # fmt: skip


# Writing --------------------------------------------------------------------------------------------


def write_increment(
    writer: TensorWriter,
    name: str,
    keys: Keys,
    values: Values | Iterable[Values],
    *,
    dim: int,
    versions: Int64s | None = None,
    freqs: Int64s | None = None,
    removed_keys: Keys | None = None,
    keys_filtered: Keys | None = None,
    versions_filtered: Int64s | None = None,
    freqs_filtered: Int64s | None = None,
) -> None:
    """Writes the tensors of one embedding variable, part or slot.

    Args:
      keys: int32 or int64 [c], by bucket and ascending inside, as are all other keys.
      values: float32 [c, dim], or chunks of it in the same order.
      versions, freqs: int64 [c]; zeros for None.
      removed_keys, keys_filtered: [r] and [f], or None for none.
      versions_filtered, freqs_filtered: int64 [f], or None where they are not kept.

    Raises:
      InvalidArgumentError: keys of another dtype or order, one twice, or lengths that do not fit.
    """
    keys = np.asarray(keys)
    nothing = np.empty(0, keys.dtype)
    removed = nothing if removed_keys is None else np.asarray(removed_keys)
    filtered = nothing if keys_filtered is None else np.asarray(keys_filtered)
    offset = _checked_offset(name, KEYS, keys)
    for suffix, others in ((REMOVED_KEYS, removed), (KEYS_FILTERED, filtered)):
        _checked_offset(name, suffix, others)
        if others.dtype != keys.dtype:
            raise _invalid(name, f"{suffix} are {others.dtype}, {KEYS} {keys.dtype}")
    others = np.concatenate((removed, filtered))
    if len(np.unique(others)) != len(others) or np.isin(others, keys).any():
        raise _invalid(name, "a key is in two of its sets")
    writer.add(name + OFFSET, offset)
    writer.add(name + KEYS, keys)
    writer.add_tensor_header(name + VALUES, dtypes.float32, (len(keys), dim))
    for chunk in [values] if isinstance(values, np.ndarray) else values:
        if chunk.ndim != 2 or chunk.shape[1] != dim or chunk.dtype != np.float32:
            writer.abort()
            raise _invalid(name, f"values are {chunk.dtype}{list(chunk.shape)}, not float32 [c, {dim}]")
        writer.append_segment(np.ascontiguousarray(chunk))
    writer.end_segment()
    writer.add(name + VERSIONS, _numbers(name, VERSIONS, versions, len(keys)))
    writer.add(name + FREQS, _numbers(name, FREQS, freqs, len(keys)))
    writer.add(name + REMOVED_KEYS, removed)
    writer.add(name + KEYS_FILTERED, filtered)
    if versions_filtered is None:
        writer.add(name + VERSIONS_FILTERED, np.empty(0, np.int64))
    else:
        writer.add(
            name + VERSIONS_FILTERED, _numbers(name, VERSIONS_FILTERED, versions_filtered, len(filtered))
        )
    writer.add(name + FREQS_FILTERED, _numbers(name, FREQS_FILTERED, freqs_filtered, len(filtered)))


def write_rows(writer: TensorWriter, name: str, rows: Keys, values: Any, dtype: Any = None) -> None:
    """Writes single rows of an ordinary variable, or of a part of one.

    Args:
      rows: int32 or int64 [c], ascending.
      values: [c, …].
    """
    writer.add(name + KEYS, rows)
    writer.add(name + VALUES, np.ascontiguousarray(values), dtype)


def _checked_offset(name: str, suffix: str, keys: Keys) -> Any:
    """Where each bucket of keys begins, int32 [1001]."""
    if keys.dtype not in (np.dtype(np.int32), np.dtype(np.int64)) or keys.ndim != 1:
        raise _invalid(name, f"{suffix} are {keys.dtype}{list(keys.shape)}, not int32 or int64 [n]")
    buckets = bucket_of(keys)
    steps = np.diff(buckets)
    if np.any(steps < 0) or np.any((steps == 0) & (keys[1:] <= keys[:-1])):
        raise _invalid(name, f"{suffix} do not ascend in every bucket")
    return bucket_order(keys)[1]


def _numbers(name: str, suffix: str, column: Int64s | None, count: int) -> Int64s:
    if column is None:
        return np.zeros(count, np.int64)
    column = np.asarray(column, np.int64)
    if column.shape != (count,):
        raise _invalid(name, f"{suffix} have the shape {list(column.shape)}, not [{count}]")
    return column


def _invalid(name: str, what: str) -> OpError:
    return InvalidArgumentError.of(
        f"the increment of embedding variable '{name}' cannot be saved: {what}",
        name=name,
        hint="Nothing was saved.",
    )


# Reading --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Increment:
    """What one part of an embedding variable changed.

    Attributes:
      source: name of the part in the file.
      keys: int32 or int64 [c]; those of other parts are left out, here and everywhere.
      versions, freqs: int64 [c].
      removed_keys, keys_filtered, versions_filtered, freqs_filtered: see above; versions and frequencies
        of filtered keys are None where they were not kept.
    """

    source: str
    keys: Keys
    versions: Int64s
    freqs: Int64s
    removed_keys: Keys
    keys_filtered: Keys
    versions_filtered: Int64s | None
    freqs_filtered: Int64s | None


def read_increment(
    reader: TensorReader,
    name: str,
    *,
    owner: str | None = None,
    partitioned: bool | None = None,
    partition_id: int = 0,
    partition_num: int = 1,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[tuple[Increment, Iterator[tuple[slice, Values]]]]:
    """What the parts of ``name`` in the file changed, for one part of a variable.

    Args:
      owner, partitioned: as of `kvarn.formats.embedding_names.embedding_sources`.
      partition_id, partition_num: only keys with ``key mod 1000 mod partition_num == partition_id``.

    Returns:
      For each source its `Increment`, and a stream of values: which rows of ``keys``, and their values
      [n, dim].  The stream must be used up before the next source; damage shows with its last chunk.

    Raises:
      NotFoundError: there is no such increment.
      DataLossError: its tensors do not fit one another, or are damaged.
    """
    sources = embedding_sources(reader, name, owner=owner, partitioned=partitioned, keys=KEYS)
    if not sources:
        raise not_found(reader, name)
    for source in sources:
        yield _read_source(reader, source, partition_id, partition_num, chunk_bytes)


def not_found(reader: TensorReader, name: str) -> OpError:
    """What to raise where there is no increment of ``name``."""
    return NotFoundError.of(
        f"Key {name}{KEYS} not found in checkpoint\n  increment of '{name}' in '{reader.prefix}'",
        name=name,
        path=reader.prefix,
        hint="It is no incremental checkpoint, or one of other variables: `kvarn ls` lists the names.",
    )


def _read_source(
    reader: TensorReader, source: str, partition_id: int, partition_num: int, chunk_bytes: int
) -> tuple[Increment, Iterator[tuple[slice, Values]]]:
    keys = _read_keys(reader, source, KEYS)
    own = part_of(keys, partition_num) == partition_id
    filtered = _read_keys(reader, source, KEYS_FILTERED, keys.dtype)
    own_filtered = part_of(filtered, partition_num) == partition_id
    removed = _read_keys(reader, source, REMOVED_KEYS, keys.dtype)
    versions = _read_numbers(reader, source, VERSIONS, len(keys))
    freqs = _read_numbers(reader, source, FREQS, len(keys))
    versions_filtered = _read_numbers(reader, source, VERSIONS_FILTERED, len(filtered))
    freqs_filtered = _read_numbers(reader, source, FREQS_FILTERED, len(filtered))
    increment = Increment(
        source,
        keys[own],
        (np.zeros(len(keys), np.int64) if versions is None else versions)[own],
        (np.zeros(len(keys), np.int64) if freqs is None else freqs)[own],
        removed[part_of(removed, partition_num) == partition_id],
        filtered[own_filtered],
        None if versions_filtered is None else versions_filtered[own_filtered],
        None if freqs_filtered is None else freqs_filtered[own_filtered],
    )
    return increment, _values(reader, source, own, chunk_bytes)


def _values(reader: TensorReader, source: str, own: Any, chunk_bytes: int) -> Iterator[tuple[slice, Values]]:
    dtype, shape = reader.lookup_dtype_and_shape(source + VALUES)
    if len(shape) != 2 or shape[0] != len(own):
        raise damaged(reader, source + VALUES, f"{list(shape)}, not [{len(own)}, dim]")
    start = given = 0
    for chunk in reader.chunks(source + VALUES, max(chunk_bytes, shape[1] * dtype.size, 1)):
        chosen = own[start : start + len(chunk)]
        start += len(chunk)
        rows = chunk[chosen]
        yield slice(given, given + len(rows)), rows
        given += len(rows)


def _read_keys(reader: TensorReader, source: str, suffix: str, dtype: Any = None) -> Keys:
    """Keys; none where only DeepRec's tensors are there."""
    name = source + suffix
    if dtype is not None and not reader.contains(name):
        return np.empty(0, dtype)
    keys = reader.lookup(name)
    wanted = (np.dtype(np.int32), np.dtype(np.int64)) if dtype is None else (dtype,)
    if keys.dtype not in wanted or keys.ndim != 1:
        raise damaged(reader, name, f"{keys.dtype}{list(keys.shape)}, not keys")
    return keys


def _read_numbers(reader: TensorReader, source: str, suffix: str, count: int) -> Int64s | None:
    """Versions or frequencies; None if the file has none."""
    name = source + suffix
    if not reader.contains(name):
        return None
    column = reader.lookup(name)
    if count and column.shape == (0,):
        return None
    if column.shape != (count,) or column.dtype != np.int64:
        raise damaged(reader, name, f"{column.dtype}{list(column.shape)}, not int64 [{count}]")
    return column


def damaged(reader: TensorReader, name: str, what: str) -> OpError:
    """The error for a tensor of an increment that does not fit the others."""
    return DataLossError.of(
        f"'{name}' in '{reader.prefix}' does not fit an increment: {what}",
        name=name,
        path=reader.prefix,
        hint="The checkpoint was damaged or not written by DeepRec or kvarn.",
    )
