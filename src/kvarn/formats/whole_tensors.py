"""What files that hold whole tensors only have in common: safetensors and npz.

    reader    the tensors are known when the file is open; each is a run of bytes that is read from front to back
    writer    is told all tensors first (`order` is theirs), then takes them one after another

Both are a `TensorReader` and a `TensorWriter`, so that whatever works on checkpoints works on them.  Neither
knows slices: a sliced tensor is given to them joined.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kvarn import dtypes
from kvarn.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OpError,
    UnimplementedError,
)
from kvarn.formats.names import decode_name, encode_name, nearest_names
from kvarn.formats.reader import CHUNK_BYTES, TensorInfo
from kvarn.formats.tensor_slice import TensorSlice, print_shape
from kvarn.formats.writer import none_open
from kvarn.io import (
    AtomicFile,
    Buffer,
    FileSystem,
    Path,
    as_path,
    directory_of,
    file_system_of,
)

Array = npt.NDArray[Any]

_DAMAGED = "The file is damaged or not whole: take another copy."
# Writes smaller than this are collected first.
_BUFFER_BYTES = 1 << 20


class WholeTensorReader(ABC):
    """An open file of whole tensors.  Thread-safe, except for the `chunks` of one tensor.

    Args:
      path: of the file.
      fs: where it is; the machine's own by default.

    Raises:
      NotFoundError: there is no such file.
      DataLossError: it is damaged, or no file of this format.
    """

    format = ""

    def __init__(self, path: Path, fs: FileSystem | None = None) -> None:
        self.prefix = as_path(path)
        self.fs: FileSystem = fs or file_system_of(self.prefix)
        self._file = self.fs.open_read(self.prefix)
        try:
            found = sorted(self._read_directory(), key=lambda info: encode_name(info.name))
        except BaseException:
            self._file.close()
            raise
        self._infos = {info.name: info for info in found}

    @abstractmethod
    def _read_directory(self) -> list[TensorInfo]:
        """Every tensor; what the file says of their places is checked against its size here."""

    @abstractmethod
    def _bytes_of(self, info: TensorInfo) -> Callable[[memoryview], None]:
        """A function that fills memory with the next bytes of a tensor, or raises."""

    def _stored_dtype(self, info: TensorInfo) -> np.dtype[Any]:
        return info.dtype.np

    def _lies_in_rows(self, info: TensorInfo) -> bool:
        """Whether a tensor can be read in pieces along its first dimension."""
        return True

    def _decode(self, info: TensorInfo, stored: Array) -> Array:
        """The elements that stored ones stand for."""
        if info.dtype is dtypes.bool and stored.view(np.uint8).max(initial=0) > 1:
            raise self.damaged(
                f"tensor '{info.name}' of type bool has bytes that are neither 0 nor 1", info.name
            )
        return stored

    def keys(self) -> list[str]:
        return list(self._infos)

    def contains(self, name: str | bytes) -> bool:
        return decode_name(name) in self._infos

    def tensors(self) -> Iterator[TensorInfo]:
        yield from self._infos.values()

    def info(self, name: str | bytes) -> TensorInfo:
        text = decode_name(name)
        if text in self._infos:
            return self._infos[text]
        raise NotFoundError.of(
            f"Key {text} not found in checkpoint",
            name=text,
            path=self.prefix,
            hint=nearest_names(text, self._infos, self.prefix),
        )

    def lookup_dtype_and_shape(self, name: str | bytes) -> tuple[dtypes.DType, tuple[int, ...]]:
        info = self.info(name)
        return info.dtype, info.shape

    def lookup(self, name: str | bytes) -> Array:
        info = self.info(name)
        return self._rows(info, self._bytes_of(info), info.shape)

    def lookup_slice(
        self, name: str | bytes, tensor_slice: TensorSlice, full_shape: tuple[int, ...] | None = None
    ) -> Array:
        info = self.info(name)
        if full_shape is not None and tuple(full_shape) != info.shape:
            raise InvalidArgumentError.of(
                f"tensor_name = {info.name}; shape in shape_and_slice spec {print_shape(full_shape)} does not "
                f"match the shape stored in checkpoint: {print_shape(info.shape)}",
                name=info.name,
                path=self.prefix,
                hint=f"'{self.prefix}' was saved from a variable of another shape.",
            )
        region = tensor_slice.resolve(info.shape)
        # The dots keep a scalar an array.
        index: Any = (..., *region.relative_to(TensorSlice.of_shape((0,) * len(info.shape))))
        region_of: Array = self.lookup(name)[index]
        return region_of

    def lookup_stored_slice(self, name: str | bytes, tensor_slice: TensorSlice) -> Array:
        raise NotFoundError.of(
            f"tensor '{decode_name(name)}' in '{self.prefix}' is not stored in slices",
            name=decode_name(name),
            path=self.prefix,
            hint="Use lookup_slice.",
        )

    def chunks(self, name: str | bytes, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        info = self.info(name)
        if not info.shape or not math.prod(info.shape) or not self._lies_in_rows(info):
            yield self.lookup(name)
            return
        fill = self._bytes_of(info)
        row_bytes = math.prod(info.shape[1:]) * self._stored_dtype(info).itemsize
        at_once = max(1, chunk_bytes // max(1, row_bytes))
        for start in range(0, info.shape[0], at_once):
            yield self._rows(info, fill, (min(at_once, info.shape[0] - start), *info.shape[1:]))

    def verify(self, name: str | bytes) -> None:
        for _ in self.chunks(name):
            pass

    def files(self) -> list[tuple[str, int]]:
        return [(self.prefix, self._file.size)]

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def damaged(self, what: str, name: str | None = None, offset: int | None = None) -> OpError:
        """The error for a file that is not what its format demands."""
        return DataLossError.of(
            f"'{self.prefix}': {what}", name=name, path=self.prefix, offset=offset, hint=_DAMAGED
        )

    def _rows(self, info: TensorInfo, fill: Callable[[memoryview], None], shape: tuple[int, ...]) -> Array:
        stored: Array = np.empty(shape, self._stored_dtype(info))
        # Filled also when empty: a tensor's last bytes carry its checks.
        fill(_raw(stored))
        return self._decode(info, stored)


class WholeTensorWriter(ABC):
    """A file of whole tensors in the making.  Not thread-safe.

    Until `finish` returns, and after `abort` or an error, no file of that path is there, or the old one.

    Args:
      path: of the file.
      tensors: all that will be added.
      fs: where it goes; the machine's own by default.

    Attributes:
      order: the names, in the order in which the tensors must be added.

    Raises:
      UnimplementedError: a tensor that the format cannot hold; nothing was written.
    """

    format = ""

    def __init__(self, path: Path, tensors: Sequence[TensorInfo], fs: FileSystem | None = None) -> None:
        self.prefix = as_path(path)
        self.fs: FileSystem = fs or file_system_of(self.prefix)
        self._file: AtomicFile | None = None
        if refused := {info.name: why for info in tensors if (why := self.refuses(info))}:
            raise refusal(self.prefix, self.format, refused)
        self._infos = self._ordered(tensors)
        self.order = [info.name for info in self._infos]
        self._waiting = iter(self._infos)
        self._open: TensorInfo | None = None
        self._missing_bytes = 0
        self._buffer = bytearray()
        self.fs.make_directory(directory_of(self.prefix))
        self._file = AtomicFile(self.fs, self.prefix)
        try:
            self._begin_file()
        except BaseException:
            self.abort()
            raise

    @classmethod
    @abstractmethod
    def refuses(cls, info: TensorInfo) -> str:
        """Why the format cannot hold a tensor; empty if it can."""

    def _ordered(self, tensors: Sequence[TensorInfo]) -> list[TensorInfo]:
        return list(tensors)

    @abstractmethod
    def _begin_file(self) -> None: ...

    def _begin_tensor(self, info: TensorInfo, stored: np.dtype[Any]) -> None:  # noqa: B027 - nothing to do is right for most
        """Called before the bytes of a tensor."""

    def _put(self, data: memoryview) -> None:
        """Takes bytes of a tensor."""
        self._append(data)

    def _end_tensor(self) -> None:  # noqa: B027 - nothing to do is right for most
        """Called after the bytes of a tensor."""

    def _end_file(self) -> None:  # noqa: B027 - nothing to do is right for most
        """Called after the last tensor."""

    def _stored_dtype(self, info: TensorInfo, array: Array | None) -> np.dtype[Any]:
        """How elements lie in the file; ``array`` is the whole tensor if it was added as one."""
        return info.dtype.np

    def _encode(self, info: TensorInfo, array: Array) -> Array:
        """The elements as they lie in the file."""
        return array.astype(self._stored_dtype(info, array), copy=False)

    def add(self, name: str | bytes, array: npt.ArrayLike, dtype: Any = None) -> None:
        """Writes a whole tensor, the next one of `order`."""
        values = np.asarray(array)
        info = self._next(name)
        if values.shape != info.shape:
            self._fail(info, f"has the shape {list(values.shape)}, not {list(info.shape)}")
        self._begin(info, self._stored_dtype(info, values))
        self._write(self._encode(info, values))
        self.end_segment()

    def add_slice(
        self,
        name: str | bytes,
        full_shape: Sequence[int],
        tensor_slice: TensorSlice,
        array: npt.ArrayLike,
        dtype: Any = None,
    ) -> None:
        """Writes a whole tensor, if the slice is the whole."""
        if tensor_slice.shape_within(full_shape) != tuple(full_shape):
            raise UnimplementedError.of(
                f"{self.format} holds no slices: {tensor_slice} of tensor '{decode_name(name)}'",
                name=decode_name(name),
                path=self.prefix,
                hint="Join the slices first.",
            )
        self.add(name, array, dtype)

    def add_tensor_header(self, name: str | bytes, dtype: Any, shape: Sequence[int]) -> None:
        """Begins a tensor, the next one of `order`, whose bytes follow by `append_segment`; no strings."""
        info = self._next(name)
        if tuple(shape) != info.shape or dtypes.as_dtype(dtype) != info.dtype:
            self._fail(info, f"is {dtypes.as_dtype(dtype).name}{list(shape)}, not what was announced")
        self._begin(info, self._stored_dtype(info, None))

    def append_segment(self, data: Buffer) -> None:
        if self._open is None:
            raise none_open(self.prefix)
        if isinstance(data, np.ndarray):
            self._write(self._encode(self._open, data))
        else:
            self._write(np.frombuffer(data, np.uint8))

    def end_segment(self) -> None:
        info, self._open = self._open, None
        if info is None:
            raise none_open(self.prefix)
        if self._missing_bytes:
            self._fail(info, f"got {-self._missing_bytes:+} bytes too many or too few")
        self._end_tensor()

    def finish(self) -> None:
        """Makes the file: when this returns it is on disk, whole."""
        if self._file is None:
            return
        try:
            missing = [self._open or next(self._waiting, None)]
            if missing[0] is not None:
                self._fail(missing[0], "was announced, but not added")
            self._end_file()
            self._flush()
            self._file.commit()
        except BaseException:
            self.abort()
            raise
        self._file = None

    def abort(self) -> None:
        """Gives up: removes what was written."""
        file, self._file = self._file, None
        if file is not None:
            file.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.abort()

    def _next(self, name: str | bytes) -> TensorInfo:
        info = None if self._open else next(self._waiting, None)
        if info is None or info.name != decode_name(name):
            self.abort()
            expected = f"'{info.name}'" if info else "the end of the open tensor"
            raise FailedPreconditionError.of(
                f"tensor '{decode_name(name)}' was added to '{self.prefix}' instead of {expected}",
                name=decode_name(name),
                path=self.prefix,
                hint="Add the tensors in the writer's `order`.",
            )
        return info

    def _begin(self, info: TensorInfo, stored: np.dtype[Any]) -> None:
        self._open = info
        self._missing_bytes = math.prod(info.shape) * stored.itemsize
        self._begin_tensor(info, stored)

    def _write(self, stored: Array) -> None:
        raw = _raw(np.ascontiguousarray(stored))
        self._missing_bytes -= len(raw)
        self._put(raw)

    def _append(self, data: Buffer) -> None:
        """Bytes for the file."""
        assert self._file is not None
        raw = memoryview(data).cast("B")
        if len(raw) < _BUFFER_BYTES:
            self._buffer += raw
            if len(self._buffer) >= _BUFFER_BYTES:
                self._flush()
            return
        self._flush()
        self._file.append(raw)

    def _flush(self) -> None:
        assert self._file is not None
        if self._buffer:
            self._file.append(self._buffer)
            self._buffer = bytearray()

    def _fail(self, info: TensorInfo, what: str) -> None:
        self.abort()
        raise InvalidArgumentError.of(
            f"tensor '{info.name}' for '{self.prefix}' {what}",
            name=info.name,
            path=self.prefix,
            hint="Nothing was written.",
        )


def refusal(path: str, format_name: str, refused: dict[str, str]) -> OpError:
    """The error for tensors that a format cannot hold, why by name."""
    shown = "".join(f"\n    '{name}': {why}" for name, why in list(refused.items())[:10])
    more = f"\n    and {len(refused) - 10} more" if len(refused) > 10 else ""
    return UnimplementedError.of(
        f"'{path}' cannot be written: {format_name} cannot hold {len(refused)} of the tensors:{shown}{more}",
        name=next(iter(refused)),
        path=path,
        hint="Leave them out (`kvarn convert --skip-unsupported`), or choose another format. Nothing was written.",
    )


def _raw(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(bytearray())
