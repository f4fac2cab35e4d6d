"""What optimizers keep in object-based checkpoints: variables of their own, and slots of others' variables.

Source: tensorflow/python/training/optimizer.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.graph import get_default_graph
from kvarn.variables.checkpoint_position import CheckpointPosition
from kvarn.variables.trackable import Trackable, TrackableReference

VarKey = tuple[Any, str]


def var_key(var: Any) -> VarKey:
    """What tells the variable of a slot from all others."""
    return (var.op.graph, var.op.name)


class TrackableOptimizer(Trackable):
    """The part of `Optimizer` that checkpoints see.

    One optimizer may train variables of several graphs: what it depends on is what the default graph has.

    Attributes:
      _slots: by the slots' name and `var_key`.
      _non_slot_dict: variables of the optimizer by name and graph.
    """

    def __init__(self) -> None:
        self._slots: dict[str, dict[VarKey, Any]] = {}
        self._non_slot_dict: dict[tuple[str, Any], Any] = {}
        # Slots to restore when they are made, by name and variable.
        self._deferred_slot_restorations: dict[str, dict[VarKey, list[CheckpointPosition]]] = {}

    def _get_non_slot_variable(self, name: str, graph: Any = None) -> Any:
        return self._non_slot_dict.get((name, graph))

    @property
    def _checkpoint_dependencies(self) -> list[TrackableReference]:
        graph = get_default_graph()
        own = [
            TrackableReference(name, v) for (name, owner), v in self._non_slot_dict.items() if owner is graph
        ]
        return super()._checkpoint_dependencies + sorted(own, key=lambda reference: reference.name)

    def _lookup_dependency(self, name: str) -> Any:
        known = super()._lookup_dependency(name)
        return self._get_non_slot_variable(name, get_default_graph()) if known is None else known

    def _create_or_restore_slot_variable(
        self, slot_variable_position: CheckpointPosition, slot_name: str, variable: Any
    ) -> None:
        """Restores a slot of ``variable``, now or when it is made."""
        key = var_key(variable)
        slot = self._slots.get(slot_name, {}).get(key)
        if slot is None:
            waiting = self._deferred_slot_restorations.setdefault(slot_name, {})
            waiting.setdefault(key, []).append(slot_variable_position)
        else:
            slot_variable_position.restore(slot)

    def _restore_slot_variable(self, slot_name: str, variable: Any, slot_variable: Any) -> None:
        """Restores a new slot from what has waited for it, the last restore first."""
        waiting = self._deferred_slot_restorations.get(slot_name, {}).pop(var_key(variable), [])
        for position in sorted(waiting, key=lambda p: p.restore_uid, reverse=True):
            position.restore(slot_variable)
