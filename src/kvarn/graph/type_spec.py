"""Specs of composites: what is known of a SparseTensor or of IndexedSlices beforehand.

Source: tensorflow/python/framework/{type_spec,sparse_tensor,indexed_slices}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph.tensor import IndexedSlices, IndexedSlicesValue, SparseTensor, SparseTensorValue
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.graph.tensor_spec import TensorSpec


class TypeSpec:
    """A kind of values.  Subclasses say what it is made of (`_serialize`), and how its values are taken apart."""

    __slots__ = ()

    @property
    def value_type(self) -> Any:
        """The Python type of the values."""
        raise NotImplementedError(f"{type(self).__name__}.value_type")

    @property
    def _component_specs(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__}._component_specs()")

    def _serialize(self) -> tuple[Any, ...]:
        raise NotImplementedError(f"{type(self).__name__}._serialize()")

    def _to_components(self, value: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}._to_components()")

    def _from_components(self, components: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}._from_components()")

    @classmethod
    def _deserialize(cls, serialization: Any) -> Any:
        return cls(*serialization)

    def is_compatible_with(self, spec_or_value: Any) -> bool:
        """Whether a value, or one described by another spec, may be of this kind."""
        if not isinstance(spec_or_value, (TypeSpec, TensorSpec)):
            spec_or_value = type_spec_from_value(spec_or_value)
        return type(self) is type(spec_or_value) and _compatible(
            self._serialize(), spec_or_value._serialize()
        )

    def most_specific_compatible_type(self, other: Any) -> Any:
        """The narrowest spec that both are compatible with; ValueError if there is none."""
        if type(self) is not type(other):
            raise ValueError(f"No TypeSpec is compatible with both {self} and {other}")
        return self._deserialize(_merged(self._serialize(), other._serialize()))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and _key(self._serialize()) == _key(other._serialize())

    def __hash__(self) -> int:
        return hash((type(self), _key(self._serialize())))

    def __reduce__(self) -> Any:
        return type(self), self._serialize()

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._serialize()!r}"


def _compatible(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_compatible(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_compatible(a[k], b[k]) for k in a)
    if isinstance(a, (TypeSpec, TensorSpec, TensorShape, dtypes.DType)):
        return bool(a.is_compatible_with(b))
    return bool(a == b)


def _merged(a: Any, b: Any) -> Any:
    problem = ValueError(f"Types are not compatible: {a!r} vs {b!r}")
    if type(a) is not type(b):
        raise problem
    if isinstance(a, tuple):
        if len(a) != len(b):
            raise problem
        return tuple(_merged(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        if a.keys() != b.keys():
            raise problem
        return {k: _merged(a[k], b[k]) for k in sorted(a)}
    if isinstance(a, TensorShape):
        return a.most_specific_compatible_shape(b)
    if isinstance(a, list):
        raise AssertionError("_serialize() should not return list values.")
    if isinstance(a, TypeSpec):
        return a.most_specific_compatible_type(b)
    if a != b:
        raise problem
    return a


def _key(value: Any) -> Any:
    """What stands for a value in comparisons: shapes that are not known are equal, too."""
    if isinstance(value, tuple):
        return tuple(_key(v) for v in value)
    if isinstance(value, dict):
        return tuple((_key(k), _key(value[k])) for k in sorted(value))
    if isinstance(value, TensorShape):
        return TensorShape, value.as_tuple()
    if isinstance(value, np.ndarray):
        return np.ndarray, value.shape, value.tobytes()
    if value is None or isinstance(value, (int, float, bool, str, bytes, dtypes.DType, TypeSpec, TensorSpec)):
        return value
    raise ValueError(f"Unsupported value type {type(value).__name__} returned by _serialize")


class SparseTensorSpec(TypeSpec):
    """SparseTensors.

    Args:
      shape: the dense shape, as far as it is known.
      dtype: element type.
    """

    __slots__ = ("_dtype", "_shape")

    value_type = property(lambda self: SparseTensor)

    def __init__(self, shape: Any = None, dtype: Any = dtypes.float32) -> None:
        self._shape = as_shape(shape)
        self._dtype = dtypes.as_dtype(dtype)

    @property
    def dtype(self) -> dtypes.DType:
        return self._dtype

    @property
    def shape(self) -> TensorShape:
        return self._shape

    def _serialize(self) -> tuple[Any, ...]:
        return self._shape, self._dtype

    @property
    def _component_specs(self) -> list[TensorSpec]:
        rank = self._shape.ndims
        return [
            TensorSpec([None, rank], dtypes.int64),
            TensorSpec([None], self._dtype),
            TensorSpec([rank], dtypes.int64),
        ]

    def _to_components(self, value: Any) -> list[Any]:
        if isinstance(value, SparseTensorValue):
            value = SparseTensor.from_value(value)
        return [value.indices, value.values, value.dense_shape]

    def _from_components(self, components: Any) -> Any:
        if all(isinstance(x, np.ndarray) for x in components):
            return SparseTensorValue(*components)
        return SparseTensor(*components)

    def _batch(self, batch_size: int | None) -> SparseTensorSpec:
        return SparseTensorSpec(TensorShape([batch_size]).concatenate(self._shape), self._dtype)

    def _unbatch(self) -> SparseTensorSpec:
        if self._shape.ndims == 0:
            raise ValueError("Unbatching a tensor is only supported for rank >= 1")
        return SparseTensorSpec(self._shape[1:], self._dtype)

    def _to_legacy_output_types(self) -> dtypes.DType:
        return self._dtype

    def _to_legacy_output_shapes(self) -> TensorShape:
        return self._shape

    def _to_legacy_output_classes(self) -> Any:
        return SparseTensor

    @classmethod
    def from_value(cls, value: Any) -> SparseTensorSpec:
        """The spec of a SparseTensor or SparseTensorValue; TypeError for anything else."""
        if isinstance(value, SparseTensor):
            return cls(value.shape, value.dtype)
        if not isinstance(value, SparseTensorValue):
            raise TypeError("Expected SparseTensor or SparseTensorValue")
        if isinstance(value.values, np.ndarray):
            return cls(value.dense_shape, value.values.dtype)
        return cls.from_value(SparseTensor.from_value(value))


class IndexedSlicesSpec(TypeSpec):
    """IndexedSlices.

    Args:
      shape: of the whole tensor, as far as it is known.
      dtype: of the values.
      indices_dtype: int32 or int64.
      dense_shape_dtype: of the dense shape, None if there is none.
      indices_shape: [n].
    """

    __slots__ = ("_dense_shape_dtype", "_indices_dtype", "_indices_shape", "_shape", "_values_dtype")

    value_type = property(lambda self: IndexedSlices)

    def __init__(
        self,
        shape: Any = None,
        dtype: Any = dtypes.float32,
        indices_dtype: Any = dtypes.int64,
        dense_shape_dtype: Any = None,
        indices_shape: Any = None,
    ) -> None:
        self._shape = as_shape(shape)
        self._values_dtype = dtypes.as_dtype(dtype)
        self._indices_dtype = dtypes.as_dtype(indices_dtype)
        self._dense_shape_dtype = None if dense_shape_dtype is None else dtypes.as_dtype(dense_shape_dtype)
        self._indices_shape = as_shape(indices_shape).with_rank(1)

    def _serialize(self) -> tuple[Any, ...]:
        return (
            self._shape,
            self._values_dtype,
            self._indices_dtype,
            self._dense_shape_dtype,
            self._indices_shape,
        )

    @property
    def _component_specs(self) -> tuple[TensorSpec, ...]:
        values = self._indices_shape.concatenate(self._shape[1:])
        specs = [
            TensorSpec(values, self._values_dtype),
            TensorSpec(self._indices_shape, self._indices_dtype),
        ]
        if self._dense_shape_dtype is not None:
            specs.append(TensorSpec([self._shape.ndims], self._dense_shape_dtype))
        return tuple(specs)

    def _to_components(self, value: Any) -> tuple[Any, ...]:
        parts = (value.values, value.indices)
        return parts if value.dense_shape is None else (*parts, value.dense_shape)

    def _from_components(self, components: Any) -> IndexedSlices | IndexedSlicesValue:
        if all(isinstance(x, np.ndarray) for x in components):
            return IndexedSlicesValue(*components, *([None] * (3 - len(components))))
        return IndexedSlices(*components)


def type_spec_from_value(value: Any) -> Any:
    """The spec of a tensor, a composite, or what converts to a tensor; TypeError for anything else."""
    from kvarn.graph.convert import convert_to_tensor
    from kvarn.graph.tensor import Tensor

    if isinstance(value, (SparseTensor, SparseTensorValue)):
        return SparseTensorSpec.from_value(value)
    if isinstance(value, IndexedSlices):
        dense = None if value.dense_shape is None else value.dense_shape.dtype
        return IndexedSlicesSpec(
            value.shape, value.dtype, value.indices.dtype, dense, value.indices.get_shape()
        )
    if not isinstance(value, Tensor):
        try:
            value = convert_to_tensor(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"Could not build a TypeSpec for {value!r} with type {type(value).__name__}"
            ) from None
    return TensorSpec(value.shape, value.dtype)
