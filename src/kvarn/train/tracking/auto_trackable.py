"""Objects whose attributes are dependencies.

Source: tensorflow/python/training/tracking/tracking.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.train.tracking.data_structures import NoDependency, sticky_attribute_assignment
from kvarn.variables.trackable import Trackable


class NotTrackable:
    """Marks classes whose objects can not be saved: a checkpoint that finds one is refused."""


class AutoTrackable(Trackable):
    """Assigning a `Trackable` to an attribute makes it a dependency of that name.

    Lists and dictionaries are wrapped, so that what they hold is found too; a value in a
    `NoDependency` stays as it is, and is none.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            if getattr(self, name) is value:
                return
        except AttributeError:
            pass
        if getattr(self, "_self_setattr_tracking", True):
            value = sticky_attribute_assignment(trackable=self, value=value, name=name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._maybe_initialize_trackable()
        delete_tracking(self, name)
        super().__delattr__(name)

    def _no_dependency(self, value: Any) -> Any:
        return NoDependency(value)


def delete_tracking(obj: Any, name: str) -> None:
    """Removes the dependency ``name`` of an object, if it has one."""
    if obj._unconditional_dependency_names.pop(name, None) is not None:
        dependencies = obj._unconditional_checkpoint_dependencies
        dependencies[:] = [reference for reference in dependencies if reference.name != name]
