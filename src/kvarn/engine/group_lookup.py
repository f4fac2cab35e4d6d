"""Rows of many tables looked up and combined in one call.

`reference` says in NumPy what `combined` does in native code, number by number; it also serves tables that are
not native.

Source: tensorflow/core/kernels/group_embedding/group_embedding_lookup_sparse_forward_ops.cc of DeepRec.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kvarn import _native

_FloatArray = npt.NDArray[np.float32]

COMBINERS: Final = ("sum", "mean", "sqrtn")


@dataclass(frozen=True, slots=True)
class Lookup:
    """One of the lookups of a group.

    Attributes:
      read: the rows [u, dim] of distinct keys [u].
      dim: elements of a row.
      keys: int64 or int32 [n].
      segments: int64 [n], the output row that each key's row is added to; in range.
      weights: float32 [n], what each row is multiplied with, or None.
      num_segments: rows of the output.
    """

    read: Callable[[npt.NDArray[Any]], _FloatArray]
    dim: int
    keys: npt.NDArray[Any]
    segments: npt.NDArray[np.int64]
    weights: _FloatArray | None
    num_segments: int


@dataclass(frozen=True, slots=True)
class Combined:
    """What a lookup gave.

    Attributes:
      rows: float32 [num_segments, dim].
      unique_keys: [u] in order of first occurrence.
      unique_idx: int32 [n], the place of each key among them.
    """

    rows: _FloatArray
    unique_keys: npt.NDArray[Any]
    unique_idx: npt.NDArray[np.int32]


def reference(lookups: Sequence[Lookup], combiner: str, max_norm: float = -1.0) -> list[Combined]:
    """The distinct keys' rows, cut to a norm of ``max_norm`` if that is not negative, added up by segment.

    Rows are added in order of the keys, in float32; "mean" divides a sum by the number of its rows, "sqrtn" by
    the root of that number.  A segment without keys is zeros.
    """
    found = []
    for one in lookups:
        unique_keys, unique_idx = _native.unique(np.ascontiguousarray(one.keys))
        rows = limited(one.read(unique_keys), max_norm)
        added = rows[unique_idx]
        if one.weights is not None:
            added = added * one.weights[:, None]
        out = _native.unsorted_segment_sum(np.ascontiguousarray(added), one.segments, one.num_segments)
        if combiner != "sum":
            counts = np.bincount(one.segments, minlength=one.num_segments)
            out /= divisors(counts, combiner)[:, None]
        found.append(Combined(out, unique_keys, unique_idx))
    return found


def limited(rows: _FloatArray, max_norm: float) -> _FloatArray:
    """Rows with an Euclidean norm of at most ``max_norm``; as they are if that is negative."""
    if max_norm < 0:
        return rows
    norms = np.sqrt(np.sum(rows * rows, axis=1, keepdims=True))
    scale = np.where(norms > max_norm, np.float32(max_norm) / np.maximum(norms, np.float32(1e-38)), 1)
    return (rows * scale.astype(np.float32)).astype(np.float32)


def divisors(counts: npt.NDArray[np.int64], combiner: str) -> _FloatArray:
    """What sums of ``counts`` rows are divided by: float32, 1 where there are none."""
    some = np.maximum(counts, 1).astype(np.float32)
    return some if combiner == "mean" else np.sqrt(some)
