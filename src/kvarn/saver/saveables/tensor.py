"""Tensors that are a variable's: its reference, or a read of its resource.

Source: tensorflow/python/training/saving/saveable_object_util.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn.graph.tensor import Tensor
from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveables import Kind, add_unique, saveable_for
from kvarn.saver.saveables.reference_variable import ReferenceVariableSaveable
from kvarn.saver.saveables.resource_variable import ResourceVariableSaveable

_REFERENCES = ("Variable", "VariableV2", "AutoReloadVariable")
_RESOURCES = ("VarHandleOp", "ReadVariableOp")


@saveable_for(Tensor)
class TensorKind(Kind):
    """The variable that a tensor comes from, named after its node."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        if value.op.type not in _REFERENCES + _RESOURCES:
            raise TypeError(f"Variable to save is not a Variable: {value}")
        owner = value.op.inputs[0].op if value.op.type == "ReadVariableOp" else value.op
        add_unique(names, owner.name, value)

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        if value.op.type in _REFERENCES:
            yield ReferenceVariableSaveable(value, "", name)
        elif value.op.type in _RESOURCES:
            yield ResourceVariableSaveable(value, "", name)
        else:
            raise TypeError(
                "names_to_saveables must be a dict mapping string names to Tensors/Variables. "
                f"Not a variable: {value}"
            )
