"""Embedding variables of one name in several checkpoints as one: by key, bucket by bucket, with bounded memory.

Of every part and slot the keys are in memory, the values a few MB at a time: in the files rows lie grouped by
bucket, so all checkpoints are read side by side.  The rows come out sorted by bucket and key.

A key that any of the checkpoints has admitted is admitted; what the others say of it is then left aside.
Frequencies and versions are those of one checkpoint; a row without a frequency counts once, one without a
version has -1, as a restore has it.  The parts are as many as in the last of the checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.checkpoint.embeddings.bucket_rows import BucketIndex, RowReader, bucket_groups
from kvarn.checkpoint.embeddings.columns import damaged
from kvarn.checkpoint.embeddings.stored_table import StoredTable
from kvarn.errors import AlreadyExistsError, DataLossError, InvalidArgumentError, OpError
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.reader import TensorReader

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

# Bytes of values of one checkpoint that are in memory at a time.
_GROUP_BYTES = 4 << 20
# The same where rows cannot be read by place: every group costs a pass over the file.
_GROUP_BYTES_OF_PASSES = 64 << 20

# Places in the result and rows, for each checkpoint that has any; and how many rows the result has.
Rows = Sequence[tuple[int, Int64s, Array]]
Combine = Callable[[Rows, int], Array]


@dataclass(frozen=True, slots=True)
class EmbeddingSource:
    """An embedding variable in one of the checkpoints.

    Attributes:
      number: of the checkpoint, in the order they were given.
    """

    number: int
    reader: TensorReader
    table: StoredTable


def unite(
    writer: BundleWriter,
    sources: Sequence[EmbeddingSource],
    values: Combine,
    columns: Combine,
    *,
    disjoint: bool = False,
    partitions: int | None = None,
    count: Callable[[int], None] | None = None,
) -> None:
    """Writes one embedding variable made of those of the same name in several checkpoints.

    Args:
      values: makes a row of the rows that the checkpoints have for a key.
      columns: the same for frequencies and versions.
      disjoint: a key in two of the checkpoints is an error.
      partitions: parts of the result, 0 for an unpartitioned one; those of the last checkpoint by default.
      count: told the bytes of values as they are read.

    Raises:
      InvalidArgumentError: they differ in dims, types or slots.
      AlreadyExistsError: a key is in two of them, though they should be disjoint.
      DataLossError: one is damaged.
    """
    check_alike(sources)
    last = sources[-1].table
    if partitions is None:
        partitions = last.num_partitions if last.partitioned else 0
    for family in sorted(last.families):
        members = [Family(source, family) for source in sources]
        for member in members:
            member.check_keys_of_owner()
        num_parts = max(1, partitions)
        for part in range(num_parts):
            stem = f"{last.name}/part_{part}{family}" if partitions else last.name + family
            buckets = range(part, embedding.SAVED_PARTITION_NUM, num_parts)
            _write_part(writer, stem, members, buckets, values, columns, disjoint, count)
        for member in members:
            member.finish()


def check_alike(sources: Sequence[EmbeddingSource]) -> None:
    """Raises InvalidArgumentError if embedding variables differ in slots, dims or types."""
    first = sources[0]
    for source in sources:
        if missing := source.table.missing():
            raise DataLossError.of(
                f"embedding variable '{source.table.name}' in '{source.reader.prefix}' lacks '{missing[0]}'",
                name=missing[0],
                path=source.reader.prefix,
                hint="`kvarn verify` names all that is wrong, `kvarn repair` keeps what can be kept.",
            )
        if source.table.families.keys() != first.table.families.keys():
            odd = min(source.table.families.keys() ^ first.table.families.keys())
            raise _unlike(first, source, f"only one has '{source.table.name}{odd}'")
        for family in first.table.families:
            own, other = _kind(source, family), _kind(first, family)
            if own != other:
                raise _unlike(
                    first, source, f"'{source.table.name}{family}' has {other} in one, {own} in the other"
                )


def _kind(source: EmbeddingSource, family: str) -> str:
    stem = source.table.stems(family)[0]
    key_dtype, _ = source.reader.lookup_dtype_and_shape(stem + embedding.KEYS)
    dtype, shape = source.reader.lookup_dtype_and_shape(stem + embedding.VALUES)
    return f"{key_dtype.name} -> {dtype.name}{list(shape[1:])}"


def _unlike(first: EmbeddingSource, other: EmbeddingSource, what: str) -> OpError:
    return InvalidArgumentError.of(
        f"embedding variable '{first.table.name}' differs in '{first.reader.prefix}' and "
        f"'{other.reader.prefix}': {what}",
        name=first.table.name,
        path=other.reader.prefix,
        hint="Bring them to one form first: `kvarn rewrite --drop` takes a slot away.",
    )


class Family:
    """The primaries, or the slots of one name, of all parts in one checkpoint."""

    def __init__(self, source: EmbeddingSource, family: str) -> None:
        self.number = source.number
        self.source = source
        self._family = family
        self._stems = source.table.stems(family)
        self.admitted = self._columns(embedding.KEYS, embedding.VERSIONS, embedding.FREQS)
        self.filtered = self._columns(
            embedding.KEYS_FILTERED, embedding.VERSIONS_FILTERED, embedding.FREQS_FILTERED
        )
        self.values = RowReader(source.reader, [stem + embedding.VALUES for stem in self._stems])
        if len(self.values.row_shape) != 1 or self.values.num_rows != len(self.admitted.keys):
            raise damaged(source.reader, self._stems[0] + embedding.VALUES, "it has not a row for each key")

    @property
    def is_read_in_passes(self) -> bool:
        """Whether reading the rows of some buckets may cost a pass over all."""
        in_order = self.admitted.index is None or self.admitted.index.grouped
        return not (in_order and isinstance(self.source.reader, BundleReader))

    def check_keys_of_owner(self) -> None:
        """Raises DataLossError if a slot has other keys than its embedding variable."""
        owner = self.source.table.owner(self._family)
        if owner is None or self.admitted.index is None:
            return
        stems = self.source.table.stems(owner)
        index = BucketIndex(self.source.reader, [stem + embedding.KEYS for stem in stems])
        if self.admitted.index.key_dtype != index.key_dtype or self.admitted.index.differs_from(index).any():
            raise damaged(
                self.source.reader, self._stems[0] + embedding.KEYS, "it has not the keys of its variable"
            )

    def read_values(self, buckets: Sequence[int]) -> Array:
        """The rows of some buckets, in the order of `Columns.places`."""
        index = self.admitted.index
        assert index is not None
        return self.values.array_of_buckets(index, buckets)

    def finish(self) -> None:
        """All rows were read: their checksums are looked at."""
        self.values.finish()

    def _columns(self, keys: str, versions: str, freqs: str) -> Columns:
        return Columns(self.source, self._stems, keys, versions, freqs)


class Columns:
    """Keys, versions and frequencies of all parts, held in memory."""

    def __init__(
        self, source: EmbeddingSource, stems: list[str], keys: str, versions: str, freqs: str
    ) -> None:
        self._source = source
        present = [stem for stem in stems if source.reader.contains(stem + keys)]
        parts = [source.reader.lookup(stem + keys) for stem in present]
        self.index = BucketIndex(source.reader, [stem + keys for stem in present]) if present else None
        self.keys: Array = np.concatenate(parts) if parts else np.empty(0, np.int64)
        counts = [len(part) for part in parts]
        self.versions = self._column(present, versions, counts, embedding.NO_VERSION)
        self.freqs = self._column(present, freqs, counts, embedding.NO_FREQ)

    def places(self, buckets: Sequence[int]) -> Int64s:
        """The numbers of the rows of some buckets."""
        return np.empty(0, np.int64) if self.index is None else self.index.rows(buckets)

    def _column(self, stems: list[str], suffix: str, counts: list[int], missing: int) -> Int64s | None:
        """None if no part has it."""
        parts, found = [], False
        for stem, count in zip(stems, counts, strict=True):
            column = np.empty(0, np.int64)
            if self._source.reader.contains(stem + suffix):
                column = self._source.reader.lookup(stem + suffix)
            if column.shape not in ((count,), (0,)) or column.dtype != np.int64:
                raise damaged(self._source.reader, stem + suffix, f"it is {column.dtype}{list(column.shape)}")
            found |= bool(column.size)
            parts.append(column if column.size else np.full(count, missing, np.int64))
        return np.concatenate(parts) if found else None


def _write_part(
    writer: BundleWriter,
    stem: str,
    members: Sequence[Family],
    buckets: range,
    values: Combine,
    columns: Combine,
    disjoint: bool,
    count: Callable[[int], None] | None,
) -> None:
    admitted = [member.admitted for member in members]
    filtered = [member.filtered for member in members]
    keys, own = _union(stem, members, admitted, buckets)
    filtered_keys, own_filtered = _union(stem, members, filtered, buckets)
    if disjoint:
        _check_disjoint(stem, members, [*own, *own_filtered])
    # A key that one has admitted is no longer a filtered one.
    left = ~np.isin(filtered_keys, keys)
    first = members[0].values
    embedding.write_embedding(
        writer,
        stem,
        keys,
        _values(members, keys, buckets, values, count),
        dim=first.row_shape[0],
        value_dtype=first.dtype.np,
        versions=_combined(members, admitted, "versions", buckets, keys, columns, embedding.NO_VERSION),
        freqs=_combined(members, admitted, "freqs", buckets, keys, columns, embedding.NO_FREQ),
        keys_filtered=filtered_keys[left],
        versions_filtered=_kept(
            _combined(members, filtered, "versions", buckets, filtered_keys, columns, embedding.NO_VERSION),
            left,
        ),
        freqs_filtered=_kept(
            _combined(members, filtered, "freqs", buckets, filtered_keys, columns, embedding.NO_FREQ), left
        ),
    )


def _union(
    stem: str, members: Sequence[Family], tables: Sequence[Columns], buckets: range
) -> tuple[Array, list[Array]]:
    """All keys of some buckets, sorted by bucket and key; and each checkpoint's own."""
    own = [table.keys[table.places(buckets)] for table in tables]
    for member, keys in zip(members, own, strict=True):
        if len(_distinct(keys)) != len(keys):
            raise damaged(member.source.reader, stem, "it has a key twice")
    dtype = members[0].admitted.keys.dtype
    union = _distinct(np.concatenate(own)).astype(dtype)
    return union[np.argsort(embedding.bucket_of(union), kind="stable")], own


def _distinct(keys: Array) -> Array:
    """The different ones, sorted; faster than `numpy.unique`, which hashes."""
    found = np.sort(keys)
    return found[np.concatenate(([True], found[1:] != found[:-1]))] if len(found) else found


def _values(
    members: Sequence[Family],
    keys: Array,
    buckets: range,
    combine: Combine,
    count: Callable[[int], None] | None,
) -> Iterator[Array]:
    """The values of a part, a group of buckets at a time."""
    of = embedding.bucket_of(keys)
    ends = np.searchsorted(of, np.arange(embedding.SAVED_PARTITION_NUM), "right")
    start = 0
    for group in groups_of(members, buckets):
        end = int(ends[group[-1]])
        rows = []
        for member in members:
            read = member.read_values(group)
            if count is not None:
                count(read.nbytes)
            own = member.admitted.keys[member.admitted.places(group)]
            rows.append((member.number, where(own, keys[start:end]), read))
        if end > start:
            yield combine(rows, end - start)
        start = end


def groups_of(members: Sequence[Family], buckets: range) -> Iterator[list[int]]:
    """All buckets in their order, with a bounded number of bytes together."""
    sizes = np.zeros(embedding.SAVED_PARTITION_NUM, np.int64)
    for member in members:
        if member.admitted.index is not None:
            sizes += member.admitted.index.totals * member.values.row_bytes
    passes = any(member.is_read_in_passes for member in members)
    most = (_GROUP_BYTES_OF_PASSES if passes else _GROUP_BYTES) * len(members)
    return bucket_groups(buckets, sizes, most)


def _combined(
    members: Sequence[Family],
    tables: Sequence[Columns],
    column: str,
    buckets: range,
    keys: Array,
    combine: Combine,
    missing: int,
) -> Int64s | None:
    """A column of a part; None if no checkpoint has it."""
    if all(getattr(table, column) is None for table in tables):
        return None
    rows = []
    for member, table in zip(members, tables, strict=True):
        places = table.places(buckets)
        own = getattr(table, column)
        found = np.full(len(places), missing, np.int64) if own is None else own[places]
        rows.append((member.number, where(table.keys[places], keys), found))
    return combine(rows, len(keys))


def _kept(column: Int64s | None, left: npt.NDArray[np.bool_]) -> Int64s | None:
    return None if column is None else column[left]


def where(own: Array, keys: Array) -> Int64s:
    """Where in ``keys``, which has them all, keys are."""
    # Both in order, so that one passes along the other: looking up scattered keys misses every cache.
    order, own_order = np.argsort(keys, kind="stable"), np.argsort(own, kind="stable")
    places = np.empty(len(own), np.int64)
    places[own_order] = order[np.searchsorted(keys[order], own[own_order])]
    return places


def _check_disjoint(stem: str, members: Sequence[Family], own: Sequence[Array]) -> None:
    everything = np.sort(np.concatenate(own))
    common = _distinct(everything[1:][everything[1:] == everything[:-1]])
    if len(common):
        key = common[0]
        prefixes = [member.source.reader.prefix for member in members]
        both = [prefix for prefix, table in zip(prefixes * 2, own, strict=True) if key in table]
        raise AlreadyExistsError.of(
            f"key {key} of embedding variable '{stem}' is in {' and in '.join(map(repr, both))}; "
            f"{len(common)} keys are in more than one",
            name=stem,
            path=both[-1],
            hint="Say which one holds: `--on-conflict first` or `last`. Nothing was written.",
        )


def pick(order: Callable[[Rows], Rows]) -> Combine:
    """Of several rows for a key the one that stands last in ``order``."""

    def combine(rows: Rows, size: int) -> Array:
        out = np.empty((size, *rows[0][2].shape[1:]), rows[0][2].dtype)
        for _, places, own in order(rows):
            out[places] = own
        return out

    return combine


def last_wins(rows: Rows) -> Rows:
    return rows


def first_wins(rows: Rows) -> Rows:
    return rows[::-1]


def mean(weights: Sequence[float]) -> Combine:
    """The weighted mean over the checkpoints that have the key, summed in float64."""

    def combine(rows: Rows, size: int) -> Array:
        dtype, shape = rows[0][2].dtype, rows[0][2].shape[1:]
        sums = np.zeros((size, *shape), np.float64)
        total = np.zeros((size,) + (1,) * len(shape), np.float64)
        for number, places, own in rows:
            sums[places] += weights[number] * own.astype(np.float64)
            total[places] += weights[number]
        return np.asarray(sums / total).astype(dtype)

    return combine
