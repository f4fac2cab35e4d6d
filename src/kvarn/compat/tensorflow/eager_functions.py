"""Functions that TensorFlow traces when they are called (``tf.function``, ``defun``): kvarn does not.

They can be defined, since programs define them beside what they use; calling one raises UnimplementedError.

Source: tensorflow/python/eager/{def_function,function}.py (1.15).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from kvarn import errors


def function(func: Callable[..., Any] | None = None, *args: Any, **kwargs: Any) -> Any:
    """The function, or a decorator, as ``tf.function``; the result cannot be called."""
    if func is None or not callable(func):
        return function

    @functools.wraps(func)
    def traced(*unused_args: Any, **unused_kwargs: Any) -> Any:
        name = getattr(func, "__qualname__", repr(func))
        raise errors.UnimplementedError.of(
            f"kvarn does not trace functions: '{name}' was defined with tf.function or defun",
            name=name,
            hint="Call the undecorated function where the graph is built.",
        )

    return traced


defun = defun_with_attributes = function
