"""Whether what several threads saw of one key could have happened one operation after the other.

Wing and Gong's search: an operation may take effect at any moment between its call and its return; a history is
linearizable if some order of such moments explains every result. Configurations that were tried are remembered, so
that the short histories of tests take no time.

A key's state is the number of updates since it was created, or None while it is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

State = int | None


@dataclass(frozen=True)
class Event:
    """One operation on one key, as its thread saw it.

    Attributes:
      call, end: when it was called and when it had returned, of one clock.
      kind: what was done.
      given: of "evict": keys updated less often leave.
      result: of "read": the state seen; of "lookup": the value, an absent key's being 0; of "contains": whether it
        was there; of "remove" and "evict": whether the key went.
    """

    call: int
    end: int
    kind: Literal["add", "create", "read", "lookup", "contains", "remove", "evict"]
    result: Any = None
    given: int = 0


_IMPOSSIBLE: Final = object()


def _after(state: State, event: Event) -> Any:
    """The state that the operation leaves, or _IMPOSSIBLE if it could not have had its result."""
    count = state or 0
    seen: State | bool
    left: State
    match event.kind:
        case "add":
            return count + 1
        case "create":
            seen, left = count, count
        case "read":
            seen, left = state, state
        case "lookup":
            seen, left = count, state
        case "contains":
            seen, left = state is not None, state
        case "remove":
            seen, left = state is not None, None
        case "evict":
            seen = state is not None and state < event.given
            left = None if seen else state
    return left if seen == event.result else _IMPOSSIBLE


def is_linearizable(history: Sequence[Event]) -> bool:
    """Whether some order of the operations, each within its own time, explains all results from an absent key."""
    events = sorted(history, key=lambda event: event.call)
    tried: set[tuple[int, State]] = set()
    pending: list[tuple[int, State]] = [(0, None)]  # which operations are done, and the state they left
    everything = (1 << len(events)) - 1
    while pending:
        done, state = pending.pop()
        if done == everything:
            return True
        # An operation that was called after another one had ended cannot come before it.
        first_end = min(event.end for i, event in enumerate(events) if not done >> i & 1)
        for i, event in enumerate(events):
            if event.call > first_end:
                break
            if done >> i & 1:
                continue
            left = _after(state, event)
            following = (done | 1 << i, left)
            if left is not _IMPOSSIBLE and following not in tried:
                tried.add(following)
                pending.append(following)
    return False
