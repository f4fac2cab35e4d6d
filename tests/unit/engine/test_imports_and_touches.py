"""Rows and counts from files under every admission, and cuts that show only what was touched since another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kvarn import errors
from kvarn.engine.policies import BloomAdmission, CounterAdmission, EvictionPolicy, TieredStorage
from kvarn.engine.reference import ReferenceEmbeddingTable
from kvarn.engine.table import EmbeddingTable

COUNTER, BLOOM = CounterAdmission(3), BloomAdmission(3, 100, 0.01)


@pytest.fixture(params=[EmbeddingTable, ReferenceEmbeddingTable], ids=["native", "reference"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def make(kind: Any, admission: Any = None) -> Any:
    table = kind(np.int64, 1, record_freq=True, record_version=True, admission=admission)
    table.set_default(0, np.full((1, 1), 0.5, np.float32))
    return table


def rows(*values: float) -> Any:
    return np.array(values, np.float32).reshape(-1, 1)


def update(table: Any, *keys: int, step: int | None = None) -> None:
    table.apply("GradientDescent", list(keys), rows(*[1.0] * len(keys)), params=[1.0], step=step)


# -- entries that come in together ------------------------------------------------------------------


def test_staged_entries_come_in_together(kind: Any) -> None:
    table = make(kind)
    slot = table.add_slot("m", 2, np.zeros((1, 2), np.float32))
    with table.stage_import(9, [1, 2]) as staged:
        staged.write({slot: np.ones((2, 2), np.float32), 0: rows(7, 8)}, [3, 4], [5, 6])
        staged.write({slot: np.ones((1, 2), np.float32), 0: rows(9)}, [1], [2])
        assert table.size == 0
        update(table, 1, step=9)
        table.commit_import(staged, [1, 2, 1])
        assert table.lookup([1, 2]).ravel().tolist() == [9, 8]
        assert table.lookup([1], slot=slot).tolist() == [[1, 1]]
        assert table.frequency([1, 2]).tolist() == [1, 4]
        assert table.version([1, 2]).tolist() == [2, 6]
        with pytest.raises(errors.FailedPreconditionError):
            table.commit_import(staged, [1, 2, 1])


def test_staged_entries_that_are_not_committed_were_never_there(kind: Any) -> None:
    table = make(kind)
    with table.stage_import(3, []) as staged:
        staged.write({0: rows(7, 8)})
    assert table.size == 0
    with pytest.raises(errors.FailedPreconditionError):
        table.commit_import(staged, [1, 2])


@pytest.mark.parametrize("change", ["clear", "add_slot"])
def test_staged_entries_of_a_table_that_is_another_one_are_refused(kind: Any, change: str) -> None:
    table = make(kind)
    with table.stage_import(3, []) as staged:
        staged.write({0: rows(7, 8)})
        if change == "clear":
            table.clear()
        else:
            table.add_slot("m", 1, rows(0))
        with pytest.raises(errors.FailedPreconditionError):
            table.commit_import(staged, [1, 2])
    assert table.size == 0


def test_what_cannot_be_staged(kind: Any, tmp_path: Any) -> None:
    table = make(kind)
    update(table, 1)
    assert table.stage_import(3, [2, 1]) is None
    assert table.stage_import(0, []) is None
    assert make(kind, COUNTER).stage_import(3, []) is None
    on_disk = kind(np.int64, 1, storage=TieredStorage(str(tmp_path), 1 << 20))
    assert on_disk.stage_import(3, []) is None


@pytest.mark.parametrize(
    ("columns", "freqs", "versions"),
    [
        ({}, None, None),
        ({0: rows(1, 2, 3)}, [1, 1, 1], None),  # more than were announced
        ({0: rows(1)}, None, None),  # those before had frequencies
        ({0: rows(1)}, [1], [1]),  # and no versions
        ({0: rows(1)}, [1, 2], None),
        ({0: np.ones((1, 2), np.float32)}, [1], None),
    ],
)
def test_staged_entries_that_do_not_fit_are_refused(
    kind: Any, columns: Any, freqs: Any, versions: Any
) -> None:
    table = make(kind)
    with table.stage_import(3, [2]) as staged:
        staged.write({0: rows(5)}, [7])
        with pytest.raises(errors.InvalidArgumentError):
            staged.write(columns, freqs, versions)
        with pytest.raises(errors.InvalidArgumentError):
            table.commit_import(staged, [1, 2])
        table.commit_import(staged, [1])
    assert table.export()[0].tolist() == [1]


# -- what a file's rows become: 4.6 -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("admission", "freqs", "told", "kept"),
    [
        (None, [2, 5], [2, 5], [2, 5]),
        (None, None, [0, 0], [0, 0]),
        (COUNTER, [2, 5], [3, 5], [3, 5]),
        (COUNTER, None, [3, 3], [3, 3]),
        (BLOOM, [2, 5], [3, 5], [3, 5]),
        (BLOOM, None, [3, 3], [3, 3]),
    ],
)
def test_admitted_rows(kind: Any, admission: Any, freqs: Any, told: Any, kept: Any) -> None:
    table = make(kind, admission)
    table.import_rows(0, [1, 2], rows(7, 8), freqs, [4, -1])
    assert table.contains([1, 2]).all()
    assert table.lookup([1, 2]).ravel().tolist() == [7, 8]
    assert table.frequency([1, 2]).tolist() == told
    assert table.version([1, 2]).tolist() == [4, -1]
    assert table.export()[2].tolist() == kept
    update(table, 1)
    assert table.lookup([1]).tolist() == [[6.0]]


@pytest.mark.parametrize("admission", [COUNTER, BLOOM], ids=["counter", "bloom"])
def test_rows_of_a_slot_leave_frequencies_alone(kind: Any, admission: Any) -> None:
    table = make(kind, admission)
    slot = table.add_slot("m", 1, rows(0.25))
    table.import_rows(slot, [1], rows(9))
    assert table.lookup([1]).tolist() == [[0.5]]
    table.import_rows(0, [1, 2], rows(7, 8), [6, 6], [1, 1])
    table.import_rows(slot, [1], rows(10))
    assert table.lookup([1, 2], slot=slot).ravel().tolist() == [10, 0.25]
    assert table.export()[2].tolist() == [6, 6]
    assert table.version([1, 2]).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("admission", "admitted", "told"),
    [(None, [True, True], [2, 5]), (COUNTER, [False, True], [2, 5]), (BLOOM, [False, True], [2, 5])],
)
def test_filtered_rows(kind: Any, admission: Any, admitted: Any, told: Any) -> None:
    table = make(kind, admission)
    table.import_filtered([1, 2], [2, 5], [8, 9])
    assert table.contains([1, 2]).tolist() == admitted
    assert table.frequency([1, 2]).tolist() == told
    waiting = 8 if admission is COUNTER or admission is None else -1
    assert table.version([1, 2]).tolist() == [waiting, 9]
    assert table.lookup([2]).tolist() == [[0.5]]
    update(table, 1)
    assert table.contains([1]).all()


@pytest.mark.parametrize("admission", [None, COUNTER, BLOOM], ids=["open", "counter", "bloom"])
def test_a_count_takes_no_row_away(kind: Any, admission: Any) -> None:
    table = make(kind, admission)
    table.import_rows(0, [1], rows(7), [9], [3])
    table.import_filtered([1], [2], [5])
    assert table.lookup([1]).tolist() == [[7.0]]
    assert table.export()[2].tolist() == [9]
    assert table.version([1]).tolist() == [3]


def test_a_row_promotes_a_waiting_key(kind: Any) -> None:
    """4.5 (kvarn): the source loses the row."""
    table = make(kind, COUNTER)
    slot = table.add_slot("m", 1, rows(0.25))
    update(table, 1, step=6)
    table.import_rows(0, [1], rows(7))
    assert table.lookup([1]).tolist() == [[7.0]]
    assert table.lookup([1], slot=slot).tolist() == [[0.25]]
    assert table.frequency([1]).tolist() == [3]
    assert table.version([1]).tolist() == [6]
    assert (table.size, table.admitted_size) == (1, 1)


def test_a_record_of_a_file_replaces_the_record(kind: Any) -> None:
    table = make(kind, COUNTER)
    update(table, 1, step=6)
    table.import_filtered([1], [2])
    assert (table.frequency([1]).tolist(), table.version([1]).tolist()) == ([2], [6])
    table.import_filtered([1], [1], [7])
    assert (table.frequency([1]).tolist(), table.version([1]).tolist()) == ([1], [7])


def test_bloom_counters_are_raised_never_lowered(kind: Any) -> None:
    table = make(kind, BLOOM)
    update(table, 1)
    update(table, 1)
    table.import_filtered([1], [1])
    assert table.frequency([1]).tolist() == [2]


def test_filtered_keys_in_a_cut(kind: Any) -> None:
    table = make(kind, COUNTER)
    table.import_filtered([1003, -1, 3, 999, 4], [1, 2, 2, 1, 3], [5, 6, 7, 8, 9])
    cut = table.snapshot()
    assert cut.keys.tolist() == [4]
    assert cut.filtered_keys.tolist() == [1003, 3, -1, 999]
    assert cut.filtered_freqs.tolist() == [1, 2, 2, 1]
    assert cut.filtered_versions.tolist() == [5, 7, 6, 8]
    assert cut.partition_filter_offset[[0, 3, 4, 999, 1000]].tolist() == [0, 0, 2, 2, 4]


@pytest.mark.parametrize("counts", [[-1], [0.5], [1, 2]])
def test_counts_that_cannot_be(kind: Any, counts: Any) -> None:
    table = make(kind)
    with pytest.raises(errors.InvalidArgumentError, match="counts"):
        table.apply("GradientDescent", [1], rows(1), params=[1.0], counts=counts)
    assert table.size == 0


# -- touches ----------------------------------------------------------------------------------------


def touched(table: Any, since: int) -> tuple[list[int], list[int], list[int]]:
    with table.snapshot(since=since) as cut:
        return cut.keys.tolist(), cut.filtered_keys.tolist(), cut.removed_keys.tolist()


def test_a_cut_shows_what_was_touched_after_another(kind: Any) -> None:
    table = make(kind, CounterAdmission(2))
    table.record_touches = True
    table.import_rows(0, [5, 1, 2005, 9], rows(1, 2, 3, 4))
    first = table.snapshot().cut
    assert first == 1
    update(table, 2005, 7)
    table.create_from([8, 5], rows(1, 1))
    table.remove([9])
    table.lookup_or_create([1])
    # Ascending inside a bucket; waiting keys by themselves; 5 was there and is untouched.
    assert touched(table, first) == ([2005, 8], [7], [9])
    update(table, 5, 7)
    table.import_rows(0, [9], rows(1))
    assert touched(table, first) == ([5, 2005, 7, 8, 9], [], [])
    assert touched(table, 2) == ([5, 7, 9], [], [])
    assert touched(table, 4) == ([], [], [])
    table.evict(EvictionPolicy(max_keys=1), 1)
    assert sum(map(len, touched(table, 4))) == 5
    table.clear()
    assert touched(table, 4)[2] == [1, 5, 2005, 7, 8, 9]


def test_touches_can_be_forgotten(kind: Any) -> None:
    table = make(kind)
    table.record_touches = True
    update(table, 1)
    table.snapshot()
    update(table, 2)
    table.snapshot()
    table.forget_touches(1)
    assert touched(table, 1) == ([2], [], [])
    assert table.record_touches


def test_a_bloom_filter_has_no_waiting_keys_to_list(kind: Any) -> None:
    table = make(kind, BLOOM)
    table.record_touches = True
    update(table, 1)
    assert touched(table, 0) == ([], [], [])


def test_touches_that_were_not_recorded(kind: Any) -> None:
    table = make(kind)
    table.snapshot()
    with pytest.raises(errors.FailedPreconditionError):
        table.snapshot(since=1)
    table.record_touches = True
    table.record_touches = False
    with pytest.raises(errors.FailedPreconditionError):
        table.snapshot(since=1)
