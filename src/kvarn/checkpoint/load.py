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
from kvarn.errors import NotFoundError
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.detect import V1, open_checkpoint
from kvarn.formats.names import decode_name, encode_name
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.reader import TensorReader
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
        self._tensors = {info.name: info for info in self._reader.tensors()}

    @property
    def reader(self) -> TensorReader:
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
        return _value(self._reader, tensor_str)

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """Shape by name."""
        return {name: list(info.shape) for name, info in self._tensors.items()}

    def get_variable_to_dtype_map(self) -> dict[str, dtypes.DType]:
        """Element type by name."""
        return {name: info.dtype for name, info in self._tensors.items()}

    def debug_string(self) -> bytes:
        """A line ``name (DT_TYPE) [shape]`` per tensor; as in TensorFlow one kept in slices appears in V2 as
        these, under their encoded keys, and in V1 with their number."""
        from kvarn import protos

        lines: dict[bytes, str] = {}
        for name, info in self._tensors.items():
            key = encode_name(name)
            kind = f" ({protos.DataType.Name(info.dtype.as_datatype_enum)}) "
            if self._reader.format == "V2" and info.slices:
                for piece in info.slices:
                    shape = piece.shape_within(info.shape)
                    lines[encode_slice_key(key, piece)] = f"{kind}{print_shape(shape)}\n"
            else:
                count = f", {len(info.slices)} slices" if len(info.slices) > 1 else ""
                lines[key] = f"{kind}{print_shape(info.shape)}{count}\n"
        return b"".join(key + lines[key].encode() for key in sorted(lines))

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
        return _value(reader, name.removesuffix(":0"))


def list_variables(ckpt_dir_or_file: Path, fs: FileSystem | None = None) -> list[tuple[str, list[int]]]:
    """Name and shape of every variable, sorted by name.

    Raises: as `load_checkpoint`.
    """
    with open_checkpoint(checkpoint_filename(ckpt_dir_or_file, fs), fs) as reader:
        if isinstance(reader, BundleReader):
            # From the columns of the index: of many small tensors a `TensorInfo` each would take most of the time.
            columns = reader.columns
            shapes = columns.shape
            return sorted(
                (name, list(columns.entry(row).shape if shapes[row] is None else shapes[row]))
                for name, row in zip(columns.names, columns.rows.tolist(), strict=True)
            )
        return sorted((info.name, list(info.shape)) for info in reader.tensors())


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


def _value(reader: TensorReader, name: str | bytes) -> Any:
    """What TensorFlow's `get_tensor` gives, and says of a name that is not there."""
    try:
        value = reader.lookup(name)
    except NotFoundError as error:
        if reader.format != V1 or reader.contains(name):
            raise
        text = decode_name(encode_name(name))
        raise NotFoundError.of(
            f"{text} not found in checkpoint file", name=text, path=error.path, hint=error.hint
        ) from None
    return value[()] if value.shape == () else value
