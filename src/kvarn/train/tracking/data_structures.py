"""Lists and dictionaries whose elements are dependencies.

`List` and `Mapping` only grow.  The lists and dictionaries that are assigned to attributes are wrapped: a wrapper
can be changed as what it wraps, but after a change that would give one name to two objects it can not be saved.

Source: tensorflow/python/training/tracking/data_structures.py (1.15).
"""

from __future__ import annotations

import collections
import copy
import sys
from collections.abc import (
    Iterable,
    Iterator,
    MutableMapping,
    MutableSequence,
    Sequence,
)
from collections.abc import (
    Mapping as _AbstractMapping,
)
from typing import Any

from kvarn.train.tracking.object_identity import ObjectIdentitySet
from kvarn.variables.trackable import Trackable
from kvarn.variables.variable import Variable

# Bases for `isinstance` alone: all that they would do is overridden.
_List: Any = list
_Dict: Any = dict

_UNTRACKED = (
    "\n\nIf you don't need this {} checkpointed, wrap it in a tf.contrib.checkpoint.NoDependency object; it will be "
    "automatically un-wrapped and subsequently ignored."
)


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


class ListWrapper(List, MutableSequence[Any], _List):  # type: ignore[misc]
    """A list that was assigned to an attribute; the original stays where the elements are.

    It is a ``list`` for ``isinstance`` alone: that list is empty, and all its methods are overridden.

    Args:
      wrapped_list: the list.  A change of it that the wrapper does not see is found when it is saved.
    """

    def __init__(self, wrapped_list: list[Any]) -> None:
        self._non_append_mutation = False
        self._external_modification = False
        super().__init__(wrapped_list)
        self._last_snapshot: list[Any] | None = list(self._storage)

    def _make_storage(self, *args: Any) -> list[Any]:
        (wrapped_list,) = args
        return wrapped_list  # type: ignore[no-any-return]

    def _track_value(self, value: Any, name: str) -> Any:
        try:
            return super()._track_value(value, name)
        except _UntrackableError:
            return wrap_or_unwrap(value)

    def _like(self, copied: ListWrapper) -> ListWrapper:
        copied._non_append_mutation = self._non_append_mutation
        copied._external_modification = self._external_modification
        return copied

    def __copy__(self) -> Any:
        return self._like(super().__copy__())

    def __deepcopy__(self, memo: Any) -> Any:
        return self._like(super().__deepcopy__(memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(self), (self._storage,))

    @property
    def _broken(self) -> bool:
        return self._non_append_mutation or self._external_modification

    def _check_external_modification(self) -> None:
        if not self._broken and self._storage != self._last_snapshot:
            self._external_modification = True
            self._last_snapshot = None

    def _update_snapshot(self) -> None:
        if not self._broken:
            self._last_snapshot = list(self._storage)

    @property
    def _checkpoint_dependencies(self) -> Any:
        self._check_external_modification()
        if self._non_append_mutation:
            raise ValueError(
                f"Unable to save the object {self} (a list wrapper constructed to track trackable TensorFlow "
                "objects). A list element was replaced (__setitem__, __setslice__), deleted (__delitem__, "
                "__delslice__), or moved (sort). In order to support restoration on object creation, tracking is "
                "exclusively for append-only data structures." + _UNTRACKED.format("list")
            )
        if self._external_modification:
            raise ValueError(
                f"Unable to save the object {self} (a list wrapper constructed to track trackable TensorFlow "
                "objects). The wrapped list was modified outside the wrapper (its final value was "
                f"{self._storage}, its value when a checkpoint dependency was added was {self._last_snapshot}), "
                "which breaks restoration on object creation." + _UNTRACKED.format("list")
            )
        return super()._checkpoint_dependencies

    def append(self, value: Any) -> None:
        self._check_external_modification()
        super().append(value)
        self._update_snapshot()

    def __setitem__(self, key: Any, value: Any) -> None:
        self._check_external_modification()
        if isinstance(key, slice):
            before = list(self._storage)
            self._storage[key] = value
            if any(isinstance(old, Trackable) for old in before):
                self._non_append_mutation = True
            for i, now in enumerate(self._storage):
                if i >= len(before) or now is not before[i]:
                    self._storage[i] = self._track_value(now, str(i))
        else:
            if isinstance(self._storage[key], Trackable):
                self._non_append_mutation = True
            index = range(len(self._storage))[key]
            self._storage[key] = self._track_value(value, str(index))
        self._update_snapshot()

    def __delitem__(self, key: Any) -> None:
        self._non_append_mutation = True
        del self._storage[key]

    def insert(self, index: Any, value: Any) -> None:
        self._non_append_mutation = True
        self._storage.insert(index, value)

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        self._non_append_mutation = True
        self._storage.sort(key=key, reverse=reverse)

    def __imul__(self, times: int) -> Any:
        if times > 0:
            return super().__imul__(times)
        self._non_append_mutation = True
        self._storage.clear()
        return self

    def __eq__(self, other: object) -> bool:
        return bool(self._storage == getattr(other, "_storage", other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return bool(self._storage < getattr(other, "_storage", other))

    def __le__(self, other: Any) -> bool:
        return bool(self._storage <= getattr(other, "_storage", other))

    def __gt__(self, other: Any) -> bool:
        return bool(self._storage > getattr(other, "_storage", other))

    def __ge__(self, other: Any) -> bool:
        return bool(self._storage >= getattr(other, "_storage", other))

    def __hash__(self) -> int:
        raise TypeError("unhashable type: 'ListWrapper'")

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + sys.getsizeof(self._storage)

    def __repr__(self) -> str:
        return f"ListWrapper({self._storage!r})"


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


class _DictWrapper(TrackableDataStructure, MutableMapping[Any, Any], _Dict):  # type: ignore[misc]
    """A dictionary that was assigned to an attribute; the original stays where the values are.

    It is a ``dict`` for ``isinstance`` alone: that one is empty, and all its methods are overridden.

    Args:
      wrapped_dict: the dictionary, or pairs.  A change of it that the wrapper does not see is found when it is
        saved.
    """

    def __init__(self, wrapped_dict: Any = ()) -> None:
        super().__init__()
        self.__wrapped__ = wrapped_dict if isinstance(wrapped_dict, dict) else dict(wrapped_dict)
        self._self_non_string_key = False
        self._self_external_modification = False
        for key, value in self.__wrapped__.items():
            self.__wrapped__[key] = self._stored(key, value)
        self._self_last_snapshot: dict[Any, Any] | None = dict(self.__wrapped__)

    def _stored(self, key: Any, value: Any) -> Any:
        """``value`` as it is stored: a dependency if it can be one and its key is a string."""
        if isinstance(key, str):
            return sticky_attribute_assignment(trackable=self, name=key, value=value)
        stored = wrap_or_unwrap(value)
        if not isinstance(value, NoDependency) and isinstance(stored, Trackable):
            self._self_non_string_key = True
        return stored

    @property
    def _values(self) -> Iterable[Any]:
        # Sorted where the keys can be.
        return [value for _, value in sorted(self.items(), key=lambda item: str(item[0]))]

    def _like(self, copied: _DictWrapper) -> _DictWrapper:
        copied._self_non_string_key = self._self_non_string_key
        copied._self_external_modification = self._self_external_modification
        return copied

    def copy(self) -> Any:
        return copy.copy(self)

    def __copy__(self) -> Any:
        return self._like(_DictWrapper(copy.copy(self.__wrapped__)))

    def __deepcopy__(self, memo: Any) -> Any:
        return self._like(_DictWrapper(copy.deepcopy(self.__wrapped__, memo)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (type(self), (self.__wrapped__,))

    @property
    def _broken(self) -> bool:
        return self._self_external_modification or self._self_non_string_key

    def _check_external_modification(self) -> None:
        if not self._broken and self.__wrapped__ != self._self_last_snapshot:
            self._self_external_modification = True
            self._self_last_snapshot = None

    def _update_snapshot(self) -> None:
        if not self._broken:
            self._self_last_snapshot = dict(self.__wrapped__)

    @property
    def _checkpoint_dependencies(self) -> Any:
        self._check_external_modification()
        if self._self_non_string_key:
            raise ValueError(
                f"Unable to save the object {self} (a dictionary wrapper constructed automatically on attribute "
                "assignment). The wrapped dictionary contains a non-string key which maps to a trackable object or "
                "mutable data structure." + _UNTRACKED.format("dictionary")
            )
        if self._self_external_modification:
            raise ValueError(
                f"Unable to save the object {self} (a dictionary wrapper constructed automatically on attribute "
                f"assignment). The wrapped dictionary was modified outside the wrapper (its final value was {self}, "
                f"its value when a checkpoint dependency was added was {self._self_last_snapshot}), which breaks "
                "restoration on object creation." + _UNTRACKED.format("dictionary")
            )
        return super()._checkpoint_dependencies

    def __getitem__(self, key: Any) -> Any:
        return self.__wrapped__[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._check_external_modification()
        self.__wrapped__[key] = self._stored(key, value)
        self._update_snapshot()

    def __delitem__(self, key: Any) -> None:
        self._check_external_modification()
        del self.__wrapped__[key]
        self._update_snapshot()

    # What these change the wrapper does not follow: it counts as a change from outside.

    def pop(self, *args: Any) -> Any:
        return self.__wrapped__.pop(*args)

    def popitem(self) -> Any:
        return self.__wrapped__.popitem()

    def clear(self) -> None:
        self.__wrapped__.clear()

    def setdefault(self, *args: Any) -> Any:
        return self.__wrapped__.setdefault(*args)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__wrapped__)

    def __len__(self) -> int:
        return len(self.__wrapped__)

    def __contains__(self, key: object) -> bool:
        return key in self.__wrapped__

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == getattr(other, "__wrapped__", other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self.__wrapped__)

    def __or__(self, other: Any) -> Any:
        return self.__wrapped__ | other

    def __ror__(self, other: Any) -> Any:
        return other | self.__wrapped__

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + sys.getsizeof(self.__wrapped__)

    def __hash__(self) -> int:
        raise TypeError("unhashable type: 'DictWrapper'")

    def __repr__(self) -> str:
        return f"DictWrapper({self.__wrapped__!r})"

    def __str__(self) -> str:
        return str(self.__wrapped__)
