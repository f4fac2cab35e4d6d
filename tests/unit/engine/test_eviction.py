"""Evictions that combine conditions, with floor and ceiling; reports, counters and explanations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kvarn import errors
from kvarn.engine.policies import BloomAdmission, CounterAdmission, EvictionPolicy, EvictionReport
from kvarn.engine.reference import ReferenceEmbeddingTable
from kvarn.engine.table import EmbeddingTable


@pytest.fixture(params=[EmbeddingTable, ReferenceEmbeddingTable], ids=["native", "reference"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def table_of(kind: Any, rows: dict[int, tuple[int, int, float]], **arguments: Any) -> Any:
    """A table of keys with (frequency, version, value)."""
    table = kind(np.int64, 1, record_freq=True, record_version=True, **arguments)
    freqs, versions, values = zip(*rows.values(), strict=True)
    table.import_rows(0, list(rows), np.array(values, np.float32).reshape(-1, 1), list(freqs), list(versions))
    return table


# At step 100: key 1 is old, 2 is small, 3 is rare, 4 is all three, 5 is none.
FIVE = {1: (9, 10, 5.0), 2: (9, 99, 0.1), 3: (1, 99, 5.0), 4: (1, 10, 0.1), 5: (9, 99, 5.0)}
ALL = {"steps_to_live": 50, "l2_weight_threshold": 1.0, "min_frequency": 3}


def keys_of(table: Any) -> list[int]:
    return sorted(table.snapshot().keys.tolist())


@pytest.mark.parametrize(
    ("policy", "left", "by_reason"),
    [
        (EvictionPolicy(**ALL), [5], {"age": 2, "norm": 1, "frequency": 1}),
        (EvictionPolicy(**ALL, require="all"), [1, 2, 3, 5], {"age": 1}),
        (EvictionPolicy(l2_weight_threshold=1.0, min_frequency=3, require="all"), [1, 2, 3, 5], {"norm": 1}),
        (EvictionPolicy(min_frequency=3), [1, 2, 5], {"frequency": 2}),
        (EvictionPolicy(min_frequency=9), [1, 2, 5], {"frequency": 2}),
        (EvictionPolicy(min_frequency=10), [], {"frequency": 5}),
    ],
)
def test_conditions_combine(kind: Any, policy: Any, left: list[int], by_reason: Any) -> None:
    table = table_of(kind, FIVE)
    dry = table.evict(policy, 100, dry_run=True)
    assert keys_of(table) == [1, 2, 3, 4, 5]
    report = table.evict(policy, 100)
    assert keys_of(table) == left
    assert report.by_reason == by_reason
    assert (report.examined, report.removed, report.spared, report.dry_run) == (5, 5 - len(left), 0, False)
    assert dry == EvictionReport(**{**vars(report), "dry_run": True})
    assert set(report.sample_keys) == {1, 2, 3, 4, 5} - set(left)
    for reason in ("age", "norm", "frequency", "ceiling"):
        assert table.counters[f"evicted_{reason}"] == by_reason.get(reason, 0)
    assert table.counters["admitted"] == len(left)


@pytest.mark.parametrize(
    ("policy", "left", "spared", "ceiling"),
    [
        # Of 1 to 4, which are to leave, the greatest (frequency, version, key) are 2, 1, 3, 4.
        (EvictionPolicy(**ALL, min_keys=1), [5], 0, 0),
        (EvictionPolicy(**ALL, min_keys=2), [2, 5], 1, 0),
        (EvictionPolicy(**ALL, min_keys=3), [1, 2, 5], 2, 0),
        (EvictionPolicy(**ALL, min_keys=99), [1, 2, 3, 4, 5], 4, 0),
        # Nobody leaves by a condition; the smallest are 4, 3, 1, 2, 5.
        (EvictionPolicy(max_keys=5), [1, 2, 3, 4, 5], 0, 0),
        (EvictionPolicy(max_keys=3), [1, 2, 5], 0, 2),
        (EvictionPolicy(max_keys=1), [5], 0, 4),
        (EvictionPolicy(max_keys=0), [], 0, 5),
        (EvictionPolicy(min_frequency=3, max_keys=2), [2, 5], 0, 1),
        (EvictionPolicy(**ALL, min_keys=2, max_keys=2), [2, 5], 1, 0),
    ],
)
def test_floor_and_ceiling(kind: Any, policy: Any, left: list[int], spared: int, ceiling: int) -> None:
    table = table_of(kind, FIVE)
    dry = table.evict(policy, 100, dry_run=True)
    report = table.evict(policy, 100)
    assert keys_of(table) == left
    assert (report.spared, report.by_reason.get("ceiling", 0)) == (spared, ceiling)
    assert (dry.spared, dry.by_reason) == (spared, report.by_reason)


def test_keys_settle_what_frequency_and_version_do_not(kind: Any) -> None:
    table = table_of(kind, dict.fromkeys((7, -3, 4, 0), (2, 5, 1.0)))
    table.evict(EvictionPolicy(max_keys=2), 9)
    assert keys_of(table) == [4, 7]


def test_a_key_without_a_version_is_stamped_before_it_is_ranked(kind: Any) -> None:
    rows = {1: (2, -1, 1.0), 2: (2, 60, 1.0), 3: (2, 70, 1.0)}
    policy = EvictionPolicy(steps_to_live=90, max_keys=1)
    table = table_of(kind, rows)
    assert table.evict(policy, 100, dry_run=True).by_reason == {"ceiling": 2}
    assert table.version([1]).tolist() == [-1]
    table.evict(policy, 100)
    assert keys_of(table) == [1]
    assert table.version([1]).tolist() == [100]


def test_waiting_keys_neither_count_for_the_bounds_nor_leave_by_them(kind: Any) -> None:
    table = table_of(kind, FIVE, admission=CounterAdmission(3))
    grads = np.ones((2, 1), np.float32)
    table.apply("GradientDescent", [21, 22], grads, params=[0.0], step=20)
    report = table.evict(EvictionPolicy(max_keys=5), 100)
    assert (report.examined, report.removed) == (7, 0)
    # Without versions they would have to leave by other conditions, of which they have none.
    assert table.evict(EvictionPolicy(min_frequency=3), 100).removed == 0
    assert table.evict(EvictionPolicy(steps_to_live=50, min_keys=99), 100).by_reason == {"age": 2}
    assert table.frequency([21, 22]).tolist() == [0, 0]
    assert table.counters["filtered"] == 0


def test_a_condition_on_what_is_not_recorded_is_refused(kind: Any) -> None:
    table = kind(np.int64, 1)
    with pytest.raises(errors.InvalidArgumentError, match="without versions"):
        table.evict(EvictionPolicy(steps_to_live=3), 1)
    with pytest.raises(errors.InvalidArgumentError, match="without frequencies"):
        table.evict(EvictionPolicy(min_frequency=3), 1)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"min_keys": 4},
        {"steps_to_live": -1},
        {"min_frequency": -1},
        {"max_keys": -1},
        {"min_keys": 5, "max_keys": 4},
        {"min_frequency": 2, "require": "some"},
    ],
)
def test_policies_that_cannot_be(arguments: Any) -> None:
    with pytest.raises(errors.InvalidArgumentError):
        EvictionPolicy(**arguments)


def test_sample_and_bytes(kind: Any) -> None:
    table = table_of(kind, dict.fromkeys(range(50), (1, 1, 1.0)))
    table.add_slot("m", 3, np.zeros((1, 3), np.float32))
    report = table.evict(EvictionPolicy(min_frequency=9), 5, dry_run=True, sample=4)
    assert len(report.sample_keys) == 4
    assert set(report.sample_keys) < set(range(50))
    # The key, 4 floats, frequency and version.
    assert report.bytes == 50 * (8 + 4 * 4 + 16)
    assert table.evict(EvictionPolicy(min_frequency=9), 5, sample=0).sample_keys == ()


def test_a_report_adds_up() -> None:
    one = EvictionReport(5, 2, {"age": 2}, 80, (1, 9), 1)
    two = EvictionReport(4, 2, {"age": 1, "norm": 1}, 80, (4, 5))
    both = one + two
    assert both == EvictionReport(9, 4, {"age": 3, "norm": 1}, 160, (1, 9, 4, 5), 1)


# -- why ------------------------------------------------------------------------------------------


def test_explain_without_a_filter(kind: Any) -> None:
    table = table_of(kind, FIVE)
    found = table.explain(1)
    assert (found.key, found.state, found.frequency, found.version, found.tier) == (1, "in", 9, 10, 0)
    assert found.needed_frequency is None
    assert found.would_evict is None
    absent = table.explain(77)
    assert (absent.state, absent.frequency, absent.version, absent.tier) == ("absent", 0, -1, -1)


@pytest.mark.parametrize(("key", "why"), [(1, "age"), (2, "norm"), (3, "frequency"), (4, "age"), (5, None)])
def test_explain_what_a_policy_would_do(kind: Any, key: int, why: str | None) -> None:
    assert table_of(kind, FIVE).explain(key, policy=EvictionPolicy(**ALL), step=100).would_evict == why


def test_explain_asks_for_a_step(kind: Any) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="step"):
        table_of(kind, FIVE).explain(1, policy=EvictionPolicy(**ALL))


def test_explain_an_evicted_key(kind: Any) -> None:
    table = table_of(kind, FIVE)
    table.evict(EvictionPolicy(**ALL), 100)
    for key, why in ((1, "age"), (2, "norm"), (3, "frequency")):
        found = table.explain(key)
        assert found.state == "evicted"
        assert "100" in found.reason
        assert why in found.reason
    table.lookup_or_create([1])
    assert table.explain(1).state == "in"


@pytest.mark.parametrize(
    "admission", [CounterAdmission(3), BloomAdmission(3, 100, 0.01)], ids=["counter", "bloom"]
)
def test_explain_a_filtered_key(kind: Any, admission: Any) -> None:
    table = kind(np.int64, 1, admission=admission, record_version=True)
    for step in range(3):
        table.apply("GradientDescent", [1], np.ones((1, 1), np.float32), params=[0.0], step=step)
        if step < 2:
            found = table.explain(1)
            assert (found.state, found.frequency, found.needed_frequency) == ("filtered", step + 1, 3)
            assert found.tier == -1
    assert table.explain(1).state == "in"
    assert table.explain(2).state == "absent"
    table.evict(EvictionPolicy(steps_to_live=1), 9)
    assert table.explain(1).state == "evicted"


def test_explain_whether_a_waiting_key_would_go(kind: Any) -> None:
    table = kind(np.int64, 1, admission=CounterAdmission(3), record_version=True)
    table.apply("GradientDescent", [1], np.ones((1, 1), np.float32), params=[0.0], step=2)
    policy = EvictionPolicy(steps_to_live=5)
    assert table.explain(1, policy=policy, step=7).would_evict is None
    assert table.explain(1, policy=policy, step=8).would_evict == "age"


def test_waiting_keys_leave_by_age_whatever_else_is_required(kind: Any) -> None:
    """They have neither a row nor a frequency to be judged by."""
    table = kind(np.int64, 1, record_freq=True, record_version=True, admission=CounterAdmission(5))
    table.apply("GradientDescent", np.array([1, 2]), np.ones((2, 1), np.float32), params=[0.1], step=0)
    policy = EvictionPolicy(steps_to_live=3, min_frequency=9, l2_weight_threshold=1.0, require="all")
    assert table.evict(policy, 3).removed == 0
    assert table.evict(policy, 4).by_reason == {"age": 2}
    # A policy that says nothing of age leaves them.
    table.apply("GradientDescent", np.array([1]), np.ones((1, 1), np.float32), params=[0.1], step=0)
    assert table.evict(EvictionPolicy(min_frequency=9, require="all"), 100).removed == 0


def test_the_time_that_an_eviction_gives_is_a_touch(kind: Any) -> None:
    """Increments have to tell it to who follows them."""
    table = table_of(kind, {1: (1, -1, 1.0), 2: (1, 7, 1.0)})
    table.record_touches = True
    with table.snapshot() as before:
        since = before.cut
    assert table.evict(EvictionPolicy(steps_to_live=50), 40, dry_run=True).removed == 0
    with table.snapshot(since=since) as cut:
        assert cut.keys.tolist() == []
    assert table.evict(EvictionPolicy(steps_to_live=50), 40).removed == 0
    with table.snapshot(since=since) as cut:
        assert cut.keys.tolist() == [1]
        assert cut.versions.tolist() == [40]


@pytest.mark.parametrize("admission", [None, CounterAdmission(2**63 - 1)])
def test_frequencies_end_at_the_largest_number(kind: Any, admission: Any) -> None:
    table = kind(np.int64, 1, record_freq=True, admission=admission)
    most = 2**63 - 1
    for counts in ([2**62, 2**62], [1, 1]):
        grads = np.ones((2, 1), np.float32)
        table.apply("GradientDescent", np.array([1, 1]), grads, params=[0.1], counts=np.array(counts))
        assert table.frequency([1]).tolist() == [most]
    assert table.contains([1]).tolist() == [True]


def test_behind_a_bloom_filter_what_was_recorded_counts(kind: Any) -> None:
    """The filter's estimate stays what it was when the key was admitted."""
    admission = BloomAdmission(3, 1000, 0.01)
    table = kind(np.int64, 1, record_freq=True, admission=admission)
    for _ in range(2):
        grads = np.ones((5, 1), np.float32)
        table.apply("GradientDescent", np.full(5, 1), grads, params=[0.1], counts=np.ones(5, np.int64))
    assert table.kept_frequency([1, 2]).tolist() == [10, 0]
    found = table.explain(1, policy=EvictionPolicy(min_frequency=11))
    assert (found.frequency, found.would_evict) == (10, "frequency")
    assert table.explain(1, policy=EvictionPolicy(min_frequency=10)).would_evict is None
    assert table.evict(EvictionPolicy(min_frequency=11), 0, dry_run=True).removed == 1
