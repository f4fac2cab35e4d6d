"""The records of a V2 index: its header, and one entry per tensor or slice.

    key ""      BundleHeaderProto   1 num_shards | 2 endianness | 3 version
    (version)   VersionDef          1 producer | 2 min_consumer | 3 bad_consumers
    other key   BundleEntryProto    1 dtype | 2 shape | 3 shard_id | 4 offset | 5 size
                                    6 crc32c, masked, as fixed32
                                    7 slices, only in the entry of a tensor that is kept in slices

Both are small protobuf messages, written and parsed by hand (`kvarn.formats.wire`).  A checkpoint can have a
hundred thousand of them: whole indexes are parsed in native code, which knows the entries of tensors stored
whole and leaves the others to what is here (`kvarn.formats.bundle.columns`).

    float tensor w, shape [1,3], first in the file:
    08 01 | 12 08 12 02 08 01 12 02 08 03 | 28 0c | 35 73 5b 89 71

Source: tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from kvarn.formats.coding import DecodeError, encode_varint, to_signed
from kvarn.formats.messages import (
    VERSION,
    Versions,
    parse_extent,
    parse_shape,
    serialize_shape,
    serialize_slice,
)
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.formats.wire import BYTES, VARINT, bytes_field, fields, int32, int_field, tag

HEADER_KEY = b""
LITTLE_ENDIAN, BIG_ENDIAN = 0, 1
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
        return (
            int_field(1, self.num_shards)
            + int_field(2, self.endianness)
            + bytes_field(3, self.versions.serialize())
        )

    @property
    def versions(self) -> Versions:
        return Versions(self.producer, self.min_consumer, self.bad_consumers)

    @classmethod
    def parse(cls, data: bytes) -> BundleHeader:
        """Raises DecodeError unless ``data`` is such a message."""
        header, versions = cls(num_shards=0), Versions(producer=0)
        for found, value in fields(data):
            if found == tag(1, VARINT):
                header.num_shards = int32(value)
            elif found == tag(2, VARINT):
                header.endianness = value
            elif found == tag(3, BYTES):
                versions = versions.merged(value)
        header.producer, header.min_consumer, header.bad_consumers = versions
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
        out = int_field(1, self.dtype) + bytes_field(2, serialize_shape(self.shape))
        if self.shard_id:
            out += int_field(3, self.shard_id)
        if self.offset:
            out += b"\x20" + encode_varint(self.offset)
        if self.size:
            out += b"\x28" + encode_varint(self.size)
        if self.crc32c:
            out += _CRC.pack(0x35, self.crc32c)
        for at, piece in enumerate(self.slices):
            hashed = _serialize_hash(self.hash_slices[at]) if self.hash_slices else b""
            out += bytes_field(7, serialize_slice(piece) + hashed)
        return out

    @classmethod
    def parse(cls, data: bytes) -> BundleEntry:
        """Raises DecodeError unless ``data`` is such a message with a shape that can be."""
        entry = cls()
        for found, value in fields(data):
            if found == 0x08:
                entry.dtype = value
            elif found == 0x12:
                entry.shape += parse_shape(value)
            elif found == 0x18:
                entry.shard_id = int32(value)
            elif found == 0x20:
                entry.offset = to_signed(value)
            elif found == 0x28:
                entry.size = to_signed(value)
            elif found == 0x35:
                entry.crc32c = value
            elif found == 0x3A:
                piece, hashed = _parse_slice(value)
                entry.slices.append(piece)
                entry.hash_slices.append(hashed)
        if not any(part != _NO_HASH for part in entry.hash_slices):
            entry.hash_slices = []
        if entry.offset < 0 or entry.size < 0 or entry.shard_id < 0 or entry.num_elements > LARGEST_ELEMENTS:
            raise DecodeError("negative place or impossible shape")
        return entry


def _serialize_hash(part: HashSlice) -> bytes:
    return int_field(100, part.begin) + int_field(101, part.length) + int_field(102, part.size)


def _parse_slice(data: bytes) -> tuple[TensorSlice, HashSlice]:
    extents: list[tuple[int, int]] = []
    hashed = dict.fromkeys((tag(number, VARINT) for number in (100, 101, 102)), 0)
    for found, value in fields(data):
        if found == tag(1, BYTES):
            extents.append(parse_extent(value))
        elif found in hashed:
            hashed[found] = to_signed(value)
    return TensorSlice(tuple(extents)), HashSlice(*hashed.values())


_NO_HASH = HashSlice()
_CRC = struct.Struct("<BI")
