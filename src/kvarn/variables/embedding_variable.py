"""`EmbeddingVariable`: a variable with a row for every key it has seen, instead of a fixed number of rows.

Nodes of one named ``b``: ``b`` (KvVarHandleOp), ``b/invalid_key``, ``b/Initializer/…``,
``b/IsInitialized/KvVarIsInitializedOp``, ``b/Assign`` (InitializeKvVariableOp) with ``b/Assign/Const``.

Source: tensorflow/python/ops/kv_variable_ops.py of DeepRec, as it was before ``InitializeKvVariableV2Op``
(see docs/adr about eras); graphs of the newer kind can be imported.
"""

from __future__ import annotations

import os
from typing import Any, Final, NoReturn

import numpy as np

from kvarn import dtypes, errors
from kvarn.engine import options
from kvarn.engine.options import EmbeddingVariableConfig
from kvarn.engine.policies import EvictionPolicy, EvictionReport, Explanation, SeededRows
from kvarn.graph import tensor_util
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import (
    GraphKeys,
    add_to_collections,
    colocate_with,
    control_dependencies,
    device,
    get_default_graph,
    name_scope,
)
from kvarn.graph.operation import Operation
from kvarn.graph.proto_functions import prepend_name_scope, strip_name_scope
from kvarn.graph.resources import ResourceHandle
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import array, gather, kv, kv_options, kv_restore, kv_storage, math, ranges
from kvarn.ops.kv_resource import KIND, EmbeddingResource, initialized
from kvarn.variables import initializers
from kvarn.variables.dependencies import guard
from kvarn.variables.partitioned_variable import PartitionedVariable
from kvarn.variables.resource_variable import ResourceVariable
from kvarn.variables.save_slice_info import SaveSliceInfo
from kvarn.variables.variable import check_initializable, check_outside_control_flow, collections_for


class SlotType:
    """What an optimizer's slot of an embedding variable is; the numbers are DeepRec's."""

    EMBEDDING_VARIABLE: Final = 0
    VARIABLE: Final = 1


# Attributes of the initializing op that are kept as they are found when a variable is imported.
_ENGINE_ATTRS: Final = (
    "steps_to_live",
    "ht_type",
    "ht_partition_num",
    "emb_index",
    "block_num",
    "slot_index",
    "slot_num",
    "filter_freq",
    "max_element_size",
    "false_positive_probability",
    "counter_type",
    "l2_weight_threshold",
    "layout",
    "storage_type",
    "storage_path",
    "storage_size",
    "default_value_dim",
    "default_value_no_permission",
    "record_freq",
    "record_version",
)
# DeepRec always asks for this one, which has no effect.
_MAX_FREQ: Final = 99999


class EmbeddingVariable(ResourceVariable):
    """A variable of rows ``[embedding_dim]`` by key, made as keys are looked up.

    Made by `kvarn.variables.scope.get_embedding_variable`.

    Args:
      initial_value: the rows that new keys start from, [R, dim] from a function or [dim] as a tensor: key k
        starts from row ``abs(k) % R``.
      initializer: what made the initial value; kept.
      trainable, collections, caching_device, name, dtype, constraint: see `VariableV1`.
      variable_def, import_scope: of a variable whose nodes are in the graph already.
      invalid_key: of the key type; 2**63 - 1 for int64, -1 for int32.  It is passed on, and is a key like
        any other here.
      evconfig: the options.
      ht_partition_num: passed on; of no effect.

    Raises:
      ValueError: no initial value, or an unsuitable one.
      UnimplementedError: an option that this version does not have.
      InvalidArgumentError: a key type other than int64 and int32.
    """

    def __init__(
        self,
        initial_value: Any = None,
        initializer: Any = None,
        trainable: bool | None = True,
        collections: Any = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        dtype: Any = None,
        variable_def: Any = None,
        import_scope: str | None = None,
        constraint: Any = None,
        invalid_key: Any = None,
        evconfig: EmbeddingVariableConfig | None = None,
        ht_partition_num: int = 1000,
    ) -> None:
        del validate_shape, caching_device
        if variable_def is not None:
            if initial_value is not None:
                raise ValueError("variable_def and initial_value are mutually exclusive.")
            self._init_from_definition(variable_def, import_scope)
            return
        check_initializable(initial_value, constraint)
        config = EmbeddingVariableConfig() if evconfig is None else evconfig.copy()
        config.reveal()
        trainable = True if trainable is None else trainable
        collections = collections_for(collections, trainable)
        if GraphKeys.EMBEDDING_VARIABLES not in collections:
            collections.append(GraphKeys.EMBEDDING_VARIABLES)
        self._initializer = initializer
        self._primary = self if config.primary is None else config.primary
        self._engine = _engine_attrs(config, ht_partition_num, callable(initial_value))
        self._own_attrs = _own_attrs(config, initializer)
        self._invalid_key = invalid_key
        _check_config(name or "Variable", config)
        self._build(initial_value, name, dtype, trainable, constraint)
        add_to_collections(collections, self)

    def _build(
        self, initial_value: Any, name: str | None, dtype: Any, trainable: bool, constraint: Any
    ) -> None:
        graph = get_default_graph()
        from_function = callable(initial_value)
        with (
            control_dependencies(None),
            name_scope(name, "Variable", [] if from_function else [initial_value]) as scope,
        ):
            handle_name = scope[:-1]
            kv_options.check_options(handle_name, {**self._engine, **self._own_attrs})
            self._invalid_key_type = _key_type(handle_name, self._invalid_key)
            # The place of a variable that does not exist yet.
            with graph._attr_scope({"_class": [b"loc:@" + handle_name.encode()]} if from_function else {}):
                with name_scope("Initializer"), device(None):
                    value = convert_to_tensor(
                        initial_value() if from_function else initial_value, name="initial_value", dtype=dtype
                    )
                if not from_function:
                    check_outside_control_flow(value, scope)
                shape = value.shape
                row = shape[shape.ndims - 1 :] if from_function and shape.ndims else shape
                _check_value(handle_name, value, row)
                handle = kv.kv_var_handle_op(
                    shape=row,
                    dtype=value.dtype.base_dtype,
                    shared_name=handle_name,
                    name=scope,
                    Tkeys=self._invalid_key_type,
                    container=graph._container,
                )
            self._primary_handle: Tensor = handle if self._is_primary else self._primary._primary_handle
            with name_scope("IsInitialized"):
                is_initialized_op = kv.kv_var_is_initialized_op(
                    handle, Tkeys=self._invalid_key_type, dtype=value.dtype.base_dtype
                )
            waits_for = None if self._is_primary else [self._primary.initializer]
            with name_scope("Assign") as assign_scope, colocate_with(handle), control_dependencies(waits_for):
                initializer_op = kv.initialize_kv_variable_op(
                    handle,
                    self._primary_handle,
                    guard(scope, value),
                    convert_to_tensor(self._invalid_key, dtype=self._invalid_key_type),
                    shape=row,
                    max_freq=_MAX_FREQ,
                    name=assign_scope,
                    **self._engine,
                )
                if kv_options.INITIAL_CHECKPOINT in self._own_attrs:
                    self._own_attrs.setdefault(kv_options.INITIAL_NAME, handle_name)
                initializer_op.attrs.update(self._own_attrs)
        self._set(handle, row, value, initializer_op, is_initialized_op, trainable, constraint, None)

    def _set(
        self,
        handle: Tensor,
        row: TensorShape,
        value: Any,
        initializer_op: Any,
        is_initialized_op: Any,
        trainable: bool,
        constraint: Any,
        save_slice_info: Any,
    ) -> None:
        # Past ResourceVariable, which would build its own nodes.
        super(ResourceVariable, self).__init__(
            trainable=trainable,
            shape=row,
            dtype=handle.op.attrs["dtype"],
            handle=handle,
            constraint=constraint,
            name=handle.op.name,
            unique_id=handle.op.name,
            handle_name=handle.op.name,
            graph_element=handle,
            initial_value=value,
            initializer_op=initializer_op,
            is_initialized_op=is_initialized_op,
            save_slice_info=save_slice_info,
        )
        self._is_sparse = False
        self._init_op_for_restore: Any = None
        # The last lookup's operation, and the counts of lookups that were given some.
        self._gather_op: Any = None
        self._counts_tensor: dict[Any, Any] = {}

    def _init_from_definition(self, variable_def: Any, import_scope: str | None) -> None:
        if not variable_def.is_resource:
            raise ValueError("Trying to restore Variable as EmbeddingVariable.")
        graph = get_default_graph()

        def element(name: str) -> Any:
            return graph.as_graph_element(prepend_name_scope(name, import_scope))

        handle = element(variable_def.variable_name)
        initializer_op = element(variable_def.initializer_name)
        # Newer DeepRec names a NoOp that waits for the initializing op.
        init = initializer_op
        if init.type == "NoOp":
            init = next(c for c in init.control_inputs if c.type.startswith("InitializeKvVariable"))
        self._initializer = None
        self._engine = {a: init.attrs[a] for a in _ENGINE_ATTRS}
        self._own_attrs = {a: init.attrs[a] for a in kv_options.OWN_ATTRS if a in init.attrs}
        self._primary_handle = init.inputs[1]
        self._primary = self if self._primary_handle is handle else None
        key = tensor_util.constant_value(init.inputs[3])
        self._invalid_key = None if key is None else key.item()
        self._invalid_key_type = handle.op.attrs["Tkeys"]
        save_slice_info = None
        if variable_def.HasField("save_slice_info_def"):
            save_slice_info = SaveSliceInfo(
                save_slice_info_def=variable_def.save_slice_info_def, import_scope=import_scope
            )
        is_initialized = next(
            (c.outputs[0] for c in handle.consumers() if c.type == "KvVarIsInitializedOp"), None
        )
        row = TensorShape.from_tuple(handle.op.attrs["shape"])
        trainable = variable_def.trainable
        self._set(
            handle, row, init.inputs[2], initializer_op, is_initialized, trainable, None, save_slice_info
        )
        if variable_def.initialize_op_for_restore:
            self._init_op_for_restore = element(variable_def.initialize_op_for_restore)

    # -- what it is -------------------------------------------------------------------------------

    @property
    def _is_primary(self) -> bool:
        return self._primary is self

    @property
    def initial_value(self) -> Any:
        return self._initial_value

    @property
    def invalid_key(self) -> Any:
        return self._invalid_key

    @property
    def steps_to_live(self) -> int:
        return int(self._engine["steps_to_live"])

    @property
    def storage_type(self) -> int:
        return int(self._engine["storage_type"])

    @property
    def block_num(self) -> int:
        return int(self._engine["block_num"])

    @property
    def gather_op(self) -> Any:
        """The operation of the last lookup built."""
        return self._gather_op

    @property
    def _ht_partition_num(self) -> int:
        return int(self._engine["ht_partition_num"])

    def need_counts(self) -> bool:
        """Whether lookups must say how often each id occurs."""
        return (
            kv_options.needs_counts({**self._engine, **self._own_attrs})
            or self._engine["storage_type"] in options.MULTI_TIER
        )

    def is_initialized(self, name: str | None = None) -> Any:
        return kv.kv_var_is_initialized_op(
            self._handle, Tkeys=self._invalid_key_type, dtype=self._dtype, name=name
        )

    # -- reading ----------------------------------------------------------------------------------

    def total_count(self) -> Any:
        """int32 [number of keys, dim], with keys that a `CounterFilter` has not admitted."""
        return kv.kv_variable_shape(self._handle, Tkeys=self._invalid_key_type, dtype=self._dtype)

    def get_dynamic_shape(self) -> Any:
        """int32 [number of keys, dim]."""
        return self.total_count()

    def get_frequency(self, ids: Any) -> Any:
        """int64, how often updates named each id; 0 for none, and unless ``TF_RECORD_FREQ=1`` was set.

        With a `CounterFilter` keys on their way are counted in any case, and admitted ones have at least
        ``filter_freq``; with a `CBFFilter` every id has the estimate of the filter.
        """
        return kv.ev_get_frequency(self._handle, self._ids(ids), Tvalues=self._dtype)

    def get_version(self, ids: Any) -> Any:
        """int64, the global step of each id's last update; -1 unless ``TF_RECORD_VERSION=1`` was set."""
        return kv.ev_get_version(self._handle, self._ids(ids), Tvalues=self._dtype)

    def export(self) -> Any:
        """Keys [n], rows [n, dim], versions and frequencies [n] or [0].

        Keys that a `CounterFilter` has not admitted are among them, with the first default row.
        """
        return kv.kv_resource_export(self._handle, Tkeys=self._invalid_key_type, Tvalues=self._dtype)

    def sparse_read(
        self, indices: Any, name: str | None = None, ev_init_value: Any = None, counts: Any = None
    ) -> Any:
        """Rows of ``indices``, of any shape: indices.shape + [dim].

        Args:
          ev_init_value: rows that missing keys start from, one for each index.
          counts: how many occurrences each index stands for; ``ev_init_value`` is ignored then.
        """
        with name_scope("Gather" if name is None else name) as scope:
            ids = self._ids(indices)
            default = convert_to_tensor(1.0) if ev_init_value is None else ev_init_value
            if counts is not None:
                self._counts_tensor[ids] = counts
                value = kv.kv_resource_gather_v1(self._handle, ids, default, counts, name=scope)
            else:
                value = kv.kv_resource_gather(
                    self._handle,
                    ids,
                    default,
                    is_use_default_value_tensor=ev_init_value is not None,
                    name=scope,
                )
            self._gather_op = value.op
        return array.identity(value)

    def _ids(self, ids: Any) -> Tensor:
        """Tensors as they are; Python numbers become keys of the variable's type."""
        return convert_to_tensor(ids, preferred_dtype=self._invalid_key_type)

    def eval(self, session: Any = None) -> NoReturn:
        raise _no("eval()")

    def value(self) -> NoReturn:
        raise NotImplementedError("EV value")

    def read_value(self) -> NoReturn:
        raise _no("read_value()")

    def _read_variable_op(self) -> NoReturn:
        raise NotImplementedError("_read_variable_op")

    def initialized_value(self) -> NoReturn:
        raise _no("initialized_value()")

    def _ref(self) -> NoReturn:
        raise _no("_ref()")

    def assign(
        self, value: Any, use_locking: Any = None, name: Any = None, read_value: bool = True
    ) -> NoReturn:
        raise _no("assign()")

    def assign_add(
        self, delta: Any, use_locking: Any = None, name: Any = None, read_value: bool = True
    ) -> NoReturn:
        raise _no("assign_add()")

    def assign_sub(
        self, delta: Any, use_locking: Any = None, name: Any = None, read_value: bool = True
    ) -> NoReturn:
        raise _no("assign_sub()")

    def _scatter(self, op_type: str, sparse_delta: Any, use_locking: bool, name: str | None) -> NoReturn:
        raise _no(op_type)

    def _dense_var_to_tensor(self, dtype: Any = None, name: Any = None, as_ref: bool = False) -> NoReturn:
        raise _no("conversion to a tensor: look rows up with tf.nn.embedding_lookup")

    # -- slots and checkpoints --------------------------------------------------------------------

    def _set_slot_num(self, slot_num: int) -> None:
        """Tells the initializing op how many slots of an optimizer lie in an entry."""
        self._engine["slot_num"] = slot_num
        self._initializer_op.attrs["slot_num"] = slot_num
        self._initializer_op.graph._version_bump()

    def _slot_evconfig(self, slot_num: int, slot_index: int) -> EmbeddingVariableConfig:
        """The options of an optimizer's slot of this variable."""
        engine = self._engine
        filter_strategy: Any = None
        if engine["max_element_size"] != 0:
            filter_strategy = options.CBFFilter(
                engine["filter_freq"],
                engine["max_element_size"],
                engine["false_positive_probability"],
                engine["counter_type"],
            )
        elif engine["filter_freq"] > 0:
            filter_strategy = options.CounterFilter(engine["filter_freq"])
        path = engine["storage_path"]
        return EmbeddingVariableConfig(
            steps_to_live=engine["steps_to_live"],
            l2_weight_threshold=engine["l2_weight_threshold"],
            filter_strategy=filter_strategy,
            emb_index=engine["emb_index"],
            block_num=engine["block_num"],
            slot_index=slot_index,
            slot_num=slot_num,
            primary=self,
            storage_type=engine["storage_type"],
            storage_path=path.decode() if isinstance(path, bytes) else path,
            storage_size=list(engine["storage_size"]),
        )

    def _restore_op(
        self, prefix: Tensor, tensor_name: str, name: str | None = None, *, zeros: bool = False
    ) -> Any:
        """The operation that makes the variable, if need be, and adds its rows in checkpoint ``prefix``.

        Args:
          prefix: string scalar.
          tensor_name: the variable's name in the checkpoint.
          zeros: columns that the checkpoint does not have are 0, not the variable's initial values.
        """
        info = self._get_save_slice_info()
        engine = {k: v for k, v in self._engine.items() if k not in ("ht_type", "layout")}
        restore_op = kv.kv_resource_import_v2(
            prefix,
            self._handle,
            self._primary_handle,
            guard(self._shared_name, self._initial_value),
            convert_to_tensor(tensor_name),
            convert_to_tensor(self._invalid_key, dtype=self._invalid_key_type),
            shape=self._shape,
            partition_id=0 if info is None else int(info.var_offset[0]),
            partition_num=1 if info is None else int(info.full_shape[0]),
            ht_type=self._engine["ht_type"],
            layout=self._engine["layout"],
            max_freq=_MAX_FREQ,
            name=name,
            **engine,
        )
        restore_op.attrs.update(self._own_attrs)
        self._say_whether_part(restore_op)
        if zeros:
            restore_op.attrs[kv.FILL_WITH_ZEROS] = True
        return restore_op

    def _say_whether_part(self, importing: Operation) -> None:
        """Marks an operation that fills the variable if its name alone would mislead."""
        from kvarn.formats.embedding import split_part

        if self._get_save_slice_info() is None and split_part(self._shared_name) is not None:
            importing.attrs[kv_restore.UNPARTITIONED] = True

    def _set_save_slice_info(self, save_slice_info: Any) -> None:
        super()._set_save_slice_info(save_slice_info)
        if kv_options.INITIAL_CHECKPOINT in self._own_attrs:
            # The part that the initializer takes from a checkpoint.
            part = [int(save_slice_info.var_offset[0]), int(save_slice_info.full_shape[0])]
            self._own_attrs[kv_options.INITIAL_PARTITION] = part
            self._initializer_op.attrs[kv_options.INITIAL_PARTITION] = part
            self._initializer_op.graph._version_bump()

    # -- what it has in a session -----------------------------------------------------------------

    def explain(self, key: int, *, session: Any = None, step: int | None = None) -> Explanation:
        """Why ``key`` is in the variable, filtered, or gone.

        Args:
          session: the default session by default.
          step: a global step, to be told whether the variable's evict option would drop the key at it.

        Raises:
          ValueError: no session.
          RuntimeError: it is closed.
          FailedPreconditionError: the variable is not initialised.
        """
        resource = self._resource(session)
        policy = None if step is None else resource.eviction
        return resource.table.explain(key, policy=policy, step=step)

    def evict(
        self,
        step: int | None = None,
        *,
        dry_run: bool = False,
        policy: EvictionPolicy
        | options.CombinedEvict
        | options.GlobalStepEvict
        | options.L2WeightEvict
        | None = None,
        session: Any = None,
    ) -> EvictionReport:
        """Drops the keys whose time has come, as a full save does.

        Args:
          step: the global step; by default the value of the graph's global step.
          dry_run: change nothing, and say what would leave.
          policy: what to go by; by default the variable's evict option.
          session: the default session by default.

        Raises:
          ValueError: no session, no policy, or no step.
          RuntimeError: the session is closed.
          FailedPreconditionError: the variable is not initialised.
          InvalidArgumentError: a condition on what is not recorded.
        """
        session = _session(session)
        resource = self._resource(session)
        chosen = resource.eviction if policy is None else options.eviction_policy(policy)
        if chosen is None:
            raise ValueError(
                f"Embedding variable '{self.name}' was made without evict_option: give evict() a policy."
            )
        if step is None:
            step = _global_step(session)
        return resource.table.evict(chosen, step, dry_run=dry_run)

    def counters(self, session: Any = None) -> dict[str, int]:
        """Keys admitted and filtered now, and evicted by each reason since the variable was initialised.

        Raises:
          ValueError: no session.
          RuntimeError: it is closed.
          FailedPreconditionError: the variable is not initialised.
        """
        return self._resource(session).table.counters

    def _resource(self, session: Any) -> EmbeddingResource:
        attrs = self._handle.op.attrs
        container, name = (
            value.decode() if isinstance(value, bytes) else value
            for value in (attrs["container"], attrs["shared_name"])
        )
        handle = ResourceHandle(container, name or self._handle.op.name, KIND)
        return initialized(_session(session).resources, handle)

    def to_proto(self, export_scope: str | None = None) -> Any:
        from kvarn import protos

        if export_scope is not None and not self._handle.name.startswith(export_scope):
            return None

        def stripped(element: Any) -> Any:
            return strip_name_scope(element.name, export_scope)

        definition = protos.VariableDef(
            variable_name=stripped(self._handle),
            initializer_name=stripped(self._initializer_op),
            initial_value_name=stripped(self._initial_value),
            is_resource=True,
            is_embedding_var=True,
            trainable=self._trainable,
        )
        if self._init_op_for_restore is not None:
            definition.initialize_op_for_restore = stripped(self._init_op_for_restore)
        if self._save_slice_info is not None:
            definition.save_slice_info_def.MergeFrom(self._save_slice_info.to_proto(export_scope))
        return definition

    @staticmethod
    def from_proto(variable_def: Any, import_scope: str | None = None) -> Any:
        return EmbeddingVariable(variable_def=variable_def, import_scope=import_scope)

    def __repr__(self) -> str:
        return f"<tf.EmbeddingVariable '{self.name}' embedding dim={self.shape} dtype={self.dtype.name}>"


def _engine_attrs(
    config: EmbeddingVariableConfig, ht_partition_num: int, from_function: bool
) -> dict[str, Any]:
    """The attributes of the initializing op that the options ask for."""
    strategy = config.filter_strategy
    filtering: dict[str, Any] = {
        "filter_freq": 0 if strategy is None else strategy.filter_freq,
        "max_element_size": 0,
        "false_positive_probability": -1.0,
        "counter_type": dtypes.uint64,
    }
    if isinstance(strategy, options.CBFFilter):
        filtering |= {
            "max_element_size": strategy.max_element_size,
            "false_positive_probability": strategy.false_positive_probability,
            "counter_type": strategy.counter_type,
        }
    return {
        "slot_num": 0 if config.primary is None else config.slot_num,
        "steps_to_live": config.steps_to_live,
        "ht_type": config.ht_type,
        "emb_index": config.emb_index,
        "block_num": config.block_num,
        "slot_index": config.slot_index,
        "ht_partition_num": ht_partition_num,
        **filtering,
        "l2_weight_threshold": config.l2_weight_threshold,
        "layout": config.layout,
        "storage_type": int(config.storage_type or 0),
        "storage_path": config.storage_path,
        "storage_size": list(config.storage_size or ()),
        "default_value_dim": config.default_value_dim if from_function else 1,
        "default_value_no_permission": config.default_value_no_permission,
        "record_freq": _recorded(config, "record_freq", "TF_RECORD_FREQ"),
        "record_version": _recorded(config, "record_version", "TF_RECORD_VERSION"),
    }


def _recorded(config: EmbeddingVariableConfig, attr: str, variable: str) -> bool:
    """What is recorded of a key is the same in all slots; the environment says it for a primary."""
    if config.primary is not None:
        return bool(config.primary._engine[attr])
    return os.environ.get(variable, "0") == "1"


def _own_attrs(config: EmbeddingVariableConfig, initializer: Any) -> dict[str, Any]:
    """The attributes of the initializing op that DeepRec does not have."""
    attrs: dict[str, Any] = {}
    if config.combined_evict is not None:
        attrs |= kv_options.eviction_attrs(config.combined_evict)
    if config.storage_type in options.MULTI_TIER:
        attrs[kv_storage.CACHE_STRATEGY] = int(config.storage_cache_strategy)
    if config.primary is not None:
        attrs |= kv_options.inherited_attrs({**config.primary._engine, **config.primary._own_attrs})
    if config.row_seed is not None:
        attrs |= kv_options.seed_attrs(_seeded_rows(config.row_seed, initializer))
    if config.ckpt_to_load_from is not None:
        attrs[kv_options.INITIAL_CHECKPOINT] = config.ckpt_to_load_from
        if config.tensor_name_in_ckpt is not None:
            attrs[kv_options.INITIAL_NAME] = config.tensor_name_in_ckpt
    return attrs


def _seeded_rows(seed: int, initializer: Any) -> SeededRows:
    """Rows of the distribution of ``initializer``, drawn by key."""
    kinds: dict[Any, tuple[Any, str, str]] = {
        initializers.RandomUniform: ("uniform", "minval", "maxval"),
        initializers.RandomNormal: ("normal", "mean", "stddev"),
        initializers.TruncatedNormal: ("truncated_normal", "mean", "stddev"),
    }
    found = kinds.get(initializer if isinstance(initializer, type) else type(initializer))
    if found is None:
        raise errors.InvalidArgumentError.of(
            f"row_seed draws rows by key, which the initializer {initializer!r} cannot.",
            hint="Give a random_uniform, random_normal or truncated_normal initializer, or leave row_seed out.",
        )
    if not -(2**63) <= seed < 2**63:
        raise errors.InvalidArgumentError.of(f"row_seed is {seed}; it must fit 64 bits.")
    distribution, *names = found
    if isinstance(initializer, type):
        initializer = initializer()
    numbers = [getattr(initializer, name) for name in names]
    if distribution == "uniform" and numbers[1] is None:
        numbers[1] = 1.0
    if not all(isinstance(number, (int, float, np.number)) for number in numbers):
        raise errors.InvalidArgumentError.of(
            f"row_seed draws rows by key, for which {names[0]} and {names[1]} of the initializer must be numbers, "
            f"found {numbers}."
        )
    # Attributes are floats of 32 bits in a file, and rows must not depend on where the graph comes from.
    a, b = (float(np.float32(number)) for number in numbers)
    return SeededRows(seed, distribution, a, b)


def _check_config(name: str, config: EmbeddingVariableConfig) -> None:
    """Refuses options that no attribute carries."""
    if config.init_data_source is not None:
        raise errors.UnimplementedError.of(
            f"Embedding variable '{name}' asks for init_data_source, whose reader is not public.",
            name=name,
            hint="Create it without that option and restore it from a checkpoint.",
        )
    if config.always_load_from_specific_ckpt:
        raise errors.UnimplementedError.of(
            f"Embedding variable '{name}' asks for always_load_from_specific_ckpt: a restore would not give it what "
            "the checkpoint that is restored has.",
            name=name,
            hint="Use ckpt_to_load_from alone, which gives the variable its rows when it is initialised.",
        )


def _session(session: Any) -> Any:
    from kvarn.graph.session import get_default_session

    found = get_default_session() if session is None else session
    if found is None:
        raise ValueError(
            "What an embedding variable has is in a session: give one, or enter `with session.as_default()`."
        )
    return found


def _global_step(session: Any) -> int:
    collection = session.graph.get_collection(GraphKeys.GLOBAL_STEP)
    if not collection:
        raise ValueError(
            "The graph has no global step (tf.train.get_or_create_global_step): give evict() a step."
        )
    return int(session.run(collection[0]))


def _key_type(name: str, invalid_key: Any) -> dtypes.DType:
    """The key type, which the invalid key is of; makes its constant, as DeepRec does."""
    key_type = convert_to_tensor(invalid_key, name="invalid_key").dtype.base_dtype
    if key_type not in (dtypes.int64, dtypes.int32):
        raise errors.InvalidArgumentError.of(
            f"Embedding variable '{name}' has keys of type {key_type.name}; they can be int64 or int32.",
            name=name,
            hint="Hash strings to int64 with tf.strings.to_hash_bucket_fast.",
        )
    return key_type


def _check_value(name: str, value: Tensor, row: TensorShape) -> None:
    if value.dtype.base_dtype is not dtypes.float32:
        raise errors.UnimplementedError.of(
            f"Embedding variable '{name}' has values of type {value.dtype.base_dtype.name}; this version has "
            "float32 only.",
            name=name,
            hint="Create it with value_dtype=tf.float32.",
        )
    if row.ndims != 1 or not row.is_fully_defined():
        raise ValueError(
            f"The initial value of embedding variable {name} must have a last dimension that is known: "
            f"embedding_dim; its shape is {value.shape}."
        )


def _no(what: str) -> NotImplementedError:
    return NotImplementedError(f"EmbeddingVariable does not implement {what}")


def lookup_tier(var: EmbeddingVariable | PartitionedVariable, ids: Any) -> Any:
    """int32 like ``ids``, where the row of each id is: 0 in memory, 1 on disk, -1 nowhere.

    Args:
      var: an embedding variable, whole or in parts.
    """
    from kvarn.formats.embedding import SAVED_PARTITION_NUM

    parts: list[EmbeddingVariable] = list(var) if isinstance(var, PartitionedVariable) else [var]
    ids = parts[0]._ids(ids)

    def look_up(part: EmbeddingVariable, part_ids: Any) -> Any:
        return kv.kv_resource_lookup_tier(part.handle, part_ids, dtype=part.dtype)

    if len(parts) == 1:
        return look_up(parts[0], ids)
    flat_ids = array.reshape(ids, [-1])
    assignments = math.cast(flat_ids % SAVED_PARTITION_NUM % len(parts), dtypes.int32)
    places = gather.dynamic_partition(ranges.range(array.size(flat_ids)), assignments, len(parts))
    part_ids = gather.dynamic_partition(flat_ids, assignments, len(parts))
    tiers = [look_up(part, some) for part, some in zip(parts, part_ids, strict=True)]
    return array.reshape(gather.parallel_dynamic_stitch(places, tiers), array.shape(ids))


def lookup_resource(var: EmbeddingVariable) -> Any:
    """int64, what stands for the variable in `SaveV3`."""
    return kv.kv_resource_lookup_resource(var.handle, Tkeys=var._invalid_key_type, dtype=var.dtype)
