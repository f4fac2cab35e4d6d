"""Hooks that feed runs, or run something at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn import errors, tf_logging
from kvarn.train.session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook


class FinalOpsHook(SessionRunHook):
    """Runs something at the end of a session.

    Args:
      final_ops: a fetch, or a nest of them.
      final_ops_feed_dict: what is fed then.

    Attributes:
      final_ops_values: the values, once the session is closed.
    """

    def __init__(self, final_ops: Any, final_ops_feed_dict: Any = None) -> None:
        self._final_ops = final_ops
        self._final_ops_feed_dict = final_ops_feed_dict
        self._final_ops_values: Any = None

    @property
    def final_ops_values(self) -> Any:
        return self._final_ops_values

    def end(self, session: Any) -> None:
        if self._final_ops is None:
            return
        try:
            self._final_ops_values = session.run(self._final_ops, feed_dict=self._final_ops_feed_dict)
        except (errors.OutOfRangeError, StopIteration):
            tf_logging.warning(
                "FinalOpsHook: the final operations have come to the end of an input. They should read variables "
                "only: what reads the next batch of an input fails when that is used up."
            )
            raise


class FeedFnHook(SessionRunHook):
    """Feeds every run what a function gives.

    Args:
      feed_fn: a function without arguments that gives a feed_dict.
    """

    def __init__(self, feed_fn: Callable[[], Any]) -> None:
        self.feed_fn = feed_fn

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(fetches=None, feed_dict=self.feed_fn())
