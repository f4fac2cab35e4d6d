"""The checker of histories knows what could have happened from what could not."""

from __future__ import annotations

from kvarn.testing.linearizability import Event, is_linearizable


def test_a_lost_update_is_found() -> None:
    # Two updates that both ended before a read that sees one of them.
    assert not is_linearizable([Event(0, 4, "add"), Event(2, 6, "add"), Event(8, 9, "lookup", 1)])
    assert is_linearizable([Event(0, 4, "add"), Event(2, 6, "add"), Event(8, 9, "lookup", 2)])


def test_a_stale_read_is_found() -> None:
    assert not is_linearizable([Event(0, 1, "add"), Event(2, 3, "lookup", 0)])
    # While the update still runs, either is right; but not back again.
    assert is_linearizable([Event(0, 5, "add"), Event(1, 2, "lookup", 0), Event(3, 4, "lookup", 1)])
    assert not is_linearizable([Event(0, 5, "add"), Event(1, 2, "lookup", 1), Event(3, 4, "lookup", 0)])


def test_a_key_that_went_twice_is_found() -> None:
    created = Event(0, 1, "create", 0)
    assert is_linearizable([created, Event(2, 9, "remove", True), Event(3, 8, "evict", False, 1)])
    assert not is_linearizable([created, Event(2, 9, "remove", True), Event(3, 8, "evict", True, 1)])


def test_an_update_that_survives_its_keys_removal_is_found() -> None:
    history = [Event(0, 1, "add"), Event(2, 3, "remove", True), Event(4, 5, "add")]
    assert is_linearizable([*history, Event(6, 7, "read", 1)])
    assert not is_linearizable([*history, Event(6, 7, "read", 2)])


def test_an_eviction_goes_by_the_state_it_finds() -> None:
    twice = [Event(0, 1, "add"), Event(2, 3, "add")]
    assert is_linearizable([*twice, Event(4, 5, "evict", False, 2), Event(6, 7, "contains", True)])
    assert not is_linearizable([*twice, Event(4, 5, "evict", True, 2)])
    assert is_linearizable([*twice, Event(4, 5, "evict", True, 3), Event(6, 7, "read", None)])
