"""What an embedding table does, in plain NumPy and a dict: the specification of `kvarn.engine.table`.

Slow and short on purpose. Where both differ, the native table is wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.engine import arguments

_FloatArray = npt.NDArray[np.float32]
_Int64Array = npt.NDArray[np.int64]


class _Entry:
    """Everything a table keeps for one key."""

    __slots__ = ("freq", "rows", "version")

    def __init__(self, rows: list[_FloatArray]) -> None:
        self.rows = rows  # one [dim] per slot
        self.freq = 0
        self.version = -1

    def copy(self) -> _Entry:
        other = _Entry([row.copy() for row in self.rows])
        other.freq, other.version = self.freq, self.version
        return other


class ReferenceEmbeddingTable:
    """`kvarn.engine.table.EmbeddingTable`, method for method."""

    def __init__(
        self,
        key_dtype: npt.DTypeLike,
        value_dim: int,
        *,
        record_freq: bool = False,
        record_version: bool = False,
    ) -> None:
        self.key_dtype = arguments.key_dtype(key_dtype)
        self.value_dim = arguments.dimension("value_dim", value_dim)
        self.record_freq = record_freq
        self.record_version = record_version
        self._slots: list[tuple[str, int]] = [("", self.value_dim)]
        self._defaults: list[_FloatArray] = [np.zeros((1, self.value_dim), np.float32)]
        self._entries: dict[int, _Entry] = {}

    def add_slot(self, name: str, dim: int, default: npt.ArrayLike) -> int:
        dim = arguments.dimension("dim", dim)
        self._defaults.append(arguments.defaults(default, dim).copy())
        self._slots.append((name, dim))
        slot = len(self._slots) - 1
        for key, entry in self._entries.items():
            entry.rows.append(self._default_row(slot, key))
        return slot

    def set_default(self, slot: int, matrix: npt.ArrayLike) -> None:
        dim = arguments.slot(slot, self._slots)
        self._defaults[slot] = arguments.defaults(matrix, dim).copy()

    @property
    def size(self) -> int:
        return len(self._entries)

    @property
    def slots(self) -> list[tuple[str, int]]:
        return list(self._slots)

    @property
    def memory_bytes(self) -> int:
        return len(self._entries) * (24 + 4 * sum(dim for _, dim in self._slots))

    def lookup_or_create(
        self, keys: npt.ArrayLike, out: _FloatArray | None = None, *, slot: int = 0
    ) -> _FloatArray:
        flat, out, rows = self._reading(keys, out, slot)
        for i, key in enumerate(flat.tolist()):
            entry = self._find_or_create(key)
            entry.freq += self.record_freq
            rows[i] = entry.rows[slot]
        return out

    def lookup(self, keys: npt.ArrayLike, out: _FloatArray | None = None, *, slot: int = 0) -> _FloatArray:
        flat, out, rows = self._reading(keys, out, slot)
        for i, key in enumerate(flat.tolist()):
            entry = self._entries.get(key)
            rows[i] = self._default_row(slot, key) if entry is None else entry.rows[slot]
        return out

    def contains(self, keys: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        flat, shape = arguments.keys(keys, self.key_dtype)
        return np.array([key in self._entries for key in flat.tolist()], np.bool_).reshape(shape)

    def frequency(self, keys: npt.ArrayLike) -> _Int64Array:
        flat, shape = arguments.keys(keys, self.key_dtype)
        found = [self._entries.get(key) for key in flat.tolist()]
        return np.array([0 if entry is None else entry.freq for entry in found], np.int64).reshape(shape)

    def version(self, keys: npt.ArrayLike) -> _Int64Array:
        flat, shape = arguments.keys(keys, self.key_dtype)
        found = [self._entries.get(key) for key in flat.tolist()]
        return np.array([-1 if entry is None else entry.version for entry in found], np.int64).reshape(shape)

    def apply_gradient_descent(
        self, keys: npt.ArrayLike, grads: npt.ArrayLike, lr: float, *, step: int | None = None
    ) -> None:
        for entry, grad in self._updating(keys, grads, step):
            entry.rows[0] -= np.float32(lr) * grad

    def apply_adagrad(
        self,
        keys: npt.ArrayLike,
        grads: npt.ArrayLike,
        lr: float,
        accum_slot: int,
        *,
        step: int | None = None,
    ) -> None:
        dim = arguments.slot(accum_slot, self._slots)
        if accum_slot == 0 or dim != self.value_dim:
            raise arguments.invalid(
                f"apply_adagrad: slot {accum_slot} of {len(self._slots)} is no accumulator: "
                "expected a slot of the primary's dimension"
            )
        for entry, grad in self._updating(keys, grads, step):
            value, accum = entry.rows[0], entry.rows[accum_slot]
            accum += grad * grad
            value -= np.float32(lr) * grad / np.sqrt(accum)

    def import_rows(
        self,
        slot: int,
        keys: npt.ArrayLike,
        values: npt.ArrayLike,
        freqs: npt.ArrayLike | None = None,
        versions: npt.ArrayLike | None = None,
    ) -> None:
        flat, _ = arguments.keys(keys, self.key_dtype)
        rows = arguments.rows("values", values, flat.size, arguments.slot(slot, self._slots))
        freq_of = arguments.per_key("freqs", freqs, flat.size)
        version_of = arguments.per_key("versions", versions, flat.size)
        for i, key in enumerate(flat.tolist()):
            entry = self._find_or_create(key)
            entry.rows[slot] = rows[i].copy()
            if freq_of is not None and self.record_freq:
                entry.freq = int(freq_of[i])
            if version_of is not None and self.record_version:
                entry.version = int(version_of[i])

    def export(
        self, slot: int = 0, *, buckets: int = 1000
    ) -> tuple[npt.NDArray[Any], _FloatArray, _Int64Array, _Int64Array]:
        cut = self.snapshot(buckets=buckets)
        return cut.keys, cut.values(slot), cut.freqs, cut.versions

    def snapshot(self, *, buckets: int = 1000) -> ReferenceSnapshot:
        if buckets < 1:
            raise arguments.invalid(f"snapshot: {buckets} buckets, expected at least 1")
        return ReferenceSnapshot(self._entries, self.key_dtype, self.slots, buckets)

    def clear(self) -> None:
        self._entries.clear()

    def remove(self, keys: npt.ArrayLike) -> int:
        flat, _ = arguments.keys(keys, self.key_dtype)
        return sum(self._entries.pop(key, None) is not None for key in flat.tolist())

    def _default_row(self, slot: int, key: int) -> _FloatArray:
        matrix = self._defaults[slot]
        row: _FloatArray = matrix[abs(key) % len(matrix)]
        return row.copy()

    def _find_or_create(self, key: int) -> _Entry:
        if key not in self._entries:
            self._entries[key] = _Entry([self._default_row(s, key) for s in range(len(self._slots))])
        return self._entries[key]

    def _reading(
        self, keys: npt.ArrayLike, out: _FloatArray | None, slot: int
    ) -> tuple[_Int64Array, _FloatArray, _FloatArray]:
        flat, shape = arguments.keys(keys, self.key_dtype)
        dim = arguments.slot(slot, self._slots)
        if out is None:
            out = np.empty((*shape, dim), np.float32)
        else:
            arguments.output(out, (*shape, dim))
        return flat, out, out.reshape(flat.size, dim)

    def _updating(
        self, keys: npt.ArrayLike, grads: npt.ArrayLike, step: int | None
    ) -> list[tuple[_Entry, _FloatArray]]:
        """Every distinct key's entry, stamped, with its summed gradient."""
        flat, _ = arguments.keys(keys, self.key_dtype)
        rows = arguments.rows("grads", grads, flat.size, self.value_dim)
        sums: dict[int, _FloatArray] = {}
        for key, grad in zip(flat.tolist(), rows, strict=True):
            if key in sums:
                sums[key] += grad
            else:
                sums[key] = grad.copy()
        touched = []
        for key, total in sums.items():
            entry = self._find_or_create(key)
            if step is not None and self.record_version:
                entry.version = step
            touched.append((entry, total))
        return touched


class ReferenceSnapshot:
    """`kvarn.engine.table.Snapshot` as a deep copy."""

    def __init__(
        self, entries: dict[int, _Entry], key_dtype: np.dtype[Any], slots: list[tuple[str, int]], buckets: int
    ) -> None:
        self.slots = slots
        order = sorted(entries, key=lambda key: key % buckets)  # stable: inside a bucket by age
        self._entries = [entries[key].copy() for key in order]
        self.keys = np.array(order, key_dtype)
        counts = np.bincount([key % buckets for key in order], minlength=buckets)
        self.partition_offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)

    @property
    def size(self) -> int:
        return len(self._entries)

    @property
    def freqs(self) -> _Int64Array:
        return np.array([entry.freq for entry in self._entries], np.int64)

    @property
    def versions(self) -> _Int64Array:
        return np.array([entry.version for entry in self._entries], np.int64)

    def values(self, slot: int = 0, start: int = 0, stop: int | None = None) -> _FloatArray:
        dim = arguments.slot(slot, self.slots)
        rows = [entry.rows[slot] for entry in self._entries[start:stop]]
        return np.array(rows, np.float32).reshape(len(rows), dim)
