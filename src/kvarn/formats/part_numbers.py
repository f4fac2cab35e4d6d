"""Numbers that an optimizer keeps for each part of an embedding variable, such as the powers of AdamAsync.

    b/part_0 … b/part_3     the parts
    b/AdamAsync_2  [4]      a number for each of them; [1] for a variable that is not partitioned

So they have another shape for another number of parts, of which each has rows of several old ones.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from kvarn import tf_logging
from kvarn.formats.embedding import KEYS, split_part
from kvarn.formats.embedding_names import embedding_sources
from kvarn.formats.reader import TensorReader


def has_number_per_part(reader: TensorReader, name: str, *, keys: str = KEYS) -> bool:
    """Whether the tensor ``name`` has one number for each part of the embedding variable below which it lies.

    Args:
      keys: the suffix of the variable's keys, which is another one in increments.
    """
    owner = name.rpartition("/")[0]
    if not owner or not reader.contains(name):
        return False
    _, shape = reader.lookup_dtype_and_shape(name)
    if len(shape) != 1:
        return False
    sources = embedding_sources(reader, owner, keys=keys)
    last = split_part(sources[-1]) if sources and sources != [owner] else None
    return bool(sources) and shape == (1 if last is None else last[1] + 1,)


def number_of_all_parts(reader: TensorReader, name: str) -> npt.NDArray[Any]:
    """What other parts take from such a tensor, as a scalar: the number that all have.

    If they have different ones, because steps that touched no row of a part left its powers as they were, it is the
    smallest, that of the part with the most steps; a warning says so.
    """
    numbers = reader.lookup(name)
    if (numbers != numbers[0]).any():
        tf_logging.warning(
            "'%s' in '%s' has different numbers for the %d parts of an embedding variable, from %s to %s: other "
            "parts have rows of several of them and start with the smallest",
            name,
            reader.prefix,
            len(numbers),
            numbers.min(),
            numbers.max(),
        )
    smallest: npt.NDArray[Any] = numbers.min()
    return smallest
