"""The event file behind a writer that is a resource of a session.

Source: tensorflow/core/summary/summary_file_writer.cc.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import Any

from kvarn import protos
from kvarn.errors import OpError
from kvarn.formats.events import EventsWriter
from kvarn.io import Path, as_path, file_system_of, join_path


class SummaryFileWriter:
    """Events that are kept, and written when they have become many or old; safe to use from several threads.

    What is kept is written when the writer goes, with its session or at the end of the process.

    Args:
      logdir: folder of the event file; made if there is none.
      max_queue: more events than these are not kept.
      flush_millis: an event that comes so long after the last flush is not kept.
      filename_suffix: end of the file's name.

    Raises:
      OpError: the folder or file cannot be made.
    """

    def __init__(self, logdir: Path, max_queue: int, flush_millis: int, filename_suffix: str) -> None:
        fs = file_system_of(logdir)
        if not fs.is_directory(as_path(logdir)):
            fs.make_directories(as_path(logdir))
        self._kept = _Kept(EventsWriter(join_path(as_path(logdir), "events"), filename_suffix, fs))
        self._max_queue = max_queue
        self._flush_secs = flush_millis / 1000
        self._last_flush = time.monotonic()
        weakref.finalize(self, _finish, self._kept, os.getpid())

    def write(self, event: Any) -> None:
        """Adds an Event message.

        Raises:
          OpError: events that were kept cannot be written.
        """
        with self._kept.lock:
            self._kept.events.append(event.SerializeToString())
            late = time.monotonic() - self._last_flush > self._flush_secs
            if late or len(self._kept.events) > self._max_queue:
                self._flush()

    def write_summary(self, step: int, summary: Any) -> None:
        """Adds an event of a Summary message, of now."""
        event = protos.Event(wall_time=time.time(), step=step)
        event.summary.CopyFrom(summary)
        self.write(event)

    def flush(self) -> None:
        """Returns when all events are on disk.

        Raises:
          OpError: they cannot be written.
        """
        with self._kept.lock:
            self._flush()

    def _flush(self) -> None:
        self._last_flush = time.monotonic()
        self._kept.flush()


class _Kept:
    """What has to be written when the writer is gone: events, and where they go."""

    def __init__(self, file: EventsWriter) -> None:
        self.lock = threading.Lock()
        self.events: list[bytes] = []
        self.file = file
        file.open()

    def flush(self) -> None:
        events, self.events = self.events, []
        for event in events:
            self.file.write(event)
        self.file.flush()


def _finish(kept: _Kept, pid: int) -> None:
    if pid == os.getpid():  # a copy of the process has its own copy of the events, which are not its to write
        with kept.lock, contextlib.suppress(OpError):
            try:
                kept.flush()
            finally:
                kept.file.close()
