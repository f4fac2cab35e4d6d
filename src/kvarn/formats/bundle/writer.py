"""Writes V2 checkpoints, to the bytes that TensorFlow writes for the same tensors in the same order.

    with BundleWriter("/m/model.ckpt-10") as writer:
        writer.add("dnn/w", w)                                       a whole tensor
        writer.add_many({"dnn/b": b, "dnn/c": c})                    many of them, much faster
        writer.add_slice("emb", (10, 4), TensorSlice.parse("0,6:-"), rows)   a part of one
        writer.add_tensor_header("big", dtypes.float32, (n, 8))      one that comes in pieces
        for piece in pieces:
            writer.append_segment(piece)
        writer.end_segment()

Tensors go to the data file at once, in the order they are given and without gaps; entries wait in memory.
`finish` syncs the data, unless told not to, and then commits it (kvarn.formats.bundle.commit says in which
steps).  Until then, and after `abort` or an error, the prefix is as it was and no other file is left.

Source: `BundleWriter` in tensorflow/core/util/tensor_bundle/tensor_bundle.cc, which neither syncs nor removes
its temporary file when it fails; the streaming methods are DeepRec's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import _native, dtypes
from kvarn.errors import InternalError, InvalidArgumentError, OpError
from kvarn.formats import elements
from kvarn.formats.bundle import commit, naming, strings
from kvarn.formats.bundle.entry import BundleEntry, BundleHeader
from kvarn.formats.checksum import crc32c, mask
from kvarn.formats.names import decode_name, encode_name
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.formats.writer import misshapen_slice, none_open, not_in_segments, still_open, wrong_length
from kvarn.io import Buffer, FileSystem, Path, WriteFile, as_path, directory_of, file_system_of
from kvarn.io.checked import append_checked

# Tensors from this size on go to the file from where they lie; smaller ones are collected first.
_DIRECT_BYTES = 1 << 16
# Of an array that does not lie as in a file this much at a time is copied.
_PIECE_BYTES = 1 << 20


class BundleWriter:
    """A V2 checkpoint in the making, with one data file.  Not thread-safe.

    Makes the directory of the prefix if its parent exists, as TensorFlow does.  As a context manager it
    finishes at the end of the block, and aborts if that raises.

    Args:
      prefix: the path without ``.index``.
      fs: where the files go; what the path says by default (`kvarn.io.file_system_of`).
      data_alignment: every tensor added whole is followed by zeros up to a multiple of this;
        the save op uses 1.
      sync: whether the checkpoint survives a power failure once `finish` has returned.  Without, as in
        TensorFlow, only the end of the process; saving does not wait for the disk then.

    Raises:
      NotFoundError, PermissionDeniedError and the like: the place cannot be written.
    """

    def __init__(
        self, prefix: Path, fs: FileSystem | None = None, *, data_alignment: int = 1, sync: bool = True
    ) -> None:
        self.prefix = as_path(prefix)
        self.fs: FileSystem = fs or file_system_of(self.prefix)
        self._alignment = data_alignment
        self._sync = sync
        # Entries of `add_many` are serialized from the start.
        self._records: dict[bytes, BundleEntry | bytes] = {}
        self._buffer = bytearray()
        self._size = 0
        self._segment: _Segment | None = None
        self._file: WriteFile | None = None
        self._process = os.getpid()
        self.fs.make_directory(directory_of(self.prefix))
        self._suffix = commit.begin(self.fs, self.prefix)
        try:
            self._file = self.fs.open_write(naming.data_filename(self.prefix, 0, 1) + self._suffix)
        except BaseException:
            # An interrupt may come when the file is there and nobody has it yet.
            commit.sweep(self.fs, self.prefix, self._suffix)
            raise

    # Tensors -----------------------------------------------------------------------------------------

    def add(self, name: str | bytes, array: npt.ArrayLike, dtype: Any = None) -> None:
        """Writes a whole tensor.

        Args:
          array: strings as bytes or text in an object array; variants as serialized VariantTensorDataProtos.
          dtype: the element type, where the array does not tell: quantized types, variants.

        Raises:
          InvalidArgumentError: the name was added before, or the elements cannot be saved.
        """
        self._add(encode_name(name), np.asarray(array), dtype)

    def add_many(self, tensors: Mapping[str, npt.ArrayLike] | Mapping[bytes, npt.ArrayLike]) -> None:
        """Writes whole tensors in the order of the mapping: as `add` for each, but much faster for small ones.

        Raises: as `add`; the tensors before the one that cannot be saved are written.
        """
        self._check_idle()
        names: list[Any] = list(tensors.keys())
        arrays: list[Any] = list(tensors.values())
        at = 0
        while at < len(names):
            if self._alignment == 1:
                at, packed, keys, entries = _native.pack_tensors(
                    names, arrays, at, self._size, _DIRECT_BYTES - 1, commit.BUFFER_BYTES
                )
                self._add_packed(packed, keys, entries)
            if at < len(names):
                # What is not plain or not small; after a full buffer the next one, which may be either.
                self.add(names[at], arrays[at])
                at += 1

    def add_slice(
        self,
        name: str | bytes,
        full_shape: Sequence[int],
        tensor_slice: TensorSlice,
        array: npt.ArrayLike,
        dtype: Any = None,
    ) -> None:
        """Writes a part of a tensor; one that is the whole becomes an ordinary tensor.

        Args:
          full_shape: of the whole tensor.
          tensor_slice: where the part lies.
          array: the part.

        Raises:
          InvalidArgumentError: the array has another shape than the slice, the slice was added before, or
            an earlier part said otherwise of the whole tensor.
          InternalError: the slice reaches past the whole.
        """
        key = encode_name(name)
        values = np.asarray(array)
        shape = tuple(int(size) for size in full_shape)
        part = tensor_slice.shape_within(shape)
        if values.shape != part:
            raise misshapen_slice(decode_name(key), shape, tensor_slice, values.shape)
        if part == shape:
            self._add(key, values, dtype)
            return
        saved = elements.saved_dtype(values, dtype, decode_name(key))
        whole = self._whole(key, shape, saved)
        self._add(encode_slice_key(key, tensor_slice), values, saved)
        whole.slices.append(tensor_slice)
        self._records[key] = whole

    def add_tensor_header(self, name: str | bytes, dtype: Any, shape: Sequence[int]) -> None:
        """Begins a tensor whose bytes follow by `append_segment`; not for strings and variants.

        Raises:
          InvalidArgumentError: the name was added before, or the type has no plain bytes.
        """
        self._begin(encode_name(name), dtype, shape)

    def add_slice_header(
        self, name: str | bytes, full_shape: Sequence[int], tensor_slice: TensorSlice, dtype: Any
    ) -> None:
        """Begins a part of a tensor whose bytes follow by `append_segment`; else as `add_slice`.

        Raises:
          InvalidArgumentError, InternalError: as `add_slice` and `add_tensor_header`.
        """
        key = encode_name(name)
        shape = tuple(int(size) for size in full_shape)
        part = tensor_slice.shape_within(shape)
        if part == shape:
            self._begin(key, dtype, shape)
            return
        saved = dtypes.as_dtype(dtype).base_dtype
        whole = self._whole(key, shape, saved)
        self._begin(encode_slice_key(key, tensor_slice), saved, part)
        whole.slices.append(tensor_slice)
        self._records[key] = whole

    def _begin(self, key: bytes, dtype: Any, shape: Sequence[int]) -> None:
        self._check_idle()
        if key in self._records or not key:
            raise self._duplicate(key)
        saved = dtypes.as_dtype(dtype).base_dtype
        if not elements.is_plain(saved):
            raise not_in_segments(decode_name(key), saved)
        entry = BundleEntry(
            dtype=saved.as_datatype_enum, shape=tuple(int(n) for n in shape), offset=self._size
        )
        self._segment = _Segment(key, entry, entry.num_elements * saved.size)

    def append_segment(self, data: Buffer) -> None:
        """The next bytes of the tensor begun last: a C-contiguous array, or bytes."""
        segment = self._segment
        if segment is None:
            raise none_open(self.prefix)
        raw = data.reshape(-1).view(np.uint8).data if isinstance(data, np.ndarray) else memoryview(data)
        segment.crc = self._append(raw.cast("B"), segment.crc)

    def end_segment(self) -> None:
        """Ends the tensor begun last.

        Raises:
          InvalidArgumentError: its bytes are more or fewer than its shape says; the save is aborted.
        """
        segment, self._segment = self._segment, None
        if segment is None:
            raise none_open(self.prefix)
        segment.entry.size = self._size - segment.entry.offset
        if segment.entry.size != segment.expected_bytes:
            self.abort()
            name, entry = decode_name(segment.key), segment.entry
            raise wrong_length(name, entry.shape, entry.size, segment.expected_bytes, self.prefix)
        segment.entry.crc32c = mask(segment.crc)
        self._records[segment.key] = segment.entry

    # The end -----------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Makes the checkpoint: when this returns it is on disk, whole, under its prefix.

        Raises:
          OpError: a step failed; an older checkpoint of the prefix is still whole, and of this one nothing
            is left (kvarn.formats.bundle.commit names the one exception).
        """
        self._check_idle()
        file = self._opened()
        try:
            self._flush()
            records = {
                key: entry if isinstance(entry, bytes) else entry.serialize()
                for key, entry in self._records.items()
            }
            if self._sync:
                file.sync()
            file.close()
        except BaseException:
            self.abort()
            raise
        self._file = None
        commit.commit(self.fs, self.prefix, self._suffix, BundleHeader(), records, sync=self._sync)

    def abort(self) -> None:
        """Gives up: removes what was written.

        Nothing happens after `finish` or a second time, nor in a forked process: the files are its parent's.
        """
        file, self._file = self._file, None
        if file is None or self._process != os.getpid():
            return
        try:
            file.discard()
        except OpError:
            pass  # what could not be written is removed
        finally:
            commit.sweep(self.fs, self.prefix, self._suffix)

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._file is not None:
            self.finish()
        else:
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.abort()

    # Steps -------------------------------------------------------------------------------------------

    def _whole(self, key: bytes, shape: tuple[int, ...], saved: dtypes.DType) -> BundleEntry:
        """The entry of a tensor that a slice is to be added to."""
        whole = self._records.get(key)
        if whole is None:
            return BundleEntry(dtype=saved.as_datatype_enum, shape=shape)
        if (
            isinstance(whole, bytes)
            or not whole.slices
            or whole.shape != shape
            or whole.dtype != saved.as_datatype_enum
        ):
            raise self._duplicate(key)
        return whole

    def _add(self, key: bytes, array: npt.NDArray[Any], dtype: Any) -> None:
        self._check_idle()
        if key in self._records or not key:
            raise self._duplicate(key)
        saved = elements.saved_dtype(array, dtype, decode_name(key))
        if saved.np.hasobject:
            pieces, crc = self._encode_objects(key, array, saved)
            start = self._size
            for piece in pieces:
                self._append(memoryview(piece), 0)
        else:
            start, crc = self._size, 0
            for plain in elements.pieces(array, _PIECE_BYTES):
                crc = self._append(elements.to_bytes(plain, saved), crc)
        self._records[key] = BundleEntry(
            saved.as_datatype_enum, array.shape, 0, start, self._size - start, mask(crc)
        )
        if self._alignment > 1:
            self._align()

    def _encode_objects(
        self, key: bytes, array: npt.NDArray[Any], dtype: dtypes.DType
    ) -> tuple[list[bytes], int]:
        try:
            values = strings.as_bytes_list(array, lambda: f"tensor '{decode_name(key)}'")
        except TypeError as error:
            raise InvalidArgumentError.of(
                str(error), name=decode_name(key), hint="Elements of string tensors are bytes or text."
            ) from error
        return strings.encode_strings(values) if dtype is dtypes.string else strings.encode_variants(values)

    def _add_packed(self, packed: bytes, keys: list[bytes], entries: list[bytes]) -> None:
        """Takes over what native code made of many tensors."""
        if not self._records.keys().isdisjoint(keys) or len(set(keys)) != len(keys):
            known = self._records.keys()
            raise self._duplicate(
                next(key for at, key in enumerate(keys) if key in known or key in keys[:at])
            )
        self._buffer += packed
        self._size += len(packed)
        if len(self._buffer) >= commit.BUFFER_BYTES:
            self._flush()
        self._records.update(zip(keys, entries, strict=True))

    def _append(self, data: memoryview, crc: int) -> int:
        """Writes bytes; their checksum, continued from ``crc``."""
        self._size += len(data)
        if len(data) >= _DIRECT_BYTES:
            self._flush()
            return append_checked(self._opened(), data, crc)
        self._buffer += data
        if len(self._buffer) >= commit.BUFFER_BYTES:
            self._flush()
        return crc32c(data, crc)

    def _align(self) -> None:
        gap = -self._size % self._alignment
        self._buffer += bytes(gap)
        self._size += gap

    def _flush(self) -> None:
        if self._buffer:
            self._opened().append(self._buffer)
            self._buffer = bytearray()

    def _opened(self) -> WriteFile:
        if self._file is None:
            raise InternalError.of(
                "BundleWriter is closed", path=self.prefix, hint="Make a new writer for a new save."
            )
        return self._file

    def _check_idle(self) -> None:
        self._opened()
        if self._segment is not None:
            raise still_open(decode_name(self._segment.key), self.prefix)

    def _duplicate(self, key: bytes) -> OpError:
        name = decode_name(key)
        return InvalidArgumentError.of(
            f"Adding duplicate key: {name}",
            name=name,
            path=self.prefix,
            hint="Every tensor of a checkpoint has a name of its own, and the empty name is not one.",
        )


class _Segment:
    """The tensor that comes in pieces."""

    __slots__ = ("crc", "entry", "expected_bytes", "key")

    def __init__(self, key: bytes, entry: BundleEntry, expected_bytes: int) -> None:
        self.key = key
        self.entry = entry
        self.expected_bytes = expected_bytes
        self.crc = 0
