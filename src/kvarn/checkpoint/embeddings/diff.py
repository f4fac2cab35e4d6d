"""How two embedding variables differ, by key: whatever their parts, the order of their rows, and their era.

Both are read some buckets at a time; the rows of a bucket are sorted by key on each side and joined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.checkpoint.embeddings.bucket_rows import BucketIndex, RowReader, bucket_groups
from kvarn.checkpoint.embeddings.columns import damaged
from kvarn.checkpoint.embeddings.stored_table import StoredTable
from kvarn.checkpoint.value_diff import Tolerance, ValueDifference, added, different
from kvarn.formats import embedding
from kvarn.formats.embedding import SAVED_PARTITION_NUM
from kvarn.formats.reader import TensorReader

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Rows that are joined at once: bytes of all columns of both sides.
_BATCH_BYTES = 32 << 20
# The name under which keys that a filter has not admitted are compared.
_FILTERED = "filtered"
# How many keys of each kind are named.
_FIRST_KEYS = 5


@dataclass(frozen=True, slots=True)
class EmbeddingDifference:
    """An embedding variable that both have, and that is not the same.

    Attributes:
      num_added, num_removed, num_changed, num_same: keys that only b has, that only a has, that both have
        with different rows and with equal ones.  Keys that a filter had not admitted are among them.
      added, removed, changed: the first few of those keys.
      columns: what differs, by ``values``, ``freqs``, ``versions``, ``filtered`` (admitted in one only),
        ``filtered freqs``, ``filtered versions``, or the name of a slot, alone or before one of these; ``at``
        is the key and, in values and slots, the column.
      layout: what else differs, in words: types, dims, slots or columns that only one has.
    """

    name: str
    num_added: int = 0
    num_removed: int = 0
    num_changed: int = 0
    num_same: int = 0
    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    columns: dict[str, ValueDifference] = field(default_factory=dict)
    layout: tuple[str, ...] = ()


def compare_tables(
    reader_a: TensorReader,
    reader_b: TensorReader,
    a: StoredTable,
    b: StoredTable,
    tolerance: Tolerance,
    count: Callable[[int], None],
) -> EmbeddingDifference | None:
    """What differs between two embedding variables of one name; None if nothing does.

    Args:
      count: called with the bytes that were compared.

    Raises:
      DataLossError: one is damaged, or has a key twice.
    """
    sides = (_Side(reader_a, a), _Side(reader_b, b))
    join = _Join(a.name, tolerance, _layout(*sides))
    sizes = sides[0].bucket_bytes + sides[1].bucket_bytes
    for buckets in bucket_groups(range(SAVED_PARTITION_NUM), sizes, _BATCH_BYTES):
        count(join.add(sides[0].read(buckets), sides[1].read(buckets)))
    for side in sides:
        side.finish()
    return join.difference()


# One side ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Rows:
    """Rows by ascending keys."""

    keys: Array
    columns: dict[str, Array]

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + sum(column.nbytes for column in self.columns.values())


class _Keyed:
    """Tensors whose rows belong to the keys of one tensor, over all parts."""

    def __init__(
        self, reader: TensorReader, stems: Sequence[str], keys: str, columns: Mapping[str, str]
    ) -> None:
        self._reader = reader
        names = [stem + keys for stem in stems if reader.contains(stem + keys)]
        self.names = names
        self._index = BucketIndex(reader, names)
        self._keys = RowReader(reader, names) if names else None
        self.columns: dict[str, RowReader] = {}
        for label, suffix in columns.items():
            found = [stem + suffix for stem in stems if reader.contains(stem + suffix)]
            rows = [reader.info(name).shape[:1] for name in found]
            if not any(count != (0,) for count in rows) and not (suffix == embedding.VALUES and found):
                continue  # not recorded
            wanted = [reader.info(name).shape[:1] for name in names]
            if rows != wanted:
                raise damaged(reader, found[0], f"its parts have {rows} rows, the keys {wanted}")
            self.columns[label] = RowReader(reader, found)

    @property
    def totals(self) -> Int64s:
        return self._index.totals

    @property
    def row_bytes(self) -> int:
        return 8 + sum(column.row_bytes for column in self.columns.values())

    @property
    def key_dtype(self) -> np.dtype[Any] | None:
        return self._index.key_dtype if self.names else None

    def read(self, buckets: Sequence[int]) -> _Rows:
        if self._keys is None:
            return _Rows(np.empty(0, np.int64), {})
        keys = self._keys.array_of_buckets(self._index, buckets).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if len(keys) and not (keys[1:] != keys[:-1]).all():
            key = keys[1:][keys[1:] == keys[:-1]][0]
            raise damaged(self._reader, self.names[0], f"key {key} is there more than once")
        return _Rows(
            keys,
            {
                label: rows.array_of_buckets(self._index, buckets)[order]
                for label, rows in self.columns.items()
            },
        )

    def finish(self) -> None:
        for rows in (self._keys, *self.columns.values()):
            if rows is not None:
                rows.finish()


class _Side:
    """An embedding variable of one checkpoint: its rows, those of its slots, and keys not admitted."""

    def __init__(self, reader: TensorReader, table: StoredTable) -> None:
        self.main = "" if "" in table.families else min(table.families)
        self.families: dict[str, _Keyed] = {}
        for rest in table.families:
            label = rest.lstrip("/")
            columns = {label or "values": embedding.VALUES}
            for suffix in (embedding.FREQS, embedding.VERSIONS):
                columns[f"{label} {suffix[1:]}".strip()] = suffix
            self.families[rest] = _Keyed(reader, table.stems(rest), embedding.KEYS, columns)
        # Keys not admitted: the variable's, and what its slots say of them.
        self.filtered: dict[str, _Keyed] = {}
        for rest in table.families:
            label = _FILTERED if rest == self.main else f"{rest.lstrip('/')} {_FILTERED}"
            columns = {
                f"{label} freqs": embedding.FREQS_FILTERED,
                f"{label} versions": embedding.VERSIONS_FILTERED,
            }
            self.filtered[label] = _Keyed(reader, table.stems(rest), embedding.KEYS_FILTERED, columns)

    @property
    def members(self) -> list[_Keyed]:
        return [*self.families.values(), *self.filtered.values()]

    @property
    def columns(self) -> dict[str, RowReader]:
        return {label: rows for member in self.members for label, rows in member.columns.items()}

    @property
    def bucket_bytes(self) -> Int64s:
        """int64 [1000], bytes of all rows of each bucket."""
        total: Int64s = np.sum([member.totals * member.row_bytes for member in self.members], axis=0)
        return total

    def read(self, buckets: Sequence[int]) -> dict[str, _Rows]:
        """Rows of some buckets by family; those of keys not admitted as ``filtered``, ``<slot> filtered``."""
        found = {rest: family.read(buckets) for rest, family in self.families.items() if rest != self.main}
        filtered = {label: member.read(buckets) for label, member in self.filtered.items()}
        return {"": self.families[self.main].read(buckets), **found, **filtered}

    def finish(self) -> None:
        for member in self.members:
            member.finish()


def _layout(a: _Side, b: _Side) -> list[str]:
    """What differs before any row is looked at."""
    found: list[str] = []
    for family in a.families.keys() & b.families.keys():
        kinds = [side.families[family].key_dtype for side in (a, b)]
        if kinds[0] != kinds[1]:
            found.append(f"{family.lstrip('/')} keys are {kinds[0]} in a, {kinds[1]} in b".lstrip())
    for label in dict.fromkeys([*a.columns, *b.columns]):
        own, other = a.columns.get(label), b.columns.get(label)
        if own is None or other is None:
            found.append(f"{label} only in {'b' if own is None else 'a'}")
        elif (own.dtype, own.row_shape) != (other.dtype, other.row_shape):
            kinds_text = [f"{rows.dtype.name}{list(rows.row_shape)}" for rows in (own, other)]
            found.append(f"{label} are {kinds_text[0]} in a, {kinds_text[1]} in b")
    return found


# Both sides -------------------------------------------------------------------------------------------


class _Join:
    """Adds up what differs."""

    def __init__(self, name: str, tolerance: Tolerance, layout: list[str]) -> None:
        self._name = name
        self._tolerance = tolerance
        self._layout = layout
        self._counts = dict.fromkeys(("added", "removed", "changed", "same"), 0)
        self._keys: dict[str, list[int]] = {"added": [], "removed": [], "changed": []}
        self._columns: dict[str, ValueDifference] = {}
        self._unmatched: dict[str, int] = {}

    def add(self, a: dict[str, _Rows], b: dict[str, _Rows]) -> int:
        """Compares the rows of some buckets; their bytes."""
        all_a, all_b = (np.union1d(rows[""].keys, rows[_FILTERED].keys) for rows in (a, b))
        common = np.intersect1d(all_a, all_b, assume_unique=True)
        self._note("removed", np.setdiff1d(all_a, common, assume_unique=True))
        self._note("added", np.setdiff1d(all_b, common, assume_unique=True))
        changed = np.zeros(len(common), np.bool_)
        admitted = [np.isin(common, rows[""].keys, assume_unique=True) for rows in (a, b)]
        alike, both = common[admitted[0] == admitted[1]], common[admitted[0] & admitted[1]]
        self._compare(_FILTERED, ~admitted[0], ~admitted[1], common, common, changed)
        for family in a.keys() & b.keys():
            rows_a, rows_b = a[family], b[family]
            keys, at_a, at_b = np.intersect1d(
                rows_a.keys, rows_b.keys, assume_unique=True, return_indices=True
            )
            if family not in ("", _FILTERED):
                alone = np.setxor1d(rows_a.keys, rows_b.keys, assume_unique=True)
                alone = np.intersect1d(alone, alike if family.endswith(f" {_FILTERED}") else both)
                if len(alone):
                    self._unmatched[family] = self._unmatched.get(family, 0) + len(alone)
                    changed |= np.isin(common, alone, assume_unique=True)
            for label, column in rows_a.columns.items():
                other = rows_b.columns.get(label)
                if other is None or (column.dtype, column.shape[1:]) != (other.dtype, other.shape[1:]):
                    continue  # the layout says so
                self._compare(label, column[at_a], other[at_b], keys, common, changed)
        self._note("changed", common[changed])
        self._counts["same"] += int(np.count_nonzero(~changed))
        return sum(rows.nbytes for rows in (*a.values(), *b.values()))

    def difference(self) -> EmbeddingDifference | None:
        layout = [
            *self._layout,
            *(
                f"{family.lstrip('/')} has rows of {n} of the keys in one only"
                for family, n in self._unmatched.items()
            ),
        ]
        counts = self._counts
        if not layout and not (counts["added"] or counts["removed"] or counts["changed"]):
            return None
        return EmbeddingDifference(
            self._name,
            num_added=counts["added"],
            num_removed=counts["removed"],
            num_changed=counts["changed"],
            num_same=counts["same"],
            added=tuple(self._keys["added"]),
            removed=tuple(self._keys["removed"]),
            changed=tuple(self._keys["changed"]),
            columns={label: found for label, found in self._columns.items() if found.num_different},
            layout=tuple(layout),
        )

    def _compare(self, label: str, a: Array, b: Array, keys: Array, common: Array, changed: Bools) -> None:
        """Compares the rows of ``keys`` in one column; marks those of ``common`` that changed."""
        if not len(keys):
            return
        mask = different(a, b, self._tolerance)
        width = mask.size // len(keys)

        def locate(at: int) -> tuple[int, ...]:
            key = int(keys[at // width])
            return (key, at % width) if a.ndim > 1 else (key,)

        self._columns[label] = added(self._columns.get(label, ValueDifference()), a, b, mask, locate)
        rows = keys[mask.reshape(len(keys), width).any(axis=1)] if width else keys[:0]
        changed |= np.isin(common, rows, assume_unique=True)

    def _note(self, what: str, keys: Array) -> None:
        self._counts[what] += len(keys)
        room = _FIRST_KEYS - len(self._keys[what])
        self._keys[what] += [int(key) for key in keys[:room]]
