"""Objects that name their own saveables, and all other values.

Source: tensorflow/python/training/saving/saveable_object_util.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveables import Kind, kind_of, saveable_for
from kvarn.variables.checkpoint_position import VARIABLE_VALUE_KEY


@saveable_for(object)
class TrackableKind(Kind):
    """An object with ``_gather_saveables_for_checkpoint``, such as a table; otherwise what converts to the
    tensor of a variable."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        from kvarn.saver.saveable_object_util import op_list_to_dict

        if hasattr(value, "_gather_saveables_for_checkpoint"):
            factories = value._gather_saveables_for_checkpoint().values()
            names.update(op_list_to_dict([f() if callable(f) else f for f in factories]))
        else:
            tensor = _tensor_of(value)
            kind_of(tensor).add_to(names, tensor)

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        if hasattr(value, "_gather_saveables_for_checkpoint"):
            for attribute, factory in value._gather_saveables_for_checkpoint().items():
                full_name = name if attribute == VARIABLE_VALUE_KEY else f"{name}_{attribute}"
                made = factory(full_name) if callable(factory) else factory
                yield from kind_of(made).saveables(made, made.name)
        else:
            tensor = _tensor_of(value)
            yield from kind_of(tensor).saveables(tensor, name)


def _tensor_of(value: Any) -> Any:
    from kvarn.graph.convert import convert_to_tensor

    return convert_to_tensor(value, as_ref=True)
