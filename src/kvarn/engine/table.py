"""The embedding table, native-backed: keys to entries of value and optimizer slots, batch in, batch out.

`kvarn.engine.reference.ReferenceEmbeddingTable` is the same class in plain NumPy and defines what each method
does; a test drives both side by side. Source: DeepRec tensorflow/core/framework/embedding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import _native
from kvarn.engine import arguments

_FloatArray = npt.NDArray[np.float32]
_Int64Array = npt.NDArray[np.int64]
_KeyArray = npt.NDArray[Any]


class EmbeddingTable:
    """Embeddings of one primary variable and its slot variables.

    An entry is a key, its value, one row for every optimizer slot and, if recorded, frequency and version. It
    is created as a whole, from the default-value matrix of every slot: slot s of key k starts as row
    ``abs(k) % R_s`` of the matrix of s. Every key of the dtype can be stored.

    Thread-safe: lookups that find all their keys run side by side, everything else takes turns. Batches are
    split over `kvarn._native.num_threads()` threads; results do not depend on their number.

    Args:
      key_dtype: int64 or int32.
      value_dim: floats of the primary value, slot 0. It starts from zeros until `set_default`.
      record_freq: count every lookup of a key.
      record_version: keep the step of a key's last update.

    Raises:
      InvalidArgumentError: a key dtype other than int64 and int32, or a dimension below 1.
    """

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
        self._table = _native.EmbeddingTable(record_freq, record_version)
        self._table.add_slot(np.zeros((1, self.value_dim), np.float32))

    def add_slot(self, name: str, dim: int, default: npt.ArrayLike) -> int:
        """Adds an optimizer slot and returns its number; the primary value is slot 0.

        Entries that exist get the new slot filled with its defaults.

        Args:
          name: the slot's name, for people.
          dim: floats of a row.
          default: float32 [R, dim], R >= 1.
        """
        dim = arguments.dimension("dim", dim)
        self._table.add_slot(arguments.defaults(default, dim))
        self._slots.append((name, dim))
        return len(self._slots) - 1

    def set_default(self, slot: int, matrix: npt.ArrayLike) -> None:
        """Replaces the default-value matrix [R, dim] of a slot, for entries to come."""
        self._table.set_default(slot, arguments.defaults(matrix, self._dim(slot)))

    @property
    def size(self) -> int:
        """Number of keys."""
        return self._table.size()

    @property
    def slots(self) -> list[tuple[str, int]]:
        """Name and dimension of every slot; the primary, slot 0, has an empty name."""
        return list(self._slots)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the index and of the entries, without snapshots."""
        return self._table.memory_bytes()

    def lookup_or_create(
        self, keys: npt.ArrayLike, out: _FloatArray | None = None, *, slot: int = 0
    ) -> _FloatArray:
        """The rows of `slot` for keys of any shape; missing keys are created.

        With `record_freq` every occurrence of a key counts once.

        Args:
          keys: [...] of the key dtype.
          out: float32 [..., dim] to write to, C-contiguous; a new array without it.

        Returns:
          `out`.
        """
        flat, out, rows = self._reading(keys, out, slot)
        self._table.lookup_or_create(flat, slot, rows)
        return out

    def lookup(self, keys: npt.ArrayLike, out: _FloatArray | None = None, *, slot: int = 0) -> _FloatArray:
        """As `lookup_or_create`, but a missing key stays missing and reads as the row it would start from."""
        flat, out, rows = self._reading(keys, out, slot)
        self._table.lookup(flat, slot, rows)
        return out

    def contains(self, keys: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which keys are in the table, in the shape of `keys`."""
        flat, shape = arguments.keys(keys, self.key_dtype)
        out = np.empty(flat.shape, np.bool_)
        self._table.contains(flat, out)
        return out.reshape(shape)

    def frequency(self, keys: npt.ArrayLike) -> _Int64Array:
        """How often each key was looked up; 0 when it is absent or frequencies are not recorded."""
        flat, shape = arguments.keys(keys, self.key_dtype)
        out = np.empty(flat.shape, np.int64)
        self._table.frequency(flat, out)
        return out.reshape(shape)

    def version(self, keys: npt.ArrayLike) -> _Int64Array:
        """The step of each key's last update; -1 when absent, never updated, or versions are not recorded."""
        flat, shape = arguments.keys(keys, self.key_dtype)
        out = np.empty(flat.shape, np.int64)
        self._table.version(flat, out)
        return out.reshape(shape)

    def apply_gradient_descent(
        self, keys: npt.ArrayLike, grads: npt.ArrayLike, lr: float, *, step: int | None = None
    ) -> None:
        """``v -= lr * g`` once for every distinct key, in float32.

        Missing keys are created first. Gradients of equal keys are summed in order of occurrence.

        Args:
          keys: [n] (or any shape, flattened).
          grads: float32 [n, value_dim].
          lr: the learning rate, rounded to float32.
          step: the version to stamp, when versions are recorded.
        """
        flat, rows = self._updating(keys, grads)
        self._table.apply_gradient_descent(flat, rows, lr, step)

    def apply_adagrad(
        self,
        keys: npt.ArrayLike,
        grads: npt.ArrayLike,
        lr: float,
        accum_slot: int,
        *,
        step: int | None = None,
    ) -> None:
        """``a += g * g; v -= lr * g / sqrt(a)`` once for every distinct key, in float32.

        Arguments as in `apply_gradient_descent`; `accum_slot` holds a and has dimension value_dim.
        """
        flat, rows = self._updating(keys, grads)
        arguments.slot(accum_slot, self._slots)
        self._table.apply_adagrad(flat, rows, lr, accum_slot, step)

    def import_rows(
        self,
        slot: int,
        keys: npt.ArrayLike,
        values: npt.ArrayLike,
        freqs: npt.ArrayLike | None = None,
        versions: npt.ArrayLike | None = None,
    ) -> None:
        """Overwrites `slot` of every key; a new key gets the defaults in its other slots.

        Args:
          slot: the slot's number.
          keys: [n]; the last of equal keys wins.
          values: float32 [n, dim of slot].
          freqs: int64 [n], kept when frequencies are recorded.
          versions: int64 [n], kept when versions are recorded.
        """
        flat, _ = arguments.keys(keys, self.key_dtype)
        rows = arguments.rows("values", values, flat.size, self._dim(slot))
        self._table.import_rows(
            slot,
            flat,
            rows,
            arguments.per_key("freqs", freqs, flat.size),
            arguments.per_key("versions", versions, flat.size),
        )

    def export(
        self, slot: int = 0, *, buckets: int = 1000
    ) -> tuple[_KeyArray, _FloatArray, _Int64Array, _Int64Array]:
        """Keys [n], rows [n, dim] of `slot`, frequencies [n] and versions [n], in the order of `snapshot`."""
        with self.snapshot(buckets=buckets) as cut:
            return cut.keys, cut.values(slot), cut.freqs, cut.versions

    def snapshot(self, *, buckets: int = 1000) -> Snapshot:
        """One consistent cut of all slots of all entries, see `Snapshot`.

        Args:
          buckets: the number of buckets that keys are ordered by.
        """
        if buckets < 1:
            raise arguments.invalid(f"snapshot: {buckets} buckets, expected at least 1")
        return Snapshot(self._table.snapshot(buckets), self.key_dtype, self.slots)

    def clear(self) -> None:
        """Forgets all keys; slots and default matrices stay."""
        self._table.clear()

    def remove(self, keys: npt.ArrayLike) -> int:
        """Forgets the keys given and returns how many of them were there."""
        flat, _ = arguments.keys(keys, self.key_dtype)
        return self._table.remove(flat)

    def _dim(self, slot: int) -> int:
        return arguments.slot(slot, self._slots)

    def _reading(
        self, keys: npt.ArrayLike, out: _FloatArray | None, slot: int
    ) -> tuple[_Int64Array, _FloatArray, _FloatArray]:
        flat, shape = arguments.keys(keys, self.key_dtype)
        dim = self._dim(slot)
        if out is None:
            out = np.empty((*shape, dim), np.float32)
        else:
            arguments.output(out, (*shape, dim))
        return flat, out, out.reshape(flat.size, dim)

    def _updating(self, keys: npt.ArrayLike, grads: npt.ArrayLike) -> tuple[_Int64Array, _FloatArray]:
        flat, _ = arguments.keys(keys, self.key_dtype)
        return flat, arguments.rows("grads", grads, flat.size, self.value_dim)


class Snapshot:
    """A table at one moment: keys by bucket, and the rows of every slot in the same order.

    It holds no lock. The table goes on working and copies the memory it changes, so what a snapshot shows
    never moves and neither side ever waits for the other. It costs 12 bytes a key plus the copies, all freed
    when it is released: by ``with``, by `release` or with its last reference. It outlives the table.
    """

    def __init__(
        self, native: _native.Snapshot, key_dtype: np.dtype[Any], slots: list[tuple[str, int]]
    ) -> None:
        self._native: _native.Snapshot | None = native
        self._key_dtype = key_dtype
        self.slots = slots

    @property
    def size(self) -> int:
        """Number of keys."""
        return len(self._open.keys)

    @property
    def keys(self) -> _KeyArray:
        """All keys [n] of the key dtype: by bucket ``key % buckets`` (never negative), inside it by age."""
        return self._open.keys.astype(self._key_dtype)

    @property
    def partition_offset(self) -> npt.NDArray[np.int32]:
        """Where each bucket begins in `keys`, and the end: [buckets + 1]."""
        return self._open.partition_offset.copy()

    @property
    def freqs(self) -> _Int64Array:
        """Frequencies [n], zeros when not recorded."""
        native = self._open
        out = np.empty(len(native.keys), np.int64)
        native.freqs(0, out)
        return out

    @property
    def versions(self) -> _Int64Array:
        """Versions [n], -1 when never updated or not recorded."""
        native = self._open
        out = np.empty(len(native.keys), np.int64)
        native.versions(0, out)
        return out

    def values(self, slot: int = 0, start: int = 0, stop: int | None = None) -> _FloatArray:
        """A copy of the rows [stop - start, dim] of `slot` for ``keys[start:stop]``."""
        native = self._open
        dim = arguments.slot(slot, self.slots)
        start, stop, _ = slice(start, stop).indices(len(native.keys))
        out = np.empty((max(0, stop - start), dim), np.float32)
        native.values(slot, start, out)
        return out

    def chunks(self, slot: int = 0, *, chunk_bytes: int = 8 << 20) -> Iterator[_FloatArray]:
        """The rows of `slot` in order, in pieces of about `chunk_bytes` bytes; nothing for an empty table."""
        step = max(1, chunk_bytes // (4 * arguments.slot(slot, self.slots)))
        for start in range(0, self.size, step):
            yield self.values(slot, start, start + step)

    def release(self) -> None:
        """Gives the memory back; the snapshot cannot be read afterwards."""
        self._native = None

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def _open(self) -> _native.Snapshot:
        if self._native is None:
            raise arguments.released()
        return self._native
