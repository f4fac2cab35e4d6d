"""Sessions that are initialized, restored, stopped and closed by themselves, and call hooks.

    with tf.train.MonitoredSession(tf.train.ChiefSessionCreator(checkpoint_dir="/m"), hooks=[...]) as sess:
        while not sess.should_stop():
            sess.run(train_op)

Source: tensorflow/python/training/monitored_session.py (1.15).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from kvarn import errors
from kvarn.graph.graph import get_default_graph
from kvarn.train import wrapped_sessions
from kvarn.train.scaffold import Scaffold
from kvarn.train.session_creator import ChiefSessionCreator
from kvarn.train.session_run_hook import SessionRunHook


class _MonitoredSession:
    """See `MonitoredSession` and `SingularMonitoredSession`."""

    StepContext = wrapped_sessions.StepContext
    _CoordinatedSessionCreator = wrapped_sessions._CoordinatedSessionCreator

    def __init__(
        self,
        session_creator: Any,
        hooks: Sequence[SessionRunHook] | None,
        should_recover: bool,
        stop_grace_period_secs: float = 120,
    ) -> None:
        self._graph_was_finalized = get_default_graph().finalized
        self._hooks = hooks or []
        for hook in self._hooks:
            hook.begin()
        self._coordinated_creator = self._CoordinatedSessionCreator(
            session_creator or ChiefSessionCreator(), self._hooks, stop_grace_period_secs
        )
        self._sess: Any = (
            wrapped_sessions._RecoverableSession(self._coordinated_creator)
            if should_recover
            else self._coordinated_creator.create_session()
        )

    @property
    def graph(self) -> Any:
        """The graph; None once closed."""
        session = self._tf_sess()
        return None if session is None else session.graph

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """As `Session.run`, between the calls of the hooks.

        Raises:
          RuntimeError: a hook has asked to stop, or feeds what another one or the caller feeds.
        """
        return self._sess.run(fetches, feed_dict=feed_dict, options=options, run_metadata=run_metadata)

    def run_step_fn(self, step_fn: Callable[..., Any]) -> Any:
        """Calls a function that may run several things: some with hooks, some in the Session alone.

        Args:
          step_fn: called with a `StepContext`; its one argument must be named ``step_context``.

        Returns:
          What the function returns.

        Raises:
          ValueError: the function has other arguments.
          StopIteration: it called ``step_context.request_stop()``; the ``with`` of the session ends by that.
        """
        arguments = _positional_arguments(step_fn)
        if arguments not in (("step_context",), ("self", "step_context")):
            raise ValueError(
                "`step_fn` may either have one `step_context` argument, or `self` and `step_context` arguments if "
                f"it's an instance method. Got {arguments} instead."
            )
        return self._sess.run_step_fn(step_fn, self._tf_sess(), run_with_hooks=None)

    def should_stop(self) -> bool:
        """Whether no run should follow."""
        return self._sess is None or self._sess.should_stop()

    def close(self) -> None:
        """Ends the hooks, stops the threads and closes the session."""
        self._close_internal()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        # These are how an input says that it is used up.
        if exception_type in (errors.OutOfRangeError, StopIteration):
            exception_type = None
        self._close_internal(exception_type)
        return exception_type is None

    def _close_internal(self, exception_type: type[BaseException] | None = None) -> None:
        try:
            if not exception_type:
                for hook in self._hooks:
                    hook.end(self._coordinated_creator.tf_sess)
        finally:
            try:
                if self._sess is None:
                    raise RuntimeError("Session is already closed.")
                self._sess.close()
            finally:
                self._sess = None
                self._coordinated_creator.tf_sess = None
                self._coordinated_creator.coord = None
                if not self._graph_was_finalized:
                    get_default_graph()._unsafe_unfinalize()

    def _is_closed(self) -> bool:
        return self._coordinated_creator.tf_sess is None

    def _tf_sess(self) -> Any:
        return self._coordinated_creator.tf_sess


class MonitoredSession(_MonitoredSession):
    """A session with hooks that is made anew when it was lost by AbortedError or UnavailableError.

    OutOfRangeError and StopIteration end its ``with`` block without an error; other exceptions close it without
    the hooks' `end`, and go on.

    Args:
      session_creator: a SessionCreator; a `ChiefSessionCreator` by default.
      hooks: `SessionRunHook` objects, called in their order.
      stop_grace_period_secs: how long the close waits for threads.
    """

    def __init__(
        self,
        session_creator: Any = None,
        hooks: Sequence[SessionRunHook] | None = None,
        stop_grace_period_secs: float = 120,
    ) -> None:
        super().__init__(
            session_creator, hooks, should_recover=True, stop_grace_period_secs=stop_grace_period_secs
        )


class SingularMonitoredSession(_MonitoredSession):
    """A session with hooks that is not made anew, so that it can be given to a Saver: see `raw_session`.

    Args:
      hooks, stop_grace_period_secs: as of `MonitoredSession`.
      scaffold, master, config, checkpoint_dir, checkpoint_filename_with_path: as of `ChiefSessionCreator`.
    """

    def __init__(
        self,
        hooks: Sequence[SessionRunHook] | None = None,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        stop_grace_period_secs: float = 120,
        checkpoint_filename_with_path: str | os.PathLike[str] | None = None,
    ) -> None:
        session_creator = ChiefSessionCreator(
            scaffold=scaffold,
            master=master,
            config=config,
            checkpoint_dir=checkpoint_dir,
            checkpoint_filename_with_path=checkpoint_filename_with_path,
        )
        super().__init__(
            session_creator, hooks, should_recover=False, stop_grace_period_secs=stop_grace_period_secs
        )

    def raw_session(self) -> Any:
        """The Session, without hooks."""
        return self._tf_sess()


def _positional_arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the arguments that a call by position would have to give."""
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind in by_position)
