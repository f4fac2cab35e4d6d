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


class _Optional:
    """Some values, or none at all."""

    def __init__(self, values: list[Any] | None) -> None:
        self.values = values


@op("OptionalFromValue", "components: Toutput_types", "optional: variant", "Toutput_types: list(type) >= 1")
class optional_from_value:
    """An optional that has ``components``."""

    shape = shapes.scalar

    def kernel(ctx: Any, components: Any) -> Any:
        return _Optional(list(components))

    grad = NOT_DIFFERENTIABLE


@op("OptionalNone", outputs="optional: variant")
class optional_none:
    """An optional that has nothing."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return _Optional(None)

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

    grad = NOT_DIFFERENTIABLE
