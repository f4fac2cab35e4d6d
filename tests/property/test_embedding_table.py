"""The native table and its NumPy reference do the same thing, whatever is done to them."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kvarn.engine.reference import ReferenceEmbeddingTable, ReferenceSnapshot
from kvarn.engine.table import EmbeddingTable, Snapshot

LIMITS = {np.dtype(d): np.iinfo(d) for d in (np.int32, np.int64)}
# Few different keys, so that batches hit, and the ends of both dtypes.
KEYS = st.one_of(st.integers(-40, 40), st.integers(-(10**6), 10**6), st.sampled_from(["min", "max", "min+1"]))
BATCH = st.lists(KEYS, max_size=70)
SEED = st.integers(0, 2**32 - 1)


def rows(seed: int, n: int, dim: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


class TwoTables(RuleBasedStateMachine):
    """Every rule does the same to both tables and compares what they say."""

    @initialize(
        dtype=st.sampled_from(list(LIMITS)),
        dim=st.sampled_from([1, 2, 3, 8, 16, 17]),
        # What counts is not the same on both sides until the native table counts in its updates.
        freq=st.just(False),
        version=st.booleans(),
        seed=SEED,
        n_defaults=st.integers(1, 5),
    )
    def begin(self, dtype: Any, dim: int, freq: bool, version: bool, seed: int, n_defaults: int) -> None:
        self.dtype, self.dim = dtype, dim
        self.native = EmbeddingTable(dtype, dim, record_freq=freq, record_version=version)
        self.reference = ReferenceEmbeddingTable(dtype, dim, record_freq=freq, record_version=version)
        self.tables = (self.native, self.reference)
        self.cuts: list[tuple[Snapshot, ReferenceSnapshot, bool]] = []
        self.removed = False
        self.step = 0
        for table in self.tables:
            table.set_default(0, rows(seed, n_defaults, dim))

    def keys(self, batch: list[Any]) -> npt.NDArray[Any]:
        limits = LIMITS[self.dtype]
        ends = {"min": limits.min, "max": limits.max, "min+1": limits.min + 1}
        return np.array([ends.get(key, key) for key in batch], self.dtype)

    @rule(batch=BATCH, slot=st.integers(0, 2))
    def lookup_or_create(self, batch: list[Any], slot: int) -> None:
        slot = min(slot, len(self.native.slots) - 1)
        native, reference = (t.lookup_or_create(self.keys(batch), slot=slot) for t in self.tables)
        np.testing.assert_array_equal(native, reference)

    @rule(batch=BATCH, slot=st.integers(0, 2))
    def read(self, batch: list[Any], slot: int) -> None:
        keys = self.keys(batch)
        slot = min(slot, len(self.native.slots) - 1)
        for ask in ("contains", "frequency", "version"):
            native, reference = (getattr(t, ask)(keys) for t in self.tables)
            assert native.dtype == reference.dtype
            np.testing.assert_array_equal(native, reference)
        np.testing.assert_array_equal(
            self.native.lookup(keys, slot=slot), self.reference.lookup(keys, slot=slot)
        )

    @precondition(lambda self: len(self.native.slots) < 4)
    @rule(seed=SEED, same_dim=st.booleans(), n_defaults=st.integers(1, 4))
    def add_slot(self, seed: int, same_dim: bool, n_defaults: int) -> None:
        dim = self.dim if same_dim else self.dim + 2
        numbers = [t.add_slot("s", dim, np.abs(rows(seed, n_defaults, dim)) + 0.1) for t in self.tables]
        assert numbers[0] == numbers[1]

    @rule(seed=SEED, n_defaults=st.integers(1, 4))
    def set_default(self, seed: int, n_defaults: int) -> None:
        for table in self.tables:
            table.set_default(0, rows(seed, n_defaults, self.dim))

    @rule(batch=BATCH, seed=SEED, lr=st.sampled_from([0.01, 1.0, 3.3]), stamp=st.booleans())
    def gradient_descent(self, batch: list[Any], seed: int, lr: float, stamp: bool) -> None:
        self.step += 1
        keys = self.keys(batch)
        for table in self.tables:
            table.apply(
                "GradientDescent",
                keys,
                rows(seed, len(keys), self.dim),
                params=[lr],
                step=self.step if stamp else None,
            )

    @rule(batch=BATCH, seed=SEED, lr=st.sampled_from([0.01, 1.0]))
    def adagrad(self, batch: list[Any], seed: int, lr: float) -> None:
        fitting = [s for s, (_, dim) in enumerate(self.native.slots) if s and dim == self.dim]
        if not fitting:
            return
        self.step += 1
        keys = self.keys(batch)
        for table in self.tables:
            # An accumulator that an import made negative gives NaN on both sides.
            with np.errstate(invalid="ignore", divide="ignore"):
                table.apply(
                    "Adagrad",
                    keys,
                    rows(seed, len(keys), self.dim),
                    slots=[fitting[-1]],
                    params=[lr],
                    step=self.step,
                )

    @rule(batch=BATCH, seed=SEED, slot=st.integers(0, 3), meta=st.booleans())
    def import_rows(self, batch: list[Any], seed: int, slot: int, meta: bool) -> None:
        slot = min(slot, len(self.native.slots) - 1)
        keys = self.keys(batch)
        values = rows(seed, len(keys), self.native.slots[slot][1])
        numbers = np.arange(len(keys)) if meta else None
        for table in self.tables:
            table.import_rows(slot, keys, values, numbers, numbers)

    @rule(batch=BATCH)
    def remove(self, batch: list[Any]) -> None:
        native, reference = (t.remove(self.keys(batch)) for t in self.tables)
        assert native == reference
        self.removed = self.removed or native > 0

    @rule()
    def clear(self) -> None:
        for table in self.tables:
            table.clear()
        self.removed = False

    @precondition(lambda self: len(self.cuts) < 3)
    @rule(buckets=st.sampled_from([1, 7, 1000]))
    def take_snapshot(self, buckets: int) -> None:
        cut = (self.native.snapshot(buckets=buckets), self.reference.snapshot(buckets=buckets), self.removed)
        self.cuts.append(cut)
        self.compare(*cut)

    @precondition(lambda self: self.cuts)
    @rule(which=st.integers(0, 2))
    def release_snapshot(self, which: int) -> None:
        cut = self.cuts.pop(which % len(self.cuts))
        self.compare(*cut)
        cut[0].release()

    @precondition(lambda self: self.cuts)
    @rule(which=st.integers(0, 2), start=st.integers(0, 50), n=st.integers(0, 50))
    def read_snapshot(self, which: int, start: int, n: int) -> None:
        native, reference, removed = self.cuts[which % len(self.cuts)]
        self.compare(native, reference, removed)
        assert native.values(0, start, start + n).shape == reference.values(0, start, start + n).shape

    def compare(self, native: Snapshot, reference: ReferenceSnapshot, removed: bool) -> None:
        """Same keys in the same buckets, and the same entry under every key.

        Inside a bucket the order is that of age, until removed keys leave room that younger ones take.
        """
        assert native.keys.dtype == reference.keys.dtype
        np.testing.assert_array_equal(native.partition_offset, reference.partition_offset)
        if not removed:
            np.testing.assert_array_equal(native.keys, reference.keys)
        here, there = np.argsort(native.keys), np.argsort(reference.keys)
        np.testing.assert_array_equal(native.keys[here], reference.keys[there])
        np.testing.assert_array_equal(native.freqs[here], reference.freqs[there])
        np.testing.assert_array_equal(native.versions[here], reference.versions[there])
        for slot in range(len(native.slots)):
            np.testing.assert_array_equal(native.values(slot)[here], reference.values(slot)[there])

    @invariant()
    def same_size(self) -> None:
        if hasattr(self, "tables"):
            assert self.native.size == self.reference.size
            assert self.native.slots == self.reference.slots

    def teardown(self) -> None:
        if hasattr(self, "tables"):
            self.compare(self.native.snapshot(), self.reference.snapshot(), self.removed)
            for cut in self.cuts:
                self.compare(*cut)


TwoTables.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestTwoTables = TwoTables.TestCase
