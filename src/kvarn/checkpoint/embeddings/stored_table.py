"""Which tensors of a checkpoint are the parts and slots of which embedding variable: by their names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from kvarn.checkpoint.embeddings.columns import damaged
from kvarn.formats.embedding import KEYS, SAVED_PARTITION_NUM, SUFFIXES, VALUES, VERSIONS, split_part
from kvarn.formats.reader import TensorReader

# Slots of DeepRec's optimizers (see `stored_tables`).
_SLOT_OF_AN_OPTIMIZER = re.compile(r"(Adagrad|AdagradDecay|Adam|AdamAsync|AdamW|Ftrl)(_\d+)?\Z")


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
    lost rows, and is not another variable in the scope ``b``.

    Args:
      lost: names of tensors of which a damaged index has nothing else.
    """
    counts = dict.fromkeys(lost, -1)
    counts |= {
        info.name: info.shape[0] if info.shape else -1
        for info in reader.tensors()
        if info.name.endswith((KEYS, VALUES, VERSIONS))
    }
    stems = {
        name.removesuffix(KEYS)
        for name in counts
        if name.endswith(KEYS)
        and name.removesuffix(KEYS) + VALUES in counts
        and name.removesuffix(KEYS) + VERSIONS in counts
    }

    def is_slot(stem: str) -> bool:
        owner, _, slot = stem.rpartition("/")
        alike = counts.get(owner + KEYS) == counts[stem + KEYS]
        return owner in stems and (alike or bool(_SLOT_OF_AN_OPTIMIZER.match(slot)))

    tables: dict[str, StoredTable] = {}
    for stem in sorted(stems):
        split = split_part(stem)
        if split is None:
            owner = stem.rpartition("/")[0]
            name, rest = (owner, stem.removeprefix(owner)) if is_slot(stem) else (stem, "")
            tables.setdefault(name, StoredTable(name, False)).families[rest] = [stem]
            continue
        name, part, rest = split
        if part >= SAVED_PARTITION_NUM:
            raise damaged(reader, stem, f"a variable has at most {SAVED_PARTITION_NUM} parts")
        table = tables.setdefault(name + "/part_", StoredTable(name, True))
        parts = table.families.setdefault(rest, [])
        parts.extend([None] * (part + 1 - len(parts)))
        parts[part] = stem
    return [tables[name] for name in sorted(tables)]


def tensor_names(table: StoredTable, names: Iterable[str]) -> set[str]:
    """Those of ``names`` that are tensors of the table."""
    stems = [stem for rest in table.families for stem in table.stems(rest)]
    own = {stem + suffix for stem in stems for suffix in SUFFIXES}
    return own.intersection(names)
