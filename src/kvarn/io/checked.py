"""Bytes moved and checked in one go: the checksum sees them while they are in the processor's cache.

Files of the machine itself are read and written by native code, without the GIL and on several threads;
those of any other file system through their own methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from kvarn import _native
from kvarn.io.filesystem import Buffer, ReadFile, WriteFile
from kvarn.io.local import LocalReadFile, LocalWriteFile, named

# Bytes of other file systems that are moved and then checked at a time.
_PIECE_BYTES = 1 << 20


def read_runs(
    file: ReadFile, offsets: Sequence[int], targets: Sequence[memoryview], threads: int = 0
) -> npt.NDArray[np.uint32]:
    """Fills each target (bytes, writable) from its offset; the CRC-32C of each.

    Args:
      threads: that may work on it; 0 for all that `kvarn` uses.

    Raises:
      EOFError: with the number of the target that the file is too short for.
      OpError: a read failed.
    """
    if isinstance(file, LocalReadFile):
        with named(file.path):
            return _native.read_runs(file.fileno(), np.asarray(offsets, np.int64), list(targets), threads)
    # Asked for by name: isinstance of a protocol takes longer than a small read.
    read_many: Callable[..., list[int]] | None = getattr(file, "read_many", None)
    if read_many is not None:
        counts = read_many(offsets, targets)
        if short := [n for n, target in enumerate(targets) if counts[n] != len(target)]:
            raise EOFError(short[0])
        return np.array([_native.crc32c(target, 0) for target in targets], np.uint32)
    crcs = np.zeros(len(targets), np.uint32)
    for number, (offset, target) in enumerate(zip(offsets, targets, strict=True)):
        crc = 0
        for start in range(0, len(target), _PIECE_BYTES):
            piece = target[start : start + _PIECE_BYTES]
            if file.read_into(offset + start, piece) != len(piece):
                raise EOFError(number)
            crc = _native.crc32c(piece, crc)
        crcs[number] = crc
    return crcs


def append_checked(file: WriteFile, data: Buffer, crc: int) -> int:
    """Writes all of ``data`` at the end; the CRC-32C ``crc`` continued over it.

    Raises:
      OpError: a write failed.
    """
    if isinstance(file, LocalWriteFile):
        with named(file.path):
            return _native.write_with_checksum(file.fileno(), data, crc)
    view = memoryview(data).cast("B")
    for start in range(0, len(view), _PIECE_BYTES):
        piece = view[start : start + _PIECE_BYTES]
        crc = _native.crc32c(piece, crc)
        file.append(piece)
    return crc
