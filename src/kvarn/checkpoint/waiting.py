"""Waiting for the checkpoints that another process writes.

Source: tensorflow/python/training/checkpoint_utils.py (1.15).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from kvarn import tf_logging
from kvarn.checkpoint.management import latest_checkpoint
from kvarn.io import Path


def wait_for_new_checkpoint(
    checkpoint_dir: Path,
    last_checkpoint: str | None = None,
    seconds_to_sleep: float = 1,
    timeout: float | None = None,
) -> str | None:
    """Waits until a directory has another newest checkpoint.

    Args:
      checkpoint_dir: the directory; it need not be there yet.
      last_checkpoint: the prefix that is not new; None if any is.
      seconds_to_sleep: between two looks.
      timeout: seconds to wait at most; None for as long as it takes.

    Returns:
      The prefix; None when the time is over.
    """
    tf_logging.info("Waiting for new checkpoint at %s", checkpoint_dir)
    stop_at = None if timeout is None else time.time() + timeout
    while True:
        newest = latest_checkpoint(checkpoint_dir)
        if newest is not None and newest != last_checkpoint:
            tf_logging.info("Found new checkpoint at %s", newest)
            return newest
        if stop_at is not None and time.time() + seconds_to_sleep > stop_at:
            return None
        time.sleep(seconds_to_sleep)


def checkpoints_iterator(
    checkpoint_dir: Path,
    min_interval_secs: float = 0,
    timeout: float | None = None,
    timeout_fn: Callable[[], object] | None = None,
) -> Iterator[str]:
    """The newest checkpoints of a directory as they come; those that others have followed meanwhile are passed over.

    Args:
      checkpoint_dir: the directory; it need not be there yet.
      min_interval_secs: between two checkpoints, at least.
      timeout: seconds to wait for the next one; None for as long as it takes.
      timeout_fn: asked after a timeout whether that was all; without it, it was.

    Yields:
      prefixes.
    """
    newest = None
    while True:
        found = wait_for_new_checkpoint(checkpoint_dir, newest, timeout=timeout)
        if found is None:
            if timeout_fn is None:
                tf_logging.info("Timed-out waiting for a checkpoint.")
                return
            if timeout_fn():
                return
            continue
        started = time.time()
        newest = found
        yield newest
        rest = started + min_interval_secs - time.time()
        if rest > 0:
            time.sleep(rest)
