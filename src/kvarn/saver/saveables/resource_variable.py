"""Variables behind a resource handle.

Source: `ResourceVariableSaveable` in tensorflow/python/training/saving/saveable_object_util.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kvarn.graph import graph as ops
from kvarn.graph.tensor import Tensor
from kvarn.saver.saveable_object import SaveableObject, SaveSpec
from kvarn.saver.saveables import Kind, kind_of, saveable_for
from kvarn.saver.saveables.slices import add_slice, check_slice
from kvarn.variables.resource_variable import BaseResourceVariable


class ResourceVariableSaveable(SaveableObject):
    """One resource variable, or one slice.

    Args:
      var: the variable, or the tensor of a read of it.
      slice_spec: the slice it is; empty for a whole tensor.
      name: its name in the checkpoint.
    """

    def __init__(self, var: Any, slice_spec: str, name: str) -> None:
        self._var_device = var.device
        self._var_shape = var.shape
        tensor: Any
        if isinstance(var, Tensor):
            self.handle_op = var.op.inputs[0]
            tensor = var
        else:
            self.handle_op = var.handle
            tensor = _reading(var)
        super().__init__(var, [SaveSpec(tensor, slice_spec, name, dtype=var.dtype, device=var.device)], name)

    def restore(self, restored_tensors: Sequence[Any], restored_shapes: Sequence[Any] | None) -> Any:
        from kvarn.ops import array, resource_variable

        value = restored_tensors[0]
        if restored_shapes is not None:
            value = array.reshape(value, restored_shapes[0])
        with ops.device(self._var_device):
            value = array.identity(value)
            self._var_shape.assert_is_compatible_with(value.shape)
            return resource_variable.assign_variable_op(self.handle_op, value)


def _reading(variable: Any) -> Callable[[], Tensor]:
    def read() -> Tensor:
        from kvarn.ops import array

        with ops.device(variable.device):
            value = variable.read_value()
            with ops.device("/device:CPU:0"):
                tensor: Tensor = array.identity(value)
                return tensor

    return read


@saveable_for(BaseResourceVariable)
class ResourceVariableKind(Kind):
    """A resource variable is saved through the read that it was built with, a slice through a new one."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        if value._save_slice_info:
            add_slice(names, value)
        else:
            tensor = value._graph_element
            kind_of(tensor).add_to(names, tensor)

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        yield ResourceVariableSaveable(value._graph_element, "", name)

    def slice_saveable(self, part: Any, name: str) -> SaveableObject:
        return ResourceVariableSaveable(part, check_slice(part).spec, name)
