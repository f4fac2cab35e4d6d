"""IndexedSlices in gradients of loops that are built as functions.

A body that gives IndexedSlices for a tensor that it took does not fit: it gives three values for one.  For a
handle of a variable its argument becomes IndexedSlices, too, to which each round adds its rows; for other tensors
the result becomes a tensor.

Source: tensorflow/python/ops/while_v2_indexed_slices_rewriter.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph import nest
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array, joining
from kvarn.ops.resource_variable import variable_shape_

# Counter, limit, number of rounds.
_OWN = 3


def rewrite_grad_indexed_slices(
    grads: Sequence[Any], grad_graph: Any, loop_vars: list[Tensor], forward_inputs: Sequence[Tensor]
) -> list[Tensor]:
    """Makes the gradient's body fit.

    Args:
      grads: the gradients that came in, None where there is none.
      grad_graph: the body.
      loop_vars: what it starts with.
      forward_inputs: what the forward loop started with.

    Returns:
      What it starts with then.
    """
    inputs = [x for g, x in zip(grads, forward_inputs, strict=False) if g is not None]
    for x, output in zip(inputs, list(grad_graph.structured_outputs[_OWN:]), strict=False):
        if not isinstance(output, IndexedSlices):
            continue
        if x.dtype is dtypes.resource:
            loop_vars = _with_slices(grad_graph, output, x, loop_vars)
        else:
            with grad_graph.as_default():
                dense = convert_to_tensor(output)
            _replace(grad_graph, output, dense)
    return loop_vars


def _replace(grad_graph: Any, old: Any, new: Any) -> None:
    outputs = grad_graph.structured_outputs
    outputs[next(i for i, x in enumerate(outputs) if x is old)] = new
    grad_graph.outputs = nest.flatten(outputs, expand_composites=True)


def _with_slices(
    grad_graph: Any, output: IndexedSlices, handle: Tensor, loop_vars: list[Tensor]
) -> list[Tensor]:
    start = _no_rows(output, handle)
    parts = nest.flatten(start, expand_composites=True)
    with grad_graph.as_default():
        inside = [grad_graph.capture(x, whitelisted=True) for x in parts]
        for x, stand_in in zip(parts, inside, strict=True):
            del grad_graph._captured[x]
            grad_graph.inputs.remove(stand_in)
        new = IndexedSlices(
            _added(output.values, inside[0]), _added(output.indices, inside[1]), dense_shape=inside[2]
        )
    at = next(i for i, x in enumerate(grad_graph.outputs) if x is output.values)
    _replace(grad_graph, output, new)
    grad_graph.inputs[at : at + 1] = inside
    return [*loop_vars[:at], *parts, *loop_vars[at + 1 :]]


def _no_rows(output: IndexedSlices, handle: Tensor) -> IndexedSlices:
    """What the rows are added to: none, of a variable's shape."""
    known = output.values.static_shape
    if known is not None and None not in known:
        shape: Any = [0, *known[1:]]
    else:
        shape = joining.concat([[0], variable_shape_(handle)[1:]], 0)
    values = array.zeros(shape, dtype=output.values.dtype, name="values_init")
    indices = constant([], output.indices.dtype, name="indices_init")
    return IndexedSlices(values, indices, variable_shape_(handle, name="shape_init"))


def _added(old: Tensor, start: Tensor) -> Tensor:
    """The rows of a round behind those before: in place of the dense zeros that the body was built with."""
    joined = old.op.inputs[0].op
    if old.op.type != "Identity" or joined.type != "ConcatV2":
        raise ValueError(f"{old} is not made of the rows before and those of a round.")
    found: Tensor = joining.concat([start, *joined.inputs[1:-1]], 0)
    return found
