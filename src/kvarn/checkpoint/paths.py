"""Which checkpoint a path means.

a prefix                             itself
P.index, P.meta, P.data-…-of-…       P
a directory, its file `checkpoint`   the newest checkpoint that the state file names
a SavedModel                         its variables
"""

from __future__ import annotations

import os
import re

from kvarn.checkpoint.load import checkpoint_filename
from kvarn.errors import NotFoundError
from kvarn.formats.checkpoint_state import DEFAULT_NAME
from kvarn.formats.detect import checkpoint_exists
from kvarn.io import FileSystem, Path, as_path, directory_of, file_system_of

_FILE_OF_ONE = re.compile(r"\.(?:index|meta|data-\d{5,}-of-\d{5,})\Z")


def prefix_of(path: Path, fs: FileSystem | None = None) -> str:
    """The prefix of the checkpoint that a path means, whether that can be opened or not.

    Raises:
      NotFoundError: a directory without a checkpoint.
    """
    path = as_path(path)
    fs = fs or file_system_of(path)
    if os.path.basename(path) == DEFAULT_NAME and fs.exists(path) and not fs.is_directory(path):
        path = directory_of(path)
    if not fs.is_directory(path):
        prefix = _FILE_OF_ONE.sub("", path)
        return prefix if prefix != path and fs.exists(path) else path
    inside = os.path.join(path, "variables", "variables")
    if checkpoint_exists(inside, fs):
        return inside  # a SavedModel
    try:
        return checkpoint_filename(path, fs)
    except ValueError as error:
        raise NotFoundError.of(
            str(error), path=path, hint="Give the prefix of a checkpoint, without .index."
        ) from None
