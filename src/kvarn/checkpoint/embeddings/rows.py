"""What an embedding table gives out: rows as they come, of some keys, or all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EmbeddingChunk:
    """Some admitted rows.

    Attributes:
      keys: int32 or int64 [c].
      values: [c, dim].
      slots: [c, dim of the slot] by slot name; row i belongs to ``keys[i]``.
      freqs, versions: int64 [c]; None where the file has none.
      partition: number of the part.
    """

    keys: Array
    values: Array
    slots: dict[str, Array]
    freqs: Int64s | None
    versions: Int64s | None
    partition: int


@dataclass(frozen=True, slots=True)
class FilteredChunk:
    """Some keys that a filter had not admitted: they have no values.

    Attributes:
      keys: int32 or int64 [c].
      freqs, versions: int64 [c]; None where the file has none.
      partition: number of the part.
    """

    keys: Array
    freqs: Int64s | None
    versions: Int64s | None
    partition: int


@dataclass(frozen=True, slots=True)
class EmbeddingRows:
    """Rows of the keys that were asked for, in their order.

    Attributes:
      found: bool [k].  Where it is False the rest holds zeros, and -1 for the version.
      values: [k, dim].
      slots: [k, dim of the slot] by slot name.
      freqs, versions: int64 [k]; None where the file has none.
      partitions: int64 [k], numbers of the parts; -1 where nothing was found.
    """

    found: npt.NDArray[np.bool_]
    values: Array
    slots: dict[str, Array]
    freqs: Int64s | None
    versions: Int64s | None
    partitions: Int64s


@dataclass(frozen=True, slots=True)
class EmbeddingArrays:
    """A whole embedding variable in memory, part after part; see `EmbeddingChunk`."""

    keys: Array
    values: Array
    slots: dict[str, Array]
    freqs: Int64s | None
    versions: Int64s | None
    partitions: Int64s
    keys_filtered: Array
    freqs_filtered: Int64s | None
    versions_filtered: Int64s | None
