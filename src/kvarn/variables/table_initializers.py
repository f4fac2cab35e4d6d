"""What a static lookup table is filled with: two tensors, or the lines of a file.

Source: tensorflow/python/ops/lookup_ops.py (1.15).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import (
    GraphKeys,
    add_to_collection,
    device,
    get_default_graph,
    init_scope,
    name_scope,
)
from kvarn.graph.tensor import Tensor
from kvarn.ops import lookup
from kvarn.variables.trackable import Trackable


def outside_of_control_flow() -> AbstractContextManager[None]:
    """Lifts what is made inside out of conditionals and loops: tables are filled before any of them runs."""
    inside = get_default_graph()._get_control_flow_context() is not None
    return init_scope() if inside else nullcontext()


class TrackableAsset(Trackable):
    """A file that an object depends on.

    Args:
      path: of the file, a string or string tensor.
    """

    def __init__(self, path: Any) -> None:
        with init_scope(), device("CPU"):
            self._path = convert_to_tensor(path, dtypes.string, name="asset_path")

    @property
    def asset_path(self) -> Tensor:
        return self._path


class TableInitializerBase(Trackable):
    """The base of initializers.

    Args:
      key_dtype, value_dtype: the types of the table.
    """

    def __init__(self, key_dtype: Any, value_dtype: Any) -> None:
        self._key_dtype = dtypes.as_dtype(key_dtype)
        self._value_dtype = dtypes.as_dtype(value_dtype)

    @property
    def key_dtype(self) -> dtypes.DType:
        return self._key_dtype

    @property
    def value_dtype(self) -> dtypes.DType:
        return self._value_dtype

    def initialize(self, table: Any) -> Any:
        """The operation that fills ``table``; it is added to the collection TABLE_INITIALIZERS."""
        raise NotImplementedError

    @property
    def _shared_name(self) -> str:
        return ""

    def _check_types(self, table: Any) -> None:
        for what, own, wanted in (
            ("key", self._key_dtype, table.key_dtype),
            ("value", self._value_dtype, table.value_dtype),
        ):
            if own.base_dtype != wanted:
                raise TypeError(f"Invalid {what} dtype, expected {wanted} but got {own}.")


class KeyValueTensorInitializer(TableInitializerBase):
    """Keys and values from tensors.

    Args:
      keys, values: of one shape.
      key_dtype, value_dtype: what to convert them to.
      name: of the operations.
    """

    def __init__(
        self, keys: Any, values: Any, key_dtype: Any = None, value_dtype: Any = None, name: str | None = None
    ) -> None:
        with outside_of_control_flow():
            self._keys = convert_to_tensor(keys, dtype=key_dtype, name="keys")
            self._values = convert_to_tensor(values, dtype=value_dtype, name="values")
        self._name = name if name is not None else "key_value_init"
        super().__init__(self._keys.dtype, self._values.dtype)

    def initialize(self, table: Any) -> Any:
        """The operation that fills ``table``.

        Raises:
          TypeError: the table has other types.
        """
        self._check_types(table)
        with name_scope(self._name, values=(table.resource_handle, self._keys, self._values)):
            init_op = lookup.lookup_table_import_v2(table.resource_handle, self._keys, self._values)
        add_to_collection(GraphKeys.TABLE_INITIALIZERS, init_op)
        return init_op


class TextFileIndex:
    """What a column index of `TextFileInitializer` may be besides a column: the whole line, or its number."""

    WHOLE_LINE = -2
    LINE_NUMBER = -1


class TextFileInitializer(TableInitializerBase):
    """Keys and values from the lines of a file.

    Args:
      filename: a path or a string tensor.
      key_dtype, value_dtype: int64 for a line number; string (a key also integer) for a whole line.
      key_index, value_index: a column, or one of `TextFileIndex`.
      vocab_size: how many lines there must be at least, and are taken; None for all.
      delimiter: one character between columns.
      name: of the operations.

    Raises:
      ValueError: no file, an index below -2, a type that does not go with its index, or a size below one.
    """

    def __init__(
        self,
        filename: Any,
        key_dtype: Any,
        key_index: int,
        value_dtype: Any,
        value_index: int,
        vocab_size: int | None = None,
        delimiter: str = "\t",
        name: str | None = None,
    ) -> None:
        if not isinstance(filename, Tensor) and not filename:
            raise ValueError(f"Filename required for {name}.")
        super().__init__(key_dtype, value_dtype)
        key, value = self._key_dtype, self._value_dtype
        if key_index < TextFileIndex.WHOLE_LINE:
            raise ValueError(f"Invalid key index {key_index}.")
        if key_index == TextFileIndex.LINE_NUMBER and key != dtypes.int64:
            raise ValueError(f"Signature mismatch. Keys must be dtype {dtypes.int64}, got {key}.")
        if key_index == TextFileIndex.WHOLE_LINE and not key.is_integer and key != dtypes.string:
            raise ValueError(f"Signature mismatch. Keys must be integer or string, got {key}.")
        if value_index < TextFileIndex.WHOLE_LINE:
            raise ValueError(f"Invalid value index {value_index}.")
        if value_index == TextFileIndex.LINE_NUMBER and value != dtypes.int64:
            raise ValueError(f"Signature mismatch. Values must be dtype {dtypes.int64}, got {value}.")
        if value_index == TextFileIndex.WHOLE_LINE and value != dtypes.string:
            raise ValueError(f"Signature mismatch. Values must be dtype {dtypes.string}, got {value}.")
        if vocab_size is not None and vocab_size <= 0:
            raise ValueError(f"Invalid vocab_size {vocab_size}.")
        self._filename_arg = filename
        self._key_index = key_index
        self._value_index = value_index
        self._vocab_size = vocab_size
        self._delimiter = delimiter
        self._name = name
        self._filename = self._track_trackable(TrackableAsset(filename), "_filename").asset_path

    def initialize(self, table: Any) -> Any:
        """The operation that fills ``table``; a constant path is added to the collection ASSET_FILEPATHS.

        Raises:
          TypeError: the table has other types.
        """
        self._check_types(table)
        with name_scope(self._name, "text_file_init", (table.resource_handle,)):
            init_op = lookup.initialize_table_from_text_file_v2(
                table.resource_handle,
                self._filename,
                self._key_index,
                self._value_index,
                -1 if self._vocab_size is None else self._vocab_size,
                self._delimiter,
            )
        add_to_collection(GraphKeys.TABLE_INITIALIZERS, init_op)
        if self._filename.op.type == "Const":
            add_to_collection(GraphKeys.ASSET_FILEPATHS, self._filename)
        return init_op

    @property
    def _shared_name(self) -> str:
        size = f"{self._vocab_size}_" if self._vocab_size else ""
        return f"hash_table_{self._filename_arg}_{size}{self._key_index}_{self._value_index}"


class TextFileStringTableInitializer(TextFileInitializer):
    """From line numbers to lines, or from one column to another."""

    def __init__(
        self,
        filename: Any,
        key_column_index: int = TextFileIndex.LINE_NUMBER,
        value_column_index: int = TextFileIndex.WHOLE_LINE,
        vocab_size: int | None = None,
        delimiter: str = "\t",
        name: str = "text_file_string_table_init",
    ) -> None:
        super().__init__(
            filename,
            dtypes.int64,
            key_column_index,
            dtypes.string,
            value_column_index,
            vocab_size=vocab_size,
            delimiter=delimiter,
            name=name,
        )


class TextFileIdTableInitializer(TextFileInitializer):
    """From lines to line numbers, or from one column to another."""

    def __init__(
        self,
        filename: Any,
        key_column_index: int = TextFileIndex.WHOLE_LINE,
        value_column_index: int = TextFileIndex.LINE_NUMBER,
        vocab_size: int | None = None,
        delimiter: str = "\t",
        name: str = "text_file_id_table_init",
        key_dtype: Any = dtypes.string,
    ) -> None:
        super().__init__(
            filename,
            key_dtype,
            key_column_index,
            dtypes.int64,
            value_column_index,
            vocab_size=vocab_size,
            delimiter=delimiter,
            name=name,
        )
