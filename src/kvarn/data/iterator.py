"""`tf.data.Iterator`.

Source: tensorflow/python/data/ops/iterator_ops.py (1.15).
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

from kvarn import dtypes
from kvarn.data import nest, structure
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import add_to_collection, device, get_default_graph, name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape, as_shape
from kvarn.ops.datasets import iterators

# After so many calls of `Iterator.get_next` they are probably made in a loop.
GET_NEXT_CALL_WARNING_THRESHOLD = 32
GET_NEXT_CALL_WARNING_MESSAGE = (
    "An unusually high number of `Iterator.get_next()` calls was detected. This often indicates that "
    "`Iterator.get_next()` is being called inside a training loop, which will cause gradual slowdown and eventual "
    "resource exhaustion. If this is the case, restructure your code to call `next_element = "
    "iterator.get_next()` once outside the loop, and use `next_element` as the input to some computation that is "
    "invoked inside the loop."
)
GLOBAL_ITERATORS = "iterators"


def _on_cpu() -> Any:
    """The device of an iterator's node, unless the program chose one."""
    return contextlib.nullcontext() if get_default_graph()._device_function_stack else device("/cpu:0")


class Iterator:
    """Where a program stands in a dataset.

    Args:
      iterator_resource: the iterator in the graph.
      initializer: the operation that lets it begin anew, or None.
      output_types, output_shapes, output_classes: of the elements, in their structure.
    """

    def __init__(
        self,
        iterator_resource: Tensor,
        initializer: Operation | None,
        output_types: Any,
        output_shapes: Any,
        output_classes: Any,
    ) -> None:
        if output_types is None or output_shapes is None or output_classes is None:
            raise ValueError(
                "If `structure` is not specified, all of `output_types`, `output_shapes`, and `output_classes` "
                "must be specified."
            )
        self._iterator_resource = iterator_resource
        self._initializer = initializer
        self._element_spec = structure.convert_legacy_structure(output_types, output_shapes, output_classes)
        self._string_handle = iterators.iterator_to_string_handle(iterator_resource)
        self._get_next_call_count = 0
        add_to_collection(GLOBAL_ITERATORS, iterator_resource)

    @staticmethod
    def from_structure(
        output_types: Any,
        output_shapes: Any = None,
        shared_name: str | None = None,
        output_classes: Any = None,
    ) -> Iterator:
        """An iterator over any dataset of such elements; `make_initializer` says over which.

        Args:
          output_types, output_shapes, output_classes: of the elements, in their structure; shapes are unknown and
            classes those of tensors by default.
          shared_name: iterators of one name are the same one.

        Raises:
          TypeError, ValueError: the structures differ.
        """
        legacy = _complete(output_types, output_shapes, output_classes)
        spec = structure.convert_legacy_structure(*legacy)
        with _on_cpu():
            resource = iterators.iterator_v2(container="", shared_name=shared_name or "", **_flat(spec))
        return Iterator(resource, None, *legacy)

    @staticmethod
    def from_string_handle(
        string_handle: Any, output_types: Any, output_shapes: Any = None, output_classes: Any = None
    ) -> Iterator:
        """The iterator that a string stands for, which `Iterator.string_handle` gives.

        Raises:
          TypeError, ValueError: the structures differ.
        """
        legacy = _complete(output_types, output_shapes, output_classes)
        spec = structure.convert_legacy_structure(*legacy)
        handle = convert_to_tensor(string_handle, dtype=dtypes.string)
        with _on_cpu():
            resource = iterators.iterator_from_string_handle_v2(handle, **_flat(spec))
        return Iterator(resource, None, *legacy)

    @property
    def initializer(self) -> Operation:
        """Lets the iterator begin anew; ValueError if it has none."""
        if self._initializer is None:
            raise ValueError("Iterator does not have an initializer.")
        return self._initializer

    def make_initializer(self, dataset: Any, name: str | None = None) -> Operation:
        """An operation that lets the iterator begin with the first element of ``dataset``.

        Raises:
          TypeError: its elements are of other classes, types or shapes.
          ValueError: they have another structure.
        """
        with name_scope(name, "make_initializer") as scope:
            spec = dataset.element_spec
            types, shapes = structure.legacy_types(spec), structure.legacy_shapes(spec)
            classes = structure.legacy_classes(spec)
            nest.assert_same_structure(self.output_types, types)
            nest.assert_same_structure(self.output_shapes, shapes)
            if any(a is not b for a, b in _pairs(self.output_classes, classes)):
                raise TypeError(
                    f"Expected output classes {self.output_classes!r} but got dataset with output class {classes!r}."
                )
            if any(a != b for a, b in _pairs(self.output_types, types)):
                raise TypeError(
                    f"Expected output types {self.output_types!r} but got dataset with output types {types!r}."
                )
            if not all(a.is_compatible_with(b) for a, b in _pairs(self.output_shapes, shapes)):
                raise TypeError(
                    f"Expected output shapes compatible with {self.output_shapes!r} but got dataset with output "
                    f"shapes {shapes!r}."
                )
        with get_default_graph().colocate_with(self._iterator_resource.op):
            made: Operation = iterators.make_iterator(
                dataset._variant_tensor, self._iterator_resource, name=scope
            )
        return made

    def get_next(self, name: str | None = None) -> Any:
        """The next element, in its structure.

        Raises (when run):
          OutOfRangeError: there is none.
          FailedPreconditionError: the iterator has not begun.
        """
        self._get_next_call_count += 1
        if self._get_next_call_count > GET_NEXT_CALL_WARNING_THRESHOLD:
            warnings.warn(GET_NEXT_CALL_WARNING_MESSAGE, stacklevel=2)
        flat = iterators.iterator_get_next(self._iterator_resource, name=name, **_flat(self._element_spec))
        return structure.from_tensor_list(self._element_spec, flat)

    def string_handle(self, name: str | None = None) -> Tensor:
        """The iterator as a string tensor, whose value can be fed to one of `from_string_handle`."""
        if name is None:
            return self._string_handle
        return iterators.iterator_to_string_handle(self._iterator_resource, name=name)

    @property
    def element_spec(self) -> Any:
        """The specs of the elements."""
        return self._element_spec

    @property
    def output_types(self) -> Any:
        return structure.legacy_types(self._element_spec)

    @property
    def output_shapes(self) -> Any:
        return structure.legacy_shapes(self._element_spec)

    @property
    def output_classes(self) -> Any:
        return structure.legacy_classes(self._element_spec)


def _flat(spec: Any) -> dict[str, Any]:
    return {
        "output_types": structure.get_flat_tensor_types(spec),
        "output_shapes": structure.get_flat_tensor_shapes(spec),
    }


def _pairs(a: Any, b: Any) -> Any:
    return zip(nest.flatten(a), nest.flatten(b), strict=True)


def _complete(types: Any, shapes: Any, classes: Any) -> tuple[Any, Any, Any]:
    types = nest.map_structure(dtypes.as_dtype, types)
    if shapes is None:
        shapes = nest.map_structure(lambda _: TensorShape(None), types)
    else:
        shapes = nest.map_structure_up_to(types, as_shape, shapes)
    if classes is None:
        classes = nest.map_structure(lambda _: Tensor, types)
    nest.assert_same_structure(types, shapes)
    return types, shapes, classes
