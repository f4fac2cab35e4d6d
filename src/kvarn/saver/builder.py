"""The operations that a Saver runs: save, restore, and what joins the shards.

Source: `BaseSaverBuilder` and `BulkSaverBuilder` in tensorflow/python/training/saver.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from kvarn import dtypes
from kvarn.formats.names import encode_name
from kvarn.graph import graph as ops
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import GraphKeys
from kvarn.graph.tensor import Tensor
from kvarn.saver import saveable_object
from kvarn.saver.saveable_object import SaveEntry, SaveSpec
from kvarn.saver.saveable_object_util import set_cpu0, validate_and_slice_inputs
from kvarn.saver.saveables import reference_variable, resource_variable
from kvarn.saver.sparse_updates import record_restores

# Values of SaverDef.CheckpointFormatVersion.
V1 = 1
V2 = 2

_Saveable = saveable_object.SaveableObject


class BaseSaverBuilder:
    """Builds the save graph with one restore op for each saveable; programs derive their own from it.

    Args:
      write_version: ``SaverDef.V2`` or ``V1``.
      build_incr_activateop: increments will follow a save: see `kvarn.saver.incremental_saver`.
      incremental_include_normal_var: of ordinary variables that only single rows are changed of, increments have
        these rows alone.

    Attributes:
      filename_tensor: the tensor that the prefix is fed to, once built.
    """

    SaveSpec = SaveSpec
    SaveableObject = saveable_object.SaveableObject
    VariableSaveable = reference_variable.ReferenceVariableSaveable
    ResourceVariableSaveable = resource_variable.ResourceVariableSaveable

    def __init__(
        self,
        write_version: int = V2,
        build_incr_activateop: bool = False,
        incremental_include_normal_var: bool = False,
    ) -> None:
        self._write_version = write_version
        self._build_incr_activateop = build_incr_activateop
        self._incremental_include_normal_var = incremental_include_normal_var
        self.filename_tensor: Tensor | None = None

    # -- single ops, to be replaced by derived builders -------------------------------------------

    def save_op(self, filename_tensor: Tensor, saveables: Sequence[_Saveable]) -> Any:
        """The operation that saves ``saveables``.

        Raises:
          RuntimeError: ``write_version`` is unknown.
        """
        from kvarn.ops import checkpoint

        entries = [entry for saveable in saveables for entry in saveable.save_entries()]
        key_types = [entry.key_type for entry in entries if entry.key_type is not None]
        if key_types:
            entries.insert(0, _global_step_entry())
        names = _names(entries)
        slices = [entry.slice_spec for entry in entries]
        tensors = [entry.tensor for entry in entries]
        if self._write_version == V1:
            return checkpoint.save_slices(filename_tensor, names, slices, tensors, name="save")
        if self._write_version != V2:
            raise RuntimeError(f"Unexpected write_version: {self._write_version}")
        if key_types:
            return checkpoint.save_v2(
                filename_tensor, names, slices, tensors, ev_key_types=key_types, has_ev=True
            )
        return checkpoint.save_v2(filename_tensor, names, slices, tensors)

    def bulk_restore(
        self,
        filename_tensor: Tensor,
        saveables: Sequence[_Saveable],
        preferred_shard: int,
        restore_sequentially: bool,
    ) -> list[Tensor]:
        """The tensors of all specs of ``saveables``, read by one op for each saveable, on its device."""
        del restore_sequentially
        tensors: list[Tensor] = []
        for saveable in saveables:
            with ops.device(set_cpu0(saveable.device) if saveable.device else None):
                tensors.extend(self.restore_op(filename_tensor, saveable, preferred_shard))
        return tensors

    def restore_op(self, filename_tensor: Tensor, saveable: _Saveable, preferred_shard: int) -> list[Tensor]:
        """The tensors of all specs of one saveable."""
        from kvarn.ops import checkpoint

        del preferred_shard
        tensors: list[Tensor] = []
        for spec in saveable.specs:
            dtype = spec.dtype.base_dtype
            tensors += checkpoint.restore_v2(filename_tensor, _names([spec]), [spec.slice_spec], [dtype])
        return tensors

    def sharded_filename(self, filename_tensor: Tensor, shard: int, num_shards: Tensor) -> Tensor:
        """The name of one shard."""
        from kvarn.ops import checkpoint

        tensor: Tensor = checkpoint.sharded_filename(filename_tensor, shard, num_shards)
        return tensor

    # -- saving -----------------------------------------------------------------------------------

    def _AddSaveOps(self, filename_tensor: Tensor, saveables: Sequence[_Saveable]) -> Tensor:
        from kvarn.ops import control

        save = self.save_op(filename_tensor, saveables)
        if self._build_incr_activateop:
            from kvarn.ops import incremental
            from kvarn.saver.incremental_builder import activated_names

            names = [encode_name(name) for name in activated_names(saveables)]
            with ops.control_dependencies([save]):
                save = incremental.activate_sparse_recorder(names)
        tensor: Tensor = control.with_dependencies([save], filename_tensor)
        return tensor

    def _AddShardedSaveOps(self, filename_tensor: Tensor, per_device: list[tuple[str, list[Any]]]) -> Tensor:
        """Every device saves a shard of its own; the tensor is the name of the whole."""
        if self._write_version == V2:
            return self._AddShardedSaveOpsForV2(filename_tensor, per_device)
        from kvarn.ops import checkpoint

        num_shards = constant(len(per_device), name="num_shards")
        saves = []
        for shard, (device, saveables) in enumerate(per_device):
            with ops.device(device):
                filename = self.sharded_filename(filename_tensor, shard, num_shards)
                saves.append(self._AddSaveOps(filename, saveables))
        with ops.control_dependencies([x.op for x in saves]):
            tensor: Tensor = checkpoint.sharded_filespec(filename_tensor, num_shards)
            return tensor

    def _AddShardedSaveOpsForV2(
        self, checkpoint_prefix: Tensor, per_device: list[tuple[str, list[Any]]]
    ) -> Tensor:
        """Shards go into a temporary directory beside the checkpoint; merging them moves their files."""
        from kvarn.ops import array, checkpoint, string

        suffix = f"_temp_{uuid.uuid4().hex}/part"
        temporary = string.string_join([checkpoint_prefix, suffix])
        num_shards = constant(len(per_device), name="num_shards")
        saves: list[Tensor] = []
        prefixes: list[Tensor] = []
        for shard, (device, saveables) in enumerate(per_device):
            with ops.device(set_cpu0(device)):
                prefixes.append(self.sharded_filename(temporary, shard, num_shards))
                saves.append(self._AddSaveOps(prefixes[-1], saveables))
        last_device = set_cpu0(per_device[-1][0])
        with ops.control_dependencies([x.op for x in saves]), ops.device(last_device):
            merge = checkpoint.merge_v2_checkpoints(prefixes, checkpoint_prefix, delete_old_dirs=True)
            with ops.control_dependencies([merge]):
                tensor: Tensor = array.identity(checkpoint_prefix)
                return tensor

    # -- restoring --------------------------------------------------------------------------------

    def _AddRestoreOps(
        self,
        filename_tensor: Tensor,
        saveables: Sequence[_Saveable],
        restore_sequentially: bool,
        reshape: bool,
        preferred_shard: int = -1,
        name: str = "restore_all",
    ) -> Any:
        """The operation that restores ``saveables``.

        What reads the checkpoint itself gets the prefix; the rest is read by `bulk_restore`.
        """
        from kvarn.ops import control

        read = [s for s in saveables if not s.restores_from_prefix]
        tensors = iter(
            self.bulk_restore(filename_tensor, read, preferred_shard, restore_sequentially) if read else ()
        )
        restored = []
        for saveable in saveables:
            if saveable.restores_from_prefix:
                restored.append(saveable.restore([filename_tensor], None))
                continue
            shapes = [_shape_of(spec.tensor) for spec in saveable.specs] if reshape else None
            restored.append(saveable.restore([next(tensors) for _ in saveable.specs], shapes))
        return control.group(*restored, name=name)

    def _AddShardedRestoreOps(
        self,
        filename_tensor: Tensor,
        per_device: list[tuple[str, list[Any]]],
        restore_sequentially: bool,
        reshape: bool,
    ) -> Any:
        from kvarn.ops import control

        restores = []
        for shard, (device, saveables) in enumerate(per_device):
            with ops.device(device):
                restores.append(
                    self._AddRestoreOps(
                        filename_tensor,
                        saveables,
                        restore_sequentially,
                        reshape,
                        preferred_shard=shard,
                        name="restore_shard",
                    )
                )
        return control.group(*restores, name="restore_all")

    # -- the whole --------------------------------------------------------------------------------

    def _GroupByDevices(self, saveables: Sequence[_Saveable]) -> list[tuple[str, list[Any]]]:
        """(device, saveables), sorted by device; ValueError for a saveable on several devices."""
        from kvarn.graph.device import canonical_name

        per_device: dict[str, list[_Saveable]] = {}
        for saveable in saveables:
            devices = {canonical_name(spec.tensor.device) for spec in saveable.specs}
            if len(devices) != 1:
                raise ValueError(
                    f"All tensors of a saveable object must be on the same device: {saveable.name}"
                )
            per_device.setdefault(devices.pop(), []).append(saveable)
        return sorted(per_device.items(), key=lambda item: item[0])

    def build(
        self,
        names_to_saveables: Any,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        filename: str | None = "model",
    ) -> Any:
        """Adds the save graph to the default graph; arguments as those of `Saver`.

        Returns:
          The SaverDef with the names of its tensors.

        Raises:
          TypeError, ValueError: see `validate_and_slice_inputs`.
        """
        return self._build_internal(
            names_to_saveables,
            reshape=reshape,
            sharded=sharded,
            max_to_keep=max_to_keep,
            keep_checkpoint_every_n_hours=keep_checkpoint_every_n_hours,
            name=name,
            restore_sequentially=restore_sequentially,
            filename=filename,
        )

    def _build_internal(
        self,
        names_to_saveables: Any,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        filename: str | None = "model",
        build_save: bool = True,
        build_restore: bool = True,
    ) -> Any:
        from kvarn import protos
        from kvarn.ops import array

        if not build_save or not build_restore:
            raise ValueError(
                "save and restore operations need to be built together  when eager execution is not enabled."
            )
        saveables = validate_and_slice_inputs(names_to_saveables)
        partial = not _covers_the_graph(names_to_saveables)
        for saveable in saveables:
            saveable.restores_a_part = partial
        with ops.name_scope(name, "save", [saveable.op for saveable in saveables]):
            filename_tensor = array.placeholder_with_default(filename or "model", shape=(), name="filename")
            # The name that programs feed is older than the file name's own node.
            filename_tensor = array.placeholder_with_default(filename_tensor, shape=(), name="Const")
            self.filename_tensor = filename_tensor
            if sharded:
                per_device = self._GroupByDevices(saveables)
                save_tensor = self._AddShardedSaveOps(filename_tensor, per_device)
                restore_op = self._AddShardedRestoreOps(
                    filename_tensor, per_device, restore_sequentially, reshape
                )
            else:
                save_tensor = self._AddSaveOps(filename_tensor, saveables)
                restore_op = self._AddRestoreOps(filename_tensor, saveables, restore_sequentially, reshape)
        record_restores(ops.get_default_graph())
        _concatenate_collected()
        return protos.SaverDef(
            filename_tensor_name=filename_tensor.name,
            save_tensor_name=save_tensor.name,
            restore_op_name=restore_op.name,
            max_to_keep=max_to_keep or 0,
            sharded=sharded,
            keep_checkpoint_every_n_hours=keep_checkpoint_every_n_hours,
            version=self._write_version,
        )


class BulkSaverBuilder(BaseSaverBuilder):
    """Builds the save graph with one restore op for all saveables."""

    def bulk_restore(
        self,
        filename_tensor: Tensor,
        saveables: Sequence[_Saveable],
        preferred_shard: int,
        restore_sequentially: bool,
    ) -> list[Tensor]:
        """The tensors of all specs of ``saveables``, read by one op."""
        from kvarn.ops import checkpoint

        del preferred_shard, restore_sequentially
        specs = [spec for saveable in saveables for spec in saveable.specs]
        with ops.device("cpu:0"):
            tensors: list[Tensor] = checkpoint.restore_v2(
                filename_tensor,
                _names(specs),
                [spec.slice_spec for spec in specs],
                [spec.dtype.base_dtype for spec in specs],
            )
        return tensors


def _names(items: Sequence[SaveEntry | SaveSpec]) -> list[bytes]:
    """Names as a checkpoint holds them: bytes that are no UTF-8 stand in strings as surrogates."""
    return [encode_name(item.name) for item in items]


def _global_step_entry() -> SaveEntry:
    """What DeepRec's save op takes first when embedding variables are among its tensors.

    It decides what is evicted and is not written by this entry.
    """
    found = ops.get_collection(GraphKeys.GLOBAL_STEP)
    tensor = convert_to_tensor(found[0]) if found else constant(0, dtypes.int64, name="global_step")
    return SaveEntry("global_step", "", tensor)


def _shape_of(value: Any) -> Any:
    """A saved value's shape, as a tensor where it is not fully known."""
    shape = value.get_shape()
    if shape.is_fully_defined():
        return shape
    from kvarn.ops import array

    return array.shape(value)


def _concatenate_collected() -> None:
    """Gives partitioned variables in collections the node that holds their whole value.

    A graph read from a file looks the node up by the variable's name.
    """
    from kvarn.variables.partitioned_variable import PartitionedVariable

    graph = ops.get_default_graph()
    for key in graph.get_all_collection_keys():
        for element in graph.get_collection(key):
            if isinstance(element, PartitionedVariable):
                try:
                    graph.get_operation_by_name(element.name)
                except KeyError:
                    element.as_tensor()


def _covers_the_graph(names_to_saveables: Any) -> bool:
    """Whether every variable of the graph is among what a Saver was given."""
    stack = list(names_to_saveables.values() if isinstance(names_to_saveables, dict) else names_to_saveables)
    given: set[int] = set()
    while stack:
        item = stack.pop()
        given.add(id(item))
        given.add(id(getattr(item, "var", None)))
        if isinstance(item, (list, tuple)) or hasattr(item, "_get_partitions"):
            stack.extend(item)
    return all(id(v) in given for v in ops.get_collection(ops.GraphKeys.GLOBAL_VARIABLES))
