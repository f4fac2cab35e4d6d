"""What a checkpoint holds, as data: for the command line, and for programs.

description = describe("/m/model.ckpt-10")
description.tensors        every tensor with dtype, shape, bytes and slices
description.embeddings     embedding variables, each as one thing
description.variables      the tensors that belong to none of them
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.checkpoint.load import checkpoint_filename
from kvarn.formats import embedding
from kvarn.formats.bundle.elements import dtype_of
from kvarn.formats.bundle.entry import BundleEntry
from kvarn.formats.bundle.naming import data_filename
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.detect import open_checkpoint
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.io import FileSystem, Path


@dataclass(frozen=True, slots=True)
class TensorDescription:
    """One tensor.

    Attributes:
      dtype: its name, such as ``float32``.
      shape: of the whole tensor.
      size_bytes: in the data files, all slices together.
      slices: the stored slices, such as ``0,6:0,3``, by their places; empty for a tensor stored whole.
      shards: numbers of the data files it is in.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    slices: tuple[str, ...] = ()
    shards: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class EmbeddingDescription:
    """One embedding variable, all parts and slots together.

    Attributes:
      num_partitions: how many parts it was saved in; 1 also if it was not partitioned.
      partitioned: whether the names have ``part_i``.
      num_keys, num_filtered: keys with values, and keys that a filter had not admitted.
      keys_per_partition: of the first.
      slots: dim by slot name.
      freqs, versions: least and greatest value, or None if the file has none.
      size_bytes: of all its tensors.
    """

    name: str
    partitioned: bool
    num_partitions: int
    key_dtype: str
    value_dtype: str
    dim: int
    num_keys: int
    num_filtered: int
    keys_per_partition: tuple[int, ...]
    slots: dict[str, int]
    freqs: tuple[int, int] | None
    versions: tuple[int, int] | None
    size_bytes: int
    tensor_names: tuple[str, ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class CheckpointDescription:
    """A checkpoint.

    Attributes:
      prefix: its path without ``.index``.
      format: ``V2``.
      files: path and bytes of each file; -1 for one that is missing.
    """

    prefix: str
    format: str
    big_endian: bool
    files: tuple[tuple[str, int], ...]
    tensors: tuple[TensorDescription, ...]
    embeddings: tuple[EmbeddingDescription, ...]

    @property
    def variables(self) -> tuple[TensorDescription, ...]:
        """The tensors that are not part of an embedding variable."""
        taken = {name for group in self.embeddings for name in group.tensor_names}
        return tuple(tensor for tensor in self.tensors if tensor.name not in taken)


def describe(
    ckpt_dir_or_file: Path, fs: FileSystem | None = None, *, ranges: bool = True
) -> CheckpointDescription:
    """What a checkpoint, or the newest one of a directory, holds.

    Args:
      ranges: read frequencies and versions of embedding variables for their ranges; without it only the
        index is read.

    Raises:
      ValueError, NotFoundError, DataLossError: as `kvarn.checkpoint.load_checkpoint`.
    """
    with open_checkpoint(checkpoint_filename(ckpt_dir_or_file, fs), fs) as reader:
        entries = dict(reader.entries())
        stored = {key: entry for key, entry in reader.records() if not entry.slices}
        tensors = tuple(_tensor(reader, name, entry, stored) for name, entry in entries.items())
        sizes = {tensor.name: tensor.size_bytes for tensor in tensors}
        counts = {name: entry.num_elements for name, entry in entries.items()}
        groups = embedding.group_embeddings(list(entries), counts)
        embeddings = tuple(_embedding(reader, group, entries, sizes, ranges) for group in groups)
        return CheckpointDescription(
            reader.prefix, "V2", reader.big_endian, tuple(_files(reader)), tensors, embeddings
        )


def _files(reader: BundleReader) -> Iterable[tuple[str, int]]:
    total = reader.header.num_shards
    shards = (data_filename(reader.prefix, shard, total) for shard in range(total))
    for path in (reader.index_path, *shards):
        yield path, reader.fs.size(path) if reader.fs.exists(path) else -1


def _tensor(
    reader: BundleReader, name: str, entry: BundleEntry, stored: dict[bytes, BundleEntry]
) -> TensorDescription:
    parts = [entry]
    if entry.slices:
        key = name.encode("utf-8", "surrogateescape")
        parts = [stored[k] for k in (encode_slice_key(key, piece) for piece in entry.slices) if k in stored]
    return TensorDescription(
        name,
        dtype_of(entry.dtype, name, reader.prefix).name,
        entry.shape,
        sum(part.size for part in parts),
        tuple(map(str, sorted(entry.slices, key=lambda piece: piece.extents))),
        tuple(sorted({part.shard_id for part in parts})),
    )


def _embedding(
    reader: BundleReader,
    group: embedding.EmbeddingGroup,
    entries: dict[str, BundleEntry],
    sizes: dict[str, int],
    ranges: bool,
) -> EmbeddingDescription:
    first = group.parts[0]
    names = tuple(group.tensor_names(entries))
    keys = [entries[part + embedding.KEYS].num_elements for part in group.parts]
    filtered = (entries.get(part + embedding.KEYS_FILTERED) for part in group.parts)
    return EmbeddingDescription(
        name=group.name,
        partitioned=first != group.name,
        num_partitions=len(group.parts),
        key_dtype=_dtype(reader, entries, first + embedding.KEYS),
        value_dtype=_dtype(reader, entries, first + embedding.VALUES),
        dim=_dim(entries, first),
        num_keys=sum(keys),
        num_filtered=sum(entry.num_elements for entry in filtered if entry is not None),
        keys_per_partition=tuple(keys),
        slots={slot: _dim(entries, f"{first}/{slot}") for slot in group.slots},
        freqs=_range(reader, group, entries, embedding.FREQS) if ranges else None,
        versions=_range(reader, group, entries, embedding.VERSIONS) if ranges else None,
        size_bytes=sum(sizes[name] for name in names),
        tensor_names=names,
    )


def _dtype(reader: BundleReader, entries: dict[str, BundleEntry], name: str) -> str:
    return dtype_of(entries[name].dtype, name, reader.prefix).name


def _dim(entries: dict[str, BundleEntry], stem: str) -> int:
    entry = entries.get(stem + embedding.VALUES)
    return entry.shape[1] if entry is not None and len(entry.shape) == 2 else 0


def _range(
    reader: BundleReader, group: embedding.EmbeddingGroup, entries: dict[str, BundleEntry], suffix: str
) -> tuple[int, int] | None:
    """Least and greatest value of a column over all parts."""
    columns: list[npt.NDArray[Any]] = [
        reader.lookup(part + suffix)
        for part in group.parts
        if part + suffix in entries and entries[part + suffix].num_elements
    ]
    if not columns:
        return None
    values = np.concatenate(columns)
    return int(values.min()), int(values.max())
