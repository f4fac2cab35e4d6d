"""Looking up rows of embeddings: ordinary variables and tensors, whole or in parts, and embedding variables.

Source: tensorflow/python/ops/embedding_ops.py (1.15), with DeepRec's arguments for embedding variables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn import dtypes, tf_logging
from kvarn.graph.convert import constant, convert_to_tensor, convert_to_tensor_or_indexed_slices
from kvarn.graph.graph import colocate_with, name_scope
from kvarn.graph.tensor import SparseTensor, Tensor
from kvarn.graph.tensor_shape import TensorShape, dimension_value
from kvarn.ops import array, clip, gather, math, ranges, reduction, segment, selection, unary
from kvarn.variables.dynamic_embedding_variable import DynamicEmbeddingVariable
from kvarn.variables.embedding_variable import EmbeddingVariable
from kvarn.variables.multihash_variable import MultiHashVariable
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.resource_variable import ResourceVariable

# The buckets of an embedding variable's keys, which go round its parts; a fact of the checkpoint format too.
_BUCKETS = 1000


def embedding_lookup(
    params: Any,
    ids: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    validate_indices: bool = True,
    max_norm: float | None = None,
    ev_init_value: Any = None,
    blocknums: Any = None,
    counts: Any = None,
) -> Tensor:
    """Rows of embeddings: ids.shape + [dim, ...].

    Args:
      params: a variable or tensor, a list of parts of one, a PartitionedVariable; embedding variables, whole
        or in parts; a multi-hash variable.
      ids: int32 or int64, any shape; of an embedding variable, of its key type.
      partition_strategy: which part has an id: "mod", id modulo the number of parts; "div", parts in
        order.  Embedding variables have a rule of their own, id mod 1000 mod number of parts.
      max_norm: rows with a larger Euclidean norm are scaled down to it.
      ev_init_value: of embedding variables, a row for each id that it starts from if it is missing.
      blocknums: of variables of dynamic dimension, how many blocks each id has: integers in the shape of
        ``ids``.  The blocks that it does not have are zeros; what is above their number counts as all.
      counts: of an embedding variable, how many occurrences each id stands for.

    Raises:
      ValueError: no ``params``, an unknown strategy, a variable of dynamic dimension without ``blocknums``, or
        another with them.
    """
    del validate_indices
    return _embedding_lookup_and_transform(
        params,
        ids,
        partition_strategy=partition_strategy,
        name=name,
        max_norm=max_norm,
        ev_init_value=ev_init_value,
        blocknums=blocknums,
        counts=counts,
    )


def embedding_lookup_v2(
    params: Any, ids: Any, max_norm: float | None = None, name: str | None = None
) -> Tensor:
    """`embedding_lookup` by the strategy "div"."""
    return embedding_lookup(params, ids, "div", name, max_norm=max_norm)


def _embedding_lookup_and_transform(
    params: Any,
    ids: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    max_norm: float | None = None,
    transform_fn: Callable[[Any], Any] | None = None,
    ev_init_value: Any = None,
    blocknums: Any = None,
    counts: Any = None,
) -> Tensor:
    """`embedding_lookup`; ``transform_fn`` is applied to the rows [n, ...] of each part, beside the part."""
    if params is None:
        raise ValueError("params must be specified")
    if isinstance(params, (list, tuple)) and not params:
        raise ValueError("Need at least one param")
    params = as_parts(params)
    first = params[0]
    if isinstance(first, DynamicEmbeddingVariable):
        if blocknums is None:
            raise ValueError("blocknums must be valid for dynamic embedding variable")
        if transform_fn is not None or ev_init_value is not None:
            raise ValueError(
                f"rows of '{first.name}' can be neither transformed in place nor started from others"
            )
        return _dynamic_lookup(params, ids, blocknums, counts, max_norm, name)
    if blocknums is not None:
        raise ValueError(
            f"blocknums are for variables of get_dynamic_dimension_embedding_variable; {first!r} is none"
        )
    if isinstance(first, MultiHashVariable):
        with name_scope(name, "embedding_lookup", [*handles_of(params), ids]):
            rows = _clip(first.rows(ids), ids, max_norm)
            return as_tensor(array.identity(rows if transform_fn is None else transform_fn(rows)))
    with name_scope(name, "embedding_lookup", [*params, ids]) as scope:
        if not any(isinstance(p, ResourceVariable) for p in params):
            params = [
                convert_to_tensor_or_indexed_slices(p, name=f"params_{i}") for i, p in enumerate(params)
            ]
        is_embedding = isinstance(params[0], EmbeddingVariable)
        key_type = params[0]._invalid_key_type if is_embedding else None
        ids = convert_to_tensor(ids, name="ids", preferred_dtype=key_type)

        def look_up(part: Any, part_ids: Any, rows: Any, part_counts: Any, lookup_name: str | None) -> Any:
            if is_embedding:
                return part.sparse_read(part_ids, name=lookup_name, ev_init_value=rows, counts=part_counts)
            return gather.gather(part, part_ids, name=lookup_name)

        if len(params) == 1 and (transform_fn is None or ids.get_shape().ndims == 1):
            with colocate_with(params[0]):
                result = _clip(look_up(params[0], ids, ev_init_value, counts, scope), ids, max_norm)
                if transform_fn is not None:
                    result = transform_fn(result)
            # What uses the rows need not be where the variable is.
            return as_tensor(array.identity(result))

        flat_ids = array.reshape(ids, [-1])
        original_indices = ranges.range(array.size(flat_ids))
        if is_embedding:
            assignments, new_ids = flat_ids % _BUCKETS % len(params), flat_ids
        else:
            assignments, new_ids = _assign(params, flat_ids, partition_strategy)
        assignments = math.cast(assignments, dtypes.int32)

        def partitioned(values: Any) -> list[Any]:
            if values is None:
                return [None] * len(params)
            return list(gather.dynamic_partition(values, assignments, len(params)))

        gather_ids = partitioned(new_ids)
        places = partitioned(original_indices)
        flat_rows = None
        if ev_init_value is not None:
            flat_rows = array.reshape(ev_init_value, [-1, params[0].shape.as_list()[0]])
        init_rows = partitioned(flat_rows)
        part_counts = partitioned(None if counts is None else array.reshape(counts, [-1]))
        results = []
        for p, part in enumerate(params):
            with colocate_with(part):
                result = look_up(part, gather_ids[p], init_rows[p], part_counts[p], None)
                if transform_fn is not None:
                    result = transform_fn(_clip(result, gather_ids[p], max_norm))
            results.append(result)
        stitched = gather.parallel_dynamic_stitch(places, results, name=scope)
        return _shaped_back(stitched, params, ids, max_norm, transform_fn is not None)


def _dynamic_lookup(
    params: list[DynamicEmbeddingVariable],
    ids: Any,
    blocknums: Any,
    counts: Any,
    max_norm: float | None,
    name: str | None,
) -> Tensor:
    """Rows ids.shape + [dim] of a variable of dynamic dimension, whole or in parts."""
    with name_scope(name, "embedding_lookup", [p.mainev().handle for p in params]) as scope:
        ids = convert_to_tensor(ids, name="ids", preferred_dtype=params[0].mainev()._invalid_key_type)
        flat_ids = array.reshape(ids, [-1])
        flat_numbers = array.reshape(convert_to_tensor(blocknums, name="blocknums"), [-1])
        flat_counts = None if counts is None else array.reshape(counts, [-1])
        if len(params) == 1:
            rows = params[0].rows(flat_ids, flat_numbers, flat_counts)
        else:
            assignments = math.cast(flat_ids % _BUCKETS % len(params), dtypes.int32)

            def partitioned(values: Any) -> list[Any]:
                return list(gather.dynamic_partition(values, assignments, len(params)))

            places = partitioned(ranges.range(array.size(flat_ids)))
            part_ids, part_numbers = partitioned(flat_ids), partitioned(flat_numbers)
            part_counts = [None] * len(params) if counts is None else partitioned(flat_counts)
            found = [
                p.rows(*of_part)
                for p, *of_part in zip(params, part_ids, part_numbers, part_counts, strict=True)
            ]
            rows = gather.parallel_dynamic_stitch(places, found)
        out = array.reshape(rows, array.concat([array.shape(ids), params[0].shape.as_list()], 0), name=scope)
        out.set_shape(ids.get_shape().concatenate(params[0].shape))
        return as_tensor(_clip(out, ids, max_norm))


def as_parts(params: Any) -> list[Any]:
    if isinstance(params, PartitionedVariable):
        return list(params)
    return params if isinstance(params, list) else [params]


def handles_of(params: list[Any]) -> list[Any]:
    """What tells the graph of ``params``."""
    handles: list[Any] = []
    for p in params:
        if isinstance(p, MultiHashVariable):
            handles += handles_of([part for whole in p for part in as_parts(whole)])
        else:
            handles.append(p.mainev() if isinstance(p, DynamicEmbeddingVariable) else p)
    return handles


def as_tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def _assign(params: list[Any], flat_ids: Any, strategy: str) -> tuple[Any, Any]:
    """Which part has each id, and the row it is there."""
    n = len(params)
    if strategy == "mod":
        return flat_ids % n, flat_ids // n
    if strategy != "div":
        raise ValueError("Unrecognized partition strategy: " + strategy)
    sizes = [dimension_value(p.get_shape()[0]) for p in params]
    if all(sizes):
        total: Any = constant(sum(sizes), flat_ids.dtype)
    else:
        known: list[Any] = []
        for p, size in zip(params, sizes, strict=True):
            if size is not None:
                known.append(size)
            else:
                with colocate_with(p):
                    known.append(array.shape(p)[0])
        total = reduction.reduce_sum(math.cast(array.stack(known), flat_ids.dtype))
    per_part = total // n
    # So many of the first parts have one row more.
    extras = total % n
    assignments = math.maximum(flat_ids // (per_part + 1), (flat_ids - extras) // per_part)
    rows = selection.where(assignments < extras, flat_ids % (per_part + 1), (flat_ids - extras) % per_part)
    return assignments, rows


def _shaped_back(rows: Any, params: list[Any], ids: Any, max_norm: float | None, transformed: bool) -> Tensor:
    """Rows [n, ...] of the flat ids in the shape of ``ids``."""
    element: TensorShape
    if transformed:
        element = rows.get_shape()[1:]
    else:
        element = _row_shape(params[0])
        for p in params[1:]:
            element = element.merge_with(_row_shape(p))
    dynamic: Any
    if element.is_fully_defined():
        dynamic = element
    elif not transformed:
        with colocate_with(params[0]):
            params_shape = array.shape(params[0])
        dynamic = params_shape[1:]
    else:
        dynamic = array.shape(rows)[1:]
    out = array.reshape(rows, array.concat([array.shape(ids), dynamic], 0))
    out.set_shape(ids.get_shape().concatenate(element))
    return as_tensor(out if transformed else _clip(out, ids, max_norm))


def _row_shape(param: Any) -> TensorShape:
    shape: TensorShape = param.get_shape()
    return shape if isinstance(param, EmbeddingVariable) else shape[1:]


def _clip(params: Any, ids: Any, max_norm: float | None) -> Any:
    """Rows ``params`` looked up by ``ids``, with a norm of at most ``max_norm``."""
    if max_norm is None:
        return params

    def rank(x: Any) -> tuple[Any, bool]:
        known = convert_to_tensor(x).get_shape().ndims
        return (known, True) if known else (array.rank(x), False)

    ids_rank, ids_known = rank(ids)
    params_rank, params_known = rank(params)
    axes: Any
    if ids_known and params_known:
        axes = list(range(ids_rank, params_rank))
    else:
        axes = ranges.range(ids_rank, params_rank)
    return clip.clip_by_norm(params, max_norm, axes=axes)


# -- rows combined --------------------------------------------------------------------------------


def embedding_lookup_sparse(
    params: Any,
    sp_ids: Any,
    sp_weights: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    combiner: str | None = None,
    max_norm: float | None = None,
    blocknums: Any = None,
) -> Tensor:
    """The embeddings of the ids of each row of ``sp_ids``, combined: [rows, dim].

    Every row must have an id; see `safe_embedding_lookup_sparse`.

    Args:
      params, partition_strategy, max_norm: see `embedding_lookup`.
      blocknums: of variables of dynamic dimension, how many blocks each id of ``sp_ids.values`` has; of equal
        ids the greatest number counts.
      sp_ids: SparseTensor [rows, columns] of ids, in row-major order.
      sp_weights: SparseTensor of the same places, or None for weights of one.
      combiner: "sum"; "mean", the sum divided by that of the weights; "sqrtn", divided by the root of the
        sum of their squares; "tile" (DeepRec), side by side: [rows, columns * dim].

    Raises:
      TypeError: ids or weights are no SparseTensor.
      ValueError: an unknown combiner.
    """
    if combiner is None:
        tf_logging.warning(
            'The default value of combiner will change from "mean" to "sqrtn" after 2016/11/01.'
        )
        combiner = "mean"
    if combiner not in ("mean", "sqrtn", "sum", "tile"):
        raise ValueError("combiner must be one of 'mean', 'sqrtn' or 'sum'")
    params = as_parts(params)
    if not isinstance(sp_ids, SparseTensor):
        raise TypeError("sp_ids must be SparseTensor")
    if sp_weights is not None:
        if not isinstance(sp_weights, SparseTensor):
            raise TypeError("sp_weights must be either None or SparseTensor")
        for a, b in (
            (sp_ids.values, sp_weights.values),
            (sp_ids.indices, sp_weights.indices),
            (sp_ids.dense_shape, sp_weights.dense_shape),
        ):
            a.get_shape().assert_is_compatible_with(b.get_shape())
    with name_scope(name, "embedding_lookup_sparse", [*handles_of(params), sp_ids]) as scope:
        segment_ids = sp_ids.indices[:, 0]
        if segment_ids.dtype is not dtypes.int32:
            segment_ids = math.cast(segment_ids, dtypes.int32)
        counts = None
        keyed = isinstance(params[0], (EmbeddingVariable, DynamicEmbeddingVariable))
        if keyed and params[0].need_counts():
            ids, idx, counts = gather.unique_with_counts(sp_ids.values)
        else:
            ids, idx = gather.unique(sp_ids.values)
        if blocknums is not None:
            blocknums = segment.unsorted_segment_max(blocknums, idx, array.size(ids))
        embeddings: Any = embedding_lookup(
            params,
            ids,
            partition_strategy=partition_strategy,
            max_norm=max_norm,
            blocknums=blocknums,
            counts=counts,
        )
        if embeddings.dtype in (dtypes.float16, dtypes.bfloat16):
            embeddings = math.cast(embeddings, dtypes.float32)
        if sp_weights is not None:
            embeddings = gather.gather(embeddings, idx)
            weights = _weights_of(embeddings, sp_weights.values)
            embeddings *= weights
            if combiner == "tile":
                return _tiled(embeddings, segment_ids, sp_ids)
            return as_tensor(_combined(embeddings, weights, segment_ids, combiner, scope))
        if combiner == "tile":
            return _tiled(gather.gather(embeddings, idx), segment_ids, sp_ids)
        combine = {
            "sum": segment.sparse_segment_sum,
            "mean": segment.sparse_segment_mean,
            "sqrtn": segment.sparse_segment_sqrt_n,
        }[combiner]
        return as_tensor(combine(embeddings, idx, segment_ids, name=scope))


def _weights_of(embeddings: Any, weights: Any) -> Any:
    """Weights [n] in a shape that goes with rows [n, dim, ...]."""
    if weights.dtype is not embeddings.dtype:
        weights = math.cast(weights, embeddings.dtype)
    rest: Any = array.rank(embeddings)
    ones = array.fill(array.expand_dims(rest - 1, 0), 1)
    shape = array.concat([array.shape(weights), ones], 0)
    known = weights.get_shape()
    weights = array.reshape(weights, shape)
    rank = embeddings.get_shape().ndims
    if rank is not None:
        weights.set_shape(known.concatenate([1] * (rank - 1)))
    return weights


def _combined(embeddings: Any, weights: Any, segment_ids: Any, combiner: str, name: str) -> Any:
    """Weighted rows summed by segment, divided as the combiner says."""
    if combiner == "sum":
        return segment.segment_sum(embeddings, segment_ids, name=name)
    embeddings = segment.segment_sum(embeddings, segment_ids)
    if combiner == "mean":
        return math.div(embeddings, segment.segment_sum(weights, segment_ids), name=name)
    squares = segment.segment_sum(math.pow(weights, 2), segment_ids)
    return math.div(embeddings, unary.sqrt(squares), name=name)


def _tiled(embeddings: Any, segment_ids: Any, sp_ids: SparseTensor) -> Tensor:
    """Rows side by side at their column: [rows, columns * dim], zeros where there is no id."""
    columns = math.cast(sp_ids.indices[:, 1], dtypes.int32)
    shape = math.cast(sp_ids.dense_shape, dtypes.int32)
    places = segment_ids * shape[1] + columns
    spread = segment.unsorted_segment_sum(embeddings, places, shape[0] * shape[1])
    return as_tensor(array.reshape(spread, [shape[0], shape[1] * array.shape(embeddings)[-1]]))


def embedding_lookup_sparse_v2(
    params: Any,
    sp_ids: Any,
    sp_weights: Any,
    combiner: str | None = None,
    max_norm: float | None = None,
    name: str | None = None,
) -> Tensor:
    """`embedding_lookup_sparse` by the strategy "div"."""
    return embedding_lookup_sparse(params, sp_ids, sp_weights, "div", name, combiner, max_norm)
