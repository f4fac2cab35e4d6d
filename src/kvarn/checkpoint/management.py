"""Which checkpoints a directory has: the state file, the newest one, removal.

Signatures, texts and order of `tf.train`; paths may be bytes or PathLike too.  Relative paths in a state
file count from its directory.

Source: tensorflow/python/training/checkpoint_management.py.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Any

from kvarn import tf_logging
from kvarn.errors import OpError
from kvarn.formats import checkpoint_state
from kvarn.formats.bundle.naming import index_filename
from kvarn.formats.detect import checkpoint_exists as _exists
from kvarn.formats.manifest import manifest_filename
from kvarn.formats.meta_graph import meta_graph_filename
from kvarn.io import FileSystem, Path, as_path, file_system_of, join_path, root_of

# SaverDef.CheckpointFormatVersion.
_V2 = 2


def generate_checkpoint_state_proto(
    save_dir: Path,
    model_checkpoint_path: Path,
    all_model_checkpoint_paths: Sequence[str] | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
) -> Any:
    """The CheckpointState message for a directory.

    Args:
      model_checkpoint_path: the newest checkpoint; appended to the list unless it is its last element.
      all_model_checkpoint_paths: from oldest to newest; a list that is not empty is itself what is appended to,
        as in TensorFlow.
      all_model_checkpoint_timestamps: seconds since 1970, one per path.

    Raises:
      ValueError: as many timestamps as paths are needed.
    """
    from kvarn import protos

    directory, newest = as_path(save_dir), as_path(model_checkpoint_path)
    given = all_model_checkpoint_paths
    paths = given if isinstance(given, list) and given else list(given or ())
    if not paths or paths[-1] != newest:
        tf_logging.info("%s is not in all_model_checkpoint_paths. Manually adding it.", newest)
        paths.append(newest)
    if all_model_checkpoint_timestamps and len(all_model_checkpoint_timestamps) != len(paths):
        raise ValueError(
            "Checkpoint timestamps, if provided, must match checkpoint paths (got "
            f"paths {paths} and timestamps {all_model_checkpoint_timestamps})"
        )
    if not os.path.isabs(directory):
        newest = _relative(newest, directory)
        paths = [_relative(path, directory) for path in paths]
    return protos.CheckpointState(
        model_checkpoint_path=newest,
        all_model_checkpoint_paths=paths,
        all_model_checkpoint_timestamps=all_model_checkpoint_timestamps,
        last_preserved_timestamp=last_preserved_timestamp,
    )


def update_checkpoint_state(
    save_dir: Path,
    model_checkpoint_path: Path,
    all_model_checkpoint_paths: Sequence[str] | None = None,
    latest_filename: str | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
) -> None:
    """Writes the state file of a directory; see `update_checkpoint_state_internal`."""
    update_checkpoint_state_internal(
        save_dir,
        model_checkpoint_path,
        all_model_checkpoint_paths,
        latest_filename,
        False,
        all_model_checkpoint_timestamps,
        last_preserved_timestamp,
    )


def update_checkpoint_state_internal(
    save_dir: Path,
    model_checkpoint_path: Path,
    all_model_checkpoint_paths: Sequence[str] | None = None,
    latest_filename: str | None = None,
    save_relative_paths: bool = False,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
    fs: FileSystem | None = None,
) -> None:
    """Replaces the state file of a directory atomically.

    Args:
      save_relative_paths: write absolute paths relative to ``save_dir``.
      and as `generate_checkpoint_state_proto`.

    Raises:
      RuntimeError: the newest checkpoint has the path of the state file itself.
    """
    directory, newest = as_path(save_dir), as_path(model_checkpoint_path)
    paths = list(all_model_checkpoint_paths or ())
    if save_relative_paths:
        newest = os.path.relpath(newest, directory) if os.path.isabs(newest) else newest
        paths = [os.path.relpath(path, directory) if os.path.isabs(path) else path for path in paths]
    state = generate_checkpoint_state_proto(
        directory, newest, paths, all_model_checkpoint_timestamps, last_preserved_timestamp
    )
    target = checkpoint_state.state_path(directory, latest_filename)
    if target == state.model_checkpoint_path:
        raise RuntimeError(
            f"Save path '{as_path(model_checkpoint_path)}' conflicts with path used for checkpoint state.  "
            "Please use a different save path."
        )
    checkpoint_state.write_state(target, state, fs)


def get_checkpoint_state(
    checkpoint_dir: Path, latest_filename: str | None = None, fs: FileSystem | None = None
) -> Any | None:
    """The CheckpointState of a directory, its paths joined to the directory; None if there is none.

    A file that cannot be read is logged and counts as none.

    Raises:
      ValueError: the file names no newest checkpoint.
    """
    directory = as_path(checkpoint_dir)
    path = checkpoint_state.state_path(directory, latest_filename)
    if not (fs or file_system_of(path)).exists(path):
        return None
    try:
        state = checkpoint_state.read_state(path, fs)
    except OpError as error:
        tf_logging.warning("%s: %s", type(error).__name__, error)
        tf_logging.warning("%s: Checkpoint ignored", path)
        return None
    if not state.model_checkpoint_path:
        raise ValueError(f"Invalid checkpoint state loaded from {directory}")
    state.model_checkpoint_path = join_path(directory, state.model_checkpoint_path)
    for at, name in enumerate(state.all_model_checkpoint_paths):
        state.all_model_checkpoint_paths[at] = join_path(directory, name)
    return state


def latest_checkpoint(
    checkpoint_dir: Path, latest_filename: str | None = None, fs: FileSystem | None = None
) -> str | None:
    """The prefix of the newest checkpoint that a directory's state names; None if its files are not there."""
    state = get_checkpoint_state(checkpoint_dir, latest_filename, fs)
    if state is None:
        return None
    prefix = str(state.model_checkpoint_path)
    if _exists(prefix, fs):
        return prefix
    tf_logging.error("Couldn't match files for checkpoint %s", prefix)
    return None


def checkpoint_exists(checkpoint_prefix: Path, fs: FileSystem | None = None) -> bool:
    """True if a V2 or V1 checkpoint of that prefix is there."""
    return _exists(checkpoint_prefix, fs)


def get_checkpoint_mtimes(checkpoint_prefixes: Sequence[Path], fs: FileSystem | None = None) -> list[float]:
    """When each checkpoint was written, in seconds since 1970; those that are not there are left out."""
    times: list[float] = []
    for prefix in map(as_path, checkpoint_prefixes):
        files = fs or file_system_of(prefix)
        for pattern in (index_filename(prefix), prefix):
            found = [pattern] if files.exists(pattern) else files.glob(pattern)
            if found:
                times.append(files.modified_secs(found[0]))
                break
    return times


def remove_checkpoint(
    checkpoint_prefix: Path,
    checkpoint_format_version: int = _V2,
    meta_graph_suffix: str = "meta",
    fs: FileSystem | None = None,
) -> None:
    """Removes the files of a checkpoint: the meta graph, the manifest, the index, then the data.

    TensorFlow takes the prefix for a pattern: there one with ``?`` or ``*`` in its name takes the files of
    others along.  Here a prefix of V2 means itself alone.

    Args:
      checkpoint_format_version: SaverDef.V2, or another for V1: one file, or a pattern of shards.
    """
    files, prefix = fs or file_system_of(checkpoint_prefix), as_path(checkpoint_prefix)
    own = glob.escape(prefix) if checkpoint_format_version == _V2 else prefix
    _remove(files, meta_graph_filename(own, meta_graph_suffix))
    if checkpoint_format_version == _V2:
        _remove(files, manifest_filename(own))
        _remove(files, index_filename(own))
        _remove(files, f"{own}.data-?????-of-?????")
    else:
        _remove(files, own)


def _remove(fs: FileSystem, pattern: str) -> None:
    for path in fs.glob(pattern):
        fs.remove(path)


def _relative(path: str, directory: str) -> str:
    elsewhere = os.path.isabs(path) or root_of(path) != root_of(directory)
    return path if elsewhere else os.path.relpath(path, directory)
