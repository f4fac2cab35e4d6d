"""Which checkpoint a path means.

a prefix                                        itself
P.index, P.meta, P.data-…-of-…                  P
P-00001-of-00003, a table of V1                 P-?????-of-00003, all of them
a directory, or its state file `checkpoint`     the newest checkpoint that the state file names
a directory without state file                  the newest by step, then by time
a SavedModel, or its saved_model.pb             the variables in it
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass

from kvarn.checkpoint.folder import list_checkpoints
from kvarn.checkpoint.management import latest_checkpoint
from kvarn.checkpoint.other_files import SAVED_MODEL_FILES
from kvarn.errors import NotFoundError
from kvarn.formats.checkpoint_state import DEFAULT_NAME
from kvarn.formats.detect import checkpoint_exists
from kvarn.io import FileSystem, Path, as_path, directory_of, file_system_of

PREFIX = "prefix"
INDEX = "index"
META_GRAPH = "meta graph"
DATA_FILE = "data file"
DIRECTORY = "directory"
STATE_FILE = "state file"
SAVED_MODEL = "SavedModel"

_KIND_OF_SUFFIX = {".index": INDEX, ".meta": META_GRAPH}
_DATA_FILE = re.compile(r"\.data-\d{5,}-of-\d{5,}\Z")
_TABLE = re.compile(r"-\d{5,}-of-(\d{5,})\Z")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """What a path was taken for.

    Attributes:
      kind: one of the names above.
      prefix: of the checkpoint it means, whether that can be opened or not.
    """

    kind: str
    prefix: str


def find_place(path: Path, fs: FileSystem | None = None) -> Place:
    """The checkpoint that a path means.

    Raises:
      NotFoundError: a directory without a checkpoint, or a SavedModel without variables.
    """
    name = as_path(path)
    files = fs or file_system_of(name)
    if files.is_directory(name):
        try:
            return _of_directory(name, files)
        except NotFoundError:
            if not files.exists(f"{name}.index"):
                raise
            return Place(PREFIX, name)  # a checkpoint beside a folder of that name
    base = os.path.basename(name)
    if base == DEFAULT_NAME and files.exists(name):
        return Place(STATE_FILE, _of_directory(directory_of(name), files).prefix)
    if base in SAVED_MODEL_FILES and files.exists(name):
        return Place(SAVED_MODEL, _variables_of(directory_of(name), files))
    if files.exists(f"{name}.index"):
        return Place(PREFIX, name)
    stem, suffix = os.path.splitext(name)
    if suffix in _KIND_OF_SUFFIX and files.exists(name):
        return Place(_KIND_OF_SUFFIX[suffix], _tables_of(stem, files))
    if (data := _DATA_FILE.search(name)) is not None:
        return Place(DATA_FILE, name[: data.start()])
    if (table := _TABLE.search(name)) is not None and files.exists(name):
        pattern = f"{name[: table.start()]}-?????-of-{table[1]}"
        return Place(DATA_FILE, pattern if len(files.glob(pattern)) > 1 else name)
    return Place(PREFIX, _tables_of(name, files))


def prefix_of(path: Path, fs: FileSystem | None = None) -> str:
    """The prefix of the checkpoint that a path means; raises as `find_place`."""
    return find_place(path, fs).prefix


def _of_directory(directory: str, fs: FileSystem) -> Place:
    newest = latest_checkpoint(directory, fs=fs)
    if newest is not None:
        return Place(DIRECTORY, newest)
    if any(fs.exists(os.path.join(directory, name)) for name in SAVED_MODEL_FILES):
        return Place(SAVED_MODEL, _variables_of(directory, fs))
    found = [entry.prefix for entry in list_checkpoints(directory, fs) if entry.format]
    if not found:
        raise NotFoundError.of(
            f"Couldn't find 'checkpoint' file or checkpoints in given directory {directory}",
            path=directory,
            hint="Its state file names checkpoints that are gone.",
        )
    if len(found) > 1:
        _logger.warning(
            "'%s' has no state file that names a checkpoint; of the %d in it %s is the newest.",
            directory, len(found), found[-1],
        )  # fmt: skip
    return Place(DIRECTORY, found[-1])


def _variables_of(directory: str, fs: FileSystem) -> str:
    prefix = os.path.join(directory, "variables", "variables")
    if not checkpoint_exists(prefix, fs):
        raise NotFoundError.of(
            f"the SavedModel '{directory}' has no variables",
            path=prefix,
            hint="A graph without variables has none; its constants are in saved_model.pb.",
        )
    return prefix


def _tables_of(prefix: str, fs: FileSystem) -> str:
    """The prefix, or the pattern of its tables if it is a V1 checkpoint in several files."""
    if fs.exists(prefix) or fs.exists(f"{prefix}.index") or any(c in prefix for c in "*?["):
        return prefix
    totals = {match[1] for path in fs.glob(f"{prefix}-?????-of-?????") if (match := _TABLE.search(path))}
    return f"{prefix}-?????-of-{totals.pop()}" if len(totals) == 1 else prefix
