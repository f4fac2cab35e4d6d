"""What a path is that means no checkpoint, and what to give or do instead: for the hints of errors."""

from __future__ import annotations

import os

from kvarn.errors import OpError
from kvarn.formats.checkpoint_state import DEFAULT_NAME
from kvarn.io import FileSystem

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")

_HEAD_BYTES = 64
_CONVERT = "`kvarn convert` makes a checkpoint of it."
_GRAPH = "It is a graph: its values are constants, `tf.import_graph_def` takes it."
# Folders that are looked into, and those that are named.
_LOOKED_INTO, _NAMED = 100, 5


def hint_for_file(path: str, fs: FileSystem) -> str | None:
    """What a file is by its first bytes or its suffix; None if they say nothing."""
    file = fs.open_read(path)
    try:
        head = file.read(0, min(file.size, _HEAD_BYTES))
    finally:
        file.close()
    suffix = os.path.splitext(path)[1].lower()
    if not head:
        return "The file is empty: take another copy."
    if head.startswith(b"version https://git-lfs"):
        return "It is a pointer of Git LFS: `git lfs pull` brings the file itself."
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "It is an HDF5 file, such as Keras makes: load it there, and save with tf.train.Checkpoint."
    if suffix == ".safetensors" or (head[8:9] == b"{" and head[6:8] == bytes(2)):
        return f"It is a safetensors file: {_CONVERT}"
    if head.startswith(b"PK\x03\x04"):
        return f"It is a NumPy archive: {_CONVERT}" if suffix == ".npz" else "It is a zip file: unpack it."
    if head.startswith((b"PAR1", b"ARROW1")):
        return "It is a table: `kvarn convert --embedding NAME` makes a checkpoint of it."
    if suffix in (".pb", ".pbtxt"):
        return _GRAPH
    return None


def hint_for_folder(directory: str, fs: FileSystem) -> str:
    """Which folders below have checkpoints."""
    try:
        below = [
            os.path.join(directory, name) for name in sorted(fs.list_directory(directory))[:_LOOKED_INTO]
        ]
        found = [path for path in below if fs.is_directory(path) and _has_checkpoint(path, fs)]
    except OpError:
        found = []
    if not found:
        return "Give the folder that they were saved in, or the path of a damaged V1 file itself."
    more = f" or one of {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"There are checkpoints below it: give {', '.join(map(repr, found[:_NAMED]))}{more}."


def _has_checkpoint(directory: str, fs: FileSystem) -> bool:
    names = fs.list_directory(directory)
    marks = {DEFAULT_NAME, *SAVED_MODEL_FILES}
    return any(name in marks or name.endswith(".index") for name in names)
