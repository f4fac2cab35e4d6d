"""Checkpoints as files: names, values, the state of a directory.  No graph, no session.

    open, Checkpoint                                                        kvarn.checkpoint.opening
    write, Writer                                                           kvarn.checkpoint.writing
    EmbeddingTable, embedding_tables                                        kvarn.checkpoint.embeddings.table
    load_variable, list_variables, load_checkpoint, NewCheckpointReader     kvarn.checkpoint.load
    latest_checkpoint, get_checkpoint_state, checkpoint_exists, …           kvarn.checkpoint.management
    describe                                                                kvarn.checkpoint.inspect
    average, convert, diff, merge, repair, reshard, rewrite, verify         kvarn.checkpoint.verbs

Importing this loads neither graph nor engine, protobuf only when a state file is read, and what is not for
loading a variable when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from kvarn.checkpoint.embeddings.table import EmbeddingTable, embedding_tables
    from kvarn.checkpoint.inspect import (
        CheckpointDescription,
        EmbeddingDescription,
        TensorDescription,
        describe,
    )
    from kvarn.checkpoint.opening import Checkpoint, open
    from kvarn.checkpoint.verbs.average import average
    from kvarn.checkpoint.verbs.convert import convert
    from kvarn.checkpoint.verbs.diff import diff
    from kvarn.checkpoint.verbs.merge import merge
    from kvarn.checkpoint.verbs.repair import repair
    from kvarn.checkpoint.verbs.reshard import reshard
    from kvarn.checkpoint.verbs.rewrite import rewrite
    from kvarn.checkpoint.verbs.verify import verify
    from kvarn.checkpoint.writing import Writer, write

__all__ = [
    "Checkpoint",
    "CheckpointDescription",
    "CheckpointReader",
    "EmbeddingDescription",
    "EmbeddingTable",
    "NewCheckpointReader",
    "TensorDescription",
    "Writer",
    "average",
    "checkpoint_exists",
    "checkpoint_filename",
    "convert",
    "describe",
    "diff",
    "embedding_tables",
    "generate_checkpoint_state_proto",
    "get_checkpoint_mtimes",
    "get_checkpoint_state",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "merge",
    "open",
    "remove_checkpoint",
    "repair",
    "reshard",
    "rewrite",
    "update_checkpoint_state",
    "update_checkpoint_state_internal",
    "verify",
    "write",
]

_VERBS = ("average", "convert", "diff", "merge", "repair", "reshard", "rewrite", "verify")
_LAZY = {name: f"verbs.{name}" for name in _VERBS} | {
    "Checkpoint": "opening",
    "CheckpointDescription": "inspect",
    "EmbeddingDescription": "inspect",
    "EmbeddingTable": "embeddings.table",
    "TensorDescription": "inspect",
    "Writer": "writing",
    "describe": "inspect",
    "embedding_tables": "embeddings.table",
    "open": "opening",
    "write": "writing",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'kvarn.checkpoint' has no attribute {name!r}")
    value = getattr(import_module(f"kvarn.checkpoint.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
