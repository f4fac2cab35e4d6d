"""The machine's own files."""

from __future__ import annotations

import contextlib
import errno
import glob
import mmap
import os
import threading
from collections.abc import Iterator

from kvarn.io.filesystem import Buffer, io_error

# What one call of preadv or write moves at most on Linux is 0x7ffff000 bytes; we stay below.
_LARGEST_CALL_BYTES = 1 << 30

# What file systems say that cannot sync a directory (some network and user-space ones): there is then
# nothing more to be done.
_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Names the file in what the operating system refuses (`kvarn.io.filesystem.io_error`)."""
    try:
        yield
    except OSError as error:
        raise io_error(path, error) from error


class LocalReadFile:
    """A file read by position."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._map: mmap.mmap | None = None
        with named(path):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self.size = os.fstat(self._descriptor).st_size
                os.pread(self._descriptor, 0, 0)  # a directory opens, but does not read
            except OSError:
                self.close()
                raise

    def fileno(self) -> int:
        """The descriptor, open until `close`."""
        return self._descriptor

    def read(self, offset: int, size: int) -> bytes:
        size = max(0, min(size, self.size - offset))
        with named(self.path):
            data = os.pread(self._descriptor, size, offset)
            if len(data) == size:
                return data
        target = bytearray(size)
        return bytes(target[: self.read_into(offset, memoryview(target))])

    def read_into(self, offset: int, target: memoryview) -> int:
        done = 0
        with named(self.path):
            while done < len(target):
                count = os.preadv(
                    self._descriptor, [target[done : done + _LARGEST_CALL_BYTES]], offset + done
                )
                if count == 0:
                    break
                done += count
        return done

    def view(self) -> memoryview:
        if self.size == 0:
            return memoryview(b"")
        with self._lock, named(self.path):
            if self._map is None:
                if self._descriptor < 0:  # for which a map would be zeros
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
                self._map = mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ)
            return memoryview(self._map)

    def release_pages(self) -> None:
        """Lets the pages of `view` go that were looked at; they come back when they are looked at again."""
        with self._lock:
            if self._map is not None:
                self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class LocalWriteFile:
    """A file that grows; the bytes go to the system at once."""

    def __init__(self, path: str) -> None:
        self.path = path
        with named(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o666)

    def fileno(self) -> int:
        """The descriptor, open until `close`."""
        return self._descriptor

    def append(self, data: Buffer) -> None:
        rest = memoryview(data).cast("B")
        with named(self.path):
            while len(rest):
                rest = rest[os.write(self._descriptor, rest[:_LARGEST_CALL_BYTES]) :]

    def sync(self) -> None:
        with named(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            with named(self.path):
                os.close(descriptor)

    def discard(self) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class LocalFileSystem:
    """`FileSystem` over the operating system."""

    renames = True

    def open_read(self, path: str) -> LocalReadFile:
        return LocalReadFile(path)

    def open_write(self, path: str) -> LocalWriteFile:
        return LocalWriteFile(path)

    def rename(self, source: str, target: str) -> None:
        with named(source):
            os.replace(source, target)

    def copy(self, source: str, target: str) -> None:
        import shutil  # and with it every compressor of the library: not for those who only read

        with named(source):
            shutil.copyfile(source, target)

    def remove(self, path: str) -> None:
        with named(path):
            os.remove(path)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def size(self, path: str) -> int:
        with named(path):
            return os.stat(path).st_size

    def modified_secs(self, path: str) -> float:
        with named(path):
            return os.stat(path).st_mtime

    def glob(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern))

    def list_directory(self, path: str) -> list[str]:
        with named(path):
            return sorted(os.listdir(path))

    def make_directory(self, path: str) -> None:
        if not os.path.isdir(path):
            with named(path), contextlib.suppress(FileExistsError):
                os.mkdir(path)

    def make_directories(self, path: str) -> None:
        with named(path):
            os.makedirs(path, exist_ok=True)

    def remove_directory(self, path: str) -> None:
        with named(path):
            os.rmdir(path)

    def sync_directory(self, path: str) -> None:
        with named(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno not in _NO_DIRECTORY_SYNC:
                    raise
            finally:
                os.close(descriptor)


LOCAL = LocalFileSystem()
