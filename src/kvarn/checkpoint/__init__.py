"""Checkpoints as files: names, values, the state of a directory.  No graph, no session.

    open, Checkpoint, EmbeddingTable                                        kvarn.checkpoint.open
    write, Writer                                                           kvarn.checkpoint.write

    load_variable, list_variables, load_checkpoint, NewCheckpointReader     kvarn.checkpoint.load
    latest_checkpoint, get_checkpoint_state, checkpoint_exists, …           kvarn.checkpoint.management
    describe                                                                kvarn.checkpoint.inspect

Importing this loads neither graph nor engine, and protobuf only when a state file is read.
"""

from __future__ import annotations

from kvarn.checkpoint.inspect import (
    CheckpointDescription,
    EmbeddingDescription,
    TensorDescription,
    describe,
)
from kvarn.checkpoint.load import (
    CheckpointReader,
    NewCheckpointReader,
    checkpoint_filename,
    list_variables,
    load_checkpoint,
    load_variable,
)
from kvarn.checkpoint.management import (
    checkpoint_exists,
    generate_checkpoint_state_proto,
    get_checkpoint_mtimes,
    get_checkpoint_state,
    latest_checkpoint,
    remove_checkpoint,
    update_checkpoint_state,
    update_checkpoint_state_internal,
)
from kvarn.checkpoint.open import Checkpoint, open
from kvarn.checkpoint.write import Writer, write

__all__ = [
    "Checkpoint",
    "CheckpointDescription",
    "CheckpointReader",
    "EmbeddingDescription",
    "NewCheckpointReader",
    "TensorDescription",
    "Writer",
    "checkpoint_exists",
    "checkpoint_filename",
    "describe",
    "generate_checkpoint_state_proto",
    "get_checkpoint_mtimes",
    "get_checkpoint_state",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "open",
    "remove_checkpoint",
    "update_checkpoint_state",
    "update_checkpoint_state_internal",
    "write",
]
