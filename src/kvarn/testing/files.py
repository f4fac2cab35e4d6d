"""File systems that fail on purpose.

    fs = FaultyFileSystem(stop_at=7)            the 7th write, sync, rename … does not happen
    with pytest.raises(SimulatedCrash):
        save(fs)
    for state in fs.after_crash():              what a restart may find: every kind of loss
        check(state)

How many operations a save has is learnt from a run without a fault: ``fs.operations``.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator

from kvarn.errors import UnavailableError
from kvarn.io import Buffer, MemoryFileSystem
from kvarn.io.memory import MemoryWriteFile


class SimulatedCrash(BaseException):
    """The process is gone: no handler of Exception may see it, and nothing it does afterwards counts."""


class FaultyFileSystem(MemoryFileSystem):
    """Files in memory that remember what has reached the disk.

    Counted operations: opening for writing, appending, syncing, renaming, removing, making and removing
    directories, syncing directories.

    Args:
      stop_at: number (from 1) of the operation that fails; None for no fault.
      error: raise UnavailableError there and go on working afterwards, instead of `SimulatedCrash` there
        and at every later operation.
      torn: an append that fails leaves the first half of its bytes.
      base: what is there already, all of it on disk.
    """

    def __init__(
        self,
        stop_at: int | None = None,
        *,
        error: bool = False,
        torn: bool = False,
        base: MemoryFileSystem | None = None,
    ) -> None:
        super().__init__()
        if base is not None:
            self.files = {path: bytearray(content) for path, content in base.files.items()}
            self.directories = set(base.directories)
        self.log: list[str] = []
        self._stop_at = stop_at
        self._error = error
        self._torn = torn
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
        and all but each one.
        """
        yield self._state({path: bytes(content) for path, content in self.files.items()})
        pending = self._pending
        yield self._after_power_failure(pending)
        yield self._after_power_failure([])
        for at, change in enumerate(pending):
            yield self._after_power_failure([change])
            yield self._after_power_failure([*pending[:at], *pending[at + 1 :]])

    # Operations --------------------------------------------------------------------------------------

    def open_write(self, path: str) -> MemoryWriteFile:
        self._step("open", path)
        super().open_write(path)
        content = self.files[os.path.normpath(path)]
        self._pending.append({os.path.normpath(path): content})
        return _FaultyWriteFile(self, path, content)

    def rename(self, source: str, target: str) -> None:
        self._step("rename", f"{source} -> {target}")
        super().rename(source, target)
        source, target = os.path.normpath(source), os.path.normpath(target)
        self._pending.append({source: None, target: self.files[target]})

    def remove(self, path: str) -> None:
        self._step("remove", path)
        super().remove(path)
        self._pending.append({os.path.normpath(path): None})

    def make_directory(self, path: str) -> None:
        if not self.is_directory(path):
            self._step("make directory", path)
        super().make_directory(path)

    def remove_directory(self, path: str) -> None:
        self._step("remove directory", path)
        super().remove_directory(path)

    def sync_directory(self, path: str) -> None:
        self._step("sync directory", path)
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
            self._step("append", path)
        except BaseException:
            if self._torn and self.operations > before:  # this very append is the one that fails
                content += raw[: len(raw) // 2]
            raise
        content += raw

    def sync_content(self, path: str, content: bytearray) -> None:
        """A sync, with the fault that may be due."""
        self._step("sync", path)
        self._synced[id(content)] = bytes(content)

    def _step(self, what: str, path: str) -> None:
        crashed = self._stop_at is not None and self.operations >= self._stop_at and not self._error
        if not crashed:
            self.log.append(f"{what} {path}")
        if crashed or self.operations == self._stop_at:
            if self._error and not crashed:
                raise UnavailableError.of(f"{path}; simulated failure of '{what}'", path=path)
            raise SimulatedCrash(self.log[-1])

    def _on_disk(self, content: bytearray) -> bytes:
        return self._synced.get(id(content), b"")

    def _after_power_failure(self, changes: list[dict[str, bytearray | None]]) -> MemoryFileSystem:
        names = dict(self._synced_names)
        _apply(names, changes)
        return self._state({path: self._on_disk(content) for path, content in names.items()})

    def _state(self, files: dict[str, bytes]) -> MemoryFileSystem:
        state = MemoryFileSystem()
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
    def __init__(self, owner: FaultyFileSystem, path: str, content: bytearray) -> None:
        super().__init__(path, content)
        self._owner = owner

    def append(self, data: Buffer) -> None:
        self._owner.append_to(self.path, self._content, data)

    def sync(self) -> None:
        self._owner.sync_content(self.path, self._content)
