"""MonitoredTrainingSession: a monitored session with the hooks that a training usually has.

Source: `MonitoredTrainingSession` of tensorflow/python/training/monitored_session.py, 1.15 and DeepRec.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from kvarn.train.hooks.checkpoint_saver import CheckpointSaverHook
from kvarn.train.hooks.summaries import StepCounterHook, SummarySaverHook
from kvarn.train.monitored_session import MonitoredSession
from kvarn.train.scaffold import Scaffold
from kvarn.train.session_creator import ChiefSessionCreator, WorkerSessionCreator
from kvarn.train.session_run_hook import SessionRunHook

# Not given, where None has a meaning.
USE_DEFAULT = object()


def MonitoredTrainingSession(
    master: str = "",
    is_chief: bool = True,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    scaffold: Scaffold | None = None,
    hooks: Sequence[SessionRunHook] | None = None,
    chief_only_hooks: Sequence[SessionRunHook] | None = None,
    save_checkpoint_secs: Any = USE_DEFAULT,
    save_summaries_steps: Any = USE_DEFAULT,
    save_summaries_secs: Any = USE_DEFAULT,
    config: Any = None,
    stop_grace_period_secs: float = 120,
    log_step_count_steps: int | None = 100,
    max_wait_secs: float = 7200,
    save_checkpoint_steps: Any = USE_DEFAULT,
    summary_dir: str | os.PathLike[str] | None = None,
    save_incremental_checkpoint_secs: float | None = None,
) -> MonitoredSession:
    """A `MonitoredSession` that saves checkpoints and summaries.

    Args:
      master, config: the target and a ConfigProto of the session.
      is_chief: whether to initialize and save; others wait for the chief, and have only ``hooks``.
      checkpoint_dir: where checkpoints are restored from and saved to; without it nothing is saved.
      scaffold: a Scaffold; a new one by default.
      hooks, chief_only_hooks: hooks beside those that are made here, of everybody and of the chief alone.
      save_checkpoint_secs, save_checkpoint_steps: how often to save; every 600 seconds if neither is given, never
        if what is given is None or 0.
      save_summaries_steps, save_summaries_secs: the same for summaries; every 100 steps if neither is given.
      stop_grace_period_secs: how long the close waits for threads.
      log_step_count_steps: how often to count steps per second; never if None or 0.
      max_wait_secs: how long others wait for the chief.
      summary_dir: where event files go; ``checkpoint_dir`` by default.
      save_incremental_checkpoint_secs: save an increment every so many seconds between checkpoints, see
        `CheckpointSaverHook`; when a session begins, the newest one is applied to the checkpoint it follows.

    Raises:
      ValueError: increments are wanted, and checkpoints are never saved, or the scaffold's Saver was made without
        ``incremental_save_restore``.
    """
    save_summaries_steps, save_summaries_secs = _steps_or_secs(
        save_summaries_steps, save_summaries_secs, default=(100, None)
    )
    save_checkpoint_steps, save_checkpoint_secs = _steps_or_secs(
        save_checkpoint_steps, save_checkpoint_secs, default=(None, 600)
    )
    saves = bool(checkpoint_dir) and (
        _is_positive(save_checkpoint_secs) or _is_positive(save_checkpoint_steps)
    )
    scaffold = scaffold or Scaffold()
    if save_incremental_checkpoint_secs is not None:
        if is_chief and not saves:
            raise ValueError(
                "save_incremental_checkpoint_secs: an increment follows a checkpoint, so there must be a "
                "checkpoint_dir, and save_checkpoint_secs or save_checkpoint_steps."
            )
        scaffold._incremental_save_restore = True
    if not is_chief:
        return MonitoredSession(
            session_creator=WorkerSessionCreator(
                scaffold=scaffold, master=master, config=config, max_wait_secs=max_wait_secs
            ),
            hooks=hooks or [],
            stop_grace_period_secs=stop_grace_period_secs,
        )
    all_hooks: list[SessionRunHook] = [*(chief_only_hooks or ())]
    summary_dir = summary_dir or checkpoint_dir
    if summary_dir:
        if _is_positive(log_step_count_steps):
            all_hooks.append(
                StepCounterHook(output_dir=os.fspath(summary_dir), every_n_steps=log_step_count_steps)
            )
        if _is_positive(save_summaries_steps) or _is_positive(save_summaries_secs):
            all_hooks.append(
                SummarySaverHook(
                    scaffold=scaffold,
                    save_steps=save_summaries_steps,
                    save_secs=save_summaries_secs,
                    output_dir=os.fspath(summary_dir),
                )
            )
    if checkpoint_dir and saves:
        all_hooks.append(
            CheckpointSaverHook(
                os.fspath(checkpoint_dir),
                save_steps=save_checkpoint_steps,
                save_secs=save_checkpoint_secs,
                scaffold=scaffold,
                incremental_save_secs=save_incremental_checkpoint_secs,
            )
        )
    all_hooks.extend(hooks or ())
    return MonitoredSession(
        session_creator=ChiefSessionCreator(
            scaffold=scaffold, checkpoint_dir=checkpoint_dir, master=master, config=config
        ),
        hooks=all_hooks,
        stop_grace_period_secs=stop_grace_period_secs,
    )


def _steps_or_secs(steps: Any, secs: Any, default: tuple[Any, Any]) -> tuple[Any, Any]:
    """Both with None for what was not given; ``default`` if that is both."""
    if steps is USE_DEFAULT and secs is USE_DEFAULT:
        return default
    return None if steps is USE_DEFAULT else steps, None if secs is USE_DEFAULT else secs


def _is_positive(number: float | None) -> bool:
    return bool(number) and number is not None and number > 0
