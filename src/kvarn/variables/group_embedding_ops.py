"""Looking many embeddings up at once: each group of variables of one dimension is one op.

Source: `group_embedding_lookup_sparse` and `group_embedding_lookup` in tensorflow/python/ops/embedding_ops.py
of DeepRec.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from kvarn import dtypes, tf_logging
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import SparseTensor
from kvarn.ops import array, kv_group
from kvarn.variables.dynamic_embedding_variable import DynamicEmbeddingVariable
from kvarn.variables.embedding_variable import EmbeddingVariable
from kvarn.variables.multihash_variable import MultiHashVariable
from kvarn.variables.partitioned_variable import PartitionedVariable

_COMBINERS: Final = ("mean", "sum", "sqrtn")


def group_embedding_lookup_sparse(
    params: Any,
    sp_ids: Any,
    combiners: Any,
    sp_weights: Any = None,
    partition_strategy: Any = "mod",
    is_sequence: Any = False,
    params_num_per_group: int = sys.maxsize,
    name: str | None = None,
) -> list[Any]:
    """`embedding_lookup_sparse` of each of ``params``, in as few ops as there are kinds of lookups.

    The order that DeepRec's guide gives, ``(params, sp_ids, combiners, partition_strategy, sp_weights, name)``,
    is understood as well.

    Args:
      params: embedding variables and ordinary ones [rows, dim]; a PartitionedVariable of one part counts as
        that part.
      sp_ids: for each a SparseTensor [rows, columns] of ids.  Rows may be without ids, and read zeros.
      combiners: for each "mean", "sum" or "sqrtn".  A sum with weights is divided by the number of ids, or
        its root, as DeepRec does; `embedding_lookup_sparse` divides by the sum of weights.
      sp_weights: for each a SparseTensor of the same places or None; None for none.
      partition_strategy: of no effect.
      is_sequence: combine nothing: [rows, columns, dim] with zeros where there is no id.
      params_num_per_group: how many lookups one op takes at most.
      name: of the scope of each group.

    Returns:
      For each of ``params`` [rows, dim], or [rows, columns, dim].

    Raises:
      TypeError: what cannot be looked up in a group, or with; among it variables in several parts.
      ValueError: lists of different lengths, an unknown combiner, or no room in a group.
    """
    if isinstance(sp_weights, str):
        sp_weights, partition_strategy = (
            None if partition_strategy == "mod" else partition_strategy,
            sp_weights,
        )
        if isinstance(is_sequence, str):
            name, is_sequence = is_sequence, False
    if params is None:
        raise ValueError("params must be specified")
    params = _listed(params)
    sp_ids = _listed(sp_ids)
    if combiners is None:
        tf_logging.warning(
            'The default value of combiner will change from "mean" to "sqrtn" after 2016/11/01.'
        )
        combiners = ["mean"] * len(params)
    combiners = _listed(combiners)
    if any(combiner not in _COMBINERS for combiner in combiners):
        raise ValueError("combiners must be one of 'mean', 'sum' or 'sqrtn'")
    if len(combiners) != len(sp_ids):
        raise ValueError("len of combiners must be equal to len of sp_ids")
    if len(combiners) != len(params):
        raise ValueError("len of combiners must be equal to len of params")
    weights = [None] * len(params) if sp_weights is None else _listed(sp_weights)
    if len(combiners) != len(weights):
        raise ValueError("len of combiners must be equal to len of sp_weights")
    lookups = [
        _sparse_lookup(i, *item)
        for i, item in enumerate(zip(params, sp_ids, weights, combiners, strict=True))
    ]
    found: list[Any] = [None] * len(lookups)
    for group in _groups(lookups, params_num_per_group):
        for one, rows in zip(group, _look_up_sparse(group, bool(is_sequence), name), strict=True):
            found[one.position] = rows
    return found


def group_embedding_lookup(
    params: Any, ids: Any, partition_strategy: str = "mod", name: str | None = None
) -> list[Any]:
    """`embedding_lookup` of each of ``params``, in as few ops as there are kinds of lookups.

    Args:
      params: as in `group_embedding_lookup_sparse`.
      ids: for each the ids, of any shape.
      partition_strategy: of no effect.
      name: of the scope of each group.

    Returns:
      For each of ``params`` the rows of its ids one after another, whatever their shape: [number of ids, dim].

    Raises:
      TypeError, ValueError: as in `group_embedding_lookup_sparse`.
    """
    del partition_strategy
    if params is None:
        raise ValueError("params must be specified")
    params, ids = _listed(params), _listed(ids)
    if len(params) != len(ids):
        raise ValueError("len of params must be equal to len of ids")
    lookups = []
    for i, (param, of_param) in enumerate(zip(params, ids, strict=True)):
        param = _single(i, param)
        flat = array.reshape(convert_to_tensor(of_param, preferred_dtype=_key_type(param)), [-1])
        lookups.append(_Lookup(i, param, flat, None, None, _kind(param, flat, "mean", False)))
    found: list[Any] = [None] * len(lookups)
    for group in _groups(lookups, sys.maxsize):
        dim, is_embedding = group[0].kind.dim, group[0].kind.is_embedding
        look_up = (
            kv_group.group_embedding_var_lookup_dense
            if is_embedding
            else kv_group.group_variable_lookup_dense
        )
        with name_scope(name, _scope_name(group), [one.values for one in group]):
            rows = look_up(
                [_looked_up_in(one.param) for one in group],
                [one.values for one in group],
                constant(1.0),
                dimension=dim,
            )[0]
        for one, result in zip(group, rows, strict=True):
            found[one.position] = result
    return found


class _Kind(NamedTuple):
    """What lookups of one op have in common."""

    is_embedding: bool
    dim: int
    combiner: str
    key_type: Any
    weighted: bool


class _Lookup(NamedTuple):
    """One lookup of a group; ``values`` are its ids, and the place they come from is in ``ids``."""

    position: int
    param: Any
    values: Any
    ids: SparseTensor | None
    weights: Any
    kind: _Kind


def _sparse_lookup(i: int, param: Any, sp_ids: Any, sp_weights: Any, combiner: str) -> _Lookup:
    param = _single(i, param)
    sp_ids = _sparse("sp_ids", i, sp_ids)
    if sp_weights is not None:
        sp_weights = _sparse("sp_weights", i, sp_weights)
        for a, b in (
            (sp_ids.values, sp_weights.values),
            (sp_ids.indices, sp_weights.indices),
            (sp_ids.dense_shape, sp_weights.dense_shape),
        ):
            a.get_shape().assert_is_compatible_with(b.get_shape())
    kind = _kind(param, sp_ids.values, combiner, sp_weights is not None)
    return _Lookup(i, param, sp_ids.values, sp_ids, sp_weights, kind)


def _look_up_sparse(group: Sequence[_Lookup], is_sequence: bool, name: str | None) -> Any:
    kind = group[0].kind
    look_up = kv_group.group_embedding_var_lookup if kind.is_embedding else kv_group.group_variable_lookup
    with name_scope(name, _scope_name(group), [one.values for one in group]):
        unread = constant(1.0)
        return look_up(
            [_looked_up_in(one.param) for one in group],
            [one.values for one in group],
            [one.ids.indices for one in group if one.ids is not None],
            [one.weights.values if kind.weighted else unread for one in group],
            [one.ids.dense_shape for one in group if one.ids is not None],
            unread,
            combiner=kind.combiner,
            dimension=kind.dim,
            ignore_weights=not kind.weighted,
            is_sequence=is_sequence,
        )[0]


def _scope_name(group: Sequence[_Lookup]) -> str:
    what = "ev" if group[0].kind.is_embedding else "variable"
    return f"localized_group_embedding_lookup_{what}_dim{group[0].kind.dim}"


def _groups(lookups: Iterable[_Lookup], most: int) -> Iterator[list[_Lookup]]:
    """The lookups of each kind in their order, at most so many together."""
    if most < 1:
        raise ValueError(f"params_num_per_group must be at least 1, not {most}")
    kinds: dict[_Kind, list[_Lookup]] = {}
    for one in lookups:
        kinds.setdefault(one.kind, []).append(one)
    for group in kinds.values():
        for start in range(0, len(group), most):
            yield group[start : start + most]


def _kind(param: Any, values: Any, combiner: str, weighted: bool) -> _Kind:
    is_embedding = isinstance(param, EmbeddingVariable)
    shape = param.get_shape().as_list()
    if not is_embedding and len(shape) != 2:
        raise ValueError(f"a variable of shape {shape} cannot be looked up in a group, only [rows, dim]")
    if param.dtype.base_dtype is not dtypes.float32:
        raise TypeError(
            f"a variable of type {param.dtype.base_dtype.name} cannot be looked up in a group, only float32"
        )
    return _Kind(is_embedding, int(shape[-1]), combiner, values.dtype, weighted)


def _single(i: int, param: Any) -> Any:
    """The one variable that ``param`` is."""
    if isinstance(param, PartitionedVariable):
        parts = list(param)
        if len(parts) != 1:
            raise TypeError(
                f"PartitionedVariable not support in 'group_embedding_lookup_sparse'. params[{i}], "
                f"'{param.name}', has {len(parts)} parts\n"
                "  Look it up with tf.nn.embedding_lookup_sparse."
            )
        param = parts[0]
    if isinstance(param, (DynamicEmbeddingVariable, MultiHashVariable)):
        raise TypeError(
            f"params[{i}], {param!r}, is made of several variables\n"
            "  Look it up with tf.nn.embedding_lookup_sparse."
        )
    return param


def _sparse(what: str, i: int, value: Any) -> SparseTensor:
    if isinstance(value, SparseTensor):
        return value
    if hasattr(value, "to_sparse"):
        made: SparseTensor = value.to_sparse()
        return made
    raise TypeError(f"{what}[{i}] must be SparseTensor, not {type(value).__name__}")


def _key_type(param: Any) -> Any:
    return param._invalid_key_type if isinstance(param, EmbeddingVariable) else None


def _looked_up_in(param: Any) -> Any:
    """What a group op takes for a variable."""
    return param.handle if isinstance(param, EmbeddingVariable) else param


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
