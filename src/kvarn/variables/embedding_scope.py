"""`get_embedding_variable` and its relatives.

Source: tensorflow/python/ops/variable_scope.py of DeepRec.
"""

from __future__ import annotations

import warnings
from typing import Any

from kvarn import dtypes
from kvarn.engine.options import (
    EmbeddingVariableConfig,
    EmbeddingVariableOption,
    GlobalStepEvict,
    L2WeightEvict,
)
from kvarn.graph.tensor_shape import dimension_value
from kvarn.variables.scope_state import get_variable_scope
from kvarn.variables.variable_store import _get_default_variable_store

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
      UnimplementedError: an option that this version cannot do.
    """
    if steps_to_live is not None:
        warnings.warn(
            "steps_to_live is deprecated, use tf.GlobalStepEvict(steps_to_live) in ev_option", stacklevel=2
        )
    return get_embedding_variable_internal(
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
        steps_to_live=steps_to_live,
        init_data_source=init_data_source,
        ev_option=ev_option,
    )


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
    if ev_option.init.initializer is not None:
        initializer = ev_option.init.initializer
    l2_weight_threshold = -1.0
    evict = ev_option.evict
    if isinstance(evict, GlobalStepEvict):
        steps_to_live = evict.steps_to_live
    elif isinstance(evict, L2WeightEvict):
        l2_weight_threshold = evict.l2_weight_threshold
    elif evict is not None:
        raise ValueError(f"evict_option must be a GlobalStepEvict or an L2WeightEvict, not {evict!r}")
    if steps_to_live is not None and l2_weight_threshold > 0:
        raise ValueError("step_to_live and l2_weight_threshold can't be enabled at same time.")
    ckpt = ev_option.ckpt
    if ckpt is not None and ckpt.init_data_source is not None:
        init_data_source = ckpt.init_data_source
    storage = ev_option.storage_option
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
        evconfig=EmbeddingVariableConfig(
            steps_to_live=steps_to_live,
            l2_weight_threshold=l2_weight_threshold,
            ht_type=ev_option.ht_type,
            filter_strategy=ev_option.filter_strategy,
            ckpt_to_load_from=None if ckpt is None else ckpt.ckpt_to_load_from,
            tensor_name_in_ckpt=None if ckpt is None else ckpt.tensor_name_in_ckpt,
            always_load_from_specific_ckpt=False if ckpt is None else ckpt.always_load_from_specific_ckpt,
            init_data_source=init_data_source,
            storage_type=storage.storage_type,
            storage_path=storage.storage_path,
            storage_size=storage.storage_size,
            storage_cache_strategy=storage.cache_strategy,
            layout=storage.layout,
            default_value_dim=ev_option.init.default_value_dim,
            default_value_no_permission=ev_option.init.default_value_no_permission,
        ),
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

    invalid_key = _INVALID_KEYS.get(dtypes.as_dtype(key_dtype))
    if invalid_key is None:
        raise ValueError(
            f"Not support key_dtype: {dtypes.as_dtype(key_dtype).name}, only support int64/int32/string\n"
            f"  for embedding variable '{name}'\n"
            "  Cast its ids to tf.int64, or hash strings with tf.strings.to_hash_bucket_fast."
        )
    width = dimension_value(embedding_dim)
    if width is None or width <= 0:
        raise ValueError(
            f"embedding variable '{name}': embedding_dim must be greater than 0, not {embedding_dim}"
        )
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
