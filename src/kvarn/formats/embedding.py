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
them); a slot of an unpartitioned variable is found in the file of a partitioned one.

Not here: what a policy makes of the rows (filters, another dim, missing frequencies): the reader of the rows
decides.

Source: DeepRec tensorflow/core/framework/embedding/embedding_var_ckpt_data.cc, embedding_var_restore.cc,
storage.h; tensorflow/core/kernels/save_restore_tensor.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import DataLossError, InvalidArgumentError, NotFoundError, OpError
from kvarn.formats.reader import CHUNK_BYTES, TensorReader
from kvarn.formats.writer import TensorWriter

Keys = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Values = npt.NDArray[Any]

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


def bucket_order(keys: Keys) -> tuple[Int64s, npt.NDArray[np.int32]]:
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
) -> None:
    """Writes the nine tensors of one embedding variable, part or slot.

    Args:
      keys: int32 or int64 [n], in bucket order (`bucket_order`).
      values: [n, dim], or chunks [c, dim] of it in the same order, taken one by one.
      versions, freqs: int64 [n], or None if they are not kept.
      keys_filtered, versions_filtered, freqs_filtered: [m] in bucket order, or None.

    Raises:
      InvalidArgumentError: keys of another dtype or order, a key twice, or lengths that do not fit.
    """
    keys = _checked_keys(name, KEYS, keys)
    filtered = _checked_keys(
        name, KEYS_FILTERED, np.empty(0, keys.dtype) if keys_filtered is None else keys_filtered
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
    writer.add(name + PARTITION_OFFSET, _offsets(bucket_of(keys)))
    writer.add(name + PARTITION_FILTER_OFFSET, _offsets(bucket_of(filtered)))


def _checked_keys(name: str, suffix: str, keys: Keys) -> Keys:
    keys = np.asarray(keys)
    if keys.dtype not in (np.dtype(np.int32), np.dtype(np.int64)) or keys.ndim != 1:
        raise _invalid(name, f"{suffix} are {keys.dtype}{list(keys.shape)}, not int32 or int64 [n]")
    if np.any(np.diff(bucket_of(keys)) < 0):
        raise _invalid(name, f"{suffix} are not in bucket order")
    return keys


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


def _offsets(buckets: Int64s) -> npt.NDArray[np.int32]:
    counts = np.bincount(buckets, minlength=SAVED_PARTITION_NUM)
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int32)


def _invalid(name: str, what: str) -> OpError:
    return InvalidArgumentError.of(
        f"embedding variable '{name}' cannot be saved: {what}",
        name=name,
        hint="Nothing was saved. `kvarn.formats.embedding.bucket_order(keys)` sorts keys and their rows.",
    )


# Reading --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EmbeddingRows:
    """Some rows of an embedding variable, ready to be imported.

    Attributes:
      keys: int32 or int64 [c].
      values: [c, dim]; None for keys that a filter had not admitted.
      versions, freqs: int64 [c]; None where the file has none.
    """

    keys: Keys
    values: Values | None
    versions: Int64s | None
    freqs: Int64s | None

    @property
    def admitted(self) -> bool:
        """False for keys that a filter had not admitted: they have no values."""
        return self.values is not None


@dataclass(frozen=True, slots=True)
class EmbeddingInfo:
    """What the index alone tells of an embedding variable, over all the parts it is read from.

    Attributes:
      sources: names of the parts in the file.
      key_dtype, value_dtype: element types.
      dim: columns of the values.
      num_keys: keys in all sources together, before any are chosen by bucket.
    """

    sources: tuple[str, ...]
    key_dtype: dtypes.DType
    value_dtype: dtypes.DType
    dim: int
    num_keys: int


def embedding_sources(reader: TensorReader, name: str) -> list[str]:
    """The names in the file that hold what `name` stands for; empty if there are none.

    ``b``: all ``b/part_i``, else ``b``; for a slot ``b/Adagrad`` also all ``b/part_i/Adagrad``.
    ``b/part_2``: all ``b/part_i``, else ``b``.  The same with a slot behind.
    """
    split = split_part(name)
    if split is not None:
        primary, _, rest = split
        return _parts(reader, primary, rest) or _single(reader, primary + rest)
    found = _parts(reader, name, "") or _single(reader, name)
    if not found and "/" in name:
        primary, slot = name.rsplit("/", 1)
        found = _parts(reader, primary, f"/{slot}")
    return found


def embedding_info(reader: TensorReader, name: str) -> EmbeddingInfo:
    """Dtypes, dim and number of keys of an embedding variable, without reading any.

    Raises:
      NotFoundError: it is not in the file, or a part lacks keys, values or versions.
      DataLossError: the parts do not fit together.
    """
    sources = embedding_sources(reader, name)
    if not sources:
        raise NotFoundError.of(
            f"Key {name}{KEYS} not found in checkpoint\n  embedding variable '{name}' in '{reader.prefix}'",
            name=name,
            path=reader.prefix,
            hint=_others(reader),
        )
    found: tuple[dtypes.DType, dtypes.DType, int] | None = None
    total = 0
    for source in sources:
        for suffix in (VALUES, VERSIONS):
            reader.info(source + suffix)
        key_dtype, key_shape = reader.lookup_dtype_and_shape(source + KEYS)
        value_dtype, value_shape = reader.lookup_dtype_and_shape(source + VALUES)
        if key_dtype not in (dtypes.int32, dtypes.int64) or len(key_shape) != 1:
            raise _damaged(reader, source, KEYS, f"{key_dtype.name}{list(key_shape)}, not int32 or int64 [n]")
        if len(value_shape) != 2 or value_shape[0] != key_shape[0]:
            raise _damaged(reader, source, VALUES, f"{list(value_shape)}, not [{key_shape[0]}, dim]")
        own = (key_dtype, value_dtype, value_shape[1])
        if found is not None and own != found:
            raise _damaged(reader, source, VALUES, f"unlike those of '{sources[0]}': {own} against {found}")
        found = own
        total += key_shape[0]
    assert found is not None
    return EmbeddingInfo(tuple(sources), found[0], found[1], found[2], total)


def read_embedding(
    reader: TensorReader,
    name: str,
    *,
    partition_id: int = 0,
    partition_num: int = 1,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[EmbeddingRows]:
    """The rows of one embedding variable or part, from however many parts the file has.

    Args:
      partition_id, partition_num: only keys with ``key mod 1000 mod partition_num == partition_id``.
      chunk_bytes: about how many bytes of values are in memory at a time.

    Returns:
      Chunks of admitted rows, then of keys not admitted, source by source.  Nothing is yielded for a
      source without a fitting key.

    Raises:
      NotFoundError, DataLossError: as `embedding_info`; damage to values shows with the last chunk of
        their source.
    """
    info = embedding_info(reader, name)
    for source in info.sources:
        yield from _read_source(reader, source, info, partition_id, partition_num, chunk_bytes)


def verify_embedding(reader: TensorReader, name: str, verified: set[str]) -> EmbeddingInfo:
    """Reads all tensors of an embedding variable and compares checksums and lengths, keeping nothing.

    The offsets are looked at too, although `read_embedding` does not need them: a checkpoint with a damaged
    byte is not one to go on from without a word.

    Args:
      verified: the parts that need not be looked at again; those looked at now are added.

    Returns:
      `embedding_info`.

    Raises:
      NotFoundError, DataLossError, OutOfRangeError: as `read_embedding`.
    """
    info = embedding_info(reader, name)
    for source in info.sources:
        if source in verified:
            continue
        verified.add(source)
        keys = reader.lookup(source + KEYS)
        if len(keys):
            reader.verify(source + VALUES)
            _read_column(reader, source, VERSIONS, len(keys))
            _read_column(reader, source, FREQS, len(keys))
        filtered = _filtered_keys(reader, source, keys.dtype)
        if filtered is not None and len(filtered):
            _read_column(reader, source, VERSIONS_FILTERED, len(filtered))
            _read_column(reader, source, FREQS_FILTERED, len(filtered))
        for suffix in (PARTITION_OFFSET, PARTITION_FILTER_OFFSET):
            if reader.contains(source + suffix):
                reader.verify(source + suffix)
    return info


def _read_source(
    reader: TensorReader, source: str, info: EmbeddingInfo, part: int, parts: int, chunk_bytes: int
) -> Iterator[EmbeddingRows]:
    keys = reader.lookup(source + KEYS)
    chosen = part_of(keys, parts) == part if parts > 1 else None
    if len(keys) and (chosen is None or chosen.any()):
        versions = _read_column(reader, source, VERSIONS, len(keys))
        freqs = _read_column(reader, source, FREQS, len(keys))
        for start, values in _value_chunks(reader, source, info, chunk_bytes):
            rows = slice(start, start + len(values))
            yield from _rows(keys, values, versions, freqs, rows, chosen)
    filtered = _filtered_keys(reader, source, keys.dtype)
    if filtered is not None and len(filtered):
        chosen = part_of(filtered, parts) == part if parts > 1 else None
        versions = _read_column(reader, source, VERSIONS_FILTERED, len(filtered))
        freqs = _read_column(reader, source, FREQS_FILTERED, len(filtered))
        yield from _rows(filtered, None, versions, freqs, slice(0, len(filtered)), chosen)


def _filtered_keys(reader: TensorReader, source: str, key_dtype: Any) -> Keys | None:
    """The keys that a filter had not admitted; None if the file has none."""
    if not reader.contains(source + KEYS_FILTERED):
        return None
    filtered = reader.lookup(source + KEYS_FILTERED)
    if filtered.dtype != key_dtype or filtered.ndim != 1:
        raise _damaged(reader, source, KEYS_FILTERED, f"{filtered.dtype}{list(filtered.shape)}")
    return filtered


def _rows(
    keys: Keys,
    values: Values | None,
    versions: Int64s | None,
    freqs: Int64s | None,
    rows: slice,
    chosen: npt.NDArray[np.bool_] | None,
) -> Iterator[EmbeddingRows]:
    """The rows ``rows`` of the columns, ``values`` being only those, without what is not ``chosen``."""
    if chosen is None or chosen[rows].all():
        pick: Any = slice(None)
    elif chosen[rows].any():
        pick = chosen[rows]
    else:
        return
    yield EmbeddingRows(
        keys[rows][pick],
        None if values is None else values[pick],
        None if versions is None else versions[rows][pick],
        None if freqs is None else freqs[rows][pick],
    )


def _value_chunks(
    reader: TensorReader, source: str, info: EmbeddingInfo, chunk_bytes: int
) -> Iterator[tuple[int, Values]]:
    """First row and rows, chunk by chunk; the last chunk comes after the checksum was found right."""
    row_bytes = max(1, info.dim * info.value_dtype.size)
    start = 0
    for values in reader.chunks(source + VALUES, max(chunk_bytes, row_bytes)):
        yield start, values
        start += len(values)


def _read_column(reader: TensorReader, source: str, suffix: str, count: int) -> Int64s | None:
    """Versions or frequencies; None if the file has none."""
    if not reader.contains(source + suffix):
        return None
    column = reader.lookup(source + suffix)
    if column.shape == (0,):
        return None
    if column.shape != (count,) or column.dtype != np.int64:
        raise _damaged(reader, source, suffix, f"{column.dtype}{list(column.shape)}, not int64 [{count}]")
    return column


def _parts(reader: TensorReader, primary: str, rest: str) -> list[str]:
    found: list[str] = []
    while reader.contains(f"{primary}/part_{len(found)}{rest}{KEYS}"):
        found.append(f"{primary}/part_{len(found)}{rest}")
    return found


def _single(reader: TensorReader, name: str) -> list[str]:
    return [name] if reader.contains(name + KEYS) else []


def _others(reader: TensorReader) -> str:
    names = [group.name for group in group_embeddings(reader.keys())]
    if not names:
        return f"'{reader.prefix}' has no embedding variables."
    return f"'{reader.prefix}' has the embedding variables {', '.join(map(repr, names[:5]))}" + (
        f" and {len(names) - 5} more." if len(names) > 5 else "."
    )


def _damaged(reader: TensorReader, source: str, suffix: str, what: str) -> OpError:
    return DataLossError.of(
        f"'{source}{suffix}' in '{reader.prefix}' does not fit an embedding variable: {what}",
        name=source + suffix,
        path=reader.prefix,
        hint="The checkpoint was damaged or not written by DeepRec or kvarn.",
    )


# Finding --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EmbeddingGroup:
    """An embedding variable as its tensor names tell of it.

    Attributes:
      name: without part and slot.
      parts: names of its parts in order; the name itself if it is not partitioned.
      slots: names of its slots, such as ``Adagrad``.
    """

    name: str
    parts: tuple[str, ...]
    slots: tuple[str, ...]

    def tensor_names(self, names: Iterable[str]) -> list[str]:
        """Those of ``names`` that belong to it."""
        own = {stem + suffix for part in self.parts for stem in self._stems(part) for suffix in SUFFIXES}
        return [name for name in names if name in own]

    def _stems(self, part: str) -> list[str]:
        return [part, *(f"{part}/{slot}" for slot in self.slots)]


def group_embeddings(names: Sequence[str], num_keys: Mapping[str, int] | None = None) -> list[EmbeddingGroup]:
    """The embedding variables among the tensor names of a checkpoint, in the order of their names.

    A stem with keys, values and versions is one; ``<stem>/<slot>`` with the same is its slot.

    Args:
      num_keys: elements of each ``-keys`` tensor, if known.  A slot has as many as its owner, which tells it
        from another embedding variable in a scope of that name.
    """
    known = set(names)
    stems = [
        name.removesuffix(KEYS)
        for name in names
        if name.endswith(KEYS)
        and name.removesuffix(KEYS) + VALUES in known
        and name.removesuffix(KEYS) + VERSIONS in known
    ]
    all_stems = set(stems)
    primaries: dict[str, list[tuple[int, str]]] = {}
    slots: dict[str, dict[str, None]] = {}
    for stem in sorted(stems):
        split = split_part(stem)
        owner, _, slot = stem.rpartition("/")
        alike = num_keys is None or num_keys.get(owner + KEYS) == num_keys.get(stem + KEYS)
        if owner in all_stems and alike and (split is None or split[2]):
            owner_split = split_part(owner)
            slots.setdefault(owner_split[0] if owner_split else owner, {})[slot] = None
        elif split is not None and not split[2]:
            primaries.setdefault(split[0], []).append((split[1], stem))
        else:
            primaries.setdefault(stem, []).append((0, stem))
    return [
        EmbeddingGroup(name, tuple(stem for _, stem in sorted(parts)), tuple(slots.get(name, ())))
        for name, parts in sorted(primaries.items())
    ]
