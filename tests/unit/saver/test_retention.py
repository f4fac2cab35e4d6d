"""Which checkpoints a Saver keeps."""

from __future__ import annotations

from kvarn.saver.retention import Retention


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def drive(retention: Retention, clock: Clock, times: dict[str, float]) -> list[str]:
    """Records checkpoints at their times in hours; what was deleted."""
    deleted = []
    for prefix, hour in times.items():
        clock.now = hour * 3600
        retention.record(prefix)
        gone = retention.next_to_delete()
        if gone is not None:
            deleted.append(gone)
    return deleted


def test_the_newest_stay() -> None:
    clock = Clock()
    retention = Retention(2, 10000.0, clock)
    assert drive(retention, clock, {"a": 0, "b": 0, "c": 0, "d": 0}) == ["a", "b"]
    assert [p for p, _ in retention.last] == ["c", "d"]
    assert retention.listed_with("e") == ["d", "e"]
    assert retention.listed_with("c") == ["d", "c"]


def test_zero_counts_nothing() -> None:
    clock = Clock()
    retention = Retention(0, 10000.0, clock)
    assert drive(retention, clock, {"a": 0, "b": 0}) == []
    assert retention.last == []
    assert retention.listed_with("c") == []


def test_one_in_two_hours_stays_for_good() -> None:
    clock = Clock()
    retention = Retention(1, 2.0, clock)
    hours = {"a": 0.5, "b": 1.9, "c": 2.1, "d": 2.2, "e": 4.0, "f": 4.1, "g": 4.2}
    assert drive(retention, clock, hours) == ["a", "b", "d", "e"]


def test_saving_a_prefix_again_makes_it_the_newest() -> None:
    clock = Clock()
    retention = Retention(2, 10000.0, clock)
    assert drive(retention, clock, {"a": 0, "b": 0}) == []
    assert drive(retention, clock, {"a": 0}) == []
    assert drive(retention, clock, {"c": 0}) == ["b"]


def test_a_prefix_on_its_way_out_that_is_written_again_is_not_deleted() -> None:
    clock = Clock()
    retention = Retention(1, 10000.0, clock)
    retention.record("a")
    retention.record("b")
    retention.record("a")
    assert retention.next_to_delete() == "b"
    assert retention.next_to_delete() is None


def test_of_a_longer_list_set_from_outside_one_leaves_at_a_time() -> None:
    retention = Retention(1, 10000.0, Clock())
    retention.last = [("a", 0.0), ("b", 0.0), ("c", 0.0)]
    assert retention.listed_with("d") == ["b", "c", "d"]
    retention.record("d")
    assert retention.next_to_delete() == "a"
    assert [p for p, _ in retention.last] == ["b", "c", "d"]
