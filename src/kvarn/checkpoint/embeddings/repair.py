"""What of a damaged embedding variable fits together, and what must be done to the rest.

    rows of a slot that are missing      filled with a value, or their keys dropped everywhere
    rows of a slot without a key         dropped
    a slot's part that is broken         as if all its rows were missing
    keys twice                           the later row stays, as in a restore
    keys in another part's file          moved to their own
    offsets that are wrong or broken     made anew
    versions, frequencies, filtered keys that are broken or of another length: left out for all parts
    versions, frequencies that one part has not: as a restore has it, 1 and -1
    a part of the variable itself that is broken or missing: the variable is left out, or that part is empty

Keys are in memory, a few numbers for each; values pass in pieces.  Values must have been verified before:
they are read by ranges here, which have no checksums of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.checkpoint.embeddings.bucket_rows import CHUNK_BYTES
from kvarn.checkpoint.embeddings.columns import KeyIndex, scattered_rows
from kvarn.checkpoint.embeddings.stored_table import StoredTable
from kvarn.formats import embedding
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.embedding import bucket_of, bucket_order, part_name, part_of
from kvarn.formats.reader import TensorReader

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Missing = Literal["fill", "drop"]

_KEY_TYPES = (np.dtype(np.int32), np.dtype(np.int64))
_DEFAULTS = {
    embedding.FREQS: embedding.NO_FREQ,
    embedding.VERSIONS: embedding.NO_VERSION,
    embedding.FREQS_FILTERED: embedding.NO_FREQ,
    embedding.VERSIONS_FILTERED: embedding.NO_VERSION,
}
# Keys that a notice names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do where there is a choice.

    Attributes:
      missing: ``fill`` rows that a slot lacks, or ``drop`` their keys from the variable and all its slots.
      slot_init: the value for filled rows, for all slots or by slot name (``""`` for all others); 0 by
        default.
      partial: keep the whole parts of a variable of which another part is broken.
    """

    missing: Missing = "fill"
    slot_init: float | Mapping[str, float] = 0.0
    partial: bool = False

    def init_of(self, slot: str) -> float:
        """The value for filled rows of a slot."""
        if isinstance(self.slot_init, Mapping):
            return self.slot_init.get(slot, self.slot_init.get("", 0.0))
        return self.slot_init


@dataclass(slots=True)
class Notices:
    """What was done, each as name and text.

    Attributes:
      changed: nothing that was saved is lost.
      left_out: what could not be kept, and why.
    """

    changed: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


class BrokenVariable(Exception):
    """Nothing of an embedding variable can be kept; the text says why."""


class TableRepair:
    """An embedding variable and its slots, looked at.

    Args:
      reader: of the checkpoint.
      broken: names of tensors that cannot be read; all others can.

    Attributes:
      notices: what is done to it; without any it can be copied as it is.

    Raises:
      BrokenVariable: it must be left out.
    """

    def __init__(self, reader: TensorReader, table: StoredTable, broken: Collection[str], rule: Rule) -> None:
        self.notices = Notices()
        self._rule = rule
        self._families = {
            rest: _Family(reader, table, rest, broken, self.notices) for rest in sorted(table.families)
        }
        for rest, family in self._families.items():
            if table.owner(rest) is None:
                self._look_at_owner(table, rest, family)

    @property
    def needed(self) -> bool:
        """Whether anything is done to it."""
        return bool(self.notices.changed or self.notices.left_out)

    def write(self, writer: BundleWriter, count: Callable[[int], None]) -> None:
        """Writes what fits together."""
        for family in self._families.values():
            family.write(writer, count)

    def _look_at_owner(self, table: StoredTable, rest: str, owner: _Family) -> None:
        owner.refuse_broken(self._rule.partial)
        slots = [family for other, family in self._families.items() if table.owner(other) == rest]
        keys = owner.own_keys()
        for slot in slots:
            slot.join(keys)
        if self._rule.missing == "drop":
            keys = self._drop(owner, slots, keys)
        owner.place(keys, 0.0)
        for slot in slots:
            slot.place(keys, self._rule.init_of(slot.slot))

    def _drop(self, owner: _Family, slots: Sequence[_Family], keys: Array) -> Array:
        """The keys that all slots have."""
        for slot in slots:
            if slot.broken:
                raise BrokenVariable(f"{slot.broken[0][1]}; without it no key of that part is in all slots")
        everywhere = np.logical_and.reduce([slot.index.places(keys) >= 0 for slot in slots] or [keys == keys])
        if not everywhere.all():
            gone = keys[~everywhere]
            owner.notices.left_out.append(
                (owner.name, f"{_keys(gone)} without a row in every slot: dropped everywhere")
            )
        return keys[everywhere]


class _Family:
    """The primary or one slot of a variable, over its parts."""

    def __init__(
        self,
        reader: TensorReader,
        table: StoredTable,
        rest: str,
        broken: Collection[str],
        notices: Notices,
    ) -> None:
        self.notices = notices
        self.name = table.name + rest
        self.slot = rest.rpartition("/")[2]
        self._reader = reader
        self._lost = broken
        self._partitioned = table.partitioned
        parts = table.num_partitions
        stems = [*table.families[rest], *[None] * (parts - len(table.families[rest]))]
        self._targets = [part_name(table.name, p) + rest for p in range(parts if table.partitioned else 0)]
        self._targets = self._targets or [table.name + rest]
        # Parts that cannot be read, as number and reason.
        self.broken: list[tuple[int, str]] = []
        # Of the parts that can: stems, and all their keys one after the other.
        self._stems: list[str] = []
        self._part_keys: list[Array] = []
        for part, stem in enumerate(stems):
            why = f"'{self._targets[part]}' is missing" if stem is None else self._unreadable(stem)
            if why is not None or stem is None:
                self.broken.append((part, why or ""))
                continue
            keys = reader.lookup(stem + embedding.KEYS)
            self._stems.append(stem)
            self._part_keys.append(keys)
            self._look_at_places(part, stem + embedding.KEYS, keys)
        kinds = {
            self._kind(stem) for stem, keys in zip(self._stems, self._part_keys, strict=True) if len(keys)
        }
        if len(kinds) > 1 or len({keys.dtype for keys in self._part_keys}) > 1:
            raise BrokenVariable(f"the parts of '{self.name}' have keys or values of different types")
        # The index may know the dim though the values are broken.
        known = [self._kind(stem) for stem in stems if stem and reader.contains(stem + embedding.VALUES)]
        self._value_kind = next(iter(kinds), known[0] if known else None)
        self._keys: Array = np.concatenate(self._part_keys) if self._part_keys else np.empty(0, np.int64)
        # Of keys that are there twice the later row counts.
        self.index = KeyIndex(self._keys[::-1])
        self._rows: list[Int64s] = []
        self._placed: list[Array] = []
        self._fill = 0.0
        # By suffix.
        self._columns: dict[str, list[tuple[str, int]]] = {}
        self._filtered = self._look_at_filtered()
        for suffix in (embedding.VERSIONS, embedding.FREQS):
            self._columns[suffix] = self._look_at_column(suffix, self._part_keys)
        if not self.broken:
            self._look_at_offsets()

    # What is there -----------------------------------------------------------------------------------

    def _readable(self, name: str) -> bool:
        return name not in self._lost and self._reader.contains(name)

    def _unreadable(self, stem: str) -> str | None:
        """Why the keys or values of a part cannot be used; None if they can."""
        for suffix in (embedding.KEYS, embedding.VALUES):
            if not self._readable(stem + suffix):
                return f"'{stem}{suffix}' is broken"
        dtype, shape = self._reader.lookup_dtype_and_shape(stem + embedding.KEYS)
        if dtype.np not in _KEY_TYPES or len(shape) != 1:
            return f"'{stem}{embedding.KEYS}' is {dtype.name}{list(shape)}, not int32 or int64 [n]"
        values = self._reader.info(stem + embedding.VALUES)
        if len(values.shape) != 2 or values.shape[0] != shape[0] or values.dtype.np.hasobject:
            text = f"{values.dtype.name}{list(values.shape)}"
            return f"'{stem}{embedding.VALUES}' is {text} for {shape[0]} keys"
        return None

    def _kind(self, stem: str) -> tuple[dtypes.DType, int]:
        dtype, shape = self._reader.lookup_dtype_and_shape(stem + embedding.VALUES)
        return dtype, shape[1] if len(shape) == 2 else 0

    def _look_at_places(self, part: int, name: str, keys: Array) -> None:
        if not self._partitioned:
            return
        strangers = keys[part_of(keys, len(self._targets)) != part]
        if len(strangers):
            self.notices.changed.append((name, f"{_keys(strangers)} of other parts: moved to them"))

    def _look_at_column(self, suffix: str, part_keys: Sequence[Array]) -> list[tuple[str, int]]:
        """The names of a column and its rows part by part.

        None if no part has it, or one is broken: then it is left out.
        """
        counts = [len(keys) for keys in part_keys]
        names = [stem + suffix for stem in self._stems]
        lost = next((name for name in names if name in self._lost), None)
        kinds = [
            self._reader.lookup_dtype_and_shape(name) if self._readable(name) else (dtypes.int64, (0,))
            for name in names
        ]
        if lost is None and all(shape == (0,) for _, shape in kinds):
            return []
        wrong = [
            f"'{name}' is {dtype.name}{list(shape)} for {count} keys"
            for name, (dtype, shape), count in zip(names, kinds, counts, strict=True)
            if (dtype, shape) not in ((dtypes.int64, (count,)), (dtypes.int64, (0,))) and name != lost
        ]
        if lost is None and not wrong:
            for name, (_, shape), count in zip(names, kinds, counts, strict=True):
                if shape != (count,):
                    self.notices.changed.append((name, f"empty: filled with {_DEFAULTS[suffix]}"))
            return list(zip(names, counts, strict=True))
        why = f"'{lost}' is broken" if lost is not None else wrong[0]
        self.notices.left_out.append((self.name + suffix, f"{why}: left out in all parts"))
        return []

    def _look_at_filtered(self) -> list[Array] | None:
        """The filtered keys of each part; None if there are none, or they are left out."""
        names = [stem + embedding.KEYS_FILTERED for stem in self._stems]
        lost = next((name for name in names if name in self._lost), None)
        if lost is None and not any(map(self._readable, names)):
            return None
        keys = []
        for name, admitted in zip(names, self._part_keys, strict=True):
            found = self._reader.lookup(name) if self._readable(name) else admitted[:0]
            if lost is None and (found.dtype != admitted.dtype or found.ndim != 1):
                lost = name
            keys.append(found)
        if lost is not None:
            self.notices.left_out.append(
                (self.name + embedding.KEYS_FILTERED, f"'{lost}' is broken: no filtered keys are kept")
            )
            return None
        suffixes = (embedding.VERSIONS_FILTERED, embedding.FREQS_FILTERED)
        self._columns |= {suffix: self._look_at_column(suffix, keys) for suffix in suffixes}
        everything = np.concatenate(keys) if keys else np.empty(0, np.int64)
        both = KeyIndex(self._keys).places(everything) >= 0
        if both.any():
            self.notices.changed.append(
                (
                    self.name + embedding.KEYS_FILTERED,
                    f"{_keys(everything[both])} admitted too: no longer filtered",
                )
            )
        self._note_repeated(embedding.KEYS_FILTERED, everything)
        return keys

    def _look_at_offsets(self) -> None:
        filtered = self._filtered or [np.empty(0, np.int64)] * len(self._stems)
        for suffix, part_keys in (
            (embedding.PARTITION_OFFSET, self._part_keys),
            (embedding.PARTITION_FILTER_OFFSET, filtered),
        ):
            for stem, keys in zip(self._stems, part_keys, strict=True):
                name = stem + suffix
                if name in self._lost:
                    self.notices.changed.append((name, "broken: made anew"))
                elif self._reader.contains(name):
                    order, offset = bucket_order(keys)
                    found = self._reader.lookup(name)
                    if found.tobytes() != offset.tobytes() or np.any(np.diff(order) < 0):
                        self.notices.changed.append((name, "not where the buckets begin: made anew"))

    # What becomes of it ------------------------------------------------------------------------------

    def refuse_broken(self, partial: bool) -> None:
        """Raises BrokenVariable if a part is broken and the others are not to be kept."""
        if not self.broken:
            return
        if not partial or not self._stems:
            raise BrokenVariable(self.broken[0][1])
        for part, why in self.broken:
            self.notices.left_out.append((self._targets[part], f"{why}: the part has no keys now"))

    def own_keys(self) -> Array:
        """The keys, none twice."""
        self._note_repeated(embedding.KEYS, self._keys)
        kept = np.flatnonzero(self._places(self._keys) == np.arange(len(self._keys)))
        return self._keys[kept]

    def join(self, keys: Array) -> None:
        """Compares a slot's keys with those of the variable."""
        self._note_repeated(embedding.KEYS, self._keys)
        surplus = self._keys[KeyIndex(keys).places(self._keys) < 0]
        if len(surplus):
            self.notices.changed.append(
                (
                    self.name + embedding.KEYS,
                    f"{_keys(np.unique(surplus))} that the variable has not: rows dropped",
                )
            )
        for _, why in self.broken:
            self.notices.left_out.append((self.name, why))

    def place(self, keys: Array, fill: float) -> None:
        """Says which keys go where; rows that are not there are filled."""
        rows = self._places(keys)
        lacking = keys[rows < 0]
        if len(lacking):
            self.notices.changed.append((self.name, f"{_keys(lacking)} without a row: filled with {fill:g}"))
            self._fill = fill
        parts = part_of(keys, len(self._targets))
        for part in range(len(self._targets)):
            chosen = np.flatnonzero(parts == part)
            # Bucket by bucket, in each as the rows lie in the file.
            order = np.lexsort((rows[chosen], bucket_of(keys[chosen])))
            self._placed.append(keys[chosen][order])
            self._rows.append(rows[chosen][order])
        if self._value_kind is None:
            raise BrokenVariable(f"of '{self.name}' nothing can be read, not even its dim")

    def write(self, writer: BundleWriter, count: Callable[[int], None]) -> None:
        """The nine tensors of every part."""
        assert self._value_kind is not None
        dtype, dim = self._value_kind
        for part, target in enumerate(self._targets):
            rows = self._rows[part]
            filtered, filtered_rows = self._placed_filtered(part)
            embedding.write_embedding(
                writer,
                target,
                self._placed[part],
                self._values(rows, dtype, dim, count),
                dim=dim,
                value_dtype=dtype.np,
                versions=self._column(embedding.VERSIONS, rows),
                freqs=self._column(embedding.FREQS, rows),
                keys_filtered=filtered,
                versions_filtered=self._column(embedding.VERSIONS_FILTERED, filtered_rows),
                freqs_filtered=self._column(embedding.FREQS_FILTERED, filtered_rows),
            )

    def _places(self, keys: Array) -> Int64s:
        """The row of each key, the last of several; -1 for none."""
        places = self.index.places(keys)
        return np.where(places < 0, places, len(self._keys) - 1 - places)

    def _placed_filtered(self, part: int) -> tuple[Array, Int64s]:
        """The filtered keys of a target part, and their rows."""
        if self._filtered is None:
            return self._placed[part][:0], np.empty(0, np.int64)
        keys = np.concatenate(self._filtered)
        last = len(keys) - 1 - KeyIndex(keys[::-1]).places(keys)
        kept = (last == np.arange(len(keys))) & (KeyIndex(self._keys).places(keys) < 0)
        kept &= part_of(keys, len(self._targets)) == part
        rows = np.flatnonzero(kept)
        rows = rows[np.argsort(bucket_of(keys[rows]), kind="stable")]
        return keys[rows], rows

    def _values(
        self, rows: Int64s, dtype: dtypes.DType, dim: int, count: Callable[[int], None]
    ) -> Iterator[Array]:
        names = [stem + embedding.VALUES for stem in self._stems]
        parts = [(name, len(keys)) for name, keys in zip(names, self._part_keys, strict=True)]
        at_once = max(1, CHUNK_BYTES // max(1, dim * dtype.size))
        for start in range(0, len(rows), at_once):
            wanted = rows[start : start + at_once]
            values = np.full((len(wanted), dim), self._fill, dtype.np)
            self._take(parts, wanted, values)
            count(values.nbytes)
            yield values

    def _column(self, suffix: str, rows: Int64s) -> Int64s | None:
        parts = self._columns.get(suffix)
        if not parts:
            return None
        out = np.full(len(rows), _DEFAULTS[suffix], np.int64)
        self._take(parts, rows, out)
        return out

    def _take(self, parts: Sequence[tuple[str, int]], rows: Int64s, out: Array) -> None:
        """Puts the rows, counted over all tensors together, where they are wanted.

        Args:
          parts: names, and for how many rows each stands; those of an empty one stay as they are.
        """
        first = 0
        for name, count in parts:
            stop = first + count
            here = np.flatnonzero((rows >= first) & (rows < stop))
            if len(here) and self._reader.contains(name) and self._reader.info(name).shape[0]:
                out[here] = scattered_rows(self._reader, name, rows[here] - first)
            first = stop

    def _note_repeated(self, suffix: str, keys: Array) -> None:
        repeated = KeyIndex(keys).repeated()
        if len(repeated):
            self.notices.changed.append((self.name + suffix, f"{_keys(repeated)} twice: the later row stays"))


def _keys(keys: Array) -> str:
    more = ", …" if len(keys) > _NAMED else ""
    named = ", ".join(map(str, keys[:_NAMED].tolist()))
    return f"{len(keys)} key{'' if len(keys) == 1 else 's'} ({named}{more})"
