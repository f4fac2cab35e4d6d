"""What every checkpoint format offers to those who write it.

    V2 bundles        kvarn.formats.bundle.BundleWriter
    V1 tables         kvarn.formats.slices_v1.TensorSliceWriter

`kvarn.checkpoint.Writer` chooses among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import numpy.typing as npt

from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import Buffer


class TensorWriter(Protocol):
    """A checkpoint in the making.  Not thread-safe.

    Until `finish` returns, and after `abort` or an error, the prefix is as it was and no other file is left.
    As a context manager it finishes at the end of the block, and aborts if that raises.
    """

    @property
    def prefix(self) -> str: ...

    def add(self, name: str | bytes, array: npt.ArrayLike, dtype: Any = None) -> None:
        """Writes a whole tensor."""

    def add_slice(
        self,
        name: str | bytes,
        full_shape: Sequence[int],
        tensor_slice: TensorSlice,
        array: npt.ArrayLike,
        dtype: Any = None,
    ) -> None:
        """Writes a part of a tensor."""

    def add_tensor_header(self, name: str | bytes, dtype: Any, shape: Sequence[int]) -> None:
        """Begins a tensor whose bytes follow by `append_segment`; not for strings and variants."""

    def append_segment(self, data: Buffer) -> None:
        """The next bytes of the tensor begun last: a C-contiguous array, or bytes."""

    def end_segment(self) -> None:
        """Ends the tensor begun last."""

    def finish(self) -> None:
        """Makes the checkpoint: when this returns it is on disk, whole, under its prefix."""

    def abort(self) -> None:
        """Gives up: removes what was written."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
