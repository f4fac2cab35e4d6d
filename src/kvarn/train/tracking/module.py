"""`tf.Module`: an object with a name scope that finds the variables and modules in its attributes.

Source: tensorflow/python/module/module.py (1.15).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from kvarn.graph import nest
from kvarn.graph.graph import name_scope
from kvarn.train.tracking.auto_trackable import AutoTrackable
from kvarn.variables.variable import Variable

_CAMEL_TO_SNAKE = re.compile(r"((?<=[a-z0-9])[A-Z]|(?!^)[A-Z](?=[a-z]))")
_VALID_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

_Path = tuple[Any, ...]


class Module(AutoTrackable):
    """A named part of a model; what is assigned to its attributes is saved with it.

    Args:
      name: a Python identifier; by default made of the class's name, ``MyLayer`` becoming ``my_layer``.

    Attributes:
      name: the name.

    Raises:
      ValueError: ``name`` is no identifier.
    """

    # Attributes in which `_flatten` does not look: what they refer to is found through others.
    _TF_MODULE_IGNORED_PROPERTIES: ClassVar[frozenset[str]] = frozenset(
        ("_self_unconditional_checkpoint_dependencies", "_self_unconditional_dependency_names")
    )

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            name = camel_to_snake(type(self).__name__)
        elif not valid_identifier(name):
            raise ValueError(
                f"{name!r} is not a valid module name. Module names must be valid Python identifiers (e.g. a valid "
                "class name)."
            )
        self._name = name
        with name_scope(name) as scope_name:
            self._scope_name = scope_name

    @property
    def name(self) -> str:
        return self._name

    @property
    def name_scope(self) -> Any:
        """A context in which operations get the module's scope; it is unique."""
        return name_scope(self._scope_name)

    @property
    def variables(self) -> tuple[Any, ...]:
        """Its variables in the order of the attributes' names, then those of modules inside; each once."""
        return tuple(self._flatten(predicate=lambda leaf: isinstance(leaf, Variable)))

    @property
    def trainable_variables(self) -> tuple[Any, ...]:
        """Those of `variables` that are trainable."""
        return tuple(variable for variable in self.variables if variable.trainable)

    @property
    def submodules(self) -> tuple[Any, ...]:
        """The modules inside, each once."""
        return tuple(self._flatten(predicate=lambda leaf: isinstance(leaf, Module)))

    def _flatten(
        self,
        recursive: bool = True,
        predicate: Callable[[Any], Any] | None = None,
        attribute_traversal_key: Callable[[str], Any] | None = None,
        with_path: bool = False,
    ) -> Iterator[Any]:
        """The leaves of all attributes.

        Args:
          recursive: whether those of modules inside follow.
          predicate: which leaves; all by default.
          attribute_traversal_key: key by which the names of attributes are sorted.
          with_path: give (path, leaf), and a leaf once for each path.
        """
        return _flatten_module(
            self, recursive, predicate or (lambda _: True), attribute_traversal_key, with_path, (), {id(self)}
        )

    @classmethod
    def with_name_scope(cls, method: Callable[..., Any]) -> Callable[..., Any]:
        """Decorates a method so that it runs in the module's name scope."""

        @functools.wraps(method)
        def in_scope(self: Any, *args: Any, **kwargs: Any) -> Any:
            with self.name_scope:
                return method(self, *args, **kwargs)

        return in_scope


def valid_identifier(name: str) -> bool:
    """Whether a name may be that of a module."""
    return _VALID_IDENTIFIER.fullmatch(name) is not None


def camel_to_snake(value: str) -> str:
    """``MyLayer`` as ``my_layer``."""
    return _CAMEL_TO_SNAKE.sub(r"_\1", value).lower()


def _flatten_module(
    module: Module,
    recursive: bool,
    predicate: Callable[[Any], Any],
    key: Callable[[str], Any] | None,
    with_path: bool,
    module_path: _Path,
    seen: set[int],
) -> Iterator[Any]:
    attributes = vars(module)
    inside: list[tuple[_Path, Module]] = []
    for name in sorted(attributes, key=key):
        if name in module._TF_MODULE_IGNORED_PROPERTIES:
            continue
        for path, leaf in _leaves(attributes[name], (*module_path, name)):
            if not with_path:
                if id(leaf) in seen:
                    continue
                seen.add(id(leaf))
            if predicate(leaf):
                yield (path, leaf) if with_path else leaf
            if recursive and isinstance(leaf, Module):
                inside.append((path, leaf))
    for path, submodule in inside:
        yield from _flatten_module(submodule, recursive, predicate, key, with_path, path, seen)


def _leaves(structure: Any, path: _Path) -> Iterator[tuple[_Path, Any]]:
    if not nest.is_nested(structure):
        yield path, structure
        return
    for at, part in nest._items(structure):
        yield from _leaves(part, (*path, at))
