"""What a run's steps took, and which graph ran, as RunMetadata tells it.

Source: tensorflow/core/common_runtime/{direct_session,step_stats_collector}.cc,
tensorflow/core/framework/step_stats.proto (1.15).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from kvarn import protos
from kvarn.graph import cost_graph, device, executor
from kvarn.graph.flow import DEAD
from kvarn.graph.kernel_context import KernelContext
from kvarn.graph.operation import Operation
from kvarn.graph.plan import Plan
from kvarn.graph.resources import Var
from kvarn.graph.tensor import Tensor

# A loop is a step under the name of what enters it.
_LOOPS: Final = ("Enter", "RefEnter")


def execute(prepared: Any, feeds: Sequence[Any], options: Any, run_metadata: Any, config: Any) -> list[Any]:
    """As `executor.execute`, and fills in a RunMetadata.

    Args:
      prepared: what the session keeps for fetches and feeds: ``plan``, ``fetches``, ``feeds``, ``runs``.
      feeds: the values fed.
      options, config: a RunOptions and a ConfigProto, or None: they say what is wanted.
      run_metadata: the RunMetadata, or None.  A run that fails leaves in it what had run till then.
    """
    costs = _wants_cost_graph(prepared, config)
    if run_metadata is None:
        return executor.execute(prepared.plan, feeds)
    run_metadata.Clear()
    asked = (prepared.fetches.tensors, prepared.fetches.targets, prepared.feeds)
    if options is not None and options.output_partition_graphs:
        run_metadata.partition_graphs.append(cost_graph.partition_graph(*asked))
    if not costs and (options is None or not options.trace_level):
        return executor.execute(prepared.plan, feeds)
    run_metadata.step_stats.SetInParent()
    collector = _Collector(run_metadata.step_stats, config)
    plan = prepared.plan
    steps = [(collector.timed(kernel), *rest) for kernel, *rest in plan.steps]
    results = executor.execute(
        Plan(steps, plan.template, plan.feed_slots, plan.fetch_slots, plan.fetch_refs), feeds
    )
    if costs:
        run_metadata.cost_graph.CopyFrom(cost_graph.cost_graph(*asked, collector.stats))
    return results


def _wants_cost_graph(prepared: Any, config: Any) -> bool:
    """Counts the run, and says whether it is one of those after which ``build_cost_model`` wants costs."""
    if config is None or config.graph_options.build_cost_model <= 0:
        return False
    measured: int = prepared.runs - config.graph_options.build_cost_model_after
    prepared.runs += 1
    return measured >= 0 and (measured + 1) % config.graph_options.build_cost_model == 0


class _Collector:
    """Adds the NodeExecStats of steps to a StepStats; a loop is one step.

    Attributes:
      stats: they, by operation.
    """

    def __init__(self, step_stats: Any, config: Any) -> None:
        self.stats: dict[Operation, Any] = {}
        self._step_stats = step_stats
        self._devices: dict[int, Any] = {}
        self._cpus = 1 if config is None else max(1, config.device_count.get("CPU", 1))
        self._device(0)

    def _device(self, number: int) -> Any:
        if number not in self._devices:
            self._devices[number] = self._step_stats.dev_stats.add(device=f"{cost_graph.CPU_0[:-1]}{number}")
        return self._devices[number]

    def _device_of(self, op: Operation) -> Any:
        """The DeviceStepStats of the CPU that ``op`` asks for, if the session has it; of the first one else."""
        spec = device.DeviceSpec.from_string(op.device)
        wanted = spec.device_index if spec.device_type == "CPU" else None
        return self._device(wanted if wanted is not None and wanted < self._cpus else 0)

    def timed(self, kernel: Any) -> Any:
        """``kernel``, noting when it runs and what it gives."""

        def run(context: KernelContext, *values: Any) -> Any:
            op = context.op
            stats = protos.NodeExecStats(node_name=op.name, thread_id=threading.get_native_id())
            started, clock = time.time_ns(), time.perf_counter_ns
            began = clock()
            result: Any = None
            try:
                result = kernel(context, *values)
            finally:
                took = clock() - began
                results = result if isinstance(result, (tuple, list)) else (result,)
                # What was not chosen has not run.
                if not any(r is DEAD for r in results):
                    self._add(op, stats, started, took, results)
            return result

        return run

    def _add(self, op: Operation, stats: Any, started: int, took: int, results: Sequence[Any]) -> None:
        """Adds what is known of a node: since when it ran, how long (in nanoseconds), and what it gave."""
        stats.timeline_label = _label(op)
        for when in ("scheduled", "all_start"):
            setattr(stats, f"{when}_micros", started // 1000)
            setattr(stats, f"{when}_nanos", started)
        for until in ("op_end_rel", "all_end_rel"):
            setattr(stats, f"{until}_micros", took // 1000)
            setattr(stats, f"{until}_nanos", took)
        stats.memory_stats.SetInParent()
        if op.type not in _LOOPS:
            for i, (tensor, value) in enumerate(zip(op.outputs, results, strict=False)):
                _describe(stats.output.add(slot=i).tensor_description, tensor, value)
        self.stats[op] = stats
        self._device_of(op).node_stats.append(stats)


def _label(op: Operation) -> str:
    """How timelines show a node: its name, type and inputs."""
    inputs = [x.op.name if x.value_index == 0 else x.name for x in op.inputs]
    return f"{op.name} = {op.type}({', '.join([*inputs, *(f'^{c.name}' for c in op.control_inputs)])})"


def _describe(description: Any, tensor: Tensor, value: Any) -> None:
    """Fills in the TensorDescription of an output."""
    if isinstance(value, Var):
        value = value.read() if value.is_initialized else None
    description.dtype = tensor.dtype.as_datatype_enum
    description.shape.SetInParent()
    description.allocation_description.allocator_name = "cpu"
    if isinstance(value, (np.ndarray, np.generic)):
        for size in value.shape:
            description.shape.dim.add(size=size)
        description.allocation_description.requested_bytes = value.nbytes
