"""The files of a V1 checkpoint, by the path or pattern that names it.

    model.ckpt-7                      one table, the file of that name
    model.ckpt-7-?????-of-00002       the tables of a sharded save: what `Saver.save` returns for them
    model.ckpt-7-00001-of-00002       one shard, read as if it were alone

A name is a pattern, as in TensorFlow; unlike there, one with pattern characters in it finds itself too,
and the name that was given to a sharded save (``model.ckpt-7``) finds its shards.

Source: `TensorSliceReader` in tensorflow/core/util/tensor_slice_reader.cc, `ShardedFilename` and
`ShardedFilespec` in tensorflow/core/kernels/save_op.cc.
"""

from __future__ import annotations

import glob
import re

from kvarn.errors import InvalidArgumentError, NotFoundError
from kvarn.io import FileSystem, directory_of

_SHARD = re.compile(r"-(\d{5,})-of-(\d{5,})\Z")
# No sharded save has as many files; `missing_shards` names no more.
_MOST_NAMED = 100_000
_CONSTRUCTOR = "Unsuccessful TensorSliceReader constructor: "


def find_tables(fs: FileSystem, pattern: str) -> list[str]:
    """The tables that a name means, sorted.

    Raises:
      NotFoundError: there is none; the hint names what is in the directory.
      InvalidArgumentError: there is not even its directory.
    """
    directory = directory_of(pattern)
    if not _has_pattern(directory) and not fs.exists(directory):
        raise InvalidArgumentError.of(
            f"{_CONSTRUCTOR}Failed to get matching files on {pattern}: "
            f"Not found: {directory}; No such file or directory",
            path=pattern,
            hint="Check the path: it is that of an .index file without .index.",
        )
    tables = [path for path in matching_paths(fs, pattern) if not fs.is_directory(path)]
    if tables:
        return tables
    shards = [path for path in fs.glob(glob.escape(pattern) + "-?????-of-?????") if _SHARD.search(path)]
    totals = sorted({path[-5:] for path in shards})
    if len(totals) == 1:
        return shards
    raise NotFoundError.of(
        f"{_CONSTRUCTOR}Failed to find any matching files for {pattern}",
        path=pattern,
        hint=f"There are shards of several saves: give '{pattern}-?????-of-{totals[-1]}'."
        if totals
        else _hint(fs, pattern),
    )


def matching_paths(fs: FileSystem, pattern: str) -> list[str]:
    """What is there under a name, or under those that it matches as a pattern."""
    return [pattern] if fs.exists(pattern) else fs.glob(pattern)


def missing_shards(tables: list[str]) -> list[str]:
    """The shards that the names of the others say there should be."""
    missing: list[str] = []
    found = set(tables)
    for stem, total in sorted({(path[: m.start()], m[2]) for path in tables if (m := _SHARD.search(path))}):
        shards = sum(path.startswith(f"{stem}-") and path.endswith(f"-of-{total}") for path in tables)
        # A file that claims a billion shards would make as many names.
        if shards < int(total) <= _MOST_NAMED + shards:
            names = (f"{stem}-{shard:05d}-of-{total}" for shard in range(int(total)))
            missing += [name for name in names if name not in found]
    return missing


def _has_pattern(path: str) -> bool:
    return any(character in path for character in "*?[")


def _hint(fs: FileSystem, path: str) -> str:
    directory = directory_of(path)
    if fs.exists(path) and path not in ("", "."):
        return f"'{path}' is a folder; give the prefix of a checkpoint in it, as `latest_checkpoint` does."
    if _has_pattern(directory):
        return "No file fits the pattern."
    names = [name.removesuffix(".index") for name in fs.list_directory(directory) if name.endswith(".index")]
    if not names:
        return f"There is no checkpoint in '{directory}'."
    return f"'{directory}' has the checkpoints {', '.join(names[-5:])}."
