"""Which tensors of a checkpoint are the parts and slots of which embedding variable.

Their names tell, and where something may only be called like a part, the buckets of its keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kvarn.formats.embedding import KEYS, SUFFIXES, VALUES, VERSIONS, split_part
from kvarn.formats.embedding_names import are_parts, may_follow_part
from kvarn.formats.reader import TensorReader

# Slots of DeepRec's optimizers (see `stored_tables`).
_SLOT_OF_AN_OPTIMIZER = re.compile(r"(Adagrad|AdagradDecay|Adam|AdamAsync|AdamW|Ftrl)(_\d+)?\Z")


@dataclass(frozen=True, slots=True)
class EmbeddingGroup:
    """One embedding variable with its slots.

    Attributes:
      name: without part and slot.
      parts: names of its parts in order; the name itself if it is not partitioned.
      slots: names of its slots, such as ``Adagrad``.
      may_have: the names of all tensors that it may have.
    """

    name: str
    parts: tuple[str, ...]
    slots: tuple[str, ...]
    may_have: frozenset[str]

    def tensor_names(self, names: Iterable[str]) -> list[str]:
        """Those of ``names`` that belong to it."""
        return [name for name in names if name in self.may_have]


@dataclass(slots=True)
class StoredTable:
    """An embedding variable as a checkpoint has it.

    Attributes:
      name: without part and slot.
      partitioned: whether its names have ``part_i``.
      families: the stems of its tensors part by part, by what stands behind the part: ``""`` for the
        primary, ``/Adagrad`` for a slot, ``/block1`` and ``/block1/Adagrad`` for blocks of a variable of
        dynamic dimension.  A part that is not there is None.
    """

    name: str
    partitioned: bool
    families: dict[str, list[str | None]] = field(default_factory=dict)

    @property
    def num_partitions(self) -> int:
        """Parts, the missing ones up to the last counted."""
        return max(map(len, self.families.values()))

    def stems(self, rest: str) -> list[str]:
        """The stems of a family that are there."""
        return [stem for stem in self.families[rest] if stem is not None]

    def owner(self, rest: str) -> str | None:
        """The family whose keys a slot has; None for a primary."""
        before = rest.rpartition("/")[0]
        return before if rest and before in self.families else None

    def missing(self) -> list[str]:
        """Stems of parts that should be there: between others, or of a slot whose primary has the part."""
        return [
            f"{self.name}/part_{part}{rest}"
            for rest, stems in sorted(self.families.items())
            for part in range(self.num_partitions if self.partitioned else 0)
            if part >= len(stems) or stems[part] is None
        ]


def stored_tables(reader: TensorReader, lost: Iterable[str] = ()) -> list[StoredTable]:
    """The embedding variables of a checkpoint, by name.

    A stem with keys, values and versions is a primary or a slot.  ``b/part_0/X`` is a slot of ``b``.  ``b/X``
    is one if it has as many keys as ``b``, or if X is a slot of one of DeepRec's optimizers: then it has
    lost rows, and is not another variable in the scope ``b``.  Parts are parts of one variable if their keys agree
    (`are_parts`): else they are variables that are only called so.

    Args:
      lost: names of tensors of which a damaged index has nothing else.
    """
    counts = dict.fromkeys(lost, -1)
    counts |= {
        info.name: info.shape[0] if info.shape else -1
        for info in reader.tensors()
        if info.name.endswith((KEYS, VALUES, VERSIONS))
    }
    numbers = {
        name.removesuffix(KEYS): count
        for name, count in counts.items()
        if name.endswith(KEYS)
        and name.removesuffix(KEYS) + VALUES in counts
        and name.removesuffix(KEYS) + VERSIONS in counts
    }
    tables: dict[str, StoredTable] = {}
    for name, families in _partitioned(reader, places_of_parts(numbers)).items():
        table = tables[name + "/part_"] = StoredTable(name, True)
        for rest, stems in families.items():
            table.families[rest] = [stems.get(part) for part in range(max(stems) + 1)]
    placed = {stem for table in tables.values() for rest in table.families for stem in table.stems(rest)}
    for stem in sorted(numbers.keys() - placed):
        owner = stem.rpartition("/")[0]
        name, rest = (owner, stem.removeprefix(owner)) if _is_slot(stem, numbers) else (stem, "")
        tables.setdefault(name, StoredTable(name, False)).families[rest] = [stem]
    return [tables[name] for name in sorted(tables)]


def places_of_parts(numbers: Mapping[str, int]) -> dict[str, tuple[str, int, str]]:
    """Of the stems that are called like parts, and their slots: what is before the part, its number, what is behind.

    Args:
      numbers: of keys, by stem.
    """
    splits = {stem: split for stem in numbers if (split := split_part(stem)) is not None}
    owned = {(before, behind) for before, _, behind in splits.values() if may_follow_part(behind)}
    found: dict[str, tuple[str, int, str]] = {}
    # A variable comes before its slots.
    for stem in sorted(splits):
        before, part, behind = splits[stem]
        owner, _, slot = stem.rpartition("/")
        head = behind.rpartition("/")[0]
        if _is_slot(stem, numbers):
            if owner in found:
                before, part, rest = found[owner]
                found[stem] = before, part, f"{rest}/{slot}"
        elif (
            may_follow_part(behind)
            or ((before, head) in owned and may_follow_part(head))
            or (may_follow_part(head) and _SLOT_OF_AN_OPTIMIZER.match(slot))
        ):
            found[stem] = splits[stem]
    return found


def _is_slot(stem: str, numbers: Mapping[str, int]) -> bool:
    owner, _, slot = stem.rpartition("/")
    alike = numbers.get(owner) == numbers[stem]
    return owner in numbers and (alike or bool(_SLOT_OF_AN_OPTIMIZER.match(slot)))


def _partitioned(
    reader: TensorReader, places: Mapping[str, tuple[str, int, str]]
) -> dict[str, dict[str, dict[int, str]]]:
    """The stems by what is before the part, behind it, and its number, where the keys say that it is one."""
    found: dict[str, dict[str, dict[int, str]]] = {}
    for stem, (before, part, behind) in places.items():
        found.setdefault(before, {}).setdefault(behind, {})[part] = stem
    for before, families in list(found.items()):
        apart = [
            rest for rest, stems in families.items() if may_follow_part(rest) and not are_parts(reader, stems)
        ]
        found[before] = {
            rest: stems
            for rest, stems in sorted(families.items())
            if not any(rest == other or rest.startswith(f"{other}/") for other in apart)
        }
    return {before: families for before, families in found.items() if families}


def embedding_groups(reader: TensorReader, lost: Iterable[str] = ()) -> list[EmbeddingGroup]:
    """The embedding variables of a checkpoint, each block of one of dynamic dimension by itself, by name.

    Args:
      lost: as of `stored_tables`.
    """
    found = []
    for table in stored_tables(reader, lost):
        for rest in table.families:
            if table.owner(rest) is None:
                slots = [other for other in table.families if table.owner(other) == rest]
                names = tuple(slot.rpartition("/")[2] for slot in slots)
                stems = {stem for family in (rest, *slots) for stem in table.stems(family)}
                own = frozenset(stem + suffix for stem in stems for suffix in SUFFIXES)
                found.append(EmbeddingGroup(table.name + rest, tuple(table.stems(rest)), names, own))
    return sorted(found, key=lambda group: group.name)


def tensor_names(table: StoredTable, names: Iterable[str]) -> set[str]:
    """Those of ``names`` that are tensors of the table."""
    stems = [stem for rest in table.families for stem in table.stems(rest)]
    own = {stem + suffix for stem in stems for suffix in SUFFIXES}
    return own.intersection(names)
