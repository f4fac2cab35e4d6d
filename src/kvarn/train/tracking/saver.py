"""Saving and restoring what can be reached from one object.

Source: `TrackableSaver` in tensorflow/python/training/tracking/util.py (1.15).
"""

from __future__ import annotations

import os
import weakref
from typing import Any

from kvarn import dtypes, errors
from kvarn.graph.convert import constant
from kvarn.graph.graph import control_dependencies, device
from kvarn.saver.functional_saver import MultiDeviceSaver
from kvarn.saver.object_graph import OBJECT_GRAPH_PROTO_KEY, read_object_graph
from kvarn.saver.saveables.python_state import NoRestoreSaveable
from kvarn.train.tracking.graph_view import ObjectGraphView
from kvarn.train.tracking.load_status import (
    CheckpointLoadStatus,
    InitializationOnlyStatus,
    NameBasedSaverStatus,
    get_session,
)
from kvarn.train.tracking.object_identity import ObjectIdentityWeakKeyDictionary
from kvarn.train.tracking.restore import CheckpointRestore, NameBasedRestore, next_restore_uid
from kvarn.variables.checkpoint_position import CheckpointPosition


class TrackableSaver:
    """Saves and restores the objects of a view.

    The operations are made at the first save and used as long as the object graph stays as it is.

    Args:
      graph_view: the view.
    """

    def __init__(self, graph_view: ObjectGraphView) -> None:
        self._graph_view = graph_view
        self._file_prefix_placeholder: Any = None
        self._object_graph_feed_tensor: Any = None
        self._file_prefix_feed_tensor: Any = None
        self._last_save_object_graph: Any = None
        self._cached_save_operation: Any = None
        self._restore_op_cache: dict[str, Any] = {}

    def save(self, file_prefix: Any, checkpoint_number: int | None = None, session: Any = None) -> Any:
        """Writes a checkpoint, and its directory if it is not there.

        Args:
          file_prefix: its prefix.
          checkpoint_number: appended to the prefix, if it is not 0.
          session: the Session, the default session by default.

        Returns:
          The prefix, bytes.

        Raises:
          FailedPreconditionError: there is no session, or a variable has no value yet.
          NotImplementedError, UnimplementedError, ValueError: an object can not be saved.
        """
        from kvarn.io import file_system_of
        from kvarn.saver.saver import _remove_shards

        prefix = os.fsdecode(file_prefix)
        if checkpoint_number:
            prefix = f"{prefix}-{checkpoint_number}"
        if self._object_graph_feed_tensor is None:
            with device("/cpu:0"):
                self._object_graph_feed_tensor = constant("", dtype=dtypes.string)
                self._file_prefix_feed_tensor = constant("", dtype=dtypes.string)
        saved, feeds = self._save_operation(self._file_prefix_feed_tensor, self._object_graph_feed_tensor)
        session = session or get_session()
        parent = os.path.dirname(prefix)
        if parent:
            file_system_of(prefix).make_directories(parent)
        try:
            return session.run(saved, feed_dict={self._file_prefix_feed_tensor: prefix, **feeds})
        except BaseException:
            _remove_shards(prefix)
            raise

    def _save_operation(self, file_prefix: Any, object_graph_tensor: Any) -> tuple[Any, dict[Any, Any]]:
        """The tensor that is the prefix when all is saved, and what else to feed."""
        from kvarn.ops import array

        saveables, graph_proto, feeds = self._graph_view.serialize_object_graph()
        feeds[object_graph_tensor] = graph_proto.SerializeToString()
        saveables.append(NoRestoreSaveable(object_graph_tensor, OBJECT_GRAPH_PROTO_KEY))
        if self._last_save_object_graph != graph_proto:
            save_op = MultiDeviceSaver(saveables).save(file_prefix)
            with device("/cpu:0"), control_dependencies([save_op]):
                self._cached_save_operation = array.identity(file_prefix)
            self._last_save_object_graph = graph_proto
        return self._cached_save_operation, feeds

    def restore(self, save_path: Any) -> Any:
        """Matches the objects with those of a checkpoint; the status that it returns restores them.

        Objects that are not there yet are matched when they come.

        Args:
          save_path: a prefix that `save` or a Saver has written; None restores nothing.

        Raises:
          NotFoundError: there is no checkpoint.
          DataLossError: it is damaged.
        """
        if save_path is None:
            return InitializationOnlyStatus(self._graph_view, next_restore_uid())
        prefix = os.fsdecode(save_path)
        try:
            object_graph_proto = read_object_graph(prefix)
        except errors.NotFoundError:
            from kvarn import checkpoint

            if not checkpoint.checkpoint_exists(prefix):
                raise
            return NameBasedSaverStatus(NameBasedRestore(prefix), self._graph_view)
        if self._file_prefix_placeholder is None:
            with device("/cpu:0"):
                self._file_prefix_placeholder = constant("model")
        restore = CheckpointRestore(
            object_graph_proto=object_graph_proto,
            save_path=prefix,
            save_path_tensor=self._file_prefix_placeholder,
            restore_op_cache=self._restore_op_cache,
            graph_view=self._graph_view,
        )
        CheckpointPosition(restore, 0).restore(self._graph_view.root)
        return CheckpointLoadStatus(restore, {self._file_prefix_placeholder: prefix}, self._graph_view)


def saver_with_op_caching(obj: Any) -> TrackableSaver:
    """A `TrackableSaver` of ``obj`` that makes each operation once, and does not keep ``obj`` alive."""
    return TrackableSaver(
        ObjectGraphView(weakref.ref(obj), saveables_cache=ObjectIdentityWeakKeyDictionary())
    )


def frozen_saver(root_trackable: Any) -> MultiDeviceSaver:
    """A saver of what can be reached now: the object graph and the state of Python objects are those of now."""
    return MultiDeviceSaver(ObjectGraphView(root_trackable).frozen_saveable_objects())
