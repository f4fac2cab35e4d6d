"""What the gradient of loops needs: for each loop one that runs its rounds backwards, and what it kept of them.

Values that a round of the gradient's loop needs from the same round of the forward loop are pushed onto a stack
there and popped from it here.

Source: tensorflow/python/ops/control_flow_state.py (1.15).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kvarn import dtypes
from kvarn.graph import control_flow_util as util
from kvarn.graph import tensor_util
from kvarn.graph.convert import constant
from kvarn.graph.graph import colocate_with, control_dependencies, get_default_graph
from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor
from kvarn.ops import array
from kvarn.ops.control import control_trigger
from kvarn.ops.control_flow_values import next_iteration, no_rows, switch_ref_or_tensor
from kvarn.ops.stacks import stack_pop_v2, stack_push_v2, stack_v2


class GradLoopState:
    """A loop and that of its gradient.

    Args:
      forward_ctxt: the loop.
      outer_grad_state: the state of the loop around it that the gradient goes through, if there is one.

    Attributes:
      forward_context: the loop.
      forward_index: its counter's value for the next round.
      grad_context: the loop of the gradient.
      grad_index: its counter's value for the next round.
      history_map: by name of a tensor of the loop, what stands for it in the gradient's loop.
      switch_map: by Switch of the loop, the Merge of the gradient that belongs to it.
      unused_exits: exits that no gradient comes from.
      deferred_exits: exits that wait until all exits have been met.
      forward_loop_exits: all exits that the loop had before the gradient.
      pending_exits_count: how many of these have not been met.
    """

    def __init__(self, forward_ctxt: Any, outer_grad_state: GradLoopState | None) -> None:
        self.outer_grad_state = outer_grad_state
        self.forward_context = forward_ctxt
        self.history_map: dict[str, Tensor] = {}
        self.switch_map: dict[Operation, Tensor] = {}
        self.unused_exits: list[Tensor] = []
        self.deferred_exits: list[Tensor] = []
        self.forward_loop_exits: list[Tensor] = list(forward_ctxt.loop_exits)
        self.pending_exits_count = len(self.forward_loop_exits)
        self._forward_sync: Operation | None = None
        self._grad_sync: Operation | None = None

        around = forward_ctxt.outer_context if outer_grad_state is None else outer_grad_state.forward_context
        with forward_ctxt._graph.as_default():
            if around is not None:
                around.Enter()
            count, self.forward_index = forward_ctxt.AddForwardLoopCounter(outer_grad_state)
            if around is not None:
                around.Exit()
        if outer_grad_state is None:
            if around is not None:
                around.Enter()
            self.grad_context = self._new_context()
        else:
            # How many rounds there were each time that the loop ran.
            around.AddName(count.name)
            history = outer_grad_state.AddForwardAccumulator(count)
            around = outer_grad_state.grad_context
            around.Enter()
            self.grad_context = self._new_context()
            count = outer_grad_state.AddBackpropAccumulatedValue(history, count)
        self.grad_index = self.grad_context.AddBackpropLoopCounter(count, outer_grad_state)
        if around is not None:
            around.Exit()

    def _new_context(self) -> Any:
        forward = self.forward_context
        return type(forward)(
            maximum_iterations=forward.maximum_iterations,
            parallel_iterations=forward.parallel_iterations,
            back_prop=forward.back_prop,
            swap_memory=forward.swap_memory,
            name=forward.name,
            grad_state=self,
        )

    @property
    def forward_sync(self) -> Operation:
        """What pushes on branches of conditionals come before: the end of the loop's round."""
        if self._forward_sync is None:
            with control_dependencies(None):
                self._forward_sync = sync = control_trigger(name="f_sync")
            sync._set_control_flow_context(self.forward_context)
            self.forward_index.op._add_control_input(sync)
        return self._forward_sync

    @property
    def grad_sync(self) -> Operation:
        """What all pops come before: the end of the gradient's round."""
        if self._grad_sync is None:
            with control_dependencies(None):
                self._grad_sync = sync = control_trigger(name="b_sync")
            sync._set_control_flow_context(self.grad_context)
            self.grad_index.op._add_control_input(sync)
            if self.grad_context.outer_context is not None:
                self.grad_context.outer_context.AddInnerOp(sync)
        return self._grad_sync

    def AddForwardAccumulator(self, value: Tensor, dead_branch: bool = False) -> Tensor:
        """Lets the loop push ``value`` onto a stack in each round.

        Args:
          value: of the loop, or of a branch of a conditional inside.
          dead_branch: ``value`` belongs to the branch that the gradient does not come from.

        Returns:
          The stack.

        Raises:
          TypeError: ``value`` is in another loop.
        """
        with self.forward_index.graph.as_default():
            current = get_default_graph()._get_control_flow_context()
            with control_dependencies(None):
                if current is not None:
                    current.Enter()
                with colocate_with(value):
                    size = constant(-1, dtypes.int32)
                    stack: Tensor = stack_v2(max_size=size, elem_type=value.dtype.base_dtype, name="f_acc")
                if current is not None:
                    current.Exit()
                entered = self.forward_context.AddValue(stack)
                context = util.GetOutputContext(value.op)
                if context is self.forward_context:
                    push = self._push_in(context, entered, value)
                    self.forward_index.op._add_control_input(push)
                else:
                    if context is None or not context.IsCondContext():
                        raise TypeError(f"value_ctxt is not a CondContext: {context}")
                    if dead_branch:
                        push = self._push_in(context.outer_context, entered, value)
                        push._set_control_flow_context(context)
                    else:
                        push = self._push_in(context, entered, value)
                    self.forward_sync._add_control_input(push)
                # A push comes after the counter of its round, and before that of the next.
                push._add_control_input(self.forward_index.op.inputs[0].op)
                return stack

    def _push_in(self, context: Any, stack: Tensor, value: Tensor) -> Operation:
        context.Enter()
        push = stack_push_v2(stack, value, swap_memory=self.forward_context.swap_memory).op
        context.Exit()
        found: Operation = push
        return found

    def AddBackpropAccumulatedValue(
        self, history_value: Tensor, value: Tensor, dead_branch: bool = False
    ) -> Tensor:
        """What `AddForwardAccumulator` has pushed of ``value`` onto ``history_value`` in the same round."""
        branch = self._branch_of(history_value, value)
        with control_dependencies(None):
            self.grad_context.Enter()
            if branch is not None:
                pred, state = None, self
                while pred is None and state is not None:
                    pred = state.history_map.get(branch.pred.name)
                    state = state.outer_grad_state  # type: ignore[assignment]
                side = 1 - branch.branch if dead_branch else branch.branch
                history_value = switch_ref_or_tensor(history_value, branch.pred if pred is None else pred)[
                    side
                ]
            pop: Tensor = stack_pop_v2(history_value, elem_type=value.dtype.base_dtype)
            pop.set_shape(value.get_shape())
            self.grad_context.Exit()
        if self.grad_context.parallel_iterations > 1:
            self.grad_sync._add_control_input(pop.op)
        return pop

    @staticmethod
    def _branch_of(history_value: Tensor, value: Tensor) -> Any:
        """The branch of a conditional that ``value`` is on, inside of where its stack is; or None."""
        outside = history_value.op._get_control_flow_context()
        context = value.op._get_control_flow_context()
        while context is not None and context is not outside:
            if context.IsCondContext():
                return context
            context = context.outer_context
        return None

    def GetRealValue(self, value: Tensor) -> Tensor:
        """What stands in the gradient's loop for ``value``, a tensor of the forward loop."""
        found = self.history_map.get(value.name)
        if found is None:
            found = self.history_map[value.name] = self._real_value(value)
        return found

    def _real_value(self, value: Tensor) -> Tensor:
        state: GradLoopState = self
        while (entered := util.GetLoopConstantEnter(value)) is not None:
            # It is the same in all rounds: what matters is where it comes from.
            value = entered.inputs[0]
            if state.outer_grad_state is None:
                outside: Tensor = self.grad_context.AddValue(value)
                return outside
            state = state.outer_grad_state
        if value.op.type == "Const":
            return constant(tensor_util.constant_value(value), dtype=value.dtype)
        self.grad_context.Exit()
        history = state.AddForwardAccumulator(value)
        self.grad_context.Enter()
        found = state.AddBackpropAccumulatedValue(history, value)
        if state is not self:
            found = self.grad_context.AddValue(found)
        return found


class ControlFlowState:
    """The loops that one walk of `kvarn.graph.gradients` goes through."""

    def __init__(self) -> None:
        self._map: dict[Any, GradLoopState] = {}

    def GetGradState(self, op: Operation, before: bool) -> GradLoopState | None:
        """The state of the loop that ``op`` is in; with ``before`` an Exit counts as outside of its loop."""
        loop = util.GetWhileContext(op)
        if before and util.IsLoopExit(op):
            around = op._get_control_flow_context().outer_context
            loop = None if around is None else around.GetWhileContext()
        return None if loop is None else self._map.get(loop)

    def EnterGradWhileContext(self, op: Operation, before: bool) -> None:
        """Operations built from now on are in the gradient's loop for ``op``."""
        state = self.GetGradState(op, before)
        if state is not None:
            state.grad_context.Enter()

    def ExitGradWhileContext(self, op: Operation, before: bool) -> None:
        """The end of `EnterGradWhileContext`."""
        state = self.GetGradState(op, before)
        if state is not None:
            state.grad_context.Exit()

    def AddWhileContext(
        self, op: Operation, between_op_list: list[Operation], between_ops: set[Operation]
    ) -> None:
        """Makes the state of the loop that ``op``, an Exit, comes out of; all its exits are added to both."""
        loop = util.GetWhileContext(op)
        if loop is None or loop in self._map:
            return
        state = self._map[loop] = GradLoopState(loop, self._outer(loop))
        for left in state.forward_loop_exits:
            if left.op not in between_ops:
                between_ops.add(left.op)
                between_op_list.append(left.op)

    def _outer(self, loop: Any) -> GradLoopState | None:
        around = loop.outer_context
        around = None if around is None else around.GetWhileContext()
        return None if around is None else self._map.get(around)

    def ProcessUnusedLoopExits(self, pending_count: Any, to_ops: Iterable[Operation]) -> list[Tensor]:
        """The exits that no gradient comes from although it goes through their loops.

        Args:
          pending_count: how many gradients each operation waits for; Enters get one if they had none.
          to_ops: the operations that gradients are taken of.
        """
        to_ops = set(to_ops)
        found: list[Tensor] = []
        for state in self._map.values():
            for left in state.forward_loop_exits:
                if pending_count[left.op] == 0:
                    state.pending_exits_count -= 1
                    if left.op not in to_ops:
                        state.unused_exits.append(left)
                    if state.pending_exits_count == 0:
                        found.extend(state.unused_exits)
            for entered in state.forward_context.loop_enters:
                if pending_count[entered.op] == 0:
                    pending_count[entered.op] = 1
        return found

    def ZerosLikeForExit(self, val: Tensor) -> Tensor:
        """Zeros for the gradient of ``val``, an Exit that nothing depends on."""
        loop = val.op._get_control_flow_context()
        outer = self._outer(loop)
        shape = val.get_shape()
        if outer is None:
            if shape.is_fully_defined():
                return array.zeros(shape, val.dtype)
            return array.zeros_like(val, optimize=False)
        if not shape.is_fully_defined():
            loop.outer_context.Enter()
            measured = array.shape_internal(val, optimize=False)
            loop.outer_context.Exit()
            history = outer.AddForwardAccumulator(measured)
        outer.grad_context.Enter()
        result = array.zeros(
            shape if shape.is_fully_defined() else outer.AddBackpropAccumulatedValue(history, measured),
            val.dtype,
        )
        outer.grad_context.Exit()
        return result

    def ZerosLike(self, op: Operation, index: int) -> Any:
        """Zeros like an output of ``op``, built in the gradient's loop if ``op`` is in a loop.

        Returns None for the Switch of a loop, which needs none.
        """
        from kvarn.graph.gradients import zeros_like_outside_loop

        if util.IsLoopSwitch(op):
            return None
        loop = util.GetWhileContext(op)
        state = None if loop is None else self._map.get(loop)
        if state is None:
            return zeros_like_outside_loop(op, index)
        context, value = op._get_control_flow_context(), op.outputs[index]
        dead_branch = util.IsSwitch(op)
        shape = value.get_shape()
        empty = no_rows(value) if value.dtype is dtypes.resource else None
        if empty is not None or shape.is_fully_defined():
            result: Any = empty or constant(0, shape=shape, dtype=value.dtype)
            if dead_branch:
                pred = state.history_map.get(context.pred.name)
                result = switch_ref_or_tensor(result, pred)[1 - context.branch]
            return result
        if dead_branch:
            context.outer_context.Enter()
            other = switch_ref_or_tensor(op.inputs[0], context.pred)[1 - context.branch]
            measured = array.shape_internal(other, optimize=False)
            context.outer_context.Exit()
            other.op._set_control_flow_context(context)
            measured.op._set_control_flow_context(context)
        else:
            context.Enter()
            measured = array.shape_internal(value, optimize=False)
            context.Exit()
        state.grad_context.Exit()
        history = state.AddForwardAccumulator(measured, dead_branch)
        state.grad_context.Enter()
        return array.zeros(state.AddBackpropAccumulatedValue(history, measured, dead_branch), value.dtype)

    def PostProcessing(self) -> None:
        """Finishes the loops: where a variable's gradient does not come back, later rounds get zeros."""
        for state in self._map.values():
            for merged in state.switch_map.values():
                if merged.op.inputs[0] is not merged.op.inputs[1]:
                    continue
                start = merged.op.inputs[0]
                if start.get_shape().is_fully_defined():
                    state.grad_context.Enter()
                    zeros = constant(0, dtype=start.dtype, shape=start.get_shape())
                else:
                    around = state.grad_context.outer_context
                    if around is not None:
                        around.Enter()
                    measured = array.shape_internal(start.op.inputs[0], optimize=False)
                    zeros = array.zeros(measured, dtype=start.dtype)
                    if around is not None:
                        around.Exit()
                    state.grad_context.Enter()
                following = next_iteration(zeros)
                state.grad_context.Exit()
                merged.op._update_input(1, following)
