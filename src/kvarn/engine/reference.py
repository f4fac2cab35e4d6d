"""What an embedding table does, in plain NumPy and dicts: the specification of `kvarn.engine.table`.

Slow and short on purpose. Where both differ, the native table is wrong. Who gets a row is in
`kvarn.engine.reference_admission`, what a cut shows in `kvarn.engine.reference_snapshot`, the rules of optimizers in
`kvarn.engine.optimizer_rules`, the conditions of eviction in `kvarn.engine.policies`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from kvarn.engine import arguments, evictions
from kvarn.engine.policies import (
    Admission,
    EvictionPolicy,
    EvictionReport,
    Explanation,
    SeededRows,
    TieredStorage,
)
from kvarn.engine.reference_admission import Counts, add_counts, door
from kvarn.engine.reference_snapshot import ReferenceSnapshot, Touches
from kvarn.engine.reference_tiers import ReferenceTiers
from kvarn.errors import FailedPreconditionError

_FloatArray = npt.NDArray[np.float32]
_Int64Array = npt.NDArray[np.int64]
_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T", bound=np.generic)


def _one_at_a_time(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """A method of a table that other threads wait for: every call is one step."""

    @functools.wraps(method)
    def locked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        table: Any = args[0]
        with table._lock:
            return method(*args, **kwargs)

    return locked


class _Entry(Counts):
    """Everything a table keeps for one key: `rows` has one [dim] per slot."""

    def __init__(self, counts: Counts, rows: list[_FloatArray]) -> None:
        super().__init__(counts.freq, counts.version)
        self.rows = rows


class ReferenceStagedImport:
    """`kvarn.engine.table.StagedImport`, method for method."""

    def __init__(self, n_keys: int, slots: list[tuple[str, int]], clears: int) -> None:
        self.n_keys = n_keys
        self.slots = list(slots)
        self.clears = clears
        self.released = False
        self.n_written = 0
        self.columns: dict[int, list[_FloatArray]] = {slot: [] for slot in range(len(slots))}
        self.freqs: list[_Int64Array] = []
        self.versions: list[_Int64Array] = []

    def write(
        self,
        columns: Mapping[int, npt.ArrayLike],
        freqs: npt.ArrayLike | None = None,
        versions: npt.ArrayLike | None = None,
    ) -> None:
        if columns.keys() != self.columns.keys():
            raise arguments.invalid(f"columns {list(columns)}, expected all of {list(self.columns)}")
        n = len(np.asarray(columns[0]))
        if self.n_written + n > self.n_keys:
            raise arguments.invalid(f"more than the {self.n_keys} entries that were announced")
        rows_of = {
            slot: arguments.rows("values", rows, n, self.slots[slot][1]) for slot, rows in columns.items()
        }
        told = (arguments.per_key("freqs", freqs, n), arguments.per_key("versions", versions, n))
        if n == 0:
            return
        for given, before in zip(told, (self.freqs, self.versions), strict=True):
            if self.n_written and (given is None) != (not before):
                raise arguments.invalid("frequencies or versions for some entries, expected for all or none")
        for slot, rows in rows_of.items():
            self.columns[slot].append(rows.copy())
        for given, before in zip(told, (self.freqs, self.versions), strict=True):
            if given is not None:
                before.append(given.copy())
        self.n_written += n

    def release(self) -> None:
        self.released = True

    def __enter__(self) -> ReferenceStagedImport:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


class ReferenceEmbeddingTable:
    """`kvarn.engine.table.EmbeddingTable`, method for method; see there for arguments."""

    def __init__(
        self,
        key_dtype: npt.DTypeLike,
        value_dim: int,
        *,
        record_freq: bool = False,
        record_version: bool = False,
        admission: Admission | None = None,
        no_permission: float = 0.0,
        storage: TieredStorage | None = None,
    ) -> None:
        self.key_dtype = arguments.key_dtype(key_dtype)
        self.value_dim = arguments.dimension("value_dim", value_dim)
        self.record_freq = record_freq
        self.record_version = record_version
        self.admission = admission
        self.no_permission = no_permission
        # Where rows are changes no number: here it is only told.
        self._tiers = ReferenceTiers(storage)
        self._slots: list[tuple[str, int]] = [("", self.value_dim)]
        self._clears = 0
        self._defaults: list[_FloatArray | SeededRows] = [np.zeros((1, self.value_dim), np.float32)]
        self._lock = threading.RLock()
        self._entries: dict[int, _Entry] = {}
        self._door = door(admission)
        self._touches = Touches()
        self._evicted = evictions.EvictedKeys()
        self._tiers.set_slots([value_dim])

    @_one_at_a_time
    def add_slot(self, name: str, dim: int, default: npt.ArrayLike | SeededRows) -> int:
        dim = arguments.dimension("dim", dim)
        self._defaults.append(arguments.default_of(default, dim))
        self._slots.append((name, dim))
        slot = len(self._slots) - 1
        for key, entry in self._entries.items():
            entry.rows.append(self._default_row(slot, key))
        self._tiers.set_slots(dim for _, dim in self._slots)
        return slot

    @_one_at_a_time
    def set_default(self, slot: int, default: npt.ArrayLike | SeededRows) -> None:
        self._defaults[slot] = arguments.default_of(default, arguments.slot(slot, self._slots))

    @property
    def size(self) -> int:
        return len(self._entries) + len(self._door.records)

    @property
    def admitted_size(self) -> int:
        return len(self._entries)

    @property
    def slots(self) -> list[tuple[str, int]]:
        return list(self._slots)

    @property
    def memory_bytes(self) -> int:
        return len(self._entries) * self._entry_bytes + 24 * len(self._door.records)

    @property
    def counters(self) -> dict[str, int]:
        sizes = {"admitted": len(self._entries), "filtered": len(self._door.records)}
        return sizes | self._evicted.counts | self._tiers.counts

    @property
    def storage(self) -> TieredStorage | None:
        return self._tiers.storage

    @_one_at_a_time
    def set_cache(self, cache: Literal["lru", "lfu"]) -> None:
        self._tiers.set_cache(cache, lambda key: self._uses(self._entries[key]))

    # -- reading ----------------------------------------------------------------------------------

    @_one_at_a_time
    def lookup(self, keys: npt.ArrayLike, out: _FloatArray | None = None, *, slot: int = 0) -> _FloatArray:
        flat, out, rows = self._reading(keys, out, slot)
        self._look_up(flat.tolist(), creates=False)
        for i, key in enumerate(flat.tolist()):
            if key in self._entries:
                rows[i] = self._entries[key].rows[slot]
            elif self._door.creates_at_lookup:
                rows[i] = self._default_row(slot, key)
            else:
                rows[i] = self.no_permission if slot == 0 else 0.0
        return out

    @_one_at_a_time
    def lookup_or_create(
        self, keys: npt.ArrayLike, out: _FloatArray | None = None, *, slot: int = 0
    ) -> _FloatArray:
        flat, out, rows = self._reading(keys, out, slot)
        if not self._door.creates_at_lookup:
            return self.lookup(keys, out, slot=slot)
        self._look_up(flat.tolist(), creates=True)
        for i, key in enumerate(flat.tolist()):
            rows[i] = (self._entries.get(key) or self._create(key, Counts())).rows[slot]
        return out

    def contains(self, keys: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        return self._ask(keys, np.bool_, lambda key, entry: entry is not None)

    def frequency(self, keys: npt.ArrayLike) -> _Int64Array:
        recorded = self.record_freq
        return self._ask(
            keys, np.int64, lambda key, entry: self._door.frequency(key, entry, recorded=recorded)
        )

    def kept_frequency(self, keys: npt.ArrayLike) -> _Int64Array:
        def of(key: int, entry: _Entry | None) -> int:
            return self._kept_frequency(key) if entry is not None or key in self._door.records else 0

        return self._ask(keys, np.int64, of)

    def version(self, keys: npt.ArrayLike) -> _Int64Array:
        def version_of(key: int, entry: _Entry | None) -> int:
            return (entry or self._door.records.get(key, Counts())).version

        return self._ask(keys, np.int64, version_of)

    def tier(self, keys: npt.ArrayLike) -> npt.NDArray[np.int32]:
        return self._ask(keys, np.int32, lambda key, entry: -1 if entry is None else self._tiers.tier(key))

    def explain(
        self, key: int, *, policy: EvictionPolicy | None = None, step: int | None = None
    ) -> Explanation:
        return evictions.explain(self, self._evicted, key, policy=policy, step=step)

    # -- changing ---------------------------------------------------------------------------------

    @_one_at_a_time
    def create_from(self, keys: npt.ArrayLike, rows: npt.ArrayLike, *, slot: int = 0) -> None:
        flat, _ = arguments.keys(keys, self.key_dtype)
        given = arguments.rows("rows", rows, flat.size, arguments.slot(slot, self._slots))
        self._tiers.make_room()
        for key, row in zip(flat.tolist(), given, strict=True):
            if key not in self._entries:
                self._create(key, self._door.let_in_given(key)).rows[slot] = row.copy()
        self._tiers.make_room()

    @_one_at_a_time
    def apply(
        self,
        rule: str,
        keys: npt.ArrayLike,
        grads: npt.ArrayLike,
        *,
        slots: Sequence[int] = (),
        params: Sequence[float] = (),
        counts: npt.ArrayLike | None = None,
        step: int | None = None,
    ) -> None:
        found = arguments.rule(rule, slots, params, self._slots)
        flat, _ = arguments.keys(keys, self.key_dtype)
        grad_of = arguments.rows("grads", grads, flat.size, self.value_dim)
        count_of = arguments.counts(counts, flat.size)
        numbers = [np.float32(p) for p in params]
        if not self.record_version:
            step = None
        sums: dict[int, _FloatArray] = {}
        occurrences: dict[int, int] = {}
        for i, key in enumerate(flat.tolist()):
            if key in sums:
                sums[key] += grad_of[i]
                occurrences[key] = add_counts(occurrences[key], 0 if count_of is None else int(count_of[i]))
            else:
                sums[key] = grad_of[i].copy()
                occurrences[key] = 1 if count_of is None else int(count_of[i])
        self._tiers.make_room()
        self._bring_up(flat.tolist())
        for key, grad in sums.items():
            count = occurrences[key]
            entry = self._entries.get(key)
            if entry is None:
                admitted = self._door.let_in(key, count, step)
                entry = None if admitted is None else self._create(key, admitted)
            if entry is None:
                self._touch_record(key)
                continue
            self._touches.touch(key)
            entry.freq = add_counts(entry.freq, count)
            if step is not None:
                entry.version = step
            found.update(entry.rows[0], [entry.rows[slot] for slot in slots], grad, numbers)
        for key in sums:
            if key in self._entries:
                self._tiers.use(key, occurrences[key] if self.record_freq else 1)
        self._tiers.make_room()

    def reserve(self, n_keys: int) -> None:
        """Room costs nothing here."""

    def import_rows(
        self,
        slot: int,
        keys: npt.ArrayLike,
        values: npt.ArrayLike,
        freqs: npt.ArrayLike | None = None,
        versions: npt.ArrayLike | None = None,
    ) -> None:
        self.import_columns(keys, {slot: values}, freqs, versions)

    @_one_at_a_time
    def import_columns(
        self,
        keys: npt.ArrayLike,
        columns: Mapping[int, npt.ArrayLike],
        freqs: npt.ArrayLike | None = None,
        versions: npt.ArrayLike | None = None,
    ) -> None:
        flat, _ = arguments.keys(keys, self.key_dtype)
        rows_of = {
            slot: arguments.rows("values", values, flat.size, arguments.slot(slot, self._slots))
            for slot, values in columns.items()
        }
        freq_of = arguments.per_key("freqs", freqs, flat.size)
        version_of = arguments.per_key("versions", versions, flat.size)
        self._tiers.make_room()
        self._bring_up(flat.tolist())
        for i, key in enumerate(flat.tolist()):
            freq = None if freq_of is None else int(freq_of[i])
            entry = self._entries.get(key)
            if entry is None:
                entry = self._create(key, self._door.let_in_row(key, freq))
            else:
                self._door.seen_row(key, freq)
            for slot, rows in rows_of.items():
                entry.rows[slot] = rows[i].copy()
            if freq is not None:
                entry.freq = self._door.least(freq)
            if version_of is not None and self.record_version:
                entry.version = int(version_of[i])
            self._touches.touch(key)
        for key in flat.tolist():
            self._tiers.enter(key, self._uses(self._entries[key]))
        self._tiers.make_room()

    @_one_at_a_time
    def stage_import(self, n_keys: int, sample: npt.ArrayLike) -> ReferenceStagedImport | None:
        flat, _ = arguments.keys(sample, self.key_dtype)
        if self.admission is not None or self._tiers.storage is not None or n_keys == 0:
            return None
        if any(key in self._entries for key in flat.tolist()):
            return None
        return ReferenceStagedImport(n_keys, self._slots, self._clears)

    @_one_at_a_time
    def commit_import(self, staged: ReferenceStagedImport, keys: npt.ArrayLike) -> None:
        if staged.released or (staged.clears, staged.slots) != (self._clears, self._slots):
            raise FailedPreconditionError("the table is another one, or the entries are in it already")
        if len(np.asarray(keys)) != staged.n_written:
            raise arguments.invalid(f"{len(np.asarray(keys))} keys for {staged.n_written} entries")
        if not staged.n_written:
            staged.released = True
            return
        columns = {slot: np.concatenate(rows) for slot, rows in staged.columns.items()}
        freqs, versions = (np.concatenate(part) if part else None for part in (staged.freqs, staged.versions))
        self.import_columns(keys, columns, freqs, versions)
        staged.released = True

    @_one_at_a_time
    def import_filtered(
        self, keys: npt.ArrayLike, freqs: npt.ArrayLike, versions: npt.ArrayLike | None = None
    ) -> None:
        flat, _ = arguments.keys(keys, self.key_dtype)
        freq_of = arguments.per_key("freqs", freqs, flat.size)
        version_of = arguments.per_key("versions", versions, flat.size)
        if freq_of is None:
            raise arguments.invalid("filtered keys without freqs: a filter has counted them")
        self._tiers.make_room()
        for i, key in enumerate(flat.tolist()):
            # A row that was learnt is not given up for a count.
            if key in self._entries:
                continue
            version = int(version_of[i]) if version_of is not None and self.record_version else None
            admitted = self._door.let_in_filtered(key, int(freq_of[i]), version)
            if admitted is not None:
                self._create(key, admitted)
            else:
                self._touch_record(key)
        self._tiers.make_room()

    @_one_at_a_time
    def evict(
        self, policy: EvictionPolicy, step: int, *, dry_run: bool = False, sample: int = 10
    ) -> EvictionReport:
        arguments.eviction(policy, record_freq=self.record_freq, record_version=self.record_version)
        examined = self.size
        counts: dict[int, Counts] = {}  # with the versions that stamping makes
        for key, found in (*self._entries.items(), *self._door.records.items()):
            stamped = step if policy.by_age and found.version == -1 else found.version
            counts[key] = Counts(self._kept_frequency(key), stamped)
        leaving: dict[int, str] = {}
        for key, found in counts.items():
            row = self._entries[key].rows[0] if key in self._entries else None
            reason = policy.reason(step=step, version=found.version, frequency=found.freq, value=row)
            if reason is not None:
                leaving[key] = reason

        def rank(key: int) -> tuple[int, int, int]:
            return (counts[key].freq, counts[key].version, key)

        to_go = sorted((key for key in leaving if key in self._entries), key=rank, reverse=True)
        spared = to_go[: max(0, policy.min_keys - (len(self._entries) - len(to_go)))]
        for key in spared:
            del leaving[key]
        if policy.max_keys is not None:
            staying = sorted((key for key in self._entries if key not in leaving), key=rank)
            for key in staying[: max(0, len(staying) - policy.max_keys)]:
                leaving[key] = "ceiling"
        keys = np.array(sorted(leaving), np.int64)
        reasons = np.array([evictions.REASONS.index(leaving[key]) for key in keys.tolist()], np.uint8)
        if not dry_run:
            for key, found in counts.items():
                held = self._entries.get(key) or self._door.records[key]
                if held.version != found.version:
                    held.version = found.version
                    self._touches.touch(key)
            for key in keys.tolist():
                self._forget(key)
            self._evicted.add(keys, reasons, step)
        return evictions.report_of(
            self._entry_bytes, examined, len(spared), keys, reasons, dry_run=dry_run, sample=sample
        )

    @_one_at_a_time
    def clear(self) -> None:
        for key in (*self._entries, *self._door.records):
            self._touches.touch(key)
        self._clears += 1
        self._entries.clear()
        self._door.clear()
        self._tiers.clear()

    @_one_at_a_time
    def remove(self, keys: npt.ArrayLike) -> int:
        flat, _ = arguments.keys(keys, self.key_dtype)
        return sum(self._forget(key) for key in flat.tolist())

    # -- cuts -------------------------------------------------------------------------------------

    @property
    def record_touches(self) -> bool:
        return self._touches.recording

    @record_touches.setter
    def record_touches(self, recording: bool) -> None:
        self._touches.record(recording)

    @_one_at_a_time
    def forget_touches(self, before: int) -> None:
        self._touches.forget(before)

    def export(
        self, slot: int = 0, *, buckets: int = 1000
    ) -> tuple[npt.NDArray[Any], _FloatArray, _Int64Array, _Int64Array]:
        with self.snapshot(buckets=buckets) as cut:
            return cut.keys, cut.values(slot), cut.freqs, cut.versions

    @_one_at_a_time
    def snapshot(self, *, buckets: int = 1000, since: int | None = None) -> ReferenceSnapshot:
        if buckets < 1:
            raise arguments.invalid(f"snapshot: {buckets} buckets, expected at least 1")
        touched = None if since is None else self._touches.since(since)

        def chosen(keys: dict[int, Any]) -> list[int]:
            # Stable: inside a bucket by age, or, of those touched, ascending.
            found = list(keys) if touched is None else sorted(key for key in keys if key in touched)
            return sorted(found, key=lambda key: key % buckets)

        admitted, filtered = chosen(self._entries), chosen(self._door.records)
        gone = (touched or set()) - set(admitted) - set(filtered)
        return ReferenceSnapshot(
            cut=self._touches.cut(),
            key_dtype=self.key_dtype,
            slots=self.slots,
            buckets=buckets,
            keys=admitted,
            counts=[Counts(self._kept_frequency(key), self._entries[key].version) for key in admitted],
            rows=[[row.copy() for row in self._entries[key].rows] for key in admitted],
            filtered_keys=filtered,
            filtered_counts=[
                Counts(r.freq, r.version) for r in map(self._door.records.__getitem__, filtered)
            ],
            removed_keys=sorted(sorted(gone), key=lambda key: key % buckets),
            counters=self.counters,
        )

    # -- parts ------------------------------------------------------------------------------------

    @property
    def _entry_bytes(self) -> int:
        recorded = self.record_freq + self.record_version
        return 8 + 4 * sum(dim for _, dim in self._slots) + 8 * recorded

    def _default_row(self, slot: int, key: int) -> _FloatArray:
        default = self._defaults[slot]
        if isinstance(default, SeededRows):
            return default.rows(np.array([key]), self._slots[slot][1]).reshape(-1)
        row: _FloatArray = default[abs(key) % len(default)]
        return row.copy()

    def _kept_frequency(self, key: int) -> int:
        entry = self._entries.get(key)
        if entry is None:
            return self._door.records[key].freq
        return self._door.kept_frequency(key, entry, recorded=self.record_freq)

    def _create(self, key: int, counts: Counts) -> _Entry:
        rows = [self._default_row(slot, key) for slot in range(len(self._slots))]
        self._entries[key] = _Entry(counts, rows)
        self._touches.touch(key)
        self._tiers.enter(key, self._uses(counts))
        return self._entries[key]

    def _uses(self, counts: Counts) -> int:
        # Without a record of how often an entry was used, coming to memory is all that is known.
        return counts.freq if self.record_freq else 1

    def _bring_up(self, keys: list[int]) -> None:
        for key in keys:
            if key in self._entries:
                self._tiers.bring_up(key, self._uses(self._entries[key]))

    def _look_up(self, keys: list[int], *, creates: bool) -> None:
        self._bring_up(self._tiers.look_up(keys, creates))

    def _forget(self, key: int) -> bool:
        found = self._entries.pop(key, None) or self._door.records.pop(key, None)
        if found is not None:
            self._touches.touch(key)
            self._tiers.leave(key)
        return found is not None

    def _touch_record(self, key: int) -> None:
        # A Bloom filter has no record of a key that could be listed.
        if key in self._door.records:
            self._touches.touch(key)

    def _ask(
        self, keys: npt.ArrayLike, dtype: type[_T], answer: Callable[[int, _Entry | None], Any]
    ) -> npt.NDArray[_T]:
        flat, shape = arguments.keys(keys, self.key_dtype)
        answers = [answer(key, self._entries.get(key)) for key in flat.tolist()]
        return np.array(answers, dtype).reshape(shape)

    def _reading(
        self, keys: npt.ArrayLike, out: _FloatArray | None, slot: int
    ) -> tuple[_Int64Array, _FloatArray, _FloatArray]:
        flat, shape = arguments.keys(keys, self.key_dtype)
        dim = arguments.slot(slot, self._slots)
        if out is None:
            out = np.empty((*shape, dim), np.float32)
        else:
            arguments.output(out, (*shape, dim))
        return flat, out, out.reshape(flat.size, dim)
