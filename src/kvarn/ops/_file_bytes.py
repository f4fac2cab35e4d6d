"""The bytes of a file, uncompressed, in pieces.

Source: tensorflow/core/lib/io/{buffered_inputstream,zlib_inputstream}.cc (1.15).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from kvarn import errors
from kvarn.formats.tfrecord import WINDOW_BITS
from kvarn.io import ReadFile, file_system_of

BUFFER_BYTES: Final = 256 << 10


def pieces_of(name: str, compression: str = "", size: int = BUFFER_BYTES) -> Iterator[bytes]:
    """Opens a file, and gives its bytes as they are asked for.

    Args:
      compression: ``""``, ``"ZLIB"`` or ``"GZIP"``.
      size: of the pieces that are read, in bytes.

    Raises:
      NotFoundError: there is no such file; at once.
      DataLossError: it is not compressed like that; when that piece is asked for.
    """
    return _pieces(file_system_of(name).open_read(name), name, compression, size)


def _pieces(file: ReadFile, name: str, compression: str, size: int) -> Iterator[bytes]:
    try:
        stored = (file.read(offset, size) for offset in range(0, file.size, size))
        yield from _inflated(stored, name, WINDOW_BITS[compression]) if compression else stored
    finally:
        file.close()


def _inflated(stored: Iterator[bytes], name: str, window_bits: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj(window_bits)
    try:
        for piece in stored:
            rest = piece
            while rest and not inflate.eof:
                yield inflate.decompress(rest, BUFFER_BYTES)
                rest = inflate.unconsumed_tail
    except zlib.error as problem:
        raise errors.DataLossError.of(
            f"inflate() failed: {problem} in {name}", path=name, hint="Is this the file's compression type?"
        ) from problem
