"""How often the keys of an embedding variable's gradient were looked up.

A lookup of ids that were made unique beforehand (`embedding_lookup_sparse`) leaves with the variable how many
occurrences each of them stands for; in all other lookups each id is one occurrence. A gradient's indices are the
ids of all lookups, one behind the other.

Source: ``_resource_apply_sparse_duplicate_indices`` in tensorflow/python/training/optimizer.py of DeepRec.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvarn import dtypes
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, math
from kvarn.variables.embedding_variable import EmbeddingVariable

# Operations that leave indices what they were.
_PASSES_ON = frozenset(("Cast", "Identity", "IdentityN"))


def occurrences(var: EmbeddingVariable, indices: Tensor) -> Tensor:
    """The number of occurrences, int64 [n], that each of the ``indices`` [n] of a gradient of ``var`` stands for."""
    pieces = list(_pieces(indices))
    known = [_counts_of(var, piece) for piece in pieces]
    if all(counts is None for counts in known):
        return _ones(indices)
    parts = [
        _ones(piece) if counts is None else array.reshape(math.cast(counts, dtypes.int64), [-1])
        for counts, piece in zip(known, pieces, strict=True)
    ]
    whole: Tensor = array.concat(parts, 0)
    return whole


def _pieces(indices: Tensor) -> Iterator[Tensor]:
    """The indices of single lookups that ``indices`` consist of."""
    node = indices.op
    if node.type in _PASSES_ON:
        yield from _pieces(node.inputs[indices.value_index])
    elif node.type == "ConcatV2":
        for piece in node.inputs[:-1]:
            yield from _pieces(piece)
    else:
        yield indices


def _counts_of(var: EmbeddingVariable, piece: Tensor) -> Any:
    # The gradient of a lookup flattens its ids.
    node = piece.op
    return var._counts_tensor.get(node.inputs[0]) if node.type == "Reshape" else None


def _ones(like: Tensor) -> Tensor:
    ones: Tensor = array.ones_like(like, dtype=dtypes.int64)
    return ones
