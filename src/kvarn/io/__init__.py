"""File access: the one door through which bytes of checkpoints pass.

FileSystem, ReadFile, WriteFile   what a file system has to offer (kvarn.io.filesystem)
LOCAL                             the machine's own files
MemoryFileSystem                  files in a dict
atomic_replace                    write aside, sync, rename, sync the directory
"""

from __future__ import annotations

from kvarn.io.atomic import atomic_replace, remove_quietly, temporary_name
from kvarn.io.filesystem import Buffer, FileSystem, Path, ReadFile, WriteFile, as_path, directory_of, io_error
from kvarn.io.local import LOCAL, LocalFileSystem
from kvarn.io.memory import MemoryFileSystem

__all__ = [
    "LOCAL",
    "Buffer",
    "FileSystem",
    "LocalFileSystem",
    "MemoryFileSystem",
    "Path",
    "ReadFile",
    "WriteFile",
    "as_path",
    "atomic_replace",
    "directory_of",
    "io_error",
    "remove_quietly",
    "temporary_name",
]
