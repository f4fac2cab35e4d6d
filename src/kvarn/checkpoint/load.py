"""Values and names of a checkpoint, without a graph.

    load_variable("/m", "dnn/w")           from the newest checkpoint of a directory, or from a prefix
    list_variables("/m/model.ckpt-10")     [(name, shape), …] by name
    load_checkpoint("/m")                  a CheckpointReader

Source: tensorflow/python/training/checkpoint_utils.py, tensorflow/c/checkpoint_reader.cc.
"""

from __future__ import annotations

from typing import Any

from kvarn import dtypes
from kvarn.checkpoint.management import latest_checkpoint
from kvarn.formats.bundle.elements import dtype_of
from kvarn.formats.bundle.entry import BundleEntry
from kvarn.formats.bundle.reader import BundleReader, encode_name
from kvarn.formats.detect import open_checkpoint
from kvarn.formats.tensor_slice import print_shape
from kvarn.io import FileSystem, Path, as_path, file_system_of


class CheckpointReader:
    """Names, shapes and values of one checkpoint.  Thread-safe.

    Args:
      filepattern: the prefix of a checkpoint.

    Raises:
      NotFoundError, DataLossError and the like: see `kvarn.formats.detect.open_checkpoint`.
    """

    def __init__(self, filepattern: Path, fs: FileSystem | None = None) -> None:
        self._reader = open_checkpoint(filepattern, fs)
        self._entries: dict[str, BundleEntry] = dict(self._reader.entries())

    @property
    def bundle(self) -> BundleReader:
        """The reader of the files below."""
        return self._reader

    def has_tensor(self, tensor_str: str | bytes) -> bool:
        """True if a tensor of that name is there."""
        return self._reader.contains(encode_name(tensor_str))

    def get_tensor(self, tensor_str: str | bytes) -> Any:
        """The value: an array; of a scalar the NumPy scalar, of a scalar string the bytes.

        Raises:
          NotFoundError: there is no such tensor; the hint names the nearest.
          DataLossError, OutOfRangeError: its bytes are damaged or gone.
        """
        value = self._reader.lookup(tensor_str)
        return value[()] if value.shape == () else value

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """Shape by name."""
        return {name: list(entry.shape) for name, entry in self._entries.items()}

    def get_variable_to_dtype_map(self) -> dict[str, dtypes.DType]:
        """Element type by name."""
        prefix = self._reader.prefix
        return {name: dtype_of(entry.dtype, name, prefix) for name, entry in self._entries.items()}

    def debug_string(self) -> bytes:
        """A line ``name (DT_TYPE) [shape]`` per tensor; as in TensorFlow a tensor kept in slices appears as
        these, under their encoded keys."""
        from kvarn import protos

        return b"".join(
            key + f" ({protos.DataType.Name(entry.dtype)}) {print_shape(entry.shape)}\n".encode()
            for key, entry in self._reader.records()
            if not entry.slices
        )

    # What TensorFlow's Python wrapper calls them besides.
    GetTensor = get_tensor
    HasTensor = has_tensor


def NewCheckpointReader(filepattern: Path, fs: FileSystem | None = None) -> CheckpointReader:
    """A reader of the checkpoint with that prefix; see `CheckpointReader`."""
    return CheckpointReader(filepattern, fs)


def load_checkpoint(ckpt_dir_or_file: Path, fs: FileSystem | None = None) -> CheckpointReader:
    """A reader of a checkpoint, or of the newest one of a directory.

    Raises:
      ValueError: the directory has no checkpoint.
      and as `CheckpointReader`.
    """
    return CheckpointReader(checkpoint_filename(ckpt_dir_or_file, fs), fs)


def load_variable(ckpt_dir_or_file: Path, name: str, fs: FileSystem | None = None) -> Any:
    """The value of a variable; ``name`` may end in ``:0``.

    Raises: as `load_checkpoint` and `CheckpointReader.get_tensor`.
    """
    with open_checkpoint(checkpoint_filename(ckpt_dir_or_file, fs), fs) as reader:
        value = reader.lookup(name.removesuffix(":0"))
    return value[()] if value.shape == () else value


def list_variables(ckpt_dir_or_file: Path, fs: FileSystem | None = None) -> list[tuple[str, list[int]]]:
    """Name and shape of every variable, sorted by name.

    Raises: as `load_checkpoint`.
    """
    with open_checkpoint(checkpoint_filename(ckpt_dir_or_file, fs), fs) as reader:
        return sorted((name, list(entry.shape)) for name, entry in reader.entries())


def checkpoint_filename(ckpt_dir_or_file: Path, fs: FileSystem | None = None) -> str:
    """The prefix that is meant: the newest checkpoint of a directory, or the path itself.

    Raises:
      ValueError: the directory has no checkpoint.
    """
    path = as_path(ckpt_dir_or_file)
    if not (fs or file_system_of(path)).is_directory(path):
        return path
    newest = latest_checkpoint(path, fs=fs)
    if newest is None:
        raise ValueError(f"Couldn't find 'checkpoint' file or checkpoints in given directory {path}")
    return newest
