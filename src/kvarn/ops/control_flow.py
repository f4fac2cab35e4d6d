"""The nodes of conditionals and loops: graphs that hold them can be imported, pruned and written, not run.

Source: tensorflow/core/ops/control_flow_ops.cc.
"""

from __future__ import annotations

from typing import Any

from kvarn.graph import shape_inference as shapes
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


def _declare(
    name: str, inputs: Any, outputs: Any, attrs: Any, shape: Any, what: str, uninitialized: bool = False
) -> OpFunction:
    body = {"__doc__": what, "__module__": __name__, "shape": shape}
    declare = op(name, inputs, outputs, attrs, allows_uninitialized_input=uninitialized, graph_only=True)
    return declare(type(name, (), body))


_LOOP = ["T: type", "frame_name: string", "is_constant: bool = false", "parallel_iterations: int = 10"]
_MERGE = ["T: type", "N: int >= 1"]

switch = _declare(
    "Switch",
    ["data: T", "pred: bool"],
    ["output_false: T", "output_true: T"],
    "T: type",
    _both,
    "Passes ``data`` on to the output that ``pred`` chooses.",
)
ref_switch = _declare(
    "RefSwitch",
    ["data: Ref(T)", "pred: bool"],
    ["output_false: Ref(T)", "output_true: Ref(T)"],
    "T: type",
    _both,
    "Switch for a reference.",
    uninitialized=True,
)
ref_select = _declare(
    "RefSelect",
    ["index: int32", "inputs: Ref(N * T)"],
    "output: Ref(T)",
    _MERGE,
    _selected,
    "Passes on the reference of number ``index``.",
)
merge = _declare(
    "Merge",
    "inputs: N * T",
    ["output: T", "value_index: int32"],
    _MERGE,
    _merged,
    "Passes on the first of its inputs that becomes available.",
)
ref_merge = _declare(
    "RefMerge",
    "inputs: Ref(N * T)",
    ["output: Ref(T)", "value_index: int32"],
    _MERGE,
    _merged,
    "Merge for references.",
)
enter = _declare("Enter", "data: T", "output: T", _LOOP, _entered, "Takes a value into a loop.")
ref_enter = _declare(
    "RefEnter", "data: Ref(T)", "output: Ref(T)", _LOOP, shapes.same_as(0), "Takes a reference into a loop."
)
exit = _declare("Exit", "data: T", "output: T", "T: type", shapes.same_as(0), "Takes a value out of a loop.")
ref_exit = _declare(
    "RefExit",
    "data: Ref(T)",
    "output: Ref(T)",
    "T: type",
    shapes.same_as(0),
    "Takes a reference out of a loop.",
)
next_iteration = _declare(
    "NextIteration", "data: T", "output: T", "T: type", shapes.same_as(0), "Hands a value to the next round."
)
ref_next_iteration = _declare(
    "RefNextIteration",
    "data: Ref(T)",
    "output: Ref(T)",
    "T: type",
    shapes.same_as(0),
    "Hands a reference to the next round.",
)
loop_cond = _declare(
    "LoopCond", "input: bool", "output: bool", (), shapes.scalar, "Whether the loop goes on."
)
