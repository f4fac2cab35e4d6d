"""Plans of graphs with conditionals and loops.

A conditional is an acyclic graph in which values may be *dead*: Switch gives the dead value to the branch that
was not chosen, whatever takes or waits for a dead value does not run and gives dead values, and Merge passes on
the one that is alive.  A loop is a *frame*: the operations between Enter and Exit.  Here a frame is a plan of its
own, run round by round by one step of the plan around it.

Source: tensorflow/core/common_runtime/executor.cc, tensorflow/core/graph/control_flow.cc (1.15).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from kvarn import errors
from kvarn.graph.deadline import next_round
from kvarn.graph.kernel_context import KernelContext
from kvarn.graph.operation import Operation
from kvarn.graph.resources import ResourceManager
from kvarn.graph.tensor import Tensor

# (kernel, context, input slots, output slots (one int when single, None without outputs), slots to empty)
Step = tuple[Callable[..., Any], KernelContext, tuple[int, ...], Any, tuple[int, ...]]
# Runs steps on an array of slots.
RunSteps = Callable[[list[Step], list[Any]], None]
# The kernel of an operation behind what turns slot values into its arguments.
Adapt = Callable[[Operation], Callable[..., Any]]
# The tensors that an operation reads, of its own frame.
Sources = Callable[[Operation], Sequence[Tensor]]


def freeing(steps: Sequence[Step], keep: set[int]) -> list[Step]:
    """``steps`` that empty each slot after its last use, those of ``keep`` never."""
    last_use: dict[int, int] = {}
    for i, (_, _, inputs, outputs, _) in enumerate(steps):
        written = outputs if isinstance(outputs, tuple) else () if outputs is None else (outputs,)
        for slot in (*written, *inputs):
            if slot >= 0:
                last_use[slot] = i
    free: list[list[int]] = [[] for _ in steps]
    for slot, i in last_use.items():
        if slot not in keep:
            free[i].append(slot)
    return [(*step[:4], tuple(to_free)) for step, to_free in zip(steps, free, strict=True)]


class _Dead:
    """The value of a branch that was not taken."""

    def __repr__(self) -> str:
        return "DEAD"


DEAD: Final = _Dead()

# Which input of the Merge the value of a round came from.
_FIRST_ROUND: Final = np.array(0, np.int32)
_LATER_ROUND: Final = np.array(1, np.int32)

_ENTER = frozenset(("Enter", "RefEnter"))
_EXIT = frozenset(("Exit", "RefExit"))
_MERGE = frozenset(("Merge", "RefMerge"))
_NEXT = frozenset(("NextIteration", "RefNextIteration"))
CONTROL_FLOW: Final = _ENTER | _EXIT | _MERGE | _NEXT | {"Switch", "RefSwitch", "LoopCond"}


class _Frame:
    """The operations of a loop, or of what is outside of all loops.

    Attributes:
      ops: those that run with it; its Enters are among them, Exits are where they come out.
      loops: the frames directly inside.
    """

    def __init__(self, name: str, parent: _Frame | None) -> None:
        self.name = name
        self.parent = parent
        self.ops: list[Operation] = []
        self.loops: dict[str, _Frame] = {}

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth + 1


def cycle_error(stuck: Sequence[Operation]) -> errors.OpError:
    """What is said of operations that wait for each other, or for those."""
    some = ", ".join(op.name for op in stuck[:3])
    text = f"Graph is invalid, contains a cycle with {len(stuck)} nodes, including: {some}"
    return errors.InvalidArgumentError.of(text, name=stuck[0].name if stuck else None)


def _frames(needed: set[Operation], fed: set[Tensor]) -> tuple[_Frame, dict[Operation, _Frame]]:
    """The outermost frame, and the frame that each operation runs in.

    Raises:
      InvalidArgumentError: an operation takes values of different frames.
    """
    root = _Frame("", None)
    inside: dict[Operation, _Frame] = {}

    def out_of(op: Operation) -> _Frame:
        """The frame of what ``op`` gives."""
        frame = inside[op]
        if op.type in _EXIT and frame.parent is not None:
            return frame.parent
        return frame

    stack = [(op, False) for op in sorted(needed, key=lambda op: op._id, reverse=True)]
    visiting: set[Operation] = set()
    while stack:
        op, ready = stack.pop()
        if op in inside:
            continue
        before = _before(op, needed, fed)
        if not ready:
            visiting.add(op)
            stack.append((op, True))
            stack.extend((x, False) for x in before if x not in inside and x not in visiting)
            continue
        known = [out_of(x) for x in before if x in inside]
        frame = max(known, key=lambda f: f.depth, default=root)
        for other in known:
            if other is not frame:
                raise errors.InvalidArgumentError.of(
                    f"{{{{node {op.name}}}}} has inputs from different frames: '{frame.name}' and '{other.name}'.",
                    name=op.name,
                )
        if op.type in _ENTER:
            name = op.attrs["frame_name"]
            name = name.decode() if isinstance(name, bytes) else str(name)
            frame = frame.loops.setdefault(name, _Frame(name, frame))
        inside[op] = frame
    for op in sorted(needed, key=lambda op: op._id):
        inside[op].ops.append(op)
    return root, inside


def _before(op: Operation, needed: set[Operation], fed: set[Tensor]) -> list[Operation]:
    """What has to run before ``op``; what comes back to a loop is not before it."""
    found = [x.op for x in op._inputs if x not in fed and not (op.type in _MERGE and x.op.type in _NEXT)]
    return [x for x in (*found, *op._control_inputs) if x in needed]


class _Builder:
    """Builds the steps of one frame.

    Attributes:
      slots: of tensors of the frame.
      done: of operations that others wait for: dead, or anything else, when they have had their turn.
      template: slot values at the beginning.
    """

    def __init__(self, flow: _Flow, frame: _Frame) -> None:
        self.flow = flow
        self.frame = frame
        self.slots: dict[Tensor, int] = {}
        self.done: dict[Operation, int] = {}
        self.template: list[Any] = []

    def new_slot(self, value: Any = None) -> int:
        self.template.append(value)
        return len(self.template) - 1

    def slot(self, tensor: Tensor) -> int:
        if tensor not in self.slots:
            self.slots[tensor] = self.new_slot()
        return self.slots[tensor]

    def done_slot(self, op: Operation) -> int:
        if op not in self.done:
            self.done[op] = self.new_slot()
        return self.done[op]

    def steps(self, keep: Iterable[int]) -> list[Step]:
        """The steps of the frame, which leave the values of ``keep``."""
        made: list[Step] = []
        for node in self._ordered():
            if isinstance(node, _Frame):
                made.append(self._loop(node))
            elif node.type == "Const" and not self._waited_for(node):
                if node._outputs[0] not in self.flow.fed:
                    self.template[self.slot(node._outputs[0])] = node.attrs["value"].array
            elif node.type not in _ENTER and not self._is_round(node):
                made.append(self._step(node))
        constants = [slot for slot, value in enumerate(self.template) if value is not None]
        return freeing(made, {*keep, *constants})

    def _is_round(self, op: Operation) -> bool:
        """Whether ``op`` is where a value of this loop begins each round."""
        return op.type in _MERGE and any(x.op.type in _NEXT for x in op._inputs)

    def _ordered(self) -> list[Operation | _Frame]:
        """The operations and loops of the frame, each after what it waits for."""
        flow = self.flow
        loop_of: dict[Operation, _Frame] = {}
        for loop in self.frame.loops.values():
            for op in flow.all_ops(loop):
                loop_of[op] = loop
        nodes: dict[Operation | _Frame, int] = {op: op._id for op in self.frame.ops}
        for loop in self.frame.loops.values():
            nodes[loop] = min(op._id for op in loop.ops)
        waits: dict[Operation | _Frame, set[Operation | _Frame]] = {node: set() for node in nodes}
        for op in [*self.frame.ops, *loop_of]:
            own = loop_of.get(op, op)
            for b in _before(op, flow.needed, flow.fed):
                before = loop_of.get(b, b)
                if before is not own and before in nodes:
                    waits[own].add(before)
        after: dict[Operation | _Frame, list[Operation | _Frame]] = {}
        for node, earlier in waits.items():
            for x in earlier:
                after.setdefault(x, []).append(node)
        left = {node: len(earlier) for node, earlier in waits.items()}
        heap = [(nodes[n], k, n) for k, n in enumerate(nodes) if left[n] == 0]
        number = {n: k for k, n in enumerate(nodes)}
        heapq.heapify(heap)
        out: list[Operation | _Frame] = []
        while heap:
            _, _, node = heapq.heappop(heap)
            out.append(node)
            for following in after.get(node, ()):
                left[following] -= 1
                if left[following] == 0:
                    heapq.heappush(heap, (nodes[following], number[following], following))
        if len(out) != len(nodes):
            stuck = [n for n in nodes if left[n] > 0 and isinstance(n, Operation)]
            raise cycle_error(stuck)
        return out

    def _waited_for(self, op: Operation) -> list[int]:
        return [self.done_slot(c) for c in op._control_inputs if c in self.flow.needed]

    def _step(self, op: Operation) -> Step:
        flow = self.flow
        kernel, context = flow.adapt(op), KernelContext(op, flow.resources, flow.session)
        inputs = tuple(self.slot(x) for x in flow.sources(op))
        n_inputs, n_outputs = len(inputs), len(op._outputs)
        outputs = [-1 if t in flow.fed else self.slot(t) for t in op._outputs]
        waited_for = self._waited_for(op)
        tells = op in flow.waited_for
        if tells:
            outputs.append(self.done_slot(op))
        if op.type in _MERGE and not waited_for and not tells:
            return (kernel, context, inputs, tuple(outputs), ())
        merges = op.type in _MERGE
        if op.type == "ControlTrigger":
            # It is there to come after what may be dead, and never is itself.
            return (lambda context, *values: None, context, tuple(waited_for), (*outputs, None)[0], ())

        def run(context: KernelContext, *values: Any) -> Any:
            looked_at = values[n_inputs:] if merges else values
            if any(v is DEAD for v in looked_at):
                return DEAD if len(outputs) == 1 else (DEAD,) * len(outputs)
            result = kernel(context, *values[:n_inputs])
            if not tells:
                return result
            if n_outputs == 0:
                return None
            results = (result,) if n_outputs == 1 else tuple(result)
            return (*results, DEAD if all(r is DEAD for r in results) and merges else None)

        target: Any = tuple(outputs) if len(outputs) != 1 else outputs[0]
        if not outputs or target == -1:
            target = None
        return (run, context, (*inputs, *waited_for), target, ())

    def _loop(self, frame: _Frame) -> Step:
        """The step that runs a loop: it takes what the Enters take and gives what the Exits give."""
        flow = self.flow
        inner = _Builder(flow, frame)
        enters = [op for op in frame.ops if op.type in _ENTER]
        exits = [op for op in frame.ops if op.type in _EXIT]
        rounds = [op for op in frame.ops if inner._is_round(op)]
        entered = [inner.slot(op._outputs[0]) for op in enters]
        # (the value, how it came, the first value, the next one) of each variable of the loop
        carried = []
        for op in rounds:
            first = next(x for x in op._inputs if x.op.type not in _NEXT)
            following = next(x for x in op._inputs if x.op.type in _NEXT)
            carried.append(tuple(inner.slot(x) for x in (op._outputs[0], op._outputs[1], first, following)))
        # Of the first round only, unless they are the same in all.
        passing = [slot for slot, op in zip(entered, enters, strict=True) if not op.attrs["is_constant"]]
        told = [(inner.done_slot(op), inner.slot(op._outputs[0])) for op in (*rounds, *enters)]
        left = [inner.slot(op._outputs[0]) for op in exits]
        steps = inner.steps((*entered, *left, *itertools.chain(*carried), *itertools.chain(*told)))
        template = inner.template
        n_enters = len(enters)
        run_steps = flow.run_steps

        def run(context: KernelContext, *values: Any) -> Any:
            if any(v is DEAD for v in values):
                return (DEAD,) * n_outputs
            slots = template.copy()
            for slot, value in zip(entered, values[:n_enters], strict=True):
                slots[slot] = value
            for value, index, first, _ in carried:
                slots[value], slots[index] = slots[first], _FIRST_ROUND
            found: list[Any] = [DEAD] * len(left)
            while True:
                next_round(context.session)
                for done, value in told:
                    slots[done] = DEAD if slots[value] is DEAD else None
                run_steps(steps, slots)
                for k, slot in enumerate(left):
                    if slots[slot] is not DEAD:
                        found[k] = slots[slot]
                following = [slots[c[3]] for c in carried]
                if all(v is DEAD for v in following):
                    return (*found, *[None if v is not DEAD else DEAD for v in found])
                for slot in passing:
                    slots[slot] = DEAD
                for (value, index, _, _), v in zip(carried, following, strict=True):
                    slots[value], slots[index] = v, _LATER_ROUND

        inputs = [
            self.slot(flow.sources(op)[0] if op.attrs["is_constant"] else op._inputs[0]) for op in enters
        ]
        for op in enters:
            inputs.extend(self._waited_for(op))
        outputs = [self.slot(op._outputs[0]) for op in exits] + [self.done_slot(op) for op in exits]
        n_outputs = len(outputs)
        context = KernelContext(enters[0], flow.resources, flow.session)
        return (run, context, tuple(inputs), tuple(outputs) if n_outputs else None, ())


class _Flow:
    """What all frames of a plan share."""

    def __init__(
        self,
        needed: set[Operation],
        fed: set[Tensor],
        adapt: Adapt,
        sources: Sources,
        run_steps: RunSteps,
        resources: ResourceManager,
        session: Any,
    ) -> None:
        self.needed = needed
        self.fed = fed
        self.adapt = adapt
        self.sources = sources
        self.run_steps = run_steps
        self.resources = resources
        self.session = session
        self.waited_for = {c for op in needed for c in op._control_inputs}

    def all_ops(self, frame: _Frame) -> list[Operation]:
        found = list(frame.ops)
        for loop in frame.loops.values():
            found += self.all_ops(loop)
        return found


def build(
    needed: set[Operation],
    fetches: Sequence[Tensor],
    feeds: Sequence[Tensor],
    adapt: Adapt,
    sources: Sources,
    run_steps: RunSteps,
    resources: ResourceManager,
    session: Any,
) -> tuple[list[Step], list[Any], list[int], list[int]]:
    """The steps, the first slot values, and the slots of feeds and fetches.

    Args:
      needed: the operations that have to run.
      adapt: gives the kernel of an operation that reads ``sources``.

    Raises:
      InvalidArgumentError: operations wait for each other in a circle, or belong to several loops.
      UnimplementedError: an operation has no kernel (from ``adapt``).
    """
    fed = set(feeds)
    flow = _Flow(needed, fed, adapt, sources, run_steps, resources, session)
    root, inside = _frames(needed, fed)
    for tensor in fetches:
        frame = inside.get(tensor.op)
        if frame is not None and frame is not root and tensor.op.type not in _EXIT:
            raise errors.InvalidArgumentError.of(
                f"'{tensor.name}' is inside of the loop '{frame.name}' and cannot be fetched.",
                name=tensor.op.name,
                hint="Fetch what the loop returns.",
            )
    builder = _Builder(flow, root)
    feed_slots = [builder.slot(t) for t in feeds]
    fetch_slots = [builder.slot(t) for t in fetches]
    steps = builder.steps((*feed_slots, *fetch_slots))
    return steps, builder.template, feed_slots, fetch_slots
