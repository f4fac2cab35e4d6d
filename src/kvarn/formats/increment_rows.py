"""The rows of ordinary variables in an increment, for tensors that are cut in other parts.

    w/part_0-sparse_incr_keys, -sparse_incr_values     rows of one part, numbered in it
    manifest                                           of which tensor and slice they are: w, "40 2 0,20:0,2"

Without a manifest, as DeepRec writes increments, a part's rows are found by its name alone.

Source of the names: kvarn.formats.embedding_increment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.errors import NotFoundError, OpError
from kvarn.formats.embedding_increment import KEYS, VALUES, not_found
from kvarn.formats.manifest import read_manifest
from kvarn.formats.reader import TensorReader
from kvarn.formats.tensor_slice import TensorSlice, parse_shape_and_slice


def rows_of_tensor(reader: TensorReader, name: str, tensor: str, part: str) -> dict[str, str]:
    """The names under which an increment has rows of a tensor, and of which slice of it each has them.

    Args:
      name: of the variable or part that wants them.
      tensor: the tensor that it is, or is a part of.
      part: which slice, as shape_and_slice; empty for all of it.

    Raises:
      NotFoundError: there are none.
    """
    try:
        manifest, _ = read_manifest(reader.prefix)
        found = {stem: rows.slice for stem, rows in manifest.rows.items() if rows.tensor == tensor}
    except NotFoundError:
        found = {}
    if not found and reader.contains(name + KEYS):
        found = {name: part}
    if not found:
        raise not_found(reader, name)
    return found


def put_rows(
    values: npt.NDArray[Any],
    region: TensorSlice,
    full_shape: tuple[int, ...],
    reader: TensorReader,
    stem: str,
    part: str,
    unfit: Callable[[str], OpError],
    *,
    passes_over_rows_beyond: bool = False,
) -> None:
    """Puts the rows of ``stem`` that lie in a region of a tensor into the values of that region.

    Args:
      values: of the region; changed in place.
      full_shape: of the tensor.
      part: the slice that ``stem`` has rows of, as shape_and_slice; empty for the whole tensor.
      unfit: makes the error to raise of what does not fit.
      passes_over_rows_beyond: whether rows that the slice has not are left out, and not unfit.
    """
    own = TensorSlice.of_shape(full_shape)
    if part:
        shape, parsed, _ = parse_shape_and_slice(part)
        if tuple(shape) != tuple(full_shape):
            raise unfit(f"it is of {list(shape)}, the tensor has {list(full_shape)}")
        own = parsed.resolve(full_shape)
    if own.intersect(region) is None:
        return
    if own.extents[1:] != region.extents[1:]:
        raise unfit("the tensor is cut along another axis there")
    numbers = reader.lookup(stem + KEYS)
    new = reader.lookup(stem + VALUES)
    if new.shape != (numbers.size, *values.shape[1:]) or new.dtype != values.dtype:
        raise unfit(f"rows are {new.dtype}{list(new.shape[1:])}")
    start, length = region.extents[0]
    own_start, own_length = own.extents[0]
    there = (numbers >= 0) & (numbers < own_length)
    if not (passes_over_rows_beyond or there.all()):
        raise unfit(f"it has a row beyond its {own_length}")
    at = numbers.astype(np.int64) + own_start - start
    inside = there & (at >= 0) & (at < length)
    values[at[inside]] = new[inside]
