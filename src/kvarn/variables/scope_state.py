"""The current variable scope of a graph: its prefix and defaults, and how often each scope was opened.

Source: `VariableScope` and `_VariableScopeStore` of tensorflow/python/ops/variable_scope.py (1.15).
"""

from __future__ import annotations

import threading
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GraphKeys, add_to_collection, get_collection, get_default_graph, name_scope
from kvarn.variables.variable import VariableAggregation, VariableSynchronization
from kvarn.variables.variable_store import _VariableStore

_VARSCOPESTORE_KEY = ("__varscope",)


class VariableScope:
    """The prefix of variables' names in a `variable_scope`, and the defaults of `get_variable` there."""

    def __init__(
        self,
        reuse: Any,
        name: str = "",
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        name_scope: str = "",
        dtype: Any = dtypes.float32,
        use_resource: bool | None = None,
        constraint: Any = None,
    ) -> None:
        self._name = name
        self._initializer = initializer
        self._regularizer = regularizer
        self._reuse = reuse
        self._caching_device = caching_device
        self._partitioner = partitioner
        self._custom_getter = custom_getter
        self._name_scope = name_scope
        self._dtype = dtype
        self._use_resource = use_resource
        self._constraint = constraint

    @property
    def name(self) -> str:
        """The prefix, without a trailing slash."""
        return self._name

    @property
    def original_name_scope(self) -> str:
        """The name scope that was opened together with it."""
        return self._name_scope

    @property
    def reuse(self) -> Any:
        return self._reuse

    @property
    def initializer(self) -> Any:
        return self._initializer

    @property
    def dtype(self) -> Any:
        return self._dtype

    @property
    def use_resource(self) -> bool | None:
        # Functions take variables in by their handles.
        return True if get_default_graph().building_control_flow else self._use_resource

    @property
    def regularizer(self) -> Any:
        return self._regularizer

    @property
    def caching_device(self) -> Any:
        return self._caching_device

    @property
    def partitioner(self) -> Any:
        return self._partitioner

    @property
    def custom_getter(self) -> Any:
        return self._custom_getter

    @property
    def constraint(self) -> Any:
        return self._constraint

    def reuse_variables(self) -> None:
        """From now on `get_variable` shares existing variables here, and makes none."""
        self._reuse = True

    def set_initializer(self, initializer: Any) -> None:
        self._initializer = initializer

    def set_dtype(self, dtype: Any) -> None:
        self._dtype = dtype

    def set_use_resource(self, use_resource: bool | None) -> None:
        self._use_resource = use_resource

    def set_regularizer(self, regularizer: Any) -> None:
        self._regularizer = regularizer

    def set_caching_device(self, caching_device: Any) -> None:
        self._caching_device = caching_device

    def set_partitioner(self, partitioner: Any) -> None:
        self._partitioner = partitioner

    def set_custom_getter(self, custom_getter: Any) -> None:
        self._custom_getter = custom_getter

    def get_collection(self, name: Any) -> list[Any]:
        """The items of a collection whose names begin with this scope's."""
        return get_collection(name, self._name + "/" if self._name else "")

    def trainable_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def global_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def local_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.LOCAL_VARIABLES)

    def get_variable(
        self,
        var_store: _VariableStore,
        name: str,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        reuse: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        validate_shape: bool = True,
        use_resource: bool | None = None,
        custom_getter: Any = None,
        constraint: Any = None,
        synchronization: Any = VariableSynchronization.AUTO,
        aggregation: Any = VariableAggregation.NONE,
    ) -> Any:
        """`get_variable` with this scope's prefix and defaults."""
        with name_scope(None):
            # Checked against what the call says, not against the scope's defaults.
            if dtype is not None and initializer is not None and not callable(initializer):
                init_dtype = convert_to_tensor(initializer).dtype.base_dtype
                if init_dtype != dtype:
                    raise ValueError(
                        f"Initializer type '{init_dtype}' and explicit dtype '{dtype}' don't match."
                    )
            return var_store.get_variable(
                self._full_name(name),
                shape=shape,
                dtype=_or(dtype, self._dtype),
                initializer=_or(initializer, self._initializer),
                regularizer=_or(regularizer, self._regularizer),
                reuse=_or(reuse, self._reuse),
                trainable=trainable,
                collections=collections,
                caching_device=_or(caching_device, self._caching_device),
                partitioner=_or(partitioner, self._partitioner),
                validate_shape=validate_shape,
                use_resource=_or(use_resource, self._use_resource),
                custom_getter=_or(custom_getter, self._custom_getter),
                constraint=_or(constraint, self._constraint),
                synchronization=synchronization,
                aggregation=aggregation,
            )

    def get_embedding_variable(
        self,
        var_store: _VariableStore,
        name: str,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        reuse: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        validate_shape: bool = True,
        use_resource: bool | None = None,
        custom_getter: Any = None,
        constraint: Any = None,
        synchronization: Any = VariableSynchronization.AUTO,
        aggregation: Any = VariableAggregation.NONE,
        invalid_key: Any = None,
        evconfig: Any = None,
        ht_partition_num: int = 1000,
    ) -> Any:
        """`get_embedding_variable` with this scope's prefix and defaults; ``shape`` is that of one row."""
        with name_scope(None):
            return var_store.get_variable(
                self._full_name(name),
                shape=shape,
                dtype=_or(dtype, self._dtype),
                initializer=_or(initializer, self._initializer),
                regularizer=_or(regularizer, self._regularizer),
                reuse=_or(reuse, self._reuse),
                trainable=trainable,
                collections=collections,
                caching_device=_or(caching_device, self._caching_device),
                partitioner=_or(partitioner, self._partitioner),
                validate_shape=validate_shape,
                use_resource=use_resource,
                custom_getter=_or(custom_getter, self._custom_getter),
                constraint=_or(constraint, self._constraint),
                synchronization=synchronization,
                aggregation=aggregation,
                invalid_key=invalid_key,
                evconfig=evconfig,
                ht_partition_num=ht_partition_num,
            )

    def _full_name(self, name: str) -> str:
        return f"{self._name}/{name}" if self._name else name

    def _get_partitioned_variable(
        self, var_store: _VariableStore, name: str | None, partitioner: Any = None, **arguments: Any
    ) -> Any:
        """What `create_partitioned_variables` calls; ``name`` None stands for the scope's own."""
        if self._custom_getter is not None:
            raise ValueError(
                "Private access to _get_partitioned_variable is not allowed when a custom getter is set. "
                " Current "
                f"custom getter: {self._custom_getter}.  It is likely that you're using "
                "create_partitioned_variables.  If so, consider instead using get_variable with a non-empty "
                "partitioner parameter instead."
            )
        partitioner = _or(partitioner, self._partitioner)
        if partitioner is None:
            raise ValueError("No partitioner was specified")
        for key in ("initializer", "regularizer", "constraint", "caching_device", "dtype", "use_resource"):
            arguments[key] = _or(arguments.get(key), getattr(self, f"_{key}"))
        full_name = "/".join(part for part in (self._name, name) if part)
        arguments["dtype"] = dtypes.as_dtype(arguments["dtype"])
        with name_scope(None):
            return var_store._get_partitioned_variable(full_name, partitioner, reuse=self._reuse, **arguments)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


class _VariableScopeStore(threading.local):
    """The current scope of a thread, and how often each name of a scope has been opened."""

    def __init__(self) -> None:
        self.variable_scopes_count: dict[str, int] = {}
        self.current_scope = VariableScope(False)

    def open_variable_scope(self, scope_name: str) -> None:
        self.variable_scopes_count[scope_name] = self.variable_scopes_count.get(scope_name, 0) + 1

    def close_variable_subscopes(self, scope_name: str | None) -> None:
        """Forgets the counts of everything inside ``scope_name``."""
        for key in self.variable_scopes_count:
            if not scope_name or key.startswith(scope_name + "/"):
                self.variable_scopes_count[key] = 0

    def variable_scope_count(self, scope_name: str) -> int:
        return self.variable_scopes_count.get(scope_name, 0)


def get_variable_scope_store() -> _VariableScopeStore:
    """The scopes of the default graph."""
    found = get_collection(_VARSCOPESTORE_KEY)
    if found:
        store: _VariableScopeStore = found[0]
        return store
    store = _VariableScopeStore()
    add_to_collection(_VARSCOPESTORE_KEY, store)
    return store


def get_variable_scope() -> VariableScope:
    """The current variable scope."""
    return get_variable_scope_store().current_scope
