"""The wire format of protobuf, as far as checkpoints need it: fields in, fields out.

    field      varint tag | value                   tag: number of the field << 3 | kind
    kind 0     varint                               int32, int64, enum, bool; negative ones take 10 bytes
    kind 1, 5  8 or 4 bytes, little-endian          double, float, fixed64, fixed32
    kind 2     varint size | bytes                  strings, messages, packed numbers

A checkpoint can have a hundred thousand small messages and some huge ones: they are written and parsed by
hand, to the bytes that protobuf gives.  Fields ascend, zeros are left out, sub-messages that were touched
are written though empty.  Readers ignore unknown fields.

Source: protobuf's encoding; tensorflow/core/protobuf and tensorflow/core/util say which messages there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn.formats.coding import DecodeError, decode_varint, encode_varint

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def tag(number: int, kind: int) -> int:
    """What stands before a field."""
    return number << 3 | kind


def int_field(number: int, value: int) -> bytes:
    """A number; nothing for 0."""
    return encode_varint(tag(number, VARINT)) + encode_varint(value) if value else b""


def bytes_field(number: int, value: bytes) -> bytes:
    """A string or message, also an empty one."""
    if number < 16 and len(value) < 0x80:
        return bytes((number << 3 | BYTES, len(value))) + value
    return encode_varint(tag(number, BYTES)) + encode_varint(len(value)) + value


def fields(data: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """Tag and value of each field: int for numbers, a run of ``data`` (of its own type) for the others.

    Raises:
      DecodeError: ``data`` is no message.
    """
    position, end = 0, len(data)
    while position < end:
        found = data[position]
        if found < 0x80:
            position += 1
        else:
            found, position = decode_varint(data, position)
        if found < 8:
            raise DecodeError("field number 0")
        kind = found & 7
        if kind == VARINT:
            value, position = decode_varint(data, position)
            yield found, value
            continue
        if kind == BYTES:
            size, position = decode_varint(data, position)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise DecodeError(f"wire type {kind}")
        run = data[position : position + size]
        if len(run) < size:
            raise DecodeError("field is cut off")
        position += size
        yield found, run if kind == BYTES else int.from_bytes(run, "little")


def packed(data: bytes) -> Iterator[int]:
    """The varints of a packed field."""
    position = 0
    while position < len(data):
        value, position = decode_varint(data, position)
        yield value


def int32(value: int) -> int:
    """The int32 that a varint stands for."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value
