"""The learning phase, names of layers, and the type of what has none: state of Keras for each graph.

Source: tensorflow/python/keras/backend.py (1.15).
"""

from __future__ import annotations

import collections
import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

from kvarn.graph.graph import Graph, get_default_graph, init_scope, name_scope

_FLOATX = "float32"
_EPSILON = 1e-7

_learning_phases: weakref.WeakKeyDictionary[Graph, Any] = weakref.WeakKeyDictionary()
_uids: weakref.WeakKeyDictionary[Graph, dict[tuple[str, str], int]] = weakref.WeakKeyDictionary()


def floatx() -> str:
    """The type of layers whose inputs do not tell one."""
    return _FLOATX


def epsilon() -> float:
    """What is added where something is divided by what may be zero."""
    return _EPSILON


def learning_phase() -> Any:
    """Whether the graph is run for training: what `set_learning_phase` said, or else a bool placeholder [].

    The placeholder is ``keras_learning_phase`` and false unless it is fed.
    """
    with init_scope():
        graph = get_default_graph()
        if graph not in _learning_phases:
            from kvarn.ops.array import placeholder_with_default

            with name_scope(None):
                _learning_phases[graph] = placeholder_with_default(
                    False, shape=(), name="keras_learning_phase"
                )
        return _learning_phases[graph]


def set_learning_phase(value: int) -> None:
    """Fixes the learning phase of the graph, 0 for inference and 1 for training.

    Raises:
      ValueError: ``value`` is something else.
    """
    if value not in (0, 1):
        raise ValueError("Expected learning phase to be 0 or 1.")
    with init_scope():
        _learning_phases[get_default_graph()] = value


@contextlib.contextmanager
def learning_phase_scope(value: int) -> Iterator[None]:
    """Inside, the learning phase is ``value``, 0 or 1; ValueError for others."""
    if value not in (0, 1):
        raise ValueError("Expected learning phase to be 0 or 1.")
    graph = get_default_graph()
    previous = _learning_phases.get(graph)
    set_learning_phase(value)
    try:
        yield
    finally:
        if previous is None:
            _learning_phases.pop(graph, None)
        else:
            _learning_phases[graph] = previous


def get_uid(prefix: str = "") -> int:
    """How many layers of that name the graph has had, this one counted."""
    uids = get_default_graph_uid_map()
    uids["", prefix] += 1
    return uids["", prefix]


def get_default_graph_uid_map() -> dict[tuple[str, str], int]:
    """How often each (namespace, name) has been given out in the default graph."""
    return _uids.setdefault(get_default_graph(), collections.defaultdict(int))


def reset_uids() -> None:
    """Counts names from the start again, in all graphs."""
    _uids.clear()


def unique_object_name(
    name: str,
    name_uid_map: Any = None,
    avoid_names: Any = None,
    namespace: str = "",
    zero_based: bool = False,
) -> str:
    """``name`` with a number that makes it unique in the default graph.

    Args:
      name_uid_map: counts by (namespace, name) other than those of the graph.
      avoid_names: names that are not given.
      namespace: names are unique within.
      zero_based: whether the first one has no number; ``dense`` and ``dense_1`` instead of ``dense_1``, ``dense_2``.
    """
    uids = get_default_graph_uid_map() if name_uid_map is None else name_uid_map
    while True:
        count = uids[namespace, name] = uids[namespace, name] + 1
        number = count - 1 if zero_based else count
        proposed = f"{name}_{number}" if number else name
        if proposed not in (avoid_names or ()):
            return proposed
