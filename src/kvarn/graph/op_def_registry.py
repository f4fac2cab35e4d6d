"""The definitions of all ops as messages.

Source: tensorflow/python/framework/op_def_registry.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph import op_def
from kvarn.graph.registry import OpRegistrationData, global_registry


def register_op_list(op_list: Any) -> None:
    """Registers the definitions of an OpList: graphs may have such ops, but not run them.

    Raises:
      TypeError: ``op_list`` is no OpList.
      ValueError: an op of that name is registered with another definition.
    """
    descriptor = getattr(op_list, "DESCRIPTOR", None)
    if getattr(descriptor, "full_name", None) != "tensorflow.OpList":
        raise TypeError(f"{op_list} is {type(op_list)}, not an op_def_pb2.OpList")
    for proto in op_list.op:
        known = global_registry.find(proto.name)
        if known is None:
            global_registry.register_data(OpRegistrationData(op_def.from_proto(proto)))
        elif known.op_def.to_proto() != proto:
            raise ValueError(
                f"Registered op_def for {proto.name} ({known.op_def.to_proto()}) not equal to op_def to register "
                f"({proto})"
            )


def get_registered_ops() -> dict[str, Any]:
    """The OpDef messages of all ops by name."""
    return {definition.name: definition.to_proto() for definition in global_registry.get_registered_ops()}


def get_op_list(include_internal: bool = True) -> Any:
    """The OpList of all ops, by name; internal ones begin with ``_``."""
    return global_registry.export(include_internal)
