"""State of Python objects in object-based checkpoints.

Source: tensorflow/python/training/tracking/python_state.py (1.15).
"""

from __future__ import annotations

import abc
import functools
from typing import Any

from kvarn.saver.saveables.python_state import PythonStringStateSaveable
from kvarn.variables.trackable import Trackable


class PythonState(Trackable, abc.ABC):
    """An object whose state a checkpoint has as a string: a subclass says how it is written and read."""

    @abc.abstractmethod
    def serialize(self) -> Any:
        """The state of now, str or bytes."""

    @abc.abstractmethod
    def deserialize(self, string_value: Any) -> None:
        """Sets the state to what `serialize` gave."""

    def _gather_saveables_for_checkpoint(self) -> dict[str, Any]:
        return {
            "py_state": functools.partial(
                PythonStringStateSaveable,
                state_callback=self.serialize,
                restore_callback=self.deserialize,
            )
        }
