"""Partitioned variables: one saveable for each part.

Source: tensorflow/python/training/saving/saveable_object_util.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveables import Kind, add_unique, kind_of, saveable_for
from kvarn.variables.dynamic_embedding_variable import DynamicEmbeddingVariable
from kvarn.variables.partitioned_variable import PartitionedVariable


@saveable_for(PartitionedVariable)
class PartitionedVariableKind(Kind):
    """All parts under one name; parts that are embedding variables keep names of their own."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        add_unique(names, value.name, value)

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        if isinstance(next(iter(value)), DynamicEmbeddingVariable):
            for part in value:
                yield from kind_of(part).saveables(part, name)
            return
        yield from kind_of([]).saveables(list(value), name)
