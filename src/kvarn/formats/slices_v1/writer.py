"""Writes V1 checkpoints, to the bytes that TensorFlow writes for the same tensors.

    with TensorSliceWriter("/m/model.ckpt-10") as writer:
        writer.add("dnn/w", w)                                             a whole tensor
        writer.add_slice("emb", (10, 4), TensorSlice.parse("0,6:-"), rows)   a part of one

Records lie sorted in the file and the first names all others, so they wait in memory, serialized, until
`finish` writes them.  The meta record lists tensors by name, and the slices of one in the order they were
added (`kvarn.formats.slices_v1.order` has the order in which TensorFlow's save op adds them).

Source: tensorflow/core/util/tensor_slice_writer.{h,cc}; there a second slice of the same name and place is
dropped, here it is refused, and so are slices that overlap, which no reader accepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    UnimplementedError,
)
from kvarn.formats.bundle.naming import index_filename
from kvarn.formats.bundle.strings import as_bytes_list
from kvarn.formats.elements import message_name, saved_dtype
from kvarn.formats.messages import Versions
from kvarn.formats.names import decode_name, encode_name
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.slices_v1 import values
from kvarn.formats.slices_v1.format import META_KEY, SliceMeta, record_head, serialize_meta, slice_head
from kvarn.formats.table.builder import TableBuilder
from kvarn.formats.tensor_slice import TensorSlice, first_overlap, print_shape
from kvarn.formats.writer import misshapen_slice, none_open, not_in_segments, still_open, wrong_length
from kvarn.io import AtomicFile, Buffer, FileSystem, Path, as_path, directory_of, file_system_of

# What TensorFlow lets a record be, and what it adds for the fields around the values
# (kMaxMessageBytes, kTensorProtoHeaderBytes).
LARGEST_RECORD_BYTES = 1 << 31
_AROUND_VALUES_BYTES = 1 << 10
# Pieces of the file are collected up to this before they are written.
_BUFFER_BYTES = 1 << 20


class TensorSliceWriter:
    """A V1 checkpoint in the making, in one file.  Not thread-safe.

    For a sharded save one writer writes ``sharded_filename(prefix, shard, num_shards)``.  Makes the
    directory of the file if its parent exists.  As a context manager it finishes at the end of the block,
    and aborts if that raises.

    Args:
      filename: of the checkpoint, which is its prefix too.
      fs: where the file goes; what the path says by default (`kvarn.io.file_system_of`).

    Raises:
      FailedPreconditionError: a V2 checkpoint of that prefix is there: readers would see that one.
      NotFoundError, PermissionDeniedError and the like: the place cannot be written.
    """

    def __init__(self, filename: Path, fs: FileSystem | None = None) -> None:
        self.prefix = as_path(filename)
        self.fs: FileSystem = fs or file_system_of(self.prefix)
        self._tensors: dict[bytes, SliceMeta] = {}
        self._records: dict[bytes, bytes] = {}
        self._segment: _Segment | None = None
        self._open = True
        if self.fs.exists(index_filename(self.prefix)):
            self._open = False
            raise FailedPreconditionError.of(
                f"'{self.prefix}' cannot be written as a V1 checkpoint: '{index_filename(self.prefix)}' exists",
                path=self.prefix,
                hint="Readers would take the V2 checkpoint of that name. Choose another name, or remove it.",
            )
        self.fs.make_directory(directory_of(self.prefix))

    # Tensors -----------------------------------------------------------------------------------------

    def add(self, name: str | bytes, array: npt.ArrayLike, dtype: Any = None) -> None:
        """Takes a whole tensor.

        Args:
          array: strings as bytes or text in an object array.
          dtype: the element type, where the array does not tell: quantized types.

        Raises:
          InvalidArgumentError: the name was added before or is no UTF-8, or the tensor is too large for a
            record.
          UnimplementedError: V1 has no place for the element type.
          InternalError: slices of that name say otherwise of the whole tensor.
        """
        array = np.asarray(array)
        self._check_idle()
        self._add(encode_name(name), array.shape, TensorSlice.full(array.ndim), array, dtype)

    def add_slice(
        self,
        name: str | bytes,
        full_shape: Sequence[int],
        tensor_slice: TensorSlice,
        array: npt.ArrayLike,
        dtype: Any = None,
    ) -> None:
        """Takes a part of a tensor.

        Args:
          full_shape: of the whole tensor.
          tensor_slice: where the part lies; also one that is everything keeps its spelling.
          array: the part.

        Raises as `add`, and
          InvalidArgumentError: the array has another shape than the slice.
          InternalError: the slice reaches past the whole.
        """
        array = np.asarray(array)
        self._check_idle()
        key = encode_name(name)
        shape = tuple(int(size) for size in full_shape)
        part = tensor_slice.shape_within(shape)
        if array.shape != part:
            raise misshapen_slice(decode_name(key), shape, tensor_slice, array.shape)
        self._add(key, shape, tensor_slice, array, dtype)

    def add_tensor_header(self, name: str | bytes, dtype: Any, shape: Sequence[int]) -> None:
        """Begins a tensor whose bytes follow by `append_segment`; not for strings.

        Raises as `add`, before any byte is taken.
        """
        self._check_idle()
        key = encode_name(name)
        saved = dtypes.as_dtype(dtype).base_dtype
        full = tuple(int(size) for size in shape)
        if saved.np.hasobject:
            raise not_in_segments(decode_name(key), saved)
        self._check(key, full, TensorSlice.full(len(full)), saved)
        count = int(np.prod(full, dtype=object))
        self._check_size(key, TensorSlice.full(len(full)), values.size_bound(saved, count))
        self._segment = _Segment(key, saved, full, count * saved.size)

    def append_segment(self, data: Buffer) -> None:
        """The next bytes of the tensor begun last: a C-contiguous array, or bytes."""
        segment = self._begun()
        segment.data += data.reshape(-1).view(np.uint8).data if isinstance(data, np.ndarray) else data

    def end_segment(self) -> None:
        """Ends the tensor begun last.

        Raises:
          InvalidArgumentError: its bytes are more or fewer than its shape says; the save is aborted.
        """
        segment = self._begun()
        self._segment = None
        if len(segment.data) != segment.expected_bytes:
            self.abort()
            name, found = decode_name(segment.key), len(segment.data)
            raise wrong_length(name, segment.shape, found, segment.expected_bytes, self.prefix)
        array = np.frombuffer(segment.data, segment.dtype.np).reshape(segment.shape)
        self._add(segment.key, segment.shape, TensorSlice.full(array.ndim), array, segment.dtype)

    # The end -----------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Makes the checkpoint: when this returns it is on disk, whole, under its name.

        Raises:
          InternalError: slices of a tensor overlap; nothing was written.
          OpError: a step failed; an older file of the name is still whole, and of this one nothing is left.
        """
        self._check_idle()
        try:
            for key, meta in self._tensors.items():
                self._refuse_overlap(key, meta)
            with AtomicFile(self.fs, self.prefix) as file:
                self._write(file)
        finally:
            self._forget()

    def abort(self) -> None:
        """Gives up.  Nothing happens after `finish` or a second time."""
        self._forget()

    def __enter__(self) -> TensorSliceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._open:
            self.finish()
        else:
            self.abort()

    # Steps -------------------------------------------------------------------------------------------

    def _add(
        self,
        key: bytes,
        shape: tuple[int, ...],
        piece: TensorSlice,
        array: npt.NDArray[Any],
        dtype: Any,
    ) -> None:
        saved = self._saved_dtype(key, array, dtype)
        meta, slice_key = self._check(key, shape, piece, saved)
        strings = None
        bound = values.size_bound(saved, array.size)
        if saved is dtypes.string:
            try:
                strings = as_bytes_list(array, lambda: f"tensor '{decode_name(key)}'")
            except TypeError as error:
                raise InvalidArgumentError.of(
                    str(error), name=decode_name(key), hint="Elements of string tensors are bytes or text."
                ) from error
            bound += sum(map(len, strings))
        self._check_size(key, piece, bound)
        content = values.encode_values(array, saved) if strings is None else values.encode_strings(strings)
        head = record_head(slice_head(key, piece), sum(map(len, content)))
        self._records[slice_key] = b"".join([head, *content])
        meta.slices.append(piece)
        self._tensors[key] = meta

    def _saved_dtype(self, key: bytes, array: npt.NDArray[Any], dtype: Any) -> dtypes.DType:
        try:
            saved = saved_dtype(array, dtype, decode_name(key))
        except InvalidArgumentError:
            if dtype is not None and dtypes.as_dtype(dtype).base_dtype is dtypes.resource:
                raise self._unsavable(key, dtypes.resource) from None
            raise
        return saved

    def _check(
        self, key: bytes, shape: tuple[int, ...], piece: TensorSlice, saved: dtypes.DType
    ) -> tuple[SliceMeta, bytes]:
        """The meta of the tensor that a slice is to be added to, and the key of the slice."""
        text = decode_name(key)
        if not values.can_hold(saved):
            raise self._unsavable(key, saved)
        try:
            key.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgumentError.of(
                f"tensor name {key!r} is not UTF-8, which names of V1 checkpoints must be",
                name=text,
                path=self.prefix,
                hint="Rename the tensor, or save it in the V2 format.",
            ) from error
        meta = self._tensors.get(key)
        if meta is None:
            meta = SliceMeta(key, shape, saved.as_datatype_enum)
        elif meta.shape != shape:
            raise InternalError.of(
                f"Mismatching shapes: existing tensor = {print_shape(meta.shape)}, trying to add name {text}, "
                f"shape = {print_shape(shape)}",
                name=text,
                path=self.prefix,
                hint="All slices of a tensor name the same full shape.",
            )
        elif meta.dtype != saved.as_datatype_enum:
            raise InternalError.of(
                f"Mismatching types: existing type = {message_name(dtypes.as_dtype(meta.dtype))}, trying to "
                f"add name {text}, type = {message_name(saved)}",
                name=text,
                path=self.prefix,
                hint="All slices of a tensor have the same element type.",
            )
        slice_key = encode_slice_key(key, piece)
        if slice_key in self._records:
            raise InvalidArgumentError.of(
                f"Adding duplicate key: {text}",
                name=text,
                path=self.prefix,
                hint="Every tensor of a checkpoint has a name of its own, and every slice a place.",
            )
        return meta, slice_key

    def _check_size(self, key: bytes, piece: TensorSlice, bound: int) -> None:
        bound += len(slice_head(key, piece)) + _AROUND_VALUES_BYTES
        if bound > LARGEST_RECORD_BYTES:
            raise InvalidArgumentError.of(
                f"Tensor slice is too large to serialize (conservative estimate: {bound} bytes)\n"
                f"  tensor '{decode_name(key)}', slice {piece}: a record has at most {LARGEST_RECORD_BYTES} bytes",
                name=decode_name(key),
                path=self.prefix,
                hint="Save it in the V2 format, which has no such limit, or partition the variable.",
            )

    def _refuse_overlap(self, key: bytes, meta: SliceMeta) -> None:
        pair = first_overlap([piece.resolve(meta.shape) for piece in meta.slices])
        if pair is not None:
            existing, new = (meta.slices[at] for at in pair)
            raise InternalError.of(
                f"Overlapping slices: existing slice = {existing}, new slice = {new}\n"
                f"  tensor '{decode_name(key)}' for '{self.prefix}'",
                name=decode_name(key),
                path=self.prefix,
                hint="No reader accepts such a tensor. Nothing was saved.",
            )

    def _unsavable(self, key: bytes, dtype: dtypes.DType) -> Exception:
        return UnimplementedError.of(
            f"Saving data type {message_name(dtype)} not yet supported\n"
            f"  tensor '{decode_name(key)}' for '{self.prefix}'",
            name=decode_name(key),
            path=self.prefix,
            hint="V1 checkpoints have no place for it: save in the V2 format.",
        )

    def _write(self, file: AtomicFile) -> None:
        buffer = bytearray()

        def append(piece: bytes) -> None:
            nonlocal buffer
            if len(piece) >= _BUFFER_BYTES:
                file.append(buffer)
                buffer = bytearray()
                file.append(piece)
                return
            buffer += piece
            if len(buffer) >= _BUFFER_BYTES:
                file.append(buffer)
                buffer = bytearray()

        table = TableBuilder(append)
        table.add(META_KEY, serialize_meta([self._tensors[key] for key in sorted(self._tensors)], Versions()))
        for key in sorted(self._records):
            table.add(key, self._records.pop(key))
        table.finish()
        if buffer:
            file.append(buffer)

    def _begun(self) -> _Segment:
        self._check_open()
        if self._segment is None:
            raise none_open(self.prefix)
        return self._segment

    def _check_idle(self) -> None:
        self._check_open()
        if self._segment is not None:
            raise still_open(decode_name(self._segment.key), self.prefix)

    def _check_open(self) -> None:
        if not self._open:
            raise InternalError.of(
                "TensorSliceWriter is closed", path=self.prefix, hint="Make a new writer for a new save."
            )

    def _forget(self) -> None:
        self._open = False
        self._segment = None
        self._records.clear()
        self._tensors.clear()


class _Segment:
    """The tensor that comes in pieces."""

    __slots__ = ("data", "dtype", "expected_bytes", "key", "shape")

    def __init__(self, key: bytes, dtype: dtypes.DType, shape: tuple[int, ...], expected_bytes: int) -> None:
        self.key = key
        self.dtype = dtype
        self.shape = shape
        self.expected_bytes = expected_bytes
        self.data = bytearray()
