"""Files in a dict: for tests, and for checkpoints that never reach a disk."""

from __future__ import annotations

import errno
import fnmatch
import itertools
import os
import threading
from collections.abc import Iterator

from kvarn.errors import UnimplementedError
from kvarn.io.filesystem import Buffer, directory_of, io_error, root_of


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
    """A file that grows in memory; in one that plays an object store it appears when it is closed."""

    def __init__(self, owner: MemoryFileSystem, path: str, content: bytearray) -> None:
        self.path = path
        self._owner = owner
        self._content = content
        self._open = True

    def append(self, data: Buffer) -> None:
        self._content += memoryview(data).cast("B")

    def sync(self) -> None:
        pass

    def close(self) -> None:
        if self._open and not self._owner.renames:
            self._owner.appear(self.path, self._content)
        self._open = False

    def discard(self) -> None:
        self._open = False


class MemoryFileSystem:
    """`FileSystem` in a dict.  The directories ``.`` and ``/`` exist; others are made, as on a disk.

    Thread-safe, but one file is written by one thread.

    Args:
      renames: False plays an object store: nothing is renamed, a file appears when it is closed, and
        directories are what the names of the files say.
    """

    def __init__(self, *, renames: bool = True) -> None:
        self.renames = renames
        self.files: dict[str, bytearray] = {}
        self.directories: set[str] = {".", "/", ""}
        self._modified: dict[str, float] = {}
        self._clock = itertools.count(1)
        self._lock = threading.RLock()

    def open_read(self, path: str) -> MemoryReadFile:
        path = _normal(path)
        with self._lock:
            return MemoryReadFile(path, bytes(self._content(path)))

    def open_write(self, path: str) -> MemoryWriteFile:
        path = _normal(path)
        content = bytearray()
        with self._lock:
            self._need_parent(path)
            if path in self.directories:
                raise io_error(path, OSError(errno.EISDIR, ""))
            if self.renames:
                self.appear(path, content)
            return MemoryWriteFile(self, path, content)

    def appear(self, path: str, content: bytearray) -> None:
        """Puts a file into its place."""
        with self._lock:
            self.files[path] = content
            self._modified[path] = next(self._clock)

    def rename(self, source: str, target: str) -> None:
        source, target = _normal(source), _normal(target)
        if not self.renames:
            raise UnimplementedError.of(f"{source}; an object store does not rename", path=source)
        with self._lock:
            content = self._content(source)
            self._need_parent(target)
            del self.files[source]
            self.files[target] = content
            self._modified[target] = self._modified.pop(source, 0.0)

    def copy(self, source: str, target: str) -> None:
        source, target = _normal(source), _normal(target)
        with self._lock:
            content = bytearray(self._content(source))
            self._need_parent(target)
            self.files[target] = content
            self._modified[target] = next(self._clock)

    def remove(self, path: str) -> None:
        path = _normal(path)
        with self._lock:
            self._content(path)
            del self.files[path]

    def exists(self, path: str) -> bool:
        path = _normal(path)
        return path in self.files or self.is_directory(path)

    def is_directory(self, path: str) -> bool:
        path = _normal(path)
        with self._lock:
            return path in self.directories or (not self.renames and path in set(self._implied()))

    def size(self, path: str) -> int:
        with self._lock:
            return len(self._content(_normal(path)))

    def modified_secs(self, path: str) -> float:
        path = _normal(path)
        with self._lock:
            self._content(path)
            return self._modified.get(path, 0.0)

    def glob(self, pattern: str) -> list[str]:
        parts = _normal(pattern).split("/")

        def fits(path: str) -> bool:
            own = path.split("/")
            return len(own) == len(parts) and all(map(fnmatch.fnmatchcase, own, parts))

        with self._lock:
            return sorted(filter(fits, self._names()))

    def list_directory(self, path: str) -> list[str]:
        path = _normal(path)
        with self._lock:
            if not self.is_directory(path):
                raise io_error(path, OSError(errno.ENOENT, ""))
            inside = (p for p in self._names() if p != path and directory_of(p) == path)
            return sorted(os.path.basename(p) for p in inside)

    def make_directory(self, path: str) -> None:
        path = _normal(path)
        if not self.renames:
            return
        with self._lock:
            if path in self.files:
                raise io_error(path, OSError(errno.EEXIST, ""))
            self._need_parent(path)
            self.directories.add(path)

    def make_directories(self, path: str) -> None:
        path = _normal(path)
        while self.renames and path not in self.directories:
            with self._lock:
                self.directories.add(path)
            path = os.path.dirname(path)

    def remove_directory(self, path: str) -> None:
        path = _normal(path)
        with self._lock:
            if self.is_directory(path) and self.list_directory(path):
                raise io_error(path, OSError(errno.ENOTEMPTY, ""))
            self.directories.discard(path)

    def sync_directory(self, path: str) -> None:
        if self.renames:
            self.list_directory(path)

    def _content(self, path: str) -> bytearray:
        try:
            return self.files[path]
        except KeyError:
            number = errno.EISDIR if self.is_directory(path) else errno.ENOENT
            raise io_error(path, OSError(number, "")) from None

    def _names(self) -> set[str]:
        """The names of all files and directories."""
        found = {*self.files, *self.directories}
        return {name for name in (found if self.renames else found.union(self._implied())) if name}

    def _implied(self) -> Iterator[str]:
        """The directories of an object store: those that its files are in."""
        for path in self.files:
            directory = directory_of(path)
            while directory not in (".", "/"):
                yield directory
                if directory == root_of(directory):
                    break
                directory = directory_of(directory)

    def _need_parent(self, path: str) -> None:
        if self.renames and os.path.dirname(path) not in self.directories:
            raise io_error(path, OSError(errno.ENOENT, ""))


# What ``memory://…`` means, for the whole process: it plays an object store.
MEMORY = MemoryFileSystem(renames=False)


def _normal(path: str) -> str:
    root = root_of(path)
    return (
        root + os.path.normpath("/" + path[len(root) :].lstrip("/")).rstrip("/")
        if root
        else os.path.normpath(path)
    )
