"""Messages that V1 and V2 checkpoints share: the shape of a tensor, a slice of one, and versions.

    TensorShapeProto   2 dim, one message per dimension: 1 size      scalar: no bytes; [0]: 12 00
                       3 unknown_rank, never true in a checkpoint
    TensorSliceProto   1 extent, one message per dimension: 1 start | 2 length
                       a whole dimension is an empty message
    VersionDef         1 producer | 2 min_consumer | 3 bad_consumers

    shape [1,3]        12 02 08 01 | 12 02 08 03
    slice 6,4:-        0a 04 08 06 10 04 | 0a 00

Source: tensorflow/core/framework/{tensor_shape,tensor_slice,versions}.proto and versions.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kvarn.errors import InvalidArgumentError
from kvarn.formats.coding import DecodeError, encode_varint, to_signed
from kvarn.formats.tensor_slice import FULL_EXTENT, TensorSlice
from kvarn.formats.wire import BYTES, VARINT, bytes_field, fields, int32, int_field, packed, tag

# What we are, as a consumer: kTensorBundleVersion (tensor_bundle.cc) and TF_CHECKPOINT_VERSION
# (public/version.h) are the same.
VERSION = 1


class Versions(NamedTuple):
    """Who wrote a checkpoint, and who may read it."""

    producer: int = VERSION
    min_consumer: int = 0
    bad_consumers: tuple[int, ...] = ()

    def serialize(self) -> bytes:
        out = int_field(1, self.producer) + int_field(2, self.min_consumer)
        if self.bad_consumers:
            out += bytes_field(3, b"".join(map(encode_varint, self.bad_consumers)))
        return out

    def merged(self, data: bytes) -> Versions:
        """These versions with what a message says, as protobuf merges.  Raises DecodeError if it is none."""
        producer, min_consumer, bad = self
        for found, value in fields(data):
            if found == tag(1, VARINT):
                producer = int32(value)
            elif found == tag(2, VARINT):
                min_consumer = int32(value)
            elif found == tag(3, VARINT):
                bad += (int32(value),)
            elif found == tag(3, BYTES):
                bad += tuple(map(int32, packed(value)))
        return Versions(producer, min_consumer, bad)

    def check(self, path: str) -> None:
        """Raises InvalidArgumentError if a file with these versions is not for us (`CheckVersions`).

        Producers of any age are fine.
        """
        if self.min_consumer > VERSION:
            raise InvalidArgumentError.of(
                f"Checkpoint min consumer version {self.min_consumer} above current version {VERSION} for "
                "TensorFlow 1.15.5.  Please upgrade TensorFlow.",
                path=path,
                hint="The file was made for a newer reader.",
            )
        if VERSION in self.bad_consumers:
            raise InvalidArgumentError.of(
                f"Checkpoint disallows consumer version {VERSION}.  Please upgrade TensorFlow: this version "
                "is likely buggy.",
                path=path,
                hint="Its writer says that readers of this version would misread it.",
            )


# TensorShape::MaxDimensions (framework/tensor_shape.h).
MOST_DIMENSIONS = 254


def serialize_shape(shape: Sequence[int]) -> bytes:
    out = b""
    for size in shape:
        if 0 < size < 0x80:
            out += b"\x12\x02\x08" + bytes((size,))
        elif size:
            out += bytes_field(2, b"\x08" + encode_varint(size))
        else:
            out += b"\x12\x00"
    return out


def parse_shape(data: bytes) -> tuple[int, ...]:
    """Raises DecodeError unless ``data`` is a shape with all sizes known."""
    shape: list[int] = []
    for found, value in fields(data):
        if found == tag(2, BYTES):
            size = 0
            for part, number in fields(value):
                if part == tag(1, VARINT):
                    size = to_signed(number)
            if size < 0:
                raise DecodeError("negative dimension")
            shape.append(size)
            if len(shape) > MOST_DIMENSIONS:
                raise DecodeError(f"more than {MOST_DIMENSIONS} dimensions")
        elif found == tag(3, VARINT) and value:
            raise DecodeError("unknown rank")
    return tuple(shape)


def serialize_slice(piece: TensorSlice) -> bytes:
    out = b""
    for start, length in piece.extents:
        # `length` is in a oneof: written even when 0.  A whole dimension is an empty message.
        extent = b"" if length == FULL_EXTENT else int_field(1, start) + b"\x10" + encode_varint(length)
        out += bytes_field(1, extent)
    return out


def parse_extent(data: bytes) -> tuple[int, int]:
    """One dimension of a slice, as `TensorSlice` holds it.  Raises DecodeError for negative numbers."""
    start, length = 0, FULL_EXTENT
    for found, number in fields(data):
        if found == tag(1, VARINT):
            start = to_signed(number)
        elif found == tag(2, VARINT):
            length = to_signed(number)
    if start < 0 or length < FULL_EXTENT:
        raise DecodeError("negative slice")
    return (0, FULL_EXTENT) if length == FULL_EXTENT else (start, length)


def parse_slice(data: bytes) -> TensorSlice:
    """Raises DecodeError unless ``data`` is such a message."""
    return TensorSlice(tuple(parse_extent(value) for found, value in fields(data) if found == tag(1, BYTES)))
