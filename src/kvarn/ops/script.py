"""Python functions as operations.

Source: tensorflow/core/ops/script_ops.cc, tensorflow/python/lib/core/py_func.cc,
tensorflow/python/ops/script_ops.py.
"""

from __future__ import annotations

import itertools
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph.graph import get_default_graph
from kvarn.graph.op import NOT_DIFFERENTIABLE, op

# Functions by the token that a node holds.  Each lives as long as the graph that was being built: the graph holds
# it, so that one that itself refers to the graph goes with it.
_functions: weakref.WeakValueDictionary[str, _Callback] = weakref.WeakValueDictionary()
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


def _checked(value: Any, array: Any) -> Any:
    """``array``, made of ``value``, with text as bytes.  InternalError for what no tensor can hold."""
    if array.dtype.kind in "SUO":
        # Through objects: NumPy's own strings drop zero bytes at the end.
        given = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
        out = np.empty(given.shape, dtype=object)
        flat = out.reshape(-1)
        for i, text in enumerate(given.reshape(-1)):
            if not isinstance(text, (str, bytes)):
                raise errors.InternalError.of(f"Unsupported object type {type(text).__name__}")
            flat[i] = text.encode() if isinstance(text, str) else bytes(text)
        return out
    if array.dtype.kind == "V" and array.dtype.names is not None:
        raise errors.InternalError.of("Unsupported numpy data type")
    try:
        dtypes.as_dtype(array.dtype)
    except TypeError:
        raise errors.InternalError.of(f"Unsupported numpy type: {array.dtype}") from None
    return array


def _is_none(value: Any) -> bool:
    """Whether a function returned None, or an array that is nothing else."""
    return value is None or (
        isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.hasobject and value[()] is None
    )


def _results(function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    """The arrays that ``function`` returns; its exceptions as errors that tell where they come from."""
    try:
        result = function(*arguments)
        if _is_none(result):
            return []
        values = result if isinstance(result, (tuple, list)) else [result]
        arrays = [np.asarray(v) for v in values]
    except Exception as e:
        found = [own for cls, own in _ERRORS if isinstance(e, cls) and not isinstance(e, errors.OpError)]
        kind = found[0] if found else errors.UnknownError
        # From the function on: who called it is not the program's.
        shown = "".join(traceback.format_exception(type(e), e, e.__traceback__ and e.__traceback__.tb_next))
        raise kind.of(f"{type(e).__name__}: {e}\n{shown}") from e
    return [_checked(v, array) for v, array in zip(values, arrays, strict=True)]


def _call(ctx: Any, input: Any) -> Any:
    token = ctx.attrs["token"].decode()
    callback = _functions.get(token)
    if callback is None:
        raise errors.InvalidArgumentError.of(
            f"ValueError: callback {token} is not found",
            name=ctx.op.name,
            hint="A Python function belongs to the process that made the graph; build that part anew.",
        )
    # A function may keep or change what it is given.
    given = [x[()] if x.ndim == 0 and x.dtype.hasobject else np.array(x) for x in map(np.asarray, input)]
    values = _results(callback.function, given)
    wanted = ctx.attrs["Tout"]
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
      A tensor of unknown shape, or a list if ``Tout`` is one; the Operation of a stateful one for an empty list.

    Raises:
      ValueError: ``func`` cannot be called.
      OpError (when run): the function failed (InvalidArgumentError for ValueError and TypeError,
        UnknownError for most others; the message has its traceback), or returned another number or type of
        values, or what no tensor can hold (InternalError).
    """
    if not callable(func):
        raise ValueError(f"Expected func to be callable, got func of type {type(func)}")
    several = isinstance(Tout, (list, tuple))
    token = f"pyfunc_{next(_numbers)}"
    callback = _functions[token] = _Callback(func)
    graph: Any = get_default_graph()
    while graph._outer_graph is not None:
        # A function runs as long as the graph that it was made for.
        graph = graph._outer_graph
    graph.__dict__.setdefault("_py_funcs_used_in_graph", []).append(callback)
    make = py_func_ if stateful else py_func_stateless
    result = make(input=inp, token=token, Tout=list(Tout) if several else [Tout], name=name)
    return result if several else result[0]


def numpy_function(func: Callable[..., Any], inp: Any, Tout: Any, name: str | None = None) -> Any:
    """`py_func` of a stateful function."""
    return py_func(func, inp, Tout, stateful=True, name=name)


def eager_py_func(func: Callable[..., Any], inp: Any, Tout: Any, name: str | None = None) -> Any:
    """`tf.py_function`: refused, as its function gets tensors that are computed at once.

    Raises:
      ValueError: ``func`` cannot be called.
      UnimplementedError: always else.
    """
    if not callable(func):
        raise ValueError(f"Expected func to be callable, got func of type {type(func)}")
    raise errors.UnimplementedError.of(
        "tf.py_function needs eager execution, which kvarn does not have",
        hint="Use tf.py_func or tf.numpy_function: their functions get and return NumPy arrays, without a gradient.",
    )
