"""An embedding variable and its slots as one thing, however many parts and tensors a checkpoint has them in.

    table = EmbeddingTable(reader, "b")                   b, or b/part_0, b/part_1, …
    table.dim, table.slots, table.num_keys                from the index alone
    for chunk in table.chunks():                          admitted rows, a few MB at a time
        chunk.keys, chunk.values, chunk.slots["Adagrad"], chunk.freqs, chunk.versions
    for chunk in table.filtered_chunks():                 keys that a filter had not admitted
    table.lookup([3, 7]).values                           rows of some keys
    table.check()                                         what does not fit

Rows of slots are those of the primary's keys, though inside a bucket a slot's file may have another order.
Every era of DeepRec's format is read: frequencies, filtered keys and offsets may be missing.

Memory: one chunk; and if a slot has another order than the variable, the keys of one part, twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.checkpoint.embeddings.columns import (
    KeyIndex,
    damaged,
    key_column,
    number_column,
    scattered_rows,
    sequential_numbers,
    sequential_rows,
)
from kvarn.checkpoint.embeddings.rows import EmbeddingArrays, EmbeddingChunk, EmbeddingRows, FilteredChunk
from kvarn.checkpoint.embeddings.stored_table import stored_tables
from kvarn.checkpoint.findings import Finding
from kvarn.errors import NotFoundError, OpError
from kvarn.formats import embedding
from kvarn.formats.reader import CHUNK_BYTES, TensorReader

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
# What to do with keys for which a slot has no row.
Missing = Literal["error", "nan", "skip"]

_SlotRows = Callable[[slice, Array], tuple[Array, npt.NDArray[np.bool_]]]

# Rows for a byte of the files: small numbers as varints, in snappy blocks, are the densest there is.
_MOST_GROWTH = 64
# As many bytes are taken without asking how large the files are.
_SPARE_BYTES = 1 << 20


class EmbeddingTable:
    """One embedding variable of a checkpoint, with its slots.  Valid while the reader is open.

    Args:
      reader: of the checkpoint.
      name: without part and slot; of a part of a variable with dynamic dimension ``b/block0``.

    Attributes:
      name: as given.
      stems: names of the parts; the name itself if it is not partitioned.
      slot_stems: by slot name, the names of its parts; None for a part that has none.
      dim, key_dtype, value_dtype: of the values.
      slots: dim by slot name.
      num_keys, num_filtered: keys with values, and keys that a filter had not admitted, in all parts.
      keys_per_partition: of the first.
      has_freqs, has_versions: whether any part has them.
      size_bytes: of all its tensors.

    Raises:
      NotFoundError: there is no such embedding variable; the hint names those that are there.
      DataLossError: a part is missing, or the parts do not fit one another.
    """

    def __init__(self, reader: TensorReader, name: str) -> None:
        found = _find(reader)
        if name not in found:
            raise _not_found(reader, name, found)
        self._set(reader, name, *found[name])

    @classmethod
    def _of(
        cls,
        reader: TensorReader,
        name: str,
        stems: Sequence[str | None],
        slots: Mapping[str, Sequence[str | None]],
    ) -> EmbeddingTable:
        table = cls.__new__(cls)
        table._set(reader, name, stems, slots)
        return table

    def _set(
        self,
        reader: TensorReader,
        name: str,
        stems: Sequence[str | None],
        slots: Mapping[str, Sequence[str | None]],
    ) -> None:
        self.reader = reader
        self.name = name
        self.stems = [_present(reader, name, part, stem) for part, stem in enumerate(stems)]
        self.slot_stems = {
            slot: [*of_slot, *[None] * (len(self.stems) - len(of_slot))] for slot, of_slot in slots.items()
        }
        kinds = [_kind(reader, stem) for stem in self.stems]
        self.key_dtype, self.value_dtype, self.dim, _ = kinds[0]
        for stem, kind in zip(self.stems, kinds, strict=True):
            if kind[:3] != kinds[0][:3]:
                raise damaged(
                    reader,
                    stem + embedding.VALUES,
                    f"unlike those of '{self.stems[0]}': {kind[:3]}, {kinds[0][:3]}",
                )
        self.keys_per_partition = [kind[3] for kind in kinds]
        self.num_keys = sum(self.keys_per_partition)
        self.num_filtered = sum(self._count(stem + embedding.KEYS_FILTERED) for stem in self.stems)
        self.slots = {slot: self._slot_dim(slot) for slot in sorted(self.slot_stems)}
        self.has_freqs = any(self._count(stem + embedding.FREQS) for stem in self.stems)
        self.has_versions = any(self._count(stem + embedding.VERSIONS) for stem in self.stems)
        self._check_room()
        self._indexes: dict[str, KeyIndex] = {}
        self._verified: set[str] = set()

    @property
    def num_partitions(self) -> int:
        """How many parts it was saved in; 1 also if it was not partitioned."""
        return len(self.stems)

    @property
    def partitioned(self) -> bool:
        """Whether its names have ``part_i``."""
        return self.stems[0] != self.name

    @property
    def tensor_names(self) -> list[str]:
        """The names of all its tensors, part after part, each in the order of the data file."""
        stems = [*self.stems, *(stem for parts in self.slot_stems.values() for stem in parts if stem)]
        names = (stem + suffix for stem in stems for suffix in embedding.SUFFIXES)
        return [name for name in names if self.reader.contains(name)]

    @property
    def size_bytes(self) -> int:
        return sum(self.reader.info(name).size_bytes for name in self.tensor_names)

    def __repr__(self) -> str:
        slots = "".join(f", {slot} {dim}" for slot, dim in self.slots.items())
        parts = f" in {self.num_partitions} parts" if self.partitioned else ""
        return f"<EmbeddingTable {self.name}: {self.num_keys} keys, dim {self.dim}{slots}{parts}>"

    # Rows --------------------------------------------------------------------------------------------

    def keys(self) -> Array:
        """All admitted keys, part after part, in the order of the files."""
        parts = [self._keys(stem) for stem in self.stems]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def chunks(
        self,
        chunk_bytes: int = CHUNK_BYTES,
        *,
        slots: Sequence[str] | None = None,
        missing: Missing = "error",
    ) -> Iterator[EmbeddingChunk]:
        """The admitted rows, part after part, in the order of the files.

        Rows are certain once a part's last chunk was given out: only then the checksums of its columns are
        compared.

        Args:
          chunk_bytes: about how many bytes of values, slots included, a chunk has.
          slots: which ones; all by default.
          missing: what becomes of a key without a row in a slot: ``error``; ``nan``, the row of that slot is
            NaN; ``skip``, the key is left out.

        Raises:
          DataLossError: a tensor is damaged, or (unless ``missing`` says otherwise) the keys of a slot are
            not those of the variable.
        """
        chosen = self._chosen(slots)
        for part in range(len(self.stems)):
            if self.keys_per_partition[part]:
                yield from self._part_chunks(part, chunk_bytes, chosen, missing)

    def filtered_chunks(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[FilteredChunk]:
        """The keys that a filter had not admitted, part after part.

        Raises:
          DataLossError: a tensor is damaged, or the columns are not equally long.
        """
        at_once = max(1, chunk_bytes // 24)
        for part, stem in enumerate(self.stems):
            if not self._count(stem + embedding.KEYS_FILTERED):
                continue
            keys = key_column(self.reader, stem + embedding.KEYS_FILTERED)
            freqs = number_column(self.reader, stem + embedding.FREQS_FILTERED, len(keys))
            versions = number_column(self.reader, stem + embedding.VERSIONS_FILTERED, len(keys))
            for start in range(0, len(keys), at_once):
                rows = slice(start, start + at_once)
                yield FilteredChunk(keys[rows], _cut(freqs, rows), _cut(versions, rows), part)

    def read(self, *, missing: Missing = "error") -> EmbeddingArrays:
        """Everything at once.

        A part without frequencies, or versions, though others have them, gets what a restore gives it: 1,
        or -1.  Raises as `chunks`.
        """
        filled = 0
        keys = np.empty(self.num_keys, self.key_dtype.np)
        values = np.empty((self.num_keys, self.dim), self.value_dtype.np)
        slots = {
            slot: np.empty((self.num_keys, dim), self._slot_dtype(slot)) for slot, dim in self.slots.items()
        }
        freqs = np.full(self.num_keys, embedding.NO_FREQ, np.int64) if self.has_freqs else None
        versions = np.full(self.num_keys, embedding.NO_VERSION, np.int64) if self.has_versions else None
        partitions = np.empty(self.num_keys, np.int64)
        for chunk in self.chunks(missing=missing):
            rows = slice(filled, filled + len(chunk.keys))
            keys[rows], values[rows], partitions[rows] = chunk.keys, chunk.values, chunk.partition
            for slot, of_slot in chunk.slots.items():
                slots[slot][rows] = of_slot
            if freqs is not None and chunk.freqs is not None:
                freqs[rows] = chunk.freqs
            if versions is not None and chunk.versions is not None:
                versions[rows] = chunk.versions
            filled = rows.stop
        filtered = list(self.filtered_chunks())
        return EmbeddingArrays(
            keys[:filled],
            values[:filled],
            {slot: of_slot[:filled] for slot, of_slot in slots.items()},
            _cut(freqs, slice(filled)),
            _cut(versions, slice(filled)),
            partitions[:filled],
            np.concatenate([np.empty(0, self.key_dtype.np), *(chunk.keys for chunk in filtered)]),
            _joined(
                [chunk.freqs for chunk in filtered],
                [len(chunk.keys) for chunk in filtered],
                embedding.NO_FREQ,
            ),
            _joined(
                [chunk.versions for chunk in filtered],
                [len(chunk.keys) for chunk in filtered],
                embedding.NO_VERSION,
            ),
        )

    def lookup(self, keys: npt.ArrayLike, *, verify: bool = True) -> EmbeddingRows:
        """Rows of some keys.

        Args:
          keys: integers [k], in any order.
          verify: compare the checksums of the tensors that rows are taken from, each once for a table: that
            reads them whole.  Without it only the wanted rows are read (of the keys all), and damage to
            values goes unnoticed.

        Raises:
          DataLossError: a tensor is damaged, or a slot has no row for a key that the variable has.
        """
        wanted = np.asarray(keys).astype(np.int64, casting="safe" if np.size(keys) else "unsafe").reshape(-1)
        found = np.zeros(len(wanted), np.bool_)
        partitions = np.full(len(wanted), -1, np.int64)
        values = np.zeros((len(wanted), self.dim), self.value_dtype.np)
        slots = {
            slot: np.zeros((len(wanted), dim), self._slot_dtype(slot)) for slot, dim in self.slots.items()
        }
        freqs = np.zeros(len(wanted), np.int64) if self.has_freqs else None
        versions = np.full(len(wanted), embedding.NO_VERSION, np.int64) if self.has_versions else None
        for part, stem in enumerate(self.stems):
            if not self.keys_per_partition[part]:
                continue
            places = self._index(stem).places(wanted)
            hits = np.flatnonzero(places >= 0)
            if not len(hits):
                continue
            found[hits], partitions[hits] = True, part
            values[hits] = self._rows_at(stem, places[hits], verify)
            for slot in self.slots:
                slots[slot][hits] = self._rows_at(*self._slot_places(slot, part, wanted[hits]), verify)
            count = self.keys_per_partition[part]
            for column, suffix, default in (
                (freqs, embedding.FREQS, embedding.NO_FREQ),
                (versions, embedding.VERSIONS, embedding.NO_VERSION),
            ):
                if column is not None:
                    stored = number_column(self.reader, stem + suffix, count)
                    column[hits] = default if stored is None else stored[places[hits]]
        return EmbeddingRows(found, values, slots, freqs, versions, partitions)

    def check(self) -> list[Finding]:
        """Whether its tensors fit one another: lengths, offsets, keys in their buckets' parts and none twice,
        and the keys of every slot those of the variable.

        A tensor that cannot be read is a finding like others.  Values are not read.
        """
        from kvarn.checkpoint.embeddings.check import check_table

        return check_table(self)

    # Steps -------------------------------------------------------------------------------------------

    def _check_room(self) -> None:
        """Raises unless the files can hold as many rows as the index says: memory is taken for them at once."""
        row_bytes = self.key_dtype.size + self.dim * self.value_dtype.size
        row_bytes += sum(dim * self._slot_dtype(slot).itemsize for slot, dim in self.slots.items())
        needed = (self.num_keys + 1) * row_bytes
        if needed <= _SPARE_BYTES or self.reader.format not in ("V1", "V2"):  # others have looked themselves
            return
        files_bytes = sum(max(0, size) for _, size in self.reader.files())
        if needed > _MOST_GROWTH * files_bytes:
            raise damaged(
                self.reader,
                self.stems[0] + embedding.VALUES,
                f"{self.num_keys} rows of {row_bytes} bytes are more than {files_bytes} bytes of files can hold",
            )

    def _part_chunks(
        self, part: int, chunk_bytes: int, slots: Sequence[str], missing: Missing
    ) -> Iterator[EmbeddingChunk]:
        stem, count = self.stems[part], self.keys_per_partition[part]
        row_bytes = max(1, self.dim * self.value_dtype.size)
        row_bytes += sum(self.slots[slot] * self._slot_dtype(slot).itemsize for slot in slots)
        at_once = max(1, chunk_bytes // row_bytes)
        next_keys = sequential_rows(self.reader, stem + embedding.KEYS, at_once)
        next_freqs = sequential_numbers(self.reader, stem + embedding.FREQS, count, at_once)
        next_versions = sequential_numbers(self.reader, stem + embedding.VERSIONS, count, at_once)
        next_values = sequential_rows(self.reader, stem + embedding.VALUES, at_once)
        next_of_slots = {slot: self._slot_rows(slot, part, missing, at_once) for slot in slots}
        for start in range(0, count, at_once):
            rows = slice(start, min(start + at_once, count))
            keys = next_keys(rows)
            of_slots = {slot: source(rows, keys) for slot, source in next_of_slots.items()}
            pick: Any = slice(None)
            if missing == "skip":
                pick = np.logical_and.reduce(
                    [np.ones(len(keys), np.bool_), *(found for _, found in of_slots.values())]
                )
            yield EmbeddingChunk(
                keys[pick],
                next_values(rows)[pick],
                {slot: own[pick] for slot, (own, _) in of_slots.items()},
                _cut(next_freqs(rows) if next_freqs else None, pick),
                _cut(next_versions(rows) if next_versions else None, pick),
                part,
            )

    def _join(self, slot: str, part: int, missing: Missing) -> Int64s:
        """The rows of a slot that belong to the keys of a part, -1 for one that is not there."""
        stem, keys = self.slot_stems[slot][part], self._keys(self.stems[part])
        own = keys[:0] if stem is None else self._keys(stem)
        index = KeyIndex(own)
        places = index.places(keys)
        if missing == "error":
            lacking, twice = keys[places < 0], index.repeated()
            surplus = own[KeyIndex(keys).places(own) < 0] if not (len(lacking) or len(twice)) else own[:0]
            for what, which in (("lacks", lacking), ("has twice", twice), ("alone has", surplus)):
                if len(which):
                    raise damaged(
                        self.reader,
                        f"{stem or f'{self.stems[part]}/{slot}'}{embedding.KEYS}",
                        f"it {what} {len(which)} of the {len(keys)} keys of '{self.stems[part]}': "
                        f"{', '.join(map(str, which[:5].tolist()))}{', …' if len(which) > 5 else ''}",
                    )
        return places

    def _slot_rows(self, slot: str, part: int, missing: Missing, at_once: int) -> _SlotRows:
        """A function from rows of a part, asked for in order with their keys, to the slot's, and whether each
        was found.

        As long as the slot has the same keys in the same places nothing is held.  From the first that
        differs on, its rows are looked up by key.
        """
        stem, dim, dtype = self.slot_stems[slot][part], self.slots[slot], self._slot_dtype(slot)
        places: Int64s | None = None
        if stem is not None and self._count(stem + embedding.KEYS) == self.keys_per_partition[part]:
            next_keys = sequential_rows(self.reader, stem + embedding.KEYS, at_once)
            next_values = sequential_rows(self.reader, stem + embedding.VALUES, at_once)
        else:
            places = self._join(slot, part, missing)

        def rows(wanted: slice, keys: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
            nonlocal places
            if places is None:
                if np.array_equal(next_keys(wanted), keys):
                    return next_values(wanted), np.ones(len(keys), np.bool_)
                places = self._join(slot, part, missing)
            own = places[wanted]
            found = own >= 0
            out = np.full((len(own), dim), np.nan if np.issubdtype(dtype, np.floating) else 0, dtype)
            if stem is not None and found.any():
                out[found] = self._rows_at(stem, own[found], True)
            return out, found

        return rows

    def _slot_places(self, slot: str, part: int, keys: Int64s) -> tuple[str, Int64s]:
        stem = self.slot_stems[slot][part]
        name = stem or f"{self.stems[part]}/{slot}"
        places = self._index(stem).places(keys) if stem is not None else np.full(len(keys), -1)
        if stem is None or (places < 0).any():
            lacking = ", ".join(map(str, keys[places < 0][:5].tolist()))
            raise damaged(self.reader, name + embedding.KEYS, f"it has no row for the keys {lacking}")
        return name, places

    def _rows_at(self, stem: str, places: Int64s, verify: bool) -> Array:
        name = stem + embedding.VALUES
        if verify and name not in self._verified:
            self.reader.verify(name)
            self._verified.add(name)
        return scattered_rows(self.reader, name, places)

    def _index(self, stem: str) -> KeyIndex:
        if stem not in self._indexes:
            self._indexes[stem] = KeyIndex(self._keys(stem))
        return self._indexes[stem]

    def _keys(self, stem: str) -> Array:
        return key_column(self.reader, stem + embedding.KEYS)

    def _count(self, name: str) -> int:
        shape = self.reader.info(name).shape if self.reader.contains(name) else ()
        return shape[0] if len(shape) == 1 else 0

    def _chosen(self, slots: Sequence[str] | None) -> list[str]:
        for slot in slots or ():
            if slot not in self.slots:
                raise NotFoundError.of(
                    f"embedding variable '{self.name}' in '{self.reader.prefix}' has no slot '{slot}'",
                    name=f"{self.name}/{slot}",
                    path=self.reader.prefix,
                    hint=f"It has the slots {list(self.slots)}.",
                )
        return list(self.slots) if slots is None else list(slots)

    def _first_of_slot(self, slot: str) -> str:
        return next(stem for stem in self.slot_stems[slot] if stem is not None) + embedding.VALUES

    def _slot_dim(self, slot: str) -> int:
        kinds = {_kind(self.reader, stem)[1:3] for stem in self.slot_stems[slot] if stem is not None}
        if len(kinds) != 1:
            said = ", ".join(sorted(f"{dtype.name}[n, {dim}]" for dtype, dim in kinds))
            raise damaged(self.reader, self._first_of_slot(slot), f"its parts are {said}")
        ((_, dim),) = kinds
        return dim

    def _slot_dtype(self, slot: str) -> np.dtype[Any]:
        return self.reader.lookup_dtype_and_shape(self._first_of_slot(slot))[0].np


def embedding_tables(reader: TensorReader) -> list[EmbeddingTable]:
    """All embedding variables of a checkpoint, by name.  Reads the index only.

    Raises:
      DataLossError: one lacks a part, or its parts do not fit one another.
    """
    return [EmbeddingTable._of(reader, name, *found) for name, found in _find(reader).items()]


def embedding_names(reader: TensorReader) -> list[str]:
    """The names of all embedding variables of a checkpoint, sorted."""
    return list(_find(reader))


_Stems = tuple[list[str | None], dict[str, list[str | None]]]


def _find(reader: TensorReader) -> dict[str, _Stems]:
    """The stems of every variable and of its slots, part by part, by the variable's name, sorted."""
    found: dict[str, _Stems] = {}
    for table in stored_tables(reader):
        for rest in table.families:
            if table.owner(rest) is None:
                slots = {
                    other.rpartition("/")[2]: list(stems)
                    for other, stems in table.families.items()
                    if table.owner(other) == rest
                }
                parts = list(table.families[rest])
                if table.partitioned:
                    parts += [None] * (table.num_partitions - len(parts))
                found[table.name + rest] = (parts, slots)
    return dict(sorted(found.items()))


def _present(reader: TensorReader, name: str, part: int, stem: str | None) -> str:
    if stem is None:
        raise damaged(reader, embedding.part_name(name, part), f"part {part} of '{name}' is missing")
    return stem


def _kind(reader: TensorReader, stem: str) -> tuple[dtypes.DType, dtypes.DType, int, int]:
    """Types of keys and values, dim, and number of keys."""
    key_dtype, key_shape = reader.lookup_dtype_and_shape(stem + embedding.KEYS)
    value_dtype, value_shape = reader.lookup_dtype_and_shape(stem + embedding.VALUES)
    if key_dtype not in (dtypes.int32, dtypes.int64) or len(key_shape) != 1:
        raise damaged(
            reader, stem + embedding.KEYS, f"{key_dtype.name}{list(key_shape)}, not int32 or int64 [n]"
        )
    if len(value_shape) != 2 or value_shape[0] != key_shape[0]:
        raise damaged(reader, stem + embedding.VALUES, f"{list(value_shape)}, not [{key_shape[0]}, dim]")
    return key_dtype, value_dtype, value_shape[1], key_shape[0]


def _cut(column: Array | None, rows: Any) -> Any:
    return None if column is None else column[rows]


def _joined(columns: Sequence[Int64s | None], counts: Sequence[int], default: int) -> Int64s | None:
    if all(column is None for column in columns):
        return None
    return np.concatenate(
        [
            np.full(count, default, np.int64) if column is None else column
            for column, count in zip(columns, counts, strict=True)
        ]
    )


def _not_found(reader: TensorReader, name: str, found: Mapping[str, _Stems]) -> OpError:
    hint = f"'{reader.prefix}' has no embedding variables."
    if found:
        names = ", ".join(map(repr, list(found)[:5]))
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        hint = f"'{reader.prefix}' has the embedding variables {names}{more}."
    if reader.contains(name):
        hint += f" '{name}' is an ordinary tensor."
    return NotFoundError.of(
        f"embedding variable '{name}' not found in checkpoint", name=name, path=reader.prefix, hint=hint
    )
