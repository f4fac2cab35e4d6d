"""The live object behind an embedding variable's handle.

A primary embedding variable and its optimizer slots are several handles in the graph but one table in
memory: an entry of the table holds the value and all slots of a key.  `EmbeddingResource` is one handle's
view of that table.

Source: tensorflow/core/framework/embedding/embedding_var.h and
tensorflow/core/kernels/kv_variable_ops.cc of DeepRec.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kvarn import errors
from kvarn.dtypes import DType
from kvarn.graph.resources import ResourceHandle, ResourceManager

if TYPE_CHECKING:
    from kvarn.engine.table import EmbeddingTable
    from kvarn.ops.kv_blocks import BlockFamily

# The class of the object in a handle's key.
KIND: Final = "EmbeddingVar"

# Attributes of the initializing ops that ask for what the engine cannot do yet: what each must be, and what
# the user calls it.
_NOT_YET: Final[tuple[tuple[str, tuple[Any, ...], str], ...]] = (
    ("steps_to_live", (0,), "evict_option=GlobalStepEvict (steps_to_live)"),
    ("l2_weight_threshold", (-1.0,), "evict_option=L2WeightEvict (l2_weight_threshold)"),
    ("filter_freq", (0,), "filter_option=CounterFilter or CBFFilter (filter_freq)"),
    ("max_element_size", (0,), "filter_option=CBFFilter (max_element_size)"),
    # DEFAULT and DRAM.
    ("storage_type", (0, 1), "storage_option=StorageOption (storage_type other than DRAM)"),
)

_by_address: weakref.WeakValueDictionary[int, EmbeddingResource] = weakref.WeakValueDictionary()


def check_options(name: str, attrs: dict[str, Any]) -> None:
    """Refuses what this version cannot honour, so that no option is ignored in silence.

    Args:
      attrs: engine attributes by the names that the initializing ops give them.

    Raises:
      UnimplementedError: names the option.
      InvalidArgumentError: a value that can never work.
    """
    steps_to_live = attrs.get("steps_to_live", 0)
    if steps_to_live < 0:
        raise errors.InvalidArgumentError.of(
            f"steps_to_live must be >= 0, but embedding variable '{name}' has {steps_to_live}.",
            name=name,
            hint="Give GlobalStepEvict a number of steps, or leave it out.",
        )
    for attr, allowed, option in _NOT_YET:
        value = attrs.get(attr, allowed[0])
        # A negative threshold of a filter counts as none.
        if attr == "filter_freq" and value < 0:
            continue
        if value not in allowed:
            raise errors.UnimplementedError.of(
                f"Embedding variable '{name}' asks for {option} = {value}, which this version does not have.",
                name=name,
                hint="Create it without that option; every other option is honoured.",
            )


class SharedTable:
    """The table that a primary and its slots share, and how it is kept."""

    def __init__(self, key_dtype: DType, value_dim: int, *, record_freq: bool, record_version: bool) -> None:
        from kvarn.engine.table import EmbeddingTable

        self.table: EmbeddingTable = EmbeddingTable(
            np.dtype(key_dtype.np), value_dim, record_freq=record_freq, record_version=record_version
        )
        self.key_dtype = key_dtype
        self.value_dim = value_dim
        self.record_freq = record_freq
        self.record_version = record_version
        # True: the newest DeepRec's rule, that a lookup never inserts.
        self.insert_in_apply = _insert_rule() == "apply"
        self.lock = threading.RLock()
        # The blocks that this table is one of, if the variable is of dynamic dimension.
        self.family: BlockFamily | None = None


def _insert_rule() -> str:
    """When a missing key is created: "lookup", DeepRec's older rule, or "apply", its newest."""
    rule = os.environ.get("KVARN_EV_INSERT", "lookup")
    if rule not in ("lookup", "apply"):
        raise errors.InvalidArgumentError.of(
            f"The environment variable KVARN_EV_INSERT is '{rule}'; it can be 'lookup' or 'apply'.",
            name="KVARN_EV_INSERT",
            hint="Unset it for the default, 'lookup': a key that was looked up is in the table.",
        )
    return rule


class EmbeddingResource:
    """One embedding variable of a session: the primary, or an optimizer slot, of a shared table.

    Attributes:
      name: the variable's name, which its tensors in a checkpoint start with.
      shared: the table and what goes with it.
      slot: which slot of the table this is; 0 is the primary's value, -1 a slot without initial values yet.
      dim: elements of one row of this slot.
      is_initialized: an initializer or a restore has run.
      init_ran: an initializer has run.
      default: the initial-value matrix [R, dim] that rows of new keys come from; None before it is known.
    """

    __slots__ = ("__weakref__", "default", "dim", "init_ran", "is_initialized", "name", "shared", "slot")

    def __init__(self, name: str, shared: SharedTable, slot: int, dim: int) -> None:
        self.name = name
        self.shared = shared
        self.slot = slot
        self.dim = dim
        self.is_initialized = False
        self.init_ran = False
        self.default: Any = None

    @property
    def table(self) -> EmbeddingTable:
        return self.shared.table

    @property
    def address(self) -> int:
        """A number that `resource_at` finds this object by, while it lives."""
        address = id(self)
        _by_address[address] = self
        return address

    def set_default(self, value: Any) -> None:
        """Makes ``value`` [R, dim] or [dim] the matrix that rows of new keys are taken from.

        Keys that are in the table already get their row of a slot that is new.  The first matrix stays:
        running an initializer again changes nothing, as in DeepRec.

        Raises:
          InvalidArgumentError: the last dimension is not ``dim``, or there are no rows.
        """
        matrix = np.asarray(value, np.float32)
        if self.shared.family is not None:
            # Every key starts a block from the first row, as in DeepRec.
            matrix = matrix.reshape(-1, *matrix.shape[-1:])[:1]
        if matrix.size == 0 or matrix.shape[-1:] != (self.dim,):
            raise errors.InvalidArgumentError.of(
                f"The initial value of embedding variable '{self.name}' must have shape [rows, {self.dim}] "
                f"or [{self.dim}], found {list(matrix.shape)}.",
                name=self.name,
                hint="Let the initializer return rows of embedding_dim elements.",
            )
        with self.shared.lock:
            if self.default is not None:
                return
            matrix = np.array(matrix.reshape(-1, self.dim))
            if self.slot < 0:
                self.slot = self.table.add_slot(self.name, self.dim, matrix)
            else:
                self.table.set_default(self.slot, matrix)
            self.default = matrix

    def default_rows(self, keys: Any) -> Any:
        """The rows that new keys [n] would start from, whether or not the keys are in the table: [n, dim]."""
        # The magnitude of the least integer has no signed form.
        magnitude = np.abs(keys.astype(np.int64)).astype(np.uint64)
        return self.default[(magnitude % np.uint64(len(self.default))).astype(np.int64)]

    def lookup(self, keys: Any) -> Any:
        """Rows of ``keys`` (any shape): float32 keys.shape + [dim].  A missing key is created by the default
        rule, and reads as its default row by the newer one."""
        shared = self.shared
        if shared.insert_in_apply:
            return shared.table.lookup(keys, slot=self.slot)
        return shared.table.lookup_or_create(keys, slot=self.slot)

    def lookup_counted(self, keys: Any, counts: Any) -> Any:
        """`lookup` of keys of which each stands for ``counts`` occurrences."""
        rows = self.lookup(keys)
        if self.shared.record_freq and not self.shared.insert_in_apply:
            # The lookup itself counted every key once.
            extra = np.repeat(np.ravel(keys), np.maximum(np.ravel(counts) - 1, 0))
            if extra.size:
                self.table.lookup_or_create(extra)
        return rows

    def lookup_or_start_from(self, keys: Any, rows: Any) -> Any:
        """`lookup`, but a missing key is created with its row of ``rows`` (keys.shape + [dim])."""
        flat = np.ravel(keys)
        given = np.asarray(rows, np.float32).reshape(-1, self.dim)
        if len(given) != len(flat):
            raise errors.InvalidArgumentError.of(
                f"default_value of the lookup in '{self.name}' must have one row for each of {len(flat)} "
                f"ids, found shape {list(np.shape(rows))}.",
                name=self.name,
            )
        missing = np.flatnonzero(~self.table.contains(flat))
        if missing.size:
            # Of equal keys the first occurrence decides.
            missing = missing[np.unique(flat[missing], return_index=True)[1]]
            missing.sort()
            freqs = np.zeros(missing.size, np.int64)
            self.table.import_rows(self.slot, flat[missing], given[missing], freqs, freqs - 1)
        return self.lookup(keys)


def find_or_create(
    resources: ResourceManager, own: ResourceHandle, primary: ResourceHandle, attrs: dict[str, Any]
) -> EmbeddingResource:
    """The object of handle ``own``, made from the initializing op's attributes if it does not exist.

    A slot whose primary does not exist creates it too, not initialised and without initial values.

    Raises:
      InvalidArgumentError, UnimplementedError: see `check_options`; also a shape without one
        known dimension.
    """
    found: EmbeddingResource | None = resources.find(own)
    if found is not None:
        return found
    shape = attrs["shape"]
    if shape is None or len(shape) != 1 or not shape[0]:
        raise errors.InvalidArgumentError.of(
            f"Embedding variable '{own.name}' needs a shape of one dimension, embedding_dim, found {shape}.",
            name=own.name,
        )
    if attrs["dtype"].name != "float32":
        raise errors.UnimplementedError.of(
            f"Embedding variable '{own.name}' has values of type {attrs['dtype'].name}; this version has "
            "float32 only.",
            name=own.name,
            hint="Create it with value_dtype=tf.float32.",
        )
    check_options(own.name, attrs)
    dim = int(shape[0])

    block_num, emb_index = attrs.get("block_num", 1), attrs.get("emb_index", 0)

    def make_shared(value_dim: int) -> SharedTable:
        return SharedTable(
            attrs["Tkeys"],
            value_dim,
            record_freq=attrs.get("record_freq", False),
            record_version=attrs.get("record_version", False),
        )

    def make_primary(name: str, value_dim: int) -> EmbeddingResource:
        if block_num == 1:
            return EmbeddingResource(name, make_shared(value_dim), 0, value_dim)
        from kvarn.ops.kv_blocks import BlockFamily

        return EmbeddingResource(name, BlockFamily().block(0, lambda: make_shared(value_dim)), 0, value_dim)

    if own.key == primary.key:
        return resources.look_up_or_create(own, lambda: make_primary(own.name, dim))
    primary_dim = dim if primary.shape is None else int(primary.shape[0])
    holder = resources.look_up_or_create(primary, lambda: make_primary(primary.name, primary_dim))
    shared = holder.shared
    if shared.family is not None:
        shared = shared.family.block(emb_index, lambda: make_shared(primary_dim))
    # A block is the value of its own table, whose slots come after it.
    slot = 0 if shared.family is not None and attrs.get("slot_index", 0) == 0 else -1
    return resources.look_up_or_create(own, lambda: EmbeddingResource(own.name, shared, slot, dim))


def initialized(resources: ResourceManager, handle: ResourceHandle) -> EmbeddingResource:
    """The object of ``handle``.

    Raises:
      FailedPreconditionError: neither an initializer nor a restore has run.
    """
    found: EmbeddingResource | None = resources.find(handle)
    if found is None or not found.is_initialized:
        raise errors.FailedPreconditionError.of(
            f"Attempting to use uninitialized embedding variable {handle.name}",
            name=handle.name,
            hint="Run its initializer (tf.global_variables_initializer) or restore it from a checkpoint.",
        )
    return found


def resource_at(resources: ResourceManager, address: int) -> EmbeddingResource:
    """The object whose `EmbeddingResource.address` is ``address``; NotFoundError if the session has none."""
    found = _by_address.get(int(address))
    if found is None or all(found is not r for r in resources.all_of(KIND)):
        raise errors.NotFoundError.of(
            f"No embedding variable lives at address {int(address)}.",
            hint="Addresses come from KvResourceLookupResource and are valid in the session that made them.",
        )
    return found
