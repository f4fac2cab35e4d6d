"""Handles of tables and queues, in the newer form and in that of old graphs.

Source: tensorflow/core/framework/resource_mgr.h (`ContainerInfo`) and tensorflow/core/kernels/lookup_util.cc (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kvarn import dtypes
from kvarn.graph.resources import ResourceHandle, Var


def own_handle(ctx: Any, kind: str) -> ResourceHandle:
    """The handle of what a node makes: shared if its attributes name it, otherwise of this node alone."""
    handle: ResourceHandle = ctx.handle(kind)
    shared = ctx.attrs["shared_name"] or ctx.attrs.get("use_node_name_sharing")
    if not shared and handle.name == ctx.op.name:
        # The name that TensorFlow gives, which no shared name is.
        handle = ctx.cache = ResourceHandle(handle.container, f"_0_{handle.name}", kind)
    return handle


def as_reference(ctx: Any, handle: ResourceHandle) -> Var:
    """The handle in its older form: a reference to the container and the name."""
    reference = Var(handle.name, dtypes.string, (2,))
    names = np.empty(2, dtype=object)
    names[:] = [(handle.container or ctx.resources.default_container).encode(), handle.name.encode()]
    reference.assign(names)
    return reference


def look_up(ctx: Any, handle: Any, kind: str) -> Any:
    """What a handle of either form stands for; NotFoundError if there is no such thing."""
    if isinstance(handle, np.ndarray):  # one of several that were put together
        handle = handle.item()
    if isinstance(handle, Var):
        container, name = (part.decode() for part in handle.read())
        container = "" if container == ctx.resources.default_container else container
        handle = ResourceHandle(container, name, kind)
    return ctx.resources.look_up(handle)
