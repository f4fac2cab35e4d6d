"""Reads V1 checkpoints: `kvarn.formats.slices_v1.format` draws the bytes, `naming` says which files.

All shards are known when the reader is open, unless one is preferred: then the others wait until something
is not found in it.  A shard is known by its first record; values are read, with the block they are in, when
they are asked for, and neighbours in a block share one read.

What differs from TensorFlow: a tensor of which slices are missing is an error (there the rest comes as
random memory if a single slice is present), a tensor with overlapping slices does not take the others with
it, and every type and rank that can be stored can be read.

Source: tensorflow/core/util/{tensor_slice_reader,tensor_slice_set}.cc, `RestoreTensor` in
tensorflow/core/kernels/save_restore_tensor.cc.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import (
    DataLossError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OpError,
    OutOfRangeError,
    UnimplementedError,
)
from kvarn.formats.coding import DecodeError
from kvarn.formats.elements import check_dimensions, dtype_of, message_name
from kvarn.formats.names import decode_name, encode_name, nearest_names
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.reader import CHUNK_BYTES, DAMAGED, TensorInfo
from kvarn.formats.slices_v1 import values
from kvarn.formats.slices_v1.format import META_KEY, SliceMeta, parse_meta, parse_record
from kvarn.formats.slices_v1.naming import find_tables, missing_shards
from kvarn.formats.slices_v1.stored_tensor import StoredTensor, bands_of, make_up
from kvarn.formats.table.reader import Table
from kvarn.formats.tensor_slice import TensorSlice, print_shape
from kvarn.io import FileSystem, Path, ReadFile, as_path, file_system_of

Array = npt.NDArray[Any]

# How TensorFlow's C++ prints the classes that a table's errors can have.
_CODES: dict[type[OpError], str] = {DataLossError: "Data loss", OutOfRangeError: "Out of range"}


class TensorSliceReader:
    """A V1 checkpoint, open.  Thread-safe.  Use as a context manager.

    Names are strings; every method takes bytes too.

    Args:
      filepattern: path of the table, pattern of those of a sharded save, or the name given to that save.
      fs: where the files are; what the path says by default (`kvarn.io.file_system_of`).
      preferred_shard: the table to look in first, counted from 0; None reads the names of all.

    Raises:
      NotFoundError: there is no such file.
      DataLossError: a file is no table, or its end is damaged.
      InternalError: the record with the names is damaged or not there.
      InvalidArgumentError: the checkpoint demands a newer reader, or there is not even its directory.
    """

    format = "V1"

    def __init__(
        self, filepattern: Path, fs: FileSystem | None = None, *, preferred_shard: int | None = None
    ) -> None:
        self.prefix = as_path(filepattern)
        self.fs: FileSystem = fs or file_system_of(self.prefix)
        self._paths = find_tables(self.fs, self.prefix)
        self._shards: dict[int, _Shard] = {}
        self._tensors: dict[bytes, StoredTensor] = {}
        self._lock = threading.RLock()
        try:
            if preferred_shard is None or not 0 <= preferred_shard < len(self._paths):
                self._load_all()
            else:
                self._load(preferred_shard)
        except BaseException:
            self.close()
            raise

    # Names -------------------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """The names of all tensors, sorted by their bytes."""
        self._load_all()
        return [decode_name(name) for name in sorted(self._tensors)]

    def contains(self, name: str | bytes) -> bool:
        """True if a tensor of that name is there."""
        return self._find(encode_name(name)) is not None

    def tensors(self) -> Iterator[TensorInfo]:
        """Every tensor, sorted by the bytes of the names.

        Reads no values, but those of strings: no index says how long they are.
        """
        for name in self.keys():
            yield self.info(name)

    def info(self, name: str | bytes) -> TensorInfo:
        """What the meta records say of one tensor.

        Its ``size_bytes`` is that of the values in memory; of strings, that of the records that can be read.

        Raises:
          NotFoundError: no such tensor; the hint names the nearest ones.
          InternalError: the shards contradict each other.
        """
        tensor = self._tensor(name)
        dtype = self._dtype(tensor)
        self._check_slices(tensor)
        whole = len(tensor.slices) == 1 and tensor.slices[0].is_full()
        if dtype is dtypes.string:
            size = sum(self._record_bytes(tensor, number) for number in range(len(tensor.slices)))
        else:
            size = dtype.size * sum(math.prod(n for _, n in span.extents) for span in tensor.spans)
        return TensorInfo(
            decode_name(tensor.name),
            dtype,
            tensor.shape,
            size,
            () if whole else tuple(tensor.slices),
            tuple(sorted(set(tensor.shards))),
        )

    def lookup_dtype_and_shape(self, name: str | bytes) -> tuple[dtypes.DType, tuple[int, ...]]:
        """Element type and full shape of a tensor."""
        tensor = self._tensor(name)
        return self._dtype(tensor), tensor.shape

    def files(self) -> list[tuple[str, int]]:
        """Path and bytes of every table; -1 for a shard that the names of the others say is missing."""
        found = [(path, self.fs.size(path)) for path in self._paths]
        return sorted([*found, *((path, -1) for path in missing_shards(self._paths))])

    # Values ------------------------------------------------------------------------------------------

    def lookup(self, name: str | bytes) -> Array:
        """The whole tensor; of one kept in slices, the slices put together.

        Strings come as an object array of bytes.

        Raises:
          NotFoundError: no such tensor.
          InvalidArgumentError: its slices do not cover it, or what is stored of it is damaged.
          InternalError: its slices overlap, or the shards contradict each other.
          UnimplementedError: an element type, or more dimensions, than an array here can have.
        """
        tensor = self._tensor(name)
        return self._read_region(tensor, TensorSlice.full(len(tensor.shape)))

    def lookup_slice(
        self, name: str | bytes, tensor_slice: TensorSlice, full_shape: tuple[int, ...] | None = None
    ) -> Array:
        """A region of a tensor, however that was stored.

        Args:
          full_shape: what the caller takes for the shape of the whole tensor; checked if given.

        Raises:
          InvalidArgumentError: another full shape, and as `lookup`.
          InternalError: the region reaches past the tensor, and as `lookup`.
        """
        tensor = self._tensor(name)
        if full_shape is not None and tuple(full_shape) != tensor.shape:
            raise InvalidArgumentError.of(
                "Shape in shape_and_slice spec does not match the shape in the save file: "
                f"{print_shape(full_shape)}, save file shape: {print_shape(tensor.shape)}",
                name=decode_name(tensor.name),
                path=self.prefix,
                hint=f"'{self.prefix}' was saved from a variable '{decode_name(tensor.name)}' of another shape.",
            )
        return self._read_region(tensor, tensor_slice)

    def lookup_stored_slice(self, name: str | bytes, tensor_slice: TensorSlice) -> Array:
        """One slice as it was saved: an element of ``info(name).slices``."""
        tensor = self._tensor(name)
        if tensor_slice not in tensor.slices:
            raise NotFoundError.of(
                f"slice {tensor_slice} of tensor '{decode_name(tensor.name)}' is not in '{self.prefix}'",
                name=decode_name(tensor.name),
                path=self.prefix,
                hint=f"Stored are {', '.join(map(str, tensor.slices[:10]))}.",
            )
        self._check_slices(tensor)
        return self._read_stored(tensor, tensor.slices.index(tensor_slice))

    def chunks(self, name: str | bytes, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """A whole tensor in consecutive pieces along its first dimension, about ``chunk_bytes`` each.

        A record is read whole: a tensor in one slice is in memory at once, one that was cut along its first
        dimension a slice at a time.  A scalar and an empty tensor come as one piece.  Every piece is certain.

        Raises as `lookup`.
        """
        tensor = self._tensor(name)
        dtype = self._dtype(tensor)
        self._check_slices(tensor)
        if not tensor.shape or not math.prod(tensor.shape):
            yield self.lookup(name)
            return
        at_once = max(1, chunk_bytes // max(1, math.prod(tensor.shape[1:]) * dtype.size))
        for start, stop in bands_of(tensor):
            rest = TensorSlice.full(len(tensor.shape) - 1).extents
            band = self._read_region(tensor, TensorSlice(((start, stop - start), *rest)))
            for at in range(0, stop - start, at_once):
                yield band[at : at + at_once]

    def verify(self, name: str | bytes) -> None:
        """Reads all of a tensor with the checksums of its blocks, keeping nothing.  Raises as `lookup`."""
        tensor = self._tensor(name)
        self._check_slices(tensor)
        self._cover(tensor, TensorSlice.of_shape(tensor.shape), TensorSlice.full(len(tensor.shape)))
        for number, span in enumerate(tensor.spans):
            self._read_elements(tensor, number, (span.num_elements,))

    # Life --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes all files; what was read stays valid."""
        for shard in self._shards.values():
            shard.file.close()

    def __enter__(self) -> TensorSliceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Shards ------------------------------------------------------------------------------------------

    def _load_all(self) -> None:
        with self._lock:
            for shard in range(len(self._paths)):
                self._load(shard)

    def _load(self, number: int) -> None:
        """Opens a shard, unless it is, and registers the slices it has."""
        if number in self._shards:
            return
        path = self._paths[number]
        file = self.fs.open_read(path)
        try:
            table = self._open_table(file)
            metas = self._read_meta(table, path)
        except BaseException:
            file.close()
            raise
        self._shards[number] = _Shard(file, table)
        for meta in metas:
            tensor = self._tensors.get(meta.name)
            if tensor is None:
                tensor = self._tensors[meta.name] = StoredTensor(meta.name, meta.dtype, meta.shape)
            tensor.add(meta, number)

    def _open_table(self, file: ReadFile) -> Table:
        try:
            return Table(file)
        except (DataLossError, OutOfRangeError) as error:
            first, *rest = error.without_hint.split("\n")
            raise DataLossError.of(
                "\n".join(
                    [
                        f"Unable to open table file {file.path}: {_CODES[type(error)]}: {first}: perhaps your "
                        "file is in a different file format and you need to use a different restore operator?",
                        *rest,
                    ]
                ),
                path=file.path,
                offset=error.offset,
                hint="Give the prefix of a checkpoint: for V2 the path of its .index file without .index. If "
                "it is one, the file is damaged or not whole: take another copy.",
            ) from error

    def _read_meta(self, table: Table, path: str) -> list[SliceMeta]:
        def unreadable(why: str, offset: int | None = None) -> OpError:
            return InternalError.of(
                "Failed to find the saved tensor slices at the beginning of the checkpoint file: "
                f"{path}\n  {why}",
                path=path,
                offset=offset,
                hint=DAMAGED,
            )

        try:
            value = table.find(META_KEY)
            if value is None:
                raise unreadable("there is no record with the empty key")
            metas, versions = parse_meta(value)
        except (DataLossError, OutOfRangeError) as error:
            raise unreadable(error.without_hint, error.offset) from error
        except DecodeError as error:
            raise unreadable(f"the first record is no list of slices: {error}") from error
        versions.check(path)
        return metas

    # Tensors -----------------------------------------------------------------------------------------

    def _find(self, key: bytes) -> StoredTensor | None:
        with self._lock:
            if key not in self._tensors and len(self._shards) < len(self._paths):
                self._load_all()
            return self._tensors.get(key)

    def _tensor(self, name: str | bytes) -> StoredTensor:
        key = encode_name(name)
        tensor = self._find(key)
        if tensor is None:
            text = decode_name(key)
            raise NotFoundError.of(
                f'Tensor name "{text}" not found in checkpoint files {self.prefix}',
                name=text,
                path=self.prefix,
                hint=nearest_names(text, self.keys(), self.prefix),
            )
        return tensor

    def _dtype(self, tensor: StoredTensor) -> dtypes.DType:
        text = decode_name(tensor.name)
        dtype = dtype_of(tensor.dtype, text, self.prefix)
        if not values.can_hold(dtype):
            raise UnimplementedError.of(
                f"Restoring data type {message_name(dtype)} not yet supported\n"
                f"  tensor '{text}' in '{self.prefix}'",
                name=text,
                path=self.prefix,
                hint="V1 checkpoints have no values of that type; the other tensors can be read.",
            )
        return dtype

    def _check_slices(self, tensor: StoredTensor) -> None:
        """Raises if what the shards say of a tensor cannot be."""
        with self._lock:
            tensor.check(self.prefix)

    # Reading -----------------------------------------------------------------------------------------

    def _read_region(self, tensor: StoredTensor, wanted: TensorSlice) -> Array:
        region = wanted.resolve(tensor.shape)
        dtype = self._dtype(tensor)
        self._check_slices(tensor)
        shape = region.lengths
        check_dimensions(shape, decode_name(tensor.name), self.prefix)
        if not math.prod(shape):
            return np.empty(shape, dtype.np)
        if region in tensor.spans:
            return self._read_stored(tensor, tensor.spans.index(region))
        parts: Iterable[tuple[TensorSlice, Array]] = (
            (common, self._read_stored(tensor, number)[common.relative_to(tensor.spans[number])])
            for number, common in self._cover(tensor, region, wanted)
        )
        if math.prod(shape) * values.least_bytes(dtype) > self._bytes_of(tensor):
            # More than the files can hold unless they are compressed: looked at before memory is taken.
            parts = list(parts)
        out = np.empty(shape, dtype.np)
        for common, part in parts:
            out[common.relative_to(region)] = part
        return out

    def _cover(
        self, tensor: StoredTensor, region: TensorSlice, wanted: TensorSlice
    ) -> list[tuple[int, TensorSlice]]:
        """The stored slices that make up a region, and what each gives; loads the shards that wait first."""
        parts = tensor.meeting(region)
        if not make_up(region, parts):
            with self._lock:
                self._load_all()
                tensor.check(self.prefix)
            parts = tensor.meeting(region)
        if make_up(region, parts):
            return parts
        listed = ", ".join(map(str, tensor.slices[:10])) + (", …" if len(tensor.slices) > 10 else "")
        missing = missing_shards(self._paths)
        raise self._copy_error(
            tensor,
            f"the stored slices do not make up {wanted}: {listed}",
            path=self.prefix,
            hint=f"The shard '{missing[0]}' is missing: put it back beside the others."
            if missing
            else "A part was not saved, or is in a file that the pattern does not match.",
        )

    def _read_stored(self, tensor: StoredTensor, number: int) -> Array:
        """One stored slice, by its place in ``tensor.slices``."""
        shape = tensor.spans[number].lengths
        check_dimensions(shape, decode_name(tensor.name), self.prefix)
        return self._read_elements(tensor, number, shape)

    def _read_elements(self, tensor: StoredTensor, number: int, shape: tuple[int, ...]) -> Array:
        """The elements of a stored slice in an array of ``shape``."""
        dtype = self._dtype(tensor)
        path = self._paths[tensor.shards[number]]
        try:
            name, piece, content = parse_record(self._record(tensor, number))
            if name != tensor.name or piece != tensor.slices[number]:
                raise DecodeError(f"its record is that of slice {piece} of tensor '{decode_name(name)}'")
            return values.decode_values(content, dtype, shape)
        except DecodeError as error:
            raise self._copy_error(
                tensor, f"slice {tensor.slices[number]} cannot be read: {error}", path=path
            ) from error

    def _record(self, tensor: StoredTensor, number: int) -> memoryview:
        """The bytes of a slice record."""
        shard = self._shards[tensor.shards[number]]
        piece = tensor.slices[number]
        try:
            value = shard.table.view(encode_slice_key(tensor.name, piece))
        except (DataLossError, OutOfRangeError) as error:
            raise self._copy_error(
                tensor, f"slice {piece}: {error.without_hint}", path=shard.file.path, offset=error.offset
            ) from error
        if value is None:
            raise self._copy_error(
                tensor, f"slice {piece} has no record, though it is listed", path=shard.file.path
            )
        return value

    def _record_bytes(self, tensor: StoredTensor, number: int) -> int:
        try:
            return len(self._record(tensor, number))
        except InvalidArgumentError:
            return 0  # reading the tensor says what is wrong

    def _bytes_of(self, tensor: StoredTensor) -> int:
        return sum(self._shards[shard].file.size for shard in set(tensor.shards))

    def _copy_error(
        self, tensor: StoredTensor, why: str, *, path: str, offset: int | None = None, hint: str = DAMAGED
    ) -> OpError:
        text = decode_name(tensor.name)
        return InvalidArgumentError.of(
            f"Error copying slice data\n  tensor '{text}' in '{path}': {why}",
            name=text,
            path=path,
            offset=offset,
            hint=hint,
        )


@dataclass(slots=True)
class _Shard:
    """A table that is open."""

    file: ReadFile
    table: Table
