"""Joins the parts of a sharded save into one checkpoint.

    <tmp>/part-00000-of-00002.index, .data-00000-of-00001      each part is a checkpoint of its own
    <tmp>/part-00001-of-00002.index, .data-00000-of-00001
    ->  <prefix>.data-00000-of-00002, .data-00001-of-00002     the data files, renamed
        <prefix>.index                                         all entries, with new shard numbers

Shards are numbered in the order in which their data files first appear in the parts' entries.  A tensor
whose slices are in several parts gets all of them, in the order of the parts.

Source: `MergeBundles`, `MergeOneBundle` in tensorflow/core/util/tensor_bundle/tensor_bundle.cc;
`MergeV2CheckpointsOp` in tensorflow/core/kernels/save_restore_v2_ops.cc.  The order of the commit is kvarn's.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from kvarn.errors import DataLossError, InternalError, InvalidArgumentError, OpError
from kvarn.formats.bundle import commit, naming
from kvarn.formats.bundle.entry import BundleEntry, BundleHeader
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.names import decode_name
from kvarn.io import FileSystem, Path, as_path, directory_of, file_system_of, remove_quietly


def merge_bundles(
    prefixes: Sequence[Path], merged_prefix: Path, delete_old_dirs: bool = True, fs: FileSystem | None = None
) -> None:
    """Makes one checkpoint of several; these are gone afterwards.

    Args:
      prefixes: of the parts, in the order of the shards.
      merged_prefix: of the result; its directory is made if its parent exists.
      delete_old_dirs: remove the directories of the parts if nothing is left in them.

    Raises:
      InvalidArgumentError: two parts hold the same tensor, or differ in byte order or version.
      InternalError: a tensor is whole in one part and sliced in another.
      NotFoundError, DataLossError: a part is missing or damaged.
      On any error the parts are as they were, unless an older checkpoint of the prefix is replaced in part
      (see kvarn.formats.bundle.commit).
    """
    target = as_path(merged_prefix)
    files = fs or file_system_of(target)
    state = _Merged()
    parts = [as_path(prefix) for prefix in prefixes]
    if not parts:
        raise InvalidArgumentError.of(
            f"nothing to merge into '{target}'", path=target, hint="Give the prefixes of the parts."
        )
    for part in parts:
        with BundleReader(part, files) as reader:
            state.take(reader)
    files.make_directory(directory_of(target))
    suffix = commit.begin(files, target)
    shards = state.shards or {state.unnamed.pop(0): 0}  # parts without any tensor leave an empty data file
    header = state.header
    header.num_shards = len(shards)
    moves = [
        (source, naming.data_filename(target, shard, len(shards)) + suffix)
        for source, shard in shards.items()
    ]

    def undo() -> None:
        if not files.renames:
            commit.sweep(files, target, suffix)
            return
        for source, aside in moves:
            if files.exists(aside):
                files.rename(aside, source)

    try:
        for source, aside in moves:
            (files.rename if files.renames else files.copy)(source, aside)
    except BaseException:
        undo()
        raise
    records = {key: entry.serialize() for key, entry in state.entries.items()}
    commit.commit(files, target, suffix, header, records, undo)

    for part in parts:
        remove_quietly(files, naming.index_filename(part))
    for path in (*state.unnamed, *(() if files.renames else shards)):
        remove_quietly(files, path)
    if delete_old_dirs:
        for directory in dict.fromkeys(map(directory_of, parts)):
            with contextlib.suppress(OpError):
                files.remove_directory(directory)


class _Merged:
    """What the parts read so far amount to."""

    def __init__(self) -> None:
        self.header = BundleHeader()
        self.entries: dict[bytes, BundleEntry] = {}
        self.shards: dict[str, int] = {}
        self.unnamed: list[str] = []
        self._first: BundleHeader | None = None

    def take(self, reader: BundleReader) -> None:
        self._take_header(reader)
        for key, entry in reader.records():
            known = self.entries.get(key)
            if known is None:
                path = naming.data_filename(reader.prefix, entry.shard_id, reader.header.num_shards)
                entry.shard_id = self.shards.setdefault(path, len(self.shards))
                self.entries[key] = entry
            else:
                self._join(key, known, entry, reader.prefix)
        own = (
            naming.data_filename(reader.prefix, shard, reader.header.num_shards)
            for shard in range(reader.header.num_shards)
        )
        self.unnamed += (path for path in own if path not in self.shards)

    def _take_header(self, reader: BundleReader) -> None:
        header = reader.header
        if self._first is None:
            self._first = header
            self.header = dataclasses.replace(header)
            return
        hint = "All parts of a checkpoint are written by one program on machines of one kind."
        if header.endianness != self._first.endianness:
            text = "Merging bundles with conflicting endianness; inputs corrupted?"
        elif _version(header) != _version(self._first):
            text = (
                "Merging bundles with different format versions: "
                f"merged {_version(self._first)} vs. curr {_version(header)}"
            )
        else:
            return
        raise InvalidArgumentError.of(f"{text}\n  in '{reader.prefix}'", path=reader.prefix, hint=hint)

    def _join(self, key: bytes, known: BundleEntry, entry: BundleEntry, prefix: str) -> None:
        name = decode_name(key)
        hint = "Two devices saved the same variable."
        if not known.slices:
            raise InvalidArgumentError.of(
                f"Duplicate tensor keyed by {name} encountered, when merging prefix: {prefix}",
                name=name,
                path=prefix,
                hint=hint,
            )
        if not entry.slices:
            raise InternalError.of(
                f"Duplicate tensor keyed by {name}; attempting to merge in a non-slice bundle entry",
                name=name,
                path=prefix,
                hint=hint,
            )
        if (known.dtype, known.shape) != (entry.dtype, entry.shape):
            raise DataLossError.of(
                f"parts of tensor '{name}' disagree on its type or shape {list(known.shape)}: "
                f"{list(entry.shape)} in '{prefix}'",
                name=name,
                path=prefix,
                hint="They are not parts of one checkpoint.",
            )
        if known.hash_slices or entry.hash_slices:
            known.hash_slices = known.hash_parts() + entry.hash_parts()
        known.slices += entry.slices


def _version(header: BundleHeader) -> tuple[int, int, tuple[int, ...]]:
    return header.producer, header.min_consumer, header.bad_consumers
