"""Which ordinary variables a graph changes by rows only, and the recording of these rows.

A variable counts as sparse if every operation that changes it takes the rows to change as its input
``indices``, its initializer and the restores of Savers apart: these change all rows.  DeepRec's optimizers put
a `RecordSparseIndices` beside every such update; here they are put in when an IncrementalSaver is built that
wants them, so that graphs without one stay TensorFlow's.

Source: `apply_gradients` in tensorflow/python/training/optimizer.py of DeepRec.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn.graph import graph as ops
from kvarn.graph.convert import constant
from kvarn.graph.graph import Graph
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops.save_marks import recorded_names

# What only looks at a variable behind a resource handle.
_READS = (
    "ReadVariableOp",
    "ResourceGather",
    "ResourceGatherNd",
    "VariableShape",
    "VarIsInitializedOp",
)
# Inputs of updates of rows that have no rows themselves.
_NUMBERS = ("beta1_power", "beta2_power")
_RESTORES = ("RestoreV2", "Restore", "RestoreSlice", "IncrRestore")


def record_sparse_updates(variable: Any) -> bool:
    """Lets every change of a variable's rows be recorded under its name.

    Args:
      variable: an ordinary variable, or a part of one.

    Returns:
      Whether it is sparse; otherwise nothing is recorded.
    """
    owner: Operation = variable.op
    if variable.shape.rank in (None, 0):
        return False
    source = owner.outputs[0]
    updates = _updates(source, variable)
    if not updates or any(_indices(op, source) is None for op in updates):
        return False
    for op in updates:
        _record(op, owner.name, _indices(op, source))
    _record_restores_of(owner)
    if variable.initializer is not None:
        # Run again, or by `load`, it changes every row.
        _record(variable.initializer, owner.name, None)
    return True


def record_restores(graph: Graph) -> None:
    """Lets restores of all variables be recorded whose updates are: after a Saver has added some to the graph."""
    for name in sorted(recorded_names(graph)):
        try:
            owner = graph.get_operation_by_name(name)
        except (KeyError, ValueError):
            continue  # a recorder of a variable that another graph has
        if owner.outputs:
            _record_restores_of(owner)


def _record_restores_of(owner: Operation) -> None:
    for op in _changes(owner.outputs[0]):
        if _restores(op):
            _record(op, owner.name, None)


def has_unrecorded_updates(variable: Any) -> bool:
    """Whether the graph has got operations since `record_sparse_updates` that change rows unseen."""
    name = variable.op.name
    changes = _changes(variable.op.outputs[0])
    return any(op is not variable.initializer and not _is_recorded(op, name) for op in changes)


def _updates(source: Tensor, variable: Any) -> list[Operation]:
    """The operations that change a variable, its initializer and restores left out."""
    return [op for op in _changes(source) if op is not variable.initializer and not _restores(op)]


def _changes(source: Tensor) -> list[Operation]:
    """The operations that change the variable whose reference or handle ``source`` is."""
    found = []
    for op in source.consumers():
        if source.dtype.name == "resource":
            changes = op.type not in _READS
        else:
            args = op.registration.op_def.inputs
            at = [number for number, x in enumerate(op.inputs) if x is source]
            # Operations with lists of inputs read: none of TensorFlow's changes a list of variables.
            changes = len(args) == len(op.inputs) and any(args[number].is_ref for number in at)
        if changes:
            found.append(op)
    return found


def _restores(op: Operation) -> bool:
    """Whether an operation assigns what was read from a checkpoint."""
    if op.type not in ("Assign", "AssignVariableOp"):
        return False
    value = op.inputs[1]
    while value.op.type in ("Identity", "Reshape"):
        value = value.op.inputs[0]
    return value.op.type in _RESTORES


def _indices(op: Operation, source: Tensor) -> Tensor | None:
    """The rows that an operation changes of a variable; None if it may change any."""
    if "Scatter" in op.type and "Nd" in op.type:
        return None
    names = [arg.name for arg in op.registration.op_def.inputs]
    # AdamAsync's powers change with every step, whatever its rows.
    numbers = {x for name, x in zip(names, op.inputs, strict=False) if name in _NUMBERS}
    return op.inputs[names.index("indices")] if "indices" in names and source not in numbers else None


def _is_recorded(op: Operation, name: str) -> bool:
    names = (name, name.encode())
    return any(c.type == "RecordSparseIndices" and c.attrs["var_name"] in names for c in op.control_inputs)


def _record(op: Operation, name: str, indices: Tensor | None) -> None:
    """Puts a recorder of rows, or of all, before an update and behind it, before whatever waits for it."""
    from kvarn.ops import incremental

    if _is_recorded(op, name):
        return
    waiting = dict.fromkeys(op.control_outputs)
    waiting.update(dict.fromkeys(other for x in op.outputs for other in x.consumers()))

    def recorder(after: list[Operation]) -> Operation:
        with (
            op.graph.as_default(),
            ops.control_dependencies(None),
            ops.device(op.device),
            ops.control_dependencies(after),
        ):
            keys = constant(np.zeros(0, np.int64)) if indices is None else indices
            made: Operation = incremental.record_sparse_indices(
                keys, var_name=name, name=f"{op.name}/record_{name.replace('/', '_')}"
            )
            if indices is None:
                made.attrs[incremental.ALL_ROWS] = True
            return made

    # Before the update, so that it never runs unrecorded; and behind it, for a save that comes between the two: it
    # has read the rows unchanged, and the next has to hold them.
    op._add_control_input(recorder([]))
    if waiting:
        behind = recorder([op])
        for other in waiting:
            other._add_control_input(behind)
