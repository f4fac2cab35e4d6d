"""Datasets of what files hold: lines, records, pieces of one length.

Source: tensorflow/core/ops/dataset_ops.cc, tensorflow/core/kernels/data/{text_line,tf_record,fixed_length_record}
_dataset_op.cc (1.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kvarn import dtypes, errors
from kvarn.formats.tfrecord import WINDOW_BITS, read_records
from kvarn.graph import shape_inference as shapes
from kvarn.graph.op import NOT_DIFFERENTIABLE, op
from kvarn.io import file_system_of
from kvarn.ops import _text
from kvarn.ops._file_bytes import BUFFER_BYTES, pieces_of
from kvarn.ops.datasets.base import Dataset, Element, Iteration, shape_of

_FILES = "filenames: string, compression_type: string, buffer_size: int64"


def filenames_of(filenames: Any) -> list[str]:
    """A scalar or vector of strings as names; InvalidArgumentError for anything else."""
    if len(shape_of(filenames)) > 1:
        raise errors.InvalidArgumentError.of("`filenames` must be a scalar or a vector.")
    return [name.decode() for name in np.asarray(filenames, dtype=object).reshape(-1)]


def checked_compression(compression_type: Any) -> str:
    """A compression type; InvalidArgumentError if it is unknown."""
    kind = _text.scalar(compression_type).decode()
    if kind and kind not in WINDOW_BITS:
        raise errors.InvalidArgumentError.of("Unsupported compression_type.")
    return kind


def _checked_buffer(buffer_size: Any, text: str) -> int:
    if buffer_size < 0:
        raise errors.InvalidArgumentError.of(text)
    return int(buffer_size) or BUFFER_BYTES


class _OfFiles(Dataset):
    """Strings out of files, one file after the other."""

    def __init__(self, filenames: list[str], compression: str, buffer_bytes: int) -> None:
        super().__init__([dtypes.string], [()])
        self.filenames, self.compression, self.buffer_bytes = filenames, compression, buffer_bytes

    def iterate(self, run: Iteration, prefix: str) -> Iterator[Element]:
        return _FilesIterator(self)

    def read(self, name: str) -> Iterator[bytes]:
        """The strings of one file."""
        raise NotImplementedError

    def pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, uncompressed, in pieces of about the size of the buffer."""
        return pieces_of(name, self.compression, self.buffer_bytes)


class _FilesIterator:
    """After an error it goes on with the file after."""

    def __init__(self, dataset: _OfFiles) -> None:
        self._dataset = dataset
        self._names = iter(dataset.filenames)
        self._strings: Iterator[bytes] = iter(())

    def __iter__(self) -> Iterator[Element]:
        return self

    def __next__(self) -> Element:
        while True:
            for string in self._strings:
                return (string,)
            self._strings = self._dataset.read(next(self._names))


class _Lines(_OfFiles):
    name = "TextLine"

    def read(self, name: str) -> Iterator[bytes]:
        rest = b""
        for piece in self.pieces(name):
            # Carriage returns go, wherever they are.
            lines = (rest + piece.replace(b"\r", b"")).split(b"\n")
            rest = lines.pop()
            yield from lines
        if rest:
            yield rest


@op("TextLineDataset", _FILES, "handle: variant", stateful=True)
class text_line_dataset:
    """The lines of text files, without what ends them."""

    shape = shapes.scalar

    def kernel(ctx: Any, filenames: Any, compression_type: Any, buffer_size: Any) -> Any:
        size = _checked_buffer(buffer_size, "`buffer_size` must be >= 0 (0 == default)")
        return _Lines(filenames_of(filenames), checked_compression(compression_type), size)

    grad = NOT_DIFFERENTIABLE


class _Records(_OfFiles):
    name = "TFRecord"

    def read(self, name: str) -> Iterator[bytes]:
        return read_records(name, compression=self.compression)


@op("TFRecordDataset", _FILES, "handle: variant", stateful=True)
class tf_record_dataset:
    """The records of TFRecord files."""

    shape = shapes.scalar

    def kernel(ctx: Any, filenames: Any, compression_type: Any, buffer_size: Any) -> Any:
        size = _checked_buffer(buffer_size, "`buffer_size` must be >= 0 (0 == no buffering)")
        return _Records(filenames_of(filenames), checked_compression(compression_type), size)

    grad = NOT_DIFFERENTIABLE


class _Pieces(_OfFiles):
    name = "FixedLengthRecord"

    def __init__(
        self, filenames: list[str], compression: str, buffer_bytes: int, header: int, record: int, footer: int
    ) -> None:
        super().__init__(filenames, compression, buffer_bytes)
        self.header_bytes, self.record_bytes, self.footer_bytes = header, record, footer

    def read(self, name: str) -> Iterator[bytes]:
        if not self.compression:
            size = file_system_of(name).size(name)
            if (size - self.header_bytes - self.footer_bytes) % self.record_bytes:
                raise self._misfit(errors.InvalidArgumentError, name, size)
        held, read, skipped = bytearray(), 0, False
        for piece in self.pieces(name):
            held += piece
            read += len(piece)
            if not skipped and len(held) >= self.header_bytes:
                del held[: self.header_bytes]
                skipped = True
            whole = (len(held) - self.footer_bytes) // self.record_bytes if skipped else 0
            for start in range(0, whole * self.record_bytes, self.record_bytes):
                yield bytes(held[start : start + self.record_bytes])
            del held[: max(whole, 0) * self.record_bytes]
        if len(held) != self.footer_bytes:
            raise self._misfit(errors.DataLossError, name, read)

    def _misfit(self, kind: type[errors.OpError], name: str, size: int) -> errors.OpError:
        return kind.of(
            f"Excluding the header ({self.header_bytes} bytes) and footer ({self.footer_bytes} bytes), input file "
            f'"{name}" has body length {size - self.header_bytes - self.footer_bytes} bytes, which is not an exact '
            f"multiple of the record length ({self.record_bytes} bytes).",
            path=name,
        )


def _fixed_length(
    filenames: Any, header: Any, record: Any, footer: Any, buffer_size: Any, compression: Any
) -> Dataset:
    for name, value in (("header_bytes", header), ("footer_bytes", footer), ("buffer_size", buffer_size)):
        if value < 0:
            raise errors.InvalidArgumentError.of(f"`{name}` must be >= 0")
    if record <= 0:
        raise errors.InvalidArgumentError.of("`record_bytes` must be > 0")
    return _Pieces(
        filenames_of(filenames),
        checked_compression(compression),
        int(buffer_size) or BUFFER_BYTES,
        int(header),
        int(record),
        int(footer),
    )


@op(
    "FixedLengthRecordDataset",
    "filenames: string, header_bytes: int64, record_bytes: int64, footer_bytes: int64, buffer_size: int64",
    "handle: variant",
    stateful=True,
)
class fixed_length_record_dataset:
    """Pieces of one length of what lies between the header and the footer of files."""

    shape = shapes.scalar

    def kernel(
        ctx: Any, filenames: Any, header_bytes: Any, record_bytes: Any, footer_bytes: Any, buffer_size: Any
    ) -> Any:
        return _fixed_length(filenames, header_bytes, record_bytes, footer_bytes, buffer_size, b"")

    grad = NOT_DIFFERENTIABLE


@op(
    "FixedLengthRecordDatasetV2",
    "filenames: string, header_bytes: int64, record_bytes: int64, footer_bytes: int64, buffer_size: int64, "
    "compression_type: string",
    "handle: variant",
    stateful=True,
)
class fixed_length_record_dataset_v2:
    """`FixedLengthRecordDataset` of files that may be compressed."""

    shape = shapes.scalar

    def kernel(
        ctx: Any,
        filenames: Any,
        header_bytes: Any,
        record_bytes: Any,
        footer_bytes: Any,
        buffer_size: Any,
        compression_type: Any,
    ) -> Any:
        return _fixed_length(
            filenames, header_bytes, record_bytes, footer_bytes, buffer_size, compression_type
        )

    grad = NOT_DIFFERENTIABLE
