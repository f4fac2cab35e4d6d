"""Summaries as operations: each makes a serialized Summary message.

Source: tensorflow/core/ops/logging_ops.cc, tensorflow/core/kernels/summary_{op,image_op,audio_op,tensor_op}.cc.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors, protos
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.ops import _summaries


def _tag(value: Any, complaint: str) -> str:
    if np.ndim(value) != 0:
        raise errors.InvalidArgumentError.of(complaint)
    return _summaries.text_of(np.asarray(value, dtype=object).item())


def _serialized(summary: Any) -> Any:
    out = np.empty((), dtype=object)
    out[()] = protos.serialize(summary)
    return out


@op("ScalarSummary", inputs="tags: string, values: T", outputs="summary: string", attrs="T: realnumbertype")
class scalar_summary:
    """A Summary of numbers: ``values`` under ``tags``, both of one shape."""

    shape = shapes.scalar

    def kernel(ctx: Any, tags: Any, values: Any) -> Any:
        given = np.asarray(tags, dtype=object)
        if given.shape != np.shape(values):
            only = f" (tag '{_summaries.text_of(given.item())}')" if given.size == 1 else ""
            raise errors.InvalidArgumentError.of(
                f"tags and values not the same shape: {shapes.fmt(given.shape)} != "
                f"{shapes.fmt(np.shape(values))}{only}"
            )
        summary = protos.Summary()
        for tag, value in zip(given.reshape(-1), np.reshape(values, -1), strict=True):
            _summaries.add_scalar(summary, _summaries.text_of(tag), value)
        return _serialized(summary)

    grad = NOT_DIFFERENTIABLE


@op(
    "HistogramSummary",
    inputs="tag: string, values: T",
    outputs="summary: string",
    attrs="T: realnumbertype = DT_FLOAT",
)
class histogram_summary:
    """A Summary with the histogram of all elements of ``values``, which must be finite."""

    shape = shapes.scalar

    def kernel(ctx: Any, tag: Any, values: Any) -> Any:
        summary = protos.Summary()
        _summaries.add_histogram(summary, _tag(tag, "tags must be scalar"), values, ctx.op.name)
        return _serialized(summary)

    grad = NOT_DIFFERENTIABLE


@op(
    "ImageSummary",
    inputs="tag: string, tensor: T",
    outputs="summary: string",
    attrs=[
        "max_images: int >= 1 = 3",
        "T: {uint8, float, half, float64} = DT_FLOAT",
        "bad_color: tensor = { dtype: DT_UINT8 tensor_shape { dim { size: 4 } } int_val: [255, 0, 0, 255] }",
    ],
)
class image_summary:
    """A Summary of the first ``max_images`` images of ``tensor`` [batch, height, width, 1, 3 or 4] as PNG files."""

    shape = shapes.scalar

    def kernel(ctx: Any, tag: Any, tensor: Any) -> Any:
        limit, bad_color = ctx.attrs["max_images"], ctx.attrs["bad_color"]
        if limit >= 1 << 31:
            raise errors.InvalidArgumentError.of("max_images must be < 2^31")
        if bad_color.array.dtype != np.uint8:
            raise errors.InvalidArgumentError.of(f"bad_color must be uint8, got {bad_color.dtype.name}")
        if bad_color.array.ndim != 1:
            raise errors.InvalidArgumentError.of(
                f"bad_color must be a vector, got shape {shapes.fmt(bad_color.array.shape)}"
            )
        summary = protos.Summary()
        name = _tag(tag, "Tags must be a scalar")
        if tensor.ndim == 4 and tensor.shape[3] in (1, 3, 4) and 0 in tensor.shape[1:3]:
            found = ", ".join(str(n) for n in tensor.shape)
            raise errors.InvalidArgumentError.of(f"input tensor must have non-zero dims. Found: [{found}].")
        _summaries.add_images(summary, name, tensor, limit, bad_color.array)
        return _serialized(summary)

    grad = NOT_DIFFERENTIABLE


@op(
    "AudioSummaryV2",
    inputs="tag: string, tensor: float, sample_rate: float",
    outputs="summary: string",
    attrs="max_outputs: int >= 1 = 3",
)
class audio_summary_v2:
    """A Summary of the first ``max_outputs`` sounds of ``tensor`` [batch, frames(, channels)] as WAV files."""

    shape = shapes.scalar

    def kernel(ctx: Any, tag: Any, tensor: Any, sample_rate: Any) -> Any:
        summary = protos.Summary()
        name = _tag(tag, "Tag must be a scalar")
        _summaries.add_sounds(summary, name, tensor, ctx.attrs["max_outputs"], sample_rate)
        return _serialized(summary)

    grad = NOT_DIFFERENTIABLE


@op(
    "AudioSummary",
    inputs="tag: string, tensor: float",
    outputs="summary: string",
    attrs=["sample_rate: float", "max_outputs: int >= 1 = 3"],
    deprecated=(15, "Use AudioSummaryV2."),
)
class audio_summary:
    """AudioSummaryV2 as graphs from before 2016 have it: with the rate as an attribute."""

    shape = shapes.scalar

    def kernel(ctx: Any, tag: Any, tensor: Any) -> Any:
        summary = protos.Summary()
        name = _tag(tag, "Tag must be a scalar")
        _summaries.add_sounds(summary, name, tensor, ctx.attrs["max_outputs"], ctx.attrs["sample_rate"])
        return _serialized(summary)

    grad = NOT_DIFFERENTIABLE


@op(
    "TensorSummaryV2",
    inputs="tag: string, tensor: T, serialized_summary_metadata: string",
    outputs="summary: string",
    attrs="T: type",
)
class tensor_summary_v2:
    """A Summary of a tensor of any shape and type, with metadata for the plugin that shows it."""

    shape = shapes.scalar

    def kernel(ctx: Any, tag: Any, tensor: Any, serialized_summary_metadata: Any) -> Any:
        summary = protos.Summary()
        value = summary.value.add(tag=_tag(tag, "tag must be scalar"))
        _summaries.fill_tensor(value.tensor, tensor, ctx.attrs["T"])
        value.metadata.SetInParent()
        _summaries.fill_metadata(value, np.asarray(serialized_summary_metadata, dtype=object).item())
        return _serialized(summary)

    grad = NOT_DIFFERENTIABLE


@op(
    "TensorSummary",
    inputs="tensor: T",
    outputs="summary: string",
    attrs=[
        "T: type",
        "description: string = ''",
        "labels: list(string) = []",
        "display_name: string = ''",
    ],
)
class tensor_summary:
    """A Summary of a tensor under the name of the node."""

    shape = shapes.scalar

    def kernel(ctx: Any, tensor: Any) -> Any:
        summary = protos.Summary()
        value = summary.value.add(node_name=ctx.op.name)
        _summaries.fill_tensor(value.tensor, tensor, ctx.attrs["T"])
        return _serialized(summary)

    grad = NOT_DIFFERENTIABLE


@op("MergeSummary", inputs="inputs: N * string", outputs="summary: string", attrs="N: int >= 1")
class merge_summary:
    """One Summary of all values of several; no tag may come twice."""

    shape = shapes.scalar

    def kernel(ctx: Any, inputs: Any) -> Any:
        summary = protos.Summary()
        tags: set[str] = set()
        complaint = errors.InvalidArgumentError.of("Could not parse one of the summary inputs")
        for given in inputs:
            for data in np.asarray(given, dtype=object).reshape(-1):
                for value in _summaries.parsed("Summary", data, complaint).value:
                    if value.tag in tags:
                        raise errors.InvalidArgumentError.of(
                            f"Duplicate tag {value.tag} found in summary inputs"
                        )
                    if value.tag:
                        tags.add(value.tag)
                    summary.value.add().CopyFrom(value)
        return _serialized(summary)

    grad = NOT_DIFFERENTIABLE
