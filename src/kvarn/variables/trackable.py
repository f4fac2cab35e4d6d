"""Objects that object-based checkpoints save: they know by name what they depend on.

Whatever is found by following these names from the object that is saved is in the checkpoint, each variable under
the path to it.  A restore follows the same names; what is not there yet is restored when it comes.

Source: tensorflow/python/training/tracking/base.py (1.15).
"""

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from kvarn import dtypes, errors
from kvarn.variables.checkpoint_position import (
    VARIABLE_VALUE_KEY,
    CheckpointInitialValue,
    CheckpointPosition,
)

__all__ = [
    "VARIABLE_VALUE_KEY",
    "CheckpointInitialValue",
    "CheckpointPosition",
    "Trackable",
    "TrackableByName",
    "TrackableReference",
    "no_automatic_dependency_tracking",
    "no_automatic_dependency_tracking_scope",
    "refused_in_object_graph",
]

_F = TypeVar("_F", bound=Callable[..., Any])


class TrackableReference(NamedTuple):
    """A dependency: its name within the object that has it, and what it refers to."""

    name: str
    ref: Any


def no_automatic_dependency_tracking(method: _F) -> _F:
    """Decorates a method in which assigning attributes adds no dependencies."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        with no_automatic_dependency_tracking_scope(self):
            return method(self, *args, **kwargs)

    return wrapped  # type: ignore[return-value]


@contextlib.contextmanager
def no_automatic_dependency_tracking_scope(obj: Any) -> Iterator[None]:
    """Inside, assigning attributes of ``obj`` adds no dependencies and wraps no lists and dictionaries."""
    previous = getattr(obj, "_self_setattr_tracking", True)
    obj._self_setattr_tracking = False
    try:
        yield
    finally:
        obj._self_setattr_tracking = previous


class Trackable:
    """The base of variables, optimizers, templates and tables: what a checkpoint finds by following names.

    Dependencies are added by `_track_trackable`; `kvarn.train.tracking.auto_trackable.AutoTrackable` adds what is
    assigned to its attributes.
    """

    @property
    def _setattr_tracking(self) -> bool:
        return getattr(self, "_self_setattr_tracking", True)

    @_setattr_tracking.setter
    def _setattr_tracking(self, value: bool) -> None:
        self._self_setattr_tracking = value

    @property
    def _update_uid(self) -> int:
        """The number of the last restore that has set the object, -1 before the first."""
        return self._self_update_uid

    @_update_uid.setter
    def _update_uid(self, value: int) -> None:
        self._self_update_uid = value

    @property
    def _unconditional_checkpoint_dependencies(self) -> list[TrackableReference]:
        return self._self_unconditional_checkpoint_dependencies

    @property
    def _unconditional_dependency_names(self) -> dict[str, Any]:
        return self._self_unconditional_dependency_names

    @no_automatic_dependency_tracking
    def _maybe_initialize_trackable(self) -> None:
        """Sets up the lists of dependencies, unless that is done: few objects are ever tracked."""
        if hasattr(self, "_self_unconditional_checkpoint_dependencies"):
            return
        if hasattr(self, "_self_update_uid"):
            raise AssertionError(
                "Internal error: the object had an update UID set before its initialization code was run."
            )
        self._self_unconditional_checkpoint_dependencies: list[TrackableReference] = []
        self._self_unconditional_dependency_names: dict[str, Any] = {}
        self._self_unconditional_deferred_dependencies: dict[str, list[CheckpointPosition]] = {}
        self._self_update_uid = -1

    @property
    def _object_identifier(self) -> str:
        """What SavedModels call the kind of the object."""
        return "_generic_user_object"

    @property
    def _tracking_metadata(self) -> str:
        return ""

    def _no_dependency(self, value: Any) -> Any:
        """``value`` for an attribute that is to be no dependency."""
        return value

    @property
    def _checkpoint_dependencies(self) -> list[TrackableReference]:
        """All dependencies; classes whose dependencies depend on the graph override it."""
        return self._self_unconditional_checkpoint_dependencies

    @property
    def _deferred_dependencies(self) -> dict[str, list[CheckpointPosition]]:
        """What is to be restored into dependencies that are not there yet, by their names."""
        return self._self_unconditional_deferred_dependencies

    def _lookup_dependency(self, name: str) -> Any:
        """The dependency of a name, or None."""
        return self._self_unconditional_dependency_names.get(name)

    def _add_variable_with_custom_getter(
        self,
        name: str,
        shape: Any = None,
        dtype: Any = dtypes.float32,
        initializer: Any = None,
        getter: Any = None,
        overwrite: bool = False,
        **kwargs_for_getter: Any,
    ) -> Any:
        """A variable made by ``getter`` that becomes a dependency, and is restored if that was asked for.

        Args:
          name: of the variable and of the dependency, unique within the object unless ``overwrite``.
          shape, dtype, initializer: given to the getter.
          getter: called with ``name``, ``shape``, ``dtype``, ``initializer`` and ``kwargs_for_getter``.
          overwrite: whether another dependency may have the name, and the getter may return something that can
            not be tracked.

        Raises:
          ValueError: the name is taken.
          TypeError: what ``getter`` returns can not be tracked.
        """
        self._maybe_initialize_trackable()
        variable = getter(name=name, shape=shape, dtype=dtype, initializer=initializer, **kwargs_for_getter)
        if overwrite and not isinstance(variable, Trackable):
            return variable
        return self._track_trackable(variable, name=name, overwrite=overwrite)

    def _preload_simple_restoration(self, name: str, shape: Any) -> CheckpointInitialValue | None:
        """The initial value that the restores waiting for a dependency give it.

        None if none waits, or one has more for it than a single tensor.
        """
        waiting = self._deferred_dependencies.get(name, ())
        if not waiting or not all(position.is_simple_variable() for position in waiting):
            return None
        return CheckpointInitialValue(max(waiting, key=lambda position: position.restore_uid), shape=shape)

    def _track_trackable(self, trackable: Any, name: str, overwrite: bool = False) -> Any:
        """Makes an object a dependency; what waits to be restored into it is.

        Args:
          trackable: the object.
          name: within this one.  Checkpoints are matched by it.
          overwrite: whether it may take the place of another object.

        Returns:
          ``trackable``.

        Raises:
          TypeError: it is no `Trackable`.
          ValueError: the name is taken.
        """
        self._maybe_initialize_trackable()
        if not isinstance(trackable, Trackable):
            raise TypeError(f"Trackable._track_trackable() passed type {type(trackable)}, not a Trackable.")
        reference = TrackableReference(name, trackable)
        current = self._lookup_dependency(name)
        if current is None:
            self._self_unconditional_checkpoint_dependencies.append(reference)
            self._handle_deferred_dependencies(name=name, trackable=trackable)
        elif current is not trackable:
            if not overwrite:
                raise ValueError(
                    f"Called Trackable._track_trackable() with name='{name}', but a Trackable with this name is "
                    "already declared as a dependency. Names must be unique (or overwrite=True)."
                )
            dependencies = self._self_unconditional_checkpoint_dependencies
            dependencies[:] = [reference if old.name == name else old for old in dependencies]
        self._self_unconditional_dependency_names[name] = trackable
        return trackable

    def _handle_deferred_dependencies(self, name: str, trackable: Any) -> None:
        """Restores into ``trackable`` what has waited for a dependency ``name``; it need not become one."""
        self._maybe_initialize_trackable()
        trackable._maybe_initialize_trackable()
        waiting = self._deferred_dependencies.pop(name, ())
        for position in sorted(waiting, key=lambda p: p.restore_uid, reverse=True):
            position.restore(trackable)

    def _restore_from_checkpoint_position(self, checkpoint_position: CheckpointPosition) -> list[Any]:
        """The operations that restore the object and what it depends on, shortest paths first."""
        to_visit = collections.deque([checkpoint_position])
        restore_ops: list[Any] = []
        named_saveables: dict[str, Any] = {}
        python_saveables: list[Any] = []
        while to_visit:
            position = to_visit.popleft()
            found = position.trackable._single_restoration_from_checkpoint_position(
                checkpoint_position=position, visit_queue=to_visit
            )
            restore_ops.extend(found[0])
            named_saveables.update(found[1])
            python_saveables.extend(found[2])
        made = checkpoint_position.checkpoint.restore_saveables(named_saveables, python_saveables)
        return [*restore_ops, *made]

    def _single_restoration_from_checkpoint_position(
        self, checkpoint_position: CheckpointPosition, visit_queue: collections.deque[CheckpointPosition]
    ) -> tuple[list[Any], dict[str, Any], list[Any]]:
        """What restores the object itself; its dependencies go to ``visit_queue``, or wait for the objects.

        An object that a later restore has set is left alone.
        """
        self._maybe_initialize_trackable()
        checkpoint = checkpoint_position.checkpoint
        found: tuple[list[Any], dict[str, Any], list[Any]] = ([], {}, [])
        if checkpoint.restore_uid > self._self_update_uid:
            found = checkpoint_position.gather_ops_or_named_saveables()
            self._self_update_uid = checkpoint.restore_uid
        for child in checkpoint_position.object_proto.children:
            position = CheckpointPosition(checkpoint, child.node_id)
            dependency = self._lookup_dependency(child.local_name)
            if dependency is None:
                self._deferred_dependencies.setdefault(child.local_name, []).append(position)
            elif position.bind_object(dependency):
                visit_queue.append(position)
        return found

    def _gather_saveables_for_checkpoint(self) -> dict[str, Any]:
        """What the object itself saves: by attribute, a function from a name to a saveable, or a variable."""
        return {}

    def _list_extra_dependencies_for_serialization(self, serialization_cache: Any) -> dict[str, Any]:
        """More dependencies that a SavedModel of the object has; none by default."""
        del serialization_cache
        return {}

    def _list_functions_for_serialization(self, serialization_cache: Any) -> dict[str, Any]:
        """The functions that a SavedModel of the object has; none by default."""
        del serialization_cache
        return {}


class TrackableByName(Trackable):
    """What checkpoints by names alone can hold: one of objects that comes upon it is refused, lest it be lost."""

    name: Any

    @property
    def _checkpoint_dependencies(self) -> list[TrackableReference]:
        raise refused_in_object_graph(self.name)


def refused_in_object_graph(name: str) -> errors.OpError:
    """The error for a variable that an object-based checkpoint can not hold."""
    return errors.UnimplementedError.of(
        f"Embedding variable '{name}' cannot be saved in an object-based checkpoint.",
        name=name,
        hint="Its tensors bear its own name, as in DeepRec: save it with tf.train.Saver.",
    )
