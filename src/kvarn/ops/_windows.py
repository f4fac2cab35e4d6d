"""Windows that slide over the dimensions of an array: how many there are, and where they lie.

Source: tensorflow/core/framework/common_shape_fns.cc (1.15), `GetWindowedOutputSizeVerboseV2`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from kvarn import errors

_T = TypeVar("_T")
Pads = tuple[tuple[int, int], ...]


class Windows(NamedTuple):
    """Windows over some dimensions.

    Attributes:
      sizes: of the dimensions.
      window: size of a window along each.
      strides: from one window to the next.
      dilations: from one element of a window to the next.
      counts: how many windows there are.
      pads: elements added before and after.
    """

    sizes: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    counts: tuple[int, ...]
    pads: Pads

    def padded(self, x: np.ndarray, value: float = 0) -> np.ndarray:
        """``x`` [n, *sizes, ...] with its pads."""
        if not any(map(any, self.pads)):
            return x
        around = ((0, 0), *self.pads, *((0, 0),) * (x.ndim - 1 - len(self.pads)))
        return np.pad(x, around, constant_values=value)

    def zeros(self, batch: int, channels: int, dtype: np.dtype) -> np.ndarray:
        """Zeros [batch, *sizes, channels] with the pads."""
        inner = (size + sum(pad) for size, pad in zip(self.sizes, self.pads, strict=True))
        return np.zeros((batch, *inner, channels), dtype)

    def cropped(self, padded: np.ndarray) -> np.ndarray:
        """A padded array without its pads."""
        inner = (slice(a, a + s) for s, (a, _) in zip(self.sizes, self.pads, strict=True))
        return padded[(slice(None), *inner)]

    def places(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """For each place in a window, row by row: the place, and where all windows have it in a padded array."""
        for place in itertools.product(*map(range, self.window)):
            where = (
                slice(at * d, at * d + (count - 1) * stride + 1, stride) if count else slice(0, 0)
                for at, d, count, stride in zip(place, self.dilations, self.counts, self.strides, strict=True)
            )
            yield place, (slice(None), *where)

    def columns(self, x: np.ndarray) -> np.ndarray:
        """All windows of ``x`` [n, *sizes, channels] as rows [n * number of windows, size of a window * channels]."""
        x = np.ascontiguousarray(self.padded(x))
        n, channels = x.shape[0], x.shape[-1]
        inner = x.strides[1:-1]
        steps = tuple(s * stride for s, stride in zip(inner, self.strides, strict=True))
        inside = tuple(s * d for s, d in zip(inner, self.dilations, strict=True))
        view = np.lib.stride_tricks.as_strided(
            x,
            (n, *self.counts, *self.window, channels),
            (x.strides[0], *steps, *inside, x.strides[-1]),
            writeable=False,
        )
        return view.reshape(n * int(np.prod(self.counts)), int(np.prod(self.window)) * channels)


def windows(
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: bytes,
    dilations: Sequence[int] | None = None,
    explicit: Pads = (),
) -> Windows:
    """The windows over dimensions of given sizes.

    Args:
      padding: ``SAME``, ``VALID`` or ``EXPLICIT``, which is what ``explicit`` says.

    Raises:
      InvalidArgumentError: a window is larger than what it lies in.
    """
    dilations = dilations or (1,) * len(sizes)
    counts, pads = [], []
    for i, (size, k, stride, dilation) in enumerate(zip(sizes, window, strides, dilations, strict=True)):
        reach = (k - 1) * dilation + 1
        if padding == b"SAME":
            count = -(-size // stride)
            missing = max(0, (count - 1) * stride + reach - size)
            pad = (missing // 2, missing - missing // 2)
        else:
            pad = explicit[i] if explicit else (0, 0)
            count = int((size + sum(pad) - reach + stride) / stride)
        if count < 0:
            raise errors.InvalidArgumentError.of(
                f"Computed output size would be negative: {count} [input_size: {size}, "
                f"effective_filter_size: {reach}, stride: {stride}]"
            )
        counts.append(count)
        pads.append(pad)
    return Windows(tuple(sizes), tuple(window), tuple(strides), tuple(dilations), tuple(counts), tuple(pads))


def output_size(
    size: int | None, window: int | None, stride: int, padding: bytes, dilation: int = 1, pad: int = 0
) -> int | None:
    """How many windows there are along a dimension, as far as it is known.

    Args:
      pad: elements added on both sides together, for EXPLICIT padding.

    Raises:
      ValueError: the window is larger than the dimension, or the stride or the dilation is not positive.
    """
    if stride <= 0:
        raise ValueError(f"Stride must be > 0, but got {stride}")
    if dilation < 1:
        raise ValueError(f"Dilation rate must be >= 1, but got {dilation}")
    if size is None:
        return None
    if padding == b"SAME":
        return -(-size // stride)
    if window is None:
        return None
    reach = (window - 1) * dilation + 1
    if size + pad < reach:
        raise ValueError(f"Negative dimension size caused by subtracting {reach} from {size + pad}")
    return (size + pad - reach + stride) // stride


def channels_first(data_format: bytes) -> bool:
    """Whether the channels are the second dimension."""
    return data_format.startswith(b"NC")


def to_last(x: np.ndarray, data_format: bytes) -> np.ndarray:
    """``x`` with the channels last."""
    return np.moveaxis(x, 1, -1) if channels_first(data_format) else x


def from_last(x: np.ndarray, data_format: bytes) -> np.ndarray:
    """What has its channels last in the order of ``data_format``."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if channels_first(data_format) else x


def inner(values: Sequence[_T], data_format: bytes) -> tuple[_T, ...]:
    """Of numbers for each dimension those that are neither batch nor channels."""
    return tuple(values[2:] if channels_first(data_format) else values[1:-1])


def in_format(batch, sizes, channels, data_format):
    """A static shape."""
    return (batch, channels, *sizes) if channels_first(data_format) else (batch, *sizes, channels)


def wide(x: np.ndarray) -> np.ndarray:
    """Short floats as float32, in which sums of them are made."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x
