"""Files of records: TFRecord, which event files are, too.

    record := length   uint64      of data
              crc      uint32      masked CRC-32C of the eight bytes before it
              data     length bytes
              crc      uint32      masked CRC-32C of data

Little-endian, one record after the other, nothing before, between or behind them.  A file may be compressed as a
whole (ZLIB, GZIP); offsets in messages are then those of what it holds.

Source: tensorflow/core/lib/io/record_{writer,reader}.cc, tensorflow/core/lib/io/zlib_inputstream.cc.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from kvarn.errors import DataLossError
from kvarn.formats.checksum import crc32c, mask
from kvarn.io import FileSystem, Path, ReadFile, as_path, file_system_of

_LENGTH: Final = struct.Struct("<Q")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _LENGTH.size + _CRC.size
FOOTER_BYTES: Final = _CRC.size

# Compression types: the window bits of zlib for each.
WINDOW_BITS: Final = {"ZLIB": zlib.MAX_WBITS, "GZIP": zlib.MAX_WBITS + 16}

# So much is read from a file at a time, or one record, if that is more.
_WINDOW_BYTES: Final = 1 << 18


def framed(data: bytes) -> bytes:
    """The bytes of a record."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _CRC.pack(mask(crc32c(length))), data, _CRC.pack(mask(crc32c(data)))))


def read_records(path: Path, fs: FileSystem | None = None, compression: str = "") -> Iterator[bytes]:
    """The data of the records of a file, one after the other.

    Args:
      path: the file.
      fs: where it is; by default found by its path.
      compression: of the file, ``""``, ``"ZLIB"`` or ``"GZIP"``.

    Raises:
      NotFoundError: there is no such file.
      DataLossError: a record is cut off, or does not fit its checksum, or the file is not compressed like that; the
        records before it have come.
    """
    name = as_path(path)
    file = (fs or file_system_of(path)).open_read(name)
    try:
        window: _Source = _Inflated(file, WINDOW_BITS[compression]) if compression else _Window(file)
        offset = 0
        while window.has(offset):
            header = window.read(offset, HEADER_BYTES, offset)
            length = _LENGTH.unpack(_checked(header, name, offset))[0]
            body = window.read(offset + HEADER_BYTES, length + FOOTER_BYTES, offset)
            yield _checked(body, name, offset + HEADER_BYTES)
            offset += HEADER_BYTES + length + FOOTER_BYTES
    finally:
        file.close()


def _checked(stored: bytes, path: str, offset: int) -> bytes:
    """Bytes without the checksum at their end, which they must fit."""
    data = stored[: -_CRC.size]
    if _CRC.unpack_from(stored, len(data))[0] != mask(crc32c(data)):
        raise DataLossError.of(f"corrupted record at {offset} of {path}", path=path)
    return data


class _Source(Protocol):
    """Bytes that are read from their beginning to their end."""

    def has(self, offset: int) -> bool:
        """Whether there are bytes from ``offset`` on."""

    def read(self, offset: int, size: int, record: int) -> bytes:
        """Bytes of the record at ``record``; no memory is taken for more than there is.

        Raises:
          DataLossError: there are fewer.
        """


class _Window:
    """A part of a file that is in memory."""

    def __init__(self, file: ReadFile) -> None:
        self._file = file
        self._start = 0
        self._bytes = b""

    def has(self, offset: int) -> bool:
        return offset < self._file.size

    def read(self, offset: int, size: int, record: int) -> bytes:
        if size > self._file.size - offset:
            raise DataLossError.of(f"truncated record at {record} of {self._file.path}", path=self._file.path)
        begin = offset - self._start
        if begin + size > len(self._bytes):
            self._bytes = self._file.read(offset, max(size, _WINDOW_BYTES))
            self._start, begin = offset, 0
            if len(self._bytes) < size:
                raise DataLossError.of(
                    f"truncated record at {record} of {self._file.path}", path=self._file.path
                )
        return self._bytes[begin : begin + size]


class _Inflated:
    """What a compressed file holds."""

    def __init__(self, file: ReadFile, window_bits: int) -> None:
        self._file = file
        self._position = 0  # in the file
        self._inflate = zlib.decompressobj(window_bits)
        self._bytes = bytearray()  # what is inflated and not read

    def has(self, offset: int) -> bool:
        return self._filled(1)

    def read(self, offset: int, size: int, record: int) -> bytes:
        if not self._filled(size):
            raise DataLossError.of(f"truncated record at {record} of {self._file.path}", path=self._file.path)
        found = bytes(memoryview(self._bytes)[:size])
        del self._bytes[:size]
        return found

    def _filled(self, size: int) -> bool:
        """Whether there are ``size`` bytes more; they are in memory then."""
        while len(self._bytes) < size and not self._inflate.eof:
            stored = self._inflate.unconsumed_tail
            if not stored:
                stored = self._file.read(self._position, _WINDOW_BYTES)
                self._position += len(stored)
                if not stored:
                    break
            try:
                self._bytes += self._inflate.decompress(stored, _WINDOW_BYTES)
            except zlib.error as problem:
                raise DataLossError.of(
                    f"inflate() failed: {problem} in {self._file.path}",
                    path=self._file.path,
                    hint="Is this the file's compression type?",
                ) from problem
        return len(self._bytes) >= size
