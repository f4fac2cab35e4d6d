"""Which behaviour of later TensorFlows this one has: that of 1.15.

Source: tensorflow/python/compat/compat.py (1.15).
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator

_HORIZON = datetime.date(2019, 8, 21)
_DELTA_DAYS = "TF_FORWARD_COMPATIBILITY_DELTA_DAYS"

_horizon = _HORIZON + datetime.timedelta(days=int(os.environ.get(_DELTA_DAYS) or 0))


def forward_compatible(year: int, month: int, day: int) -> bool:
    """Whether what is to change on that day may be used already."""
    return _horizon > datetime.date(year, month, day)


@contextlib.contextmanager
def forward_compatibility_horizon(year: int, month: int, day: int) -> Iterator[None]:
    """Inside, `forward_compatible` takes that day for the horizon."""
    global _horizon
    old, _horizon = _horizon, datetime.date(year, month, day)
    try:
        yield
    finally:
        _horizon = old
