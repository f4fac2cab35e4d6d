"""`FileWriter`: summaries, graphs and logs of sessions as events.

Source: tensorflow/python/summary/writer/writer.py.
"""

from __future__ import annotations

import time
import warnings
from typing import Any, Final

import numpy as np

from kvarn import protos, tf_logging
from kvarn.graph import meta_graph
from kvarn.graph.graph import Graph
from kvarn.io import atomic_replace, file_system_of, join_path
from kvarn.summary import plugin_asset
from kvarn.summary.event_file_writer import EventFileWriter
from kvarn.summary.event_file_writer_v2 import EventFileWriterV2

_PLUGINS_DIR: Final = "plugins"


def _is_message(value: Any, name: str) -> bool:
    """Whether a value is a message of that name, of any copy of TensorFlow's messages."""
    return getattr(getattr(value, "DESCRIPTOR", None), "name", None) == name


class SummaryToEventTransformer:
    """Makes events of summaries, graphs and logs, and gives them to an event writer.

    Args:
      event_writer: has ``add_event`` and ``get_logdir``.
      graph: a Graph to begin with; written as GraphDef and as MetaGraphDef.
      graph_def: deprecated; a GraphDef instead of that.
    """

    def __init__(self, event_writer: Any, graph: Any = None, graph_def: Any = None) -> None:
        self.event_writer = event_writer
        self._session_run_tags: set[str] = set()
        # Metadata is written with the first value of a tag only.
        self._tags_with_metadata: set[str] = set()
        if graph is not None or graph_def is not None:
            written = self._graph_def_to_write(graph, graph_def)
            self._add_graph_def(written)
            self.add_meta_graph(meta_graph.create_meta_graph_def(graph_def=written))

    def add_summary(self, summary: Any, global_step: Any = None) -> None:
        """Adds a summary.

        Args:
          summary: a Summary message, or bytes of one, such as a summary operation returns.
          global_step: number, or an array of one.

        Raises:
          google.protobuf.message.DecodeError: the bytes are no Summary.
        """
        event = protos.Event()
        event.summary.SetInParent()
        event.summary.MergeFromString(summary if isinstance(summary, bytes) else summary.SerializeToString())
        for value in event.summary.value:
            if not value.HasField("metadata"):
                continue
            if value.tag in self._tags_with_metadata:
                value.ClearField("metadata")
            else:
                self._tags_with_metadata.add(value.tag)
        self._add_event(event, global_step)

    def add_session_log(self, session_log: Any, global_step: Any = None) -> None:
        """Adds a SessionLog message."""
        self._add_event(protos.Event(session_log=session_log), global_step)

    def add_graph(self, graph: Any, global_step: Any = None, graph_def: Any = None) -> None:
        """Adds a graph, with the shapes of its tensors.

        Args:
          graph: a Graph.
          graph_def: deprecated; a GraphDef instead of that.

        Raises:
          ValueError: both are given.
          TypeError: it is neither.
        """
        self._add_graph_def(self._graph_def_to_write(graph, graph_def), global_step)

    def _graph_def_to_write(self, graph: Any, graph_def: Any) -> Any:
        if graph is not None and graph_def is not None:
            raise ValueError("Please pass only graph, or graph_def (deprecated), but not both.")
        given = graph if graph is not None else graph_def
        if isinstance(given, Graph):
            if graph is None:
                tf_logging.warning(
                    "When passing a `Graph` object, please use the `graph` named argument instead of `graph_def`."
                )
            self._write_plugin_assets(given)
            return given.as_graph_def(add_shapes=True)
        if _is_message(given, "GraphDef"):
            tf_logging.warning(
                "Passing a `GraphDef` to the SummaryWriter is deprecated. Pass a `Graph` object instead, "
                "such as `sess.graph`."
            )
            return given
        raise TypeError("The passed graph must be an instance of `Graph` or the deprecated `GraphDef`")

    def _add_graph_def(self, graph_def: Any, global_step: Any = None) -> None:
        self._add_event(protos.Event(graph_def=protos.serialize(graph_def)), global_step)

    def _write_plugin_assets(self, graph: Graph) -> None:
        logdir = self.event_writer.get_logdir()
        for container in plugin_asset.get_all_plugin_assets(graph):
            folder = join_path(join_path(logdir, _PLUGINS_DIR), container.plugin_name)
            fs = file_system_of(folder)
            fs.make_directories(folder)
            for name, content in container.assets().items():
                data = content if isinstance(content, bytes) else content.encode()
                atomic_replace(fs, join_path(folder, name), data)

    def add_meta_graph(self, meta_graph_def: Any, global_step: Any = None) -> None:
        """Adds a MetaGraphDef message.

        Raises:
          TypeError: it is none.
        """
        if not _is_message(meta_graph_def, "MetaGraphDef"):
            raise TypeError(f"meta_graph_def must be type MetaGraphDef, saw type: {type(meta_graph_def)}")
        self._add_event(protos.Event(meta_graph_def=protos.serialize(meta_graph_def)), global_step)

    def add_run_metadata(self, run_metadata: Any, tag: str, global_step: Any = None) -> None:
        """Adds the RunMetadata message of a run under a tag.

        Raises:
          ValueError: the tag has been used.
        """
        if tag in self._session_run_tags:
            raise ValueError("The provided tag was already used for this event type")
        self._session_run_tags.add(tag)
        tagged = protos.TaggedRunMetadata(tag=tag, run_metadata=protos.serialize(run_metadata))
        self._add_event(protos.Event(tagged_run_metadata=tagged), global_step)

    def _add_event(self, event: Any, step: Any) -> None:
        event.wall_time = time.time()
        if step is not None:
            event.step = int(np.asarray(step).item())
        self.event_writer.add_event(event)


class FileWriter(SummaryToEventTransformer):
    """Writes summaries and events into an event file of a folder, in a thread of its own.

    Args:
      logdir: the folder; made if there is none.
      graph: a Graph to begin with.
      max_queue: how many events may wait before adding one waits, too.
      flush_secs: events are on disk after so many seconds.
      graph_def: deprecated; a GraphDef to begin with.
      filename_suffix: end of the file's name.
      session: events go through operations, which are added to its graph, into a file that all writers of this
        folder share that have the same session; there is no thread then.

    Raises:
      OpError: the folder or file cannot be made.
    """

    def __init__(
        self,
        logdir: Any,
        graph: Any = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        graph_def: Any = None,
        filename_suffix: str | None = None,
        session: Any = None,
    ) -> None:
        event_writer: Any
        if session is None:
            event_writer = EventFileWriter(logdir, max_queue, flush_secs, filename_suffix)
        else:
            event_writer = EventFileWriterV2(session, logdir, max_queue, flush_secs, filename_suffix)
        self._closed = False
        super().__init__(event_writer, graph, graph_def)

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def get_logdir(self) -> Any:
        """The folder."""
        return self.event_writer.get_logdir()

    def _warn_if_event_writer_is_closed(self) -> None:
        if self._closed:
            warnings.warn(
                "Attempting to use a closed FileWriter. The operation will be a noop unless the FileWriter is "
                "explicitly reopened.",
                stacklevel=3,
            )

    def _add_event(self, event: Any, step: Any) -> None:
        self._warn_if_event_writer_is_closed()
        super()._add_event(event, step)

    def add_event(self, event: Any) -> None:
        """Adds an Event message.

        Raises:
          TypeError: it is none.
        """
        self._warn_if_event_writer_is_closed()
        self.event_writer.add_event(event)

    def flush(self) -> None:
        """Returns when all events that were added are on disk."""
        self._warn_if_event_writer_is_closed()
        self.event_writer.flush()

    def close(self) -> None:
        """Writes what is pending and ends the file."""
        self.event_writer.close()
        self._closed = True

    def reopen(self) -> None:
        """After `close`: events can be added again, which go into a new file of the folder."""
        self.event_writer.reopen()
        self._closed = False
