"""Event files, which TensorBoard shows.

    PREFIX.out.tfevents.<seconds since 1970, ten digits>.<host><suffix>     records (`kvarn.formats.tfrecord`)

    record 0     Event(file_version="brain.Event:2")
    record i     Event: a summary, a graph, a session's log, with a time and a step

Files of one folder are read in the order of their names.  Unlike TensorFlow, which would empty it, a writer leaves
alone a file that is there already, such as one of the same second: it takes the name of the next second.

Source: tensorflow/core/util/events_writer.cc.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Final

from kvarn import protos
from kvarn.errors import OpError, UnknownError
from kvarn.formats.tfrecord import framed
from kvarn.io import FileSystem, Path, WriteFile, as_path, directory_of, file_system_of

FILE_VERSION: Final = "brain.Event:2"

# More than this waits for no flush: it goes into the file.
_BUFFER_BYTES: Final = 1 << 16

# Files that are being written, which need not exist yet.
_open_paths: set[str] = set()
_open_paths_lock = threading.Lock()


class EventsWriter:
    """One event file after the other, of one prefix; not safe to share between threads.

    Args:
      prefix: folder and beginning of the name, such as ``logs/events``.
      suffix: end of the name.
      fs: where the files are; by default found by the prefix.

    No file is there before `open`, or the first `write`.  On an object store a file appears when it is closed.
    """

    def __init__(self, prefix: Path, suffix: str = "", fs: FileSystem | None = None) -> None:
        self._prefix = as_path(prefix)
        self._suffix = suffix
        self._fs = fs or file_system_of(prefix)
        self._file: WriteFile | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._unflushed = 0
        self.path = ""

    def open(self) -> None:
        """Begins a file with the event of its version, if none is open.

        Raises:
          OpError: as the file system refuses to make the file.
        """
        if self._file is not None:
            return
        now = int(time.time())
        self.path = self._claimed_path(now)
        try:
            self._file = self._fs.open_write(self.path)
        except OpError:
            self._end()
            raise
        self.write(protos.Event(wall_time=now, file_version=FILE_VERSION).SerializeToString())
        self.flush()
        if self._fs.renames:
            self._fs.sync_directory(directory_of(self.path))

    def _claimed_path(self, secs: int) -> str:
        host = socket.gethostname()
        with _open_paths_lock:
            while True:
                path = f"{self._prefix}.out.tfevents.{secs:010d}.{host}{self._suffix}"
                if path not in _open_paths and not self._fs.exists(path):
                    _open_paths.add(path)
                    return path
                secs += 1

    def write(self, event: bytes) -> None:
        """Adds a serialized Event.

        Raises:
          OpError: the file cannot be made, or written to.
        """
        self.open()
        record = framed(event)
        self._buffer.append(record)
        self._buffered += len(record)
        self._unflushed += 1
        if self._buffered > _BUFFER_BYTES:
            self._append()

    def flush(self) -> None:
        """Returns when all events are on disk.

        Raises:
          UnknownError: the file has disappeared.
          OpError: the events cannot be written; the next event begins another file.
        """
        if not self._unflushed or self._file is None:
            return
        count, self._unflushed = self._unflushed, 0
        try:
            self._append()
            self._file.sync()
            if self._fs.renames and not self._fs.exists(self.path):
                raise UnknownError.of(f"The events file {self.path} has disappeared.")
        except OpError as error:
            raise type(error).of(
                f"{error.message}\n\tFailed to flush {count} events to {self.path}"
            ) from error

    def _append(self) -> None:
        assert self._file is not None
        pending, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        try:
            self._file.append(pending)
        except OpError:
            # Half a record may stand there, behind which no reader would look.
            with contextlib.suppress(OpError):
                self._end()
            raise

    def close(self) -> None:
        """Flushes, and ends the file; the next event begins another.

        Raises:
          OpError: as `flush`.
        """
        try:
            self.flush()
        finally:
            self._end()

    def _end(self) -> None:
        file, self._file = self._file, None
        self._buffer, self._buffered, self._unflushed = [], 0, 0
        with _open_paths_lock:
            _open_paths.discard(self.path)
        if file is not None:
            file.close()
