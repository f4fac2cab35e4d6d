"""Tensor values in graphs and their TensorProto form.

A TensorProto holds its elements in one of two ways, and both are kept exactly when a graph is read and
written again:

    tensor_content    raw little-endian bytes in row-major order, all elements
    <kind>_val        a typed field; when it has fewer values than the tensor has elements, the last value
                      repeats, and when it has none all elements are zero

Source: tensorflow/core/framework/tensor.proto and tensorflow/python/framework/tensor_util.py (1.15).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.dtypes import DType

#: `TensorValue.stored` of a tensor whose elements are in tensor_content.
IN_CONTENT: Final = -1

# The typed field of each type, by DataType number.
_FIELDS: Final = {
    1: "float_val", 2: "double_val", 3: "int_val", 4: "int_val", 5: "int_val", 6: "int_val", 7: "string_val",
    8: "scomplex_val", 9: "int64_val", 10: "bool_val", 11: "int_val", 12: "int_val", 13: "int_val",
    14: "half_val", 15: "int_val", 16: "int_val", 17: "int_val", 18: "dcomplex_val", 19: "half_val",
    22: "uint32_val", 23: "uint64_val",
}  # fmt: skip

# The types that TensorFlow's front end writes to tensor_content.  The others it writes to typed fields.
_CONTENT_TYPES: Final = frozenset((1, 2, 3, 4, 5, 6, 9, 11, 12, 13, 15, 16, 22, 23))

_MAX_CONTENT: Final = 1 << 31


class TensorValue:
    """The value of a tensor attribute: an array, its element type, and how a TensorProto stores it.

    Args:
      array: the elements.  It becomes read-only; an array that somebody else may change must be copied first.
      dtype: the element type; the array's own when None.  Needed where NumPy's type is ambiguous.
      stored: None for the way TensorFlow's front end stores such an array; `IN_CONTENT`; or how many leading
        elements a typed field holds, the rest being repetitions of the last of them (zeros if there is none).
    """

    __slots__ = ("array", "dtype", "stored")

    def __init__(
        self, array: npt.NDArray[Any], dtype: DType | None = None, stored: int | None = None
    ) -> None:
        array.flags.writeable = False
        self.array = array
        self.dtype = dtypes.as_dtype(array.dtype) if dtype is None else dtype
        self.stored = stored

    @classmethod
    def from_proto(cls, proto: Any) -> TensorValue:
        """The value that a TensorProto holds.

        Raises:
          TypeError: the element type cannot be held in an array (resource, variant).
          ValueError: the fields contradict the shape.
        """
        dtype = dtypes.as_dtype(proto.dtype)
        array = decode(proto)
        if proto.tensor_content:
            return cls(array, dtype, IN_CONTENT)
        count = len(getattr(proto, _field_of(dtype)))
        return cls(array, dtype, count // 2 if dtype.is_complex else count)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def to_proto(self) -> Any:
        """The TensorProto."""
        return encode(self.array, self.dtype, self.stored)

    def __eq__(self, other: object) -> bool:
        """Same type, shape and elements, bit for bit; how they are stored does not count."""
        if not isinstance(other, TensorValue):
            return NotImplemented
        if self.dtype is not other.dtype or self.array.shape != other.array.shape:
            return False
        if self.array.dtype.hasobject:
            return bool(np.array_equal(self.array, other.array))
        return self.array.tobytes() == other.array.tobytes()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"TensorValue({self.array!r}, {self.dtype!r})"


def encode(array: npt.NDArray[Any], dtype: DType, stored: int | None = None) -> Any:
    """The TensorProto of ``array``.

    Args:
      array: the elements; ``bytes`` for strings.
      dtype: the element type.
      stored: as in `TensorValue`.

    Raises:
      TypeError: the type has no form in a TensorProto.
      ValueError: the content is larger than 2 GB.
    """
    from kvarn import protos

    dtype = dtype.base_dtype
    proto = protos.TensorProto(dtype=dtype.as_datatype_enum)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if stored is None and dtype.as_datatype_enum in _CONTENT_TYPES and array.size > 1:
        stored = IN_CONTENT
    if stored == IN_CONTENT:
        if array.nbytes >= _MAX_CONTENT:
            raise ValueError("Cannot create a tensor proto whose content is larger than 2GB.")
        proto.tensor_content = np.asarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
        return proto
    # `flat` instead of `ravel`, because a splat of any size is an array without memory.
    values = array.flat[: array.size if stored is None else stored]
    field = getattr(proto, _field_of(dtype))
    if dtype.is_complex:
        field.extend(values.view(dtype.real_dtype.np).tolist())
    elif dtype in (dtypes.float16, dtypes.bfloat16):
        field.extend(values.view(np.uint16).tolist())
    else:
        field.extend(values.tolist())
    return proto


def decode(proto: Any) -> npt.NDArray[Any]:
    """The elements of a TensorProto.

    The array is read-only and may have strides of 0 where a value repeats.

    Raises:
      TypeError: the element type cannot be held in an array (resource, variant).
      ValueError: the fields contradict the shape.
    """
    dtype = dtypes.as_dtype(proto.dtype)
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"The TensorProto of a {dtype.name} value has no definite shape: {list(shape)}")
    count = math.prod(shape)
    content = proto.tensor_content
    if content:
        if dtype.np.hasobject or len(content) != count * dtype.size:
            raise ValueError(
                f"The tensor_content of a {dtype.name} value of shape {list(shape)} has {len(content)} bytes"
                f" instead of {'none' if dtype.np.hasobject else count * dtype.size}"
            )
        array: npt.NDArray[Any] = np.frombuffer(content, dtype=dtype.np.newbyteorder("<"))
        return array.reshape(shape)
    values = _typed_values(proto, dtype)
    if values.size > count:
        raise ValueError(
            f"The TensorProto of a {dtype.name} value of shape {list(shape)} has {values.size} values,"
            f" which is more than its {count} elements"
        )
    if values.size < count:
        if not values.size:
            values = np.array([b""], dtype=object) if dtype is dtypes.string else np.zeros(1, dtype.np)
        if values.size == 1:
            return np.broadcast_to(values[0] if not values.dtype.hasobject else values.reshape(()), shape)
        values = np.concatenate([values, np.broadcast_to(values[-1:], count - values.size)])
    values = values.reshape(shape)
    values.flags.writeable = False
    return values


def _typed_values(proto: Any, dtype: DType) -> npt.NDArray[Any]:
    field = getattr(proto, _field_of(dtype))
    if dtype is dtypes.string:
        strings = np.empty(len(field), dtype=object)
        strings[:] = list(field)
        return strings
    if dtype.is_complex:
        pairs = np.array(list(field), dtype=dtype.real_dtype.np)
        if pairs.size % 2:
            raise ValueError(
                f"The TensorProto of a {dtype.name} value has a real part without an imaginary one"
            )
        return pairs.view(dtype.np)
    if dtype in (dtypes.float16, dtypes.bfloat16):
        # int32 fields hold the bits; a negative one can only come from a damaged file.
        bits = np.array(list(field), dtype=np.int64)
        if bits.size and (bits.min() < 0 or bits.max() > 0xFFFF):
            raise ValueError(f"The half_val of a {dtype.name} value has a number that is not 16 bits wide")
        return bits.astype(np.uint16).view(dtype.np)
    # int_val also holds types that are narrower than its numbers.
    wide = np.dtype(np.int32) if _field_of(dtype) == "int_val" else dtype.np
    return np.array(list(field), dtype=wide).astype(dtype.np, copy=False)


def _field_of(dtype: DType) -> str:
    field = _FIELDS.get(dtype.as_datatype_enum)
    if field is None:
        raise TypeError(f"Unsupported tensor type: {dtype.as_datatype_enum}")
    return field
