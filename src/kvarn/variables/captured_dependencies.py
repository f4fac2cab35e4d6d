"""Variables that code which knows of names alone makes, as dependencies of the object that calls it.

Source: `capture_dependencies` in tensorflow/python/training/tracking/util.py (1.15).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from kvarn.variables.creator import variable_creator_scope


@contextlib.contextmanager
def capture_dependencies(template: Any) -> Iterator[None]:
    """Variables made inside become dependencies of ``template``, under their names within its variable scope.

    Where another template inside has captured a variable already, that template becomes a dependency instead.

    Args:
      template: a `Trackable` with a ``variable_scope``, which is open.
    """
    prefix = template.variable_scope.name

    def creator(
        next_creator: Callable[..., Any],
        name: str | None = None,
        initial_value: Any = None,
        trackable_parent: tuple[Any, str] | None = None,
        **kwargs: Any,
    ) -> Any:
        def make(initializer: Any, **inner: Any) -> Any:
            # The name is the whole one again: only the dependency has that within the scope.
            inner.pop("name")
            return next_creator(initial_value=initializer, name=name, **inner)

        if name is not None and name.startswith(prefix):
            if trackable_parent is None:
                return template._add_variable_with_custom_getter(
                    initializer=initial_value,
                    name=name[len(prefix) + 1 :],
                    getter=make,
                    overwrite=True,
                    trackable_parent=(template, prefix),
                    **kwargs,
                )
            parent, parent_prefix = trackable_parent
            template._track_trackable(parent, name=parent_prefix[len(prefix) + 1 :], overwrite=True)
        return next_creator(
            name=name, initial_value=initial_value, trackable_parent=(template, prefix), **kwargs
        )

    with variable_creator_scope(creator):
        yield
