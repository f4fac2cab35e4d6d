"""CheckpointSaverHook: checkpoints while training, and increments between them.

Source: `CheckpointSaverHook` of tensorflow/python/training/basic_session_run_hooks.py, 1.15 and DeepRec.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from kvarn import tf_logging
from kvarn.graph.graph import GraphKeys, get_collection, get_default_graph
from kvarn.graph.graph_io import write_graph
from kvarn.graph.meta_graph import create_meta_graph_def
from kvarn.saver.incremental_saver import SUB_INCR_CKPT_DIR, IncrementalSaver
from kvarn.train import summary_io
from kvarn.train.hooks.global_step import global_step_read
from kvarn.train.hooks.timer import SecondOrStepTimer
from kvarn.train.increments import incremental_saver_of
from kvarn.train.session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues


class CheckpointSaverListener:
    """The base of what is told of the saves of a CheckpointSaverHook; a subclass has what it wants to hear of."""

    def begin(self) -> None:
        """Called in the hook's `begin`: the graph may still be changed."""

    def before_save(self, session: Any, global_step_value: int) -> None:
        """Called before each full save."""

    def after_save(self, session: Any, global_step_value: int) -> Any:
        """Called after each full save; what is true ends the training."""

    def end(self, session: Any, global_step_value: int) -> None:
        """Called at the end of the session, after the last save."""


class CheckpointSaverHook(SessionRunHook):
    """Saves the model when the session begins, every so many seconds or steps, and at the end.

    Args:
      checkpoint_dir: the folder.
      save_secs, save_steps: how often; exactly one of them.
      saver: the Saver; that of ``scaffold``, or of the collection ``savers``, by default.
      checkpoint_basename: the name of checkpoints in the folder, before the step.
      scaffold: the Scaffold; not together with ``saver``.
      listeners: `CheckpointSaverListener` objects.
      incremental_save_secs: save an increment every so many seconds: what has changed since the last full save, to
        ``.incremental_checkpoint/incremental_<checkpoint_basename>`` below the folder.  A full save makes one at
        the same moment needless.

    Raises:
      ValueError: both or none of ``save_secs`` and ``save_steps``; ``saver`` and ``scaffold``; or, in `begin` or
        `after_create_session`, increments are wanted of a Saver made without ``incremental_save_restore``.
      RuntimeError: (in `begin`) there is no global step; (at the first save) no Saver, or more than one.
    """

    def __init__(
        self,
        checkpoint_dir: str,
        save_secs: float | None = None,
        save_steps: int | None = None,
        saver: Any = None,
        checkpoint_basename: str = "model.ckpt",
        scaffold: Any = None,
        listeners: Sequence[CheckpointSaverListener] | None = None,
        incremental_save_secs: float | None = None,
    ) -> None:
        tf_logging.info("Create CheckpointSaverHook.")
        if saver is not None and scaffold is not None:
            raise ValueError("You cannot provide both saver and scaffold.")
        self._saver = saver
        self._checkpoint_dir = checkpoint_dir
        self._save_path = os.path.join(checkpoint_dir, checkpoint_basename)
        self._scaffold = scaffold
        self._timer = SecondOrStepTimer(every_secs=save_secs, every_steps=save_steps)
        self._listeners = listeners or []
        self._steps_per_run = 1
        self._incremental_save_path = os.path.join(
            checkpoint_dir, SUB_INCR_CKPT_DIR, f"incremental_{checkpoint_basename}"
        )
        self._incremental_timer = (
            SecondOrStepTimer(every_secs=incremental_save_secs) if incremental_save_secs is not None else None
        )

    def _set_steps_per_run(self, steps_per_run: int) -> None:
        self._steps_per_run = steps_per_run

    def begin(self) -> None:
        self._summary_writer = summary_io.writer_of(self._checkpoint_dir)
        self._global_step_tensor = global_step_read("CheckpointSaverHook")
        if self._incremental_timer is not None:
            self._begin_increments()
        for listener in self._listeners:
            listener.begin()

    def _begin_increments(self) -> None:
        """Lets the operations that save increments be made while that can be."""
        if self._scaffold is not None:
            self._scaffold._incremental_save_restore = True
        elif self._saver is not None or get_collection(GraphKeys.SAVERS):
            self._get_incr_saver()

    def after_create_session(self, session: Any, coord: Any) -> None:
        global_step = session.run(self._global_step_tensor)
        graph = get_default_graph()
        graph_def = graph.as_graph_def(add_shapes=True)
        write_graph(graph_def, self._checkpoint_dir, "graph.pbtxt")
        saver = self._get_saver()
        meta_graph_def = create_meta_graph_def(
            graph_def=graph_def, saver_def=saver.saver_def if saver else None
        )
        self._summary_writer.add_graph(graph)
        self._summary_writer.add_meta_graph(meta_graph_def)
        if self._incremental_timer is not None:
            # Now, and not when the first increment is due, is it told that there can be none.
            self._get_incr_saver()
        # Even without a step there is a checkpoint, which evaluation may wait for.
        self._save(session, global_step)
        self._restart_timers(global_step)

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._global_step_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        # What came with the run may be from before its step; only if that may be enough is another look needed.
        next_step = run_values.results + self._steps_per_run
        session = run_context.session
        if self._timer.should_trigger_for_step(next_step):
            global_step = session.run(self._global_step_tensor)
            if self._timer.should_trigger_for_step(global_step):
                self._restart_timers(global_step)
                if self._save(session, global_step):
                    run_context.request_stop()
                return
        if self._incremental_timer is not None and self._incremental_timer.should_trigger_for_step(next_step):
            global_step = session.run(self._global_step_tensor)
            if self._incremental_timer.should_trigger_for_step(global_step):
                self._incremental_timer.update_last_triggered_step(global_step)
                self._incremental_save(session, global_step)

    def end(self, session: Any) -> None:
        last_step = session.run(self._global_step_tensor)
        if last_step != self._timer.last_triggered_step():
            self._save(session, last_step)
        for listener in self._listeners:
            listener.end(session, last_step)

    def _restart_timers(self, step: int) -> None:
        self._timer.update_last_triggered_step(step)
        if self._incremental_timer is not None:
            self._incremental_timer.update_last_triggered_step(step)

    def _save(self, session: Any, step: int) -> bool:
        """Saves the model; whether a listener wants to stop."""
        tf_logging.info("Saving checkpoints for %d into %s.", step, self._save_path)
        for listener in self._listeners:
            listener.before_save(session, step)
        self._get_saver().save(session, self._save_path, global_step=step)
        self._summary_writer.add_session_log(summary_io.session_log("CHECKPOINT", self._save_path), step)
        should_stop = False
        for listener in self._listeners:
            if listener.after_save(session, step):
                tf_logging.info(
                    "A CheckpointSaverListener requested that training be stopped. listener: %s", listener
                )
                should_stop = True
        return should_stop

    def _incremental_save(self, session: Any, step: int) -> None:
        tf_logging.info(
            "Start Save incremental checkpoints for %d into %s.", step, self._incremental_save_path
        )
        self._get_incr_saver().incremental_save(session, self._incremental_save_path, global_step=step)
        tf_logging.info(
            "Finish Save incremental checkpoints for %d into %s.", step, self._incremental_save_path
        )

    def _get_saver(self) -> Any:
        if self._saver is not None:
            return self._saver
        if self._scaffold is not None:
            return self._scaffold.saver
        savers = get_collection(GraphKeys.SAVERS)
        if not savers:
            raise RuntimeError(
                f"No items in collection {GraphKeys.SAVERS}. Please add a saver to the collection or provide a "
                "saver or scaffold."
            )
        if len(savers) > 1:
            raise RuntimeError(
                f"More than one item in collection {GraphKeys.SAVERS}. Please indicate which one to use by passing "
                "it to the constructor."
            )
        self._saver = savers[0]
        return self._saver

    def _get_incr_saver(self) -> IncrementalSaver:
        return incremental_saver_of(self._get_saver())
