"""The values of a slice: a TensorProto with one repeated field, by the element type.

    field               types                                          in the file
    5 float_val         float                                          4 bytes each, packed
    6 double_val        double                                         8 bytes each
    7 int_val           int8/16/32, uint8/16, qint8/32, quint8         varints; -1 takes 10 bytes
    8 string_val        string                                         one field each
    9, 12 scomplex_val, dcomplex_val                                   real, imaginary as 5 and 6
    10 int64_val        int64                                          varints
    11 bool_val         bool                                           varints, 00 or 01
    13 half_val         half                                           varints of the 16 bits

No dtype, no shape; without elements, no field either.  Numbers that are not packed are read too.  Other
types cannot be saved in V1.

Source: tensorflow/core/framework/tensor.proto; `Fill` in tensorflow/core/util/saved_tensor_slice_util.h,
`MaxBytesPerElement` in tensorflow/core/util/tensor_slice_writer.cc.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn._native import decode_varints, encode_varints
from kvarn.dtypes import DType
from kvarn.formats.coding import DecodeError, encode_varint
from kvarn.formats.wire import BYTES, FIXED32, FIXED64, VARINT, bytes_field, fields, tag

Array = npt.NDArray[Any]

_STRING_FIELD = 8
# Type number -> field, and most bytes an element is taken to need (MaxBytesPerElement).
_FIELDS = {
    1: (5, 4), 2: (6, 8), 3: (7, 10), 4: (7, 2), 5: (7, 10), 6: (7, 10), 7: (_STRING_FIELD, 10), 8: (9, 8),
    9: (10, 10), 10: (11, 1), 11: (7, 10), 12: (7, 2), 13: (7, 10), 17: (7, 3), 18: (12, 16), 19: (13, 3),
}  # fmt: skip
# Types whose values lie as they are in memory, and the kind of one that is not packed.
_FIXED = {1: FIXED32, 2: FIXED64, 8: FIXED32, 18: FIXED64}


def can_hold(dtype: DType) -> bool:
    """Whether V1 knows an element type."""
    return dtype.as_datatype_enum in _FIELDS


def size_bound(dtype: DType, count: int) -> int:
    """The bytes that TensorFlow takes ``count`` elements to need at most; of strings, without their bytes."""
    return count * _FIELDS[dtype.as_datatype_enum][1]


def least_bytes(dtype: DType) -> int:
    """The fewest bytes an element has in an uncompressed file."""
    if dtype is dtypes.string:
        return 2
    return dtype.size if dtype.as_datatype_enum in _FIXED else 1


def encode_values(array: Array, dtype: DType) -> list[bytes | memoryview]:
    """The TensorProto of an array of numbers, in pieces; some may be views of it."""
    if not array.size:
        return []
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.byteorder == ">":
        flat = flat.astype(flat.dtype.newbyteorder("<"))
    run: bytes | memoryview
    if dtype.as_datatype_enum in _FIXED:
        run = flat.view(np.uint8).data
    elif dtype is dtypes.bool:
        run = flat.tobytes()
    else:
        run = encode_varints(flat.view(np.uint16) if dtype is dtypes.float16 else flat)
    number = _FIELDS[dtype.as_datatype_enum][0]
    return [encode_varint(tag(number, BYTES)) + encode_varint(len(run)), run]


def encode_strings(values: Sequence[bytes]) -> list[bytes | memoryview]:
    """The TensorProto of strings, in pieces."""
    return [bytes_field(_STRING_FIELD, value) for value in values]


def decode_values(data: memoryview, dtype: DType, shape: Sequence[int]) -> Array:
    """The array that a TensorProto holds, in memory of its own.

    Memory is taken for what is there, not for what ``shape`` says.

    Raises:
      DecodeError: ``data`` is no such message, or has not exactly the elements of ``shape``.
    """
    count = math.prod(shape)
    if dtype is dtypes.string:
        strings = [bytes(value) for found, value in fields(data) if found == tag(_STRING_FIELD, BYTES)]
        _check_count(len(strings), count)
        texts: Array = np.empty(count, np.object_)
        texts[:] = strings
        return texts.reshape(shape)
    run = _run(data, dtype)
    if dtype.as_datatype_enum in _FIXED:
        if len(run) % dtype.size:
            raise DecodeError("its last element is cut off")
        _check_count(len(run) // dtype.size, count)
        out: Array = np.empty(shape, dtype.np)
        out.reshape(-1)[:] = np.frombuffer(run, dtype.np.newbyteorder("<"))
        return out
    raw = np.frombuffer(run, np.uint8)
    _check_count(int(np.count_nonzero(raw < 0x80)), count)
    out = np.empty(shape, dtype.np)
    flat = out.reshape(-1)
    if dtype is dtypes.bool:
        flat[:] = raw if (raw < 0x80).all() else _decode(run, np.empty(count, np.uint64))
    else:
        _decode(run, flat.view(np.uint16) if dtype is dtypes.float16 else flat)
    return out


def _decode(run: memoryview, out: Array) -> Array:
    try:
        used = decode_varints(run, out)
    except ValueError as error:
        raise DecodeError("a number has more than 10 bytes") from error
    if used != len(run):
        raise DecodeError("its last element is cut off")
    return out


def _run(data: memoryview, dtype: DType) -> memoryview:
    """The bytes of all values, packed: a part of ``data`` if they are already."""
    number = _FIELDS[dtype.as_datatype_enum][0]
    packed = tag(number, BYTES)
    kind = _FIXED.get(dtype.as_datatype_enum, VARINT)
    single = tag(number, kind)
    width = 4 if kind == FIXED32 else 8
    runs: list[bytes | memoryview] = []
    for found, value in fields(data):
        if found == packed:
            runs.append(value)
        elif found == single:
            runs.append(encode_varint(value) if kind == VARINT else value.to_bytes(width, "little"))
    if len(runs) == 1:
        return memoryview(runs[0])
    return memoryview(b"".join(runs))


def _check_count(found: int, count: int) -> None:
    if found != count:
        raise DecodeError(f"it has {found} elements, not {count}")
