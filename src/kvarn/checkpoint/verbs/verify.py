"""Whether a checkpoint is whole: every byte read, every checksum compared, and the parts fit one another.

    index        every block and entry; a damaged one costs only the names in it (kvarn.checkpoint.verbs.salvage)
    files        there, and long enough for what the index says
    tensors      every checksum; of partitioned ones every slice, which cover the tensor and do not overlap
    embeddings   keys of slots equal those of their owner, no key twice, offsets right, every column as long
    .meta        can be parsed
    checkpoint   (of a directory) the checkpoints that the state file names exist

It goes on after a fault: what is broken and what is intact are both named.  Bytes of data files that belong
to no tensor, and older checkpoints that are gone, are notes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kvarn.checkpoint import findings as kinds
from kvarn.checkpoint.embeddings.stored_table import embedding_groups
from kvarn.checkpoint.embeddings.table import EmbeddingTable, embedding_names
from kvarn.checkpoint.findings import Finding
from kvarn.checkpoint.management import get_checkpoint_state
from kvarn.checkpoint.paths import prefix_of
from kvarn.checkpoint.verbs.layout import check_cover, check_data_files
from kvarn.checkpoint.verbs.progress import Progress
from kvarn.checkpoint.verbs.salvage import open_damaged, open_damaged_tables
from kvarn.errors import DataLossError, NotFoundError, OpError, OutOfRangeError
from kvarn.formats.bundle.reader import BundleReader
from kvarn.formats.detect import V1, checkpoint_exists, find_files
from kvarn.formats.meta_graph import meta_graph_filename, read_meta_graph_file
from kvarn.formats.names import encode_name
from kvarn.formats.reader import TensorInfo, TensorReader
from kvarn.io import FileSystem, Path, as_path, file_system_of

# Tensors from this size on are read in pieces, so that progress is seen.
_LARGE_BYTES = 64 << 20


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
      prefix, format: of the checkpoint; format is ``V1`` or ``V2``.
      broken: names of the tensors that cannot be read as they were saved, sorted.
      intact: names of the others.
      broken_embeddings: embedding variables with a broken tensor, or whose tensors do not fit one another.
      intact_embeddings: the others.
      findings: every fault and every note.
      size_bytes: of all tensors that the index names.
    """

    prefix: str
    format: str
    broken: tuple[str, ...] = ()
    intact: tuple[str, ...] = ()
    broken_embeddings: tuple[str, ...] = ()
    intact_embeddings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    size_bytes: int = 0

    @property
    def whole(self) -> bool:
        """True if nothing is broken; there may be notes."""
        return not any(finding.broken for finding in self.findings)


def verify(path: Path, *, fs: FileSystem | None = None, progress: Progress | None = None) -> Verification:
    """Reads a whole checkpoint and says what of it is broken and what is intact.

    Args:
      path: a prefix, one of the checkpoint's files, a SavedModel, or a directory for its newest checkpoint.
      progress: called with the bytes looked at and the bytes in all.

    Raises:
      NotFoundError, InvalidArgumentError: there is no checkpoint at all.
    """
    path = as_path(path)
    files = fs or file_system_of(path)
    return _Verifier(files, prefix_of(path, files), progress).run()


def verify_directory(
    directory: Path, *, fs: FileSystem | None = None, progress: Progress | None = None
) -> list[Verification]:
    """Verifies every checkpoint that the state file of a directory names, oldest first.

    Those that are not there are broken, without a tensor.

    Raises:
      NotFoundError: the directory has no state file that names a checkpoint.
    """
    files = fs or file_system_of(directory)
    state = _state_of(as_path(directory), files)
    if state is None:
        raise NotFoundError.of(
            f"'{as_path(directory)}' has no file `checkpoint` that names its checkpoints",
            path=as_path(directory),
            hint="Give the prefix of a checkpoint in it.",
        )
    paths = dict.fromkeys([*state.all_model_checkpoint_paths, state.model_checkpoint_path])
    found: list[Verification] = []
    for prefix in paths:
        if checkpoint_exists(prefix, files):
            found.append(_Verifier(files, prefix, progress).run())
        else:
            newest = prefix == state.model_checkpoint_path
            found.append(Verification(prefix, "", findings=(_gone(as_path(directory), prefix, newest),)))
    return found


def state_findings(directory: Path, fs: FileSystem | None = None) -> list[Finding]:
    """Checkpoints that the state file of a directory names and that are not there.

    Only the newest one counts as broken: training goes on from it.
    """
    files = fs or file_system_of(directory)
    state = _state_of(as_path(directory), files)
    if state is None:
        return []
    newest = state.model_checkpoint_path
    paths = dict.fromkeys([*state.all_model_checkpoint_paths, newest])
    return [
        _gone(as_path(directory), path, path == newest)
        for path in paths
        if not checkpoint_exists(path, files)
    ]


def _state_of(directory: str, fs: FileSystem) -> Any:
    try:
        return get_checkpoint_state(directory, fs=fs)
    except ValueError:
        return None  # it names no newest checkpoint


def _gone(directory: str, path: str, newest: bool) -> Finding:
    which = "its newest checkpoint" if newest else "a checkpoint"
    text = f"the state file names {which} '{path}', which is not there"
    return Finding(kinds.STATE, text, file=os.path.join(directory, "checkpoint"), broken=newest)


@dataclass
class _Verifier:
    """One checkpoint under examination."""

    fs: FileSystem
    path: str
    progress: Progress | None
    findings: list[Finding] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    done_bytes: int = 0
    total_bytes: int = 0

    def run(self) -> Verification:
        kind, found = find_files(self.path, self.fs)
        self._check_meta_graph()
        try:
            reader = self._open(kind, found)
        except OpError as error:
            self.findings.append(Finding.of_error(kinds.INDEX, error))
            return Verification(self.path, kind, findings=tuple(self.findings))
        with reader:
            infos = self._infos(reader)
            self.total_bytes = sum(info.size_bytes for info in infos)
            if isinstance(reader, BundleReader):
                places = check_data_files(reader, self.findings, self.broken)
                infos.sort(key=lambda info: places[info.name])
            else:
                self._check_tables(reader)
            for info in infos:
                self._check_tensor(reader, info)
            names = {info.name for info in infos} | self.broken
            broken_embeddings, intact_embeddings = self._check_embeddings(reader, names)
        return Verification(
            reader.prefix,
            kind,
            broken=_sorted(self.broken),
            intact=_sorted(names - self.broken),
            broken_embeddings=broken_embeddings,
            intact_embeddings=intact_embeddings,
            findings=tuple(self.findings),
            size_bytes=self.total_bytes,
        )

    def _open(self, kind: str, found: list[str]) -> TensorReader:
        if kind == V1:
            reader, findings = open_damaged_tables(self.path, found, self.fs)
            self.findings += findings
            return reader
        salvaged = open_damaged(found[0].removesuffix(".index"), self.fs)
        self.findings += salvaged.findings
        self.broken.update(salvaged.lost)
        return salvaged.reader

    def _infos(self, reader: TensorReader) -> list[TensorInfo]:
        """All tensors of which the index is right; the others are broken."""
        try:
            return list(reader.tensors())
        except OpError:
            infos: list[TensorInfo] = []
        for name in list(reader.keys()):
            try:
                infos.append(reader.info(name))
            except OpError as error:
                self._lose(name, error)
        return infos

    def _lose(self, name: str, error: OpError) -> None:
        self.broken.add(name)
        self.findings.append(Finding.of_error(_kind(error), error, name))

    def _check_tables(self, reader: TensorReader) -> None:
        """Shards of a V1 checkpoint that are not there."""
        damaged = {finding.file for finding in self.findings}
        for path, size in reader.files():
            if size < 0 and path not in damaged:
                text = f"the shard '{path}' is not there; which tensors were in it alone, is not known"
                self.findings.append(Finding(kinds.MISSING_FILE, text, file=path))

    def _check_tensor(self, reader: TensorReader, info: TensorInfo) -> None:
        if info.name not in self.broken:
            try:
                self._read(reader, info)
                if info.slices:
                    check_cover(info, reader.prefix)
            except OpError as error:
                self._lose(info.name, error)
        self.done_bytes += info.size_bytes
        self._tell(self.done_bytes)

    def _read(self, reader: TensorReader, info: TensorInfo) -> None:
        if info.size_bytes < _LARGE_BYTES or info.slices or info.dtype.np.hasobject:
            reader.verify(info.name)
            return
        done = self.done_bytes
        for piece in reader.chunks(info.name):
            done += piece.nbytes
            self._tell(done)

    def _check_embeddings(
        self, reader: TensorReader, names: Iterable[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the embedding variables that are broken, and of the others."""
        names = _sorted(names)
        broken: set[str] = set()
        intact: set[str] = set()
        for group in embedding_groups(reader, names):  # those of lost tensors too
            damaged = [name for name in group.tensor_names(names) if name in self.broken]
            if damaged:
                some = ", ".join(damaged[:4]) + (" …" if len(damaged) > 4 else "")
                text = f"embedding variable '{group.name}': {len(damaged)} of its tensors broken: {some}"
                self.findings.append(Finding(kinds.EMBEDDING, text, group.name))
                broken.add(group.name)
        for name in set(embedding_names(reader)) - broken:
            try:
                table = EmbeddingTable(reader, name)
                found = [] if self.broken & set(table.tensor_names) else table.check()
            except OpError as error:
                found = [Finding.of_error(kinds.EMBEDDING, error, name)]
            self.findings += found
            (broken if any(finding.broken for finding in found) else intact).add(name)
        return _sorted(broken), _sorted(intact)

    def _check_meta_graph(self) -> None:
        path = meta_graph_filename(self.path)
        if not self.fs.exists(path):
            return
        try:
            read_meta_graph_file(path, self.fs)
        except (OSError, OpError) as error:
            self.findings.append(Finding(kinds.META_GRAPH, str(error), file=path))

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, self.total_bytes)


def _kind(error: OpError) -> str:
    if isinstance(error, NotFoundError):
        return kinds.MISSING_FILE
    if isinstance(error, OutOfRangeError):
        return kinds.SHORT_FILE
    if "checksum" in error.message:  # a damaged block of V1 comes as an error of the slice that is in it
        return kinds.CHECKSUM
    if isinstance(error, DataLossError):
        return kinds.ENTRY if "Invalid size" in error.message else kinds.CHECKSUM
    return kinds.SLICES


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=encode_name))
