"""Values as text, the way TensorFlow's runtime prints them.

Source: tensorflow/core/framework/tensor.cc (SummarizeValue), tensorflow/core/lib/strings/numbers.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kvarn.dtypes import DType

_TYPE_TEXTS = {"float32": "float", "float64": "double", "float16": "half"}


def type_text(dtype: DType) -> str:
    """The name of a type in the runtime's messages: ``float``, ``int64``."""
    return _TYPE_TEXTS.get(dtype.name, dtype.name)


_ESCAPES = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}


def c_escape(data: bytes) -> str:
    """``data`` with everything that is not printable ASCII as a C escape (octal)."""
    return "".join(_ESCAPES.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in data)


def _general(value: float, digits: int) -> str:
    if value != value:
        # The C library shows the sign of a NaN.
        return "-nan" if np.signbit(value) else "nan"
    return f"{value:.{digits}g}"


def float_text(value: Any) -> str:
    """A float32 in six digits if these give it back, otherwise in nine."""
    number = float(value)
    text = _general(number, 6)
    return text if np.float32(text) == np.float32(value) or number != number else _general(number, 9)


def double_text(value: Any) -> str:
    """A float64 in 15 digits if these give it back, otherwise in 17."""
    number = float(value)
    text = _general(number, 15)
    return text if float(text) == number or number != number else _general(number, 17)


def element_text(value: Any, quoted: bool = False) -> str:
    """One element as the runtime prints it."""
    if isinstance(value, bytes):
        return f'"{c_escape(value)}"' if quoted else c_escape(value)
    kind = np.asarray(value).dtype
    if kind.kind == "b":
        return "1" if value else "0"
    if kind.kind in "iu":
        return str(int(value))
    if kind == np.float64:
        return double_text(value)
    if kind in (np.float32, np.float16):
        return float_text(value)
    return "?"


def summarize_value(value: Any, max_entries: int) -> str:
    """The first elements of a tensor on one line, ``...`` where there are more.

    Args:
      max_entries: elements to show; negative for all.
    """
    array = np.asarray(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)
    total = array.size
    limit = total if max_entries < 0 else min(max_entries, total)
    more = "..." if total > limit else ""
    flat = array.ravel()
    irregular = array.dtype.kind not in "biufO" or array.dtype.kind == "V"
    if array.ndim == 0 or irregular:
        return " ".join(element_text(x) for x in flat[:limit]) + more
    return "".join(_rows(flat, array.shape, limit)) + more


def _rows(flat: Any, shape: tuple[int, ...], limit: int) -> Iterator[str]:
    """Brackets open for what begins before the limit; the outermost dimension has none."""
    position = 0

    def walk(axis: int) -> Iterator[str]:
        nonlocal position
        if position >= limit:
            return
        if axis == len(shape) - 1:
            for i in range(shape[axis]):
                if position >= limit:
                    if axis != 0:
                        yield "..."
                    return
                if i > 0:
                    yield " "
                yield element_text(flat[position])
                position += 1
            return
        for _ in range(shape[axis]):
            opened = position < limit
            if opened:
                yield "["
            yield from walk(axis + 1)
            if position < limit or opened:
                yield "]"

    return walk(0)


def summarize_value_v2(value: Any, at_ends: int) -> str:
    """A tensor in brackets, one row a line, ``...`` in the middle of long dimensions.

    Args:
      at_ends: elements to show at both ends of a dimension; negative for all.
    """
    array = np.asarray(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)
    if array.ndim == 0:
        return element_text(array[()], quoted=True) if at_ends != 0 else "..."
    ends = array.size if at_ends < 0 else min(at_ends, array.size)

    def walk(part: Any, axis: int) -> str:
        if axis == array.ndim:
            return element_text(part, quoted=True)
        gap = " " if axis == array.ndim - 1 else "\n" * (array.ndim - axis - 1) + " " * (axis + 1)
        count = len(part)
        items = [walk(part[i], axis + 1) for i in range(min(ends, count))]
        if count > 2 * ends:
            items.append("...")
        items += [walk(part[i], axis + 1) for i in range(max(ends, count - ends), count)]
        return "[" + gap.join(items) + "]"

    return walk(array, 0)
