"""Elements that threads take from a dataset, and work on, before they are asked for.

A thread that has nothing to do for a while ends, and another one is started when there is something: so an iterator
that nobody asks any more, and the session that it belongs to, can go.

Source: tensorflow/core/kernels/data/{prefetch_dataset_op,parallel_map_iterator}.cc (1.15).
"""

from __future__ import annotations

import atexit
import collections
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from kvarn import errors
from kvarn.graph.deadline import seconds_left
from kvarn.ops.datasets.base import Element, Iteration

Work = Callable[[Element], Element]

# A thread waits so long for something to do.
_IDLE_SECS = 1.0
# Those who end threads wait so long for what these are just doing.
_PATIENCE_SECS = 2.0


class _Slot:
    """The place of an element: what it is, or the error in its place, as soon as that is known."""

    __slots__ = ("element", "problem", "ready")

    def __init__(self) -> None:
        self.element: Element = ()
        self.problem: BaseException | None = None
        self.ready = False


class _Crew:
    """What the threads of one iterator share.  It does not know the iterator, so that this can go.

    Args:
      source: is asked by one thread at a time.
      limit: so many elements may wait.
      threads: how many there are at most.
      work: what is done to each element.
    """

    def __init__(self, source: Iterator[Element], limit: int, threads: int, work: Work | None) -> None:
        self._source = source
        self._limit, self._most, self._work = limit, threads, work
        self._slots: collections.deque[_Slot] = collections.deque()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._result = threading.Condition(self._lock)
        self._taking = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._ended = self._cancelled = False

    # -- the side of who asks -----------------------------------------------------------------------------

    def next(self) -> Element:
        with self._lock:
            while not (self._slots and self._slots[0].ready):
                if self._cancelled:
                    raise errors.CancelledError.of(
                        "The iterator was cancelled while it waited for an element."
                    )
                if self._ended and not self._slots:
                    raise StopIteration
                self._call_threads()
                self._result.wait(seconds_left())
            slot = self._slots.popleft()
            self._call_threads()
        if slot.problem is not None:
            raise slot.problem
        return slot.element

    def _call_threads(self) -> None:
        """Sees to it that somebody fills the room there is."""
        if self._ended or self._cancelled or len(self._slots) >= self._limit:
            return
        if self._idle:
            self._room.notify()
        elif len(self._threads) < self._most:
            thread = threading.Thread(target=self._run, name="kvarn-data", daemon=True)
            self._threads.add(thread)
            _live.add(self)
            thread.start()

    def cancel(self) -> None:
        """Lets the threads end, and whoever waits get a CancelledError."""
        with self._lock:
            self._cancelled = True
            self._slots.clear()
            self._room.notify_all()
            self._result.notify_all()

    def join(self, until: float) -> None:
        """Waits for the threads to end, until a time of `time.monotonic`."""
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    # -- the side of the threads ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                with self._taking:
                    slot = self._take()
                if slot is None:
                    return
                if not slot.ready:
                    self._finish(slot)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _take(self) -> _Slot | None:
        """A place with the next element in it, in the order of the source; None if there is nothing to do."""
        with self._lock:
            while not self._cancelled and not self._ended and len(self._slots) >= self._limit:
                self._idle += 1
                called = self._room.wait(_IDLE_SECS)
                self._idle -= 1
                if not called and len(self._slots) >= self._limit:
                    return None
            if self._cancelled or self._ended:
                return None
        slot = _Slot()
        try:
            slot.element = next(self._source)
            slot.ready = self._work is None
        except StopIteration:
            with self._lock:
                self._ended = True
                self._source = iter(())
                self._result.notify_all()
            return None
        except BaseException as problem:
            slot.problem, slot.ready = problem, True
        with self._lock:
            if self._cancelled:
                return None
            self._slots.append(slot)
            if slot.ready:
                self._result.notify()
            elif not self._idle:
                self._call_threads()
        return slot

    def _finish(self, slot: _Slot) -> None:
        assert self._work is not None
        try:
            slot.element = self._work(slot.element)
        except BaseException as problem:
            slot.problem = problem
        with self._lock:
            slot.ready = True
            if self._slots and self._slots[0] is slot:
                self._result.notify()


class Ahead:
    """An iterator whose elements threads have ready.

    Args:
      run: ends the threads when the session ends.
      source: whose elements they are.
      limit: so many are made before they are asked for.
      threads: so many elements are worked on at a time.
      work: what is done to each.  StopIteration from it ends the iterator.
    """

    def __init__(
        self,
        run: Iteration,
        source: Iterator[Element],
        limit: int,
        threads: int = 1,
        work: Work | None = None,
    ) -> None:
        self._crew = _Crew(source, limit, threads, work)
        run.add_worker(self._crew)

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        return self._crew.next()

    def __del__(self) -> None:
        crew: Any = getattr(self, "_crew", None)
        if crew is not None:
            crew.cancel()


_live: weakref.WeakSet[_Crew] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """No thread may be inside of native code when the interpreter goes."""
    until = time.monotonic() + _PATIENCE_SECS
    crews = list(_live)
    for crew in crews:
        crew.cancel()
    for crew in crews:
        crew.join(until)
