"""PNG files as libpng writes them by default.

    signature   89 50 4e 47 0d 0a 1a 0a
    chunk       length uint32 | type 4 bytes | data | CRC-32 of type and data uint32     big-endian
    IHDR        width uint32 | height uint32 | 8 bits | kind of color | 0 | 0 | 0
    IDAT ...    one zlib stream in pieces of 8192 bytes: of each row the number of its filter, and its bytes filtered
    IEND

A row gets the filter whose bytes, taken as signed, have the least sum of absolute values; the first of equals.

Source: https://www.w3.org/TR/png-3, pngwutil.c of libpng 1.6, tensorflow/core/lib/png/png_io.cc.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_Bytes = npt.NDArray[np.uint8]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_IDAT_BYTES: Final = 8192
_COLOR_KINDS: Final = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels
_MOST_MEMORY: Final = 9
_LARGEST_WINDOW_BITS: Final = 15
_SMALLEST_WINDOW_BITS: Final = 8
_DEFLATE_LOOKAHEAD: Final = 262


def encode(image: _Bytes) -> bytes:
    """The PNG file of an image.

    Args:
      image: [height, width, channels] of 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA) channels, not empty.
    """
    height, width, channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_KINDS[channels], 0, 0, 0)
    packed = _compressed(_filtered(np.ascontiguousarray(image).reshape(height, -1), width, channels))
    pieces = [packed[i : i + _IDAT_BYTES] for i in range(0, len(packed), _IDAT_BYTES)]
    return b"".join(
        (_SIGNATURE, _chunk(b"IHDR", header), *(_chunk(b"IDAT", p) for p in pieces), _chunk(b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data))))


def _filtered(rows: _Bytes, width: int, channels: int) -> bytes:
    """The rows, each behind the number of its filter and filtered."""
    left, up, corner = (np.zeros_like(rows) for _ in range(3))
    left[:, channels:] = rows[:, :-channels]
    up[1:] = rows[:-1]
    corner[1:] = left[:-1]
    # What has no neighbours to look at is not tried.
    filters = {0: rows}
    if width > 1:
        filters[1] = rows - left
    if len(rows) > 1:
        filters[2] = rows - up
    if width > 1 and len(rows) > 1:
        filters[3] = rows - ((left.astype(np.uint16) + up) >> 1).astype(np.uint8)
        filters[4] = rows - _paeth(left, up, corner)
    numbers = np.array(list(filters), np.uint8)
    sums = np.stack([_distance(tried) for tried in filters.values()])
    best = np.argmin(sums, axis=0)
    out = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    out[:, 0] = numbers[best]
    out[:, 1:] = np.stack(list(filters.values()))[best, np.arange(len(rows))]
    return out.tobytes()


def _distance(rows: _Bytes) -> Any:
    return np.abs(rows.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64)


def _paeth(left: _Bytes, up: _Bytes, corner: _Bytes) -> _Bytes:
    """Of the three neighbours the one that is nearest to left + up - corner."""
    a, b, c = (x.astype(np.int16) for x in (left, up, corner))
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, up, corner))


def _compressed(data: bytes) -> bytes:
    """The zlib stream, with a window that is no larger than the data needs."""
    bits = _LARGEST_WINDOW_BITS
    while bits > _SMALLEST_WINDOW_BITS and len(data) + _DEFLATE_LOOKAHEAD <= 1 << (bits - 1):
        bits -= 1
    encoder = zlib.compressobj(
        zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, max(bits, 9), _MOST_MEMORY, zlib.Z_FILTERED
    )
    return _fitting_header(encoder.compress(data) + encoder.flush(), len(data))


def _fitting_header(stream: bytes, size: int) -> bytes:
    """The stream with the smallest window in its header that holds the data."""
    bits = (stream[0] >> 4) + 8
    while bits > _SMALLEST_WINDOW_BITS and size <= 1 << (bits - 1):
        bits -= 1
    method = (bits - 8) << 4 | stream[0] & 0x0F
    flags = stream[1] & 0xE0
    return bytes((method, flags + (31 - (method << 8 | flags) % 31) % 31)) + stream[2:]
