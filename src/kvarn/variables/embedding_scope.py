"""`get_embedding_variable` and its relatives.

Source: tensorflow/python/ops/variable_scope.py of DeepRec.
"""

from __future__ import annotations

import warnings
from typing import Any

from kvarn import dtypes
from kvarn.engine.options import (
    CombinedEvict,
    EmbeddingVariableConfig,
    EmbeddingVariableOption,
    GlobalStepEvict,
    L2WeightEvict,
)
from kvarn.graph.tensor_shape import as_shape, dimension_value
from kvarn.variables.dynamic_embedding_variable import DynamicEmbeddingVariable
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.save_slice_info import SaveSliceInfo
from kvarn.variables.scope_state import get_variable_scope
from kvarn.variables.variable_store import _get_default_variable_store, number_of_parts

# The key of each type that no row may have.
_INVALID_KEYS = {dtypes.int64: 9223372036854775807, dtypes.int32: -1, dtypes.string: ""}


def get_embedding_variable(
    name: str,
    embedding_dim: int,
    key_dtype: Any = dtypes.int64,
    value_dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    custom_getter: Any = None,
    constraint: Any = None,
    steps_to_live: int | None = None,
    init_data_source: Any = None,
    ev_option: EmbeddingVariableOption | None = None,
) -> Any:
    """The embedding variable of a name in the current variable scope, made or shared as for `get_variable`.

    Args:
      name: inside the scope.
      embedding_dim: elements of one row.
      key_dtype: int64 or int32.
      value_dtype: float32 by default.
      initializer: makes the matrix [default_value_dim, embedding_dim] that rows of new keys are taken from;
        truncated_normal_initializer() by default.
      partitioner: called with shape [sys.maxsize, embedding_dim]; the result is a PartitionedVariable then.
      steps_to_live: deprecated; see `GlobalStepEvict`.
      ev_option: an `EmbeddingVariableOption`.
      regularizer, trainable, collections, caching_device, validate_shape, custom_getter, constraint: see
        `get_variable`.

    Raises:
      ValueError: no row can have keys of ``key_dtype``, or both ways to evict are asked for.
      TypeError: ``ev_option`` is something else, or a size no integer.
      UnimplementedError: an option that this version cannot do.
    """
    arguments = dict(locals())
    if steps_to_live is not None:
        warnings.warn(
            "steps_to_live is deprecated, use tf.GlobalStepEvict(steps_to_live) in ev_option", stacklevel=2
        )
    return get_embedding_variable_internal(**arguments)


def get_embedding_variable_internal(
    name: str,
    embedding_dim: int,
    key_dtype: Any = dtypes.int64,
    value_dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    custom_getter: Any = None,
    constraint: Any = None,
    steps_to_live: int | None = None,
    init_data_source: Any = None,
    ev_option: EmbeddingVariableOption | None = None,
) -> Any:
    """`get_embedding_variable` without its warnings."""
    if ev_option is None:
        ev_option = EmbeddingVariableOption()
    if not isinstance(ev_option, EmbeddingVariableOption):
        raise TypeError(
            f"embedding variable '{name}': ev_option must be an EmbeddingVariableOption, not {ev_option!r}; filters, "
            "evict options and the like are arguments of that"
        )
    if ev_option.init.initializer is not None:
        initializer = ev_option.init.initializer
    return get_embedding_variable_v2_internal(
        name,
        embedding_dim,
        key_dtype=key_dtype,
        value_dtype=value_dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=trainable,
        collections=collections,
        caching_device=caching_device,
        partitioner=partitioner,
        validate_shape=validate_shape,
        custom_getter=custom_getter,
        constraint=constraint,
        evconfig=_config_of(ev_option, steps_to_live, init_data_source),
        ht_partition_num=ev_option.ht_partition_num,
    )


def get_embedding_variable_v2_internal(
    name: str,
    embedding_dim: int,
    key_dtype: Any = dtypes.int64,
    value_dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    custom_getter: Any = None,
    constraint: Any = None,
    evconfig: EmbeddingVariableConfig | None = None,
    ht_partition_num: int = 1000,
) -> Any:
    """`get_embedding_variable` with everything about the table in one `EmbeddingVariableConfig`."""
    from kvarn.variables import initializers

    invalid_key = _checked(name, embedding_dim, key_dtype)
    if initializer is None:
        initializer = initializers.truncated_normal_initializer()
    return get_variable_scope().get_embedding_variable(
        _get_default_variable_store(),
        name,
        shape=[embedding_dim],
        dtype=value_dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=trainable,
        collections=collections,
        caching_device=caching_device,
        partitioner=partitioner,
        validate_shape=validate_shape,
        use_resource=True,
        custom_getter=custom_getter,
        constraint=constraint,
        invalid_key=invalid_key,
        evconfig=EmbeddingVariableConfig() if evconfig is None else evconfig,
        ht_partition_num=ht_partition_num,
    )


def get_dynamic_dimension_embedding_variable(
    name: str,
    embedding_block_dimension: int,
    embedding_block_num: int,
    key_dtype: Any = dtypes.int64,
    value_dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    custom_getter: Any = None,
    constraint: Any = None,
    steps_to_live: int | None = None,
    init_data_source: Any = None,
    ht_partition_num: int = 1000,
    storage_type: int | None = None,
) -> Any:
    """An embedding variable whose keys have as many blocks as lookups ask for by ``blocknums``.

    Its blocks are the embedding variables ``<name>/block0``, ``<name>/block1``, …, of parts
    ``<name>/part_<k>/block0``, ….  A key starts every block from the first row that the initializer makes.

    Args:
      name: inside the current variable scope.
      embedding_block_dimension: elements of a row in one block.
      embedding_block_num: number of blocks.
      partitioner: called with shape [sys.maxsize, embedding_block_dimension]; the result is a
        PartitionedVariable of `DynamicEmbeddingVariable` then.
      key_dtype, value_dtype, initializer, regularizer, trainable, collections, caching_device,
        validate_shape, custom_getter, constraint, steps_to_live: see `get_embedding_variable`.
      storage_type: a `StorageType` that needs no path.

    Returns:
      A `DynamicEmbeddingVariable`, or a PartitionedVariable of such.

    Raises:
      ValueError: numbers below 1, or no row can have keys of ``key_dtype``.
    """
    _checked(name, embedding_block_dimension, key_dtype)
    if embedding_block_num < 1:
        raise ValueError(
            f"embedding variable '{name}': embedding_block_num must be greater than 0, not {embedding_block_num}"
        )
    scope = get_variable_scope()
    partitioner = scope.partitioner if partitioner is None else partitioner
    full_name = f"{scope.name}/{name}" if scope.name else name

    def blocks(prefix: str) -> list[Any]:
        made: list[Any] = []
        for i in range(embedding_block_num):
            block = get_embedding_variable_v2_internal(
                f"{prefix}/block{i}",
                embedding_block_dimension,
                key_dtype=key_dtype,
                value_dtype=value_dtype,
                initializer=initializer,
                regularizer=regularizer,
                trainable=trainable,
                collections=collections,
                caching_device=caching_device,
                validate_shape=validate_shape,
                custom_getter=custom_getter,
                constraint=constraint,
                evconfig=EmbeddingVariableConfig(
                    steps_to_live=steps_to_live,
                    init_data_source=init_data_source,
                    storage_type=storage_type,
                    emb_index=i,
                    block_num=embedding_block_num,
                    primary=made[0] if made else None,
                ),
                ht_partition_num=ht_partition_num,
            )
            made.append(block)
        return made

    # Parts are cut here; a block is not to be cut again.
    scope_partitioner = scope.partitioner
    scope.set_partitioner(None)
    try:
        if partitioner is None:
            return DynamicEmbeddingVariable(full_name, blocks(name))
        n = number_of_parts(full_name, partitioner, as_shape([embedding_block_dimension]), value_dtype)
        shape = as_shape([n, embedding_block_dimension * embedding_block_num])
        parts = [_dynamic_part(full_name, shape, k, blocks(f"{name}/part_{k}")) for k in range(n)]
        return PartitionedVariable(full_name, shape, parts[0].dtype, parts, [n, 1])
    finally:
        scope.set_partitioner(scope_partitioner)


def _dynamic_part(name: str, shape: Any, k: int, blocks: list[Any]) -> DynamicEmbeddingVariable:
    """Part ``k`` of a variable of dynamic dimension; its blocks are parts of the whole variable's blocks."""
    n, dim = shape.as_list()
    part_name = f"{name}/part_{k}"
    for i, block in enumerate(blocks):
        width = block.shape.as_list()[0]
        block._set_save_slice_info(
            SaveSliceInfo(
                f"{name}/block{i}", [n, width], [k, 0], [1, width], var_full_name=f"{part_name}/block{i}"
            )
        )
    info = SaveSliceInfo(name, [n, dim], [k, 0], [1, dim], var_full_name=part_name)
    return DynamicEmbeddingVariable(part_name, blocks, info)


def _config_of(
    option: EmbeddingVariableOption, steps_to_live: int | None, init_data_source: Any
) -> EmbeddingVariableConfig:
    """What an option asks of a table; ``steps_to_live`` and ``init_data_source`` count where it says nothing."""
    steps_to_live, l2_weight_threshold, combined = _evictions(option.evict, steps_to_live)
    ckpt, storage, init = option.ckpt, option.storage_option, option.init
    if ckpt is not None and ckpt.init_data_source is not None:
        init_data_source = ckpt.init_data_source
    return EmbeddingVariableConfig(
        steps_to_live=steps_to_live,
        l2_weight_threshold=l2_weight_threshold,
        ht_type=option.ht_type,
        filter_strategy=option.filter_strategy,
        ckpt_to_load_from=None if ckpt is None else ckpt.ckpt_to_load_from,
        tensor_name_in_ckpt=None if ckpt is None else ckpt.tensor_name_in_ckpt,
        always_load_from_specific_ckpt=False if ckpt is None else ckpt.always_load_from_specific_ckpt,
        init_data_source=init_data_source,
        storage_type=storage.storage_type,
        storage_path=storage.storage_path,
        storage_size=storage.storage_size,
        storage_cache_strategy=storage.cache_strategy,
        layout=storage.layout,
        default_value_dim=init.default_value_dim,
        default_value_no_permission=init.default_value_no_permission,
        combined_evict=combined,
        row_seed=init.row_seed,
    )


def _evictions(evict: Any, steps_to_live: int | None) -> tuple[int | None, float, CombinedEvict | None]:
    """``steps_to_live``, ``l2_weight_threshold`` (-1 for none) and the CombinedEvict of an ``evict_option``.

    Args:
      steps_to_live: what `get_embedding_variable` was given itself.

    Raises:
      ValueError: no such option, or it and ``steps_to_live`` ask for two ways to evict.
    """
    if isinstance(evict, CombinedEvict):
        if steps_to_live is not None:
            raise ValueError(
                "Give steps_to_live to CombinedEvict alone, not to get_embedding_variable as well."
            )
        return evict.policy.steps_to_live, evict.policy.l2_weight_threshold, evict
    if isinstance(evict, GlobalStepEvict):
        return evict.steps_to_live, -1.0, None
    if isinstance(evict, L2WeightEvict):
        if steps_to_live is not None and evict.l2_weight_threshold > 0:
            raise ValueError("step_to_live and l2_weight_threshold can't be enabled at same time.")
        return steps_to_live, evict.l2_weight_threshold, None
    if evict is not None:
        raise ValueError(
            f"evict_option must be a GlobalStepEvict, an L2WeightEvict or a CombinedEvict, not {evict!r}"
        )
    return steps_to_live, -1.0, None


def _checked(name: str, embedding_dim: Any, key_dtype: Any) -> Any:
    """The key that no row may have; ValueError or TypeError for a key type or dimension that cannot be."""
    invalid_key = _INVALID_KEYS.get(dtypes.as_dtype(key_dtype))
    if invalid_key is None:
        raise ValueError(
            f"Not support key_dtype: {dtypes.as_dtype(key_dtype).name}, only support int64/int32/string\n"
            f"  for embedding variable '{name}'\n"
            "  Cast its ids to tf.int64, or hash strings with tf.strings.to_hash_bucket_fast."
        )
    width = dimension_value(embedding_dim)
    if width is not None and not hasattr(width, "__index__"):
        raise TypeError(
            f"embedding variable '{name}': embedding_dim must be an integer, not {embedding_dim!r}"
        )
    if width is None or width <= 0:
        raise ValueError(
            f"embedding variable '{name}': embedding_dim must be greater than 0, not {embedding_dim}"
        )
    return invalid_key
