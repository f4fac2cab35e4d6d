"""What the shards of a V1 checkpoint say of one tensor, all together.

Source: tensorflow/core/util/tensor_slice_set.cc.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from kvarn import dtypes
from kvarn.errors import InternalError
from kvarn.formats.elements import message_name
from kvarn.formats.names import decode_name
from kvarn.formats.slices_v1.format import SliceMeta
from kvarn.formats.tensor_slice import TensorSlice, first_overlap, print_shape

# Up to this many slices are compared one by one, more at once.
_FEW_SLICES = 8


@dataclass(slots=True)
class StoredTensor:
    """What the shards say of a tensor.

    Attributes:
      slices: as they were saved; `shards` say where each is, `spans` are the same in numbers, after `check`.
      refused: why the tensor cannot be read, when what is said of it cannot be; else empty.
    """

    name: bytes
    dtype: int
    shape: tuple[int, ...]
    slices: list[TensorSlice] = field(default_factory=list)
    spans: list[TensorSlice] = field(default_factory=list)
    shards: list[int] = field(default_factory=list)
    refused: str = ""

    def add(self, meta: SliceMeta, shard: int) -> None:
        """Registers the slices of one shard; what does not fit is remembered for `check`."""
        if meta.shape != self.shape:
            self.refused = (
                f"Incompatible tensor shapes detected for tensor {decode_name(self.name)}: "
                f"existing = {print_shape(self.shape)}, new = {print_shape(meta.shape)}"
            )
        elif meta.dtype != self.dtype:
            self.refused = (
                f"Incompatible tensor types detected for tensor {decode_name(self.name)}: "
                f"existing = {_type_name(self.dtype)}, new = {_type_name(meta.dtype)}"
            )
        else:
            self.slices += meta.slices
            self.shards += [shard] * len(meta.slices)

    def check(self, prefix: str) -> None:
        """Looks at slices that were added; raises InternalError if they contradict the tensor or each other."""
        if not self.refused and len(self.spans) < len(self.slices):
            try:
                self.spans = [piece.resolve(self.shape) for piece in self.slices]
            except InternalError as error:
                self.refused = error.without_hint
            else:
                if (pair := first_overlap(self.spans)) is not None:
                    existing, new = (self.slices[at] for at in pair)
                    self.refused = f"Overlapping slices: existing slice = {existing}, new slice = {new}"
        if self.refused:
            text = decode_name(self.name)
            raise InternalError.of(
                f"{self.refused}\n  tensor '{text}' in '{prefix}'",
                name=text,
                path=prefix,
                hint="Files of different saves may lie side by side: keep those of one.",
            )

    def meeting(self, region: TensorSlice) -> list[tuple[int, TensorSlice]]:
        """Places of the slices that have a part of a region, and that part.  Needs `check`."""
        numbers: Iterable[int] = range(len(self.spans))
        if len(self.spans) > _FEW_SLICES:
            stored, wanted = (np.array([s.extents for s in of]) for of in (self.spans, [region]))
            meets = (stored[:, :, 0] < wanted.sum(axis=2)) & (wanted[:, :, 0] < stored.sum(axis=2))
            numbers = np.flatnonzero(meets.all(axis=1)).tolist()
        parts = ((number, region.intersect(self.spans[number])) for number in numbers)
        return [(number, part) for number, part in parts if part is not None]


def make_up(region: TensorSlice, parts: list[tuple[int, TensorSlice]]) -> bool:
    """Whether parts of a region that do not overlap are all of it."""
    return sum(part.num_elements for _, part in parts) == region.num_elements


def bands_of(tensor: StoredTensor) -> list[tuple[int, int]]:
    """The rows of a tensor in runs, such that every stored slice lies in one of them."""
    edges = sorted((start, start + length) for (start, length), *_ in (s.extents for s in tensor.spans))
    bands: list[tuple[int, int]] = []
    for start, stop in edges:
        if bands and start < bands[-1][1]:
            bands[-1] = (bands[-1][0], max(stop, bands[-1][1]))
        elif start < stop:
            bands.append((start, stop))
    whole = bands and bands[0][0] == 0 and bands[-1][1] == tensor.shape[0]
    joined = all(a[1] == b[0] for a, b in itertools.pairwise(bands))
    return bands if whole and joined else [(0, tensor.shape[0])]


def _type_name(number: int) -> str:
    try:
        return message_name(dtypes.as_dtype(number))
    except TypeError:
        return f"number {number}"
