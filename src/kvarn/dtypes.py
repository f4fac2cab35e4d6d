"""Element types: TensorFlow's DataType numbers and names, and the NumPy types that hold them.

Source: tensorflow/core/framework/types.proto and tensorflow/python/framework/dtypes.py (1.15).
"""

from __future__ import annotations

import builtins
from typing import Any, Final

import ml_dtypes
import numpy as np

_REF_OFFSET: Final = 100


class DType:
    """An element type of tensors, or the reference form of one (``float32_ref``).

    Instances are unique: compare them with ``is`` or ``==``.  ``==`` also accepts anything that
    `as_dtype` does.

    Args:
      type_enum: the number of the type in TensorFlow's DataType enum.

    Raises:
      TypeError: no type has that number.

    Attributes:
      as_datatype_enum: the number of the type in TensorFlow's DataType enum.
      name: TensorFlow's Python name, such as ``float32`` or ``float32_ref``.
      as_numpy_dtype: the NumPy scalar type; ``object`` for strings (elements are ``bytes``),
        resources and variants.
      size: bytes of an element; 1 for strings, resources and variants, as TensorFlow says.
    """

    __slots__ = ("_base", "_hash", "_np", "_ref", "as_datatype_enum", "as_numpy_dtype", "name", "size")

    as_datatype_enum: int
    as_numpy_dtype: Any
    name: str
    size: int
    _base: DType | None
    _hash: int
    _np: np.dtype[Any]
    _ref: DType | None

    def __new__(cls, type_enum: int) -> DType:
        found = _BY_ENUM.get(int(type_enum))
        if found is None:
            raise TypeError("type_enum is not a valid types_pb2.DataType.")
        return found

    @classmethod
    def _create(cls, enum: int, name: str, numpy_type: Any, base: DType | None = None) -> DType:
        self = object.__new__(cls)
        self.as_datatype_enum = enum
        self.name = name
        self.as_numpy_dtype = numpy_type
        self._np = np.dtype(numpy_type)
        self.size = 1 if self._np.hasobject else self._np.itemsize
        self._base = base
        self._ref = None
        self._hash = hash(("DType", enum))
        return self

    @property
    def np(self) -> np.dtype[Any]:
        """The NumPy dtype object."""
        return self._np

    @property
    def base_dtype(self) -> DType:
        """The type without its reference mark."""
        return self._base or self

    @property
    def is_ref(self) -> builtins.bool:
        return self._base is not None

    # The name TensorFlow's own code uses for it.
    @property
    def _is_ref_dtype(self) -> builtins.bool:
        return self._base is not None

    @property
    def _as_ref(self) -> DType:
        """The reference form of the type."""
        if self._base is not None:
            return self
        assert self._ref is not None
        return self._ref

    @property
    def real_dtype(self) -> DType:
        """float32 for complex64, float64 for complex128, otherwise the type itself."""
        return {8: float32, 18: float64}.get(self.base_dtype.as_datatype_enum, self)

    @property
    def is_floating(self) -> builtins.bool:
        return self.base_dtype.as_datatype_enum in _FLOATING

    @property
    def is_complex(self) -> builtins.bool:
        return self.base_dtype.as_datatype_enum in (8, 18)

    @property
    def is_integer(self) -> builtins.bool:
        return self.base_dtype.as_datatype_enum in _INTEGER

    @property
    def is_bool(self) -> builtins.bool:
        return self.base_dtype.as_datatype_enum == 10

    @property
    def is_quantized(self) -> builtins.bool:
        return self.base_dtype.as_datatype_enum in (11, 12, 13, 15, 16)

    @property
    def is_unsigned(self) -> builtins.bool:
        return self.base_dtype.as_datatype_enum in (4, 17, 22, 23)

    @property
    def is_numpy_compatible(self) -> builtins.bool:
        return self.base_dtype.as_datatype_enum not in (20, 21)

    @property
    def min(self) -> Any:
        """The least value; TypeError for types without an order."""
        return self._limits()[0]

    @property
    def max(self) -> Any:
        """The greatest value; TypeError for types without an order."""
        return self._limits()[1]

    @property
    def limits(self) -> tuple[Any, Any]:
        """(0, max) for unsigned integers and 0..1 for the rest, as TensorFlow clips images."""
        return (0, self.max) if self.is_integer else (0, 1)

    def _limits(self) -> tuple[Any, Any]:
        if self.is_quantized or self.base_dtype.as_datatype_enum in (7, 8, 18, 20, 21):
            raise TypeError(f"Cannot find the limits of {self}.")
        if self.is_bool:
            return False, True
        if self.is_integer:
            info = np.iinfo(self._np)
            return self.as_numpy_dtype(info.min), self.as_numpy_dtype(info.max)
        finfo: Any = ml_dtypes.finfo(self._np)  # type: ignore[no-untyped-call]
        return self.as_numpy_dtype(finfo.min), self.as_numpy_dtype(finfo.max)

    def is_compatible_with(self, other: Any) -> builtins.bool:
        """True if ``other`` is this type or its reference form."""
        other = as_dtype(other)
        return self.as_datatype_enum in (other.as_datatype_enum, other.base_dtype.as_datatype_enum)

    def __eq__(self, other: object) -> builtins.bool:
        if self is other:
            return True
        if other is None or isinstance(other, DType):
            return False
        try:
            return as_dtype(other) is self
        except TypeError:
            return False

    def __ne__(self, other: object) -> builtins.bool:
        return not self == other

    def __hash__(self) -> int:
        return self._hash

    def __int__(self) -> int:
        return self.as_datatype_enum

    def __str__(self) -> str:
        return f"<dtype: {self.name!r}>"

    def __repr__(self) -> str:
        return "tf." + self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return (as_dtype, (self.name,))

    def __deepcopy__(self, memo: Any) -> DType:
        return self

    def __copy__(self) -> DType:
        return self


_BY_ENUM: dict[int, DType] = {}
_BY_NAME: dict[str, DType] = {}


def _make(enum: int, name: str, numpy_type: Any) -> DType:
    dtype = DType._create(enum, name, numpy_type)
    ref = DType._create(enum + _REF_OFFSET, name + "_ref", numpy_type, dtype)
    dtype._ref = ref
    for d in (dtype, ref):
        _BY_ENUM[d.as_datatype_enum] = d
        _BY_NAME[d.name] = d
    return dtype


float32 = _make(1, "float32", np.float32)
float64 = _make(2, "float64", np.float64)
int32 = _make(3, "int32", np.int32)
uint8 = _make(4, "uint8", np.uint8)
int16 = _make(5, "int16", np.int16)
int8 = _make(6, "int8", np.int8)
string = _make(7, "string", np.object_)
complex64 = _make(8, "complex64", np.complex64)
int64 = _make(9, "int64", np.int64)
bool = _make(10, "bool", np.bool_)
qint8 = _make(11, "qint8", np.int8)
quint8 = _make(12, "quint8", np.uint8)
qint32 = _make(13, "qint32", np.int32)
bfloat16 = _make(14, "bfloat16", ml_dtypes.bfloat16)
qint16 = _make(15, "qint16", np.int16)
quint16 = _make(16, "quint16", np.uint16)
uint16 = _make(17, "uint16", np.uint16)
complex128 = _make(18, "complex128", np.complex128)
float16 = _make(19, "float16", np.float16)
resource = _make(20, "resource", np.object_)
variant = _make(21, "variant", np.object_)
uint32 = _make(22, "uint32", np.uint32)
uint64 = _make(23, "uint64", np.uint64)
float8_e5m2 = _make(24, "float8_e5m2", ml_dtypes.float8_e5m2)
float8_e4m3fn = _make(25, "float8_e4m3fn", ml_dtypes.float8_e4m3fn)
float8_e4m3fnuz = _make(26, "float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz)
float8_e4m3b11fnuz = _make(27, "float8_e4m3b11fnuz", ml_dtypes.float8_e4m3b11fnuz)
float8_e5m2fnuz = _make(28, "float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz)
int4 = _make(29, "int4", ml_dtypes.int4)
uint4 = _make(30, "uint4", ml_dtypes.uint4)

half = float16
double = float64

_BY_NAME.update({"half": float16, "float": float32, "double": float64, "half_ref": float16._as_ref})
_BY_NAME.update({"float_ref": float32._as_ref, "double_ref": float64._as_ref})

_FLOATING = frozenset(d.as_datatype_enum for d in (float16, float32, float64, bfloat16)) | frozenset(
    range(24, 29)
)
_INTEGER = frozenset((3, 4, 5, 6, 9, 17, 22, 23, 29, 30))

_BY_NUMPY: dict[np.dtype[Any], DType] = {
    d.np: d
    for d in (
        float32, float64, int32, uint8, int16, int8, complex64, int64, bool, bfloat16, uint16, complex128,
        float16, uint32, uint64, float8_e5m2, float8_e4m3fn, float8_e4m3fnuz, float8_e4m3b11fnuz,
        float8_e5m2fnuz, int4, uint4,
    )
}  # fmt: skip
_BY_NUMPY[np.dtype(np.object_)] = string

# What Python's own types stand for; others, such as `int`, are ambiguous and stand for nothing.
_BY_PYTHON: dict[type, DType] = {float: float32, builtins.bool: bool, object: string}
_AMBIGUOUS = (int, str, bytes, complex)


def as_dtype(type_value: Any) -> DType:
    """The DType that ``type_value`` stands for.

    Args:
      type_value: a DType, a DataType number, a name, a NumPy type or dtype, or `float`, `bool` or `object`.

    Raises:
      TypeError: nothing is known under that value.
    """
    if isinstance(type_value, DType):
        return type_value
    found: DType | None = None
    if isinstance(type_value, str):
        found = _BY_NAME.get(type_value)
    elif isinstance(type_value, type):
        found = _BY_PYTHON.get(type_value)
    elif isinstance(type_value, int):
        found = _BY_ENUM.get(type_value)
    if found is None and not (isinstance(type_value, type) and type_value in _AMBIGUOUS):
        numpy_dtype: np.dtype[Any] | None
        try:
            numpy_dtype = np.dtype(type_value)
        except TypeError:
            numpy_dtype = None
        if numpy_dtype is not None and type_value is not None:
            found = string if numpy_dtype.kind in "SU" else _BY_NUMPY.get(numpy_dtype.newbyteorder("="))
    if found is None:
        raise TypeError(f"Cannot convert value {type_value!r} to a TensorFlow DType.")
    return found
