"""Slots: variables that an optimizer keeps beside the ones it trains, named and placed after them.

Source: tensorflow/python/training/slot_creator.py (1.15), with DeepRec's slots of embedding variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kvarn.graph.graph import get_default_graph
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import array
from kvarn.variables import initializers
from kvarn.variables import scope as variable_scope
from kvarn.variables import variable as variables
from kvarn.variables.embedding_variable import EmbeddingVariable, SlotType


@dataclass
class SlotConfig:
    """How an embedding variable's slot lies in its entries.

    Attributes:
      slot_num: how many slots of type `SlotType.EMBEDDING_VARIABLE` the optimizer has for a variable.
      slot_index: which of them this one is, from 1.
      slot_type: `SlotType.VARIABLE` is an ordinary variable outside the entries.
    """

    slot_num: int = 1
    slot_index: int = 0
    slot_type: int = SlotType.EMBEDDING_VARIABLE


def create_slot(
    primary: Any,
    val: Any,
    name: str,
    colocate_with_primary: bool = True,
    slot_config: SlotConfig | None = None,
) -> Any:
    """A slot of ``primary`` with the initial value ``val``, a Tensor."""
    validate_shape = val.get_shape().is_fully_defined()
    return _create(primary, val, name, validate_shape, None, None, colocate_with_primary, slot_config)


def create_slot_with_initializer(
    primary: Any,
    initializer: Any,
    shape: Any,
    dtype: Any,
    name: str,
    colocate_with_primary: bool = True,
    slot_config: SlotConfig | None = None,
) -> Any:
    """A slot of ``primary`` whose initial value an initializer makes.

    Args:
      shape: TensorShape of the slot; of an embedding variable's slot, of one row.
    """
    validate_shape = shape.is_fully_defined()
    return _create(
        primary, initializer, name, validate_shape, shape, dtype, colocate_with_primary, slot_config
    )


def create_zeros_slot(
    primary: Any,
    name: str,
    dtype: Any = None,
    colocate_with_primary: bool = True,
    slot_config: SlotConfig | None = None,
) -> Any:
    """A slot of the shape of ``primary`` that starts from zeros."""
    if dtype is None:
        dtype = primary.dtype
    slot_shape = primary.get_shape()
    if slot_shape.is_fully_defined():
        return create_slot_with_initializer(
            primary,
            initializers.zeros_initializer(),
            slot_shape,
            dtype,
            name,
            colocate_with_primary=colocate_with_primary,
            slot_config=slot_config,
        )
    dynamic = primary.initialized_value() if isinstance(primary, variables.Variable) else primary
    val = array.zeros(array.shape(dynamic), dtype=dtype)
    return create_slot(
        primary, val, name, colocate_with_primary=colocate_with_primary, slot_config=slot_config
    )


def _create(
    primary: Any,
    val: Any,
    name: str,
    validate_shape: bool,
    shape: TensorShape | None,
    dtype: Any,
    colocate_with_primary: bool,
    slot_config: SlotConfig | None,
) -> Any:
    # A default name rather than a name: a second slot of the same name gets a number, and sharing variables
    # shares the slots too.
    with variable_scope.variable_scope(None, f"{primary.op.name}/{name}"):
        if not colocate_with_primary:
            return _create_slot_var(primary, val, validate_shape, shape, dtype, slot_config)
        with get_default_graph().colocate_with(primary):
            return _create_slot_var(primary, val, validate_shape, shape, dtype, slot_config)


def _create_slot_var(
    primary: Any,
    val: Any,
    validate_shape: bool,
    shape: TensorShape | None,
    dtype: Any,
    slot_config: SlotConfig | None,
) -> Any:
    scope = variable_scope.get_variable_scope()
    partitioner = scope.partitioner
    # A slot of a part is not to be cut again.
    scope.set_partitioner(None)
    try:
        if isinstance(primary, EmbeddingVariable) and (
            slot_config is None or slot_config.slot_type == SlotType.EMBEDDING_VARIABLE
        ):
            slot = _create_embedding_slot(
                primary, val, validate_shape, shape, slot_config or SlotConfig(1, 1)
            )
        else:
            slot = variable_scope.get_variable(
                "",
                initializer=val,
                trainable=False,
                use_resource=_use_resource(primary),
                # A value brings its own shape.
                shape=shape if callable(val) else None,
                dtype=dtype,
                validate_shape=validate_shape,
            )
    finally:
        scope.set_partitioner(partitioner)
    if isinstance(primary, variables.Variable) and primary._get_save_slice_info() is not None:
        _inherit_slice_info(primary, slot)
    return slot


def _use_resource(primary: Any) -> bool | None:
    if not isinstance(primary, variables.Variable):
        return None
    return primary.op.type in ("VarHandleOp", "KvVarHandleOp")


def _create_embedding_slot(
    primary: EmbeddingVariable, val: Any, validate_shape: bool, shape: TensorShape | None, config: SlotConfig
) -> Any:
    primary._set_slot_num(config.slot_num)
    return variable_scope.get_embedding_variable_v2_internal(
        "",
        initializer=val,
        trainable=False,
        embedding_dim=_row_length(primary, shape),
        key_dtype=primary._invalid_key_type,
        validate_shape=validate_shape,
        evconfig=primary._slot_evconfig(config.slot_num, config.slot_index),
        ht_partition_num=primary._ht_partition_num,
    )


def _row_length(primary: EmbeddingVariable, shape: TensorShape | None) -> int:
    """Elements of a row of the slot: its own when it says so, else the primary's."""
    length = (primary.shape if shape is None else shape).as_list()[-1]
    assert length is not None
    return length


def _inherit_slice_info(primary: Any, slot: Any) -> None:
    """A slot of a part is that part of the whole variable's slot."""
    info = primary._get_save_slice_info()
    slot_name = slot.op.name[len(primary.op.name + "/") :]
    rank = slot.get_shape().ndims
    # A slot may have fewer dimensions than its primary; a scalar one is not cut.
    if rank == 0:
        return
    var_full_name = getattr(info, "var_full_name", None)
    slot._set_save_slice_info(
        variables.Variable.SaveSliceInfo(
            f"{info.full_name}/{slot_name}",
            info.full_shape[:rank],
            info.var_offset[:rank],
            info.var_shape[:rank],
            **({"var_full_name": f"{var_full_name}/{slot_name}"} if var_full_name else {}),
        )
    )
