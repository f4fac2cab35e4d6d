"""Cuts of a `kvarn.engine.reference.ReferenceEmbeddingTable`, and what it remembers between them."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import errors
from kvarn.engine import arguments
from kvarn.engine.reference_admission import Counts

_FloatArray = npt.NDArray[np.float32]
_Int64Array = npt.NDArray[np.int64]
_KeyArray = npt.NDArray[Any]


class Touches:
    """The number of cuts that were taken, and after which of them each key was last touched."""

    def __init__(self) -> None:
        self._cuts = 0
        self._last: dict[int, int] = {}
        # Touches after cuts before this one are not known; None: nothing is recorded.
        self._known_from: int | None = None

    @property
    def recording(self) -> bool:
        return self._known_from is not None

    def record(self, recording: bool) -> None:
        if recording == self.recording:
            return
        self._last.clear()
        self._known_from = self._cuts if recording else None

    def touch(self, key: int) -> None:
        if self.recording:
            self._last[key] = self._cuts

    def cut(self) -> int:
        """Counts a cut and returns its number."""
        self._cuts += 1
        return self._cuts

    def since(self, cut: int) -> set[int]:
        """The keys touched after cut number `cut`.

        Raises:
          FailedPreconditionError: nothing is known of some of the time since then.
        """
        if self._known_from is None or cut < self._known_from:
            raise errors.FailedPreconditionError.of(
                f"what was touched since cut {cut} is not known",
                hint="Set record_touches before the cut, and forget no touches after it.",
            )
        return {key for key, touched in self._last.items() if touched >= cut}

    def forget(self, before: int) -> None:
        """Drops what was last touched before cut number `before`, of which `since` tells no more then."""
        if self._known_from is not None:
            self._known_from = max(self._known_from, before)
            self._last = {key: touched for key, touched in self._last.items() if touched >= before}


class ReferenceSnapshot:
    """`kvarn.engine.table.Snapshot` as a deep copy."""

    def __init__(
        self,
        *,
        cut: int,
        key_dtype: np.dtype[Any],
        slots: list[tuple[str, int]],
        buckets: int,
        keys: list[int],
        counts: list[Counts],
        rows: list[list[_FloatArray]],
        filtered_keys: list[int],
        filtered_counts: list[Counts],
        removed_keys: list[int],
        counters: dict[str, int],
    ) -> None:
        self.cut = cut
        self.slots = slots
        self.counters = counters
        self.keys: _KeyArray = np.array(keys, key_dtype)
        self.filtered_keys: _KeyArray = np.array(filtered_keys, key_dtype)
        self.removed_keys: _KeyArray = np.array(removed_keys, key_dtype)
        self.partition_offset = _offsets(keys, buckets)
        self.partition_filter_offset = _offsets(filtered_keys, buckets)
        self.freqs, self.versions = _columns(counts)
        self.filtered_freqs, self.filtered_versions = _columns(filtered_counts)
        self._rows: list[list[_FloatArray]] | None = rows

    @property
    def size(self) -> int:
        return len(self.keys)

    def values(self, slot: int = 0, start: int = 0, stop: int | None = None) -> _FloatArray:
        if self._rows is None:
            raise arguments.released()
        dim = arguments.slot(slot, self.slots)
        rows = [row[slot] for row in self._rows[start:stop]]
        return np.array(rows, np.float32).reshape(len(rows), dim)

    def chunks(self, slot: int = 0, *, chunk_bytes: int = 8 << 20) -> Iterator[_FloatArray]:
        step = max(1, chunk_bytes // (4 * arguments.slot(slot, self.slots)))
        for start in range(0, self.size, step):
            yield self.values(slot, start, start + step)

    def release(self) -> None:
        self._rows = None

    def __enter__(self) -> ReferenceSnapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _offsets(keys: list[int], buckets: int) -> npt.NDArray[np.int32]:
    counts = np.bincount([key % buckets for key in keys], minlength=buckets)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _columns(counts: list[Counts]) -> tuple[_Int64Array, _Int64Array]:
    freqs = np.array([c.freq for c in counts], np.int64)
    return freqs, np.array([c.version for c in counts], np.int64)
