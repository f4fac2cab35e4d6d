"""Modules that TensorFlow has and kvarn has not: they can be imported, and say so when something in them is used.

Programs import much that they do not use, or use in a case that never comes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from kvarn import errors


class AbsentName(type):
    """A name out of such a module.  It may stand where a class does; calling it raises UnimplementedError."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        name = f"{cls.__module__}.{cls.__qualname__}"
        raise errors.UnimplementedError.of(f"kvarn does not have '{name}'", name=name)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"{cls!r} has no attribute {name!r}")
        return _absent(cls.__module__, f"{cls.__qualname__}.{name}")

    def __repr__(cls) -> str:
        return f"<absent '{cls.__module__}.{cls.__qualname__}'>"


class AbsentModule(ModuleType):
    """A module of which kvarn knows only that TensorFlow has it."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "A module of TensorFlow that kvarn does not have.")
        self.__dict__["__path__"] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module '{self.__name__}' has no attribute {name!r}")
        if exists(f"{self.__name__}.{name}".partition(".")[2]):
            # A module inside: it is to be imported.
            raise AttributeError(f"module '{self.__name__}' has no attribute {name!r} before it is imported")
        found = self.__dict__[name] = _absent(self.__name__, name)
        return found


def _absent(module: str, name: str) -> AbsentName:
    return AbsentName(name.rpartition(".")[2], (), {"__module__": module, "__qualname__": name})


@cache
def _modules() -> frozenset[str]:
    return frozenset((Path(__file__).parent / "modules.txt").read_text().split())


def exists(module: str) -> bool:
    """Whether TensorFlow 1.15.5 has a module of that name, without the leading ``tensorflow.``."""
    return module in _modules()
