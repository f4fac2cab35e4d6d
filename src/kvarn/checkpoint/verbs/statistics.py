"""Statistics of a tensor, chunk by chunk: memory does not grow with the tensor.

    found = statistics_of(lambda: reader.chunks("dnn/w"), bins=20)
    found.mean, found.num_nan, found.histogram

Sums are kept in float64 and merged chunk by chunk (Chan, Golub, LeVeque 1979), so that the variance of many
numbers far from zero stays right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many finite elements lie between two edges: the last bin has its right edge too.

    Attributes:
      edges: one more than counts, ascending.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of numbers; complex numbers count by their absolute value.

    Attributes:
      count: of all elements.
      num_nan, num_inf, num_zero: of those elements.
      minimum, maximum, mean, std: over the finite elements; None if there are none.  Of integers the first
        two are exact.  The last is infinite, or NaN, if squares or sums leave the range of float64.
      histogram: if asked for, and there are finite elements.
    """

    count: int
    num_nan: int
    num_inf: int
    num_zero: int
    minimum: float | int | None
    maximum: float | int | None
    mean: float | None
    std: float | None
    histogram: Histogram | None = None


def has_statistics(dtype: npt.DTypeLike) -> bool:
    """True for numbers: integers, floats (bfloat16 and smaller ones too), complex; not for bool and strings."""
    kind = np.dtype(dtype).kind
    return kind in "iufc" or (kind == "V" and np.dtype(dtype) != np.void)


def statistics_of(chunks: Callable[[], Iterable[Array]], bins: int = 0) -> Statistics:
    """Statistics over all elements of some arrays.

    Args:
      chunks: gives the arrays; called a second time for the histogram.
      bins: of the histogram; 0 for none.

    Raises:
      ValueError: the arrays are no numbers.
    """
    total = _Sums()
    for chunk in chunks():
        total.add(chunk)
    histogram = None
    if bins and total.finite:
        histogram = _histogram(chunks, float(total.low), float(total.high), bins)
    return total.statistics(histogram)


class _Sums:
    def __init__(self) -> None:
        self.count = self.nan = self.inf = self.zero = self.finite = 0
        self.low: Any = math.inf
        self.high: Any = -math.inf
        self.mean = self.squares = 0.0

    def add(self, chunk: Array) -> None:
        numbers = _numbers(chunk)
        self.count += numbers.size
        if not numbers.size:
            return
        self.zero += int(np.count_nonzero(numbers == 0))
        if numbers.dtype.kind == "f":
            finite = np.isfinite(numbers)
            if not finite.all():
                nan = int(np.isnan(numbers).sum())
                self.nan += nan
                self.inf += int(numbers.size - np.count_nonzero(finite)) - nan
                numbers = numbers[finite]
        if not numbers.size:
            return
        self.low = min(self.low, numbers.min().item())
        self.high = max(self.high, numbers.max().item())
        wide = numbers.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(wide.mean())
            squares = float(np.square(wide - mean).sum())
        both = self.finite + numbers.size
        apart = mean - self.mean
        self.squares += squares + apart * apart * self.finite * numbers.size / both
        self.mean += apart * numbers.size / both
        self.finite = both

    def statistics(self, histogram: Histogram | None) -> Statistics:
        some = self.finite > 0
        return Statistics(
            self.count,
            self.nan,
            self.inf,
            self.zero,
            self.low if some else None,
            self.high if some else None,
            self.mean if some else None,
            math.sqrt(self.squares / self.finite) if some else None,
            histogram,
        )


def _histogram(chunks: Callable[[], Iterable[Array]], low: float, high: float, bins: int) -> Histogram:
    if low == high:
        bins = 1
    elif not math.isfinite(high - low):  # float64 from one end of its range to the other
        low, high = low / 2, high / 2
        chunks_in, scale = chunks, 0.5
        found = _histogram(lambda: (_numbers(c) * scale for c in chunks_in()), low, high, bins)
        return Histogram(tuple(edge * 2 for edge in found.edges), found.counts)
    counts = np.zeros(bins, np.int64)
    edges = np.linspace(low, high, bins + 1)
    for chunk in chunks():
        numbers = _numbers(chunk).astype(np.float64, copy=False)
        numbers = numbers[np.isfinite(numbers)]
        if low == high:
            counts[0] += numbers.size
        else:
            counts += np.histogram(numbers, bins, range=(low, high))[0]
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _numbers(chunk: Array) -> Array:
    """The elements, flat, as integers or as float64."""
    flat = chunk.reshape(-1)
    if flat.dtype.kind in "iu":
        return flat
    if not has_statistics(flat.dtype):
        raise ValueError(f"elements of type {flat.dtype} have no statistics")
    if flat.dtype.kind == "c":
        return np.abs(flat).astype(np.float64, copy=False)
    # int4 and uint4 of ml_dtypes have no arithmetic of their own; float64 holds them exactly.
    return flat.astype(np.float64)
