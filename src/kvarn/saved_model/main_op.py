"""Operations to be run when a SavedModel is loaded.

Source: tensorflow/python/saved_model/main_op_impl.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn.graph.graph import control_dependencies
from kvarn.ops.control import group
from kvarn.variables import listing
from kvarn.variables.resources import tables_initializer


def main_op() -> Any:
    """The operation that initializes all variables, local ones included, and all tables."""
    init = listing.global_variables_initializer()
    init_local = listing.local_variables_initializer()
    return group(init, init_local, tables_initializer())


def main_op_with_restore(restore_op_name: Any) -> Any:
    """The operation that does what `main_op` does, and then runs a restore operation.

    Args:
      restore_op_name: the Operation, as TensorFlow's `group` takes it.
    """
    with control_dependencies([main_op()]):
        return group(restore_op_name)
