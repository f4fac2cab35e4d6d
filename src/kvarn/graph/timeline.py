"""The step stats of a run as a trace that Chrome's ``about:tracing`` and Perfetto show.

Each device is two processes of the trace: what it computes, in as many lanes as ran at once, and the tensors it
made.  Flow arrows go from the node that made a tensor to the nodes that read it.

Source: tensorflow/python/client/timeline.py (1.15).
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

# What the label of a node looks like: "name = Type(input, input)".
_LABEL: Final = re.compile(r"(.*) = (.*)\((.*)\)")
# The node of a tensor that came from another process; it has a label of another form.
_RECEIVED: Final = "RecvTensor"


class AllocationMaximum(NamedTuple):
    """The moment (in microseconds) at which an allocator had most bytes in use, and the names of what they were."""

    timestamp: int
    num_bytes: int
    tensors: set[str]


class StepStatsAnalysis(NamedTuple):
    """A trace, and the AllocationMaximum of each allocator by its name."""

    chrome_trace: ChromeTrace
    allocator_maximums: dict[str, AllocationMaximum]


class ChromeTrace:
    """Events in the Trace Event Format; times are in microseconds."""

    def __init__(self) -> None:
        self._names: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []

    def name_process(self, pid: int, name: str) -> None:
        self._names.append({"name": "process_name", "ph": "M", "pid": pid, "args": {"name": name}})

    def add(self, phase: str, category: str, name: str, pid: int, tid: int, time: int, **more: Any) -> None:
        """An event of a phase: ``X`` region, ``N O D`` object, ``s t`` flow, ``C`` counter."""
        self._events.append(
            {"ph": phase, "cat": category, "name": name, "pid": pid, "tid": tid, "ts": time, **more}
        )

    def format_to_string(self, pretty: bool = False) -> str:
        """The trace as JSON text, indented if it is to be ``pretty``."""
        trace = {"traceEvents": self._names + self._events}
        if pretty:
            return json.dumps(trace, indent=4, separators=(",", ": "))
        return json.dumps(trace, separators=(",", ":"))


class _Activity(NamedTuple):
    """A node that ran: its NodeExecStats, the processes of its device, and its lane there."""

    stats: Any
    device: str
    pid: int
    tensors_pid: int
    lane: int

    @property
    def start(self) -> int:
        return int(self.stats.all_start_micros)

    @property
    def end(self) -> int:
        return int(self.stats.all_start_micros + self.stats.all_end_rel_micros)

    @property
    def is_of_gpu_tracer(self) -> bool:
        return "/stream:" in self.device or "/memcpy" in self.device


class _Made:
    """A tensor: who made it, and until when it is in use."""

    def __init__(self, object_id: int, maker: _Activity, allocation: Any) -> None:
        self.object_id = object_id
        self.maker = maker
        self.allocator = allocation.allocator_name
        self.num_bytes = allocation.requested_bytes
        self.last_use = maker.end


class Timeline:
    """Shows what a run did when.  Not thread-safe.

    Args:
      step_stats: a StepStats, as `Session.run` puts into a RunMetadata.
      graph: for TensorFlow's signature; the step stats say all.
    """

    def __init__(self, step_stats: Any, graph: Any = None) -> None:
        self._step_stats = step_stats
        self._graph = graph

    def analyze_step_stats(self, show_dataflow: bool = True, show_memory: bool = True) -> StepStatsAnalysis:
        """The trace and the peaks of memory.

        Args:
          show_dataflow: add arrows from makers to readers of tensors, where they are in different lanes.
          show_memory: add the tensors with their sizes, and a counter for each allocator; without it there are
            no peaks.
        """
        trace = ChromeTrace()
        trace.name_process(0, "Allocators")
        activities = list(self._activities(trace))
        tensors = _tensors(trace, activities, show_memory)
        flows = itertools.count() if show_dataflow else None
        for activity in activities:
            _show_activity(trace, activity, tensors, flows)
        return StepStatsAnalysis(trace, _show_memory(trace, tensors) if show_memory else {})

    def generate_chrome_trace_format(self, show_dataflow: bool = True, show_memory: bool = False) -> str:
        """The trace as indented JSON; see `analyze_step_stats`."""
        return self.analyze_step_stats(show_dataflow, show_memory).chrome_trace.format_to_string(pretty=True)

    def _activities(self, trace: ChromeTrace) -> Iterator[_Activity]:
        """What ran, each in the first lane of its device that is free."""
        for i, device_stats in enumerate(self._step_stats.dev_stats):
            pid, tensors_pid = 2 * i + 1, 2 * i + 2
            trace.name_process(pid, f"{device_stats.device} Compute")
            trace.name_process(tensors_pid, f"{device_stats.device} Tensors")
            busy_until = [0]
            for stats in device_stats.node_stats:
                free = (k for k, end in enumerate(busy_until) if stats.all_start_micros > end)
                lane = next(free, len(busy_until))
                if lane == len(busy_until):
                    busy_until.append(0)
                activity = _Activity(stats, device_stats.device, pid, tensors_pid, lane)
                busy_until[lane] = activity.end
                yield activity


def _inputs(stats: Any) -> tuple[str, list[str]]:
    """The type of a node and the names of what it reads, from its label."""
    match = _LABEL.match(stats.timeline_label)
    if match is None:
        return "unknown", []
    _, kind, inputs = match.groups()
    return kind, inputs.split(", ") if inputs else []


def _tensors(trace: ChromeTrace, activities: list[_Activity], show: bool) -> dict[str, _Made]:
    """All tensors that were made, by name; if they are to be shown, with events that they are there."""
    tensors: dict[str, _Made] = {}
    for activity in activities:
        for i, output in enumerate(activity.stats.output):
            name = f"{activity.stats.node_name}:{i}" if i else activity.stats.node_name
            description = output.tensor_description
            made = tensors[name] = _Made(len(tensors), activity, description.allocation_description)
            if show:
                text = str(description).replace('"', "")
                where = (activity.tensors_pid, activity.lane)
                trace.add("N", "Tensor", name, *where, activity.start, id=made.object_id)
                snapshot = {"snapshot": {"tensor_description": text}}
                trace.add("O", "Tensor", name, *where, activity.end - 1, id=made.object_id, args=snapshot)
    return tensors


def _show_activity(
    trace: ChromeTrace, activity: _Activity, tensors: dict[str, _Made], flows: Iterator[int] | None
) -> None:
    """Adds what a node did, notes which tensors it used, and with ``flows`` (their numbers) where from."""
    stats, start = activity.stats, activity.start
    name, inputs = stats.node_name, list[str]()
    if activity.is_of_gpu_tracer:
        name, kind = [*stats.node_name.split(":"), "unknown"][:2]
    elif name == _RECEIVED:
        kind = _RECEIVED
    else:
        kind, inputs = _inputs(stats)
    arguments = {"name": name, "op": kind, **{f"input{i}": x for i, x in enumerate(inputs)}}
    duration = stats.all_end_rel_micros
    trace.add("X", "Op", kind, activity.pid, activity.lane, start, dur=duration, args=arguments)
    for read in inputs:
        # What came from another device has a number after the name.
        made = tensors.get(read) or tensors.get(read.rpartition("/_")[0])
        if made is None:
            continue
        made.last_use = max(made.last_use, activity.end - 1)
        maker = made.maker
        if flows is not None and (maker.pid, maker.lane) != (activity.pid, activity.lane):
            source = read if read in tensors else read.rpartition("/_")[0]
            number = next(flows)
            trace.add("s", "DataFlow", source, maker.pid, maker.lane, maker.end, id=number)
            trace.add("t", "DataFlow", source, activity.pid, activity.lane, start, id=number)


def _show_memory(trace: ChromeTrace, tensors: dict[str, _Made]) -> dict[str, AllocationMaximum]:
    """Adds the end of each tensor and what each allocator has in use over time; the peaks of the latter."""
    changes: dict[str, list[tuple[int, int, str]]] = {}
    for name, made in tensors.items():
        trace.add("D", "Tensor", name, made.maker.tensors_pid, 0, made.last_use, id=made.object_id)
        of_allocator = changes.setdefault(made.allocator, [])
        of_allocator.append((made.maker.start, made.num_bytes, name))
        of_allocator.append((made.last_use, -made.num_bytes, name))
    peaks: dict[str, AllocationMaximum] = {}
    for allocator, of_allocator in changes.items():
        peaks[allocator] = AllocationMaximum(0, 0, set())
        in_use, alive = 0, set[str]()
        for time, num_bytes, name in sorted(of_allocator):
            in_use += num_bytes
            if num_bytes < 0:
                alive.discard(name)
            else:
                alive.add(name)
            if in_use > peaks[allocator].num_bytes:
                peaks[allocator] = AllocationMaximum(time, in_use, set(alive))
            trace.add("C", "Memory", allocator, 0, 0, time, args={allocator: in_use})
    return peaks
