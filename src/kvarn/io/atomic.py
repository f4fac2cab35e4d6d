"""A file is replaced whole or not at all."""

from __future__ import annotations

import contextlib
import secrets

from kvarn.errors import AlreadyExistsError, OpError
from kvarn.io.filesystem import Buffer, FileSystem, directory_of


def temporary_name(path: str) -> str:
    """A name beside ``path`` that nothing else has.

    ``<path>.tmp<32 hex digits>``, as TensorFlow names it (lib/io/file_io.py `atomic_write_string_to_file`),
    so that its own tools know what may be swept.
    """
    return f"{path}.tmp{secrets.token_hex(16)}"


def remove_quietly(fs: FileSystem, path: str) -> None:
    """Removes a file if it is there, and says nothing if it cannot."""
    with contextlib.suppress(OpError):
        fs.remove(path)


def atomic_replace(fs: FileSystem, path: str, data: Buffer, *, overwrite: bool = True) -> None:
    """Makes ``data`` the content of ``path``; whoever reads meanwhile sees the old or the new content.

    Written aside, synced, renamed; then the directory is synced.  If any step fails, the old file is
    untouched and no other is left.

    Raises:
      AlreadyExistsError: the file exists and ``overwrite`` is false.
    """
    if not overwrite and fs.exists(path):
        raise AlreadyExistsError.of(
            f"{path}; File exists", path=path, hint="Choose another name, or allow overwriting."
        )
    aside = temporary_name(path)
    try:
        file = fs.open_write(aside)
        try:
            file.append(data)
            file.sync()
        finally:
            file.close()
        fs.rename(aside, path)
    except BaseException:
        remove_quietly(fs, aside)
        raise
    fs.sync_directory(directory_of(path))
