"""`cond` that decides while the graph is built, where it can.

Source: tensorflow/python/framework/smart_cond.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn.graph import folding, static_value
from kvarn.graph.tensor import Tensor
from kvarn.ops import conditional


def smart_cond(
    pred: Any,
    true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Any:
    """What one of two functions returns; only one is called if ``pred`` is known.

    Args:
      pred: a bool, 0 or 1, or a bool tensor [].
      true_fn, false_fn: without arguments; if ``pred`` is not known, as `cond` wants them.
      name: of the `cond`.

    Raises:
      TypeError: a function is not callable, or ``pred`` is something else.
    """
    if not callable(true_fn):
        raise TypeError("`true_fn` must be callable.")
    if not callable(false_fn):
        raise TypeError("`false_fn` must be callable.")
    known = smart_constant_value(pred)
    if known is None:
        return conditional.cond(pred, true_fn=true_fn, false_fn=false_fn, name=name)
    return true_fn() if known else false_fn()


def smart_constant_value(pred: Any) -> Any:
    """Whether ``pred`` is true, or None if only a run knows.

    Raises:
      TypeError: it is neither a tensor nor a bool, 0 or 1.
    """
    if isinstance(pred, Tensor):
        known = static_value.constant_value(pred)
        return folding.fold(pred) if known is None else known
    if isinstance(pred, int) and pred in (0, 1):
        return bool(pred)
    raise TypeError(f"`pred` must be a Tensor, or a Python bool, or 1 or 0. Found instead: {type(pred)}")
