"""A device function that spreads variables over parameter servers.

Source: tensorflow/python/training/device_setter.py (1.15).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from kvarn.graph.device import DeviceSpec

# The types of operations that hold state.
STANDARD_PS_OPS = (
    "Variable",
    "VariableV2",
    "AutoReloadVariable",
    "MutableHashTable",
    "MutableHashTableV2",
    "MutableHashTableOfTensors",
    "MutableHashTableOfTensorsV2",
    "MutableDenseHashTable",
    "MutableDenseHashTableV2",
    "VarHandleOp",
    "BoostedTreesEnsembleResourceHandleOp",
    "BoostedTreesQuantileStreamResourceHandleOp",
    "ResourceConditionalAccumulator",
)


def replica_device_setter(
    ps_tasks: int = 0,
    ps_device: str | None = "/job:ps",
    worker_device: str | None = "/job:worker",
    merge_devices: bool = True,
    cluster: Any = None,
    ps_ops: Any = None,
    ps_strategy: Callable[[Any], int] | None = None,
) -> Callable[[Any], str] | None:
    """A function for `tf.device` that puts variables on parameter servers in turn, the rest on the worker.

    Args:
      ps_tasks: the number of servers; with 0, and without a cluster that has any, the result is None.
      ps_device, worker_device: where the two kinds go.
      merge_devices: whether what an operation's own device leaves open is filled in; otherwise an operation
        with a device keeps it.
      cluster: a ClusterDef, or addresses by job; says the number of servers.
      ps_ops: the types of operations that go to servers.
      ps_strategy: the number of the server for an operation, instead of one after the other.

    Raises:
      TypeError: ``ps_strategy`` can not be called.
    """
    if cluster is not None:
        job = DeviceSpec.from_string(ps_device).job
        servers = _jobs(cluster).get(job or "")
        if not servers:
            return None
        ps_tasks = len(servers)
    if ps_tasks == 0:
        return None
    if ps_strategy is None:
        turns = itertools.cycle(range(ps_tasks))

        def ps_strategy(op: Any) -> int:
            return next(turns)

    elif not callable(ps_strategy):
        raise TypeError("ps_strategy must be callable")
    strategy: Callable[[Any], int] = ps_strategy
    state_ops = frozenset(STANDARD_PS_OPS if ps_ops is None else ps_ops)

    def device_function(op: Any) -> str:
        if not merge_devices and op.device:
            return str(op.device)
        current = DeviceSpec.from_string(op.device or "")
        # A node of an imported graph calls its type `op`.
        op_type = op.type if hasattr(op, "type") else op.op
        if ps_device and op_type in state_ops:
            server = DeviceSpec.from_string(ps_device)
            if server.job and current.job in (None, server.job):
                server = server.replace(task=strategy(op))
            return server.make_merged_spec(current).to_string()
        return DeviceSpec.from_string(worker_device or "").make_merged_spec(current).to_string()

    return device_function


def _jobs(cluster: Any) -> Mapping[str, Any]:
    if hasattr(cluster, "as_dict"):
        found: Mapping[str, Any] = cluster.as_dict()
        return found
    if isinstance(cluster, Mapping):
        return cluster
    return {job.name: job.tasks for job in cluster.job}
