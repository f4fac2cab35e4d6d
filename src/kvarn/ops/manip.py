"""Elements moved around.

Source: tensorflow/core/ops/manip_ops.cc, tensorflow/core/kernels/roll_op.cc, tensorflow/python/ops/manip_grad.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import op


@op(
    "Roll",
    inputs=["input: T", "shift: Tshift", "axis: Taxis"],
    outputs="output: T",
    attrs=["T: type", "Tshift: {int32,int64}", "Taxis: {int32,int64}"],
)
class roll:
    """Elements moved by ``shift`` places along ``axis``; what leaves at one end comes back at the other.

    Both are scalars or, for several axes, vectors of one size; an axis given twice is moved by the sum.
    """

    def shape(c: Any, input: Any, shift: Any, axis: Any) -> Any:
        shapes.with_rank_at_least(input, 1)
        for given in (shift, axis):
            if given is not None and len(given) > 1:
                raise ValueError(f"Shape must be at most rank 1 but is rank {len(given)}")
        shapes.merge(shift, axis)
        return input

    def kernel(ctx: Any, input: Any, shift: Any, axis: Any) -> Any:
        problem = (
            "input must be 1-D or higher"
            if input.ndim < 1
            else f"shift must be a scalar or a 1-D vector. Found: {shapes.fmt(np.shape(shift))}"
            if np.ndim(shift) > 1
            else f"axis must be a scalar or a 1-D vector. Found: {shapes.fmt(np.shape(axis))}"
            if np.ndim(axis) > 1
            else "shift and axis must have the same size"
            if np.shape(shift) != np.shape(axis)
            else None
        )
        axes = [int(a) + input.ndim if a < 0 else int(a) for a in np.ravel(axis)]
        outside = [a for a in axes if not 0 <= a < input.ndim]
        if problem is None and outside:
            problem = f"axis {outside[0]} is out of range"
        if problem is not None:
            raise errors.InvalidArgumentError.of(problem, name=ctx.op.name)
        return np.roll(input, [int(s) for s in np.ravel(shift)], axes)

    def grad(op: Any, d: Any) -> Any:
        return roll(d, -op.inputs[1], op.inputs[2]), None, None
