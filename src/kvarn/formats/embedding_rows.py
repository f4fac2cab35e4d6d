"""Reading embedding variables from checkpoints: where their rows lie, and the rows, part by part, in chunks.

The tensors are those of `kvarn.formats.embedding`.  Files of all eras of DeepRec are read: only keys, values and
versions are demanded, and rows need not lie by bucket.  Rows are those of a key's bucket wherever they lie, so
that the offsets are not needed; they are compared with their checksums like all others.

Columns of a V2 checkpoint among the machine's own files are arrays over the map of the file: no copy of them is
made, and their checksums are compared once, before the first row is given out.  Of the map some of the values are in
memory at a time.  All other columns are read, values piece by piece.

Source: DeepRec tensorflow/core/framework/embedding/embedding_var_restore.cc.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import DataLossError, NotFoundError, OpError
from kvarn.formats import embedding
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.embedding import (
    FREQS,
    FREQS_FILTERED,
    KEYS,
    KEYS_FILTERED,
    PARTITION_FILTER_OFFSET,
    PARTITION_OFFSET,
    VALUES,
    VERSIONS,
    VERSIONS_FILTERED,
    Int64s,
    Keys,
    Values,
)
from kvarn.formats.embedding_names import embedding_sources, full_name
from kvarn.formats.reader import CHUNK_BYTES, TensorReader

# Of maps of files about so much is in memory.
_MAPPED_BYTES = 64 << 20

# Where rows are -------------------------------------------------------------------------------------


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


def embedding_info(
    reader: TensorReader, name: str, *, owner: str | None = None, partitioned: bool | None = None
) -> EmbeddingInfo:
    """Dtypes, dim and number of keys of an embedding variable, without reading any.

    Args:
      owner, partitioned: as of `kvarn.formats.embedding_names.embedding_sources`.

    Raises:
      NotFoundError: it is not in the file, or a part lacks keys, values or versions.
      DataLossError: the parts do not fit together.
    """
    sources = embedding_sources(reader, name, owner=owner, partitioned=partitioned)
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


def _others(reader: TensorReader) -> str:
    stems = (name.removesuffix(KEYS) for name in reader.keys() if name.endswith(KEYS))  # noqa: SIM118
    names = list(dict.fromkeys(map(full_name, stems)))
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


# One part -------------------------------------------------------------------------------------------


class StoredPart:
    """One part of an embedding variable or slot as it lies in a checkpoint; columns come as they are asked for.

    Args:
      source: its name, one of `EmbeddingInfo.sources`.
      verified: names of tensors whose checksums were found right; those compared now are added.

    Raises (of every column):
      DataLossError, OutOfRangeError: damaged, or lengths that do not fit.
    """

    def __init__(self, reader: TensorReader, source: str, verified: set[str] | None = None) -> None:
        self.reader = reader
        self.source = source
        self._verified: set[str] = set() if verified is None else verified

    @cached_property
    def keys(self) -> Keys:
        """int32 or int64 [n], keys that own values."""
        return self._tensor(KEYS)

    @cached_property
    def versions(self) -> Int64s | None:
        """int64 [n]; None where the file has none."""
        return self._column(VERSIONS, KEYS)

    @cached_property
    def freqs(self) -> Int64s | None:
        """int64 [n]; None where the file has none."""
        return self._column(FREQS, KEYS)

    @cached_property
    def keys_filtered(self) -> Keys | None:
        """[m] as keys, those that a filter had not admitted; None where the file does not say."""
        if not self._has_filtered:
            return None
        return self._tensor(KEYS_FILTERED)

    @cached_property
    def versions_filtered(self) -> Int64s | None:
        """int64 [m]; None where the file has none."""
        return self._column(VERSIONS_FILTERED, KEYS_FILTERED)

    @cached_property
    def freqs_filtered(self) -> Int64s | None:
        """int64 [m]; None where the file has none."""
        return self._column(FREQS_FILTERED, KEYS_FILTERED)

    @property
    def num_keys(self) -> int:
        """n, by the index alone."""
        return self._length(KEYS)

    def has_keys_of(self, other: StoredPart) -> bool:
        """Whether both have the same keys in the same order."""
        return self.num_keys == other.num_keys and bool(np.array_equal(self.keys, other.keys))

    def values(self) -> RowStream:
        """The rows [n, dim] from the first on."""
        name = self.source + VALUES
        if self._is_mapped(name):
            return RowStream(self._tensor(VALUES))
        return RowStream(None, self.reader, name)

    def verify(self) -> None:
        """Compares checksums and lengths of all tensors, keeping nothing.

        The offsets are looked at too, although nobody needs them here: a checkpoint with a damaged byte is not one
        to go on from without a word.
        """
        names = [self.source + suffix for suffix in (KEYS, VALUES)] + [
            self.source + suffix
            for suffix, keys in (
                (VERSIONS, KEYS),
                (FREQS, KEYS),
                (VERSIONS_FILTERED, KEYS_FILTERED),
                (FREQS_FILTERED, KEYS_FILTERED),
            )
            if self._has_column(suffix, keys)
        ]
        if self._has_filtered:
            names.append(self.source + KEYS_FILTERED)
        names += [
            self.source + suffix
            for suffix in (PARTITION_OFFSET, PARTITION_FILTER_OFFSET)
            if self.reader.contains(self.source + suffix)
        ]
        for name in names:
            if name not in self._verified:
                self.reader.verify(name)
                self._verified.add(name)

    def _tensor(self, suffix: str) -> npt.NDArray[Any]:
        name = self.source + suffix
        if isinstance(self.reader, BundleReader) and self._is_mapped(name):
            found = self.reader.view(name, verify=name not in self._verified)
            self._verified.add(name)
            return found
        return self.reader.lookup(name)

    def _is_mapped(self, name: str) -> bool:
        return isinstance(self.reader, BundleReader) and self.reader.is_mapped(name)

    def _length(self, suffix: str) -> int:
        _, shape = self.reader.lookup_dtype_and_shape(self.source + suffix)
        return shape[0]

    @cached_property
    def _has_filtered(self) -> bool:
        if not self.reader.contains(self.source + KEYS_FILTERED):
            return False
        dtype, shape = self.reader.lookup_dtype_and_shape(self.source + KEYS_FILTERED)
        own, _ = self.reader.lookup_dtype_and_shape(self.source + KEYS)
        if dtype is not own or len(shape) != 1:
            raise _damaged(self.reader, self.source, KEYS_FILTERED, f"{dtype.name}{list(shape)}")
        return True

    def _column(self, suffix: str, keys: str) -> Int64s | None:
        return self._tensor(suffix) if self._has_column(suffix, keys) else None

    def _has_column(self, suffix: str, keys: str) -> bool:
        """Whether the file has versions or frequencies of ``keys``, which are as many."""
        if keys == KEYS_FILTERED and not self._has_filtered:
            return False
        if not self.reader.contains(self.source + suffix):
            return False
        dtype, shape = self.reader.lookup_dtype_and_shape(self.source + suffix)
        if shape == (0,):
            return False
        count = self._length(keys)
        if shape != (count,) or dtype is not dtypes.int64:
            raise _damaged(
                self.reader, self.source, suffix, f"{dtype.name}{list(shape)}, not int64 [{count}]"
            )
        return True


class RowStream:
    """The rows of a tensor, from the first to the last, as many at a time as are asked for.

    Args:
      rows: all of them, or None if they are to be read.
    """

    def __init__(self, rows: Values | None, reader: TensorReader | None = None, name: str = "") -> None:
        self._rows = rows
        self._reader = reader
        self._name = name
        self._at = 0
        self._chunks: Iterator[Values] | None = None

    def take(self, count: int) -> Values:
        """The next ``count`` rows, which are there.

        With the last ones the checksum of a tensor that is read was found right; until then they are not certain.
        """
        if self._reader is not None and self._chunks is None:
            dtype, shape = self._reader.lookup_dtype_and_shape(self._name)
            row_bytes = max(1, dtype.size * shape[1])
            self._chunks = self._reader.chunks(self._name, count * row_bytes)
        pieces: list[Values] = []
        while count:
            if self._rows is None or self._at == len(self._rows):
                assert self._chunks is not None
                self._rows, self._at = next(self._chunks), 0
                continue
            piece = self._rows[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


# Rows -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EmbeddingRows:
    """Some rows of an embedding variable, and of slots that lie in the same order, ready to be imported.

    Attributes:
      keys: int32 or int64 [c].
      columns: [c, dim] of each; empty for keys that a filter had not admitted.
      versions, freqs: int64 [c]; None where the file has none.
    """

    keys: Keys
    columns: tuple[Values, ...]
    versions: Int64s | None
    freqs: Int64s | None

    @property
    def admitted(self) -> bool:
        """False for keys that a filter had not admitted: they have no values."""
        return bool(self.columns)

    @property
    def values(self) -> Values | None:
        """The first of the columns; None for keys that a filter had not admitted."""
        return self.columns[0] if self.columns else None


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
    for source in embedding_info(reader, name).sources:
        yield from read_parts(
            [StoredPart(reader, source)],
            partition_id=partition_id,
            partition_num=partition_num,
            chunk_bytes=chunk_bytes,
        )


def read_parts(
    parts: Sequence[StoredPart],
    *,
    partition_id: int = 0,
    partition_num: int = 1,
    without: Keys | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[EmbeddingRows]:
    """The rows of one part and of its slots, whose keys are the same in the same order.

    Args:
      parts: the first has keys, versions and frequencies; all have values.
      without: keys to leave out; None for none.
      and as `read_embedding`.
    """

    def choose(keys: Keys) -> Any:
        """What to index rows with, None if none is wanted."""
        chosen: npt.NDArray[np.bool_] | None = None
        if partition_num > 1:
            chosen = embedding.part_of(keys, partition_num) == partition_id
        if without is not None and len(without):
            kept = ~np.isin(keys, without)
            chosen = kept if chosen is None else chosen & kept
        if chosen is None or chosen.all():
            return slice(None)
        return chosen if chosen.any() else None

    first = parts[0]
    reader = first.reader
    keys, versions, freqs = first.keys, first.versions, first.freqs
    row_bytes = sum(_row_bytes(part) for part in parts)
    at_once = max(1, chunk_bytes // max(1, row_bytes))
    between_releases = max(at_once, _MAPPED_BYTES // max(1, row_bytes) // at_once * at_once)
    streams = [part.values() for part in parts] if len(keys) else []
    for start in range(0, len(keys), at_once):
        if start % between_releases == 0 and isinstance(reader, BundleReader):
            reader.data.release_pages()
        rows = slice(start, start + at_once)
        chunk = keys[rows]
        columns = [stream.take(len(chunk)) for stream in streams]
        picked = choose(chunk)
        if picked is not None:
            yield EmbeddingRows(
                chunk[picked],
                tuple(column[picked] for column in columns),
                None if versions is None else versions[rows][picked],
                None if freqs is None else freqs[rows][picked],
            )
    filtered = first.keys_filtered
    picked = choose(filtered) if filtered is not None and len(filtered) else None
    if filtered is not None and picked is not None:
        versions, freqs = first.versions_filtered, first.freqs_filtered
        yield EmbeddingRows(
            filtered[picked],
            (),
            None if versions is None else versions[picked],
            None if freqs is None else freqs[picked],
        )


def _row_bytes(part: StoredPart) -> int:
    dtype, shape = part.reader.lookup_dtype_and_shape(part.source + VALUES)
    return shape[1] * dtype.size


def verify_embedding(reader: TensorReader, name: str, verified: set[str]) -> EmbeddingInfo:
    """Reads all tensors of an embedding variable and compares checksums and lengths, keeping nothing.

    Args:
      verified: tensors that need not be looked at again; those looked at now are added.

    Returns:
      `embedding_info`.

    Raises:
      NotFoundError, DataLossError, OutOfRangeError: as `read_embedding`.
    """
    info = embedding_info(reader, name)
    for source in info.sources:
        StoredPart(reader, source, verified).verify()
    return info
