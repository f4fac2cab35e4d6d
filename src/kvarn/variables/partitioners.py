"""Partitioners: functions that say into how many parts to cut a variable along each dimension.

Source: tensorflow/python/ops/partitioned_variables.py (1.15).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kvarn import dtypes
from kvarn.dtypes import DType
from kvarn.graph.tensor_shape import TensorShape

Partitioner = Callable[..., list[int]]


def variable_axis_size_partitioner(
    max_shard_bytes: int, axis: int = 0, bytes_per_string_element: int = 16, max_shards: int | None = None
) -> Partitioner:
    """Parts of at most ``max_shard_bytes``, at most ``max_shards`` of them, along ``axis``.

    Raises:
      ValueError: a number is not positive.
    """
    if max_shard_bytes < 1 or bytes_per_string_element < 1:
        raise ValueError("Both max_shard_bytes and bytes_per_string_element must be positive.")
    if max_shards and max_shards < 1:
        raise ValueError("max_shards must be positive.")

    def partitioner(shape: TensorShape, dtype: DType) -> list[int]:
        if not isinstance(shape, TensorShape):
            raise ValueError(f"shape is not a TensorShape: {shape}")
        if not shape.is_fully_defined():
            raise ValueError(f"shape is not fully defined: {shape}")
        if not isinstance(dtype, DType):
            raise ValueError(f"dtype is not a DType: {dtype}")
        dims: list[int] = shape.as_list()  # type: ignore[assignment]
        element_bytes = _element_bytes(dtype, bytes_per_string_element)
        slice_bytes = (math.prod(dims) / dims[axis]) * element_bytes
        # A slice larger than a part is kept whole.
        slices = max(1, math.floor(max_shard_bytes / slice_bytes))
        parts = math.ceil(dims[axis] / slices)
        if max_shards:
            parts = min(max_shards, parts)
        partitions = [1] * len(dims)
        partitions[axis] = parts
        return partitions

    return partitioner


def min_max_variable_partitioner(
    max_partitions: int = 1,
    axis: int = 0,
    min_slice_size: int = 256 << 10,
    bytes_per_string_element: int = 16,
) -> Partitioner:
    """At most ``max_partitions`` parts along ``axis``, of at least ``min_slice_size`` bytes.

    Raises (when called):
      ValueError: the variable has no such axis.
    """

    def partitioner(shape: TensorShape, dtype: DType) -> list[int]:
        if axis >= len(shape):
            raise ValueError(f"Can not partition variable along axis {axis} when shape is only {shape}")
        dims: list[int] = shape.as_list()  # type: ignore[assignment]
        total = math.prod(dims) * _element_bytes(dtype, bytes_per_string_element)
        partitions = [1] * len(dims)
        partitions[axis] = max(1, min(dims[axis], max_partitions, math.ceil(total / min_slice_size)))
        return partitions

    return partitioner


def fixed_size_partitioner(num_shards: int, axis: int = 0) -> Partitioner:
    """``num_shards`` parts along ``axis``, or as many as that dimension has elements."""

    def partitioner(shape: TensorShape, **unused: Any) -> list[int]:
        partitions = [1] * len(shape)
        partitions[axis] = min(num_shards, shape.dims[axis].value)  # type: ignore[index, type-var, assignment]
        return partitions

    return partitioner


def _element_bytes(dtype: DType, string_bytes: int) -> int:
    return string_bytes if dtype.base_dtype is dtypes.string else dtype.size


def create_partitioned_variables(
    shape: Any,
    slicing: Any,
    initializer: Any,
    dtype: Any = dtypes.float32,
    trainable: bool = True,
    collections: Any = None,
    name: str | None = None,
    reuse: Any = None,
) -> list[Any]:
    """The parts of a variable cut as ``slicing`` says; the older form of a partitioner.

    Raises:
      ValueError: ``slicing`` does not fit ``shape``.
    """
    from kvarn.variables import scope

    if len(shape) != len(slicing):
        raise ValueError(
            "The 'shape' and 'slicing' of a partitioned Variable must have the length: shape: "
            f"{shape}, slicing: {slicing}"
        )
    if len(shape) < 1:
        raise ValueError(f"A partitioned Variable must have rank at least 1: shape: {shape}")
    with scope.variable_scope(name, "PartitionedVariable", reuse=reuse):
        return list(
            scope._get_partitioned_variable(
                name=None,
                shape=shape,
                dtype=dtype,
                initializer=initializer,
                trainable=trainable,
                partitioner=lambda **unused: slicing,
                collections=collections,
            )
        )
