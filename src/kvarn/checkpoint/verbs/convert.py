"""Checkpoints in other formats: `convert`.

    convert("m/model.ckpt-10", "model.safetensors")       every tensor, slices joined
    convert("model.npz", "m/model.ckpt-10")               back
    convert("m/model.ckpt-10", "m/v1", to="V1")           the format of TensorFlow 0.x
    convert("m/model.ckpt-10", "users.parquet", embedding="user")        an embedding variable as a table
    convert("users.parquet", "m/users", embedding="user", partitions=4)  and back

What a format cannot hold is an error before anything is there, or left out on demand and told.  What it can
hold comes back to the bit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from kvarn.checkpoint.embeddings.arrow import SUFFIXES, ArrowReader, read_source, write_table
from kvarn.checkpoint.embeddings.stored_table import stored_tables
from kvarn.checkpoint.embeddings.union import EmbeddingSource, last_wins, pick, unite
from kvarn.checkpoint.verbs.patterns import nearest
from kvarn.checkpoint.verbs.progress import Counter, Progress
from kvarn.checkpoint.verbs.transfer import (
    FORMATS,
    aborting,
    check_target,
    copy_tensor,
    format_of,
    open_source,
    open_target,
    refused_by,
)
from kvarn.errors import InvalidArgumentError, NotFoundError
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.detect import V1, V2
from kvarn.formats.embedding import SAVED_PARTITION_NUM
from kvarn.formats.reader import TensorReader
from kvarn.io import FileSystem, Path, as_path, file_system_of

TABLES = tuple(dict.fromkeys(SUFFIXES.values()))


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """What `convert` did, or would do.

    Attributes:
      source_format, target_format: ``V1``, ``V2``, ``safetensors``, ``npz``, ``parquet`` or ``arrow``.
      converted: names of the tensors, or of the embedding variable.
      skipped: why, by name, tensors were left out.
      rows: of a table; -1 otherwise.
    """

    source: str
    target: str
    source_format: str
    target_format: str
    converted: tuple[str, ...]
    skipped: dict[str, str]
    rows: int = -1
    dry_run: bool = False


def convert(
    source: Path,
    target: Path,
    *,
    to: str | None = None,
    skip_unsupported: bool = False,
    embedding: str | None = None,
    partitions: int = 0,
    dry_run: bool = False,
    overwrite: bool = False,
    fs: FileSystem | None = None,
    target_fs: FileSystem | None = None,
    progress: Progress | None = None,
) -> ConvertReport:
    """Writes a checkpoint, or an embedding variable, in another format.

    Args:
      source: a checkpoint (V1 or V2), a directory for its newest, a safetensors, npz, Parquet or Arrow file.
      target: a prefix or a file.
      to: the format; by default what the suffix of ``target`` says, else V2.
      skip_unsupported: leave out the tensors that the format cannot hold.
      embedding: of or for a table, the name of the embedding variable; not needed if there is only one.
      partitions: from a table, parts to write; 0 for an unpartitioned embedding variable.
      dry_run: only tell.

    Raises:
      UnimplementedError: tensors that the format cannot hold, named; nothing was written.
      NotFoundError: no such checkpoint, or no such embedding variable in it.
      InvalidArgumentError: an unknown format, or the target is the source.
      AlreadyExistsError: the target is there.
    """
    target_format = to or format_of(target) or SUFFIXES.get(_suffix(target)) or V2
    if target_format not in (*FORMATS, *TABLES):
        raise InvalidArgumentError.of(
            f"'{target_format}' is no format", hint=f"The formats are {', '.join((*FORMATS, *TABLES))}."
        )
    out = target_fs or fs or file_system_of(target)
    if _suffix(source) in SUFFIXES:
        return _from_table(
            source, target, target_format, embedding or "", partitions, dry_run, overwrite, fs, out, progress
        )
    with open_source(source, fs) as reader:
        if target_format in TABLES:
            return _to_table(reader, target, target_format, embedding, dry_run, overwrite, out, progress)
        return _tensors(reader, target, target_format, skip_unsupported, dry_run, overwrite, out, progress)


def _tensors(
    reader: TensorReader,
    target: Path,
    target_format: str,
    skip_unsupported: bool,
    dry_run: bool,
    overwrite: bool,
    fs: FileSystem,
    progress: Progress | None,
) -> ConvertReport:
    infos = list(reader.tensors())
    skipped = refused_by(target_format, infos) if skip_unsupported else {}
    kept = [info for info in infos if info.name not in skipped]
    report = ConvertReport(
        reader.prefix,
        as_path(target),
        reader.format,
        target_format,
        tuple(info.name for info in kept),
        skipped,
        dry_run=dry_run,
    )
    check_target(target, target_format, fs, tensors=kept, sources=[reader], overwrite=overwrite)
    if dry_run:
        return report
    writer, order = open_target(target, target_format, kept, fs, sources=[reader], overwrite=overwrite)
    by_name = {info.name: info for info in kept}
    counter = Counter(progress, sum(info.size_bytes for info in kept))
    with aborting(writer):
        for name in order:
            copy_tensor(reader, writer, by_name[name], join=target_format not in (V1, V2), count=counter)
    return report


def _to_table(
    reader: TensorReader,
    target: Path,
    kind: str,
    embedding: str | None,
    dry_run: bool,
    overwrite: bool,
    fs: FileSystem,
    progress: Progress | None,
) -> ConvertReport:
    tables = {table.name: table for table in stored_tables(reader)}
    if embedding is None and len(tables) == 1:
        embedding = next(iter(tables))
    if embedding is None or embedding not in tables:
        what = (
            "which embedding variable is not said"
            if embedding is None
            else f"no embedding variable '{embedding}'"
        )
        known = ", ".join(map(repr, tables)) or "no embedding variables"
        raise NotFoundError.of(
            f"{what}, and '{reader.prefix}' has {known}",
            name=embedding,
            path=reader.prefix,
            hint=nearest(embedding or "", tables) or "A table holds one: `--embedding NAME`.",
        )
    check_target(target, kind, fs, sources=[reader], overwrite=overwrite)
    source = EmbeddingSource(0, reader, tables[embedding])
    stems = [stem for family in source.table.families for stem in source.table.stems(family)]
    rows = sum(reader.info(f"{stem}-keys").shape[0] for stem in source.table.stems(""))
    if not dry_run:
        total = sum(reader.info(f"{stem}-values").size_bytes for stem in stems)
        rows = write_table(source, target, kind, fs, Counter(progress, total))
    return ConvertReport(reader.prefix, as_path(target), reader.format, kind, (embedding,), {}, rows, dry_run)


def _from_table(
    source: Path,
    target: Path,
    target_format: str,
    embedding: str,
    partitions: int,
    dry_run: bool,
    overwrite: bool,
    fs: FileSystem | None,
    target_fs: FileSystem,
    progress: Progress | None,
) -> ConvertReport:
    if target_format != V2 or not 0 <= partitions <= SAVED_PARTITION_NUM:
        raise InvalidArgumentError.of(
            f"a table cannot become {target_format} in {partitions} partitions",
            path=as_path(source),
            hint=f"It becomes a V2 checkpoint, in 1 to {SAVED_PARTITION_NUM} partitions or 0: not partitioned.",
        )
    with read_source(source, embedding, fs) as reader:
        check_target(target, V2, target_fs, sources=[reader], overwrite=overwrite)
        found = reader.source()
        if not dry_run:
            _write_embedding(reader, found, target, partitions, target_fs, progress)
        rows = sum(reader.info(f"{embedding}{suffix}").shape[0] for suffix in ("-keys", "-keys_filtered"))
        kind = SUFFIXES[_suffix(source)]
        return ConvertReport(reader.prefix, as_path(target), kind, V2, (embedding,), {}, rows, dry_run)


def _write_embedding(
    reader: ArrowReader,
    source: EmbeddingSource,
    target: Path,
    partitions: int,
    fs: FileSystem,
    progress: Progress | None,
) -> None:
    total = sum(info.size_bytes for info in reader.tensors() if info.name.endswith("-values"))
    winner = pick(last_wins)
    writer = BundleWriter(target, fs)
    with aborting(writer):
        unite(writer, [source], winner, winner, partitions=partitions, count=Counter(progress, total))


def _suffix(path: Path) -> str:
    return os.path.splitext(as_path(path))[1].lower()
