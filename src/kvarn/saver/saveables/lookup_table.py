"""Lookup tables that change: their keys and their values are two tensors.

Source: `MutableHashTable._Saveable` in tensorflow/python/ops/lookup_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kvarn.graph.graph import colocate_with, name_scope
from kvarn.ops import lookup
from kvarn.saver.saveable_object import SaveableObject, SaveSpec
from kvarn.saver.saveables import Kind, add_unique, saveable_for
from kvarn.variables.mutable_tables import TableContents


class HashTableSaveable(SaveableObject):
    """The contents of a table, which a restore replaces."""

    def __init__(self, contents: TableContents, name: str) -> None:
        specs = [
            SaveSpec(contents.keys, "", name + "-keys"),
            SaveSpec(contents.values, "", name + "-values"),
        ]
        super().__init__(contents.table, specs, name)

    def restore(
        self, restored_tensors: Sequence[Any], restored_shapes: Sequence[Any] | None, name: str | None = None
    ) -> Any:
        handle = self.op.resource_handle
        with name_scope(name, f"{self.name}_table_restore"), colocate_with(handle):
            return lookup.lookup_table_import_v2(handle, *restored_tensors)


@saveable_for(TableContents)
class LookupTableKind(Kind):
    """Saved as ``<name>-keys`` and ``<name>-values`` under the table's own name."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        add_unique(names, value.name, value)

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        yield HashTableSaveable(value, name)
