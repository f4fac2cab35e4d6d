"""What a run's steps took, as RunMetadata tells it.

Source: tensorflow/core/framework/step_stats.proto, tensorflow/core/common_runtime/step_stats_collector.cc.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from kvarn.graph import executor
from kvarn.graph.kernel_context import KernelContext
from kvarn.graph.plan import Plan

CPU_0 = "/job:localhost/replica:0/task:0/device:CPU:0"


def execute(plan: Plan, feeds: Sequence[Any], run_metadata: Any) -> list[Any]:
    """As `executor.execute`; adds the start and the end of every step to ``run_metadata.step_stats``."""
    stats = run_metadata.step_stats.dev_stats.add(device=CPU_0)
    steps = [(_timed(kernel, stats), *rest) for kernel, *rest in plan.steps]
    traced = Plan(steps, plan.template, plan.feed_slots, plan.fetch_slots, plan.fetch_refs)
    return executor.execute(traced, feeds)


def _timed(kernel: Any, stats: Any) -> Any:
    def run(context: KernelContext, *values: Any) -> Any:
        start_nanos = time.time_ns()
        began = time.perf_counter_ns()
        try:
            return kernel(context, *values)
        finally:
            took = time.perf_counter_ns() - began
            op = context.op
            inputs = ", ".join(x.op.name if x.value_index == 0 else x.name for x in op.inputs)
            stats.node_stats.add(
                node_name=op.name,
                timeline_label=f"{op.name} = {op.type}({inputs})",
                thread_id=threading.get_native_id(),
                scheduled_micros=start_nanos // 1000,
                all_start_micros=start_nanos // 1000,
                op_end_rel_micros=took // 1000,
                all_end_rel_micros=took // 1000,
            )

    return run
