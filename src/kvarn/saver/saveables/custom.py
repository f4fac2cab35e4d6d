"""Objects that are saveables already, a program's own among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveables import Kind, saveable_for


@saveable_for(SaveableObject)
class CustomKind(Kind):
    """A SaveableObject is saved under its own names, whatever key a dictionary gives it."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        names[value.name] = value

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        yield value
