"""Files as Python's own file objects, for libraries that want those."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from kvarn.io.filesystem import Buffer, ReadFile


class ReadStream(io.RawIOBase):
    """A `ReadFile` that can be read and sought; closing it leaves the file open."""

    def __init__(self, file: ReadFile) -> None:
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise OSError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        count = self._file.read_into(self._position, view)
        self._position += count
        return count


class WriteStream(io.RawIOBase):
    """A file that only grows, written through ``append``; closing it ends nothing.

    Attributes:
      append: where the bytes go; None drops them.
    """

    def __init__(self, append: Callable[[Buffer], None]) -> None:
        self.append: Callable[[Buffer], None] | None = append
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.append is not None:
            self.append(view)
        self._size += len(view)
        return len(view)
