"""Functions that are called with elements of datasets, as functions of the graph's library.

Source: `StructuredFunctionWrapper` of tensorflow/python/data/ops/dataset_ops.py (1.15).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

from kvarn.data import structure
from kvarn.graph import random_seed
from kvarn.graph.attr_value import NameAttrList
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import get_default_graph
from kvarn.graph.tensor import Tensor
from kvarn.variables.function import Defun

_numbers = itertools.count()


class StructuredFunctionWrapper:
    """A Python function of elements, whose body is a function of the default graph's library.

    What it takes from outside becomes a further argument.

    Args:
      func: takes an element, its parts one by one if that is a tuple, and returns another one.
      transformation_name: such as ``Dataset.map()``, for names and messages.
      dataset: whose elements it takes; or instead of it
      input_classes, input_shapes, input_types: of these elements, all three; or instead of them
      input_structure: the specs of these elements.
      add_to_graph: whether the default graph gets it at once.
      use_legacy_function: with it, seeds of the graph around do not count in the body.

    Raises:
      ValueError: the elements are described in none of these ways, or in several.
      TypeError: ``func`` returns what is no element.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        transformation_name: str,
        dataset: Any = None,
        input_classes: Any = None,
        input_shapes: Any = None,
        input_types: Any = None,
        input_structure: Any = None,
        add_to_graph: bool = True,
        use_legacy_function: bool = False,
        defun_kwargs: dict[str, Any] | None = None,
    ) -> None:
        legacy = (input_classes, input_shapes, input_types)
        given = sum((dataset is not None, input_structure is not None, any(x is not None for x in legacy)))
        if given != 1 or (dataset is None and input_structure is None and None in legacy):
            raise ValueError(
                "Either `dataset`, `input_structure` or all of `input_classes`, `input_shapes`, and "
                "`input_types` must be specified."
            )
        if dataset is not None:
            input_structure = dataset.element_spec
        elif input_structure is None:
            input_structure = structure.convert_legacy_structure(input_types, input_shapes, input_classes)
        self._input_structure = input_structure
        self._output_structure: Any = None
        self._transformation_name = transformation_name
        self._func = func
        outer_seed = None if use_legacy_function else get_default_graph().seed

        def wrapper_fn(*args: Any) -> list[Tensor]:
            random_seed.set_random_seed(outer_seed)
            returned = self._called(args)
            tensors = structure.to_tensor_list(self._output_structure, returned)
            return [convert_to_tensor(t) for t in tensors]

        types = structure.get_flat_tensor_types(input_structure)
        options: dict[str, Any] = {
            **(defun_kwargs or {}),
            "func_name": self._function_name(),
            "capture_resource_var_by_value": use_legacy_function,
        }
        # Without arguments, a decorator with types would take the function for one of any types.
        self._function = (
            Defun(*types, **options)(wrapper_fn) if types else Defun(**options)(lambda: wrapper_fn())
        )
        # What it takes from outside; the body is built here.
        self.captured: list[Tensor] = list(self._function.captured_inputs)
        if add_to_graph:
            self._function.add_to_graph(get_default_graph())

    def _called(self, args: tuple[Any, ...]) -> Any:
        nested = structure.from_tensor_list(self._input_structure, args)
        returned = self._func(*nested) if should_unpack_args(nested) else self._func(nested)
        if isinstance(returned, list):
            returned = tuple(returned)
        try:
            self._output_structure = structure.type_spec_from_value(returned)
        except (ValueError, TypeError):
            raise TypeError(
                f"Unsupported return value from function passed to {self._transformation_name}: {returned}."
            ) from None
        return returned

    def _function_name(self) -> str:
        readable = self._transformation_name.replace(".", "_")[:-2]
        return f"__inference_{readable}_{_name_of(self._func)}_{next(_numbers)}"

    @property
    def output_structure(self) -> Any:
        """The specs of what it returns."""
        return self._output_structure

    @property
    def output_types(self) -> Any:
        return structure.legacy_types(self._output_structure)

    @property
    def output_shapes(self) -> Any:
        return structure.legacy_shapes(self._output_structure)

    @property
    def output_classes(self) -> Any:
        return structure.legacy_classes(self._output_structure)

    @property
    def function(self) -> Any:
        """The function of the library."""
        return self._function

    @property
    def attr(self) -> NameAttrList:
        """The function as the attribute of a node."""
        return NameAttrList(self._function.name)


def should_unpack_args(args: Any) -> bool:
    """Whether an element is given to functions part by part."""
    return type(args) is tuple


def _name_of(func: Any) -> str:
    while isinstance(func, functools.partial):
        func = func.func
    return str(getattr(func, "__name__", None) or type(func).__name__)
