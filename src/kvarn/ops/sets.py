"""Operations on the sets that are the last dimension of tensors.

Source: tensorflow/core/ops/set_ops.cc, tensorflow/core/kernels/set_kernels.cc, tensorflow/python/ops/sets_impl.py
(1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.tensor import SparseTensor

_OPERATIONS = {
    "a-b": lambda a, b: a - b,
    "b-a": lambda a, b: b - a,
    "intersection": lambda a, b: a & b,
    "union": lambda a, b: a | b,
}


@op(
    "DenseToDenseSetOperation",
    inputs=["set1: T", "set2: T"],
    outputs=["result_indices: int64", "result_values: T", "result_shape: int64"],
    attrs=[
        "set_operation: string",
        "validate_indices: bool = true",
        "T: {int8, int16, int32, int64, uint8, uint16, string}",
    ],
)
class dense_to_dense_set_operation:
    """A set for each pair of sets along the last dimension, as a sparse tensor of sorted elements.

    set1 and set2 have the same shape but for that dimension.  ``set_operation`` is ``a-b``, ``b-a``,
    ``intersection`` or ``union``.
    """

    def shape(c: Any, set1: Any, set2: Any) -> Any:
        for shape in (set1, set2):
            if shape is not None and len(shape) < 2:
                raise ValueError(f"Input {shapes.fmt(shape)} must have rank >= 2")
        if set1 is not None and set2 is not None:
            shapes.merge(set1[:-1], set2[:-1])
        known = set1 if set1 is not None else set2
        rank = None if known is None else len(known)
        return [(None, rank), (None,), (rank,)]

    def kernel(ctx: Any, set1: Any, set2: Any) -> Any:
        name = ctx.attrs["set_operation"].decode().lower()
        if name not in _OPERATIONS:
            raise errors.InvalidArgumentError.of(f"Invalid set_operation {name}.", name=ctx.op.name)
        if set1.ndim < 2 or set1.shape[:-1] != set2.shape[:-1]:
            raise errors.InvalidArgumentError.of(
                f"Mismatched group shapes {shapes.fmt(set1.shape)} and {shapes.fmt(set2.shape)}",
                name=ctx.op.name,
            )
        groups = set1.shape[:-1]
        indices: list[tuple[int, ...]] = []
        values: list[Any] = []
        longest = 0
        for group in np.ndindex(*groups):
            found = sorted(_OPERATIONS[name](set(set1[group].tolist()), set(set2[group].tolist())))
            indices.extend((*group, i) for i in range(len(found)))
            values.extend(found)
            longest = max(longest, len(found))
        return (
            np.array(indices, np.int64).reshape(len(values), set1.ndim),
            np.array(values, dtype=set1.dtype),
            np.array((*groups, longest), np.int64),
        )

    grad = NOT_DIFFERENTIABLE


def set_difference(a: Any, b: Any, aminusb: bool = True) -> SparseTensor:
    """The elements of each set of ``a`` that are not in the one of ``b``, or the other way round.

    Args:
      a, b: tensors, of the same shape but for the last dimension.

    Returns:
      A SparseTensor of the same rank.
    """
    return SparseTensor(*dense_to_dense_set_operation(a, b, set_operation="a-b" if aminusb else "b-a"))
