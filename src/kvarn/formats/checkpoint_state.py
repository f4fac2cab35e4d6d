"""The file ``checkpoint``: which checkpoints a directory has, and which is the newest.

    model_checkpoint_path: "model.ckpt-5"
    all_model_checkpoint_paths: "model.ckpt-3"
    all_model_checkpoint_paths: "model.ckpt-5"
    all_model_checkpoint_timestamps: 1700000000.5     one per path, if at all
    last_preserved_timestamp: 1699990000.25

Text form of the message CheckpointState.  Bytes from 80 on are written as octal escapes of UTF-8, as
TensorFlow 1.15 does; readers take those and plain UTF-8.  The file is replaced atomically.

Source: tensorflow/python/training/checkpoint_state.proto, checkpoint_management.py.
"""

from __future__ import annotations

import os
from typing import Any

from kvarn.errors import DataLossError
from kvarn.io import FileSystem, as_path, atomic_replace, file_system_of

DEFAULT_NAME = "checkpoint"


def state_path(directory: str, latest_filename: str | None = None) -> str:
    """Where the state of a directory is; ``latest_filename`` replaces ``checkpoint``."""
    return os.path.join(directory, latest_filename or DEFAULT_NAME)


def read_state(path: str, fs: FileSystem | None = None) -> Any:
    """The CheckpointState message that a file holds.

    Raises:
      NotFoundError: there is no such file.
      DataLossError: it is no such text.
    """
    from google.protobuf import text_format

    from kvarn import protos

    file = (fs or file_system_of(path)).open_read(as_path(path))
    try:
        text = file.read(0, file.size)
    finally:
        file.close()
    try:
        return protos.from_text(text.decode("utf-8"), protos.CheckpointState())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise DataLossError.of(
            f"'{path}' is not the state of a checkpoint directory: {error}",
            path=path,
            hint="Restore from a checkpoint by its own prefix; the next save writes the file anew.",
        ) from error


def write_state(path: str, state: Any, fs: FileSystem | None = None) -> None:
    """Replaces the file at once: whoever reads meanwhile sees the old or the new state."""
    from kvarn import protos

    atomic_replace(fs or file_system_of(path), as_path(path), protos.to_text(state).encode())
