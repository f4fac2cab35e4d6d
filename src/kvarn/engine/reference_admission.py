"""Who gets a row in a `kvarn.engine.reference.ReferenceEmbeddingTable`, and what is kept of the keys that do not yet.

One class for each admission of `kvarn.engine.policies`, and one for none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kvarn.engine.policies import Admission, BloomAdmission, CounterAdmission

_MOST = int(np.iinfo(np.int64).max)


@dataclass
class Counts:
    """Frequency and version of a key: of an entry, or alone a counter record."""

    freq: int = 0
    version: int = -1


def add_counts(a: int, b: int) -> int:
    """The sum of two counts, as far as int64 goes."""
    return min(a + b, _MOST)


class OpenDoor:
    """No admission: every key that is named gets a row, and rows that a file says were filtered do too."""

    # Whether a lookup creates keys, and absent ones read as their default rows.
    creates_at_lookup = True

    def __init__(self) -> None:
        # Counter records by key, in the order in which they came.
        self.records: dict[int, Counts] = {}

    def let_in(self, key: int, count: int, step: int | None) -> Counts | None:
        """An update names an absent key `count` times: what its entry starts from, None if it stays outside."""
        return Counts()

    def let_in_given(self, key: int) -> Counts:
        """A row is given for an absent key, whatever was counted: what its entry starts from."""
        return self.records.pop(key, Counts())

    def let_in_row(self, key: int, freq: int | None) -> Counts:
        """A file has a row of an absent key, with a frequency or none: what its entry starts from."""
        return Counts()

    def let_in_filtered(self, key: int, freq: int, version: int | None) -> Counts | None:
        """A file has an absent key that its filter had not admitted; as `let_in`."""
        return Counts(freq, -1 if version is None else version)

    def least(self, freq: int | None) -> int:
        """The frequency that an admitted row of a file stands for, which says `freq`, or nothing."""
        return 0 if freq is None else freq

    def seen_row(self, key: int, freq: int | None) -> None:
        """A file has a row of a key that is in the table."""

    def frequency(self, key: int, entry: Counts | None, *, recorded: bool) -> int:
        """What users are told."""
        return entry.freq if entry is not None and recorded else 0

    def kept_frequency(self, key: int, entry: Counts, *, recorded: bool) -> int:
        """What files are told of an admitted key."""
        return entry.freq if recorded else 0

    def clear(self) -> None:
        """Forgets all that was counted."""
        self.records.clear()


class CounterDoor(OpenDoor):
    """`CounterAdmission`: a record for each key on its way."""

    creates_at_lookup = False

    def __init__(self, admission: CounterAdmission) -> None:
        super().__init__()
        self.needed = admission.filter_freq

    def let_in(self, key: int, count: int, step: int | None) -> Counts | None:
        record = self.records.setdefault(key, Counts())
        if record.freq + count >= self.needed:
            return self.records.pop(key)
        record.freq = add_counts(record.freq, count)
        if step is not None:
            record.version = step
        return None

    def let_in_row(self, key: int, freq: int | None) -> Counts:
        found = self.records.pop(key, Counts())
        found.freq = max(found.freq, self.least(None))
        return found

    def let_in_filtered(self, key: int, freq: int, version: int | None) -> Counts | None:
        record = self.records.setdefault(key, Counts())
        record.freq = freq
        record.version = record.version if version is None else version
        return self.records.pop(key) if freq >= self.needed else None

    def least(self, freq: int | None) -> int:
        return self.needed if freq is None else max(freq, self.needed)

    def frequency(self, key: int, entry: Counts | None, *, recorded: bool) -> int:
        if entry is None:
            return self.records[key].freq if key in self.records else 0
        return entry.freq if recorded else self.needed

    def kept_frequency(self, key: int, entry: Counts, *, recorded: bool) -> int:
        return entry.freq if recorded else self.needed


class BloomDoor(OpenDoor):
    """`BloomAdmission`: counters that keys share, and nothing by key."""

    creates_at_lookup = False

    def __init__(self, admission: BloomAdmission) -> None:
        super().__init__()
        self.needed = admission.filter_freq
        self._admission = admission
        self._most = (1 << (8 * admission.counter_bytes)) - 1
        self._counters: dict[int, int] = {}

    def let_in(self, key: int, count: int, step: int | None) -> Counts | None:
        if self._count(key) + count >= self.needed:
            return Counts()
        for place in self._places(key):
            # A counter that two of the key's functions hit is raised by both, and never once it is enough.
            counter = self._counters.get(place, 0)
            if counter < self.needed:
                self._counters[place] = min(counter + count, self._most)
        return None

    def let_in_row(self, key: int, freq: int | None) -> Counts:
        self.seen_row(key, freq)
        return Counts(self.needed)

    def let_in_filtered(self, key: int, freq: int, version: int | None) -> Counts | None:
        self._raise_to(key, freq)
        return Counts(freq, -1 if version is None else version) if freq >= self.needed else None

    def least(self, freq: int | None) -> int:
        return self.needed if freq is None else max(freq, self.needed)

    def seen_row(self, key: int, freq: int | None) -> None:
        self._raise_to(key, self.least(freq))

    def frequency(self, key: int, entry: Counts | None, *, recorded: bool) -> int:
        return self._count(key)

    def kept_frequency(self, key: int, entry: Counts, *, recorded: bool) -> int:
        return entry.freq if recorded else max(self.needed, self._count(key))

    def clear(self) -> None:
        self._counters.clear()

    def _places(self, key: int) -> list[int]:
        places: npt.NDArray[np.uint64] = self._admission.places(np.array([key], np.int64))[:, 0]
        return [int(place) for place in places]

    def _count(self, key: int) -> int:
        return min(self._counters.get(place, 0) for place in self._places(key))

    def _raise_to(self, key: int, freq: int) -> None:
        for place in self._places(key):
            self._counters[place] = max(self._counters.get(place, 0), min(freq, self._most))


def door(admission: Admission | None) -> OpenDoor:
    """What does as `admission` says."""
    if isinstance(admission, CounterAdmission):
        return CounterDoor(admission)
    if isinstance(admission, BloomAdmission):
        return BloomDoor(admission)
    return OpenDoor()
