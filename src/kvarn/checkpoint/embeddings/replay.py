"""Embedding variables of a full save and its increments as one: by key, the last word counts.

Of every part and slot the keys are in memory, the values a few MB at a time, for in all files rows lie grouped
by bucket.  A full save and increments may have any numbers of parts each; the rows come out sorted by bucket
and key, in as many parts as are asked for.

What the last link that knows of a key says of it holds: a row with values, a key that a filter has not
admitted (any more), or that the key is gone.

Source of the names: kvarn.formats.embedding, kvarn.formats.embedding_increment.
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
from kvarn.checkpoint.embeddings.union import Columns, EmbeddingSource
from kvarn.errors import InvalidArgumentError
from kvarn.formats import embedding
from kvarn.formats import embedding_increment as increment
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.reader import TensorReader

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

# Bytes of values of one link that are in memory at a time.
_GROUP_BYTES = 4 << 20

# What a link says of a key.
_ADMITTED, _FILTERED, _REMOVED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class ReplayedTable:
    """An embedding variable in one link of a chain.

    Attributes:
      reader: of the link's checkpoint.
      table: the stems of its parts and slots; as `stored_tables` has them.
      full: whether it is a full save.
    """

    reader: TensorReader
    table: StoredTable
    full: bool


def replay(
    writer: BundleWriter,
    links: Sequence[ReplayedTable],
    *,
    partitions: int,
    keeps_versions: bool,
    keeps_freqs: bool,
    count: Callable[[int], None] | None = None,
) -> None:
    """Writes one embedding variable, its slots along.

    Args:
      links: a full save and the increments that follow, all with the same slots.
      partitions: parts of the result, 0 for an unpartitioned one.
      keeps_versions, keeps_freqs: whether there are any in the result.
      count: told the bytes of values as they are read.

    Raises:
      InvalidArgumentError: types or dims differ between links.
      DataLossError: one is damaged.
    """
    name = links[-1].table.name
    for family in sorted(links[-1].table.families):
        members = [_Member(link, family) for link in links]
        _check_alike(members)
        parts = max(1, partitions)
        for part in range(parts):
            stem = f"{name}/part_{part}{family}" if partitions else name + family
            buckets = range(part, embedding.SAVED_PARTITION_NUM, parts)
            _write_part(writer, stem, members, buckets, keeps_versions, keeps_freqs, count)
        for member in members:
            member.values.finish()


class _Member:
    """The primaries, or the slots of one name, of all parts in one link."""

    def __init__(self, link: ReplayedTable, family: str) -> None:
        self.reader = link.reader
        self.stems = link.table.stems(family)
        source = EmbeddingSource(0, link.reader, link.table)
        names: Any = embedding if link.full else increment
        self.admitted = Columns(source, self.stems, names.KEYS, names.VERSIONS, names.FREQS)
        self.filtered = Columns(
            source, self.stems, names.KEYS_FILTERED, names.VERSIONS_FILTERED, names.FREQS_FILTERED
        )
        self.values = RowReader(link.reader, [stem + names.VALUES for stem in self.stems])
        if len(self.values.row_shape) != 1 or self.values.num_rows != len(self.admitted.keys):
            raise damaged(link.reader, self.stems[0] + names.VALUES, "it has not a row for each key")
        removed = [stem + increment.REMOVED_KEYS for stem in self.stems]
        present = [name for name in removed if not link.full and link.reader.contains(name)]
        self._removed = [self.reader.lookup(name) for name in present]
        self._removed_index = BucketIndex(link.reader, present) if present else None

    def removed_keys(self, buckets: Sequence[int]) -> Array:
        """The keys of some buckets that are gone."""
        if self._removed_index is None:
            return np.empty(0, self.admitted.keys.dtype)
        found: Array = np.concatenate(self._removed)[self._removed_index.rows(buckets)]
        return found


def _check_alike(members: Sequence[_Member]) -> None:
    kinds = {(m.admitted.keys.dtype.name, m.values.dtype.name, m.values.row_shape) for m in members}
    if len(kinds) > 1:
        first, last = members[0], members[-1]
        raise InvalidArgumentError.of(
            f"embedding variable '{last.stems[0]}' differs in '{first.reader.prefix}' and the increments on it: "
            + ", ".join(f"{key} -> {value}{list(shape)}" for key, value, shape in sorted(kinds)),
            name=last.stems[0],
            path=last.reader.prefix,
            hint="Save in full after a variable has changed its type or dimension.",
        )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What is left of the keys of some buckets after the last link.

    Attributes:
      keys, filtered: sorted by bucket and key.
      rows: for each link the numbers of its admitted rows in those buckets.
      places: where each of them is among ``keys``; -1 if a later link knows better.
      filtered_rows, filtered_places: the same for filtered rows.
    """

    keys: Array
    filtered: Array
    rows: list[Int64s]
    places: list[Int64s]
    filtered_rows: list[Int64s]
    filtered_places: list[Int64s]


def _outcome(members: Sequence[_Member], buckets: range) -> _Outcome:
    parts: list[Array] = []
    kinds: list[Array] = []
    rows: list[Int64s] = []
    for member in members:
        rows += [member.admitted.places(buckets), member.filtered.places(buckets)]
        own = [
            member.admitted.keys[rows[-2]],
            member.filtered.keys[rows[-1]],
            member.removed_keys(buckets),
        ]
        together = np.sort(np.concatenate(own))
        if np.any(together[1:] == together[:-1]):
            raise damaged(member.reader, member.stems[0], "it has a key twice")
        parts += own
        kinds += [np.full(len(keys), kind, np.int8) for kind, keys in enumerate(own)]
    dtype = members[0].admitted.keys.dtype
    keys = np.concatenate(parts).astype(dtype, copy=False)
    kind = np.concatenate(kinds)
    # By bucket and key; equal keys stay in the order of the links, and the last of them counts.
    order = np.lexsort((keys, embedding.bucket_of(keys)))
    ordered = keys[order]
    final = order[np.append(ordered[1:] != ordered[:-1], True)] if len(order) else order
    admitted, filtered = final[kind[final] == _ADMITTED], final[kind[final] == _FILTERED]
    at = np.full(len(keys), -1, np.int64)
    at[admitted] = np.arange(len(admitted))
    at[filtered] = np.arange(len(filtered))
    pieces = np.split(at, np.cumsum([len(part) for part in parts])[:-1])
    return _Outcome(
        keys[admitted], keys[filtered], rows[0::2], pieces[_ADMITTED::3], rows[1::2], pieces[_FILTERED::3]
    )


def _write_part(
    writer: BundleWriter,
    stem: str,
    members: Sequence[_Member],
    buckets: range,
    keeps_versions: bool,
    keeps_freqs: bool,
    count: Callable[[int], None] | None,
) -> None:
    outcome = _outcome(members, buckets)

    def numbers(what: str, missing: int, *, filtered: bool = False) -> Int64s:
        """A column of the result, taken from whichever link has the row."""
        found = (
            (outcome.filtered_rows, outcome.filtered_places) if filtered else (outcome.rows, outcome.places)
        )
        out = np.full(len(outcome.filtered if filtered else outcome.keys), missing, np.int64)
        for member, rows, places in zip(members, *found, strict=True):
            column = getattr(member.filtered if filtered else member.admitted, what)
            if column is not None:
                out[places[places >= 0]] = column[rows[places >= 0]]
        return out

    first = members[0].values
    embedding.write_embedding(
        writer,
        stem,
        outcome.keys,
        _values(members, outcome, buckets, count),
        dim=first.row_shape[0],
        value_dtype=first.dtype.np,
        versions=numbers("versions", embedding.NO_VERSION) if keeps_versions else None,
        freqs=numbers("freqs", embedding.NO_FREQ) if keeps_freqs else None,
        keys_filtered=outcome.filtered,
        versions_filtered=(
            numbers("versions", embedding.NO_VERSION, filtered=True) if keeps_versions else None
        ),
        # A key that no filter has admitted has a frequency always.
        freqs_filtered=numbers("freqs", embedding.NO_FREQ, filtered=True),
    )


def _values(
    members: Sequence[_Member],
    outcome: _Outcome,
    buckets: range,
    count: Callable[[int], None] | None,
) -> Iterator[Array]:
    """The values of a part, a group of buckets at a time."""
    of = embedding.bucket_of(outcome.keys)
    ends = np.searchsorted(of, np.arange(embedding.SAVED_PARTITION_NUM), "right")
    sizes = np.zeros(embedding.SAVED_PARTITION_NUM, np.int64)
    for member in members:
        if member.admitted.index is not None:
            sizes += member.admitted.index.totals * member.values.row_bytes
    start = 0
    taken = [0] * len(members)
    for group in bucket_groups(buckets, sizes, _GROUP_BYTES * len(members)):
        end = int(ends[group[-1]])
        out = np.empty((end - start, *members[0].values.row_shape), members[0].values.dtype.np)
        for number, member in enumerate(members):
            if member.admitted.index is None:
                continue
            rows = member.values.array_of_buckets(member.admitted.index, group)
            if count is not None:
                count(rows.nbytes)
            places = outcome.places[number][taken[number] : taken[number] + len(rows)]
            taken[number] += len(rows)
            kept = places >= 0
            out[places[kept] - start] = rows[kept]
        if end > start:
            yield out
        start = end
