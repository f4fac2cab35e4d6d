"""Writes events through operations of a session's graph.

Source: tensorflow/python/summary/writer/event_file_writer_v2.py.
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import constant
from kvarn.graph.graph import name_scope
from kvarn.io import as_path, file_system_of
from kvarn.ops import array
from kvarn.summary import resource_writer


class EventFileWriterV2:
    """Writes events into the event file that all writers of one folder in one session share.

    Args:
      session: the writer lives in it; operations are added to its graph.
      logdir: the folder; made if there is none.
      max_queue, flush_secs, filename_suffix: as of `EventFileWriter`, if the file is not there yet.

    Raises:
      OpError: the folder or file cannot be made.
    """

    def __init__(
        self,
        session: Any,
        logdir: Any,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str | None = "",
    ) -> None:
        self._session = session
        self._logdir = logdir
        self._closed = False
        fs = file_system_of(logdir)
        if not fs.is_directory(as_path(logdir)):
            fs.make_directories(as_path(logdir))
        with session.graph.as_default():
            with name_scope("filewriter"):
                writer = resource_writer.create_file_writer(
                    logdir=logdir,
                    max_queue=max_queue,
                    flush_millis=int(flush_secs * 1000),
                    filename_suffix=filename_suffix,
                )
                with resource_writer.always_record_summaries(), writer.as_default():
                    self._event = array.placeholder_with_default(constant("unused", dtypes.string), shape=[])
                    self._add_event_op = resource_writer.import_event(self._event)
                self._init_op = writer.init()
                self._flush_op = writer.flush()
                self._close_op = writer.close()
            session.run(self._init_op)

    def get_logdir(self) -> Any:
        """The folder."""
        return self._logdir

    def reopen(self) -> None:
        """After `close`: events can be added again, which go into a new file."""
        if self._closed:
            self._closed = False
            self._session.run(self._init_op)

    def add_event(self, event: Any) -> None:
        """Adds an Event message; nothing happens after `close`."""
        if not self._closed:
            self._session.run(self._add_event_op, feed_dict={self._event: event.SerializeToString()})

    def flush(self) -> None:
        """Returns when all events that were added are on disk.

        Raises:
          NotFoundError: the writer is closed.
          OpError: the events cannot be written.
        """
        self._session.run(self._flush_op)

    def close(self) -> None:
        """Writes what is pending and ends the file."""
        if not self._closed:
            self.flush()
            self._session.run(self._close_op)
            self._closed = True
