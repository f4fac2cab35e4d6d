"""Lines of comma-separated values as columns.

Source: tensorflow/core/ops/parsing_ops.cc, tensorflow/core/kernels/decode_csv_op.cc, tensorflow/core/lib/strings/
numbers.cc, tensorflow/python/ops/parsing_ops.py (1.15).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.dtypes import DType
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import Tensor

_QUOTE = b'"'
_DIGITS = b"0123456789- "
_NUMERALS = b"0123456789+-.eE "
# The bits of a double that a float does not have, and the middle between two floats in them.
_REST, _MIDDLE = 0x1FFFFFFF, 0x10000000


@dataclass(frozen=True)
class CsvFormat:
    """How a line is read.

    Attributes:
      delimiter: between fields, one byte.
      quotes: whether a field may stand in quotes.
      missing: what stands for no value, beside nothing.
      columns: the fields that count, in order; all if there are none.
    """

    delimiter: bytes
    quotes: bool
    missing: bytes
    columns: tuple[int, ...]

    def fields(self, line: bytes) -> list[bytes]:
        """The fields of a line that count.

        Raises:
          InvalidArgumentError: quotes are not where they may be.
        """
        if not (self.quotes and _QUOTE in line) and b"\n" not in line and b"\r" not in line:
            found = line.split(self.delimiter) if line else []
            if not self.columns:
                return found
            return [found[i] for i in self.columns if i < len(found)]
        return self._chosen(self._split(line))

    def _chosen(self, fields: Iterator[bytes]) -> list[bytes]:
        """Those that count; what follows the last of them is not looked at."""
        if not self.columns:
            return list(fields)
        chosen: list[bytes] = []
        for i, field in enumerate(fields):
            if i == self.columns[len(chosen)]:
                chosen.append(field)
                if len(chosen) == len(self.columns):
                    break
        return chosen

    def _split(self, line: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(line):
            if line[at : at + 1] in (b"\n", b"\r"):
                at += 1
                continue
            if self.quotes and line[at : at + 1] == _QUOTE:
                field, at = self._quoted(line, at + 1)
            else:
                end = line.find(self.delimiter, at)
                end = len(line) if end < 0 else end
                field = line[at:end]
                if b"\n" in field or b"\r" in field or (self.quotes and _QUOTE in field):
                    raise errors.InvalidArgumentError.of("Unquoted fields cannot have quotes/CRLFs inside")
                at = end + 1
            yield field
        if line.endswith(self.delimiter):
            yield b""

    def _quoted(self, line: bytes, at: int) -> tuple[bytes, int]:
        """The field whose first byte is at ``at``, and where the next one begins."""
        parts: list[bytes] = []
        while True:
            end = line.find(_QUOTE, at)
            if end < 0 or (end == len(line) - 1):
                break
            parts.append(line[at:end])
            following = line[end + 1 : end + 2]
            if following == self.delimiter:
                return b"".join(parts), end + 2
            if following != _QUOTE:
                raise errors.InvalidArgumentError.of(
                    "Quote inside a string has to be escaped by another quote"
                )
            parts.append(_QUOTE)
            at = end + 2
        if end < 0:
            raise errors.InvalidArgumentError.of(
                "Quoted field has to end with quote followed by delim or end"
            )
        parts.append(line[at:end])
        return b"".join(parts), end + 2


# -- numbers --------------------------------------------------------------------------------------------


def to_int(text: bytes, bits: int) -> int | None:
    """The integer of so many bits that ``text`` spells; None if it is none."""
    stripped = text.strip(b" \t\n\v\f\r")
    digits = stripped.removeprefix(b"-")
    if not digits.isdigit():
        return None
    value = int(stripped)
    return value if -(1 << (bits - 1)) <= value < 1 << (bits - 1) else None


def to_float(text: bytes) -> float | None:
    """The number that ``text`` spells; None if it is none."""
    stripped = text.strip(b" \t\n\v\f\r")
    if b"_" in stripped or b"infinity" in stripped.lower():
        return None
    try:
        if stripped.lower().lstrip(b"+-").startswith(b"0x"):
            return float(int(stripped, 16))
        return float(stripped)
    except ValueError:
        return None


def rounded(values: Any, texts: Sequence[bytes]) -> Any:
    """Doubles, which ``texts`` spell, as floats.

    A number near the middle between two floats may become the middle as a double, which has lost the side it was on.
    """
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    middles = np.flatnonzero((values.view(np.uint64) & np.uint64(_REST)) == np.uint64(_MIDDLE))
    for i in middles.tolist():
        exact, middle = Decimal(texts[i].strip().decode()), Decimal(float(values[i]))
        if exact != middle:
            other = np.nextafter(values[i], np.float64("inf" if exact > middle else "-inf"))
            found[i] = np.float32(other)
    return found


def _column(texts: list[bytes], dtype: DType, default: Any, missing: bytes) -> Any:
    """A column as an array; None if not every text is what it should be."""
    absent = b"" in texts or (missing and missing in texts)
    if absent:
        if not np.size(default):
            return None
        value = np.asarray(default).reshape(-1)[0]
        gone = [i for i, t in enumerate(texts) if not t or t == missing]
        if dtype is not dtypes.string:
            texts = [t if t and t != missing else b"0" for t in texts]
    if dtype is dtypes.string:
        out = np.empty(len(texts), dtype=object)
        out[:] = texts
    else:
        out = _numbers(texts, dtype)
        if out is None:
            return None
    if absent:
        out[gone] = value
    return out


def _numbers(texts: list[bytes], dtype: DType) -> Any:
    """An array of the numbers that texts spell; None if they contain anything unusual."""
    joined = b"".join(texts)
    try:
        if dtype.is_integer:
            if joined.translate(None, _DIGITS):
                return None
            return np.array(list(map(int, texts)), dtype.np)
        if joined.translate(None, _NUMERALS):
            return None
        values = np.array(list(map(float, texts)), np.float64)
    except (ValueError, OverflowError):
        return None
    return values if dtype is dtypes.float64 else rounded(values, texts)


def columns_of(
    lines: Sequence[bytes], layout: CsvFormat, types: Sequence[DType], defaults: Sequence[Any]
) -> list[Any]:
    """The columns of lines, as flat arrays.

    Raises:
      InvalidArgumentError: a line has more or fewer fields, or one that is missing or no number.
    """
    rows: list[list[bytes]] = []
    problem: errors.OpError | None = None
    for i, line in enumerate(lines):
        try:
            row = layout.fields(line)
        except errors.OpError as error:
            problem = error
            break
        if len(row) != len(types):
            problem = errors.InvalidArgumentError.of(
                f"Expect {len(types)} fields but have {len(row)} in record {i}"
            )
            break
        rows.append(row)
    # What comes first is reported: fields of the lines before.
    columns: list[Any] = []
    texts = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in types]
    for column, dtype, default in zip(texts, types, defaults, strict=True):
        found = _column(column, dtype, default, layout.missing)
        if found is None:
            return _one_by_one(rows, layout, types, defaults, problem)
        columns.append(found)
    if problem is not None:
        raise problem
    return columns


def _one_by_one(
    rows: list[list[bytes]],
    layout: CsvFormat,
    types: Sequence[DType],
    defaults: Sequence[Any],
    problem: errors.OpError | None,
) -> list[Any]:
    """`columns_of` field by field, to find the first one that is wrong."""
    columns = [np.empty(len(rows), dtype.np) for dtype in types]
    for i, row in enumerate(rows):
        for f, (text, dtype, default) in enumerate(zip(row, types, defaults, strict=True)):
            if not text or text == layout.missing:
                if not np.size(default):
                    raise errors.InvalidArgumentError.of(f"Field {f} is required but missing in record {i}!")
                columns[f][i] = np.asarray(default).reshape(-1)[0]
            else:
                columns[f][i] = _field(text, dtype, f, i)
    if problem is not None:
        raise problem
    return columns


def _field(text: bytes, dtype: DType, field: int, record: int) -> Any:
    if dtype is dtypes.string:
        return text
    value: Any = to_int(text, dtype.size * 8) if dtype.is_integer else to_float(text)
    if value is None:
        kind = {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
        raise errors.InvalidArgumentError.of(
            f"Field {field} in record {record} is not a valid {kind}: {text.decode(errors='replace')}"
        )
    if dtype is dtypes.float32 and np.isfinite(value) and b"x" not in text.lower():
        return rounded(np.array([value]), [text])[0]
    return value


def layout_of(
    delimiter: bytes, quotes: bool, missing: bytes, columns: Sequence[int], count: int
) -> CsvFormat:
    """A checked `CsvFormat` for ``count`` columns.

    Raises:
      InvalidArgumentError: the delimiter is not one byte, or the columns are not as many, or in no order.
    """
    if columns and len(columns) != count:
        raise errors.InvalidArgumentError.of("select_cols should match output size")
    if any(a >= b for a, b in itertools.pairwise(columns)):
        raise errors.InvalidArgumentError.of("select_cols should be strictly increasing indices")
    if columns and columns[0] < 0:
        raise errors.InvalidArgumentError.of("select_cols should be non-negative indices")
    if len(delimiter) != 1:
        raise errors.InvalidArgumentError.of("field_delim should be only 1 char")
    return CsvFormat(delimiter, quotes, missing, tuple(int(c) for c in columns))


def _checked_defaults(defaults: Sequence[Any]) -> None:
    for i, default in enumerate(defaults):
        if np.ndim(default) > 1:
            raise errors.InvalidArgumentError.of("Each record default should be at most rank 1")
        if np.size(default) > 1:
            raise errors.InvalidArgumentError.of(
                f"There should only be 1 default per field but field {i} has {np.size(default)}"
            )


@op(
    "DecodeCSV",
    inputs="records: string, record_defaults: OUT_TYPE",
    outputs="output: OUT_TYPE",
    attrs=[
        "OUT_TYPE: list({float,double,int32,int64,string})",
        "field_delim: string = ','",
        "use_quote_delim: bool = true",
        "na_value: string = ''",
        "select_cols: list(int) = []",
    ],
)
class decode_csv_:
    """Lines of text as columns, which have the shape of the lines."""

    def shape(c: Any, records: Any, record_defaults: Any) -> Any:
        for default in record_defaults:
            if default is not None and len(default) > 1:
                raise ValueError(f"Shape must be at most rank 1 but is rank {len(default)}")
            if default and default[0] is not None and default[0] > 1:
                raise ValueError("Shape of a default must be a length-0 or length-1 vector, or a scalar.")
        return [records] * len(record_defaults)

    def kernel(ctx: Any, records: Any, record_defaults: Any) -> Any:
        attrs = ctx.attrs
        if ctx.cache is None:
            ctx.cache = layout_of(
                attrs["field_delim"],
                attrs["use_quote_delim"],
                attrs["na_value"],
                attrs["select_cols"],
                len(attrs["OUT_TYPE"]),
            )
        _checked_defaults(record_defaults)
        given = np.asarray(records, dtype=object)
        columns = columns_of(given.reshape(-1).tolist(), ctx.cache, attrs["OUT_TYPE"], record_defaults)
        shaped = [c.reshape(given.shape) if given.ndim else c[0] for c in columns]
        return shaped[0] if len(shaped) == 1 else tuple(shaped)

    grad = NOT_DIFFERENTIABLE


def decode_csv(
    records: Any,
    record_defaults: Any,
    field_delim: str = ",",
    use_quote_delim: bool = True,
    name: str | None = None,
    na_value: str = "",
    select_cols: Sequence[int] | None = None,
) -> list[Tensor]:
    """Lines of comma-separated values as columns.

    Args:
      records: strings of any shape, which the columns have, too.
      record_defaults: for each column a scalar or a vector of one value, which stands for fields without one; or an
        empty vector, if there is none. They say the types: float32, float64, int32, int64 or string.
      field_delim: between fields.
      use_quote_delim: whether a field may stand in quotes.
      na_value: what stands for no value, beside nothing.
      select_cols: the numbers of the columns that count, in order.

    Raises:
      ValueError: ``select_cols`` are in no order, negative, or another number than the defaults.
      InvalidArgumentError (when run): a line has more or fewer fields, or one that is missing or no number.
    """
    return _decode_csv(records, record_defaults, field_delim, use_quote_delim, na_value, select_cols, name)


def decode_csv_v2(
    records: Any,
    record_defaults: Any,
    field_delim: str = ",",
    use_quote_delim: bool = True,
    na_value: str = "",
    select_cols: Sequence[int] | None = None,
    name: str | None = None,
) -> list[Tensor]:
    """`decode_csv` with the arguments in another order."""
    return _decode_csv(records, record_defaults, field_delim, use_quote_delim, na_value, select_cols, name)


def _decode_csv(
    records: Any,
    record_defaults: Any,
    field_delim: str,
    use_quote_delim: bool,
    na_value: str,
    select_cols: Sequence[int] | None,
    name: str | None,
) -> list[Tensor]:
    columns = list(select_cols or ())
    if any(a >= b for a, b in itertools.pairwise(columns)):
        raise ValueError("select_cols is not strictly increasing.")
    if columns and columns[0] < 0:
        raise ValueError("select_cols contains negative values.")
    if select_cols is not None and len(columns) != len(record_defaults):
        raise ValueError("Length of select_cols and record_defaults do not match.")
    found: list[Tensor] = decode_csv_(
        records=records,
        record_defaults=record_defaults,
        field_delim=field_delim,
        use_quote_delim=use_quote_delim,
        na_value=na_value,
        select_cols=columns,
        name=name,
    )
    return found
