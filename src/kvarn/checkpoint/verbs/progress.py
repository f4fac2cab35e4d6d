"""How far a long verb is: it tells whoever asked the bytes done and the bytes in all."""

from __future__ import annotations

from collections.abc import Callable

# Bytes done, bytes in all.
Progress = Callable[[int, int], None]


class Counter:
    """Adds up what has passed, for a `Progress`."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)
