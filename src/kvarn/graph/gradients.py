"""Gradients of tensors with respect to tensors, by walking the graph backwards.

Source: tensorflow/python/ops/gradients_util.py and gradients_impl.py (1.15).
"""

from __future__ import annotations

import collections
import contextlib
import enum
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph import registry
from kvarn.graph.control_flow_util import GetWhileContext, IsLoopExit, IsLoopSwitch, IsSwitch
from kvarn.graph.convert import (
    constant,
    convert_to_tensor,
    convert_to_tensor_or_indexed_slices,
    register_tensor_conversion_function,
)
from kvarn.graph.graph import Graph, get_default_graph, graph_of, name_scope
from kvarn.graph.operation import Operation
from kvarn.graph.registry import NOT_DIFFERENTIABLE
from kvarn.graph.shape_inference import merge
from kvarn.graph.tensor import IndexedSlices, Tensor

_DENSE_LIMIT = 100_000_000


class UnconnectedGradients(enum.Enum):
    """What a gradient is where nothing depends on the variable: None, or zeros."""

    NONE = "none"
    ZERO = "zero"


class AggregationMethod:
    """How gradients of several uses of a tensor are added; the results are the same here."""

    ADD_N = 0
    DEFAULT = ADD_N
    EXPERIMENTAL_TREE = 1
    EXPERIMENTAL_ACCUMULATE_N = 2


_gradient_functions: dict[str, Any] = {}


class RegisterGradient:
    """Decorator that registers the gradient function of an op type, or of a name that
    `Graph.gradient_override_map` refers to.

    The function takes the Operation and one incoming gradient for each output, and returns one gradient
    (or None) for each input.

    Raises:
      TypeError: the name is no string.
      KeyError: the name has a gradient.
    """

    def __init__(self, op_type: str) -> None:
        if not isinstance(op_type, str):
            raise TypeError("op_type must be a string")
        self._op_type = op_type

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        _register(self._op_type, f)
        return f


def no_gradient(op_type: str) -> None:
    """Declares that ``op_type`` has no gradient, so that the walk stops there without an error."""
    if not isinstance(op_type, str):
        raise TypeError("op_type must be a string")
    _register(op_type, NOT_DIFFERENTIABLE)


def _register(name: str, function: Any) -> None:
    if name in _gradient_functions:
        raise KeyError(f"Registering two gradient with name '{name}'!")
    _gradient_functions[name] = function


def get_gradient_function(op: Operation) -> Any:
    """The gradient function of an operation; None where it is declared to have none.

    Raises:
      LookupError: nothing is known of the gradient of its type.
    """
    if not op._inputs:
        return None
    name = op._gradient_op_type or op.type
    function = _gradient_functions.get(name)
    if function is None and op._gradient_op_type is None:
        function = op.registration.grad
    if function is None and op._gradient_op_type is not None:
        data = registry.global_registry.find(name)
        function = data.grad if data is not None else None
    if function is None:
        raise LookupError(f"gradient registry has no entry for: {name}")
    return None if function is NOT_DIFFERENTIABLE else function


def gradients(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    name: str = "gradients",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False,
    aggregation_method: int | None = None,
    stop_gradients: Any = None,
    unconnected_gradients: Any = UnconnectedGradients.NONE,
) -> list[Any]:
    """The sum over ``ys`` of the derivatives with respect to each of ``xs``.

    Args:
      ys, xs: tensors or lists of them; variables may be among ``xs``.
      grad_ys: initial gradients of the ``ys``, ones by default; None for single items likewise.
      stop_gradients: tensors to be taken as constants.
      aggregation_method: one of `AggregationMethod`; AddN sums in any case.
      unconnected_gradients: what to give for an ``x`` that no ``y`` depends on.

    Returns:
      One Tensor, IndexedSlices or None for each of ``xs``.

    Raises:
      LookupError: an operation between has no registered gradient.
      ValueError: arguments that do not fit each other.
    """
    return gradients_helper(
        ys,
        xs,
        grad_ys,
        name,
        colocate_gradients_with_ops,
        gate_gradients,
        aggregation_method,
        stop_gradients,
        unconnected_gradients,
    )


def gradients_helper(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    name: str = "gradients",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False,
    aggregation_method: int | None = None,
    stop_gradients: Any = None,
    unconnected_gradients: Any = UnconnectedGradients.NONE,
    src_graph: Graph | None = None,
) -> list[Any]:
    """`gradients`, also of what is in another graph.

    Args:
      src_graph: the graph of ``ys`` and ``xs``, if the gradients are to be built in the default graph all the same:
        that of a function's body, which takes in what it needs.
    """
    ys, xs = _as_list(ys), _as_list(xs)
    stop = _as_list(stop_gradients) if stop_gradients is not None else []
    grads: list[Any] = [None] * len(ys) if grad_ys is None else _as_list(grad_ys)
    if len(grads) != len(ys):
        raise ValueError(f"Passed {len(grads)} grad_ys for {len(ys)} ys")
    if aggregation_method not in (None, 0, 1, 2):
        raise ValueError(f"Invalid aggregation_method specified {aggregation_method}.")
    try:
        unconnected = UnconnectedGradients(unconnected_gradients)
    except ValueError:
        raise ValueError(f"Unknown value for unconnected_gradients: {unconnected_gradients!r}") from None
    source: Graph = _graph_of_all(ys, xs) if src_graph is None else src_graph
    with (
        source.as_default() if src_graph is None else contextlib.nullcontext(),
        name_scope(name, "gradients"),
    ):
        ys = [convert_to_tensor_or_indexed_slices(y, name="y") for y in ys]
        ys = [y.values if isinstance(y, IndexedSlices) else y for y in ys]
        xs = [_differentiable(x) for x in xs]
        stop = [_differentiable(x) for x in stop]
        seeds = []
        for i, (y, g) in enumerate(zip(ys, grads, strict=True)):
            with _maybe_colocate(source, y.op, colocate_gradients_with_ops):
                seeds.append(_seed(y, g, i))
        walk = _Walk(ys, xs, stop, colocate_gradients_with_ops, gate_gradients, source)
        found = walk.run(seeds)
        if unconnected is UnconnectedGradients.ZERO:
            found = [_zeros_like(x) if g is None else g for x, g in zip(xs, found, strict=True)]
        return found


def _as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) else [x]


def _graph_of_all(ys: list[Any], xs: list[Any]) -> Graph:
    return graph_of([*ys, *xs])


def _differentiable(x: Any) -> Tensor:
    """The tensor that gradients of ``x`` are taken with respect to: the handle of a resource variable."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, IndexedSlices):
        return x.values
    handle = getattr(x, "handle", None)
    if isinstance(handle, Tensor):
        return handle
    return convert_to_tensor(x, name="x", as_ref=True)


def _op(name: str, inputs: list[Tensor], attrs: dict[str, Any], node_name: str | None = None) -> Tensor:
    """Adds a node by its type: the graph stands below the modules that declare ops."""
    data = registry.look_up(name)
    if not Graph.functions_being_built:
        return get_default_graph().add_op(data, inputs, attrs, node_name).outputs[0]
    # What a function takes in for the node is named after it.
    with name_scope(node_name or name) as scope:
        return get_default_graph().add_op(data, inputs, attrs, scope).outputs[0]


def _seed(y: Tensor, grad: Any, index: int) -> Any:
    """The gradient that enters at ``y``: the one given, or ones."""
    dtype = y.dtype.base_dtype
    if grad is None:
        if y.dtype.is_complex:
            raise TypeError(f"Gradients of complex tensors must set grad_ys (y.dtype = {y.dtype!r})")
        if y._shape is not None and None not in y._shape:
            shape = constant(list(y._shape), dtypes.int32, name="Shape")
        else:
            shape = _op("Shape", [y], {"T": dtype, "out_type": dtypes.int32})
        one = constant(np.ones((), dtype.np), dtype=dtype, name=f"grad_ys_{index}")
        return _op("Fill", [shape, one], {"T": dtype, "index_type": dtypes.int32})
    if not isinstance(grad, (Tensor, IndexedSlices)):
        grad = convert_to_tensor(grad, dtype=None if dtype.name == "resource" else dtype)
    real = y.dtype.is_floating or y.dtype.is_integer
    fits = (grad.dtype.is_floating or grad.dtype.is_integer) if real else True
    if y.dtype.is_complex and not grad.dtype.is_complex:
        fits = False
    if not fits:
        kind = "real or integer" if real else "complex"
        raise TypeError(
            f"Gradient type {grad.dtype.name} generated for {kind}-valued tensor {y} with type {y.dtype.name} must "
            f"be {kind}"
        )
    if isinstance(grad, IndexedSlices):
        return IndexedSlices(
            _identity(grad.values, f"grad_ys_{index}_values"),
            _identity(grad.indices, f"grad_ys_{index}_indices"),
            grad.dense_shape,
        )
    return _identity(grad, f"grad_ys_{index}")


def _identity(x: Tensor, name: str) -> Tensor:
    return _op("Identity", [x], {"T": x.dtype.base_dtype}, name)


def is_trainable(tensor: Tensor) -> bool:
    """Whether gradients go through a tensor of this type."""
    dtype = tensor.dtype.base_dtype
    return dtype.is_floating or dtype.is_complex or dtype.name in ("resource", "variant")


def _maybe_colocate(graph: Graph, op: Operation, wanted: bool) -> Any:
    return graph.colocate_with(op) if wanted else contextlib.nullcontext()


class _Walk:
    """One backward walk from ``ys`` to ``xs``."""

    def __init__(
        self, ys: list[Tensor], xs: list[Tensor], stop: list[Tensor], colocate: bool, gate: bool, graph: Graph
    ) -> None:
        self.ys, self.xs, self.stop = ys, xs, stop
        self.colocate, self.gate, self.graph = colocate, gate, graph
        # The state of the loops between, if there are any.
        self.loops: Any = None
        self.originals, self.stand_ins = _captures(graph)
        self.wanted = set(xs)
        self.between, self.pending = self._count()
        self.stop_ops: set[Operation] = set()
        # Incoming gradients by operation and output: a list until they are added up.
        self.grads: dict[Operation, list[Any]] = {}

    def _count(self) -> tuple[set[Operation], dict[Operation, int]]:
        """The operations between ``xs`` and ``ys``, and from how many uses each will get a gradient."""
        from_xs: set[Operation] = set()
        stack = [x.op for x in self.xs]
        while stack:
            op = stack.pop()
            if op not in from_xs:
                from_xs.add(op)
                for out in op._outputs:
                    if is_trainable(out):
                        stack.extend(self._consumers(out))
        between: dict[Operation, None] = {}
        queue = collections.deque(y.op for y in self.ys)
        while queue:
            op = queue.popleft()
            if op in from_xs and op not in between:
                between[op] = None
                queue.extend(x.op for x in self._inputs(op))
        order, found = list(between), set(between)
        if any(IsLoopExit(op) for op in order):
            self._add_loops(order, found)
        pending: dict[Operation, int] = collections.defaultdict(int)
        for op in order:
            for x in self._inputs(op):
                if x.op in found:
                    pending[x.op] += 1
        return found, pending

    def _inputs(self, op: Operation) -> list[Tensor]:
        """What ``op`` takes in: for what stands in a function's body for something outside, that."""
        if not self.originals:
            return op._inputs
        return [x if x in self.wanted else self._original(x) for x in op._inputs]

    def _original(self, x: Tensor) -> Tensor:
        while x in self.originals:
            x = self.originals[x]
        return x

    def _consumers(self, x: Tensor) -> list[Operation]:
        found = list(x._consumers or ())
        for stand_in in self.stand_ins.get(x, ()):
            found.extend(self._consumers(stand_in))
        return found

    def _add_loops(self, order: list[Operation], found: set[Operation]) -> None:
        """Makes the loops of the gradient; all exits of a loop count as between, even those not in use.

        Raises:
          ValueError: a loop of which only the nodes are known.
        """
        for op in order:  # which grows meanwhile
            if not IsLoopExit(op):
                continue
            loop = GetWhileContext(op)
            if loop is None:
                raise ValueError(
                    f"Failed to call gradients on a while loop without properly serializing graph via MetaGraphDef: "
                    f"'{op._name}' comes out of a loop that was imported as a GraphDef."
                )
            if self.loops is None:
                self.loops = loop.new_control_flow_state()
            with self.maybe_colocate(op):
                self.loops.AddWhileContext(op, order, found)

    def maybe_colocate(self, op: Operation) -> Any:
        return _maybe_colocate(self.graph, op, self.colocate)

    def _add(self, tensor: Tensor, grad: Any) -> None:
        per_output = self.grads.get(tensor.op)
        if per_output is None:
            per_output = self.grads[tensor.op] = [[] for _ in tensor.op._outputs]
        found = per_output[tensor.value_index]
        if isinstance(found, list):
            found.append(grad)
        else:
            # The Switch of a loop is met twice: behind its Exit and behind the body.
            per_output[tensor.value_index] = grad

    @contextlib.contextmanager
    def _in_loop_of(self, op: Operation, before: bool) -> Iterator[None]:
        """Builds in the gradient's loop if ``op`` is in a loop; with ``before``, an Exit is outside."""
        if self.loops is None:
            yield
            return
        self.loops.EnterGradWhileContext(op, before)
        try:
            yield
        finally:
            self.loops.ExitGradWhileContext(op, before)

    def run(self, seeds: list[Any]) -> list[Any]:
        """The gradients of ``xs``, given those of ``ys``."""
        for y, seed in zip(self.ys, seeds, strict=True):
            self._add(y, seed)
        first = dict.fromkeys(y.op for y in self.ys if y.op in self.between and not self.pending.get(y.op))
        ready = collections.deque(first)
        if self.loops is not None:
            for left in self.loops.ProcessUnusedLoopExits(self.pending, first):
                self._add_zeros_of_exit(left)
                ready.append(left.op)
        self.stop_ops = {
            x.op for x in self.xs if not any(self.pending.get(i.op, 0) > 0 for i in self._inputs(x.op))
        } | {s.op for s in self.stop}
        while ready:
            op = ready.popleft()
            with self.maybe_colocate(op):
                with self._in_loop_of(op, before=True):
                    outputs = self.grads.get(op, [[] for _ in op._outputs])
                    self.grads[op] = out_grads = [
                        self._aggregate(g) if isinstance(g, list) else g for g in outputs
                    ]
                with self._in_loop_of(op, before=False):
                    in_grads = self._backward(op, out_grads)
                    for i, (x, g) in enumerate(zip(self._inputs(op), in_grads, strict=True)):
                        if g is not None:
                            if isinstance(g, Tensor) and x.dtype.name != "resource":
                                _check_shape(op, i, x, g)
                            self._add(x, g)
            for x in self._inputs(op):
                self._one_gradient_less(x, ready)
        if self.loops is not None:
            self.loops.PostProcessing()
        found = []
        for x in self.xs:
            grad = self.grads[x.op][x.value_index] if x.op in self.grads else None
            found.append(self._aggregate(grad) if isinstance(grad, list) else grad)
        return found

    def _add_zeros_of_exit(self, left: Tensor) -> None:
        if is_trainable(left):
            self._add(left, self.loops.ZerosLikeForExit(left))

    def _one_gradient_less(self, x: Tensor, ready: collections.deque[Operation]) -> None:
        """Notes that a use of ``x`` has given its gradient; its operation may be ready then."""
        op = x.op
        if op not in self.pending:
            return
        self.pending[op] -= 1
        left = self.pending[op]
        if self.loops is None or not (left > 0 and IsLoopSwitch(op)):
            if left != 0:
                return
            if self.loops is not None and IsLoopExit(op):
                self._exit_is_ready(x, ready)
                return
        ready.append(op)

    def _exit_is_ready(self, left: Tensor, ready: collections.deque[Operation]) -> None:
        """Exits of a loop wait for each other: without a gradient for any of them, there is no loop to run."""
        state = self.loops.GetGradState(left.op, before=False)
        state.deferred_exits.append(left)
        state.pending_exits_count -= 1
        if state.pending_exits_count:
            return
        used: list[Tensor] = []
        for y in state.deferred_exits:
            (used if self._has_gradient(y.op) else state.unused_exits).append(y)
        ready.extend(y.op for y in used)
        for y in state.unused_exits:
            if used:
                self._add_zeros_of_exit(y)
            ready.append(y.op)

    def _has_gradient(self, op: Operation) -> bool:
        return any(g is not None for grads in self.grads.get(op, ()) for g in _as_list(grads))

    def _zeros_like(self, op: Operation, index: int) -> Any:
        return zeros_like_outside_loop(op, index) if self.loops is None else self.loops.ZerosLike(op, index)

    def _backward(self, op: Operation, out_grads: list[Any]) -> list[Any]:
        nothing: list[Any] = [None] * len(op._inputs)
        has_gradient = any(g is not None for g in out_grads)
        function = None
        if has_gradient and op not in self.stop_ops:
            try:
                function = get_gradient_function(op)
            except LookupError:
                raise LookupError(
                    f"No gradient defined for operation '{op._name}' (op type: {op.type})"
                ) from None
        context = op._control_flow_context
        if (
            context is not None
            and context.IsWhileContext()
            and IsSwitch(op)
            and context is self.graph._get_control_flow_context()
        ):
            self._refuse_initial_value(op)
        if function is None:
            return nothing
        filled = [
            self._zeros_like(op, i) if g is None and is_trainable(out) else g
            for i, (out, g) in enumerate(zip(op._outputs, out_grads, strict=True))
        ]
        with name_scope(op._name + "_grad"), self.graph._original_op(op):
            given = function(op, *filled)
            in_grads = list(given) if isinstance(given, (list, tuple)) else [given]
            if len(in_grads) != len(op._inputs):
                raise ValueError(
                    f"Num gradients {len(in_grads)} generated for op {op._name} ({op.type}) do not match num inputs "
                    f"{len(op._inputs)}"
                )
            if self.gate and sum(g is not None for g in in_grads) > 1:
                in_grads = _gated(in_grads)
        return in_grads

    def _refuse_initial_value(self, op: Operation) -> None:
        """Raises for a gradient inside of a loop with respect to what a variable of the loop starts with."""
        reached: set[Operation] = set()
        queue = collections.deque([op])
        targets = {x.op for x in self.xs}
        while queue:
            source = queue.popleft()
            if source in targets:
                raise ValueError(
                    "Cannot compute gradient inside while loop with respect to op "
                    f"'{source._name}'. We do not support taking the gradient wrt or through the initial value of a "
                    "loop variable. Gradients can be computed through loop invariants or wrt the input parameters to "
                    "the loop body."
                )
            if source not in reached:
                reached.add(source)
                queue.extend(x.op for x in source._inputs)

    def _aggregate(self, grads: list[Any]) -> Any:
        """The sum of gradients of one tensor; IndexedSlices stay sparse when all are."""
        grads = [g for g in grads if g is not None]
        if not grads:
            return None
        if len(grads) == 1:
            return grads[0]
        if all(isinstance(g, IndexedSlices) for g in grads):
            return _aggregate_indexed_slices(grads)
        with name_scope("AddN") as scope:
            dense = [
                to_dense(g, f"inputs_{i}") if isinstance(g, IndexedSlices) else g for i, g in enumerate(grads)
            ]
            with get_default_graph().colocate_with(dense[0].op, ignore_existing=True):
                return _op("AddN", dense, {"N": len(dense), "T": dense[0].dtype.base_dtype}, scope)


def _captures(graph: Graph) -> tuple[dict[Tensor, Tensor], dict[Tensor, list[Tensor]]]:
    """What stands in a function's body, and in those around it, for tensors outside; and the other way round."""
    originals: dict[Tensor, Tensor] = {}
    stand_ins: dict[Tensor, list[Tensor]] = {}
    around: Graph | None = graph
    while around is not None:
        for outside, inside in around._captured.items():
            if inside.op.type == "Placeholder":
                originals[inside] = outside
                stand_ins.setdefault(outside, []).append(inside)
        around = around._outer_graph
    return originals, stand_ins


def _check_shape(op: Operation, index: int, x: Tensor, grad: Tensor) -> None:
    try:
        grad._shape = merge(grad._shape, x._shape)
    except ValueError:
        raise ValueError(
            f"Incompatible shapes between op input and calculated input gradient. Forward operation: {op._name}. "
            f"Input index: {index}. Original input shape: {x._shape}. Calculated input gradient shape: {grad._shape}"
        ) from None


def _gated(grads: list[Any]) -> list[Any]:
    """``grads`` behind identities that wait for all of them; the nodes are those of `tf.tuple`."""
    graph = get_default_graph()
    gates = sorted({g.op for g in grads if g is not None}, key=lambda op: op._id)
    with graph.colocate_with(None, ignore_existing=True), graph.device(None), graph.name_scope("tuple"):
        with graph.control_dependencies(gates):
            gate = graph.add_op(registry.look_up("NoOp"), [], {}, "group_deps")

        def behind(t: Tensor) -> Tensor:
            with graph.colocate_with(t), graph.control_dependencies([gate]):
                return _op("Identity", [t], {"T": t.dtype.base_dtype}, "control_dependency")

        out: list[Any] = []
        for g in grads:
            if isinstance(g, IndexedSlices):
                out.append(IndexedSlices(behind(g.values), g.indices, g.dense_shape))
            else:
                out.append(None if g is None else behind(g))
        return out


def _aggregate_indexed_slices(grads: list[IndexedSlices]) -> IndexedSlices:
    """One IndexedSlices with the rows of all; rows of equal indices are left for the optimizer to sum."""
    indices = [g.indices for g in grads]
    if len({i.dtype.base_dtype for i in indices}) > 1:
        indices = [
            i
            if i.dtype.base_dtype is dtypes.int64
            else _op("Cast", [i], {"SrcT": i.dtype.base_dtype, "DstT": dtypes.int64, "Truncate": False})
            for i in indices
        ]
    return IndexedSlices(_concat([g.values for g in grads]), _concat(indices), grads[0].dense_shape)


def _concat(tensors: list[Tensor]) -> Tensor:
    with name_scope("concat") as scope:
        axis = constant(0, dtypes.int32, name="axis")
        attrs = {"N": len(tensors), "T": tensors[0].dtype.base_dtype, "Tidx": dtypes.int32}
        return _op("ConcatV2", [*tensors, axis], attrs, scope)


def to_dense(slices: IndexedSlices, name: str | None = None) -> Tensor:
    """The whole tensor that IndexedSlices stand for.

    Raises:
      ValueError: its dense shape is not known.
    """
    from kvarn.graph import tensor_util

    if slices.dense_shape is None:
        raise ValueError(f"Tensor conversion requested for IndexedSlices without dense_shape: {slices}")
    shape = tensor_util.constant_value(slices.dense_shape)
    if shape is not None and int(np.prod(shape, dtype=np.int64)) >= _DENSE_LIMIT:
        warnings.warn(
            f"Converting sparse IndexedSlices to a dense Tensor with {int(np.prod(shape))} elements. "
            "This may consume a large amount of memory.",
            stacklevel=2,
        )
    rows: Tensor = slices.dense_shape[0]
    return _op(
        "UnsortedSegmentSum",
        [slices.values, slices.indices, rows],
        {
            "T": slices.values.dtype.base_dtype,
            "Tindices": slices.indices.dtype.base_dtype,
            "Tnumsegments": rows.dtype.base_dtype,
        },
        name,
    )


def zeros_like_outside_loop(op: Operation, index: int) -> Any:
    """Zeros like an output of ``op``, for a gradient that nothing depends on; made only where they are needed
    if ``op`` is the Switch of a conditional.

    Source: `ZerosLikeOutsideLoop` of tensorflow/python/ops/control_flow_state.py (1.15).
    """
    context = op._control_flow_context
    if IsSwitch(op) and context is not None and context.IsCondContext():
        return context.zeros_like(op, index)
    return _zeros_like(op._outputs[index])


def _zeros_like(tensor: Tensor) -> Any:
    if tensor.dtype.name == "resource":
        shape = _op("VariableShape", [tensor], {"out_type": dtypes.int32})
        zero = constant(np.zeros((), np.float32), name="zeros/Const")
        return _op("Fill", [shape, zero], {"T": dtypes.float32, "index_type": dtypes.int32}, "zeros")
    return _op("ZerosLike", [tensor], {"T": tensor.dtype.base_dtype}, "zeros_like")


def _indexed_slices_conversion(
    value: IndexedSlices, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    if dtype is not None and not dtype.is_compatible_with(value.dtype):
        raise ValueError(
            f"Tensor conversion requested dtype {dtype.name} for IndexedSlices with dtype {value.dtype.name}"
        )
    return to_dense(value, name)


register_tensor_conversion_function(IndexedSlices, _indexed_slices_conversion)
