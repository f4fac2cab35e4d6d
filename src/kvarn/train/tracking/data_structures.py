"""Lists and dictionaries whose elements are dependencies.

`List` and `Mapping` only grow.  The lists and dictionaries that are assigned to attributes are wrapped:
see `kvarn.train.tracking.wrappers`.

Source: tensorflow/python/training/tracking/data_structures.py (1.15).
"""

from __future__ import annotations

import collections
import copy
from collections.abc import (
    Iterable,
    Iterator,
    Sequence,
)
from collections.abc import (
    Mapping as _AbstractMapping,
)
from typing import Any

from kvarn.train.tracking.object_identity import ObjectIdentitySet
from kvarn.variables.trackable import Trackable
from kvarn.variables.variable import Variable


class NoDependency:
    """An attribute's value that is no dependency, and not wrapped: the attribute gets ``value`` itself."""

    def __init__(self, value: Any) -> None:
        self.value = value


def wrap_or_unwrap(value: Any) -> Any:
    """A list or dictionary in its wrapper, the value of a `NoDependency`, anything else as it is."""
    if isinstance(value, NoDependency):
        return value.value
    if isinstance(value, Trackable):
        return value
    from kvarn.train.tracking.wrappers import ListWrapper, _DictWrapper

    # Derived classes have a behaviour of their own to keep.
    if type(value) in (dict, collections.OrderedDict):
        return _DictWrapper(value)
    if type(value) is list:
        return ListWrapper(value)
    return value


def sticky_attribute_assignment(trackable: Any, name: str, value: Any) -> Any:
    """What an attribute gets when ``value`` is assigned to it; a dependency of ``trackable`` if it can be one."""
    wrapped = wrap_or_unwrap(value)
    if not isinstance(value, NoDependency) and isinstance(wrapped, Trackable):
        trackable._track_trackable(wrapped, name=name, overwrite=True)
    return wrapped


class _UntrackableError(ValueError):
    """What should become an element can not be tracked."""

    def __init__(self, value: Any) -> None:
        super().__init__(
            "Only trackable objects (such as Layers or Optimizers) may be stored in a List object. Got "
            f"{value}, which does not inherit from Trackable."
        )


class TrackableDataStructure(Trackable):
    """What structures have in common: they list the variables in them, and compare by identity."""

    def __init__(self) -> None:
        self._self_trainable = True

    @property
    def trainable(self) -> bool:
        return self._self_trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._self_trainable = value

    def _track_value(self, value: Any, name: str) -> Any:
        """``value`` as it is stored, a dependency now; ValueError if it can not be one."""
        value = sticky_attribute_assignment(trackable=self, value=value, name=name)
        if not isinstance(value, Trackable):
            raise _UntrackableError(value)
        return value

    @property
    def _values(self) -> Iterable[Any]:
        raise NotImplementedError

    @property
    def variables(self) -> list[Any]:
        """The variables in it, those of structures inside it first."""
        return self.trainable_variables + self.non_trainable_variables

    @property
    def trainable_variables(self) -> list[Any]:
        if not self.trainable:
            return []
        inside = [v for part in self._parts() for v in part.trainable_variables]
        return inside + [v for v in self._own_variables() if v.trainable]

    @property
    def non_trainable_variables(self) -> list[Any]:
        inside = [v for part in self._parts() for v in part.non_trainable_variables]
        if self.trainable:
            return inside + [v for v in self._own_variables() if not v.trainable]
        trained = [v for part in self._parts() for v in part.trainable_variables]
        own = sorted(self._own_variables(), key=lambda v: not v.trainable)
        return trained + [v for v in own if v.trainable] + inside + [v for v in own if not v.trainable]

    weights = variables
    trainable_weights = trainable_variables
    non_trainable_weights = non_trainable_variables

    def _own_variables(self) -> list[Any]:
        return [v for v in self._values if isinstance(v, Variable)]

    def _parts(self) -> list[Any]:
        """What lists variables of its own, each once."""
        seen = ObjectIdentitySet()
        parts = []
        for value in self._values:
            if hasattr(type(value), "trainable_variables") and value not in seen:
                seen.add(value)
                parts.append(value)
        return parts

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class List(TrackableDataStructure, Sequence[Any]):
    """A list that only grows; every element is a dependency under its index.

    Args:
      args: as those of ``list``.

    Raises:
      ValueError: an element can not be tracked.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        self._storage = self._make_storage(*args)
        for index, element in enumerate(self._storage):
            self._storage[index] = self._track_value(element, name=str(index))

    def _make_storage(self, *args: Any) -> list[Any]:
        return list(*args)

    @property
    def _values(self) -> Iterable[Any]:
        return self

    def copy(self) -> Any:
        return copy.copy(self)

    def __copy__(self) -> Any:
        return type(self)(copy.copy(self._storage))

    def __deepcopy__(self, memo: Any) -> Any:
        return type(self)(copy.deepcopy(self._storage, memo))

    def append(self, value: Any) -> None:
        self._storage.append(self._track_value(value, str(len(self._storage))))

    def extend(self, values: Iterable[Any]) -> None:
        for value in values:
            self.append(value)

    def __iadd__(self, values: Any) -> Any:
        self.extend(values)
        return self

    def __add__(self, other: Any) -> Any:
        return type(self)(self._storage + getattr(other, "_storage", other))

    def __radd__(self, other: Any) -> Any:
        return type(self)(other) + self

    def __imul__(self, times: int) -> Any:
        if times <= 0:
            raise ValueError(f"List only supports append, multiplying in place by {times} removes elements.")
        elements = list(self._storage)
        for _ in range(times - 1):
            self.extend(elements)
        return self

    def __mul__(self, times: int) -> Any:
        return type(self)(self._storage * times)

    __rmul__ = __mul__

    def __getitem__(self, key: Any) -> Any:
        return self._storage[key]

    def __len__(self) -> int:
        return len(self._storage)

    def __repr__(self) -> str:
        return f"List({self._storage!r})"


class Mapping(TrackableDataStructure, _AbstractMapping[str, Any]):
    """A dictionary that only grows; every value is a dependency under its key.

    Args:
      args, kwargs: as those of ``dict``.

    Raises:
      TypeError: a key is no string.
      ValueError: a value can not be tracked.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self._storage: dict[str, Any] = {}
        self.update(*args, **kwargs)

    @property
    def _values(self) -> Iterable[Any]:
        return [value for _, value in sorted(self._storage.items())]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"Mapping accepts only string keys, but got a key {key!r}.")
        value = self._track_value(value, name=key)
        current = self._storage.setdefault(key, value)
        if current is not value:
            raise ValueError(
                f"Mappings are an append-only data structure. Tried to overwrite the key '{key}' with value {value}, "
                f"but it already contains {current}"
            )

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __getitem__(self, key: str) -> Any:
        return self._storage[key]

    def __len__(self) -> int:
        return len(self._storage)

    def __iter__(self) -> Iterator[str]:
        return iter(self._storage)

    def __repr__(self) -> str:
        return f"Mapping({self._storage!r})"


class UniqueNameTracker(TrackableDataStructure):
    """Dependencies under names that are made unique: ``x``, ``x_1``, …"""

    def __init__(self) -> None:
        super().__init__()
        self._maybe_initialize_trackable()
        self._name_counts: dict[str, int] = {}

    @property
    def _values(self) -> Iterable[Any]:
        return [reference.ref for reference in self._checkpoint_dependencies]

    def track(self, trackable: Any, base_name: str) -> Any:
        """Makes ``trackable`` a dependency and returns it; ValueError if it can not be one."""
        if not isinstance(trackable, Trackable):
            raise ValueError(
                f"Expected a trackable value, got {trackable} which does not inherit from tf.track.Trackable."
            )
        count = self._name_counts.get(base_name, 0)
        while self._lookup_dependency(name := f"{base_name}_{count}" if count else base_name) is not None:
            count += 1
        self._name_counts[base_name] = count + 1
        return self._track_value(trackable, name=name)
