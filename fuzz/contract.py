"""What every parser promises about any bytes whatever, and how a target asks for it.

    a value, or one of the errors the parser is documented to raise, with a text that helps
    in a time that grows with the input
    without taking much more memory than the input has bytes

`attempt` holds the first on every call; the fuzzer's time limit and `measured` hold the others.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any, TypeVar

from kvarn.errors import OpError

T = TypeVar("T")

# Peak of Python's and NumPy's allocations for an input of n bytes: LARGEST_RATIO * n + SPARE_BYTES.
# A record of a table can be 3 bytes long and is 4 objects of some 60 bytes each in Python; SPARE_BYTES are
# what opening any file costs.
LARGEST_RATIO = 256
SPARE_BYTES = 1 << 20
LONGEST_SECS = 5.0


class Broken(AssertionError):
    """The contract does not hold."""


def attempt(
    function: Callable[..., T], *args: Any, refusals: tuple[type[Exception], ...] = (OpError,)
) -> T | None:
    """What ``function`` gives, or None if it refuses as it may.  Any other exception passes: a finding."""
    try:
        return function(*args)
    except refusals as error:
        if not str(error):
            raise Broken(f"{type(error).__name__} says nothing") from error
        if isinstance(error, OpError) and not error.hint:
            raise Broken(f"no hint what to do: {error}") from error
        return None


def agree(what: str, one: object, other: object) -> None:
    """Two ways to the same thing gave the same."""
    if one != other:
        raise Broken(f"{what}: {one!r} is not {other!r}")


def measured(check: Callable[[bytes], None], data: bytes) -> tuple[float, int]:
    """Runs a target; the seconds and the largest number of bytes it held at a time.

    Raises:
      Broken: more than the contract allows.
    """
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        started = time.perf_counter()
        check(data)
        secs = time.perf_counter() - started
        peak_bytes = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    if peak_bytes > LARGEST_RATIO * len(data) + SPARE_BYTES:
        raise Broken(f"{peak_bytes} bytes were taken for an input of {len(data)}")
    if secs > LONGEST_SECS:
        raise Broken(f"{secs:.1f} s for an input of {len(data)} bytes")
    return secs, peak_bytes
