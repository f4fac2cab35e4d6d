"""Coordinator: several threads that stop together.

    coord = tf.train.Coordinator()
    threads = [threading.Thread(target=work, args=(coord,)) for _ in range(4)]
    ...
    coord.join(threads)             waits, and raises what one of them reported

Source: tensorflow/python/training/coordinator.py (1.15).
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn

from kvarn import errors, tf_logging

# What `sys.exc_info` gives.
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class Coordinator:
    """Tells threads to stop, waits for them, and raises the first exception that one of them reported.

    Args:
      clean_stop_exception_types: exceptions that mean "stop" and no failure; OutOfRangeError alone by default.

    Thread-safe.
    """

    def __init__(self, clean_stop_exception_types: Iterable[type[BaseException]] | None = None) -> None:
        if clean_stop_exception_types is None:
            clean_stop_exception_types = (errors.OutOfRangeError,)
        self._clean_stop_exception_types = tuple(clean_stop_exception_types)
        self._lock = threading.Lock()
        self._stop_event = threading.Event()
        self._exc_info_to_raise: Any = None
        self._joined = False
        self._registered_threads: set[threading.Thread] = set()

    def request_stop(self, ex: Any = None) -> None:
        """Asks all threads to stop.

        Args:
          ex: an exception that is being handled, or what `sys.exc_info` gives; `join` raises the first one that
            is no clean stop.  After `join` it is raised at once.
        """
        with self._lock:
            if isinstance(ex[1] if isinstance(ex, tuple) else ex, self._clean_stop_exception_types):
                ex = None
            if self._joined:
                if isinstance(ex, tuple):
                    _raise(ex)
                if ex is not None:
                    _raise(sys.exc_info())
            if self._stop_event.is_set():
                return
            if ex and self._exc_info_to_raise is None:
                self._exc_info_to_raise = self._reported(ex)
            self._stop_event.set()

    @staticmethod
    def _reported(ex: Any) -> Any:
        """The exc_info of what was given to `request_stop`; that of a ValueError if it has none."""
        if isinstance(ex, tuple):
            tf_logging.info("Error reported to Coordinator: %s", ex[1] if len(ex) > 1 else ex, exc_info=ex)
            found: Any = ex
        else:
            tf_logging.info("Error reported to Coordinator: %s, %s", type(ex), ex)
            found = sys.exc_info()
        if len(found) == 3 and found[0] and found[1]:
            return found
        try:
            raise ValueError(f"ex must be a tuple or sys.exc_info must return the current exception: {found}")
        except ValueError:
            return sys.exc_info()

    def clear_stop(self) -> None:
        """Makes it as new, but for its registered threads: `should_stop` is False, nothing was reported."""
        with self._lock:
            self._joined = False
            self._exc_info_to_raise = None
            self._stop_event.clear()

    def should_stop(self) -> bool:
        """Whether a stop was requested."""
        return self._stop_event.is_set()

    @contextlib.contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """A context manager in which any exception becomes a `request_stop`, and goes no further."""
        try:
            yield
        except BaseException:
            self.request_stop(ex=sys.exc_info())

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Waits until a stop is requested, at most ``timeout`` seconds; False if the time is over."""
        return self._stop_event.wait(timeout)

    def register_thread(self, thread: threading.Thread) -> None:
        """Adds a thread that `join` waits for."""
        with self._lock:
            self._registered_threads.add(thread)

    def join(
        self,
        threads: Iterable[threading.Thread] | None = None,
        stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:
        """Waits until the threads have ended.

        Args:
          threads: those to wait for beside the registered ones.
          stop_grace_period_secs: how long they may take once a stop was requested.
          ignore_live_threads: only log which threads are still running then.

        Raises:
          RuntimeError: threads are still running after that time.
          whatever was reported first.
        """
        with self._lock:
            waiting = list(self._registered_threads.union(threads or ()))
        while any(t.is_alive() for t in waiting) and not self.wait_for_stop(1.0):
            pass
        pause = 0.001
        while any(t.is_alive() for t in waiting) and stop_grace_period_secs >= 0.0:
            time.sleep(pause)
            stop_grace_period_secs -= pause
            pause = max(min(2 * pause, stop_grace_period_secs), 0.001)
        stragglers = [t.name for t in waiting if t.is_alive()]
        with self._lock:
            self._joined = True
            # A thread is waited for once; the program may go on with others.
            self._registered_threads = set()
            if self._exc_info_to_raise:
                _raise(self._exc_info_to_raise)
            if stragglers:
                message = f"Coordinator stopped with threads still running: {' '.join(stragglers)}"
                if not ignore_live_threads:
                    raise RuntimeError(message)
                tf_logging.info(message)

    @property
    def joined(self) -> bool:
        return self._joined

    def raise_requested_exception(self) -> None:
        """Raises what was reported first, if anything was."""
        with self._lock:
            if self._exc_info_to_raise:
                _raise(self._exc_info_to_raise)


class LooperThread(threading.Thread):
    """A thread that calls a function every so often until its Coordinator stops.

    Args:
      coord: the Coordinator; the thread registers itself.
      timer_interval_secs: seconds from one call's beginning to the next one's; None calls without a pause.
      target, args, kwargs: the function and its arguments; a subclass has `run_loop` instead.

    Raises:
      ValueError: ``coord`` is no Coordinator, or there are arguments without a function.
    """

    def __init__(
        self,
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(coord, Coordinator):
            raise ValueError(f"'coord' argument must be a Coordinator: {coord}")
        super().__init__(daemon=True)
        if not target and (args or kwargs):
            raise ValueError("'args' and 'kwargs' argument require that you also pass 'target'")
        self._coord = coord
        self._timer_interval_secs = timer_interval_secs
        self._target = target
        self._args = args or ()
        self._kwargs = kwargs or {}
        self._coord.register_thread(self)

    @staticmethod
    def loop(
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:
        """Starts a thread that calls ``target``; see the constructor."""
        looper = LooperThread(coord, timer_interval_secs, target=target, args=args, kwargs=kwargs)
        looper.start()
        return looper

    def run(self) -> None:
        with self._coord.stop_on_exception():
            self.start_loop()
            if self._timer_interval_secs is None:
                while not self._coord.should_stop():
                    self.run_loop()
            else:
                # The first call comes at once.
                next_time = time.time()
                while not self._coord.wait_for_stop(next_time - time.time()):
                    next_time += self._timer_interval_secs
                    self.run_loop()
            self.stop_loop()

    def start_loop(self) -> None:
        """Called in the thread before the first call."""

    def stop_loop(self) -> None:
        """Called in the thread after the last call."""

    def run_loop(self) -> None:
        """One call; by default of the function."""
        if self._target:
            self._target(*self._args, **self._kwargs)


def _raise(exc_info: _ExcInfo | Any) -> NoReturn:
    _, value, traceback = exc_info
    raise value.with_traceback(traceback)
