"""Where in the object graph of a checkpoint an object stands, and what is to be restored into it there.

What is read and how it is assigned is the restore's business (`kvarn.train.tracking.restore`), which a position
knows as its ``checkpoint``.

Source: `CheckpointPosition` in tensorflow/python/training/tracking/base.py (1.15).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kvarn import tf_logging
from kvarn.graph.graph import device, init_scope

# The attribute under which a variable has its value.
VARIABLE_VALUE_KEY = "VARIABLE_VALUE"


class SlotRestoration(NamedTuple):
    """A slot that waits for its variable: nodes of the optimizer and of the slot, and the slot's name."""

    optimizer_id: int
    slot_variable_id: int
    slot_name: str


class DeferredSlotRestoration(NamedTuple):
    """A slot that waits for its optimizer: the variable, the node of the slot, and its name."""

    original_variable: Any
    slot_variable_id: int
    slot_name: str


class CheckpointPosition:
    """A node of a checkpoint's object graph, in one restore.

    Args:
      checkpoint: the restore.
      proto_id: index of the node in ``TrackableObjectGraph.nodes``.
    """

    def __init__(self, checkpoint: Any, proto_id: int) -> None:
        self._checkpoint = checkpoint
        self._proto_id = proto_id

    @property
    def checkpoint(self) -> Any:
        return self._checkpoint

    @property
    def proto_id(self) -> int:
        return self._proto_id

    @property
    def trackable(self) -> Any:
        """The object that is bound to the node."""
        return self._checkpoint.object_by_proto_id[self._proto_id]

    @property
    def object_proto(self) -> Any:
        return self._checkpoint.object_graph_proto.nodes[self._proto_id]

    @property
    def restore_uid(self) -> int:
        """The number of the restore; later ones have higher numbers."""
        uid: int = self._checkpoint.restore_uid
        return uid

    def restore(self, trackable: Any) -> None:
        """Binds an object to the node and makes the operations that restore it and what it depends on."""
        with init_scope():
            if self.bind_object(trackable):
                restore_ops = trackable._restore_from_checkpoint_position(self)
                if restore_ops:
                    self._checkpoint.new_restore_ops(restore_ops)

    def bind_object(self, trackable: Any) -> bool:
        """Notes that an object is what the node stands for, and restores the slots that have waited for it.

        Returns:
          Whether that is news.  An object that is bound already stays; if it is another, that is logged.
        """
        checkpoint = self._checkpoint
        checkpoint.all_python_objects.add(trackable)
        checkpoint.matched_proto_ids.add(self._proto_id)
        bound = checkpoint.object_by_proto_id.get(self._proto_id)
        if bound is not None:
            if bound is not trackable:
                tf_logging.warning(
                    "Inconsistent references when loading the checkpoint into this object graph. Either the "
                    "Trackable object references in the Python program have changed in an incompatible way, or "
                    "the checkpoint was generated in an incompatible program.\n\nTwo checkpoint references "
                    "resolved to different objects (%s and %s).",
                    bound,
                    trackable,
                )
            return False
        checkpoint.object_by_proto_id[self._proto_id] = trackable
        for deferred in checkpoint.deferred_slot_restorations.pop(self._proto_id, ()):
            self._restore_slot(trackable, deferred.original_variable, deferred)
        for slot in checkpoint.slot_restorations.pop(self._proto_id, ()):
            optimizer = checkpoint.object_by_proto_id.get(slot.optimizer_id)
            if optimizer is None:
                checkpoint.deferred_slot_restorations.setdefault(slot.optimizer_id, []).append(
                    DeferredSlotRestoration(trackable, slot.slot_variable_id, slot.slot_name)
                )
            else:
                self._restore_slot(optimizer, trackable, slot)
        return True

    def _restore_slot(
        self, optimizer: Any, variable: Any, slot: SlotRestoration | DeferredSlotRestoration
    ) -> None:
        optimizer._create_or_restore_slot_variable(
            slot_variable_position=CheckpointPosition(self._checkpoint, slot.slot_variable_id),
            variable=variable,
            slot_name=slot.slot_name,
        )

    def is_simple_variable(self) -> bool:
        """Whether a single tensor restores the object, so that it can be an initial value."""
        attributes = self.object_proto.attributes
        return (
            len(attributes) == 1
            and attributes[0].name == VARIABLE_VALUE_KEY
            and not self.object_proto.children
        )

    def value_tensors(self) -> dict[str, Any]:
        """Tensors of what is stored for the node, by attribute, read on the CPU."""
        from kvarn.ops import array, checkpoint

        tensors = {}
        for stored in self.object_proto.attributes:
            dtype = self._checkpoint.dtype_map[stored.checkpoint_key].base_dtype
            with init_scope(), device("/cpu:0"):
                (value,) = checkpoint.restore_v2(
                    self._checkpoint.save_path_tensor,
                    [stored.checkpoint_key],
                    [""],
                    [dtype],
                    name=f"{stored.name}_checkpoint_read",
                )
            tensors[stored.name] = array.identity(value)
        return tensors

    def restore_ops(self) -> list[Any]:
        """The operations that restore the attributes of the bound object, made or found."""
        found, named_saveables, python_saveables = self.gather_ops_or_named_saveables()
        return [*found, *self._checkpoint.restore_saveables(named_saveables, python_saveables)]

    def gather_ops_or_named_saveables(self) -> tuple[list[Any], dict[str, Any], list[Any]]:
        """What restores the attributes of the bound object.

        Returns:
          Operations that are there already; saveables by checkpoint key; saveables of Python state.
        """
        found: tuple[list[Any], dict[str, Any], list[Any]] = self._checkpoint.gather(self)
        return found

    def __repr__(self) -> str:
        return repr(self.object_proto)


class CheckpointInitialValue:
    """The initial value of a variable that comes from a checkpoint.

    A variable that takes it counts as restored, so that it is not assigned the value once more.

    Args:
      checkpoint_position: of the variable.
      shape: its static shape, when known.
    """

    def __init__(self, checkpoint_position: CheckpointPosition, shape: Any = None) -> None:
        self.wrapped_value = checkpoint_position.value_tensors()[VARIABLE_VALUE_KEY]
        if shape:
            self.wrapped_value.set_shape(shape)
        self.checkpoint_position = checkpoint_position

    def __getattr__(self, attr: str) -> Any:
        return getattr(self.wrapped_value, attr)
