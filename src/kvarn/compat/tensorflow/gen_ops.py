"""The generated modules ``tensorflow.python.ops.gen_*_ops``: every op by its name in small letters, and by that of
its definition.

Source: tensorflow/python/framework/python_op_gen.cc (1.15).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import kvarn.ops
from kvarn.compat.tensorflow import raw_ops
from kvarn.graph.op import OpFunction

# Where a program looks for them; TensorFlow spreads the ops over these by subject.
PREFIXES = ("python.ops.gen_", "python.training.gen_training_ops", "python.training.training_ops")


class GeneratedOps(ModuleType):
    """A generated module; each of them has all ops."""

    def __getattr__(self, name: str) -> Any:
        function = find(name) or raw_ops.find(name)
        if function is None:
            raise AttributeError(
                f"module '{self.__name__}' has no attribute '{name}': kvarn does not have that op"
            )
        self.__dict__[name] = function
        return function


def find(name: str) -> Callable[..., Any] | None:
    """The function of an op, such as ``mat_mul`` for MatMul; None if there is no such op.

    Hidden ops have an underscore before their names there, which is optional here.
    """
    functions = _functions()
    return functions.get(name) or functions.get(name.removeprefix("_"))


@cache
def _functions() -> dict[str, OpFunction]:
    found: dict[str, OpFunction] = {}
    for module in kvarn.ops.MODULES:
        for value in vars(importlib.import_module(f"kvarn.ops.{module}")).values():
            if isinstance(value, OpFunction):
                found[snake_case(value.op_type)] = value
    return found


def snake_case(name: str) -> str:
    """The name of an op's function: ``Conv2DBackpropInput`` is ``conv2d_backprop_input``."""
    out = []
    for i, c in enumerate(name):
        after_small = i > 0 and name[i - 1].islower()
        before_small = i + 1 < len(name) and name[i + 1].islower()
        if c.isupper() and i > 0 and (after_small or before_small):
            out.append("_")
        out.append(c.lower())
    return "".join(out)
