"""Hooks that end the training, or let it begin."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from kvarn import dtypes, tf_logging
from kvarn.graph.graph import GraphKeys, get_default_graph
from kvarn.train import training_util
from kvarn.train.hooks.global_step import global_step_read
from kvarn.train.session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from kvarn.variables import initializers
from kvarn.variables import scope as variable_scope

_HOOKS = "hooks"
_STEPS_PER_RUN_VAR = "steps_per_run"


def _check_steps(num_steps: int | None, last_step: int | None) -> None:
    if num_steps is None and last_step is None:
        raise ValueError("One of num_steps or last_step must be specified.")
    if num_steps is not None and last_step is not None:
        raise ValueError("Only one of num_steps or last_step can be specified.")


class StopAtStepHook(SessionRunHook):
    """Stops after a number of steps.

    Args:
      num_steps: how many steps to make, counted from the one at which the session begins.
      last_step: the global step to stop at; if it is reached already, one more run is made.

    Raises:
      ValueError: neither is given, or both.
      RuntimeError: (in `begin`) there is no global step.
    """

    def __init__(self, num_steps: int | None = None, last_step: int | None = None) -> None:
        _check_steps(num_steps, last_step)
        self._num_steps = num_steps
        self._last_step = last_step

    def begin(self) -> None:
        self._global_step_tensor = global_step_read("StopAtStepHook")

    def after_create_session(self, session: Any, coord: Any) -> None:
        if self._last_step is None:
            self._last_step = session.run(self._global_step_tensor) + self._num_steps

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._global_step_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        # What came with the run may be from before its step; only then is another look needed.
        if run_values.results + 1 >= self._last_step:
            step = run_context.session.run(self._global_step_tensor)
            if step >= self._last_step:
                run_context.request_stop()


def get_or_create_steps_per_run_variable() -> Any:
    """The int32 scalar that says how many steps one run makes, 1 at first.

    Raises:
      RuntimeError: the graph has several.
    """
    collection = f"{_HOOKS}_{_STEPS_PER_RUN_VAR}"
    found = get_default_graph().get_collection(collection)
    if len(found) > 1:
        raise RuntimeError("Multiple steps_per_run_var in collection.")
    if found:
        return found[0]
    with variable_scope.variable_scope(_HOOKS, reuse=variable_scope.AUTO_REUSE):
        return variable_scope.get_variable(
            _STEPS_PER_RUN_VAR,
            initializer=initializers.ones_initializer(),
            shape=[],
            dtype=dtypes.int32,
            trainable=False,
            collections=[collection, GraphKeys.LOCAL_VARIABLES],
            use_resource=True,
        )


class _MultiStepStopAtStepHook(SessionRunHook):
    """`StopAtStepHook` for runs that make several steps; the last run makes as many as are left.

    Args:
      num_steps, last_step: as of `StopAtStepHook`.
      steps_per_run: how many steps a run makes, by the variable of `get_or_create_steps_per_run_variable`.

    Raises:
      ValueError: as `StopAtStepHook`, or ``steps_per_run`` is less than 1.
    """

    def __init__(
        self, num_steps: int | None = None, last_step: int | None = None, steps_per_run: int = 1
    ) -> None:
        _check_steps(num_steps, last_step)
        if steps_per_run is None or steps_per_run < 1:
            raise ValueError("steps_per_run should be greater than 0")
        self._num_steps = num_steps
        self._last_step = last_step
        self._steps_per_run_initial_value = steps_per_run

    def begin(self) -> None:
        self._global_step_tensor = training_util.get_global_step()
        if self._global_step_tensor is None:
            raise RuntimeError("Global step should be created to use StopAtStepHook.")
        self._steps_per_run_variable = get_or_create_steps_per_run_variable()

    def after_create_session(self, session: Any, coord: Any) -> None:
        global_step = session.run(self._global_step_tensor)
        if self._last_step is None:
            self._last_step = global_step + self._num_steps
        self._update_steps_per_run_variable(global_step, session)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        global_step = run_context.session.run(self._global_step_tensor)
        if global_step >= self._last_step:
            run_context.request_stop()
        else:
            self._update_steps_per_run_variable(global_step, run_context.session)

    def _update_steps_per_run_variable(self, global_step: int, session: Any) -> None:
        assert self._last_step is not None
        steps = min(self._last_step - global_step, self._steps_per_run_initial_value)
        self._steps_per_run_variable.load(steps, session=session)


class NanLossDuringTrainingError(RuntimeError):
    """The loss was NaN."""

    def __str__(self) -> str:
        return "NaN loss during training."


class NanTensorHook(SessionRunHook):
    """Stops when the loss is NaN.

    Args:
      loss_tensor: the loss, a scalar.
      fail_on_nan_loss: raise NanLossDuringTrainingError; otherwise the training just ends.
    """

    def __init__(self, loss_tensor: Any, fail_on_nan_loss: bool = True) -> None:
        self._loss_tensor = loss_tensor
        self._fail_on_nan_loss = fail_on_nan_loss

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._loss_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        if not np.isnan(run_values.results):
            return
        message = "Model diverged with loss = NaN."
        if self._fail_on_nan_loss:
            tf_logging.error(message)
            raise NanLossDuringTrainingError
        tf_logging.warning(message)
        run_context.request_stop()


class GlobalStepWaiterHook(SessionRunHook):
    """Holds the first run back until the global step, which others increase, has come to ``wait_until_step``."""

    def __init__(self, wait_until_step: int) -> None:
        self._wait_until_step = wait_until_step

    def begin(self) -> None:
        self._worker_is_started = False
        self._global_step_tensor = global_step_read("_GlobalStepWaiterHook")

    def before_run(self, run_context: SessionRunContext) -> None:
        if self._worker_is_started:
            return
        if self._wait_until_step > 0:
            self._wait(run_context.session)
        self._worker_is_started = True

    def _wait(self, session: Any) -> None:
        tf_logging.info("Waiting for global step %d before starting training.", self._wait_until_step)
        last_logged_step = 0
        while (step := session.run(self._global_step_tensor)) < self._wait_until_step:
            if step - last_logged_step > 1000:
                tf_logging.info(
                    "Waiting for global step %d before starting training. Current step is %d.",
                    self._wait_until_step,
                    step,
                )
                last_logged_step = step
            time.sleep(0.5)
