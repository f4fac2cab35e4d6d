"""One restore of an object-based checkpoint: which object stands for which node, and the operations made.

Source: `_CheckpointRestoreCoordinator` and `_NameBasedRestoreCoordinator` in
tensorflow/python/training/tracking/util.py (1.15).
"""

from __future__ import annotations

import collections
import itertools
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kvarn import tf_logging
from kvarn.saver.functional_saver import MultiDeviceSaver
from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveable_object_util import (
    op_list_to_dict,
    saveable_objects_for_op,
    validate_and_slice_inputs,
)
from kvarn.saver.saveables.python_state import PythonStateSaveable
from kvarn.train.tracking.graph_view import ObjectGraphView
from kvarn.train.tracking.object_identity import ObjectIdentityWeakKeyDictionary, ObjectIdentityWeakSet
from kvarn.variables.checkpoint_position import CheckpointPosition, DeferredSlotRestoration, SlotRestoration

# Restores are numbered in the order in which they are asked for; an object takes the last that has it.
_uids = itertools.count(1)


def next_restore_uid() -> int:
    """The number of a new restore."""
    return next(_uids)


def node_names(object_graph_proto: Any) -> dict[int, str]:
    """What to call each node of an object graph: ``(root).optimizer.beta1_power``."""
    paths: dict[int, tuple[str, ...]] = {0: ("(root)",)}
    to_visit = collections.deque([0])
    while to_visit:
        node_id = to_visit.popleft()
        for child in object_graph_proto.nodes[node_id].children:
            if child.node_id not in paths:
                paths[child.node_id] = (*paths[node_id], child.local_name)
                to_visit.append(child.node_id)
    names = {node_id: ".".join(path) for node_id, path in paths.items()}
    for node_id, node in enumerate(object_graph_proto.nodes):
        for slot in node.slot_variables:
            names[slot.slot_variable_node_id] = (
                f"{names[node_id]}'s state '{slot.slot_name}' for {names[slot.original_variable_node_id]}"
            )
    return names


class _UnusedValuesWarning:
    """Says what a restore has left unused when nothing refers to it any more."""

    def __init__(self, restore: CheckpointRestore) -> None:
        self.expect_partial = False
        # Not the restore itself: it must be free to go.
        self._graph = restore.object_graph_proto
        self._matched = restore.matched_proto_ids
        self._unused_attributes = restore.unused_attributes

    def __del__(self) -> None:
        if self.expect_partial:
            return
        unmatched = [i for i in range(len(self._graph.nodes)) if i not in self._matched]
        if not unmatched and not self._unused_attributes:
            return
        names = node_names(self._graph)
        for node_id in unmatched:
            tf_logging.warning("Unresolved object in checkpoint: %s", names[node_id])
        for node_id, attributes in self._unused_attributes.items():
            tf_logging.warning("Unused attribute in object %s: %s", names[node_id], attributes)
        tf_logging.warning(
            "A checkpoint was restored (e.g. tf.train.Checkpoint.restore or tf.keras.Model.load_weights) but not "
            "all checkpointed values were used. See above for specific issues. Use expect_partial() on the load "
            "status object, e.g. tf.train.Checkpoint.restore(...).expect_partial(), to silence these warnings, or "
            "use assert_consumed() to make the check explicit. See "
            "https://www.tensorflow.org/alpha/guide/checkpoints#loading_mechanics for details."
        )


class CheckpointRestore:
    """A restore of an object-based checkpoint, as far as its objects are there.

    Args:
      object_graph_proto: the checkpoint's TrackableObjectGraph.
      save_path: its prefix.
      save_path_tensor: the tensor that the prefix is fed to.
      restore_op_cache: operations by checkpoint key, made by earlier restores of the same objects.
      graph_view: of the objects.

    Attributes:
      restore_uid: its number.
      object_by_proto_id: the objects bound to nodes, as long as they live.
      restore_ops: the operations that restore them.
      unused_attributes: of nodes, what is stored and has no place in their objects.
    """

    def __init__(
        self,
        object_graph_proto: Any,
        save_path: str,
        save_path_tensor: Any,
        restore_op_cache: dict[str, Any],
        graph_view: ObjectGraphView,
    ) -> None:
        from kvarn import checkpoint

        self.object_graph_proto = object_graph_proto
        self.restore_uid = next_restore_uid()
        self.unused_attributes: dict[int, list[str]] = {}
        self.object_by_proto_id: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.matched_proto_ids: set[int] = set()
        self.all_python_objects = ObjectIdentityWeakSet()
        self.save_path_tensor = save_path_tensor
        self.save_path_string = save_path
        self.dtype_map = checkpoint.NewCheckpointReader(save_path).get_variable_to_dtype_map()
        self.restore_ops: list[Any] = []
        self.restore_ops_by_name = restore_op_cache
        self.graph_view = graph_view
        self.new_restore_ops_callback: Callable[[list[Any]], Any] | None = None
        self.deferred_slot_restorations: dict[int, list[DeferredSlotRestoration]] = {}
        self.slot_restorations: dict[int, list[SlotRestoration]] = {}
        for node_id, node in enumerate(object_graph_proto.nodes):
            for slot in node.slot_variables:
                self.slot_restorations.setdefault(slot.original_variable_node_id, []).append(
                    SlotRestoration(node_id, slot.slot_variable_node_id, slot.slot_name)
                )
        self._warning = _UnusedValuesWarning(self)

    @property
    def expect_partial(self) -> bool:
        """Whether values that are not used are expected, and no reason to warn."""
        return self._warning.expect_partial

    @expect_partial.setter
    def expect_partial(self, expect_partial: bool) -> None:
        self._warning.expect_partial = expect_partial

    def new_restore_ops(self, new_ops: list[Any]) -> None:
        """Adds operations, and runs them at once in a streaming restore."""
        self.restore_ops.extend(new_ops)
        if self.new_restore_ops_callback is not None:
            self.new_restore_ops_callback(new_ops)

    def gather(self, position: CheckpointPosition) -> tuple[list[Any], dict[str, Any], list[Any]]:
        """See `CheckpointPosition.gather_ops_or_named_saveables`."""
        trackable = position.trackable
        factories = trackable._gather_saveables_for_checkpoint()
        found: list[Any] = []
        named: dict[str, Any] = {}
        python_saveables: list[Any] = []
        for stored in position.object_proto.attributes:
            key = stored.checkpoint_key
            if key in self.restore_ops_by_name:
                found.append(self.restore_ops_by_name[key])
                continue
            saveable = self._cached_saveable(trackable, stored.name, key)
            if saveable is None:
                if stored.name not in factories:
                    if not stored.optional_restore:
                        self.unused_attributes.setdefault(position.proto_id, []).append(stored.name)
                    continue
                factory = factories[stored.name]
                saveable = factory(name=key) if callable(factory) else factory
                cache = self.graph_view.saveables_cache
                if cache is not None and isinstance(saveable, SaveableObject):
                    cache.setdefault(trackable, {})[stored.name] = [saveable]
            if isinstance(saveable, PythonStateSaveable):
                python_saveables.append(saveable)
            else:
                named[key] = saveable
        return found, named, python_saveables

    def _cached_saveable(self, trackable: Any, attribute: str, key: str) -> Any:
        """The saveable made before, if there is just one and it bears the key."""
        cache = self.graph_view.saveables_cache
        made: Sequence[Any] = () if cache is None else cache.get(trackable, {}).get(attribute, ())
        return made[0] if len(made) == 1 and key in made[0].name else None

    def restore_saveables(self, tensor_saveables: dict[str, Any], python_saveables: list[Any]) -> list[Any]:
        """Restores what lives in Python, and makes the operations that restore the rest.

        Args:
          tensor_saveables: saveables and variables by checkpoint key.
          python_saveables: saveables of Python state.
        """
        from kvarn import checkpoint

        if python_saveables:
            reader = checkpoint.NewCheckpointReader(self.save_path_string)
            for saveable in python_saveables:
                saveable.python_restore([reader.get_tensor(spec.name) for spec in saveable.specs])
        if not tensor_saveables:
            return []
        saveables = validate_and_slice_inputs(tensor_saveables)
        names = {saveable.name for saveable in saveables}
        if set(tensor_saveables) != names:
            raise AssertionError(
                f"Saveable keys changed when validating. Got back {tensor_saveables.keys()}, was expecting {names}"
            )
        made = MultiDeviceSaver(saveables).restore(self.save_path_tensor)
        self.restore_ops_by_name.update(made)
        return [made[name] for name in sorted(made)]


class NameBasedRestore:
    """A restore of a checkpoint of a Saver into objects, by the names of their variables.

    Args:
      save_path: its prefix.

    Attributes:
      restore_uid: its number.
      unused_attributes: of objects, the attributes that have no name in such a checkpoint.
    """

    def __init__(self, save_path: str) -> None:
        self.save_path = save_path
        self.unused_attributes = ObjectIdentityWeakKeyDictionary()
        self.restore_uid = next_restore_uid()

    def globally_named_object_attributes(self, trackable: Any) -> Iterator[SaveableObject]:
        """The saveables of an object's attributes that have a name in the whole graph."""
        for attribute, factory in trackable._gather_saveables_for_checkpoint().items():
            saveable = factory
            if callable(factory):
                try:
                    saveable = factory()
                except TypeError:
                    # It needs to be told a name: there is none in such a checkpoint.
                    if not factory("").optional_restore:
                        self.unused_attributes.setdefault(trackable, []).append(attribute)
                    continue
            for name, op in op_list_to_dict([saveable], convert_variable_to_tensor=False).items():
                yield from saveable_objects_for_op(op, name)
