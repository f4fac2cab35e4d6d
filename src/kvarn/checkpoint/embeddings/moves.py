"""Embedding variables from some parts into others, key by key, slots along.

Part p of n gets the buckets b with ``b mod n == p``, ascending; of each the rows of the old parts, in their
order.  All nine tensors are written whatever the era of the source: what it does not keep is empty, the
offsets are made from the keys.

Source: kvarn.formats.embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.checkpoint.embeddings.bucket_rows import CHUNK_BYTES, BucketIndex, RowReader, bucket_groups
from kvarn.checkpoint.embeddings.stored_table import StoredTable
from kvarn.checkpoint.sharded_output import ShardedOutput
from kvarn.errors import DataLossError, InvalidArgumentError, OpError
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.embedding import (
    FREQS,
    FREQS_FILTERED,
    KEYS,
    KEYS_FILTERED,
    PARTITION_FILTER_OFFSET,
    PARTITION_OFFSET,
    SAVED_PARTITION_NUM,
    VALUES,
    VERSIONS,
    VERSIONS_FILTERED,
    part_name,
)
from kvarn.formats.reader import TensorReader

Array = npt.NDArray[Any]
# Told the bytes as they pass.
Count = Callable[[int], None]


def move_table(
    reader: TensorReader, table: StoredTable, parts: int, output: ShardedOutput, count: Count
) -> None:
    """An embedding variable and its slots into ``parts`` parts."""
    indexes: dict[str, BucketIndex] = {}
    for rest in sorted(table.families):
        index = indexes[rest] = BucketIndex(reader, [stem + KEYS for stem in table.stems(rest)])
        if table.partitioned and (wrong := index.misplaced()):
            raise unfit(
                reader,
                table.stems(rest)[wrong[0]],
                f"it has keys that part {wrong[0]} of {table.num_partitions} does not have",
            )
        owner = table.owner(rest)
        if owner is not None and (differs := index.differs_from(indexes[owner])).any():
            bucket = int(np.argmax(differs))
            raise unfit(
                reader,
                table.stems(rest)[0],
                f"its keys are not those of the variable: {index.totals.sum()} and "
                f"{indexes[owner].totals.sum()} in all, {index.totals[bucket]} and "
                f"{indexes[owner].totals[bucket]} with key mod {SAVED_PARTITION_NUM} == {bucket}",
            )
    for rest in sorted(table.families):
        names = [part_name(table.name, part) + rest for part in range(parts)] or [table.name + rest]
        _Family(reader, table.stems(rest), indexes[rest], names, output, count).write()


class _Family:
    """A primary or a slot on its way from some parts into others."""

    def __init__(
        self,
        reader: TensorReader,
        stems: Sequence[str],
        index: BucketIndex,
        names: Sequence[str],
        output: ShardedOutput,
        count: Count,
    ) -> None:
        self._reader = reader
        self._stems = list(stems)
        self._index = index
        self._names = list(names)
        self._output = output
        self._count = count

    def write(self) -> None:
        """All nine tensors of every part, each in the order of the data file."""
        self._keys(KEYS, self._index)
        self._column(VALUES, self._index, None)
        self._column(VERSIONS, self._index, np.dtype(np.int64))
        self._column(FREQS, self._index, np.dtype(np.int64))
        filtered = self._filtered()
        self._keys(KEYS_FILTERED, filtered)
        self._column(VERSIONS_FILTERED, filtered, np.dtype(np.int64))
        self._column(FREQS_FILTERED, filtered, np.dtype(np.int64))
        self._offsets(PARTITION_OFFSET, self._index)
        self._offsets(PARTITION_FILTER_OFFSET, filtered)

    def _filtered(self) -> BucketIndex:
        """Where the keys that were not admitted lie; of old eras there are none."""
        names = [stem + KEYS_FILTERED for stem in self._stems]
        present = [name for name in names if self._reader.contains(name)]
        if present and present != names:
            lost = next(name for name in names if name not in present)
            raise unfit(self._reader, lost.removesuffix(KEYS_FILTERED), f"'{lost}' is missing")
        return BucketIndex(self._reader, present)

    def _buckets(self, part: int) -> range:
        return range(part, SAVED_PARTITION_NUM, len(self._names))

    def _targets(self) -> Iterator[tuple[str, BundleWriter, range]]:
        for part, name in enumerate(self._names):
            yield name, self._output.of_part(part), self._buckets(part)

    def _keys(self, suffix: str, index: BucketIndex) -> None:
        keys = RowReader(self._reader, index.names) if index.names else None
        for name, writer, buckets in self._targets():
            total = int(index.totals[buckets].sum())
            writer.add_tensor_header(name + suffix, self._index.key_dtype, (total,))
            if keys is not None:
                filled = [bucket for bucket in buckets if index.totals[bucket]]
                for group in bucket_groups(filled, index.totals * index.key_dtype.itemsize, CHUNK_BYTES):
                    self._append_keys(writer, keys.array_of_buckets(index, group))
            writer.end_segment()
        if keys is not None:
            keys.finish()

    def _append_keys(self, writer: BundleWriter, keys: Array) -> None:
        """The keys of some whole buckets, none of them twice."""
        ordered = np.sort(keys)
        twice = ordered[:-1][ordered[1:] == ordered[:-1]]
        if len(twice):
            raise unfit(self._reader, self._stems[0], f"key {twice[0]} is there twice")
        writer.append_segment(keys)
        self._count(keys.nbytes)

    def _column(self, suffix: str, index: BucketIndex, dtype: np.dtype[Any] | None) -> None:
        """Values (``dtype`` None), or versions or frequencies: none, or one for each key."""
        names = self._kept(suffix, index, optional=dtype is not None)
        rows = RowReader(self._reader, names) if names else None
        if rows is not None and dtype is not None and (rows.dtype.np, rows.row_shape) != (dtype, ()):
            raise unfit(self._reader, names[0], f"{rows.dtype.name}{list(rows.row_shape)} for each key")
        shape = rows.row_shape if rows is not None else ()
        for name, writer, buckets in self._targets():
            total = int(index.totals[buckets].sum()) if rows is not None else 0
            own = rows.dtype if rows is not None else dtypes.as_dtype(dtype)
            writer.add_tensor_header(name + suffix, own, (total, *shape))
            if rows is not None:
                for chunk in rows.of_buckets(index, buckets):
                    writer.append_segment(chunk)
                    self._count(chunk.nbytes)
            writer.end_segment()
        if rows is not None:
            rows.finish()

    def _kept(self, suffix: str, index: BucketIndex, *, optional: bool) -> list[str]:
        """The names of a column part by part; none if no part has it.

        Raises:
          DataLossError: some parts with keys have it and some have not, or its length is not that of the keys.
        """
        names: list[str] = []
        lengths: list[int] = []
        counts = index.counts.sum(axis=1).tolist()
        if not counts:
            return []
        for stem in self._stems:
            present = self._reader.contains(stem + suffix)
            shape = self._reader.lookup_dtype_and_shape(stem + suffix)[1] if present else (0,)
            names.append(stem + suffix)
            lengths.append(shape[0] if shape else -1)
        if optional and not any(lengths):
            return []
        for name, length, count in zip(names, lengths, counts, strict=True):
            if length != count:
                raise unfit(
                    self._reader,
                    name.removesuffix(suffix),
                    f"'{name}' has {length} rows for {count} keys",
                )
        return [name for name in names if self._reader.contains(name)] if optional else names

    def _offsets(self, suffix: str, index: BucketIndex) -> None:
        for stem in self._stems:
            # Made anew from the keys; those of the file are only held to their checksum.
            if self._reader.contains(stem + suffix):
                self._reader.verify(stem + suffix)
        for name, writer, buckets in self._targets():
            counts = np.zeros(SAVED_PARTITION_NUM, np.int64)
            counts[buckets] = index.totals[buckets]
            offsets = np.concatenate(([0], np.cumsum(counts)))
            if offsets[-1] > np.iinfo(np.int32).max:
                raise InvalidArgumentError.of(
                    f"'{name}' would have {offsets[-1]} keys, more than its int32 offsets can count",
                    name=name,
                    hint="Ask for more partitions.",
                )
            writer.add(name + suffix, offsets.astype(np.int32))


def unfit(reader: TensorReader, stem: str, what: str) -> OpError:
    return DataLossError.of(
        f"embedding variable '{stem}' in '{reader.prefix}' does not fit together: {what}",
        name=stem,
        path=reader.prefix,
        hint="`kvarn repair` makes a checkpoint of what fits; `kvarn verify` names all that does not.",
    )
