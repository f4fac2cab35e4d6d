"""Files in a dict: for tests, and for checkpoints that never reach a disk."""

from __future__ import annotations

import errno
import fnmatch
import itertools
import os
import threading

from kvarn.io.filesystem import Buffer, io_error


class MemoryReadFile:
    """The content that a file had when it was opened."""

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self.size = len(content)
        self._content = content

    def read(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + max(0, size)]

    def read_into(self, offset: int, target: memoryview) -> int:
        piece = self._content[offset : offset + len(target)]
        target[: len(piece)] = piece
        return len(piece)

    def view(self) -> memoryview:
        return memoryview(self._content)

    def close(self) -> None:
        pass


class MemoryWriteFile:
    """A file that grows in memory."""

    def __init__(self, path: str, content: bytearray) -> None:
        self.path = path
        self._content = content

    def append(self, data: Buffer) -> None:
        self._content += memoryview(data).cast("B")

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryFileSystem:
    """`FileSystem` in a dict.  The directories ``.`` and ``/`` exist; others are made, as on a disk.

    Thread-safe, but one file is written by one thread.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.directories: set[str] = {".", "/", ""}
        self._modified: dict[str, float] = {}
        self._clock = itertools.count(1)
        self._lock = threading.RLock()

    def open_read(self, path: str) -> MemoryReadFile:
        path = os.path.normpath(path)
        with self._lock:
            return MemoryReadFile(path, bytes(self._content(path)))

    def open_write(self, path: str) -> MemoryWriteFile:
        path = os.path.normpath(path)
        with self._lock:
            self._need_parent(path)
            if path in self.directories:
                raise io_error(path, OSError(errno.EISDIR, ""))
            self.files[path] = bytearray()
            self._modified[path] = next(self._clock)
            return MemoryWriteFile(path, self.files[path])

    def rename(self, source: str, target: str) -> None:
        source, target = os.path.normpath(source), os.path.normpath(target)
        with self._lock:
            content = self._content(source)
            self._need_parent(target)
            del self.files[source]
            self.files[target] = content
            self._modified[target] = self._modified.pop(source, 0.0)

    def remove(self, path: str) -> None:
        path = os.path.normpath(path)
        with self._lock:
            self._content(path)
            del self.files[path]

    def exists(self, path: str) -> bool:
        path = os.path.normpath(path)
        return path in self.files or path in self.directories

    def is_directory(self, path: str) -> bool:
        return os.path.normpath(path) in self.directories

    def size(self, path: str) -> int:
        with self._lock:
            return len(self._content(os.path.normpath(path)))

    def modified_secs(self, path: str) -> float:
        path = os.path.normpath(path)
        with self._lock:
            self._content(path)
            return self._modified.get(path, 0.0)

    def glob(self, pattern: str) -> list[str]:
        parts = os.path.normpath(pattern).split("/")

        def fits(path: str) -> bool:
            own = path.split("/")
            return len(own) == len(parts) and all(map(fnmatch.fnmatchcase, own, parts))

        with self._lock:
            return sorted(path for path in (*self.files, *self.directories) if path and fits(path))

    def list_directory(self, path: str) -> list[str]:
        path = os.path.normpath(path)
        with self._lock:
            if path not in self.directories:
                raise io_error(path, OSError(errno.ENOENT, ""))
            inside = (p for p in (*self.files, *self.directories) if p and p != path)
            return sorted(os.path.basename(p) for p in inside if (os.path.dirname(p) or ".") == path)

    def make_directory(self, path: str) -> None:
        path = os.path.normpath(path)
        with self._lock:
            if path in self.files:
                raise io_error(path, OSError(errno.EEXIST, ""))
            self._need_parent(path)
            self.directories.add(path)

    def make_directories(self, path: str) -> None:
        path = os.path.normpath(path)
        while path not in self.directories:
            with self._lock:
                self.directories.add(path)
            path = os.path.dirname(path)

    def remove_directory(self, path: str) -> None:
        path = os.path.normpath(path)
        with self._lock:
            if self.list_directory(path):
                raise io_error(path, OSError(errno.ENOTEMPTY, ""))
            self.directories.discard(path)

    def sync_directory(self, path: str) -> None:
        self.list_directory(path)

    def _content(self, path: str) -> bytearray:
        try:
            return self.files[path]
        except KeyError:
            number = errno.EISDIR if path in self.directories else errno.ENOENT
            raise io_error(path, OSError(number, "")) from None

    def _need_parent(self, path: str) -> None:
        if os.path.dirname(path) not in self.directories:
            raise io_error(path, OSError(errno.ENOENT, ""))
