"""The objects that a checkpoint has: found by following names from the root, each under the shortest path to it.

A value's key is ``<path>/.ATTRIBUTES/<attribute>``, that of a slot
``<path to variable>/.OPTIMIZER_SLOT/<path to optimizer>/<slot>/.ATTRIBUTES/<attribute>``.

Source: tensorflow/python/training/tracking/graph_view.py (1.15).
"""

from __future__ import annotations

import collections
import weakref
from collections.abc import Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import constant
from kvarn.graph.graph import device
from kvarn.saver.object_graph import OBJECT_GRAPH_PROTO_KEY
from kvarn.saver.saveable_object import SaveableObject
from kvarn.saver.saveable_object_util import op_list_to_dict, saveable_objects_for_op
from kvarn.saver.saveables.python_state import NoRestoreSaveable, PythonStateSaveable
from kvarn.train.tracking.auto_trackable import NotTrackable
from kvarn.train.tracking.object_identity import (
    ObjectIdentityDictionary,
    ObjectIdentityWeakKeyDictionary,
)
from kvarn.variables.trackable import TrackableReference, refused_in_object_graph

_OPTIMIZER_SLOTS_NAME = ".OPTIMIZER_SLOT"
_OBJECT_ATTRIBUTES_NAME = ".ATTRIBUTES"

_Path = tuple[TrackableReference, ...]


def _escape_local_name(name: str) -> str:
    """A name as a part of a path: a dot begins what is no name of the program's."""
    return name.replace(".", "..").replace("/", ".S")


def _object_prefix_from_path(path_to_root: _Path) -> str:
    return "/".join(_escape_local_name(step.name) for step in path_to_root)


class ObjectGraphView:
    """What can be reached from ``root``.

    Args:
      root: a `Trackable`, or a weak reference to one.
      saveables_cache: from objects and attributes to saveables made before, so that a graph gets their operations
        once; what is fed then is fresh at every save.  None freezes the state of Python objects.
    """

    def __init__(self, root: Any, saveables_cache: ObjectIdentityWeakKeyDictionary | None = None) -> None:
        self._root_ref = root
        self._saveables_cache = saveables_cache

    @property
    def saveables_cache(self) -> ObjectIdentityWeakKeyDictionary | None:
        return self._saveables_cache

    @property
    def root(self) -> Any:
        if isinstance(self._root_ref, weakref.ref):
            root = self._root_ref()
            assert root is not None
            return root
        return self._root_ref

    def list_dependencies(self, obj: Any) -> list[TrackableReference]:
        """What ``obj`` depends on."""
        obj._maybe_initialize_trackable()
        found: list[TrackableReference] = obj._checkpoint_dependencies
        return found

    def list_objects(self) -> list[Any]:
        """All objects, those found with the fewest steps first, and the slots of their variables."""
        return self.objects_ids_and_slot_variables()[0]

    def objects_ids_and_slot_variables(
        self,
    ) -> tuple[list[Any], ObjectIdentityDictionary, ObjectIdentityDictionary]:
        """The objects; their numbers; of each optimizer the slots' entries in the object graph."""
        objects, paths = self._breadth_first_traversal()
        node_ids, _, slots = _numbered(objects, paths)
        return objects, node_ids, slots

    def serialize_object_graph(self) -> tuple[list[SaveableObject], Any, dict[Any, Any]]:
        """What to save.

        Returns:
          The saveables; the TrackableObjectGraph; what to feed when they are saved.

        Raises:
          NotImplementedError: an object says that it can not be saved, or a slot is a dependency too.
          UnimplementedError: there is an embedding variable.
        """
        return self._serialize_gathered_objects()

    def frozen_saveable_objects(
        self, object_map: ObjectIdentityDictionary | None = None, to_graph: Any = None
    ) -> list[SaveableObject]:
        """The saveables with the object graph of now among them.

        Args:
          object_map: from objects to others that are saved in their place.
          to_graph: the graph that gets the operations; the default graph by default.
        """
        from kvarn.graph.graph import get_default_graph

        with (to_graph or get_default_graph()).as_default():
            saveables, graph_proto, _ = self._serialize_gathered_objects(object_map)
            with device("/cpu:0"):
                tensor = constant(graph_proto.SerializeToString(), dtype=dtypes.string)
            return [*saveables, NoRestoreSaveable(tensor, OBJECT_GRAPH_PROTO_KEY)]

    def _breadth_first_traversal(self) -> tuple[list[Any], ObjectIdentityDictionary]:
        found: list[Any] = []
        paths = ObjectIdentityDictionary()
        paths[self.root] = ()
        to_visit = collections.deque([self.root])
        while to_visit:
            current = to_visit.popleft()
            if isinstance(current, NotTrackable):
                raise NotImplementedError(
                    f"The object {current} does not support object-based saving. File a feature request if this "
                    "limitation bothers you. In the meantime, you can remove the dependency on this object and "
                    "save everything else."
                )
            found.append(current)
            for name, dependency in self.list_dependencies(current):
                if dependency not in paths:
                    paths[dependency] = (*paths[current], TrackableReference(name, dependency))
                    to_visit.append(dependency)
        return found, paths

    def _serialize_gathered_objects(
        self, object_map: ObjectIdentityDictionary | None = None
    ) -> tuple[list[SaveableObject], Any, dict[Any, Any]]:
        from kvarn import protos

        objects, paths = self._breadth_first_traversal()
        node_ids, names, slots = _numbered(objects, paths)
        graph_proto = protos.message("tensorflow.TrackableObjectGraph")()
        for trackable in objects:
            node = graph_proto.nodes.add()
            node.slot_variables.extend(slots.get(trackable, ()))
            for child in self.list_dependencies(trackable):
                node.children.add(node_id=node_ids[child.ref], local_name=child.name)
        saveables: list[SaveableObject] = []
        feeds: dict[Any, Any] = {}
        for trackable, node in zip(objects, graph_proto.nodes, strict=True):
            saved = trackable if object_map is None else object_map.get(trackable, trackable)
            for attribute, factory in saved._gather_saveables_for_checkpoint().items():
                key = f"{names[trackable]}/{_OBJECT_ATTRIBUTES_NAME}/{_escape_local_name(attribute)}"
                made = self._saveables_of(saved, attribute, factory, key)
                entry = node.attributes.add(
                    name=attribute,
                    checkpoint_key=key,
                    optional_restore=bool(made) and all(s.optional_restore for s in made),
                )
                for saveable in made:
                    entry.full_name = getattr(saveable, "full_name", entry.full_name)
                    saveables.append(self._to_save(trackable, saveable, feeds))
        return saveables, graph_proto, feeds

    def _to_save(self, trackable: Any, saveable: SaveableObject, feeds: dict[Any, Any]) -> SaveableObject:
        """``saveable`` with its feeds put among those of all, or its state of now."""
        if not isinstance(saveable, PythonStateSaveable):
            return saveable
        if self._saveables_cache is None:
            return saveable.freeze()
        for tensor, value in saveable.feed_dict_additions().items():
            if tensor in feeds:
                raise AssertionError(
                    f"The object {trackable} tried to feed a value for the Tensor {tensor} when saving, but another "
                    "object is already feeding a value."
                )
            feeds[tensor] = value
        return saveable

    def _saveables_of(self, saved: Any, attribute: str, factory: Any, key: str) -> Sequence[SaveableObject]:
        """The saveables of one attribute of an object, those made before if they still bear the key."""
        cache = None if self._saveables_cache is None else self._saveables_cache.setdefault(saved, {})
        if cache is not None and attribute in cache and all(key in s.name for s in cache[attribute]):
            known: Sequence[SaveableObject] = cache[attribute]
            return known
        made = _make_saveables(factory, key)
        for saveable in made:
            if key not in saveable.name:
                raise AssertionError(
                    f"The object {saved} produced a SaveableObject with name '{attribute}' for attribute "
                    f"'{saveable.name}'. Expected a name containing '{key}'."
                )
        if cache is not None:
            cache[attribute] = made
        return made


def _make_saveables(factory: Any, key: str) -> Sequence[SaveableObject]:
    made = factory(name=key) if callable(factory) else factory
    if isinstance(made, SaveableObject):
        return (made,)
    # The name under which Savers, which know variables by name, find it.
    (full_name,) = op_list_to_dict([made], convert_variable_to_tensor=False)
    saveables = tuple(saveable_objects_for_op(made, key))
    for saveable in saveables:
        if saveable.restores_from_prefix:
            raise refused_in_object_graph(full_name)
        if full_name != key:
            saveable.full_name = full_name  # type: ignore[attr-defined]
    return saveables


def _numbered(
    objects: list[Any], paths: ObjectIdentityDictionary
) -> tuple[ObjectIdentityDictionary, ObjectIdentityDictionary, ObjectIdentityDictionary]:
    """Numbers and names of the objects and of their slots, which join ``objects``; the slots' entries."""
    names, node_ids = ObjectIdentityDictionary(), ObjectIdentityDictionary()
    for trackable, path in paths.items():
        names[trackable] = _object_prefix_from_path(path)
    for node_id, trackable in enumerate(objects):
        node_ids[trackable] = node_id
    return node_ids, names, _serialize_slot_variables(objects, node_ids, names)


def _serialize_slot_variables(
    objects: list[Any], node_ids: ObjectIdentityDictionary, names: ObjectIdentityDictionary
) -> ObjectIdentityDictionary:
    from kvarn import protos

    reference = protos.message("tensorflow.TrackableObjectGraph.TrackableObject.SlotVariableReference")
    entries = ObjectIdentityDictionary()
    without_slots = list(objects)
    for optimizer in without_slots:
        if not hasattr(optimizer, "_create_or_restore_slot_variable"):
            continue
        for slot_name in optimizer.get_slot_names():
            for variable_id, variable in enumerate(without_slots):
                slot = _slot_of(optimizer, variable, slot_name)
                if slot is None:
                    continue
                slot._maybe_initialize_trackable()
                if slot._checkpoint_dependencies:
                    raise NotImplementedError(
                        "Currently only variables with no dependencies can be saved as slot variables. File a "
                        "feature request if this limitation bothers you."
                    )
                if slot in node_ids:
                    raise NotImplementedError(
                        "A slot variable was re-used as a dependency of a Trackable object. This is not currently "
                        "allowed. File a feature request if this limitation bothers you."
                    )
                names[slot] = (
                    f"{names[variable]}/{_OPTIMIZER_SLOTS_NAME}/{names[optimizer]}/"
                    f"{_escape_local_name(slot_name)}"
                )
                node_ids[slot] = len(objects)
                objects.append(slot)
                entries.setdefault(optimizer, []).append(
                    reference(
                        slot_name=slot_name,
                        original_variable_node_id=variable_id,
                        slot_variable_node_id=node_ids[slot],
                    )
                )
    return entries


def _slot_of(optimizer: Any, variable: Any, slot_name: str) -> Any:
    try:
        return optimizer.get_slot(variable, slot_name)
    except (AttributeError, KeyError):
        return None  # not an object that has slots
