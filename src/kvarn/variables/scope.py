"""Variable scopes, and the functions that get variables by name in them.

Source: tensorflow/python/ops/variable_scope.py (1.15).
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from kvarn import dtypes
from kvarn.graph.graph import (
    GraphKeys,
    get_default_graph,
    graph_of,
    name_scope,
)
from kvarn.variables.creator import (
    default_variable_creator,
    default_variable_creator_v2,
    disable_resource_variables,
    enable_resource_variables,
    resource_variables_enabled,
    variable_creator_scope,
    variable_creator_scope_v1,
)
from kvarn.variables.embedding_scope import (
    get_dynamic_dimension_embedding_variable,
    get_embedding_variable,
    get_embedding_variable_internal,
    get_embedding_variable_v2_internal,
)
from kvarn.variables.scope_state import (
    VariableScope,
    _or,
    _VariableScopeStore,
    get_variable_scope,
    get_variable_scope_store,
)
from kvarn.variables.variable import VariableAggregation, VariableSynchronization, VariableV1
from kvarn.variables.variable_store import (
    AUTO_REUSE,
    _get_default_variable_store,
    _PartitionInfo,
    _ReuseMode,
    _VariableStore,
)

__all__ = [
    "AUTO_REUSE",
    "VariableAggregation",
    "VariableScope",
    "VariableSynchronization",
    "_PartitionInfo",
    "_VariableScopeStore",
    "_ReuseMode",
    "_VariableStore",
    "_get_default_variable_store",
    "_get_partitioned_variable",
    "_pure_variable_scope",
    "default_variable_creator",
    "default_variable_creator_v2",
    "disable_resource_variables",
    "enable_resource_variables",
    "get_dynamic_dimension_embedding_variable",
    "get_embedding_variable",
    "get_embedding_variable_internal",
    "get_embedding_variable_v2_internal",
    "get_local_variable",
    "get_variable",
    "get_variable_scope",
    "get_variable_scope_store",
    "no_regularizer",
    "resource_variables_enabled",
    "variable",
    "variable_creator_scope",
    "variable_creator_scope_v1",
    "variable_op_scope",
    "variable_scope",
]

variable = VariableV1


def no_regularizer(_: Any) -> None:
    """A regularizer that adds nothing; it keeps a scope's regularizer away."""
    return


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
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
    """The variable of a name in the current variable scope, made or shared as the scope's ``reuse`` says.

    Args:
      name: inside the scope.
      shape: of the variable; not with an initializer that is a value.
      dtype: float32 by default.
      initializer: ``f(shape, dtype, partition_info)``, a function without arguments, or a value; by default
        the scope's, or glorot_uniform for floats and zeros for integers, bools and strings.
      regularizer: ``f(variable)``; its result goes to REGULARIZATION_LOSSES.
      trainable, collections, caching_device, validate_shape, use_resource, constraint, synchronization,
        aggregation: see `VariableV1`.
      partitioner: ``f(shape, dtype)``, numbers of parts; the result is a PartitionedVariable then.
      custom_getter: ``f(getter, name, ...)``, called in place of making the variable.

    Raises:
      ValueError: it exists and must not, does not exist and must, or is not of that shape and type.
    """
    return get_variable_scope().get_variable(
        _get_default_variable_store(),
        name,
        shape=shape,
        dtype=dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=trainable,
        collections=collections,
        caching_device=caching_device,
        partitioner=partitioner,
        validate_shape=validate_shape,
        use_resource=use_resource,
        custom_getter=custom_getter,
        constraint=constraint,
        synchronization=synchronization,
        aggregation=aggregation,
    )


def get_local_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = False,
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
    """`get_variable` of a variable that is not trained and not saved: in LOCAL_VARIABLES only."""
    del trainable
    local = [GraphKeys.LOCAL_VARIABLES]
    return get_variable(
        name,
        shape=shape,
        dtype=dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=False,
        collections=collections + local if collections else local,
        caching_device=caching_device,
        partitioner=partitioner,
        validate_shape=validate_shape,
        use_resource=use_resource,
        custom_getter=custom_getter,
        constraint=constraint,
        synchronization=synchronization,
        aggregation=aggregation,
    )


def _get_partitioned_variable(name: str | None, **arguments: Any) -> Any:
    """A partitioned variable in the current scope; see `VariableScope._get_partitioned_variable`."""
    return get_variable_scope()._get_partitioned_variable(_get_default_variable_store(), name, **arguments)


class _pure_variable_scope:
    """A variable scope without a name scope; see `variable_scope`."""

    def __init__(
        self,
        name_or_scope: Any,
        reuse: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        old_name_scope: str | None = None,
        dtype: Any = dtypes.float32,
        use_resource: bool | None = None,
        constraint: Any = None,
    ) -> None:
        self._name_or_scope = name_or_scope
        self._reuse = reuse
        self._custom_getter = custom_getter
        self._old_name_scope = old_name_scope
        self._constraint = constraint
        self._given = {
            "initializer": initializer,
            "regularizer": regularizer,
            "caching_device": caching_device,
            "partitioner": partitioner,
            "dtype": dtype,
            "use_resource": use_resource,
        }
        _get_default_variable_store()
        self._store = get_variable_scope_store()
        self._entered: VariableScope | None = None
        self._jumped: VariableScope | None = None
        if isinstance(name_or_scope, VariableScope):
            # Entered again, it is the same object: what was set on it while it was open stays.
            self._new_name = name_or_scope.name
            self._jumped = self._scope(name_or_scope, name_or_scope._name_scope, reuse or name_or_scope.reuse)

    def _scope(self, base: VariableScope, old_name_scope: str, reuse: Any) -> VariableScope:
        """A scope of the new name with the defaults of ``base``, except for those given."""
        defaults = {key: _or(value, getattr(base, key)) for key, value in self._given.items()}
        getter = base.custom_getter
        if self._custom_getter is not None:
            getter = _maybe_wrap_custom_getter(self._custom_getter, getter)
        return VariableScope(
            reuse,
            name=self._new_name,
            name_scope=old_name_scope,
            custom_getter=getter,
            # Not taken over from the outer scope, as in TensorFlow.
            constraint=self._constraint,
            **defaults,
        )

    def __enter__(self) -> VariableScope:
        store = self._store
        self._old = store.current_scope
        if self._jumped is not None:
            store.open_variable_scope(self._new_name)
            self._old_counts = dict(store.variable_scopes_count)
            scope = self._jumped
        else:
            old = self._old
            self._new_name = f"{old.name}/{self._name_or_scope}" if old.name else self._name_or_scope
            # Scopes inside a sharing scope share, too.
            self._reuse = self._reuse or old.reuse
            scope = self._scope(old, _or(self._old_name_scope, self._name_or_scope), self._reuse)
            store.open_variable_scope(self._new_name)
        store.current_scope = scope
        self._entered = scope
        return scope

    def __exit__(self, *unused: Any) -> None:
        store = self._store
        if store.current_scope is not self._entered:
            raise RuntimeError("Improper nesting of variable_scope.")
        if self._jumped is not None:
            store.variable_scopes_count = self._old_counts
        else:
            store.close_variable_subscopes(self._new_name)
        store.current_scope = self._old


def _maybe_wrap_custom_getter(custom_getter: Callable[..., Any], old_getter: Any) -> Callable[..., Any]:
    """A getter that calls ``custom_getter``, for which ``old_getter`` is the true getter."""
    if old_getter is None:
        return custom_getter

    def wrapped(getter: Any, *args: Any, **kwargs: Any) -> Any:
        return custom_getter(functools.partial(old_getter, getter), *args, **kwargs)

    return wrapped


def _get_unique_variable_scope(prefix: str) -> str:
    """``prefix``, with ``_1``, ``_2`` … if there is such a scope in the current one."""
    store = get_variable_scope_store()
    outer = store.current_scope.name
    name = f"{outer}/{prefix}" if outer else prefix
    if store.variable_scope_count(name) == 0:
        return prefix
    i = 1
    while store.variable_scope_count(f"{name}_{i}") > 0:
        i += 1
    return f"{prefix}_{i}"


class variable_scope:
    """Context manager: variables made inside by `get_variable` have ``name/`` before their names.

    It opens a name scope as well.

    Args:
      name_or_scope: a name, or a VariableScope to enter again.
      default_name: used, and made unique, when ``name_or_scope`` is None.
      values: tensors that the scope is about; their graph becomes the default graph.
      initializer, regularizer, caching_device, partitioner, custom_getter, dtype, use_resource, constraint:
        defaults of `get_variable` inside.
      reuse: True to share existing variables, AUTO_REUSE to make those that do not exist; None for what the
        outer scope does.
      auxiliary_name_scope: False to stay in the current name scope.

    Raises:
      TypeError: neither name is given, or an argument is of the wrong type.
      ValueError: ``reuse`` is something else, or is given with ``default_name`` only.
    """

    def __init__(
        self,
        name_or_scope: Any,
        default_name: str | None = None,
        values: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        reuse: Any = None,
        dtype: Any = None,
        use_resource: bool | None = None,
        constraint: Any = None,
        auxiliary_name_scope: bool = True,
    ) -> None:
        if default_name is None and name_or_scope is None:
            raise TypeError("If default_name is None then name_or_scope is required")
        if reuse is False:
            reuse = None
        if not (reuse is True or reuse is None or reuse is AUTO_REUSE):
            raise ValueError("The reuse parameter must be True or False or None.")
        if not isinstance(auxiliary_name_scope, bool):
            raise TypeError(
                f"The auxiliary_name_scope must be `True` or `False`, while get {auxiliary_name_scope}"
            )
        self._name_or_scope = name_or_scope
        self._default_name = default_name
        self._reuse = reuse
        self._auxiliary_name_scope = auxiliary_name_scope
        self._defaults = {
            "initializer": initializer,
            "regularizer": regularizer,
            "caching_device": caching_device,
            "partitioner": partitioner,
            "custom_getter": custom_getter,
            "dtype": dtype,
            "use_resource": use_resource,
            "constraint": constraint,
        }
        self._graph = graph_of(values) if values else get_default_graph()
        self._pure: _pure_variable_scope | None = None
        self._name_scope: Any = None

    def __enter__(self) -> VariableScope:
        self._graph_context = None
        if not get_default_graph().building_function:
            self._graph_context = self._graph.as_default()
            self._graph_context.__enter__()
        try:
            if self._pure is None:
                return self._enter_first()
            if self._name_scope is not None:
                self._name_scope.__enter__()
            return self._pure.__enter__()
        except BaseException:
            if self._graph_context is not None:
                self._graph_context.__exit__(*sys.exc_info())
            raise

    def _enter_first(self) -> VariableScope:
        given = self._name_or_scope
        current: Any = None
        if not self._auxiliary_name_scope:
            stack = get_default_graph().get_name_scope()
            current = name_scope(stack + "/" if stack else stack)
        if given is None:
            if self._reuse:
                raise ValueError("reuse=True cannot be used without a name_or_scope")
            assert self._default_name is not None
            current = current or name_scope(self._default_name)
            old_name_scope = current.__enter__()
            return self._enter_pure(
                current,
                functools.partial(
                    _pure_variable_scope,
                    _get_unique_variable_scope(self._default_name),
                    old_name_scope=old_name_scope,
                ),
            )
        if not isinstance(given, (VariableScope, str)):
            raise TypeError("VariableScope: name_or_scope must be a string or VariableScope.")
        name = given if isinstance(given, str) else given.name.split("/")[-1]
        if not (name or current):
            # The root scope has no name scope of its own.
            return self._enter_pure(None, functools.partial(_pure_variable_scope, given, reuse=self._reuse))
        current = current or name_scope(name)
        old_name_scope = current.__enter__()
        if isinstance(given, VariableScope):
            old_name_scope = given.original_name_scope
        return self._enter_pure(
            current,
            functools.partial(_pure_variable_scope, given, reuse=self._reuse, old_name_scope=old_name_scope),
        )

    def _enter_pure(self, entered: Any, make: Callable[..., _pure_variable_scope]) -> VariableScope:
        try:
            pure = make(**self._defaults)
            scope = pure.__enter__()
        except BaseException:
            if entered is not None:
                entered.__exit__(*sys.exc_info())
            raise
        self._pure, self._name_scope = pure, entered
        return scope

    def __exit__(self, *exc_info: Any) -> None:
        assert self._pure is not None
        try:
            self._pure.__exit__(*exc_info)
        finally:
            try:
                if self._name_scope is not None:
                    self._name_scope.__exit__(*exc_info)
            finally:
                if self._graph_context is not None:
                    self._graph_context.__exit__(*exc_info)


@contextlib.contextmanager
def variable_op_scope(
    values: Any,
    name_or_scope: Any,
    default_name: str | None = None,
    initializer: Any = None,
    regularizer: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    custom_getter: Any = None,
    reuse: Any = None,
    dtype: Any = None,
    use_resource: bool | None = None,
    constraint: Any = None,
) -> Iterator[VariableScope]:
    """`variable_scope` with its older order of arguments."""
    warnings.warn(
        "tf.variable_op_scope(values, name, default_name) is deprecated, use tf.variable_scope(name, "
        "default_name, values)",
        DeprecationWarning,
        stacklevel=3,
    )
    with variable_scope(
        name_or_scope,
        default_name=default_name,
        values=values,
        initializer=initializer,
        regularizer=regularizer,
        caching_device=caching_device,
        partitioner=partitioner,
        custom_getter=custom_getter,
        reuse=reuse,
        dtype=dtype,
        use_resource=use_resource,
        constraint=constraint,
    ) as scope:
        yield scope
