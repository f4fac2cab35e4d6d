"""Contexts: what encloses an operation that is built inside of a conditional or a loop.

A context is told of every operation built in it (`AddOp`), and takes in the values that come from outside
(`AddValue`): through a Switch into a branch of a conditional, through an Enter into a loop.  Contexts have
TensorFlow's method names, since programs may come with contexts of their own.

Source: tensorflow/python/ops/control_flow_ops.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvarn import dtypes, protos
from kvarn.graph import control_flow_util as util
from kvarn.graph import nest
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import GraphKeys, control_dependencies, get_default_graph
from kvarn.graph.operation import Operation
from kvarn.graph.proto_functions import prepend_name_scope, register_proto_function, strip_name_scope
from kvarn.graph.tensor import IndexedSlices, Tensor
from kvarn.ops import array
from kvarn.ops.control import with_dependencies
from kvarn.ops.control_flow_values import no_rows, switch, switch_ref_or_tensor
from kvarn.ops.tensor_array import flow_of


class ControlFlowContext:
    """A branch of a conditional, or a loop.

    Args:
      values_def: a ValuesDef message to take the values from.
      import_scope: the scope that its names were imported into.
    """

    _name: str

    def __init__(self, values_def: Any = None, import_scope: str | None = None) -> None:
        self._nested_contexts: list[ControlFlowContext] = []
        self._outer_context: ControlFlowContext | None = get_default_graph()._get_control_flow_context()
        if self._outer_context is not None:
            self._outer_context._nested_contexts.append(self)
        self._context_stack: list[ControlFlowContext | None] = []
        # The names of tensors that the context has seen, and those from outside with what stands for them here.
        self._values: set[str] = set()
        self._external_values: dict[str, Tensor] = {}
        if values_def is not None:
            self._init_values_from_proto(values_def, import_scope)

    def _init_values_from_proto(self, values_def: Any, import_scope: str | None) -> None:
        graph = get_default_graph()
        self._values = {prepend_name_scope(name, import_scope) for name in values_def.values}
        for name, here in values_def.external_values.items():
            tensor = graph.as_graph_element(prepend_name_scope(here, import_scope))
            self._external_values[prepend_name_scope(name, import_scope)] = tensor
        for name in {v.partition(":")[0] for v in self._values - self._external_values.keys()}:
            graph.as_graph_element(name)._set_control_flow_context(self)

    @property
    def name(self) -> str:
        return self._name

    @property
    def outer_context(self) -> ControlFlowContext | None:
        """The context around this one."""
        return self._outer_context

    @property
    def grad_state(self) -> Any:
        """The `GradLoopState` of the loop that this is in, if that computes a gradient."""
        loop = self.GetWhileContext()
        return None if loop is None else loop.grad_state

    @property
    def back_prop(self) -> bool:
        """Whether gradients go through the loop that this is in."""
        loop = self.GetWhileContext()
        return loop is not None and loop.back_prop

    def to_proto(self, export_scope: str | None = None) -> Any:
        """The message that stands for the context in a meta graph; None outside of ``export_scope``."""
        raise NotImplementedError("Abstract method")

    def to_control_flow_context_def(self, context_def: Any, export_scope: str | None = None) -> None:
        """Writes the context into a ControlFlowContextDef message."""
        raise NotImplementedError("Abstract method")

    def _to_values_def(self, export_scope: str | None = None) -> Any:
        message = protos.message("tensorflow.ValuesDef")()
        message.values.extend(strip_name_scope(v, export_scope) for v in sorted(self._values))
        for name, tensor in self._external_values.items():
            message.external_values[strip_name_scope(name, export_scope)] = strip_name_scope(
                tensor.name, export_scope
            )
        return message

    def _add_nested_to(self, message: Any, export_scope: str | None) -> None:
        # TensorFlow leaves the scope in the names of nested contexts, and cannot import them.
        for nested in self._nested_contexts:
            nested.to_control_flow_context_def(message.nested_contexts.add(), export_scope)

    def _nested_from(self, message: Any, import_scope: str | None) -> None:
        self.Enter()
        for nested in message.nested_contexts:
            from_control_flow_context_def(nested, import_scope=import_scope)
        self.Exit()

    def AddName(self, name: str) -> None:
        """Makes a tensor of that name known, so that it is taken as it is."""
        self._values.add(name)

    def Enter(self) -> None:
        """Operations built from now on are in this context."""
        graph = get_default_graph()
        self._context_stack.append(graph._get_control_flow_context())
        graph._set_control_flow_context(self)

    def Exit(self) -> None:
        """Goes back to the context before `Enter`."""
        get_default_graph()._set_control_flow_context(self._context_stack.pop())

    def EnterGradientColocation(self, op: Operation, gradient_uid: Any) -> None:
        """Called where the gradient of ``op`` begins to be built; of interest to contexts of a compiler."""
        if self._outer_context is not None:
            self._outer_context.EnterGradientColocation(op, gradient_uid)

    def ExitGradientColocation(self, op: Operation, gradient_uid: Any) -> None:
        """The end of `EnterGradientColocation`."""
        if self._outer_context is not None:
            self._outer_context.ExitGradientColocation(op, gradient_uid)

    def ExitResult(self, result: Any) -> None:
        """Makes results known to the context around this one."""
        if self._outer_context is not None:
            for tensor in nest.flatten(result, expand_composites=True):
                self._outer_context.AddName(tensor.name)

    def GetWhileContext(self) -> Any:
        """The innermost loop around, this context included; or None."""
        return util.GetContainingWhileContext(self)

    def GetControlPivot(self) -> Tensor | None:
        """What operations without inputs wait for, so that they run only when the context does."""
        return None

    def IsWhileContext(self) -> bool:
        return False

    def IsCondContext(self) -> bool:
        return False

    def IsXLAContext(self) -> bool:
        return False

    def AddOp(self, op: Operation) -> None:
        """Takes an operation in that has just been built."""
        raise NotImplementedError("Abstract method")

    def AddValue(self, val: Tensor) -> Tensor:
        """What stands for ``val`` in this context."""
        raise NotImplementedError("Abstract method")

    def AddInnerOp(self, op: Operation) -> None:
        """Called for an operation that has been built in a context inside of this one."""
        if self._outer_context is not None:
            self._outer_context.AddInnerOp(op)

    def _add_to_all(self, names: list[str]) -> None:
        context: ControlFlowContext | None = self
        while context is not None:
            context._values.update(names)
            context = context._outer_context

    def _RemoveExternalControlEdges(self, op: Operation) -> tuple[list[Operation], list[Operation]]:
        """Drops what ``op`` waits for outside of its loop.

        Returns:
          The operations that it still waits for, and those that it no longer does.
        """
        loop = self.GetWhileContext()
        if loop is None:
            return op.control_inputs, []
        internal: list[Operation] = []
        external: list[Operation] = []
        for x in op.control_inputs:
            context = util.GetOutputContext(x)
            inside = context is not None and context.GetWhileContext() is loop
            (internal if inside else external).append(x)
        if external:
            op._remove_all_control_inputs()
            op._add_control_inputs(internal)
        return internal, external

    def __str__(self) -> str:
        return self.name


class CondContext(ControlFlowContext):
    """One branch of a conditional.

    Args:
      pred: the scalar that chooses.
      pivot: the same value, available only when this branch was chosen.
      branch: 1 if it is the branch of true, 0 otherwise.
      context_def: a CondContextDef message to make it of, in place of the others.
    """

    def __init__(
        self,
        pred: Tensor | None = None,
        pivot: Tensor | None = None,
        branch: int | None = None,
        name: str = "cond_text",
        context_def: Any = None,
        import_scope: str | None = None,
    ) -> None:
        self._name = get_default_graph().unique_name(name)
        if context_def is not None:
            self._init_from_proto(context_def, import_scope)
            return
        if pred is None or pivot is None or branch is None:
            raise TypeError("CondContext needs pred, pivot and branch, or context_def")
        super().__init__()
        self._pred, self._pivot, self._branch = pred, pivot, branch
        # `pred` itself is outside.
        self._values.update((pred.name, pivot.name))
        self._external_values[pred.name] = pred
        pivot.op._set_control_flow_context(self)

    def _init_from_proto(self, context_def: Any, import_scope: str | None) -> None:
        graph = get_default_graph()

        def found(name: str) -> Any:
            return graph.as_graph_element(prepend_name_scope(name, import_scope))

        self._name = prepend_name_scope(context_def.context_name, import_scope)
        self._pred, self._pivot = found(context_def.pred_name), found(context_def.pivot_name)
        self._branch = context_def.branch
        super().__init__(context_def.values_def, import_scope)

    @property
    def pred(self) -> Tensor:
        """The scalar that chooses."""
        return self._pred

    @property
    def pivot(self) -> Tensor:
        """`pred`, available only when this branch was chosen."""
        return self._pivot

    @property
    def branch(self) -> int:
        """1 if it is the branch of true, 0 otherwise."""
        return self._branch

    def GetControlPivot(self) -> Tensor | None:
        return self._pivot

    def IsCondContext(self) -> bool:
        return True

    def to_proto(self, export_scope: str | None = None) -> Any:
        if export_scope is not None and not self.name.startswith(export_scope):
            return None
        message = protos.message("tensorflow.CondContextDef")()
        message.context_name = strip_name_scope(self.name, export_scope)
        message.pred_name = strip_name_scope(self._pred.name, export_scope)
        message.pivot_name = strip_name_scope(self._pivot.name, export_scope)
        message.branch = self._branch
        message.values_def.MergeFrom(self._to_values_def(export_scope))
        self._add_nested_to(message, export_scope)
        return message

    def to_control_flow_context_def(self, context_def: Any, export_scope: str | None = None) -> None:
        context_def.cond_ctxt.CopyFrom(self.to_proto(export_scope))

    @staticmethod
    def from_proto(context_def: Any, import_scope: str | None = None) -> CondContext:
        """The context that a CondContextDef stands for, with those inside of it."""
        context = CondContext(context_def=context_def, import_scope=import_scope)
        context._nested_from(context_def, import_scope)
        return context

    def AddValue(self, val: Tensor) -> Tensor:
        if val.name in self._values:
            return self._external_values.get(val.name, val)
        result = self._from_outside(val)
        with control_dependencies(None):
            inside: Tensor = switch_ref_or_tensor(result, self._pred)[self._branch]
            if self._outer_context is not None:
                self._outer_context.AddInnerOp(inside.op)
        inside.op.graph.prevent_fetching(inside.op)
        inside.op._set_control_flow_context(self)
        self._add_to_all([inside.name])
        self._external_values[val.name] = inside
        return inside

    def _from_outside(self, val: Tensor) -> Tensor:
        """What stands for ``val`` just outside of this branch."""
        self._values.add(val.name)
        if self._outer_context is None:
            return val
        result = self._outer_context.AddValue(val)
        self._values.add(result.name)
        self._external_values[result.name] = result
        return result

    def AddOp(self, op: Operation) -> None:
        self._AddOpInternal(op)

    def _AddOpInternal(self, op: Operation) -> None:
        if not op.inputs:
            self._RemoveExternalControlEdges(op)
            if not any(util.OpInContext(x, self) for x in op.control_inputs):
                op._add_control_input(self._pivot.op)
        else:
            for index, x in enumerate(list(op.inputs)):
                if op.type == "Merge" and x.op.type == "NextIteration":
                    # A loop that is being imported: what comes back to it will be told of later.
                    continue
                inside = self.AddValue(x)
                if inside is not x:
                    op._update_input(index, inside)
            self._RemoveExternalControlEdges(op)
            if op.graph._is_function(op.type) or op.type == "SymbolicGradient":
                op._add_control_input(self._pivot.op)
        self._add_to_all([x.name for x in op.outputs])
        if self._outer_context is not None or not util.IsLoopExit(op):
            op.graph.prevent_fetching(op)
        if self._outer_context is not None:
            self._outer_context.AddInnerOp(op)

    def BuildCondBranch(self, fn: Callable[[], Any]) -> tuple[Any, Any]:
        """Builds the branch.

        Returns:
          What ``fn`` returned, and the same with each item as a tensor of this branch; None twice if it
          returned None.
        """
        original = fn()
        if original is None:
            return None, None
        result = nest.map_structure(self._branch_tensor, original, expand_composites=True)
        return original, result if isinstance(result, (list, tuple)) else [result]

    def _branch_tensor(self, value: Any) -> Tensor:
        if isinstance(value, Operation):
            waiting: Tensor = with_dependencies([value], self._pivot)
            return waiting
        tensor = convert_to_tensor(flow_of(value))
        if tensor.name in self._values:
            return self._external_values.get(tensor.name, tensor)
        # The branch returns what comes from outside as it is.
        result: Tensor = switch_ref_or_tensor(self._from_outside(tensor), self._pred)[self._branch]
        self._external_values[tensor.name] = result
        return result

    def zeros_like(self, op: Operation, index: int) -> Tensor | IndexedSlices:
        """Zeros like output ``index`` of ``op``, a Switch into this branch, for the other branch only."""
        value = op.outputs[index]
        other = switch(op.inputs[0], self._pred)[1 - self._branch]
        # Control edges come from whole operations: this one runs on one branch only.
        pivot = array.identity(other)
        if value.dtype is dtypes.resource:
            with control_dependencies([pivot]):
                return no_rows(other) or zeros_of_variable(other)
        shape = array.shape_internal(other, optimize=False)
        with control_dependencies([pivot]):
            return array.zeros(shape, dtype=value.dtype)


def zeros_of_variable(handle: Tensor) -> Tensor:
    """Zeros of the shape of a resource variable."""
    from kvarn.ops.resource_variable import handle_shape_and_type, variable_shape_

    found = handle_shape_and_type(handle)
    return array.zeros(variable_shape_(handle), dtype=dtypes.float32 if found is None else found[1])


def from_control_flow_context_def(context_def: Any, import_scope: str | None = None) -> ControlFlowContext:
    """The context that a ControlFlowContextDef message stands for.

    Raises:
      NotImplementedError: it is of an unknown kind.
    """
    from kvarn.ops.while_context import WhileContext

    kind = context_def.WhichOneof("ctxt")
    if kind == "cond_ctxt":
        return CondContext.from_proto(context_def.cond_ctxt, import_scope)
    if kind == "while_ctxt":
        return WhileContext.from_proto(context_def.while_ctxt, import_scope)
    raise NotImplementedError(f"Unknown ControlFlowContextDef field: {kind}")


register_proto_function(
    GraphKeys.COND_CONTEXT,
    proto_type="tensorflow.CondContextDef",
    to_proto=CondContext.to_proto,
    from_proto=CondContext.from_proto,
)
