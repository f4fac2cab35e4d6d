"""Bytes in strings: as numbers, and in web-safe base64.

Source: tensorflow/core/ops/{parsing_ops,string_ops}.cc, tensorflow/core/kernels/{decode_raw,base64}_ops.cc,
tensorflow/core/lib/strings/base64.cc, tensorflow/python/ops/parsing_ops.py.
"""

from __future__ import annotations

import base64
import string
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import Tensor

_WEB_SAFE = frozenset((string.ascii_letters + string.digits + "-_").encode())


def _each(function: Any, value: Any) -> Any:
    given = np.asarray(value, dtype=object)
    out = np.empty(given.shape, dtype=object)
    flat = out.reshape(-1)
    for i, text in enumerate(given.reshape(-1)):
        flat[i] = function(text)
    return out


def _decoded(text: bytes) -> bytes:
    body = text
    if len(text) % 4 == 0:
        body = text[:-2] if text.endswith(b"==") else text.removesuffix(b"=")
    if len(body) % 4 == 1:
        raise errors.InvalidArgumentError.of("Base64 string length cannot be 1 modulo 4.")
    if not _WEB_SAFE.issuperset(body):
        raise errors.InvalidArgumentError.of("Invalid character found in base64.")
    return base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4))


@op("EncodeBase64", inputs="input: string", outputs="output: string", attrs="pad: bool = false")
class encode_base64:
    """Strings in web-safe base64, filled up with ``=`` to a multiple of four characters if ``pad``."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        pad = ctx.attrs["pad"]

        def encoded(text: bytes) -> bytes:
            found = base64.urlsafe_b64encode(text)
            return found if pad else found.rstrip(b"=")

        return _each(encoded, input)

    grad = NOT_DIFFERENTIABLE


@op("DecodeBase64", inputs="input: string", outputs="output: string")
class decode_base64:
    """What strings in web-safe base64, filled up or not, stand for."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, input: Any) -> Any:
        return _each(_decoded, input)

    grad = NOT_DIFFERENTIABLE


@op(
    "DecodeRaw",
    inputs="bytes: string",
    outputs="output: out_type",
    attrs=[
        "out_type: {half,float,double,int32,uint16,uint8,int16,int8,int64,complex64,complex128,bool}",
        "little_endian: bool = true",
    ],
)
class decode_raw_:
    """The bytes of strings, all of one length, as numbers along a new last dimension."""

    def shape(c: Any, bytes: Any) -> Any:
        return None if bytes is None else (*bytes, None)

    def kernel(ctx: Any, bytes: Any) -> Any:
        given = np.asarray(bytes, dtype=object)
        texts = list(given.reshape(-1))
        kind = ctx.attrs["out_type"]
        size = len(texts[0]) if texts else 0
        for i, text in enumerate(texts):
            if len(text) != size:
                raise errors.InvalidArgumentError.of(
                    "DecodeRaw requires input strings to all be the same size, but element "
                    f"{i} has size {size} != {len(text)}"
                )
        if size % kind.size:
            raise errors.InvalidArgumentError.of(
                f"Input to DecodeRaw has length {size} that is not a multiple of {kind.size}, the size of "
                f"{kind.name}"
            )
        order = kind.np.newbyteorder("<" if ctx.attrs["little_endian"] else ">")
        numbers = np.frombuffer(b"".join(texts), order).astype(kind.np)
        return numbers.reshape(*given.shape, size // kind.size)

    grad = NOT_DIFFERENTIABLE


def decode_raw(
    input_bytes: Any = None,
    out_type: Any = None,
    little_endian: bool = True,
    name: Any = None,
    bytes: Any = None,
) -> Tensor:
    """The bytes of strings as numbers.

    Args:
      input_bytes: strings, all of one length, which is a multiple of the number's size. ``bytes`` is the old
        name of the argument.
      out_type: what the numbers are.
      little_endian: whether their lowest byte comes first.

    Raises:
      ValueError: both names of the first argument, or neither, are given.
    """
    if (input_bytes is None) == (bytes is None):
        raise ValueError("Exactly one of 'input_bytes' and its old name 'bytes' must be given")
    result: Tensor = decode_raw_(
        bytes if input_bytes is None else input_bytes, out_type, little_endian, name=name
    )
    return result
