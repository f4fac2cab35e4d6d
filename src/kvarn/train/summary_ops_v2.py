"""`tf.contrib.summary`: operations that write summaries, at the global step, to a writer in the session.

    writer = create_file_writer("logs")
    with writer.as_default(), always_record_summaries():
        scalar("loss", loss)
    initialize(graph)                                   in the session, before
    session.run([train_op, all_v2_summary_ops()])

Each takes a ``family``, which stands in front of the tag, and a ``step``, int64 [], which is the global step if it is
None; the operations are collected for `all_v2_summary_ops`.  Without a writer there are none.

Source: tensorflow/python/ops/summary_ops_v2.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from kvarn import dtypes, protos
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import (
    Graph,
    GraphKeys,
    add_to_collection,
    control_dependencies,
    device,
    get_default_graph,
    name_scope,
)
from kvarn.graph.operation import Operation
from kvarn.graph.session import get_default_session
from kvarn.graph.tensor import Tensor
from kvarn.ops import array
from kvarn.ops import summary_writer as writer_ops
from kvarn.ops.control import no_op
from kvarn.ops.math import equal
from kvarn.ops.smart_cond import smart_cond
from kvarn.summary.resource_writer import (
    NoopSummaryWriter,
    ResourceSummaryWriter,
    SummaryWriter,
    all_v2_summary_ops,
    always_record_summaries,
    create_db_writer,
    create_file_writer,
    current_writer,
    flush,
    import_event,
    never_record_summaries,
    record_if,
    should_record_summaries,
    summary_writer_initializer_op,
)
from kvarn.summary.summary_op_util import summary_scope
from kvarn.train import training_util

__all__ = [
    "NoopSummaryWriter", "ResourceSummaryWriter", "SummaryWriter", "all_v2_summary_ops", "always_record_summaries",
    "audio", "create_db_writer", "create_file_writer", "eval_dir", "flush", "generic", "graph", "histogram", "image",
    "import_event", "initialize", "never_record_summaries", "record_if", "record_summaries_every_n_global_steps",
    "scalar", "should_record_summaries", "summary_writer_function", "summary_writer_initializer_op",
]  # fmt: skip


def record_summaries_every_n_global_steps(n: int, global_step: Any = None) -> Any:
    """A context in which summaries are recorded if the global step divides by ``n``."""
    step = training_util.get_or_create_global_step() if global_step is None else global_step
    with device("cpu:0"):
        return record_if(equal(step % n, 0))


def summary_writer_function(
    name: str, tensor: Any, function: Callable[[str, str], Operation], family: str | None = None
) -> Any:
    """What records a summary: a bool tensor [], or an operation that does nothing if there is no writer.

    Args:
      name: of the summary.
      tensor: what it is of.
      function: builds, of a tag and a name, the operation that writes it.
    """
    around = get_default_graph().get_name_scope()

    def record() -> Any:
        with (
            name_scope(around + "/" if around else around),
            summary_scope(name, family, values=[tensor]) as (tag, scope),
            control_dependencies([function(tag, scope)]),
        ):
            return constant(True)

    if current_writer() is None:
        return no_op()
    with device("cpu:0"):
        recorded = smart_cond(should_record_summaries(), record, lambda: constant(False), name="")
        add_to_collection(GraphKeys._SUMMARY_COLLECTION, recorded)
    return recorded


def generic(name: str, tensor: Any, metadata: Any = None, family: str | None = None, step: Any = None) -> Any:
    """Records a tensor of any type and shape.

    Args:
      metadata: SummaryMetadata message, or a string tensor [] of one, for the plugin that shows it.
    """

    def write(tag: str, scope: str) -> Operation:
        if metadata is None:
            serialized: Any = constant("")
        elif hasattr(metadata, "SerializeToString"):
            serialized = constant(metadata.SerializeToString())
        else:
            serialized = metadata
        resource = current_writer()._resource
        written: Operation = writer_ops.write_summary(
            resource, _step(step), array.identity(tensor), tag, serialized, name=scope
        )
        return written

    return summary_writer_function(name, tensor, write, family=family)


def scalar(name: str, tensor: Any, family: str | None = None, step: Any = None) -> Any:
    """Records a number.

    Args:
      tensor: of a real type, [].
    """

    def write(tag: str, scope: str) -> Operation:
        resource = current_writer()._resource
        written: Operation = writer_ops.write_scalar_summary(
            resource, _step(step), tag, array.identity(tensor), name=scope
        )
        return written

    return summary_writer_function(name, tensor, write, family=family)


def histogram(name: str, tensor: Any, family: str | None = None, step: Any = None) -> Any:
    """Records the distribution of all elements.

    Args:
      tensor: of a real type, any shape.
    """

    def write(tag: str, scope: str) -> Operation:
        resource = current_writer()._resource
        written: Operation = writer_ops.write_histogram_summary(
            resource, _step(step), tag, array.identity(tensor), name=scope
        )
        return written

    return summary_writer_function(name, tensor, write, family=family)


def image(
    name: str,
    tensor: Any,
    bad_color: Any = None,
    max_images: int = 3,
    family: str | None = None,
    step: Any = None,
) -> Any:
    """Records images.

    Args:
      tensor: uint8, or floats, which are scaled, [batch, height, width, 1, 3 or 4].
      bad_color: uint8 [channels], for what is not finite; red if None.
      max_images: how many images of the batch.
    """

    def write(tag: str, scope: str) -> Operation:
        color = constant([255, 0, 0, 255], dtype=dtypes.uint8) if bad_color is None else bad_color
        resource = current_writer()._resource
        written: Operation = writer_ops.write_image_summary(
            resource, _step(step), tag, array.identity(tensor), color, max_images, name=scope
        )
        return written

    return summary_writer_function(name, tensor, write, family=family)


def audio(
    name: str, tensor: Any, sample_rate: Any, max_outputs: int, family: str | None = None, step: Any = None
) -> Any:
    """Records sounds.

    Args:
      tensor: float32 from -1 to 1, [batch, frames] or [batch, frames, channels].
      sample_rate: float32 [], frames a second.
      max_outputs: how many sounds of the batch.
    """

    def write(tag: str, scope: str) -> Operation:
        resource = current_writer()._resource
        written: Operation = writer_ops.write_audio_summary(
            resource,
            _step(step),
            tag,
            array.identity(tensor),
            sample_rate=sample_rate,
            max_outputs=max_outputs,
            name=scope,
        )
        return written

    return summary_writer_function(name, tensor, write, family=family)


def graph(param: Tensor, step: Any = None, name: str | None = None) -> Operation:
    """An operation that writes a graph, whether summaries are recorded or not.

    Args:
      param: string [], a serialized GraphDef message.

    Raises:
      TypeError: it is no tensor.
    """
    if not isinstance(param, Tensor):
        raise TypeError(
            f"graph() needs a tf.Tensor (e.g. tf.placeholder) in graph mode, but was: {type(param)}"
        )
    writer = current_writer()
    if writer is None:
        return no_op()
    with device("cpu:0"):
        tensor = array.identity(param)
        written: Operation = writer_ops.write_graph_summary(writer._resource, _step(step), tensor, name=name)
    return written


def initialize(graph: Any = None, session: Any = None) -> None:
    """Makes the writers of the default graph in a session.

    Args:
      graph: a Graph, or a GraphDef message, to be written at step 0; none if None.
      session: the default session if None.

    Raises:
      RuntimeError: no writer is in use.
      ValueError: there is no session.
    """
    if current_writer() is None:
        raise RuntimeError("No default tf.contrib.summary.SummaryWriter found")
    session = get_default_session() if session is None else session
    if session is None:
        raise ValueError("session must be passed if no default session exists")
    session.run(summary_writer_initializer_op())
    if graph is not None:
        written = graph.as_graph_def(add_shapes=True) if isinstance(graph, Graph) else graph
        placeholder = array.placeholder(dtypes.string)
        writing = _write_graph(placeholder, 0)
        session.run(writing, feed_dict={placeholder: protos.serialize(written)})


_write_graph = graph


def eval_dir(model_dir: str, name: str | None = None) -> str:
    """The folder for summaries of an evaluation, of that name."""
    return os.path.join(model_dir, f"eval_{name}" if name else "eval")


def _step(step: Any) -> Any:
    if step is None:
        return training_util.get_or_create_global_step()
    return step if isinstance(step, Tensor) else convert_to_tensor(step, dtypes.int64)
