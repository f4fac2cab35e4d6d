"""Runs the steps of a plan."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from kvarn import _native, errors
from kvarn.graph.flow import DEAD, Step
from kvarn.graph.kernel_context import KernelContext
from kvarn.graph.operation import Operation
from kvarn.graph.plan import Plan
from kvarn.graph.resources import Var

# What Python and NumPy raise for values that do not fit.
_OF_ARGUMENTS = (
    ValueError,
    TypeError,
    IndexError,
    ZeroDivisionError,
    OverflowError,
    np.exceptions.AxisError,
)


def execute(plan: Plan, feeds: Sequence[Any]) -> list[Any]:
    """Runs ``plan`` and returns the slot values; ``feeds`` are the values of its fed tensors, in order."""
    values = plan.template.copy()
    for slot, value in zip(plan.feed_slots, feeds, strict=True):
        values[slot] = value
    if plan.steps:
        # Infinities and NaNs are results like others; NumPy need not warn of them.
        with np.errstate(all="ignore"):
            run_steps(plan.steps, values)
    return values


def run_steps(steps: list[Step], values: list[Any]) -> None:
    """Runs ``steps`` on an array of slots."""
    failed = _native.run_steps(steps, values)
    if failed is None:
        return
    number, problem = failed
    _, context, inputs, _, _ = steps[number]
    if isinstance(problem, errors.OpError):
        found = problem
    elif isinstance(problem, _OF_ARGUMENTS):
        found = errors.InvalidArgumentError(None, context.op, f"{type(problem).__name__}: {problem}")
    elif isinstance(problem, MemoryError):
        found = errors.ResourceExhaustedError(None, context.op, f"out of memory: {problem}")
    else:
        raise problem
    raise with_node(found, context.op, [values[i] for i in inputs]) from problem


def fetched(plan: Plan, values: list[Any]) -> list[Any]:
    """The fetched values as the user may keep and change them."""
    out: list[Any] = []
    for slot, is_ref in zip(plan.fetch_slots, plan.fetch_refs, strict=True):
        value = values[slot]
        if value is DEAD:
            raise errors.InvalidArgumentError.of(
                f"Retval[{len(out)}] does not have value",
                hint="It belongs to the branch of a conditional that was not taken.",
            )
        if is_ref and isinstance(value, Var):
            value = np.array(value.read(), copy=True)
        if type(value) is np.ndarray:
            if value.ndim == 0:
                value = value[()]
            elif value.base is not None or sys.getrefcount(value) > 3 or not value.flags.writeable:
                # Somebody else (a variable, a constant, a feed) holds these bytes as well.
                value = value.copy()
        out.append(value)
    return out


def with_node(error: errors.OpError, op: Operation, inputs: Sequence[Any] = ()) -> errors.OpError:
    """``error`` with the node, its input shapes and the line of the user's program added."""
    if getattr(error, "_names_node", False):
        return error
    shapes = ", ".join(_describe(x) for x in inputs)
    message = (
        f"{error.message}\n\t [[node {op.name} ({op.type}){f' with inputs {shapes}' if shapes else ''}]]"
    )
    frame = op.user_frame()
    if frame is not None:
        message += f"\n\t built at {frame[0]}:{frame[1]}: {frame[2]}"
    named = type(error)(
        None, op, message, error.error_code, name=error.name or op.name, path=error.path, offset=error.offset
    )
    named.hint = error.hint
    named._names_node = True  # type: ignore[attr-defined]
    return named


def _describe(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(value, Var):
        return f"ref {value.dtype.name}"
    if shape is None:
        return type(value).__name__
    if type(value).__name__ == "ResourceHandle":
        return f"resource {value.name}"
    dtype = str(getattr(value, "dtype", "?"))
    # Strings are in arrays of objects.
    return f"{'string' if dtype == 'object' else dtype}[{','.join(str(d) for d in shape)}]"


def _measure_owned_references() -> None:
    """Finds out how many references an array that only a run holds has inside `KernelContext.owned`."""
    seen: list[int] = []

    class Probe(KernelContext):
        __slots__ = ()

        def __init__(self) -> None:
            pass

        def owned(self, value: Any) -> Any:
            seen.append(sys.getrefcount(value))
            return value

    def make(context: Any) -> Any:
        return np.zeros(1)

    def keep(context: Any, value: Any) -> None:
        context.owned(value)

    probe = Probe()
    execute(Plan([(make, probe, (), 0, ()), (keep, probe, (0,), None, (0,))], [None], [], [], []), [])
    KernelContext.owned_references = seen[0]


_measure_owned_references()
