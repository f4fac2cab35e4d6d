"""Summaries as programs of before 2017 make them: under tags of their own, which may be tensors.

Each goes to ``collections``, by default `GraphKeys.SUMMARIES`.  All return a string tensor [].

Source: tensorflow/python/ops/logging_ops.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GraphKeys, add_to_collection, get_collection, name_scope
from kvarn.graph.tensor import Tensor
from kvarn.ops import summary as summary_ops
from kvarn.summary.summary_op_util import collect

_Collections = Iterable[Any] | None


def scalar_summary(
    tags: Any, values: Any, collections: _Collections = None, name: str | None = None
) -> Tensor:
    """A summary of numbers.

    Args:
      tags: strings.
      values: of a real type, of the shape of ``tags``.
    """
    with name_scope(name, "ScalarSummary", [tags, values]) as scope:
        summary = summary_ops.scalar_summary(tags=tags, values=values, name=scope)
        collect(summary, collections, [GraphKeys.SUMMARIES])
    return summary


def histogram_summary(
    tag: Any, values: Any, collections: _Collections = None, name: str | None = None
) -> Tensor:
    """A summary of the distribution of all elements, which must be finite.

    Args:
      tag: string [].
      values: of a real type, any shape.
    """
    with name_scope(name, "HistogramSummary", [tag, values]) as scope:
        summary = summary_ops.histogram_summary(tag=tag, values=values, name=scope)
        collect(summary, collections, [GraphKeys.SUMMARIES])
    return summary


def image_summary(
    tag: Any, tensor: Any, max_images: int = 3, collections: _Collections = None, name: str | None = None
) -> Tensor:
    """A summary of images.

    Args:
      tag: string []; its end is as of `kvarn.summary.summary.image`.
      tensor: uint8, or floats, which are scaled, [batch, height, width, 1, 3 or 4].
      max_images: how many images of the batch.
    """
    with name_scope(name, "ImageSummary", [tag, tensor]) as scope:
        summary = summary_ops.image_summary(tag=tag, tensor=tensor, max_images=max_images, name=scope)
        collect(summary, collections, [GraphKeys.SUMMARIES])
    return summary


def audio_summary(
    tag: Any,
    tensor: Any,
    sample_rate: Any,
    max_outputs: int = 3,
    collections: _Collections = None,
    name: str | None = None,
) -> Tensor:
    """A summary of sounds.

    Args:
      tag: string []; its end is as of `kvarn.summary.summary.audio`.
      tensor: float32 from -1 to 1, [batch, frames] or [batch, frames, channels].
      sample_rate: float32 [], frames a second.
      max_outputs: how many sounds of the batch.
    """
    with name_scope(name, "AudioSummary", [tag, tensor]) as scope:
        sample_rate = convert_to_tensor(sample_rate, dtype=dtypes.float32, name="sample_rate")
        summary = summary_ops.audio_summary_v2(
            tag=tag, tensor=tensor, max_outputs=max_outputs, sample_rate=sample_rate, name=scope
        )
        collect(summary, collections, [GraphKeys.SUMMARIES])
    return summary


def merge_summary(inputs: Sequence[Any], collections: _Collections = None, name: str | None = None) -> Tensor:
    """One summary of all values of several; it goes to no collection unless told."""
    with name_scope(name, "MergeSummary", inputs):
        summary = summary_ops.merge_summary(inputs=inputs, name=name)
        collect(summary, collections, [])
    return summary


def merge_all_summaries(key: Any = GraphKeys.SUMMARIES) -> Tensor | None:
    """One summary of all in a collection of the default graph; None if there are none."""
    summaries = get_collection(key)
    return merge_summary(summaries) if summaries else None


def get_summary_op() -> Tensor | None:
    """The first of collection `GraphKeys.SUMMARY_OP`, where `merge_all_summaries` is put if it is empty."""
    found: list[Tensor] = get_collection(GraphKeys.SUMMARY_OP)
    if found:
        return found[0]
    merged = merge_all_summaries()
    if merged is not None:
        add_to_collection(GraphKeys.SUMMARY_OP, merged)
    return merged
