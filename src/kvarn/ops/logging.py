"""Printing values while a graph runs, and the time.

Source: tensorflow/core/ops/logging_ops.cc, tensorflow/core/kernels/{logging_ops,logging_ops_timestamp}.cc,
tensorflow/python/ops/logging_ops.py.
"""

from __future__ import annotations

import pprint
import sys
import threading
import time
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.resources import KERNEL_STATE, ResourceHandle
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.ops import _format, string

_file_lock = threading.Lock()


class _Calls:
    """How often a node has run in its session."""

    def __init__(self) -> None:
        self.count = 0


@op(
    "Print",
    inputs=["input: T", "data: U"],
    outputs="output: T",
    attrs=[
        "T: type",
        "U: list(type) >= 0",
        "message: string = ''",
        "first_n: int = -1",
        "summarize: int = 3",
    ],
    stateful=True,
)
class print_:
    """``input``, after printing ``data`` on the standard error stream."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any, data: Any) -> Any:
        first_n = ctx.attrs["first_n"]
        if first_n >= 0:
            handle = ResourceHandle(KERNEL_STATE, ctx.op.name, "PrintCalls")
            calls = ctx.resources.look_up_or_create(handle, _Calls)
            if calls.count >= first_n:
                return input
            calls.count += 1
        shown = "".join(f"[{_format.summarize_value(x, ctx.attrs['summarize'])}]" for x in data)
        print(ctx.attrs["message"].decode(errors="replace") + shown, file=sys.stderr, flush=True)
        return input

    def grad(op: Any, d: Any) -> Any:
        return [d] + [None] * (len(op.inputs) - 1)


def Print(
    input_: Any,
    data: Any,
    message: str | None = None,
    first_n: int | None = None,
    summarize: int | None = None,
    name: str | None = None,
) -> Tensor:
    """``input_`` as it is; every time it is computed, ``data`` is printed on the standard error stream.

    Args:
      data: list of tensors.
      message: printed first.
      first_n: how often to print; always by default.
      summarize: how many elements to show of each tensor, 3 by default.
    """
    result: Tensor = print_(
        input_,
        data,
        message=message or "",
        first_n=-1 if first_n is None else first_n,
        summarize=3 if summarize is None else summarize,
        name=name,
    )
    return result


def _scalar_text(c: Any, input: Any) -> Any:
    if input is not None and len(input) != 0:
        raise ValueError(f"input must be a scalar, but has rank: {len(input)}")
    return []


@op(
    "PrintV2",
    inputs="input: string",
    attrs=["output_stream: string = 'stderr'", "end: string = '\n'"],
    stateful=True,
)
class print_v2_:
    """Prints a string on a stream, to the log or at the end of a file."""

    shape = _scalar_text

    def kernel(ctx: Any, input: Any) -> None:
        stream = ctx.attrs["output_stream"].decode()
        text: bytes = np.asarray(input, dtype=object)[()] + ctx.attrs["end"]
        if stream.startswith("file://"):
            with _file_lock, open(stream[len("file://") :], "ab") as file:
                file.write(text)
        elif stream in ("stdout", "stderr"):
            print(text.decode(errors="replace"), end="", file=getattr(sys, stream), flush=True)
        elif stream.startswith("log("):
            print(text.decode(errors="replace"), end="", file=sys.stderr, flush=True)
        else:
            raise errors.InvalidArgumentError.of(
                f"Unknown output stream: {stream}, Valid streams are: stdout stderr log(info) log(warning) "
                "log(error)"
            )


_LOG_STREAMS = {"info": "log(info)", "warning": "log(warning)", "error": "log(error)"}


def _stream_name(stream: Any) -> str:
    if stream is sys.stdout:
        return "stdout"
    if stream is sys.stderr or stream is None:
        return "stderr"
    if isinstance(stream, str) and stream.startswith("file://"):
        return stream
    found = _LOG_STREAMS.get(getattr(stream, "__name__", ""))
    if found is None:
        raise ValueError(
            f"Unsupported output stream, logging level, or file.{stream}. Supported streams are "
            "sys.stdout, sys.stderr, tf.logging.info, tf.logging.warning, tf.logging.error. File needs to "
            "be in the form of 'file://<filepath>'."
        )
    return found


class _Place:
    """Stands for a tensor while a structure is printed."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _with_places(value: Any, tensors: list[Tensor], place: str) -> Any:
    """``value`` with every tensor inside replaced by ``place``; the tensors are added to the list."""
    if hasattr(value, "_as_graph_element"):
        value = value._as_graph_element()
    if isinstance(value, Tensor):
        tensors.append(value)
        return _Place(place)
    if isinstance(value, SparseTensor):
        tensors.extend([value.indices, value.values, value.dense_shape])
        return _Place(f"'SparseTensor(indices={place}, values={place}, shape={place})'")
    if isinstance(value, dict):
        return {k: _with_places(value[k], tensors, place) for k in sorted(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_with_places(v, tensors, place) for v in value])
    if isinstance(value, (list, tuple)):
        return type(value)(_with_places(v, tensors, place) for v in value)
    return value


def print_v2(*inputs: Any, **kwargs: Any) -> Any:
    """An operation that prints its arguments, tensors among them.

    Args:
      *inputs: tensors, Python values, or nests of both.
      output_stream: sys.stderr (by default), sys.stdout, a function of `tf.logging`, ``file://`` and a path.
      summarize: elements to show at both ends of every dimension, 3 by default; -1 for all.
      sep: between two arguments, a space by default.
      end: after the last one, a new line by default.
      name: of the operation.

    Raises:
      ValueError: an unknown keyword or stream.
    """
    stream = _stream_name(kwargs.pop("output_stream", sys.stderr))
    name = kwargs.pop("name", None)
    summarize = kwargs.pop("summarize", 3)
    sep, end = kwargs.pop("sep", " "), kwargs.pop("end", "\n")
    if kwargs:
        raise ValueError(f"Unrecognized keyword arguments for tf.print: {kwargs}")
    only = inputs[0] if len(inputs) == 1 else None
    if isinstance(only, Tensor) and only.dtype is dtypes.string and only.static_shape == ():
        return print_v2_(only, output_stream=stream, end=end, name=name)
    place = "{}"
    while any(place in repr(x) for x in inputs if isinstance(x, str)):
        place += "_"
    tensors: list[Tensor] = []
    texts: list[str] = []
    for value in inputs:
        replaced = _with_places(value, tensors, place)
        texts.append(replaced if isinstance(replaced, str) else pprint.pformat(replaced).replace("'{", "{"))
    text = string.string_format(sep.join(texts), tensors, placeholder=place, summarize=summarize)
    return print_v2_(text, output_stream=stream, end=end, name=name)


@op("Timestamp", outputs="ts: float64", stateful=True)
class timestamp:
    """Seconds since 1970, at the moment of the run."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return np.float64(time.time())

    grad = NOT_DIFFERENTIABLE
