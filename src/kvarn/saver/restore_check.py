"""Looks whether a checkpoint is whole and fits the variables before the first of them is changed.

TensorFlow finds a wrong shape while it assigns: some variables are restored then and others not, and a
resource variable takes a value of any shape.  Here all shapes are compared first.

One RestoreV2 has all its tensors before the first is assigned.  Where there are several (one for every
shard) the later ones may find damage when the earlier have done their work, and an embedding variable is
filled chunk by chunk; so all that these will read is read and compared with its checksums first.  The keys of
embedding variables and their slots are compared with each other too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kvarn import errors
from kvarn.formats import embedding, multihash_parts
from kvarn.formats.embedding_names import full_name
from kvarn.formats.multihash_parts import is_cut_otherwise, is_of_multihash
from kvarn.formats.names import decode_name
from kvarn.formats.part_numbers import has_number_per_part, number_of_all_parts
from kvarn.formats.tensor_slice import parse_shape_and_slice
from kvarn.graph.operation import Operation
from kvarn.graph.shape_inference import fmt
from kvarn.graph.tensor_util import constant_value

if TYPE_CHECKING:
    from kvarn.formats.reader import TensorReader
    from kvarn.graph.tensor import Tensor
    from kvarn.ops.kv_restore import EmbeddingRestore

# The operations that read checkpoints, and which of their inputs has the names.
NAMES_AT = {"RestoreV2": 1, "KvResourceImportV2": 4, "KvResourceImportV3": 2, "KvResourceIncrImport": 2}


class RestoreCheck:
    """What the operations below restore operations demand.

    Args:
      restore_ops: the operations that are run to restore.
      filename: the tensor with the prefix, where these read other checkpoints too.
    """

    # Of embedding variables: the suffix of their keys.
    _keys_suffix = embedding.KEYS

    def __init__(self, *restore_ops: Operation, filename: Tensor | None = None) -> None:
        below = operations_below(*restore_ops)
        self._readers = [
            op for op in below if op.type in NAMES_AT and (filename is None or op.inputs[0] is filename)
        ]
        self._wanted = list(_demands(self._readers, below))
        self._looked_at: Operation | None = None

    def set_key_mismatch(self, rule: str) -> None:
        """Puts the rule for slots with other keys than their variable into the graph."""
        from kvarn.ops import kv_key_sets

        for op in self._readers:
            if op.type != "RestoreV2":
                op.attrs[kv_key_sets.ATTR] = rule

    @contextlib.contextmanager
    def checked(self, prefix: str) -> Iterator[None]:
        """Compares them with what a checkpoint has; inside, the operations may run.

        What was found out about embedding variables is at their operations' hand inside.

        Raises:
          InvalidArgumentError: a whole tensor of the checkpoint has another shape than its variable, or an
            embedding variable other types.
          NotFoundError, DataLossError, OutOfRangeError: names are missing, bytes damaged, or keys of slots not
            those of their variable, where that is not left for the one operation that reads.
        """
        from kvarn.formats.detect import open_checkpoint

        if all(op.type == "RestoreV2" for op in self._readers):
            self._check_shapes(prefix, {})
            if len(self._readers) > 1:
                with self._naming_operations(), open_checkpoint(prefix) as reader:
                    self._check_tensors(reader)
            yield
            return
        from kvarn.ops import checkpoint, kv_restore

        with contextlib.ExitStack() as stack:
            with self._naming_operations():
                reader = stack.enter_context(open_checkpoint(prefix))
                numbers = self._numbers_of_parts(reader)
            self._check_shapes(prefix, numbers)
            with self._naming_operations():
                self._check_tensors(reader)
                run = kv_restore.EmbeddingRestore(reader)
                self._look_at_embeddings(run)
            stack.enter_context(checkpoint.giving(prefix, numbers))
            stack.enter_context(kv_restore.running(run))
            yield

    @contextlib.contextmanager
    def _naming_operations(self) -> Iterator[None]:
        """Adds the operation that is looked at to errors."""
        from kvarn.graph.executor import with_node

        self._looked_at = next(iter(self._readers), None)
        try:
            yield
        except errors.OpError as e:
            if self._looked_at is None:
                raise
            raise with_node(e, self._looked_at) from e

    def _check_tensors(self, reader: TensorReader) -> None:
        from kvarn.ops import checkpoint

        for op in self._readers:
            if op.type != "RestoreV2":
                continue
            self._looked_at = op
            known = constant_value(op.inputs[NAMES_AT[op.type]])
            if known is not None:
                checkpoint.verify(reader, [decode_name(name) for name in known], op.attrs["dtypes"])

    @cached_property
    def _embeddings(self) -> dict[Operation, str]:
        """By importing operation, the name that it asks for."""
        from kvarn.ops.kv import tensor_name

        found = {}
        for op in self._readers:
            known = None if op.type == "RestoreV2" else constant_value(op.inputs[NAMES_AT[op.type]])
            if known is not None:
                found[op] = tensor_name(known)
        return found

    def _numbers_of_parts(self, reader: TensorReader) -> dict[tuple[str, str], Any]:
        """What to give for numbers of parts of embedding variables that are cut otherwise, by name and slice."""
        from kvarn.ops.kv_restore import is_part

        owners = embedding_owners(self._embeddings)
        variables = {
            full_name(name, owner=owners[op], partitioned=is_part(op.attrs, name, owners[op]))
            for op, name in self._embeddings.items()
        }
        whole = {name: shape for name, shape, _ in self._wanted}
        numbers: dict[str, Any] = {}
        found: dict[tuple[str, str], Any] = {}
        for op in self._readers:
            for name, part in asked_tensors(op) if op.type == "RestoreV2" else ():
                if name.rpartition("/")[0] not in variables:
                    continue
                if not has_number_per_part(reader, name, keys=self._keys_suffix):
                    continue
                self._looked_at = op
                full_shape, wanted = (
                    parse_shape_and_slice(part)[::2] if part else (whole.get(name), whole.get(name))
                )
                _, stored = reader.lookup_dtype_and_shape(name)
                if full_shape is not None and full_shape != stored and len(full_shape) == 1:
                    if name not in numbers:
                        numbers[name] = number_of_all_parts(reader, name)
                    found[name, part] = np.full(wanted, numbers[name])
        return found

    def _look_at_embeddings(self, run: EmbeddingRestore) -> None:
        from kvarn.ops import kv_key_sets
        from kvarn.ops.kv_restore import is_part

        owners = embedding_owners(self._embeddings)
        for op, name in self._embeddings.items():
            self._looked_at = op
            family, is_primary = embedding_family(op)
            run.look_at(
                name,
                variable=op.inputs[1].op.name,
                key_dtype=op.attrs["Tkeys"],
                family=family,
                owner=owners[op],
                partitioned=is_part(op.attrs, name, owners[op]),
                part=(op.attrs["partition_id"], op.attrs["partition_num"]),
                is_primary=bool(is_primary),
                key_mismatch=op.attrs.get(kv_key_sets.ATTR),
            )
        run.settle()

    def _cut_otherwise(self, reader: TensorReader) -> tuple[str, Operation] | None:
        """A tensor of a multi-hash variable that has other parts in the checkpoint, and what reads it."""
        for op in self._readers:
            for name, part in asked_tensors(op) if op.type == "RestoreV2" else ():
                if is_of_multihash(name) and reader.contains(name):
                    info = reader.info(name)
                    if is_cut_otherwise(name, part, info.shape, info.slices):
                        return name, op
        return None

    def _check_shapes(self, prefix: str, given: Mapping[tuple[str, str], Any]) -> None:
        from kvarn.formats.detect import open_checkpoint

        wrong: list[tuple[str, tuple[int, ...], tuple[int, ...], Operation]] = []
        try:
            with open_checkpoint(prefix) as reader:
                cut_otherwise = self._cut_otherwise(reader)
                for name, shape, op in self._wanted:
                    if (name, "") not in given and reader.contains(name):
                        _, stored = reader.lookup_dtype_and_shape(name)
                        if stored != shape:
                            wrong.append((name, shape, stored, op))
        except errors.OpError:
            return
        if cut_otherwise is not None:
            name, op = cut_otherwise
            raise errors.InvalidArgumentError(
                op.node_def,
                op,
                f"The multi-hash variable of '{name}' is stored in other parts\n\t [[node {op.name} ({op.type})]]",
                name=name,
                path=prefix,
                hint=multihash_parts.HINT,
            )
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


def embedding_owners(names: Mapping[Operation, str]) -> dict[Operation, str | None]:
    """By importing operation, the name of the primary that it fills a slot of, or fills; None if that is not known.

    Args:
      names: the names that the operations ask for.
    """
    families = {op: embedding_family(op) for op in names}
    primaries = {family: names[op] for op, (family, is_primary) in families.items() if is_primary}
    return {
        op: None if is_primary is None else primaries.get(family, names[op].rpartition("/")[0])
        for op, (family, is_primary) in families.items()
    }


def embedding_family(importing: Operation) -> tuple[Any, bool | None]:
    """What is equal for a primary and its slots, and whether the variable that an operation fills is the primary.

    The latter is None where the graph does not tell.
    """
    if importing.type != "KvResourceImportV2":
        # Only the operation that makes the variable knows.
        handle = importing.inputs[1]
        made_by = next((op for op in handle.consumers() if _makes(op, handle)), None)
        if made_by is None:
            return handle, None
        primary = made_by.inputs[1]
    else:
        made_by, primary = importing, importing.inputs[2]
    # Blocks of a variable of dynamic dimension have keys of their own.
    return (primary, made_by.attrs["emb_index"]), made_by.attrs["slot_index"] == 0


def _makes(op: Operation, handle: Any) -> bool:
    return op.type.startswith("InitializeKvVariable") and op.inputs[0] is handle


def _demands(
    readers: list[Operation], below: dict[Operation, None]
) -> Iterator[tuple[str, tuple[int, ...], Operation]]:
    """(name, shape, assigning operation) of every whole tensor that is read and assigned."""
    for op in readers:
        if op.type != "RestoreV2":
            continue
        for (name, part), output in zip(asked_tensors(op), op.outputs, strict=False):
            if part:
                continue
            for assign in _assigning(output, below):
                shape = demanded_shape(assign)
                if shape is not None:
                    yield name, shape, assign


def asked_tensors(restoring: Operation) -> list[tuple[str, str]]:
    """Name and slice of each tensor that a RestoreV2 reads; none if they are only known when it runs."""
    names, slices = constant_value(restoring.inputs[1]), constant_value(restoring.inputs[2])
    if names is None or slices is None:
        return []
    return [(decode_name(name), decode_name(part)) for name, part in zip(names, slices, strict=True)]


def operations_below(*ops: Operation) -> dict[Operation, None]:
    """``ops`` and all that they wait for."""
    found: dict[Operation, None] = dict.fromkeys(ops)
    waiting = list(ops)
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


def demanded_shape(assign: Operation) -> tuple[int, ...] | None:
    """The shape that a value must have, or None when any will do."""
    target = assign.inputs[0]
    if assign.type == "Assign":
        shape = target.static_shape if assign.attrs["validate_shape"] else None
    else:
        shape = target.op.attrs["shape"] if target.op.type == "VarHandleOp" else None
    known = tuple(size for size in shape or () if size is not None)
    return None if shape is None or len(known) < len(shape) else known
