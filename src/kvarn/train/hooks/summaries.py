"""Hooks that write event files."""

from __future__ import annotations

from typing import Any

from kvarn import tf_logging
from kvarn.train import summary_io, training_util
from kvarn.train.hooks.global_step import global_step_read
from kvarn.train.hooks.timer import SecondOrStepTimer
from kvarn.train.session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues

# How often it is said that the global step stands still.
_MAX_WARNINGS = 5


class StepCounterHook(SessionRunHook):
    """Counts steps per second: logs them, and writes them as summary ``<global step>/sec``.

    Args:
      every_n_steps, every_n_secs: how often; exactly one of them.
      output_dir: the folder of the event file.
      summary_writer: a FileWriter instead of that.

    Raises:
      ValueError: both or none of ``every_n_steps`` and ``every_n_secs``.
      RuntimeError: (in `begin`) there is no global step.
    """

    def __init__(
        self,
        every_n_steps: int | None = 100,
        every_n_secs: float | None = None,
        output_dir: str | None = None,
        summary_writer: Any = None,
    ) -> None:
        if (every_n_steps is None) == (every_n_secs is None):
            raise ValueError("exactly one of every_n_steps and every_n_secs should be provided.")
        self._timer = SecondOrStepTimer(every_steps=every_n_steps, every_secs=every_n_secs)
        self._summary_writer = summary_writer
        self._output_dir = output_dir
        self._last_global_step: int | None = None
        self._steps_per_run = 1

    def _set_steps_per_run(self, steps_per_run: int) -> None:
        self._steps_per_run = steps_per_run

    def begin(self) -> None:
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = summary_io.writer_of(self._output_dir)
        self._global_step_tensor = global_step_read("StepCounterHook")
        self._summary_tag = training_util.get_global_step().op.name + "/sec"

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._global_step_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        stale_global_step = run_values.results
        if self._timer.should_trigger_for_step(stale_global_step + self._steps_per_run):
            global_step = run_context.session.run(self._global_step_tensor)
            if self._timer.should_trigger_for_step(global_step):
                elapsed_secs, elapsed_steps = self._timer.update_last_triggered_step(global_step)
                if elapsed_secs is not None and elapsed_steps is not None:
                    self._log_and_record(elapsed_steps, elapsed_secs, global_step)
        if stale_global_step == self._last_global_step:
            tf_logging.log_first_n(
                tf_logging.WARN,
                "It seems that global step (tf.train.get_global_step) has not been increased. Current value "
                "(could be stable): %s vs previous value: %s. You could increase the global step by passing "
                "tf.train.get_global_step() to Optimizer.apply_gradients or Optimizer.minimize.",
                _MAX_WARNINGS,
                stale_global_step,
                self._last_global_step,
            )
        self._last_global_step = stale_global_step

    def _log_and_record(self, elapsed_steps: int, elapsed_time: float, global_step: int) -> None:
        steps_per_sec = elapsed_steps / elapsed_time
        if self._summary_writer is not None:
            self._summary_writer.add_summary(summary_io.scalar(self._summary_tag, steps_per_sec), global_step)
        tf_logging.info("%s: %g", self._summary_tag, steps_per_sec)


class SummarySaverHook(SessionRunHook):
    """Writes summaries, at the first run and then every so many steps or seconds.

    Args:
      save_steps, save_secs: how often; exactly one of them.
      output_dir: the folder of the event file.
      summary_writer: a FileWriter instead of that.
      scaffold: a Scaffold whose ``summary_op`` is written.
      summary_op: a tensor of summaries, or a list of them; exactly one of this and ``scaffold``.

    Raises:
      ValueError: an argument is there twice or not at all.
      RuntimeError: (in `begin`) there is no global step.
    """

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str | None = None,
        summary_writer: Any = None,
        scaffold: Any = None,
        summary_op: Any = None,
    ) -> None:
        if (scaffold is None) == (summary_op is None):
            raise ValueError("Exactly one of scaffold or summary_op must be provided.")
        self._summary_op = summary_op
        self._summary_writer = summary_writer
        self._output_dir = output_dir
        self._scaffold = scaffold
        self._timer = SecondOrStepTimer(every_secs=save_secs, every_steps=save_steps)

    def begin(self) -> None:
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = summary_io.writer_of(self._output_dir)
        self._next_step: int | None = None
        self._global_step_tensor = global_step_read("SummarySaverHook")

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        self._request_summary = self._next_step is None or self._timer.should_trigger_for_step(
            self._next_step
        )
        requests = {"global_step": self._global_step_tensor}
        if self._request_summary:
            summary_op = self._get_summary_op()
            if summary_op is not None:
                requests["summary"] = summary_op
        return SessionRunArgs(requests)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        if not self._summary_writer:
            return
        global_step = run_values.results["global_step"] + 1
        if self._next_step is None or self._request_summary:
            global_step = run_context.session.run(self._global_step_tensor)
        if self._next_step is None:
            self._summary_writer.add_session_log(summary_io.session_log("START"), global_step)
        if self._request_summary:
            self._timer.update_last_triggered_step(global_step)
            for summary in run_values.results.get("summary", ()):
                self._summary_writer.add_summary(summary, global_step)
        self._next_step = global_step + 1

    def end(self, session: Any = None) -> None:
        if self._summary_writer:
            self._summary_writer.flush()

    def _get_summary_op(self) -> list[Any] | None:
        """The summaries as a list; None if there are none."""
        found = self._summary_op if self._summary_op is not None else self._scaffold.summary_op
        return found if found is None or isinstance(found, list) else [found]
