"""Checkpoints from arrays, without a graph.

    checkpoint.write("/m/model.ckpt-10", {"dnn/w": w, "dnn/b": b})

    with checkpoint.Writer("/m/model.ckpt-10", num_shards=4) as writer:
        writer.add("dnn/w", w)
        writer.add_tensor_header("big", dtypes.float32, (n, 8))
        for piece in pieces:
            writer.append_segment(piece)
        writer.end_segment()

Until the end nothing is there under the path; whatever fails, nothing is left, and an older checkpoint of
that path is whole still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.checkpoint.sharded_output import ShardedOutput
from kvarn.errors import InvalidArgumentError
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.detect import V1, V2
from kvarn.formats.slices_v1 import TensorSliceWriter
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.formats.writer import TensorWriter
from kvarn.io import Buffer, FileSystem, Path, as_path


def write(
    path: Path,
    tensors: Mapping[str, npt.ArrayLike] | Mapping[bytes, npt.ArrayLike],
    format: str = V2,
    *,
    num_shards: int = 1,
    data_alignment: int = 1,
    sync: bool = True,
    fs: FileSystem | None = None,
) -> str:
    """Makes a checkpoint of arrays; one that has the path already is replaced at once.

    Args:
      path: its prefix; of V1 the name of the file.
      tensors: strings as bytes or text in an object array.  They lie in the file in this order.
      format: ``V2`` or ``V1``.
      num_shards: data files (V2); every tensor goes to the one that is smallest so far.
      data_alignment: where tensors begin in a data file (V2), a multiple of this; TensorFlow's save op has 1.
      sync: return when it survives a power failure; without it a crash of the machine may lose the
        checkpoint, and the one it replaces.
      fs: where it goes; by default what the path says.

    Returns:
      The path, as a restore takes it.

    Raises:
      InvalidArgumentError: an array cannot be saved.
      NotFoundError, PermissionDeniedError, ResourceExhaustedError and the like: the place cannot be written.
    """
    with Writer(
        path, format, num_shards=num_shards, data_alignment=data_alignment, sync=sync, fs=fs
    ) as writer:
        writer.add_many(tensors)
    return as_path(path)


class Writer:
    """A checkpoint in the making: a `TensorWriter` of either format.  Not thread-safe.

    As a context manager it finishes at the end of the block, and aborts if that raises.

    Args: as `write`.

    Raises: as `write`.
    """

    def __init__(
        self,
        path: Path,
        format: str = V2,
        *,
        num_shards: int = 1,
        data_alignment: int = 1,
        sync: bool = True,
        fs: FileSystem | None = None,
    ) -> None:
        self.prefix = as_path(path)
        self._bytes = [0] * num_shards
        if num_shards < 1 or format not in (V1, V2) or (format == V1 and num_shards != 1):
            raise InvalidArgumentError.of(
                f"'{self.prefix}' cannot be written as {format} in {num_shards} data files",
                path=self.prefix,
                hint="A checkpoint is V2, in one file or more, or V1 in one file.",
            )
        self._output: TensorSliceWriter | ShardedOutput
        self._writers: Sequence[TensorWriter]
        if format == V1:
            self._output = TensorSliceWriter(path, fs)
            self._writers = [self._output]
        else:
            self._output = ShardedOutput(path, num_shards, fs, data_alignment=data_alignment, sync=sync)
            self._writers = self._output.writers
        self._open = self._writers[0]

    def add(
        self, name: str | bytes, array: npt.ArrayLike, dtype: Any = None, *, shard: int | None = None
    ) -> None:
        """Writes a whole tensor.

        Args:
          array: strings as bytes or text in an object array; variants as serialized VariantTensorDataProtos.
          dtype: the element type, where the array does not tell: quantized types, variants.
          shard: number of the data file; by default the smallest so far.

        Raises:
          InvalidArgumentError: the name was added before, or the elements cannot be saved.
        """
        values = np.asarray(array)
        self._of_shard(shard, values.nbytes).add(name, values, dtype)

    def add_many(self, tensors: Mapping[str, npt.ArrayLike] | Mapping[bytes, npt.ArrayLike]) -> None:
        """Writes whole tensors in their order; faster than one by one.  Raises as `add`."""
        (first, *others) = self._writers
        if not others and isinstance(first, BundleWriter):
            first.add_many(tensors)
            return
        for name, array in tensors.items():
            self.add(name, array)

    def add_slice(
        self,
        name: str | bytes,
        full_shape: Sequence[int],
        tensor_slice: TensorSlice,
        array: npt.ArrayLike,
        dtype: Any = None,
        *,
        shard: int | None = None,
    ) -> None:
        """Writes a part of a tensor; the parts may go to any data files.

        Args:
          full_shape: of the whole tensor.
          tensor_slice: where the part lies.
          array: the part.
          dtype, shard: as `add`.

        Raises: as `BundleWriter.add_slice`.
        """
        values = np.asarray(array)
        self._of_shard(shard, values.nbytes).add_slice(name, full_shape, tensor_slice, values, dtype)

    def add_tensor_header(
        self, name: str | bytes, dtype: Any, shape: Sequence[int], *, shard: int | None = None
    ) -> None:
        """Begins a tensor whose bytes follow by `append_segment`; not for strings and variants.

        Raises:
          InvalidArgumentError: the name was added before, or the type has no plain bytes.
        """
        writer = self._of_shard(shard, 0)
        writer.add_tensor_header(name, dtype, shape)
        self._open = writer

    def append_segment(self, data: Buffer) -> None:
        """The next bytes of the tensor begun last: a C-contiguous array, or bytes."""
        self._open.append_segment(data)
        # The buffer protocol does not know bfloat16 and its like.
        size = data.nbytes if isinstance(data, np.ndarray) else memoryview(data).nbytes
        self._bytes[self._writers.index(self._open)] += size

    def end_segment(self) -> None:
        """Ends the tensor begun last.

        Raises:
          InvalidArgumentError: its bytes are more or fewer than its shape says; the save is aborted.
        """
        self._open.end_segment()

    def finish(self) -> None:
        """Makes the checkpoint: when this returns it is on disk, whole, under its path.

        Raises:
          OpError: a step failed; nothing is left of it, and an older one is still whole.
        """
        self._output.finish()

    def abort(self) -> None:
        """Gives up: removes what was written.  Nothing happens after `finish` or a second time."""
        self._output.abort()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.abort()

    def _of_shard(self, shard: int | None, size: int) -> TensorWriter:
        chosen = self._bytes.index(min(self._bytes)) if shard is None else shard
        if not 0 <= chosen < len(self._writers):
            raise InvalidArgumentError.of(
                f"there is no data file {shard} of '{self.prefix}'",
                path=self.prefix,
                hint=f"They are numbered from 0 to {len(self._writers) - 1}.",
            )
        self._bytes[chosen] += size
        return self._writers[chosen]
