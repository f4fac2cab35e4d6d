"""`tf.raw_ops`: every op by the name of its definition, with keyword arguments only.

Source: tensorflow/python/util/tf_export.py (1.15) and the generated tensorflow/python/ops/gen_*_ops.py.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import cache
from typing import Any

from kvarn.graph import registry
from kvarn.graph.op import apply_op
from kvarn.graph.registry import OpRegistrationData


@cache
def find(name: str) -> Callable[..., Any] | None:
    """The function of an op type, or None if there is no such op."""
    data = registry.global_registry.find(name)
    return None if data is None else _function(data)


def names() -> list[str]:
    """The names of all op types that start with a letter."""
    return [o.name for o in registry.global_registry.get_registered_ops() if o.name[0].isalpha()]


def _function(data: OpRegistrationData) -> Callable[..., Any]:
    definition = data.op_def
    outputs = definition.outputs
    several = namedtuple(definition.name, [o.name for o in outputs]) if len(outputs) > 1 else None

    def call(**arguments: Any) -> Any:
        name = arguments.pop("name", None)
        node = apply_op(data, arguments, name)
        if not outputs:
            return node
        results = [node.output_arg(o.name) for o in outputs]
        return results[0] if several is None else several(*results)

    call.__name__ = call.__qualname__ = definition.name
    call.__doc__ = (
        f"Adds a node of type {definition.name}.\n\nTakes keyword arguments only: the op's inputs and attributes "
        "and ``name``.  Returns its output, a list for a list output, a named tuple for several outputs, or the "
        "Operation if there is none."
    )
    return call
