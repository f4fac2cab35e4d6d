"""Messages in strings: tensors as TensorProto, Examples as JSON.

Source: tensorflow/core/ops/parsing_ops.cc, tensorflow/core/kernels/{parse_tensor,example_parsing}_op{,s}.cc,
tensorflow/python/ops/parsing_ops.py, `serialize_tensor` of io_ops.py (1.15).
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from kvarn import dtypes, errors, protos
from kvarn.formats.coding import encode_varint
from kvarn.graph import shape_inference as shapes
from kvarn.graph import tensor_proto
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import Tensor
from kvarn.ops import _text
from kvarn.ops._elementwise import dims_text
from kvarn.ops._format import type_text


@op("SerializeTensor", inputs="tensor: T", outputs="serialized: string", attrs="T: type")
class serialize_tensor_:
    """A tensor as a serialized TensorProto."""

    shape = shapes.scalar

    def kernel(ctx: Any, tensor: Any) -> Any:
        dtype = ctx.attrs["T"]
        array = np.asarray(tensor, dtype=dtype.np)
        stored = array.size if dtype is dtypes.string else tensor_proto.IN_CONTENT
        return np.array(tensor_proto.encode(array, dtype, stored).SerializeToString(), dtype=object)

    grad = NOT_DIFFERENTIABLE


@op("ParseTensor", inputs="serialized: string", outputs="output: out_type", attrs="out_type: type")
class parse_tensor_:
    """The tensor of a serialized TensorProto."""

    shape = shapes.unknown

    def kernel(ctx: Any, serialized: Any) -> Any:
        from google.protobuf.message import DecodeError

        if np.ndim(serialized):
            raise errors.InvalidArgumentError.of(
                f"Expected `serialized` to be a scalar, got shape: {dims_text(serialized)}"
            )
        text = _text.scalar(serialized)
        try:
            proto = protos.TensorProto.FromString(text)
        except DecodeError:
            raise errors.InvalidArgumentError.of(
                f"Could not parse `serialized` as TensorProto: '{text.decode(errors='replace')}'"
            ) from None
        wanted = ctx.attrs["out_type"]
        try:
            found, dtype = tensor_proto.decode(proto), dtypes.as_dtype(proto.dtype)
        except (TypeError, ValueError) as problem:
            raise errors.InvalidArgumentError.of(f"Cannot parse tensor from proto: {problem}") from None
        if dtype is not wanted:
            raise errors.InvalidArgumentError.of(
                f"Type mismatch between parsed tensor ({type_text(dtype)}) and dtype ({type_text(wanted)})"
            )
        return found

    grad = NOT_DIFFERENTIABLE


def _in_order(example: Any, given: dict[str, Any]) -> bytes:
    """The bytes of an Example as TensorFlow writes them: features in JSON's order, each value with a tag."""
    if given.get("features") is None:
        return b""
    entries = given["features"].get("feature") or {}
    features = example.features.feature
    return _field(
        1,
        b"".join(_field(1, _field(1, key.encode()) + _field(2, _feature(features[key]))) for key in entries),
    )


def _feature(feature: Any) -> bytes:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return b""
    values = getattr(feature, kind).value
    if kind == "bytes_list":
        return _field(1, b"".join(_field(1, v) for v in values))
    if kind == "float_list":
        return _field(2, b"".join(b"\x0d" + struct.pack("<f", v) for v in values))
    return _field(3, b"".join(b"\x08" + encode_varint(v) for v in values))


def _field(number: int, data: bytes) -> bytes:
    """A field with a length."""
    return bytes([number << 3 | 2]) + encode_varint(len(data)) + data


@op("DecodeJSONExample", inputs="json_examples: string", outputs="binary_examples: string")
class decode_json_example_:
    """Examples in JSON as serialized ones."""

    shape = shapes.same_as(0)

    def kernel(ctx: Any, json_examples: Any) -> Any:
        from google.protobuf import json_format

        given = np.asarray(json_examples, dtype=object)
        out = np.empty(given.shape, dtype=object)
        flat = out.reshape(-1)
        for i, text in enumerate(given.reshape(-1)):
            try:
                example = json_format.Parse(text, protos.Example())
            except (json_format.ParseError, UnicodeDecodeError) as problem:
                raise errors.InvalidArgumentError.of(f"Error while parsing JSON: {problem}") from None
            flat[i] = _in_order(example, json.loads(text))
        return out

    grad = NOT_DIFFERENTIABLE


def serialize_tensor(tensor: Any, name: str | None = None) -> Tensor:
    """A tensor of any type as a string, a serialized TensorProto."""
    found: Tensor = serialize_tensor_(tensor, name=name)
    return found


def parse_tensor(serialized: Any, out_type: Any, name: str | None = None) -> Tensor:
    """The tensor of type ``out_type`` that a string, a serialized TensorProto, holds."""
    found: Tensor = parse_tensor_(serialized, out_type, name=name)
    return found


def decode_json_example(json_examples: Any, name: str | None = None) -> Tensor:
    """Strings, each an Example in JSON, as serialized Examples; for `parse_example`."""
    found: Tensor = decode_json_example_(json_examples, name=name)
    return found
