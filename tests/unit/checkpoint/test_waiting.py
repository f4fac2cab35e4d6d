"""Waiting for checkpoints that somebody else writes."""

import threading
import time

from kvarn.checkpoint import update_checkpoint_state
from kvarn.checkpoint.waiting import checkpoints_iterator, wait_for_new_checkpoint


def put(folder, name):
    """A checkpoint as far as one can see without reading it."""
    (folder / f"{name}.index").touch()
    (folder / f"{name}.data-00000-of-00001").touch()
    update_checkpoint_state(str(folder), str(folder / name))
    return str(folder / name)


def test_a_directory_that_is_not_there_times_out(tmp_path):
    started = time.monotonic()
    nowhere = tmp_path / "nowhere"
    assert wait_for_new_checkpoint(nowhere, "x", timeout=0.2, seconds_to_sleep=0.05) is None
    assert 0.1 < time.monotonic() - started < 2


def test_the_one_that_is_known_is_not_new(tmp_path):
    first = put(tmp_path, "a")
    assert wait_for_new_checkpoint(tmp_path) == first
    assert wait_for_new_checkpoint(tmp_path, first, timeout=0, seconds_to_sleep=0.01) is None


def test_one_that_comes_while_waiting_is_found(tmp_path):
    first = put(tmp_path, "a")
    threading.Timer(0.1, put, [tmp_path, "b"]).start()
    found = wait_for_new_checkpoint(tmp_path, first, timeout=10, seconds_to_sleep=0.02)
    assert found == str(tmp_path / "b")


def test_checkpoints_are_iterated_until_nothing_comes(tmp_path):
    first = put(tmp_path, "a")
    seen = []
    for prefix in checkpoints_iterator(tmp_path, timeout=0):
        seen.append(prefix)
        if len(seen) == 1:
            put(tmp_path, "b")  # passed over: another follows before the next look
            last = put(tmp_path, "c")
    assert seen == [first, last]


def test_a_function_says_whether_to_go_on_after_a_timeout(tmp_path):
    answers = iter([False, False, True])
    assert list(checkpoints_iterator(tmp_path, timeout=0, timeout_fn=lambda: next(answers))) == []
    assert next(answers, None) is None


def test_there_is_an_interval_between_two(tmp_path):
    put(tmp_path, "a")
    iterator = checkpoints_iterator(tmp_path, min_interval_secs=0.2, timeout=0)
    started = time.monotonic()
    next(iterator)
    put(tmp_path, "b")
    next(iterator)
    assert time.monotonic() - started > 0.15
