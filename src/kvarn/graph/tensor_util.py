"""Python values as tensors' values and back.

What is known of a tensor's value before a run stands in `kvarn.graph.static_value` and is found here, too.

The element type of Python values without a type: float is float32; int is int32, or int64 where the value
needs it; bool, bytes and str stay what they are.  NumPy arrays and scalars keep their type.

Source: tensorflow/python/framework/tensor_util.py (1.15).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.dtypes import DType
from kvarn.graph.static_value import constant_value as constant_value
from kvarn.graph.static_value import constant_value_as_shape as constant_value_as_shape
from kvarn.graph.static_value import is_tensor as is_tensor
from kvarn.graph.static_value import known_shape as known_shape
from kvarn.graph.static_value import known_value as known_value
from kvarn.graph.tensor_proto import TensorValue, decode
from kvarn.graph.tensor_shape import Dimension

_INT32_MIN: Final = -(1 << 31)
_INT32_MAX: Final = (1 << 31) - 1
_MAX_BYTES: Final = 1 << 31


# Python values to arrays.


def to_numpy(
    values: Any, dtype: DType | None = None, shape: Any = None, allow_broadcast: bool = False
) -> npt.NDArray[Any]:
    """The array of a constant.

    Args:
      values: scalars, nested lists and tuples of them, or anything with the array interface.
      dtype: the element type, or None to infer it.
      shape: the shape, or None to take that of ``values``.  When there are fewer values than elements, the
        last value repeats.
      allow_broadcast: only a single value may repeat (and every value is checked against ``shape``).

    Returns:
      An array that shares no memory with ``values``; strings are ``bytes`` in an object array.  It may
      have strides of 0 where a value repeats.

    Raises:
      TypeError, ValueError: as `make_tensor_proto`.
    """
    return to_tensor_value(values, dtype, shape, allow_broadcast=allow_broadcast).array


def to_tensor_value(
    values: Any,
    dtype: Any = None,
    shape: Any = None,
    verify_shape: bool = False,
    allow_broadcast: bool = False,
) -> TensorValue:
    """What `make_tensor_proto` makes, as the `TensorValue` that attributes hold.

    Args and errors are those of `make_tensor_proto`.
    """
    if allow_broadcast and verify_shape:
        raise ValueError("allow_broadcast and verify_shape are not both allowed.")
    wanted: DType | None = None if dtype is None else dtypes.as_dtype(dtype).base_dtype
    if shape is None:
        array = _quick(values, wanted)
        if array is not None:
            return TensorValue(array, wanted or dtypes.as_dtype(array.dtype))
    array = _as_array(values, wanted, shape)
    found = wanted if wanted is not None and wanted.is_quantized else dtypes.as_dtype(array.dtype)
    if wanted is not None and wanted is not found:
        raise TypeError(f"Incompatible types: {wanted} vs. {array.dtype}. Value is {values}")
    stored = None
    if shape is not None:
        sizes = tuple([int(dim) for dim in shape])
        array, stored = _fit(array, sizes, verify_shape, allow_broadcast, found)
    else:
        sizes = array.shape
    if found is dtypes.string:
        array = _strings(array, values, sizes)
    if array.size > 1 and stored is None and array.nbytes >= _MAX_BYTES:
        raise ValueError("Cannot create a tensor proto whose content is larger than 2GB.")
    return TensorValue(array, found, stored)


def make_tensor_proto(
    values: Any,
    dtype: Any = None,
    shape: Any = None,
    verify_shape: bool = False,
    allow_broadcast: bool = False,
) -> Any:
    """The TensorProto of ``values``, stored as TensorFlow's front end stores it.

    Differs from TensorFlow in one thing: arrays in the other byte order are stored right.

    Args:
      values: scalars, nested lists and tuples of them, anything with the array interface, or a TensorProto,
        which is returned as it is.  Quantised elements are tuples of one int.
      dtype: the element type, or None to infer it.
      shape: the shape, or None to take that of ``values``.
      verify_shape: ``values`` must have exactly the shape.
      allow_broadcast: ``values`` must have as many elements as the shape, or be a single one.

    Raises:
      TypeError: the values cannot be of that type, or of any; or they fail the check of shapes.
      ValueError: None; ragged lists; more values than elements; both checks of shapes at once; over 2 GB.
      OverflowError: an int needs more than 64 bits.
    """
    if allow_broadcast and verify_shape:
        raise ValueError("allow_broadcast and verify_shape are not both allowed.")
    if is_tensor_proto(values):
        return values
    return to_tensor_value(values, dtype, shape, verify_shape, allow_broadcast).to_proto()


def MakeNdarray(tensor: Any) -> npt.NDArray[Any]:
    """The elements of a TensorProto, in an array of its own that may be changed.

    Quantised types come as plain integers.

    Raises:
      TypeError: the element type cannot be held in an array (resource, variant).
      ValueError: the fields contradict the shape.
    """
    return np.array(decode(tensor))


make_ndarray = MakeNdarray


def ShapeEquals(tensor_proto: Any, shape: Any) -> bool:
    """Whether a TensorProto has ``shape``, a list or tuple of ints or a TensorShapeProto.

    Raises:
      TypeError: either argument is of another kind.
    """
    if not is_tensor_proto(tensor_proto):
        raise TypeError("tensor_proto is not a tensor_pb2.TensorProto object")
    if _is_message(shape, "tensorflow.TensorShapeProto"):
        shape = [d.size for d in shape.dim]
    elif not isinstance(shape, list | tuple):
        raise TypeError("shape is not a list or tuple")
    # TensorFlow compares only as far as the shorter of the two goes.
    return all(d.size == size for d, size in zip(tensor_proto.tensor_shape.dim, shape, strict=False))


def is_tensor_proto(value: Any) -> bool:
    """Whether a value is a TensorProto, kvarn's or another protobuf library's."""
    return _is_message(value, "tensorflow.TensorProto")


def _is_message(value: Any, full_name: str) -> bool:
    descriptor = getattr(value, "DESCRIPTOR", None)
    return descriptor is not None and getattr(descriptor, "full_name", None) == full_name


def _quick(values: Any, wanted: DType | None) -> npt.NDArray[Any] | None:
    """The array of the most common constants, or None: scalars, flat lists of ints, plain arrays."""
    kind = type(values)
    if kind is int:
        if _INT32_MIN <= values <= _INT32_MAX:
            if wanted is None or wanted is dtypes.int32:
                return np.array(values, np.int32)
            if wanted is dtypes.int64 or wanted.is_floating:
                return np.array(values, wanted.np)
    elif kind is float:
        if wanted is None or wanted is dtypes.float32:
            with np.errstate(over="ignore"):
                return np.array(values, np.float32)
        if wanted is dtypes.float64:
            return np.array(values, np.float64)
    elif kind is bool:
        if wanted is None or wanted is dtypes.bool:
            return np.array(values, np.bool_)
    elif kind is str or kind is bytes:
        if wanted is None or wanted is dtypes.string:
            return np.array(values.encode() if kind is str else values, dtype=object)
    elif kind is list or kind is tuple:
        if (
            values
            and (wanted is None or wanted is dtypes.int32)
            and set(map(type, values)) == {int}
            and min(values) >= _INT32_MIN
            and max(values) <= _INT32_MAX
        ):
            return np.array(values, np.int32)
    elif (
        kind is np.ndarray
        and values.dtype.kind in "fiub"
        and values.dtype.isnative
        and values.nbytes < _MAX_BYTES
        and (wanted is None or wanted.np is values.dtype)
    ):
        return np.array(values, order="C")
    return None


def _as_array(values: Any, wanted: DType | None, shape: Any) -> npt.NDArray[Any]:
    """The array of ``values`` before ``shape`` is applied; strings are not yet bytes."""
    numpy_compatible = wanted is not None and wanted.is_numpy_compatible
    if _is_array_like(values):
        values = np.asarray(values)
    if isinstance(values, np.ndarray | np.generic):
        array = np.array(values, order="C")
        names = array.dtype.names
        if names is not None and len(names) == 1:
            # TensorFlow's NumPy types of quantised elements are records of one field.
            array = array[names[0]]
        if wanted is not None and numpy_compatible:
            # As in TensorFlow: an array is cast without questions.
            with np.errstate(all="ignore"):
                return _cast(array, wanted)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    if values is None:
        raise ValueError("None values not supported.")
    np_type = wanted.np if wanted is not None and numpy_compatible else None
    if shape is not None and math.prod([int(d) for d in shape]) == 0:
        array = np.empty([int(d) for d in shape], dtype=np_type)
    else:
        _check_elements(values, wanted)
        quantized = wanted is not None and wanted.is_quantized
        array = _array_of(_unwrap_quantized(values) if quantized else values, np_type)
        dense = _dense_dimensions(values)
        if list(array.shape) != dense and not quantized:
            raise ValueError(
                f"Argument must be a dense tensor: {values} - got shape {list(array.shape)}, "
                f"but wanted {dense}."
            )
    if wanted is None:
        if array.dtype == np.float64:
            with np.errstate(over="ignore"):
                return array.astype(np.float32)
        if array.dtype == np.int64:
            narrow = array.astype(np.int32)
            if np.array_equal(narrow, array):
                return narrow
    return array


def _array_of(values: Any, np_type: np.dtype[Any] | None) -> npt.NDArray[Any]:
    if np_type is None:
        try:
            return np.array(values)
        except ValueError:
            # Ragged lists: an array of lists, whose shape the caller finds wrong.
            return np.array(values, dtype=object)
    if np_type.kind in "iu":
        # Ints out of range wrap around, as they do in TensorFlow; more than 64 bits are an error.
        try:
            return np.array(values, dtype=np_type)
        except OverflowError:
            objects = np.array(values, dtype=object)
            low, high = (
                (0, 1 << 64) if np_type == np.uint64 and min(objects.flat) >= 0 else (-1 << 63, 1 << 63)
            )
            if any(not low <= int(v) < high for v in objects.flat):
                raise OverflowError("Python int too large to convert to C long") from None
            return objects.astype(np.uint64 if low == 0 else np.int64).astype(np_type)
        except ValueError as e:
            raise _ragged(e) from None
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=np_type)
    except ValueError as e:
        raise _ragged(e) from None


def _ragged(error: ValueError) -> ValueError:
    text = "setting an array element with a sequence."
    return ValueError(text) if str(error).startswith(text) else error


def _cast(array: npt.NDArray[Any], wanted: DType) -> npt.NDArray[Any]:
    if array.dtype.kind == "c" and not wanted.is_complex and not array.dtype.hasobject:
        array = array.real
    return array.astype(wanted.np, order="C", copy=False)


def _is_array_like(value: Any) -> bool:
    from kvarn.graph.tensor import Tensor

    if isinstance(value, Tensor):
        return False
    if callable(getattr(value, "__array__", None)) or isinstance(
        getattr(value, "__array_interface__", None), dict
    ):
        return True
    if isinstance(value, bytes):
        return False
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


def _leaves(values: Any) -> Iterator[Any]:
    if isinstance(values, list | tuple):
        for value in values:
            yield from _leaves(value)
    elif isinstance(values, Mapping):
        for key in sorted(values):
            yield from _leaves(values[key])
    else:
        yield values


def _dense_dimensions(values: Any) -> list[int]:
    if not isinstance(values, list | tuple):
        return []
    if not values:
        return [0]
    return [len(values), *_dense_dimensions(values[0])]


_INTS: Final = (numbers.Integral, np.integer, Dimension)
_REALS: Final = (numbers.Real, np.integer, np.floating)
_COMPLEXES: Final = (numbers.Complex, np.number)


def _element_types(dtype: DType) -> tuple[type, ...] | None:
    if dtype.is_bool:
        return (bool,)
    if dtype is dtypes.string:
        return (str, bytes)
    if dtype.is_integer:
        return _INTS
    if dtype.is_floating:
        return _REALS
    if dtype.is_complex:
        return _COMPLEXES
    return None


def _check_elements(values: Any, wanted: DType | None) -> None:
    """TypeError when an element is not of the kind that ``wanted`` takes, or a Tensor when it is None."""
    if wanted is not None and wanted.is_quantized:
        _check_quantized(values, wanted)
        return
    kinds = None if wanted is None else _element_types(wanted)
    if wanted is not None and kinds is not None:
        for value in _leaves(values):
            if not isinstance(value, kinds):
                raise _unexpected(value, wanted)
        return
    from kvarn.graph.tensor import Tensor

    for value in _leaves(values):
        if isinstance(value, Tensor):
            if wanted is None:
                raise TypeError("List of Tensors when single Tensor expected")
            raise _unexpected(value, wanted)


def _check_quantized(values: Any, wanted: DType) -> None:
    if isinstance(values, tuple):
        for value in _leaves(values):
            if not isinstance(value, _INTS):
                raise _unexpected(value, wanted)
    elif isinstance(values, list):
        for value in values:
            _check_quantized(value, wanted)
    else:
        raise _unexpected(values, wanted)


def _unwrap_quantized(values: Any) -> Any:
    if isinstance(values, list):
        return [_unwrap_quantized(value) for value in values]
    if len(values) == 1:
        return values[0]
    raise ValueError(f"A quantized element is a tuple of one int, not {values}")


def _unexpected(value: Any, wanted: DType) -> TypeError:
    return TypeError(f"Expected {wanted.name}, got {value!r} of type '{type(value).__name__}' instead.")


def _fit(
    array: npt.NDArray[Any], sizes: tuple[int, ...], verify_shape: bool, allow_broadcast: bool, dtype: DType
) -> tuple[npt.NDArray[Any], int | None]:
    """The array in its wished shape, and how many of its elements are given (None for all)."""
    count = math.prod(sizes)
    if allow_broadcast:
        if array.shape not in ((), (1,)) and array.size != count:
            raise TypeError(f"Expected Tensor's shape: {sizes}, got {array.shape}.")
    else:
        if verify_shape and array.shape != sizes:
            raise TypeError(f"Expected Tensor's shape: {sizes}, got {array.shape}.")
        if array.size > count:
            raise ValueError(f"Too many elements provided. Needed at most {count}, but received {array.size}")
    if dtype is dtypes.string:
        # The strings are counted when they are turned into bytes.
        return array, None if array.size == count else array.size
    if array.size == count:
        return array.reshape(sizes), None
    given = array.ravel()[:count]
    if given.size <= 1:
        value = given[0] if given.size else np.zeros((), array.dtype)
        return np.broadcast_to(value, sizes), given.size
    padding = np.broadcast_to(given[-1:], count - given.size)
    return np.concatenate([given, padding]).reshape(sizes), given.size


def _strings(array: npt.NDArray[Any], values: Any, sizes: tuple[int, ...]) -> npt.NDArray[Any]:
    """The object array of bytes that ``values`` stand for."""
    count = math.prod(sizes)
    if isinstance(values, np.ndarray | np.generic) or _is_array_like(values):
        items = [_as_bytes(value) for value in array.ravel().tolist()]
    elif count == 0:
        items = []
    else:
        # From the values themselves, because NumPy cuts zeros off the ends of strings.
        try:
            items = [_as_bytes(value) for value in _string_leaves(values)]
        except TypeError:
            raise TypeError(
                f"Failed to convert object of type {type(values)} to Tensor. Contents: {values}. "
                "Consider casting elements to a supported type."
            ) from None
    items.extend([items[-1] if items else b""] * (count - len(items)))
    result = np.empty(count, dtype=object)
    result[:] = items
    return result.reshape(sizes)


def _string_leaves(values: Any) -> Iterator[Any]:
    if isinstance(values, list | tuple):
        for value in values:
            yield from _string_leaves(value)
    else:
        yield values


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"Expected binary or unicode string, got {value!r}")


def shape_tensor(shape: Any) -> Any:
    """The int tensor of a shape that may hold Dimensions or Tensors."""
    from kvarn.graph.convert import convert_to_tensor

    dtype = None
    if isinstance(shape, tuple | list):
        shape = tuple(d.value if isinstance(d, Dimension) else d for d in shape)
        dtype = None if shape else dtypes.int32
    return convert_to_tensor(shape, dtype=dtype, name="shape")
