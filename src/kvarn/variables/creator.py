"""The last creator of a variable, which picks its class; and how programs put creators before it.

Source: tensorflow/python/ops/variable_scope.py (1.15 and DeepRec).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from kvarn.graph.graph import get_default_graph

_default_use_resource = False


def enable_resource_variables() -> None:
    """Makes resource variables where the program does not say which kind."""
    global _default_use_resource
    _default_use_resource = True


def disable_resource_variables() -> None:
    """Makes reference variables where the program does not say which kind; the default."""
    global _default_use_resource
    _default_use_resource = False


def resource_variables_enabled() -> bool:
    """Whether resource variables are the default."""
    return _default_use_resource


def default_variable_creator(next_creator: Any = None, **kwargs: Any) -> Any:
    """Makes the variable that the arguments of `VariableV1` ask for."""
    assert next_creator is None
    common: dict[str, Any] = {
        key: kwargs.get(key)
        for key in (
            "initial_value",
            "trainable",
            "collections",
            "caching_device",
            "name",
            "variable_def",
            "dtype",
            "import_scope",
            "constraint",
        )
    }
    common["validate_shape"] = kwargs.get("validate_shape", True)
    if kwargs.get("invalid_key") is not None:
        from kvarn.variables.embedding_variable import EmbeddingVariable

        return EmbeddingVariable(
            **common,
            initializer=kwargs.get("embedding_initializer"),
            invalid_key=kwargs["invalid_key"],
            evconfig=kwargs["evconfig"],
            ht_partition_num=kwargs["ht_partition_num"],
        )
    common.update({key: kwargs.get(key) for key in ("synchronization", "aggregation", "shape")})
    use_resource = kwargs.get("use_resource")
    if use_resource is None:
        from kvarn.variables.scope_state import get_variable_scope

        use_resource = get_variable_scope().use_resource
    if use_resource is None:
        use_resource = _default_use_resource
    if use_resource:
        from kvarn.variables.resource_variable import ResourceVariable

        return ResourceVariable(**common)
    from kvarn.variables.ref_variable import RefVariable

    return RefVariable(**common, expected_shape=kwargs.get("expected_shape"))


def default_variable_creator_v2(next_creator: Any = None, **kwargs: Any) -> Any:
    """Makes a resource variable from the arguments of `Variable`."""
    from kvarn.variables.resource_variable import ResourceVariable

    assert next_creator is None
    # Said by one creator to the next, and to nobody else: see kvarn.variables.captured_dependencies.
    kwargs.pop("trackable_parent", None)
    return ResourceVariable(**kwargs)


@contextlib.contextmanager
def variable_creator_scope(variable_creator: Callable[..., Any]) -> Iterator[None]:
    """Variables made inside are made by ``variable_creator(next_creator, **kwargs)``.

    It may change the keyword arguments of `VariableV1`, call ``next_creator(**kwargs)``, or return another
    variable.
    """
    with get_default_graph()._variable_creator_scope(variable_creator):
        yield


variable_creator_scope_v1 = variable_creator_scope
