"""Rows of embedding variables in another order than the file has them: checked, and with bounded memory.

An embedding variable may lie in any number of parts, its rows grouped by bucket (``key mod 1000``) or, in
files of DeepRec's first era, not.  What moves rows from one layout to another needs two things:

    BucketIndex      where the rows of each bucket lie, from one pass over the keys
    RowReader        rows by place: ranges as they are needed, each byte read once and all of them checked

Rows of one bucket keep the order of their parts and of the file.  A primary and its slots are moved each by
its own keys, for inside a bucket their orders may differ; `BucketIndex.differs_from` compares the key sets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.checkpoint.embeddings.columns import damaged
from kvarn.formats.bundle.entry import BundleEntry
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.checksum import crc32c_combine
from kvarn.formats.embedding import (
    SAVED_PARTITION_NUM,
    bucket_of,
)
from kvarn.formats.reader import TensorReader

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

# Bytes that are read, checked and handed out at a time.
CHUNK_BYTES = 4 << 20
# Tensors up to this size are read once and held, rather than range by range.
_HELD_BYTES = 16 << 20
# Rows that lie scattered are gathered so many bytes at a time, each time in one pass over the file.
_WINDOW_BYTES = 64 << 20


# Buckets --------------------------------------------------------------------------------------------


class BucketIndex:
    """Where the rows of each bucket lie, over the parts of one family of keys.

    Args:
      reader: of the checkpoint.
      names: of the key tensors, in the order of the parts.

    Attributes:
      counts: int64 [parts, 1000], rows in each bucket.
      key_dtype: int32 or int64.

    Raises:
      DataLossError: they are no keys, or damaged.
    """

    def __init__(self, reader: TensorReader, names: Sequence[str]) -> None:
        self.names = list(names)
        self.counts = np.zeros((len(names), SAVED_PARTITION_NUM), np.int64)
        self._order: list[Int64s | None] = []
        # Sum of the mixed keys of each bucket: equal for equal sets of keys, in whatever order.
        self._digests = np.zeros(SAVED_PARTITION_NUM, np.uint64)
        kinds = {reader.lookup_dtype_and_shape(name) for name in names}
        for name in names:
            dtype, shape = reader.lookup_dtype_and_shape(name)
            if dtype not in (dtypes.int32, dtypes.int64) or len(shape) != 1:
                raise damaged(reader, name, f"keys are {dtype.name}{list(shape)}, not int32 or int64 [n]")
        if len({dtype for dtype, _ in kinds}) > 1:
            raise damaged(reader, names[0], "its parts have keys of different types")
        self.key_dtype: np.dtype[Any] = next(iter(kinds))[0].np if kinds else np.dtype(np.int64)
        for part, name in enumerate(names):
            self._order.append(self._scan(reader, part, name))
        firsts = np.cumsum(self.counts.sum(axis=1)) - self.counts.sum(axis=1)
        # First row of each bucket, counted over all parts together.
        self._starts = firsts[:, None] + np.cumsum(self.counts, axis=1) - self.counts
        self._firsts: Int64s = firsts

    @property
    def grouped(self) -> bool:
        """Whether the rows of every part lie bucket by bucket."""
        return all(order is None for order in self._order)

    @property
    def totals(self) -> Int64s:
        """int64 [1000], rows in each bucket over all parts."""
        total: Int64s = self.counts.sum(axis=0)
        return total

    def differs_from(self, other: BucketIndex) -> npt.NDArray[np.bool_]:
        """bool [1000], the buckets whose sets of keys are not equal."""
        differs: npt.NDArray[np.bool_] = (self.totals != other.totals) | (self._digests != other._digests)
        return differs

    def misplaced(self) -> list[int]:
        """Parts that hold a bucket which is not theirs: part p of n has those with ``bucket mod n == p``."""
        home = np.arange(SAVED_PARTITION_NUM) % max(1, len(self.names))
        return [part for part, counts in enumerate(self.counts) if counts[home != part].any()]

    def ranges(self, buckets: Sequence[int]) -> Int64s:
        """int64 [r, 2], first row and row behind the last of stretches in the order of the buckets.

        Rows are counted over all parts together.  Only if `grouped`.
        """
        counts = self.counts[:, buckets].T
        at, part = np.nonzero(counts)
        starts = self._starts[part, np.asarray(buckets, np.int64)[at]]
        stops = starts + counts[at, part]
        if not len(starts):
            return np.empty((0, 2), np.int64)
        # Stretches that follow one another are one.
        apart = starts[1:] != stops[:-1]
        return np.stack((starts[np.append(True, apart)], stops[np.append(apart, True)]), axis=1)

    def rows(self, buckets: Iterable[int]) -> Int64s:
        """Row numbers, over all parts together, in the order of the buckets."""
        if self.grouped:
            stretches = self.ranges(list(buckets))
            lengths = stretches[:, 1] - stretches[:, 0]
            ends = np.cumsum(lengths)
            # Counting on from the first row of each stretch.
            return np.repeat(stretches[:, 0] - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
        found: list[Int64s] = [np.empty(0, np.int64)]
        for bucket in buckets:
            for part in np.flatnonzero(self.counts[:, bucket]):
                start = int(self._starts[part, bucket])
                rows = np.arange(start, start + int(self.counts[part, bucket]))
                order, first = self._order[part], self._firsts[part]
                found.append(rows if order is None else first + order[rows - first])
        return np.concatenate(found)

    def _scan(self, reader: TensorReader, part: int, name: str) -> Int64s | None:
        """Counts the keys of a part; None if they are grouped, else the order that groups them."""
        last = 0
        counts, digests = np.zeros(SAVED_PARTITION_NUM, np.int64), np.zeros(SAVED_PARTITION_NUM, np.uint64)
        for keys in reader.chunks(name, CHUNK_BYTES):
            if not len(keys):
                continue
            buckets = bucket_of(keys)
            if buckets[0] < last or np.any(buckets[1:] < buckets[:-1]):
                break
            last = int(buckets[-1])
            _count(buckets, keys, counts, digests)
        else:
            self.counts[part] += counts
            self._digests += digests
            return None
        keys = reader.lookup(name)
        buckets = bucket_of(keys)
        order: Int64s = np.argsort(buckets, kind="stable")
        _count(buckets[order], keys[order], self.counts[part], self._digests)
        return order


def _count(buckets: Int64s, keys: Array, counts: Int64s, digests: npt.NDArray[np.uint64]) -> None:
    """Adds keys, which lie bucket by bucket, to the counts and digests."""
    found = np.bincount(buckets, minlength=SAVED_PARTITION_NUM)
    ends = np.cumsum(found)
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(_mixed(keys))))
    counts += found
    digests += sums[ends] - sums[ends - found]


def _mixed(keys: Array) -> npt.NDArray[np.uint64]:
    """A number for each key that looks random: the finaliser of splitmix64."""
    x: npt.NDArray[np.uint64] = keys.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def bucket_groups(buckets: Iterable[int], sizes: Int64s, most: int) -> Iterator[list[int]]:
    """The buckets in their order, as many neighbours together as have ``most`` bytes, and one at least.

    Args:
      sizes: int64 [1000], bytes of each bucket.
    """
    group: list[int] = []
    size = 0
    for bucket in buckets:
        own = int(sizes[bucket])
        if group and size + own > most:
            yield group
            group, size = [], 0
        group.append(bucket)
        size += own
    if group:
        yield group


# Rows -----------------------------------------------------------------------------------------------


class RowReader:
    """The rows of tensors that are parts of one, by their numbers over all parts together.

    Small tensors are read once and held.  Of large ones `ranges` reads what is asked for when it is, and
    `gather` what fits into a window, a pass over the file for each.  Values of large tensors are certain
    only when `finish` has returned: then every row was read just once, and all checksums are right.

    All rows come by one of the two.

    Args:
      names: of the tensors; their shapes differ at most in the first dimension.

    Raises:
      DataLossError: they do not fit together, or (small ones) are damaged.
    """

    def __init__(self, reader: TensorReader, names: Sequence[str]) -> None:
        self._reader = reader
        self._names = list(names)
        infos = [reader.info(name) for name in names]
        filled = [info for info in infos if info.shape and info.shape[0]] or infos[:1]
        self.dtype = filled[0].dtype
        self.row_shape = filled[0].shape[1:]
        for info in filled:
            if (info.dtype, info.shape[1:]) != (self.dtype, self.row_shape) or not info.shape:
                raise damaged(
                    reader, info.name, f"{info.dtype.name}{list(info.shape)} beside {list(filled[0].shape)}"
                )
        if not self.dtype.size or self.dtype.np.hasobject:
            raise damaged(reader, infos[0].name, f"a column of type {self.dtype.name}")
        rows = [info.shape[0] if info.shape else 0 for info in infos]
        self.num_rows = sum(rows)
        self._firsts = np.concatenate(([0], np.cumsum(rows))).astype(np.int64)
        self.row_bytes = max(1, int(np.prod(self.row_shape, dtype=np.int64)) * self.dtype.size)
        self._held: Array | None = None
        self._read: list[dict[int, tuple[int, int]]] = [{} for _ in names]
        if self.num_rows * self.row_bytes <= _HELD_BYTES:
            parts = [reader.lookup(name) for name, count in zip(names, rows, strict=True) if count]
            self._held = np.concatenate(parts) if parts else np.empty((0, *self.row_shape), self.dtype.np)
        self._by_range = (
            self._held is None
            and isinstance(reader, BundleReader)
            and all(map(reader.has_plain_bytes, infos))
            and 0 not in self.row_shape
        )
        self._entries: list[BundleEntry] = []
        if self._by_range and isinstance(reader, BundleReader):
            self._entries = [reader.entry(name) for name in names]
            for info, entry in zip(infos, self._entries, strict=True):
                reader.data.check_size(info.name, entry, math.prod(info.shape) * self.dtype.size)

    def ranges(self, wanted: Int64s) -> Iterator[Array]:
        """The rows of stretches ``wanted`` ([r, 2], first and behind the last), one after the other, in chunks.

        A chunk is valid until the next.
        """
        if not self._by_range:
            stretches = [np.arange(start, stop) for start, stop in wanted]
            yield from self.gather(np.concatenate([np.empty(0, np.int64), *stretches]))
            return
        at_once = max(1, CHUNK_BYTES // self.row_bytes)
        room = np.empty((at_once, *self.row_shape), self.dtype.np)
        filled = 0
        for start, stop in wanted.tolist():
            while start < stop:
                taken = min(stop - start, at_once - filled)
                self._read_range(start, start + taken, room[filled : filled + taken])
                start, filled = start + taken, filled + taken
                if filled == at_once:
                    yield room
                    filled = 0
        if filled:
            yield room[:filled]

    def gather(self, rows: Int64s) -> Iterator[Array]:
        """The rows of these numbers, in chunks."""
        if self._held is not None:
            at_once = max(1, CHUNK_BYTES // self.row_bytes)
            for start in range(0, len(rows), at_once):
                yield self._held[rows[start : start + at_once]]
            return
        self._by_range = False  # passes are checked by themselves
        window = max(1, _WINDOW_BYTES // self.row_bytes)
        for start in range(0, len(rows), window):
            yield self._pass(rows[start : start + window])

    def of_buckets(self, index: BucketIndex, buckets: Sequence[int]) -> Iterator[Array]:
        """The rows of some buckets in the order of `BucketIndex.rows`, in chunks, each valid until the next."""
        return self.ranges(index.ranges(buckets)) if index.grouped else self.gather(index.rows(buckets))

    def array_of_buckets(self, index: BucketIndex, buckets: Sequence[int]) -> Array:
        """The rows of some buckets at once."""
        found = self.of_buckets(index, buckets)
        chunks = [chunk.copy() if self._by_range else chunk for chunk in found]
        return np.concatenate([np.empty((0, *self.row_shape), self.dtype.np), *chunks])

    def finish(self) -> None:
        """Says that all rows were read.

        Raises:
          DataLossError: what `ranges` gave out is not what was saved.
        """
        self._held = None
        if not self._by_range:
            return
        assert isinstance(self._reader, BundleReader)
        for part, name in enumerate(self._names):
            position, crc = int(self._firsts[part]), 0
            for start, (stop, own) in sorted(self._read[part].items()):
                assert start == position, f"rows {position} to {start} of '{name}' were not read"
                crc = crc32c_combine(crc, own, (stop - start) * self.row_bytes)
                position = stop
            assert position == self._firsts[part + 1], f"the last rows of '{name}' were not read"
            self._reader.check_checksum(name, crc)

    def _read_range(self, start: int, stop: int, out: Array) -> None:
        """Reads rows that may belong to several parts."""
        assert isinstance(self._reader, BundleReader)
        part = int(np.searchsorted(self._firsts, start, "right")) - 1
        filled = 0
        while start < stop:
            first, end = int(self._firsts[part]), min(stop, int(self._firsts[part + 1]))
            if start < end:
                piece = out[filled : filled + end - start]
                raw = piece.reshape(-1).view(np.uint8).data
                offset = (start - first) * self.row_bytes
                crc = self._reader.read_range(self._names[part], self._entries[part], offset, raw)
                self._read[part][start] = (end, crc)
                filled += end - start
                start = end
            part += 1

    def _pass(self, rows: Int64s) -> Array:
        """Rows from wherever they lie, in one pass over the parts that have any."""
        out = np.empty((len(rows), *self.row_shape), self.dtype.np)
        places = np.argsort(rows, kind="stable")
        rows = rows[places]
        for part, name in enumerate(self._names):
            position = int(self._firsts[part])
            low, high = np.searchsorted(rows, self._firsts[part : part + 2])
            if low == high:
                continue
            for chunk in self._reader.chunks(name, CHUNK_BYTES):
                low, high = np.searchsorted(rows, (position, position + len(chunk)))
                out[places[low:high]] = chunk[rows[low:high] - position]
                position += len(chunk)
        return out
