"""A restore by a plan: everything is compared and read first, then the variables change.

    compared   the plan with the graph and with the index of the checkpoint, and each choice with what can be done
    read       tensors, with their checksums and in the wanted types; of embedding variables checksums and key sets
    changed    the operations of the graph that set the variables run, fed with what was read; then initializers

Errors of the first two leave the session as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.checkpoint.verbs.casting import cast
from kvarn.formats.part_numbers import number_of_all_parts
from kvarn.formats.reader import TensorReader
from kvarn.formats.tensor_slice import parse_shape_and_slice
from kvarn.graph.operation import Operation
from kvarn.saver import restore_plan
from kvarn.saver.plan_matching import row_of
from kvarn.saver.restore_check import embedding_owners, operations_below
from kvarn.saver.restore_demands import Demand, RestoreDemands
from kvarn.saver.restore_plan import PlanRow, RestorePlan, Stored
from kvarn.saver.stored_index import Match, StoredIndex

# Reasons that an error tells of.
_REASONS_SHOWN = 20


def restore_by_plan(
    sess: Any, plan: RestorePlan, demands: RestoreDemands | None, reader: TensorReader, filename_tensor: str
) -> None:
    """Restores the variables of a session as a plan says.

    Args:
      plan: for this graph; the checkpoint may be another than it was made for if it has the same tensors.
      demands: what the graph asks for; None for a Saver of nothing.
      reader: the checkpoint.
      filename_tensor: the name of the tensor that the prefix is fed to.

    Raises:
      InvalidArgumentError: the plan does not fit, is not decided, or a choice cannot be met; all reasons are told.
        Also a value that a cast cannot represent.
      DataLossError, OutOfRangeError: damaged bytes; keys of slots that are not those of their variable.
    """
    restore = _Restore(sess, plan, demands, reader)
    if restore.reasons:
        raise _refusal(plan, reader.prefix, restore.reasons)
    restore.run(filename_tensor)


def _refusal(plan: RestorePlan, prefix: str, reasons: list[str]) -> errors.OpError:
    lines = [f"  {reason}" for reason in reasons[:_REASONS_SHOWN]]
    if len(reasons) > _REASONS_SHOWN:
        lines.append(f"  and {len(reasons) - _REASONS_SHOWN} more")
    other = "." if plan.checkpoint == prefix else f", or make one for this: it is for '{plan.checkpoint}'."
    return errors.InvalidArgumentError.of(
        "\n".join([f"The restore plan cannot be run on '{prefix}', nothing was changed:", *lines]),
        path=prefix,
        hint=f"Choose other actions or sources in the plan{other}",
    )


class _Restore:
    """One restore, compared.

    Attributes:
      reasons: why it cannot be done; empty if it can.
    """

    def __init__(
        self, sess: Any, plan: RestorePlan, demands: RestoreDemands | None, reader: TensorReader
    ) -> None:
        self._sess = sess
        self._reader = reader
        self._demands = demands
        self._index = StoredIndex(reader)
        self._rows: dict[Demand, PlanRow] = {}
        self._sources: dict[Demand, str] = {}
        self._resets: list[Operation] = []
        self._numbers: dict[str, Any] = {}
        self.reasons: list[str] = []
        self.reasons += self._compare_graph(plan)
        self.reasons += self._compare_stored(plan)
        if not self.reasons:
            for demand, row in self._rows.items():
                self.reasons += self._check_choice(demand, row)
            self.reasons += self._check_together()

    # -- compared ---------------------------------------------------------------------------------

    def _compare_graph(self, plan: RestorePlan) -> Iterator[str]:
        """Gives each demand its row, and says which have none."""
        planned: dict[tuple[str, str, str], PlanRow] = {}
        for row in plan.variables:
            place = (row.variable or "", row.key or "", row.slice)
            if place in planned:
                yield f"'{row.name}' has two rows"
            planned[place] = row
        for demand in self._demands.demands if self._demands is not None else ():
            found = planned.pop((demand.variable, demand.key, demand.slice), None)
            if found is None:
                yield f"'{demand.variable}' of the graph (saved as '{demand.key}') has no row"
                continue
            now = row_of(demand, None, "", None, Match(None, ()))
            for what in ("kind", "dtype", "shape", "key_dtype"):
                before, after = getattr(found, what), getattr(now, what)
                if before != after:
                    yield f"'{demand.variable}': its {what} is {after} in the graph, {before} in the plan"
            self._rows[demand] = found
        for place in planned:
            yield f"'{place[0]}' (saved as '{place[1]}') is not in the graph, or not in this Saver"

    def _compare_stored(self, plan: RestorePlan) -> Iterator[str]:
        planned = {row.stored.name: row.stored for row in plan.rows if row.stored is not None}
        present = {stored.name: stored for stored in self._index}
        for name in sorted(planned.keys() | present.keys()):
            before, after = planned.get(name), present.get(name)
            if after is None:
                yield f"'{name}' is not in the checkpoint"
            elif before is None:
                yield f"'{name}' of the checkpoint is not in the plan"
            elif before != after:
                yield f"'{name}' is {after.text} in the checkpoint, {before.text} in the plan{_cuts(before, after)}"

    def _check_choice(self, demand: Demand, row: PlanRow) -> Iterator[str]:
        name = row.name
        if row.action == restore_plan.REFUSE:
            why = ", ".join(row.status)
            near = f"; near: {', '.join(row.near)}" if row.near else ""
            yield f"'{name}' ({why}) has the action 'refuse': choose one{near}"
        elif row.reads:
            source = demand.key if row.source is None else row.source
            found = self._index.match(demand, source)
            if not found.fits:
                stored = "" if found.stored is None else f" ({found.stored.text})"
                note = f": {found.note}" if found.note else ""
                yield f"'{name}' cannot take '{source}'{stored}: {', '.join(found.status)}{note}"
            self._sources[demand] = source
            if demand.importing is not None:
                yield from self._check_slot(demand, row)
        elif row.action == restore_plan.RESET:
            yield from self._check_reset(demand, row)

    def _check_slot(self, demand: Demand, row: PlanRow) -> Iterator[str]:
        family, is_primary = demand.family
        owner = None if is_primary else self._primaries.get(family)
        if owner is not None and not owner.reads:
            yield (
                f"'{row.name}' is a slot in the rows of '{owner.name}', which has the action '{owner.action}': "
                "it can be 'keep' only if that is 'restore'"
            )

    @cached_property
    def _primaries(self) -> dict[Any, PlanRow]:
        """The rows of embedding variables that are no slots, by what they share with their slots."""
        families = {demand: demand.family for demand in self._rows if demand.importing is not None}
        return {family: self._rows[demand] for demand, (family, is_primary) in families.items() if is_primary}

    def _check_reset(self, demand: Demand, row: PlanRow) -> Iterator[str]:
        assert self._demands is not None
        initializer = self._demands.initializers.get(demand.variable)
        if initializer is None:
            yield f"'{row.name}' cannot be reset: the graph does not tell of its initializer"
            return
        if demand.importing is not None:
            resource = self._resource(demand)
            if resource is not None and resource.shared.table.size:
                yield (
                    f"'{row.name}' cannot be reset: it shares {resource.shared.table.size} rows of this session; "
                    "restore it into a new session"
                )
        fed = sorted(op.name for op in operations_below(initializer) if op.type == "Placeholder")
        if fed:
            yield f"'{row.name}' cannot be reset: its initial value wants '{fed[0]}' fed"
        self._resets.append(initializer)

    def _resource(self, demand: Demand) -> Any:
        """The embedding variable in the session; None before it was made."""
        from kvarn.graph.resources import ResourceHandle
        from kvarn.ops.kv_resource import KIND

        assert demand.importing is not None
        made_by = demand.importing.inputs[1].op
        container, shared_name = (
            value.decode() if isinstance(value, bytes) else value
            for value in (made_by.attrs["container"], made_by.attrs["shared_name"])
        )
        return self._sess.resources.find(ResourceHandle(container, shared_name or made_by.name, KIND))

    def _check_together(self) -> Iterator[str]:
        """What one operation sets is restored together or not at all."""
        for unit in self._demands.units if self._demands is not None else ():
            read = [self._rows[demand] for demand in unit.demands if self._rows[demand].reads]
            if read and len(read) < len(unit.demands):
                names = ", ".join(f"'{self._rows[demand].key}'" for demand in unit.demands)
                yield f"{names} can only be restored together: '{unit.operation.name}' needs them all"

    # -- read -------------------------------------------------------------------------------------

    def run(self, filename_tensor: str) -> None:
        """Reads everything, then changes the variables."""
        if self._demands is None:
            return
        units = [
            unit.operation
            for unit in self._demands.units
            if all(self._rows[demand].reads for demand in unit.demands)
        ]
        feeds: dict[Any, Any] = {filename_tensor: self._reader.prefix}
        for demand in sorted(self._sources, key=self._sources.__getitem__):
            if demand.tensor is not None:
                feeds[demand.tensor] = self._value(demand)
        with self._embeddings():
            if units:
                self._sess.run(units, feeds)
        if self._resets:
            self._sess.run(self._resets)

    def _value(self, demand: Demand) -> Any:
        source = self._sources[demand]
        full_shape, wanted, shape = (
            parse_shape_and_slice(demand.slice) if demand.slice else ((), None, demand.shape)
        )
        found = self._index.match(demand, source).stored
        if found is not None and self._index.has_number_per_part(demand, found):
            if source not in self._numbers:
                self._numbers[source] = number_of_all_parts(self._reader, source)
            value: Any = np.full(shape or (), self._numbers[source])
        elif wanted is not None:
            value = self._reader.lookup_slice(source, wanted, full_shape)
        else:
            value = self._reader.lookup(source)
        stored, _ = self._reader.lookup_dtype_and_shape(source)
        return value if stored is demand.dtype else cast(value, demand.dtype, source)

    @contextlib.contextmanager
    def _embeddings(self) -> Iterator[None]:
        """Checks what embedding variables will read; inside, the operations that import them find it."""
        from kvarn.ops import kv_key_sets, kv_restore

        asked = [demand for demand in self._sources if demand.importing is not None]
        if not asked:
            yield
            return
        renamed = {demand.key: self._sources[demand] for demand in asked}
        run = kv_restore.EmbeddingRestore(self._reader, renamed)
        owners = embedding_owners({d.importing: self._sources[d] for d in asked if d.importing is not None})
        for demand in asked:
            assert demand.importing is not None
            family, is_primary = demand.family
            source, owner = self._sources[demand], owners[demand.importing]
            run.look_at(
                source,
                variable=demand.variable,
                key_dtype=demand.key_dtype,
                family=family,
                owner=owner,
                partitioned=kv_restore.is_part(demand.importing.attrs, source, owner),
                part=(demand.importing.attrs["partition_id"], demand.importing.attrs["partition_num"]),
                is_primary=bool(is_primary),
                key_mismatch=demand.importing.attrs.get(kv_key_sets.ATTR),
            )
        run.settle()
        with kv_restore.running(run):
            yield


def _cuts(before: Stored, after: Stored) -> str:
    return ", cut at other places" if before.text == after.text else ""
