"""Initial values that depend on other variables.

A variable may be read before it has a value while another one, whose initial value depends on it, is being
initialized.  So what an initial value reads is replaced by "the value if there is one, else the initial
value" of that variable.

Source: `_try_guard_against_uninitialized_dependencies` of tensorflow/python/ops/variables.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.graph import GraphKeys, init_scope
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops.conditional import cond
from kvarn.variables.listing import is_variable_initialized

# These read a variable only where it is safe, or lead to what has been guarded.
_SAFE = frozenset({"IsVariableInitialized", "VarIsInitializedOp", "ReadVariableOp", "If"})
_BUFFERS = frozenset({"Variable", "VariableV2", "VarHandleOp"})


def initialized_value(variable: Any) -> Any:
    """See `Variable.initialized_value`."""
    with init_scope():
        return cond(is_variable_initialized(variable), variable.read_value, lambda: variable.initial_value)


def guard(name: str, initial_value: Any) -> Tensor:
    """``initial_value`` or a copy of what it is computed by that reads no uninitialized variable.

    Args:
      name: of the variable being made; part of the names of copied nodes.

    Raises:
      TypeError: ``initial_value`` is not a Tensor.
    """
    if not isinstance(initial_value, Tensor):
        raise TypeError(f"initial_value needs to be a Tensor: {initial_value}")
    if not initial_value.op._inputs or _has_cycle(initial_value.op):
        return initial_value
    return _safe_tensor(name, initial_value, {})


def _has_cycle(start: Operation) -> bool:
    """Whether ``start`` depends on a loop; those are left alone."""
    finished: set[Operation] = set()
    active: set[Operation] = set()
    stack: list[tuple[Operation, bool]] = [(start, False)]
    while stack:
        op, done = stack.pop()
        if done:
            active.discard(op)
            finished.add(op)
            continue
        if op in finished:
            continue
        if op in active:
            return True
        active.add(op)
        stack.append((op, True))
        for other in [*(x.op for x in op.inputs), *op.control_inputs]:
            if other in active:
                return True
            if other not in finished:
                stack.append((other, False))
    return False


def _safe_tensor(name: str, tensor: Tensor, done: dict[Operation, Operation]) -> Tensor:
    op = done.get(tensor.op)
    if op is None:
        op = done[tensor.op] = _safe_op(name, tensor.op, done)
    return op.outputs[tensor.value_index]


def _safe_op(name: str, op: Operation, done: dict[Operation, Operation]) -> Operation:
    if op.type in _SAFE:
        return op
    if op.type in _BUFFERS:
        variable = _variable_of(op)
        value: Operation = op if variable is None else variable.initialized_value().op
        return value
    inputs = [_safe_tensor(name, x, done) for x in op.inputs]
    if all(a is b for a, b in zip(inputs, op.inputs, strict=True)):
        return op
    # A RefSwitch needs references; the guarded input is a value.
    op_type = "Switch" if op.type == "RefSwitch" else op.type
    return op.graph.create_op(
        op_type, inputs, name=f"{op.name}_{name}".replace(":", "_"), attrs=dict(op.attrs)
    )


def _variable_of(op: Operation) -> Any:
    names = (op.name, op.name + ":0")
    for collection in (GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES):
        for variable in op.graph.get_collection(collection):
            if getattr(variable, "name", None) in names:
                return variable if hasattr(variable, "initialized_value") else None
    return None
