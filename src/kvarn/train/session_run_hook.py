"""What a hook sees of the runs of a monitored session, and what it may ask for.

The calls in the order in which a MonitoredSession makes them, each for all hooks in their order:

    begin()                                 the graph may still be changed
    after_create_session(session, coord)    the graph is final; again after a session was lost
    before_run(run_context)                 what is to be fetched and fed besides
    after_run(run_context, run_values)      what came of it; not if the run raised
    end(session)                            at the close of the session, unless an exception closes it

Source: tensorflow/python/training/session_run_hook.py (1.15).
"""

from __future__ import annotations

from typing import Any, NamedTuple


class SessionRunHook:
    """The base of hooks; a subclass has the methods that it wants called."""

    def begin(self) -> None:
        """Called once, before the session is created; the last moment to add to the graph."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Called when a session was created.

        Args:
          session: the Session; its graph cannot be changed any more.
          coord: the Coordinator of the session's threads.
        """

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Called before each run.

        Returns:
          What to fetch and feed beside what the program does, or None.
        """
        return None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Called after each run; ``run_values.results`` has the shape of the fetches that were asked for."""

    def end(self, session: Any) -> None:
        """Called at the close of the session, which still runs."""


class _SessionRunArgs(NamedTuple):
    fetches: Any
    feed_dict: Any
    options: Any


class SessionRunArgs(_SessionRunArgs):
    """Arguments of a run: ``fetches``, ``feed_dict`` and ``options``, as of `Session.run`."""

    def __new__(cls, fetches: Any, feed_dict: Any = None, options: Any = None) -> SessionRunArgs:
        return super().__new__(cls, fetches, feed_dict, options)


class SessionRunValues(NamedTuple):
    """What came of a run.

    Attributes:
      results: the values of the fetches that a hook has asked for.
      options, run_metadata: the RunOptions and RunMetadata of the run.
    """

    results: Any
    options: Any
    run_metadata: Any


class SessionRunContext:
    """One run, as all hooks see it.

    Args:
      original_args: the `SessionRunArgs` that the program gave.
      session: the Session that runs them.
    """

    def __init__(self, original_args: SessionRunArgs, session: Any) -> None:
        self._original_args = original_args
        self._session = session
        self._stop_requested = False

    @property
    def original_args(self) -> SessionRunArgs:
        return self._original_args

    @property
    def session(self) -> Any:
        return self._session

    @property
    def stop_requested(self) -> bool:
        return self._stop_requested

    def request_stop(self) -> None:
        """Makes this run the last one: `MonitoredSession.should_stop` is True after it."""
        self._stop_requested = True
