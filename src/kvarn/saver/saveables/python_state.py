"""State of Python objects in checkpoints, and tensors that are saved and never restored.

Source: `PythonStateSaveable` and `NoRestoreSaveable` in tensorflow/python/training/tracking/base.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import constant
from kvarn.graph.graph import device, init_scope
from kvarn.saver.saveable_object import SaveableObject, SaveSpec


class NoRestoreSaveable(SaveableObject):
    """A tensor that goes into a checkpoint and is not restored.

    Args:
      tensor: the tensor, or a function that makes it, with ``dtype`` and ``device`` then.
      name: its name in the checkpoint.
    """

    def __init__(self, tensor: Any, name: str, dtype: Any = None, device: Any = None) -> None:
        super().__init__(tensor, [SaveSpec(tensor, "", name, dtype=dtype, device=device)], name)

    def restore(self, restored_tensors: Sequence[Any], restored_shapes: Sequence[Any] | None) -> Any:
        from kvarn.ops import control

        return control.no_op()


class PythonStateSaveable(SaveableObject):
    """State that lives in Python: it is fed when a checkpoint is saved, and restored without an operation."""

    def feed_dict_additions(self) -> dict[Any, Any]:
        """What to feed to save the state of now."""
        raise NotImplementedError

    def freeze(self) -> SaveableObject:
        """A saveable of the state of now, for graphs that are saved without feeding."""
        raise NotImplementedError

    def python_restore(self, restored_strings: Sequence[Any]) -> None:
        """Sets the state to what was stored."""
        raise NotImplementedError


class PythonStringStateSaveable(PythonStateSaveable):
    """State that is written as a string.

    Args:
      name: its name in the checkpoint.
      state_callback: gives the string.
      restore_callback: takes it; without one a checkpoint that lacks the state counts as restored.
    """

    def __init__(
        self,
        name: str,
        state_callback: Callable[[], Any],
        restore_callback: Callable[[Any], Any] | None = None,
    ) -> None:
        self._state_callback = state_callback
        self._restore_callback = restore_callback
        with device("/cpu:0"):
            self._save_string = constant("", dtype=dtypes.string)
        spec = SaveSpec(self._save_string, "", name, dtype=dtypes.string)
        super().__init__(self._save_string, [spec], name)

    @property
    def optional_restore(self) -> bool:
        return self._restore_callback is None

    def _state(self) -> Any:
        with init_scope():
            return self._state_callback()

    def feed_dict_additions(self) -> dict[Any, Any]:
        return {self._save_string: self._state()}

    def freeze(self) -> SaveableObject:
        return NoRestoreSaveable(
            lambda: constant(self._state(), dtype=dtypes.string),
            self.name,
            dtype=dtypes.string,
            device="cpu:0",
        )

    def python_restore(self, restored_strings: Sequence[Any]) -> None:
        if self._restore_callback is not None:
            (restored,) = restored_strings
            self._restore_callback(restored)

    def restore(self, restored_tensors: Sequence[Any], restored_shapes: Sequence[Any] | None) -> Any:
        from kvarn.ops import control

        return control.no_op()
