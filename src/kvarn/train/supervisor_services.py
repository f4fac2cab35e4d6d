"""Threads of a Supervisor that write summaries and checkpoints while the program trains.

Source: the SV…Thread classes of tensorflow/python/training/supervisor.py (1.15).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kvarn import tf_logging
from kvarn.train import summary_io, training_util
from kvarn.train.coordinator import LooperThread

if TYPE_CHECKING:
    from kvarn.train.supervisor import Supervisor


# How often steps per second are logged; they are written always.
_MAX_LOGGED = 10


class SVSummaryThread(LooperThread):
    """Writes the supervisor's ``summary_op`` every ``save_summaries_secs``."""

    def __init__(self, sv: Supervisor, sess: Any) -> None:
        super().__init__(sv.coord, sv.save_summaries_secs)
        self._sv = sv
        self._sess = sess

    def run_loop(self) -> None:
        global_step = None
        if self._sv.global_step is not None:
            summary, global_step = self._sess.run([self._sv.summary_op, self._sv.global_step])
        else:
            summary = self._sess.run(self._sv.summary_op)
        if self._sv.summary_writer:
            tf_logging.info("Recording summary at step %s.", global_step)
            self._sv.summary_writer.add_summary(summary, global_step)


class SVStepCounterThread(LooperThread):
    """Writes the steps per second every ``save_summaries_secs``.

    Args:
      step_counter: the tensor that counts; the supervisor's ``global_step`` by default.
    """

    _logged = 0

    def __init__(self, sv: Supervisor, sess: Any, step_counter: Any = None) -> None:
        super().__init__(sv.coord, sv.save_summaries_secs)
        self._sv = sv
        self._sess = sess
        self._last_time = 0.0
        self._last_step = 0
        self._step_counter = sv.global_step if step_counter is None else step_counter
        self._summary_tag = f"{self._step_counter.op.name}/sec"

    def start_loop(self) -> None:
        self._last_time = time.time()
        self._last_step = training_util.global_step(self._sess, self._step_counter)

    def run_loop(self) -> None:
        step = training_util.global_step(self._sess, self._step_counter)
        now = time.time()
        added_steps, elapsed_secs = step - self._last_step, now - self._last_time
        self._last_step, self._last_time = step, now
        # On some machines the clock does not move between the first two looks.
        steps_per_sec = added_steps / elapsed_secs if elapsed_secs > 0.0 else float("inf")
        if self._sv.summary_writer:
            self._sv.summary_writer.add_summary(summary_io.scalar(self._summary_tag, steps_per_sec), step)
        if SVStepCounterThread._logged < _MAX_LOGGED:
            SVStepCounterThread._logged += 1
            tf_logging.info("%s: %g", self._summary_tag, steps_per_sec)


class SVTimerCheckpointThread(LooperThread):
    """Saves a checkpoint every ``save_model_secs``."""

    def __init__(self, sv: Supervisor, sess: Any) -> None:
        super().__init__(sv.coord, sv.save_model_secs)
        self._sv = sv
        self._sess = sess

    def run_loop(self) -> None:
        sv = self._sv
        tf_logging.info("Saving checkpoint to path %s", sv.save_path)
        sv.saver.save(self._sess, sv.save_path, global_step=sv.global_step)
        if sv.summary_writer and sv.global_step is not None:
            step = training_util.global_step(self._sess, sv.global_step)
            sv.summary_writer.add_session_log(summary_io.session_log("CHECKPOINT", sv.save_path or ""), step)
