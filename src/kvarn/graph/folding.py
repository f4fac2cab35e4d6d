"""Values that follow from constants and known shapes alone, found by running the kernels that lead to them.

Shape functions ask for them, as TensorFlow's do: what a program computes from known dimensions stays known.

Source: tensorflow/core/common_runtime/eval_const_tensor.cc (1.15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kvarn.graph.flow import CONTROL_FLOW

if TYPE_CHECKING:
    from kvarn.graph.tensor import Tensor

# Larger values are data, not shapes; working on them while a graph is built would cost too much.
_MAX_ELEMENTS = 4096


def fold(tensor: Tensor) -> Any:
    """The value of ``tensor`` as an array, or None when it depends on what only a run knows."""
    return _value(tensor, {})


def _value(tensor: Tensor, seen: dict[Any, Any]) -> Any:
    op = tensor.op
    if op.type == "Const":
        array = op.attrs["value"].array
        return array if array.size <= _MAX_ELEMENTS else None
    if op not in seen:
        seen[op] = None
        seen[op] = _outputs(op, seen)
    outputs = seen[op]
    return None if outputs is None else outputs[tensor.value_index]


def _outputs(op: Any, seen: dict[Any, Any]) -> Any:
    """The values of all outputs, or None."""
    known = _of_shapes(op)
    if known is not None:
        return known
    registration = op.registration
    if not op._inputs or registration.op_def.is_stateful or registration.kernel is None:
        return None
    if op.type == "PlaceholderWithDefault" or op.type in CONTROL_FLOW:
        return None
    inputs = []
    for x in op._inputs:
        value = None if x.dtype.is_ref or x.dtype.name == "resource" else _value(x, seen)
        if value is None:
            return None
        inputs.append(value)
    from kvarn.graph.plan import evaluate
    from kvarn.graph.resources import ResourceManager

    try:
        outputs = evaluate(op, inputs, ResourceManager())
    except Exception:  # It fails again, with the right message, when it is run.
        return None
    return None if any(np.size(v) > _MAX_ELEMENTS for v in outputs) else [np.asarray(v) for v in outputs]


def _of_shapes(op: Any) -> Any:
    """The outputs of an op that looks only at the shapes of its inputs, if these are known."""
    if op.type not in ("Shape", "ShapeN", "Size", "Rank"):
        return None
    shapes = [x.static_shape for x in op._inputs]
    if any(s is None or (op.type != "Rank" and None in s) for s in shapes):
        return None
    if op.type == "Rank":
        return [np.array(len(shapes[0]), np.int32)]
    kind = op.attrs["out_type"].np
    if op.type == "Size":
        return [np.array(np.prod(shapes[0], dtype=np.int64), kind)]
    return [np.array(s, kind) for s in shapes]
