"""Which entries of a `kvarn.engine.reference.ReferenceEmbeddingTable` would be in memory, and which on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal

from kvarn.engine.policies import TieredStorage


class ReferenceTiers:
    """The rule of the tiers, on keys: what is needed comes to memory, what is used least leaves it.

    A lookup makes room for what comes before it comes; every other call brings up what it needs first and gives back
    what is too much when it is done, so that what it updates is in memory as a whole.

    Args:
      storage: None for a table without tiers, of which all entries are in memory.
    """

    def __init__(self, storage: TieredStorage | None) -> None:
        self.storage = storage
        self.counts = {} if storage is None else {"hits_dram": 0, "hits_disk": 0, "misses": 0}
        self._capacity = 1
        # Of the keys in memory how often they were used, in the order in which each came to its number.
        self._uses: dict[int, int] = {}
        self._on_disk: set[int] = set()

    def set_slots(self, dims: Iterable[int]) -> None:
        """The slots of entries from now on."""
        if self.storage is not None:
            self._capacity = self.storage.capacity(dims)
            self.make_room()

    def tier(self, key: int) -> int:
        """0 in memory, 1 on disk; of a key that has an entry."""
        return 1 if key in self._on_disk else 0

    def look_up(self, keys: Iterable[int], creates: bool) -> list[int]:
        """Counts a lookup and makes room for what it brings to memory.

        Args:
          creates: keys without an entry will get one.

        Returns:
          The keys to bring up.  What had to leave for them is not among them: it has been read.
        """
        if self.storage is None:
            return []
        coming: dict[int, None] = {}
        for key in keys:
            where = "hits_dram" if key in self._uses else "hits_disk" if key in self._on_disk else "misses"
            self.counts[where] += 1
            if key in self._on_disk or (creates and key not in self._uses):
                coming[key] = None
        on_disk = [key for key in coming if key in self._on_disk]
        if coming:
            self.make_room(len(coming))
        return on_disk

    def make_room(self, n: int = 0) -> None:
        """Lets entries leave memory until it has room for n more."""
        if self.storage is None:
            return
        for key in self._by_use()[: max(0, len(self._uses) - max(0, self._capacity - n))]:
            del self._uses[key]
            self._on_disk.add(key)

    def bring_up(self, key: int, freq: int) -> None:
        """The key's entry is in memory, and has been counted ``freq`` times."""
        if self.storage is not None and key not in self._uses:
            self.enter(key, freq)

    def enter(self, key: int, freq: int) -> None:
        """The key's entry is in memory as if it had just come there."""
        if self.storage is not None:
            self.leave(key)
            self._uses[key] = max(freq, 1)

    def use(self, key: int, count: int) -> None:
        """The entry, which is in memory, was updated."""
        if self.storage is not None:
            self._uses[key] = self._uses.pop(key) + count

    def set_cache(self, cache: Literal["lru", "lfu"], freq: Callable[[int], int]) -> None:
        """Another cache; the entries in memory come to it one after the other, counted ``freq`` times."""
        if self.storage is None or cache == self.storage.cache:
            return
        uses = {key: max(freq(key), 1) for key in self._by_use()}
        self.storage = dataclasses.replace(self.storage, cache=cache)
        self._uses = uses

    def _by_use(self) -> list[int]:
        """The keys in memory, those that leave first in front."""
        if self.storage is not None and self.storage.cache == "lru":
            return list(self._uses)
        return sorted(self._uses, key=self._uses.__getitem__)

    def leave(self, key: int) -> None:
        """The entry is gone."""
        self._uses.pop(key, None)
        self._on_disk.discard(key)

    def clear(self) -> None:
        self._uses.clear()
        self._on_disk.clear()
