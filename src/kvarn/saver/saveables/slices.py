"""Slices of one tensor: the parts of a partitioned variable.

Source: tensorflow/python/training/saving/saveable_object_util.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveables import Kind, kind_of, saveable_for


@saveable_for(list, tuple)
class SlicesKind(Kind):
    """A list of variables that are slices of the same tensor; only the values of a dictionary may be one."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        raise TypeError(f"Variable to save is not a Variable: {value}")

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        full_name = None
        for part in value:
            saveable = kind_of(part).slice_saveable(part, name)
            this = check_slice(part).full_name
            if full_name is None:
                full_name = this
            elif full_name != this:
                raise ValueError(f"Slices must all be from the same tensor: {full_name} != {this}")
            yield saveable


def add_slice(names: dict[str, Any], part: Any) -> None:
    """Puts a slice into the list under the name of its full tensor; ValueError if that is taken."""
    name = part._save_slice_info.full_name
    found = names.setdefault(name, [])
    if not isinstance(found, list):
        raise ValueError(f"Mixing slices and non-slices with the same name: {name}")
    found.append(part)


def check_slice(part: Any) -> Any:
    """The SaveSliceInfo of a variable; ValueError if it has none."""
    if not part._save_slice_info:
        raise ValueError(f"Slices must all be slices: {part}")
    return part._save_slice_info
