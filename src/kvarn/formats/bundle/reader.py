"""Reads V2 checkpoints.

    <prefix>.index                  table: "" -> header; name -> entry; slice key -> entry of a stored slice
    <prefix>.data-SSSSS-of-NNNNN    the bytes of the tensors of shard S; entries say where

What the index says is worked out here: names, entries, the slices that make up a region.  The bytes come
from `kvarn.formats.bundle.data_files`, many tensors at once from `kvarn.formats.bundle.bulk`.  Every byte that
is handed out has been checked against its checksum.  Little- and big-endian bundles; all element types,
variants as opaque bytes.  Not read here: V1 checkpoints (one table that holds the data too).

Source: `BundleReader` in tensorflow/core/util/tensor_bundle/tensor_bundle.cc; `lookup_header` and
`lookup_segment` are DeepRec's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
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
)
from kvarn.formats import elements
from kvarn.formats.bundle import bulk, naming
from kvarn.formats.bundle.columns import IndexColumns
from kvarn.formats.bundle.data_files import DataFiles, TensorStream
from kvarn.formats.bundle.entry import BIG_ENDIAN, HEADER_KEY, BundleEntry, BundleHeader
from kvarn.formats.checksum import unmask
from kvarn.formats.coding import DecodeError
from kvarn.formats.names import decode_name, encode_name, nearest_names
from kvarn.formats.ordered_code import encode_slice_key
from kvarn.formats.reader import CHUNK_BYTES, DAMAGED, TensorInfo
from kvarn.formats.table.reader import Table
from kvarn.formats.tensor_slice import TensorSlice, first_overlap, print_shape
from kvarn.io import FileSystem, Path, as_path, file_system_of
from kvarn.io.local import LocalReadFile

# Shards without a tensor, which the index does not name, that a bundle may have.
_MOST_EMPTY_SHARDS = 1000


class BundleReader:
    """A V2 checkpoint, open.  Thread-safe, except for the streaming of one tensor.  Use as a context manager.

    Names are strings; bytes that are no UTF-8 stand in them as surrogates (``surrogateescape``), and every
    method takes bytes too.

    Args:
      prefix: the path without ``.index``.
      fs: where the files are; what the path says by default (`kvarn.io.file_system_of`).

    Raises:
      NotFoundError: there is no index.
      DataLossError, OutOfRangeError: the index is damaged.
      InvalidArgumentError: the checkpoint demands a newer reader.
    """

    format = "V2"

    def __init__(self, prefix: Path, fs: FileSystem | None = None) -> None:
        self.prefix = as_path(prefix)
        self.fs: FileSystem = fs or file_system_of(self.prefix)
        self._streams: dict[bytes, TensorStream] = {}
        self._suffix = naming.committed_index(self.fs, self.prefix)
        self.index_path = naming.index_filename(self.prefix) + self._suffix
        try:
            self._index_file = self.fs.open_read(self.index_path)
        except NotFoundError:
            if not self._suffix:
                raise
            # The save that was about to give the index its name has just done so.
            self._suffix, self.index_path = "", naming.index_filename(self.prefix)
            self._index_file = self.fs.open_read(self.index_path)
        try:
            self._table = Table(self._index_file)
            self.header = self._read_header()
        except BaseException:
            self._index_file.close()
            raise
        self.big_endian = self.header.endianness == BIG_ENDIAN
        self.data = DataFiles(
            self.fs,
            self.prefix,
            self.index_path,
            self.header.num_shards,
            self._suffix,
            big_endian=self.big_endian,
        )

    # Names -------------------------------------------------------------------------------------------

    def contains(self, name: str | bytes) -> bool:
        """True if a tensor of that name is there."""
        key = encode_name(name)
        return key != HEADER_KEY and self._table.find(key) is not None

    def keys(self) -> list[str]:
        """The names of all tensors, sorted by their bytes; stored slices are not among them."""
        return list(self.columns.names)

    def entries(self) -> Iterator[tuple[str, BundleEntry]]:
        """Name and entry of every tensor, sorted by the bytes of the names.

        A tensor kept in slices is one entry with ``slices``.
        """
        columns = self.columns
        for name, row in zip(columns.names, columns.rows.tolist(), strict=True):
            yield name, columns.entry(row)

    def records(self) -> Iterator[tuple[bytes, BundleEntry]]:
        """Key and entry of every record but the header, stored slices among them, sorted."""
        columns = self.columns
        for row, key in enumerate(columns.keys):
            yield key, columns.entry(row)

    @cached_property
    def columns(self) -> IndexColumns:
        """The whole index, read on first use and kept."""
        return IndexColumns(self._table, self._parse)

    def entry(self, name: str | bytes) -> BundleEntry:
        """The index record of a tensor.

        Raises:
          NotFoundError: no such tensor; the hint names the nearest ones.
        """
        key = encode_name(name)
        value = self._table.find(key) if key != HEADER_KEY else None
        if value is None:
            raise self.not_found(decode_name(key))
        return self._parse(key, value)

    def lookup_dtype_and_shape(self, name: str | bytes) -> tuple[dtypes.DType, tuple[int, ...]]:
        """Element type and full shape of a tensor."""
        entry = self.entry(name)
        return elements.dtype_of(entry.dtype, decode_name(name), self.prefix), entry.shape

    def lookup_tensor_shape(self, name: str | bytes) -> tuple[int, ...]:
        """Full shape of a tensor, of whatever element type."""
        return self.entry(name).shape

    def tensors(self) -> Iterator[TensorInfo]:
        """Every tensor, sorted by the bytes of the names.  Reads the index only."""
        columns = self.columns
        rows = columns.rows.tolist()
        # Plain entries from the columns themselves: a listing of many tensors spends its time here.
        numbers, sizes, shards = columns.dtype.tolist(), columns.size.tolist(), columns.shard_id.tolist()
        kinds: dict[int, dtypes.DType] = {}
        alone = {shard: (shard,) for shard in set(shards)}
        for name, row in zip(columns.names, rows, strict=True):
            shape = columns.shape[row]
            if shape is None:
                yield self._info(name, columns.entry(row))
                continue
            number = numbers[row]
            if number not in kinds:
                kinds[number] = elements.dtype_of(number, name, self.prefix)
            yield TensorInfo(name, kinds[number], shape, sizes[row], (), alone[shards[row]])

    def info(self, name: str | bytes) -> TensorInfo:
        """What the index says of one tensor.

        Raises:
          NotFoundError: no such tensor; the hint names the nearest ones.
        """
        return self._info(decode_name(name), self.entry(name))

    def files(self) -> list[tuple[str, int]]:
        """Path and bytes of every file of the checkpoint, the index first; -1 for one that is missing."""
        paths = self.data.paths()
        return [
            (path, self.fs.size(path) if self.fs.exists(path) else -1) for path in (self.index_path, *paths)
        ]

    # Values ------------------------------------------------------------------------------------------

    def lookup(self, name: str | bytes, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """The whole tensor; of one kept in slices, the slices put together.

        Strings come as an object array of bytes, variants as one of serialized VariantTensorDataProtos.

        Args:
          out: the array to fill and give back: C-contiguous, of the tensor's shape and element type.  What is
            in it after an error is undefined.

        Raises:
          NotFoundError: no such tensor, or its data file is gone.
          DataLossError: the bytes are not those that were saved.
          OutOfRangeError: the data file is too short.
          InvalidArgumentError: the stored slices do not cover it, or ``out`` does not fit.
          UnimplementedError: more dimensions than NumPy's arrays can have (64).
        """
        key, entry = encode_name(name), self.entry(name)
        if out is not None:
            dtype = elements.dtype_of(entry.dtype, decode_name(key), self.prefix)
            elements.target(out, entry.shape, dtype, decode_name(key), self.prefix)
        if entry.slices:
            found = self._read_region(key, entry, TensorSlice.full(len(entry.shape)))
        else:
            found = self.data.read(decode_name(key), entry, out)
        if out is None or found is out:
            return found
        out[...] = found
        return out

    def read(
        self,
        names: Iterable[str | bytes] | None = None,
        *,
        out: Mapping[str, npt.NDArray[Any]] | None = None,
        threads: int | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Many tensors at once, by name: as `lookup` for each, but much faster.

        Tensors below 64 KiB that lie close together in the file share one buffer of up to 4 MiB: while one of
        them lives, so does that.

        Args:
          names: which ones; all by default.
          out: arrays to fill for some of the names; see `lookup`.
          threads: that may work on it; by default all that kvarn uses.

        Raises:
          DataLossError: a tensor is damaged, or they overlap in the file.
          InvalidArgumentError: there is an array for a tensor that is not read.
          and as `lookup`.
        """
        return bulk.read(self, names, out or {}, threads or 0)

    def view(self, name: str | bytes, *, verify: bool = True) -> npt.NDArray[Any]:
        """A tensor where it lies; see `views`."""
        (found,) = self.views([name], verify=verify).values()
        return found

    def views(
        self,
        names: Iterable[str | bytes] | None = None,
        *,
        verify: bool = True,
        threads: int | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Read-only arrays over the map of the file, by name: no memory of their own, no copy.

        They stay valid after `close`, and while the file is only replaced or removed, as savers do; a file
        that is cut shorter in place takes the process down (SIGBUS).  Tensors lie in the file without gaps, so
        that an array may begin at any address: NumPy and kvarn take that (``flags.aligned`` is False), some
        other libraries want a copy.  Tensors that do not lie in a file as in memory (strings, slices,
        big-endian files), and all of a file that is not the machine's own, are read.

        Args:
          names: which ones; all by default.
          verify: compare the checksums now, which touches every page; else nobody does.
          threads: that may verify; by default all that kvarn uses.

        Raises: as `read`.
        """
        return bulk.view(self, names, verify=verify, threads=threads or 0)

    def lookup_slice(
        self, name: str | bytes, tensor_slice: TensorSlice, full_shape: tuple[int, ...] | None = None
    ) -> npt.NDArray[Any]:
        """A region of a tensor, however that was stored.

        Args:
          full_shape: what the caller takes for the shape of the whole tensor; checked if given.

        Raises:
          InvalidArgumentError: another full shape, the stored slices do not cover the region, or a region
            that was not stored as it is of an element type that TensorFlow does not cut.
          InternalError: the region reaches past the tensor, or stored slices overlap.
          and as `lookup`.
        """
        entry = self.entry(name)
        if full_shape is not None and tuple(full_shape) != entry.shape:
            text = decode_name(name)
            raise InvalidArgumentError.of(
                f"tensor_name = {text}; shape in shape_and_slice spec {print_shape(full_shape)} does not "
                f"match the shape stored in checkpoint: {print_shape(entry.shape)}",
                name=text,
                path=self.prefix,
                hint=f"'{self.prefix}' was saved from a variable of another shape.",
            )
        return self._read_region(encode_name(name), entry, tensor_slice)

    def lookup_stored_slice(self, name: str | bytes, tensor_slice: TensorSlice) -> npt.NDArray[Any]:
        """One slice as it was saved: an element of ``entry(name).slices``."""
        stored = self._slice_entry(encode_name(name), self.entry(name), tensor_slice)
        return self.data.read(decode_name(name), stored)

    def chunks(self, name: str | bytes, chunk_bytes: int = CHUNK_BYTES) -> Iterator[npt.NDArray[Any]]:
        """A whole tensor in consecutive pieces along its first dimension, about ``chunk_bytes`` each.

        Strings, sliced tensors, big-endian files, scalars and empty tensors come as one piece.  The last
        piece is given out only after the checksum of the tensor was found right: until then the pieces are
        not certain.

        Raises:
          DataLossError: with the last piece, if the tensor is damaged.
        """
        entry = self.entry(name)
        # Asked before the records of the slices are: of an empty tensor `lookup` needs none.
        if entry.slices or not entry.shape or not entry.num_elements:
            yield self.lookup(name)
            return
        info = self.info(name)
        row_bytes = math.prod(info.shape[1:]) * info.dtype.size
        if not self.has_plain_bytes(info):
            yield self.lookup(name)
            return
        stream = self._stream(encode_name(name))
        at_once = max(1, chunk_bytes // row_bytes)
        for start in range(0, info.shape[0], at_once):
            shape = (min(at_once, info.shape[0] - start), *info.shape[1:])
            piece = elements.target(None, shape, info.dtype, info.name, self.prefix)
            stream.read(piece.reshape(-1).view(np.uint8).data)
            yield piece

    def read_rows(
        self, name: str | bytes, start: int, stop: int, out: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[Any]:
        """Rows ``start`` to ``stop`` of a tensor's first dimension, by a ranged read of only those.

        The checksum covers the whole tensor: the values are not certain until `verify`, or until the
        checksums of all its rows, combined, are `stored_checksum`.  Strings, sliced tensors and big-endian
        files are read, and checked, whole.

        Args:
          out: C-contiguous, of the tensor's element type and the shape of the rows; a new array by default.

        Raises:
          InvalidArgumentError: the tensor has no such rows, or ``out`` does not fit.
          and as `lookup`.
        """
        entry = self.entry(name)
        info = self._info(decode_name(name), entry)
        shape = (stop - start, *info.shape[1:])
        if not info.shape or not 0 <= start <= stop <= info.shape[0]:
            raise InvalidArgumentError.of(
                f"tensor '{info.name}' of shape {print_shape(info.shape)} has no rows {start} to {stop}",
                name=info.name,
                path=self.prefix,
                hint="Rows count from 0; the last one is not among those read.",
            )
        whole = None if self.has_plain_bytes(info) else self.lookup(name)
        if whole is None:
            self.data.check_room(info.name, info.dtype, [entry])
        if out is None:
            out = elements.target(None, shape, info.dtype, info.name, self.prefix)
        elif out.shape != shape or out.dtype != info.dtype.np or not out.flags.c_contiguous:
            raise InvalidArgumentError.of(
                f"rows {start} to {stop} of tensor '{info.name}' do not fit into {out.dtype}{list(out.shape)}",
                name=info.name,
                path=self.prefix,
                hint=f"They need a C-contiguous {info.dtype.name}{list(shape)}.",
            )
        if whole is not None:
            out[...] = whole[start:stop]
        elif out.size:
            raw = out.reshape(-1).view(np.uint8).data
            row_bytes = out.nbytes // len(out)
            self.data.fill(
                self.data.of(info.name, entry), entry.offset + start * row_bytes, raw, 0, info.name
            )
        return out

    def read_range(self, name: str, entry: BundleEntry, start: int, target: memoryview) -> int:
        """Bytes of a tensor stored whole, from byte ``start`` of it on, into ``target``; their CRC-32C.

        Args:
          entry: of the tensor: whoever reads many ranges looks it up once.
        """
        return self.data.fill(self.data.of(name, entry), entry.offset + start, target, 0, name)

    def has_plain_bytes(self, info: TensorInfo) -> bool:
        """Whether a tensor lies in one piece in its file, as it lies in memory."""
        return not info.slices and not self.big_endian and elements.is_plain(info.dtype)

    def is_mapped(self, name: str | bytes) -> bool:
        """Whether `views` gives a tensor where it lies in a file of the machine's own, rather than reading it."""
        info = self.info(name)
        if not self.has_plain_bytes(info):
            return False
        return isinstance(self.data.of(info.name, self.entry(name)), LocalReadFile)

    def stored_checksum(self, name: str | bytes) -> int:
        """The CRC-32C that the index has of the bytes of a tensor stored whole."""
        return unmask(self.entry(name).crc32c)

    def check_checksum(self, name: str | bytes, actual: int) -> None:
        """Compares what a caller computed over all bytes of a tensor stored whole with `stored_checksum`.

        Raises:
          DataLossError: they differ.
        """
        text, entry = decode_name(name), self.entry(name)
        self.data.check_crc(text, entry, self.data.of(text, entry), actual)

    def verify(self, name: str | bytes) -> None:
        """Reads all bytes of a tensor and compares their checksums, keeping none.

        Raises as `lookup`.
        """
        text, entry = decode_name(name), self.entry(name)
        pieces = [self._slice_entry(encode_name(name), entry, piece) for piece in entry.slices] or [entry]
        dtype = elements.dtype_of(entry.dtype, text, self.prefix)
        if not dtype.np.hasobject:
            self.data.check_room(text, dtype, pieces)
        for piece in pieces:
            self.data.verify(text, piece)

    # Streaming ---------------------------------------------------------------------------------------

    def lookup_header(self, name: str | bytes, total_bytes: int | None = None) -> BundleEntry:
        """Starts reading a tensor piece by piece (`lookup_segment`); the tensor's entry.

        Args:
          total_bytes: what the caller expects; checked if given.

        Raises:
          DataLossError: another size, or a tensor without plain bytes (strings, variants, slices).
        """
        key = encode_name(name)
        self._streams[key] = stream = self._stream(key, total_bytes)
        return stream.entry

    def lookup_segment(self, name: str | bytes, target: memoryview) -> int:
        """Reads the next bytes of a tensor into ``target`` (bytes); how many, 0 at the end.

        The call that reads the last byte checks the whole tensor: until then what was read is not certain.

        Raises:
          DataLossError: with the last bytes, if the tensor is damaged.
        """
        key = encode_name(name)
        return self._streams[key].read(target)

    # Life --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes all files; what was read stays valid."""
        self._index_file.close()
        self.data.close()

    def __enter__(self) -> BundleReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Steps -------------------------------------------------------------------------------------------

    def _stream(self, key: bytes, total_bytes: int | None = None) -> TensorStream:
        """The beginning of a tensor that is read piece by piece; see `lookup_header`."""
        entry = self.entry(key)
        text = decode_name(key)
        dtype = elements.dtype_of(entry.dtype, text, self.prefix)
        if entry.slices or dtype.np.hasobject or self.big_endian:
            raise DataLossError.of(
                f"tensor '{text}' in '{self.prefix}' cannot be read in segments",
                name=text,
                path=self.prefix,
                hint="Strings, sliced tensors and big-endian files are read whole.",
            )
        expected = entry.num_elements * dtype.size if total_bytes is None else total_bytes
        self.data.check_size(text, entry, expected)
        return self.data.stream(text, entry)

    def _info(self, name: str, entry: BundleEntry) -> TensorInfo:
        key = encode_name(name)
        pieces = [self._slice_entry(key, entry, piece) for piece in entry.slices] or [entry]
        return TensorInfo(
            name,
            elements.dtype_of(entry.dtype, name, self.prefix),
            entry.shape,
            sum(piece.size for piece in pieces),
            tuple(entry.slices),
            tuple(sorted({piece.shard_id for piece in pieces})),
        )

    def _read_header(self) -> BundleHeader:
        def unreadable(why: str, cause: str) -> OpError:
            return DataLossError.of(
                f"Unable to read file ({self.index_path}). Perhaps the file is corrupt or was produced by a "
                f"newer version of TensorFlow with format changes ({why}): {cause}",
                path=self.index_path,
                hint=DAMAGED,
            )

        try:
            value = self._table.find(HEADER_KEY)
        except DataLossError as error:
            raise unreadable("failed to seek to header entry", error.without_hint) from error
        if value is None:
            raise unreadable("failed to seek to header entry", "there is none")
        try:
            header = BundleHeader.parse(value)
        except DecodeError as error:
            raise unreadable("unable to parse header", "Entry for key  not parseable.") from error
        if not 0 <= header.num_shards <= max(_MOST_EMPTY_SHARDS, self._index_file.size):
            raise DataLossError.of(
                f"Invalid number of shards in bundle header: {header.num_shards}\n  in '{self.index_path}', "
                f"whose {self._index_file.size} bytes cannot name tensors of as many",
                path=self.index_path,
                hint=DAMAGED,
            )
        header.versions.check(self.index_path)
        return header

    def _parse(self, key: bytes, value: bytes) -> BundleEntry:
        try:
            return BundleEntry.parse(value)
        except DecodeError as error:
            text = decode_name(key)
            raise DataLossError.of(
                f"Entry for key {text} not parseable.\n  in '{self.index_path}': {error}",
                name=text,
                path=self.index_path,
                hint=DAMAGED,
            ) from error

    def not_found(self, text: str) -> OpError:
        """The error for a name that is not there."""
        names = self.keys()
        if f"{text}-keys" in names or f"{text}/part_0-keys" in names:
            part = text if f"{text}-keys" in names else f"{text}/part_0"
            hint = (
                f"'{self.prefix}' has {len(names)} tensors; '{text}' is an embedding variable: read "
                f"'{part}-keys', '{part}-values', …."
            )
        else:
            hint = nearest_names(text, names, self.prefix)
        return NotFoundError.of(f"Key {text} not found in checkpoint", name=text, path=self.prefix, hint=hint)

    def _slice_entry(self, key: bytes, entry: BundleEntry, piece: TensorSlice) -> BundleEntry:
        """The record of a slice of the tensor ``entry``."""
        slice_key = encode_slice_key(key, piece)
        value = self._table.find(slice_key)
        if value is None:
            text = decode_name(key)
            raise DataLossError.of(
                f"slice {piece} of tensor '{text}' is not in '{self.index_path}', though the tensor's entry "
                "lists it",
                name=text,
                path=self.index_path,
                hint=DAMAGED,
            )
        stored = self._parse(slice_key, value)
        if stored.dtype != entry.dtype or stored.shape != piece.shape_within(entry.shape):
            text = decode_name(key)
            raise DataLossError.of(
                f"slice {piece} of tensor '{text}' in '{self.index_path}' has another type or shape than the "
                f"tensor's entry says: type {stored.dtype}, shape {print_shape(stored.shape)}",
                name=text,
                path=self.index_path,
                hint=DAMAGED,
            )
        return stored

    def _read_region(self, key: bytes, entry: BundleEntry, wanted: TensorSlice) -> npt.NDArray[Any]:
        text = decode_name(key)
        region = wanted.resolve(entry.shape)
        stored = entry.slices or [TensorSlice.full(len(entry.shape))]
        # Equal by spelling, as TensorFlow compares; a whole tensor also when spelled with numbers.
        if not entry.slices and region == TensorSlice.of_shape(entry.shape):
            return self.data.read(text, entry)
        if wanted in stored:
            return self.data.read(text, self._slice_entry(key, entry, wanted))
        dtype = elements.dtype_of(entry.dtype, text, self.prefix)
        spans = [piece.resolve(entry.shape) for piece in stored]
        self._refuse_overlaps(text, stored, spans)
        parts = [(piece, span, region.intersect(span)) for piece, span in zip(stored, spans, strict=True)]
        hits = [(piece, span, common) for piece, span, common in parts if common is not None]
        shape = region.lengths
        if sum(common.num_elements for _, _, common in hits) != region.num_elements:
            raise InvalidArgumentError.of(
                f"Does not have sufficient slices for partitioned tensor {text} to restore in "
                f"slice_spec: {wanted}\n  in '{self.prefix}': stored are {', '.join(map(str, stored))}",
                name=text,
                path=self.prefix,
                hint="A part was not saved, or its shard was not merged.",
            )
        elements.check_cuttable(dtype, text, self.prefix)
        pieces = [self._slice_entry(key, entry, piece) if entry.slices else entry for piece, _, _ in hits]
        self.data.check_room(text, dtype, pieces)
        out = elements.target(None, shape, dtype, text, self.prefix)
        for own, (_, span, common) in zip(pieces, hits, strict=True):
            out[common.relative_to(region)] = self.data.read(text, own)[common.relative_to(span)]
        return out

    def _refuse_overlaps(self, text: str, stored: list[TensorSlice], spans: list[TensorSlice]) -> None:
        pair = first_overlap(spans)
        if pair is not None:
            existing, new = (stored[at] for at in pair)
            raise InternalError.of(
                f"Overlapping slices: existing slice = {existing}, new slice = {new}",
                name=text,
                path=self.prefix,
                hint="Two parts were saved for the same elements; none is known to be right.",
            )
