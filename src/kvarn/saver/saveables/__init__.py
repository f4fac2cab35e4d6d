"""Kinds of saveables, one file each; the registry that finds the kind of a value.

    @saveable_for(RefVariable)
    class ReferenceVariableKind(Kind):
        def add_to(self, names, value): ...        # how a list of variables names it
        def saveables(self, value, name): ...      # its SaveableObjects under a name

A program registers kinds of its own with the same decorator.  The builder and the helpers never ask for
types: `kind_of` goes by the classes of the value, the most derived first.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from kvarn.saver.saveable_object import SaveableObject

_SHIPPED = (
    "custom",
    "embedding_kinds",
    "embedding_variable",
    "lookup_table",
    "partitioned_variable",
    "reference_variable",
    "resource_variable",
    "slices",
    "tensor",
    "trackable",
)


class Kind:
    """How values of one type are named and saved."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        """Puts ``value``, an item of a list of variables, into a dictionary of names.

        Raises:
          ValueError: the name is taken.
        """
        raise NotImplementedError

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        """The saveables of ``value`` under ``name``."""
        raise NotImplementedError

    def slice_saveable(self, part: Any, name: str) -> SaveableObject:
        """The saveable of ``part``, one slice of the tensor ``name``; ValueError if it is no slice."""
        raise ValueError(f"Slices must all be Variables: {part}")


_K = TypeVar("_K", bound=type[Kind])
_kinds: dict[type, Kind] = {}


def saveable_for(*types: type) -> Callable[[_K], _K]:
    """Registers a `Kind` for values of ``types`` and of classes derived from them."""

    def register(kind: _K) -> _K:
        for cls in types:
            _kinds[cls] = kind()
        return kind

    return register


def kind_of(value: Any) -> Kind:
    """The kind of a value; there is one for every type, which may refuse the value then."""
    _load_shipped()
    return next(_kinds[cls] for cls in type(value).__mro__ if cls in _kinds)


@functools.cache
def _load_shipped() -> None:
    for module in _SHIPPED:
        importlib.import_module(f"kvarn.saver.saveables.{module}")


def add_unique(names: dict[str, Any], name: str, value: Any) -> None:
    """Adds a value under a name of its own; ValueError if the name is taken."""
    if name in names:
        raise ValueError(f"At least two variables have the same name: {name}")
    names[name] = value
