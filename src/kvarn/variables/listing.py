"""The variables of a graph: lists by collection, their common initializers, and reports on them.

Source: tensorflow/python/ops/variables.py (1.15).
"""

from __future__ import annotations

import os
from typing import Any

from kvarn import dtypes
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import (
    GraphKeys,
    colocate_with,
    device,
    get_collection,
    get_default_graph,
    name_scope,
)

_BUFFER_OPS = ("Variable", "VariableV2", "AutoReloadVariable")


def global_variables(scope: str | None = None) -> list[Any]:
    """The variables of collection GLOBAL_VARIABLES, those whose name matches ``scope`` as a regex."""
    return get_collection(GraphKeys.GLOBAL_VARIABLES, scope)


def all_variables() -> list[Any]:
    """`global_variables` by its old name."""
    return global_variables()


def _all_saveable_objects(scope: str | None = None) -> list[Any]:
    """What a Saver saves by default: the global variables and the SAVEABLE_OBJECTS."""
    return global_variables(scope) + get_collection(GraphKeys.SAVEABLE_OBJECTS, scope)


def local_variables(scope: str | None = None) -> list[Any]:
    """The variables of collection LOCAL_VARIABLES, which are not saved."""
    return get_collection(GraphKeys.LOCAL_VARIABLES, scope)


def model_variables(scope: str | None = None) -> list[Any]:
    """The variables of collection MODEL_VARIABLES."""
    return get_collection(GraphKeys.MODEL_VARIABLES, scope)


def trainable_variables(scope: str | None = None) -> list[Any]:
    """The variables of collection TRAINABLE_VARIABLES."""
    return get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Any]:
    """The variables that have moving averages."""
    return get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)


def variables_initializer(var_list: Any, name: str = "init") -> Any:
    """An operation that initializes the variables of a list; nothing to do for an empty one."""
    from kvarn.ops import control

    if var_list:
        return control.group(*[v.initializer for v in var_list], name=name)
    return control.no_op(name=name)


def initialize_variables(var_list: Any, name: str = "init") -> Any:
    """`variables_initializer` by its old name."""
    return variables_initializer(var_list, name=name)


def global_variables_initializer() -> Any:
    """An operation that initializes all global variables that exist now."""
    return variables_initializer(global_variables())


def initialize_all_variables() -> Any:
    """`global_variables_initializer` by its old name."""
    return global_variables_initializer()


def local_variables_initializer() -> Any:
    """An operation that initializes all local variables that exist now."""
    return variables_initializer(local_variables())


def initialize_local_variables() -> Any:
    """`local_variables_initializer` by its old name."""
    return local_variables_initializer()


def is_variable_initialized(variable: Any) -> Any:
    """Scalar bool tensor: whether the variable has a value."""
    from kvarn.ops import state

    return state.is_variable_initialized(variable)


def _global_and_local() -> list[Any]:
    """All variables; the buffers in the graph if no collection has any."""
    found = global_variables() + local_variables()
    if not found:
        operations = get_default_graph().get_operations()
        found = [op.outputs[0] for op in operations if op.type in _BUFFER_OPS]
    return found


def assert_variables_initialized(var_list: Any = None) -> Any:
    """A tensor whose evaluation raises FailedPreconditionError if a variable has no value.

    Args:
      var_list: variables; all global and local ones by default.

    Returns:
      The tensor; None if there are no variables.
    """
    from kvarn.ops import array

    if var_list is None:
        var_list = _global_and_local()
    if not var_list:
        return None
    ranks = []
    for var in var_list:
        with colocate_with(var.op), name_scope(None, "Rank", [var]) as scope:
            convert_to_tensor(var)
            # The node itself and no constant: it must read the variable.
            ranks.append(array.rank_(var, name=scope))
    return ranks[0] if len(ranks) == 1 else array.stack(ranks)


def report_uninitialized_variables(var_list: Any = None, name: str = "report_uninitialized_variables") -> Any:
    """A string tensor [n] of the names of the variables that have no value.

    Args:
      var_list: variables; all global and local ones by default.
    """
    from kvarn.ops import array, math, state

    if var_list is None:
        var_list = _global_and_local()
    with name_scope(name):
        initialized = [state.is_variable_initialized(v) for v in var_list]
        # The report is wanted on the worker that asks, not where the variables are.
        with device(os.environ.get("TF_DEVICE_FOR_UNINITIALIZED_VARIABLE_REPORTING", "/cpu:0")):
            if not var_list:
                return constant([], dtype=dtypes.string)
            mask = math.logical_not(array.stack(initialized))
            names = constant([v.op.name for v in var_list])
            return array.boolean_mask(names, mask)
