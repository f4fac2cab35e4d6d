"""What a program asks of an embedding variable: DeepRec's option classes.

Plain data: they check what DeepRec checks when they are made, and are carried to the variable as an
`EmbeddingVariableConfig`.  Which options this version can do is checked when a variable is made.

Source: tensorflow/python/ops/variables.py and tensorflow/core/framework/embedding/config.proto of DeepRec.
"""

from __future__ import annotations

import copy
import enum
import operator
import os
import warnings
from typing import Any, Final, Literal

from kvarn import dtypes
from kvarn.engine.policies import EvictionPolicy

GIB: Final = 1024 * 1024 * 1024


class StorageType(enum.IntEnum):
    """Where the rows of an embedding variable are kept; the numbers are DeepRec's."""

    DEFAULT = 0
    INVALID = 0
    DRAM = 1
    PMEM_MEMKIND = 2
    PMEM_LIBPMEM = 3
    SSDHASH = 4
    LEVELDB = 5
    HBM = 6
    DRAM_PMEM = 11
    DRAM_SSDHASH = 12
    HBM_DRAM = 13
    DRAM_LEVELDB = 14
    DRAM_PMEM_SSDHASH = 101
    HBM_DRAM_SSDHASH = 102


class CacheStrategy(enum.IntEnum):
    """Which rows leave the faster tier first."""

    LRU = 0
    LFU = 1


MULTI_TIER: Final = frozenset(
    {
        StorageType.LEVELDB,
        StorageType.SSDHASH,
        StorageType.DRAM_PMEM,
        StorageType.DRAM_LEVELDB,
        StorageType.DRAM_SSDHASH,
        StorageType.HBM_DRAM,
        StorageType.DRAM_PMEM_SSDHASH,
        StorageType.HBM_DRAM_SSDHASH,
    }
)
_ON_DISK: Final = frozenset(
    {StorageType.LEVELDB, StorageType.SSDHASH, StorageType.DRAM_SSDHASH, StorageType.DRAM_LEVELDB}
)


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {value!r}") from None


class InitializerOption:
    """How new rows start.

    Args:
      initializer: overrides the ``initializer`` argument of `get_embedding_variable`.
      default_value_dim: number of rows of the matrix that new keys start from.
      default_value_no_permission: what the filter's rejected keys read as.
      row_seed: every key starts from a row of its own, drawn from this seed and the key alone, instead of a row of
        the matrix; the initializer must be a random_uniform, random_normal or truncated_normal one.
    """

    def __init__(
        self,
        initializer: Any = None,
        default_value_dim: int = 4096,
        default_value_no_permission: float = 0.0,
        *,
        row_seed: int | None = None,
    ) -> None:
        self.initializer = initializer
        self.default_value_dim = default_value_dim
        self.default_value_no_permission = default_value_no_permission
        self.row_seed = row_seed
        if default_value_dim <= 0:
            warnings.warn(
                f"default value dim must be larger than 0, not {default_value_dim}; 4096 is used",
                stacklevel=2,
            )


class GlobalStepEvict:
    """Rows that were not updated for ``steps_to_live`` global steps are dropped.

    Raises:
      TypeError: the number is no integer.
    """

    def __init__(self, steps_to_live: int | None = None) -> None:
        self.steps_to_live = None if steps_to_live is None else _integer("steps_to_live", steps_to_live)


class L2WeightEvict:
    """Rows of which half the sum of squares is below ``l2_weight_threshold`` are dropped; -1.0 switches it off."""

    def __init__(self, l2_weight_threshold: float = -1.0) -> None:
        self.l2_weight_threshold = l2_weight_threshold
        if l2_weight_threshold <= 0 and l2_weight_threshold != -1.0:
            warnings.warn(
                "l2_weight_threshold is invalid, the l2 weight-based eviction is disabled", stacklevel=2
            )


class CombinedEvict:
    """Rows are dropped before a full save by several conditions together, within bounds; kvarn's own.

    Args:
      steps_to_live: rows not updated for so many global steps; 0 for no such condition.
      l2_weight_threshold: rows of which half the sum of squares is below it; -1.0 for no such condition.
      min_frequency: rows of keys counted fewer times; 0 for no such condition.
      require: whether "any" condition drops a row, or "all" of those given must hold.
      min_keys: so many keys, of each part, stay in any case: those used most.
      max_keys: of more keys than that, in each part, those used least are dropped in any case.

    Raises:
      InvalidArgumentError: numbers that do not go together, or no condition at all.
    """

    def __init__(
        self,
        steps_to_live: int = 0,
        l2_weight_threshold: float = -1.0,
        min_frequency: int = 0,
        require: Literal["any", "all"] = "any",
        min_keys: int = 0,
        max_keys: int | None = None,
    ) -> None:
        self.policy = EvictionPolicy(
            steps_to_live, l2_weight_threshold, min_frequency, require, min_keys, max_keys
        )


def eviction_policy(
    option: EvictionPolicy | CombinedEvict | GlobalStepEvict | L2WeightEvict,
) -> EvictionPolicy:
    """What an evict option asks for.

    Raises:
      TypeError: it is no evict option.
      InvalidArgumentError: it has no condition.
    """
    if isinstance(option, EvictionPolicy):
        return option
    if isinstance(option, CombinedEvict):
        return option.policy
    if isinstance(option, GlobalStepEvict):
        return EvictionPolicy(steps_to_live=option.steps_to_live or 0)
    if isinstance(option, L2WeightEvict):
        return EvictionPolicy(l2_weight_threshold=option.l2_weight_threshold)
    raise TypeError(
        f"{option!r} is no policy: give a GlobalStepEvict, L2WeightEvict, CombinedEvict or EvictionPolicy."
    )


class CheckpointOption:
    """Where a single variable's initial rows come from.

    Args:
      ckpt_to_load_from: prefix of a checkpoint whose rows the variable gets when its initializer runs.
      tensor_name_in_ckpt: the variable's name there; its own by default.
      always_load_from_specific_ckpt, init_data_source: refused when a variable is made with them.
    """

    def __init__(
        self,
        ckpt_to_load_from: Any = None,
        tensor_name_in_ckpt: str | None = None,
        always_load_from_specific_ckpt: bool = False,
        init_data_source: Any = None,
    ) -> None:
        self.ckpt_to_load_from = ckpt_to_load_from
        self.tensor_name_in_ckpt = tensor_name_in_ckpt
        self.always_load_from_specific_ckpt = always_load_from_specific_ckpt
        self.init_data_source = init_data_source


class StorageOption:
    """Where rows are kept.

    Args:
      storage_type: one of `StorageType`; None for the default.
      storage_path: directory, created if it does not exist.
      storage_size: bytes of each tier; filled up in place with 1 GiB to four entries.
      cache_strategy: one of `CacheStrategy`.
      layout: accepted and carried.

    Raises:
      ValueError: ``storage_size`` is not a list; a path without a type; a type on disk without a path.
    """

    def __init__(
        self,
        storage_type: int | None = None,
        storage_path: str | None = None,
        storage_size: list[int] | None = None,
        cache_strategy: int = CacheStrategy.LFU,
        layout: Any = None,
    ) -> None:
        if storage_size is None:
            storage_size = [GIB]
        if not isinstance(storage_size, list):
            raise ValueError("storage_size should be list type")
        storage_size.extend([GIB] * (4 - len(storage_size)))
        self.storage_type = storage_type
        self.storage_path = storage_path
        self.storage_size = storage_size
        self.cache_strategy = cache_strategy
        self.layout = layout
        if storage_path is not None:
            if storage_type is None:
                raise ValueError("storage_type musnt'be None when storage_path is set")
            os.makedirs(storage_path, exist_ok=True)
        elif storage_type is not None and storage_type in _ON_DISK:
            raise ValueError("storage_path musnt'be None when storage_type is set")


class CounterFilter:
    """A key gets a row once it has been seen ``filter_freq`` times; counted exactly.

    Raises:
      TypeError: the number is no integer.
    """

    def __init__(self, filter_freq: int = 0) -> None:
        self.filter_freq = _integer("filter_freq", filter_freq)


class CBFFilter:
    """A key gets a row once it has been seen ``filter_freq`` times; counted in a Bloom filter.

    Args:
      filter_freq: how often.
      max_element_size: so many keys are expected; the filter's size follows from it.
      false_positive_probability: of a key to be taken for others, at that many keys, in (0, 1); -1.0 counts
        exactly, as `CounterFilter`.
      counter_type: uint64, uint32, uint16 or uint8: how far a counter counts.

    Raises:
      ValueError: the three numbers do not fit each other.
      TypeError: a number of keys or occurrences is no integer.
    """

    def __init__(
        self,
        filter_freq: int = 0,
        max_element_size: int = 0,
        false_positive_probability: float = -1.0,
        counter_type: dtypes.DType = dtypes.uint64,
    ) -> None:
        if false_positive_probability != -1.0:
            if false_positive_probability <= 0.0:
                raise ValueError("false_positive_probablity must larger than 0")
            if max_element_size <= 0:
                raise ValueError(
                    "max_element_size must larger than 0 when false_positive_probablity is not -1.0"
                )
        elif max_element_size != 0:
            raise ValueError("max_element_size can't be set when false_probablity is -1.0")
        self.max_element_size = _integer("max_element_size", max_element_size)
        self.false_positive_probability = false_positive_probability
        self.counter_type = counter_type
        self.filter_freq = _integer("filter_freq", filter_freq)


class EmbeddingVariableOption:
    """The ``ev_option`` of `get_embedding_variable`; every default is an object of its own.

    Args:
      ht_type, ht_partition_num: kept in the graph; no table depends on them.
      evict_option: a `GlobalStepEvict`, `L2WeightEvict` or `CombinedEvict`.
      ckpt: a `CheckpointOption`.
      filter_option: a `CounterFilter` or `CBFFilter`.
      storage_option: where rows lie; in memory by default.
      init_option: what new rows start from.
    """

    def __init__(
        self,
        ht_type: str = "",
        ht_partition_num: int = 1000,
        evict_option: Any = None,
        ckpt: Any = None,
        filter_option: Any = None,
        storage_option: StorageOption | None = None,
        init_option: InitializerOption | None = None,
    ) -> None:
        self.ht_type = ht_type
        self.ht_partition_num = ht_partition_num
        self.evict = evict_option
        self.ckpt = ckpt
        self.filter_strategy = filter_option
        self.storage_option = StorageOption() if storage_option is None else storage_option
        self.init = InitializerOption() if init_option is None else init_option


class MultihashOption:
    """How a multi-hash variable is split.

    Args:
      num_of_partitions: number of its variables.
      strategy: how an id chooses a row in each: "Q-R".
      operation: how these rows become one: "add", "mul" (or "mult"), "concat".
      size: the shapes of the variables.
    """

    def __init__(self, num_of_partitions: int, strategy: str, operation: str, size: Any) -> None:
        self.num_of_partitions = num_of_partitions
        self.strategy = strategy
        self.operation = operation
        self.dims = size


class EmbeddingVariableConfig:
    """Everything the table behind an embedding variable is made with.

    ``primary``, ``emb_index``, ``slot_index``, ``slot_num``, ``block_num`` and ``handle_name`` place a slot
    or block beside its primary; the rest is from the options.
    """

    def __init__(
        self,
        steps_to_live: int | None = None,
        steps_to_live_l2reg: Any = None,
        l2reg_theta: Any = None,
        l2reg_lambda: Any = None,
        l2_weight_threshold: float = -1.0,
        ht_type: str | None = None,
        filter_strategy: Any = None,
        ckpt_to_load_from: Any = None,
        tensor_name_in_ckpt: str | None = None,
        always_load_from_specific_ckpt: bool = False,
        init_data_source: Any = None,
        handle_name: str | None = None,
        emb_index: int | None = None,
        slot_index: int | None = None,
        block_num: int | None = None,
        primary: Any = None,
        slot_num: int | None = None,
        storage_type: int | None = StorageType.DRAM,
        storage_path: str | None = None,
        storage_size: list[int] | None = None,
        storage_cache_strategy: int = CacheStrategy.LFU,
        layout: Any = None,
        default_value_dim: int = 4096,
        default_value_no_permission: float = 0.0,
        combined_evict: CombinedEvict | None = None,
        row_seed: int | None = None,
    ) -> None:
        self.steps_to_live = steps_to_live
        self.steps_to_live_l2reg = steps_to_live_l2reg
        self.l2reg_theta = l2reg_theta
        self.l2reg_lambda = l2reg_lambda
        self.l2_weight_threshold = l2_weight_threshold
        self.ht_type = ht_type
        self.filter_strategy = filter_strategy
        self.ckpt_to_load_from = ckpt_to_load_from
        self.tensor_name_in_ckpt = tensor_name_in_ckpt
        self.always_load_from_specific_ckpt = always_load_from_specific_ckpt
        self.init_data_source = init_data_source
        self.handle_name = handle_name
        self.emb_index = emb_index
        self.slot_index = slot_index
        self.block_num = block_num
        self.primary = primary
        self.slot_num = slot_num
        self.storage_type = storage_type
        self.storage_path = storage_path
        self.storage_size = storage_size
        self.storage_cache_strategy = storage_cache_strategy
        self.layout = layout
        self.default_value_dim = default_value_dim
        self.default_value_no_permission = default_value_no_permission
        self.combined_evict = combined_evict
        self.row_seed = row_seed

    def reveal(self) -> None:
        """Replaces None by the value that stands for "not set" in an attribute: 0, 1 block, or ""."""
        for name in ("steps_to_live", "steps_to_live_l2reg", "l2reg_theta", "l2reg_lambda"):
            if getattr(self, name) is None:
                setattr(self, name, 0)
        for name in ("emb_index", "slot_index", "slot_num"):
            if getattr(self, name) is None:
                setattr(self, name, 0)
        if self.block_num is None:
            self.block_num = 1
        for name in ("ht_type", "layout", "storage_path"):
            if getattr(self, name) is None:
                setattr(self, name, "")
        if self.storage_type is None:
            self.storage_type = StorageType.DRAM
        if self.storage_size is None:
            self.storage_size = [GIB] * 4

    def copy(self) -> EmbeddingVariableConfig:
        """An independent copy; the primary and the filter are shared."""
        found = copy.copy(self)
        if self.storage_size is not None:
            found.storage_size = list(self.storage_size)
        return found
