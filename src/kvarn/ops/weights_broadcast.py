"""Weights of values: of the same shape, or of size 1 in some dimensions, or one for all.

Source: tensorflow/python/ops/weights_broadcast_ops.py (1.15).
"""

from __future__ import annotations

from typing import Any, Final

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import control_dependencies, name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.static_value import constant_value
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, conditional, control, math, sets

_PROBLEM: Final = "weights can not be broadcast to values."


def assert_broadcastable(weights: Any, values: Any) -> Operation:
    """An operation that fails unless ``weights`` are a scalar, or have size 1 or the size of ``values`` everywhere.

    Raises:
      ValueError: that they are not can be told from the shapes.  InvalidArgumentError when it is run, else.
    """
    with name_scope(None, "assert_broadcastable", (weights, values)) as scope:
        weights, weights_shape, weights_rank = _measured(weights, "weights")
        values, values_shape, values_rank = _measured(values, "values")
        rank, wanted = constant_value(weights_rank), constant_value(values_rank)
        if rank is not None and wanted is not None:
            if rank == 0:
                return _success("static_scalar_check_success")
            if rank != wanted:
                raise ValueError(
                    f"{_PROBLEM} values.rank={wanted}. weights.rank={rank}. values.shape={values.shape}. "
                    f"weights.shape={weights.shape}."
                )
            sizes, wanted_sizes = constant_value(weights_shape), constant_value(values_shape)
            if sizes is not None and wanted_sizes is not None:
                for i, (size, of_values) in enumerate(zip(sizes, wanted_sizes, strict=True)):
                    if size not in (1, of_values):
                        raise ValueError(
                            f"{_PROBLEM} Mismatch at dim {i}. values.shape={wanted_sizes} weights.shape={sizes}."
                        )
                return _success("static_dims_check_success")
        is_scalar = math.equal(0, weights_rank, name="is_scalar")
        data = (
            *(_PROBLEM, "weights.shape=", weights.name, weights_shape),
            *("values.shape=", values.name, values_shape, "is_scalar=", is_scalar),
        )
        is_valid = conditional.cond(
            is_scalar,
            lambda: is_scalar,
            lambda: _has_valid_nonscalar_shape(weights_rank, weights_shape, values_rank, values_shape),
            name="is_valid_shape",
        )
        found: Operation = control.Assert(is_valid, data, name=scope)
        return found


def _success(name: str) -> Operation:
    found: Operation = control.no_op(name=name)
    return found


def _measured(value: Any, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """A tensor, its shape and its rank."""
    with name_scope(None, name, (value,)) as scope:
        tensor = convert_to_tensor(value, name=scope)
        return tensor, array.shape(tensor, name="shape"), array.rank(tensor, name="rank")


def _has_valid_nonscalar_shape(
    weights_rank: Tensor, weights_shape: Tensor, values_rank: Tensor, values_shape: Tensor
) -> Tensor:
    with name_scope(
        None, "has_valid_nonscalar_shape", (weights_rank, weights_shape, values_rank, values_shape)
    ) as scope:
        is_same_rank = math.equal(values_rank, weights_rank, name="is_same_rank")
        found: Tensor = conditional.cond(
            is_same_rank,
            lambda: _has_valid_dims(weights_shape, values_shape),
            lambda: is_same_rank,
            name=scope,
        )
        return found


def _has_valid_dims(weights_shape: Tensor, values_shape: Tensor) -> Tensor:
    with name_scope(None, "has_invalid_dims", (weights_shape, values_shape)) as scope:
        column = array.expand_dims(values_shape, -1)
        valid = array.concat((column, array.ones_like(column)), axis=1)
        invalid = sets.set_difference(array.expand_dims(weights_shape, -1), valid)
        count = array.size(invalid.values, name="num_invalid_dims")
        found: Tensor = math.equal(0, count, name=scope)
        return found


def broadcast_weights(weights: Any, values: Any) -> Tensor:
    """``weights`` in the shape of ``values``; raises as `assert_broadcastable`."""
    with name_scope(None, "broadcast_weights", (weights, values)) as scope:
        values = convert_to_tensor(values, name="values")
        weights = convert_to_tensor(weights, dtype=values.dtype.base_dtype, name="weights")
        known = weights.shape.is_fully_defined() and values.shape.is_fully_defined()
        if known and weights.shape.is_compatible_with(values.shape):
            found: Tensor = weights
            return found
        with control_dependencies((assert_broadcastable(weights, values),)):
            scaled: Tensor = math.multiply(weights, array.ones_like(values), name=scope)
            return scaled
