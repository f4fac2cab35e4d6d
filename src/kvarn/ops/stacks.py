"""Stacks: what a loop keeps of each round for its gradient.

Source: tensorflow/core/ops/data_flow_ops.cc, tensorflow/core/kernels/stack.cc (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.dtypes import DType
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op


class _Stack:
    """The values that one run has pushed."""

    def __init__(self, name: str, elem_type: DType, max_size: int) -> None:
        self.name = name
        self.elem_type = elem_type
        self.max_size = max_size
        self.values: list[Any] = []
        self.closed = False

    def check_open(self) -> None:
        if self.closed:
            raise errors.InvalidArgumentError.of(f"Stack[{self.name}] has already been closed.")


_NEW = ["elem_type: type", "stack_name: string = ''"]


@op("StackV2", "max_size: int32", "handle: resource", _NEW, stateful=True)
class stack_v2:
    """A new, empty stack for this run, of at most ``max_size`` values, or any number if it is negative."""

    def shape(c: Any, max_size: Any) -> Any:
        return (2,)

    def kernel(ctx: Any, max_size: Any) -> Any:
        if np.ndim(max_size) != 0:
            raise errors.InvalidArgumentError.of(
                f"Stack size must be a scalar, but had shape: {shapes.fmt(np.shape(max_size))}"
            )
        name = ctx.attrs["stack_name"].decode() or ctx.op.name
        return _Stack(name, ctx.attrs["elem_type"], int(max_size))


@op("StackPushV2", ["handle: resource", "elem: T"], "output: T", ["T: type", "swap_memory: bool = false"])
class stack_push_v2:
    """Puts ``elem`` onto the stack, and returns it."""

    shape = shapes.same_as(1)

    def kernel(ctx: Any, handle: Any, elem: Any) -> Any:
        handle.check_open()
        if ctx.attrs["T"] is not handle.elem_type:
            raise errors.InvalidArgumentError.of(
                f"Must have type {handle.elem_type.name} but got {ctx.attrs['T'].name}"
            )
        if 0 <= handle.max_size <= len(handle.values):
            raise errors.InvalidArgumentError.of(
                f"Stack[{handle.name}] overflowed its max_size ({handle.max_size})"
            )
        handle.values.append(elem)
        return elem

    grad = NOT_DIFFERENTIABLE


@op("StackPopV2", "handle: resource", "elem: elem_type", "elem_type: type")
class stack_pop_v2:
    """Takes the last value from the stack."""

    shape = shapes.unknown

    def kernel(ctx: Any, handle: Any) -> Any:
        handle.check_open()
        if not handle.values:
            raise errors.InvalidArgumentError.of(f"Stack[{handle.name}] is empty when calling Pop().")
        return handle.values.pop()

    grad = NOT_DIFFERENTIABLE


@op("StackCloseV2", "handle: resource")
class stack_close_v2:
    """Drops all values of the stack."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, handle: Any) -> None:
        handle.closed = True
        handle.values.clear()

    grad = NOT_DIFFERENTIABLE
