"""LoggingTensorHook: values of tensors in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kvarn import tf_logging
from kvarn.graph.graph import get_default_graph
from kvarn.train.hooks.timer import NeverTriggerTimer, SecondOrStepTimer
from kvarn.train.session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues


class LoggingTensorHook(SessionRunHook):
    """Logs the values of tensors every so many runs or seconds, at the end, or both.

    Args:
      tensors: tensors or names of them by tag, or a list of names, which are tags too.
      every_n_iter: log every so many runs of the session.
      every_n_secs: log every so many seconds.
      at_end: log at the end too.
      formatter: makes the text of the values by tag.

    Raises:
      ValueError: not exactly one of ``every_n_iter`` and ``every_n_secs`` without ``at_end``, both of them, or
        ``every_n_iter`` is not positive.
    """

    def __init__(
        self,
        tensors: Mapping[str, Any] | Sequence[Any],
        every_n_iter: int | None = None,
        every_n_secs: float | None = None,
        at_end: bool = False,
        formatter: Callable[[Any], str] | None = None,
    ) -> None:
        only_at_end = at_end and every_n_iter is None and every_n_secs is None
        if not only_at_end and (every_n_iter is None) == (every_n_secs is None):
            raise ValueError(
                "either at_end and/or exactly one of every_n_iter and every_n_secs must be provided."
            )
        if every_n_iter is not None and every_n_iter <= 0:
            raise ValueError(f"invalid every_n_iter={every_n_iter}.")
        if isinstance(tensors, Mapping):
            self._tag_order: Sequence[Any] = sorted(tensors)
            self._tensors: Mapping[Any, Any] = tensors
        else:
            self._tag_order = tensors
            self._tensors = {item: item for item in tensors}
        self._formatter = formatter
        self._timer = (
            NeverTriggerTimer()
            if only_at_end
            else SecondOrStepTimer(every_secs=every_n_secs, every_steps=every_n_iter)
        )
        self._log_at_end = at_end

    def begin(self) -> None:
        self._timer.reset()
        self._iter_count = 0
        self._current_tensors = {tag: _as_graph_element(tensor) for tag, tensor in self._tensors.items()}

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        self._should_trigger = self._timer.should_trigger_for_step(self._iter_count)
        return SessionRunArgs(self._current_tensors) if self._should_trigger else None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        if self._should_trigger:
            self._log_tensors(run_values.results)
        self._iter_count += 1

    def end(self, session: Any) -> None:
        if self._log_at_end:
            self._log_tensors(session.run(self._current_tensors))

    def _log_tensors(self, tensor_values: Mapping[Any, Any]) -> None:
        elapsed_secs, _ = self._timer.update_last_triggered_step(self._iter_count)
        with np.printoptions(suppress=True):
            if self._formatter:
                tf_logging.info(self._formatter(tensor_values))
                return
            stats = ", ".join(f"{tag} = {tensor_values[tag]}" for tag in self._tag_order)
            if elapsed_secs is not None:
                tf_logging.info("%s (%.3f sec)", stats, elapsed_secs)
            else:
                tf_logging.info("%s", stats)


def _as_graph_element(obj: Any) -> Any:
    """The tensor that ``obj`` is or names; a name without a number is that of an operation's only output.

    Raises:
      ValueError: it is of another graph, or the operation has several outputs.
    """
    graph = get_default_graph()
    if not isinstance(obj, str):
        if getattr(obj, "graph", None) is not graph:
            raise ValueError(
                f"Passed {obj} should have graph attribute that is equal to current graph {graph}."
            )
        return obj
    if ":" in obj:
        return graph.as_graph_element(obj)
    element = graph.as_graph_element(obj + ":0")
    if len(element.op.outputs) > 1:
        raise ValueError(f"Name {obj} is ambiguous, as this `Operation` has multiple outputs (at least 2).")
    return element
