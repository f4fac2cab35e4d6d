"""Bits of integers.

Source: tensorflow/core/ops/bitwise_ops.cc (1.15).
"""

from __future__ import annotations

import numpy as np

from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.shape_inference import broadcast, same_as


def _bits(function):
    def kernel(ctx, x, y):
        return function(x, y)

    return kernel


@op(
    "BitwiseAnd",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {int8, int16, int32, int64, uint8, uint16, uint32, uint64}",
    commutative=True,
)
class bitwise_and:
    """The bits that x and y both have."""

    shape = broadcast
    kernel = _bits(np.bitwise_and)
    grad = NOT_DIFFERENTIABLE


@op(
    "BitwiseOr",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {int8, int16, int32, int64, uint8, uint16, uint32, uint64}",
    commutative=True,
)
class bitwise_or:
    """The bits that x or y has."""

    shape = broadcast
    kernel = _bits(np.bitwise_or)
    grad = NOT_DIFFERENTIABLE


@op(
    "BitwiseXor",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {int8, int16, int32, int64, uint8, uint16, uint32, uint64}",
    commutative=True,
)
class bitwise_xor:
    """The bits that exactly one of x and y has."""

    shape = broadcast
    kernel = _bits(np.bitwise_xor)
    grad = NOT_DIFFERENTIABLE


def _shift(function):
    """Shifts by less than nothing or more than all bits are cut off at these, as TensorFlow does."""

    def kernel(ctx, x, y):
        most = x.dtype.itemsize * 8 - 1
        return function(x, np.clip(y, 0, most).astype(x.dtype))

    return kernel


@op(
    "LeftShift",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {int8, int16, int32, int64, uint8, uint16, uint32, uint64}",
)
class left_shift:
    """The bits of x moved left by y."""

    shape = broadcast
    kernel = _shift(np.left_shift)
    grad = NOT_DIFFERENTIABLE


@op(
    "RightShift",
    inputs="x: T, y: T",
    outputs="z: T",
    attrs="T: {int8, int16, int32, int64, uint8, uint16, uint32, uint64}",
)
class right_shift:
    """The bits of x moved right by y; the sign stays."""

    shape = broadcast
    kernel = _shift(np.right_shift)
    grad = NOT_DIFFERENTIABLE


@op(
    "Invert",
    inputs="x: T",
    outputs="y: T",
    attrs="T: {int8, int16, int32, int64, uint8, uint16, uint32, uint64}",
)
class invert:
    """The bits that x does not have."""

    shape = same_as(0)

    def kernel(ctx, x):
        return np.invert(x)

    grad = NOT_DIFFERENTIABLE


@op(
    "PopulationCount",
    inputs="x: T",
    outputs="y: uint8",
    attrs="T: {int8, int16, int32, int64, uint8, uint16, uint32, uint64}",
)
class population_count:
    """The number of bits that x has."""

    shape = same_as(0)

    def kernel(ctx, x):
        octets = np.ascontiguousarray(x).view(np.uint8).reshape(*x.shape, x.dtype.itemsize)
        return np.unpackbits(octets, axis=-1).sum(axis=-1, dtype=np.uint8)

    grad = NOT_DIFFERENTIABLE
