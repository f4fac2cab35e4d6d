"""Python functions as operations.

Source: tensorflow/core/ops/script_ops.cc, tensorflow/python/lib/core/py_func.cc,
tensorflow/python/ops/script_ops.py.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph.graph import Graph, get_default_graph
from kvarn.graph.op import NOT_DIFFERENTIABLE, op

# Functions by the token that a node holds; they live as long as the graph that calls them.
_functions: weakref.WeakValueDictionary[str, _Callback] = weakref.WeakValueDictionary()
_held: weakref.WeakKeyDictionary[Graph, list[_Callback]] = weakref.WeakKeyDictionary()
_numbers = itertools.count()


class _Callback:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


# The class of error that the class of a function's exception becomes; all others are unknown.
_ERRORS: tuple[tuple[type[BaseException], type[errors.OpError]], ...] = (
    (ValueError, errors.InvalidArgumentError),
    (TypeError, errors.InvalidArgumentError),
    (StopIteration, errors.OutOfRangeError),
    (MemoryError, errors.ResourceExhaustedError),
    (NotImplementedError, errors.UnimplementedError),
)


def _as_array(value: Any) -> Any:
    """What a function returned as an array; text becomes bytes."""
    array = np.asarray(value)
    if array.dtype.kind not in "SU":
        return array
    # Through objects: NumPy's own strings drop zero bytes at the end.
    given = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
    out = np.empty(given.shape, dtype=object)
    flat = out.reshape(-1)
    for i, text in enumerate(given.reshape(-1)):
        flat[i] = text.encode() if isinstance(text, str) else bytes(text)
    return out


def _call(ctx: Any, input: Any) -> Any:
    token = ctx.attrs["token"].decode()
    callback = _functions.get(token)
    if callback is None:
        raise errors.InvalidArgumentError.of(
            f"callback {token} is not found",
            name=ctx.op.name,
            hint="A Python function belongs to the process that made the graph; build that part anew.",
        )
    # A function may keep or change what it is given.
    given = [x[()] if x.ndim == 0 and x.dtype.hasobject else np.array(x) for x in map(np.asarray, input)]
    try:
        result = callback.function(*given)
    except Exception as e:
        kind = next((own for cls, own in _ERRORS if isinstance(e, cls)), errors.UnknownError)
        raise kind.of(f"{type(e).__name__}: {e}", name=ctx.op.name) from e
    values = [_as_array(v) for v in (result if isinstance(result, (tuple, list)) else [result])]
    wanted = ctx.attrs["Tout"]
    if len(wanted) == 0 and result is None:
        return ()
    if len(values) != len(wanted):
        raise errors.InvalidArgumentError.of(
            f"{token} returns {len(values)} values, but expects to see {len(wanted)} values.",
            name=ctx.op.name,
        )
    for i, (value, dtype) in enumerate(zip(values, wanted, strict=True)):
        found = dtypes.string if value.dtype.hasobject else dtypes.as_dtype(value.dtype)
        if found is not dtype:
            raise errors.InvalidArgumentError.of(
                f"{i}-th value returned by {token} is {found.name}, but expects {dtype.name}",
                name=ctx.op.name,
            )
    return tuple(values) if len(values) != 1 else values[0]


def _unknown_shapes(c: Any, input: Any) -> Any:
    return [None] * len(c.attrs["Tout"])


@op(
    "PyFunc",
    inputs="input: Tin",
    outputs="output: Tout",
    attrs=["token: string", "Tin: list(type) >= 0", "Tout: list(type) >=0"],
    stateful=True,
)
class py_func_:
    """What a Python function returns for arrays; called on every run."""

    shape = _unknown_shapes

    def kernel(ctx: Any, input: Any) -> Any:
        return _call(ctx, input)

    grad = NOT_DIFFERENTIABLE


@op(
    "PyFuncStateless",
    inputs="input: Tin",
    outputs="output: Tout",
    attrs=["token: string", "Tin: list(type) >= 0", "Tout: list(type) >= 0"],
)
class py_func_stateless:
    """What a Python function that depends on its arguments alone returns for arrays."""

    shape = _unknown_shapes

    def kernel(ctx: Any, input: Any) -> Any:
        return _call(ctx, input)

    grad = NOT_DIFFERENTIABLE


def py_func(
    func: Callable[..., Any], inp: Any, Tout: Any, stateful: bool = True, name: str | None = None
) -> Any:
    """A node that calls a Python function.

    Args:
      func: gets an array for each tensor (bytes for a scalar string) and returns an array or a list of them.
      inp: list of tensors.
      Tout: the element type of what it returns, or a list of types.
      stateful: whether it may return something else for the same arguments.

    Returns:
      A tensor of unknown shape, or a list if ``Tout`` is one; the Operation for an empty list.

    Raises:
      ValueError: ``func`` cannot be called.
      OpError (when run): the function failed (InvalidArgumentError for ValueError and TypeError,
        UnknownError for most others), or returned another number or type of values.
    """
    if not callable(func):
        raise ValueError(f"Expected func to be callable, got func of type {type(func)}")
    several = isinstance(Tout, (list, tuple))
    token = f"pyfunc_{next(_numbers)}"
    callback = _functions[token] = _Callback(func)
    _held.setdefault(get_default_graph(), []).append(callback)
    make = py_func_ if stateful else py_func_stateless
    result = make(input=inp, token=token, Tout=list(Tout) if several else [Tout], name=name)
    return result if several else result[0]


def numpy_function(func: Callable[..., Any], inp: Any, Tout: Any, name: str | None = None) -> Any:
    """`py_func` of a stateful function."""
    return py_func(func, inp, Tout, stateful=True, name=name)
