"""Embedding variables in a checkpoint, as DeepRec names and lays them out.

One embedding variable, one of its parts, or one of its slots, with the name N, is nine plain tensors, in
this order in the data file (all of them also when there is no key):

    N-keys                     int32 | int64 [n]      keys that own values
    N-values                   float32       [n, dim]
    N-versions                 int64         [n] or [0]
    N-freqs                    int64         [n] or [0]
    N-keys_filtered            as keys       [m]      keys that a filter has not admitted yet
    N-versions_filtered        int64         [m] or [0]
    N-freqs_filtered           int64         [m]
    N-partition_offset         int32         [1001]
    N-partition_filter_offset  int32         [1001]

Rows are grouped by bucket, ``key mod 1000``: bucket b is rows offset[b] to offset[b + 1]; inside a bucket
the order means nothing.  (Keys 3, 2003, 5, 999: offset is 0 0 0 0 2 2 3 3 … 3 4.)

    names        b            one embedding variable          b/Adagrad          its slot
                 b/part_0     part 0 of a partitioned one      b/part_0/Adagrad   the slot of that part

Part p of n holds the keys with ``key mod 1000 mod n == p``, so any number of old parts can be read into any
number of new ones: each new part takes its buckets from all old ones.

Older eras of DeepRec wrote fewer tensors: only keys, values and versions are always there.

Where kvarn differs: the modulus is the floor modulus, so that negative keys are saved too (DeepRec drops
them); slots of an unpartitioned variable, and blocks, are found in the file of a partitioned one.

Here are names and writing; finding is in `kvarn.formats.embedding_names`, reading in
`kvarn.formats.embedding_rows`.  What a policy makes of the rows (filters, another dim, missing frequencies) is
decided by the reader of the rows.

Source: DeepRec tensorflow/core/framework/embedding/embedding_var_ckpt_data.cc, embedding_var_restore.cc,
storage.h; tensorflow/core/kernels/save_restore_tensor.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import InvalidArgumentError, OpError
from kvarn.formats.writer import TensorWriter

Keys = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Values = npt.NDArray[Any]
Offsets = npt.NDArray[np.int32]

# storage.h: kSavedPartitionNum, a fact of the format.
SAVED_PARTITION_NUM = 1000

KEYS = "-keys"
VALUES = "-values"
VERSIONS = "-versions"
FREQS = "-freqs"
KEYS_FILTERED = "-keys_filtered"
VERSIONS_FILTERED = "-versions_filtered"
FREQS_FILTERED = "-freqs_filtered"
PARTITION_OFFSET = "-partition_offset"
PARTITION_FILTER_OFFSET = "-partition_filter_offset"
# In the order of the data file.
SUFFIXES = (
    KEYS, VALUES, VERSIONS, FREQS, KEYS_FILTERED, VERSIONS_FILTERED, FREQS_FILTERED, PARTITION_OFFSET,
    PARTITION_FILTER_OFFSET,
)  # fmt: skip

# What a restore takes a row for that has no frequency, or no version.
NO_FREQ, NO_VERSION = 1, -1

_PART = re.compile(r"(?:^|(?<=/))part_(\d+)(?=/|$)")


# Buckets and parts ----------------------------------------------------------------------------------


def bucket_of(keys: Keys) -> Int64s:
    """The bucket of each key, 0 to 999: the floor modulus."""
    buckets: Int64s = np.mod(np.asarray(keys), SAVED_PARTITION_NUM).astype(np.int64, copy=False)
    return buckets


def part_of(keys: Keys, partition_num: int) -> Int64s:
    """The part that holds each key: bucket modulo the number of parts."""
    return bucket_of(keys) % partition_num


def bucket_order(keys: Keys) -> tuple[Int64s, Offsets]:
    """The order in which keys are saved.

    Returns:
      order: int64 [n], indices that sort ``keys`` by bucket; equal buckets stay in their order.
      partition_offset: int32 [1001], where each bucket begins in that order.
    """
    buckets = bucket_of(keys)
    return np.argsort(buckets, kind="stable"), _offsets(buckets)


def part_name(name: str, part: int, slot: str = "") -> str:
    """The name of a part of a partitioned embedding variable, or of a slot of it."""
    return f"{name}/part_{part}" + (f"/{slot}" if slot else "")


def split_part(name: str) -> tuple[str, int, str] | None:
    """``b/part_3/Adagrad`` as (``b``, 3, ``/Adagrad``); None if no element of the path is a part.

    The last such element counts.
    """
    matches = list(_PART.finditer(name))
    if not matches or matches[-1].start() == 0:
        return None
    found = matches[-1]
    return name[: found.start() - 1], int(found[1]), name[found.end() :]


# Writing --------------------------------------------------------------------------------------------


def write_embedding(
    writer: TensorWriter,
    name: str,
    keys: Keys,
    values: Values | Iterable[Values],
    *,
    dim: int,
    versions: Int64s | None = None,
    freqs: Int64s | None = None,
    keys_filtered: Keys | None = None,
    versions_filtered: Int64s | None = None,
    freqs_filtered: Int64s | None = None,
    value_dtype: Any = np.float32,
    partition_offset: Offsets | None = None,
    partition_filter_offset: Offsets | None = None,
) -> None:
    """Writes the nine tensors of one embedding variable, part or slot.

    Args:
      keys: int32 or int64 [n], in bucket order (`bucket_order`).
      values: [n, dim], or chunks [c, dim] of it in the same order, taken one by one.
      versions, freqs: int64 [n], or None if they are not kept.
      keys_filtered, versions_filtered, freqs_filtered: [m] in bucket order, or None.
      partition_offset, partition_filter_offset: int32 [1001] as `bucket_order` gives them, from those who have
        put the keys in order: it is taken on trust then.

    Raises:
      InvalidArgumentError: keys of another dtype or order, a key twice, or lengths that do not fit.
    """
    keys, offset = _checked_keys(name, KEYS, keys, partition_offset)
    filtered, filter_offset = _checked_keys(
        name,
        KEYS_FILTERED,
        np.empty(0, keys.dtype) if keys_filtered is None else keys_filtered,
        partition_filter_offset,
    )
    if filtered.dtype != keys.dtype:
        raise _invalid(name, f"filtered keys are {filtered.dtype}, keys {keys.dtype}")
    writer.add(name + KEYS, keys)
    _write_values(writer, name, values, len(keys), dim, value_dtype)
    writer.add(name + VERSIONS, _column(name, VERSIONS, versions, len(keys)))
    writer.add(name + FREQS, _column(name, FREQS, freqs, len(keys)))
    writer.add(name + KEYS_FILTERED, filtered)
    writer.add(name + VERSIONS_FILTERED, _column(name, VERSIONS_FILTERED, versions_filtered, len(filtered)))
    writer.add(name + FREQS_FILTERED, _column(name, FREQS_FILTERED, freqs_filtered, len(filtered)))
    writer.add(name + PARTITION_OFFSET, offset)
    writer.add(name + PARTITION_FILTER_OFFSET, filter_offset)


def _checked_keys(name: str, suffix: str, keys: Keys, offset: Offsets | None) -> tuple[Keys, Offsets]:
    """The keys, and where their buckets begin, worked out if it is not given."""
    keys = np.asarray(keys)
    if keys.dtype not in (np.dtype(np.int32), np.dtype(np.int64)) or keys.ndim != 1:
        raise _invalid(name, f"{suffix} are {keys.dtype}{list(keys.shape)}, not int32 or int64 [n]")
    if offset is None:
        buckets = bucket_of(keys)
        if np.any(buckets[1:] < buckets[:-1]):
            raise _invalid(name, f"{suffix} are not in bucket order")
        return keys, _offsets(buckets)
    if offset.dtype != np.int32 or offset.shape != (SAVED_PARTITION_NUM + 1,) or offset[-1] != len(keys):
        raise _invalid(
            name, f"the offsets of {suffix} are {offset.dtype}{list(offset.shape)} or end elsewhere"
        )
    return keys, offset


def _write_values(
    writer: TensorWriter, name: str, values: Values | Iterable[Values], count: int, dim: int, dtype: Any
) -> None:
    writer.add_tensor_header(name + VALUES, dtypes.as_dtype(dtype), (count, dim))
    for chunk in [values] if isinstance(values, np.ndarray) else values:
        if chunk.ndim != 2 or chunk.shape[1] != dim or chunk.dtype != np.dtype(dtype):
            writer.abort()
            raise _invalid(
                name, f"values are {chunk.dtype}{list(chunk.shape)}, not {np.dtype(dtype)} [n, {dim}]"
            )
        writer.append_segment(np.ascontiguousarray(chunk))
    writer.end_segment()


def _column(name: str, suffix: str, column: Int64s | None, count: int) -> Int64s:
    if column is None:
        return np.empty(0, np.int64)
    column = np.asarray(column, np.int64)
    if column.shape not in ((count,), (0,)):
        raise _invalid(name, f"{suffix} have the shape {list(column.shape)}, not [{count}]")
    return column


def _offsets(buckets: Int64s) -> Offsets:
    counts = np.bincount(buckets, minlength=SAVED_PARTITION_NUM)
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int32)


def _invalid(name: str, what: str) -> OpError:
    return InvalidArgumentError.of(
        f"embedding variable '{name}' cannot be saved: {what}",
        name=name,
        hint="Nothing was saved. `kvarn.formats.embedding.bucket_order(keys)` sorts keys and their rows.",
    )
