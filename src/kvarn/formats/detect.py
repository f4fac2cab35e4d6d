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

from kvarn.formats.bundle.naming import index_filename
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.reader import TensorReader
from kvarn.formats.slices_v1.naming import find_tables, matching_paths
from kvarn.io import FileSystem, Path, as_path, file_system_of

V1, V2 = "V1", "V2"

_OF_V2 = re.compile(r"\.index$|\.data-\d{5,}-of-\d{5,}$")
_logger = logging.getLogger(__name__)


def checkpoint_exists(prefix: Path, fs: FileSystem | None = None) -> bool:
    """True if a V2 or V1 checkpoint of that prefix is there."""
    files, path = fs or file_system_of(prefix), as_path(prefix)
    return bool(matching_paths(files, index_filename(path)) or matching_paths(files, path))


def find_files(prefix: Path, fs: FileSystem | None = None) -> tuple[str, list[str]]:
    """The format of the checkpoint with that prefix, and its index file (V2) or its tables (V1).

    Raises:
      NotFoundError: there is none.
      InvalidArgumentError: there is not even its directory.
    """
    files, path = fs or file_system_of(prefix), as_path(prefix)
    if indexes := matching_paths(files, index_filename(path)):
        return V2, indexes
    return V1, find_tables(files, path)


def open_checkpoint(prefix: Path, fs: FileSystem | None = None) -> TensorReader:
    """A reader of the checkpoint with that prefix.

    Raises:
      NotFoundError: there is none; the hint names what is in the directory.
      InvalidArgumentError: there is not even its directory.
      DataLossError: it is a file, but no checkpoint; or damaged, as `BundleReader` and `TensorSliceReader`
        say.
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
    from kvarn.formats.slices_v1 import TensorSliceReader

    return TensorSliceReader(path, files)
