"""The things of a checkpoint that have a name for its users: tensors, and embedding variables.

An embedding variable is many tensors, nine for each of its parts and slots; whatever is done to it is done to
all of them.  What an optimizer keeps for one as ordinary variables (``b/AdamAsync_2``) belongs to it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from kvarn.checkpoint.embeddings.stored_table import StoredTable, stored_tables
from kvarn.formats import embedding
from kvarn.formats.names import encode_name
from kvarn.formats.reader import TensorInfo, TensorReader

# The names under which optimizers of TensorFlow, of its contrib and of DeepRec keep slots: ``<owner>/<name>``,
# further ones of the same owner with a number (``Adam_1``).
SLOT_NAMES = (
    "Adadelta", "Adagrad", "AdagradDA", "AdagradDecay", "AdagradDecayV2", "Adam", "AdamAsync", "AdamW", "AdaMax",
    "AddSign", "Ftrl", "FTRL", "LARSOptimizer", "LazyAdam", "Momentum", "MomentumW", "Nadam", "PowerSign",
    "ProximalAdagrad", "RMSProp", "Shampoo",
)  # fmt: skip
# Slots that AdamAsync keeps as ordinary variables, of shape [1], beside those of an embedding variable.
_VARIABLE_SLOTS = ("AdamAsync_2", "AdamAsync_3")
_SLOT = re.compile(rf"(?:{'|'.join(SLOT_NAMES)})(?:_\d+)?\Z")
_OPTIMIZER_STATE = re.compile(r"(?:^|/)beta[12]_power(?:_\d+)?\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an embedding variable a tensor belongs: ``<part><rest><suffix>``.

    Attributes:
      rest: ``/Adagrad``, ``/block1``, ``/block1/Adagrad`` or empty.
      slot: ``rest`` without its slash if it is a slot; empty for the variable's own rows, blocks among them.
    """

    part: str
    rest: str
    suffix: str
    slot: str


@dataclass(frozen=True)
class Unit:
    """A tensor, or an embedding variable.

    Attributes:
      name: of the tensor, or of the embedding variable without part and slot.
      tensors: what it is made of.
      places: of an embedding variable's tensors, by name; empty for an ordinary tensor.
    """

    name: str
    tensors: tuple[TensorInfo, ...]
    places: Mapping[str, Place] = field(default_factory=dict)

    @property
    def is_embedding(self) -> bool:
        return bool(self.places)

    @property
    def slots(self) -> list[str]:
        """The names of an embedding variable's slots, sorted."""
        return sorted({place.slot for place in self.places.values() if place.slot})

    def slot_of(self, tensor: str) -> str:
        """The slot that one of the tensors belongs to; empty for none."""
        return self.places[tensor].slot if tensor in self.places else ""

    def renamed(self, tensor: str, name: str, slots: Mapping[str, str]) -> str:
        """What one of the tensors is called when the unit is called ``name``, and its slots as ``slots`` says."""
        if tensor not in self.places:
            return name
        place = self.places[tensor]
        rest = f"/{slots[place.slot]}" if place.slot else place.rest
        return name + place.part[len(self.name) :] + rest + place.suffix


def units_of(reader: TensorReader) -> list[Unit]:
    """All tensors and embedding variables, by name."""
    infos = {info.name: info for info in reader.tensors()}
    taken: set[str] = set()
    units = []
    for table in stored_tables(reader):
        places = {name: place for name, place in _places(table).items() if name in infos}
        taken |= set(places)
        units.append(Unit(table.name, tuple(infos[name] for name in sorted(places)), places))
    units += [Unit(name, (info,)) for name, info in infos.items() if name not in taken]
    return sorted(units, key=lambda unit: encode_name(unit.name))


def optimizer_tensors(units: list[Unit]) -> tuple[set[str], set[str]]:
    """The names of ordinary tensors that are an optimizer's: slots of variables that are there, and its own
    scalars; and of those that only look so, as their owner is not there."""
    names = {unit.name for unit in units if not unit.is_embedding}
    found: set[str] = set()
    orphans: set[str] = set()
    for name in names:
        owner, _, slot = name.rpartition("/")
        if _SLOT.match(slot) and owner:
            (found if owner in names else orphans).add(name)
    if found or any(unit.slots for unit in units):
        found |= {unit.name for unit in units if _is_power(unit)}
    return found, orphans


def _is_power(unit: Unit) -> bool:
    return (
        bool(_OPTIMIZER_STATE.search(unit.name))
        and not unit.is_embedding
        and unit.tensors[0].shape in ((), (1,))
        and unit.tensors[0].dtype.is_floating
    )


def _places(table: StoredTable) -> dict[str, Place]:
    """All tensors that an embedding variable may have."""
    found: list[Place] = []
    parts: set[str] = set()
    for rest in table.families:
        slot = rest[1:] if table.owner(rest) is not None else ""
        for stem in table.stems(rest):
            part = stem[: len(stem) - len(rest)]
            parts.add(part)
            found += [Place(part, rest, suffix, slot) for suffix in embedding.SUFFIXES]
    found += [Place(part, f"/{slot}", "", slot) for part in sorted(parts) for slot in _VARIABLE_SLOTS]
    return {place.part + place.rest + place.suffix: place for place in found}
