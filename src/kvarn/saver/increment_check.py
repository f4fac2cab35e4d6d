"""Looks whether an increment is whole and fits the variables before the first of them is changed.

As `kvarn.saver.restore_check` does for full saves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kvarn import errors
from kvarn.formats import embedding_increment as increment
from kvarn.formats.embedding_names import embedding_sources
from kvarn.formats.increment_rows import rows_of_tensor
from kvarn.formats.names import decode_name
from kvarn.graph.operation import Operation
from kvarn.graph.tensor_util import constant_value
from kvarn.saver.restore_check import RestoreCheck, embedding_owners, operations_below

if TYPE_CHECKING:
    from kvarn.formats.reader import TensorReader
    from kvarn.graph.tensor import Tensor

# What to give for tensors of an increment that other parts have another number of, by name and slice.
GivenTensors = Mapping[tuple[str, str], Any]


class IncrementCheck(RestoreCheck):
    """What the operations below the restore operation of increments demand of one.

    Args:
      restore_op: the operation that is run to restore an increment.
      filename: the tensor with the prefix of the increment; the operations read the full save too.
    """

    _keys_suffix = increment.KEYS

    def __init__(self, restore_op: Operation, filename: Tensor) -> None:
        super().__init__(restore_op, filename=filename)
        # Those that put single rows into ordinary variables.
        self._of_rows = [op for op in operations_below(restore_op) if op.type == "IncrRestore"]

    def look(self, prefix: str) -> GivenTensors:
        """Compares them with what an increment has, and reads all of it.

        Returns:
          What `restoring` wants.

        Raises:
          InvalidArgumentError: a variable has another shape, type or dim.
          NotFoundError: there is no such increment, or it lacks a variable.
          DataLossError: bytes are damaged.
        """
        from kvarn.formats.detect import open_checkpoint

        with open_checkpoint(prefix) as reader:
            for name in list(reader.keys()):
                reader.verify(name)
            with self._naming_operations():
                given = self._numbers_of_parts(reader)
                self._check_shapes(prefix, given)
                self._check_tensors(reader)
                self._check_embeddings(reader)
                self._check_rows(reader)
        return given

    @contextlib.contextmanager
    def restoring(self, prefix: str, given: GivenTensors) -> Iterator[None]:
        """Inside, the operations may run for an increment that was looked at."""
        from kvarn.ops import checkpoint

        with checkpoint.giving(prefix, given):
            yield

    def _check_embeddings(self, reader: TensorReader) -> None:
        from kvarn.ops.kv_restore import is_part

        owners = embedding_owners(self._embeddings)
        for op, name in self._embeddings.items():
            self._looked_at = op
            owner = owners[op]
            partitioned = is_part(op.attrs, name, owner)
            stems = embedding_sources(reader, name, owner=owner, partitioned=partitioned, keys=increment.KEYS)
            if not stems:
                raise increment.not_found(reader, name)
            handle = op.inputs[1].op
            dim = handle.attrs["shape"][-1] if handle.type == "KvVarHandleOp" else None
            for stem in stems:
                key_dtype, _ = reader.lookup_dtype_and_shape(stem + increment.KEYS)
                dtype, shape = reader.lookup_dtype_and_shape(stem + increment.VALUES)
                found = (key_dtype, dtype, shape[-1] if shape else None)
                wanted = (op.attrs["Tkeys"], op.attrs["dtype"], dim)
                if found[:2] != wanted[:2] or (dim is not None and found[2] != dim):
                    raise errors.InvalidArgumentError.of(
                        f"The increment '{reader.prefix}' has {_kind(*found)} of '{stem}', the variable "
                        f"'{handle.name}' {_kind(*wanted)}.",
                        name=handle.name,
                        path=reader.prefix,
                        hint="Create the variable as it was when the increment was saved.",
                    )

    def _check_rows(self, reader: TensorReader) -> None:
        from kvarn.ops import incremental

        for op in self._of_rows:
            names, parts = constant_value(op.inputs[1]), constant_value(op.inputs[2])
            if names is not None and parts is not None:
                self._looked_at = op
                name, part = decode_name(names[0]), decode_name(parts[0])
                tensor = decode_name((op.attrs.get(incremental.TENSORS) or names)[0])
                rows_of_tensor(reader, name, tensor, part)


def _kind(key_dtype: Any, dtype: Any, dim: int | None) -> str:
    return f"{key_dtype.name} keys and rows of {dim} {dtype.name}"
