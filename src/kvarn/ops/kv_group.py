"""Lookups of many embeddings as one op: in embedding variables and in ordinary ones.

Each op takes lists of equal length: item i of every list is one lookup.  What the lookups have in common are the
attributes: ``dimension``, ``combiner``, whether there are weights.

Source: tensorflow/core/ops/fused_embedding_ops.cc and tensorflow/core/kernels/group_embedding/ of DeepRec.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import errors
from kvarn.engine import group_lookup
from kvarn.engine.table import EmbeddingTable
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import control_dependencies
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.operation import Operation
from kvarn.graph.shape_inference import InferenceContext, Shape, with_rank
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import array, gather, kv, reduction
from kvarn.ops.kv import handle_shape
from kvarn.ops.kv_resource import EmbeddingResource, initialized

_SPARSE_INPUTS = (
    "sp_values: num_lookups * Tkeys, sp_indices: num_lookups * int64, sp_weights: num_lookups * dtype, "
    "dense_shape: num_lookups * int64, default_value: dtype"
)
_SPARSE_OUTPUTS = (
    "output: num_lookups * dtype, unique_keys: num_lookups * Tkeys, unique_idx: num_lookups * int32, "
    "batch_nums: num_lookups * int32"
)
_DENSE_OUTPUTS = (
    "output: num_lookups * dtype, unique_keys: num_lookups * Tkeys, unique_idx: num_lookups * int32"
)
_COMMON = ["dtype: type", "Tkeys: {int64, int32}", "max_norm: float = -1.0", "num_lookups: int >= 1"]
_COMBINER = "combiner: {'sqrtn', 'mean', 'sum'}"


# -- shapes -----------------------------------------------------------------------------------------


def _sparse_shape(c: InferenceContext, *inputs: Any) -> list[Shape]:
    """Outputs, then keys, places and numbers of ids."""
    _, values, indices, _, dense_shapes, _ = inputs
    n, dim = c.attrs["num_lookups"], c.attrs["dimension"]
    outputs: list[Shape] = []
    for i in range(n):
        with_rank(values[i], 1)
        with_rank(indices[i], 2)
        with_rank(dense_shapes[i], 1)
        known = c.constant_value(4 * n + i)
        rank = 2 if c.attrs["is_sequence"] else 1
        leading = (None,) * rank if known is None else tuple(int(d) for d in known[:rank])
        outputs.append((*leading, dim))
    return outputs + [(None,)] * n + list(values) + [(None,)] * n


def _dense_shape(c: InferenceContext, params: Any, values: Any, default_value: Any) -> list[Shape]:
    dim = c.attrs["dimension"]
    rows = [None if v is None else (*v, dim) for v in values]
    return rows + [(None,)] * len(values) + [(None,)] * len(values)


# -- kernels ----------------------------------------------------------------------------------------


def _sparse_lookups(ctx: Any, sources: list[tuple[Any, Any]], inputs: Any) -> Any:
    """Combines the rows of each source: outputs, keys, places, and numbers of ids up to each row.

    Args:
      sources: for each lookup what reads rows of distinct keys, and the native table it reads, or None.
      inputs: values, indices, weights and dense shapes of the sparse tensors.
    """
    attrs = ctx.attrs
    rank = 2 if attrs["is_sequence"] else 1
    lookups: list[group_lookup.Lookup] = []
    for (read, source), values, indices, weights, dense_shape in zip(sources, *inputs, strict=True):
        shape = tuple(dense_shape.ravel()[:rank].tolist())
        of_ids = None if attrs["ignore_weights"] else weights.ravel()
        if len(shape) < rank or min(shape) < 0 or indices.shape[1:] != dense_shape.shape:
            raise errors.InvalidArgumentError.of(
                f"Lookup {len(lookups)} of the group has sp_indices of shape {list(indices.shape)} and the "
                f"dense_shape {dense_shape.tolist()}; expected {rank} or more numbers from 0 on, as many columns.",
                hint="Take values, indices and dense_shape from one SparseTensor.",
            )
        lookups.append(
            group_lookup.Lookup(read, source, attrs["dimension"], values.ravel(), indices, shape, of_ids)
        )
    found = group_lookup.combined(lookups, attrs["combiner"].decode(), attrs["max_norm"])
    return (
        *[one.rows for one in found],
        *[one.unique_keys for one in found],
        *[one.unique_idx for one in found],
        *[one.ends for one in found],
    )


def _source(ctx: Any, i: int, handle: Any, default_value: Any) -> tuple[Any, Any]:
    """What reads rows of distinct keys of the variable behind ``handle``, and its table if native code can."""
    resource: EmbeddingResource = initialized(ctx.resources, handle)
    if resource.dim != ctx.attrs["dimension"]:
        raise errors.InvalidArgumentError.of(
            f"Lookup {i} of the group is in embedding variable '{resource.name}' of dimension {resource.dim}, "
            f"the group has dimension {ctx.attrs['dimension']}.",
            name=resource.name,
        )
    if ctx.attrs["is_use_default_value_tensor"]:
        return lambda keys: resource.lookup_or_start_from(keys, _first_rows(default_value, len(keys))), None
    shared = resource.shared
    # A block's table has doors of its own, which native code would pass by.
    if type(shared.table) is not EmbeddingTable or shared.family is not None:
        return resource.lookup, None
    return resource.lookup, group_lookup.Source(shared.table, resource.slot, not shared.insert_in_apply)


def _first_rows(default_value: Any, n: int) -> Any:
    """A row for each distinct key, in order: what a missing one starts from."""
    return default_value[:n]


def _gatherer(i: int, params: Any, dim: int) -> Any:
    """What reads rows of an ordinary variable."""
    if params.ndim != 2 or params.shape[1] != dim:
        raise errors.InvalidArgumentError.of(
            f"Lookup {i} of the group is in a variable of shape {list(params.shape)}, the group has dimension "
            f"{dim}."
        )

    def read(keys: Any) -> Any:
        bad = np.flatnonzero((keys < 0) | (keys >= len(params)))
        if bad.size:
            raise errors.InvalidArgumentError.of(
                f"Lookup {i} of the group has id {keys[bad[0]]}, which is not in [0, {len(params)})"
            )
        return params[keys]

    return read


def _dense_lookups(reads: list[Any], values: list[Any]) -> Any:
    """Rows of ids of any shape, and the distinct ids."""
    from kvarn import _native

    outputs, unique_keys, unique_idx = [], [], []
    for read, ids in zip(reads, values, strict=True):
        keys, idx = _native.unique(np.ascontiguousarray(ids.ravel()))
        rows = read(keys)
        outputs.append(rows[idx].reshape(*ids.shape, rows.shape[-1]))
        unique_keys.append(keys)
        unique_idx.append(idx)
    return (*outputs, *unique_keys, *unique_idx)


def _nnz_grads(ctx: Any, grads: Any, sp_indices: Any, batch_nums: Any, n_rows: list[int]) -> Any:
    """For each of ``n_rows`` ids the gradient of its output row, divided as the combiner says."""
    out = []
    combiner = ctx.attrs["combiner"].decode()
    for grad, indices, ends, n in zip(grads, sp_indices, batch_nums, n_rows, strict=True):
        rows = indices[:n, 0] if indices.ndim == 2 else indices[:n]
        if combiner != "sum":
            grad = grad / group_lookup.divisors(np.diff(ends, prepend=0), combiner)[:, None]
        out.append(np.take(grad.astype(np.float32, copy=False), rows, axis=0))
    return out[0] if len(out) == 1 else tuple(out)


# -- gradients --------------------------------------------------------------------------------------


def _sparse_grad(node: Operation, d: tuple[Any, ...], rows_of: Any, nnz_grad_op: Any, shape_of: Any) -> Any:
    """Gradients of all inputs of a sparse lookup: of the variables, and of the weights.

    Args:
      d: gradients of the outputs, zeros for a lookup that nothing depends on.
      rows_of: the rows of distinct keys, to differentiate weights by.
      nnz_grad_op: the op that spreads gradients of outputs over ids.
      shape_of: the dense shape of a variable's gradient.
    """
    attrs, n = node.attrs, node.attrs["num_lookups"]
    if attrs["max_norm"] >= 0:
        raise errors.UnimplementedError.of(
            f"'{node.name}' cuts rows to max_norm, which has no gradient here.",
            name=node.name,
            hint="Look the embeddings up one by one with embedding_lookup_sparse(max_norm=...).",
        )
    grads = [convert_to_tensor(g) for g in d[:n]]
    params, values, indices, weights = (node.inputs[k * n : (k + 1) * n] for k in range(4))
    unique_keys, unique_idx, batch_nums = (node.outputs[k * n : (k + 1) * n] for k in (1, 2, 3))
    weighted = not attrs["ignore_weights"]
    looked_up = []
    if weighted:
        looked_up = [
            gather.gather(rows_of(p, keys), idx)
            for p, keys, idx in zip(params, unique_keys, unique_idx, strict=True)
        ]
    # Rows are read before an update can change them: updates wait for what follows.
    with control_dependencies([x.op for x in looked_up]):
        if attrs["is_sequence"]:
            of_ids = [gather.gather_nd(g, at[:, :2]) for g, at in zip(grads, indices, strict=True)]
        else:
            of_ids = nnz_grad_op(
                grads, params, values, indices, batch_nums, attrs["dimension"], attrs["combiner"]
            )
    of_weights: list[Any] = [None] * n
    if weighted:
        of_weights = [
            array.reshape(reduction.reduce_sum(g * rows, -1), array.shape(w))
            for g, rows, w in zip(of_ids, looked_up, weights, strict=True)
        ]
        of_ids = [g * array.reshape(w, [-1, 1]) for g, w in zip(of_ids, weights, strict=True)]
    of_params = [
        IndexedSlices(g, keys, shape_of(p)) for g, keys, p in zip(of_ids, values, params, strict=True)
    ]
    return [*of_params, *[None] * (2 * n), *of_weights, *[None] * (n + 1)]


def _row_shape(handle: Tensor) -> Any:
    return convert_to_tensor(TensorShape.from_tuple(handle_shape(handle)))


def _table_shape(params: Tensor) -> Any:
    return array.shape(params)


def _dense_grad(node: Operation, d: tuple[Any, ...], shape_of: Any) -> Any:
    """Gradients of all inputs of a lookup of ids: of the variables alone."""
    n = node.attrs["num_lookups"]
    of_params = []
    for params, ids, g in zip(node.inputs[:n], node.inputs[n : 2 * n], d[:n], strict=True):
        flat = array.reshape(g, [-1, node.attrs["dimension"]])
        of_params.append(IndexedSlices(flat, array.reshape(ids, [-1]), shape_of(params)))
    return [*of_params, *[None] * (n + 1)]


# -- the ops ----------------------------------------------------------------------------------------


@op(
    "GroupEmbeddingVarLookup",
    inputs=f"resource: num_lookups * resource, {_SPARSE_INPUTS}",
    outputs=_SPARSE_OUTPUTS,
    attrs=[
        "ignore_weights: bool = false",
        "is_use_default_value_tensor: bool = false",
        "is_sequence: bool = false",
        _COMBINER,
        "dimension: int",
        *_COMMON,
        "is_inference: bool = false",
    ],
)
class group_embedding_var_lookup:
    """Rows of embedding variables, combined: [rows, dim] for each of the sparse tensors of ids.

    ``combiner``: "sum", of the rows times their weights; "mean" and "sqrtn" divide that by the number of ids,
    or its root, weights or not.  ``is_sequence``: nothing is combined, [rows, columns, dim].  Where there are
    no ids the output is zeros.  ``default_value`` counts only with ``is_use_default_value_tensor``: its row k is
    what the k-th distinct key of a lookup starts from if it is missing.  Each sparse tensor is given by its
    values [n], indices [n, rank] and dense shape [rank], rank 2 or more; ``sp_weights`` [n] are not read with
    ``ignore_weights``.

    Outputs beside the rows: the distinct keys, each id's place among them, and for each row how many ids there
    are up to its end.
    """

    shape = _sparse_shape

    def kernel(
        ctx: Any,
        resource: Any,
        sp_values: Any,
        sp_indices: Any,
        sp_weights: Any,
        dense_shape: Any,
        default_value: Any,
    ) -> Any:
        sources = [_source(ctx, i, handle, default_value) for i, handle in enumerate(resource)]
        return _sparse_lookups(ctx, sources, (sp_values, sp_indices, sp_weights, dense_shape))

    def grad(node: Operation, *d: Any) -> Any:
        def rows_of(handle: Tensor, keys: Tensor) -> Any:
            return kv.kv_resource_gather(handle, keys, convert_to_tensor(1.0))

        return _sparse_grad(node, d, rows_of, group_embedding_variable_lookup_grad, _row_shape)


@op(
    "GroupEmbeddingVarLookupDense",
    inputs="resource: num_lookups * resource, dense_values: num_lookups * Tkeys, default_value: dtype",
    outputs=_DENSE_OUTPUTS,
    attrs=[
        "is_use_default_value_tensor: bool = false",
        "dimension: int",
        *_COMMON,
        "is_inference: bool = false",
        f"{_COMBINER} = 'mean'",
        "ignore_weights: bool = true",
        "is_sequence: bool = false",
    ],
)
class group_embedding_var_lookup_dense:
    """Rows of embedding variables for ids of any shape: ids.shape + [dim] for each.

    ``default_value`` is as in `group_embedding_var_lookup`.  Outputs beside the rows: the distinct keys and each
    id's place among them.  ``combiner``, ``ignore_weights`` and ``is_sequence`` say nothing here.
    """

    shape = _dense_shape

    def kernel(ctx: Any, resource: Any, dense_values: Any, default_value: Any) -> Any:
        reads = [_source(ctx, i, handle, default_value)[0] for i, handle in enumerate(resource)]
        return _dense_lookups(reads, dense_values)

    def grad(node: Operation, *d: Any) -> Any:
        return _dense_grad(node, d, _row_shape)


@op(
    "GroupEmbeddingVariableLookupGrad",
    inputs=(
        "grads: num_lookups * dtype, embedding_resources: num_lookups * resource, "
        "unique_keys: num_lookups * Tkeys, sp_indices: num_lookups * int64, batch_nums: num_lookups * int32"
    ),
    outputs="nnz_grads: num_lookups * dtype",
    attrs=["dimension: int", _COMBINER, "num_lookups: int >= 1", "dtype: type", "Tkeys: {int64, int32}",
           "max_norm: float = -1.0"],
)  # fmt: skip
class group_embedding_variable_lookup_grad:
    """The gradient of each id's row, [n, dim], from those of the combined rows [rows, dim].

    ``unique_keys`` [n] and ``sp_indices`` ([n] rows, or [n, rank]) go together: item k is in output row
    ``sp_indices[k]``.  (The gradient of a lookup gives all its ids, equal ones too.)  ``batch_nums`` [rows] is
    as the lookup gave it.
    """

    grad = NOT_DIFFERENTIABLE

    def shape(c: InferenceContext, grads: Any, resources: Any, keys: Any, indices: Any, nums: Any) -> Any:
        return [(None if k is None else k[0], c.attrs["dimension"]) for k in keys]

    def kernel(
        ctx: Any, grads: Any, embedding_resources: Any, unique_keys: Any, sp_indices: Any, batch_nums: Any
    ) -> Any:
        return _nnz_grads(ctx, grads, sp_indices, batch_nums, [k.size for k in unique_keys])


@op(
    "GroupVariableLookup",
    inputs=f"emb_variables: num_lookups * dtype, {_SPARSE_INPUTS}",
    outputs=_SPARSE_OUTPUTS,
    attrs=[
        _COMBINER,
        "dimension: int",
        *_COMMON,
        "ignore_weights: bool = false",
        "is_use_default_value_tensor: bool = false",
        "is_sequence: bool = false",
    ],
)
class group_variable_lookup:
    """`group_embedding_var_lookup` in ordinary variables [rows, dim]; ``default_value`` says nothing here.

    Raises InvalidArgumentError for an id that is no row.
    """

    shape = _sparse_shape

    def kernel(
        ctx: Any,
        emb_variables: Any,
        sp_values: Any,
        sp_indices: Any,
        sp_weights: Any,
        dense_shape: Any,
        default_value: Any,
    ) -> Any:
        sources = [(_gatherer(i, v, ctx.attrs["dimension"]), None) for i, v in enumerate(emb_variables)]
        return _sparse_lookups(ctx, sources, (sp_values, sp_indices, sp_weights, dense_shape))

    def grad(node: Operation, *d: Any) -> Any:
        return _sparse_grad(node, d, gather.gather, group_variable_lookup_grad, _table_shape)


@op(
    "GroupVariableLookupDense",
    inputs="emb_variables: num_lookups * dtype, dense_values: num_lookups * Tkeys, default_value: dtype",
    outputs=_DENSE_OUTPUTS,
    attrs=["dimension: int", *_COMMON, f"{_COMBINER} = 'mean'", "ignore_weights: bool = true"],
)
class group_variable_lookup_dense:
    """`group_embedding_var_lookup_dense` in ordinary variables [rows, dim]."""

    shape = _dense_shape

    def kernel(ctx: Any, emb_variables: Any, dense_values: Any, default_value: Any) -> Any:
        reads = [_gatherer(i, v, ctx.attrs["dimension"]) for i, v in enumerate(emb_variables)]
        return _dense_lookups(reads, dense_values)

    def grad(node: Operation, *d: Any) -> Any:
        return _dense_grad(node, d, _table_shape)


@op(
    "GroupVariableLookupGrad",
    inputs=(
        "grads: num_lookups * float, embedding_variables: num_lookups * dtype, "
        "unique_keys: num_lookups * Tkeys, sp_indices: num_lookups * int64, batch_nums: num_lookups * int32"
    ),
    outputs="nnz_grads: num_lookups * float",
    attrs=["dimension: int", _COMBINER, "num_lookups: int >= 1", "dtype: type", "Tkeys: {int64, int32}",
           "max_norm: float = -1.0"],
)  # fmt: skip
class group_variable_lookup_grad:
    """`group_embedding_variable_lookup_grad` of `group_variable_lookup`."""

    grad = NOT_DIFFERENTIABLE

    def shape(c: InferenceContext, grads: Any, variables: Any, keys: Any, indices: Any, nums: Any) -> Any:
        return [(None if k is None else k[0], c.attrs["dimension"]) for k in keys]

    def kernel(
        ctx: Any, grads: Any, embedding_variables: Any, unique_keys: Any, sp_indices: Any, batch_nums: Any
    ) -> Any:
        return _nnz_grads(ctx, grads, sp_indices, batch_nums, [k.size for k in unique_keys])
