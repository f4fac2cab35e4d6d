"""Static lookup tables: `tf.lookup.StaticHashTable`, `StaticVocabularyTable`, and those of `tf.contrib.lookup`.

Source: tensorflow/python/ops/lookup_ops.py (1.15).
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import init_scope, name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import control, lookup, math, selection, string
from kvarn.variables.table_initializers import TableInitializerBase, outside_of_control_flow
from kvarn.variables.trackable import Trackable


class LookupInterface(Trackable):
    """What all tables offer.

    Args:
      key_dtype, value_dtype: types.
    """

    _resource_handle: Any = None

    def __init__(self, key_dtype: Any, value_dtype: Any) -> None:
        self._key_dtype = dtypes.as_dtype(key_dtype)
        self._value_dtype = dtypes.as_dtype(value_dtype)

    @property
    def resource_handle(self) -> Any:
        """The handle, a resource tensor."""
        return self._resource_handle

    @property
    def key_dtype(self) -> dtypes.DType:
        return self._key_dtype

    @property
    def value_dtype(self) -> dtypes.DType:
        return self._value_dtype

    @property
    def name(self) -> Any:
        """The last part of the name of the table's operation."""
        raise NotImplementedError

    def size(self, name: str | None = None) -> Tensor:
        """How many keys it has, an int64 scalar."""
        raise NotImplementedError

    def lookup(self, keys: Any, name: str | None = None) -> Any:
        """The values of ``keys``, a tensor or SparseTensor like it."""
        raise NotImplementedError

    def _check_keys(self, keys: Any) -> None:
        if keys.dtype.base_dtype != self._key_dtype:
            raise TypeError(f"Signature mismatch. Keys must be dtype {self._key_dtype}, got {keys.dtype}.")


class StaticHashTable(LookupInterface):
    """A table that is filled once, by running its initializer, and never changes.

    Args:
      initializer: a `TableInitializerBase`.
      default_value: a scalar, the value of keys that are not there.
      name: of the operation.
    """

    def __init__(
        self, initializer: TableInitializerBase, default_value: Any, name: str | None = None
    ) -> None:
        super().__init__(initializer.key_dtype, initializer.value_dtype)
        self._initializer = self._track_trackable(initializer, "_initializer")
        self._shared_name = initializer._shared_name or f"hash_table_{uuid.uuid4()}"
        self._name = name or "hash_table"
        self._default_value = convert_to_tensor(default_value, dtype=self._value_dtype)
        self._value_shape = self._default_value.get_shape().merge_with(TensorShape([]))
        with init_scope():
            self._resource_handle = self._create_resource()
        with outside_of_control_flow():
            self._init_op = self._initialize()

    def _create_resource(self) -> Tensor:
        handle: Tensor = lookup.hash_table_v2(
            shared_name=self._shared_name,
            key_dtype=self._key_dtype,
            value_dtype=self._value_dtype,
            name=self._name,
        )
        self._table_name = handle.op.name.split("/")[-1]
        return handle

    def _initialize(self) -> Operation:
        made: Operation = self._initializer.initialize(self)
        return made

    @property
    def name(self) -> str:
        return self._table_name

    @property
    def default_value(self) -> Tensor:
        return self._default_value

    @property
    def initializer(self) -> Operation:
        """The operation that fills the table."""
        return self._init_op

    def size(self, name: str | None = None) -> Tensor:
        with name_scope(name, f"{self.name}_Size", [self.resource_handle]):
            size: Tensor = lookup.lookup_table_size_v2(self.resource_handle)
        return size

    def lookup(self, keys: Any, name: str | None = None) -> Any:
        """The values of ``keys``, the default for those that are not in the table.

        Args:
          keys: a tensor of any shape, or a SparseTensor.

        Raises:
          TypeError: they are not of the table's type.
        """
        flat = keys.values if isinstance(keys, SparseTensor) else keys
        self._check_keys(keys)
        with name_scope(name, f"{self.name}_Lookup", (self.resource_handle, flat, self._default_value)):
            values = lookup.lookup_table_find_v2(self.resource_handle, flat, self._default_value)
        values.set_shape(flat.get_shape())
        return _like(keys, values)

    def export(self, name: str | None = None) -> tuple[Tensor, Tensor]:
        """All keys and values, in no particular order."""
        with name_scope(name, f"{self.name}_Export", [self.resource_handle]):
            keys, values = lookup.lookup_table_export_v2(
                self.resource_handle, self._key_dtype, self._value_dtype
            )
        values.set_shape(keys.get_shape().concatenate(self._value_shape))
        return keys, values


class StaticHashTableV1(StaticHashTable):
    """`tf.lookup.StaticHashTable`."""


class HashTable(StaticHashTableV1):
    """`tf.contrib.lookup.HashTable`, which also has ``init``."""

    @property
    def init(self) -> Operation:
        return self.initializer


def _like(keys: Any, values: Tensor) -> Any:
    if isinstance(keys, SparseTensor):
        return SparseTensor(keys.indices, values, keys.dense_shape)
    return values


# -- tables with buckets for the rest -----------------------------------------------------------------


class HasherSpec(NamedTuple):
    """How keys that are not in a table get their bucket.

    Attributes:
      hasher: ``fasthash``, ``stronghash`` or ``legacy``.
      key: two unsigned integers for ``stronghash``.
    """

    hasher: str
    key: Any


FastHashSpec = HasherSpec("fasthash", None)


def StrongHashSpec(key: Any) -> HasherSpec:
    """A hash whose collisions nobody can make who does not know ``key``, two unsigned integers.

    Raises:
      ValueError: not two.
      TypeError: not integers.
    """
    if len(key) != 2:
        raise ValueError(f"key must have size 2, got {len(key)}.")
    if not all(isinstance(k, int) for k in key):
        raise TypeError(f"Invalid key {key}. Must be unsigned integer values.")
    return HasherSpec("stronghash", key)


class _TableWithBuckets(LookupInterface):
    """Ids of a table, and for other keys ids after them, by a hash."""

    _table: Any
    _table_name: str | None
    _num_oov_buckets: int
    _hasher_spec: HasherSpec = FastHashSpec

    @property
    def resource_handle(self) -> Any:
        return None if self._table is None else self._table.resource_handle

    @property
    def name(self) -> str | None:
        return self._table_name

    @property
    def initializer(self) -> Operation:
        """The operation that fills the table."""
        if self._table is not None:
            made: Operation = self._table.initializer
            return made
        with name_scope(None, "init"):
            return control.no_op()

    def size(self, name: str | None = None) -> Tensor:
        """How many ids there are, those of the buckets included."""
        with name_scope(name, f"{self.name}_Size"):
            size = self._table.size() if self._table else convert_to_tensor(0, dtype=dtypes.int64)
            total: Tensor = size + self._num_oov_buckets
        return total

    def lookup(self, keys: Any, name: str | None = None) -> Any:
        """The ids of ``keys``, a tensor or SparseTensor.

        Raises:
          TypeError: they are not of the table's type.
        """
        self._check_keys(keys)
        values = keys.values if isinstance(keys, SparseTensor) else keys
        if self._table and self._table.key_dtype.base_dtype == dtypes.int64:
            values = math.cast(values, dtypes.int64)
        if self._num_oov_buckets == 0:
            return _like(keys, self._table.lookup(values, name=name))
        with name_scope(name, f"{self.name}_Lookup"):
            texts = values if values.dtype.base_dtype == dtypes.string else string.as_string(values)
            ids = _bucket_function(self._hasher_spec)(
                texts, num_buckets=self._num_oov_buckets, name="hash_bucket"
            )
            if self._table:
                found = self._table.lookup(values)
                buckets = math.add(ids, self._table.size())
                there = math.not_equal(found, self._table.default_value)
                ids = selection.where_v2(there, found, buckets)
        return _like(keys, ids)


def _bucket_function(spec: HasherSpec) -> Callable[..., Tensor]:
    if not isinstance(spec, HasherSpec):
        raise TypeError(f"hasher_spec must be of type HasherSpec {spec}")
    if spec.hasher == "fasthash":
        return string.string_to_hash_bucket_fast
    if spec.hasher == "legacy":
        return string.string_to_hash_bucket
    if spec.hasher == "stronghash":
        return functools.partial(string.string_to_hash_bucket_strong, key=spec.key)
    raise ValueError(f"Unknown hasher {spec.hasher}")


def _check_id_types(key_dtype: Any, value_dtype: Any, lookup_dtype: Any) -> None:
    """TypeError unless a table of these types can give ids of keys of ``lookup_dtype``."""
    supported = (dtypes.int64, dtypes.string)
    if key_dtype not in supported:
        raise TypeError(f"Invalid key dtype, expected one of {supported}, but got {key_dtype}.")
    if key_dtype.is_integer != lookup_dtype.is_integer:
        wanted = "integer" if lookup_dtype.is_integer else "non-integer"
        raise TypeError(f"Invalid key dtype, expected {wanted} but got {key_dtype}.")
    if value_dtype != dtypes.int64:
        raise TypeError(f"Invalid value dtype, expected {dtypes.int64} but got {value_dtype}.")


def _check_lookup_type(dtype: Any) -> None:
    if not dtype.is_integer and dtype != dtypes.string:
        raise TypeError(f"Invalid key_dtype, expected integer or string, got {dtype}.")


class IdTableWithHashBuckets(_TableWithBuckets):
    """The ids of a table, and buckets for all other keys.

    Args:
      table: from int64 or string to int64; None for buckets alone.
      num_oov_buckets: how many buckets, 0 for none.
      hasher_spec: how to choose one.
      name: of the operations.
      key_dtype: the type of the keys to look up.

    Raises:
      TypeError: types that do not go together.
      ValueError: neither a table nor buckets.
    """

    def __init__(
        self,
        table: Any,
        num_oov_buckets: int,
        hasher_spec: HasherSpec = FastHashSpec,
        name: str | None = None,
        key_dtype: Any = None,
    ) -> None:
        name = name.rstrip("/") if name else name
        if table:
            key_dtype = table.key_dtype if key_dtype is None else key_dtype
            _check_id_types(table.key_dtype, table.value_dtype, key_dtype)
            name = name or table.name
        else:
            if num_oov_buckets <= 0:
                raise ValueError("oov_buckets must be > 0 if no table is supplied.")
            key_dtype = dtypes.string if key_dtype is None else key_dtype
            name = name or "hash_bucket"
        _check_lookup_type(key_dtype)
        if not isinstance(hasher_spec, HasherSpec):
            raise TypeError(f"hasher_spec must be of type HasherSpec, got {hasher_spec}")
        self._table = table or None
        self._num_oov_buckets = num_oov_buckets
        self._hasher_spec = hasher_spec
        self._table_name = name.split("/")[-1] if name else None
        super().__init__(key_dtype, dtypes.int64)

    @property
    def init(self) -> Operation:
        return self.initializer


class StaticVocabularyTable(_TableWithBuckets):
    """Ids from an initializer, and buckets for all other keys.

    Args:
      initializer: from int64 or string to int64; None for buckets alone.
      num_oov_buckets: how many buckets, at least one.
      lookup_key_dtype: the type of the keys to look up; that of the initializer by default.
      name: of the operations.

    Raises:
      TypeError: types that do not go together.
      ValueError: no bucket.
    """

    def __init__(
        self,
        initializer: TableInitializerBase | None,
        num_oov_buckets: int,
        lookup_key_dtype: Any = None,
        name: str | None = None,
    ) -> None:
        if num_oov_buckets <= 0:
            raise ValueError("oov_buckets must be > 0.")
        name = name.rstrip("/") if name else name
        if initializer:
            lookup_key_dtype = initializer.key_dtype if lookup_key_dtype is None else lookup_key_dtype
            _check_id_types(initializer.key_dtype, initializer.value_dtype, lookup_key_dtype)
            self._table = HashTable(initializer, default_value=-1)
            name = name or self._table.name
        else:
            lookup_key_dtype = dtypes.string
            self._table = None
            name = name or "hash_bucket"
        _check_lookup_type(lookup_key_dtype)
        self._num_oov_buckets = num_oov_buckets
        self._table_name = name.split("/")[-1]
        super().__init__(lookup_key_dtype, dtypes.int64)


StaticVocabularyTableV1 = StaticVocabularyTable
