"""What a kernel may know besides its inputs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from kvarn.graph.resources import ResourceHandle, ResourceManager

if TYPE_CHECKING:
    from kvarn.graph.operation import Operation


class KernelContext:
    """The node a kernel runs for.

    One context lives as long as its plan, so a kernel may keep in ``cache`` what depends on the node alone.

    Attributes:
      op: the operation.
      attrs: its attribute values.
      resources: the session's live objects.
      session: the session.
      cache: for the kernel's own use; None at first.
      wanted: which outputs anybody reads; None for all.  A kernel may give None for the others.
    """

    __slots__ = ("attrs", "cache", "op", "resources", "session", "wanted")

    # How many references an array has inside `owned` when only the run holds it; measured by the executor,
    # since it depends on how the interpreter passes arguments.
    owned_references: int = 0

    def __init__(self, op: Operation, resources: ResourceManager, session: Any) -> None:
        self.op = op
        self.attrs = op.attrs
        self.resources = resources
        self.session = session
        self.cache: Any = None
        self.wanted: frozenset[int] | None = None

    def owned(self, value: Any) -> np.ndarray[Any, Any]:
        """``value`` (an input of the kernel) as an array that may be kept: itself if nobody else can see it,
        otherwise a copy."""
        if (
            type(value) is np.ndarray
            and value.base is None
            and value.flags.owndata
            and value.flags.writeable
            and value.flags.c_contiguous
            and sys.getrefcount(value) <= KernelContext.owned_references
        ):
            return value
        return np.array(value, copy=True, order="C")

    def handle(self, kind: str, dtype: Any = None, shape: Any = None) -> ResourceHandle:
        """The handle of the resource that the attrs ``container`` and ``shared_name`` name, or the node."""
        found: ResourceHandle | None = self.cache
        if found is None:
            name = self.attrs.get("shared_name") or self.op.name
            container = self.attrs.get("container") or b""
            if isinstance(name, bytes):
                name = name.decode()
            found = self.cache = ResourceHandle(container.decode(), name, kind, dtype, shape)
        return found
