"""The front door: any path that means a checkpoint, opened.

with checkpoint.open("/m") as found:          a prefix, one of its files, a folder, a SavedModel
    print(found)                              /m/model.ckpt-10 (V2, step 10), the newest of the directory /m
    found["dnn/w"]                            an array, checked
    found.read_all()                          all of them, much faster than one by one
    found.views(verify=False)                 read-only, where they lie in the file
    found.embedding("user").lookup([7])       an embedding variable and its slots as one thing
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from kvarn.checkpoint.other_files import hint_for_file
from kvarn.checkpoint.paths import (
    DATA_FILE,
    DIRECTORY,
    INDEX,
    META_GRAPH,
    PREFIX,
    SAVED_MODEL,
    STATE_FILE,
    find_place,
)
from kvarn.errors import DataLossError, NotFoundError, OpError
from kvarn.formats import elements
from kvarn.formats.bundle import BundleReader
from kvarn.formats.detect import open_checkpoint
from kvarn.formats.meta_graph import meta_graph_filename, read_meta_graph_file
from kvarn.formats.names import decode_name
from kvarn.formats.reader import CHUNK_BYTES, TensorInfo, TensorReader
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import FileSystem, Path, as_path, file_system_of

if TYPE_CHECKING:
    from kvarn.checkpoint.embeddings.table import EmbeddingTable
    from kvarn.checkpoint.inspect import CheckpointDescription

_STEP = re.compile(r"-(\d+)(?:-\?{5}-of-\d{5,})?\Z")
_MADE_OF = {
    PREFIX: "",
    INDEX: ", by its index {path}",
    META_GRAPH: ", by its meta graph {path}",
    DATA_FILE: ", by its data file {path}",
    DIRECTORY: ", the newest of the directory {path}",
    STATE_FILE: ", the newest that {path} names",
    SAVED_MODEL: ", the variables of the SavedModel {path}",
}


def open(path: Path, fs: FileSystem | None = None) -> Checkpoint:
    """Opens the checkpoint that a path means.

    Args:
      path: a prefix; one of its files (``.index``, ``.meta``, ``.data-…``, a table of V1 or the pattern of several);
        a directory or its ``checkpoint`` file, for the newest in it; a SavedModel.
      fs: where it is; by default what the path says (``s3://…``), or the machine's own files.

    Raises:
      NotFoundError: nothing of the kind is there; the hint says what is.
      InvalidArgumentError: there is not even its directory.
      DataLossError, OutOfRangeError: it is damaged, or no checkpoint.
    """
    return Checkpoint(path, fs)


class Checkpoint:
    """A checkpoint, open for reading.  Thread-safe.  A context manager.

    Whatever it gives out has been checked against its checksum, unless one asks for views without.

    Args: as `open`.

    Attributes:
      path: as given.
      kind: what that was taken for: ``prefix``, ``index``, ``meta graph``, ``data file``, ``directory``,
        ``state file`` or ``SavedModel``.
      reader: of the files below.
    """

    def __init__(self, path: Path, fs: FileSystem | None = None) -> None:
        self.path = as_path(path)
        place = find_place(path, fs)
        self.kind = place.kind
        try:
            self.reader: TensorReader = open_checkpoint(place.prefix, fs)
        except DataLossError as error:
            raise _explained(error, place.prefix, fs or file_system_of(self.path)) from None

    @property
    def prefix(self) -> str:
        """The path by which TensorFlow names it."""
        return self.reader.prefix

    @property
    def format(self) -> str:
        """``V1`` or ``V2``."""
        return self.reader.format

    @property
    def step(self) -> int | None:
        """The number behind the last dash of the prefix; None if there is none."""
        found = _STEP.search(self.prefix)
        return int(found[1]) if found else None

    def __str__(self) -> str:
        step = f", step {self.step}" if self.step is not None else ""
        return f"{self.prefix} ({self.format}{step}){_MADE_OF[self.kind].format(path=self.path)}"

    def __repr__(self) -> str:
        return f"<Checkpoint {self}>"

    # Names -------------------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """The names of all tensors, sorted by their bytes."""
        return self.reader.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str | bytes) and self.reader.contains(name)

    def tensors(self) -> Iterator[TensorInfo]:
        """Name, type, shape, bytes and slices of every tensor; reads the index only."""
        return self.reader.tensors()

    def info(self, name: str | bytes) -> TensorInfo:
        """What the index says of one tensor; raises NotFoundError, naming the nearest."""
        return self.reader.info(name)

    def describe(self) -> CheckpointDescription:
        """Everything that the index says, embedding variables as one thing each."""
        from kvarn.checkpoint.inspect import describe

        return describe(self.prefix, self.reader.fs, ranges=False)

    def files(self) -> list[tuple[str, int]]:
        """Path and bytes of every file; -1 for one that is missing."""
        return self.reader.files()

    def meta_graph(self) -> Any:
        """The MetaGraphDef that lies beside it.

        Raises:
          NotFoundError: there is none.
          OSError: the file holds no such message.
        """
        path = meta_graph_filename(self.prefix)
        if not self.reader.fs.exists(path):
            raise NotFoundError.of(
                f"{path}; No such file or directory",
                path=path,
                hint="It was saved with write_meta_graph=False, or not by a Saver.",
            )
        return read_meta_graph_file(path, self.reader.fs)

    # Values ------------------------------------------------------------------------------------------

    def read(self, name: str | bytes, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """A whole tensor; of one kept in slices, the slices put together.

        Args:
          out: an array of its type and shape to fill.

        Raises:
          NotFoundError: no such tensor, or its file is gone.
          DataLossError, OutOfRangeError: its bytes are damaged or cut off.
          InvalidArgumentError: ``out`` does not fit, or stored slices do not cover the tensor.
        """
        if isinstance(self.reader, BundleReader):
            return self.reader.lookup(name, out)
        return _put(self.reader, name, out)

    def __getitem__(self, name: str | bytes) -> npt.NDArray[Any]:
        return self.read(name)

    def read_all(
        self,
        names: Iterable[str | bytes] | None = None,
        *,
        out: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Many tensors at once, by name; see `BundleReader.read`.

        Args:
          names: which ones; all by default.
          out: arrays to fill for some of them, each its own.

        Raises:
          InvalidArgumentError: there is an array for a tensor that is not among them.
          and as `read`.
        """
        if isinstance(self.reader, BundleReader):
            return self.reader.read(names, out=out)
        chosen = self.keys() if names is None else list(map(decode_name, names))
        given = out or {}
        elements.check_targets(given, set(chosen), self.prefix)
        return {name: _put(self.reader, name, given.get(name)) for name in chosen}

    def views(
        self, names: Iterable[str | bytes] | None = None, *, verify: bool = True
    ) -> dict[str, npt.NDArray[Any]]:
        """Read-only arrays over a map of the files, by name; see `BundleReader.views`.

        Tensors of V1 checkpoints do not lie in their file as in memory: they are read.

        Args:
          names: which ones; all by default.
          verify: compare the checksums now, which touches every byte; else nobody does.

        Raises: as `read`.
        """
        if isinstance(self.reader, BundleReader):
            return self.reader.views(names, verify=verify)
        found = self.read_all(names)
        for array in found.values():
            array.flags.writeable = False
        return found

    def read_slice(self, name: str | bytes, region: TensorSlice | str) -> npt.NDArray[Any]:
        """A region of a tensor, however that was stored.

        Args:
          region: such as ``4,3:-``: rows 4 to 6, all columns.

        Raises: as `BundleReader.lookup_slice`.
        """
        piece = TensorSlice.parse(region) if isinstance(region, str) else region
        return self.reader.lookup_slice(name, piece)

    def chunks(self, name: str | bytes, chunk_bytes: int = CHUNK_BYTES) -> Iterator[npt.NDArray[Any]]:
        """A tensor in consecutive pieces along its first dimension; see `TensorReader.chunks`."""
        return self.reader.chunks(name, chunk_bytes)

    # Embedding variables -----------------------------------------------------------------------------

    @property
    def embeddings(self) -> list[str]:
        """The names of the embedding variables, without parts and slots."""
        from kvarn.checkpoint.embeddings.table import embedding_names

        return embedding_names(self.reader)

    def embedding(self, name: str) -> EmbeddingTable:
        """An embedding variable and its slots as one thing, whatever parts it was saved in.

        Raises:
          NotFoundError: there is none of that name; the hint names those that are.
        """
        from kvarn.checkpoint.embeddings.table import EmbeddingTable

        return EmbeddingTable(self.reader, name)

    # Life --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Closes all files; what was read, and views, stay valid."""
        self.reader.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _explained(error: OpError, prefix: str, fs: FileSystem) -> OpError:
    """The error of a file that is no checkpoint, with a hint that says what it is instead."""
    hint = hint_for_file(prefix, fs) if fs.exists(prefix) and not fs.is_directory(prefix) else None
    if hint is None:
        return error
    text = error.without_hint
    return type(error).of(text, name=error.name, path=error.path, offset=error.offset, hint=hint)


def _put(reader: TensorReader, name: str | bytes, out: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """A tensor, in ``out`` if there is one."""
    if out is None:
        return reader.lookup(name)
    info = reader.info(name)
    elements.target(out, info.shape, info.dtype, info.name, reader.prefix)
    out[...] = reader.lookup(name)
    return out
