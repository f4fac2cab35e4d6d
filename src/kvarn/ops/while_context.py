"""The context of a loop: how it is built, and how the loop of its gradient is.

Source: tensorflow/python/ops/control_flow_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn import dtypes, protos
from kvarn.graph import control_flow_util as util
from kvarn.graph import nest
from kvarn.graph.convert import constant, convert_to_tensor, convert_to_tensor_or_indexed_slices
from kvarn.graph.graph import GraphKeys, control_dependencies, get_default_graph
from kvarn.graph.operation import Operation
from kvarn.graph.proto_functions import prepend_name_scope, register_proto_function, strip_name_scope
from kvarn.graph.tensor import IndexedSlices, SparseTensor, Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.graph.tensor_spec import TensorSpec
from kvarn.graph.type_spec import TypeSpec
from kvarn.ops import array, comparison, control_flow, joining, math
from kvarn.ops.control import identity_of
from kvarn.ops.control_flow_context import ControlFlowContext
from kvarn.ops.control_flow_state import ControlFlowState
from kvarn.ops.control_flow_values import (
    enter,
    exit,
    merge,
    next_iteration,
    no_rows,
    switch,
    switch_ref_or_tensor,
)
from kvarn.ops.tensor_array import arrays_of, flow_of


class WhileContext(ControlFlowContext):
    """A loop.

    Args:
      maximum_iterations: a scalar, or None; the condition of the loop sees to it.
      parallel_iterations: how many rounds TensorFlow may run at once; here they run one after the other.
      back_prop: whether gradients go through the loop.
      swap_memory: kept for graphs that are written.
      grad_state: the `GradLoopState` that this is the gradient's loop of.
      context_def: a WhileContextDef message to make it of, in place of the others.

    Raises:
      ValueError: ``parallel_iterations`` is no positive integer.
    """

    def __init__(
        self,
        maximum_iterations: Tensor | None = None,
        parallel_iterations: int = 10,
        back_prop: bool = True,
        swap_memory: bool = False,
        name: str = "while_context",
        grad_state: Any = None,
        context_def: Any = None,
        import_scope: str | None = None,
    ) -> None:
        self._grad_state = grad_state
        self._graph = get_default_graph()
        if context_def is not None:
            self._init_from_proto(context_def, import_scope)
            return
        super().__init__()
        if not isinstance(parallel_iterations, int) or parallel_iterations <= 0:
            raise ValueError(f"`parallel_iterations` must be a positive integer: {parallel_iterations}")
        self._name = self._graph.unique_name(name)
        self._maximum_iterations = maximum_iterations
        self._parallel_iterations = parallel_iterations
        self._back_prop = back_prop
        self._swap_memory = swap_memory
        # What operations without inputs wait for: those of the condition, and those of the body.
        self._pivot_for_pred: Tensor | None = None
        self._pivot_for_body: Tensor | None = None
        # Whether there is another round.
        self._pivot: Tensor | None = None
        self._loop_exits: list[Tensor] = []
        self._loop_enters: list[Tensor] = []

    def _init_from_proto(self, context_def: Any, import_scope: str | None) -> None:
        def found(name: str) -> Any:
            return self._graph.as_graph_element(prepend_name_scope(name, import_scope))

        self._name = prepend_name_scope(context_def.context_name, import_scope)
        limit = context_def.maximum_iterations_name
        self._maximum_iterations = found(limit) if limit else None
        self._parallel_iterations = context_def.parallel_iterations
        self._back_prop = context_def.back_prop
        self._swap_memory = context_def.swap_memory
        self._pivot_for_pred = found(context_def.pivot_for_pred_name)
        self._pivot_for_body = found(context_def.pivot_for_body_name)
        self._pivot = found(context_def.pivot_name)
        self._loop_exits = [found(name) for name in context_def.loop_exit_names]
        self._loop_enters = [found(name) for name in context_def.loop_enter_names]
        super().__init__(context_def.values_def, import_scope)
        if import_scope:
            # The loop has another name than in the graph that was exported.
            for name in self._values - self._external_values.keys():
                op = self._graph.as_graph_element(name).op
                if util.IsLoopEnter(op):
                    op.attrs["frame_name"] = self.name.encode()

    @property
    def maximum_iterations(self) -> Tensor | None:
        """The most rounds there will be, or None."""
        return self._maximum_iterations

    @property
    def parallel_iterations(self) -> int:
        return self._parallel_iterations

    @property
    def back_prop(self) -> bool:
        return self._back_prop

    @property
    def swap_memory(self) -> bool:
        return self._swap_memory

    @property
    def pivot(self) -> Tensor | None:
        """Whether there is another round, a scalar."""
        return self._pivot

    @property
    def loop_enters(self) -> list[Tensor]:
        """Where the values that change enter."""
        return self._loop_enters

    @property
    def loop_exits(self) -> list[Tensor]:
        """Where they come out."""
        return self._loop_exits

    @property
    def grad_state(self) -> Any:
        return self._grad_state

    def GetWhileContext(self) -> Any:
        return self

    def GetControlPivot(self) -> Tensor | None:
        return self._pivot_for_pred if self._pivot_for_body is None else self._pivot_for_body

    def IsWhileContext(self) -> bool:
        return True

    @staticmethod
    def new_control_flow_state() -> ControlFlowState:
        """What one walk of `kvarn.graph.gradients` that meets loops keeps of them."""
        return ControlFlowState()

    def to_proto(self, export_scope: str | None = None) -> Any:
        if export_scope is not None and not self.name.startswith(export_scope):
            return None

        def stripped(tensor: Tensor | None) -> Any:
            assert tensor is not None
            return strip_name_scope(tensor.name, export_scope)

        message = protos.message("tensorflow.WhileContextDef")()
        message.context_name = strip_name_scope(self.name, export_scope)
        message.parallel_iterations = self._parallel_iterations
        if self._maximum_iterations is not None:
            message.maximum_iterations_name = stripped(self._maximum_iterations)
        message.back_prop = self._back_prop
        message.swap_memory = self._swap_memory
        message.pivot_for_pred_name = stripped(self._pivot_for_pred)
        message.pivot_for_body_name = stripped(self._pivot_for_body)
        message.pivot_name = stripped(self._pivot)
        message.loop_exit_names.extend(stripped(x) for x in self._loop_exits)
        message.loop_enter_names.extend(stripped(x) for x in self._loop_enters)
        message.values_def.MergeFrom(self._to_values_def(export_scope))
        self._add_nested_to(message, export_scope)
        return message

    def to_control_flow_context_def(self, context_def: Any, export_scope: str | None = None) -> None:
        context_def.while_ctxt.CopyFrom(self.to_proto(export_scope))

    @staticmethod
    def from_proto(context_def: Any, import_scope: str | None = None) -> WhileContext:
        """The context that a WhileContextDef stands for, with those inside of it."""
        context = WhileContext(context_def=context_def, import_scope=import_scope)
        context._nested_from(context_def, import_scope)
        return context

    # -- what is built inside ---------------------------------------------------------------------

    def AddValue(self, val: Tensor) -> Tensor:
        # When a loop is imported into this one, its values come round before they are known by name.
        if val.name in self._values or val.op._get_control_flow_context() is self:
            return self._external_values.get(val.name, val)
        self._values.add(val.name)
        history = self._from_forward_loop(val)
        if history is not None:
            self._external_values[val.name] = history
            return history
        result = val if self._outer_context is None else self._outer_context.AddValue(val)
        with control_dependencies(None):
            entered: Tensor = enter(
                result, self._name, is_constant=True, parallel_iterations=self._parallel_iterations
            )
            entered.graph.prevent_feeding(entered)
            if self._outer_context is not None:
                self._outer_context.AddInnerOp(entered.op)
        self._fix_control_inputs_and_context([entered])
        self._values.add(entered.name)
        self._external_values[val.name] = entered
        return entered

    def _from_forward_loop(self, val: Tensor) -> Tensor | None:
        """What the loop kept of ``val`` for each round, if the loop of its gradient is being built."""
        current = get_default_graph()._get_control_flow_context()
        loop = None if current is None else current.GetWhileContext()
        if loop is None or loop.grad_state is None:
            return None
        forward = util.GetWhileContext(val.op)
        if forward is not None and util.IsLoopExit(val.op):
            forward = forward.outer_context
            forward = None if forward is None else forward.GetWhileContext()
        if forward is not loop.grad_state.forward_context:
            return None
        kept: Tensor = loop.grad_state.GetRealValue(val)
        return kept

    def AddOp(self, op: Operation) -> None:
        # The shape of a value of the forward loop is worked out there: then only the shape has to be kept.
        if op.type in ("Shape", "Size", "Rank"):
            current = get_default_graph()._get_control_flow_context()
            loop = None if current is None else current.GetWhileContext()
            if loop is not None and loop.grad_state is not None:
                source = op.inputs[0].op
                if util.GetWhileContext(source) is loop.grad_state.forward_context:
                    context = source._get_control_flow_context()
                    op._set_control_flow_context(context)
                    context._AddOpInternal(op)
                    return
        self._AddOpInternal(op)

    def _AddOpInternal(self, op: Operation) -> None:
        if not op.inputs:
            internal, external = self._RemoveExternalControlEdges(op)
            if not internal:
                self._wait_for_pivot(op)
        else:
            for index, x in enumerate(list(op.inputs)):
                inside = self.AddValue(x)
                if inside is not x:
                    op._update_input(index, inside)
            _, external = self._RemoveExternalControlEdges(op)
            # What depends on nothing that changes must not run unless there is another round.
            if not op.control_inputs and (
                op.graph._is_function(op.type) or all(util.IsLoopConstantEnter(x.op) for x in op.inputs)
            ):
                self._wait_for_pivot(op)
        self._values.update(x.name for x in op.outputs)
        if external:
            # What was to be waited for outside is waited for by its value, which enters the loop.
            with control_dependencies(None):
                self.Enter()
                waited = [array.identity(x.outputs[0]).op for x in external if x.outputs]
                self.Exit()
            op._add_control_inputs(waited)
        if self._outer_context is not None or not util.IsLoopExit(op):
            op.graph.prevent_fetching(op)
            for x in op.outputs:
                op.graph.prevent_feeding(x)
        if self._outer_context is not None:
            self._outer_context.AddInnerOp(op)

    def _wait_for_pivot(self, op: Operation) -> None:
        pivot = self.GetControlPivot()
        assert pivot is not None
        op._add_control_input(pivot.op)

    def _fix_control_inputs_and_context(self, enters: list[Tensor]) -> None:
        """Enters belong to the loop, and wait for what may be waited for around it."""
        outer_loop = None if self._outer_context is None else self._outer_context.GetWhileContext()
        for entered in enters:
            op = entered.op
            keep = []
            for c in self._graph._control_dependencies_for_inputs([op.inputs[0].op]):
                context, around = util.GetOutputContext(c), self._outer_context
                while around is not context and around is not None and around is not outer_loop:
                    around = around.outer_context
                if around is context:
                    keep.append(c)
            op._set_control_flow_context(self)
            op._add_control_inputs(keep)
            self._graph._record_op_seen_by_control_dependencies(op)

    # -- the loop itself --------------------------------------------------------------------------

    def BuildLoop(
        self,
        pred: Callable[..., Any],
        body: Callable[..., Any],
        loop_vars: Any,
        shape_invariants: Any,
        return_same_structure: bool,
    ) -> Any:
        """Builds the loop; see `kvarn.ops.while_loop.while_loop`."""
        tensors = [convert_to_tensor_or_indexed_slices(flow_of(v)) for v in nest.flatten(loop_vars)]
        flat = nest.flatten(tensors, expand_composites=True)
        if shape_invariants is None:
            shape_invariants = [invariants_of(x) for x in tensors]
        invariants = nest.flatten(shape_invariants)
        if not all(isinstance(s, TensorShape) for s in invariants):
            raise ValueError("`shapes` must be a (possibly nested) list of shapes.")
        try:
            self.Enter()
            body_result, exits = self._build(pred, body, loop_vars, flat, invariants)
        finally:
            self.Exit()
        returned = nest.flatten(body_result, expand_composites=True)
        packed = nest.pack_sequence_as(body_result, arrays_of(returned, exits), expand_composites=True)
        return packed[0] if len(exits) == 1 and not return_same_structure else packed

    def _build(
        self,
        pred: Callable[..., Any],
        body: Callable[..., Any],
        loop_vars: Any,
        flat: list[Tensor],
        invariants: list[TensorShape],
    ) -> tuple[Any, list[Tensor]]:
        """Returns what ``body`` returned, and what comes out of the loop."""
        given = nest.flatten(loop_vars, expand_composites=True)
        enters = self._enter_all(flat, invariants)
        merges = [merge([x, x])[0] for x in enters]
        self._pivot_for_pred = merges[0]

        packed = nest.pack_sequence_as(loop_vars, arrays_of(given, merges), expand_composites=True)
        self._pivot = control_flow.loop_cond(convert_to_tensor(pred(*packed)), name="LoopCond")
        switches = [switch_ref_or_tensor(x, self._pivot) for x in merges]

        inside = [identity_of(x[1]) for x in switches]
        self._pivot_for_body = inside[0]
        packed = nest.pack_sequence_as(loop_vars, arrays_of(given, inside), expand_composites=True)
        result = body(*packed)
        if not nest.is_nested_or_composite(result):
            result = [result]
        # At the top a list is as good as a tuple: variables mostly come in a list, results in a tuple.
        nest.assert_same_structure(list(packed), list(result), expand_composites=True)
        values = [
            convert_to_tensor_or_indexed_slices(flow_of(v))
            for v in nest.flatten(result, expand_composites=True)
        ]
        for merged, value in zip(merges, values, strict=True):
            add_next_and_back_edge(merged, value)
        self._loop_exits = [exit(x[0]) for x in switches]
        self.ExitResult(self._loop_exits)
        return result, self._loop_exits

    def _enter_all(self, flat: list[Tensor], invariants: list[TensorShape]) -> list[Tensor]:
        self._values = {x.name for x in flat}
        outside = flat
        if self._outer_context is not None:
            outside = [self._outer_context.AddValue(x) for x in flat]
        with control_dependencies(None):
            enters = [
                enter(x, self._name, parallel_iterations=self._parallel_iterations, use_input_shape=False)
                for x in outside
            ]
            for x in enters:
                x.graph.prevent_feeding(x)
                if self._outer_context is not None:
                    self._outer_context.AddInnerOp(x.op)
        pivot, context = None, self._outer_context
        while context is not None and pivot is None:
            pivot, context = context.GetControlPivot(), context.outer_context
        if pivot is not None:
            for x in enters:
                if util.IsLoopConstantEnter(x.op.inputs[0].op):
                    x.op._add_control_input(pivot.op)
        for value, entered, invariant in zip(outside, enters, invariants, strict=True):
            if not _at_least_as_specific(value.get_shape(), invariant):
                raise ValueError(
                    f"The shape invariant specified for {value.name} is not compatible with the initial shape of "
                    f"the loop variable. It enters the loop with shape {value.get_shape()}, but the specified "
                    f"shape invariant is {invariant}."
                )
            entered.set_shape(invariant)
        self._fix_control_inputs_and_context(enters)
        self._values = {x.name for x in enters}
        self._loop_enters = enters
        return enters

    # -- counters and sums that the gradient adds -------------------------------------------------

    def _enter_first(self, value: Tensor, name: str, use_input_shape: bool = True) -> Tensor:
        """``value`` as the first one of a variable of this loop."""
        self.AddName(value.name)
        entered: Tensor = enter(
            value,
            self._name,
            parallel_iterations=self._parallel_iterations,
            use_input_shape=use_input_shape,
            name=name,
        )
        self._loop_enters.append(entered)
        return entered

    def _exit_with(self, value: Tensor, name: str) -> Tensor:
        left: Tensor = exit(value, name=name)
        self._loop_exits.append(left)
        return left

    def AddForwardLoopCounter(self, outer_grad_state: Any) -> tuple[Tensor, Tensor]:
        """Counts the rounds of this loop.

        Returns:
          The number of rounds, and the counter's value for the next round.
        """
        zero = constant(0, name="f_count")
        if outer_grad_state is not None:
            # Pushes of one run of an inner loop come before those of the next run.
            zero.op._add_control_input(outer_grad_state.forward_index.op.inputs[0].op)
        self.Enter()
        entered = self._enter_first(zero, "f_count")
        merged = merge([entered, entered])[0]
        switched = switch(merged, self._pivot)
        following = next_iteration(math.add(switched[1], 1))
        merged.op._update_input(1, following)
        total = self._exit_with(switched[0], "f_count")
        self.ExitResult([total])
        self.Exit()
        return total, following

    def AddBackpropLoopCounter(self, count: Tensor, outer_grad_state: Any) -> Tensor:
        """Runs this loop, that of a gradient, ``count`` rounds.

        Returns:
          The counter's value for the next round.
        """
        one = constant(1, name="b_count")
        self.Enter()
        entered = self._enter_first(count, "b_count")
        merged = merge([entered, entered])[0]
        self._pivot_for_pred = merged
        self._pivot = control_flow.loop_cond(comparison.greater_equal(merged, one), name="b_count")
        switched = switch(merged, self._pivot)
        index: Tensor = math.subtract(switched[1], one)
        self._pivot_for_body = index
        following: Tensor = next_iteration(index)
        merged.op._update_input(1, following)
        final = self._exit_with(switched[0], "b_count")
        if outer_grad_state is not None:
            # Pops of one run of an inner loop come before those of the next run.
            outer_grad_state.grad_sync._add_control_input(final.op)
        self.ExitResult([final])
        self.Exit()
        return following

    def AddBackpropAccumulator(self, op: Operation, grad: Tensor) -> Tensor:
        """Sums ``grad`` over the rounds: the gradient of ``op``, an Enter of what stays the same."""
        self.Exit()
        start = self._zeros_for(op, grad)
        self.Enter()
        entered = self._enter_first(start, "b_acc")
        merged = merge([entered, entered], name="b_acc")[0]
        done, going_on = switch(merged, self._pivot)
        merged.op._update_input(1, next_iteration(math.add(going_on, grad)))
        total = self._exit_with(done, "b_acc")
        self.ExitResult([total])
        return total

    def _zeros_for(self, op: Operation, grad: Tensor) -> Tensor:
        """Zeros like ``grad``, made outside of this loop."""
        outer = self._outer_context
        shape = grad.get_shape()
        if shape.is_fully_defined():
            with _In(outer):
                return constant(0, grad.dtype, shape=shape, name="b_acc")
        value = op.inputs[0]
        if isinstance(outer, WhileContext) and outer.grad_state is not None:
            around = self.grad_state.forward_context.outer_context
            with _In(around):
                measured = array.shape_internal(value, optimize=False)
            state = self.grad_state.outer_grad_state
            history = state.AddForwardAccumulator(measured)
            with _In(outer):
                return array.zeros(state.AddBackpropAccumulatedValue(history, measured), grad.dtype)
        with _In(outer):
            return array.zeros(array.shape_internal(value, optimize=False), grad.dtype)

    def AddBackpropIndexedSlicesAccumulator(self, op: Operation, grad: IndexedSlices) -> IndexedSlices:
        """`AddBackpropAccumulator` for IndexedSlices: rows of all rounds one after the other."""
        values, indices, dense_shape = grad.values, grad.indices, grad.dense_shape
        outer = self._outer_context
        self.Exit()
        with _In(outer):
            empty = no_rows(op.inputs[0]) if op.inputs[0].dtype is dtypes.resource else None
            if empty is None:
                row = self._row_of_zeros(op, values)
                starts = [constant([0], indices.dtype), row]
            else:
                starts = [math.cast(empty.indices, indices.dtype), empty.values]
            if dense_shape is not None:
                if dense_shape.get_shape().is_fully_defined():
                    starts.append(constant(0, dense_shape.dtype, shape=dense_shape.get_shape()))
                else:
                    measured = array.shape_internal(op.inputs[0], optimize=False, out_type=dense_shape.dtype)
                    starts.append(array.zeros_like(measured, optimize=False))
        self.Enter()
        # Rows become more with every round, so the first shapes do not hold.
        for x in starts:
            self.AddName(x.name)
        enters = [self._enter_first(x, "b_acc", use_input_shape=False) for x in starts]
        enters[0].set_shape([None])
        known = starts[1].get_shape()
        if known.dims is not None:
            enters[1].set_shape([None, *known.as_list()[1:]])
        merged = [merge([x, x], name="b_acc")[0] for x in enters]
        switched = [switch(x, self._pivot) for x in merged]
        sums = [
            joining.concat([so_far[1], x], 0)
            for so_far, x in zip(switched[:2], (indices, values), strict=True)
        ]
        if dense_shape is not None:
            sums.append(math.maximum(dense_shape, switched[2][1]))
        following = [next_iteration(x) for x in sums]
        for m, x in zip(merged, following, strict=True):
            m.op._update_input(1, x)
        exits = [self._exit_with(x[0], "b_acc") for x in switched]
        self.ExitResult(exits)
        return IndexedSlices(exits[1], exits[0], exits[2] if dense_shape is not None else None)

    def _row_of_zeros(self, op: Operation, values: Tensor) -> Tensor:
        shape = values.get_shape()
        if shape.is_fully_defined():
            return constant(0, values.dtype, shape=[1, *shape.as_list()[1:]], name="b_acc")
        source = op.inputs[0]
        if source.dtype is dtypes.resource:
            while source.op.inputs:
                source = source.op.inputs[0]
            row: Any = TensorShape(source.op.get_attr("shape"))[1:]
        else:
            row = array.shape_internal(source, optimize=False)[1:]
        return array.zeros(joining.concat([[1], row], 0), dtype=values.dtype)


class _In:
    """Builds in ``context``; None leaves things as they are."""

    def __init__(self, context: ControlFlowContext | None) -> None:
        self._context = context

    def __enter__(self) -> None:
        if self._context is not None:
            self._context.Enter()

    def __exit__(self, *unused: Any) -> None:
        if self._context is not None:
            self._context.Exit()


def add_next_and_back_edge(merged: Tensor, value: Any, enforce_shape_invariant: bool = True) -> Tensor:
    """Hands ``value`` to the next round, where ``merged`` begins it.

    Raises:
      ValueError: with ``enforce_shape_invariant``, if its shape is less specific than that of ``merged``.
    """
    following: Tensor = next_iteration(convert_to_tensor(value))
    if enforce_shape_invariant and not _at_least_as_specific(following.get_shape(), merged.get_shape()):
        source = merged.op.inputs[0].op.inputs[0]
        raise ValueError(
            f"Input tensor '{source.name}' enters the loop with shape {source.shape}, but has shape "
            f"{following.get_shape()} after one iteration. To allow the shape to vary across iterations, use the "
            "`shape_invariants` argument of tf.while_loop to specify a less-specific shape."
        )
    merged.op._update_input(1, following)
    return following


def invariants_of(value: Any, shape: Any = None) -> Any:
    """The shapes that a variable of a loop keeps in all rounds: of a tensor, or a list for a composite's tensors.

    Args:
      value: a tensor, a `TensorArray`, IndexedSlices or a SparseTensor.
      shape: what is known, by default what the static shape says: for IndexedSlices the shape of the values,
        for a SparseTensor the shape of its dense shape.  Or a TensorSpec or TypeSpec that ``value`` fits.

    Raises:
      TypeError: ``shape`` is no TensorShape where one is needed, or a TypeSpec that ``value`` does not fit.
      ValueError: ``shape`` of a SparseTensor is not that of a vector.
    """
    if isinstance(shape, TensorSpec) and isinstance(value, Tensor) and value.dtype is shape.dtype:
        return shape.shape
    if isinstance(shape, (TensorSpec, TypeSpec)):
        if isinstance(shape, TensorSpec) or not shape.is_compatible_with(value):
            raise TypeError(f"TypeSpec {shape!r} is not compatible with {value!r}")
        return [part.shape for part in nest.flatten(shape._component_specs)]
    if not isinstance(value, (IndexedSlices, SparseTensor)):
        return flow_of(value).get_shape() if shape is None else shape
    if shape is not None and not isinstance(shape, TensorShape):
        raise TypeError(f"Expected shape to be a TypeSpec or TensorShape, got {shape!r}")
    if isinstance(value, SparseTensor):
        if shape is not None and shape.ndims not in (None, 1):
            raise ValueError("Expected a shape with 1 dimension")
        rank = (value.dense_shape.shape if shape is None else shape)[0].value
        return [TensorShape([None, rank]), TensorShape([None]), TensorShape([rank])]
    if shape is None:
        rows = value.indices.get_shape()
        shape = rows.concatenate(value.shape[1:])
    else:
        rows = shape[:1]
    invariants = [shape, rows]
    if value.dense_shape is not None:
        invariants.append(TensorShape([shape.ndims]))
    return invariants


def _at_least_as_specific(shape: TensorShape, wanted: TensorShape) -> bool:
    if wanted.dims is None:
        return True
    if shape.ndims != wanted.ndims:
        return False
    pairs = zip(shape.as_list(), wanted.as_list(), strict=True)
    return all(w is None or s == w for s, w in pairs)


register_proto_function(
    GraphKeys.WHILE_CONTEXT,
    proto_type="tensorflow.WhileContextDef",
    to_proto=WhileContext.to_proto,
    from_proto=WhileContext.from_proto,
)
