"""Which checkpoints of one `Checkpoint` are kept.

Source: `CheckpointManager` in tensorflow/python/training/checkpoint_management.py (1.15).
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from kvarn import checkpoint as management
from kvarn import tf_logging
from kvarn.train.tracking.load_status import get_session
from kvarn.train.training_util import global_step
from kvarn.variables.creator import variable_creator_scope


class CheckpointManager:
    """Saves a `Checkpoint` again and again, and deletes old ones.

    What it keeps is written into the directory's state file, so that one made later goes on with it.

    Args:
      checkpoint: the `Checkpoint`.
      directory: where its files are.
      max_to_keep: how many of the newest stay; None for all.
      keep_checkpoint_every_n_hours: one that would be deleted stays for good, and is not listed any more, if it
        is so much younger than the last that stayed for good.
      checkpoint_name: of the prefixes, before the number.

    Raises:
      ValueError: ``max_to_keep`` is below 1.
    """

    def __init__(
        self,
        checkpoint: Any,
        directory: Any,
        max_to_keep: int | None,
        keep_checkpoint_every_n_hours: float | None = None,
        checkpoint_name: str = "ckpt",
    ) -> None:
        if max_to_keep is not None and max_to_keep <= 0:
            raise ValueError(
                f"Expected a positive integer or `None` for `max_to_max_to_keep`, got {max_to_keep}."
            )
        self._checkpoint = checkpoint
        self._save_counter_assign: Any = None
        self._max_to_keep = max_to_keep
        self._keep_checkpoint_every_n_hours = keep_checkpoint_every_n_hours
        self._directory = os.fsdecode(directory)
        self._checkpoint_prefix = os.path.join(self._directory, checkpoint_name)
        self._latest_checkpoint: str | None = None
        # Those that may be deleted, oldest first, with the times when they were written.
        self._maybe_delete: dict[str, float] = {}
        now = time.time()
        state = management.get_checkpoint_state(self._directory)
        if state is None:
            # A manager made at once after this one sees all of its checkpoints as younger.
            self._last_preserved_timestamp = now - 1.0
        else:
            self._recover(state, now)

    def _recover(self, state: Any, now: float) -> None:
        self._latest_checkpoint = state.model_checkpoint_path
        preserved = state.last_preserved_timestamp
        if now < preserved:
            tf_logging.warning(
                "time.time() returned a value %f seconds behind the last preserved checkpoint timestamp.",
                preserved - now,
            )
            preserved = now
        self._last_preserved_timestamp = preserved
        paths = list(state.all_model_checkpoint_paths)
        times = list(state.all_model_checkpoint_timestamps) or [preserved] * len(paths)
        for path, written in zip(paths, times, strict=True):
            # A clock that has gone back makes nothing old.
            if min(written, now) > preserved:
                self._maybe_delete[path] = min(written, now)

    @property
    def latest_checkpoint(self) -> str | None:
        """The prefix of the newest; None before the first."""
        return self._latest_checkpoint

    @property
    def checkpoints(self) -> list[str]:
        """The prefixes it may still delete, oldest first."""
        return list(self._maybe_delete)

    @property
    def _prefix(self) -> str:
        return self._checkpoint_prefix

    def save(self, checkpoint_number: Any = None) -> str:
        """Writes a checkpoint, lists it as the newest, and deletes those that have to leave.

        Args:
          checkpoint_number: a number, variable or tensor instead of the checkpoint's ``save_counter``, which is
            counted up anyway.

        Returns:
          Its prefix.

        Raises:
          as `kvarn.train.tracking.checkpoint.Checkpoint.write`.
        """
        session = get_session()
        counter = self._initialized_counter(session)
        if self._save_counter_assign is None:
            self._save_counter_assign = counter.assign_add(1, read_value=False)
        session.run(self._save_counter_assign)
        number = counter if checkpoint_number is None else checkpoint_number
        if not isinstance(number, (int, np.integer)):
            number = global_step(sess=session, global_step_tensor=number)
        path = str(self._checkpoint.write(f"{self._prefix}-{number}"))
        # One that is written again is the newest now.
        self._maybe_delete.pop(path, None)
        self._maybe_delete[path] = time.time()
        self._latest_checkpoint = path
        # The new one is listed before an old one goes: who dies between the two leaves nothing that is not there.
        self._record_state()
        self._sweep()
        self._record_state()
        return path

    def _initialized_counter(self, session: Any) -> Any:
        """The checkpoint's counter, initialized if it is new."""

        def creator(next_creator: Any, **kwargs: Any) -> Any:
            variable = next_creator(**kwargs)
            session.run(variable.initializer)
            return variable

        with variable_creator_scope(creator):
            return self._checkpoint.save_counter

    def _sweep(self) -> None:
        if self._max_to_keep is None:
            return
        every_secs = (self._keep_checkpoint_every_n_hours or 0) * 3600
        while len(self._maybe_delete) > self._max_to_keep:
            path = next(iter(self._maybe_delete))
            written = self._maybe_delete.pop(path)
            if every_secs and written - every_secs >= self._last_preserved_timestamp:
                self._last_preserved_timestamp = written
                continue
            management.remove_checkpoint(path)

    def _record_state(self) -> None:
        assert self._latest_checkpoint is not None
        management.update_checkpoint_state_internal(
            self._directory,
            model_checkpoint_path=self._latest_checkpoint,
            all_model_checkpoint_paths=list(self._maybe_delete),
            all_model_checkpoint_timestamps=list(self._maybe_delete.values()),
            last_preserved_timestamp=self._last_preserved_timestamp,
            save_relative_paths=True,
        )
