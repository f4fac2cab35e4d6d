"""Writers of event files as resources of a session, and operations that write through them.

Source: tensorflow/core/ops/summary_ops.cc, tensorflow/core/kernels/summary_kernels.cc,
tensorflow/core/summary/{summary_file_writer,summary_converter}.cc.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from kvarn import errors, protos
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.resources import ResourceHandle
from kvarn.ops import _summaries
from kvarn.ops._summary_file_writer import SummaryFileWriter

_KIND = "SummaryWriterInterface"


def _bytes(value: Any) -> bytes:
    found: bytes = np.asarray(value, dtype=object).item()
    return found


def _text(value: Any) -> str:
    return _summaries.text_of(_bytes(value))


def _writer(ctx: Any, handle: Any) -> SummaryFileWriter:
    found: SummaryFileWriter = ctx.resources.look_up(handle)
    return found


@op(
    "SummaryWriter",
    outputs="writer: resource",
    attrs=["shared_name: string = ''", "container: string = ''"],
)
class summary_writer:
    """The handle of a writer; `create_summary_file_writer` makes what it stands for."""

    shape = shapes.scalar

    def kernel(ctx: Any) -> Any:
        return ResourceHandle(ctx.attrs["container"].decode(), ctx.attrs["shared_name"].decode(), _KIND)

    grad = NOT_DIFFERENTIABLE


@op(
    "CreateSummaryFileWriter",
    inputs=[
        "writer: resource",
        "logdir: string",
        "max_queue: int32",
        "flush_millis: int32",
        "filename_suffix: string",
    ],
)
class create_summary_file_writer:
    """Makes the writer of an event file in the folder ``logdir``; nothing if the handle stands for one already."""

    shape = shapes.no_outputs

    def kernel(
        ctx: Any, writer: Any, logdir: Any, max_queue: Any, flush_millis: Any, filename_suffix: Any
    ) -> None:
        ctx.resources.look_up_or_create(
            writer,
            lambda: SummaryFileWriter(
                os.fsdecode(_bytes(logdir)),
                int(max_queue),
                int(flush_millis),
                os.fsdecode(_bytes(filename_suffix)),
            ),
        )

    grad = NOT_DIFFERENTIABLE


@op("FlushSummaryWriter", inputs="writer: resource")
class flush_summary_writer:
    """Returns when all events that were written are on disk."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any) -> None:
        _writer(ctx, writer).flush()

    grad = NOT_DIFFERENTIABLE


@op("CloseSummaryWriter", inputs="writer: resource")
class close_summary_writer:
    """Removes the writer, which ends its file."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any) -> None:
        ctx.resources.delete(writer)

    grad = NOT_DIFFERENTIABLE


@op(
    "WriteSummary",
    inputs=["writer: resource", "step: int64", "tensor: T", "tag: string", "summary_metadata: string"],
    attrs="T: type",
)
class write_summary:
    """Writes a summary of a tensor, with metadata for the plugin that shows it."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any, step: Any, tensor: Any, tag: Any, summary_metadata: Any) -> None:
        found = _writer(ctx, writer)
        summary = protos.Summary()
        value = summary.value.add(tag=_text(tag))
        _summaries.fill_tensor(value.tensor, tensor, ctx.attrs["T"])
        _summaries.fill_metadata(value, _bytes(summary_metadata))
        found.write_summary(int(step), summary)

    grad = NOT_DIFFERENTIABLE


@op("WriteRawProtoSummary", inputs=["writer: resource", "step: int64", "tensor: string"])
class write_raw_proto_summary:
    """Writes serialized Summary messages as one."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any, step: Any, tensor: Any) -> None:
        found = _writer(ctx, writer)
        if np.ndim(step) != 0:
            raise errors.InvalidArgumentError.of(
                f"step must be scalar, got shape {shapes.fmt(np.shape(step))}"
            )
        summary = protos.Summary()
        for i, data in enumerate(np.asarray(tensor, dtype=object).reshape(-1)):
            complaint = errors.DataLossError.of(
                f"Bad tf.compat.v1.Summary binary proto tensor string at index {i}"
            )
            summary.MergeFrom(_summaries.parsed("Summary", data, complaint))
        found.write_summary(int(step), summary)

    grad = NOT_DIFFERENTIABLE


@op("ImportEvent", inputs=["writer: resource", "event: string"])
class import_event:
    """Writes a serialized Event message."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any, event: Any) -> None:
        found = _writer(ctx, writer)
        complaint = errors.DataLossError.of("Bad tf.Event binary proto tensor string")
        found.write(_summaries.parsed("Event", _bytes(event), complaint))

    grad = NOT_DIFFERENTIABLE


@op(
    "WriteScalarSummary",
    inputs=["writer: resource", "step: int64", "tag: string", "value: T"],
    attrs="T: realnumbertype",
)
class write_scalar_summary:
    """Writes a summary of a number: the first of ``value``."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any, step: Any, tag: Any, value: Any) -> None:
        found = _writer(ctx, writer)
        if not np.size(value):
            raise errors.InvalidArgumentError.of("A scalar summary needs a value, not an empty tensor")
        summary = protos.Summary()
        _summaries.add_scalar(summary, _text(tag), np.reshape(value, -1)[0])
        found.write_summary(int(step), summary)

    grad = NOT_DIFFERENTIABLE


@op(
    "WriteHistogramSummary",
    inputs=["writer: resource", "step: int64", "tag: string", "values: T"],
    attrs="T: realnumbertype = DT_FLOAT",
)
class write_histogram_summary:
    """Writes a summary with the histogram of all elements of ``values``, which must be finite."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any, step: Any, tag: Any, values: Any) -> None:
        found = _writer(ctx, writer)
        summary = protos.Summary()
        _summaries.add_histogram(summary, _text(tag), values, owner=_text(tag))
        found.write_summary(int(step), summary)

    grad = NOT_DIFFERENTIABLE


@op(
    "WriteImageSummary",
    inputs=["writer: resource", "step: int64", "tag: string", "tensor: T", "bad_color: uint8"],
    attrs=["max_images: int >= 1 = 3", "T: {uint8, float, half} = DT_FLOAT"],
)
class write_image_summary:
    """Writes a summary of the first ``max_images`` images of ``tensor`` [batch, height, width, 1, 3 or 4]."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any, step: Any, tag: Any, tensor: Any, bad_color: Any) -> None:
        limit = ctx.attrs["max_images"]
        if limit >= 1 << 31:
            raise errors.InvalidArgumentError.of("max_images must be < 2^31")
        found = _writer(ctx, writer)
        if np.ndim(bad_color) != 1:
            raise errors.InvalidArgumentError.of(
                f"bad_color must be a vector, got shape {shapes.fmt(np.shape(bad_color))}"
            )
        summary = protos.Summary()
        _summaries.add_images(summary, _text(tag), tensor, limit, bad_color)
        found.write_summary(int(step), summary)

    grad = NOT_DIFFERENTIABLE


@op(
    "WriteAudioSummary",
    inputs=["writer: resource", "step: int64", "tag: string", "tensor: float", "sample_rate: float"],
    attrs="max_outputs: int >= 1 = 3",
)
class write_audio_summary:
    """Writes a summary of the first ``max_outputs`` sounds of ``tensor`` [batch, frames(, channels)]."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any, step: Any, tag: Any, tensor: Any, sample_rate: Any) -> None:
        found = _writer(ctx, writer)
        summary = protos.Summary()
        _summaries.add_sounds(summary, _text(tag), tensor, ctx.attrs["max_outputs"], sample_rate)
        found.write_summary(int(step), summary)

    grad = NOT_DIFFERENTIABLE


@op("WriteGraphSummary", inputs=["writer: resource", "step: int64", "tensor: string"])
class write_graph_summary:
    """Writes a serialized GraphDef message."""

    shape = shapes.no_outputs

    def kernel(ctx: Any, writer: Any, step: Any, tensor: Any) -> None:
        found = _writer(ctx, writer)
        complaint = errors.DataLossError.of("Bad tf.GraphDef binary proto tensor string")
        graph_def = _summaries.parsed("GraphDef", _bytes(tensor), complaint)
        found.write(
            protos.Event(wall_time=time.time(), step=int(step), graph_def=protos.serialize(graph_def))
        )

    grad = NOT_DIFFERENTIABLE
