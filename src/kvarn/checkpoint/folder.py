"""The checkpoints of a directory: those that its state file names, and those that are just there."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass

from kvarn.checkpoint.management import get_checkpoint_state
from kvarn.checkpoint.other_files import hint_for_folder
from kvarn.errors import NotFoundError, OpError
from kvarn.formats.checkpoint_state import DEFAULT_NAME
from kvarn.formats.detect import V1, V2
from kvarn.formats.table.format import FOOTER_BYTES, MAGIC
from kvarn.io import FileSystem, Path, as_path, file_system_of

_DATA = re.compile(r"\.data-\d{5,}-of-\d{5,}\Z")
_SHARD = re.compile(r"-(?:\d{5,})-of-(\d{5,})\Z")
_STEP = re.compile(r"-(\d+)\Z")


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A checkpoint of a directory.

    Attributes:
      prefix: its path; for V1 in several files the pattern that names them all.
      format: ``V1`` or ``V2``; empty if the state file names it, but it is not there.
      step: the number behind the last dash of its name, or None.
      size_bytes: of its index and data files.
      modified_secs: when it was completed, in seconds since 1970; None if it is not there.
      in_state: whether the state file names it.
      newest: whether the state file says that it is the newest.
    """

    prefix: str
    format: str
    step: int | None
    size_bytes: int
    modified_secs: float | None
    in_state: bool
    newest: bool


def list_checkpoints(directory: Path, fs: FileSystem | None = None) -> list[FolderEntry]:
    """The checkpoints of a directory by step, those without one first.

    Raises:
      NotFoundError: there is no such directory, or no checkpoint in it.
    """
    path = as_path(directory)
    files = fs or file_system_of(path)
    try:
        state = get_checkpoint_state(path, fs=files)
    except ValueError:
        state = None
    newest = state.model_checkpoint_path if state is not None else ""
    named = {*state.all_model_checkpoint_paths, newest} if state is not None else set()
    found: dict[str, FolderEntry] = {}
    for (kind, prefix), own in _files_by_prefix(path, files).items():
        step = _STEP.search(prefix.removesuffix(_shards_of(prefix)))
        found[prefix] = FolderEntry(
            prefix,
            kind,
            int(step[1]) if step else None,
            sum(files.size(file) for file in own),
            files.modified_secs(own[0]),
            prefix in named,
            prefix == newest,
        )
    for prefix in named - found.keys():
        step = _STEP.search(prefix.removesuffix(_shards_of(prefix)))
        found[prefix] = FolderEntry(
            prefix, "", int(step[1]) if step else None, 0, None, True, prefix == newest
        )
    if not found:
        raise NotFoundError.of(
            f"there is no checkpoint in '{path}'", path=path, hint=hint_for_folder(path, files)
        )
    return sorted(
        found.values(),
        key=lambda entry: (-1 if entry.step is None else entry.step, entry.modified_secs or 0, entry.prefix),
    )


def _files_by_prefix(directory: str, fs: FileSystem) -> dict[tuple[str, str], list[str]]:
    """The files of each checkpoint, by format and prefix; of V2 the index first."""
    names = fs.list_directory(directory)
    indexed = {name.removesuffix(".index") for name in names if name.endswith(".index")}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for prefix in sorted(indexed):
        found[V2, os.path.join(directory, prefix)].append(os.path.join(directory, prefix + ".index"))
    for name in names:
        path = os.path.join(directory, name)
        if (data := _DATA.search(name)) is not None:
            if name[: data.start()] in indexed:
                found[V2, path[: len(path) - len(data[0])]].append(path)
        elif not name.endswith((".index", ".meta")) and name != DEFAULT_NAME and _is_table(path, fs):
            prefix = _SHARD.sub(r"-?????-of-\1", path)
            found[V1, prefix].append(path)
    return found


def _shards_of(prefix: str) -> str:
    """What the pattern of a V1 checkpoint in several files ends with; empty for others."""
    at = prefix.rfind("-?????-of-")
    return prefix[at:] if at >= 0 else ""


def _is_table(path: str, fs: FileSystem) -> bool:
    try:
        if fs.is_directory(path) or fs.size(path) < FOOTER_BYTES:
            return False
        file = fs.open_read(path)
    except OpError:
        return False
    try:
        return int.from_bytes(file.read(file.size - 8, 8), "little") == MAGIC
    finally:
        file.close()
