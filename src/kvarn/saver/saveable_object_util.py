"""From the variables that a Saver is given to its saveables.

Source: tensorflow/python/training/saving/saveable_object_util.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveables import kind_of


def set_cpu0(device_string: str) -> str:
    """The device with its type and index replaced by CPU 0."""
    from kvarn.graph.device import DeviceSpec

    spec = DeviceSpec.from_string(device_string)
    return str(spec.replace(device_type="CPU", device_index=0).to_string())


def saveable_objects_for_op(op: Any, name: str) -> Iterator[SaveableObject]:
    """The saveables that together save ``op`` under ``name``.

    Args:
      op: a variable, a list of slices, a SaveableObject, or anything that names its saveables.
      name: its name in the checkpoint.

    Raises:
      TypeError: ``name`` is no string, or ``op`` is nothing that can be saved.
      ValueError: a list of anything but slices of one tensor.
    """
    if not isinstance(name, str):
        raise TypeError(
            "names_to_saveables must be a dict mapping string names to trackable operations. "
            f"Name is not a string: {name}"
        )
    yield from kind_of(op).saveables(op, name)


def op_list_to_dict(op_list: Any, convert_variable_to_tensor: bool = True) -> dict[str, Any]:
    """The names under which the items of a list are saved; slices of one tensor share a name.

    Args:
      op_list: a list, tuple or set of variables and SaveableObjects.
      convert_variable_to_tensor: accepted for TensorFlow's sake.

    Raises:
      TypeError: not such a list, or an item that can not be saved.
      ValueError: two items of one name.
    """
    del convert_variable_to_tensor
    if not isinstance(op_list, (list, tuple, set)):
        raise TypeError(f"Variables to save should be passed in a dict or a list: {op_list}")
    names: dict[str, Any] = {}
    for item in sorted(op_list, key=lambda x: str(x.name)):
        kind_of(item).add_to(names, item)
    return names


def validate_and_slice_inputs(names_to_saveables: Any) -> list[SaveableObject]:
    """The saveables of a dictionary or list, in the order of the names.

    Raises:
      TypeError: a name is no string, or a value can not be saved.
      ValueError: one value has two names.
    """
    if not isinstance(names_to_saveables, dict):
        names_to_saveables = op_list_to_dict(names_to_saveables)
    saveables: list[SaveableObject] = []
    seen: set[int] = set()
    for name, op in sorted(names_to_saveables.items(), key=lambda item: item[0]):
        for saveable in saveable_objects_for_op(op, name):
            if id(saveable.op) in seen:
                raise ValueError(f"The same saveable will be restored with two names: {saveable.name}")
            saveables.append(saveable)
            seen.add(id(saveable.op))
    return saveables
