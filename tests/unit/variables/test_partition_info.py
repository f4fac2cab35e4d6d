"""What an initializer is told about the part that it makes."""

from __future__ import annotations

from typing import Any

import pytest

from kvarn.variables.variable_store import _iter_slices, _PartitionInfo


def test_offset_along_the_cut_dimension() -> None:
    info = _PartitionInfo([9, 3], [6, 0])
    assert info.single_slice_dim([3, 3]) == 0
    assert info.single_offset([3, 3]) == 6
    assert _PartitionInfo([9, 3], [0, 0]).single_slice_dim([9, 3]) is None
    assert _PartitionInfo([9, 3], [0, 0]).single_offset([9, 3]) == 0


@pytest.mark.parametrize("shape", [[9, 3, 1], [4, 3], [1, 1]], ids=["rank", "beyond", "two dimensions"])
def test_shapes_that_are_no_part(shape: list[int]) -> None:
    with pytest.raises(ValueError, match="shape"):
        _PartitionInfo([9, 3], [6, 0]).single_slice_dim(shape)


@pytest.mark.parametrize(("full", "offset"), [([9], [9]), ([9], [-1]), ([9, 3], [1]), ("9", [1]), ([9], 1)])
def test_offsets_outside(full: Any, offset: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        _PartitionInfo(full, offset)


def test_slices_cover_the_whole_without_overlap() -> None:
    for length in range(1, 12):
        for parts in range(1, length + 1):
            slices = list(_iter_slices([2, length], parts, 1))
            covered = [i for offset, shape in slices for i in range(offset[1], offset[1] + shape[1])]
            assert covered == list(range(length))
            sizes = [shape[1] for _, shape in slices]
            assert sizes == sorted(sizes, reverse=True)
            assert max(sizes) - min(sizes) <= 1
