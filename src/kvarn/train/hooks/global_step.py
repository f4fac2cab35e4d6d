"""The global step as hooks read it."""

from __future__ import annotations

from typing import Any

from kvarn.train import training_util


def global_step_read(user: str) -> Any:
    """The tensor that reads the global step.

    Args:
      user: the name of the hook, for the message.

    Raises:
      RuntimeError: the default graph has no global step.
    """
    found = training_util._get_or_create_global_step_read()
    if found is None:
        raise RuntimeError(f"Global step should be created to use {user}.")
    return found
