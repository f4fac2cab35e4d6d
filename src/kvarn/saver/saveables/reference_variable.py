"""Variables whose buffer is a reference tensor.

Source: `ReferenceVariableSaveable` in tensorflow/python/training/saving/saveable_object_util.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kvarn.saver.saveable_object import SaveableObject, SaveSpec
from kvarn.saver.saveables import Kind, kind_of, saveable_for
from kvarn.saver.saveables.slices import add_slice, check_slice
from kvarn.variables.ref_variable import RefVariable


class ReferenceVariableSaveable(SaveableObject):
    """One reference variable, or one slice: it is assigned what was read.

    Args:
      var: the variable or its reference tensor.
      slice_spec: the slice it is; empty for a whole tensor.
      name: its name in the checkpoint.
    """

    def __init__(self, var: Any, slice_spec: str, name: str) -> None:
        super().__init__(var, [SaveSpec(var, slice_spec, name, dtype=var.dtype)], name)

    def restore(self, restored_tensors: Sequence[Any], restored_shapes: Sequence[Any] | None) -> Any:
        from kvarn.ops import array, state

        value = restored_tensors[0]
        if restored_shapes is not None:
            value = array.reshape(value, restored_shapes[0])
        known = self.op.get_shape().is_fully_defined()
        return state.assign(self.op, value, validate_shape=restored_shapes is None and known)


@saveable_for(RefVariable)
class ReferenceVariableKind(Kind):
    """A reference variable is saved through its reference tensor, a slice through its value."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        if value._save_slice_info:
            add_slice(names, value)
        else:
            tensor = value._ref()
            kind_of(tensor).add_to(names, tensor)

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        yield ReferenceVariableSaveable(value._ref(), "", name)

    def slice_saveable(self, part: Any, name: str) -> SaveableObject:
        return ReferenceVariableSaveable(part, check_slice(part).spec, name)
