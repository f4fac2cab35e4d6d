"""Files of records: TFRecord, which event files are, too.

    record := length   uint64      of data
              crc      uint32      masked CRC-32C of the eight bytes before it
              data     length bytes
              crc      uint32      masked CRC-32C of data

Little-endian, one record after the other, nothing before, between or behind them.  Not supported: files that are
compressed as a whole (ZLIB, GZIP).

Source: tensorflow/core/lib/io/record_{writer,reader}.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from kvarn.errors import DataLossError
from kvarn.formats.checksum import crc32c, mask
from kvarn.io import FileSystem, Path, ReadFile, as_path, file_system_of

_LENGTH: Final = struct.Struct("<Q")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _LENGTH.size + _CRC.size
FOOTER_BYTES: Final = _CRC.size

# So much is read from a file at a time, or one record, if that is more.
_WINDOW_BYTES: Final = 1 << 18


def framed(data: bytes) -> bytes:
    """The bytes of a record."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _CRC.pack(mask(crc32c(length))), data, _CRC.pack(mask(crc32c(data)))))


def read_records(path: Path, fs: FileSystem | None = None) -> Iterator[bytes]:
    """The data of the records of a file, one after the other.

    Args:
      path: the file.
      fs: where it is; by default found by its path.

    Raises:
      NotFoundError: there is no such file.
      DataLossError: a record is cut off, or does not fit its checksum; the records before it have come.
    """
    name = as_path(path)
    file = (fs or file_system_of(path)).open_read(name)
    try:
        window = _Window(file)
        offset = 0
        while offset < file.size:
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


class _Window:
    """A part of a file that is in memory."""

    def __init__(self, file: ReadFile) -> None:
        self._file = file
        self._start = 0
        self._bytes = b""

    def read(self, offset: int, size: int, record: int) -> bytes:
        """Bytes of the record at ``record``; no memory is taken for more than the file has."""
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
