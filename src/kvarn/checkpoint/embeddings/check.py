"""Whether the tensors of an embedding variable fit one another.

    lengths     values, frequencies, versions and filtered columns are as long as their keys; what one part
                has of them all parts have
    types       all keys, of slots and filtered ones too, are of one type
    keys        none twice, none both admitted and filtered, each in the part of its bucket
    offsets     1001 numbers that say where each bucket begins; rows lie grouped by bucket if there are any
    slots       every part has them, and their keys are those of the variable

Keys and offsets are read, one part at a time; values are not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.checkpoint import findings as kinds
from kvarn.checkpoint.embeddings.columns import KeyIndex, key_column, number_column
from kvarn.checkpoint.embeddings.table import EmbeddingTable
from kvarn.checkpoint.findings import Finding
from kvarn.errors import OpError
from kvarn.formats import embedding

Array = npt.NDArray[Any]

# Keys that a text names.
_NAMED = 5


def check_table(table: EmbeddingTable) -> list[Finding]:
    """Everything that does not fit; see `EmbeddingTable.check`."""
    return _Check(table).run()


class _Check:
    def __init__(self, table: EmbeddingTable) -> None:
        self._table = table
        self._findings: list[Finding] = []

    def run(self) -> list[Finding]:
        table = self._table
        for part, stem in enumerate(table.stems):
            keys = self._check_family(part, stem)
            for slot, stems in table.slot_stems.items():
                own_stem = stems[part]
                if own_stem is None:
                    self._find(f"{stem}/{slot}", f"part {part} of slot '{slot}' is missing")
                    continue
                own = self._check_family(part, own_stem)
                if keys is not None and own is not None:
                    self._compare(own_stem, own, stem, keys)
        return self._findings

    def _check_family(self, part: int, stem: str) -> Array | None:
        """The tensors of one stem; its keys, or None if they cannot be read."""
        keys = self._check_keys(part, stem, "admitted")
        filtered = self._check_keys(part, stem, "filtered")
        if keys is not None and filtered is not None and len(filtered):
            both = filtered[KeyIndex(keys).places(filtered) >= 0]
            self._name_keys(stem + embedding.KEYS_FILTERED, "has keys that are admitted too", both)
        return keys

    def _check_keys(self, part: int, stem: str, which: str) -> Array | None:
        admitted = which == "admitted"
        name = stem + (embedding.KEYS if admitted else embedding.KEYS_FILTERED)
        if not self._table.reader.contains(name):
            return None  # an older era of the format, which had no filtered keys
        try:
            keys = key_column(self._table.reader, name)
        except OpError as error:
            self._findings.append(Finding.of_error(kinds.EMBEDDING, error, name))
            return None
        if admitted:
            columns = (embedding.VERSIONS, embedding.FREQS)
            offsets = embedding.PARTITION_OFFSET
        else:
            columns = (embedding.VERSIONS_FILTERED, embedding.FREQS_FILTERED)
            offsets = embedding.PARTITION_FILTER_OFFSET
        if keys.dtype != (wanted := self._table.key_dtype.np):
            self._find(name, f"'{name}' are {keys.dtype}, the keys of '{self._table.name}' {wanted}")
        kept = {embedding.FREQS: self._table.has_freqs, embedding.VERSIONS: self._table.has_versions}
        for suffix in columns:
            try:
                column = number_column(self._table.reader, stem + suffix, len(keys))
                if column is None and len(keys) and stem in self._table.stems and kept.get(suffix):
                    self._find(stem + suffix, f"'{stem}{suffix}' is empty, that of another part is not")
            except OpError as error:
                self._findings.append(Finding.of_error(kinds.EMBEDDING, error, stem + suffix))
        self._name_keys(name, "has keys twice", KeyIndex(keys).repeated())
        if self._table.partitioned:
            parts = self._table.num_partitions
            strangers = keys[embedding.part_of(keys, parts) != part]
            self._name_keys(name, f"has keys that are not of part {part} of {parts}", strangers)
        self._check_offsets(stem + offsets, name, keys)
        return keys

    def _check_offsets(self, name: str, keys_name: str, keys: Array) -> None:
        reader = self._table.reader
        if not reader.contains(name):
            return
        try:
            offsets = reader.lookup(name)
        except OpError as error:
            self._findings.append(Finding.of_error(kinds.EMBEDDING, error, name))
            return
        length = embedding.SAVED_PARTITION_NUM + 1
        if offsets.shape != (length,) or offsets.dtype != np.int32:
            self._find(name, f"'{name}' is {offsets.dtype}{list(offsets.shape)}, not int32 [{length}]")
            return
        falls = np.flatnonzero(np.diff(offsets) < 0)
        if len(falls):
            at = int(falls[0])
            self._find(name, f"'{name}' falls from {offsets[at]} to {offsets[at + 1]} at bucket {at}")
            return
        if offsets[0] != 0 or offsets[-1] != len(keys):
            self._find(name, f"'{name}' goes from {offsets[0]} to {offsets[-1]}, not from 0 to {len(keys)}")
            return
        said = np.repeat(np.arange(length - 1), np.diff(offsets))
        wrong = np.flatnonzero(embedding.bucket_of(keys) != said)
        if len(wrong):
            row = int(wrong[0])
            self._find(
                name,
                f"'{name}' puts {len(wrong)} of the {len(keys)} rows of '{keys_name}' into a wrong bucket: "
                f"row {row}, key {keys[row]}, into bucket {said[row]}",
            )

    def _compare(self, slot_stem: str, own: Array, stem: str, keys: Array) -> None:
        if np.array_equal(own, keys):
            return
        lacking = keys[KeyIndex(own).places(keys) < 0]
        surplus = own[KeyIndex(keys).places(own) < 0]
        name = slot_stem + embedding.KEYS
        self._name_keys(name, f"lacks keys of '{stem}'", lacking)
        self._name_keys(name, f"has keys that '{stem}' has not", surplus)

    def _name_keys(self, name: str, what: str, keys: Array) -> None:
        if len(keys):
            more = ", …" if len(keys) > _NAMED else ""
            named = ", ".join(map(str, keys[:_NAMED].tolist()))
            self._find(name, f"'{name}' {what}: {len(keys)}: {named}{more}")

    def _find(self, name: str, text: str) -> None:
        self._findings.append(Finding(kinds.EMBEDDING, text, name, self._table.reader.prefix))
