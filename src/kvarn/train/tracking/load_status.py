"""What a restore gives back: what was matched, and the operations to run.

Source: `CheckpointLoadStatus`, `InitializationOnlyStatus`, `NameBasedSaverStatus` in
tensorflow/python/training/tracking/util.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import errors, tf_logging
from kvarn.graph.graph import device
from kvarn.graph.operation import Operation
from kvarn.ops.save_marks import touch_all_rows
from kvarn.saver.restore_check import RestoreCheck
from kvarn.train.tracking.data_structures import TrackableDataStructure
from kvarn.train.tracking.graph_view import ObjectGraphView
from kvarn.train.tracking.object_identity import ObjectIdentitySet
from kvarn.train.tracking.restore import CheckpointRestore, NameBasedRestore, node_names

_NOTHING_RESTORED = "No checkpoint specified (save_path=None); nothing is being restored."


def get_session() -> Any:
    """The default session.

    Raises:
      FailedPreconditionError: there is none.
    """
    from kvarn.graph.session import get_default_session

    session = get_default_session()
    if session is None:
        raise errors.FailedPreconditionError.of(
            "Object-based checkpoints are saved and restored in a session, and there is no default session.",
            hint="Call inside `with tf.Session() as sess:`, or pass session=.",
        )
    return session


class _LoadStatus:
    """What all statuses offer."""

    def __init__(self, graph_view: ObjectGraphView) -> None:
        self._graph_view = graph_view
        # The view may have a weak reference alone.
        self._root = graph_view.root

    def assert_consumed(self) -> Any:
        """AssertionError unless everything in the checkpoint has found its object, and every object its values."""
        raise NotImplementedError

    def assert_existing_objects_matched(self) -> Any:
        """AssertionError unless every object that is there has found its values."""
        raise NotImplementedError

    def assert_nontrivial_match(self) -> Any:
        """AssertionError if nothing but the root object was matched."""
        raise NotImplementedError

    def run_restore_ops(self, session: Any = None) -> None:
        """Restores in ``session``, by default the default session, what has been matched."""
        raise NotImplementedError

    def initialize_or_restore(self, session: Any = None) -> None:
        """Restores what has been matched, and initializes the other variables that can be reached."""
        raise NotImplementedError

    def expect_partial(self) -> Any:
        """Logs nothing about stored values that are not used."""
        return self

    def _initializers(self, restore_uid: int, restored: ObjectIdentitySet) -> list[Any]:
        """Those of objects that neither are restored nor will be by a later restore."""
        return [
            trackable.initializer
            for trackable in self._graph_view.list_objects()
            if getattr(trackable, "initializer", None) is not None
            and trackable not in restored
            and getattr(trackable, "_update_uid", restore_uid - 1) < restore_uid
        ]


class CheckpointLoadStatus(_LoadStatus):
    """Of an object-based checkpoint.

    Objects that come later are restored too: their operations join those that `run_restore_ops` runs.
    """

    def __init__(
        self, checkpoint: CheckpointRestore, feed_dict: dict[Any, Any], graph_view: ObjectGraphView
    ) -> None:
        super().__init__(graph_view)
        self._checkpoint = checkpoint
        self._feed_dict = feed_dict

    def assert_consumed(self) -> CheckpointLoadStatus:
        checkpoint = self._checkpoint
        names = node_names(checkpoint.object_graph_proto)
        self.assert_existing_objects_matched()
        for node_id, node in enumerate(checkpoint.object_graph_proto.nodes):
            if checkpoint.object_by_proto_id.get(node_id) is None:
                raise AssertionError(f"Unresolved object in checkpoint {names[node_id]}: {node}")
        if checkpoint.slot_restorations:
            raise AssertionError(f"Unresolved slot restorations: {checkpoint.slot_restorations}")
        if checkpoint.unused_attributes:
            unused = [
                f"{names[node_id]} ({checkpoint.object_by_proto_id[node_id]}): {attributes}"
                for node_id, attributes in checkpoint.unused_attributes.items()
            ]
            raise AssertionError(
                "Unused attributes in these objects (the attributes exist in the checkpoint but were not "
                "restored):\n" + "\n".join(unused)
            )
        return self

    def assert_existing_objects_matched(self) -> CheckpointLoadStatus:
        checkpoint = self._checkpoint
        for node_id, node in enumerate(checkpoint.object_graph_proto.nodes):
            trackable = checkpoint.object_by_proto_id.get(node_id)
            if trackable is not None and trackable._update_uid < checkpoint.restore_uid:
                raise AssertionError(f"Object not assigned a value from checkpoint: {node}")
        for trackable in self._graph_view.list_objects():
            if isinstance(trackable, TrackableDataStructure) and not trackable._checkpoint_dependencies:
                continue  # an empty list has no values to find
            checkpoint.all_python_objects.add(trackable)
        unmatched = self._unmatched()
        if unmatched:
            raise AssertionError(
                "Some Python objects were not bound to checkpointed values, likely due to changes in the Python "
                f"program: {unmatched}"
            )
        return self

    def assert_nontrivial_match(self) -> CheckpointLoadStatus:
        checkpoint = self._checkpoint
        for trackable in self._graph_view.list_objects():
            checkpoint.all_python_objects.add(trackable)
        if len(checkpoint.object_by_proto_id) > 1:
            return self
        unmatched = self._unmatched()
        if unmatched:
            raise AssertionError(
                "Nothing except the root object matched a checkpointed value. Typically this means that the "
                "checkpoint does not match the Python program. The following objects have no matching checkpointed "
                f"value: {unmatched}"
            )
        raise AssertionError(
            f"Nothing to load. No dependencies have been added to {self._graph_view.root} yet."
        )

    def _unmatched(self) -> list[Any]:
        bound = ObjectIdentitySet(self._checkpoint.object_by_proto_id.values())
        return [trackable for trackable in self._checkpoint.all_python_objects if trackable not in bound]

    def run_restore_ops(self, session: Any = None) -> None:
        """Restores in ``session``, by default the default session, what has been matched.

        All shapes and, of several shards, all bytes are looked at before the first variable changes.

        Raises:
          InvalidArgumentError: a value has another shape or type than its variable.
          DataLossError: the files are damaged.
        """
        self._run(self._checkpoint.restore_ops, session or get_session())

    def _run(self, restore_ops: list[Any], session: Any) -> None:
        if not restore_ops:
            return
        check = RestoreCheck(*(made if isinstance(made, Operation) else made.op for made in restore_ops))
        with check.checked(self._checkpoint.save_path_string):
            session.run(restore_ops, feed_dict=self._feed_dict)
        touch_all_rows(_state_of(session))

    def initialize_or_restore(self, session: Any = None) -> None:
        session = session or get_session()
        checkpoint = self._checkpoint
        restored = ObjectIdentitySet(checkpoint.object_by_proto_id.values())
        initializers = self._initializers(checkpoint.restore_uid, restored)
        self.run_restore_ops(session=session)
        session.run(initializers)

    def expect_partial(self) -> CheckpointLoadStatus:
        self._checkpoint.expect_partial = True
        return self

    def stream(self, session: Any) -> None:
        """Restores in ``session`` what has been matched, and each object to come when it comes."""
        self.run_restore_ops(session=session)
        self._checkpoint.new_restore_ops_callback = lambda restore_ops: self._run(restore_ops, session)


class InitializationOnlyStatus(_LoadStatus):
    """Of a restore without a checkpoint: it can initialize."""

    def __init__(self, graph_view: ObjectGraphView, restore_uid: int) -> None:
        super().__init__(graph_view)
        self._restore_uid = restore_uid

    def assert_consumed(self) -> Any:
        """AssertionError, always."""
        raise AssertionError(_NOTHING_RESTORED)

    def assert_existing_objects_matched(self) -> Any:
        """AssertionError, always."""
        raise AssertionError(_NOTHING_RESTORED)

    def assert_nontrivial_match(self) -> Any:
        """AssertionError, always."""
        raise AssertionError(_NOTHING_RESTORED)

    def run_restore_ops(self, session: Any = None) -> None:
        """AssertionError, always."""
        raise AssertionError(
            "No checkpoint specified, so no restore ops are available (save_path=None to Saver.restore)."
        )

    def initialize_or_restore(self, session: Any = None) -> None:
        session = session or get_session()
        session.run(self._initializers(self._restore_uid, ObjectIdentitySet()))


class NameBasedSaverStatus(_LoadStatus):
    """Of a checkpoint that a Saver has written: variables are found by their names in the graph."""

    def __init__(self, checkpoint: NameBasedRestore, graph_view: ObjectGraphView) -> None:
        super().__init__(graph_view)
        self._checkpoint = checkpoint
        tf_logging.warning(
            "Restoring a name-based tf.train.Saver checkpoint using the object-based restore API. This mode uses "
            "global names to match variables, and so is somewhat fragile. It also adds new restore ops to the "
            "graph each time it is called when graph building. Prefer re-encoding training checkpoints in the "
            "object-based format: run save() on the object-based saver (the same one this message is coming from) "
            "and use that checkpoint in the future."
        )

    def assert_consumed(self) -> NameBasedSaverStatus:
        unused = list(self._checkpoint.unused_attributes.items())
        if unused:
            raise AssertionError(
                "Some objects had attributes which were not restored:"
                + "".join(f"\n    {trackable}: {attributes}" for trackable, attributes in unused)
            )
        for trackable in self._graph_view.list_objects():
            trackable._maybe_initialize_trackable()
            if trackable._update_uid < self._checkpoint.restore_uid:
                raise AssertionError(f"Object not restored: {trackable}")
        return self

    def assert_existing_objects_matched(self) -> NameBasedSaverStatus:
        return self.assert_consumed()

    def assert_nontrivial_match(self) -> NameBasedSaverStatus:
        return self.assert_consumed()

    def _gather_saveable_objects(self) -> list[Any]:
        saveables: list[Any] = []
        for trackable in self._graph_view.list_objects():
            trackable._maybe_initialize_trackable()
            if trackable._update_uid < self._checkpoint.restore_uid:
                trackable._update_uid = self._checkpoint.restore_uid
                saveables.extend(self._checkpoint.globally_named_object_attributes(trackable))
        return saveables

    def run_restore_ops(self, session: Any = None) -> None:
        """Restores all objects by a new Saver; raises as `Saver.restore`."""
        from kvarn.saver.saver import Saver

        session = session or get_session()
        with device("/cpu:0"):
            saveables = self._gather_saveable_objects()
            Saver(saveables).restore(sess=session, save_path=self._checkpoint.save_path)

    def initialize_or_restore(self, session: Any = None) -> None:
        """`run_restore_ops`."""
        self.run_restore_ops(session=session)


def streaming_restore(status: Any, session: Any = None) -> None:
    """Restores what a status has matched, and from now on each object when it is matched.

    Raises:
      NotImplementedError: the checkpoint is a Saver's.
    """
    if isinstance(status, NameBasedSaverStatus):
        raise NotImplementedError(
            "Streaming restore not supported from name-based checkpoints when graph building. File a feature "
            "request if this limitation bothers you. As a workaround, consider either using tf.train.Checkpoint to "
            "load name-based checkpoints or enabling eager execution."
        )
    status.stream(session or get_session())


def _state_of(session: Any) -> Any:
    """The variables of a session, also of one with hooks around it."""
    return (session._tf_sess() if hasattr(session, "_tf_sess") else session).resources
