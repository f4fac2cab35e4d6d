"""Optional values: what conditionals built as functions keep for their gradients.

Source: tensorflow/core/ops/dataset_ops.cc, tensorflow/core/kernels/data/optional_ops.cc (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.functions import packed
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops._tensor_lists import sum_of


class Optional:
    """Some values, or none at all: a scalar."""

    shape: tuple[int, ...] = ()
    ndim = 0
    size = 1

    def __init__(self, values: list[Any] | None) -> None:
        self.values = values

    def zeros_like(self) -> Optional:
        """Zeros in the place of the values, if there are any."""
        return self if self.values is None else Optional([_zeros_of(x) for x in self.values])

    def plus(self, other: Any) -> Optional:
        """The sums of the values.

        Raises:
          InvalidArgumentError: only one of the two has values, or they have different numbers of them.
        """
        mine, others = self.values, other.values if isinstance(other, Optional) else None
        if (mine is None) != (others is None):
            raise errors.InvalidArgumentError.of(
                "Cannot add optionals because one has a value and the other doesn't."
            )
        if mine is None or others is None:
            return self
        if len(mine) != len(others):
            raise errors.InvalidArgumentError.of(
                "Cannot add optionals because they have different numbers of components "
                f"({len(mine)} vs. {len(others)})."
            )
        return Optional([sum_of(x, y) for x, y in zip(mine, others, strict=True)])


def _zeros_of(value: Any) -> Any:
    if hasattr(value, "zeros_like"):
        return value.zeros_like()
    return np.full(value.shape, b"", object) if value.dtype == object else np.zeros(value.shape, value.dtype)


@op("OptionalFromValue", "components: Toutput_types", "optional: variant", "Toutput_types: list(type) >= 1")
class optional_from_value:
    """An optional that has ``components``."""

    shape = shapes.scalar

    def kernel(ctx: Any, components: Any) -> Any:
        return Optional(list(components))

    def grad(op: Any, d: Any) -> Any:
        types = [x.dtype.base_dtype for x in op.inputs]
        return optional_get_value(d, output_types=types, output_shapes=[x.shape for x in op.inputs])


@op("OptionalNone", outputs="optional: variant")
class optional_none:
    """An optional that has nothing."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return Optional(None)

    grad = NOT_DIFFERENTIABLE


@op("OptionalHasValue", "optional: variant", "has_value: bool")
class optional_has_value:
    """Whether an optional has something."""

    shape = shapes.scalar

    def kernel(ctx: Any, optional: Any) -> Any:
        return np.bool_(optional.values is not None)

    grad = NOT_DIFFERENTIABLE


@op(
    "OptionalGetValue",
    "optional: variant",
    "components: output_types",
    ["output_types: list(type) >= 1", "output_shapes: list(shape) >= 1"],
)
class optional_get_value:
    """What an optional has."""

    def shape(c: Any, optional: Any) -> Any:
        return list(c.attrs["output_shapes"])

    def kernel(ctx: Any, optional: Any) -> Any:
        if optional.values is None:
            raise errors.InvalidArgumentError.of("The given optional does not have a value.")
        return packed(optional.values)

    def grad(op: Any, *d: Any) -> Any:
        return optional_from_value(list(d))
