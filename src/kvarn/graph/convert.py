"""Turning Python values into tensors.

Source: tensorflow/python/framework/{ops,constant_op}.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.dtypes import DType
from kvarn.graph import registry
from kvarn.graph.graph import get_default_graph, name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor, TensorValue

ConversionFunction = Callable[..., Any]

# By priority, then by order of registration.
_functions: list[tuple[int, int, Any, ConversionFunction]] = []
_by_type: dict[type, list[ConversionFunction]] = {}


def register_tensor_conversion_function(
    base_type: Any, conversion_func: ConversionFunction, priority: int = 100
) -> None:
    """Lets `convert_to_tensor` take values of ``base_type``.

    Args:
      base_type: a type or a tuple of types.
      conversion_func: ``f(value, dtype=None, name=None, as_ref=False)``; it returns a Tensor, or
        NotImplemented to let the next function try.
      priority: lower ones are asked first.
    """
    _functions.append((priority, len(_functions), base_type, conversion_func))
    _functions.sort(key=lambda item: item[:2])
    _by_type.clear()


def convert_to_tensor(
    value: Any,
    dtype: Any = None,
    name: str | None = None,
    preferred_dtype: Any = None,
    dtype_hint: Any = None,
    as_ref: bool = False,
) -> Tensor:
    """A tensor of ``value``: itself, what its type converts to, or a constant.

    Args:
      dtype: the element type it must have.
      name: of the constant made.
      preferred_dtype, dtype_hint: the type to use if the value can have it.
      as_ref: variables give their buffer instead of its value.

    Raises:
      TypeError: nothing converts values of that type.
      ValueError: the value is a tensor of another type.
      RuntimeError: a conversion function returned a tensor of the wrong type.
    """
    wanted = None if dtype is None else dtypes.as_dtype(dtype)
    if type(value) is Tensor:
        if wanted is not None and not wanted.is_compatible_with(value.dtype):
            raise ValueError(
                f"Tensor conversion requested dtype {wanted.name} for Tensor with dtype {value.dtype.name}: "
                f"{str(value)!r}"
            )
        return value
    if preferred_dtype is None:
        preferred_dtype = dtype_hint
    kind = type(value)
    functions = _by_type.get(kind)
    if functions is None:
        functions = _by_type[kind] = [f for _, _, base, f in _functions if issubclass(kind, base)]
    for function in functions:
        result: Any = None
        if wanted is None and preferred_dtype is not None:
            try:
                result = function(value, dtype=dtypes.as_dtype(preferred_dtype), name=name, as_ref=as_ref)
            except (TypeError, ValueError):
                result = None
            if result is NotImplemented:
                result = None
            if (
                result is not None
                and result.dtype.base_dtype is not dtypes.as_dtype(preferred_dtype).base_dtype
            ):
                result = None
        if result is None:
            result = function(value, dtype=wanted, name=name, as_ref=as_ref)
        if result is NotImplemented:
            continue
        if not isinstance(result, Tensor):
            raise RuntimeError(f"{function} returned {result!r} instead of a Tensor for {value!r}")
        if wanted is not None and not wanted.is_compatible_with(result.dtype):
            raise RuntimeError(
                f"Conversion function returned incompatible dtype: requested = {wanted.name}, "
                f"actual = {result.dtype.name}"
            )
        return result
    raise TypeError(
        f"Cannot convert {value!r} with type {kind} to Tensor: no conversion function registered."
    )


def convert_n_to_tensor(
    values: Any, dtype: Any = None, name: str | None = None, preferred_dtype: Any = None
) -> list[Tensor]:
    """`convert_to_tensor` of each; constants are named ``name_0``, ``name_1`` …"""
    return [
        convert_to_tensor(v, dtype, None if name is None else f"{name}_{i}", preferred_dtype)
        for i, v in enumerate(values)
    ]


def convert_to_tensor_or_indexed_slices(
    value: Any, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    """``value`` itself if it is a tensor or IndexedSlices, otherwise `convert_to_tensor`."""
    if isinstance(value, (IndexedSlices, SparseTensor)):
        if dtype is not None and not dtypes.as_dtype(dtype).is_compatible_with(value.dtype):
            raise ValueError(
                f"Tensor conversion requested dtype {dtypes.as_dtype(dtype).name} for Tensor with dtype "
                f"{value.dtype.name}"
            )
        return value
    return convert_to_tensor(value, dtype, name, as_ref=as_ref)


def convert_to_tensor_or_sparse_tensor(value: Any, dtype: Any = None, name: str | None = None) -> Any:
    """``value`` as a SparseTensor if it is one or a SparseTensorValue, otherwise `convert_to_tensor`."""
    from kvarn.graph.tensor import SparseTensorValue

    if isinstance(value, SparseTensorValue):
        value = SparseTensor.from_value(value)
    return convert_to_tensor_or_indexed_slices(value, dtype, name)


def constant(
    value: Any, dtype: Any = None, shape: Any = None, name: str = "Const", verify_shape: bool = False
) -> Tensor:
    """A tensor that always has the value ``value``.

    Args:
      value: a Python or NumPy value.
      dtype: element type; worked out from the value by default (floats are float32, ints int32).
      shape: its shape; a value with fewer elements is filled up with its last one unless
        ``verify_shape``.

    Raises:
      TypeError: the value is not of the type.
      ValueError: the shape does not fit the value.
    """
    from kvarn.graph import tensor_util

    return constant_of(tensor_util.to_tensor_value(value, dtype, shape, verify_shape=verify_shape), name)


def constant_of(value: TensorValue, name: str | bytes | None = "Const") -> Tensor:
    """A Const operation's output for a value that is complete."""
    if isinstance(name, bytes):
        name = name.decode()
    node = get_default_graph().add_op(
        registry.look_up("Const"), [], {"dtype": value.dtype, "value": value}, name or "Const", stack_depth=4
    )
    return node.outputs[0]


def _constant_conversion(
    value: Any, dtype: DType | None = None, name: str | None = None, as_ref: bool = False
) -> Tensor:
    del as_ref
    kind = type(value)
    # Scalars are most of what programs convert; they need none of the general machinery.
    if kind is float and (dtype is None or dtype is dtypes.float32):
        with np.errstate(over="ignore"):
            return constant_of(TensorValue(np.array(value, np.float32), dtypes.float32), name)
    if kind is int and (dtype is None or dtype is dtypes.int32) and -(2**31) <= value < 2**31:
        return constant_of(TensorValue(np.array(value, np.int32), dtypes.int32), name)
    return constant(value, dtype, name=name or "Const")


def _autopack_conversion(
    value: Any, dtype: DType | None = None, name: str | None = None, as_ref: bool = False
) -> Any:
    """A list with tensors in it becomes a Pack; one without is a constant."""
    del as_ref
    if not _holds_tensor(value):
        return NotImplemented
    inferred = _dtype_inside(value)
    if dtype is not None and inferred is not None and inferred is not dtype.base_dtype:
        return _pack(_cast_inside(value, dtype.base_dtype), dtype.base_dtype, name or "packed")
    return _pack(value, inferred or dtype, name or "packed")


def _holds_tensor(value: Any) -> bool:
    for item in value:
        if isinstance(item, (list, tuple)):
            if _holds_tensor(item):
                return True
        elif isinstance(item, Tensor) or hasattr(item, "_as_graph_element"):
            return True
    return False


def _dtype_inside(value: Any) -> DType | None:
    for item in value:
        found = _dtype_inside(item) if isinstance(item, (list, tuple)) else None
        if isinstance(item, Tensor) or hasattr(item, "_as_graph_element"):
            found = item.dtype.base_dtype
        if found is not None:
            return found
    return None


def _cast_inside(value: Any, dtype: DType) -> Any:
    """Nested lists with their tensors as ``dtype``; what is no tensor becomes one of it anyway."""
    if isinstance(value, (list, tuple)):
        return [_cast_inside(item, dtype) for item in value]
    if not isinstance(value, Tensor) and not hasattr(value, "_as_graph_element"):
        return value
    tensor = convert_to_tensor(value)
    source = tensor.dtype.base_dtype
    if source is dtype:
        return tensor
    attrs = {"SrcT": source, "DstT": dtype, "Truncate": False}
    return get_default_graph().add_op(registry.look_up("Cast"), [tensor], attrs, "Cast").outputs[0]


def _pack(value: Any, dtype: DType | None, name: str) -> Tensor:
    with name_scope(name) as scope:
        items = []
        for i, item in enumerate(value):
            if isinstance(item, (list, tuple)) and _holds_tensor(item):
                items.append(_pack(item, dtype, str(i)))
            else:
                items.append(convert_to_tensor(item, dtype=dtype, name=str(i)))
        node = get_default_graph().add_op(
            registry.look_up("Pack"),
            items,
            {"N": len(items), "T": items[0].dtype.base_dtype, "axis": 0},
            scope,
        )
    return node.outputs[0]


register_tensor_conversion_function((list, tuple), _autopack_conversion, 99)


def _refuse_operation(
    value: Operation, dtype: DType | None = None, name: str | None = None, as_ref: bool = False
) -> Tensor:
    raise TypeError(
        f"Can't convert Operation '{value.name}' to Tensor (target dtype={dtype!r}, name={name!r})"
    )


register_tensor_conversion_function(Operation, _refuse_operation)
register_tensor_conversion_function(object, _constant_conversion, 200)


def _shape_conversion(
    value: Any, dtype: DType | None = None, name: str | None = None, as_ref: bool = False
) -> Any:
    """A fully defined TensorShape is a vector of int32, or int64 when asked for or needed."""
    from kvarn.graph.tensor_shape import TensorShape

    if not isinstance(value, TensorShape):
        return NotImplemented
    if not value.is_fully_defined():
        raise ValueError(f"Cannot convert a partially known TensorShape to a Tensor: {value}")
    dims = [d for d in value.as_list() if d is not None]
    if dtype is None:
        dtype = dtypes.int64 if any(d >= 2**31 for d in dims) else dtypes.int32
    elif dtype not in (dtypes.int32, dtypes.int64):
        raise TypeError(f"Cannot convert a TensorShape to dtype: {dtype}")
    return constant(dims, dtype, name=name or "shape_as_tensor")


def _dimension_conversion(
    value: Any, dtype: DType | None = None, name: str | None = None, as_ref: bool = False
) -> Any:
    from kvarn.graph.tensor_shape import Dimension

    if not isinstance(value, Dimension):
        return NotImplemented
    if value.value is None:
        raise ValueError(f"Cannot convert an unknown Dimension to a Tensor: {value}")
    if dtype is not None and dtype not in (dtypes.int32, dtypes.int64):
        raise TypeError(f"Cannot convert a TensorShape to dtype: {dtype}")
    return constant(value.value, dtype or dtypes.int32, name=name or "shape_as_tensor")


def _register_shapes() -> None:
    from kvarn.graph.tensor_shape import Dimension, TensorShape

    register_tensor_conversion_function(TensorShape, _shape_conversion, 100)
    register_tensor_conversion_function(Dimension, _dimension_conversion, 100)


_register_shapes()
