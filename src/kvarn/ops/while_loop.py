"""`tf.while_loop`.

Source: tensorflow/python/ops/control_flow_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn.graph import nest
from kvarn.graph.control_flow_util import EnableControlFlowV2
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.graph import GraphKeys, add_to_collection, get_default_graph, name_scope
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops import comparison, math
from kvarn.ops.while_context import WhileContext, invariants_of


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    shape_invariants: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
    maximum_iterations: Any = None,
    return_same_structure: bool = False,
) -> Any:
    """Repeats ``body`` as long as ``cond`` is true.

    Both functions are called once, while building.  With `tf.enable_control_flow_v2` they become functions of the
    graph.

    Args:
      cond: of the variables; returns a scalar bool.
      body: of the variables; returns their next values, in the same nest.
      loop_vars: nest of first values: tensors, IndexedSlices, SparseTensors, `TensorArray`.
      shape_invariants: for each variable the shape that it keeps in all rounds; by default the first one's.
      parallel_iterations: how many rounds TensorFlow may run at once; kept for graphs that are written.
      back_prop: whether gradients go through the loop.
      swap_memory: kept for graphs that are written.
      maximum_iterations: scalar; the loop ends after as many rounds in any case.
      return_same_structure: return a list or tuple of one variable as such; otherwise the variable alone.

    Returns:
      The last values.

    Raises:
      TypeError: ``cond`` or ``body`` is not callable, or ``parallel_iterations`` is less than 1.
      ValueError: there are no variables, ``body`` returns another nest, or a shape does not stay.
    """
    if not callable(cond):
        raise TypeError("cond must be callable.")
    if not callable(body):
        raise TypeError("body must be callable.")
    if parallel_iterations < 1:
        raise TypeError("parallel_iterations must be a positive integer.")
    if EnableControlFlowV2(get_default_graph()):
        from kvarn.ops import while_v2

        return while_v2.while_loop(
            cond,
            body,
            loop_vars,
            shape_invariants,
            parallel_iterations,
            maximum_iterations,
            name,
            return_same_structure,
            back_prop,
        )
    with name_scope(name, "while", loop_vars):
        if not loop_vars:
            raise ValueError("No loop variables provided")
        limited = maximum_iterations is not None
        if limited:
            maximum_iterations = convert_to_tensor(maximum_iterations, name="maximum_iterations")
            if maximum_iterations.shape.ndims != 0:
                raise ValueError(
                    f"maximum_iterations must be a scalar, saw shape: {maximum_iterations.shape}"
                )
            alone = len(loop_vars) == 1 and not return_same_structure
            cond, body, loop_vars = _limited(cond, body, loop_vars, maximum_iterations, alone)
        if shape_invariants is not None:
            if limited:
                shape_invariants = (TensorShape([]), shape_invariants)
            nest.assert_same_structure(loop_vars, shape_invariants)
            shape_invariants = nest.map_structure(invariants_of, loop_vars, shape_invariants)
        context = WhileContext(
            maximum_iterations=maximum_iterations,
            parallel_iterations=parallel_iterations,
            back_prop=back_prop,
            swap_memory=swap_memory,
        )
        if context.outer_context is None:
            # Those inside are written with the outermost.
            add_to_collection(GraphKeys.WHILE_CONTEXT, context)
        result = context.BuildLoop(cond, body, loop_vars, shape_invariants, return_same_structure)
        return result[1] if limited else result


def _limited(cond: Any, body: Any, loop_vars: Any, limit: Any, alone: bool) -> tuple[Any, Any, Any]:
    """The loop with a counter as its first variable.

    Args:
      alone: the only variable stands for itself in place of a list of one.
    """
    counter = constant(0, dtype=limit.dtype, name="iteration_counter")
    if alone:
        return (
            lambda i, x: math.logical_and(comparison.less(i, limit), cond(x)),
            lambda i, x: (i + 1, body(x)),
            (counter, loop_vars[0]),
        )
    return (
        lambda i, xs: math.logical_and(comparison.less(i, limit), cond(*xs)),
        lambda i, xs: (i + 1, body(*xs)),
        (counter, loop_vars),
    )
