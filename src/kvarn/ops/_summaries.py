"""What summaries are made of: messages of values, histograms, images and sounds under tags.

Source: tensorflow/core/kernels/summary_{op,image_op,audio_op,tensor_op}.cc, core/summary/summary_converter.cc.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kvarn import errors, protos
from kvarn.dtypes import DType
from kvarn.graph import shape_inference as shapes
from kvarn.graph import tensor_proto
from kvarn.ops import _histogram, _png, _wav
from kvarn.ops._format import type_text

_NEARLY_ZERO: Final = np.float32(1e-6)


def text_of(value: bytes) -> str:
    """A tag, which messages hold as text.

    Raises:
      InvalidArgumentError: it is not UTF-8.
    """
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise errors.InvalidArgumentError.of(f"The tag of a summary is not UTF-8: {value!r}") from error


def add_scalar(summary: Any, tag: str, value: Any) -> None:
    """Adds a number, as a float32."""
    with np.errstate(over="ignore"):
        summary.value.add(tag=tag, simple_value=float(np.asarray(value).astype(np.float32)))


def add_histogram(summary: Any, tag: str, values: Any, owner: str) -> None:
    """Adds the histogram of all elements.

    Raises:
      InvalidArgumentError: one is not finite; the message names ``owner``.
    """
    numbers = np.asarray(values).astype(np.float64).reshape(-1)
    finite = np.isfinite(numbers)
    if not finite.all():
        kind = "Nan" if np.isnan(numbers[np.argmin(finite)]) else "Infinity"
        raise errors.InvalidArgumentError.of(f"{kind} in summary histogram for: {owner}")
    value = summary.value.add(tag=tag)
    value.histo.SetInParent()
    _histogram.fill(value.histo, numbers)


def add_images(summary: Any, tag: str, images: Any, limit: int, bad_color: Any) -> None:
    """Adds the first ``limit`` images of a batch as PNG files.

    Args:
      images: [batch, height, width, 1, 3 or 4]; uint8 as it is, floats are scaled to 0..255, each image for itself.
      bad_color: uint8 [at least as many as channels], for pixels of floats that are not finite.

    Raises:
      InvalidArgumentError: the shapes are others.
    """
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        raise errors.InvalidArgumentError.of(
            f"Tensor must be 4-D with last dim 1, 3, or 4, not {shapes.fmt(images.shape)}"
        )
    _, height, width, depth = images.shape
    if max(images.shape[:3]) >= 1 << 31 or height * width >= 1 << 29:
        raise errors.InvalidArgumentError.of(f"Tensor too large for summary {shapes.fmt(images.shape)}")
    if images.dtype != np.uint8 and bad_color.shape[0] < depth:
        raise errors.InvalidArgumentError.of(
            f"expected depth <= bad_color.size, got depth = {depth}, bad_color.size = {bad_color.shape[0]}"
        )
    for i, image in enumerate(images[:limit]):
        if not image.size:
            raise errors.InternalError.of("PNG encoding failed")
        pixels = image if image.dtype == np.uint8 else _scaled(image, bad_color[:depth])
        value = summary.value.add(tag=_numbered(f"{tag}/image", i, limit))
        value.image.height, value.image.width, value.image.colorspace = height, width, depth
        value.image.encoded_image_string = _png.encode(pixels)


def _scaled(image: Any, bad_color: Any) -> Any:
    """Floats as uint8: the largest becomes 255, or with negative ones, zero 128 and the farthest from it 1 or 255."""
    finite = np.isfinite(image).all(axis=2)
    kind = image.dtype.type
    with np.errstate(over="ignore", invalid="ignore"):
        seen = image[finite].astype(np.float32)
        least, most = seen.min(initial=np.inf), seen.max(initial=-np.inf)
        whole, middle = (127, 128) if least < 0 else (255, 0)
        reach = max(abs(least), abs(most)) if least < 0 else most
        scale = kind(0 if reach < _NEARLY_ZERO else np.float32(whole) / reach)
        scaled = image * scale + kind(middle)
        pixels = np.where(finite[..., None], scaled, kind(0)).astype(np.int64).astype(np.uint8)
    pixels[~finite] = bad_color
    return pixels


def add_sounds(summary: Any, tag: str, sounds: Any, limit: int, sample_rate: Any) -> None:
    """Adds the first ``limit`` sounds of a batch as WAV files.

    Args:
      sounds: float32 [batch, frames, channels] or [batch, frames], from -1 to 1.
      sample_rate: frames a second.

    Raises:
      InvalidArgumentError: the shape or the rate makes no sound.
    """
    if sounds.ndim not in (2, 3):
        raise errors.InvalidArgumentError.of(f"Tensor must be 3-D or 2-D, got: {shapes.fmt(sounds.shape)}")
    if not sample_rate > 0:
        raise errors.InvalidArgumentError.of("sample_rate must be > 0")
    batch, frames = sounds.shape[:2]
    channels = sounds.shape[2] if sounds.ndim == 3 else 1
    whole_rate = max(1, int(np.rint(np.float32(sample_rate))))
    for i, sound in enumerate(sounds.reshape(batch, frames, channels)[:limit]):
        value = summary.value.add(tag=_numbered(f"{tag}/audio", i, limit))
        audio = value.audio
        audio.sample_rate, audio.num_channels, audio.length_frames = float(sample_rate), channels, frames
        audio.content_type = "audio/wav"
        audio.encoded_audio_string = _wav.encode(sound, whole_rate)


def _numbered(tag: str, i: int, limit: int) -> str:
    """Numbers count from what was asked for, not from what is there."""
    return f"{tag}/{i}" if limit > 1 else tag


def fill_tensor(proto: Any, value: Any, dtype: DType) -> None:
    """Makes a TensorProto that of a value: strings in their field, all others as bytes.

    Raises:
      UnimplementedError: the type has no bytes.
    """
    try:
        array = np.asarray(value, dtype=dtype.np)
        stored = None if array.dtype.hasobject else tensor_proto.IN_CONTENT
        proto.CopyFrom(tensor_proto.encode(array, dtype, stored))
    except TypeError as error:
        raise errors.UnimplementedError.of(
            f"A summary cannot hold a tensor of type {type_text(dtype)}"
        ) from error


def fill_metadata(value: Any, serialized: bytes) -> None:
    """Gives a value the SummaryMetadata that bytes hold, if there are any.

    Raises:
      InvalidArgumentError: they hold none.
    """
    if serialized:
        complaint = errors.InvalidArgumentError.of("The metadata of a summary is no SummaryMetadata message")
        value.metadata.CopyFrom(parsed("SummaryMetadata", serialized, complaint))


def parsed(kind: str, data: bytes, complaint: errors.OpError) -> Any:
    """The message that bytes hold; the complaint is raised if they hold none."""
    from google.protobuf.message import DecodeError

    try:
        return protos.message(f"{protos.PACKAGE}.{kind}").FromString(data)
    except DecodeError as error:
        raise complaint from error
