"""Bytes in strings: as numbers, and in web-safe base64.

Source: tensorflow/core/ops/{parsing_ops,string_ops}.cc, tensorflow/core/kernels/{decode_raw_op,decode_padded_raw_op,
base64_ops}.cc, tensorflow/core/lib/strings/base64.cc, tensorflow/python/ops/parsing_ops.py.
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
from kvarn.ops._elementwise import dims_text

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


@op(
    "DecodePaddedRaw",
    inputs=["input_bytes: string", "fixed_length: int32"],
    outputs="output: out_type",
    attrs=[
        "out_type: {half,float,double,int32,uint16,uint8,int16,int8,int64}",
        "little_endian: bool = true",
    ],
)
class decode_padded_raw:
    """The first bytes of strings, zeros after shorter ones, as numbers along a new last dimension."""

    def shape(c: Any, input_bytes: Any, fixed_length: Any) -> Any:
        if fixed_length:
            raise ValueError(f"Input must be scalar but has rank {len(fixed_length)}")
        length, size = c.constant_value(1), c.attrs["out_type"].size
        if length is not None and length < 0:
            raise ValueError(f"Dimension size, given by scalar input 1, must be non-negative but is {length}")
        if length is not None and length % size:
            raise ValueError(f"Dimension size must be evenly divisible by {size} but is {length}")
        return (
            None if input_bytes is None else (*input_bytes, None if length is None else int(length) // size)
        )

    def kernel(ctx: Any, input_bytes: Any, fixed_length: Any) -> Any:
        if np.ndim(fixed_length):
            raise errors.InvalidArgumentError.of(f"k must be scalar, got shape {dims_text(fixed_length)}")
        length, kind = int(fixed_length), ctx.attrs["out_type"]
        if length % kind.size:
            raise errors.InvalidArgumentError.of(
                f"fixed_length ({length}) must be a multiple of the size of out_type ({kind.size})"
            )
        if length <= 0:
            raise errors.InvalidArgumentError.of(f"fixed_length ({length}) must be greater than zero.")
        given = np.asarray(input_bytes, dtype=object)
        order = kind.np.newbyteorder("<" if ctx.attrs["little_endian"] else ">")
        data = b"".join(text[:length].ljust(length, b"\0") for text in given.reshape(-1))
        return np.frombuffer(data, order).astype(kind.np).reshape(*given.shape, length // kind.size)

    grad = NOT_DIFFERENTIABLE


def decode_raw(
    input_bytes: Any,
    out_type: Any,
    little_endian: bool = True,
    fixed_length: Any = None,
    name: str | None = None,
) -> Tensor:
    """The bytes of strings as numbers.

    Args:
      input_bytes: strings, all of one length, which is a multiple of the number's size.
      out_type: what the numbers are.
      little_endian: whether their lowest byte comes first.
      fixed_length: how many bytes to take of each string, which then may be of any length: zeros follow a
        shorter one.
    """
    result: Tensor
    if fixed_length is None:
        result = decode_raw_(input_bytes, out_type, little_endian, name=name)
    else:
        result = decode_padded_raw(input_bytes, fixed_length, out_type, little_endian, name=name)
    return result


def decode_raw_v1(
    input_bytes: Any = None,
    out_type: Any = None,
    little_endian: bool = True,
    name: Any = None,
    bytes: Any = None,
) -> Tensor:
    """`decode_raw` of strings of one length; ``bytes`` is the old name of its first argument.

    Raises:
      ValueError: both names of the first argument, or neither, are given, or no type.
    """
    if (input_bytes is None) == (bytes is None):
        raise ValueError("Exactly one of 'input_bytes' and its old name 'bytes' must be given")
    if out_type is None:
        raise ValueError("decode_raw_v1() missing 1 positional argument: 'out_type'")
    result: Tensor = decode_raw_(
        bytes if input_bytes is None else input_bytes, out_type, little_endian, name=name
    )
    return result
