"""Which checkpoint a path means, and in what format it is.

    P.index exists                       V2, prefix P
    P is a table, or a pattern of some   V1
    P is P'.index or P'.data-…-of-…      V2, prefix P', with a warning

Source: the order of tries is that of tensorflow/c/checkpoint_reader.cc.  Like TensorFlow, existence is
asked by pattern; unlike it, a prefix with pattern characters in it finds itself too.
"""

from __future__ import annotations

import logging
import re

from kvarn.errors import DataLossError, InvalidArgumentError, NotFoundError, UnimplementedError
from kvarn.formats.bundle.naming import index_filename
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.table.format import FOOTER_BYTES, MAGIC
from kvarn.io import FileSystem, Path, as_path, directory_of, file_system_of

V1, V2 = "V1", "V2"

_OF_V2 = re.compile(r"\.index$|\.data-\d{5,}-of-\d{5,}$")
_logger = logging.getLogger(__name__)


def checkpoint_exists(prefix: Path, fs: FileSystem | None = None) -> bool:
    """True if a V2 or V1 checkpoint of that prefix is there."""
    files, path = fs or file_system_of(prefix), as_path(prefix)
    return bool(_matches(files, index_filename(path)) or _matches(files, path))


def find_files(prefix: Path, fs: FileSystem | None = None) -> tuple[str, list[str]]:
    """The format of the checkpoint with that prefix, and its index file (V2) or its tables (V1).

    Raises:
      NotFoundError: there is none.
      InvalidArgumentError: there is not even its directory.
    """
    files, path = fs or file_system_of(prefix), as_path(prefix)
    directory = directory_of(path)
    if not _has_pattern(directory) and not files.exists(directory):
        raise InvalidArgumentError.of(
            f"Unsuccessful TensorSliceReader constructor: Failed to get matching files on {path}: "
            f"Not found: {directory}; No such file or directory",
            path=path,
            hint="Check the path: it is that of an .index file without .index.",
        )
    if indexes := _matches(files, index_filename(path)):
        return V2, indexes
    if tables := [match for match in _matches(files, path) if not files.is_directory(match)]:
        return V1, tables
    raise NotFoundError.of(
        f"Unsuccessful TensorSliceReader constructor: Failed to find any matching files for {path}",
        path=path,
        hint=_hint(files, path),
    )


def open_checkpoint(prefix: Path, fs: FileSystem | None = None) -> BundleReader:
    """A reader of the checkpoint with that prefix.

    Raises:
      NotFoundError: there is none; the hint names what is in the directory.
      InvalidArgumentError: there is not even its directory.
      UnimplementedError: it is a V1 checkpoint.
      DataLossError: it is a file, but no checkpoint; or damaged, as `BundleReader` says.
    """
    files, path = fs or file_system_of(prefix), as_path(prefix)
    if files.exists(index_filename(path)):
        return BundleReader(path, files)
    shorter = _OF_V2.sub("", path)
    if shorter != path and files.exists(index_filename(shorter)):
        _logger.warning("%s is a file of the checkpoint %s; reading that.", path, shorter)
        return BundleReader(shorter, files)
    kind, found = find_files(path, files)
    if kind == V2:
        return BundleReader(found[0].removesuffix(".index"), files)
    _check_table(files, found[0])
    raise UnimplementedError.of(
        f"'{found[0]}' is a checkpoint in the V1 format, which cannot be read yet",
        path=found[0],
        hint="Save it again with write_version=V2 (the default of tf.train.Saver) in TensorFlow.",
    )


def _check_table(fs: FileSystem, path: str) -> None:
    file = fs.open_read(path)
    try:
        too_short = file.size < FOOTER_BYTES
        magic = int.from_bytes(file.read(max(0, file.size - 8), 8), "little")
    finally:
        file.close()
    if too_short or magic != MAGIC:
        cause = "file is too short to be an sstable" if too_short else "not an sstable (bad magic number)"
        raise DataLossError.of(
            f"Unable to open table file {path}: Data loss: {cause}: perhaps your file is in a different file "
            "format and you need to use a different restore operator?",
            path=path,
            hint="Give the prefix of a checkpoint: the path of its .index file without .index.",
        )


def _matches(fs: FileSystem, path: str) -> list[str]:
    return [path] if fs.exists(path) else fs.glob(path)


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


def _has_pattern(path: str) -> bool:
    return any(character in path for character in "*?[")
