"""`tf.summary`: operations that make serialized Summary messages.

Each summary is added to ``collections``, by default to `GraphKeys.SUMMARIES`, from where `merge_all` takes it.
``name`` becomes the node's name and, unless a ``family`` stands in front, the tag.  All return a string tensor [].

Source: tensorflow/python/summary/summary.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kvarn import dtypes, protos
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GraphKeys, get_collection, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import summary as summary_ops
from kvarn.summary.summary_op_util import clean_tag, collect, summary_scope

__all__ = [
    "audio", "get_summary_description", "histogram", "image", "merge", "merge_all", "scalar", "tensor_summary",
    "text",
]  # fmt: skip

_Collections = Iterable[Any] | None


def scalar(name: str, tensor: Any, collections: _Collections = None, family: str | None = None) -> Tensor:
    """A summary of one number.

    Args:
      tensor: of a real type, [].
    """
    with summary_scope(name, family, values=[tensor]) as (tag, scope):
        summary = summary_ops.scalar_summary(tags=tag, values=tensor, name=scope)
        collect(summary, collections, [GraphKeys.SUMMARIES])
    return summary


def image(
    name: str, tensor: Any, max_outputs: int = 3, collections: _Collections = None, family: str | None = None
) -> Tensor:
    """A summary of images; tags end in ``/image``, or ``/image/0`` and so on if there may be several.

    Args:
      tensor: uint8, or floats, which are scaled, [batch, height, width, channels]; 1 channel is gray, 3 are RGB,
        4 RGBA.
      max_outputs: how many images of the batch.
    """
    with summary_scope(name, family, values=[tensor]) as (tag, scope):
        summary = summary_ops.image_summary(tag=tag, tensor=tensor, max_images=max_outputs, name=scope)
        collect(summary, collections, [GraphKeys.SUMMARIES])
    return summary


def histogram(name: str, values: Any, collections: _Collections = None, family: str | None = None) -> Tensor:
    """A summary of the distribution of all elements, which must be finite.

    Args:
      values: of a real type, any shape.
    """
    with summary_scope(name, family, values=[values], default_name="HistogramSummary") as (tag, scope):
        summary = summary_ops.histogram_summary(tag=tag, values=values, name=scope)
        collect(summary, collections, [GraphKeys.SUMMARIES])
    return summary


def audio(
    name: str,
    tensor: Any,
    sample_rate: Any,
    max_outputs: int = 3,
    collections: _Collections = None,
    family: str | None = None,
) -> Tensor:
    """A summary of sounds; tags end in ``/audio``, or ``/audio/0`` and so on if there may be several.

    Args:
      tensor: float32 from -1 to 1, [batch, frames] or [batch, frames, channels].
      sample_rate: float32 [], frames a second.
      max_outputs: how many sounds of the batch.
    """
    with summary_scope(name, family=family, values=[tensor]) as (tag, scope):
        sample_rate = convert_to_tensor(sample_rate, dtype=dtypes.float32, name="sample_rate")
        summary = summary_ops.audio_summary_v2(
            tag=tag, tensor=tensor, max_outputs=max_outputs, sample_rate=sample_rate, name=scope
        )
        collect(summary, collections, [GraphKeys.SUMMARIES])
    return summary


def text(name: str, tensor: Tensor, collections: _Collections = None) -> Tensor:
    """A summary of texts, which TensorBoard shows as Markdown.

    Args:
      tensor: strings, any shape.

    Raises:
      ValueError: it is of another type.
    """
    if tensor.dtype != dtypes.string:
        raise ValueError(f"Expected tensor {tensor.name} to have dtype string, got {tensor.dtype}")
    metadata = protos.SummaryMetadata(plugin_data=protos.SummaryMetadata.PluginData(plugin_name="text"))
    return tensor_summary(name=name, tensor=tensor, summary_metadata=metadata, collections=collections)


def tensor_summary(
    name: str,
    tensor: Any,
    summary_description: str | None = None,
    collections: _Collections = None,
    summary_metadata: Any = None,
    family: str | None = None,
    display_name: str | None = None,
) -> Tensor:
    """A summary of any tensor, for plugins of TensorBoard.

    Args:
      tensor: any type and shape.
      summary_description: a long text.
      summary_metadata: SummaryMetadata message; description and name are put into it.
      display_name: what TensorBoard shows in place of the tag.
    """
    metadata = protos.SummaryMetadata() if summary_metadata is None else summary_metadata
    if summary_description is not None:
        metadata.summary_description = summary_description
    if display_name is not None:
        metadata.display_name = display_name
    with summary_scope(name, family, values=[tensor]) as (tag, scope):
        summary = summary_ops.tensor_summary_v2(
            tensor=tensor, tag=tag, name=scope, serialized_summary_metadata=metadata.SerializeToString()
        )
        collect(summary, collections, [GraphKeys.SUMMARIES])
    return summary


def merge(inputs: Sequence[Any], collections: _Collections = None, name: str | None = None) -> Tensor:
    """One summary of all values of several.

    Args:
      inputs: string tensors of serialized summaries; when it runs, a tag that comes twice is an error.
      collections: where the result goes; nowhere if None.
    """
    name = clean_tag(name)
    with name_scope(name, "Merge", inputs):
        summary = summary_ops.merge_summary(inputs=inputs, name=name)
        collect(summary, collections, [])
    return summary


def merge_all(
    key: Any = GraphKeys.SUMMARIES, scope: str | None = None, name: str | None = None
) -> Tensor | None:
    """One summary of all in a collection of the default graph; None if there are none.

    Args:
      key: of the collection.
      scope: only those whose names match this regular expression at their beginning.
    """
    summaries = get_collection(key, scope)
    return merge(summaries, name=name) if summaries else None


def get_summary_description(node_def: Any) -> Any:
    """The SummaryDescription that a TensorSummary node holds as JSON.

    Raises:
      ValueError: it is a node of another op.
    """
    from google.protobuf import json_format

    if node_def.op != "TensorSummary":
        raise ValueError(f"Can't get_summary_description on {node_def.op}")
    return json_format.Parse(node_def.attr["description"].s.decode(), protos.SummaryDescription())
