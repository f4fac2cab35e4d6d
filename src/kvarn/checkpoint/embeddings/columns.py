"""Columns of an embedding variable, read with their lengths checked, and rows of values by place.

Source of the rules: kvarn.formats.embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.errors import DataLossError, OpError
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.reader import TensorReader

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

# Bytes of scattered rows that are read at a time.
_WINDOW_BYTES = 8 << 20
# Bytes between wanted rows that are rather read than skipped.
_GAP_BYTES = 64 << 10


class KeyIndex:
    """Where keys are in a column."""

    def __init__(self, keys: Array) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def places(self, wanted: Array) -> Int64s:
        """The place of each key, the first of several; -1 for one that is not there."""
        if not len(self._sorted):
            return np.full(len(wanted), -1, np.int64)
        at = np.searchsorted(self._sorted, wanted)
        at[at == len(self._sorted)] = 0
        return np.where(self._sorted[at] == wanted, self._order[at], -1).astype(np.int64, copy=False)

    def repeated(self) -> Array:
        """The keys that are there more than once."""
        return np.unique(self._sorted[1:][self._sorted[1:] == self._sorted[:-1]])


def key_column(reader: TensorReader, name: str) -> Array:
    """Keys, int32 or int64 [n].

    Raises:
      DataLossError: they are something else, or damaged.
    """
    keys = reader.lookup(name)
    if keys.dtype not in (np.dtype(np.int32), np.dtype(np.int64)) or keys.ndim != 1:
        raise damaged(reader, name, f"{keys.dtype}{list(keys.shape)}, not int32 or int64 [n]")
    return keys


def number_column(reader: TensorReader, name: str, count: int) -> Int64s | None:
    """Frequencies or versions, int64 [count]; None if the checkpoint has none.

    Raises:
      DataLossError: they are something else, or damaged.
    """
    if not reader.contains(name):
        return None
    column = reader.lookup(name)
    if column.shape == (0,):
        return None
    if column.shape != (count,) or column.dtype != np.int64:
        raise damaged(reader, name, f"{column.dtype}{list(column.shape)}, not int64 [{count}]")
    return column


def sequential_rows(reader: TensorReader, name: str, at_once: int) -> Callable[[slice], Array]:
    """A function from slices of rows, asked for one after the other from the first, to these rows."""
    dtype, shape = reader.lookup_dtype_and_shape(name)
    row_bytes = max(1, int(np.prod(shape[1:], dtype=np.int64)) * dtype.size)
    pieces = reader.chunks(name, at_once * row_bytes)
    held: Array | None = None
    position = 0

    def rows(wanted: slice) -> Array:
        nonlocal held, position
        assert wanted.start == position, "rows are asked for in order"
        position = wanted.stop
        parts: list[Array] = []
        missing = wanted.stop - wanted.start
        while missing:
            piece = held if held is not None and len(held) else next(pieces)
            parts.append(piece[:missing])
            held = piece[missing:]
            missing -= len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return rows


def sequential_numbers(
    reader: TensorReader, name: str, count: int, at_once: int
) -> Callable[[slice], Int64s] | None:
    """`sequential_rows` of frequencies or versions; None if the checkpoint has none.

    Raises:
      DataLossError: they are something else than int64 [count].
    """
    if not reader.contains(name):
        return None
    dtype, shape = reader.lookup_dtype_and_shape(name)
    if shape == (0,):
        return None
    if shape != (count,) or dtype.np != np.int64:
        raise damaged(reader, name, f"{dtype.name}{list(shape)}, not int64 [{count}]")
    return sequential_rows(reader, name, at_once)


def scattered_rows(reader: TensorReader, name: str, places: Int64s) -> Array:
    """The rows at some places, in their order, read by ranges no longer than a few MB.

    Not checked against the tensor's checksum: that covers more than what is read.
    """
    info = reader.info(name)
    out = np.empty((len(places), *info.shape[1:]), info.dtype.np)
    if not len(places) or not out.size:
        return out
    if not isinstance(reader, BundleReader) or not reader.has_plain_bytes(info):
        out[...] = reader.lookup(name)[places]
        return out
    order = np.argsort(places, kind="stable")
    wanted = places[order]
    row_bytes = out.nbytes // len(out)
    window, gap = max(1, _WINDOW_BYTES // row_bytes), max(1, _GAP_BYTES // row_bytes)
    low = 0
    for end in (*(np.flatnonzero(np.diff(wanted) > gap) + 1).tolist(), len(wanted)):
        while low < end:
            start = int(wanted[low])
            high = min(end, int(np.searchsorted(wanted, start + window)))
            rows = reader.read_rows(name, start, int(wanted[high - 1]) + 1)
            out[order[low:high]] = rows[wanted[low:high] - start]
            low = high
    return out


def damaged(reader: TensorReader, name: str, what: str) -> OpError:
    """The error for a tensor that does not fit the others."""
    return DataLossError.of(
        f"'{name}' in '{reader.prefix}' does not fit an embedding variable: {what}",
        name=name,
        path=reader.prefix,
        hint="`kvarn verify` names all that is wrong, `kvarn repair` keeps what can be kept.",
    )
