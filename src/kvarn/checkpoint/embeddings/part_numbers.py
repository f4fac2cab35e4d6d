"""Numbers for each part of an embedding variable, written for other parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kvarn.formats.bundle.writer import BundleWriter
from kvarn.formats.part_numbers import number_of_all_parts
from kvarn.formats.reader import TensorInfo, TensorReader
from kvarn.formats.tensor_slice import TensorSlice


def write_numbers(
    reader: TensorReader, info: TensorInfo, parts: int, writer_of: Callable[[int], BundleWriter]
) -> None:
    """Writes a tensor of `kvarn.formats.part_numbers` with a number for each of ``parts`` parts.

    Args:
      parts: 0 for a variable that is not partitioned.
      writer_of: the writer for a part.
    """
    number = np.full(1, number_of_all_parts(reader, info.name))
    if not parts:
        writer_of(0).add(info.name, number, info.dtype)
    for part in range(parts):
        writer_of(part).add_slice(info.name, (parts,), TensorSlice(((part, 1),)), number, info.dtype)
