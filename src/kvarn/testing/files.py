"""File systems that fail on purpose.

    fs = FaultyFileSystem(stop_at=7)            the 7th write, sync, rename … does not happen
    with pytest.raises(SimulatedCrash):
        save(fs)
    for state in fs.after_crash():              what a restart may find: every kind of loss
        check(state)

How many operations a save has is learnt from a run without a fault: ``fs.operations``.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterable, Iterator
from typing import Any

from kvarn.errors import UnavailableError
from kvarn.io import Buffer, FileSystem, MemoryFileSystem, ReadFile
from kvarn.io.memory import MemoryWriteFile


class SimulatedCrash(BaseException):
    """The process is gone: no handler of Exception may see it, and nothing it does afterwards counts."""


class FaultyFileSystem(MemoryFileSystem):
    """Files in memory that remember what has reached the disk.

    Counted operations: opening for writing, appending, syncing, renaming, copying, removing, making and
    removing directories, syncing directories; where nothing is renamed, closing too.

    Args:
      stop_at: number (from 1) of the operation that fails; None for no fault.
      error: raise UnavailableError there and go on working afterwards, instead of `SimulatedCrash` there
        and at every later operation.
      torn: an append that fails leaves the first half of its bytes.
      late: the operation takes place, and fails only then: the answer of a server got lost.
      base: what is there already, all of it on disk.
      renames: as `MemoryFileSystem`; that of ``base`` by default.
    """

    def __init__(
        self,
        stop_at: int | None = None,
        *,
        error: bool = False,
        torn: bool = False,
        late: bool = False,
        base: MemoryFileSystem | None = None,
        renames: bool | None = None,
    ) -> None:
        super().__init__(renames=renames if renames is not None else base is None or base.renames)
        if base is not None:
            self.files = {path: bytearray(content) for path, content in base.files.items()}
            self.directories = set(base.directories)
        self.log: list[str] = []
        self._stop_at = stop_at
        self._error = error
        self._torn = torn
        self._late = late
        # Content on disk, by the identity of the file and not by its name; and the names on disk.
        self._synced: dict[int, bytes] = {id(content): bytes(content) for content in self.files.values()}
        self._synced_names: dict[str, bytearray] = dict(self.files)
        # Changes of names that no sync of a directory has made certain: name -> content, or None for gone.
        # A rename is one change.
        self._pending: list[dict[str, bytearray | None]] = []

    @property
    def operations(self) -> int:
        """How many operations were begun."""
        return len(self.log)

    def after_crash(self) -> Iterator[MemoryFileSystem]:
        """What may be found after a restart.

        First as the process left it (it was killed, the machine lives).  Then after a power failure, with
        contents as synced, and of the changes of names that no sync made certain: all, none, each one alone,
        and all but each one.  An object store keeps what it has shown.
        """
        yield self._state({path: bytes(content) for path, content in self.files.items()})
        if not self.renames:
            return
        pending = self._pending
        yield self._after_power_failure(pending)
        yield self._after_power_failure([])
        for at, change in enumerate(pending):
            yield self._after_power_failure([change])
            yield self._after_power_failure([*pending[:at], *pending[at + 1 :]])

    # Operations --------------------------------------------------------------------------------------

    def open_write(self, path: str) -> MemoryWriteFile:
        with self._step("open", path):
            opened = super().open_write(path)
            if self.renames:
                self._pending.append({opened.path: self.files[opened.path]})
            return _FaultyWriteFile(self, opened)

    def rename(self, source: str, target: str) -> None:
        with self._step("rename", f"{source} -> {target}"):
            super().rename(source, target)
            source, target = os.path.normpath(source), os.path.normpath(target)
            self._pending.append({source: None, target: self.files[target]})

    def copy(self, source: str, target: str) -> None:
        with self._step("copy", f"{source} -> {target}"):
            super().copy(source, target)
            target = os.path.normpath(target)
            self._pending.append({target: self.files[target]})

    def remove(self, path: str) -> None:
        with self._step("remove", path):
            super().remove(path)
            self._pending.append({os.path.normpath(path): None})

    def make_directory(self, path: str) -> None:
        if not self.renames or self.is_directory(path):
            super().make_directory(path)
            return
        with self._step("make directory", path):
            super().make_directory(path)

    def remove_directory(self, path: str) -> None:
        with self._step("remove directory", path):
            super().remove_directory(path)

    def sync_directory(self, path: str) -> None:
        if not self.renames:
            return
        with self._step("sync directory", path):
            super().sync_directory(path)
            directory = os.path.normpath(path)

            def certain(change: dict[str, bytearray | None]) -> bool:
                return any((os.path.dirname(name) or ".") == directory for name in change)

            _apply(self._synced_names, filter(certain, self._pending))
            self._pending = [change for change in self._pending if not certain(change)]

    # Steps -------------------------------------------------------------------------------------------

    def append_to(self, path: str, content: bytearray, data: Buffer) -> None:
        """An append, with the fault that may be due."""
        raw = bytes(memoryview(data).cast("B"))
        before = self.operations
        try:
            with self._step("append", path):
                content += raw
        except BaseException:
            if self._torn and not self._late and self.operations > before:  # this very append fails
                content += raw[: len(raw) // 2]
            raise

    def sync_content(self, path: str, content: bytearray) -> None:
        """A sync, with the fault that may be due."""
        with self._step("sync", path):
            self._synced[id(content)] = bytes(content)

    def close_file(self, file: MemoryWriteFile) -> None:
        """A close, with the fault that may be due."""
        if self.renames:
            file.close()
            return
        with self._step("close", file.path):
            file.close()

    @contextlib.contextmanager
    def _step(self, what: str, path: str) -> Iterator[None]:
        if self._stop_at is not None and self.operations >= self._stop_at and not self._error:
            raise SimulatedCrash(self.log[-1])
        self.log.append(f"{what} {path}")
        due = self.operations == self._stop_at
        if due and not self._late:
            raise self._fault(what, path)
        yield
        if due:
            raise self._fault(what, path)

    def _fault(self, what: str, path: str) -> BaseException:
        if self._error:
            return UnavailableError.of(f"{path}; simulated failure of '{what}'", path=path)
        return SimulatedCrash(self.log[-1])

    def _on_disk(self, content: bytearray) -> bytes:
        return self._synced.get(id(content), b"")

    def _after_power_failure(self, changes: list[dict[str, bytearray | None]]) -> MemoryFileSystem:
        names = dict(self._synced_names)
        _apply(names, changes)
        return self._state({path: self._on_disk(content) for path, content in names.items()})

    def _state(self, files: dict[str, bytes]) -> MemoryFileSystem:
        state = MemoryFileSystem(renames=self.renames)
        state.files = {path: bytearray(content) for path, content in files.items()}
        state.directories = copy.copy(self.directories)
        return state


def _apply(names: dict[str, bytearray], changes: Iterable[dict[str, bytearray | None]]) -> None:
    for change in changes:
        for name, content in change.items():
            if content is None:
                names.pop(name, None)
            else:
                names[name] = content


class _FaultyWriteFile(MemoryWriteFile):
    def __init__(self, owner: FaultyFileSystem, file: MemoryWriteFile) -> None:
        super().__init__(owner, file.path, file._content)
        self._faulty = owner
        self._file = file

    def append(self, data: Buffer) -> None:
        self._faulty.append_to(self.path, self._content, data)

    def sync(self) -> None:
        if self._faulty.renames:
            self._faulty.sync_content(self.path, self._content)

    def close(self) -> None:
        self._faulty.close_file(self._file)

    def discard(self) -> None:
        self._file.discard()


class CountingFileSystem:
    """Another file system, and what is asked of it: how many requests, how many bytes were read.

    fs = CountingFileSystem(MemoryFileSystem())
    fs.requests     a line for each call that a store would have to answer
    fs.bytes_read   by all files together
    """

    def __init__(self, base: FileSystem) -> None:
        self.renames = base.renames
        self.requests: list[str] = []
        self.bytes_read = 0
        self._base = base

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._base, name)

        def counted(*arguments: Any) -> Any:
            self.requests.append(" ".join([name, *map(str, arguments)]))
            return method(*arguments)

        return counted

    def open_read(self, path: str) -> ReadFile:
        self.requests.append(f"open_read {path}")
        return _CountingReadFile(self, self._base.open_read(path))


class _CountingReadFile:
    def __init__(self, owner: CountingFileSystem, file: ReadFile) -> None:
        self.path = file.path
        self.size = file.size
        self._owner = owner
        self._file = file

    def read(self, offset: int, size: int) -> bytes:
        data = self._file.read(offset, size)
        self._count(offset, len(data))
        return data

    def read_into(self, offset: int, target: memoryview) -> int:
        count = self._file.read_into(offset, target)
        self._count(offset, count)
        return count

    def view(self) -> memoryview:
        self._count(0, self.size)
        return self._file.view()

    def close(self) -> None:
        self._file.close()

    def _count(self, offset: int, size: int) -> None:
        self._owner.requests.append(f"read {self.path} {offset}+{size}")
        self._owner.bytes_read += size


def write_file(fs: FileSystem, path: str, *pieces: bytes | memoryview) -> None:
    """A file of these bytes, appended one after the other, synced and closed."""
    file = fs.open_write(path)
    for piece in pieces:
        file.append(piece)
    file.sync()
    file.close()


def read_file(fs: FileSystem, path: str) -> bytes:
    """All bytes of a file."""
    file = fs.open_read(path)
    try:
        return file.read(0, file.size)
    finally:
        file.close()
