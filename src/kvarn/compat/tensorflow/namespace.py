"""Modules whose attributes come from the table of names, each loaded when it is first used."""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType
from typing import Any

from kvarn.compat.tensorflow import names


def load(target: str) -> Any:
    """The object that ``module:attribute`` or ``module`` names."""
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
    return found


def resolve(namespace: str, name: str, shown_as: str) -> Any:
    """What ``name`` stands for in a namespace of the table.

    Args:
      namespace: dotted, ``""`` for ``tf`` itself.
      shown_as: the module's name for messages.

    Raises:
      AttributeError: the table has no such name; the message says what comes nearest.
    """
    if namespace == names.RAW_OPS:
        from kvarn.compat.tensorflow import raw_ops

        function = raw_ops.find(name)
        if function is not None:
            return function
    target = names.find(namespace, name)
    if target is not None:
        return load(target)
    full = f"{namespace}.{name}" if namespace else name
    if full == "compat.v1":
        return module_of("")
    if full in names.NAMESPACES:
        return module_of(full)
    if full == "app.flags":
        return module_of("flags")
    raise AttributeError(f"module '{shown_as}' has no attribute '{name}'.{advice(full)}")


def advice(full: str) -> str:
    """Which names come nearest to a missing one, as a sentence."""
    parts = full.split(".")
    if any(".".join(parts[:n]) in names.NOT_YET for n in range(1, len(parts) + 1)):
        return " kvarn does not have it yet"
    everything = names.all_names()
    tail = full.rpartition(".")[2]
    same_tail = [n for n in everything if n.rpartition(".")[2] == tail]
    near = same_tail[:3] or difflib.get_close_matches(full, everything, n=3, cutoff=0.75)
    if not near:
        near = [n for n in everything if n.rpartition(".")[2].lower() == tail.lower()][:3]
    text = " kvarn does not have it"
    if near:
        text += f"; nearest: {', '.join('tf.' + n for n in near)}"
    return text


_modules: dict[str, ModuleType] = {}


def module_of(namespace: str) -> ModuleType:
    """The module for a namespace such as ``train``; ``""`` is ``tf``."""
    found = _modules.get(namespace)
    if found is None:
        found = _modules[namespace] = Namespace(namespace)
    return found


class Namespace(ModuleType):
    """One namespace of the table as a module."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"tensorflow.{namespace}" if namespace else "tensorflow")
        self.__dict__["_namespace"] = namespace
        self.__dict__["__path__"] = []
        if not namespace:
            self.__dict__["__version__"] = names.TENSORFLOW_VERSION

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module '{self.__name__}' has no attribute {name!r}")
        value = resolve(self.__dict__["_namespace"], name, self.__name__)
        self.__dict__[name] = value
        return value

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *names.names_in(self.__dict__["_namespace"])})
