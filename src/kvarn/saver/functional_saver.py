"""Savers of saveables alone: a shard for each device, merged at the end, and restores one by one.

Source: tensorflow/python/training/saving/functional_saver.py (1.15).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from kvarn.formats.names import encode_name
from kvarn.graph import graph as ops
from kvarn.graph.convert import constant
from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveable_object_util import set_cpu0


class _SingleDeviceSaver:
    """Saves and restores what is on one device."""

    def __init__(self, saveable_objects: Iterable[SaveableObject]) -> None:
        self._saveable_objects = list(saveable_objects)
        for saveable in self._saveable_objects:
            if not isinstance(saveable, SaveableObject):
                raise ValueError(f"Expected a list of SaveableObjects, got {saveable}.")

    def save(self, file_prefix: Any) -> Any:
        """The operation that writes all saveables."""
        from kvarn.ops import checkpoint

        specs = [spec for saveable in self._saveable_objects for spec in saveable.specs]
        names = [encode_name(spec.name) for spec in specs]
        tensors = [spec.tensor for spec in specs]
        with ops.device("cpu:0"):
            return checkpoint.save_v2(file_prefix, names, [spec.slice_spec for spec in specs], tensors)

    def restore(self, file_prefix: Any) -> dict[str, Any]:
        """The operations that restore each saveable, by its name; one operation reads for all."""
        from kvarn.ops import checkpoint

        specs = [spec for saveable in self._saveable_objects for spec in saveable.specs]
        with ops.device("cpu:0"):
            tensors = iter(
                checkpoint.restore_v2(
                    file_prefix,
                    [encode_name(spec.name) for spec in specs],
                    [spec.slice_spec for spec in specs],
                    [spec.dtype.base_dtype for spec in specs],
                )
            )
        return {
            saveable.name: saveable.restore([next(tensors) for _ in saveable.specs], restored_shapes=None)
            for saveable in self._saveable_objects
        }


class MultiDeviceSaver:
    """Saves and restores saveables under their own names, each device writing a shard.

    Args:
      saveable_objects: `SaveableObject`s.

    Raises:
      ValueError: there is something else among them.
    """

    def __init__(self, saveable_objects: Iterable[SaveableObject]) -> None:
        by_device: dict[str, list[SaveableObject]] = {}
        for saveable in saveable_objects:
            if not isinstance(saveable, SaveableObject):
                raise ValueError(f"Expected a dictionary of SaveableObjects, got {saveable}.")
            by_device.setdefault(saveable.device, []).append(saveable)
        # In the order of the devices' names, whatever that of the saveables.
        self._single_device_savers = {
            device: _SingleDeviceSaver(saveables) for device, saveables in sorted(by_device.items())
        }

    def save(self, file_prefix: Any) -> Any:
        """The operation that writes a checkpoint.

        Shards go into a temporary directory beside it; merging them moves their files.
        """
        from kvarn.ops import checkpoint, string

        suffix = f"_temp_{uuid.uuid4().hex}/part"
        with ops.device("cpu:0"):
            temporary = string.string_join([file_prefix, suffix])
        num_shards = constant(len(self._single_device_savers), name="num_shards")
        saves: list[Any] = []
        prefixes: list[Any] = []
        last_device = ""
        for shard, (device, saver) in enumerate(self._single_device_savers.items()):
            last_device = set_cpu0(device)
            with ops.device(last_device):
                prefixes.append(sharded_filename(temporary, shard, num_shards))
            with ops.device(device):
                saves.append(saver.save(prefixes[-1]))
        with ops.control_dependencies(saves), ops.device(last_device):
            return checkpoint.merge_v2_checkpoints(prefixes, file_prefix, delete_old_dirs=True)

    def restore(self, file_prefix: Any) -> dict[str, Any]:
        """The operations that restore each saveable, by its name."""
        restore_ops: dict[str, Any] = {}
        for device, saver in self._single_device_savers.items():
            with ops.device(device):
                restore_ops.update(saver.restore(file_prefix))
        return restore_ops


def sharded_filename(filename_tensor: Any, shard: int, num_shards: Any) -> Any:
    """The name of one shard, a string tensor."""
    from kvarn.ops import checkpoint

    return checkpoint.sharded_filename(filename_tensor, shard, num_shards)
