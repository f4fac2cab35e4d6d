"""Embedding variables: nine tensors for each, which the save op makes from the table itself.

The save op takes the handle; the table of a variable and all its slots is written from one snapshot
(`kvarn.ops.kv_checkpoint`).  A restore adds the rows of the checkpoint to the table and needs no
initializer to have run.

Source: `EmbeddingVariableSaveable` in tensorflow/python/training/saving/saveable_object_util.py of DeepRec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph import graph as ops
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GraphKeys
from kvarn.saver.saveable_object import SaveableObject, SaveEntry, SaveSpec
from kvarn.saver.saveables import Kind, add_unique, saveable_for
from kvarn.variables.dependencies import guard
from kvarn.variables.embedding_variable import EmbeddingVariable


class EmbeddingVariableSaveable(SaveableObject):
    """One embedding variable, slot or part.

    Args:
      var: the variable.
      name: not used: the tensors bear the variable's own name.

    Attributes:
      specs: what is in the checkpoint; only names and types count.
    """

    restores_from_prefix = True

    def __init__(self, var: EmbeddingVariable, name: str) -> None:
        del name
        self.var = var
        own = var._shared_name
        kinds = {
            "-keys": var._invalid_key_type,
            "-values": dtypes.float32,
            "-versions": dtypes.int64,
            "-freqs": dtypes.int64,
        }
        specs = [SaveSpec(var.handle, "", own + suffix, dtype) for suffix, dtype in kinds.items()]
        for spec, dtype in zip(specs, kinds.values(), strict=True):
            spec.dtype = dtype
        super().__init__(var, specs, own)

    @property
    def device(self) -> Any:
        return self.var.device

    def save_entries(self) -> Iterator[SaveEntry]:
        yield SaveEntry(self.name, "", self.var.handle, self.var._invalid_key_type)

    def restore(self, restored_tensors: Sequence[Any], restored_shapes: Sequence[Any] | None) -> Any:
        """The operation that reads the variable from the prefix that ``restored_tensors`` holds."""
        with ops.control_dependencies(_layout_ops(self.var)):
            return self.var._restore_op(restored_tensors[0], self.name, zeros=self.restores_a_part)

    def incr_restore(self, restored_tensors: Sequence[Any], restored_shapes: Sequence[Any] | None) -> Any:
        """The operation that brings the variable from a full save to the increment in ``restored_tensors``."""
        from kvarn.ops import incremental

        var = self.var
        info = var._get_save_slice_info()
        with ops.control_dependencies(_layout_ops(var)):
            importing = incremental.kv_resource_incr_import(
                restored_tensors[0],
                var.handle,
                convert_to_tensor(self.name),
                convert_to_tensor(var._invalid_key, dtype=var._invalid_key_type),
                guard(var._shared_name, var._initial_value),
                partition_id=0 if info is None else int(info.var_offset[0]),
                partition_num=1 if info is None else int(info.full_shape[0]),
            )
        var._say_whether_part(importing)
        return importing


def _layout_ops(var: EmbeddingVariable) -> list[Any]:
    """What must have run, in graphs of newer DeepRec, before the first row of a table is read."""
    known: dict[Any, list[Any]] = {}
    for item in ops.get_collection(GraphKeys.EMBEDDING_VARIABLE_RESTORE_DEPENDENCY):
        known.update(item)
    return known.get(var._primary_handle, [])


@saveable_for(EmbeddingVariable)
class EmbeddingVariableKind(Kind):
    """Saved under its own name wherever it stands; parts of a partitioned one are variables of their own."""

    def add_to(self, names: dict[str, Any], value: Any) -> None:
        add_unique(names, value._shared_name, value)

    def saveables(self, value: Any, name: str) -> Iterator[SaveableObject]:
        yield EmbeddingVariableSaveable(value, name)

    def slice_saveable(self, part: Any, name: str) -> SaveableObject:
        return EmbeddingVariableSaveable(part, name)
