"""Gradients of the nodes of conditionals and loops.

A Switch has a Merge for its gradient and the other way round, an Enter an Exit and the other way round; the loop
that runs backwards is in the context in which its nodes are built.

Source: tensorflow/python/ops/control_flow_grad.py (1.15).
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.graph import control_flow_util as util
from kvarn.graph import nest
from kvarn.graph.graph import control_dependencies, get_default_graph
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor
from kvarn.ops import array, comparison
from kvarn.ops.control_flow_values import enter, exit, merge, switch, switch_ref_or_tensor
from kvarn.ops.while_context import add_next_and_back_edge


def _current() -> Any:
    return get_default_graph()._get_control_flow_context()


def switch_grad(op: Operation, *grads: Any) -> Any:
    """Merges the gradients of both outputs.

    The Switch of a loop is met twice.  Behind the Exit the Merge is made, with the same gradient twice; behind
    the body its second input becomes what comes from the round before.
    """
    context = op._get_control_flow_context()
    if context is None:
        false, true = switch(grads[0], op.inputs[1])[0], switch(grads[1], op.inputs[1])[1]
        return merge([false, true])[0], None
    if context.IsCondContext():
        if grads[1 - context.branch] is not None:
            return merge([_as_one(x) for x in grads], name="cond_grad")[0], None
        if op.inputs[0].dtype is dtypes.resource:
            # No zeros for the other branch of a variable: both are the same, and one of them is dead.
            return merge([grads[context.branch]] * 2, name="cond_resource_grad")[0], None
        return None, None
    switch_map = _current().grad_state.switch_map
    merged = switch_map.get(op)
    if merged is not None:
        if grads[1] is not None:
            add_next_and_back_edge(merged, grads[1], enforce_shape_invariant=False)
        return None, None
    if grads[0] is None:
        return None, None
    switch_map[op] = merged = merge([grads[0], grads[0]], name="b_switch")[0]
    return merged, None


def _as_one(grad: Any) -> Any:
    """A gradient all of whose parts are dead if its values are: in a loop, ids may be constants of any branch."""
    if not isinstance(grad, IndexedSlices) or _current() is None:
        return grad
    with control_dependencies([grad.values]):
        return IndexedSlices(grad.values, array.identity(grad.indices), grad.dense_shape)


def merge_grad(op: Operation, grad: Any, _: Any) -> Any:
    """Hands the gradient to the input that was available."""
    context = util.GetOutputContext(op.inputs[0].op)
    current = _current()
    if context is None:
        came = [comparison.equal(op.outputs[1], i) for i in range(len(op.inputs))]
        return [switch_ref_or_tensor(grad, c)[1] for c in came]
    if context.IsWhileContext():
        return switch_ref_or_tensor(grad, current.pivot)
    pred = context.pred
    if current is not None and current.grad_state is not None:
        # A conditional in a loop chose anew in each round.
        state = current.grad_state
        chosen = state.history_map.get(pred.name)
        if chosen is None:
            loop = state.grad_context
            loop.Exit()
            history = state.AddForwardAccumulator(pred)
            loop.Enter()
            chosen = state.history_map[pred.name] = state.AddBackpropAccumulatedValue(history, pred)
        pred = chosen
    return switch_ref_or_tensor(grad, pred, name="cond_grad")


def exit_grad(op: Operation, grad: Any) -> Any:
    """Enters the loop that runs backwards.

    Raises:
      TypeError: the loop is a gradient's itself.
    """
    loop = _current()
    if not loop.back_prop:
        return None
    if op._get_control_flow_context().grad_state is not None:
        raise TypeError("Second-order gradient for while loops not supported.")
    if not isinstance(grad, (Tensor, IndexedSlices, SparseTensor)):
        raise TypeError(f"Type {type(grad)} not supported")
    for part in nest.flatten(grad, expand_composites=True):
        loop.AddName(part.name)
    loop.Enter()
    result = enter(grad, loop.name, parallel_iterations=loop.parallel_iterations, name="b_exit")
    loop.loop_enters.append(result)
    loop.Exit()
    return result


def enter_grad(op: Operation, grad: Any) -> Any:
    """Leaves the loop that runs backwards; for what is the same in all rounds, with the sum over them.

    Raises:
      TypeError: the gradient is neither a Tensor nor IndexedSlices.
    """
    loop = _current()
    if loop is None or not loop.back_prop or loop.grad_state is None:
        return grad
    if not op.get_attr("is_constant"):
        result = exit(grad)
        loop.loop_exits.append(result)
        loop.ExitResult([result])
        return result
    if isinstance(grad, Tensor):
        return loop.AddBackpropAccumulator(op, grad)
    if isinstance(grad, IndexedSlices):
        return loop.AddBackpropIndexedSlicesAccumulator(op, grad)
    raise TypeError(f"Type {type(grad)} not supported")


def next_iteration_grad(op: Operation, grad: Any) -> Any:
    """The gradient itself: `switch_grad` hands it to the next round."""
    return grad


def loop_cond_grad(op: Operation, *grads: Any) -> Any:
    """None: gradients do not go through conditions."""
    return None
