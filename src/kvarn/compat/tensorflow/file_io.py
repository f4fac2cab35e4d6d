"""``tensorflow.python.lib.io.file_io``: the functions behind `tf.gfile`, by their own names.

Source: tensorflow/python/lib/io/file_io.py (1.15).
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Iterator, Sequence
from typing import Any

from kvarn.compat.tensorflow import gfile
from kvarn.io import Path, as_path, atomic_replace, file_system_of

_BLOCK_BYTES = 16 << 20


class FileIO(gfile.GFile):
    """`tf.gfile.GFile`, whose mode has to be said."""

    def __init__(self, name: Path, mode: str) -> None:
        super().__init__(as_path(name), mode)


def file_exists(filename: Path) -> bool:
    """Whether there is a file or directory."""
    return gfile.Exists(as_path(filename))


def is_directory(dirname: Path) -> bool:
    """Whether there is a directory."""
    return gfile.IsDirectory(as_path(dirname))


def list_directory(dirname: Path) -> list[str]:
    """The names in a directory.

    Raises:
      NotFoundError: there is none.
    """
    return gfile.ListDirectory(as_path(dirname))


def create_dir(dirname: Path) -> None:
    """Makes one directory."""
    gfile.MkDir(as_path(dirname))


def recursive_create_dir(dirname: Path) -> None:
    """Makes a directory and its parents."""
    gfile.MakeDirs(as_path(dirname))


def delete_file(filename: Path) -> None:
    """Removes a file.

    Raises:
      NotFoundError: there is none.
    """
    gfile.Remove(as_path(filename))


def delete_recursively(dirname: Path) -> None:
    """Removes a directory with all that is in it.

    Raises:
      NotFoundError: there is none.
    """
    gfile.DeleteRecursively(as_path(dirname))


def read_file_to_string(filename: Path, binary_mode: bool = False) -> Any:
    """What is in a file: text, or bytes if ``binary_mode``.

    Raises:
      NotFoundError: there is no such file.
    """
    with FileIO(filename, "rb" if binary_mode else "r") as file:
        return file.read()


def write_string_to_file(filename: Path, file_content: str | bytes) -> None:
    """Replaces a file by text or bytes."""
    with FileIO(filename, "wb" if isinstance(file_content, bytes) else "w") as file:
        file.write(file_content)


def atomic_write_string_to_file(filename: Path, contents: str | bytes, overwrite: bool = True) -> None:
    """Replaces a file at once, so that a failure leaves the old one.

    Raises:
      AlreadyExistsError: the file exists and ``overwrite`` is false.
    """
    path = as_path(filename)
    gfile._refuse_existing(path, overwrite)
    atomic_replace(file_system_of(path), path, contents if isinstance(contents, bytes) else contents.encode())


def get_matching_files(filename: Path | Sequence[Path]) -> list[str]:
    """The paths that match a shell pattern, or one of several."""
    patterns = [filename] if isinstance(filename, str | bytes | os.PathLike) else filename
    return [path for pattern in patterns for path in gfile.Glob(as_path(pattern))]


def copy(oldpath: Path, newpath: Path, overwrite: bool = False) -> None:
    """Copies a file.

    Raises:
      NotFoundError: there is no such file.
      AlreadyExistsError: the other exists and ``overwrite`` is false.
    """
    gfile.Copy(as_path(oldpath), as_path(newpath), overwrite)


def rename(oldname: Path, newname: Path, overwrite: bool = False) -> None:
    """Gives a file another name.

    Raises:
      NotFoundError: there is no such file.
      AlreadyExistsError: the other exists and ``overwrite`` is false.
    """
    gfile.Rename(as_path(oldname), as_path(newname), overwrite)


def stat(filename: Path) -> gfile.FileStatistics:
    """Length, time of the last change, and whether it is a directory.

    Raises:
      NotFoundError: there is no such file.
    """
    return gfile.Stat(as_path(filename))


def walk(top: Path, in_order: bool = True) -> Iterator[tuple[str, list[str], list[str]]]:
    """The directories below ``top`` with what is in them."""
    return gfile.Walk(as_path(top), in_order)


def filecmp(filename_a: Path, filename_b: Path) -> bool:
    """Whether two files have the same size and checksum."""
    if stat(filename_a).length != stat(filename_b).length:
        return False
    return file_crc32(filename_a) == file_crc32(filename_b)


def file_crc32(filename: Path, block_size: int = _BLOCK_BYTES) -> str:
    """The CRC-32 of a file as ``0x…``."""
    crc = 0
    with FileIO(filename, "rb") as file:
        while piece := file.read(block_size):
            crc = binascii.crc32(piece, crc)
    return hex(crc)
