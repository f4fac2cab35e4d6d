"""Python's `inspect` with what it had when TensorFlow 1 was written.

Source: tensorflow/python/util/tf_inspect.py (1.15).
"""

from __future__ import annotations

import inspect
from inspect import *  # noqa: F403
from typing import Any, NamedTuple


class ArgSpec(NamedTuple):
    """The parameters of a function."""

    args: list[str]
    varargs: str | None
    keywords: str | None
    defaults: tuple[Any, ...] | None


def getargspec(obj: Any) -> ArgSpec:
    """The parameters of a function; those that are keywords only are left out."""
    found = inspect.getfullargspec(obj)
    return ArgSpec(found.args, found.varargs, found.varkw, found.defaults)
