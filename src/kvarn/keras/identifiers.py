"""Names and dictionaries that stand for functions and objects: ``"relu"``, ``{"class_name": "Zeros", "config": {}}``.

Source: tensorflow/python/keras/utils/generic_utils.py (1.15).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def deserialize(identifier: Any, known: Mapping[str, Any], kind: str, custom_objects: Any = None) -> Any:
    """What a name or a configuration stands for.

    Args:
      identifier: a name, or a dictionary with ``class_name`` and ``config``.
      known: functions and classes by name.
      kind: what they are, for messages.
      custom_objects: more of them, which come first.

    Returns:
      A function as it is, an object of a class.

    Raises:
      ValueError: nothing has that name, or the dictionary is no configuration.
    """
    config: dict[str, Any] = {}
    if isinstance(identifier, dict):
        if "class_name" not in identifier or "config" not in identifier:
            raise ValueError(f"Improper config format: {identifier}")
        name, config = identifier["class_name"], identifier["config"]
        missing = f"Unknown {kind}: {name}"
    else:
        name = str(identifier)
        missing = f"Unknown {kind}:{name}"
    found = (custom_objects or {}).get(name, known.get(name))
    if found is None:
        raise ValueError(missing)
    if isinstance(identifier, dict):
        return found.from_config(config) if hasattr(found, "from_config") else found(**config)
    return found() if inspect.isclass(found) else found


def serialize(instance: Any) -> Any:
    """What `deserialize` makes the same of again: None, a function's name, or a class's name and configuration.

    Raises:
      ValueError: it has neither a configuration nor a name.
    """
    if instance is None:
        return None
    if hasattr(instance, "get_config"):
        return {"class_name": type(instance).__name__, "config": instance.get_config()}
    if hasattr(instance, "__name__"):
        return instance.__name__
    raise ValueError("Cannot serialize", instance)
