"""WAV files of 16-bit samples.

    "RIFF" | size of the rest uint32 | "WAVE"
    "fmt " | 16 uint32 | 1 (PCM) uint16 | channels uint16 | rate uint32 | bytes a second uint32 | bytes a frame uint16 | 16 uint16
    "data" | size uint32 | samples int16 ...      frame by frame, a sample for each channel

Source: tensorflow/core/lib/wav/wav_io.cc.
"""  # noqa: E501

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kvarn import errors

_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")
_SAMPLE_BYTES: Final = 2
_LARGEST_UINT32: Final = 0xFFFFFFFF
_LARGEST_UINT16: Final = 0xFFFF


def encode(samples: Any, rate: int) -> bytes:
    """The WAV file of float samples, which are cut off at -1 and 1.

    Args:
      samples: float32 [frames, channels].
      rate: frames a second.

    Raises:
      InvalidArgumentError: there are no frames or channels, or more than a WAV file can have.
    """
    frames, channels = samples.shape
    if not samples.size:
        raise errors.InvalidArgumentError.of("audio is null")
    if not 0 < rate <= _LARGEST_UINT32:
        raise errors.InvalidArgumentError.of(f"sample_rate must be in (0, 2^32), got: {rate}")
    if channels > _LARGEST_UINT16:
        raise errors.InvalidArgumentError.of(f"num_channels must be in (0, 2^16), got: {channels}")
    frame_bytes = _SAMPLE_BYTES * channels
    data_bytes = frames * frame_bytes
    if _HEADER.size + data_bytes > _LARGEST_UINT32:
        raise errors.InvalidArgumentError.of("Provided channels and frames cannot be encoded as a WAV.")
    header = _HEADER.pack(
        b"RIFF", _HEADER.size - 8 + data_bytes, b"WAVE",
        b"fmt ", 16, 1, channels, rate, rate * frame_bytes & _LARGEST_UINT32, frame_bytes, 8 * _SAMPLE_BYTES,
        b"data", data_bytes,
    )  # fmt: skip
    return header + _as_int16(samples).tobytes()


def _as_int16(samples: Any) -> npt.NDArray[np.int16]:
    """float32 as int16; halves are rounded away from zero, NaN is silence."""
    scaled = np.nan_to_num(np.asarray(samples, np.float32) * np.float32(32768), nan=0.0)
    whole = np.trunc(scaled)
    rounded = whole + np.copysign(np.abs(scaled - whole) >= 0.5, scaled)
    clipped: npt.NDArray[np.int16] = np.clip(rounded, -32768, 32767).astype("<i2")
    return clipped
