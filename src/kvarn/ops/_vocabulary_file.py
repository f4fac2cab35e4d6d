"""Text files as the contents of a table: a key and a value a line, each a column, the line, or its number.

Source: `TextFileLineIterator` and `InitializeTableFromTextFile` in tensorflow/core/kernels/lookup_util.cc (1.15).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

from kvarn import dtypes, errors
from kvarn.dtypes import DType
from kvarn.io import as_path, file_system_of
from kvarn.ops._format import type_text
from kvarn.ops._lookup_tables import HashTable

LINE_NUMBER = -1
WHOLE_LINE = -2

_INTEGER = re.compile(rb"[ \t\n\v\f\r]*-?[0-9]+[ \t\n\v\f\r]*\Z")
_UNDERSCORE = b"_"


def initialize(
    table: HashTable, path: str, vocab_size: int, delimiter: bytes, key_index: int, value_index: int
) -> None:
    """Fills a table from a file; a table that is filled already stays as it is.

    Args:
      vocab_size: how many lines to take, -1 for all.
      delimiter: one byte between columns.
      key_index, value_index: a column, `LINE_NUMBER` or `WHOLE_LINE`.

    Raises:
      NotFoundError: there is no such file.
      InvalidArgumentError: a line or the number of lines is not what it should be, or a column cannot have
        the type of the table.
      OutOfRangeError: the file is empty.
    """
    _check_columns(table, key_index, value_index)
    fs, file_path = file_system_of(path), as_path(path)
    file = fs.open_read(file_path)
    try:
        content = file.read(0, fs.size(file_path))
    finally:
        file.close()
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    total = len(lines) if vocab_size == -1 else vocab_size
    if table.is_initialized:
        return
    if not lines and vocab_size == -1:
        raise errors.OutOfRangeError.of(
            "Read less bytes than requested", path=path, hint=f"{path} has no lines."
        )
    keys, values = _columns(table, path, lines, vocab_size, delimiter, key_index, value_index)
    table.initialize(keys, values, total)


def _check_columns(table: HashTable, key_index: int, value_index: int) -> None:
    key, value = table.key_dtype, table.value_dtype
    problem = None
    if key_index == LINE_NUMBER and key is not dtypes.int64:
        problem = f"Key index for line number requires table key dtype of int64, got {type_text(key)}"
    elif key_index == WHOLE_LINE and not key.is_integer and key is not dtypes.string:
        problem = f"Key index for whole line requires string or integer table key, got {type_text(key)}"
    elif value_index == LINE_NUMBER and value is not dtypes.int64:
        problem = f"Value index for line number requires table value dtype of int64, got {type_text(value)}"
    elif value_index == WHOLE_LINE and value is not dtypes.string:
        problem = f"Value index for whole line requires table value dtype of string, got {type_text(value)}"
    if problem is not None:
        raise errors.InvalidArgumentError.of(problem, name=table.name)


def _columns(
    table: HashTable,
    path: str,
    lines: list[bytes],
    vocab_size: int,
    delimiter: bytes,
    key_index: int,
    value_index: int,
) -> tuple[list[Any], list[Any]]:
    def invalid(text: str) -> errors.OpError:
        return errors.InvalidArgumentError.of(text, name=table.name, path=path)

    last_column = max(key_index, value_index)
    read_key, read_value = _reader(table.key_dtype), _reader(table.value_dtype)
    keys: list[Any] = []
    values: list[Any] = []
    position = 0
    for number, raw in enumerate(lines):
        if number == vocab_size:
            warnings.warn(f"Truncated {path} before its end at {vocab_size} records.", stacklevel=2)
            break
        position += len(raw) + 1
        line = raw.replace(b"\r", b"")
        if not line:
            raise invalid(f"Invalid content in {path}: empty line found at position {position}.")
        columns = line.split(delimiter) if last_column >= 0 else []
        if last_column >= 0 and last_column >= len(columns):
            raise invalid(
                f"Invalid number of columns in {path} line {number} ({line.decode(errors='replace')}) : expected "
                f"{last_column} got {len(columns)}"
            )
        for index, read, found, dtype in (
            (key_index, read_key, keys, table.key_dtype),
            (value_index, read_value, values, table.value_dtype),
        ):
            if index == LINE_NUMBER:
                found.append(number)
                continue
            token = line if index == WHOLE_LINE else columns[index]
            try:
                found.append(read(token))
            except ValueError:
                raise invalid(
                    f"Field {token.decode(errors='replace')} in line {number} is not a valid {type_text(dtype)}."
                ) from None
    if vocab_size != -1 and len(keys) != vocab_size:
        raise invalid(f"Invalid vocab_size in {path}: expected {vocab_size} but got {len(keys)}")
    return keys, values


def _reader(dtype: DType) -> Callable[[bytes], Any]:
    """From the text of a field to its value; the function raises ValueError."""
    if dtype is dtypes.string:
        return lambda token: token
    if dtype in (dtypes.int32, dtypes.int64):
        low, high = int(dtype.min), int(dtype.max)

        def read_integer(token: bytes) -> int:
            value = int(token) if _INTEGER.match(token) else high + 1
            if not low <= value <= high:
                raise ValueError
            return value

        return read_integer
    if dtype in (dtypes.float32, dtypes.float64):

        def read_float(token: bytes) -> float:
            if _UNDERSCORE in token:
                raise ValueError
            return float(dtype.as_numpy_dtype(float(token)))

        return read_float
    raise errors.InvalidArgumentError.of(f"Data type {type_text(dtype)} not supported.")
