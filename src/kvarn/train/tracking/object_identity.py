"""Dictionaries and sets that compare by identity, whatever their elements call equal.

Source: tensorflow/python/util/object_identity.py (1.15).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, MutableMapping, MutableSet
from typing import Any


class ObjectIdentityDictionary(MutableMapping[Any, Any]):
    """A dictionary whose keys are objects themselves."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[Any, Any]] = {}

    def __getitem__(self, key: Any) -> Any:
        return self._items[id(key)][1]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._items[id(key)] = (key, value)

    def __delitem__(self, key: Any) -> None:
        del self._items[id(key)]

    def __contains__(self, key: object) -> bool:
        return id(key) in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter([key for key, _ in self._items.values()])

    def __len__(self) -> int:
        return len(self._items)


class ObjectIdentityWeakKeyDictionary(MutableMapping[Any, Any]):
    """An `ObjectIdentityDictionary` that keeps no key alive."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def __getitem__(self, key: Any) -> Any:
        return self._items[id(key)][1]

    def __setitem__(self, key: Any, value: Any) -> None:
        items, at = self._items, id(key)
        self._items[at] = (weakref.ref(key, lambda _: items.pop(at, None)), value)

    def __delitem__(self, key: Any) -> None:
        del self._items[id(key)]

    def __contains__(self, key: object) -> bool:
        return id(key) in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter([key for ref, _ in list(self._items.values()) if (key := ref()) is not None])

    def __len__(self) -> int:
        return len(self._items)


class _Identities(MutableSet[Any]):
    _items: ObjectIdentityDictionary | ObjectIdentityWeakKeyDictionary

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, value: Any) -> None:
        self._items[value] = True

    def discard(self, value: Any) -> None:
        self._items.pop(value, None)


class ObjectIdentitySet(_Identities):
    """A set of objects themselves."""

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        self._items = ObjectIdentityDictionary()
        self |= elements  # type: ignore[arg-type]


class ObjectIdentityWeakSet(_Identities):
    """An `ObjectIdentitySet` that keeps no element alive."""

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        self._items = ObjectIdentityWeakKeyDictionary()
        self |= elements  # type: ignore[arg-type]
