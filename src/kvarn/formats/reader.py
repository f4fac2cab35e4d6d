"""What every checkpoint format offers to those who read it: names, types, values, checked bytes.

    V2 bundles        kvarn.formats.bundle.BundleReader
    V1 tables         kvarn.formats.slices_v1.TensorSliceReader

`kvarn.formats.detect.open_checkpoint` finds the format of a path and gives the reader for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy.typing as npt

from kvarn.dtypes import DType
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import FileSystem

# Bytes of a tensor that `TensorReader.chunks` gives at a time.
CHUNK_BYTES = 8 << 20
# What there is to do about damage.
DAMAGED = "The file is damaged or not whole: take another copy or an older checkpoint."


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What the index of a checkpoint says of one tensor.

    Attributes:
      name: bytes that are no UTF-8 stand in it as surrogates (``surrogateescape``).
      shape: of the whole tensor.
      size_bytes: in the files, all slices together.
      slices: the stored slices in the order they were saved; empty for a tensor stored whole.
      shards: numbers of the data files it is in, ascending.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    size_bytes: int
    slices: tuple[TensorSlice, ...] = ()
    shards: tuple[int, ...] = (0,)


class TensorReader(Protocol):
    """A checkpoint, open for reading.  Thread-safe.

    Whatever is given out has been checked against the checksums of the format.

    Attributes:
      prefix: the path by which users name the checkpoint.
      format: ``V1`` or ``V2``.
    """

    @property
    def prefix(self) -> str: ...

    @property
    def format(self) -> str: ...

    @property
    def fs(self) -> FileSystem: ...

    def keys(self) -> list[str]:
        """The names of all tensors, sorted by their bytes."""

    def contains(self, name: str | bytes) -> bool:
        """True if a tensor of that name is there."""

    def tensors(self) -> Iterator[TensorInfo]:
        """Every tensor, sorted by the bytes of the names.  Reads the index only."""

    def info(self, name: str | bytes) -> TensorInfo:
        """What the index says of one tensor.

        Raises:
          NotFoundError: no such tensor; the hint names the nearest ones.
        """

    def lookup_dtype_and_shape(self, name: str | bytes) -> tuple[DType, tuple[int, ...]]:
        """Element type and full shape of a tensor."""

    def lookup(self, name: str | bytes) -> npt.NDArray[Any]:
        """The whole tensor; of one kept in slices, the slices put together."""

    def lookup_slice(
        self, name: str | bytes, tensor_slice: TensorSlice, full_shape: tuple[int, ...] | None = None
    ) -> npt.NDArray[Any]:
        """A region of a tensor, however that was stored."""

    def lookup_stored_slice(self, name: str | bytes, tensor_slice: TensorSlice) -> npt.NDArray[Any]:
        """One slice as it was saved: an element of ``info(name).slices``."""

    def chunks(self, name: str | bytes, chunk_bytes: int = CHUNK_BYTES) -> Iterator[npt.NDArray[Any]]:
        """A whole tensor in consecutive pieces along its first dimension, about ``chunk_bytes`` each.

        A scalar, an empty tensor, and one that cannot be read in pieces comes as one.  The last piece is
        given out only after the checksum of the tensor was found right: until then the pieces are not
        certain.

        Raises:
          DataLossError: with the last piece, if the tensor is damaged.
        """

    def verify(self, name: str | bytes) -> None:
        """Reads all bytes of a tensor and compares their checksums, keeping none.  Raises as `lookup`."""

    def files(self) -> list[tuple[str, int]]:
        """Path and bytes of every file of the checkpoint; -1 for one that is missing."""

    def close(self) -> None:
        """Closes all files; what was read stays valid."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
