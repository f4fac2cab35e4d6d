"""The parts of multi-hash variables, which are no pieces of one table that could be cut in another way.

A lookup takes a row from part ``row % parts``, as DeepRec's does.  So the same rows in another number of parts are
the rows of other ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kvarn.formats.tensor_slice import TensorSlice, parse_shape_and_slice

# As DeepRec spells the variables of quotients and of remainders; slots lie below them.
_VARIABLES: Final = frozenset({"multhash_Q", "multhash_R"})

HINT: Final = (
    "A multi-hash variable keeps the number of parts that it was saved with: lookups take its rows from parts by "
    "remainder, so that in other parts ids would have the rows of others."
)


def is_of_multihash(name: str) -> bool:
    """Whether a tensor is one of a multi-hash variable, or of a slot of one."""
    return "multhash_" in name and not _VARIABLES.isdisjoint(name.split("/"))


def is_cut_otherwise(name: str, wanted: str, shape: Sequence[int], slices: Sequence[TensorSlice]) -> bool:
    """Whether a checkpoint has a multi-hash variable, or a slot of one, in other parts.

    Args:
      name: of the tensor.
      wanted: shape and slice of the part that a variable wants; empty for all of it.
      shape: of the whole tensor in the checkpoint.
      slices: in which it is there; none if it is there as a whole.
    """
    if len(shape) < 2 or not is_of_multihash(name):
        return False
    whole = TensorSlice.of_shape(shape)
    rows = (parse_shape_and_slice(wanted)[1] if wanted else whole).extents[0]
    return rows not in {piece.resolve(shape).extents[0] for piece in slices or [whole]}
