"""File names of a V2 checkpoint, and what a crash between two renames leaves.

    <prefix>.index                  the table of all entries; a checkpoint exists when this does
    <prefix>.data-00000-of-00001    shard 0 of 1
    <name>.tempstate<number>        a file of an unfinished save, as TensorFlow names it

A save is two renames at least: the data first, then the index.  Over an existing prefix a crash between
them leaves the old index with new data.  Therefore all files of one save carry the same number, and the
index waits, written and synced, before the first rename: an index ``<prefix>.index.tempstate7`` without
all of its ``<prefix>.data-…tempstate7`` has had its data renamed, it is the one that holds, and
`committed_index` gives it to readers; the next save of the prefix completes it.  An index that still has
all its data beside it was never committed.

On an object store, where nothing is renamed, an index that waits beside an older one is the commit itself
(kvarn.formats.bundle.commit): the data is whole before it appears.

Source: `DataFilename`, `MetaFilename` in tensorflow/core/util/tensor_bundle/naming.cc, and the temporary
names in tensor_bundle.cc.  The rule for crashes is kvarn's.
"""

from __future__ import annotations

import os
import re

from kvarn.errors import PermissionDeniedError
from kvarn.io import FileSystem, directory_of

_TEMPORARY = ".tempstate"
_SHARD_OF = re.compile(r"-(\d{5,})-of-(\d{5,})\Z")


def index_filename(prefix: str) -> str:
    """The file that names the tensors of a checkpoint: ``model.ckpt-7.index``."""
    return f"{prefix}.index"


def data_filename(prefix: str, shard: int, num_shards: int) -> str:
    """The file with the bytes of one shard: ``model.ckpt-7.data-00000-of-00002``."""
    return f"{prefix}.data-{shard:05d}-of-{num_shards:05d}"


def temporary_suffix() -> str:
    """What the files of one save are called until they are whole."""
    return f"{_TEMPORARY}{int.from_bytes(os.urandom(8), 'little')}"


def sharded_filename(prefix: str, shard: int, num_shards: int) -> str:
    """The prefix of one part of a sharded save (`ShardedFilename`)."""
    return f"{prefix}-{shard:05d}-of-{num_shards:05d}"


def committed_index(fs: FileSystem, prefix: str) -> str:
    """The suffix of the index that holds: empty, or that of a save whose commit was interrupted."""
    if not fs.exists(index_filename(prefix)):
        return ""
    try:
        begun = begun_saves(fs, prefix)
    except PermissionDeniedError:
        return ""  # a directory that may be entered but not listed
    return next((suffix for suffix, state in begun.items() if state == "renaming"), "")


def begun_saves(fs: FileSystem, prefix: str) -> dict[str, str]:
    """The suffixes of unfinished saves of a prefix, each ``writing`` or ``renaming``.

    ``renaming``: the index is written, and at least one of its data files has its final name; on an object
    store, the index is written.
    """
    directory, base = directory_of(prefix), os.path.basename(prefix)
    index_start, data_start = f"{base}.index{_TEMPORARY}", f"{base}.data-"
    indexes: set[str] = set()
    waiting: dict[str, set[int]] = {}
    totals: dict[str, int] = {}
    for name in fs.list_directory(directory):
        if name.startswith(index_start):
            indexes.add(name[len(base) + len(".index") :])
        elif name.startswith(data_start) and _TEMPORARY in name:
            stem, _, number = name.rpartition(_TEMPORARY)
            shard = _SHARD_OF.search(stem)
            if shard is not None:
                suffix = _TEMPORARY + number
                waiting.setdefault(suffix, set()).add(int(shard[1]))
                totals[suffix] = int(shard[2])
    states = dict.fromkeys(waiting, "writing")
    for suffix in indexes:
        whole = fs.renames and suffix in waiting and len(waiting[suffix]) == totals[suffix]
        states[suffix] = "writing" if whole else "renaming"
    return states


def is_data_name(name: str) -> bool:
    """Whether a name is that of a data file, under its final name."""
    return _SHARD_OF.search(name) is not None


def data_stem(prefix: str) -> str:
    """What the names (without directory) of all data files of a prefix begin with."""
    return f"{os.path.basename(prefix)}.data-"
