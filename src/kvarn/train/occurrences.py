"""How often the keys of an embedding variable's gradient were looked up.

A lookup of ids that were made unique beforehand (`embedding_lookup_sparse`) leaves with the variable how many
occurrences each of them stands for; in all other lookups each id is one occurrence. A gradient's indices are the
ids of all lookups, one behind the other.

Source: ``_resource_apply_sparse_duplicate_indices`` in tensorflow/python/training/optimizer.py of DeepRec.
"""

from __future__ import annotations

from kvarn import dtypes, tf_logging
from kvarn.graph import control_flow_util as util
from kvarn.graph.tensor import Tensor
from kvarn.ops import array, math
from kvarn.ops.control_flow_values import merge
from kvarn.variables.embedding_variable import EmbeddingVariable

# Operations that leave indices what they were.
_PASSES_ON = frozenset(("Cast", "Identity", "IdentityN"))


def occurrences(var: EmbeddingVariable, indices: Tensor) -> Tensor:
    """The number of occurrences, int64 [n], that each of the ``indices`` [n] of a gradient of ``var`` stands for."""
    if var.need_counts() and any(util.IsInWhileLoop(x.op) for x in var._counts_tensor):
        tf_logging.warning(
            "Embedding variable '%s' is looked up in a loop, by ids that were joined: each round counts an id once, "
            "however often it occurs. Look up outside of the loop for exact frequencies.",
            var.name,
        )
    found = _counts(var, indices)
    return _ones(indices) if found is None else found


def _counts(var: EmbeddingVariable, indices: Tensor) -> Tensor | None:
    """`occurrences`, or None if each of ``indices`` is one."""
    node = indices.op
    if node.type in _PASSES_ON:
        return _counts(var, node.inputs[indices.value_index])
    if node.type == "ConcatV2" or (node.type == "Merge" and not util.IsLoopMerge(node)):
        pieces = node.inputs[:-1] if node.type == "ConcatV2" else node.inputs
        known = [_counts(var, piece) for piece in pieces]
        if all(counts is None for counts in known):
            return None
        # Of a branch that is not taken there must be no ones either: they depend on it, known shape or not.
        fixed = node.type == "ConcatV2"
        parts = [
            _ones(x, optimize=fixed) if counts is None else counts
            for counts, x in zip(known, pieces, strict=True)
        ]
        whole: Tensor = array.concat(parts, 0) if fixed else merge(parts)[0]
        return whole
    # The gradient of a lookup flattens its ids.
    counts = var._counts_tensor.get(node.inputs[0]) if node.type == "Reshape" else None
    return None if counts is None else array.reshape(math.cast(counts, dtypes.int64), [-1])


def _ones(like: Tensor, optimize: bool = True) -> Tensor:
    ones: Tensor = array.ones_like(like, dtype=dtypes.int64, optimize=optimize)
    return ones
