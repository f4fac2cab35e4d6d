"""File access: the one door through which bytes of checkpoints pass.

FileSystem, ReadFile, WriteFile   what a file system has to offer (kvarn.io.filesystem)
file_system_of                    which one a path or URL is on
LOCAL                             the machine's own files
MemoryFileSystem                  files in a dict
kvarn.io.remote.RemoteFileSystem  a bucket of an object store; loaded when a URL asks for it
AtomicFile, atomic_replace        write aside, sync, rename, sync the directory
"""

from __future__ import annotations

from kvarn.io.atomic import AtomicFile, atomic_replace, remove_quietly, temporary_name
from kvarn.io.filesystem import (
    Buffer,
    FileSystem,
    Path,
    ReadFile,
    WriteFile,
    as_path,
    directory_of,
    io_error,
    is_absolute,
    join_path,
    root_of,
)
from kvarn.io.local import LOCAL, LocalFileSystem
from kvarn.io.memory import MemoryFileSystem
from kvarn.io.urls import file_system_of

__all__ = [
    "LOCAL",
    "AtomicFile",
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
    "file_system_of",
    "io_error",
    "is_absolute",
    "join_path",
    "remove_quietly",
    "root_of",
    "temporary_name",
]
