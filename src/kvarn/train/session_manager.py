"""SessionManager: a session that is ready to train, restored from a checkpoint or initialized.

Source: tensorflow/python/training/session_manager.py (1.15); increments are DeepRec's.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import numpy as np

from kvarn import errors, tf_logging
from kvarn.graph.graph import Graph, get_default_graph
from kvarn.graph.session import Session


class SessionManager:
    """Makes sessions and brings them to a state from which training can go on.

    Args:
      local_init_op: run in every session, restored or not: local variables, tables.
      ready_op: a tensor of the names of variables that have no value yet; the model is ready when it is empty.
      ready_for_local_init_op: the same for what ``local_init_op`` needs.
      graph: the graph; the default graph if None.
      recovery_wait_secs: seconds between two looks at a checkpoint or at a model that others have to initialize.
      local_init_run_options: a RunOptions for ``local_init_op``.

    Raises:
      ValueError: ``ready_for_local_init_op`` without ``local_init_op``.
    """

    def __init__(
        self,
        local_init_op: Any = None,
        ready_op: Any = None,
        ready_for_local_init_op: Any = None,
        graph: Graph | None = None,
        recovery_wait_secs: float = 30,
        local_init_run_options: Any = None,
    ) -> None:
        if ready_for_local_init_op is not None and local_init_op is None:
            raise ValueError(
                "If you pass a ready_for_local_init_op you must also pass a local_init_op , "
                f"ready_for_local_init_op [{ready_for_local_init_op}]"
            )
        self._local_init_op = local_init_op
        self._ready_op = ready_op
        self._ready_for_local_init_op = ready_for_local_init_op
        self._graph = get_default_graph() if graph is None else graph
        self._recovery_wait_secs = recovery_wait_secs
        self._target: str | None = None
        self._local_init_run_options = local_init_run_options

    def prepare_session(
        self,
        master: str,
        init_op: Any = None,
        saver: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_filename_with_path: str | os.PathLike[str] | None = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        config: Any = None,
        init_feed_dict: Any = None,
        init_fn: Any = None,
        incr_saver: Any = None,
    ) -> Session:
        """A session restored from the newest checkpoint, or initialized if there is none.

        Args:
          master: the target of the session; ``""``.
          init_op, init_feed_dict, init_fn: what initializes a model that no checkpoint has: the operation is run
            with the feeds, then the function is called with the session.
          saver: a Saver; without one nothing is restored.
          checkpoint_dir: a folder whose newest checkpoint is restored.
          checkpoint_filename_with_path: a checkpoint to restore; not together with a folder.
          wait_for_checkpoint, max_wait_secs: whether and how long to wait until the folder has one.
          config: a ConfigProto of the session.
          incr_saver: an IncrementalSaver: the newest increment of the folder is applied then.

        Raises:
          RuntimeError: nothing was restored and there is nothing to initialize with, or the model is not ready
            afterwards.
          ValueError: both a folder and a checkpoint.
          OpError: the checkpoint does not fit or is damaged.
        """
        sess, restored = self._restore_checkpoint(
            master,
            saver,
            checkpoint_dir=checkpoint_dir,
            checkpoint_filename_with_path=checkpoint_filename_with_path,
            wait_for_checkpoint=wait_for_checkpoint,
            max_wait_secs=max_wait_secs,
            config=config,
            incr_saver=incr_saver,
        )
        if not restored:
            if init_op is None and not init_fn and self._local_init_op is None:
                raise RuntimeError(
                    "Model is not initialized and no init_op or init_fn or local_init_op was given"
                )
            if init_op is not None:
                sess.run(init_op, feed_dict=init_feed_dict)
            if init_fn:
                init_fn(sess)
        success, message = self._try_run_local_init_op(sess)
        if not success:
            raise RuntimeError(
                "Init operations did not make model ready for local_init.  "
                f"Init op: {_maybe_name(init_op)}, init fn: {init_fn}, error: {message}"
            )
        ready, message = self._model_ready(sess)
        if not ready:
            raise RuntimeError(
                f"Init operations did not make model ready.  Init op: {_maybe_name(init_op)}, init fn: {init_fn}, "
                f"local_init_op: {self._local_init_op}, error: {message}"
            )
        return sess

    def recover_session(
        self,
        master: str,
        saver: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_filename_with_path: str | os.PathLike[str] | None = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        config: Any = None,
        incr_saver: Any = None,
    ) -> tuple[Session, bool]:
        """A session restored from a checkpoint, and whether that made the model ready; see `prepare_session`."""
        sess, restored = self._restore_checkpoint(
            master,
            saver,
            checkpoint_dir=checkpoint_dir,
            checkpoint_filename_with_path=checkpoint_filename_with_path,
            wait_for_checkpoint=wait_for_checkpoint,
            max_wait_secs=max_wait_secs,
            config=config,
            incr_saver=incr_saver,
        )
        # The operation runs whether or not there was a checkpoint.
        success, message = self._try_run_local_init_op(sess)
        if not restored:
            return sess, False
        source = checkpoint_dir or checkpoint_filename_with_path
        if not success:
            tf_logging.info(
                "Restoring model from %s did not make model ready for local init: %s", source, message
            )
            return sess, False
        ready, message = self._model_ready(sess)
        if not ready:
            tf_logging.info("Restoring model from %s did not make model ready: %s", source, message)
            return sess, False
        tf_logging.info("Restored model from %s", source)
        return sess, True

    def wait_for_session(
        self, master: str, config: Any = None, max_wait_secs: float | None = float("Inf")
    ) -> Session:
        """A session of a model that others initialize: waits until it is ready.

        Raises:
          DeadlineExceededError: it was not ready after ``max_wait_secs``.
        """
        self._target = master
        limit = float("Inf") if max_wait_secs is None else max_wait_secs
        timer = _CountDownTimer(limit)
        while True:
            sess = Session(self._target, graph=self._graph, config=config)
            not_ready = None
            success, not_ready_for_local = self._try_run_local_init_op(sess)
            if success:
                ready, not_ready = self._model_ready(sess)
                if ready:
                    return sess
            self._safe_close(sess)
            if timer.secs_remaining() - self._recovery_wait_secs < 0:
                raise errors.DeadlineExceededError(
                    None, None, f"Session was not ready after waiting {int(limit)} secs."
                )
            tf_logging.info(
                "Waiting for model to be ready.  Ready_for_local_init_op:  %s, ready: %s",
                not_ready_for_local,
                not_ready,
            )
            time.sleep(self._recovery_wait_secs)

    def _restore_checkpoint(
        self,
        master: str,
        saver: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_filename_with_path: str | os.PathLike[str] | None = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        config: Any = None,
        incr_saver: Any = None,
    ) -> tuple[Session, bool]:
        """A new session, and whether a checkpoint was restored into it."""
        from kvarn import checkpoint

        self._target = master
        sess = Session(self._target, graph=self._graph, config=config)
        if checkpoint_dir and checkpoint_filename_with_path:
            raise ValueError("Can not provide both checkpoint_dir and checkpoint_filename_with_path.")
        if not saver or not (checkpoint_dir or checkpoint_filename_with_path):
            return sess, False
        if checkpoint_filename_with_path:
            saver.restore(sess, checkpoint_filename_with_path)
            return sess, True
        assert checkpoint_dir is not None
        waited = 0.0
        state = checkpoint.get_checkpoint_state(checkpoint_dir)
        while not state or not state.model_checkpoint_path:
            if not wait_for_checkpoint or waited >= max_wait_secs:
                return sess, False
            tf_logging.info("Waiting for checkpoint to be available.")
            time.sleep(self._recovery_wait_secs)
            waited += self._recovery_wait_secs
            state = checkpoint.get_checkpoint_state(checkpoint_dir)
        saver.restore(sess, state.model_checkpoint_path)
        if incr_saver is not None:
            incr_saver.recover_incr_checkpoints(sess, checkpoint_dir)
        saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
        return sess, True

    def _safe_close(self, sess: Any) -> None:
        # A session that is lost may refuse even that.
        with contextlib.suppress(Exception):
            sess.close()

    def _model_ready(self, sess: Any) -> tuple[bool, str | None]:
        return _ready(self._ready_op, sess, "Model not ready")

    def _model_ready_for_local_init(self, sess: Any) -> tuple[bool, str | None]:
        return _ready(self._ready_for_local_init_op, sess, "Model not ready for local init")

    def _try_run_local_init_op(self, sess: Any) -> tuple[bool, str | None]:
        """Runs ``local_init_op`` if the model is ready for it; whether it was, and why not."""
        if self._local_init_op is None:
            return True, None
        ready, message = self._model_ready_for_local_init(sess)
        if not ready:
            return False, message
        tf_logging.info("Running local_init_op.")
        sess.run(self._local_init_op, options=self._local_init_run_options)
        tf_logging.info("Done running local_init_op.")
        return True, None


def _ready(op: Any, sess: Any, message: str) -> tuple[bool, str | None]:
    """Whether a ready op has nothing to report, and what it reports."""
    if op is None:
        return True, None
    try:
        value = sess.run(op)
    except errors.FailedPreconditionError as e:
        if "uninitialized" not in str(e):
            tf_logging.warning("%s : error [%s]", message, e)
            raise
        return False, str(e)
    # Ready ops of old programs are numbers, or operations without a value.
    if value is None or value.dtype == np.int32 or value.size == 0:
        return True, None
    return False, "Variables not initialized: " + ", ".join(name.decode() for name in value)


def _maybe_name(obj: Any) -> str:
    if obj is None:
        return "None"
    return obj.name if hasattr(obj, "name") else f"<no name for {type(obj)}>"


class _CountDownTimer:
    """How much is left of a number of seconds."""

    def __init__(self, duration_secs: float) -> None:
        self._start_time_secs = time.time()
        self._duration_secs = duration_secs

    def secs_remaining(self) -> float:
        return max(0.0, self._duration_secs - (time.time() - self._start_time_secs))
