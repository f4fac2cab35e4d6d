"""Embedding variables: their handles, initialization, lookup, export and restore.

`EmbeddingResource` (`kvarn.ops.kv_resource`) is what a handle stands for while a session lives,
`kvarn.ops.kv_checkpoint` how it goes to a checkpoint and back; the updates are in `kvarn.ops.training`.

By default a lookup creates missing keys, as in DeepRec up to 2023.  With the environment variable
``KVARN_EV_INSERT=apply``, read when the variable is created in a session, only an update does, as in newer
ones; of a variable with a filter always.  What is counted is counted by updates.

Source: tensorflow/core/ops/kv_variable_ops.cc and tensorflow/core/kernels/kv_variable_ops.cc of DeepRec.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.graph.operation import Operation
from kvarn.graph.shape_inference import InferenceContext, Shape, no_outputs, scalar
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import kv_key_sets, kv_options
from kvarn.ops.kv_resource import KIND, EmbeddingResource, find_or_create, initialized
from kvarn.ops.kv_restore import is_part, restore
from kvarn.ops.kv_storage import cache_of
from kvarn.ops.resource_variable import handle_shape_and_type

# On an importing node: columns that the checkpoint does not have are 0 (docs/adr/0004).  An attr whose name
# starts with "_" may stand on any node, so the graph still loads elsewhere.
FILL_WITH_ZEROS = "_kvarn_fill_with_zeros"

_KEYS = "Tkeys: {int64, int32}"


def handle_shape(handle: Tensor) -> Shape:
    """The shape of one row, ``(embedding_dim,)``, of the variable behind ``handle``; None if unknown."""
    known = handle_shape_and_type(handle)
    return None if known is None else known[0]


@op(
    "KvVarHandleOp",
    outputs="resource: resource",
    attrs=[
        "container: string = ''",
        "shared_name: string = ''",
        "dtype: type",
        "shape: shape",
        f"{_KEYS} = DT_INT64",
    ],
    stateful=True,
)
class kv_var_handle_op:
    """The handle of an embedding variable; ``shape`` is the shape of one row, ``[embedding_dim]``."""

    shape = scalar

    def kernel(ctx: Any) -> Any:
        return ctx.handle(KIND, ctx.attrs["dtype"], ctx.attrs["shape"])


# What both initializing ops take, and the restoring op of eras A and B as well.
_ENGINE_ATTRS = [
    "slot_num: int = 0",
    _KEYS,
    "dtype: type",
    "shape: shape",
    "initial_num_buckets: int = 131072",
    "max_load_factor: float = 0.8",
    "steps_to_live: int = 0",
    "ht_type: string = ''",
    "emb_index: int = 0",
    "block_num: int = 1",
    "slot_index: int = 0",
    "ht_partition_num: int = 1000",
    "filter_freq: int = 0",
    "max_freq: int = 999999",
    "max_element_size: int = 0",
    "counter_type: type",
    "false_positive_probability: float = -1.0",
    "l2_weight_threshold: float = -1.0",
    "layout: string = ''",
    "storage_type: int = 0",
    "storage_path: string = '.'",
    "storage_size: list(int) = []",
    "default_value_dim: int = 4096",
    "default_value_no_permission: float = 0.0",
    "record_freq: bool = false",
    "record_version: bool = false",
]


def _initialize(ctx: Any, resource_self: Any, resource_primary: Any, value: Any, empty_key: Any) -> Any:
    attrs = ctx.attrs
    resource = find_or_create(ctx.resources, resource_self, resource_primary, attrs)
    resource.set_default(value)
    # Without buckets the op only makes the object, for a restore to fill.
    if attrs["initial_num_buckets"] == 0:
        return
    if attrs.get(kv_options.INITIAL_CHECKPOINT) and not resource.is_initialized:
        _restore_initial(resource, attrs)
    resource.init_ran = resource.is_initialized = True


def _restore_initial(resource: EmbeddingResource, attrs: Any) -> None:
    """Adds the rows of the checkpoint that a `CheckpointOption` names."""
    part = attrs.get(kv_options.INITIAL_PARTITION)
    partition_id, partition_num = (0, 1) if part is None else part
    prefix, name = (
        value.decode() if isinstance(value, bytes) else value
        for value in (attrs[kv_options.INITIAL_CHECKPOINT], attrs[kv_options.INITIAL_NAME])
    )
    # Another name than the variable's own can be that of any part.
    partitioned = part is not None if part is not None or name == resource.name else None
    restore(
        resource,
        prefix,
        name,
        partitioned=partitioned,
        partition_id=partition_id,
        partition_num=partition_num,
    )


@op(
    "InitializeKvVariableOp",
    inputs="resource_self: resource, resource_primary: resource, value: dtype, empty_key: Tkeys",
    attrs=_ENGINE_ATTRS,
)
class initialize_kv_variable_op:
    """Makes an embedding variable exist, empty, with ``value`` [R, dim] to take the rows of new keys from.

    A variable that exists keeps its keys and its initial values.  The attributes say how the table is kept:
    see `kvarn.ops.kv_options`.  Raises UnimplementedError for an option that this version does not have.
    """

    shape = no_outputs
    kernel = _initialize
    grad = NOT_DIFFERENTIABLE


@op(
    "InitializeKvVariableV2Op",
    inputs="resource_self: resource, resource_primary: resource, value: dtype, empty_key: Tkeys",
    attrs=[*_ENGINE_ATTRS, "embedding_variable_type: int = 0"],
)
class initialize_kv_variable_v2_op:
    """`initialize_kv_variable_op` of newer DeepRec; ``embedding_variable_type`` only steers its caches."""

    shape = no_outputs
    kernel = _initialize
    grad = NOT_DIFFERENTIABLE


@op(
    "KvVarIsInitializedOp",
    inputs="resource: resource",
    outputs="is_initialized: bool",
    attrs=[_KEYS, "dtype: type = DT_FLOAT"],
)
class kv_var_is_initialized_op:
    """Whether an initializer or a restore has run."""

    shape = scalar
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, resource: Any) -> Any:
        found = ctx.resources.find(resource)
        return np.bool_(found is not None and found.is_initialized)


@op(
    "KvResourceInitCacheStrategyOp",
    inputs="resource: resource",
    attrs=["cache_strategy: int = 1", _KEYS, "dtype: {float, double}"],
)
class kv_resource_init_cache_strategy_op:
    """Says which rows of a variable with several storage tiers leave memory first; with one tier none do.

    Raises InvalidArgumentError for a strategy other than 0, LRU, and 1, LFU.
    """

    shape = no_outputs
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, resource: Any) -> Any:
        found: EmbeddingResource = ctx.resources.look_up(resource)
        found.table.set_cache(cache_of(ctx.attrs["cache_strategy"]))


@op(
    "KvVariableShape",
    inputs="input: resource",
    outputs="output: out_type",
    attrs=["out_type: {int32, int64} = DT_INT32", _KEYS, "dtype: type = DT_FLOAT"],
)
class kv_variable_shape:
    """``[number of keys, embedding_dim]``; keys that a counter filter has not admitted yet count too."""

    grad = NOT_DIFFERENTIABLE

    def shape(c: Any, input: Any) -> Any:
        return (2,)

    def kernel(ctx: Any, input: Any) -> Any:
        resource = initialized(ctx.resources, input)
        return np.array([resource.table.size, resource.dim], ctx.attrs["out_type"].np)


@op(
    "DestroyKvResourceOp",
    inputs="resource: resource",
    attrs="ignore_lookup_error: bool = true",
    stateful=True,
)
class destroy_kv_resource_op:
    """Forgets the variable; NotFoundError if there is none and ``ignore_lookup_error`` is False."""

    shape = no_outputs
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, resource: Any) -> Any:
        if ctx.attrs["ignore_lookup_error"] and ctx.resources.find(resource) is None:
            return
        ctx.resources.delete(resource)


def _gathered(c: InferenceContext, resource: Shape, indices: Shape, *rest: Shape) -> Shape:
    row = handle_shape(c.inputs[0])
    return None if indices is None or row is None else indices + row


def _gather_grad(node: Operation, d_output: Tensor) -> list[Any]:
    """IndexedSlices of the rows looked up; nothing for ids, default and counts."""
    from kvarn.graph.tensor_shape import TensorShape
    from kvarn.ops import array as array_ops

    array: Any = array_ops
    # The row's shape, not the table's, stands for the dense shape, which has no fixed number of rows.
    row = handle_shape(node._inputs[0])
    params_shape = convert_to_tensor(TensorShape.from_tuple(row))
    indices = node._inputs[1]
    size = array.expand_dims(array.size(indices), 0)
    values_shape = array.concat([size, params_shape[0:]], 0)
    values = array.reshape(d_output, values_shape)
    values.set_shape((None, *(row or ())))
    flat = array.reshape(indices, size)
    return [IndexedSlices(values, flat, params_shape)] + [None] * (len(node._inputs) - 1)


@op(
    "KvResourceGather",
    inputs="resource: resource, indices: Tkeys, default_value: dtype",
    outputs="output: dtype",
    attrs=[
        "is_use_default_value_tensor: bool = false",
        "validate_indices: bool = true",
        "dtype: type",
        _KEYS,
        "is_inference: bool = false",
    ],
)
class kv_resource_gather:
    """Rows of ``indices`` (any shape): indices.shape + [dim].

    ``default_value`` counts only with ``is_use_default_value_tensor``: then it has a row for each index that
    a missing key starts from.
    """

    shape = _gathered
    grad = _gather_grad

    def kernel(ctx: Any, resource: Any, indices: Any, default_value: Any) -> Any:
        found = ctx.resources.find(resource)
        if found is None or not found.is_initialized:
            found = initialized(ctx.resources, resource)
        if ctx.attrs["is_use_default_value_tensor"]:
            return found.lookup_or_start_from(indices, default_value)
        return found.lookup(indices)


@op(
    "KvResourceGatherV1",
    inputs="resource: resource, indices: Tkeys, default_value: dtype, counts: counts_type",
    outputs="output: dtype",
    attrs=[
        "is_use_default_value_tensor: bool = false",
        "validate_indices: bool = true",
        "dtype: type",
        _KEYS,
        "counts_type: {int32, int64} = DT_INT32",
        "is_inference: bool = false",
    ],
)
class kv_resource_gather_v1:
    """`kv_resource_gather` of indices that stand for ``counts`` occurrences each.

    The counts are for the update, which gets them through the gradient; a lookup counts nothing.
    """

    shape = _gathered
    grad = _gather_grad

    def kernel(ctx: Any, resource: Any, indices: Any, default_value: Any, counts: Any) -> Any:
        return initialized(ctx.resources, resource).lookup(indices)


def _per_id(c: InferenceContext, resource_handle: Shape, ids: Shape) -> Shape:
    return ids


@op(
    "EVGetFrequency",
    inputs="resource_handle: resource, ids: Tkeys",
    outputs="output: int64",
    attrs=[_KEYS, "Tvalues: type"],
)
class ev_get_frequency:
    """How often updates named each id; 0 for a missing key and when frequencies are not recorded.

    With a counter filter, a key on its way has its count and an admitted one, if frequencies are not recorded,
    ``filter_freq``; with a Bloom filter every key has the least of its counters.  Nothing is created.
    """

    shape = _per_id
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, resource_handle: Any, ids: Any) -> Any:
        return initialized(ctx.resources, resource_handle).table.frequency(ids)


@op(
    "EVGetVersion",
    inputs="resource_handle: resource, ids: Tkeys",
    outputs="output: int64",
    attrs=[_KEYS, "Tvalues: type"],
)
class ev_get_version:
    """The global step of each id's last update; -1 for a missing or never updated key and when versions are
    not recorded."""

    shape = _per_id
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, resource_handle: Any, ids: Any) -> Any:
        return initialized(ctx.resources, resource_handle).table.version(ids)


@op(
    "KvResourceLookupTier",
    inputs="resource_handle: resource, ids: Tkeys",
    outputs="output: int32",
    attrs=[_KEYS, "dtype: type"],
)
class kv_resource_lookup_tier:
    """The storage tier each id is in: 0 memory, 1 disk, -1 for a key that is missing or not admitted."""

    shape = _per_id
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, resource_handle: Any, ids: Any) -> Any:
        return initialized(ctx.resources, resource_handle).table.tier(ids)


@op(
    "KvResourceLookupResource",
    inputs="resource_handle: resource",
    outputs="output: int64",
    attrs=[_KEYS, "dtype: type = DT_FLOAT"],
)
class kv_resource_lookup_resource:
    """A number that stands for the variable in `SaveV3`; valid in this session only."""

    shape = scalar
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, resource_handle: Any) -> Any:
        return np.int64(initialized(ctx.resources, resource_handle).address)


@op(
    "KvResourceExport",
    inputs="resource_handle: resource",
    outputs="keys: Tkeys, values: Tvalues, versions: int64, freqs: int64",
    attrs=[_KEYS, "Tvalues: type = DT_FLOAT"],
)
class kv_resource_export:
    """All keys [n], rows [n, dim], versions and frequencies ([n], or [0] when not recorded).

    Keys that a filter has not admitted have the first default row.
    """

    grad = NOT_DIFFERENTIABLE

    def shape(c: Any, resource_handle: Any) -> Any:
        row = handle_shape(c.inputs[0])
        return [(None,), None if row is None else (None, *row), (None,), (None,)]

    def kernel(ctx: Any, resource_handle: Any) -> Any:
        return initialized(ctx.resources, resource_handle).export()


@op(
    "KvResourceImport",
    inputs=(
        "resource_handle: resource, value: dtype, empty_key: Tkeys, keys: Tkeys, values: dtype, "
        "versions: int64"
    ),
    attrs=[
        "shape: shape",
        _KEYS,
        "dtype: type",
        "steps_to_live: int = 0",
        "ht_type: string = ''",
        "ht_partition_num: int = 1000",
    ],
)
class kv_resource_import:
    """Makes a variable exist and adds rows to it; versions may be empty."""

    shape = no_outputs
    grad = NOT_DIFFERENTIABLE

    def kernel(
        ctx: Any, resource_handle: Any, value: Any, empty_key: Any, keys: Any, values: Any, versions: Any
    ) -> Any:
        resource = find_or_create(ctx.resources, resource_handle, resource_handle, ctx.attrs)
        resource.set_default(value)
        resource.table.import_rows(
            resource.slot, np.ravel(keys), values, None, np.ravel(versions) if np.size(versions) else None
        )
        resource.is_initialized = True


def tensor_name(tensor_names: Any) -> str:
    """The variable in a checkpoint that the input ``tensor_names`` of an importing op means."""
    names: list[str] = [n.decode() for n in np.ravel(tensor_names)]
    # Era A asks for "N-keys", "N-values" and so on, the newer ones for N.
    if len(names) > 1 or names[0].endswith(("-keys", "-values", "-versions")):
        return names[0].rpartition("-")[0]
    return names[0]


@op(
    "KvResourceImportV2",
    inputs=(
        "prefix: string, resource_self: resource, resource_primary: resource, value: dtype, "
        "tensor_names: string, empty_key: Tkeys"
    ),
    attrs=[
        "slot_num: int = 0",
        "shape: shape",
        _KEYS,
        "dtype: type",
        "emb_index: int = 0",
        "slot_index: int = 0",
        "block_num: int = 1",
        "steps_to_live: int = 0",
        "partition_id: int = 0",
        "partition_num: int = 1",
        "ht_type: string = ''",
        "filter_freq: int = 0",
        "ht_partition_num: int = 1000",
        "max_element_size: int = 0",
        "counter_type: type",
        "false_positive_probability: float = -1.0",
        "l2_weight_threshold: float = -1.0",
        "layout: string = 'normal'",
        "max_freq: int = 999999",
        "storage_type: int = 1",
        "storage_path: string = '.'",
        "storage_size: list(int) = []",
        "default_value_dim: int = 4096",
        "default_value_no_permission: float = 0.0",
        "record_freq: bool = false",
        "record_version: bool = false",
        "reset_version: bool = false",
    ],
)
class kv_resource_import_v2:
    """Makes a variable exist and adds its rows in the checkpoint ``prefix`` to it; eras A and B.

    ``value`` becomes the initial values unless an initializer set them before.  Raises NotFoundError when the
    checkpoint does not have the variable.
    """

    shape = no_outputs
    grad = NOT_DIFFERENTIABLE

    def kernel(
        ctx: Any,
        prefix: Any,
        resource_self: Any,
        resource_primary: Any,
        value: Any,
        tensor_names: Any,
        empty_key: Any,
    ) -> Any:
        resource = find_or_create(ctx.resources, resource_self, resource_primary, ctx.attrs)
        resource.set_default(value)
        _restore(ctx, resource, prefix, tensor_names)


@op(
    "KvResourceImportV3",
    inputs="prefix: string, resource_self: resource, tensor_names: string, empty_key: Tkeys",
    attrs=[
        "shape: shape",
        "partition_id: int = 0",
        "partition_num: int = 1",
        _KEYS,
        "dtype: type",
        "reset_version: bool = false",
    ],
)
class kv_resource_import_v3:
    """Adds the rows in the checkpoint ``prefix`` to a variable that an initializing op has made; era C."""

    shape = no_outputs
    grad = NOT_DIFFERENTIABLE

    def kernel(ctx: Any, prefix: Any, resource_self: Any, tensor_names: Any, empty_key: Any) -> Any:
        _restore(ctx, ctx.resources.look_up(resource_self), prefix, tensor_names)


def _restore(ctx: Any, resource: EmbeddingResource, prefix: Any, tensor_names: Any) -> None:
    attrs = ctx.attrs
    name = tensor_name(tensor_names)
    restore(
        resource,
        np.ravel(prefix)[0].decode(),
        name,
        partitioned=is_part(attrs, name, name if resource.slot == 0 else name.rpartition("/")[0]),
        partition_id=attrs["partition_id"],
        partition_num=attrs["partition_num"],
        reset_version=attrs["reset_version"],
        zeros=bool(attrs.get(FILL_WITH_ZEROS)),
        key_mismatch=attrs.get(kv_key_sets.ATTR),
    )
