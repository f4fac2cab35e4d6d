"""From one checkpoint file to another: which reader, which writer, and how a tensor passes between them.

    *.safetensors, *.npz          files of those formats
    anything else                 the checkpoint that `kvarn.checkpoint.paths` finds there

A tensor passes in pieces of a few MB, so that memory does not grow with it.  Slices stay slices where the
target knows them; joined they pass one stored slice at a time.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.checkpoint.paths import prefix_of
from kvarn.errors import AlreadyExistsError, InvalidArgumentError, UnimplementedError
from kvarn.formats import detect
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.elements import is_plain
from kvarn.formats.names import encode_name, is_utf8
from kvarn.formats.npz import NpzReader, NpzWriter
from kvarn.formats.reader import TensorInfo, TensorReader
from kvarn.formats.safetensors import SafetensorsReader, SafetensorsWriter
from kvarn.formats.slices_v1 import TensorSliceWriter, save_order
from kvarn.formats.slices_v1.values import can_hold
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.formats.whole_tensors import WholeTensorWriter, refusal
from kvarn.formats.writer import TensorWriter
from kvarn.io import FileSystem, LocalFileSystem, Path, as_path, directory_of, file_system_of

Array = npt.NDArray[Any]
Convert = Callable[[Array], Array]

SAFETENSORS, NPZ = "safetensors", "npz"
FORMATS = (detect.V1, detect.V2, SAFETENSORS, NPZ)
_SUFFIXES = {".safetensors": SAFETENSORS, ".npz": NPZ}
_FILE_WRITERS: dict[str, type[WholeTensorWriter]] = {SAFETENSORS: SafetensorsWriter, NPZ: NpzWriter}


def format_of(path: Path) -> str | None:
    """The format that the suffix of a path names; None for that of a checkpoint."""
    return _SUFFIXES.get(os.path.splitext(as_path(path))[1].lower())


def open_source(path: Path, fs: FileSystem | None = None) -> TensorReader:
    """A reader of the checkpoint that a path means, or of a safetensors or npz file.

    Raises:
      NotFoundError, DataLossError and the like: as the readers.
    """
    kind = format_of(path)
    if kind == SAFETENSORS:
        return SafetensorsReader(path, fs)
    if kind == NPZ:
        return NpzReader(path, fs)
    return detect.open_checkpoint(prefix_of(path, fs), fs)


def open_target(
    path: Path,
    format_name: str,
    tensors: Sequence[TensorInfo],
    fs: FileSystem | None = None,
    *,
    sources: Iterable[TensorReader] = (),
    overwrite: bool = False,
) -> tuple[TensorWriter, list[str]]:
    """A writer, and the names in the order in which it wants the tensors.

    Args:
      format_name: one of `FORMATS`.
      tensors: all that will be written.
      sources: what is read meanwhile; never written over.
      overwrite: whether another checkpoint of that path may be replaced.

    Raises:
      InvalidArgumentError: the target is a source.
      AlreadyExistsError: the target exists.
      UnimplementedError: the format cannot hold a tensor, or a source is not all in its files; nothing was
        written.
    """
    check_target(path, format_name, fs, tensors=tensors, sources=sources, overwrite=overwrite)
    if format_name in _FILE_WRITERS:
        writer = _FILE_WRITERS[format_name](path, tensors, fs)
        return writer, writer.order
    if format_name == detect.V1:
        # The order in which TensorFlow's save op takes tensors, so that the bytes are its own.
        order = save_order([encode_name(info.name) for info in tensors])
        return TensorSliceWriter(path, fs), [tensors[at].name for at in order]
    return BundleWriter(path, fs), [info.name for info in tensors]


def refused_by(format_name: str, tensors: Iterable[TensorInfo]) -> dict[str, str]:
    """Why a format cannot hold tensors, by name."""
    if format_name == detect.V1:
        refuses = _refused_by_v1
    elif format_name in _FILE_WRITERS:
        refuses = _FILE_WRITERS[format_name].refuses
    else:
        return {}
    return {info.name: why for info in tensors if (why := refuses(info))}


def _refused_by_v1(info: TensorInfo) -> str:
    if not can_hold(info.dtype):
        return f"it has no type {info.dtype.name}"
    return "" if is_utf8(info.name) else "the name is not UTF-8"


def refuse_rows_elsewhere(reader: TensorReader) -> None:
    """Raises UnimplementedError if embedding variables have rows in files of an SSD tier: a copy would lack
    them."""
    directory, start = directory_of(reader.prefix), os.path.basename(reader.prefix) + "-"
    for name in reader.fs.list_directory(directory):
        if name.startswith(start) and name.endswith("-ssd_record.index"):
            raise UnimplementedError.of(
                f"'{reader.prefix}' has rows of embedding variables in files of an SSD tier: '{name}'",
                path=os.path.join(directory, name),
                hint="Restore it into the variables of a program, which reads such rows, and save that.",
            )


def check_target(
    path: Path,
    format_name: str,
    fs: FileSystem | None = None,
    *,
    tensors: Iterable[TensorInfo] = (),
    sources: Iterable[TensorReader] = (),
    overwrite: bool = False,
) -> None:
    """Raises as `open_target` does, and writes nothing."""
    files, target = fs or file_system_of(path), as_path(path)
    if not os.path.basename(target):
        raise InvalidArgumentError.of(
            f"'{target}' names no file",
            path=target,
            hint=f"Give the name of the checkpoint too: '{os.path.join(target, 'model.ckpt')}'.",
        )
    if refused := refused_by(format_name, tensors):
        raise refusal(target, format_name, refused)
    taken = target if format_name != detect.V2 else f"{target}.index"
    for source in sources:
        refuse_rows_elsewhere(source)
        refuse_own_source(source, source.fs, target, taken, files)
    if not overwrite and files.exists(taken):
        raise AlreadyExistsError.of(
            f"{taken}; File exists",
            path=taken,
            hint="Choose another target, or replace this one: `--overwrite`, overwrite=True.",
        )


def refuse_own_source(
    source: TensorReader, source_fs: FileSystem, target: str, taken: str, fs: FileSystem
) -> None:
    """Raises InvalidArgumentError if a target is what is read: by its prefix, or by links to its files.

    Args:
      source_fs: where the source is.
      taken: the file of the target that makes it one.
    """
    if _same_place(source_fs, source.prefix, fs, target) or any(
        _same_place(source_fs, path, fs, taken) for path, _ in source.files()
    ):
        raise InvalidArgumentError.of(
            f"'{target}' would be written over its own source",
            path=target,
            hint="Choose another target; move it there when you are content with it.",
        )


def _same_place(fs: FileSystem, path: str, other_fs: FileSystem, other: str) -> bool:
    """Whether two paths name the same file or prefix."""
    if isinstance(fs, LocalFileSystem) and isinstance(other_fs, LocalFileSystem):
        return os.path.realpath(path) == os.path.realpath(other)
    return fs is other_fs and os.path.normpath(path) == os.path.normpath(other)


def copy_tensor(
    reader: TensorReader,
    writer: TensorWriter,
    info: TensorInfo,
    *,
    name: str | None = None,
    dtype: dtypes.DType | None = None,
    convert: Convert | None = None,
    join: bool = False,
    count: Callable[[int], None] | None = None,
) -> None:
    """Copies one tensor.

    Args:
      name, dtype: what it becomes; as it is by default.
      convert: makes pieces of the new type of pieces of the old one.
      join: makes one tensor of stored slices.
      count: told the source's bytes as they pass.
    """
    new_name, new_dtype = name or info.name, dtype or info.dtype
    change = convert or _as_it_is
    tell = count or _nobody
    if info.slices and not join:
        for piece in info.slices:
            stored = reader.lookup_stored_slice(info.name, piece)
            tell(stored.nbytes)
            writer.add_slice(new_name, info.shape, piece, change(stored), new_dtype)
        return
    if not is_plain(new_dtype):
        pieces = list(tensor_pieces(reader, info))
        whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        tell(info.size_bytes)
        writer.add(new_name, change(whole), new_dtype)
        return
    writer.add_tensor_header(new_name, new_dtype, info.shape)
    for part in tensor_pieces(reader, info):
        tell(part.nbytes)
        writer.append_segment(np.ascontiguousarray(change(part)))
    writer.end_segment()


def tensor_pieces(reader: TensorReader, info: TensorInfo) -> Iterator[Array]:
    """A whole tensor in consecutive pieces along its first dimension, stored slices joined.

    Raises:
      InvalidArgumentError: the stored slices do not cover it.
      InternalError: they overlap.
    """
    if not info.slices:
        yield from reader.chunks(info.name)
        return
    spans = sorted((piece.resolve(info.shape).extents, piece) for piece in info.slices)
    if _are_rows([extents for extents, _ in spans], info.shape):
        for _, piece in spans:
            yield reader.lookup_stored_slice(info.name, piece)
        return
    if math.prod(info.shape) == 0:
        yield reader.lookup(info.name)
        return
    if sum(TensorSlice(extents).num_elements for extents, _ in spans) < math.prod(info.shape):
        reader.lookup(info.name)  # raises: slices are missing
    check_room(reader, info)
    # What TensorFlow does not cut (half, strings, …) we may still put together: every stored slice is taken whole.
    whole = np.empty(info.shape, info.dtype.np)
    seen = np.zeros(info.shape, np.bool_)
    origin = TensorSlice.of_shape(info.shape)
    for extents, piece in spans:
        place = TensorSlice(extents).relative_to(origin)
        if seen[place].any():
            reader.lookup(info.name)  # raises: slices overlap
        seen[place] = True
        whole[place] = reader.lookup_stored_slice(info.name, piece)
    if not seen.all():
        raise InvalidArgumentError.of(
            f"Does not have sufficient slices for partitioned tensor {info.name} to restore in slice_spec: "
            f"{TensorSlice.full(len(info.shape))}\n  in '{reader.prefix}': stored are "
            f"{', '.join(map(str, info.slices))}",
            name=info.name,
            path=reader.prefix,
            hint="A part was not saved, or its shard was not merged.",
        )
    yield whole


def check_room(reader: TensorReader, info: TensorInfo) -> None:
    """Reads all of a tensor first if it claims more bytes than the files have: memory is taken for it at once.

    Raises: as `TensorReader.verify`.
    """
    if math.prod(info.shape) * info.dtype.size > sum(size for _, size in reader.files()):
        reader.verify(info.name)


def side_by_side(streams: Sequence[Iterable[Array]]) -> Iterator[list[Array]]:
    """Pieces of tensors of one shape, cut alike, however each stream cuts its own."""
    sources = [iter(stream) for stream in streams]
    held = [next(source) for source in sources]
    if not held[0].shape:
        yield held
        return
    while True:
        rows = min(map(len, held))
        yield [piece[:rows] for piece in held]
        rest = [piece[rows:] for piece in held]
        held = [
            piece if len(piece) else next(source, piece) for piece, source in zip(rest, sources, strict=True)
        ]
        if not all(map(len, held)):
            # All end together; what is left of a stream that ends with an empty piece is nothing.
            return


def _are_rows(spans: list[tuple[tuple[int, int], ...]], shape: tuple[int, ...]) -> bool:
    """Whether slices are runs of whole rows that follow one another from first to last."""
    end = 0
    for (start, length), *others in spans:
        if start != end or any(extent != (0, size) for extent, size in zip(others, shape[1:], strict=True)):
            return False
        end = start + length
    return end == shape[0]


@contextlib.contextmanager
def aborting(writer: TensorWriter) -> Iterator[None]:
    """Whatever goes wrong in the block, nothing is left of the target; at its end the target is made."""
    try:
        yield
        writer.finish()
    except BaseException:
        writer.abort()
        raise


def _as_it_is(array: Array) -> Array:
    return array


def _nobody(size: int) -> None:
    pass
