"""A whole V2 index at once, in columns: what lists many tensors and reads them together works on arrays.

The columns come from native code, which knows entries as nearly all are; `BundleEntry.parse` says how, and
parses the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kvarn import _native
from kvarn.formats.bundle.entry import HEADER_KEY, BundleEntry
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.table.reader import Table


class IndexColumns:
    """Every record but the header, one row each, sorted by key.

    Args:
      table: the index.
      parse: what `BundleEntry.parse` does with a key's value, raising an error that names the file.

    Attributes:
      keys: of tensors and of stored slices.
      dtype, shape, num_elements, shard_id, offset, size, crc32c: the fields of plain entries, as `BundleEntry`
        has them; ``num_elements`` is -1 for the others.
      others: the entries of the other rows: tensors kept in slices, and unusual messages.
    """

    def __init__(self, table: Table, parse: Callable[[bytes, bytes], BundleEntry]) -> None:
        keys, values = table.records()
        if keys[:1] == [HEADER_KEY]:
            del keys[0], values[0]
        self.keys = keys
        columns = _native.parse_entries(values)
        self.dtype, self.shape, self.num_elements, self.shard_id, self.offset, self.size, self.crc32c = (
            columns
        )
        self.others: dict[int, BundleEntry] = {
            row: parse(keys[row], values[row]) for row in np.flatnonzero(self.num_elements < 0).tolist()
        }

    def entry(self, row: int) -> BundleEntry:
        """The entry of a row, the caller's own."""
        shape = self.shape[row]
        if shape is None:
            other = self.others[row]
            return dataclasses.replace(other, slices=list(other.slices), hash_slices=list(other.hash_slices))
        return BundleEntry(
            int(self.dtype[row]),
            shape,
            int(self.shard_id[row]),
            int(self.offset[row]),
            int(self.size[row]),
            int(self.crc32c[row]),
        )

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """The rows of tensors: those of stored slices are left out."""
        hidden = {
            encode_slice_key(self.keys[row], piece)
            for row, entry in self.others.items()
            for piece in entry.slices
        }
        if not hidden:
            return np.arange(len(self.keys))
        return np.array([row for row, key in enumerate(self.keys) if key not in hidden], np.int64)

    @cached_property
    def names(self) -> list[str]:
        """The names of the tensors, in the order of `rows`."""
        keys: Iterable[bytes] = self.keys
        if len(self.rows) != len(self.keys):
            keys = map(self.keys.__getitem__, self.rows.tolist())
        return [key.decode("utf-8", "surrogateescape") for key in keys]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row by name of a tensor."""
        return dict(zip(self.names, self.rows.tolist(), strict=True))
