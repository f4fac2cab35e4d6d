"""Rows of many tables looked up and combined in one call.

`reference` says in NumPy what `combined` does in native code, number by number; it also serves tables that are
not native.

Source: tensorflow/core/kernels/group_embedding/group_embedding_lookup_sparse_forward_ops.cc of DeepRec.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kvarn import _native
from kvarn.engine import arguments
from kvarn.engine.table import EmbeddingTable

_FloatArray = npt.NDArray[np.float32]

COMBINERS: Final = ("sum", "mean", "sqrtn")


@dataclass(frozen=True, slots=True)
class Source:
    """A native table as native code reads it.

    Attributes:
      create: missing keys are created, as `EmbeddingTable.lookup_or_create` does; else only read.
    """

    table: EmbeddingTable
    slot: int
    create: bool


@dataclass(frozen=True, slots=True)
class Lookup:
    """One of the lookups of a group: ids in the places of a sparse matrix.

    Attributes:
      read: the rows [u, dim] of distinct keys [u].
      source: the table that does what ``read`` does, if it is native; None if not.
      dim: elements of a row.
      keys: int64 or int32 [n].
      indices: int64 [n, rank], rank 1 or more: the row of each key, its column, …
      shape: (rows,): the keys of a row are combined; (rows, columns): every place stays by itself.
      weights: float32 [n], what each row is multiplied with, or None.
    """

    read: Callable[[npt.NDArray[Any]], _FloatArray]
    source: Source | None
    dim: int
    keys: npt.NDArray[Any]
    indices: npt.NDArray[np.int64]
    shape: tuple[int, ...]
    weights: _FloatArray | None


@dataclass(frozen=True, slots=True)
class Combined:
    """What a lookup gave.

    Attributes:
      rows: float32 [*shape, dim].
      unique_keys: [u] in order of first occurrence.
      unique_idx: int32 [n], the place of each key among them.
      ends: int32 [rows], how many keys there are up to the end of each row.
    """

    rows: _FloatArray
    unique_keys: npt.NDArray[Any]
    unique_idx: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]


def combined(lookups: Sequence[Lookup], combiner: str, max_norm: float = -1.0) -> list[Combined]:
    """`reference`, in one native call for all lookups with a `Source`."""
    found: list[Combined | None] = [None] * len(lookups)
    native = [i for i, one in enumerate(lookups) if one.source is not None and max_norm < 0]
    if native:
        for i, answer in zip(native, _native_lookups([lookups[i] for i in native], combiner), strict=True):
            found[i] = answer
    for i, one in enumerate(lookups):
        if found[i] is None:
            (found[i],) = reference([one], combiner, max_norm)
    return [one for one in found if one is not None]


def _native_lookups(lookups: list[Lookup], combiner: str) -> list[Combined]:
    sources = [one.source for one in lookups if one.source is not None]
    rows = [np.empty((*one.shape, one.dim), np.float32) for one in lookups]
    ends = [np.empty(one.shape[0], np.int32) for one in lookups]
    places = [np.empty(one.keys.size, np.int32) for one in lookups]
    unique_keys = _native.group_lookup(
        [s.table._table for s in sources],
        [s.slot for s in sources],
        [s.create for s in sources],
        [np.ascontiguousarray(one.keys, np.int64) for one in lookups],
        [np.ascontiguousarray(one.indices) for one in lookups],
        [None if one.weights is None else np.ascontiguousarray(one.weights) for one in lookups],
        rows,
        ends,
        places,
        combiner,
    )
    return [
        Combined(out, keys.astype(one.keys.dtype, copy=False), idx, end)
        for one, out, keys, idx, end in zip(lookups, rows, unique_keys, places, ends, strict=True)
    ]


def reference(lookups: Sequence[Lookup], combiner: str, max_norm: float = -1.0) -> list[Combined]:
    """The distinct keys' rows, cut to a norm of ``max_norm`` if that is not negative, added up.

    Rows are added in order of the keys, in float32; "mean" divides the sum of a row by the number of its keys,
    "sqrtn" by the root of that number.  What has no keys is zeros.

    Raises:
      InvalidArgumentError: arrays that do not fit each other; no table has been touched then.
    """
    segments = [_segments(i, one) for i, one in enumerate(lookups)]
    found = []
    for one, into in zip(lookups, segments, strict=True):
        unique_keys, unique_idx = _native.unique(np.ascontiguousarray(one.keys))
        rows = limited(one.read(unique_keys), max_norm)
        added = rows[unique_idx]
        if one.weights is not None:
            added = added * one.weights[:, None]
        out = _native.unsorted_segment_sum(np.ascontiguousarray(added), into, math.prod(one.shape))
        counts = np.bincount(one.indices[:, 0], minlength=one.shape[0])
        # What stays by itself is divided by nothing.
        if combiner != "sum" and len(one.shape) == 1:
            out /= divisors(counts, combiner)[:, None]
        ends = np.cumsum(counts).astype(np.int32)
        found.append(Combined(out.reshape(*one.shape, one.dim), unique_keys, unique_idx, ends))
    return found


def _segments(i: int, one: Lookup) -> npt.NDArray[np.int64]:
    """For each key the place in the flat output that its row is added to."""
    n, rank = one.keys.size, len(one.shape)
    if one.indices.ndim != 2 or len(one.indices) != n or one.indices.shape[1] < rank:
        raise arguments.invalid(
            f"group_lookup: lookup {i} has indices of shape {list(one.indices.shape)} for {n} keys and {rank} "
            "dimensions"
        )
    if one.weights is not None and one.weights.shape != (n,):
        raise arguments.invalid(f"group_lookup: lookup {i} has {one.weights.size} weights for {n} keys")
    where = one.indices[:, :rank]
    if ((where < 0) | (where >= one.shape)).any():
        raise arguments.invalid(
            f"group_lookup: lookup {i} has indices outside of its shape {list(one.shape)}"
        )
    into = where[:, 0] if rank == 1 else where[:, 0] * one.shape[1] + where[:, 1]
    return np.ascontiguousarray(into)


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
