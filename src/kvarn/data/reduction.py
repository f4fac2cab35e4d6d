"""`Dataset.reduce`.

Source: tensorflow/python/data/ops/dataset_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn.data import nest, structure
from kvarn.data.function import StructuredFunctionWrapper
from kvarn.graph.graph import get_default_graph, name_scope
from kvarn.ops.datasets.functional import reduce_dataset


def state_function(
    func: Callable[..., Any],
    name: str,
    state_spec: Any,
    element_spec: Any,
    state_of: Callable[[Any], Any] = lambda structure: structure,
) -> tuple[StructuredFunctionWrapper, Any]:
    """A function of a state and elements, and the specs of the state, whose shapes it may change.

    Args:
      state_of: the specs of the state in those of what the function returns.

    Raises:
      TypeError: the state that it returns is of another class or type.
    """
    while True:
        wrapped = StructuredFunctionWrapper(
            func, name, input_structure=(state_spec, element_spec), add_to_graph=False
        )
        returned = state_of(wrapped.output_structure)
        for what, legacy in (("classes", structure.legacy_classes), ("types", structure.legacy_types)):
            before, after = legacy(state_spec), legacy(returned)
            if nest.flatten(before) != nest.flatten(after):
                raise TypeError(
                    f"The element {what} for the new state must match the initial state. Expected {before}; got "
                    f"{after}."
                )
        shapes, new_shapes = structure.legacy_shapes(state_spec), structure.legacy_shapes(returned)
        pairs = list(zip(nest.flatten(shapes), nest.flatten(new_shapes), strict=True))
        weakened = [a.most_specific_compatible_shape(b) for a, b in pairs]
        if all(
            a.ndims is None or (w.ndims is not None and a.as_list() == w.as_list())
            for (a, _), w in zip(pairs, weakened, strict=True)
        ):
            wrapped.function.add_to_graph(get_default_graph())
            return wrapped, state_spec
        state_spec = structure.convert_legacy_structure(
            structure.legacy_types(state_spec),
            nest.pack_sequence_as(shapes, weakened),
            structure.legacy_classes(state_spec),
        )


def reduce(dataset: Any, initial_state: Any, reduce_func: Callable[..., Any]) -> Any:
    """See `DatasetV2.reduce`."""
    with name_scope("initial_state"):
        initial_state = structure.normalize_element(initial_state)
    wrapped, spec = state_function(
        reduce_func, "reduce()", structure.type_spec_from_value(initial_state), dataset.element_spec
    )
    return structure.from_tensor_list(
        spec,
        reduce_dataset(
            dataset._variant_tensor,
            structure.to_tensor_list(spec, initial_state),
            wrapped.captured,
            f=wrapped.attr,
            output_shapes=structure.get_flat_tensor_shapes(spec),
            output_types=structure.get_flat_tensor_types(spec),
        ),
    )
