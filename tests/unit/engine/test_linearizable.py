"""Several threads on one table: every key behaves as if one operation came after the other.

Updates add one to a key's value, so what a thread reads says how many updates it has seen. Keys that nobody looks at
surround those that are recorded, so that calls last long enough to meet.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kvarn import _native
from kvarn.engine.policies import EvictionPolicy
from kvarn.engine.table import EmbeddingTable
from kvarn.testing.linearizability import Event, is_linearizable

DIM = 8
WATCHED = np.array([-1, 0, 1000, np.iinfo(np.int64).max])
CROWD = np.arange(10_000, 12_000)  # around the watched keys of a batch
N_THREADS = 4
OPS_OF_A_THREAD = 5
ROUNDS = 100  # histories: as many times the watched keys

KINDS = ["add", "add", "add", "create", "lookup", "contains", "remove", "evict", "snapshot"]


class Recorder:
    """Does random operations on a table and writes down what each watched key showed."""

    def __init__(self, table: EmbeddingTable, seed: int) -> None:
        self.table = table
        self.random = random.Random(seed)
        self.events: dict[int, list[Event]] = {key: [] for key in WATCHED.tolist()}

    def run(self, start: threading.Barrier) -> None:
        start.wait()
        for _ in range(OPS_OF_A_THREAD):
            self.operate(self.random.choice(KINDS))

    def batch(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Watched keys, and all keys of a call, which holds them in its middle."""
        keys = WATCHED[: self.random.randint(1, len(WATCHED))]
        crowd = CROWD if self.random.random() < 0.7 else CROWD[:0]
        half = len(crowd) // 2
        return keys, np.concatenate([crowd[:half], keys, crowd[half:]])

    def operate(self, kind: str) -> None:
        watched, keys = self.batch()
        at = np.flatnonzero(np.isin(keys, WATCHED))
        if kind == "add":
            grads = np.ones((len(keys), DIM), np.float32)
            self.record(
                "add", watched, lambda: self.table.apply("GradientDescent", keys, grads, params=[-1.0])
            )
        elif kind in ("create", "lookup"):
            method = self.table.lookup_or_create if kind == "create" else self.table.lookup
            self.record(kind, watched, lambda: method(keys), lambda rows: whole(rows[at]))
        elif kind == "contains":
            self.record(kind, watched, lambda: self.table.contains(keys), lambda there: there[at].tolist())
        elif kind == "remove":
            # One key a call: the result does not say which of several were there.
            self.record(kind, watched[-1:], lambda: self.table.remove(watched[-1:]), lambda n: [n == 1])
        elif kind == "evict":
            bound = self.random.randint(1, 3)
            policy = EvictionPolicy(min_frequency=bound)
            self.record(
                kind,
                WATCHED,
                lambda: self.table.evict(policy, 0, sample=len(CROWD) + len(WATCHED)),
                lambda report: np.isin(WATCHED, report.sample_keys).tolist(),
                bound,
            )
        else:
            self.record("read", WATCHED, self.table.snapshot, states)

    def record(
        self,
        kind: Any,
        keys: npt.NDArray[np.int64],
        operation: Callable[[], Any],
        results: Callable[[Any], list[Any]] | None = None,
        given: int = 0,
    ) -> None:
        call = time.perf_counter_ns()
        outcome = operation()
        end = time.perf_counter_ns()
        seen = [None] * len(keys) if results is None else results(outcome)
        for key, result in zip(keys.tolist(), seen, strict=True):
            self.events[key].append(Event(call, end, kind, result, given))


def whole(rows: npt.NDArray[np.float32]) -> list[float]:
    """The value of each row, all of whose elements must be it."""
    assert (rows == rows[:, :1]).all(), "a row was read while it was written"
    return rows[:, 0].tolist()


def states(cut: Any) -> list[float | None]:
    """What a snapshot says of each watched key; frequencies are those of the same moment as values."""
    with cut:
        values = dict(zip(cut.keys.tolist(), whole(cut.values()), strict=True))
        freqs = dict(zip(cut.keys.tolist(), cut.freqs.tolist(), strict=True))
    assert freqs == values
    return [values.get(key) for key in WATCHED.tolist()]


@pytest.fixture(params=[1, 2])
def native_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = _native.num_threads()
    _native.set_num_threads(request.param)
    yield request.param
    _native.set_num_threads(before)


def test_every_key_behaves_as_if_operations_came_one_after_the_other(native_threads: int) -> None:
    overlaps = 0
    for number in range(ROUNDS):
        table = EmbeddingTable(np.int64, DIM, record_freq=True)
        start = threading.Barrier(N_THREADS)
        recorders = [Recorder(table, number * N_THREADS + t) for t in range(N_THREADS)]
        threads = [threading.Thread(target=recorder.run, args=(start,)) for recorder in recorders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for key in WATCHED.tolist():
            history = [event for recorder in recorders for event in recorder.events[key]]
            assert is_linearizable(history), f"round {number}, key {key}: {sorted_by_call(history)}"
            overlaps += overlapping(history)
    assert overlaps > ROUNDS, "the threads did not meet: nothing was shown"


def sorted_by_call(history: list[Event]) -> list[Event]:
    return sorted(history, key=lambda event: event.call)


def overlapping(history: list[Event]) -> int:
    events = sorted_by_call(history)
    return sum(later.call < earlier.end for earlier, later in itertools.pairwise(events))
