"""`tf.data.experimental.Optional`: an element, or nothing.

Source: tensorflow/python/data/ops/optional_ops.py, `get_next_as_optional` of iterator_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.data import structure
from kvarn.graph import type_spec
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_spec import TensorSpec
from kvarn.ops import optionals
from kvarn.ops.datasets import iterators


class Optional:
    """A value that may not be there.

    Args:
      variant_tensor: the optional in the graph.
      value_structure: the specs of the value.
    """

    def __init__(self, variant_tensor: Tensor, value_structure: Any) -> None:
        self._variant_tensor = variant_tensor
        self._value_structure = value_structure

    @staticmethod
    def from_value(value: Any) -> Optional:
        """An optional that has ``value``."""
        with name_scope("optional") as scope:
            with name_scope("value"):
                spec = structure.type_spec_from_value(value)
                tensors = structure.to_tensor_list(spec, value)
            return Optional(optionals.optional_from_value(tensors, name=scope), spec)

    @staticmethod
    def none_from_structure(value_structure: Any) -> Optional:
        """An optional that has nothing, of values of these specs."""
        return Optional(optionals.optional_none(), value_structure)

    def has_value(self, name: str | None = None) -> Tensor:
        """Whether there is a value."""
        found: Tensor = optionals.optional_has_value(self._variant_tensor, name=name)
        return found

    def get_value(self, name: str | None = None) -> Any:
        """The value; InvalidArgumentError (when run) if there is none."""
        with name_scope(name, "OptionalGetValue", [self._variant_tensor]) as scope:
            tensors = optionals.optional_get_value(
                self._variant_tensor,
                name=scope,
                output_types=structure.get_flat_tensor_types(self._value_structure),
                output_shapes=structure.get_flat_tensor_shapes(self._value_structure),
            )
            return structure.from_tensor_list(self._value_structure, tensors)

    @property
    def value_structure(self) -> Any:
        """The specs of the value."""
        return self._value_structure

    @property
    def _type_spec(self) -> OptionalSpec:
        return OptionalSpec(self._value_structure)


class OptionalSpec(type_spec.TypeSpec):
    """Optionals of values of these specs."""

    __slots__ = ("_value_structure",)

    value_type = property(lambda self: Optional)

    def __init__(self, value_structure: Any) -> None:
        self._value_structure = value_structure

    def _serialize(self) -> tuple[Any, ...]:
        return (self._value_structure,)

    @property
    def _component_specs(self) -> list[TensorSpec]:
        return [TensorSpec((), dtypes.variant)]

    def _to_components(self, value: Any) -> list[Tensor]:
        return [value._variant_tensor]

    def _from_components(self, components: Any) -> Optional:
        return Optional(components[0], self._value_structure)

    @staticmethod
    def from_value(value: Any) -> OptionalSpec:
        """The spec of an optional."""
        return OptionalSpec(value.value_structure)

    def _to_legacy_output_types(self) -> OptionalSpec:
        return self

    _to_legacy_output_shapes = _to_legacy_output_types
    _to_legacy_output_classes = _to_legacy_output_types


def get_next_as_optional(iterator: Any) -> Optional:
    """The next element of an iterator as an optional, which has nothing at the end."""
    spec = iterator.element_spec
    variant = iterators.iterator_get_next_as_optional(
        iterator._iterator_resource,
        output_types=structure.get_flat_tensor_types(spec),
        output_shapes=structure.get_flat_tensor_shapes(spec),
    )
    return Optional(variant, spec)
