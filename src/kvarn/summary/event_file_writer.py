"""A thread that writes events into a file, so that whoever adds them need not wait for the disk.

Source: tensorflow/python/summary/writer/event_file_writer.py.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from typing import Any

from kvarn import tf_logging
from kvarn.errors import OpError
from kvarn.formats.events import EventsWriter
from kvarn.io import Path, as_path, file_system_of, join_path


class EventFileWriter:
    """Writes events into an event file of a folder; safe to use from several threads.

    What is pending is written when the writer is garbage-collected, and at the end of the process.  A file that
    cannot be written to stops no program: each failure is logged, with the number of events that are lost.

    Args:
      logdir: the folder; made if there is none.
      max_queue: how many events may wait before adding one waits, too; any number if 0.
      flush_secs: events are on disk after so many seconds.
      filename_suffix: end of the file's name.

    Raises:
      OpError: the folder or file cannot be made.
    """

    def __init__(
        self, logdir: Path, max_queue: int = 10, flush_secs: float = 120, filename_suffix: str | None = None
    ) -> None:
        self._logdir = as_path(logdir)
        fs = file_system_of(logdir)
        if not fs.is_directory(self._logdir):
            fs.make_directories(self._logdir)
        prefix = join_path(self._logdir, "events")
        self._file = _SharedFile(EventsWriter(prefix, filename_suffix or "", fs))
        if filename_suffix:
            self._file.events.open()
        self._max_queue = max_queue
        self._flush_secs = flush_secs
        self._start()

    def _start(self) -> None:
        self._worker = _Worker(self._file, self._max_queue, self._flush_secs)
        self._worker.start()
        self._at_end = weakref.finalize(self, _finish, self._worker, self._file, os.getpid())

    @property
    def _closed(self) -> bool:
        return not self._at_end.alive

    def get_logdir(self) -> str:
        """The folder."""
        return self._logdir

    def reopen(self) -> None:
        """After `close`: events can be added again, which go into a new file."""
        if self._closed:
            self._start()

    def add_event(self, event: Any) -> None:
        """Adds an Event message; nothing happens after `close`.

        Raises:
          TypeError: it is none.
        """
        if getattr(getattr(event, "DESCRIPTOR", None), "name", None) != "Event":
            raise TypeError(f"Expected an event_pb2.Event proto,  but got {type(event)}")
        if not self._closed:
            self._worker.events.put(event.SerializeToString())

    def flush(self) -> None:
        """Returns when all events that were added are on disk."""
        if not self._closed:
            self._worker.events.join()
        self._file.flush()

    def close(self) -> None:
        """Writes what is pending and ends the file."""
        self._at_end()


class _SharedFile:
    """An event file for several threads, whose failures are logged."""

    def __init__(self, events: EventsWriter) -> None:
        self.events = events
        self._lock = threading.Lock()

    def write(self, event: bytes) -> None:
        with self._lock:
            try:
                self.events.write(event)
            except OpError as error:
                tf_logging.error("An event is lost: %s", error.message)

    def flush(self) -> None:
        with self._lock:
            try:
                self.events.flush()
            except OpError as error:
                tf_logging.error("%s", error.message)

    def close(self) -> None:
        with self._lock:
            try:
                self.events.close()
            except OpError as error:
                tf_logging.error("%s", error.message)


def _finish(worker: _Worker, file: _SharedFile, pid: int) -> None:
    """Lets a worker write what is pending, and ends it and its file."""
    if pid != os.getpid():
        return  # a copy of the process, in which the thread does not run, and to which the file does not belong
    if threading.current_thread() is worker:
        worker.stopping = True  # garbage was collected by the worker itself
    else:
        worker.events.put(None)
        worker.join()
        file.close()


class _Worker(threading.Thread):
    """Takes serialized events from a queue, up to None, and writes them; the first one is flushed at once."""

    def __init__(self, file: _SharedFile, max_queue: int, flush_secs: float) -> None:
        super().__init__(name="kvarn event file", daemon=True)
        self.events: queue.Queue[bytes | None] = queue.Queue(max_queue)
        self.stopping = False
        self._file = file
        self._flush_secs = flush_secs
        self._next_flush = 0.0

    def run(self) -> None:
        unflushed = False
        while not self.stopping:
            wait = max(0.0, self._next_flush - time.monotonic()) if unflushed else None
            try:
                event = self.events.get(timeout=wait)
            except queue.Empty:
                unflushed = self._flush()
                continue
            try:
                if event is None:
                    return
                self._file.write(event)
                unflushed = True
                if time.monotonic() >= self._next_flush:
                    unflushed = self._flush()
            finally:
                self.events.task_done()
        self._file.close()

    def _flush(self) -> bool:
        """Flushes; whether anything is unflushed then."""
        self._file.flush()
        self._next_flush = time.monotonic() + self._flush_secs
        return False
