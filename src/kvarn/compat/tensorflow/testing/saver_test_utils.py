"""What TensorFlow's tests of savers save: a table with a saveable of its own.

Source: tensorflow/python/training/saver_test_utils.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph.graph import GraphKeys, add_to_collection
from kvarn.ops import lookup
from kvarn.saver.saveable_object import SaveableObject, SaveSpec


class CheckpointedOp:
    """A table from strings to float32 that is saved as its keys and its values.

    Args:
      name: of the table, and before those of its tensors in a checkpoint.
      table_ref: the handle of a table that exists.
    """

    def __init__(self, name: str, table_ref: Any = None) -> None:
        if table_ref is None:
            table_ref = lookup.mutable_hash_table_v2(
                key_dtype=dtypes.string, value_dtype=dtypes.float32, name=name
            )
        self.table_ref = table_ref
        self.name = name
        self.saveable = CheckpointedOp.CustomSaveable(self, name)
        add_to_collection(GraphKeys.SAVEABLE_OBJECTS, self.saveable)

    def insert(self, keys: Any, values: Any) -> Any:
        """An operation that sets the values of keys."""
        return lookup.lookup_table_insert_v2(self.table_ref, keys, values)

    def lookup(self, keys: Any, default: Any) -> Any:
        """The values of keys."""
        return lookup.lookup_table_find_v2(self.table_ref, keys, default)

    def keys(self) -> Any:
        """All keys."""
        return self._export()[0]

    def values(self) -> Any:
        """All values."""
        return self._export()[1]

    def _export(self) -> Any:
        return lookup.lookup_table_export_v2(self.table_ref, Tkeys=dtypes.string, Tvalues=dtypes.float32)

    class CustomSaveable(SaveableObject):
        """The keys and the values of a table."""

        def __init__(self, table: CheckpointedOp, name: str) -> None:
            keys, values = table._export()
            specs = [SaveSpec(keys, "", name + "-keys"), SaveSpec(values, "", name + "-values")]
            super().__init__(table, specs, name)

        def restore(self, restored_tensors: Any, restored_shapes: Any) -> Any:
            keys, values = restored_tensors
            return lookup.lookup_table_import_v2(self.op.table_ref, keys, values)
