"""The native table and its NumPy reference do the same thing, whatever is done to them: all policies, all optimizers.

``make soak`` runs the same machine for KVARN_STATE_STEPS steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kvarn.engine.optimizer_rules import RULES, SlotShape
from kvarn.engine.policies import (
    BloomAdmission,
    CounterAdmission,
    EvictionPolicy,
    EvictionReport,
    SeededRows,
    TieredStorage,
)
from kvarn.engine.reference import ReferenceEmbeddingTable, ReferenceSnapshot
from kvarn.engine.table import EmbeddingTable, Snapshot
from kvarn.errors import OpError

STEPS = int(os.environ.get("KVARN_STATE_STEPS", "20000"))
PARTS = 2  # of the test, so that two processes share the work
STEPS_PER_EXAMPLE = 50
EXAMPLES_PER_ROUND = 200  # hypothesis remembers what it tried; a long run forgets it now and then

# Few different keys, so that batches hit: neighbours, one bucket of a thousand, what DeepRec reserves, the ends.
NEAR = [*range(-12, 20), 1000, 2000, -1000, 3003, -111, -222, 10**6]
POOLS = {
    np.dtype(dtype): np.array(
        [
            *NEAR,
            *(end for info in [np.iinfo(dtype)] for end in (info.min, info.min + 1, info.max - 1, info.max)),
        ],
        dtype,
    )
    for dtype in (np.int32, np.int64)
}
SEED = st.integers(0, 2**32 - 1)
# What comes first is what hypothesis tries most, and in examples that end soon: it must not be the usual case of
# what it is about, a batch without keys or a table without a filter and files.
N = st.sampled_from([1, 2, 3, 5, 8, 13, 21, 60, 1, 0])
SLOT = st.integers(0, 7)
MOST_CUTS = 4  # at once
PARAMS: dict[str, list[float]] = {
    "alpha": [0.05, 1.0],
    "lr": [0.05, 1.0],
    "accum_decay_rate": [0.5],
    "accum_baseline": [0.1],
    "period": [0.0, 1.0, 2.0],
    "beta1_power": [0.9, 0.81],
    "beta2_power": [0.999],
    "beta1": [0.9],
    "beta2": [0.999],
    "epsilon": [1e-8, 1e-3],
    "weight_decay": [0.01],
    "l1": [0.0, 1.0],
    "l2": [0.0, 0.01],
    "l2_shrinkage": [0.0, 0.1],
    "lr_power": [-0.5, -0.7, 0.0],
    "momentum": [0.9],
    "rho": [0.9],
}
ADMISSIONS = st.one_of(
    st.builds(CounterAdmission, st.integers(1, 5)),
    st.builds(
        BloomAdmission,
        st.integers(1, 4),
        st.sampled_from([4, 60]),
        st.sampled_from([0.01, 0.4]),
        st.sampled_from([1, 2, 4, 8]),
    ),
    st.none(),
    st.none(),
)


def policy_of(
    age: int, norm: float, frequency: int, every: bool, floor: int, ceiling: int | None
) -> EvictionPolicy:
    """A policy of these conditions, with a ceiling if it would have none."""
    if ceiling is None and not age and norm == -1.0 and not frequency:
        ceiling = 20
    return EvictionPolicy(
        steps_to_live=age,
        l2_weight_threshold=norm,
        min_frequency=frequency,
        require="all" if every else "any",
        min_keys=floor,
        max_keys=None if ceiling is None else max(floor, ceiling),
    )


# Memory for one entry, for some, for most of them; files for one, for some, for all.
STORAGES = st.one_of(
    st.builds(
        TieredStorage,
        st.just("a folder of its own"),
        st.sampled_from([1, 400, 3000]),
        st.sampled_from(["lru", "lfu"]),
        st.sampled_from([1, 2000, 1 << 20]),
    ),
    st.none(),
    st.none(),
)

# Each condition alone, and any of them together.
POLICIES = st.builds(
    policy_of,
    st.sampled_from([0, 0, 1, 4]),
    st.sampled_from([-1.0, -1.0, 0.5, 3.0]),
    st.sampled_from([0, 0, 2, 5]),
    st.booleans(),
    st.sampled_from([0, 0, 5, 20]),
    st.sampled_from([None, None, 20, 30]),
)
DEFAULTS = st.one_of(
    st.tuples(st.just("matrix"), st.integers(1, 5), SEED),
    st.tuples(st.sampled_from(["uniform", "normal", "truncated_normal"]), st.just(0), SEED),
)


def same(native: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
    """Equal in shape, dtype and elements; what is not a number is so on both sides."""
    assert (native.dtype, native.shape) == (reference.dtype, reference.shape)
    if native.tobytes() != reference.tobytes():
        np.testing.assert_array_equal(native, reference)


def default_of(drawn: tuple[str, int, int], dim: int) -> npt.NDArray[np.float32] | SeededRows:
    kind, n_rows, seed = drawn
    if kind != "matrix":
        return SeededRows(seed, kind, -0.5 if kind == "uniform" else 0.1, 0.7)
    # Positive, as accumulators must be.
    return np.random.default_rng(seed).random((n_rows, dim), np.float32) + np.float32(0.1)


class Refused(Exception):
    """Both tables refuse to do what they were asked."""


class TwoTables(RuleBasedStateMachine):
    """Every rule does the same to both tables and compares what they say."""

    steps = 0  # of all examples

    @initialize(
        dtype=st.sampled_from(list(POOLS)),
        dim=st.sampled_from([1, 2, 3, 8, 17]),
        freq=st.booleans(),
        version=st.booleans(),
        admission=ADMISSIONS,
        no_permission=st.sampled_from([0.0, 0.5]),
        storage=STORAGES,
        touches=st.sampled_from([True, True, False]),
        default=DEFAULTS,
    )
    def begin(
        self,
        dtype: Any,
        dim: int,
        freq: bool,
        version: bool,
        admission: Any,
        no_permission: float,
        storage: TieredStorage | None,
        touches: bool,
        default: Any,
    ) -> None:
        self.dtype, self.dim, self.pool = dtype, dim, POOLS[dtype]
        self.folder = tempfile.TemporaryDirectory() if storage else None
        if storage and self.folder:
            storage = dataclasses.replace(storage, path=self.folder.name)
        given = {
            "record_freq": freq,
            "record_version": version,
            "admission": admission,
            "no_permission": no_permission,
            "storage": storage,
        }
        self.native = EmbeddingTable(dtype, dim, **given)
        self.reference = ReferenceEmbeddingTable(dtype, dim, **given)
        self.tables = (self.native, self.reference)
        self.cuts: list[tuple[Snapshot, ReferenceSnapshot, int | None]] = []
        self.n_cuts = 0
        self.step = 0
        self.staged: tuple[Any, ...] = ()
        for table in self.tables:
            table.set_default(0, default_of(default, dim))
            table.record_touches = touches
        TwoTables.steps -= 1  # this is none

    def drawn(self, seed: int, n: int) -> tuple[np.random.Generator, npt.NDArray[Any]]:
        """A generator and `n` keys from it, some often, most of them rarely."""
        rng = np.random.default_rng(seed)
        return rng, self.pool[(rng.random(n) ** 2 * len(self.pool)).astype(np.int64)]

    def slot_of(self, wanted: int) -> int:
        return wanted % len(self.native.slots)

    def both(self, method: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """What both tables answer.

        Raises:
          Refused: both refuse, as the same kind of error.
        """
        return self.alike(self.outcome(getattr(table, method), *args, **kwargs) for table in self.tables)

    def alike(self, outcomes: Iterable[Any]) -> tuple[Any, Any]:
        """What both tables answered, as `both`."""
        native, reference = outcomes
        if isinstance(native, OpError) or isinstance(reference, OpError):
            assert type(native) is type(reference), (native, reference)
            raise Refused
        return native, reference

    def outcome(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except OpError as error:
            return error

    # Reading

    @rule(seed=SEED, n=N, slot=SLOT, create=st.booleans())
    def lookup(self, seed: int, n: int, slot: int, create: bool) -> None:
        method = "lookup_or_create" if create else "lookup"
        same(*self.both(method, self.drawn(seed, n)[1], slot=self.slot_of(slot)))

    @rule(seed=SEED, n=N)
    def read(self, seed: int, n: int) -> None:
        keys = self.drawn(seed, n)[1]
        for ask in ("contains", "frequency", "version", "tier"):
            same(*self.both(ask, keys))

    @rule(key=st.integers(0, 63), policy=st.one_of(st.none(), POLICIES))
    def explain(self, key: int, policy: EvictionPolicy | None) -> None:
        at = int(self.pool[key % len(self.pool)])
        native, reference = self.both("explain", at, policy=policy, step=self.step if policy else None)
        assert native == reference

    @rule(cache=st.sampled_from(["lru", "lfu"]))
    def set_cache(self, cache: str) -> None:
        self.both("set_cache", cache)

    # Changing

    @rule(
        name=st.sampled_from(list(RULES)),
        seed=SEED,
        n=N,
        counted=st.booleans(),
        stamped=st.booleans(),
        pick=st.integers(0, 5),
        wild=st.sampled_from([False] * 7 + [True]),
    )
    def apply(
        self, name: str, seed: int, n: int, counted: bool, stamped: bool, pick: int, wild: bool
    ) -> None:
        optimizer = RULES[name]
        slots = self.slots_for(optimizer.slots, seed)
        rng, keys = self.drawn(seed, n)
        grads = rng.standard_normal((n, self.dim), np.float32)
        if wild and n:
            odd = np.array([np.inf, -np.inf, np.nan, 1e30, 1e-40, -0.0], np.float32)
            grads[rng.integers(n), rng.integers(self.dim)] = odd[pick]
        params = [PARAMS[param][pick % len(PARAMS[param])] for param in optimizer.params]
        counts = rng.integers(1, 4, n) if counted else None
        self.step += pick % 3
        # Numbers that overflow do so on both sides.
        with np.errstate(all="ignore"):
            step = self.step if stamped else None
            self.both("apply", name, keys, grads, slots=slots, params=params, counts=counts, step=step)

    def slots_for(self, shapes: tuple[SlotShape, ...], seed: int) -> list[int]:
        """Slots of these shapes; those that are missing are added to the table as it is."""
        found: list[int] = []
        for shape in shapes:
            dim = shape.dim(self.dim)
            fitting = (s for s, (_, d) in enumerate(self.native.slots) if s and d == dim and s not in found)
            slot = next(fitting, None)
            found.append(self.new_slot(dim, ("matrix", 2, seed)) if slot is None else slot)
        return found

    def new_slot(self, dim: int, default: tuple[str, int, int]) -> int:
        native, reference = self.both("add_slot", f"slot{dim}", dim, default_of(default, dim))
        assert native == reference
        return int(native)

    @precondition(lambda self: len(self.native.slots) < 5)
    @rule(default=DEFAULTS, dim=st.sampled_from([1, 5]))
    def add_slot(self, default: tuple[str, int, int], dim: int) -> None:
        self.new_slot(dim, default)

    @rule(default=DEFAULTS, slot=SLOT)
    def set_default(self, default: tuple[str, int, int], slot: int) -> None:
        slot = self.slot_of(slot)
        self.both("set_default", slot, default_of(default, self.native.slots[slot][1]))

    @rule(seed=SEED, n=N, slot=SLOT)
    def create_from(self, seed: int, n: int, slot: int) -> None:
        rng, keys = self.drawn(seed, n)
        slot = self.slot_of(slot)
        rows = rng.standard_normal((n, self.native.slots[slot][1]), np.float32)
        self.both("create_from", keys, rows, slot=slot)

    @rule(seed=SEED, n=N, slot=SLOT, freqs=st.booleans(), versions=st.booleans())
    def import_rows(self, seed: int, n: int, slot: int, freqs: bool, versions: bool) -> None:
        rng, keys = self.drawn(seed, n)
        slot = self.slot_of(slot)
        # Not negative: what is imported may be an accumulator.
        rows = rng.random((n, self.native.slots[slot][1]), np.float32)
        self.both(
            "import_rows",
            slot,
            keys,
            rows,
            rng.choice([0, 1, 3, 7, 70_000, 2**40], n) if freqs else None,
            rng.integers(-1, self.step + 2, n) if versions else None,
        )

    @precondition(lambda self: not self.staged)
    @precondition(lambda self: self.native.admission is None and self.native.storage is None)
    @rule(
        seed=SEED,
        n=N,
        parts=st.integers(1, 3),
        known=st.sampled_from([False, False, True]),
        freqs=st.booleans(),
        versions=st.booleans(),
        waits=st.sampled_from([False, False, True]),
    )
    def stage_import(
        self, seed: int, n: int, parts: int, known: bool, freqs: bool, versions: bool, waits: bool
    ) -> None:
        """Entries on their way; if they wait, other rules come in before `commit_import`."""
        rng, keys = self.drawn(seed, n)
        staged = self.both("stage_import", n + 1, keys[:1] if known else keys[:0])
        assert (staged[0] is None) == (staged[1] is None)
        if staged[0] is None:
            return
        self.staged, self.staged_keys = staged, keys
        for part in np.array_split(np.arange(n), parts):
            rows = {
                slot: rng.random((len(part), dim), np.float32)
                for slot, (_, dim) in enumerate(self.native.slots)
            }
            counts = rng.choice([0, 1, 3, 7, 70_000, 2**40], len(part)) if freqs else None
            steps = rng.integers(-1, self.step + 2, len(part)) if versions else None
            for entries in staged:
                entries.write(rows, counts, steps)
        if not waits:
            self.commit()
            self.give_up()

    @precondition(lambda self: self.staged)
    @rule(commit=st.sampled_from([True, True, True, False]))
    def end_import(self, commit: bool) -> None:
        if commit:
            self.commit()
        self.give_up()

    def commit(self) -> None:
        with contextlib.suppress(Refused):  # the table was cleared, or got another slot
            self.alike(
                self.outcome(table.commit_import, entries, self.staged_keys)
                for table, entries in zip(self.tables, self.staged, strict=True)
            )

    def give_up(self) -> None:
        for entries in self.staged:
            entries.release()
        self.staged = ()

    @rule(seed=SEED, n=N, versions=st.booleans())
    def import_filtered(self, seed: int, n: int, versions: bool) -> None:
        rng, keys = self.drawn(seed, n)
        self.both(
            "import_filtered",
            keys,
            rng.integers(0, 7, n),
            rng.integers(-1, self.step + 2, n) if versions else None,
        )

    @rule(policy=POLICIES, sample=st.sampled_from([0, 3, 10]), ahead=st.integers(0, 3))
    def evict(self, policy: EvictionPolicy, sample: int, ahead: int) -> None:
        self.step += ahead
        size = self.native.size
        try:
            planned = self.both("evict", policy, self.step, dry_run=True, sample=sample)
        except Refused:  # it goes by what is not recorded
            return
        assert self.native.size == size
        done = self.both("evict", policy, self.step, sample=sample)
        gone = size - self.native.size
        for native, reference in (planned, done):
            self.same_reports(native, reference, sample)
        assert planned[0].dry_run
        assert not done[0].dry_run
        for field in ("examined", "removed", "by_reason", "spared"):
            assert getattr(planned[0], field) == getattr(done[0], field), field
        assert done[0].removed == gone
        assert not self.native.contains(np.array(done[0].sample_keys, self.dtype)).any()

    def same_reports(self, native: EvictionReport, reference: EvictionReport, sample: int) -> None:
        for field in ("examined", "removed", "by_reason", "spared", "dry_run"):
            assert getattr(native, field) == getattr(reference, field), field
        assert len(native.sample_keys) == len(reference.sample_keys) == min(sample, native.removed)
        assert (native.bytes > 0) == (native.removed > 0)

    @rule(seed=SEED, n=N)
    def remove(self, seed: int, n: int) -> None:
        native, reference = self.both("remove", self.drawn(seed, n)[1])
        assert native == reference

    @rule(really=st.sampled_from([False, False, True]))
    def clear(self, really: bool) -> None:
        if really:
            self.both("clear")

    @rule(switch=st.sampled_from([False] * 4 + [True]), back=st.sampled_from([0, 2, 3, 4, 5]))
    def touches(self, switch: bool, back: int) -> None:
        for table in self.tables:
            table.forget_touches(max(0, self.n_cuts - back))
            table.record_touches ^= switch

    # Snapshots

    @rule(buckets=st.sampled_from([1, 7, 1000]), back=st.sampled_from([None, 0, 0, 1, 2, 3]))
    def take_snapshot(self, buckets: int, back: int | None) -> None:
        if len(self.cuts) == MOST_CUTS:
            self.release_snapshot(0)
        since = None if back is None else max(0, self.n_cuts - back)
        try:
            native, reference = self.both("snapshot", buckets=buckets, since=since)
        except Refused:  # touches since then are not known
            return
        self.n_cuts += 1
        assert native.cut == reference.cut == self.n_cuts
        self.cuts.append((native, reference, since))
        self.same_cuts(native, reference, since)

    @precondition(lambda self: self.cuts)
    @rule(which=st.integers(0, 3), start=st.integers(0, 50), n=N, slot=SLOT)
    def read_snapshot(self, which: int, start: int, n: int, slot: int) -> None:
        native, reference, since = self.cuts[which % len(self.cuts)]
        self.same_cuts(native, reference, since)
        slot %= len(native.slots)
        whole = native.values(slot)
        same(native.values(slot, start, start + n), whole[start : start + n])
        pieces = list(native.chunks(slot, chunk_bytes=100))
        same(np.concatenate([whole[:0], *pieces]), whole)

    @precondition(lambda self: self.cuts)
    @rule(which=st.integers(0, 3))
    def release(self, which: int) -> None:
        self.release_snapshot(which % len(self.cuts))

    def release_snapshot(self, which: int) -> None:
        native, reference, since = self.cuts.pop(which)
        self.same_cuts(native, reference, since)
        native.release()

    def same_cuts(self, native: Snapshot, reference: ReferenceSnapshot, since: int | None) -> None:
        """The same entry under every key, in the same buckets; inside a bucket in any order but of increments."""
        assert native.size == reference.size
        assert native.slots == reference.slots
        assert native.counters == reference.counters
        here, there = self.order(native, reference, "keys", "partition_offset", exactly=since is not None)
        same(native.freqs[here], reference.freqs[there])
        same(native.versions[here], reference.versions[there])
        for slot in range(len(native.slots)):
            same(native.values(slot)[here], reference.values(slot)[there])
        here, there = self.order(native, reference, "filtered_keys", "partition_filter_offset")
        same(native.filtered_freqs[here], reference.filtered_freqs[there])
        same(native.filtered_versions[here], reference.filtered_versions[there])
        if since is not None:
            same(np.sort(native.removed_keys), np.sort(reference.removed_keys))

    def order(
        self, native: Snapshot, reference: ReferenceSnapshot, keys: str, offset: str, exactly: bool = False
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """What sorts the keys of both, having compared them and the buckets they lie in."""
        ours, theirs, offsets = getattr(native, keys), getattr(reference, keys), getattr(native, offset)
        same(offsets, getattr(reference, offset))
        assert offsets[-1] == len(ours)
        bucket = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        assert np.array_equal(ours.astype(np.int64) % (len(offsets) - 1), bucket)
        if exactly:
            same(ours, theirs)
        here, there = np.argsort(ours), np.argsort(theirs)
        same(ours[here], theirs[there])
        return here, there

    @invariant()
    def same_numbers(self) -> None:
        if hasattr(self, "tables"):
            TwoTables.steps += 1
            assert self.native.size == self.reference.size
            assert self.native.admitted_size == self.reference.admitted_size
            assert self.native.counters == self.reference.counters

    def teardown(self) -> None:
        if hasattr(self, "tables"):
            self.same_cuts(*self.both("snapshot"), since=None)
            for cut in self.cuts:
                self.same_cuts(*cut)
            if self.folder:
                del self.native, self.tables
                self.folder.cleanup()


@pytest.mark.parametrize("part", range(PARTS))
def test_native_table_does_what_the_reference_does(part: int) -> None:
    assert {param for optimizer in RULES.values() for param in optimizer.params} == set(PARAMS)
    TwoTables.steps, wanted = 0, STEPS // PARTS
    while (missing := wanted - TwoTables.steps) > 0:
        before = TwoTables.steps
        run_state_machine_as_test(
            TwoTables,
            settings=settings(
                # Few examples end early.
                max_examples=min(EXAMPLES_PER_ROUND, 1 + missing * 9 // (8 * STEPS_PER_EXAMPLE)),
                stateful_step_count=STEPS_PER_EXAMPLE,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert TwoTables.steps > before
    print(f"{TwoTables.steps} steps of the state machine in part {part}")
