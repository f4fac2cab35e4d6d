"""The shells around a Session of which a monitored session is made.

    _RecoverableSession     a new session when one was lost
    └── _CoordinatedSession     threads that stop with it, and their errors
        └── _HookedSession          hooks before and after each run
            └── Session

Source: the private classes of tensorflow/python/training/monitored_session.py (1.15).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from kvarn import errors, tf_logging
from kvarn.train.coordinator import Coordinator
from kvarn.train.session_creator import SessionCreator
from kvarn.train.session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues

# Errors by which a session is lost, and another one may go on.
_PREEMPTION_ERRORS = (errors.AbortedError, errors.UnavailableError)


class StepContext:
    """What the function of `MonitoredSession.run_step_fn` is called with.

    Args:
      session: the Session.
      run_with_hooks_fn: runs as `MonitoredSession.run` does.
    """

    def __init__(self, session: Any, run_with_hooks_fn: Callable[..., Any]) -> None:
        self._session = session
        self._run_with_hooks_fn = run_with_hooks_fn

    @property
    def session(self) -> Any:
        """The Session; what it runs, hooks do not see."""
        return self._session

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """As `MonitoredSession.run`."""
        return self._run_with_hooks_fn(*args, **kwargs)

    def request_stop(self) -> None:
        """Ends the function and the training: raises StopIteration."""
        raise StopIteration("step_fn has requested the iterations to stop.")


class _WrappedSession:
    """A shell around a session that adds nothing; those below add to `run`, `close` and `_check_stop`.

    Args:
      sess: a Session, or another shell.
    """

    def __init__(self, sess: Any) -> None:
        self._sess = sess
        self._wrapped_is_stoppable = isinstance(sess, _WrappedSession)

    @property
    def graph(self) -> Any:
        return self._sess.graph

    @property
    def sess_str(self) -> Any:
        return self._sess.sess_str

    def should_stop(self) -> bool:
        """Whether no run should follow: this shell, or one inside it, says so, or it is closed."""
        if self._check_stop():
            return True
        if self._sess:
            return self._wrapped_is_stoppable and self._sess.should_stop()
        return True

    def _check_stop(self) -> bool:
        return False

    def close(self) -> None:
        if not self._sess:
            return
        try:
            self._sess.close()
        except _PREEMPTION_ERRORS as e:
            tf_logging.warning("The session was lost before it was closed. Error: %s", e)
        finally:
            self._sess = None

    def run(self, *args: Any, **kwargs: Any) -> Any:
        return self._sess.run(*args, **kwargs)

    def run_step_fn(
        self,
        step_fn: Callable[[StepContext], Any],
        raw_session: Any,
        run_with_hooks: Callable[..., Any] | None,
    ) -> Any:
        """Calls ``step_fn``; its runs with hooks are made by ``run_with_hooks``, by default by this shell."""
        return step_fn(StepContext(raw_session, run_with_hooks or self.run))


class _RecoverableSession(_WrappedSession):
    """Makes another session, and runs again, when one was lost by AbortedError or UnavailableError.

    Args:
      sess_creator: makes the sessions.
    """

    def __init__(self, sess_creator: Any) -> None:
        self._sess_creator = sess_creator
        super().__init__(self._create_session())

    def _create_session(self) -> Any:
        while True:
            try:
                return self._sess_creator.create_session()
            except _PREEMPTION_ERRORS as e:
                tf_logging.info(
                    "A session was lost while it was created, another one is created. Error: %s", e
                )

    def _check_stop(self) -> bool:
        try:
            return bool(self._sess._check_stop()) if self._sess else True
        except _PREEMPTION_ERRORS as e:
            tf_logging.info(
                "The session was lost, seen when it was asked whether to stop; another one is created. Error: %s",
                e,
            )
            self.close()
            self._sess = self._create_session()
            # It has just begun.
            return False
        except Exception:
            # `close` raises it.
            return True

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        return self._until_it_lives(
            lambda: self._sess.run(fetches, feed_dict=feed_dict, options=options, run_metadata=run_metadata)
        )

    def run_step_fn(
        self,
        step_fn: Callable[[StepContext], Any],
        raw_session: Any,
        run_with_hooks: Callable[..., Any] | None,
    ) -> Any:
        return self._until_it_lives(
            lambda: self._sess.run_step_fn(step_fn, raw_session, run_with_hooks=self._sess.run)
        )

    def _until_it_lives(self, run: Callable[[], Any]) -> Any:
        while True:
            try:
                if not self._sess:
                    self._sess = self._create_session()
                return run()
            except _PREEMPTION_ERRORS as e:
                tf_logging.info("The session was lost; another one is created, and runs again. Error: %s", e)
                self.close()
                self._sess = None


class _CoordinatedSession(_WrappedSession):
    """Stops with the threads of a Coordinator, and raises what they reported.

    Args:
      sess: a Session or shell.
      coord: the Coordinator.
      stop_grace_period_secs: how long `close` waits for threads.
    """

    def __init__(self, sess: Any, coord: Coordinator, stop_grace_period_secs: float = 120) -> None:
        super().__init__(sess)
        self._coord = coord
        self._stop_grace_period_secs = stop_grace_period_secs

    def _check_stop(self) -> bool:
        # Raises, so that a session that others broke is made anew.
        self._coord.raise_requested_exception()
        return self._coord.should_stop()

    def close(self) -> None:
        self._coord.request_stop()
        try:
            self._coord.join(stop_grace_period_secs=self._stop_grace_period_secs, ignore_live_threads=True)
        finally:
            # What the threads raised counts, not that a session they have broken does not close.
            with contextlib.suppress(Exception):
                super().close()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._sess.run(*args, **kwargs)
        except _PREEMPTION_ERRORS:
            raise
        except Exception as e:
            # It may have come of a thread's loss of the session, which is to be recovered from.
            try:
                self._coord.raise_requested_exception()
            except _PREEMPTION_ERRORS:
                raise
            except Exception:
                raise e from None
            raise


class _HookedSession(_WrappedSession):
    """Calls hooks before and after each run.

    Args:
      sess: the Session.
      hooks: the hooks.
    """

    def __init__(self, sess: Any, hooks: Sequence[SessionRunHook]) -> None:
        super().__init__(sess)
        self._hooks = hooks
        self._should_stop = False

    def _check_stop(self) -> bool:
        return self._should_stop

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """As `Session.run`, with what the hooks ask for.

        Raises:
          RuntimeError: a hook has asked to stop, or two of them, or one and the caller, feed the same tensor.
        """
        from kvarn import protos

        if self.should_stop():
            raise RuntimeError("Run called even after should_stop requested.")
        actual_fetches: dict[Any, Any] = {"caller": fetches}
        run_context = SessionRunContext(SessionRunArgs(fetches, feed_dict), self._sess)
        options = options or protos.RunOptions()
        feed_dict = self._call_hook_before_run(run_context, actual_fetches, feed_dict, options)
        run_metadata = run_metadata or protos.RunMetadata()
        outputs = super().run(actual_fetches, feed_dict=feed_dict, options=options, run_metadata=run_metadata)
        for hook in self._hooks:
            hook.after_run(
                run_context,
                SessionRunValues(results=outputs.get(hook), options=options, run_metadata=run_metadata),
            )
        self._should_stop = self._should_stop or run_context.stop_requested
        return outputs["caller"]

    def _call_hook_before_run(
        self, run_context: SessionRunContext, fetch_dict: dict[Any, Any], user_feed_dict: Any, options: Any
    ) -> Any:
        """Puts what the hooks want fetched into ``fetch_dict``, and gives what is fed."""
        hook_feeds: dict[Any, Any] = {}
        for hook in self._hooks:
            request = hook.before_run(run_context)
            if request is None:
                continue
            if request.fetches is not None:
                fetch_dict[hook] = request.fetches
            if request.feed_dict:
                _raise_if_feeds_intersect(hook_feeds, request.feed_dict, "Same tensor is fed by two hooks.")
                hook_feeds.update(request.feed_dict)
            if request.options:
                _merge_run_options(options, request.options)
        if not hook_feeds:
            return user_feed_dict
        if not user_feed_dict:
            return hook_feeds
        _raise_if_feeds_intersect(
            user_feed_dict, hook_feeds, "Same tensor is fed by a SessionRunHook and user."
        )
        return {**hook_feeds, **user_feed_dict}


def _raise_if_feeds_intersect(feeds1: Any, feeds2: Any, message: str) -> None:
    both = set(feeds1) & set(feeds2)
    if both:
        raise RuntimeError(f"{message} Conflict(s): {list(both)}")


def _merge_run_options(options: Any, incoming: Any) -> None:
    """Puts into ``options`` what a hook wants: the most of what is ordered, all of what is listed."""
    for field in ("trace_level", "timeout_in_ms", "inter_op_thread_pool"):
        setattr(options, field, max(getattr(options, field), getattr(incoming, field)))
    for field in ("output_partition_graphs", "report_tensor_allocations_upon_oom"):
        setattr(options, field, getattr(options, field) or getattr(incoming, field))
    debug, incoming_debug = options.debug_options, incoming.debug_options
    debug.debug_tensor_watch_opts.extend(incoming_debug.debug_tensor_watch_opts)
    debug.reset_disk_byte_usage = debug.reset_disk_byte_usage or incoming_debug.reset_disk_byte_usage


class _CoordinatedSessionCreator(SessionCreator):
    """Makes sessions with hooks, whose threads a Coordinator stops.

    Args:
      session_creator: makes the Session.
      hooks: the hooks.
      stop_grace_period_secs: as of `_CoordinatedSession`.

    Attributes:
      tf_sess, coord: the Session, and its Coordinator; None before the first one, and after the close.
    """

    def __init__(
        self, session_creator: Any, hooks: Sequence[SessionRunHook], stop_grace_period_secs: float
    ) -> None:
        self._session_creator = session_creator
        self._hooks = hooks
        self._stop_grace_period_secs = stop_grace_period_secs
        self.coord: Coordinator | None = None
        self.tf_sess: Any = None

    def create_session(self) -> _CoordinatedSession:
        from kvarn.graph.graph import GraphKeys, get_collection
        from kvarn.train.queue_runner import start_queue_runners

        self.tf_sess = self._session_creator.create_session()
        # No exception is a clean stop: the end of an input is raised by the run that meets it.
        self.coord = Coordinator(clean_stop_exception_types=[])
        if get_collection(GraphKeys.QUEUE_RUNNERS):
            start_queue_runners(sess=self.tf_sess, coord=self.coord)
        for hook in self._hooks:
            hook.after_create_session(self.tf_sess, self.coord)
        return _CoordinatedSession(
            _HookedSession(self.tf_sess, self._hooks), self.coord, self._stop_grace_period_secs
        )
