"""The hook that writes when each operation of a run was at work.

Source: `ProfilerHook` of tensorflow/python/training/basic_session_run_hooks.py (1.15).
"""

from __future__ import annotations

import os
from typing import Any

from kvarn import protos, tf_logging
from kvarn.graph.timeline import Timeline
from kvarn.io import as_path, atomic_replace, file_system_of
from kvarn.train import summary_io
from kvarn.train.hooks.global_step import global_step_read
from kvarn.train.hooks.timer import SecondOrStepTimer
from kvarn.train.session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues


class ProfilerHook(SessionRunHook):
    """Traces a run every so many steps or seconds, not the first one.

    The trace becomes ``timeline-<global step>.json`` (see `kvarn.graph.timeline`), and a RunMetadata
    ``step_<global step>`` in the event file of the folder.

    Args:
      save_steps, save_secs: how often; exactly one of them.
      output_dir: the folder.
      show_dataflow: whether the trace has arrows from makers to readers of tensors.
      show_memory: whether it has the tensors with their sizes.

    Raises:
      ValueError: both or none of ``save_steps`` and ``save_secs``.
      RuntimeError: (in `begin`) there is no global step.
      OpError: (after a run) a file cannot be written.
    """

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str | os.PathLike[str] = "",
        show_dataflow: bool = True,
        show_memory: bool = False,
    ) -> None:
        self._timer = SecondOrStepTimer(every_secs=save_secs, every_steps=save_steps)
        self._output_dir = output_dir
        self._show_dataflow = show_dataflow
        self._show_memory = show_memory

    def begin(self) -> None:
        self._next_step: int | None = None
        self._global_step_tensor = global_step_read("ProfilerHook")
        self._file_writer = summary_io.writer_of(self._output_dir)

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        self._request_summary = self._next_step is not None and self._timer.should_trigger_for_step(
            self._next_step
        )
        options = protos.RunOptions(trace_level=protos.RunOptions.FULL_TRACE)
        return SessionRunArgs(
            {"global_step": self._global_step_tensor}, options=options if self._request_summary else None
        )

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        stale_global_step = run_values.results["global_step"]
        if self._next_step is None:
            # It counts from the first run on.
            self._timer.update_last_triggered_step(stale_global_step)
        global_step = stale_global_step + 1
        if self._request_summary:
            global_step = run_context.session.run(self._global_step_tensor)
            self._timer.update_last_triggered_step(global_step)
            self._save(global_step, run_values.run_metadata.step_stats)
            self._file_writer.add_run_metadata(run_values.run_metadata, f"step_{global_step}")
        self._next_step = global_step + 1

    def _save(self, step: int, step_stats: Any) -> None:
        path = os.path.join(as_path(self._output_dir), f"timeline-{step}.json")
        tf_logging.info("Saving timeline for %d into '%s'.", step, path)
        trace = Timeline(step_stats).generate_chrome_trace_format(self._show_dataflow, self._show_memory)
        atomic_replace(file_system_of(path), path, trace.encode())
