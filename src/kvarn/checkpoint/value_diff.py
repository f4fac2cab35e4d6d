"""How the elements of two arrays differ, added up array by array.

Equal means equal bits: a NaN is equal to itself, -0 is not 0.  With a tolerance numbers are equal if
``|a - b| <= atol + rtol * |b|``, and NaN is equal to NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# The place in the tensor of an element, given by its place in the flattened array that is compared.
Locate = Callable[[int], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """How two arrays of one shape differ.

    Attributes:
      count: elements compared.
      num_different: of them.
      max_abs, max_rel: largest ``|a - b|`` and ``|a - b| / |b|`` among those that are finite on both sides;
        None if there are none, or if they are no numbers.
      at: index of the element with the largest difference, or of the first that differs.
      a, b: the two elements there.
    """

    count: int = 0
    num_different: int = 0
    max_abs: float | None = None
    max_rel: float | None = None
    at: tuple[int, ...] = ()
    a: Any = None
    b: Any = None


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Of numbers; 0 and 0 ask for equal bits."""

    rtol: float = 0.0
    atol: float = 0.0


def different(a: Array, b: Array, tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """bool [n], for two arrays of n elements, equal in type and shape."""
    a, b = a.reshape(-1), b.reshape(-1)
    if a.dtype == np.object_:
        return np.fromiter((x != y for x, y in zip(a, b, strict=True)), np.bool_, a.size)
    raw_a, raw_b = (np.ascontiguousarray(x).view(np.uint8) for x in (a, b))
    if np.array_equal(raw_a, raw_b):
        return np.zeros(a.size, np.bool_)
    found: npt.NDArray[np.bool_] = (raw_a != raw_b).reshape(a.size, -1).any(axis=1)
    if tolerance == Tolerance() or a.dtype == np.bool_:
        return found
    at = np.flatnonzero(found)
    a, b = a[at], b[at]
    wide_a, wide_b, apart = _wide(a), _wide(b), _distance(a, b)
    assert apart is not None
    with np.errstate(invalid="ignore", over="ignore"):
        close = np.isfinite(apart) & (apart <= tolerance.atol + tolerance.rtol * np.abs(wide_b))
    found[at] = ~(close | (wide_a == wide_b) | (np.isnan(wide_a) & np.isnan(wide_b)))
    return found


def added(
    total: ValueDifference, a: Array, b: Array, mask: npt.NDArray[np.bool_], locate: Locate
) -> ValueDifference:
    """``total`` with one more pair of arrays.

    Args:
      mask: what `different` says of them.
      locate: the index of an element of the flattened arrays.
    """
    a, b = a.reshape(-1), b.reshape(-1)
    count = total.count + a.size
    where = np.flatnonzero(mask)
    if not where.size:
        return replace(total, count=count)
    a, b = a[where], b[where]
    found = replace(total, count=count, num_different=total.num_different + int(where.size))
    if not total.num_different:
        found = replace(found, at=locate(int(where[0])), a=_plain(a[0]), b=_plain(b[0]))
    apart = _distance(a, b)
    if apart is None:
        return found
    finite = np.isfinite(apart)
    if not finite.any():
        return found
    best = int(np.argmax(np.where(finite, apart, 0)))
    if not finite[best]:
        best = int(np.argmax(finite))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = apart / np.abs(_wide(b))
    relative = relative[np.isfinite(relative)]
    if relative.size:
        most = float(relative.max())
        found = replace(found, max_rel=most if found.max_rel is None else max(found.max_rel, most))
    if found.max_abs is None or apart[best] > found.max_abs:
        at = locate(int(where[best]))
        found = replace(found, max_abs=apart[best].item(), at=at, a=_plain(a[best]), b=_plain(b[best]))
    return found


def _distance(a: Array, b: Array) -> Array | None:
    """``|a - b|``: float64, of integers exact in uint64; None for what is no number."""
    if a.dtype in (np.bool_, np.object_):
        return None
    if a.dtype.kind in "iu":
        high, low = np.maximum(a, b), np.minimum(a, b)
        return high.astype(np.uint64) - low.astype(np.uint64)
    with np.errstate(invalid="ignore", over="ignore"):
        apart: Array = np.abs(_wide(a) - _wide(b))
    return apart


def _wide(values: Array) -> Array:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


def _plain(value: Any) -> Any:
    """An element as a Python object; of bfloat16 and its like as a float."""
    if isinstance(value, np.generic):
        return float(value) if value.dtype.kind == "V" else value.item()
    return value
