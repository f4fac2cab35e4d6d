"""What a restore asks for, held against what a checkpoint has: the rows of a restore plan.

Only the index of the checkpoint is read, and of one that was saved object by object the graph of the objects.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from kvarn import errors
from kvarn.checkpoint.verbs.patterns import Pattern, nearest, renamed, text_of
from kvarn.formats.embedding_names import full_name
from kvarn.formats.reader import TensorReader
from kvarn.formats.tensor_slice import parse_shape_and_slice
from kvarn.saver import restore_plan
from kvarn.saver.object_graph import OBJECT_GRAPH_PROTO_KEY, object_graph_key_mapping
from kvarn.saver.restore_demands import Demand, RestoreDemands
from kvarn.saver.restore_plan import EMBEDDING, TENSOR, PlanRow, RestorePlan, Stored
from kvarn.saver.stored_index import Match, StoredIndex, longest_scope

# The name of the rule by which variables are found in a checkpoint that was saved object by object.
OBJECT_GRAPH_RULE: Final = "object graph"

# Names are compared letter by letter so often for a plan, but a few times at least for each that is missing.
_COMPARISONS: Final = 50_000
_FEW: Final = 20
_ALIKE: Final = 0.6


def make_plan(
    demands: RestoreDemands | None,
    reader: TensorReader,
    *,
    rename: Sequence[tuple[Pattern, str]] = (),
    slots: str = restore_plan.KEEP,
    missing: str = restore_plan.REFUSE,
) -> RestorePlan:
    """The plan of a restore.

    Args:
      demands: what the graph asks for; None for a Saver of nothing.
      reader: the checkpoint.
      rename: (pattern, new name): what something stored counts as; the first rule that means a name decides, and
        slots go with their variable.  A string is the whole name; ``re:…`` replaces what it finds.
      slots: ``keep``, or ``reset`` to start all slots anew.
      missing: what happens to variables of which nothing is stored: ``refuse``, ``reset`` or ``leave``.

    Raises:
      InvalidArgumentError: there is no such choice, a rule means nothing, or two tensors get one name.
    """
    for what, chosen, known in (
        ("slots", slots, (restore_plan.KEEP, restore_plan.RESET)),
        ("missing", missing, (restore_plan.REFUSE, restore_plan.RESET, restore_plan.LEAVE)),
    ):
        if chosen not in known:
            raise errors.InvalidArgumentError.of(
                f"{what} is '{chosen}'; it can be {', '.join(map(repr, known))}.", name=what
            )
    index = StoredIndex(reader)
    names = _Names(index, rename)
    rows = []
    if demands is not None:
        owners = _owners(demands)
        for demand in demands.demands:
            source, rule, found = names.match(demand)
            row = row_of(demand, owners.get(demand), source, rule, found)
            if row.slot_of is not None and slots == restore_plan.RESET:
                action = restore_plan.RESET
            elif restore_plan.MISSING in found.status:
                action = missing
            else:
                action = restore_plan.REFUSE if row.blocked else row.taking
            rows.append((row, action))
    read = {row.stored.name for row, _ in rows if row.stored is not None}
    unused = [stored for stored in index if stored.name not in read]
    near = NearNames(index, read, sum(restore_plan.MISSING in row.status for row, _ in rows))
    finished = [
        dataclasses.replace(
            row,
            action=action,
            near=near.names(row) if restore_plan.MISSING in row.status else (),
        )
        for row, action in rows
    ]
    finished += [
        PlanRow(
            action=restore_plan.DROP,
            kind=stored.kind,
            slot_of=index.owner(stored.name),
            status=(restore_plan.UNUSED,),
            stored=stored,
        )
        for stored in unused
    ]
    return RestorePlan(reader.prefix, tuple(finished))


def row_of(demand: Demand, slot_of: str | None, source: str, rule: str | None, found: Match) -> PlanRow:
    """The row of a variable, with no action chosen yet."""
    status = found.status
    if source != demand.key and restore_plan.MISSING not in status:
        status = (restore_plan.RENAMED, *(s for s in status if s != restore_plan.MATCHED))
    return PlanRow(
        action=restore_plan.REFUSE,
        source=source,
        variable=demand.variable,
        kind=TENSOR if demand.importing is None else EMBEDDING,
        key=demand.key,
        slice=demand.slice,
        dtype=demand.dtype.name,
        shape=demand.shape,
        key_dtype=None if demand.key_dtype is None else demand.key_dtype.name,
        slot_of=slot_of,
        status=status,
        rule=rule,
        stored=found.stored,
        note=found.note,
    )


# Names ---------------------------------------------------------------------------------------------------


class _Names:
    """Under which name each demand is found.

    Args:
      index: what is stored.
      rename: see `make_plan`.
    """

    def __init__(self, index: StoredIndex, rename: Sequence[tuple[Pattern, str]]) -> None:
        self._index = index
        # By new name: the old one and the rule.
        self._renamed: dict[str, tuple[str, str]] = {}
        self._gone: set[str] = set()
        self._objects: dict[str, str] | None = None
        used: set[str] = set()
        for stored in index if rename else ():
            found = self._new_name(stored.name, rename)
            if found is None:
                continue
            new, rule = found
            used.add(rule)
            if new in self._renamed:
                raise errors.InvalidArgumentError.of(
                    f"the rules call both '{self._renamed[new][0]}' and '{stored.name}' '{new}'",
                    name=new,
                    path=index.reader.prefix,
                )
            self._renamed[new] = (stored.name, rule)
            self._gone.add(stored.name)
        for pattern, _ in rename:
            if not any(rule.startswith(f"{text_of(pattern)}=") for rule in used):
                raise errors.InvalidArgumentError.of(
                    f"the rule to rename '{text_of(pattern)}' means nothing in '{index.reader.prefix}'",
                    path=index.reader.prefix,
                    hint=nearest(pattern, [stored.name for stored in index]) or "Leave the rule out.",
                )

    def match(self, demand: Demand) -> tuple[str, str | None, Match]:
        """The name in the checkpoint to read for a demand, the rule that led to it, and how that fits."""
        source, rule = self._source(demand)
        if rule is None and demand.whole_key in self._gone:
            note = "what is stored under this name counts as another"
            return source, None, Match(None, (restore_plan.MISSING,), note)
        return source, rule, self._index.match(demand, source)

    def _source(self, demand: Demand) -> tuple[str, str | None]:
        name = demand.whole_key
        if name in self._renamed:
            old, rule = self._renamed[name]
            stored = self._index.get(old)
            parts = () if stored is None or demand.importing is None else stored.slices
            return (parts[0] if parts else old), rule
        if demand.importing is None and self._index.get(name) is None:
            mapped = self._by_object().get(name)
            if mapped is not None:
                return mapped, OBJECT_GRAPH_RULE
        return demand.key, None

    def _new_name(self, name: str, rename: Sequence[tuple[Pattern, str]]) -> tuple[str, str] | None:
        for pattern, new in rename:
            found = renamed(pattern, new, name)
            if found is not None:
                return (found, f"{text_of(pattern)}={new}") if found != name else None
        owner = self._index.owner(name)
        found_owner = None if owner is None else self._new_name(owner, rename)
        if owner is None or found_owner is None:
            return None
        return found_owner[0] + name[len(owner) :], found_owner[1]

    def _by_object(self) -> dict[str, str]:
        if self._objects is None:
            has = self._index.get(OBJECT_GRAPH_PROTO_KEY) is not None
            self._objects = object_graph_key_mapping(self._index.reader.prefix) if has else {}
        return self._objects


def _owners(demands: RestoreDemands) -> dict[Demand, str]:
    """The key of the variable that a demand is for a slot of."""
    trainable = demands.trainable
    primaries: dict[Any, str] = {}
    for demand in demands.demands:
        if demand.importing is not None:
            family, is_primary = demand.family
            if is_primary:
                primaries[family] = demand.key
    # Ordinary slots of a partitioned embedding variable lie below its whole name.
    keys = {key for demand in demands.demands for key in (demand.key, demand.whole_key)}
    found = {}
    for demand in demands.demands:
        if demand.importing is not None:
            family, is_primary = demand.family
            if not is_primary:
                found[demand] = primaries.get(family, demand.key.rpartition("/")[0])
        elif demand.variable not in trainable:
            owner = longest_scope(demand.key, keys)
            if owner is not None:
                found[demand] = owner
    return found


class NearNames:
    """Stored names that missing ones may mean.

    Args:
      index: what is stored.
      read: the names that variables take.
      missing: how many names there are to be found.
    """

    def __init__(self, index: Iterable[Stored], read: Collection[str], missing: int) -> None:
        self._read = read
        self._most = max(_FEW, _COMPARISONS // max(1, missing))
        self._by_trait: dict[tuple[str, Any], list[Stored]] = {}
        # What no variable takes comes before what one does.
        for stored in sorted(index, key=lambda s: s.name in read) if missing else ():
            for trait in (None, stored.name.rpartition("/")[2], (stored.shape, stored.dtype)):
                self._by_trait.setdefault((stored.kind, trait), []).append(stored)

    def names(self, row: PlanRow) -> tuple[str, ...]:
        """Up to three for a missing one, the most likely first: unread ones, then those of its shape and type."""
        assert row.key is not None
        name = full_name(row.key) if row.kind == EMBEDDING else row.key
        tail = name.rpartition("/")[2]
        shape = parse_shape_and_slice(row.slice)[0] if row.slice else row.shape
        candidates: dict[str, Stored] = {}
        for trait in (tail, (shape, row.dtype), None):
            for stored in self._by_trait.get((row.kind, trait), ())[: self._most]:
                candidates.setdefault(stored.name, stored)
        matcher = difflib.SequenceMatcher(b=name, autojunk=False)
        ranked = []
        for stored in list(candidates.values())[: self._most]:
            matcher.set_seq1(stored.name)
            is_read = stored.name in self._read
            fits = (stored.shape, stored.dtype) == (shape, row.dtype)
            # In another scope.
            moved = fits and not is_read and stored.name.rpartition("/")[2] == tail
            if moved or (matcher.real_quick_ratio() > _ALIKE and matcher.quick_ratio() > _ALIKE):
                ratio = matcher.ratio()
                if moved or ratio > _ALIKE:
                    ranked.append((is_read, not fits, -ratio, stored.name))
        return tuple(stored_name for *_, stored_name in sorted(ranked)[:3])
