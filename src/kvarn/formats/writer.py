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

from kvarn.dtypes import DType
from kvarn.errors import FailedPreconditionError, InvalidArgumentError, OpError
from kvarn.formats.tensor_slice import TensorSlice, print_shape
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


# Errors ----------------------------------------------------------------------------------------------


def misshapen_slice(
    name: str, full_shape: Sequence[int], tensor_slice: TensorSlice, shape: Sequence[int]
) -> OpError:
    """The error for a part of the wrong ``shape``."""
    return InvalidArgumentError.of(
        "Slice in shape_and_slice specification does not match the shape of the tensor to  save: "
        f"{' '.join(map(str, (*full_shape, tensor_slice)))}, tensor: {print_shape(shape)}",
        name=name,
        hint=f"The slice has the shape {print_shape(tensor_slice.shape_within(full_shape))}.",
    )


def not_in_segments(name: str, dtype: DType) -> OpError:
    """The error for a type that has no plain bytes."""
    return InvalidArgumentError.of(
        f"tensor '{name}' of type {dtype.name} cannot be written in segments", name=name, hint="Add it whole."
    )


def none_open(prefix: str) -> OpError:
    """The error for bytes of a tensor that was not begun."""
    return FailedPreconditionError.of(
        f"no tensor is open in '{prefix}'", path=prefix, hint="Call add_tensor_header first."
    )


def still_open(name: str, prefix: str) -> OpError:
    """The error for another tensor before the one begun last was ended."""
    return FailedPreconditionError.of(
        f"tensor '{name}' is open in '{prefix}'", name=name, path=prefix, hint="Call end_segment first."
    )


def wrong_length(name: str, shape: Sequence[int], found: int, expected: int, prefix: str) -> OpError:
    """The error for a tensor whose pieces had another number of bytes."""
    return InvalidArgumentError.of(
        f"tensor '{name}' of shape {print_shape(shape)} got {found} bytes, not {expected}",
        name=name,
        path=prefix,
        hint="The pieces must make up the whole tensor. Nothing was saved.",
    )
