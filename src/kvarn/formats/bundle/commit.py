"""How the files of a save get their final names: all of them, or the old checkpoint stays.

The steps of `commit`, each of which a crash may follow:

    data written and synced under temporary names   old checkpoint whole, new one not there
    index written and synced under a temporary name  the same
    data renamed                                     new one whole: readers find the waiting index
    index renamed                                    new one whole

Directories are synced between the steps, so that a power failure keeps their order.  What a reader
without kvarn sees between the last two steps, if an older checkpoint of the same prefix is overwritten, is
the old index beside new data: the checksum of every tensor that changed fails there (DataLossError), and
the next save of that prefix by kvarn completes the commit.  The manifest of the older checkpoint
(kvarn.formats.manifest) is removed there, too: it tells of an index that is no more.

An object store renames nothing, but shows a file only when its upload is whole.  A new prefix is written
there under its final names, the index last: that is the commit, and nothing is copied.  Over an older
checkpoint:

    data uploaded under temporary names              old checkpoint whole
    index uploaded under a temporary name            new one whole: readers find the waiting index
    data copied to their final names, by the store   new one whole, read under the temporary names
    index copied to its final name                   new one whole
    the temporary index removed, then the data       new one whole

A reader without kvarn may meet the third step, as above: DataLossError, never a wrong value.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping

from kvarn.errors import OpError
from kvarn.formats.bundle import naming
from kvarn.formats.bundle.entry import HEADER_KEY, BundleHeader
from kvarn.formats.manifest import manifest_filename
from kvarn.formats.table.builder import build_table
from kvarn.io import FileSystem, directory_of, remove_quietly

# Bytes that are collected before they go to the file system.
BUFFER_BYTES = 1 << 20


def settle(fs: FileSystem, prefix: str) -> None:
    """Completes or sweeps what earlier saves of the prefix left; called before a new one begins.

    Not while another process saves to the same prefix, which neither TensorFlow nor kvarn supports.
    """
    try:
        begun = naming.begun_saves(fs, prefix)
    except OpError:
        return  # no directory yet
    for suffix, state in begun.items():
        index = naming.index_filename(prefix)
        if state != "renaming" or not fs.exists(index):
            sweep(fs, prefix, suffix)
        elif not fs.renames:
            _copy_to_final_names(fs, prefix, suffix)
        else:
            for path in _waiting_data(fs, prefix, suffix):
                fs.rename(path, path.removesuffix(suffix))
            fs.sync_directory(directory_of(prefix))
            _remove_manifest(fs, prefix)
            fs.rename(index + suffix, index)
            fs.sync_directory(directory_of(prefix))


def begin(fs: FileSystem, prefix: str) -> str:
    """Settles what is there; the suffix under which a new save writes its data.

    Empty on an object store that has no checkpoint of the prefix: nobody sees the data before the index.
    """
    settle(fs, prefix)
    if fs.renames or fs.exists(naming.index_filename(prefix)):
        return naming.temporary_suffix()
    sweep(fs, prefix, "")
    return ""


def sweep(fs: FileSystem, prefix: str, suffix: str) -> None:
    """Removes the files of an unfinished save, the index first: without its data it would seem committed.

    Where the index is not certain to be gone, the data stay.
    """
    index = naming.index_filename(prefix) + suffix
    try:
        if fs.exists(index):
            if not suffix:
                return  # a whole checkpoint
            fs.remove(index)
            fs.sync_directory(directory_of(prefix))
        waiting = _waiting_data(fs, prefix, suffix)
    except OpError:
        return
    for path in waiting:
        remove_quietly(fs, path)


def commit(
    fs: FileSystem,
    prefix: str,
    suffix: str,
    header: BundleHeader,
    records: Mapping[bytes, bytes],
    undo: Callable[[], None] | None = None,
    *,
    sync: bool = True,
) -> None:
    """Writes the index and renames everything; the data lies written and synced under temporary names.

    Args:
      suffix: of the temporary names.
      records: serialized entries by key, in any order.
      undo: what to do with the data, under its temporary names again, when a step fails; the default is to
        remove it, as on an object store always.
      sync: without, no step is made certain against a power failure; the data need not be synced either.

    Raises:
      OpError: a step failed, and nothing is left of the save.  Except when data of an older checkpoint of
        the prefix is already replaced: then the files stay, readers see the new checkpoint, and the next
        save completes it.
    """
    if not fs.renames:
        _commit_by_copies(fs, prefix, suffix, header, records)
        return
    directory = directory_of(prefix)
    index = naming.index_filename(prefix)
    data: list[str] = []
    overwrites = False

    def make_certain() -> None:
        if sync:
            fs.sync_directory(directory)

    def has_happened(path: str) -> bool:
        # An interrupt may come right behind a rename: the files tell, not how far this got.
        return not fs.exists(path + suffix)

    try:
        data += (naming.data_filename(prefix, n, header.num_shards) for n in range(header.num_shards))
        overwrites = fs.exists(index) and not fs.is_directory(index)
        make_certain()
        write_index(fs, index + suffix, header, records, sync=sync)
        make_certain()
        for path in data:
            fs.rename(path + suffix, path)
        make_certain()
        if overwrites:
            _remove_manifest(fs, prefix)
        fs.rename(index + suffix, index)
    except BaseException:
        renamed = [path for path in data if has_happened(path)]
        if not (overwrites and renamed):
            remove_quietly(fs, index + suffix)
            if data and renamed == data:
                remove_quietly(fs, index)  # ours: there was none
            for path in renamed:
                with contextlib.suppress(OpError):
                    fs.rename(path, path + suffix)
            (undo or functools.partial(sweep, fs, prefix, suffix))()
        raise
    make_certain()


def _commit_by_copies(
    fs: FileSystem, prefix: str, suffix: str, header: BundleHeader, records: Mapping[bytes, bytes]
) -> None:
    try:
        write_index(fs, naming.index_filename(prefix) + suffix, header, records)
    except BaseException:
        # The index may be there although its upload failed: the answer got lost.
        remove_quietly(fs, naming.index_filename(prefix) + suffix)
        sweep(fs, prefix, suffix)
        raise
    if suffix:
        _copy_to_final_names(fs, prefix, suffix)


def _copy_to_final_names(fs: FileSystem, prefix: str, suffix: str) -> None:
    """The steps after the index waits; each may be done again."""
    index = naming.index_filename(prefix)
    data = _waiting_data(fs, prefix, suffix)
    _remove_manifest(fs, prefix)
    for path in (*data, index + suffix):
        fs.copy(path, path.removesuffix(suffix))
    for path in (index + suffix, *data):
        fs.remove(path)


def _remove_manifest(fs: FileSystem, prefix: str) -> None:
    """Removes the manifest of the checkpoint that is being replaced."""
    path = manifest_filename(prefix)
    if fs.exists(path):
        fs.remove(path)


def write_index(
    fs: FileSystem, path: str, header: BundleHeader, records: Mapping[bytes, bytes], *, sync: bool = True
) -> None:
    """Writes, and syncs, a table of the header and the records."""
    table = build_table({HEADER_KEY: header.serialize(), **records})
    file = fs.open_write(path)
    try:
        file.append(table)
        if sync:
            file.sync()
        file.close()
    except BaseException:
        file.discard()
        raise


def _waiting_data(fs: FileSystem, prefix: str, suffix: str) -> list[str]:
    directory = directory_of(prefix)
    start = naming.data_stem(prefix)
    return [
        prefix + name[len(start) - len(".data-") :]
        for name in fs.list_directory(directory)
        if name.startswith(start) and name.endswith(suffix) and naming.is_data_name(name.removesuffix(suffix))
    ]
