"""Which checkpoints a Saver keeps.

Source: `_RecordLastCheckpoint` and `_MaybeDeleteOldCheckpoints` in tensorflow/python/training/saver.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Retention:
    """The newest ``max_to_keep`` checkpoints, and one for every ``keep_every_n_hours``.

    Args:
      max_to_keep: how many; 0 counts and deletes nothing.
      keep_every_n_hours: a checkpoint that has to leave stays for good when it was written after the time
        until which one is kept already.
      clock: the time in seconds.

    Attributes:
      last: (prefix, time in seconds) of the checkpoints that count, oldest first.
    """

    def __init__(
        self, max_to_keep: int, keep_every_n_hours: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.max_to_keep = max_to_keep
        self.last: list[tuple[str, float]] = []
        self._every_secs = keep_every_n_hours * 3600
        self._clock = clock
        self._next_kept = clock() + self._every_secs
        self._leaving: list[tuple[str, float]] = []

    def listed_with(self, prefix: str) -> list[str]:
        """The prefixes that count once ``prefix`` is recorded, oldest first."""
        if not self.max_to_keep:
            return []
        listed = [p for p, _ in self._with(prefix)]
        # One leaves at a time, also when a list set from outside is longer.
        return listed[1:] if len(listed) > self.max_to_keep else listed

    def record(self, prefix: str) -> None:
        """Counts a new checkpoint; when there are too many, the oldest leaves."""
        if not self.max_to_keep:
            return
        self.last = self._with(prefix)
        self._leaving = [(p, t) for p, t in self._leaving if p != prefix]
        if len(self.last) > self.max_to_keep:
            self._leaving.append(self.last.pop(0))

    def next_to_delete(self) -> str | None:
        """The prefix of one checkpoint to delete now, or None; one that stays for good is passed over."""
        if not self._leaving:
            return None
        prefix, written = self._leaving.pop(0)
        if written > self._next_kept:
            self._next_kept += self._every_secs
            return None
        return prefix

    def _with(self, prefix: str) -> list[tuple[str, float]]:
        return [*((p, t) for p, t in self.last if p != prefix), (prefix, self._clock())]
