"""The operations that an IncrementalSaver runs.

Source: `IncrementalSaverBuilder` in tensorflow/python/training/incremental_saver.py, `_GetTensorNameAndIsSparse`
in tensorflow/python/training/saver.py, both of DeepRec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn.formats.names import encode_name
from kvarn.graph import graph as ops
from kvarn.graph.graph import GraphKeys
from kvarn.graph.tensor import Tensor
from kvarn.saver.builder import V2, BaseSaverBuilder
from kvarn.saver.saveable_object import SaveableObject, SaveEntry
from kvarn.saver.saveable_object_util import validate_and_slice_inputs
from kvarn.saver.saveables.embedding_variable import EmbeddingVariableSaveable
from kvarn.saver.sparse_updates import record_sparse_updates


class IncrementalSaverBuilder(BaseSaverBuilder):
    """Builds the graph that saves and restores increments.

    Args:
      full_filename: the tensor that a full Saver feeds its prefix to.
      since_last: increments follow the save before, not the last full save.
      write_version, build_incr_activateop, incremental_include_normal_var: as of `BaseSaverBuilder`.
    """

    def __init__(
        self,
        full_filename: Tensor,
        write_version: int = V2,
        build_incr_activateop: bool = True,
        incremental_include_normal_var: bool = False,
        *,
        since_last: bool = False,
    ) -> None:
        super().__init__(write_version, False, incremental_include_normal_var)
        self._full_filename = full_filename
        self._since_last = since_last
        # Names of the nodes of ordinary variables that only single rows are changed of.
        self._sparse: set[str] = set()

    def build_increments(self, names_to_saveables: Any, **options: Any) -> Any:
        """Adds the operations to the default graph; arguments and result as those of `BaseSaverBuilder.build`."""
        if self._incremental_include_normal_var:
            known = variables_by_name(ops.get_default_graph())
            for saveable in validate_and_slice_inputs(names_to_saveables):
                name = owner_name(saveable)
                if name is not None and name in known and not isinstance(saveable, EmbeddingVariableSaveable):
                    spec = saveable.specs[0]
                    if (spec.slice_spec or spec.name == name) and record_sparse_updates(known[name]):
                        self._sparse.add(name)
        options["name"] = options.get("name") or "incr_save"
        return self._build_internal(names_to_saveables, **options)

    def increment_name(self, saveable: SaveableObject, entry: SaveEntry) -> tuple[str, bool]:
        """The name in an increment of what a full save has as ``entry``, and whether that has single rows only."""
        if entry.key_type is not None:
            return saveable.name, True
        name = owner_name(saveable)
        if name not in self._sparse:
            return entry.name, False
        return (name if entry.slice_spec else entry.name), True

    def _AddSaveOps(self, filename_tensor: Tensor, saveables: Sequence[SaveableObject]) -> Tensor:
        from kvarn.ops import control, incremental

        entries = [(saveable, entry) for saveable in saveables for entry in saveable.save_entries()]
        names = [self.increment_name(saveable, entry) for saveable, entry in entries]
        save = incremental.incr_save(
            filename_tensor,
            [encode_name(name) for name, _ in names],
            [entry.slice_spec for _, entry in entries],
            [is_sparse for _, is_sparse in names],
            [entry.tensor for _, entry in entries],
        )
        save.attrs[incremental.TENSORS] = [encode_name(entry.name) for _, entry in entries]
        if self._since_last:
            save.attrs[incremental.SINCE_LAST] = True
        tensor: Tensor = control.with_dependencies([save], filename_tensor)
        return tensor

    def _AddRestoreOps(
        self,
        filename_tensor: Tensor,
        saveables: Sequence[SaveableObject],
        restore_sequentially: bool,
        reshape: bool,
        preferred_shard: int = -1,
        name: str = "restore_all",
    ) -> Any:
        from kvarn.ops import control

        del restore_sequentially
        restored = []
        for saveable in saveables:
            if isinstance(saveable, EmbeddingVariableSaveable):
                restored.append(saveable.incr_restore([filename_tensor], None))
                continue
            shapes = [spec.tensor.get_shape() for spec in saveable.specs] if reshape else None
            tensors = self._restored(filename_tensor, saveable, preferred_shard)
            restored.append(saveable.restore(tensors, shapes))
        return control.group(*restored, name=name)

    def _restored(
        self, filename_tensor: Tensor, saveable: SaveableObject, preferred_shard: int
    ) -> list[Tensor]:
        """The values of an ordinary variable after an increment."""
        from kvarn.ops import incremental

        (entry, *others) = saveable.save_entries()
        name, is_sparse = self.increment_name(saveable, entry)
        if not is_sparse or others:
            return self.restore_op(filename_tensor, saveable, preferred_shard)
        if self._since_last:
            # What the full save and the increments before have made of it.
            before = [saveable.specs[0].tensor]
        else:
            before = self.restore_op(self._full_filename, saveable, preferred_shard)
        after = incremental.incr_restore(
            filename_tensor, [encode_name(name)], [entry.slice_spec], [True], before
        )
        (value,) = [after] if isinstance(after, Tensor) else after
        value.op.attrs[incremental.TENSORS] = [encode_name(entry.name)]
        return [value]


def owner_name(saveable: SaveableObject) -> str | None:
    """The name of the node of the variable that a saveable stands for; None for a program's own saveables."""
    handle = getattr(saveable, "handle_op", None)
    if handle is not None:
        name: str = handle.op.name
        return name
    op = getattr(saveable.op, "op", None)
    return None if op is None else op.name


def variables_by_name(graph: Any) -> dict[str, Any]:
    """The variables of a graph, and the parts of those that have parts, by the names of their nodes."""
    return {
        variable.op.name: variable
        for key in (GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES)
        for variable in _flat(graph.get_collection(key))
    }


def activated_names(saveables: Sequence[SaveableObject]) -> list[str]:
    """The names that increments of these may be recorded under."""
    found = (
        saveable.name if isinstance(saveable, EmbeddingVariableSaveable) else owner_name(saveable)
        for saveable in saveables
    )
    return [name for name in found if name is not None]


def _flat(variables: Sequence[Any]) -> list[Any]:
    return [part for v in variables for part in (v if hasattr(v, "_get_partitions") else [v])]
