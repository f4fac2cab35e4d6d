"""How collections become messages and back, and names that move into and out of scopes with them.

Source: `register_proto_function`, `strip_name_scope` and `prepend_name_scope` of
tensorflow/python/framework/ops.py (1.15).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kvarn.graph.graph_keys import GraphKeys


class ProtoFunctions(NamedTuple):
    """What `register_proto_function` took."""

    proto_type: Any
    to_proto: Callable[..., Any] | None
    from_proto: Callable[..., Any] | None


_registry: dict[str, ProtoFunctions] = {}

VARIABLE_COLLECTIONS: Final = (
    GraphKeys.GLOBAL_VARIABLES,
    GraphKeys.TRAINABLE_VARIABLES,
    GraphKeys.MOVING_AVERAGE_VARIABLES,
    GraphKeys.LOCAL_VARIABLES,
    GraphKeys.MODEL_VARIABLES,
    GraphKeys.GLOBAL_STEP,
    GraphKeys.METRIC_VARIABLES,
    GraphKeys.EMBEDDING_VARIABLES,
)

# Where the functions of some collections are registered: a module that is not needed before a graph has such a
# collection, and stands above this one.
_MODULES: Final = {
    GraphKeys.COND_CONTEXT: "kvarn.ops.control_flow_context",
    GraphKeys.WHILE_CONTEXT: "kvarn.ops.while_context",
    GraphKeys.QUEUE_RUNNERS: "kvarn.train.queue_runner",
    GraphKeys.SAVERS: "kvarn.saver",
    **dict.fromkeys(VARIABLE_COLLECTIONS, "kvarn.variables.proto"),
}


def register_proto_function(
    collection_name: str,
    proto_type: Any = None,
    to_proto: Callable[..., Any] | None = None,
    from_proto: Callable[..., Any] | None = None,
) -> None:
    """Says how the items of a collection are written into a meta graph and read from it.

    Args:
      collection_name: the collection.
      proto_type: the message class, or its full name such as ``tensorflow.VariableDef``, which costs no
        import before it is needed.
      to_proto: ``to_proto(item, export_scope=None)`` gives a message of that type, or None to leave it out.
      from_proto: ``from_proto(message, import_scope=None)`` gives the item.

    Raises:
      TypeError: a function is not callable.
      KeyError: the collection has functions already.
    """
    if to_proto is not None and not callable(to_proto):
        raise TypeError("to_proto must be callable.")
    if from_proto is not None and not callable(from_proto):
        raise TypeError("from_proto must be callable.")
    if collection_name in _registry:
        raise KeyError(f"Registering two proto functions with name '{collection_name}'!")
    _registry[collection_name] = ProtoFunctions(proto_type, to_proto, from_proto)


def _find(collection_name: str) -> ProtoFunctions | None:
    if collection_name not in _registry and collection_name in _MODULES:
        importlib.import_module(_MODULES[collection_name])
    return _registry.get(collection_name)


def get_collection_proto_type(collection_name: str) -> Any:
    """The message class of a collection, or None."""
    found = _find(collection_name)
    if found is None or found.proto_type is None:
        return None
    if isinstance(found.proto_type, str):
        from kvarn import protos

        return protos.message(found.proto_type)
    return found.proto_type


def get_to_proto_function(collection_name: str) -> Callable[..., Any] | None:
    """The function that makes messages of a collection's items, or None."""
    found = _find(collection_name)
    return None if found is None else found.to_proto


def get_from_proto_function(collection_name: str) -> Callable[..., Any] | None:
    """The function that makes a collection's items of messages, or None."""
    found = _find(collection_name)
    return None if found is None else found.from_proto


def strip_name_scope(name: Any, export_scope: str | None) -> Any:
    """``name`` without a leading ``export_scope/``, which may follow ``^`` or ``loc:@``.

    A name outside the scope, and anything that is not a string, is returned as it is.
    """
    text = _text(name)
    if not export_scope or text is None:
        return name
    scope = re.escape(export_scope.removesuffix("/"))
    return re.sub(rf"^(\^|loc:@|){scope}/+(.*)", r"\1\2", text, count=1)


def prepend_name_scope(name: Any, import_scope: str | None) -> Any:
    """``name`` with ``import_scope/`` before it, after a leading ``^`` or ``loc:@``.

    Anything that is not a string is returned as it is.
    """
    text = _text(name)
    if not import_scope or text is None:
        return name
    scope = import_scope.removesuffix("/")
    for mark in ("^", "loc:@"):
        if text.startswith(mark):
            return f"{mark}{scope}/{text[len(mark) :]}"
    return f"{scope}/{text}"


def _text(name: Any) -> str | None:
    """The name as a string; None for what cannot be one."""
    if isinstance(name, bytes):
        try:
            return name.decode()
        except UnicodeDecodeError:
            return None
    return name if isinstance(name, str) else None
