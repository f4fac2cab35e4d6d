"""CRC-32C of stored bytes, and the mask it is stored under.

    crc32c("123456789") = e3069283      mask(0) = a282ead8, which an empty tensor has

A stored checksum is rotated right by 15 bits and a282ead8 is added, so that the checksum of data that
itself holds checksums stays a good one.  Messages print the unmasked value.

``crc32c_combine(crc_a, crc_b, length_b)`` is the checksum of A and B together, from those of both: what is
read in another order than it was saved is checked by it.

Source: tensorflow/core/lib/hash/crc32c.h.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kvarn._native import crc32c, crc32c_combine

__all__ = ["crc32c", "crc32c_combine", "mask", "mask_all", "unmask"]

_DELTA = 0xA282EAD8


def mask(crc: int) -> int:
    """The stored form of a checksum."""
    return (((crc >> 15) | (crc << 17)) + _DELTA) & 0xFFFFFFFF


def mask_all(crcs: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """`mask` of each."""
    return ((crcs >> np.uint32(15)) | (crcs << np.uint32(17))) + np.uint32(_DELTA)


def unmask(masked: int) -> int:
    """The checksum that was stored as ``masked``."""
    rotated = (masked - _DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF
