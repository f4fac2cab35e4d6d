"""`tf.gfile`: local files by TensorFlow's names and errors.

Source: tensorflow/python/lib/io/file_io.py.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from kvarn import errors

_CLASSES: dict[type[OSError], type[errors.OpError]] = {
    FileNotFoundError: errors.NotFoundError,
    FileExistsError: errors.AlreadyExistsError,
    PermissionError: errors.PermissionDeniedError,
    IsADirectoryError: errors.FailedPreconditionError,
    NotADirectoryError: errors.FailedPreconditionError,
}


@contextlib.contextmanager
def _tensorflow_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        cls = next((c for kind, c in _CLASSES.items() if isinstance(e, kind)), errors.UnknownError)
        raise cls.of(f"{path}; {e.strerror}", path=path) from e


class FileStatistics(NamedTuple):
    """What `Stat` gives: bytes, modification time in nanoseconds, whether it is a directory."""

    length: int
    mtime_nsec: int
    is_directory: bool


class GFile:
    """A file: text (str) unless the mode has a "b"; opened when it is first used.

    Raises:
      NotFoundError, PermissionDeniedError: on first use.
    """

    def __init__(self, name: str, mode: str = "r") -> None:
        self.name = name
        self.mode = mode
        self._file: IO[Any] | None = None

    def _open(self) -> IO[Any]:
        if self._file is None:
            with _tensorflow_errors(self.name):
                self._file = open(self.name, self.mode, encoding=None if "b" in self.mode else "utf-8")  # noqa: SIM115
        return self._file

    def read(self, n: int = -1) -> Any:
        return self._open().read(n)

    def readline(self) -> Any:
        return self._open().readline()

    def readlines(self) -> list[Any]:
        return self._open().readlines()

    def write(self, file_content: Any) -> None:
        self._open().write(file_content)

    def seek(self, offset: int, whence: int = 0) -> None:
        self._open().seek(offset, whence)

    def tell(self) -> int:
        return self._open().tell()

    def size(self) -> int:
        return Stat(self.name).length

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> GFile:
        self._open()
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._open())


FastGFile = Open = GFile


def Exists(path: str) -> bool:
    return os.path.exists(path)


def IsDirectory(path: str) -> bool:
    return os.path.isdir(path)


def Glob(filename: str) -> list[str]:
    """The paths that match, sorted."""
    return sorted(glob.glob(filename))


def ListDirectory(path: str) -> list[str]:
    with _tensorflow_errors(path):
        return sorted(os.listdir(path))


def MkDir(path: str) -> None:
    """Makes one directory; no error if it exists."""
    with _tensorflow_errors(path), contextlib.suppress(FileExistsError):
        os.mkdir(path)


def MakeDirs(path: str) -> None:
    with _tensorflow_errors(path):
        os.makedirs(path, exist_ok=True)


def Remove(path: str) -> None:
    with _tensorflow_errors(path):
        os.remove(path)


def DeleteRecursively(path: str) -> None:
    with _tensorflow_errors(path):
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def Copy(oldpath: str, newpath: str, overwrite: bool = False) -> None:
    _refuse_existing(newpath, overwrite)
    with _tensorflow_errors(oldpath):
        shutil.copyfile(oldpath, newpath)


def Rename(oldname: str, newname: str, overwrite: bool = False) -> None:
    _refuse_existing(newname, overwrite)
    with _tensorflow_errors(oldname):
        os.replace(oldname, newname)


def Stat(path: str) -> FileStatistics:
    with _tensorflow_errors(path):
        found = os.stat(path)
    return FileStatistics(found.st_size, found.st_mtime_ns, os.path.isdir(path))


def Walk(top: str, in_order: bool = True) -> Iterator[tuple[str, list[str], list[str]]]:
    return os.walk(top, topdown=in_order)


def _refuse_existing(path: str, overwrite: bool) -> None:
    if os.path.exists(path) and not overwrite:
        raise errors.AlreadyExistsError.of(
            f"file already exists: {path}", path=path, hint="Pass overwrite=True to replace it."
        )
