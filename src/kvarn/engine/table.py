"""The embedding table, native-backed: keys to entries of value and optimizer slots, batch in, batch out.

`kvarn.engine.reference.ReferenceEmbeddingTable` is the same class in plain NumPy and defines what each method
does; a test drives both side by side. Source: DeepRec tensorflow/core/framework/embedding/.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kvarn import _native
from kvarn.engine import arguments
from kvarn.engine.evictions import EvictedKeys, explain, report_of
from kvarn.engine.policies import (
    BloomAdmission,
    CounterAdmission,
    EvictionPolicy,
    EvictionReport,
    Explanation,
    SeededRows,
    TieredStorage,
)

_FloatArray = npt.NDArray[np.float32]
_Int64Array = npt.NDArray[np.int64]
_KeyArray = npt.NDArray[Any]


class EmbeddingTable:
    """Embeddings of one primary variable and its slot variables.

    An entry is a key, its value, one row for every optimizer slot and, if recorded, frequency and version. It
    is created as a whole, every slot from what that slot starts from: row ``abs(k) % R`` of a matrix, or numbers
    drawn from (seed, k). Every key of the dtype can be stored.

    Thread-safe: a call is one step of the table, calls that only read run side by side, and evictions and
    snapshots let others in between. Batches are split over `kvarn._native.num_threads()` threads; results do not
    depend on their number.

    Args:
      key_dtype: int64 or int32.
      value_dim: floats of the primary value, slot 0. It starts from zeros until `set_default`.
      record_freq: count every update of a key.
      record_version: keep the step of a key's last update.
      admission: which new keys get an entry; None for all of them.
      no_permission: what every element of a key reads that was not admitted.
      storage: entries beyond what memory may hold go to files; None for a table that is all in memory.

    With `storage`, where an entry is changes no number.  An entry on disk comes to memory when it is looked up or
    updated, and others leave for it.  Whatever needs the disk then raises ResourceExhaustedError when it has no
    room, DataLossError for bytes that are not what was written, and InternalError for what else the system says;
    no entry has changed then.  The files live as long as the table; what a process that died left in the folder
    is removed by the next table there.

    Raises:
      InvalidArgumentError: a key dtype other than int64 and int32, or a dimension below 1.
    """

    def __init__(
        self,
        key_dtype: npt.DTypeLike,
        value_dim: int,
        *,
        record_freq: bool = False,
        record_version: bool = False,
        admission: CounterAdmission | BloomAdmission | None = None,
        no_permission: float = 0.0,
        storage: TieredStorage | None = None,
    ) -> None:
        self.key_dtype = arguments.key_dtype(key_dtype)
        self.value_dim = arguments.dimension("value_dim", value_dim)
        self.record_freq = record_freq
        self.record_version = record_version
        self.admission = admission
        self.no_permission = no_permission
        self.storage = storage
        self._slots: list[tuple[str, int]] = [("", self.value_dim)]
        self._record_touches = False
        self._evicted = EvictedKeys()
        bloom = admission if isinstance(admission, BloomAdmission) else None
        self._table = _native.EmbeddingTable(
            record_freq,
            record_version,
            filter_freq=0 if admission is None else admission.filter_freq,
            num_hash=0 if bloom is None else bloom.num_hash,
            num_counter=0 if bloom is None else bloom.num_counter,
            counter_bytes=8 if bloom is None else bloom.counter_bytes,
            no_permission=no_permission,
        )
        if storage is not None:
            self._table.set_tiers(
                storage.path, storage.dram_bytes, storage.cache == "lfu", storage.file_bytes
            )
        self._table.add_slot(np.zeros((1, self.value_dim), np.float32))

    def add_slot(self, name: str, dim: int, default: npt.ArrayLike | SeededRows) -> int:
        """Adds an optimizer slot and returns its number; the primary value is slot 0.

        Entries that exist get the new slot filled with what it starts from.

        Args:
          name: the slot's name, for people.
          dim: floats of a row.
          default: float32 [R, dim], R >= 1, or how rows are drawn.
        """
        dim = arguments.dimension("dim", dim)
        if isinstance(default, SeededRows):
            self._table.add_seeded_slot(dim, default.seed, default.distribution, default.a, default.b)
        else:
            self._table.add_slot(arguments.defaults(default, dim))
        self._slots.append((name, dim))
        return len(self._slots) - 1

    def set_default(self, slot: int, default: npt.ArrayLike | SeededRows) -> None:
        """Replaces what rows of a slot start from, for entries to come: a matrix [R, dim], or how they are drawn."""
        dim = self._dim(slot)
        if isinstance(default, SeededRows):
            self._table.set_seeded_default(slot, default.seed, default.distribution, default.a, default.b)
        else:
            self._table.set_default(slot, arguments.defaults(default, dim))

    @property
    def size(self) -> int:
        """Number of keys, those included that were counted but not admitted yet."""
        return self._table.size()

    @property
    def admitted_size(self) -> int:
        """Number of keys that have an entry."""
        return self._table.admitted_size()

    @property
    def slots(self) -> list[tuple[str, int]]:
        """Name and dimension of every slot; the primary, slot 0, has an empty name."""
        return list(self._slots)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the index and of the entries, without snapshots."""
        return self._table.memory_bytes()

    def lookup(self, keys: npt.ArrayLike, out: _FloatArray | None = None, *, slot: int = 0) -> _FloatArray:
        """The rows of `slot` for keys of any shape; nothing changes.

        A key without an entry reads as the row it would start from, or as `no_permission` if keys must be admitted.

        Args:
          keys: [...] of the key dtype.
          out: float32 [..., dim] to write to, C-contiguous; a new array without it.

        Returns:
          `out`.
        """
        flat, out, rows = self._reading(keys, out, slot)
        self._table.lookup(flat, slot, rows)
        return out

    def lookup_or_create(
        self, keys: npt.ArrayLike, out: _FloatArray | None = None, *, slot: int = 0
    ) -> _FloatArray:
        """As `lookup`, but missing keys are created, unless keys must be admitted. Nothing is counted."""
        flat, out, rows = self._reading(keys, out, slot)
        self._table.lookup_or_create(flat, slot, rows)
        return out

    def create_from(self, keys: npt.ArrayLike, rows: npt.ArrayLike, *, slot: int = 0) -> None:
        """Creates the missing ones of `keys`, whatever the admission says, with given rows in one slot.

        Args:
          keys: [n] (or any shape, flattened); the first of equal keys counts, keys with an entry stay as they are.
          rows: float32 [n, dim of slot].
        """
        flat, _ = arguments.keys(keys, self.key_dtype)
        self._table.create_from(flat, slot, arguments.rows("rows", rows, flat.size, self._dim(slot)))

    def contains(self, keys: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which keys have an entry, in the shape of `keys`."""
        flat, shape = arguments.keys(keys, self.key_dtype)
        out = np.empty(flat.shape, np.bool_)
        self._table.contains(flat, out)
        return out.reshape(shape)

    def frequency(self, keys: npt.ArrayLike) -> _Int64Array:
        """How often updates have counted each key.

        0 for an absent key; a key that was not admitted has what the filter counted, an admitted one in a table that
        does not record frequencies at least the filter's threshold.  With a `BloomAdmission` every key has the
        filter's estimate, also an absent one.
        """
        flat, shape = arguments.keys(keys, self.key_dtype)
        out = np.empty(flat.shape, np.int64)
        self._table.frequency(flat, out)
        return out.reshape(shape)

    def kept_frequency(self, keys: npt.ArrayLike) -> _Int64Array:
        """The frequency of each key that evictions and checkpoints go by: of an admitted one what was recorded, if
        the table records frequencies; 0 for an absent key."""
        flat, shape = arguments.keys(keys, self.key_dtype)
        out = np.empty(flat.shape, np.int64)
        self._table.kept_frequency(flat, out)
        return out.reshape(shape)

    def version(self, keys: npt.ArrayLike) -> _Int64Array:
        """The step of each key's last update; -1 when absent, never updated, or versions are not recorded."""
        flat, shape = arguments.keys(keys, self.key_dtype)
        out = np.empty(flat.shape, np.int64)
        self._table.version(flat, out)
        return out.reshape(shape)

    def tier(self, keys: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Where each key's entry is: 0 in memory, 1 on disk, -1 nowhere."""
        flat, shape = arguments.keys(keys, self.key_dtype)
        out = np.empty(flat.shape, np.int32)
        self._table.tier(flat, out)
        return out.reshape(shape)

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
        """One step of an optimizer, once for every distinct key.

        Gradients and counts of equal keys are summed in order of occurrence; keys without an entry are created, or
        counted until they are admitted.

        Args:
          rule: a name of `kvarn.engine.optimizer_rules.RULES`.
          keys: [n] (or any shape, flattened).
          grads: float32 [n, value_dim].
          slots: the slots that the rule works on, in its order.
          params: its parameters in its order, each rounded to float32.
          counts: int64 [n], how many occurrences each key stands for; without them a distinct key counts once.
          step: the version to stamp, when versions are recorded.

        Raises:
          InvalidArgumentError: an unknown rule, or slots, parameters or shapes that do not fit it.
        """
        flat, _ = arguments.keys(keys, self.key_dtype)
        arguments.rule(rule, slots, params, self._slots)
        self._table.apply(
            rule,
            flat,
            arguments.rows("grads", grads, flat.size, self.value_dim),
            np.asarray(slots, np.int64),
            np.asarray(params, np.float32),
            arguments.counts(counts, flat.size),
            step,
        )

    def reserve(self, n_keys: int) -> None:
        """Makes room for so many keys in all at once, which is quicker than growing as they come."""
        self._table.reserve(n_keys)

    def import_rows(
        self,
        slot: int,
        keys: npt.ArrayLike,
        values: npt.ArrayLike,
        freqs: npt.ArrayLike | None = None,
        versions: npt.ArrayLike | None = None,
    ) -> None:
        """`import_columns` of one slot."""
        self.import_columns(keys, {slot: values}, freqs, versions)

    def import_columns(
        self,
        keys: npt.ArrayLike,
        columns: Mapping[int, npt.ArrayLike],
        freqs: npt.ArrayLike | None = None,
        versions: npt.ArrayLike | None = None,
    ) -> None:
        """Entries from a checkpoint: overwrites slots of every key; a new key gets the defaults in its other slots.

        They are admitted: a filter takes them for counted at least as often as it asks for.

        Args:
          keys: [n]; the last of equal keys wins.
          columns: float32 [n, dim] for each slot given.
          freqs: int64 [n], kept when frequencies are recorded.
          versions: int64 [n], kept when versions are recorded.
        """
        flat, _ = arguments.keys(keys, self.key_dtype)
        self._table.import_columns(
            flat,
            np.fromiter(columns, np.int64, len(columns)),
            [
                arguments.rows("values", values, flat.size, self._dim(slot))
                for slot, values in columns.items()
            ],
            arguments.per_key("freqs", freqs, flat.size),
            arguments.per_key("versions", versions, flat.size),
        )

    def stage_import(self, n_keys: int, sample: npt.ArrayLike) -> StagedImport | None:
        """For entries from a checkpoint that are to come in together, see `StagedImport`.

        Args:
          n_keys: how many there will be at most.
          sample: some of their keys.

        Returns:
          None where they have to come by `import_columns`: keys are admitted, entries may be on disk, or the table
          has one of `sample`, so that what comes would take the room of what is there once more.
        """
        flat, _ = arguments.keys(sample, self.key_dtype)
        native = self._table.stage_import(n_keys, flat)
        return None if native is None else StagedImport(native, self.slots)

    def commit_import(self, staged: StagedImport, keys: npt.ArrayLike) -> None:
        """Lets the entries of `stage_import` in, all in one step; what `import_columns` says of keys holds.

        Args:
          keys: one for each entry, in the order in which these were written.

        Raises:
          FailedPreconditionError: the table was cleared or got another slot meanwhile; nothing has changed.
        """
        flat, _ = arguments.keys(keys, self.key_dtype)
        staged.native.commit(flat)

    def import_filtered(
        self, keys: npt.ArrayLike, freqs: npt.ArrayLike, versions: npt.ArrayLike | None = None
    ) -> None:
        """Keys that a filter had counted `freqs` times, and not admitted, when a checkpoint was written.

        They get an entry, with what new entries start from, if this table would admit them.
        """
        flat, _ = arguments.keys(keys, self.key_dtype)
        counted = arguments.per_key("freqs", freqs, flat.size)
        if counted is None:
            raise arguments.invalid("filtered keys without freqs: a filter has counted them")
        self._table.import_filtered(flat, counted, arguments.per_key("versions", versions, flat.size))

    def evict(
        self, policy: EvictionPolicy, step: int, *, dry_run: bool = False, sample: int = 10
    ) -> EvictionReport:
        """Takes out, or with `dry_run` only counts, the keys that have had their time.

        Works in pieces: other calls come in between, and a key that they touch is judged anew.

        Args:
          policy: who has to leave.
          step: the global step of now. A key without a version gets this one.
          sample: how many keys the report names.
        """
        arguments.eviction(policy, record_freq=self.record_freq, record_version=self.record_version)
        examined, spared, keys, reasons = self._table.evict(
            policy.steps_to_live,
            policy.l2_weight_threshold,
            policy.min_frequency,
            policy.require == "all",
            policy.min_keys,
            policy.max_keys,
            step,
            dry_run,
        )
        if not dry_run:
            self._evicted.add(keys, reasons, step)
        meta_bytes = 16 if self.record_freq or self.record_version else 0
        entry_bytes = 8 + 4 * sum(dim for _, dim in self._slots) + meta_bytes
        return report_of(entry_bytes, examined, spared, keys, reasons, dry_run=dry_run, sample=sample)

    def explain(
        self, key: int, *, policy: EvictionPolicy | None = None, step: int | None = None
    ) -> Explanation:
        """Why a key is in the table, filtered, or gone; with `policy`, whether it would be evicted at `step`."""
        return explain(self, self._evicted, key, policy=policy, step=step)

    @property
    def counters(self) -> dict[str, int]:
        """Keys that are admitted and filtered, and how many have been evicted so far, by reason.

        With `storage` also how many keys of lookups were in memory, on disk, and without an entry: hits_dram,
        hits_disk, misses.
        """
        admitted = self.admitted_size
        found = {"admitted": admitted, "filtered": self.size - admitted, **self._evicted.counts}
        if self.storage is not None:
            counts = self._table.tier_counts()
            found |= {name: counts[name] for name in ("hits_dram", "hits_disk", "misses")}
        return found

    @property
    def tier_counts(self) -> dict[str, int]:
        """What the tiers hold and did; empty without `storage`.

        The hits and misses of `counters`; dram_keys and dram_capacity, entries in memory and how many may be;
        disk_keys, disk_records (those given up included), disk_files, disk_bytes; compaction_errors, how often a file
        could not be made smaller.
        """
        return {} if self.storage is None else self._table.tier_counts()

    def set_cache(self, cache: Literal["lru", "lfu"]) -> None:
        """Which entries leave memory first, of a table with `storage`; of others nothing changes."""
        if cache not in ("lru", "lfu"):
            raise arguments.invalid(f"a cache {cache!r}, expected 'lru' or 'lfu'")
        if self.storage is not None:
            self._table.set_cache(cache == "lfu")
            self.storage = dataclasses.replace(self.storage, cache=cache)

    @property
    def record_touches(self) -> bool:
        """Whether it is remembered which keys are created, updated, imported and removed (`snapshot`)."""
        return self._record_touches

    @record_touches.setter
    def record_touches(self, on: bool) -> None:
        self._table.record_touches(on)
        self._record_touches = on

    def forget_touches(self, before: int) -> None:
        """Forgets what was last touched before cut number `before`."""
        self._table.forget_touches(before)

    def export(
        self, slot: int = 0, *, buckets: int = 1000
    ) -> tuple[_KeyArray, _FloatArray, _Int64Array, _Int64Array]:
        """Keys [n], rows [n, dim] of `slot`, frequencies [n] and versions [n], in the order of `snapshot`."""
        with self.snapshot(buckets=buckets) as cut:
            return cut.keys, cut.values(slot), cut.freqs, cut.versions

    def snapshot(self, *, buckets: int = 1000, since: int | None = None) -> Snapshot:
        """One consistent cut of all slots of all entries, see `Snapshot`.

        Args:
          buckets: the number of buckets that keys are ordered by.
          since: only keys touched after the cut of this number.

        Raises:
          FailedPreconditionError: `since` without `record_touches`.
        """
        if buckets < 1:
            raise arguments.invalid(f"snapshot: {buckets} buckets, expected at least 1")
        native = self._table.snapshot(buckets, since)
        counters = self.counters
        if since is None:  # the table may have gone on meanwhile
            counters |= {"admitted": len(native.keys), "filtered": len(native.filtered_keys)}
        return Snapshot(native, self.key_dtype, self.slots, counters)

    def clear(self) -> None:
        """Forgets all keys; slots and what they start from stay."""
        self._table.clear()

    def remove(self, keys: npt.ArrayLike) -> int:
        """Forgets the keys given and returns how many of them were there."""
        flat, _ = arguments.keys(keys, self.key_dtype)
        return self._table.remove(flat)

    def _dim(self, slot: int) -> int:
        return arguments.slot(slot, self._slots)

    def _reading(
        self, keys: npt.ArrayLike, out: _FloatArray | None, slot: int
    ) -> tuple[_Int64Array, _FloatArray, _FloatArray]:
        flat, shape = arguments.keys(keys, self.key_dtype)
        dim = self._dim(slot)
        if out is None:
            out = np.empty((*shape, dim), np.float32)
        else:
            arguments.output(out, (*shape, dim))
        return flat, out, out.reshape(flat.size, dim)


class StagedImport:
    """Entries that nobody sees before `EmbeddingTable.commit_import` lets them into their table together.

    Used in a ``with`` statement, at whose end the memory of what was not let in goes back.

    Attributes:
      slots: as `EmbeddingTable.slots` when it was made.
    """

    def __init__(self, native: _native.StagedImport, slots: list[tuple[str, int]]) -> None:
        self.native = native
        self.slots = list(slots)

    def write(
        self,
        columns: Mapping[int, npt.ArrayLike],
        freqs: npt.ArrayLike | None = None,
        versions: npt.ArrayLike | None = None,
    ) -> None:
        """The next n entries.

        Args:
          columns: float32 [n, dim] for every slot.
          freqs, versions: int64 [n] as in `EmbeddingTable.import_columns`; for all entries or for none.

        Raises:
          InvalidArgumentError: a slot is missing, or these are more entries than were announced.
          FailedPreconditionError: the table was cleared or got another slot meanwhile.
        """
        n = len(np.asarray(next(iter(columns.values()), ())))
        self.native.write(
            n,
            np.fromiter(columns, np.int64, len(columns)),
            [
                arguments.rows("values", values, n, arguments.slot(slot, self.slots))
                for slot, values in columns.items()
            ],
            arguments.per_key("freqs", freqs, n),
            arguments.per_key("versions", versions, n),
        )

    def release(self) -> None:
        """Gives back the memory of what was not let in; nothing can be written or let in any more."""
        self.native.release()

    def __enter__(self) -> StagedImport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Snapshot:
    """A table at one moment: keys by bucket, and the rows of every slot in the same order.

    It holds no lock. The table goes on working and copies what it changes, so what a snapshot shows never moves. It
    costs 12 bytes a key and one copy of every row that changes while it lives, all freed when it is released: by
    ``with``, by `release` or with its last reference. It outlives the table.

    Attributes:
      slots: as `EmbeddingTable.slots`.
      counters: `EmbeddingTable.counters` of then.
    """

    def __init__(
        self,
        native: _native.Snapshot,
        key_dtype: np.dtype[Any],
        slots: list[tuple[str, int]],
        counters: dict[str, int],
    ) -> None:
        self._native: _native.Snapshot | None = native
        self._key_dtype = key_dtype
        self.slots = slots
        self.counters = counters

    @property
    def cut(self) -> int:
        """The number of this cut; `EmbeddingTable.snapshot` with ``since=cut`` shows what was touched after it."""
        return self._open.cut

    @property
    def size(self) -> int:
        """Number of keys."""
        return len(self._open.keys)

    @property
    def keys(self) -> _KeyArray:
        """All keys [n] of the key dtype: by bucket ``key % buckets`` (never negative), inside it by age, in a cut
        of touched keys by key."""
        return self._open.keys.astype(self._key_dtype)

    @property
    def partition_offset(self) -> npt.NDArray[np.int32]:
        """Where each bucket begins in `keys`, and the end: [buckets + 1]."""
        return self._open.partition_offset.copy()

    @property
    def freqs(self) -> _Int64Array:
        """Frequencies [n]; when not recorded at least the threshold of a filter, zeros without one."""
        native = self._open
        out = np.empty(len(native.keys), np.int64)
        native.freqs(0, out)
        return out

    @property
    def versions(self) -> _Int64Array:
        """Versions [n], -1 when never updated or not recorded."""
        native = self._open
        out = np.empty(len(native.keys), np.int64)
        native.versions(0, out)
        return out

    @property
    def filtered_keys(self) -> _KeyArray:
        """Keys that were counted and not admitted, ordered as `keys`."""
        return self._open.filtered_keys.astype(self._key_dtype)

    @property
    def partition_filter_offset(self) -> npt.NDArray[np.int32]:
        """Where each bucket begins in `filtered_keys`, and the end: [buckets + 1]."""
        return self._open.partition_filter_offset.copy()

    @property
    def filtered_freqs(self) -> _Int64Array:
        """How often each of `filtered_keys` was counted."""
        return self._filtered_metas[0]

    @property
    def filtered_versions(self) -> _Int64Array:
        """The version of each of `filtered_keys`, -1 when not recorded."""
        return self._filtered_metas[1]

    @property
    def removed_keys(self) -> _KeyArray:
        """In a cut of touched keys: those that are no longer in the table, ordered as `keys`."""
        return self._open.removed_keys.astype(self._key_dtype)

    def values(self, slot: int = 0, start: int = 0, stop: int | None = None) -> _FloatArray:
        """A copy of the rows [stop - start, dim] of `slot` for ``keys[start:stop]``."""
        native = self._open
        dim = arguments.slot(slot, self.slots)
        start, stop, _ = slice(start, stop).indices(len(native.keys))
        out = np.empty((max(0, stop - start), dim), np.float32)
        native.values(slot, start, out)
        return out

    def chunks(self, slot: int = 0, *, chunk_bytes: int = 8 << 20) -> Iterator[_FloatArray]:
        """The rows of `slot` in order, in pieces of about `chunk_bytes` bytes; nothing for an empty table."""
        step = max(1, chunk_bytes // (4 * arguments.slot(slot, self.slots)))
        for start in range(0, self.size, step):
            yield self.values(slot, start, start + step)

    def release(self) -> None:
        """Gives the memory back; the snapshot cannot be read afterwards."""
        self._native = None

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def _filtered_metas(self) -> tuple[_Int64Array, _Int64Array]:
        native = self._open
        freqs, versions = (np.empty(len(native.filtered_keys), np.int64) for _ in range(2))
        native.filtered_metas(freqs, versions)
        return freqs, versions

    @property
    def _open(self) -> _native.Snapshot:
        if self._native is None:
            raise arguments.released()
        return self._native
