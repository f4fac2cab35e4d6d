"""What is told of evictions: reports, counts, and why a key is in a table, filtered or gone.

Shared by the native table and its reference.
"""

from __future__ import annotations

import threading
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from kvarn.engine import arguments
from kvarn.engine.policies import (
    BloomAdmission,
    CounterAdmission,
    EvictionPolicy,
    EvictionReport,
    Explanation,
)

# In the order of the native EvictReason.
REASONS: Final = ("age", "norm", "frequency", "ceiling")

_Int64Array = npt.NDArray[np.int64]


class Table(Protocol):
    """What an explanation asks of a table."""

    admission: CounterAdmission | BloomAdmission | None

    @property
    def slots(self) -> list[tuple[str, int]]: ...
    def contains(self, keys: npt.ArrayLike) -> npt.NDArray[np.bool_]: ...
    def frequency(self, keys: npt.ArrayLike) -> _Int64Array: ...
    def kept_frequency(self, keys: npt.ArrayLike) -> _Int64Array: ...
    def version(self, keys: npt.ArrayLike) -> _Int64Array: ...
    def tier(self, keys: npt.ArrayLike) -> npt.NDArray[np.int32]: ...
    def lookup(self, keys: npt.ArrayLike) -> npt.NDArray[np.float32]: ...

    key_dtype: np.dtype[Any]


class EvictedKeys:
    """How many keys have been evicted, by reason, and which ones last.

    Attributes:
      counts: evicted_<reason> to a number, since the table was made.
    """

    # So many are remembered; older ones are only counted.
    MOST: Final = 65_536

    def __init__(self) -> None:
        self.counts = {f"evicted_{reason}": 0 for reason in REASONS}
        self._last: dict[int, tuple[str, int]] = {}
        self._lock = threading.Lock()

    def add(self, keys: _Int64Array, reasons: npt.NDArray[np.uint8], step: int) -> None:
        """Remembers an eviction at `step`: reasons [n] are places in `REASONS`."""
        with self._lock:
            for reason, n in zip(REASONS, np.bincount(reasons, minlength=len(REASONS)), strict=True):
                self.counts[f"evicted_{reason}"] += int(n)
            newest = zip(keys[-self.MOST :].tolist(), reasons[-self.MOST :].tolist(), strict=True)
            for key, reason_number in newest:
                self._last.pop(key, None)  # the newest of a key goes last
                self._last[key] = (REASONS[reason_number], step)
            for key in list(self._last)[: max(0, len(self._last) - self.MOST)]:
                del self._last[key]

    def last(self, key: int) -> tuple[str, int] | None:
        """Reason and step of the last eviction of `key`, if that is remembered."""
        return self._last.get(key)


def report_of(
    entry_bytes: int,
    examined: int,
    spared: int,
    keys: _Int64Array,
    reasons: npt.NDArray[np.uint8],
    *,
    dry_run: bool,
    sample: int,
) -> EvictionReport:
    """The report of an eviction of `keys`, each with its place in `REASONS`."""
    counts = np.bincount(reasons, minlength=len(REASONS))
    return EvictionReport(
        examined=examined,
        removed=len(keys),
        by_reason={reason: int(n) for reason, n in zip(REASONS, counts, strict=True) if n},
        bytes=entry_bytes * len(keys),
        sample_keys=tuple(keys[:sample].tolist()),
        spared=spared,
        dry_run=dry_run,
    )


def explain(
    table: Table,
    evicted: EvictedKeys,
    key: int,
    *,
    policy: EvictionPolicy | None,
    step: int | None,
) -> Explanation:
    """Why `key` is in the table, filtered or gone; see `EmbeddingTable.explain`."""
    if policy is not None and policy.by_age and step is None:
        raise arguments.invalid(
            "whether a key would be evicted by age, without a step", "Give explain() a step."
        )
    keys = np.array([key], table.key_dtype)
    present = bool(table.contains(keys)[0])
    # Of a key with a row, what evictions go by: a Bloom filter has stopped to count it.
    frequency = int((table.kept_frequency if present else table.frequency)(keys)[0])
    version = int(table.version(keys)[0])
    admission = table.admission
    needed = None if admission is None else admission.filter_freq
    # Counters of a Bloom filter outlive the key, a counter record does not.
    counted = frequency > 0 and not present
    gone = evicted.last(key)
    state: Literal["in", "filtered", "absent", "evicted"]
    if present:
        state, reason = "in", "every key is admitted"
        if needed is not None:
            reason = f"admitted: counted {frequency} times, the filter asks for {needed}"
    elif gone is not None and not (counted and isinstance(admission, CounterAdmission)):
        state, reason = "evicted", f"evicted at step {gone[1]} by {gone[0]}"
    elif counted:
        state, reason = "filtered", f"counted {frequency} times, {needed} are needed"
    else:
        state, reason = "absent", "never updated, or gone so long ago that it is not remembered"
    would_evict = None
    if policy is not None and (present or (counted and isinstance(admission, CounterAdmission))):
        would_evict = policy.reason(
            step=0 if step is None else step,
            version=version,
            frequency=frequency,
            value=table.lookup(keys)[0] if present else None,
        )
    return Explanation(
        key=key,
        state=state,
        reason=reason,
        frequency=frequency,
        version=version,
        tier=int(table.tier(keys)[0]),
        needed_frequency=needed,
        would_evict=would_evict,
    )
