"""What a Saver saves: one object with its tensors, and how it takes them back.

Source: tensorflow/python/training/saving/saveable_object.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kvarn.dtypes import DType


class SaveSpec:
    """One tensor of a saveable.

    Args:
      tensor: the tensor to save, a variable, or a function that makes the tensor when it is needed.
      slice_spec: the slice that it is, ``10 4 4,3:0,4``; empty for a whole tensor.
      name: its name in the checkpoint.
      dtype, device: where ``tensor`` is a function, its type and device.

    Raises:
      AssertionError: a function without dtype and device.
    """

    def __init__(
        self, tensor: Any, slice_spec: str, name: str, dtype: Any = None, device: Any = None
    ) -> None:
        self._tensor = tensor
        self.slice_spec = slice_spec
        self.name = name
        if callable(tensor):
            if dtype is None or device is None:
                raise AssertionError(
                    "When passing a callable `tensor` to a SaveSpec, an explicit dtype and device must be "
                    "provided."
                )
            self.dtype = dtype
            self.device = device
        else:
            self.dtype = tensor.dtype
            self.device = tensor.device

    @property
    def tensor(self) -> Any:
        return self._tensor() if callable(self._tensor) else self._tensor


@dataclass(frozen=True, slots=True)
class SaveEntry:
    """One input of the save op.

    Attributes:
      name, slice_spec: as in `SaveSpec`.
      tensor: a tensor or variable, or the handle of an embedding variable.
      key_type: the key type of an embedding variable, None for everything else.
    """

    name: str
    slice_spec: str
    tensor: Any
    key_type: DType | None = None


class SaveableObject:
    """An object to save and restore; programs derive their own from it.

    Args:
      op: what it stands for; one Saver saves it once.
      specs: a list of `SaveSpec`, all on one device.
      name: its name.
    """

    # True for what reads the checkpoint itself: `restore` gets the prefix as its only tensor then.
    restores_from_prefix = False
    # Set by the builder before `restore`: the Saver was given a part of the graph's variables.
    restores_a_part = False

    def __init__(self, op: Any, specs: list[SaveSpec], name: str) -> None:
        self.op = op
        self.specs = specs
        self.name = name

    @property
    def optional_restore(self) -> bool:
        """True if a checkpoint without it counts as restored."""
        return False

    @property
    def device(self) -> Any:
        """The device of the specs."""
        return self.specs[0].device

    def save_entries(self) -> Iterator[SaveEntry]:
        """What goes into the save op."""
        for spec in self.specs:
            yield SaveEntry(spec.name, spec.slice_spec, spec.tensor)

    def restore(self, restored_tensors: Sequence[Any], restored_shapes: Sequence[Any] | None) -> Any:
        """The operation that sets the object from what was read.

        Args:
          restored_tensors: one tensor for each spec.
          restored_shapes: the shapes the object must have, when the Saver reshapes; else None.
        """
        raise ValueError("Calling an abstract method.")
