"""Nodes that call functions of the graph's library: calls, conditionals, loops, gradients.

Graphs of TensorFlow 2, and of programs with functions, hold them.

Source: tensorflow/core/ops/functional_ops.cc, tensorflow/core/kernels/{partitioned_function_ops,functional_ops}.cc
(1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph.attr_value import NameAttrList
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.functions import Body, callee, loop_of, packed, zeros_type
from kvarn.graph.gradients import gradients
from kvarn.graph.op import op
from kvarn.graph.tensor import IndexedSlices

_CALL = ["Tin: list(type) >= 0", "Tout: list(type) >= 0", "f: func"]
_CONFIG = ["config: string = ''", "config_proto: string = ''", "executor_type: string = ''"]
_IF = [
    "Tcond: type",
    "Tin: list(type) >= 0",
    "Tout: list(type) >= 0",
    "then_branch: func",
    "else_branch: func",
    "output_shapes: list(shape) = []",
]
_WHILE = [
    "T: list(type) >= 0",
    "cond: func",
    "body: func",
    "output_shapes: list(shape) = []",
    "parallel_iterations: int = 10",
]


def _shapes(c: Any, *inputs: Any) -> Any:
    types = c.attrs["Tout"] if "Tout" in c.attrs else c.attrs["T"]
    shapes = c.attrs.get("output_shapes")
    return list(shapes) if shapes else [None] * len(types)


def _true(value: Any) -> bool:
    """Whether a condition holds: a scalar that is no zero and no empty string, else anything but no elements."""
    array = np.asarray(value)
    return bool(array[()]) if array.ndim == 0 else array.size > 0


def _called(ctx: Any, args: Any) -> Any:
    return packed(callee(ctx, "f")(args))


def _zeros(x: Any) -> Any:
    from kvarn.ops import array

    return array.zeros_like(x, optimize=False)


def _chosen(ctx: Any, cond: Any, input: Any) -> Any:
    return packed(callee(ctx, "then_branch" if _true(cond) else "else_branch")(input))


def _looped(ctx: Any, input: Any) -> Any:
    from kvarn.graph.deadline import next_round

    (cond, body), values = loop_of(ctx), list(input)
    while True:
        next_round(ctx.session)
        (again,) = cond(values)
        if not _true(again):
            return packed(values)
        following = body(values)
        for i in body.wanted:
            values[i] = following[i]


def _if_grad(op: Any, *grads: Any) -> Any:
    from kvarn.ops.cond_v2_grad import if_grad

    return if_grad(op, *grads)


def _while_grad(op: Any, *grads: Any) -> Any:
    from kvarn.ops.while_v2_grad import while_grad

    return while_grad(op, *grads)


def _call_grad(op: Any, *grads: Any) -> Any:
    from kvarn.ops.partitioned_call import partitioned_call_grad

    return partitioned_call_grad(op, *grads)


def _with_gradients(body: Body) -> None:
    """Makes the gradients of a function what it returns; those of its results become further arguments."""
    from kvarn.ops import array

    grads = [array.placeholder(zeros_type(y)) for y in body.outputs]
    found = gradients(body.outputs, body.inputs, grad_ys=grads)
    body.outputs = [
        _zeros(x) if g is None else convert_to_tensor(g) if isinstance(g, IndexedSlices) else g
        for g, x in zip(found, body.inputs, strict=True)
    ]
    body.inputs = [*body.inputs, *grads]
    body.effects = []


@op("PartitionedCall", "args: Tin", "output: Tout", [*_CALL, *_CONFIG])
class partitioned_call:
    """What function ``f`` returns."""

    shape = _shapes
    kernel = _called
    grad = _call_grad


@op("StatefulPartitionedCall", "args: Tin", "output: Tout", [*_CALL, *_CONFIG], stateful=True)
class stateful_partitioned_call:
    """What function ``f``, which has effects, returns."""

    shape = _shapes
    kernel = _called
    grad = _call_grad


@op("If", ["cond: Tcond", "input: Tin"], "output: Tout", _IF, stateful=True)
class if_:
    """What function ``then_branch`` returns if ``cond`` holds, else what ``else_branch`` does."""

    shape = _shapes
    kernel = _chosen
    grad = _if_grad


@op("StatelessIf", ["cond: Tcond", "input: Tin"], "output: Tout", _IF)
class stateless_if:
    """`If` of functions without effects."""

    shape = _shapes
    kernel = _chosen
    grad = _if_grad


@op(
    "Case",
    ["branch_index: int32", "input: Tin"],
    "output: Tout",
    [
        "Tin: list(type) >= 0",
        "Tout: list(type) >= 0",
        "branches: list(func) >= 1",
        "output_shapes: list(shape) = []",
    ],
    stateful=True,
)
class case:
    """What the function of number ``branch_index`` returns; the last one stands for all other numbers."""

    shape = _shapes

    def kernel(ctx: Any, branch_index: Any, input: Any) -> Any:
        if np.ndim(branch_index):
            raise errors.InvalidArgumentError.of("branch_index must be scalar")
        branches = ctx.attrs["branches"]
        number = int(branch_index) if 0 <= branch_index < len(branches) else len(branches) - 1
        return packed(callee(ctx, f"branches:{number}", branches[number])(input))

    def grad(op: Any, *grads: Any) -> Any:
        from kvarn.ops.cond_v2_grad import case_grad

        return case_grad(op, *grads)


@op("While", "input: T", "output: T", _WHILE, stateful=True)
class while_:
    """Repeats function ``body`` as long as function ``cond`` returns what holds."""

    shape = _shapes
    kernel = _looped
    grad = _while_grad


@op("StatelessWhile", "input: T", "output: T", _WHILE)
class stateless_while:
    """`While` of functions without effects."""

    shape = _shapes
    kernel = _looped
    grad = _while_grad


@op(
    "For",
    ["start: int32", "limit: int32", "delta: int32", "input: T"],
    "output: T",
    ["T: list(type) >= 0", "body: func"],
)
class for_:
    """Repeats function ``body``, which takes the number of the round first."""

    shape = _shapes

    def kernel(ctx: Any, start: Any, limit: Any, delta: Any, input: Any) -> Any:
        if delta == 0 and start != limit:
            raise errors.InvalidArgumentError.of("delta must not be 0.")
        body, values = callee(ctx, "body"), list(input)
        for i in range(int(start), int(limit), int(delta) or 1):
            values = body([np.int32(i), *values])
        return packed(values)


@op(
    "SymbolicGradient",
    "input: Tin",
    "output: Tout",
    ["Tin: list(type) >= 1", "Tout: list(type) >= 1", "f: func"],
)
class symbolic_gradient:
    """The gradients of function ``f`` for its arguments, and after these those of its results."""

    shape = _shapes

    def kernel(ctx: Any, input: Any) -> Any:
        function = ctx.attrs["f"]
        known = ctx.op.graph._functions.get(function.name)
        if known is not None and known.gradient:
            return packed(callee(ctx, "f", NameAttrList(known.gradient, function.attrs))(input))
        return packed(callee(ctx, "f", function, _with_gradients)(input))
