"""What a checkpoint holds, as data: for the command line, and for programs.

description = describe("/m/model.ckpt-10")
description.tensors        every tensor with dtype, shape, bytes and slices
description.embeddings     embedding variables, each as one thing
description.variables      the tensors that belong to none of them
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.checkpoint.embeddings.stored_table import EmbeddingGroup, embedding_groups
from kvarn.checkpoint.load import checkpoint_filename
from kvarn.formats import embedding
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.detect import open_checkpoint
from kvarn.formats.reader import TensorInfo, TensorReader
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
      format: ``V1`` or ``V2``.
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
        infos = {info.name: info for info in reader.tensors()}
        tensors = tuple(map(_tensor, infos.values()))
        embeddings = tuple(_embedding(reader, group, infos, ranges) for group in embedding_groups(reader))
        return CheckpointDescription(
            reader.prefix,
            reader.format,
            isinstance(reader, BundleReader) and reader.big_endian,
            tuple(reader.files()),
            tensors,
            embeddings,
        )


def _tensor(info: TensorInfo) -> TensorDescription:
    return TensorDescription(
        info.name,
        info.dtype.name,
        info.shape,
        info.size_bytes,
        tuple(map(str, sorted(info.slices, key=lambda piece: piece.extents))),
        info.shards,
    )


def _embedding(
    reader: TensorReader,
    group: EmbeddingGroup,
    infos: dict[str, TensorInfo],
    ranges: bool,
) -> EmbeddingDescription:
    first = group.parts[0]
    names = tuple(group.tensor_names(infos))
    keys = [_num_elements(infos[part + embedding.KEYS]) for part in group.parts]
    filtered = (infos.get(part + embedding.KEYS_FILTERED) for part in group.parts)
    return EmbeddingDescription(
        name=group.name,
        partitioned=first != group.name,
        num_partitions=len(group.parts),
        key_dtype=infos[first + embedding.KEYS].dtype.name,
        value_dtype=infos[first + embedding.VALUES].dtype.name,
        dim=_dim(infos, first),
        num_keys=sum(keys),
        num_filtered=sum(_num_elements(info) for info in filtered if info is not None),
        keys_per_partition=tuple(keys),
        slots={slot: _dim(infos, f"{first}/{slot}") for slot in group.slots},
        freqs=_range(reader, group, infos, embedding.FREQS) if ranges else None,
        versions=_range(reader, group, infos, embedding.VERSIONS) if ranges else None,
        size_bytes=sum(infos[name].size_bytes for name in names),
        tensor_names=names,
    )


def _num_elements(info: TensorInfo) -> int:
    return math.prod(info.shape)


def _dim(infos: dict[str, TensorInfo], stem: str) -> int:
    info = infos.get(stem + embedding.VALUES)
    return info.shape[1] if info is not None and len(info.shape) == 2 else 0


def _range(
    reader: TensorReader, group: EmbeddingGroup, infos: dict[str, TensorInfo], suffix: str
) -> tuple[int, int] | None:
    """Least and greatest value of a column over all parts."""
    columns: list[npt.NDArray[Any]] = [
        reader.lookup(part + suffix)
        for part in group.parts
        if part + suffix in infos and _num_elements(infos[part + suffix])
    ]
    if not columns:
        return None
    values = np.concatenate(columns)
    return int(values.min()), int(values.max())
