"""Scaffold: the operations that a training needs beside its model.

Source: `Scaffold` of tensorflow/python/training/monitored_session.py, 1.15 and DeepRec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn import tf_logging
from kvarn.graph.graph import GraphKeys, add_to_collection, get_collection, get_default_graph
from kvarn.ops import array, control
from kvarn.saver.saver import _get_saver_or_default
from kvarn.train import increments, summary_io
from kvarn.variables import listing, resources


class Scaffold:
    """What initializes, checks, saves and sums up a model; `finalize` makes what was not given.

    A default is the one item of a collection, or is made and put there.

    Args:
      init_op, init_feed_dict, init_fn: initialize a model that no checkpoint has; the function is called with the
        Scaffold and the session.  By default all global variables and shared resources are initialized.
      ready_op: the names of what is not initialized; the model is ready when there are none.
      ready_for_local_init_op: the same for what ``local_init_op`` needs.
      local_init_op: run in every session: by default, local variables, tables and local resources.
      summary_op: the summaries; all merged by default.
      saver: a Saver; that of collection ``savers``, or a new sharded one, by default.
      copy_from_scaffold: a Scaffold that everything not given is taken from.
      incremental_save_restore: increments are saved between checkpoints, and applied when a session begins; the
        Saver must have been made with ``incremental_save_restore`` too.

    Raises:
      TypeError: ``copy_from_scaffold`` is no Scaffold.
    """

    def __init__(
        self,
        init_op: Any = None,
        init_feed_dict: Any = None,
        init_fn: Callable[[Scaffold, Any], Any] | None = None,
        ready_op: Any = None,
        ready_for_local_init_op: Any = None,
        local_init_op: Any = None,
        summary_op: Any = None,
        saver: Any = None,
        copy_from_scaffold: Any = None,
        incremental_save_restore: bool = False,
    ) -> None:
        if copy_from_scaffold is not None:
            if not isinstance(copy_from_scaffold, Scaffold):
                raise TypeError("copy_from_scaffold is not a Scaffold instance.")
            other: Any = copy_from_scaffold
            init_op = _first(init_op, other.init_op)
            init_feed_dict = _first(init_feed_dict, other.init_feed_dict)
            # Not `init_fn` as it is called: that would be given the other Scaffold.
            init_fn = _first(init_fn, other._user_init_fn)
            ready_op = _first(ready_op, other.ready_op)
            ready_for_local_init_op = _first(ready_for_local_init_op, other.ready_for_local_init_op)
            local_init_op = _first(local_init_op, other.local_init_op)
            summary_op = _first(summary_op, other.summary_op)
            saver = _first(saver, other.saver)
            incremental_save_restore = incremental_save_restore or other._incremental_save_restore
        self._user_init_fn = init_fn
        self._init_op = init_op
        self._init_feed_dict = init_feed_dict
        self._ready_op = ready_op
        self._ready_for_local_init_op = ready_for_local_init_op
        self._local_init_op = local_init_op
        self._summary_op = summary_op
        self._saver = saver
        self._incremental_save_restore = incremental_save_restore
        self._incr_saver: Any = None

    def finalize(self) -> Scaffold:
        """Makes what was not given, and makes the graph final.

        Raises:
          RuntimeError: a collection for a default has several items.
          ValueError: increments are wanted of a Saver made without ``incremental_save_restore``.
        """
        default = Scaffold.get_or_default
        if self._init_op is None:
            self._init_op = default("init_op", GraphKeys.INIT_OP, _default_init_op)
        if self._ready_op is None:
            self._ready_op = default("ready_op", GraphKeys.READY_OP, _default_ready_op)
        if self._ready_for_local_init_op is None:
            self._ready_for_local_init_op = default(
                "ready_for_local_init_op",
                GraphKeys.READY_FOR_LOCAL_INIT_OP,
                _default_ready_for_local_init_op,
            )
        if self._local_init_op is None:
            self._local_init_op = default(
                "local_init_op", GraphKeys.LOCAL_INIT_OP, Scaffold.default_local_init_op
            )
        if self._summary_op is None:
            self._summary_op = default("summary_op", GraphKeys.SUMMARY_OP, summary_io.merge_all)
        if self._saver is None:
            self._saver = (
                increments.default_saver() if self._incremental_save_restore else _get_saver_or_default()
            )
        self._saver.build()
        if self._incremental_save_restore:
            self._incr_saver = increments.incremental_saver_of(self._saver)
        get_default_graph().finalize()
        tf_logging.info("Graph was finalized.")
        return self

    @property
    def init_fn(self) -> Callable[[Any], Any] | None:
        """The function, of a session alone."""
        given = self._user_init_fn
        return None if given is None else lambda sess: given(self, sess)

    @property
    def init_op(self) -> Any:
        return self._init_op

    @property
    def ready_op(self) -> Any:
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        return self._ready_for_local_init_op

    @property
    def local_init_op(self) -> Any:
        return self._local_init_op

    @property
    def summary_op(self) -> Any:
        return self._summary_op

    @property
    def saver(self) -> Any:
        return self._saver

    @property
    def incr_saver(self) -> Any:
        """The IncrementalSaver, once finalized; None without increments."""
        return self._incr_saver

    @property
    def init_feed_dict(self) -> Any:
        return self._init_feed_dict

    @staticmethod
    def get_or_default(arg_name: str, collection_key: str, default_constructor: Callable[[], Any]) -> Any:
        """The one item of a collection, or what ``default_constructor`` makes, which is added to it.

        Raises:
          RuntimeError: the collection has several.
        """
        elements = get_collection(collection_key)
        if len(elements) > 1:
            raise RuntimeError(
                f'More than one item in the collection "{collection_key}". Please indicate which one to use by '
                f"passing it to the tf.Scaffold constructor as:  tf.Scaffold({arg_name}=item to use)"
            )
        if elements:
            return elements[0]
        made = default_constructor()
        if made is not None:
            add_to_collection(collection_key, made)
        return made

    @staticmethod
    def default_local_init_op() -> Any:
        """An operation that initializes local variables, tables and local resources."""
        return control.group(
            listing.local_variables_initializer(),
            resources.tables_initializer(),
            resources.initialize_resources(resources.local_resources()),
        )


def _default_init_op() -> Any:
    return control.group(
        listing.global_variables_initializer(), resources.initialize_resources(resources.shared_resources())
    )


def _default_ready_op() -> Any:
    return array.concat(
        [listing.report_uninitialized_variables(), resources.report_uninitialized_resources()], 0
    )


def _default_ready_for_local_init_op() -> Any:
    return array.concat(
        [
            listing.report_uninitialized_variables(listing.global_variables()),
            resources.report_uninitialized_resources(resources.shared_resources()),
        ],
        0,
    )


def _first(given: Any, other: Any) -> Any:
    return other if given is None else given
