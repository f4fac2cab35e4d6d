"""What ends a run before it is done: its time is over, or its session was closed.

The time is ``timeout_in_ms`` of RunOptions, or ``operation_timeout_in_ms`` of ConfigProto.
What may go on for ever asks: loops before each round, queues while they wait.

Source: `DirectSession::WaitForNotification` of tensorflow/core/common_runtime/direct_session.cc (1.15).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from kvarn import errors


class _Deadline(threading.local):
    at: float | None = None


_deadline = _Deadline()


@contextlib.contextmanager
def within(milliseconds: int) -> Iterator[None]:
    """A run in this thread that may take so long."""
    old, _deadline.at = _deadline.at, time.monotonic() + milliseconds / 1000
    try:
        yield
    finally:
        _deadline.at = old


def seconds_left() -> float | None:
    """How long the run of this thread may still take; None for ever.

    Raises:
      DeadlineExceededError: no time is left.
    """
    if _deadline.at is None:
        return None
    left = _deadline.at - time.monotonic()
    if left <= 0:
        raise errors.DeadlineExceededError.of(
            "Timed out waiting for notification",
            hint="timeout_in_ms or operation_timeout_in_ms says how long.",
        )
    return left


def next_round(session: Any) -> None:
    """A loop is about to go round once more.

    Args:
      session: that runs it, if one does.

    Raises:
      DeadlineExceededError: no time is left.
      CancelledError: the session was closed.
    """
    seconds_left()
    if session is not None and session.is_cancelled:
        raise errors.CancelledError.of(
            "Loop execution was cancelled.", hint="Another thread closed the session."
        )
