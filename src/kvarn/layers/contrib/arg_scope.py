"""Argument scopes: defaults of keyword arguments for functions that are called inside.

    with arg_scope([fully_connected], activation_fn=tf.nn.tanh):
        y = fully_connected(x, 3)

Source: tensorflow/contrib/framework/python/ops/arg_scope.py (1.15).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

_Scope = dict[str, dict[str, Any]]

_stack: list[_Scope] = [{}]
_known: dict[str, tuple[str, ...]] = {}


def current_arg_scope() -> _Scope:
    """The defaults that hold: by function, by argument."""
    return _stack[-1]


def arg_scope_func_key(op: Callable[..., Any]) -> str:
    """What stands for a function in scopes."""
    return getattr(op, "_key_op", str(op))


@contextlib.contextmanager
def arg_scope(list_ops_or_scope: Any, **kwargs: Any) -> Iterator[_Scope]:
    """Inside, functions have other defaults.

    Args:
      list_ops_or_scope: a list of functions that are decorated with `add_arg_scope`, or a scope as this yields it.
      **kwargs: the defaults; none with a scope.

    Yields:
      The scope.

    Raises:
      TypeError: the first argument is neither.
      ValueError: a function is not decorated, or there are defaults besides a scope.
    """
    if isinstance(list_ops_or_scope, dict):
        if kwargs:
            raise ValueError(
                "When attempting to re-use a scope by suppling adictionary, kwargs must be empty."
            )
        scope = dict(list_ops_or_scope)
    elif isinstance(list_ops_or_scope, (list, tuple)):
        scope = dict(current_arg_scope())
        for function in list_ops_or_scope:
            key = arg_scope_func_key(function)
            if not has_arg_scope(function):
                raise ValueError(
                    "%s is not decorated with @add_arg_scope", (function.__module__, function.__name__)
                )
            scope[key] = {**scope.get(key, {}), **kwargs}
    else:
        raise TypeError("list_ops_or_scope must either be a list/tuple or reused scope (i.e. dict)")
    _stack.append(scope)
    try:
        yield scope
    finally:
        _stack.pop()


def add_arg_scope(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function so that argument scopes can give defaults for its keyword arguments."""
    key = arg_scope_func_key(func)

    @functools.wraps(func)
    def in_scope(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **{**current_arg_scope().get(key, {}), **kwargs})

    parameters = inspect.signature(func).parameters.values()
    _known[key] = tuple(p.name for p in parameters if p.default is not inspect.Parameter.empty)
    in_scope._key_op = key  # type: ignore[attr-defined]
    return in_scope


def has_arg_scope(func: Callable[..., Any]) -> bool:
    """Whether a function is decorated with `add_arg_scope`."""
    return arg_scope_func_key(func) in _known


def arg_scoped_arguments(func: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments of a decorated function that scopes can set."""
    return _known[arg_scope_func_key(func)]
