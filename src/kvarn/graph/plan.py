"""What to run for given fetches and feeds, worked out once and kept.

A plan is the pruned, ordered list of operations with the places of their values in one array of
*slots*: constants are in their slots from the start, each step reads some slots and fills others, and a
slot is emptied after its last use.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np

from kvarn import errors
from kvarn.graph import constant_folding, flow
from kvarn.graph.flow import CONTROL_FLOW, Step, freeing
from kvarn.graph.kernel_context import KernelContext
from kvarn.graph.operation import Operation, arg_length
from kvarn.graph.resources import ResourceManager, Var
from kvarn.graph.tensor import Tensor

# Not stateful by their definitions, and still missed if they did not run: a placeholder that is not fed is an
# error, a Python function may do anything.
_RUN_IF_WAITED_FOR = frozenset({"Placeholder", "PyFuncStateless"})


class Plan:
    """The steps of one kind of run.

    Attributes:
      steps: see `Step`.
      template: initial slot values, constants included.
      feed_slots: the slot of each fed tensor, in the order given.
      fetch_slots: the slot of each fetched tensor, in the order given.
      fetch_refs: for each fetched tensor, whether its slot holds a variable's buffer rather than a value.
    """

    __slots__ = ("feed_slots", "fetch_refs", "fetch_slots", "steps", "template")

    def __init__(
        self,
        steps: list[Step],
        template: list[Any],
        feed_slots: list[int],
        fetch_slots: list[int],
        fetch_refs: list[bool],
    ) -> None:
        self.steps = steps
        self.template = template
        self.feed_slots = feed_slots
        self.fetch_slots = fetch_slots
        self.fetch_refs = fetch_refs


def build(
    fetches: Sequence[Tensor],
    targets: Sequence[Operation],
    feeds: Sequence[Tensor],
    resources: ResourceManager,
    session: Any,
) -> Plan:
    """The plan that computes ``fetches`` and runs ``targets`` when ``feeds`` are given.

    Raises:
      UnimplementedError: an operation that must run has no kernel.
      InvalidArgumentError: the operations wait for each other in a circle, or one was given an input of another
        type.
    """
    fed = set(feeds)
    needed, passed = _pruned(fetches, targets, fed)
    _check_types(needed)
    if any(op.type in CONTROL_FLOW for op in (*needed, *passed)):
        return _of_flow(fetches, targets, feeds, resources, session)
    order = _ordered(needed, passed, fed)
    asked = {t.op for t in fetches} | set(targets)
    folded: dict[Tensor, Any] = {}
    if not constant_folding.is_off(getattr(session, "_config", None)):
        folded = constant_folding.fold(
            order, fed, set(targets), lambda op, inputs: evaluate(op, inputs, resources, session)
        )
    if folded:
        needed, passed = _pruned(fetches, targets, fed, known=folded)
        order = [op for op in order if op in needed]
    template: list[Any] = []
    slot_of: dict[Tensor, int] = {}

    def slot(tensor: Tensor) -> int:
        found = slot_of.get(tensor)
        if found is None:
            found = slot_of[tensor] = len(template)
            template.append(None)
        return found

    measured = _measured(order, asked, fed)
    read = _read_by([*order, *passed], fetches, targets)
    feed_slots = [slot(t) for t in feeds]
    keep = set(feed_slots)
    for tensor, value in folded.items():
        index = slot(tensor)
        template[index] = value
        keep.add(index)
    raw: list[tuple[Any, KernelContext, tuple[int, ...], Any]] = []
    for op in order:
        if op.type == "Const":
            tensor = op._outputs[0]
            if tensor not in fed:
                index = slot(tensor)
                template[index] = op.attrs["value"].array
                keep.add(index)
            continue
        kernel = _wanting(op, _kernel(op), read)
        if op in measured:
            kernel = _stand_in(kernel, op._outputs[0].dtype.np)
        context = KernelContext(op, resources, session)
        sources = [_source(x, fed) for x in _reads(op, fed)]
        inputs = tuple(slot(x) for x in sources)
        # A fed output keeps the value that was fed.
        outputs = tuple(-1 if t in fed else slot(t) for t in op._outputs)
        target = None if all(o < 0 for o in outputs) else outputs if len(outputs) > 1 else outputs[0]
        raw.append((_adapted(op, kernel, sources, fed), context, inputs, target))
    fetch_slots = [slot(t) for t in fetches]
    keep.update(fetch_slots)

    steps = freeing([(*step, ()) for step in raw], keep)
    return Plan(steps, template, feed_slots, fetch_slots, [t.dtype.is_ref and t not in fed for t in fetches])


def _check_types(needed: set[Operation]) -> None:
    """InvalidArgumentError for an input that was replaced by one of another type."""
    op = next(iter(needed), None)
    for (user, index), wanted in (op._graph._mistyped if op is not None else {}).items():
        x = user._inputs[index]
        if user in needed and x.dtype.base_dtype is not wanted.base_dtype:
            raise errors.InvalidArgumentError(
                user.node_def,
                user,
                f"Input {index} of node {user.name} was passed {x.dtype.base_dtype.name} from {x.name} incompatible "
                f"with expected {wanted.base_dtype.name}.",
                name=user.name,
            )


def _kernel(op: Operation) -> Callable[..., Any]:
    kernel = op.registration.kernel
    if kernel is None:
        raise errors.UnimplementedError(
            None,
            op,
            f"No kernel is registered for op type '{op.type}' of node '{op.name}'.",
            name=op.name,
            hint="The graph can be built, imported and written, but this node cannot run.",
        )
    return kernel


def _read_by(
    ops: Collection[Operation], fetches: Iterable[Tensor], targets: Iterable[Operation]
) -> set[Tensor]:
    """The tensors that operations take, or that are fetched; all variables of a loop that is waited for."""
    waited = {c for op in ops for c in op._control_inputs}.union(targets)
    loops = [op for op in waited if op.type in ("While", "StatelessWhile")]
    return {x for op in ops for x in op._inputs}.union(fetches, *(op._outputs for op in loops))


def _wanting(op: Operation, kernel: Callable[..., Any], read: set[Tensor]) -> Callable[..., Any]:
    """``kernel`` behind what says which outputs are read, for conditionals and loops that are functions.

    TensorFlow makes their functions part of the graph, so that what only other outputs need does not run.
    """
    if not op.attrs.get("_lower_using_switch_merge"):
        return kernel
    wanted = frozenset(i for i, t in enumerate(op._outputs) if t in read)
    if len(wanted) == len(op._outputs):
        return kernel

    def wanting(context: KernelContext, *values: Any) -> Any:
        context.wanted = wanted
        return kernel(context, *values)

    return wanting


def _of_flow(
    fetches: Sequence[Tensor],
    targets: Sequence[Operation],
    feeds: Sequence[Tensor],
    resources: ResourceManager,
    session: Any,
) -> Plan:
    """The plan of a graph with conditionals or loops, where what is waited for may say whether to run at all."""
    from kvarn.graph.executor import run_steps

    fed = set(feeds)
    needed, _ = _pruned(fetches, targets, fed, passing=False)
    read = _read_by(needed, fetches, targets)

    def adapt(op: Operation) -> Callable[..., Any]:
        if op.type == "Const":
            value = op.attrs["value"].array
            return lambda context: value
        return _adapted(op, _wanting(op, _kernel(op), read), sources(op), fed)

    def sources(op: Operation) -> Sequence[Tensor]:
        # A read that waits for something may be dead when the variable is not.
        return [x if x.op._control_inputs else _source(x, fed) for x in op._inputs]

    made = flow.build(needed, fetches, feeds, adapt, sources, run_steps, resources, session)
    return Plan(*made, [_is_buffer(t, fed) for t in fetches])


def evaluate(
    op: Operation, inputs: Sequence[Any], resources: ResourceManager, session: Any = None
) -> list[Any]:
    """The outputs of one operation whose inputs are known, run by itself."""
    kernel = _adapted(op, _kernel(op), op._inputs, set())
    with np.errstate(all="ignore"):
        found = kernel(KernelContext(op, resources, session), *inputs)
    return [found] if len(op._outputs) == 1 else list(found)


def _pruned(
    fetches: Iterable[Tensor],
    targets: Iterable[Operation],
    fed: set[Tensor],
    passing: bool = True,
    known: Collection[Tensor] = (),
) -> tuple[set[Operation], set[Operation]]:
    """What has to run, and what is passed over on the way to it.

    An operation that others only wait for, whose values nobody reads, is left out if running it has no
    effect, as TensorFlow's dependency optimizer does: the gradients of what is not trained, for example.

    Args:
      passing: whether anything may be passed over.
      known: tensors whose values are known, besides those that are ``fed``.
    """
    needed: set[Operation] = set()
    passed: set[Operation] = set()  # they do not run, but what they wait for does
    stack = [(t.op, t not in known) for t in fetches if t not in fed]
    stack.extend((op, True) for op in targets)
    while stack:
        op, read = stack.pop()
        if op in needed:
            continue
        if passing and not read and (_without_effect(op) or _is_known(op, known)):
            if op in passed:
                continue
            passed.add(op)
            stack.extend((x.op, False) for x in op._inputs if x not in fed)
        else:
            needed.add(op)
            reads = _reads(op, fed) if passing else op._inputs
            stack.extend((x.op, x not in known) for x in reads if x not in fed)
        stack.extend((c, False) for c in op._control_inputs if not _is_fed_placeholder(c, fed))
    return needed, passed


def _is_known(op: Operation, known: Collection[Tensor]) -> bool:
    return bool(op._outputs) and op._outputs[0] in known


def _is_fed_placeholder(op: Operation, fed: set[Tensor]) -> bool:
    """Whether nothing of ``op`` is left: what waits for it waits for the feed, which is there."""
    return op.type in ("Placeholder", "PlaceholderV2") and op._outputs[0] in fed


def _without_effect(op: Operation) -> bool:
    registration = op.registration
    return (
        registration.kernel is not None
        and not registration.op_def.is_stateful
        and (bool(op._outputs) or op.type in ("NoOp", "ControlTrigger"))
        and op.type not in _RUN_IF_WAITED_FOR
        and not any(x.dtype.is_ref or x.dtype.name == "resource" for x in op._inputs)
    )


def _waits_for(op: Operation, needed: set[Operation], fed: set[Tensor]) -> set[Operation]:
    """The operations that have to run before ``op``, directly or through others that do not run."""
    found: set[Operation] = set()
    seen: set[Operation] = set()
    stack = [x.op for x in _reads(op, fed) if x not in fed]
    stack.extend(op._control_inputs)
    while stack:
        before = stack.pop()
        if before in needed:
            found.add(before)
        elif before not in seen:
            seen.add(before)
            stack.extend(x.op for x in before._inputs if x not in fed)
            stack.extend(before._control_inputs)
    return found


def _ordered(needed: set[Operation], passed: set[Operation], fed: set[Tensor]) -> list[Operation]:
    """``needed`` so that every operation comes after what it waits for, otherwise in order of creation."""
    order = sorted(needed, key=lambda op: op._id)
    if all(
        x.op._id < op._id or x in fed for ops in (needed, passed) for op in ops for x in op._inputs
    ) and all(c._id < op._id for ops in (needed, passed) for op in ops for c in op._control_inputs):
        return order
    waits: dict[Operation, int] = {}
    after: dict[Operation, list[Operation]] = {}
    for op in order:
        before = _waits_for(op, needed, fed)
        waits[op] = len(before)
        for b in before:
            after.setdefault(b, []).append(op)
    ready = [(op._id, op) for op in order if waits[op] == 0]
    heapq.heapify(ready)
    out: list[Operation] = []
    while ready:
        _, op = heapq.heappop(ready)
        out.append(op)
        for following in after.get(op, ()):
            waits[following] -= 1
            if waits[following] == 0:
                heapq.heappush(ready, (following._id, following))
    if len(out) != len(order):
        raise flow.cycle_error(_stuck(needed | passed, fed))
    return out


def _stuck(ops: set[Operation], fed: set[Tensor]) -> list[Operation]:
    """Those of ``ops`` that wait for each other, or for such, in order of creation."""
    left = set(ops)
    while True:
        free = {
            op
            for op in left
            if not any(b in left for b in (*(x.op for x in op._inputs if x not in fed), *op._control_inputs))
        }
        if not free:
            return sorted(left, key=lambda op: op._id)
        left -= free


def _measured(order: Sequence[Operation], asked: set[Operation], fed: set[Tensor]) -> set[Operation]:
    """The elementwise operations of which others only want the shape, as the gradient of a loss nobody fetches."""
    wanted = set(asked)  # for their values
    found: set[Operation] = set()
    for op in reversed(order):
        if op not in wanted and getattr(op.registration.kernel, "elementwise", False):
            found.add(op)
        elif op.type not in ("Shape", "ShapeN", "Size", "Rank"):
            wanted.update(x.op for x in _reads(op, fed))
    return found


def _stand_in(kernel: Callable[..., Any], kind: Any) -> Callable[..., Any]:
    """In place of an elementwise ``kernel``: an array of the shape it would give, that takes no memory."""
    zero = np.zeros((), kind)

    def shaped(context: KernelContext, *inputs: Any) -> Any:
        try:
            return np.broadcast_to(zero, np.broadcast_shapes(*(np.shape(x) for x in inputs)))
        except ValueError:
            return kernel(context, *inputs)  # to say what is wrong

    return shaped


def _reads(op: Operation, fed: set[Tensor]) -> Sequence[Tensor]:
    """The tensors that ``op`` reads: its inputs, or what its declaration names in their place."""
    reads = op.registration.reads
    # A value fed in the middle of the graph may belong to what would not run.
    if reads is None or any(not x.op.type.startswith("Placeholder") for x in fed):
        return op._inputs
    found: Sequence[Tensor] = reads(op)
    return found


def _source(x: Tensor, fed: set[Tensor]) -> Tensor:
    """What a consumer of ``x`` reads: the buffer itself where ``x`` is a plain read of a reference variable.

    In TensorFlow such a read shares the buffer, so that whoever runs after an update in place sees it: what
    waits for ``v.assign_add(1)`` and uses ``v`` gets the new value.  It also leaves nobody holding the old
    value, which an update would have to copy.
    """
    op = x.op
    if op.type == "Identity" and x not in fed and op._inputs[0].dtype.is_ref:
        return op._inputs[0]
    return x


def _is_buffer(x: Tensor, fed: set[Tensor]) -> bool:
    """Whether the value of ``x`` is the buffer of a reference variable, to be read by whoever uses it.

    Reads of one that come into a loop or a branch share it there too: each round sees what the last one assigned.
    """
    while x not in fed and not x.dtype.is_ref:
        op = x.op
        passes = op.type == "Switch" or (op.type == "Enter" and op.attrs["is_constant"])
        if not passes or op._inputs[0].op._control_inputs:
            return False
        x = _source(op._inputs[0], fed)
    return x not in fed


def _adapted(
    op: Operation, kernel: Callable[..., Any], sources: Sequence[Tensor], fed: set[Tensor]
) -> Callable[..., Any]:
    """``kernel`` behind what turns flat slot values into its arguments: lists, and references read."""
    definition = op.registration.op_def
    deref: list[int] = []
    groups: list[tuple[int, int, bool]] = []
    start = 0
    for arg in definition.inputs:
        length = arg_length(arg, op.attrs)
        if not arg.is_ref and not (op.type == "Switch" and arg.name == "data"):
            deref.extend(i for i in range(start, start + length) if _is_buffer(sources[i], fed))
        groups.append((start, start + length, arg.is_list))
        start += length
    has_lists = any(is_list for _, _, is_list in groups)
    if not has_lists and not deref:
        return kernel

    def adapted(context: KernelContext, *values: Any) -> Any:
        if deref:
            values_list = list(values)
            for i in deref:
                value = values_list[i]
                if isinstance(value, Var):
                    values_list[i] = value.read()
            values = tuple(values_list)
        if has_lists:
            return kernel(context, *[list(values[a:b]) if is_list else values[a] for a, b, is_list in groups])
        return kernel(context, *values)

    return adapted
