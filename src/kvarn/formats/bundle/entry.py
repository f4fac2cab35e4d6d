"""The records of a V2 index: its header, and one entry per tensor or slice.

    key ""      BundleHeaderProto   1 num_shards | 2 endianness | 3 version
    (version)   VersionDef          1 producer | 2 min_consumer | 3 bad_consumers
    other key   BundleEntryProto    1 dtype | 2 shape | 3 shard_id | 4 offset | 5 size
                                    6 crc32c, masked, as fixed32
                                    7 slices, only in the entry of a tensor that is kept in slices

Both are small protobuf messages.  A checkpoint can have a hundred thousand of them, so they are written and
parsed by hand here, to the bytes that protobuf gives: fields ascending, zeros left out, touched
sub-messages written though empty.  Unknown fields are ignored.

    float tensor w, shape [1,3], first in the file:
    08 01 | 12 08 12 02 08 01 12 02 08 03 | 28 0c | 35 73 5b 89 71

Source: tensorflow/core/protobuf/tensor_bundle.proto, tensorflow/core/framework/tensor_slice.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kvarn.formats.coding import DecodeError, decode_varint, encode_varint, to_signed
from kvarn.formats.tensor_slice import FULL_EXTENT, TensorSlice

HEADER_KEY = b""
LITTLE_ENDIAN, BIG_ENDIAN = 0, 1
# kTensorBundleVersion and kTensorBundleMinProducer (tensor_bundle.cc): what we are, as a consumer.
VERSION = 1
LARGEST_ELEMENTS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class HashSlice:
    """DeepRec: which rows of a hash table a slice stands for."""

    begin: int = 0
    length: int = 0
    size: int = 0


@dataclass(slots=True)
class BundleHeader:
    """What key "" holds."""

    num_shards: int = 1
    endianness: int = LITTLE_ENDIAN
    producer: int = VERSION
    min_consumer: int = 0
    bad_consumers: tuple[int, ...] = ()

    def serialize(self) -> bytes:
        version = _int_field(1, self.producer) + _int_field(2, self.min_consumer)
        if self.bad_consumers:
            version += _bytes_field(3, b"".join(map(encode_varint, self.bad_consumers)))
        return _int_field(1, self.num_shards) + _int_field(2, self.endianness) + _bytes_field(3, version)

    @classmethod
    def parse(cls, data: bytes) -> BundleHeader:
        """Raises DecodeError unless ``data`` is such a message."""
        header = cls(num_shards=0, producer=0)
        for tag, value in _fields(data):
            if tag == _tag(1, _VARINT):
                header.num_shards = _int32(value)
            elif tag == _tag(2, _VARINT):
                header.endianness = value
            elif tag == _tag(3, _BYTES):
                for part, number in _fields(value):
                    if part == _tag(1, _VARINT):
                        header.producer = _int32(number)
                    elif part == _tag(2, _VARINT):
                        header.min_consumer = _int32(number)
                    elif part == _tag(3, _VARINT):
                        header.bad_consumers += (_int32(number),)
                    elif part == _tag(3, _BYTES):
                        header.bad_consumers += tuple(map(_int32, _packed(number)))
        return header


@dataclass(slots=True)
class BundleEntry:
    """One tensor, one stored slice, or a tensor that is kept in ``slices``.

    Attributes:
      dtype: number in TensorFlow's DataType enum.
      shape: of the tensor; for a stored slice, of the slice.
      shard_id, offset, size: where its bytes are; without meaning if there are ``slices``.
      crc32c: masked checksum of those bytes.
      slices: the stored slices in the order they were saved; their own keys have the bytes.
      hash_slices: DeepRec's additions to ``slices``, one each, or empty.
    """

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard_id: int = 0
    offset: int = 0
    size: int = 0
    crc32c: int = 0
    slices: list[TensorSlice] = field(default_factory=list)
    hash_slices: list[HashSlice] = field(default_factory=list)

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    def hash_parts(self) -> list[HashSlice]:
        """One element per slice, whether there are hash slices or not."""
        return self.hash_slices or [_NO_HASH] * len(self.slices)

    def serialize(self) -> bytes:
        out = _int_field(1, self.dtype) + _bytes_field(2, _serialize_shape(self.shape))
        if self.shard_id:
            out += _int_field(3, self.shard_id)
        if self.offset:
            out += b"\x20" + encode_varint(self.offset)
        if self.size:
            out += b"\x28" + encode_varint(self.size)
        if self.crc32c:
            out += _CRC.pack(0x35, self.crc32c)
        for at, piece in enumerate(self.slices):
            hashed = self.hash_slices[at] if self.hash_slices else None
            out += _bytes_field(7, _serialize_slice(piece, hashed))
        return out

    @classmethod
    def parse(cls, data: bytes) -> BundleEntry:
        """Raises DecodeError unless ``data`` is such a message with a shape that can be."""
        plain = _parse_plain(data)
        if plain is not None:
            return plain
        entry = cls()
        for tag, value in _fields(data):
            if tag == 0x08:
                entry.dtype = value
            elif tag == 0x12:
                entry.shape += _parse_shape(value)
            elif tag == 0x18:
                entry.shard_id = _int32(value)
            elif tag == 0x20:
                entry.offset = to_signed(value)
            elif tag == 0x28:
                entry.size = to_signed(value)
            elif tag == 0x35:
                entry.crc32c = value
            elif tag == 0x3A:
                piece, hashed = _parse_slice(value)
                entry.slices.append(piece)
                entry.hash_slices.append(hashed)
        if not any(part != _NO_HASH for part in entry.hash_slices):
            entry.hash_slices = []
        if entry.offset < 0 or entry.size < 0 or entry.shard_id < 0 or entry.num_elements > LARGEST_ELEMENTS:
            raise DecodeError("negative place or impossible shape")
        return entry


def _parse_plain(data: bytes) -> BundleEntry | None:
    """The entry of a tensor stored whole, if its fields are in the order every writer gives them; else None.

    Several times as fast as the general way: listing a large checkpoint spends its time here.
    """
    if len(data) < 4 or data[0] != 0x08 or data[2] != 0x12 or data[1] > 0x7F or data[3] > 0x7F:
        return None
    position, end = 4 + data[3], len(data)
    head = data[:position]
    shape = _SHAPES.get(head)
    if shape is None:
        if position > end:
            return None
        shape = _parse_shape(data[4:position])
        if math.prod(shape) > LARGEST_ELEMENTS:
            return None
        if len(_SHAPES) >= _MOST_SHAPES:
            _SHAPES.clear()
        _SHAPES[head] = shape
    shard = offset = size = crc = 0
    if position < end and data[position] == 0x18:
        shard, position = decode_varint(data, position + 1)
    if position < end and data[position] == 0x20:
        offset, position = decode_varint(data, position + 1)
    if position < end and data[position] == 0x28:
        size, position = decode_varint(data, position + 1)
    if position < end and data[position] == 0x35:
        crc = int.from_bytes(data[position + 1 : position + 5], "little")
        position += 5
    if position != end or shard >> 31 or (offset | size) >> 63:
        return None
    return BundleEntry(data[1], shape, shard, offset, size, crc)


def _serialize_shape(shape: Sequence[int]) -> bytes:
    out = b""
    for size in shape:
        if 0 < size < 0x80:
            out += b"\x12\x02\x08" + bytes((size,))
        elif size:
            out += _bytes_field(2, b"\x08" + encode_varint(size))
        else:
            out += b"\x12\x00"
    return out


def _parse_shape(data: bytes) -> tuple[int, ...]:
    shape: list[int] = []
    for tag, value in _fields(data):
        if tag == _tag(2, _BYTES):
            size = 0
            for part, number in _fields(value):
                if part == _tag(1, _VARINT):
                    size = to_signed(number)
            if size < 0:
                raise DecodeError("negative dimension")
            shape.append(size)
        elif tag == _tag(3, _VARINT) and value:
            raise DecodeError("unknown rank")
    return tuple(shape)


def _serialize_slice(piece: TensorSlice, hashed: HashSlice | None) -> bytes:
    out = b""
    for start, length in piece.extents:
        # `length` is in a oneof: written even when 0.  A whole dimension is an empty message.
        extent = b"" if length == FULL_EXTENT else _int_field(1, start) + b"\x10" + encode_varint(length)
        out += _bytes_field(1, extent)
    if hashed is not None:
        out += _int_field(100, hashed.begin) + _int_field(101, hashed.length) + _int_field(102, hashed.size)
    return out


def _parse_slice(data: bytes) -> tuple[TensorSlice, HashSlice]:
    extents: list[tuple[int, int]] = []
    hashed = dict.fromkeys((_tag(number, _VARINT) for number in (100, 101, 102)), 0)
    for tag, value in _fields(data):
        if tag == _tag(1, _BYTES):
            start, length = 0, FULL_EXTENT
            for part, number in _fields(value):
                if part == _tag(1, _VARINT):
                    start = to_signed(number)
                elif part == _tag(2, _VARINT):
                    length = to_signed(number)
            if start < 0 or length < FULL_EXTENT:
                raise DecodeError("negative slice")
            extents.append((0, FULL_EXTENT) if length == FULL_EXTENT else (start, length))
        elif tag in hashed:
            hashed[tag] = to_signed(value)
    return TensorSlice(tuple(extents)), HashSlice(*hashed.values())


# The wire format of protobuf, as far as these messages need it. ------------------------------------------


_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _tag(number: int, kind: int) -> int:
    return number << 3 | kind


def _int_field(number: int, value: int) -> bytes:
    return encode_varint(_tag(number, _VARINT)) + encode_varint(value) if value else b""


def _bytes_field(number: int, value: bytes) -> bytes:
    return encode_varint(_tag(number, _BYTES)) + encode_varint(len(value)) + value


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Tag and value of each field: int for numbers, bytes for runs."""
    position, end = 0, len(data)
    while position < end:
        tag = data[position]
        if tag < 0x80:
            position += 1
        else:
            tag, position = decode_varint(data, position)
        if tag < 8:
            raise DecodeError("field number 0")
        kind = tag & 7
        if kind == _VARINT:
            value, position = decode_varint(data, position)
            yield tag, value
            continue
        if kind == _BYTES:
            size, position = decode_varint(data, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise DecodeError(f"wire type {kind}")
        run = data[position : position + size]
        if len(run) < size:
            raise DecodeError("field is cut off")
        position += size
        yield tag, run if kind == _BYTES else int.from_bytes(run, "little")


def _packed(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = decode_varint(data, position)
        yield value


def _int32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


_NO_HASH = HashSlice()
# Shape by the bytes of dtype and shape: a checkpoint has few of them, however many tensors.
_SHAPES: dict[bytes, tuple[int, ...]] = {}
_MOST_SHAPES = 4096
_CRC = struct.Struct("<BI")
