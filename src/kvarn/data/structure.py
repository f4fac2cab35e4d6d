"""Elements as flat lists of tensors: what a spec says of an element, and how it is taken apart and put together.

A sparse tensor is one tensor then, of variants; so is a dataset.

Source: tensorflow/python/data/util/structure.py, tensorflow/python/framework/{type_spec,tensor_spec,sparse_tensor}.py
(1.15).
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from kvarn import dtypes
from kvarn.data import nest
from kvarn.graph import type_spec
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import SparseTensor, SparseTensorValue, Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.graph.tensor_spec import TensorSpec
from kvarn.graph.type_spec import SparseTensorSpec
from kvarn.ops.sparse_serial import deserialize_sparse_, serialize_many_sparse_, serialize_sparse_

# -- one component --------------------------------------------------------------------------------------


@singledispatch
def flat_specs(spec: Any) -> list[TensorSpec]:
    """The specs of the tensors that a value is made of."""
    raise TypeError(f"Elements of datasets cannot be described by {spec!r}")


@singledispatch
def to_tensors(spec: Any, value: Any) -> list[Tensor]:
    """The tensors that ``value`` is made of."""
    raise TypeError(f"Elements of datasets cannot be described by {spec!r}")


@singledispatch
def to_batched_tensors(spec: Any, value: Any) -> list[Tensor]:
    """`to_tensors` of a batch, so that the tensors can be taken apart along their first dimension.

    Raises:
      ValueError: the value is no batch.
    """
    raise TypeError(f"Elements of datasets cannot be described by {spec!r}")


@singledispatch
def from_tensors(spec: Any, tensors: list[Tensor]) -> Any:
    """The value of these tensors."""
    raise TypeError(f"Elements of datasets cannot be described by {spec!r}")


@singledispatch
def batched(spec: Any, size: int | None) -> Any:
    """The spec of batches of what ``spec`` describes."""
    return spec._batch(size)


@singledispatch
def unbatched(spec: Any) -> Any:
    """The spec of the parts of a batch; ValueError if it is none."""
    return spec._unbatch()


@singledispatch
def legacy_type(spec: Any) -> Any:
    """What ``output_types`` says."""
    return spec._to_legacy_output_types()


@singledispatch
def legacy_shape(spec: Any) -> Any:
    """What ``output_shapes`` says."""
    return spec._to_legacy_output_shapes()


@singledispatch
def legacy_class(spec: Any) -> Any:
    """What ``output_classes`` says."""
    return spec._to_legacy_output_classes()


@flat_specs.register
def _(spec: TensorSpec) -> list[TensorSpec]:
    return [spec]


@to_tensors.register
def _(spec: TensorSpec, value: Any) -> list[Tensor]:
    return [convert_to_tensor(value, spec.dtype)]


@to_batched_tensors.register
def _(spec: TensorSpec, value: Any) -> list[Tensor]:
    if spec.shape.merge_with(value.shape).ndims == 0:
        raise ValueError("Unbatching a tensor is only supported for rank >= 1")
    return [value]


@from_tensors.register
def _(spec: TensorSpec, tensors: list[Tensor]) -> Any:
    tensors[0].set_shape(spec.shape)
    return tensors[0]


@batched.register
def _(spec: TensorSpec, size: int | None) -> Any:
    return TensorSpec(TensorShape([size]).concatenate(spec.shape), spec.dtype)


@unbatched.register
def _(spec: TensorSpec) -> Any:
    if spec.shape.ndims == 0:
        raise ValueError("Unbatching a tensor is only supported for rank >= 1")
    return TensorSpec(spec.shape[1:], spec.dtype)


@legacy_type.register
def _(spec: TensorSpec) -> Any:
    return spec.dtype


@legacy_shape.register
def _(spec: TensorSpec) -> Any:
    return spec.shape


@legacy_class.register
def _(spec: TensorSpec) -> Any:
    return Tensor


@flat_specs.register
def _(spec: type_spec.TypeSpec) -> list[TensorSpec]:
    found: list[TensorSpec] = spec._component_specs
    return found


@to_tensors.register
def _(spec: type_spec.TypeSpec, value: Any) -> list[Tensor]:
    found: list[Tensor] = spec._to_components(value)
    return found


@from_tensors.register
def _(spec: type_spec.TypeSpec, tensors: list[Tensor]) -> Any:
    for tensor, component in zip(tensors, flat_specs(spec), strict=True):
        tensor.set_shape(component.shape)
    return spec._from_components(tensors)


@flat_specs.register
def _(spec: SparseTensorSpec) -> list[TensorSpec]:
    # Three variants, or batches of them.
    return [TensorSpec(None, dtypes.variant)]


@to_tensors.register
def _(spec: SparseTensorSpec, value: Any) -> list[Tensor]:
    sparse = SparseTensor.from_value(value)
    return [serialize_sparse_(sparse.indices, sparse.values, sparse.dense_shape, out_type=dtypes.variant)]


@to_batched_tensors.register
def _(spec: SparseTensorSpec, value: Any) -> list[Tensor]:
    if spec.shape.merge_with(value.shape).ndims == 0:
        raise ValueError("Unbatching a sparse tensor is only supported for rank >= 1")
    return [serialize_many_sparse_(value.indices, value.values, value.dense_shape, out_type=dtypes.variant)]


@from_tensors.register
def _(spec: SparseTensorSpec, tensors: list[Tensor]) -> Any:
    found = SparseTensor(*deserialize_sparse_(tensors[0], spec.dtype))
    rank = spec.shape.ndims
    found.indices.set_shape([None, rank])
    found.dense_shape.set_shape([rank])
    return found


# -- whole elements -------------------------------------------------------------------------------------


def is_spec(value: Any) -> bool:
    """Whether ``value`` describes something."""
    return isinstance(value, (TensorSpec, type_spec.TypeSpec))


def normalize_element(element: Any) -> Any:
    """``element`` with tensors in place of what converts to them."""
    normalized: list[Any] = []
    with name_scope("normalize_element"):
        for i, value in enumerate(nest.flatten(element)):
            if isinstance(value, (SparseTensor, SparseTensorValue)):
                normalized.append(SparseTensor.from_value(value))
            elif hasattr(value, "_type_spec"):
                normalized.append(value)
            else:
                normalized.append(convert_to_tensor(value, name=f"component_{i}"))
    return nest.pack_sequence_as(element, normalized)


def type_spec_from_value(element: Any, use_fallback: bool = True) -> Any:
    """The specs of an element, in its structure.

    Args:
      use_fallback: whether what converts to a tensor counts.

    Raises:
      TypeError: it is none.
    """
    if isinstance(element, (SparseTensor, SparseTensorValue)):
        return SparseTensorSpec.from_value(element)
    if hasattr(element, "_type_spec"):
        return element._type_spec
    if isinstance(element, Tensor):
        return TensorSpec(element.shape, element.dtype.base_dtype)
    if isinstance(element, dict):
        found = element.copy()
        found.update({key: type_spec_from_value(value) for key, value in element.items()})
        return found
    if isinstance(element, tuple):
        parts = [type_spec_from_value(value) for value in element]
        return type(element)(*parts) if hasattr(element, "_fields") else tuple(parts)
    if use_fallback and element is not None:
        try:
            return type_spec_from_value(convert_to_tensor(element), use_fallback=False)
        except (ValueError, TypeError):
            pass
    raise TypeError(f"Could not build a TypeSpec for {element!r} with type {type(element).__name__}")


def convert_legacy_structure(output_types: Any, output_shapes: Any, output_classes: Any) -> Any:
    """The specs of elements with these types, shapes and classes; TypeError for an unknown class."""
    flat = []
    for dtype, shape, kind in zip(
        nest.flatten(output_types), nest.flatten(output_shapes), nest.flatten(output_classes), strict=False
    ):
        if is_spec(kind):
            flat.append(kind)
        elif issubclass(kind, SparseTensor):
            flat.append(SparseTensorSpec(shape, dtype))
        elif issubclass(kind, Tensor):
            flat.append(TensorSpec(shape, dtype))
        else:
            raise TypeError(
                "Could not build a structure for output class "
                f"{kind!r}. Make sure any component class in `output_classes` inherits from one of the following "
                "classes: `tf.TypeSpec`, `tf.SparseTensor`, `tf.Tensor`, `tf.TensorArray`."
            )
    return nest.pack_sequence_as(output_classes, flat)


def get_flat_tensor_specs(element_spec: Any) -> list[TensorSpec]:
    """The specs of the tensors that an element is made of."""
    return [found for spec in nest.flatten(element_spec) for found in flat_specs(spec)]


def get_flat_tensor_shapes(element_spec: Any) -> list[TensorShape]:
    """The shapes of the tensors that an element is made of."""
    return [spec.shape for spec in get_flat_tensor_specs(element_spec)]


def get_flat_tensor_types(element_spec: Any) -> list[dtypes.DType]:
    """The types of the tensors that an element is made of."""
    return [spec.dtype for spec in get_flat_tensor_specs(element_spec)]


def to_tensor_list(element_spec: Any, element: Any) -> list[Tensor]:
    """The tensors that an element is made of."""
    nest.assert_same_structure(element_spec, element)
    pairs = zip(nest.flatten(element_spec), nest.flatten(element), strict=True)
    return [tensor for spec, value in pairs for tensor in to_tensors(spec, value)]


def to_batched_tensor_list(element_spec: Any, element: Any) -> list[Tensor]:
    """`to_tensor_list` of a batch; ValueError if it is none."""
    nest.assert_same_structure(element_spec, element)
    pairs = zip(nest.flatten(element_spec), nest.flatten(element), strict=True)
    return [tensor for spec, value in pairs for tensor in to_batched_tensors(spec, value)]


def from_tensor_list(element_spec: Any, tensor_list: Any) -> Any:
    """The element of these tensors; ValueError for more or fewer than it is made of."""
    specs = nest.flatten(element_spec)
    counts = [len(flat_specs(spec)) for spec in specs]
    if sum(counts) != len(tensor_list):
        raise ValueError(f"Expected {sum(counts)} tensors but got {len(tensor_list)}.")
    found, start = [], 0
    for spec, count in zip(specs, counts, strict=True):
        found.append(from_tensors(spec, list(tensor_list[start : start + count])))
        start += count
    return nest.pack_sequence_as(element_spec, found)


def are_compatible(spec1: Any, spec2: Any) -> bool:
    """Whether elements of the one may be elements of the other."""
    try:
        nest.assert_same_structure(spec1, spec2)
    except (TypeError, ValueError):
        return False
    pairs = zip(nest.flatten(spec1), nest.flatten(spec2), strict=True)
    return all(a.is_compatible_with(b) and b.is_compatible_with(a) for a, b in pairs)


def legacy_types(element_spec: Any) -> Any:
    """``output_types`` of elements."""
    return nest.map_structure(legacy_type, element_spec)


def legacy_shapes(element_spec: Any) -> Any:
    """``output_shapes`` of elements."""
    return nest.map_structure(legacy_shape, element_spec)


def legacy_classes(element_spec: Any) -> Any:
    """``output_classes`` of elements."""
    return nest.map_structure(legacy_class, element_spec)
