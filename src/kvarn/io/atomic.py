"""A file is replaced whole or not at all."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType

from kvarn.errors import AlreadyExistsError, OpError
from kvarn.io.filesystem import Buffer, FileSystem, WriteFile, directory_of


def temporary_name(path: str) -> str:
    """A name beside ``path`` that nothing else has.

    ``<path>.tmp<32 hex digits>``, as TensorFlow names it (lib/io/file_io.py `atomic_write_string_to_file`),
    so that its own tools know what may be swept.
    """
    return f"{path}.tmp{os.urandom(16).hex()}"


def remove_quietly(fs: FileSystem, path: str) -> None:
    """Removes a file if it is there, and says nothing if it cannot."""
    with contextlib.suppress(OpError):
        fs.remove(path)


class AtomicFile:
    """A file in the making: `commit` puts it in its place, until then an older one stays as it is.

    Written aside, synced, renamed, the directory synced.  An object store does all of that itself when an
    upload ends: there the file is written under its own name.  If any step fails, the old file is untouched
    and no other is left.

    As a context manager it commits at the end of the block, and discards if that raises.
    """

    def __init__(self, fs: FileSystem, path: str) -> None:
        self.path = path
        self._fs = fs
        self._name = temporary_name(path) if fs.renames else path
        self._file: WriteFile | None = None
        try:
            self._file = fs.open_write(self._name)
        except BaseException:
            self._sweep()
            raise

    def append(self, data: Buffer) -> None:
        """Writes all of ``data`` at the end."""
        assert self._file is not None, "committed or discarded"
        self._file.append(data)

    def commit(self) -> None:
        """Returns when the new content is there, and survives a power failure."""
        assert self._file is not None, "committed or discarded"
        try:
            self._file.sync()
            self._file.close()
            if self._fs.renames:
                self._fs.rename(self._name, self.path)
        except BaseException:
            self.discard()
            raise
        self._file = None
        self._fs.sync_directory(directory_of(self.path))

    def discard(self) -> None:
        """Gives up; nothing happens after `commit` or a second time."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OpError):
                file.discard()
            self._sweep()

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._file is not None:
            self.commit()
        else:
            self.discard()

    def _sweep(self) -> None:
        if self._fs.renames:
            remove_quietly(self._fs, self._name)


def atomic_replace(fs: FileSystem, path: str, data: Buffer, *, overwrite: bool = True) -> None:
    """Makes ``data`` the content of ``path``; whoever reads meanwhile sees the old or the new content.

    See `AtomicFile`.

    Raises:
      AlreadyExistsError: the file exists and ``overwrite`` is false.
    """
    if not overwrite and fs.exists(path):
        raise AlreadyExistsError.of(
            f"{path}; File exists", path=path, hint="Choose another name, or allow overwriting."
        )
    with AtomicFile(fs, path) as file:
        file.append(data)
