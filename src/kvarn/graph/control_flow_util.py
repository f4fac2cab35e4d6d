"""Questions about conditionals and loops: what an operation is in them, and where it belongs.

The functions have TensorFlow's names.  Contexts are those of `kvarn.ops.control_flow_context`; here they are only
asked for what encloses them.

Source: tensorflow/python/ops/control_flow_util.py (1.15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvarn.graph.operation import Operation
from kvarn.graph.tensor import Tensor

if TYPE_CHECKING:
    from kvarn.graph.graph import Graph

# Whether conditionals and loops are built as functions, or else as TensorFlow 1 builds them.
ENABLE_CONTROL_FLOW_V2 = False

_SWITCH = ("Switch", "RefSwitch")
_MERGE = ("Merge", "RefMerge")
_ENTER = ("Enter", "RefEnter")
_EXIT = ("Exit", "RefExit")
# What passes a value of a loop on as it is.
_SAME_VALUE = ("Switch", "RefSwitch", "Identity", "RefIdentity")


def enable_control_flow_v2() -> None:
    """From now on conditionals and loops are built as functions."""
    global ENABLE_CONTROL_FLOW_V2
    ENABLE_CONTROL_FLOW_V2 = True


def EnableControlFlowV2(graph: Graph) -> bool:
    """Whether conditionals and loops in ``graph`` are built as functions: always in those of others."""
    return ENABLE_CONTROL_FLOW_V2 or graph.building_control_flow


def IsSwitch(op: Operation) -> bool:
    """Whether ``op`` is a Switch."""
    return op.type in _SWITCH


def IsMerge(op: Operation) -> bool:
    """Whether ``op`` is a Merge."""
    return op.type in _MERGE


def IsLoopEnter(op: Operation) -> bool:
    """Whether ``op`` takes a value into a loop."""
    return op.type in _ENTER


def IsLoopExit(op: Operation) -> bool:
    """Whether ``op`` takes a value out of a loop."""
    return op.type in _EXIT


def IsCondSwitch(op: Operation) -> bool:
    """Whether ``op`` is the Switch of a conditional: all that takes its values is in one."""
    if not IsSwitch(op):
        return False
    for output in op.outputs:
        for consumer in output.consumers():
            context = consumer._get_control_flow_context()
            if IsLoopEnter(consumer):
                context = context.outer_context
            if context is None or not context.IsCondContext():
                return False
    return True


def IsCondMerge(op: Operation) -> bool:
    """Whether ``op`` is the Merge of a conditional: all that it takes comes out of one."""
    if not IsMerge(op) or not op.inputs:
        return False
    contexts = [GetOutputContext(x.op) for x in op.inputs]
    return all(c is not None and c.IsCondContext() for c in contexts)


def IsLoopSwitch(op: Operation) -> bool:
    """Whether ``op`` is the Switch of a loop."""
    return IsSwitch(op) and _is_in_while(op) and not IsCondSwitch(op)


def IsLoopMerge(op: Operation) -> bool:
    """Whether ``op`` is the Merge of a loop."""
    return IsMerge(op) and _is_in_while(op) and not IsCondMerge(op)


def _is_in_while(op: Operation) -> bool:
    context = op._get_control_flow_context()
    return context is not None and bool(context.IsWhileContext())


def IsLoopConstantEnter(op: Operation) -> bool:
    """Whether ``op`` takes a value into a loop that stays the same in all rounds."""
    return IsLoopEnter(op) and bool(op.get_attr("is_constant"))


def GetLoopConstantEnter(value: Tensor) -> Operation | None:
    """The Enter that ``value`` comes from if it is seen to be the same in all rounds of a loop."""
    op = value.op
    while op.type in _SAME_VALUE:
        op = op.inputs[0].op
    return op if IsLoopConstantEnter(op) else None


def GetOutputContext(op: Operation) -> Any:
    """The context of what ``op`` gives, or None; an Exit's is the one around its loop."""
    context = op._get_control_flow_context()
    if context is not None and IsLoopExit(op):
        context = context.outer_context
    return context


def GetWhileContext(op: Operation) -> Any:
    """The context of the innermost loop that ``op`` is in, or None."""
    return GetContainingWhileContext(op._get_control_flow_context())


def GetContainingWhileContext(ctxt: Any, stop_ctxt: Any = None) -> Any:
    """The innermost loop around ``ctxt``, itself included, or ``stop_ctxt`` if that is met first; or None."""
    while ctxt is not None:
        if ctxt is stop_ctxt or ctxt.IsWhileContext():
            return ctxt
        ctxt = ctxt.outer_context
    return None


def GetContainingCondContext(ctxt: Any) -> Any:
    """The innermost branch of a conditional around ``ctxt``, itself included, or None."""
    while ctxt is not None and not ctxt.IsCondContext():
        ctxt = ctxt.outer_context
    return ctxt


def IsInWhileLoop(op: Operation) -> bool:
    """Whether ``op`` is in a loop."""
    return GetWhileContext(op) is not None


def IsInCond(op: Operation) -> bool:
    """Whether ``op`` is in a branch of a conditional."""
    return GetContainingCondContext(op._get_control_flow_context()) is not None


def IsContainingContext(ctxt: Any, maybe_containing_ctxt: Any) -> bool:
    """Whether ``maybe_containing_ctxt`` is ``ctxt`` or is around it."""
    while ctxt is not maybe_containing_ctxt:
        if ctxt is None:
            return False
        ctxt = ctxt.outer_context
    return True


def OpInContext(op: Operation, ctxt: Any) -> bool:
    """Whether ``op`` is in ``ctxt`` or in a context inside it."""
    return IsContainingContext(op._get_control_flow_context(), ctxt)


def TensorInContext(tensor: Tensor, ctxt: Any) -> bool:
    """Whether ``tensor`` is made in ``ctxt`` or in a context inside it."""
    return OpInContext(tensor.op, ctxt)


def CheckInputFromValidContext(op: Operation, input_op: Operation) -> None:
    """Checks that ``op`` may take what ``input_op`` gives.

    Raises:
      ValueError: ``input_op`` is in a loop that ``op`` is not in.
    """
    context, source = op._get_control_flow_context(), GetOutputContext(input_op)
    if source is None or source is context:
        return
    loop, source_loop = GetContainingWhileContext(context), GetContainingWhileContext(source)
    if loop is None:
        # Switch and Enter are made before they are told where they belong.
        if source_loop is None or IsLoopEnter(op) or IsSwitch(op):
            return
        raise ValueError(
            f"Cannot use '{input_op.name}' as input to '{op.name}' because '{input_op.name}' is in a while loop. "
            "See info log for more details."
        )
    if IsContainingContext(loop, source_loop) or _in_gradient_of(loop, source_loop):
        return
    raise ValueError(
        f"Cannot use '{input_op.name}' as input to '{op.name}' because they are in different while loops. "
        "See info log for more details."
    )


def _in_gradient_of(loop: Any, source_loop: Any) -> bool:
    """Whether one of the loops computes the gradient of the other, or of one around or inside it."""
    if loop.grad_state is not None:
        forward = loop.grad_state.forward_context
        if IsContainingContext(forward, source_loop) or forward is source_loop.outer_context:
            return True
    if source_loop.grad_state is not None:
        forward = source_loop.grad_state.forward_context
        if forward is loop:
            return True
        return forward.grad_state is not None and forward.grad_state.forward_context is loop
    return False
