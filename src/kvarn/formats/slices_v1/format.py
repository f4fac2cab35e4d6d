"""The records of a V1 checkpoint: one table per shard, names and values together.

    key ""             SavedTensorSlices  1 meta
    (meta)             SavedTensorSliceMeta  1 tensor, one message per tensor | 2 versions
    (tensor)           SavedSliceMeta  1 name | 2 shape | 3 type | 4 slice, one per slice in this file
    key of a slice     SavedTensorSlices  2 data
    (data)             SavedSlice  1 name | 2 slice | 3 data, a TensorProto with nothing but its values

Every tensor has a slice record, one that is stored whole too: its slice is whole in every dimension, by
spelling.  Unlike V2, a slice that covers everything in numbers keeps its numbers.  Keys are those of
`kvarn.formats.ordered_code`, messages those of `kvarn.formats.messages`.

    half h = [1.5]     key    00 68 00 01 | 01 01 | 80 7f
                       value  12 0d | 0a 01 68 | 12 02 0a 00 | 1a 04 6a 02 80 7c

No value has a checksum of its own: that of its block protects it, and damage to a block loses all of its
tensors.

Source: tensorflow/core/util/saved_tensor_slice.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from kvarn.formats.coding import DecodeError, encode_varint
from kvarn.formats.messages import Versions, parse_shape, parse_slice, serialize_shape, serialize_slice
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.formats.wire import BYTES, VARINT, bytes_field, fields, int_field, tag

META_KEY = b""
# Tags of the fields.
_META, _DATA = tag(1, BYTES), tag(2, BYTES)
_TENSOR, _VERSIONS = tag(1, BYTES), tag(2, BYTES)
_NAME, _SHAPE, _TYPE, _SLICES = tag(1, BYTES), tag(2, BYTES), tag(3, VARINT), tag(4, BYTES)
_SLICE, _VALUES = tag(2, BYTES), tag(3, BYTES)
_LARGEST_ELEMENTS = (1 << 63) - 1


@dataclass(slots=True)
class SliceMeta:
    """What the meta record says of one tensor: name (bytes), full shape, type number, slices in this file."""

    name: bytes = b""
    shape: tuple[int, ...] = ()
    dtype: int = 0
    slices: list[TensorSlice] = field(default_factory=list)

    def serialize(self) -> bytes:
        out = bytes_field(1, self.name) if self.name else b""
        out += bytes_field(2, serialize_shape(self.shape)) + int_field(3, self.dtype)
        return out + b"".join(bytes_field(4, serialize_slice(piece)) for piece in self.slices)

    @classmethod
    def parse(cls, data: bytes) -> SliceMeta:
        """Raises DecodeError unless ``data`` is such a message with a shape that can be."""
        meta = cls()
        for found, value in fields(data):
            if found == _NAME:
                meta.name = value
            elif found == _SHAPE:
                meta.shape += parse_shape(value)
            elif found == _TYPE:
                meta.dtype = value
            elif found == _SLICES:
                meta.slices.append(parse_slice(value))
        if math.prod(size or 1 for size in meta.shape) > _LARGEST_ELEMENTS:
            raise DecodeError("impossible shape")
        return meta


def serialize_meta(tensors: Iterable[SliceMeta], versions: Versions) -> bytes:
    """The value of the first record."""
    listed = b"".join(bytes_field(1, meta.serialize()) for meta in tensors)
    return bytes_field(1, listed + bytes_field(2, versions.serialize()))


def parse_meta(data: bytes) -> tuple[list[SliceMeta], Versions]:
    """Tensors and versions of the first record; without versions, all are 0.

    Raises:
      DecodeError: ``data`` is no such message.
    """
    tensors: list[SliceMeta] = []
    versions = Versions(producer=0)
    # Few tensors differ in more than their names, which come first.
    known: dict[bytes, SliceMeta] = {}
    for found, value in fields(data):
        if found != _META:
            continue
        for part, message in fields(value):
            if part == _TENSOR:
                tensors.append(_parse_like(known, message))
            elif part == _VERSIONS:
                versions = versions.merged(message)
    return tensors, versions


def _parse_like(known: dict[bytes, SliceMeta], data: bytes) -> SliceMeta:
    """`SliceMeta.parse`, by what was parsed before; ``known`` has the metas by all after the name."""
    if len(data) < 2 or data[0] != _NAME or data[1] >= 0x80 or 2 + data[1] > len(data):
        return SliceMeta.parse(data)
    rest = data[2 + data[1] :]
    like = known.get(rest)
    if like is None:
        like = SliceMeta.parse(data)
        if SliceMeta.parse(rest).name:
            return like  # a second name
        known[rest] = like
    return SliceMeta(data[2 : 2 + data[1]], like.shape, like.dtype, list(like.slices))


def slice_head(name: bytes, piece: TensorSlice) -> bytes:
    """What a SavedSlice begins with: name and slice."""
    return (bytes_field(1, name) if name else b"") + bytes_field(2, serialize_slice(piece))


def record_head(head: bytes, values_bytes: int) -> bytes:
    """A slice record up to its TensorProto of ``values_bytes`` bytes, from `slice_head`."""
    head += encode_varint(_VALUES) + encode_varint(values_bytes)
    return encode_varint(_DATA) + encode_varint(len(head) + values_bytes) + head


def parse_record(data: memoryview) -> tuple[bytes, TensorSlice, memoryview]:
    """Name, slice and TensorProto of a slice record; the last is a part of ``data``.

    Raises:
      DecodeError: ``data`` is no such message.
    """
    name, piece, values = b"", TensorSlice(()), data[:0]
    for found, value in fields(data):
        if found != _DATA:
            continue
        for part, content in fields(value):
            if part == _NAME:
                name = bytes(content)
            elif part == _SLICE:
                piece = parse_slice(content)
            elif part == _VALUES:
                values = content
    return name, piece, values
