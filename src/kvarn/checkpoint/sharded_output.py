"""A V2 checkpoint with any number of data files in the making: a save for each file, merged at the end.

Source: kvarn's way of what a sharded Saver does (`_AddShardedSaveOps` in tensorflow/python/training/saver.py).
"""

from __future__ import annotations

import contextlib
import os
from types import TracebackType

from kvarn.errors import OpError
from kvarn.formats.bundle import BundleReader, BundleWriter, merge_bundles, naming
from kvarn.io import FileSystem, Path, as_path, directory_of, file_system_of


class ShardedOutput:
    """A checkpoint in the making.  A context manager: at the end of the block it is there, or nothing of it.

    Args:
      target: prefix.
      shards: data files; those that get no tensor are left out.
      data_alignment, sync: as those of `BundleWriter`.

    Attributes:
      writers: one for each data file.
      num_shards: data files of the checkpoint, once it is there.
    """

    def __init__(
        self,
        target: Path,
        shards: int,
        fs: FileSystem | None = None,
        *,
        data_alignment: int = 1,
        sync: bool = True,
    ) -> None:
        self._target = as_path(target)
        self._fs = files = fs or file_system_of(target)
        self._parts: list[str] = [self._target]
        self._directory = ""
        self.num_shards = 1
        self._process = os.getpid()
        self.writers: list[BundleWriter] = []
        try:
            if shards > 1:
                files.make_directory(directory_of(self._target))
                self._directory = f"{self._target}_temp_{os.urandom(16).hex()}"
                self._parts = [
                    naming.sharded_filename(f"{self._directory}/part", shard, shards)
                    for shard in range(shards)
                ]
            for part in self._parts:
                self.writers.append(BundleWriter(part, files, data_alignment=data_alignment, sync=sync))
        except BaseException:
            self.abort()
            raise

    def of_part(self, part: int) -> BundleWriter:
        """The writer for a part of a variable."""
        return self.writers[part % len(self.writers)]

    def finish(self) -> None:
        """Makes the checkpoint; raises OpError if a step fails, and then nothing is left of it."""
        try:
            for writer in self.writers:
                writer.finish()
            if self._directory:
                merge_bundles(self._parts, self._target, fs=self._fs)
        except BaseException:
            self.abort()
            raise
        if self._directory:
            with BundleReader(self._target, self._fs) as made:
                self.num_shards = made.header.num_shards
        self._directory = ""

    def abort(self) -> None:
        """Gives up: removes what was written.

        Nothing happens after `finish` or a second time, nor in a forked process: the files are its parent's.
        """
        for writer in self.writers:
            writer.abort()
        if not self._directory or self._process != os.getpid():
            return
        with contextlib.suppress(OpError):
            for name in self._fs.list_directory(self._directory):
                with contextlib.suppress(OpError):
                    self._fs.remove(f"{self._directory}/{name}")
            self._fs.remove_directory(self._directory)

    def __enter__(self) -> ShardedOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.abort()
