"""The tables behind `kvarn.ops.lookup`: from keys to values, in the memory of a session.

Source: tensorflow/core/kernels/{lookup_table_op,initializable_lookup_table}.{h,cc} and
tensorflow/core/framework/lookup_interface.cc (1.15).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.dtypes import DType
from kvarn.graph.shape_inference import fmt
from kvarn.ops import _text
from kvarn.ops._format import type_text

_MASK = 2**64 - 1
_MIN_BUCKETS = 4


class LookupTable:
    """What all tables offer: typed, shaped, and safe to use from several threads.

    Arrays of keys have shape [..., *key_shape], of values [..., *value_shape]; strings are object arrays.
    """

    key_shape: tuple[int, ...] = ()

    def __init__(self, name: str, key_dtype: DType, value_dtype: DType, value_shape: tuple[int, ...]) -> None:
        self.name = name
        self.key_dtype = key_dtype
        self.value_dtype = value_dtype
        self.value_shape = value_shape
        self.lock = threading.RLock()

    def size(self) -> int:
        raise NotImplementedError

    def find(self, keys: Any, default: Any) -> Any:
        """The values of ``keys``, ``default`` (of shape ``value_shape``) for those that are not there."""
        raise NotImplementedError

    def insert(self, keys: Any, values: Any) -> None:
        raise NotImplementedError

    def remove(self, keys: Any) -> None:
        raise NotImplementedError

    def import_values(self, keys: Any, values: Any) -> None:
        """Replaces the contents."""
        raise NotImplementedError

    def export_values(self) -> tuple[Any, Any]:
        """All keys and values, as `import_values` takes them."""
        raise NotImplementedError

    def check(self, keys: Any, values: Any, import_format: bool = False) -> None:
        """InvalidArgumentError unless the shapes of keys and values go together."""
        key_shape, value_shape = self.key_shape, self.value_shape
        if import_format:
            key_shape, value_shape = self.stored_shapes()
        self.check_keys(keys)
        wanted = keys.shape[: keys.ndim - len(key_shape)] + value_shape
        if values.shape != wanted:
            raise errors.InvalidArgumentError.of(
                f"Expected shape {fmt(wanted)} for value, got {fmt(values.shape)}", name=self.name
            )

    def stored_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of one key and one value in what is exported and imported."""
        return self.key_shape, self.value_shape

    def check_keys(self, keys: Any) -> None:
        """InvalidArgumentError unless the shape ends with the shape of a key."""
        rank = len(self.key_shape)
        if keys.ndim < rank or keys.shape[keys.ndim - rank :] != self.key_shape:
            raise errors.InvalidArgumentError.of(
                f"Input key shape {fmt(keys.shape)} must end with the table's key shape {fmt(self.key_shape)}",
                name=self.name,
            )


class MutableHashTable(LookupTable):
    """Keys are scalars, values scalars or vectors."""

    def __init__(self, name: str, key_dtype: DType, value_dtype: DType, value_shape: tuple[int, ...]) -> None:
        super().__init__(name, key_dtype, value_dtype, value_shape)
        self._values: dict[Any, Any] = {}

    def size(self) -> int:
        return len(self._values)

    def find(self, keys: Any, default: Any) -> Any:
        if self.value_shape:
            missing = default.copy()
        else:
            missing = default.item()
        with self.lock:
            get = self._values.get
            found = [get(key, missing) for key in keys.ravel().tolist()]
        return _array(found, self.value_dtype, keys.shape + self.value_shape)

    def insert(self, keys: Any, values: Any) -> None:
        with self.lock:
            self._values.update(zip(keys.ravel().tolist(), self._items(values), strict=True))

    def remove(self, keys: Any) -> None:
        with self.lock:
            for key in keys.ravel().tolist():
                self._values.pop(key, None)

    def import_values(self, keys: Any, values: Any) -> None:
        with self.lock:
            self._values = dict(zip(keys.ravel().tolist(), self._items(values), strict=True))

    def export_values(self) -> tuple[Any, Any]:
        with self.lock:
            keys, values = list(self._values), list(self._values.values())
        return (
            _array(keys, self.key_dtype, (len(keys),)),
            _array(values, self.value_dtype, (len(keys), *self.value_shape)),
        )

    def _items(self, values: Any) -> Iterable[Any]:
        if self.value_shape:
            return iter(np.array(values).reshape(-1, *self.value_shape))
        items: list[Any] = values.ravel().tolist()
        return items


class HashTable(LookupTable):
    """Initialized once, then only read."""

    def __init__(self, name: str, key_dtype: DType, value_dtype: DType) -> None:
        super().__init__(name, key_dtype, value_dtype, ())
        self._values: dict[Any, Any] | None = None

    @property
    def is_initialized(self) -> bool:
        return self._values is not None

    def size(self) -> int:
        return 0 if self._values is None else len(self._values)

    def find(self, keys: Any, default: Any) -> Any:
        values = self._values
        if values is None:
            raise errors.FailedPreconditionError.of(
                "Table not initialized.", name=self.name, hint="Run tf.tables_initializer() first."
            )
        get, missing = values.get, default.item()
        return _array([get(key, missing) for key in keys.ravel().tolist()], self.value_dtype, keys.shape)

    def initialize(self, keys: list[Any], values: list[Any], total: int) -> None:
        """Fills the table.

        Args:
          keys, values: of the same length; a key may come again with the same value.
          total: how many entries the source says it has; compared when there is a table already.

        Raises:
          FailedPreconditionError: a key has two values, or the table has another number of entries.
        """
        with self.lock:
            if self._values is not None:
                if total != len(self._values):
                    raise errors.FailedPreconditionError.of(
                        "Table was already initialized with different data.", name=self.name
                    )
                return
            made: dict[Any, Any] = {}
            for key, value in zip(keys, values, strict=True):
                previous = made.setdefault(key, value)
                if previous != value:
                    raise errors.FailedPreconditionError.of(
                        f"HashTable has different value for same key. Key {_shown(key)} has {_shown(previous)} "
                        f"and trying to add value {_shown(value)}",
                        name=self.name,
                    )
            self._values = made

    def insert(self, keys: Any, values: Any) -> None:
        raise self._unsupported("Insert")

    def remove(self, keys: Any) -> None:
        raise self._unsupported("Remove")

    def _unsupported(self, what: str) -> errors.OpError:
        return errors.UnimplementedError.of(
            f"{what} not supported by InitializableLookupTable implementations", name=self.name
        )

    def import_values(self, keys: Any, values: Any) -> None:
        if keys.shape != values.shape:
            raise errors.InvalidArgumentError.of(
                f"keys and values should have the same dimension.{fmt(keys.shape)} vs {fmt(values.shape)}",
                name=self.name,
            )
        if not keys.size:
            raise errors.InvalidArgumentError.of("keys and values cannot be empty tensors.", name=self.name)
        self.initialize(keys.ravel().tolist(), values.ravel().tolist(), keys.size)

    def export_values(self) -> tuple[Any, Any]:
        values = self._values
        if values is None:
            raise errors.AbortedError.of("HashTable is not initialized.", name=self.name)
        return (
            _array(list(values), self.key_dtype, (len(values),)),
            _array(list(values.values()), self.value_dtype, (len(values),)),
        )


class MutableDenseHashTable(LookupTable):
    """Buckets in arrays, which are what a checkpoint holds; probing is quadratic.

    A dictionary says in which bucket a key is.  Buckets are where TensorFlow would put the keys, since whoever
    reads such a checkpoint looks for them there.

    Args:
      empty_key, deleted_key: what stands in buckets that are free, and in those that are free again.
      buckets: a power of two, at least 4.
      max_load_factor: the part of the buckets that may be taken before there are twice as many.
    """

    def __init__(
        self,
        name: str,
        key_dtype: DType,
        value_dtype: DType,
        value_shape: tuple[int, ...],
        empty_key: Any,
        deleted_key: Any,
        buckets: int,
        max_load_factor: float,
    ) -> None:
        super().__init__(name, key_dtype, value_dtype, value_shape)
        if not 0 < max_load_factor < 1:
            raise self._invalid(f"max_load_factor must be between 0 and 1, got: {max_load_factor:g}")
        if len(value_shape) > 1:
            raise self._invalid(f"Empty value must be a scalar or a vector, got shape {fmt(value_shape)}")
        self.key_shape = empty_key.shape
        if empty_key.ndim > 1:
            raise self._invalid(f"Empty key must be a scalar or a vector, got shape {fmt(empty_key.shape)}")
        if deleted_key.shape != empty_key.shape:
            raise self._invalid(
                "Empty and deleted keys must have same shape, got shapes: "
                f"{fmt(empty_key.shape)} and {fmt(deleted_key.shape)}"
            )
        self._empty, self._deleted = self._rows(empty_key)[0], self._rows(deleted_key)[0]
        if self._empty == self._deleted:
            raise self._invalid("Empty and deleted keys cannot be equal")
        self._max_load_factor = max_load_factor
        self._allocate(buckets)

    def _invalid(self, text: str) -> errors.OpError:
        return errors.InvalidArgumentError.of(text, name=self.name)

    def _rows(self, keys: Any) -> list[tuple[Any, ...]]:
        """Each key as a tuple."""
        width = int(np.prod(self.key_shape, dtype=int))
        return [tuple(row) for row in keys.reshape(-1, width).tolist()]

    def stored_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.key_shape or (1,), self.value_shape or (1,)

    def check(self, keys: Any, values: Any, import_format: bool = False) -> None:
        if import_format:
            self.check_keys(keys)
        super().check(keys, values, import_format)

    def _allocate(self, buckets: int) -> None:
        if buckets < _MIN_BUCKETS or buckets & (buckets - 1):
            raise self._invalid(f"Number of buckets must be at least 4 and a power of 2, got: {buckets}")
        key_width, value_width = (shape[0] for shape in self.stored_shapes())
        self._keys = np.empty((buckets, key_width), self.key_dtype.np)
        self._keys[:] = np.array(self._empty, self.key_dtype.np)
        self._values = np.zeros((buckets, value_width), self.value_dtype.np)
        if self.value_dtype.np.hasobject:
            self._values[:] = b""
        self._bucket_of: dict[tuple[Any, ...], int] = {}
        # The buckets that are taken or were; a search for a free one goes past the taken ones.
        self._taken: set[int] = set()

    def size(self) -> int:
        return len(self._bucket_of)

    def _checked_rows(self, keys: Any) -> list[tuple[Any, ...]]:
        count = keys.shape[0] if keys.ndim else 1
        wanted = (count, *self.key_shape)
        if keys.size != int(np.prod(wanted, dtype=int)):
            raise self._invalid(f"Expected key shape {fmt(wanted)} got {fmt(keys.shape)}")
        rows = self._rows(keys)
        if self._empty in rows:
            raise self._invalid("Using the empty_key as a table key is not allowed")
        if self._deleted in rows:
            raise self._invalid("Using the deleted_key as a table key is not allowed")
        return rows

    def find(self, keys: Any, default: Any) -> Any:
        with self.lock:
            rows = self._checked_rows(keys)
            bucket_of = self._bucket_of
            buckets = np.array([bucket_of.get(row, -1) for row in rows], dtype=np.int64)
            found = self._values[buckets]
        found[buckets < 0] = default.reshape(-1)
        shape: tuple[int, ...] = keys.shape[: keys.ndim - len(self.key_shape)] + self.value_shape
        return found.reshape(shape)

    def insert(self, keys: Any, values: Any) -> None:
        with self.lock:
            rows = self._checked_rows(keys)
            buckets, needed = len(self._keys), len(self._bucket_of) + len(rows)
            if needed > buckets * self._max_load_factor:
                while needed > buckets * self._max_load_factor:
                    buckets *= 2
                self._rebucket(buckets)
            self._put(rows, values.reshape(len(rows), -1))

    def _put(self, rows: list[tuple[Any, ...]], values: Any) -> None:
        for row, value in zip(rows, values, strict=True):
            bucket = self._bucket_of.get(row)
            if bucket is None:
                bucket = next((b for b in self._probes(row) if b not in self._taken), None)
                if bucket is None:
                    raise errors.InternalError.of(
                        "Internal error in MutableDenseHashTable insert", name=self.name
                    )
                self._bucket_of[row] = bucket
                self._taken.add(bucket)
                self._keys[bucket] = row
            self._values[bucket] = value

    def _probes(self, row: tuple[Any, ...]) -> Iterator[int]:
        """The buckets in which a key may be, in the order of the search."""
        mask = len(self._keys) - 1
        bucket = _hash(row) & mask
        for step in range(1, mask + 2):
            yield bucket
            bucket = (bucket + step) & mask

    def _rebucket(self, buckets: int) -> None:
        values = self._values
        # In the order of the old buckets, as it decides which new ones they get.
        old = sorted(self._bucket_of.items(), key=lambda item: item[1])
        self._allocate(buckets)
        self._put([row for row, _ in old], values[[bucket for _, bucket in old]])

    def remove(self, keys: Any) -> None:
        with self.lock:
            for row in self._checked_rows(keys):
                bucket = self._bucket_of.pop(row, None)
                if bucket is not None:
                    self._taken.discard(bucket)
                    self._keys[bucket] = self._deleted

    def import_values(self, keys: Any, values: Any) -> None:
        buckets = len(keys)
        with self.lock:
            before = self._keys, self._values, self._bucket_of, self._taken
            try:
                self._allocate(buckets)
            except errors.InvalidArgumentError:
                self._keys, self._values, self._bucket_of, self._taken = before
                raise
            self._keys, self._values = np.array(keys), np.array(values)
            for bucket, row in enumerate(self._rows(keys)):
                if row in (self._empty, self._deleted):
                    continue
                self._taken.add(bucket)
                other = self._bucket_of.setdefault(row, bucket)
                if other != bucket:
                    # TensorFlow can write a key twice; the one that its search meets first counts.
                    self._bucket_of[row] = next(b for b in self._probes(row) if b in (bucket, other))

    def export_values(self) -> tuple[Any, Any]:
        with self.lock:
            return self._keys.copy(), self._values.copy()


def _hash(row: tuple[Any, ...]) -> int:
    """Where TensorFlow begins to look for a key."""
    if len(row) == 1:
        return _hash_scalar(row[0])
    result = 0
    for item in row:
        # Hash64Combine of tensorflow/core/lib/hash/hash.h.
        result ^= (_hash_scalar(item) + 0x9E3779B97F4A7800 + (result << 10 & _MASK) + (result >> 4)) & _MASK
    return result


def _hash_scalar(item: Any) -> int:
    return _text.hash64(item) if isinstance(item, bytes) else int(item) & _MASK


def _array(items: list[Any], dtype: DType, shape: tuple[int, ...]) -> Any:
    """An array of Python scalars or rows."""
    if not items:
        return np.zeros(shape, dtype.np)
    if dtype.np.hasobject and not isinstance(items[0], np.ndarray):
        out = np.empty(len(items), dtype=object)
        out[:] = items
        return out.reshape(shape)
    return np.array(items, dtype.np).reshape(shape)


def _shown(item: Any) -> str:
    return item.decode(errors="replace") if isinstance(item, bytes) else f"{item}"


def conflicting(table: LookupTable, key_dtype: DType, value_dtype: DType) -> errors.OpError | None:
    """The error for a table that is there already with other types, or None."""
    if (table.key_dtype, table.value_dtype) == (key_dtype, value_dtype):
        return None
    return errors.InvalidArgumentError.of(
        f"Conflicting key/value dtypes {type_text(key_dtype)}->{type_text(value_dtype)} with "
        f"{type_text(table.key_dtype)}-{type_text(table.value_dtype)} for table {table.name}",
        name=table.name,
    )
