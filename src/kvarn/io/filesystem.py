"""What a file system has to offer, and how its failures are named.

Paths are strings; ``/`` separates.  Every operation raises errors of `kvarn.errors` with TensorFlow's text
``<path>; <reason>`` (tensorflow/core/platform/posix/error.cc).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from kvarn import errors

Path: TypeAlias = "str | bytes | os.PathLike[str]"
# Anything with the buffer protocol, C-contiguous (collections.abc.Buffer, which Python 3.11 does not have).
Buffer: TypeAlias = Any


class ReadFile(Protocol):
    """An open file that is only read.  Safe to share between threads; close it once.

    Attributes:
      size: in bytes.
    """

    path: str
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer at the end of the file."""

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fills ``target`` (bytes, writable) from ``offset``; the number of bytes read, fewer at the end."""

    def view(self) -> memoryview:
        """The whole file, read-only; where it can, a map of it.  Valid while somebody holds it."""

    def close(self) -> None: ...


@runtime_checkable
class ManyReader(Protocol):
    """A `ReadFile` whose reads take long to be answered: many at once take no longer than one."""

    def read_many(self, offsets: Sequence[int], targets: Sequence[memoryview]) -> list[int]:
        """Each as `ReadFile.read_into`."""


class WriteFile(Protocol):
    """An open file that only grows.  Not buffered: hand over large pieces."""

    path: str

    def append(self, data: Buffer) -> None:
        """Writes all of ``data`` at the end."""

    def sync(self) -> None:
        """Returns when the bytes so far survive a power failure; on an object store `close` does that."""

    def close(self) -> None:
        """Ends the file.  On an object store it appears now, whole, in the place of an older one."""

    def discard(self) -> None:
        """Ends the file without its content: nothing appears on an object store.

        Where files appear when they are opened, what was written stays, for the caller to remove.  Nothing
        happens after `close`.
        """


class FileSystem(Protocol):
    """Files by path.

    Attributes:
      renames: whether files get other names at once (`rename`).  An object store has no such thing, but its
        files appear whole when they are closed; its directories are what the names of the files say, need
        not be made, and are gone with their last file.

    Raises, whatever the operation:
      NotFoundError: there is no such file or directory.
      PermissionDeniedError, ResourceExhaustedError and others: see `kvarn.io.filesystem.io_error`.
    """

    renames: bool

    def open_read(self, path: str) -> ReadFile:
        """An existing file."""

    def open_write(self, path: str) -> WriteFile:
        """A new file, or an emptied one."""

    def rename(self, source: str, target: str) -> None:
        """Gives a file another name, at once and over an existing file.

        Raises:
          UnimplementedError: this file system does not rename.
        """

    def copy(self, source: str, target: str) -> None:
        """Makes a second file with the content of a first; on an object store without a transfer."""

    def remove(self, path: str) -> None:
        """Removes a file."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory."""

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory."""

    def size(self, path: str) -> int:
        """The length of a file in bytes."""

    def modified_secs(self, path: str) -> float:
        """Time of the last change, in seconds since 1970."""

    def glob(self, pattern: str) -> list[str]:
        """The paths that match a shell pattern, sorted."""

    def list_directory(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    def make_directory(self, path: str) -> None:
        """Makes one directory; fine when it exists, NotFoundError when its parent does not."""

    def make_directories(self, path: str) -> None:
        """Makes a directory and its parents; fine when they exist."""

    def remove_directory(self, path: str) -> None:
        """Removes an empty directory."""

    def sync_directory(self, path: str) -> None:
        """Returns when the names in a directory survive a power failure."""


# As TensorFlow's ParseURI has it (tensorflow/core/platform/path.cc).
_SCHEME = re.compile(r"([a-zA-Z][0-9a-zA-Z.]*)://")
_FILE = "file://"


def as_path(path: Path) -> str:
    """A path as a string, from a string, bytes or a PathLike; ``file:///a`` is ``/a``."""
    return os.fsdecode(path).removeprefix(_FILE)


def scheme_of(path: str) -> str:
    """What stands before ``://``; empty for an ordinary path."""
    found = _SCHEME.match(path) if "://" in path else None
    return found[1] if found else ""


def root_of(path: str) -> str:
    """Scheme and bucket of a URL (``s3://bucket``); empty for an ordinary path."""
    scheme = scheme_of(path)
    return f"{scheme}://{path[len(scheme) + 3 :].partition('/')[0]}" if scheme else ""


def directory_of(path: str) -> str:
    """The directory that a path names a file of; ``.`` for a bare name, the bucket of a URL at least."""
    root = root_of(path)
    return root + os.path.dirname(path[len(root) :]).rstrip("/") if root else os.path.dirname(path) or "."


def join_path(directory: str, path: str) -> str:
    """A path that counts from a directory; an absolute one, or a URL, stays what it is."""
    return path if scheme_of(path) else os.path.join(directory, path)


def is_absolute(path: str) -> bool:
    """Whether a path means the same from everywhere: it begins with ``/``, or is a URL."""
    return os.path.isabs(path) or bool(scheme_of(path))


_CODES: dict[type[errors.OpError], tuple[int, ...]] = {
    errors.InvalidArgumentError: (errno.EINVAL, errno.ENAMETOOLONG, errno.E2BIG, errno.ESPIPE),
    errors.NotFoundError: (errno.ENOENT, errno.ENODEV, errno.ENXIO),
    errors.AlreadyExistsError: (errno.EEXIST,),
    errors.PermissionDeniedError: (errno.EACCES, errno.EPERM, errno.EROFS),
    errors.FailedPreconditionError: (
        errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR, errno.EBUSY, errno.ETXTBSY, errno.EPIPE, errno.EBADF,
    ),
    errors.ResourceExhaustedError: (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    errors.OutOfRangeError: (errno.EFBIG, errno.EOVERFLOW, errno.ERANGE),
    errors.UnimplementedError: (errno.ENOSYS, errno.ENOTSUP, errno.EXDEV),
    errors.UnavailableError: (errno.EAGAIN, errno.EINTR, errno.ENETDOWN, errno.ENOLCK),
    errors.DeadlineExceededError: (errno.ETIMEDOUT,),
    errors.CancelledError: (errno.ECANCELED,),
    errors.AbortedError: (errno.EDEADLK,),
}  # fmt: skip
_CLASS_OF_ERRNO = {number: cls for cls, numbers in _CODES.items() for number in numbers}

_FULL = "Free space, or write to another place; what was whole before is whole still."
_REFUSED = "Look at the owner and mode of the file and of its directory, or choose another place."
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "The file system or a limit of the process (ulimit -f) allows no larger file: raise it.",
    errno.EMFILE: "Close files, or raise the limit of the process (ulimit -n).",
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.EROFS: "The file system is mounted read-only: choose another place.",
    errno.EISDIR: "A directory has the name of the file: choose another name, or move it away.",
    errno.ENOTDIR: "A file stands where the path needs a directory: check the path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


def io_error(path: str, error: OSError) -> errors.OpError:
    """The error of kvarn for a refusal of the operating system."""
    number = error.errno or 0
    cls = _CLASS_OF_ERRNO.get(number, errors.UnknownError)
    return cls.of(f"{path}; {os.strerror(number) if number else error}", path=path, hint=_HINTS.get(number))
