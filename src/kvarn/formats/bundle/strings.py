"""The bytes of string and variant tensors in a bundle.

    strings    n varint lengths | fixed32 masked crc L | all characters, nothing between
               L: crc of the lengths, each as fixed32 (fixed64 if above 2^32 - 1), NOT of the varints
               crc of the entry: continues from L over the 4 bytes of the masked crc, then the characters

    ["ab", "", "é"]    02 00 02 | a0 d8 fc 1f | 61 62 c3 a9

    variants   per element: varint length | serialized VariantTensorDataProto | fixed32 masked running crc
               the running crc: length as fixed64, the bytes, the 4 checksum bytes, element after element

In a big-endian bundle the fixed numbers are big-endian, and variants do not exist.  A variant's content is
passed through as bytes: only C++ code knows what it means.

Source: `ReadStringTensor`, `ReadVariantTensor`, `WriteStringTensor`, `WriteVariantTensor` in
tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.formats.checksum import crc32c, mask, unmask
from kvarn.formats.coding import DecodeError, decode_varint, encode_varint

Objects = npt.NDArray[np.object_]


def encode_strings(values: Sequence[bytes]) -> tuple[list[bytes], int]:
    """The pieces of a string tensor in order, and the (unmasked) crc of its entry."""
    lengths = list(map(len, values))
    crc = crc32c(_fixed_lengths(lengths, "<"))
    checksum = mask(crc).to_bytes(4, "little")
    characters = b"".join(values)
    crc = crc32c(characters, crc32c(checksum, crc))
    return [b"".join(map(encode_varint, lengths)) + checksum, characters], crc


def decode_strings(data: bytes, count: int, *, big_endian: bool = False) -> tuple[Objects, int]:
    """The elements, flat, and the (unmasked) crc that the entry should have.

    Raises:
      DecodeError: the bytes do not hold exactly ``count`` strings; the text is TensorFlow's where it has one.
    """
    if count > len(data):
        raise DecodeError(f"{count} strings do not fit in {len(data)} bytes")
    out = np.empty(count, np.object_)
    if count == 0 and not data:
        return out, 0
    lengths = [0] * count
    position = 0
    for at in range(count):
        lengths[at], position = decode_varint(data, position)
    order = ">" if big_endian else "<"
    crc = crc32c(_fixed_lengths(lengths, order))
    stored = data[position : position + 4]
    if len(stored) < 4:
        raise DecodeError("the string lengths are cut off")
    expected = unmask(int.from_bytes(stored, "big" if big_endian else "little"))
    if crc != expected:
        raise DecodeError(
            f"The length checksum does not match: expected {expected:08d} but actual is {crc:08d}"
        )
    position += 4
    if position + sum(lengths) != len(data):
        raise DecodeError(f"the strings take {position + sum(lengths)} bytes, not {len(data)}")
    crc = crc32c(memoryview(data)[position:], crc32c(stored, crc))
    for at, length in enumerate(lengths):
        out[at] = data[position : position + length]
        position += length
    return out, crc


def encode_variants(values: Sequence[bytes]) -> tuple[list[bytes], int]:
    """The pieces of a variant tensor, from serialized VariantTensorDataProtos, and its (unmasked) crc."""
    pieces: list[bytes] = []
    crc = 0
    for value in values:
        crc = crc32c(value, crc32c(struct.pack("<Q", len(value)), crc))
        checksum = mask(crc).to_bytes(4, "little")
        crc = crc32c(checksum, crc)
        pieces.append(encode_varint(len(value)) + value + checksum)
    return pieces, crc


def decode_variants(data: bytes, count: int) -> tuple[Objects, int]:
    """The elements as serialized protos, flat, and the (unmasked) crc that the entry should have.

    Raises:
      DecodeError: as `decode_strings`.
    """
    if count > len(data):
        raise DecodeError(f"{count} variants do not fit in {len(data)} bytes")
    out = np.empty(count, np.object_)
    position = crc = 0
    for at in range(count):
        length, position = decode_varint(data, position)
        value = data[position : position + length]
        checksum = data[position + length : position + length + 4]
        if len(value) < length or len(checksum) < 4:
            raise DecodeError("a variant is cut off")
        crc = crc32c(value, crc32c(struct.pack("<Q", length), crc))
        expected = unmask(int.from_bytes(checksum, "little"))
        if crc != expected:
            raise DecodeError(
                f"The checksum after Variant {at} does not match. Expected: {expected:08d} Actual: {crc:08d}"
            )
        crc = crc32c(checksum, crc)
        out[at] = value
        position += length + 4
    if position != len(data):
        raise DecodeError(f"the variants take {position} bytes, not {len(data)}")
    return out, crc


def as_bytes_list(array: npt.NDArray[Any], describe: Callable[[], str]) -> list[bytes]:
    """The elements of an array of strings, row-major, as bytes; text becomes UTF-8.

    Raises:
      TypeError: an element is neither bytes nor text.
    """
    values = array.ravel().tolist()
    for at, value in enumerate(values):
        if type(value) is not bytes:
            if isinstance(value, str):
                values[at] = value.encode("utf-8", "surrogateescape")
            elif isinstance(value, bytes):
                values[at] = bytes(value)
            else:
                raise TypeError(f"{describe()}: element {at} is {type(value).__name__}, not bytes")
    return values


def _fixed_lengths(lengths: Sequence[int], order: str) -> bytes:
    if not lengths or max(lengths) <= 0xFFFFFFFF:
        return np.asarray(lengths, order + "u4").tobytes()
    return b"".join(struct.pack(order + ("I" if n <= 0xFFFFFFFF else "Q"), n) for n in lengths)
