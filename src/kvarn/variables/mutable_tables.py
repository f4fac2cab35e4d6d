"""Lookup tables that change while a program runs, and go into checkpoints.

Source: tensorflow/python/ops/lookup_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GraphKeys, add_to_collection, colocate_with, name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops import lookup
from kvarn.variables.lookup_tables import LookupInterface


class TableContents(NamedTuple):
    """What a Saver saves of a table, as ``<name>-keys`` and ``<name>-values``.

    Attributes:
      name: in the checkpoint.
      table: the table.
      keys, values: its contents.
    """

    name: str
    table: MutableTable
    keys: Tensor
    values: Tensor


class MutableTable(LookupInterface):
    """What mutable tables have in common."""

    _default_value: Tensor
    _name: str
    _table_name: str

    def _set_up(self, handle: Tensor, checkpoint: bool) -> None:
        self._resource_handle = handle
        self._table_name = handle.op.name.split("/")[-1]
        if checkpoint:
            add_to_collection(GraphKeys.SAVEABLE_OBJECTS, self._contents())

    def _contents(self, name: str | None = None) -> TableContents:
        return TableContents(name or self._name, self, *self.export())

    def _gather_saveables_for_checkpoint(self) -> dict[str, Any]:
        return {"table": self._contents}

    @property
    def name(self) -> str:
        return self._table_name

    def size(self, name: str | None = None) -> Tensor:
        """How many keys it has, an int64 scalar."""
        with (
            name_scope(name, f"{self.name}_Size", [self.resource_handle]),
            colocate_with(self.resource_handle),
        ):
            size: Tensor = lookup.lookup_table_size_v2(self.resource_handle)
        return size

    def lookup(self, keys: Any, name: str | None = None) -> Tensor:
        """The values of ``keys``, a tensor of any shape; the default for those that are not there."""
        with name_scope(name, f"{self.name}_lookup_table_find", [self.resource_handle, keys]):
            keys = convert_to_tensor(keys, dtype=self._key_dtype, name="keys")
            with colocate_with(self.resource_handle):
                values: Tensor = lookup.lookup_table_find_v2(self.resource_handle, keys, self._default_value)
        return values

    def insert(self, keys: Any, values: Any, name: str | None = None) -> Operation:
        """The operation that sets the values of ``keys``."""
        with name_scope(name, f"{self.name}_lookup_table_insert", [self.resource_handle, keys, values]):
            keys = convert_to_tensor(keys, self._key_dtype, name="keys")
            values = convert_to_tensor(values, self._value_dtype, name="values")
            with colocate_with(self.resource_handle):
                made: Operation = lookup.lookup_table_insert_v2(self.resource_handle, keys, values)
        return made

    def remove(self, keys: Any, name: str | None = None) -> Operation:
        """The operation that removes ``keys``, those that are not there passed over.

        Raises:
          TypeError: they are not of the table's type.
        """
        if keys.dtype != self._key_dtype:
            raise TypeError(f"Signature mismatch. Keys must be dtype {self._key_dtype}, got {keys.dtype}.")
        values = (self.resource_handle, keys, self._default_value)
        with name_scope(name, f"{self.name}_lookup_table_remove", values):
            made: Operation = lookup.lookup_table_remove_v2(self.resource_handle, keys)
        return made

    def export(self, name: str | None = None) -> tuple[Tensor, Tensor]:
        """All keys and values; of a `DenseHashTable` all its buckets."""
        with (
            name_scope(name, f"{self.name}_lookup_table_export_values", [self.resource_handle]),
            colocate_with(self.resource_handle),
        ):
            keys, values = lookup.lookup_table_export_v2(
                self.resource_handle, self._key_dtype, self._value_dtype
            )
        return keys, values


class MutableHashTable(MutableTable):
    """From scalars to scalars or vectors.

    Args:
      key_dtype, value_dtype: types.
      default_value: a scalar or vector, the value of keys that are not there.
      name: of the operation, and in checkpoints.
      checkpoint: whether the Savers made later save it.
    """

    def __init__(
        self,
        key_dtype: Any,
        value_dtype: Any,
        default_value: Any,
        name: str = "MutableHashTable",
        checkpoint: bool = True,
    ) -> None:
        super().__init__(key_dtype, value_dtype)
        self._default_value = convert_to_tensor(default_value, dtype=value_dtype)
        self._name = name
        shape = self._default_value.get_shape()
        types = {"key_dtype": self._key_dtype, "value_dtype": self._value_dtype}
        if shape.ndims == 0:
            handle = lookup.mutable_hash_table_v2(use_node_name_sharing=checkpoint, name=name, **types)
        else:
            handle = lookup.mutable_hash_table_of_tensors_v2(
                use_node_name_sharing=checkpoint, value_shape=shape, name=name, **types
            )
        self._set_up(handle, checkpoint)


class DenseHashTable(MutableTable):
    """From scalars or vectors to scalars or vectors, in buckets.

    Args:
      key_dtype, value_dtype: types.
      default_value: the value of keys that are not there.
      empty_key, deleted_key: two keys that no program may use.
      initial_num_buckets: a power of two; None for 2**17.
      name: of the operation, and in checkpoints.
      checkpoint: whether the Savers made later save it.
    """

    def __init__(
        self,
        key_dtype: Any,
        value_dtype: Any,
        default_value: Any,
        empty_key: Any,
        deleted_key: Any,
        initial_num_buckets: int | None = None,
        name: str = "MutableDenseHashTable",
        checkpoint: bool = True,
    ) -> None:
        super().__init__(key_dtype, value_dtype)
        self._default_value = convert_to_tensor(default_value, dtype=value_dtype, name="default_value")
        self._name = name
        handle = lookup.mutable_dense_hash_table_v2(
            convert_to_tensor(empty_key, dtype=key_dtype, name="empty_key"),
            convert_to_tensor(deleted_key, dtype=key_dtype, name="deleted_key"),
            use_node_name_sharing=checkpoint,
            value_dtype=self._value_dtype,
            value_shape=self._default_value.get_shape(),
            initial_num_buckets=initial_num_buckets,
            name=name,
        )
        self._set_up(handle, checkpoint)

    insert_or_assign = MutableTable.insert
    erase = MutableTable.remove


MutableDenseHashTable = DenseHashTable
