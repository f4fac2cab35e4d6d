"""Wrappers of the lists and dictionaries that are assigned to attributes.

A wrapper can be changed as what it wraps, but after a change that would give one name to two objects it can not be
saved: a restore into objects that come later could not tell them apart.

Source: `ListWrapper` and `_DictWrapper` in tensorflow/python/training/tracking/data_structures.py (1.15).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator, MutableMapping, MutableSequence
from typing import Any

from kvarn.train.tracking.data_structures import (
    List,
    NoDependency,
    TrackableDataStructure,
    _UntrackableError,
    sticky_attribute_assignment,
    wrap_or_unwrap,
)
from kvarn.variables.trackable import Trackable

# Bases for `isinstance` alone: all that they would do is overridden.
_List: Any = list
_Dict: Any = dict

_UNTRACKED = (
    "\n\nIf you don't need this {} checkpointed, wrap it in a tf.contrib.checkpoint.NoDependency object; it will be "
    "automatically un-wrapped and subsequently ignored."
)


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
