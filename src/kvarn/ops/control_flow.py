"""The nodes of conditionals and loops; how they are run is in `kvarn.graph.flow`.

Source: tensorflow/core/ops/control_flow_ops.cc, tensorflow/core/kernels/control_flow_ops.cc.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import shape_inference as shapes
from kvarn.graph.flow import DEAD
from kvarn.graph.op import OpFunction, op


def _both(c: Any, data: Any, pred: Any) -> Any:
    shapes.with_rank(pred, 0)
    return [data, data]


def _merged(c: Any, inputs: Any) -> Any:
    """What all alternatives have in common, and the number of the one that came."""
    common = inputs[0]
    for shape in inputs[1:]:
        if common is None or shape is None or len(common) != len(shape):
            return [None, ()]
        common = tuple(x if x == y else None for x, y in zip(common, shape, strict=True))
    return [common, ()]


def _entered(c: Any, data: Any) -> Any:
    # What goes round a loop may come back with another shape; a constant of the loop does not.
    return data if c.attrs["is_constant"] else None


def _selected(c: Any, index: Any, inputs: Any) -> Any:
    shapes.with_rank(index, 0)
    return inputs[0] if all(s == inputs[0] for s in inputs) else None


def _switched(ctx: Any, data: Any, pred: Any) -> Any:
    return (DEAD, data) if _scalar(pred, "pred") else (data, DEAD)


def _first_alive(ctx: Any, inputs: Any) -> Any:
    for index, value in enumerate(inputs):
        if value is not DEAD:
            return value, np.array(index, np.int32)
    return DEAD, DEAD


def _the_same(ctx: Any, data: Any) -> Any:
    return data


def _of_number(ctx: Any, index: Any, inputs: Any) -> Any:
    number = int(_scalar(index, "index"))
    if not 0 <= number < len(inputs):
        raise errors.InvalidArgumentError.of(
            f"Index must be in the range [0, {len(inputs)}) but got {number}"
        )
    return inputs[number]


def _goes_on(ctx: Any, input: Any) -> Any:
    _scalar(input, "The loop condition")
    return input


def _scalar(value: Any, what: str) -> Any:
    if value.shape:
        raise errors.InvalidArgumentError.of(f"{what} must be a scalar, but it has shape {list(value.shape)}")
    return value


def _declare(
    name: str,
    inputs: Any,
    outputs: Any,
    attrs: Any,
    shape: Any,
    kernel: Any,
    what: str,
    grad: str,
    uninitialized: bool = False,
) -> OpFunction:
    def gradient(op: Any, *grads: Any) -> Any:
        # Gradients stand on contexts, and these on the nodes declared here.
        from kvarn.ops import control_flow_grad

        return getattr(control_flow_grad, grad)(op, *grads)

    body = {"__doc__": what, "__module__": __name__, "shape": shape, "kernel": kernel, "grad": gradient}
    declare = op(name, inputs, outputs, attrs, allows_uninitialized_input=uninitialized)
    return declare(type(name, (), body))


_LOOP = ["T: type", "frame_name: string", "is_constant: bool = false", "parallel_iterations: int = 10"]
_MERGE = ["T: type", "N: int >= 1"]

switch = _declare(
    "Switch",
    ["data: T", "pred: bool"],
    ["output_false: T", "output_true: T"],
    "T: type",
    _both,
    _switched,
    "Passes ``data`` on to the output that ``pred`` chooses.",
    "switch_grad",
)
ref_switch = _declare(
    "RefSwitch",
    ["data: Ref(T)", "pred: bool"],
    ["output_false: Ref(T)", "output_true: Ref(T)"],
    "T: type",
    _both,
    _switched,
    "Switch for a reference.",
    "switch_grad",
    uninitialized=True,
)
ref_select = _declare(
    "RefSelect",
    ["index: int32", "inputs: Ref(N * T)"],
    "output: Ref(T)",
    _MERGE,
    _selected,
    _of_number,
    "Passes on the reference of number ``index``.",
    "no_grad",
)
merge = _declare(
    "Merge",
    "inputs: N * T",
    ["output: T", "value_index: int32"],
    _MERGE,
    _merged,
    _first_alive,
    "Passes on the first of its inputs that becomes available.",
    "merge_grad",
)
ref_merge = _declare(
    "RefMerge",
    "inputs: Ref(N * T)",
    ["output: Ref(T)", "value_index: int32"],
    _MERGE,
    _merged,
    _first_alive,
    "Merge for references.",
    "merge_grad",
)
enter = _declare(
    "Enter", "data: T", "output: T", _LOOP, _entered, _the_same, "Takes a value into a loop.", "enter_grad"
)
ref_enter = _declare(
    "RefEnter",
    "data: Ref(T)",
    "output: Ref(T)",
    _LOOP,
    shapes.same_as(0),
    _the_same,
    "Takes a reference into a loop.",
    "enter_grad",
)
exit = _declare(
    "Exit",
    "data: T",
    "output: T",
    "T: type",
    shapes.same_as(0),
    _the_same,
    "Takes a value out of a loop.",
    "exit_grad",
)
ref_exit = _declare(
    "RefExit",
    "data: Ref(T)",
    "output: Ref(T)",
    "T: type",
    shapes.same_as(0),
    _the_same,
    "Takes a reference out of a loop.",
    "exit_grad",
)
next_iteration = _declare(
    "NextIteration",
    "data: T",
    "output: T",
    "T: type",
    shapes.same_as(0),
    _the_same,
    "Hands a value to the next round.",
    "next_iteration_grad",
)
ref_next_iteration = _declare(
    "RefNextIteration",
    "data: Ref(T)",
    "output: Ref(T)",
    "T: type",
    shapes.same_as(0),
    _the_same,
    "Hands a reference to the next round.",
    "next_iteration_grad",
)
loop_cond = _declare(
    "LoopCond",
    "input: bool",
    "output: bool",
    (),
    shapes.scalar,
    _goes_on,
    "Whether the loop goes on.",
    "loop_cond_grad",
)
