"""Dense tensors in other slices: which ones, and how their bytes get there.

What is cut along the first axis, before and after, passes in pieces of a few MB; of anything else one stored
slice and one new slice are in memory at a time.

Source: `fixed_size_partitioner` in tensorflow/python/ops/partitioned_variables.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.checkpoint.embeddings.bucket_rows import CHUNK_BYTES
from kvarn.checkpoint.sharded_output import ShardedOutput
from kvarn.checkpoint.verbs.transfer import check_room, copy_tensor
from kvarn.errors import DataLossError, InvalidArgumentError
from kvarn.formats.bundle import BundleReader
from kvarn.formats.elements import is_plain
from kvarn.formats.names import encode_name
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.reader import TensorInfo, TensorReader
from kvarn.formats.tensor_slice import TensorSlice, first_overlap, print_shape

Array = npt.NDArray[Any]
# Told the bytes as they pass.
Count = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class DenseCut:
    """A dense tensor that is cut anew: into ``regions``, one for each part."""

    info: TensorInfo
    before: int
    after: int
    regions: tuple[TensorSlice, ...]


def cut_of(info: TensorInfo, parts: int, axis: int | None) -> DenseCut | None:
    """How a dense tensor is to be cut; None if it is cut like that, or has nothing to cut."""
    along = _axis_of(info) if axis is None else axis
    if not info.shape or not -len(info.shape) <= along < len(info.shape):
        if info.shape and axis is not None:
            raise InvalidArgumentError.of(
                f"tensor '{info.name}' of shape {print_shape(info.shape)} has no axis {axis}",
                name=info.name,
                hint="Give an axis that all the tensors to be cut have.",
            )
        return None
    along %= len(info.shape)
    size = info.shape[along]
    # As fixed_size_partitioner: never more parts than rows.
    number = max(1, min(parts, size))
    regions: list[TensorSlice] = []
    start = 0
    for part in range(number):
        length = size // number + (part < size % number)
        extents = [(0, n) for n in info.shape]
        extents[along] = (start, length)
        regions.append(TensorSlice(tuple(extents)))
        start += length
    stored = [piece.resolve(info.shape) for piece in info.slices] or [TensorSlice.of_shape(info.shape)]
    if sorted(stored, key=lambda piece: piece.extents) == regions:
        return None
    return DenseCut(info, len(info.slices), number if number > 1 else 0, tuple(regions))


def _axis_of(info: TensorInfo) -> int:
    """The first axis along which a tensor is cut; 0 for a whole one."""
    for axis, size in enumerate(info.shape):
        if any(piece.resolve(info.shape).extents[axis] != (0, size) for piece in info.slices):
            return axis
    return 0


def copy(
    reader: TensorReader,
    info: TensorInfo,
    shard_of: Callable[[int], int],
    output: ShardedOutput,
    count: Count,
) -> None:
    """A tensor as it is: whole to data file ``shard_of(0)``, or slice by slice, each to that of its number."""
    if not info.slices:
        copy_tensor(reader, output.writers[shard_of(0)], info, count=count)
    for part, piece in enumerate(info.slices):
        writer = output.writers[shard_of(part)]
        if is_plain(info.dtype):
            writer.add_slice_header(info.name, info.shape, piece, info.dtype)
            for chunk in _stored(reader, info, piece):
                if chunk.size:
                    writer.append_segment(np.ascontiguousarray(chunk))
                count(chunk.nbytes)
            writer.end_segment()
        else:
            values = reader.lookup_stored_slice(info.name, piece)
            writer.add_slice(info.name, info.shape, piece, values, info.dtype)
            count(values.nbytes)


def _stored(reader: TensorReader, info: TensorInfo, piece: TensorSlice) -> Iterator[Array]:
    """A stored slice, in chunks where the format has them."""
    if isinstance(reader, BundleReader):
        # The record of a slice is read like that of a tensor.
        yield from reader.chunks(encode_slice_key(encode_name(info.name), piece), CHUNK_BYTES)
    else:
        yield reader.lookup_stored_slice(info.name, piece)


def cut_anew(reader: TensorReader, cut: DenseCut, output: ShardedOutput, count: Count) -> None:
    """A dense tensor in other slices."""
    info = cut.info
    stored = list(info.slices) or [TensorSlice.full(len(info.shape))]
    spans = [piece.resolve(info.shape) for piece in stored]
    _check_cover(reader, info, spans)
    if is_plain(info.dtype) and all(_only_rows(span, info.shape) for span in (*spans, *cut.regions)):
        order = sorted(range(len(spans)), key=lambda at: spans[at].extents)
        rows = (chunk for at in order for chunk in _slice_or_whole(reader, info, stored[at]))
        _stream_rows(info, cut.regions, rows, output, count)
        return
    check_room(reader, info)
    for part, region in enumerate(cut.regions):
        values = np.empty(region.lengths, info.dtype.np)
        for piece, span in zip(stored, spans, strict=True):
            common = region.intersect(span)
            if common is not None:
                held = (
                    reader.lookup_stored_slice(info.name, piece) if info.slices else reader.lookup(info.name)
                )
                values[common.relative_to(region)] = held[common.relative_to(span)]
        output.of_part(part).add_slice(info.name, info.shape, region, values, info.dtype)
        count(values.nbytes)


def _slice_or_whole(reader: TensorReader, info: TensorInfo, piece: TensorSlice) -> Iterator[Array]:
    return _stored(reader, info, piece) if info.slices else reader.chunks(info.name, CHUNK_BYTES)


def _only_rows(region: TensorSlice, shape: Sequence[int]) -> bool:
    """Whether a region is whole rows."""
    return region.extents[1:] == tuple((0, size) for size in shape[1:])


def _check_cover(reader: TensorReader, info: TensorInfo, spans: Sequence[TensorSlice]) -> None:
    covered = sum(span.num_elements for span in spans)
    overlap = first_overlap(spans) is not None
    if overlap or covered != math.prod(info.shape):
        raise DataLossError.of(
            f"the slices of tensor '{info.name}' in '{reader.prefix}' "
            + ("overlap" if overlap else f"cover {covered} of its {math.prod(info.shape)} elements")
            + f": {', '.join(map(str, info.slices))}",
            name=info.name,
            path=reader.prefix,
            hint="A part was not saved, or its shard was not merged: it cannot be cut anew, only copied.",
        )


def _stream_rows(
    info: TensorInfo,
    regions: Sequence[TensorSlice],
    chunks: Iterable[Array],
    output: ShardedOutput,
    count: Count,
) -> None:
    """Rows in their order into one region after the other."""
    part, left = -1, 0
    for chunk in chunks:
        count(chunk.nbytes)
        while len(chunk) or left == 0:
            if left == 0:
                if part >= 0:
                    output.of_part(part).end_segment()
                part += 1
                if part == len(regions):
                    return
                left = regions[part].extents[0][1]
                output.of_part(part).add_slice_header(info.name, info.shape, regions[part], info.dtype)
                if left == 0:
                    break  # the only region, of an empty tensor
            taken = min(left, len(chunk))
            if taken:
                output.of_part(part).append_segment(np.ascontiguousarray(chunk[:taken]))
            chunk, left = chunk[taken:], left - taken
    output.of_part(part).end_segment()
