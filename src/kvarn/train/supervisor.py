"""Supervisor: a session with checkpoints and summaries from threads of their own; MonitoredTrainingSession before it.

    sv = tf.train.Supervisor(logdir="/m")
    with sv.managed_session() as sess:
        while not sv.should_stop():
            sess.run(train_op)

Source: tensorflow/python/training/supervisor.py (1.15).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from kvarn import dtypes, tf_logging
from kvarn.graph.graph import Graph, GraphKeys, add_to_collection, get_collection, get_default_graph
from kvarn.graph.graph_io import write_graph
from kvarn.graph.meta_graph import create_meta_graph_def
from kvarn.graph.session import Session
from kvarn.ops import control
from kvarn.saver.saver import Saver
from kvarn.train import summary_io, training_util
from kvarn.train.coordinator import Coordinator, LooperThread
from kvarn.train.session_manager import SessionManager
from kvarn.train.supervisor_services import SVStepCounterThread, SVSummaryThread, SVTimerCheckpointThread
from kvarn.variables import listing, resources


class Supervisor:
    """Prepares a session and trains in it, with threads that save and sum up.

    What is left at ``USE_DEFAULT`` is the first item of a collection, or made and put there; None means none.
    The graph is final afterwards.

    Args:
      graph: the graph; the default graph if None.
      ready_op, ready_for_local_init_op, init_op, init_feed_dict, local_init_op: as of `SessionManager`.
      is_chief: whether to initialize and save; others wait for the chief.
      logdir: the folder of checkpoints, the graph and event files; without it nothing is written.
      summary_op: the summaries; all merged by default.
      saver: a Saver.
      global_step: the tensor that counts steps.
      save_summaries_secs, save_model_secs: how often; 0 for never.
      recovery_wait_secs: as of `SessionManager`.
      stop_grace_secs: how long `stop` waits for threads.
      checkpoint_basename: the name of checkpoints in the folder, before the step.
      session_manager: a SessionManager instead of the one that is made of all that.
      summary_writer: a FileWriter; one of ``logdir`` by default.
      init_fn: called with the session after ``init_op``.
      local_init_run_options: a RunOptions for ``local_init_op``.

    Raises:
      ValueError: not chief, and a variable has no device.
    """

    # Not given, where None has a meaning.
    USE_DEFAULT: Final = 0

    def __init__(
        self,
        graph: Graph | None = None,
        ready_op: Any = USE_DEFAULT,
        ready_for_local_init_op: Any = USE_DEFAULT,
        is_chief: bool = True,
        init_op: Any = USE_DEFAULT,
        init_feed_dict: Any = None,
        local_init_op: Any = USE_DEFAULT,
        logdir: str | os.PathLike[str] | None = None,
        summary_op: Any = USE_DEFAULT,
        saver: Any = USE_DEFAULT,
        global_step: Any = USE_DEFAULT,
        save_summaries_secs: float = 120,
        save_model_secs: float = 600,
        recovery_wait_secs: float = 30,
        stop_grace_secs: float = 120,
        checkpoint_basename: str = "model.ckpt",
        session_manager: SessionManager | None = None,
        summary_writer: Any = USE_DEFAULT,
        init_fn: Callable[[Any], Any] | None = None,
        local_init_run_options: Any = None,
    ) -> None:
        self._graph = get_default_graph() if graph is None else graph
        with self._graph.as_default():
            self._ready_op = _default(ready_op, GraphKeys.READY_OP, listing.report_uninitialized_variables)
            self._ready_for_local_init_op = _default(
                ready_for_local_init_op, GraphKeys.READY_FOR_LOCAL_INIT_OP, lambda: None
            )
            self._init_op = _default(init_op, GraphKeys.INIT_OP, listing.global_variables_initializer)
            self._local_init_op = _default(local_init_op, GraphKeys.LOCAL_INIT_OP, _local_init_op)
            self._saver = _default(saver, GraphKeys.SAVERS, _saver)
            self._summary_op = _default(summary_op, GraphKeys.SUMMARY_OP, summary_io.merge_all)
            self._global_step = _default(global_step, GraphKeys.GLOBAL_STEP, _global_step_tensor)
        self._init_feed_dict = init_feed_dict
        self._meta_graph_def = create_meta_graph_def(
            graph_def=self._graph.as_graph_def(add_shapes=True),
            saver_def=self._saver.saver_def if self._saver else None,
        )
        self._is_chief = is_chief
        self._coord = Coordinator()
        self._stop_grace_secs = stop_grace_secs
        self._init_fn = init_fn
        # Only the chief writes.
        self._logdir = os.fspath(logdir) if is_chief and logdir else None
        self._save_summaries_secs = save_summaries_secs if is_chief else None
        self._save_model_secs = save_model_secs if is_chief else None
        self._save_path = os.path.join(self._logdir, checkpoint_basename) if self._logdir else None
        self._summary_writer: Any = None
        self._graph_added_to_summary = False
        if is_chief:
            if summary_writer is not Supervisor.USE_DEFAULT:
                self._summary_writer = summary_writer
            elif self._logdir:
                self._summary_writer = summary_io.new_writer(self._logdir)
        self._session_manager = session_manager or SessionManager(
            local_init_op=self._local_init_op,
            ready_op=self._ready_op,
            ready_for_local_init_op=self._ready_for_local_init_op,
            graph=self._graph,
            recovery_wait_secs=recovery_wait_secs,
            local_init_run_options=local_init_run_options,
        )
        self._verify_setup()
        self._graph.finalize()

    def _verify_setup(self) -> None:
        if self._is_chief:
            return
        for op in self._graph.get_operations():
            if op.type in ("Variable", "VariableV2") and not op.device:
                raise ValueError(f"When using replicas, all Variables must have their device set: {op}")

    # -- what it has ------------------------------------------------------------------------------

    @property
    def is_chief(self) -> bool:
        return self._is_chief

    @property
    def session_manager(self) -> SessionManager:
        return self._session_manager

    @property
    def coord(self) -> Coordinator:
        return self._coord

    @property
    def init_op(self) -> Any:
        return self._init_op

    @property
    def init_feed_dict(self) -> Any:
        return self._init_feed_dict

    @property
    def ready_op(self) -> Any:
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        return self._ready_for_local_init_op

    @property
    def summary_writer(self) -> Any:
        return self._summary_writer

    @property
    def summary_op(self) -> Any:
        return self._summary_op

    @property
    def save_summaries_secs(self) -> float | None:
        return self._save_summaries_secs

    @property
    def global_step(self) -> Any:
        return self._global_step

    @property
    def saver(self) -> Any:
        return self._saver

    @property
    def save_model_secs(self) -> float | None:
        return self._save_model_secs

    @property
    def save_path(self) -> str | None:
        """The prefix of checkpoints, without the step; None without ``logdir``."""
        return self._save_path

    # -- the session ------------------------------------------------------------------------------

    def prepare_or_wait_for_session(
        self,
        master: str = "",
        config: Any = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        start_standard_services: bool = True,
    ) -> Session:
        """A session that is ready: restored or initialized by the chief, waited for by others.

        Args:
          master, config, wait_for_checkpoint, max_wait_secs: as of `SessionManager.prepare_session`.
          start_standard_services: start the threads that save and sum up, and those that fill queues.
        """
        self._coord.clear_stop()
        if self._summary_writer:
            self._summary_writer.reopen()
        if self._is_chief:
            sess = self._session_manager.prepare_session(
                master,
                init_op=self.init_op,
                saver=self.saver,
                checkpoint_dir=self._logdir,
                wait_for_checkpoint=wait_for_checkpoint,
                max_wait_secs=max_wait_secs,
                config=config,
                init_feed_dict=self._init_feed_dict,
                init_fn=self._init_fn,
            )
            self._write_graph()
            if start_standard_services:
                tf_logging.info("Starting standard services.")
                self.start_standard_services(sess)
        else:
            sess = self._session_manager.wait_for_session(master, config=config, max_wait_secs=max_wait_secs)
        if start_standard_services:
            tf_logging.info("Starting queue runners.")
            self.start_queue_runners(sess)
        return sess

    def _write_graph(self) -> None:
        """Writes the graph to ``graph.pbtxt`` and, once, to the event file."""
        if self._logdir:
            write_graph(self._graph.as_graph_def(add_shapes=True), self._logdir, "graph.pbtxt")
        if self._summary_writer and not self._graph_added_to_summary:
            self._summary_writer.add_graph(self._graph)
            self._summary_writer.add_meta_graph(self._meta_graph_def)
            self._graph_added_to_summary = True

    def start_standard_services(self, sess: Any) -> list[LooperThread] | None:
        """Starts the threads that write summaries, steps per second and checkpoints.

        Returns:
          The threads; None without ``logdir``.

        Raises:
          RuntimeError: not chief.
        """
        if not self._is_chief:
            raise RuntimeError(
                "Only chief supervisor can start standard services. Because only chief supervisors can write events."
            )
        if not self._logdir:
            tf_logging.warning("Standard services need a 'logdir' passed to the SessionManager")
            return None
        if self._global_step is not None and self._summary_writer:
            # Readers of the event file drop what came later than this step.
            step = training_util.global_step(sess, self._global_step)
            self._summary_writer.add_session_log(summary_io.session_log("START"), step)
        threads: list[LooperThread] = []
        if self._save_summaries_secs and self._summary_writer:
            if self._summary_op is not None:
                threads.append(SVSummaryThread(self, sess))
            if self._global_step is not None:
                threads.append(SVStepCounterThread(self, sess))
        if self.saver and self._save_model_secs:
            threads.append(SVTimerCheckpointThread(self, sess))
        for thread in threads:
            thread.start()
        return threads

    def start_queue_runners(
        self, sess: Any, queue_runners: Iterable[Any] | None = None
    ) -> list[threading.Thread]:
        """Starts the threads of QueueRunners, by default those of collection QUEUE_RUNNERS."""
        if queue_runners is None:
            queue_runners = self._graph.get_collection(GraphKeys.QUEUE_RUNNERS)
        threads: list[threading.Thread] = []
        for runner in queue_runners:
            threads.extend(runner.create_threads(sess, coord=self._coord, daemon=True, start=True))
        return threads

    def loop(
        self,
        timer_interval_secs: float | None,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:
        """Starts a thread that calls ``target`` every ``timer_interval_secs`` until the stop."""
        return LooperThread.loop(self._coord, timer_interval_secs, target, args, kwargs)

    @contextlib.contextmanager
    def managed_session(
        self,
        master: str = "",
        config: Any = None,
        start_standard_services: bool = True,
        close_summary_writer: bool = True,
    ) -> Iterator[Session]:
        """A context manager with a session that is closed, and the threads stopped, at its end.

        An exception of the block, or of a thread, is raised at the end; OutOfRangeError only ends it.
        """
        sess = None
        try:
            sess = self.prepare_or_wait_for_session(
                master=master, config=config, start_standard_services=start_standard_services
            )
            yield sess
        except Exception as e:
            self.request_stop(e)
        finally:
            try:
                # Raises what was reported.
                self.stop(close_summary_writer=close_summary_writer)
            finally:
                if sess is not None:
                    # A session that is lost may refuse even that.
                    with contextlib.suppress(Exception):
                        sess.close()

    # -- the stop ---------------------------------------------------------------------------------

    def stop(
        self,
        threads: Iterable[threading.Thread] | None = None,
        close_summary_writer: bool = True,
        ignore_live_threads: bool = False,
    ) -> None:
        """Stops the threads, waits for them, and raises what they reported; see `Coordinator.join`."""
        self._coord.request_stop()
        try:
            self._coord.join(
                threads,
                stop_grace_period_secs=self._stop_grace_secs,
                ignore_live_threads=ignore_live_threads,
            )
        finally:
            if close_summary_writer and self._summary_writer:
                self._summary_writer.add_session_log(summary_io.session_log("STOP"))
                self._summary_writer.close()
                self._graph_added_to_summary = False

    def request_stop(self, ex: Any = None) -> None:
        """As `Coordinator.request_stop`."""
        self._coord.request_stop(ex=ex)

    def should_stop(self) -> bool:
        """Whether a stop was requested."""
        return self._coord.should_stop()

    def stop_on_exception(self) -> contextlib.AbstractContextManager[None]:
        """As `Coordinator.stop_on_exception`."""
        return self._coord.stop_on_exception()

    def wait_for_stop(self) -> None:
        """Waits until a stop is requested."""
        self._coord.wait_for_stop()

    def summary_computed(self, sess: Any, summary: Any, global_step: Any = None) -> None:
        """Writes a summary.

        Args:
          sess: a Session, which the step is read in if it is not given.
          summary: a Summary, or its bytes.

        Raises:
          RuntimeError: there is no event file.
        """
        if not self._summary_writer:
            raise RuntimeError("Writing a summary requires a summary writer.")
        if global_step is None and self.global_step is not None:
            global_step = training_util.global_step(sess, self.global_step)
        self._summary_writer.add_summary(summary, global_step)

    # Their names of old.
    PrepareSession = prepare_or_wait_for_session
    StartQueueRunners = start_queue_runners
    StartStandardServices = start_standard_services
    Stop = stop
    RequestStop = request_stop
    Loop = loop
    ShouldStop = should_stop
    StopOnException = stop_on_exception
    WaitForStop = wait_for_stop
    SummaryComputed = summary_computed


def _default(given: Any, collection_key: str, make: Callable[[], Any]) -> Any:
    """What was given, or else the first item of a collection, or else what ``make`` makes, which is added to it."""
    if given is not Supervisor.USE_DEFAULT:
        return given
    found = get_collection(collection_key)
    if len(found) > 1:
        tf_logging.info("Found %d %s operations. Returning the first one.", len(found), collection_key)
    if found and found[0] is not None:
        return found[0]
    made = make()
    if made is not None:
        add_to_collection(collection_key, made)
    return made


def _local_init_op() -> Any:
    return control.group(listing.local_variables_initializer(), resources.tables_initializer())


def _saver() -> Saver | None:
    return Saver() if listing.global_variables() else None


def _global_step_tensor() -> Any:
    """The tensor ``global_step:0``; None if there is none, or it is no integer."""
    try:
        found = get_default_graph().get_tensor_by_name("global_step:0")
    except KeyError:
        return None
    if found.dtype.base_dtype in (dtypes.int32, dtypes.int64):
        return found
    tf_logging.warning("Found 'global_step' is not an int type: %s", found.dtype)
    return None
