"""Seeds of random operations: one of the graph, one of the operation.

Source: tensorflow/python/framework/random_seed.py.
"""

from __future__ import annotations

from kvarn.graph.graph import get_default_graph

DEFAULT_GRAPH_SEED = 87654321
_MAXINT32 = 2**31 - 1


def get_seed(op_seed: int | None) -> tuple[int | None, int | None]:
    """The two seeds of an operation built now.

    Args:
      op_seed: the seed given for the operation, or None.

    Returns:
      (graph seed, operation seed).  Without a seed for the operation it is the number of operations built so
      far; without one for the graph a fixed number; with neither, (None, None): other numbers in every
      session.
    """
    graph = get_default_graph()
    graph_seed = graph.seed
    seeds: tuple[int | None, int | None]
    if graph_seed is not None:
        if op_seed is None:
            op_seed = graph._last_id
        seeds = graph_seed % _MAXINT32, op_seed % _MAXINT32
    elif op_seed is not None:
        seeds = DEFAULT_GRAPH_SEED, op_seed % _MAXINT32
    else:
        return None, None
    # Two zeros would mean: not reproducible.
    return (0, _MAXINT32) if seeds == (0, 0) else seeds


def set_random_seed(seed: int | None) -> None:
    """Sets the seed of the default graph, so that a program's random numbers repeat from run to run."""
    get_default_graph().seed = seed
