"""What a checkpoint has, as a restore plan names it, and what of that is to the variables that want it.

Only the index of the checkpoint is read.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from kvarn import dtypes, errors
from kvarn.checkpoint.embeddings.stored_table import stored_tables, tensor_names
from kvarn.checkpoint.verbs.casting import can_cast
from kvarn.formats import embedding, multihash_parts
from kvarn.formats.embedding_names import embedding_sources
from kvarn.formats.embedding_rows import embedding_info
from kvarn.formats.multihash_parts import is_cut_otherwise
from kvarn.formats.part_numbers import has_number_per_part
from kvarn.formats.reader import TensorReader
from kvarn.formats.tensor_slice import TensorSlice, parse_shape_and_slice
from kvarn.ops.kv_restore import is_part
from kvarn.saver import restore_plan
from kvarn.saver.restore_demands import Demand
from kvarn.saver.restore_plan import EMBEDDING, TENSOR, Stored


@dataclass(frozen=True, slots=True)
class Match:
    """What something stored is to a demand.

    Attributes:
      stored: None if there is nothing of that name.
      status: what is to be done to it, or why it does not fit.
      note: numbers to that.
    """

    stored: Stored | None
    status: tuple[str, ...]
    note: str = ""

    @property
    def fits(self) -> bool:
        """Whether the demand can be met."""
        return restore_plan.OBSTACLES.isdisjoint(self.status)


class StoredIndex:
    """The tensors and embedding variables of a checkpoint by name; iterates over what is stored.

    Args:
      reader: the checkpoint; only its index is read.
    """

    def __init__(self, reader: TensorReader) -> None:
        self.reader = reader
        self._by_name: dict[str, Stored] = {}
        self._owners: dict[str, str] = {}
        # The names in `_by_name` by the stems of an embedding variable's tensors.
        self._by_stem: dict[str, str] = {}
        # The stem of the variable by that of its slot.
        self._owner_stems: dict[str, str] = {}
        infos = {info.name: info for info in reader.tensors()}
        taken: set[str] = set()
        for table in stored_tables(reader):
            taken |= tensor_names(table, infos)
            for rest in table.families:
                name, stems = table.name + rest, table.stems(rest)
                keys, values = infos[stems[0] + embedding.KEYS], infos[stems[0] + embedding.VALUES]
                self._by_name[name] = Stored(
                    name,
                    EMBEDDING,
                    values.dtype.name,
                    values.shape[1:],
                    tuple(stems),
                    keys.dtype.name,
                    sum(math.prod(infos[stem + embedding.KEYS].shape) for stem in stems),
                )
                self._by_stem |= dict.fromkeys(stems, name)
                owner = table.owner(rest)
                if owner is not None:
                    self._owners[name] = table.name + owner
                    self._owner_stems |= {stem: stem.rpartition("/")[0] for stem in stems}
        for name, info in infos.items():
            if name not in taken:
                slices = tuple(map(str, info.slices))
                self._by_name.setdefault(name, Stored(name, TENSOR, info.dtype.name, info.shape, slices))

    def __iter__(self) -> Iterator[Stored]:
        return iter(sorted(self._by_name.values(), key=lambda stored: stored.name))

    def get(self, name: str) -> Stored | None:
        """What is stored under a name; of an embedding variable, its own without parts."""
        return self._by_name.get(name)

    def owner(self, name: str) -> str | None:
        """The name of the variable that something stored is a slot of, going by the names."""
        if name in self._owners:
            return self._owners[name]
        return longest_scope(name, self._by_name)

    def match(self, demand: Demand, source: str) -> Match:
        """What the checkpoint's ``source`` is to a demand."""
        if demand.importing is not None:
            return self._match_embedding(demand, source)
        stored = self._by_name.get(source)
        if stored is None or stored.kind != TENSOR:
            note = "" if stored is None else "an embedding variable is stored under this name"
            return Match(None, (restore_plan.MISSING,), note)
        if self.has_number_per_part(demand, stored):
            shape_status, note = [restore_plan.RESHARDED], f"one number of {stored.shape[0]} parts"
        else:
            shape_status, note = list(_shape_status(stored, demand)), ""
        status = [*_type_status(dtypes.as_dtype(stored.dtype), demand.dtype), *shape_status]
        return Match(stored, tuple(status) or (restore_plan.MATCHED,), note or _note(stored, demand, status))

    def has_number_per_part(self, demand: Demand, stored: Stored) -> bool:
        """Whether ``stored`` has a number for each part of an embedding variable, and the demand other parts."""
        wanted = parse_shape_and_slice(demand.slice)[0] if demand.slice else demand.shape
        return (
            wanted is not None
            and len(wanted) == 1
            and wanted != stored.shape
            and has_number_per_part(self.reader, stored.name)
        )

    def _match_embedding(self, demand: Demand, source: str) -> Match:
        assert demand.importing is not None
        assert demand.shape is not None
        # What counts as another name has the owner that it has in the checkpoint.
        owner = demand.owner if source == demand.key else self._owner_stems.get(source, source)
        partitioned = is_part(demand.importing.attrs, source, owner)
        sources = embedding_sources(self.reader, source, owner=owner, partitioned=partitioned)
        if not sources:
            stored = self._by_name.get(source)
            note = "" if stored is None else "an ordinary tensor is stored under this name"
            return Match(None, (restore_plan.MISSING,), note)
        stored = self._by_name.get(self._by_stem.get(sources[0], ""))
        try:
            info = embedding_info(self.reader, source, owner=owner, partitioned=partitioned)
        except errors.OpError as e:
            return Match(stored, (restore_plan.DAMAGED,), e.without_hint.partition("\n")[0])
        status: list[str] = []
        notes: list[str] = []
        if (info.key_dtype, info.value_dtype) != (demand.key_dtype, demand.dtype):
            status.append(restore_plan.OTHER_TYPE)
        parts = demand.importing.attrs["partition_num"]
        if parts != len(sources):
            status.append(restore_plan.RESHARDED)
            notes.append(f"{len(sources)} parts to {parts}")
        (dim,) = demand.shape
        if dim != info.dim:
            status.append(restore_plan.OTHER_DIM)
            rest = "" if info.dim > dim else ", the rest is filled up"
            notes.append(f"{info.dim} columns to {dim}{rest}")
        return Match(stored, tuple(status) or (restore_plan.MATCHED,), "; ".join(notes))


def _type_status(stored: dtypes.DType, wanted: dtypes.DType) -> Iterator[str]:
    if stored is not wanted:
        yield restore_plan.CAST if can_cast(stored, wanted) else restore_plan.OTHER_TYPE


def _shape_status(stored: Stored, demand: Demand) -> Iterator[str]:
    if demand.slice:
        full_shape, wanted, _ = parse_shape_and_slice(demand.slice)
        if full_shape != stored.shape:
            yield restore_plan.OTHER_SHAPE
            return
        if is_cut_otherwise(stored.name, demand.slice, full_shape, _slices(stored)):
            yield restore_plan.OTHER_PARTS
            return
        kept = _slices(stored) or [TensorSlice.full(len(full_shape))]
        if wanted.resolve(full_shape) not in [piece.resolve(full_shape) for piece in kept]:
            yield restore_plan.RESHARDED
        return
    if demand.shape is not None and demand.shape != stored.shape:
        alike = demand.reshapes and math.prod(demand.shape) == math.prod(stored.shape)
        yield restore_plan.RESHAPED if alike else restore_plan.OTHER_SHAPE
    if is_cut_otherwise(stored.name, "", stored.shape, _slices(stored)):
        yield restore_plan.OTHER_PARTS
    elif stored.slices:
        yield restore_plan.JOINED


def _slices(stored: Stored) -> list[TensorSlice]:
    return [TensorSlice.parse(text) for text in stored.slices]


def _note(stored: Stored, demand: Demand, status: Sequence[str]) -> str:
    notes = []
    if restore_plan.CAST in status or restore_plan.OTHER_TYPE in status:
        notes.append(f"{stored.dtype} to {demand.dtype.name}")
    if restore_plan.RESHARDED in status:
        notes.append(f"from {len(stored.slices)} slices" if stored.slices else "from the whole tensor")
    if restore_plan.OTHER_PARTS in status:
        notes.append(multihash_parts.HINT)
    return "; ".join(notes)


def longest_scope(name: str, names: Collection[str]) -> str | None:
    """The longest of ``names`` that ``name`` lies below; None if there is none."""
    scope = name.rpartition("/")[0]
    while scope and scope not in names:
        scope = scope.rpartition("/")[0]
    return scope or None
