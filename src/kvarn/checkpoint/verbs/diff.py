"""What differs between two checkpoints, whatever their formats, slices and partitions.

    tensors      names that only one has; types; shapes; elements, bit by bit or within a tolerance
    embeddings   by key: keys added and removed; of the others values, slots, frequencies and versions

    found = diff("/m/model.ckpt-10", "/m/model.ckpt-20")
    found.same, found.tensors, found.embeddings

What counts as equal says `kvarn.checkpoint.value_diff`.  Memory does not grow with the checkpoints: tensors
are read in pieces, embedding variables some buckets at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.checkpoint.embeddings.diff import EmbeddingDifference, compare_tables
from kvarn.checkpoint.embeddings.stored_table import stored_tables, tensor_names
from kvarn.checkpoint.value_diff import Locate, Tolerance, ValueDifference, added, different
from kvarn.checkpoint.verbs.progress import Counter, Progress
from kvarn.checkpoint.verbs.transfer import open_source, side_by_side, tensor_pieces
from kvarn.formats.names import encode_name
from kvarn.formats.reader import TensorInfo, TensorReader
from kvarn.io import FileSystem, Path

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """A tensor that both have, and that is not the same.

    Attributes:
      dtypes, shapes: in a and in b.
      values: None if types or shapes differ.
    """

    name: str
    dtypes: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    values: ValueDifference | None = None


@dataclass(frozen=True)
class CheckpointDiff:
    """What differs between the checkpoints a and b.

    Attributes:
      a, b: their prefixes.
      only_in_a, only_in_b: names of tensors and embedding variables, sorted.
      tensors, embeddings: those that both have and that differ.
      num_same: how many tensors and embedding variables are the same.
    """

    a: str
    b: str
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    tensors: tuple[TensorDifference, ...]
    embeddings: tuple[EmbeddingDifference, ...]
    num_same: int

    @property
    def same(self) -> bool:
        """True if nothing differs."""
        return not (self.only_in_a or self.only_in_b or self.tensors or self.embeddings)


def diff(
    a: Path,
    b: Path,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    fs: FileSystem | None = None,
    progress: Progress | None = None,
) -> CheckpointDiff:
    """Compares two checkpoints.

    Args:
      a, b: prefixes, directories for their newest checkpoints, or safetensors and npz files.
      rtol, atol: numbers are equal if ``|a - b| <= atol + rtol * |b|``; 0 and 0 compare bits.
      progress: called with the bytes read and the bytes in all, of both.

    Raises:
      NotFoundError: one is not there.
      DataLossError, OutOfRangeError: one is damaged; `kvarn.checkpoint.verbs.verify` says where.
    """
    with open_source(a, fs) as reader_a, open_source(b, fs) as reader_b:
        return _compare(reader_a, reader_b, Tolerance(rtol, atol), progress)


def _compare(
    a: TensorReader, b: TensorReader, tolerance: Tolerance, progress: Progress | None
) -> CheckpointDiff:
    infos_a, infos_b = ({info.name: info for info in reader.tensors()} for reader in (a, b))
    tables_a, tables_b = ({table.name: table for table in stored_tables(reader)} for reader in (a, b))
    total = sum(info.size_bytes for info in (*infos_a.values(), *infos_b.values()))
    count = Counter(progress, total)
    embeddings: list[EmbeddingDifference] = []
    tensors: list[TensorDifference] = []
    same = 0
    for name in _sorted(tables_a.keys() & tables_b.keys()):
        found = compare_tables(a, b, tables_a[name], tables_b[name], tolerance, count)
        embeddings += [found] if found is not None else []
        same += found is None
    plain_a = infos_a.keys() - set().union(*(tensor_names(t, infos_a) for t in tables_a.values()))
    plain_b = infos_b.keys() - set().union(*(tensor_names(t, infos_b) for t in tables_b.values()))
    for name in _sorted(plain_a & plain_b):
        difference = _compare_tensor(a, b, infos_a[name], infos_b[name], tolerance, count)
        tensors += [difference] if difference is not None else []
        same += difference is None
    count(total)  # what only one has, and what says where buckets are
    return CheckpointDiff(
        a.prefix,
        b.prefix,
        only_in_a=_sorted((plain_a | tables_a.keys()) - (plain_b | tables_b.keys())),
        only_in_b=_sorted((plain_b | tables_b.keys()) - (plain_a | tables_a.keys())),
        tensors=tuple(tensors),
        embeddings=tuple(embeddings),
        num_same=same,
    )


def _compare_tensor(
    reader_a: TensorReader,
    reader_b: TensorReader,
    a: TensorInfo,
    b: TensorInfo,
    tolerance: Tolerance,
    count: Counter,
) -> TensorDifference | None:
    kinds, shapes = (a.dtype.name, b.dtype.name), (a.shape, b.shape)
    if kinds[0] != kinds[1] or a.shape != b.shape:
        count(a.size_bytes + b.size_bytes)
        return TensorDifference(a.name, kinds, shapes)
    total = ValueDifference()
    for left, right, locate in _pieces(reader_a, reader_b, a, b):
        total = added(total, left, right, different(left, right, tolerance), locate)
        count(left.nbytes + right.nbytes)
    return TensorDifference(a.name, kinds, shapes, total) if total.num_different else None


def _pieces(
    reader_a: TensorReader, reader_b: TensorReader, a: TensorInfo, b: TensorInfo
) -> Iterator[tuple[Array, Array, Locate]]:
    """The elements of two tensors of one shape, piece by piece, and where they are."""
    if a.slices and set(a.slices) == set(b.slices):
        # Cut alike: no need to put them together.
        for piece in a.slices:
            left = reader_a.lookup_stored_slice(a.name, piece)
            right = reader_b.lookup_stored_slice(b.name, piece)
            yield left, right, _locate(left.shape, [start for start, _ in piece.extents])
        return
    row = 0
    for left, right in side_by_side([tensor_pieces(reader_a, a), tensor_pieces(reader_b, b)]):
        yield left, right, _locate(left.shape, [row, *itertools.repeat(0, len(a.shape) - 1)])
        row += len(left) if a.shape else 0


def _locate(shape: tuple[int, ...], starts: list[int]) -> Locate:
    def locate(at: int) -> tuple[int, ...]:
        place = np.unravel_index(at, shape) if shape else ()
        return tuple(int(index) + start for index, start in zip(place, starts, strict=False))

    return locate


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=encode_name))
