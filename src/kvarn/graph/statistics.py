"""Statistics of operations, such as how many floating point operations they take, by registered functions.

Source: tensorflow/python/framework/ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_functions: dict[tuple[str, str], Callable[..., Any]] = {}


class OpStats:
    """A number that is known of an operation; sums of unknown ones are those of the others.

    Args:
      statistic_type: what it counts, such as ``flops``.
      value: the number, None if it is not known.

    Raises (``+=``):
      ValueError: they count different things.
    """

    def __init__(self, statistic_type: str, value: Any = None) -> None:
        self.statistic_type = statistic_type
        self.value = value

    @property
    def statistic_type(self) -> str:
        return self._statistic_type

    @statistic_type.setter
    def statistic_type(self, statistic_type: str) -> None:
        self._statistic_type = statistic_type

    @property
    def value(self) -> Any:
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self._value = value

    def __iadd__(self, other: OpStats) -> OpStats:
        if other.statistic_type != self.statistic_type:
            raise ValueError(
                f"Can't add an OpStat of type {self.statistic_type} to one of {other.statistic_type}."
            )
        if self.value is None:
            self.value = other.value
        elif other.value is not None:
            self._value += other.value
        return self


class RegisterStatistics:
    """Decorator of a function ``f(graph, node_def)`` that gives the `OpStats` of an op type.

    Raises:
      TypeError: the op type or the kind of statistics is no string, or has a comma in it.
      KeyError: the op type has such a function.
    """

    def __init__(self, op_type: str, statistic_type: str) -> None:
        if not isinstance(op_type, str):
            raise TypeError("op_type must be a string.")
        if "," in op_type:
            raise TypeError("op_type must not contain a comma.")
        if not isinstance(statistic_type, str):
            raise TypeError("statistic_type must be a string.")
        if "," in statistic_type:
            raise TypeError("statistic_type must not contain a comma.")
        self._key = op_type, statistic_type

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        if self._key in _functions:
            raise KeyError(f"Registering two functions of statistics with name '{','.join(self._key)}'!")
        _functions[self._key] = f
        return f


def get_stats_for_node_def(graph: Any, node: Any, statistic_type: str) -> OpStats:
    """The statistics of a node by the function registered for its op type; without one, of no value."""
    function = _functions.get((node.op, statistic_type))
    return OpStats(statistic_type) if function is None else function(graph, node)
