"""Chains of full saves and increments made of a dictionary, without graph or table: for tests of what reads them.

model = TableModel(slots={"": 2, "/Adagrad": 2})
files = ChainFiles(fs, "m", model)
model.put(5, 1.0)
files.save(step=10, full=True, parts=2)
model.remove(5)
files.save(step=20)
model.states[20]                      what a restore of step 20 has to give
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvarn.formats import embedding
from kvarn.formats import embedding_increment as increment
from kvarn.formats import manifest as manifests
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.bundle.naming import index_filename
from kvarn.formats.manifest import FULL, INCREMENT, Manifest, Parent, VariableCounts
from kvarn.io import FileSystem


@dataclass(frozen=True, slots=True)
class Row:
    """What a table has of a key: ``value`` in all its columns, of which slot number s has value + s; None: a
    filter has not admitted it."""

    value: float | None
    freq: int
    version: int


State = dict[int, Row]


class TableModel:
    """An embedding variable as a dictionary, which knows what was touched when.

    Args:
      name: of the variable.
      slots: its slots (``""`` is the variable itself) and their dims.
      key_dtype: int32 or int64.

    Attributes:
      rows: key -> `Row`.
      touched: key -> time of the last touch.
    """

    def __init__(
        self,
        name: str = "b",
        slots: Mapping[str, int] | None = None,
        key_dtype: Any = np.int64,
    ) -> None:
        self.name = name
        self.slots = dict(slots or {"": 2, "/Adagrad": 2})
        self.key_dtype = np.dtype(key_dtype)
        self.rows: State = {}
        self.touched: dict[int, int] = {}
        self.time = 0

    def put(self, key: int, value: float | None, freq: int = 1, version: int = 0) -> None:
        """Sets a row; without a value a record of a filter."""
        self.rows[key] = Row(value, freq, version)
        self.touched[key] = self.time

    def remove(self, key: int) -> None:
        """Evicts a key."""
        self.rows.pop(key, None)
        self.touched[key] = self.time


class ChainFiles:
    """Writes saves of a model into a folder.

    Args:
      folder: of the full saves; increments go to ``.incremental_checkpoint`` below it.
      chain: 32 hex digits.
    """

    def __init__(self, fs: FileSystem, folder: str, model: TableModel, chain: str = "0" * 32) -> None:
        self.fs = fs
        self.folder = folder
        self.model = model
        self.chain = chain
        self.states: dict[int, State] = {}
        self._number = 0
        self._last: tuple[Parent, int] | None = None
        self._full: tuple[Parent, int] | None = None
        fs.make_directory(folder)
        fs.make_directory(os.path.join(folder, increment.FOLDER))

    def save(self, step: int, *, full: bool = False, parts: int = 0, cumulative: bool = False) -> str:
        """Writes the model; its prefix.

        Args:
          parts: of the variable, 0 for unpartitioned.
          cumulative: an increment since the last full save, not since the last save.
        """
        model = self.model
        base = None if full else (self._full if cumulative else self._last)
        assert full or base is not None, "an increment needs a full save before"
        if full:
            prefix = os.path.join(self.folder, f"model.ckpt-{step}")
        else:
            prefix = os.path.join(self.folder, increment.FOLDER, f"{increment.BASENAME}-{step}")
        since = -1 if base is None else base[1]
        touched = [key for key, time in model.touched.items() if full or time > since]
        variables: dict[str, VariableCounts] = {}
        with BundleWriter(prefix, self.fs) as writer:
            for stem, buckets in self._stems(parts):
                own = [key for key in touched if key % 1000 % max(1, parts) == buckets]
                for number, (slot, dim) in enumerate(model.slots.items()):
                    write = self._full_table if full else self._increment
                    variables[stem + slot] = write(writer, stem + slot, own, dim, number)
            writer.add("global_step", np.int64(step))
        self._number += 1
        parent = (self._last if full else base) or (None, 0)
        first = parent[0].step if parent[0] is not None else None
        manifest = Manifest(
            self.chain,
            self._number,
            FULL if full else INCREMENT,
            cumulative and not full,
            parent[0],
            (first, step),
            manifests.digest(manifests.read_bounded(index_filename(prefix), self.fs)),
            variables,
        )
        digest = manifests.write_manifest(prefix, manifest, self.fs)
        self._last = (Parent(self._number, manifest.kind, step, digest), model.time)
        if full:
            self._full = self._last
        model.time += 1
        self.states[step] = dict(model.rows)
        return prefix

    def _stems(self, parts: int) -> Iterable[tuple[str, int]]:
        if not parts:
            return [(self.model.name, 0)]
        return [(embedding.part_name(self.model.name, part), part) for part in range(parts)]

    def _full_table(
        self, writer: BundleWriter, stem: str, own: list[int], dim: int, slot: int
    ) -> VariableCounts:
        rows = self.model.rows
        keys = self._keys(key for key in own if key in rows and rows[key].value is not None)
        filtered = self._keys(key for key in own if key in rows and rows[key].value is None)
        embedding.write_embedding(
            writer,
            stem,
            keys,
            self._values(keys, dim, slot),
            dim=dim,
            versions=self._versions(keys),
            freqs=self._freqs(keys),
            keys_filtered=filtered,
            versions_filtered=self._versions(filtered),
            freqs_filtered=self._freqs(filtered),
        )
        return VariableCounts(len(keys), len(filtered), 0, ("freqs", "versions"))

    def _increment(
        self, writer: BundleWriter, stem: str, own: list[int], dim: int, slot: int
    ) -> VariableCounts:
        rows = self.model.rows
        keys = self._keys(key for key in own if key in rows and rows[key].value is not None)
        filtered = self._keys(key for key in own if key in rows and rows[key].value is None)
        removed = self._keys(key for key in own if key not in rows)
        increment.write_increment(
            writer,
            stem,
            keys,
            self._values(keys, dim, slot),
            dim=dim,
            versions=self._versions(keys),
            freqs=self._freqs(keys),
            removed_keys=removed,
            keys_filtered=filtered,
            versions_filtered=self._versions(filtered),
            freqs_filtered=self._freqs(filtered),
        )
        return VariableCounts(len(keys), len(filtered), len(removed), ("freqs", "versions"))

    def _keys(self, keys: Iterable[int]) -> Any:
        return np.array(sorted(keys, key=lambda key: (key % 1000, key)), self.model.key_dtype)

    def _values(self, keys: Any, dim: int, slot: int) -> Any:
        values = [float(self.model.rows[key].value or 0) + slot for key in keys.tolist()]
        return np.repeat(np.array(values, np.float32)[:, None], dim, axis=1)

    def _versions(self, keys: Any) -> Any:
        return np.array([self.model.rows[key].version for key in keys.tolist()], np.int64)

    def _freqs(self, keys: Any) -> Any:
        return np.array([self.model.rows[key].freq for key in keys.tolist()], np.int64)


def stored_state(prefix: str, model: TableModel, fs: FileSystem | None = None) -> State:
    """The variable of a full checkpoint as a dictionary; its slots are held to what `Row` says of them."""
    state: State = {}
    with BundleReader(prefix, fs) as reader:
        stems = [name.removesuffix(embedding.KEYS) for name in list(reader.keys())]
        parts = re.compile(re.escape(model.name) + r"(/part_\d+)?\Z")
        for stem in filter(parts.match, stems):
            for number, slot in enumerate(model.slots):
                keys = reader.lookup(stem + slot + embedding.KEYS).tolist()
                values = reader.lookup(stem + slot + embedding.VALUES)
                versions = reader.lookup(stem + slot + embedding.VERSIONS).tolist()
                freqs = reader.lookup(stem + slot + embedding.FREQS).tolist()
                for at, key in enumerate(keys):
                    row = Row(float(values[at, 0]) - number, freqs[at], versions[at])
                    assert (values[at] == values[at, 0]).all()
                    assert state.setdefault(key, row) == row, (key, slot)
                filtered = reader.lookup(stem + slot + embedding.KEYS_FILTERED).tolist()
                versions = reader.lookup(stem + slot + embedding.VERSIONS_FILTERED).tolist()
                freqs = reader.lookup(stem + slot + embedding.FREQS_FILTERED).tolist()
                for key, freq, version in zip(filtered, freqs, versions, strict=True):
                    row = Row(None, freq, version)
                    assert state.setdefault(key, row) == row, (key, slot)
                assert len(set(keys) | set(filtered)) == len(keys) + len(filtered)
    return state
