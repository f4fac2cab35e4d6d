"""Where a table keeps its rows, by the storage type that an embedding variable asks for.

    DRAM, DEFAULT                                       memory
    SSDHASH, DRAM_SSDHASH, LEVELDB, DRAM_LEVELDB        memory up to storage_size[0] bytes, above that files
    DRAM_PMEM_SSDHASH, HBM_DRAM_SSDHASH                 the same, with a warning
    PMEM_MEMKIND, PMEM_LIBPMEM, DRAM_PMEM,
    HBM, HBM_DRAM                                       memory, with a warning

Persistent memory and GPU memory are accepted so that programs and graphs run that name them; a process warns once of
each type.

Source: tensorflow/core/framework/embedding/storage_factory.h and tensorflow/core/kernels/kv_variable_ops.cc of
DeepRec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from kvarn import errors, tf_logging
from kvarn.engine.options import GIB, CacheStrategy, StorageType
from kvarn.engine.policies import TieredStorage

# Storage types above this one record frequencies and versions whatever else is asked for.
_LAST_SINGLE_TIER: Final = 5

_ON_DISK: Final = frozenset(
    {
        StorageType.SSDHASH,
        StorageType.LEVELDB,
        StorageType.DRAM_SSDHASH,
        StorageType.DRAM_LEVELDB,
        StorageType.DRAM_PMEM_SSDHASH,
        StorageType.HBM_DRAM_SSDHASH,
    }
)
_SERVED_OTHERWISE: Final = frozenset(
    {
        StorageType.PMEM_MEMKIND,
        StorageType.PMEM_LIBPMEM,
        StorageType.DRAM_PMEM,
        StorageType.HBM,
        StorageType.HBM_DRAM,
        StorageType.DRAM_PMEM_SSDHASH,
        StorageType.HBM_DRAM_SSDHASH,
    }
)

# Of the cache of a table with tiers: DeepRec sets it by an op of its own, which comes after the table is made.
CACHE_STRATEGY: Final = "_kvarn_cache_strategy"

_warned: set[StorageType] = set()


def storage_of(name: str, attrs: Mapping[str, Any]) -> TieredStorage | None:
    """The tiers that ``attrs`` of an initializing op ask for; None for a table that is all in memory.

    Raises:
      InvalidArgumentError: a storage type that does not exist, or what cannot be a folder or a size.
    """
    number = attrs.get("storage_type", 0)
    try:
        storage_type = StorageType(number)
    except ValueError:
        raise errors.InvalidArgumentError.of(
            f"Embedding variable '{name}' asks for the storage type {number}, which does not exist.",
            name=name,
            hint="Give StorageOption one of the numbers of tf.config_pb2.StorageType, such as DRAM_SSDHASH.",
        ) from None
    if storage_type in _SERVED_OTHERWISE:
        _warn(name, storage_type)
    if storage_type not in _ON_DISK:
        return None
    path = attrs.get("storage_path", "")
    sizes = attrs.get("storage_size") or [GIB]
    try:
        return TieredStorage(
            path.decode() if isinstance(path, bytes) else path,
            sizes[0],
            cache_of(attrs.get(CACHE_STRATEGY, CacheStrategy.LFU)),
        )
    except errors.InvalidArgumentError as error:
        raise errors.InvalidArgumentError.of(
            f"Embedding variable '{name}': {error.message}", name=name
        ) from error


def _warn(name: str, storage_type: StorageType) -> None:
    if storage_type in _warned:
        return
    _warned.add(storage_type)
    tf_logging.warning(
        "Embedding variable '%s' asks for the storage type %s, which is served from %s.  Other variables that ask "
        "for it are not mentioned.",
        name,
        storage_type.name,
        "main memory and files" if storage_type in _ON_DISK else "main memory",
    )


def records_all(attrs: Mapping[str, Any]) -> bool:
    """Whether the storage type makes a table record frequencies and versions whatever else is asked for."""
    return int(attrs.get("storage_type", 0)) > _LAST_SINGLE_TIER


def cache_of(strategy: int) -> Literal["lru", "lfu"]:
    """The cache that an attribute ``cache_strategy`` names.

    Raises:
      InvalidArgumentError: there is no such strategy.
    """
    if strategy == CacheStrategy.LRU:
        return "lru"
    if strategy == CacheStrategy.LFU:
        return "lfu"
    raise errors.InvalidArgumentError.of(
        f"There is no cache strategy {strategy}.", hint="It can be 0, LRU, or 1, LFU."
    )
