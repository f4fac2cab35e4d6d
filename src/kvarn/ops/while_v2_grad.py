"""Gradients of loops that are built as functions.

The gradient of a body is the body of another loop.  What it needs of the rounds' values the forward node is changed
to keep, each in a list that the gradient takes from the end.

Source: tensorflow/python/ops/{while_v2,while_v2_indexed_slices_rewriter}.py (1.15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvarn import dtypes
from kvarn.graph import nest, tensor_util
from kvarn.graph.convert import constant, convert_to_tensor
from kvarn.graph.gradients import UnconnectedGradients, gradients_helper, is_trainable
from kvarn.graph.graph import control_dependencies
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array, functional, list_ops
from kvarn.ops.control_flow_context import zeros_of_variable
from kvarn.ops.func_graph import (
    FuncGraph,
    WhileBodyFuncGraph,
    WhileCondFuncGraph,
    copy_handle_data,
    create_new_tf_function,
    func_graph_from_py_func,
    function_graph,
    resource_input_index,
    set_lowering_attr,
    unique_grad_fn_name,
)
from kvarn.ops.while_v2 import accumulator_of
from kvarn.ops.while_v2_slices import rewrite_grad_indexed_slices

# The first variables of the gradient's loop: its counter, the limit, and how many rounds there were.
_OWN = 3


def while_grad(op: Operation, *grads: Any) -> list[Any]:
    """The gradient of a While node: another one."""
    cond_graph, body_graph = _function(op, "cond"), _function(op, "body")
    before = len(body_graph.outputs)
    original = op.attrs.get("_num_original_outputs", len(op.outputs))
    given = [
        _incoming(g, inside, outside)
        for g, inside, outside in zip(
            grads[:original], body_graph.outputs[:original], op.outputs[:original], strict=True
        )
    ] + [None] * (len(op.outputs) - original)
    triples = [
        (y, x, g)
        for y, x, g in zip(body_graph.outputs, body_graph.inputs, given, strict=True)
        if g is not None
    ]
    total = op.outputs[0]
    counter = constant(0, dtype=total.dtype, name="grad_counter")
    arguments = [counter, op.inputs[1], total, *(g for _, _, g in triples)]
    grad_graph = WhileBodyGradFuncGraph(
        unique_grad_fn_name(body_graph.name), cond_graph, body_graph, op.inputs[1]
    )
    _build_body(grad_graph, triples, arguments)
    if grad_graph.empty_tensor_lists:
        _rewrite(op, cond_graph, body_graph, grad_graph, before)
    # Gradients of gradients see all outputs.
    op.attrs["_num_original_outputs"] = len(op.outputs)
    loop_vars = [*nest.flatten(arguments, expand_composites=True), *_resolve(grad_graph, body_graph, op)]
    loop_vars = rewrite_grad_indexed_slices(given, grad_graph, loop_vars, op.inputs)
    cond_grad_graph = WhileCondFuncGraph(unique_grad_fn_name(op.attrs["cond"].name))
    func_graph_from_py_func(
        cond_grad_graph,
        lambda i, unused_limit, n, *unused: i < n,
        [(x.dtype, x.shape, None) for x in loop_vars],
        add_control_dependencies=True,
    )
    outputs = functional.while_(
        loop_vars,
        cond=create_new_tf_function(cond_grad_graph),
        body=create_new_tf_function(grad_graph),
        output_shapes=grad_graph.output_shapes,
        parallel_iterations=op.attrs["parallel_iterations"],
        name=f"{op.name}_grad",
    )
    for inside, outside in zip(grad_graph.outputs, outputs, strict=True):
        copy_handle_data(inside, outside)
    set_lowering_attr(outputs[0].op)
    found = _structured([array.identity(x) for x in outputs], given, grad_graph)
    return found + [None] * (len(op.inputs) - len(found))


def _function(op: Operation, key: str) -> FuncGraph:
    """One of the node's functions as a graph."""
    function = op.attrs[key]
    with op.graph.as_default():
        graph = (WhileCondFuncGraph if key == "cond" else WhileBodyFuncGraph)(function.name)
    function_graph(graph, op.graph, function, op.inputs, op.attrs["output_shapes"])
    return graph


def _incoming(grad: Any, inside: Tensor, outside: Tensor) -> Any:
    """The gradient that comes in for an output of the loop, or None if none goes through it."""
    popped = inside.op
    if not is_trainable(inside) or (
        popped.type == "TensorListPopBack"
        and inside.value_index == 0
        and not _trainable_type(popped.attrs["element_dtype"])
    ):
        return None
    if grad is None and outside.dtype in (dtypes.resource, dtypes.variant):
        return zeros_of_variable(outside) if outside.dtype is dtypes.resource else array.zeros_like(outside)
    return convert_to_tensor(grad) if isinstance(grad, IndexedSlices) else grad


def _trainable_type(dtype: dtypes.DType) -> bool:
    return dtype.is_floating or dtype.is_complex or dtype in (dtypes.resource, dtypes.variant)


def _build_body(
    grad_graph: WhileBodyGradFuncGraph,
    triples: Sequence[tuple[Tensor, Tensor, Any]],
    arguments: Sequence[Tensor],
) -> None:
    ys, xs = [y for y, _, _ in triples], [x for _, x, _ in triples]
    forward = grad_graph.forward_graph
    # What the gradient adds to these later goes round the loop and changes.
    grad_graph.invariant = set(forward.inputs) & set(forward.outputs)

    def gradients(i: Tensor, limit: Tensor, n: Tensor, *grad_ys: Tensor) -> list[Any]:
        found = gradients_helper(
            ys, xs, grad_ys=list(grad_ys), src_graph=forward, unconnected_gradients=UnconnectedGradients.ZERO
        )
        return [i + 1, limit, n, *found]

    func_graph_from_py_func(
        grad_graph, gradients, [(x.dtype, x.shape, None) for x in arguments], add_control_dependencies=True
    )
    for outside, inside in grad_graph.captures:
        left = grad_graph.popped_tensor_lists.get(inside)
        if left is None:
            if inside.dtype is not dtypes.resource and outside not in grad_graph.invariant:
                raise ValueError(
                    f"Tensor {inside} which captures {outside} is in list of internal_captures but is not a "
                    "resource, is not in popped_tensor_lists and does not capture a loop invariant."
                )
            left = inside
        grad_graph.outputs.append(left)
        grad_graph.structured_outputs.append(left)


def _rewrite(
    op: Operation,
    cond_graph: FuncGraph,
    body_graph: FuncGraph,
    grad_graph: WhileBodyGradFuncGraph,
    before: int,
) -> None:
    """Lets the forward node keep what the gradient needs, in functions of other names."""
    cond_graph.name += "_rewritten"
    body_graph.name += "_rewritten"
    op.attrs["cond"] = create_new_tf_function(cond_graph)
    op.attrs["body"] = create_new_tf_function(body_graph)
    op.attrs["T"] = body_graph.output_types
    op.attrs["output_shapes"] = body_graph.output_shapes
    op._add_inputs(grad_graph.empty_tensor_lists)
    new = body_graph.outputs[before:]
    op._add_outputs([x.dtype for x in new], [x.static_shape for x in new])
    for inside, outside in zip(new, op.outputs[before:], strict=True):
        copy_handle_data(inside, outside)


def _resolve(grad_graph: WhileBodyGradFuncGraph, body_graph: FuncGraph, op: Operation) -> list[Tensor]:
    """What the gradient's body takes in, as tensors of the graph that the loop is in."""
    results = dict(zip(reversed(body_graph.outputs), reversed(op.outputs), strict=True))
    return [results[x] if x.graph is body_graph else x for x in grad_graph.external_captures]


def _structured(outputs: list[Tensor], grads: Sequence[Any], grad_graph: FuncGraph) -> list[Any]:
    """What the node gives as gradients; None where none came in."""
    found: list[Any] = []
    flat = iter(outputs[_OWN:])
    structured = iter(grad_graph.structured_outputs[_OWN:])
    for g in grads:
        if g is None:
            found.append(None)
        elif isinstance(next(structured), IndexedSlices):
            found.append(IndexedSlices(next(flat), next(flat), next(flat)))
        else:
            found.append(next(flat))
    return found


class WhileBodyGradFuncGraph(WhileBodyFuncGraph):
    """The gradient of a loop's body.

    Of the forward body's values it takes: what stays the same, as it is; constants, which are made again; handles,
    from outside; all else from the end of the list that the forward loop is made to keep.

    Attributes:
      empty_tensor_lists: what the new lists of the forward loop start with.
      popped_tensor_lists: by placeholder of a list, what is left of it after the round.
      invariant: tensors of the forward body that go round as they are.
    """

    def __init__(
        self, name: str, cond_graph: FuncGraph, forward_graph: FuncGraph, maximum_iterations: Tensor
    ) -> None:
        super().__init__(name)
        self.empty_tensor_lists: list[Tensor] = []
        self.popped_tensor_lists: dict[Tensor, Tensor] = {}
        self.invariant: set[Tensor] = set()
        self.forward_graph = forward_graph
        self._cond_graph = cond_graph
        self._maximum_iterations = maximum_iterations
        self._indirect: dict[Tensor, Tensor] = {}

    def capture(self, tensor: Tensor, name: str | None = None, whitelisted: bool = False) -> Tensor:
        """What stands here for ``tensor``, which must be of the forward body unless ``whitelisted``.

        Raises:
          ValueError: it is of another graph.
        """
        if not whitelisted and tensor.graph is not self and tensor.graph is not self.forward_graph:
            where = tensor.graph.name if isinstance(tensor.graph, FuncGraph) else "Base"
            raise ValueError(
                f"Attempting to capture tensor {tensor} which is not in the forward graph but in {where}."
            )
        return super().capture(tensor, name)

    def _captured_as(self, tensor: Tensor, name: str) -> Tensor:
        if tensor.graph is not self.forward_graph:
            return super()._captured_as(tensor, name)
        while tensor.op.type == "Identity":
            tensor = tensor.op.inputs[0]
        found = self._indirect.get(tensor)
        if found is None:
            found = self._indirect[tensor] = self._taken(tensor, name)
        return found

    def _taken(self, tensor: Tensor, name: str) -> Tensor:
        forward = self.forward_graph
        if tensor in forward.inputs and tensor in forward.outputs:
            found = super()._captured_as(tensor, name)
            self.popped_tensor_lists[found] = found
            return found
        if tensor.op.type == "Const":
            return constant(tensor_util.constant_value(tensor), dtype=tensor.dtype)
        if tensor.dtype is dtypes.resource:
            return self._handle(tensor)
        accumulator = accumulator_of(tensor, forward)
        if accumulator is None:
            accumulator = self._accumulate(tensor)
        placeholder = super()._captured_as(accumulator, name)
        popped: tuple[Tensor, Tensor] = list_ops.tensor_list_pop_back(placeholder, element_dtype=tensor.dtype)
        self.popped_tensor_lists[placeholder] = popped[0]
        return popped[1]

    def _handle(self, tensor: Tensor) -> Tensor:
        """A handle, which must go round the forward loop as it is."""
        index = resource_input_index(tensor, self.forward_graph)
        if self.forward_graph.inputs[index] is not self.forward_graph.outputs[index]:
            raise ValueError(f"Resource tensors must be loop invariants {tensor}.")
        return super()._captured_as(self.forward_graph.inputs[index], tensor.op.name)

    def _accumulate(self, tensor: Tensor) -> Tensor:
        """Lets the forward body keep all values of ``tensor``; returns the list as its output."""
        forward = self.forward_graph
        name = f"{tensor.name}/accumulator".replace(":", "_")
        # Without control inputs, which may depend on the loop itself.
        with forward.outer_graph.as_default(), control_dependencies(None):
            empty = list_ops.empty_tensor_list(
                element_dtype=tensor.dtype,
                element_shape=tensor.shape,
                max_num_elements=self._maximum_iterations,
                name=name,
            )
        self.empty_tensor_lists.append(empty)
        with forward.as_default():
            pushed: Tensor = list_ops.tensor_list_push_back(empty, tensor)
        forward.outputs.append(pushed)
        with self._cond_graph.as_default():
            self._cond_graph.capture(empty)
        return pushed
