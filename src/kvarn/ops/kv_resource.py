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
from kvarn.ops.kv_options import TableOptions, seeded_rows, table_class

if TYPE_CHECKING:
    from kvarn.engine.policies import EvictionPolicy, SeededRows
    from kvarn.engine.table import EmbeddingTable
    from kvarn.ops.kv_blocks import BlockFamily

# The class of the object in a handle's key.
KIND: Final = "EmbeddingVar"

_by_address: weakref.WeakValueDictionary[int, EmbeddingResource] = weakref.WeakValueDictionary()


class SharedTable:
    """The table that a primary and its slots share, and how it is kept.

    Attributes:
      options: admission, eviction, and what is recorded and saved.
    """

    def __init__(self, key_dtype: DType, value_dim: int, options: TableOptions | None = None) -> None:
        self.options = TableOptions() if options is None else options
        self.table: EmbeddingTable = _table(np.dtype(key_dtype.np), value_dim, self.options)
        self.key_dtype = key_dtype
        self.value_dim = value_dim
        # True: the newest DeepRec's rule, that a lookup never inserts.
        self.insert_in_apply = _insert_rule() == "apply"
        self.lock = threading.RLock()
        # The blocks that this table is one of, if the variable is of dynamic dimension.
        self.family: BlockFamily | None = None

    @property
    def record_freq(self) -> bool:
        return self.options.record_freq

    @property
    def record_version(self) -> bool:
        return self.options.record_version


def _table(key_dtype: np.dtype[Any], value_dim: int, options: TableOptions) -> EmbeddingTable:
    return table_class()(
        key_dtype,
        value_dim,
        record_freq=options.record_freq,
        record_version=options.record_version,
        admission=options.admission,
        no_permission=options.no_permission,
        storage=options.storage,
    )


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
      default: what rows of new keys come from, a matrix [R, dim] or rows by seed; None before it is known.
      seeded: the rows by seed that the variable asks for, instead of its initializer's matrix.
    """

    __slots__ = (
        "__weakref__",
        "default",
        "dim",
        "init_ran",
        "is_initialized",
        "name",
        "seeded",
        "shared",
        "slot",
    )

    def __init__(
        self, name: str, shared: SharedTable, slot: int, dim: int, seeded: SeededRows | None = None
    ) -> None:
        self.name = name
        self.shared = shared
        self.slot = slot
        self.dim = dim
        self.seeded = seeded
        self.is_initialized = False
        self.init_ran = False
        self.default: Any = None

    @property
    def table(self) -> EmbeddingTable:
        return self.shared.table

    @property
    def eviction(self) -> EvictionPolicy | None:
        """Which keys leave before a full save."""
        return self.shared.options.eviction

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
            default: Any = np.array(matrix.reshape(-1, self.dim)) if self.seeded is None else self.seeded
            if self.slot < 0:
                self.slot = self.table.add_slot(self.name, self.dim, default)
            else:
                self.table.set_default(self.slot, default)
            self.default = default

    def default_rows(self, keys: Any) -> Any:
        """The rows that new keys [n] would start from, whether or not the keys are in the table: [n, dim]."""
        if self.seeded is not None:
            return self.seeded.rows(keys, self.dim)
        # The magnitude of the least integer has no signed form.
        magnitude = np.abs(keys.astype(np.int64)).astype(np.uint64)
        return self.default[(magnitude % np.uint64(len(self.default))).astype(np.int64)]

    def lookup(self, keys: Any) -> Any:
        """Rows of ``keys`` (any shape): float32 keys.shape + [dim].

        Without a filter, a missing key is created by the default rule, and reads as its default row by the newer one.
        With a filter it is never created, and reads as ``default_value_no_permission``.
        """
        shared = self.shared
        if shared.insert_in_apply:
            return shared.table.lookup(keys, slot=self.slot)
        return shared.table.lookup_or_create(keys, slot=self.slot)

    def lookup_or_start_from(self, keys: Any, rows: Any) -> Any:
        """`lookup`, but a missing key is created with its row of ``rows`` (keys.shape + [dim]), filter or not."""
        flat = np.ravel(keys)
        given = np.asarray(rows, np.float32).reshape(-1, self.dim)
        if len(given) != len(flat):
            raise errors.InvalidArgumentError.of(
                f"default_value of the lookup in '{self.name}' must have one row for each of {len(flat)} "
                f"ids, found shape {list(np.shape(rows))}.",
                name=self.name,
            )
        self.table.create_from(flat, given, slot=self.slot)
        return self.table.lookup(keys, slot=self.slot)

    def export(self) -> tuple[Any, Any, Any, Any]:
        """Keys [n], rows [n, dim], versions and frequencies ([n], or [0] when not recorded) of one moment.

        Keys that the filter has not admitted are at the end, with the row that the first key would start from.
        """
        options = self.shared.options
        nothing = np.zeros(0, np.int64)
        with self.table.snapshot() as cut:
            keys, rows, freqs, versions = cut.keys, cut.values(self.slot), cut.freqs, cut.versions
            waiting = cut.filtered_keys
            if waiting.size:
                first = self.default_rows(np.zeros(1, np.int64))
                keys = np.concatenate([keys, waiting])
                rows = np.concatenate([rows, np.repeat(first, waiting.size, axis=0)])
                freqs = np.concatenate([freqs, cut.filtered_freqs])
                versions = np.concatenate([versions, cut.filtered_versions])
        return (
            keys,
            rows,
            versions if options.is_save_version else nothing,
            freqs if options.is_save_freq else nothing,
        )


def find_or_create(
    resources: ResourceManager, own: ResourceHandle, primary: ResourceHandle, attrs: dict[str, Any]
) -> EmbeddingResource:
    """The object of handle ``own``, made from the initializing op's attributes if it does not exist.

    A slot whose primary does not exist creates it too, not initialised and without initial values.

    Raises:
      InvalidArgumentError, UnimplementedError: see `kv_options.check_options`; also a shape without one known
        dimension.
    """
    is_primary = own.key == primary.key
    found: EmbeddingResource | None = resources.find(own)
    if found is not None:
        if is_primary and found.default is None:
            _adopt(found, attrs)
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
    options = TableOptions.of(own.name, attrs)
    seeded = seeded_rows(attrs)
    dim = int(shape[0])

    block_num, emb_index = attrs.get("block_num", 1), attrs.get("emb_index", 0)

    def make_shared(value_dim: int) -> SharedTable:
        return SharedTable(attrs["Tkeys"], value_dim, options)

    def make_primary(name: str, value_dim: int) -> EmbeddingResource:
        if block_num == 1:
            return EmbeddingResource(
                name, make_shared(value_dim), 0, value_dim, seeded if is_primary else None
            )
        from kvarn.ops.kv_blocks import BlockFamily

        return EmbeddingResource(name, BlockFamily().block(0, lambda: make_shared(value_dim)), 0, value_dim)

    if is_primary:
        return resources.look_up_or_create(own, lambda: make_primary(own.name, dim))
    primary_dim = dim if primary.shape is None else int(primary.shape[0])
    holder = resources.look_up_or_create(primary, lambda: make_primary(primary.name, primary_dim))
    shared = holder.shared
    if shared.family is not None:
        shared = shared.family.block(emb_index, lambda: make_shared(primary_dim))
    # A block is the value of its own table, whose slots come after it.
    slot = 0 if shared.family is not None and attrs.get("slot_index", 0) == 0 else -1
    return resources.look_up_or_create(own, lambda: EmbeddingResource(own.name, shared, slot, dim))


def _adopt(primary: EmbeddingResource, attrs: dict[str, Any]) -> None:
    """Gives a primary that one of its slots has made what only its own op says."""
    primary.seeded = seeded_rows(attrs)
    options = primary.shared.options
    asked = attrs.get("default_value_no_permission", 0.0)
    if options.admission is not None and options.no_permission != asked:
        raise errors.UnimplementedError.of(
            f"A slot of embedding variable '{primary.name}' was made before it, and cannot say that what its filter "
            f"has not admitted reads {asked}.",
            name=primary.name,
            hint="Run the variable's own initializing op before those of its slots.",
        )


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
