"""Eager mode, which kvarn does not have: what programs for both ask of it.

Source: tensorflow/python/eager/context.py (1.15).
"""

from __future__ import annotations

import contextlib
from typing import Any

from kvarn import errors

GRAPH_MODE = 0
EAGER_MODE = 1


def executing_eagerly() -> bool:
    """False."""
    return False


def in_eager_mode() -> bool:
    """False."""
    return False


def graph_mode() -> Any:
    """A context in which graphs are built, as everywhere."""
    return contextlib.nullcontext()


def eager_mode() -> Any:
    """Raises UnimplementedError."""
    raise errors.UnimplementedError.of(
        "kvarn does not have eager execution", hint="Build a graph, and run it in a Session."
    )
