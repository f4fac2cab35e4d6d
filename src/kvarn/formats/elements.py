"""Which element types checkpoints hold, what of them arrays can have, and how arrays become bytes of a bundle.

There all but strings and variants lie row-major, little-endian, `DType.size` bytes each.  int4 and uint4 take
a byte each, the value in the low 4 bits.  Resources cannot be saved.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import InvalidArgumentError, UnimplementedError

_RESOURCE = 20
_INT4, _UINT4 = 29, 30
# What NumPy's arrays have at most (NPY_MAXDIMS); TensorFlow's tensors have up to 254.
MOST_DIMENSIONS = 64 if int(np.__version__.split(".")[0]) >= 2 else 32
# NumPy counts the bytes of an array in an int64, and leaves empty dimensions out.
_MOST_BYTES = (1 << 63) - 1

# The types a stored slice can be cut in (BundleReader::GetSliceValue); of the others TensorFlow reads a
# slice only as it was stored.
_CUTTABLE = frozenset((1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 18))

# Names that messages use where they differ from Python's (DataTypeString, framework/types.cc).
_MESSAGE_NAMES = {1: "float", 2: "double", 19: "half"}


def dtype_of(number: int, name: str, path: str) -> dtypes.DType:
    """The element type of an entry.

    Raises:
      UnimplementedError: a type that kvarn does not know.
    """
    try:
        dtype = dtypes.as_dtype(number)
    except TypeError:
        dtype = dtypes.resource
    if dtype is dtypes.resource or dtype.is_ref:
        raise UnimplementedError.of(
            f"tensor '{name}' in '{path}' has the element type number {number}, which cannot be read",
            name=name,
            path=path,
            hint="It was written by a newer or a changed TensorFlow; the other tensors can be read.",
        )
    return dtype


def message_name(dtype: dtypes.DType) -> str:
    """The name of a type in TensorFlow's C++ messages: ``float``, not ``float32``."""
    return _MESSAGE_NAMES.get(dtype.base_dtype.as_datatype_enum, dtype.base_dtype.name)


def check_cuttable(dtype: dtypes.DType, name: str, path: str) -> None:
    """Raises InvalidArgumentError for the types of which TensorFlow reads no part of a stored slice."""
    if dtype.as_datatype_enum not in _CUTTABLE:
        raise InvalidArgumentError.of(
            f"Dtype {message_name(dtype)} not supported.\n"
            f"  tensor '{name}' in '{path}': only a slice that was saved as it is can be read",
            name=name,
            path=path,
            hint="Read the stored slices one by one.",
        )


def saved_dtype(array: npt.NDArray[Any], dtype: Any, name: str) -> dtypes.DType:
    """The element type under which an array is saved.

    Args:
      dtype: what the caller says, or None for the array's own.

    Raises:
      InvalidArgumentError: resources, types without a number, or a type of another size than the array's.
    """
    try:
        found = dtypes.as_dtype(array.dtype if dtype is None else dtype).base_dtype
    except TypeError as error:
        raise InvalidArgumentError.of(
            f"tensor '{name}' cannot be saved: {error}",
            name=name,
            hint="Convert it to an element type of TensorFlow first.",
        ) from error
    if found.as_datatype_enum == _RESOURCE:
        raise InvalidArgumentError.of(
            f"tensor '{name}' is a resource handle, which cannot be saved",
            name=name,
            hint="Save the value it stands for.",
        )
    fits = array.dtype.kind in "OSU" if found.np.hasobject else array.dtype.newbyteorder("=") == found.np
    if not fits:
        raise InvalidArgumentError.of(
            f"tensor '{name}' has elements of type {array.dtype}, not {found.name}",
            name=name,
            hint="Convert the array, or leave out the type.",
        )
    return found


def is_plain(dtype: dtypes.DType) -> bool:
    """Whether elements lie in a little-endian file as in memory."""
    return not dtype.np.hasobject and dtype.as_datatype_enum not in (_INT4, _UINT4)


def check_dimensions(shape: tuple[int, ...], name: str, path: str, item_bytes: int = 16) -> None:
    """Raises UnimplementedError for a tensor that has more or larger dimensions than arrays can have."""
    if len(shape) > MOST_DIMENSIONS:
        raise UnimplementedError.of(
            f"tensor '{name}' in '{path}' has {len(shape)} dimensions, and a NumPy array at most "
            f"{MOST_DIMENSIONS}",
            name=name,
            path=path,
            hint="Read its bytes by lookup_header and lookup_segment; the other tensors can be read.",
        )
    # Only of an empty tensor: another's bytes would not fit into any file.
    if math.prod(size or 1 for size in shape) * item_bytes > _MOST_BYTES:
        raise UnimplementedError.of(
            f"tensor '{name}' in '{path}' has dimensions that no NumPy array can have: {list(shape)}",
            name=name,
            path=path,
            hint="It has no elements; the other tensors can be read.",
        )


def check_targets(out: Mapping[str, npt.NDArray[Any]], names: Collection[str], prefix: str) -> None:
    """Raises InvalidArgumentError for an array given for a tensor that is not read: it would stay as it is."""
    unused = [name for name in out if name not in names]
    if unused:
        raise InvalidArgumentError.of(
            f"there is an array for '{unused[0]}', which is not read from '{prefix}'",
            name=unused[0],
            path=prefix,
            hint="Arrays go by the names of the tensors that are read.",
        )


def target(
    out: npt.NDArray[Any] | None, shape: tuple[int, ...], dtype: dtypes.DType, name: str, path: str
) -> npt.NDArray[Any]:
    """The array that a tensor is read into: ``out`` if the caller gave one that fits, or a new one.

    Raises:
      InvalidArgumentError: ``out`` does not fit.
      UnimplementedError: the tensor has more dimensions than arrays can have.
    """
    check_dimensions(shape, name, path, dtype.np.itemsize)
    if out is None:
        return np.empty(shape, dtype.np)
    if out.shape != shape or out.dtype != dtype.np or not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidArgumentError.of(
            f"tensor '{name}' in '{path}' does not fit into the array given for it: {out.dtype}"
            f"{list(out.shape)}{'' if out.flags.writeable else ', read-only'}",
            name=name,
            path=path,
            hint=f"It needs a C-contiguous, writable {dtype.name}{list(shape)}.",
        )
    return out


def pieces(array: npt.NDArray[Any], piece_bytes: int) -> Iterator[npt.NDArray[Any]]:
    """The array in parts, in order, so that one that must be copied is copied in parts: small ones, or whole."""
    plain = array.flags.c_contiguous and array.dtype.byteorder != ">"
    if plain or array.nbytes <= piece_bytes:
        yield array
        return
    rows = piece_bytes * len(array) // array.nbytes
    for start in range(0, len(array), max(1, rows)):
        if rows:
            yield array[start : start + rows]
        else:
            yield from pieces(array[start], piece_bytes)


def to_bytes(array: npt.NDArray[Any], dtype: dtypes.DType) -> memoryview:
    """The bytes of an array as a bundle holds them; a view when the array lies so already."""
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if dtype.as_datatype_enum in (_INT4, _UINT4):
        flat = flat & np.uint8(0x0F)
    return flat.data


def from_bytes(raw: npt.NDArray[np.uint8], dtype: dtypes.DType, *, big_endian: bool) -> npt.NDArray[Any]:
    """The flat array that bytes of a bundle stand for; in place where it can be."""
    if dtype.as_datatype_enum == _INT4:
        return ((raw & 0x0F ^ 0x08).astype(np.int8) - np.int8(8)).astype(dtype.np)
    if dtype.as_datatype_enum == _UINT4:
        return (raw & np.uint8(0x0F)).astype(dtype.np)
    array = raw.view(dtype.np)
    if big_endian and dtype.size > 1:
        width = dtype.size // 2 if dtype.is_complex else dtype.size
        raw.view(f"u{width}").byteswap(inplace=True)
    return array
