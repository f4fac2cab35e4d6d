"""QueueRunner: threads that fill a queue while others take from it.

Source: tensorflow/python/training/queue_runner_impl.py (1.15).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any

from kvarn import errors, tf_logging
from kvarn.graph.graph import GraphKeys, add_to_collection, get_collection, get_default_graph
from kvarn.graph.proto_functions import prepend_name_scope, register_proto_function, strip_name_scope
from kvarn.graph.session import BaseSession, get_default_session
from kvarn.train.coordinator import Coordinator


class QueueRunner:
    """Operations that put elements into a queue, each to be run over and over in a thread of its own.

    Args:
      queue: the queue.
      enqueue_ops: the operations.
      close_op: closes the queue once all threads have ended; ``queue.close()`` by default.
      cancel_op: closes it and ends operations that wait; ``queue.close(cancel_pending_enqueues=True)`` by default.
      queue_closed_exception_types: a tuple of the errors by which an operation says that it has come to its end;
        OutOfRangeError by default.
      queue_runner_def: a QueueRunnerDef to make it of instead.
      import_scope: a name scope that the names in ``queue_runner_def`` are in.

    Raises:
      ValueError: no queue or no operations, or both of them and a ``queue_runner_def``.
      TypeError: ``queue_closed_exception_types`` is no tuple of error classes.
    """

    def __init__(
        self,
        queue: Any = None,
        enqueue_ops: Sequence[Any] | None = None,
        close_op: Any = None,
        cancel_op: Any = None,
        queue_closed_exception_types: Any = None,
        queue_runner_def: Any = None,
        import_scope: str | None = None,
    ) -> None:
        if queue_runner_def:
            if queue or enqueue_ops:
                raise ValueError("queue_runner_def and queue are mutually exclusive.")
            self._init_from_proto(queue_runner_def, import_scope)
        else:
            self._init_from_args(queue, enqueue_ops, close_op, cancel_op, queue_closed_exception_types)
        # Guards the two below.
        self._lock = threading.Lock()
        # How many threads are filling the queue, by session.
        self._runs_per_session: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._exceptions_raised: list[Exception] = []

    def _init_from_args(
        self,
        queue: Any,
        enqueue_ops: Sequence[Any] | None,
        close_op: Any,
        cancel_op: Any,
        queue_closed_exception_types: Any,
    ) -> None:
        if not queue or not enqueue_ops:
            raise ValueError("Must provide queue and enqueue_ops.")
        if queue_closed_exception_types is not None and (
            not isinstance(queue_closed_exception_types, tuple)
            or not queue_closed_exception_types
            or not all(issubclass(t, errors.OpError) for t in queue_closed_exception_types)
        ):
            raise TypeError(
                "queue_closed_exception_types, when provided, must be a tuple of tf.error types, but saw: "
                f"{queue_closed_exception_types}"
            )
        self._queue = queue
        self._enqueue_ops = enqueue_ops
        self._close_op = queue.close() if close_op is None else close_op
        self._cancel_op = queue.close(cancel_pending_enqueues=True) if cancel_op is None else cancel_op
        self._queue_closed_exception_types = queue_closed_exception_types or (errors.OutOfRangeError,)

    def _init_from_proto(self, queue_runner_def: Any, import_scope: str | None) -> None:
        from kvarn import protos

        assert isinstance(queue_runner_def, protos.message("tensorflow.QueueRunnerDef"))
        graph = get_default_graph()

        def element(name: str) -> Any:
            return graph.as_graph_element(prepend_name_scope(name, import_scope))

        self._queue = element(queue_runner_def.queue_name)
        self._enqueue_ops = [element(name) for name in queue_runner_def.enqueue_op_name]
        self._close_op = element(queue_runner_def.close_op_name)
        self._cancel_op = element(queue_runner_def.cancel_op_name)
        # Files of old programs name none.
        codes = queue_runner_def.queue_closed_exception_types or [errors.OUT_OF_RANGE]
        self._queue_closed_exception_types = tuple(map(errors.exception_type_from_error_code, codes))

    @property
    def queue(self) -> Any:
        return self._queue

    @property
    def enqueue_ops(self) -> Sequence[Any]:
        return self._enqueue_ops

    @property
    def close_op(self) -> Any:
        return self._close_op

    @property
    def cancel_op(self) -> Any:
        return self._cancel_op

    @property
    def queue_closed_exception_types(self) -> tuple[type[errors.OpError], ...]:
        return self._queue_closed_exception_types

    @property
    def exceptions_raised(self) -> list[Exception]:
        """What the threads raised, if they have no Coordinator to report to."""
        return self._exceptions_raised

    @property
    def name(self) -> str:
        """The name of the queue."""
        name: str = self._queue.name
        return name

    def create_threads(
        self, sess: Any, coord: Coordinator | None = None, daemon: bool = False, start: bool = False
    ) -> list[threading.Thread]:
        """The threads that fill the queue in a session; none if there are some already.

        Args:
          sess: the Session.
          coord: a Coordinator, told of errors; one thread more closes the queue when it stops.
          daemon: make the threads daemons.
          start: start them.
        """
        with self._lock:
            if self._runs_per_session.get(sess, 0) > 0:
                return []
            self._runs_per_session[sess] = len(self._enqueue_ops)
            self._exceptions_raised = []
        threads = [
            threading.Thread(
                target=self._run, args=(sess, op, coord), name=f"QueueRunnerThread-{self.name}-{op.name}"
            )
            for op in self._enqueue_ops
        ]
        if coord:
            threads.append(
                threading.Thread(
                    target=self._close_on_stop,
                    args=(sess, self._cancel_op, coord),
                    name=f"QueueRunnerThread-{self.name}-close_on_stop",
                )
            )
        for thread in threads:
            if coord:
                coord.register_thread(thread)
            if daemon:
                thread.daemon = True
            if start:
                thread.start()
        return threads

    def _run(self, sess: Any, enqueue_op: Any, coord: Coordinator | None = None) -> None:
        """What a thread does: runs the operation until that ends, fails, or the Coordinator stops."""
        is_counted = True
        try:
            enqueue = sess.make_callable(enqueue_op)
            while not (coord and coord.should_stop()):
                try:
                    enqueue()
                except self._queue_closed_exception_types:
                    with self._lock:
                        self._runs_per_session[sess] -= 1
                        is_counted = False
                        if self._runs_per_session[sess] == 0:
                            self._try(sess, self._close_op)
                    return
        except Exception as e:
            if coord:
                coord.request_stop(e)
                return
            tf_logging.error("Exception in QueueRunner: %s", e)
            with self._lock:
                self._exceptions_raised.append(e)
            raise
        finally:
            if is_counted:
                with self._lock:
                    self._runs_per_session[sess] -= 1

    def _close_on_stop(self, sess: Any, cancel_op: Any, coord: Coordinator) -> None:
        coord.wait_for_stop()
        self._try(sess, cancel_op)

    @staticmethod
    def _try(sess: Any, op: Any) -> None:
        """Runs a closing operation; the queue may be closed already, or the session."""
        try:
            sess.run(op)
        except Exception as e:
            tf_logging.debug("Ignored exception: %s", e)

    def to_proto(self, export_scope: str | None = None) -> Any:
        """The QueueRunnerDef; None if the queue is not in the name scope ``export_scope``."""
        from kvarn import protos

        if export_scope is not None and not self.queue.name.startswith(export_scope):
            return None
        return protos.message("tensorflow.QueueRunnerDef")(
            queue_name=strip_name_scope(self.queue.name, export_scope),
            enqueue_op_name=[strip_name_scope(op.name, export_scope) for op in self.enqueue_ops],
            close_op_name=strip_name_scope(self.close_op.name, export_scope),
            cancel_op_name=strip_name_scope(self.cancel_op.name, export_scope),
            queue_closed_exception_types=[
                errors.error_code_from_exception_type(cls) for cls in self._queue_closed_exception_types
            ],
        )

    @staticmethod
    def from_proto(queue_runner_def: Any, import_scope: str | None = None) -> QueueRunner:
        """The QueueRunner of a QueueRunnerDef; its operations are those of the default graph."""
        return QueueRunner(queue_runner_def=queue_runner_def, import_scope=import_scope)


def add_queue_runner(qr: QueueRunner, collection: str = GraphKeys.QUEUE_RUNNERS) -> None:
    """Adds a QueueRunner to a collection, from which `start_queue_runners` takes it."""
    add_to_collection(collection, qr)


def start_queue_runners(
    sess: Any = None,
    coord: Coordinator | None = None,
    daemon: bool = True,
    start: bool = True,
    collection: str = GraphKeys.QUEUE_RUNNERS,
) -> list[threading.Thread]:
    """Starts all QueueRunners of a collection.

    Args:
      sess: the Session; the default session if None.  A monitored session has started them itself.
      coord, daemon, start: as of `QueueRunner.create_threads`.
      collection: the collection of the default graph.

    Returns:
      The threads.

    Raises:
      ValueError: there is no default session.
      TypeError: ``sess`` is no Session.
    """
    if sess is None:
        sess = get_default_session()
        if not sess:
            raise ValueError(
                "Cannot start queue runners: No default session is registered. Use `with sess.as_default()` or pass "
                "an explicit session to tf.start_queue_runners(sess=sess)"
            )
    if not isinstance(sess, BaseSession):
        if type(sess).__name__ in ("MonitoredSession", "SingularMonitoredSession"):
            return []
        raise TypeError(f"sess must be a `tf.Session` object. Given class: {type(sess)}")
    queue_runners = get_collection(collection)
    if not queue_runners:
        tf_logging.warning(
            "`tf.train.start_queue_runners()` was called when no queue runners were defined. You can safely remove "
            "the call to this deprecated function."
        )
    threads: list[threading.Thread] = []
    with sess.graph.as_default():
        for runner in queue_runners:
            threads.extend(runner.create_threads(sess, coord=coord, daemon=daemon, start=start))
    return threads


register_proto_function(
    GraphKeys.QUEUE_RUNNERS,
    proto_type="tensorflow.QueueRunnerDef",
    to_proto=QueueRunner.to_proto,
    from_proto=QueueRunner.from_proto,
)
