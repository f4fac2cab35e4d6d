"""Histograms of summaries: buckets that grow by a tenth, from 1e-12 to 1e20 and the same below zero.

Source: tensorflow/core/lib/histogram/histogram.cc.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_LARGEST: Final = sys.float_info.max
_GROWTH: Final = 1.1


@functools.cache
def bucket_limits() -> npt.NDArray[np.float64]:
    """The upper limits of the buckets, which are no part of them: -max, ..., 0, ..., max."""
    limits = []
    value = 1.0e-12
    while value < 1.0e20:
        limits.append(value)
        value *= _GROWTH
    limits.append(_LARGEST)
    return np.array([*(-x for x in reversed(limits)), 0.0, *limits])


def fill(proto: Any, values: npt.NDArray[np.float64]) -> None:
    """Makes a HistogramProto that of finite values; of a run of empty buckets only the last stands in it."""
    limits = bucket_limits()
    places = np.minimum(np.searchsorted(limits, values, side="right"), len(limits) - 1)
    counts = np.bincount(places, minlength=len(limits)).astype(np.float64)
    proto.min = values.min(initial=_LARGEST)
    proto.max = values.max(initial=-_LARGEST)
    proto.num = values.size
    proto.sum = _sum(values)
    proto.sum_squares = _sum(values * values)
    full = counts > 0
    kept = full | np.append(full[1:], True)
    proto.bucket_limit.extend(limits[kept].tolist())
    proto.bucket.extend(counts[kept].tolist())


def _sum(values: npt.NDArray[np.float64]) -> float:
    """Added one after the other, from zero: other orders round otherwise."""
    with np.errstate(over="ignore", invalid="ignore"):
        return 0.0 + float(np.cumsum(values)[-1]) if values.size else 0.0
