"""Looks whether a checkpoint is whole and fits the variables before the first of them is changed.

TensorFlow finds a wrong shape while it assigns: some variables are restored then and others not, and a
resource variable takes a value of any shape.  Here all shapes are compared first.

One RestoreV2 has all its tensors before the first is assigned.  Where there are several (one for every
shard) the later ones may find damage when the earlier have done their work, and an embedding variable is
filled chunk by chunk; so all that these will read is read and compared with its checksums first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kvarn import errors
from kvarn.formats.names import decode_name
from kvarn.graph.operation import Operation
from kvarn.graph.shape_inference import fmt
from kvarn.graph.tensor_util import constant_value

if TYPE_CHECKING:
    from kvarn.formats.reader import TensorReader

# The operations that read checkpoints, and which of their inputs has the names.
_NAMES_AT = {"RestoreV2": 1, "KvResourceImportV2": 4, "KvResourceImportV3": 2}


class RestoreCheck:
    """What the operations below a restore operation demand.

    Args:
      restore_op: the operation that a Saver runs to restore.
    """

    def __init__(self, restore_op: Operation) -> None:
        below = _below(restore_op)
        self._wanted = list(_demands(below))
        self._readers = [op for op in below if op.type in _NAMES_AT]

    def check(self, prefix: str) -> None:
        """Compares them with what a checkpoint has.

        Raises:
          InvalidArgumentError: a whole tensor of the checkpoint has another shape than its variable, or an
            embedding variable other types.
          NotFoundError, DataLossError, OutOfRangeError: names are missing or bytes damaged, where that is
            not left for the one operation that reads.
        """
        self._check_shapes(prefix)
        if len(self._readers) > 1 or any(op.type != "RestoreV2" for op in self._readers):
            self._check_bytes(prefix)

    def _check_bytes(self, prefix: str) -> None:
        from kvarn.formats.detect import open_checkpoint
        from kvarn.graph.executor import with_node

        verified: set[str] = set()
        op = self._readers[0]
        try:
            with open_checkpoint(prefix) as reader:
                for op in self._readers:
                    _verify(op, reader, prefix, verified)
        except errors.OpError as e:
            raise with_node(e, op) from e

    def _check_shapes(self, prefix: str) -> None:
        from kvarn.formats.detect import open_checkpoint

        wrong: list[tuple[str, tuple[int, ...], tuple[int, ...], Operation]] = []
        try:
            with open_checkpoint(prefix) as reader:
                for name, shape, op in self._wanted:
                    if reader.contains(name):
                        _, stored = reader.lookup_dtype_and_shape(name)
                        if stored != shape:
                            wrong.append((name, shape, stored, op))
        except errors.OpError:
            return
        if not wrong:
            return
        name, shape, stored, op = wrong[0]
        lines = [
            "Assign requires shapes of both tensors to match. "
            f"lhs shape= {fmt(shape)} rhs shape= {fmt(stored)}",
            f"\t [[node {op.name} ({op.type})]]",
        ]
        lines += [f"  '{n}' is {fmt(s)} in '{prefix}', its variable is {fmt(w)}" for n, w, s, _ in wrong]
        raise errors.InvalidArgumentError(op.node_def, op, "\n".join(lines), name=name, path=prefix)


def _verify(op: Operation, reader: TensorReader, prefix: str, verified: set[str]) -> None:
    """Raises what an operation would find wrong; nothing if its names are not constants."""
    from kvarn.ops import checkpoint, kv_checkpoint
    from kvarn.ops.kv import tensor_name

    known = constant_value(op.inputs[_NAMES_AT[op.type]])
    if known is None:
        return
    if op.type == "RestoreV2":
        names = [decode_name(name) for name in known]
        checkpoint.verify(reader, names, op.attrs["dtypes"])
        return
    kv_checkpoint.verify(
        reader,
        tensor_name(known),
        variable=op.inputs[1].op.name,
        key_dtype=op.attrs["Tkeys"],
        verified=verified,
    )


def _demands(below: dict[Operation, None]) -> Iterator[tuple[str, tuple[int, ...], Operation]]:
    """(name, shape, assigning operation) of every whole tensor that is read and assigned."""
    for op in below:
        if op.type != "RestoreV2":
            continue
        names, slices = constant_value(op.inputs[1]), constant_value(op.inputs[2])
        if names is None or slices is None:
            continue
        for name, part, output in zip(names, slices, op.outputs, strict=True):
            if part:
                continue
            for assign in _assigning(output, below):
                shape = _demanded(assign)
                if shape is not None:
                    yield decode_name(name), shape, assign


def _below(op: Operation) -> dict[Operation, None]:
    """``op`` and all that it waits for."""
    found: dict[Operation, None] = {op: None}
    waiting = [op]
    while waiting:
        this = waiting.pop()
        for before in (*(x.op for x in this.inputs), *this.control_inputs):
            if before not in found:
                found[before] = None
                waiting.append(before)
    return found


def _assigning(tensor: Any, below: dict[Operation, None]) -> Iterator[Operation]:
    """The operations that assign a tensor as it is."""
    for op in tensor.consumers():
        if op not in below:
            continue
        if op.type == "Identity":
            yield from _assigning(op.outputs[0], below)
        elif op.type in ("Assign", "AssignVariableOp") and op.inputs[1] is tensor:
            yield op


def _demanded(assign: Operation) -> tuple[int, ...] | None:
    """The shape that a value must have, or None when any will do."""
    target = assign.inputs[0]
    if assign.type == "Assign":
        shape = target.static_shape if assign.attrs["validate_shape"] else None
    else:
        shape = target.op.attrs["shape"] if target.op.type == "VarHandleOp" else None
    known = tuple(size for size in shape or () if size is not None)
    return None if shape is None or len(known) < len(shape) else known
