"""Writers of event files that live in a session and are written through operations (`tf.contrib.summary`).

The writer in use and whether summaries are recorded count for one thread, while a graph is built.

Source: tensorflow/python/ops/summary_ops_v2.py, tensorflow/python/eager/context.py.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from kvarn.errors import UnimplementedError
from kvarn.graph.convert import constant
from kvarn.graph.graph import (
    GraphKeys,
    add_to_collection,
    control_dependencies,
    device,
    get_collection,
)
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops import math as math_ops
from kvarn.ops import summary_writer as writer_ops
from kvarn.ops.control import no_op

_INITIALIZERS: Final = "_SUMMARY_WRITER_V2"


class _Building(threading.local):
    """What counts for the graph that a thread builds.

    Attributes:
      writer: the writer in use, or None.
      recording: whether summaries are recorded: a bool, a tensor, or a function that returns one; None if nobody
        has said.
    """

    def __init__(self) -> None:
        self.writer: Any = None
        self.recording: Any = None


_building = _Building()


def current_writer() -> Any:
    """The writer that summaries go to, or None."""
    return _building.writer


def should_record_summaries() -> Tensor:
    """A bool tensor []: whether summaries are recorded; not, unless somebody has said so."""
    recording = _building.recording() if callable(_building.recording) else _building.recording
    recorded: Tensor = math_ops.logical_and(True, False if recording is None else recording)
    return recorded


@contextlib.contextmanager
def record_if(condition: Any) -> Iterator[None]:
    """A context in which ``condition`` says whether summaries are recorded.

    Args:
      condition: a bool, a bool tensor [], or a function that returns one.
    """
    before, _building.recording = _building.recording, condition
    try:
        yield
    finally:
        _building.recording = before


def always_record_summaries() -> contextlib.AbstractContextManager[None]:
    """A context in which all summaries are recorded."""
    return record_if(True)


def never_record_summaries() -> contextlib.AbstractContextManager[None]:
    """A context in which no summary is recorded."""
    return record_if(False)


class SummaryWriter(abc.ABC):
    """A writer for the summaries that a graph records."""

    @abc.abstractmethod
    def set_as_default(self) -> None:
        """Summaries of this thread go to this writer from now on."""

    @abc.abstractmethod
    def as_default(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which summaries of this thread go to this writer."""

    @abc.abstractmethod
    def init(self) -> Any:
        """An operation that makes the writer, in the session that runs it."""

    @abc.abstractmethod
    def flush(self) -> Any:
        """An operation that returns when all that was written is on disk."""

    @abc.abstractmethod
    def close(self) -> Any:
        """An operation that flushes and ends the writer."""


class ResourceSummaryWriter(SummaryWriter):
    """A writer that lives in the session.

    Args:
      shared_name: writers of one name are one writer.
      init_op_fn: makes, of the handle, the operation that makes the writer.
      name: of the operation of the handle.
    """

    def __init__(
        self, shared_name: str, init_op_fn: Callable[[Tensor], Operation], name: str | None = None
    ) -> None:
        self._resource = writer_ops.summary_writer(shared_name=shared_name, name=name)
        self._init_op_fn = init_op_fn
        add_to_collection(_INITIALIZERS, init_op_fn(self._resource))

    def set_as_default(self) -> None:
        _building.writer = self

    @contextlib.contextmanager
    def as_default(self) -> Iterator[ResourceSummaryWriter]:
        before, _building.writer = _building.writer, self
        try:
            yield self
            self.flush()
        finally:
            _building.writer = before

    def init(self) -> Operation:
        return self._init_op_fn(self._resource)

    def flush(self) -> Operation:
        return flush(writer=self)

    def close(self) -> Operation:
        with control_dependencies([self.flush()]), device("cpu:0"):
            closing: Operation = writer_ops.close_summary_writer(self._resource)
        return closing


class NoopSummaryWriter(SummaryWriter):
    """A writer that writes nothing."""

    def set_as_default(self) -> None:
        pass

    def as_default(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def init(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def create_file_writer(
    logdir: Any,
    max_queue: Any = None,
    flush_millis: Any = None,
    filename_suffix: Any = None,
    name: str | None = None,
) -> SummaryWriter:
    """A writer of an event file; it is there when `summary_writer_initializer_op` has run.

    Args:
      logdir: folder of the file; None for a writer that writes nothing.
      max_queue: more events than these are not kept in memory; 10 if None.
      flush_millis: so long events may be kept; two minutes if None.
      filename_suffix: end of the file's name; ``.v2`` if None.
      name: under which sessions share it; made of ``logdir`` if None.
    """
    if logdir is None:
        return NoopSummaryWriter()
    logdir = str(logdir)
    with device("cpu:0"):
        return ResourceSummaryWriter(
            shared_name=f"logdir:{logdir}" if name is None else name,
            init_op_fn=functools.partial(
                writer_ops.create_summary_file_writer,
                logdir=logdir,
                max_queue=constant(10) if max_queue is None else max_queue,
                flush_millis=constant(2 * 60 * 1000) if flush_millis is None else flush_millis,
                filename_suffix=constant(".v2") if filename_suffix is None else filename_suffix,
            ),
        )


def create_db_writer(*unused: Any, **unused_too: Any) -> SummaryWriter:
    """Raises UnimplementedError: there are no writers of databases."""
    raise UnimplementedError.of(
        "kvarn does not write summaries into databases",
        hint="Use create_file_writer, whose files TensorBoard reads.",
    )


def all_v2_summary_ops() -> list[Any]:
    """The operations that write summaries to `current_writer`, in the default graph."""
    return get_collection(GraphKeys._SUMMARY_COLLECTION)


def summary_writer_initializer_op() -> list[Operation]:
    """The operations that make all writers of the default graph."""
    return get_collection(_INITIALIZERS)


def import_event(tensor: Any, name: str | None = None) -> Operation:
    """An operation that writes a serialized Event message, whether summaries are recorded or not.

    Args:
      tensor: string [].
    """
    written: Operation = writer_ops.import_event(_building.writer._resource, tensor, name=name)
    return written


def flush(writer: Any = None, name: str | None = None) -> Operation:
    """An operation that returns when all that was written is on disk.

    Args:
      writer: the writer, or its handle; the writer in use if None, and if there is none, nothing happens.
    """
    writer = _building.writer if writer is None else writer
    if writer is None:
        return no_op()
    resource = writer._resource if isinstance(writer, ResourceSummaryWriter) else writer
    with device("cpu:0"):
        flushing: Operation = writer_ops.flush_summary_writer(resource, name=name)
    return flushing
