"""Several checkpoints as one: `merge`.

    merge(["m/dense", "m/sparse"], "m/all")
    merge(["old", "new"], "both", on_conflict="last")

Embedding variables of one name are united by key.  Tensors of one name that are equal to the bit are no
conflict.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kvarn.checkpoint.embeddings.stored_table import StoredTable, stored_tables, tensor_names
from kvarn.checkpoint.embeddings.union import (
    EmbeddingSource,
    check_alike,
    first_wins,
    last_wins,
    pick,
    unite,
)
from kvarn.checkpoint.verbs.progress import Counter, Progress
from kvarn.checkpoint.verbs.transfer import (
    aborting,
    check_target,
    copy_tensor,
    format_of,
    open_source,
    side_by_side,
    tensor_pieces,
)
from kvarn.errors import AlreadyExistsError, InvalidArgumentError, UnimplementedError
from kvarn.formats.bundle import BundleWriter
from kvarn.formats.detect import V2
from kvarn.formats.reader import TensorReader
from kvarn.io import FileSystem, Path, as_path

ERROR, FIRST, LAST = "error", "first", "last"


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What `merge` did, or would do.

    Attributes:
      taken: for each tensor and embedding variable the sources it comes from.
      conflicts: the names for which ``on_conflict`` had to decide, embedding variables left out.
    """

    sources: tuple[str, ...]
    target: str
    taken: dict[str, tuple[str, ...]]
    conflicts: tuple[str, ...]
    dry_run: bool = False


def merge(
    sources: Sequence[Path],
    target: Path,
    *,
    on_conflict: str = ERROR,
    dry_run: bool = False,
    overwrite: bool = False,
    fs: FileSystem | None = None,
    target_fs: FileSystem | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Writes one checkpoint (V2) with everything that several have.

    Embedding variables of one name become one with the keys of all, as `kvarn.checkpoint.embeddings.union`
    says; slots go with their keys.

    Args:
      on_conflict: what holds if a name, or a key of an embedding variable, is in more than one and not the
        same there: ``error``, or that of the ``first`` or ``last`` of the sources.
      dry_run: only tell; keys are not compared then.

    Raises:
      AlreadyExistsError: a conflict, or the target is there.
      InvalidArgumentError: an embedding variable of one name has another dim, type or slots elsewhere, or is
        an ordinary tensor there; or the target is a source.
    """
    if on_conflict not in (ERROR, FIRST, LAST):
        raise InvalidArgumentError.of(
            f"on_conflict is '{on_conflict}'", hint=f"It is {ERROR}, {FIRST} or {LAST}."
        )
    if not sources:
        raise InvalidArgumentError.of("there is nothing to merge", hint="Name one checkpoint at least.")
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(open_source(source, fs)) for source in sources]
        check_v2_target(target, readers, target_fs or fs, overwrite)
        tables, plain = inventory(readers)
        conflicts = _conflicts(readers, plain, on_conflict)
        taken: dict[str, tuple[str, ...]] = {
            name: tuple(source.reader.prefix for source in found) for name, found in tables.items()
        }
        chosen = {name: found[0 if on_conflict == FIRST else -1] for name, found in plain.items()}
        taken |= {name: (readers[number].prefix,) for name, number in chosen.items()}
        report = MergeReport(
            tuple(reader.prefix for reader in readers),
            as_path(target),
            dict(sorted(taken.items())),
            tuple(conflicts),
            dry_run,
        )
        if dry_run:
            return report
        total = sum(readers[number].info(name).size_bytes for name, number in chosen.items())
        counter = Counter(progress, total + embedding_bytes(tables))
        winner = pick(first_wins if on_conflict == FIRST else last_wins)
        writer = BundleWriter(target, target_fs or fs)
        with aborting(writer):
            for found in tables.values():
                if len(found) == 1:
                    copy_embedding(writer, found[0], counter)
                else:
                    unite(writer, found, winner, winner, disjoint=on_conflict == ERROR, count=counter)
            for name, number in sorted(chosen.items()):
                copy_tensor(readers[number], writer, readers[number].info(name), count=counter)
    return report


def inventory(
    readers: Sequence[TensorReader],
) -> tuple[dict[str, list[EmbeddingSource]], dict[str, list[int]]]:
    """The embedding variables of some checkpoints by name, and the other tensors with the numbers of the
    checkpoints that have them.

    Raises:
      InvalidArgumentError: embedding variables of one name differ, or one has the name of another's tensor.
    """
    tables: dict[str, list[EmbeddingSource]] = {}
    plain: dict[str, list[int]] = {}
    for number, reader in enumerate(readers):
        taken: set[str] = set()
        names = reader.keys()
        for table in stored_tables(reader):
            found = tables.setdefault(table.name, [])
            if found and found[-1].number == number:
                raise InvalidArgumentError.of(
                    f"'{reader.prefix}' has the embedding variable '{table.name}' twice: with parts and without",
                    name=table.name,
                    path=reader.prefix,
                    hint="Drop or rename one of them with `kvarn rewrite`.",
                )
            found.append(EmbeddingSource(number, reader, table))
            taken |= tensor_names(table, names)
        for name in names:
            if name not in taken:
                plain.setdefault(name, []).append(number)
    for found in tables.values():
        check_alike(found)
        last = found[-1]
        clash = plain.keys() & _all_names(last.table, last.reader)
        if clash:
            name = min(clash)
            raise InvalidArgumentError.of(
                f"'{name}' is part of an embedding variable in '{last.reader.prefix}', and an ordinary tensor in "
                f"'{readers[plain[name][0]].prefix}'",
                name=name,
                path=last.reader.prefix,
                hint="Rename or drop one of them with `kvarn rewrite`.",
            )
    return dict(sorted(tables.items())), plain


def embedding_bytes(tables: dict[str, list[EmbeddingSource]]) -> int:
    """Bytes of the values of embedding variables."""
    return sum(
        source.reader.info(f"{stem}-values").size_bytes
        for found in tables.values()
        for source in found
        for family in source.table.families
        for stem in source.table.stems(family)
    )


def copy_embedding(writer: BundleWriter, source: EmbeddingSource, count: Callable[[int], None]) -> None:
    """Copies all tensors of an embedding variable as they are."""
    for name in sorted(tensor_names(source.table, source.reader.keys())):
        copy_tensor(source.reader, writer, source.reader.info(name), count=count)


def check_v2_target(
    target: Path, readers: Sequence[TensorReader], fs: FileSystem | None, overwrite: bool
) -> None:
    """Raises as `transfer.check_target`, and UnimplementedError for a file of another format."""
    if other := format_of(target):
        raise UnimplementedError.of(
            f"'{as_path(target)}' would be a {other} file; checkpoints are written here",
            path=as_path(target),
            hint="Name a prefix, and `kvarn convert` what comes out.",
        )
    check_target(target, V2, fs, sources=readers, overwrite=overwrite)


def _all_names(table: StoredTable, reader: TensorReader) -> set[str]:
    return tensor_names(table, reader.keys())


def _conflicts(readers: Sequence[TensorReader], plain: dict[str, list[int]], on_conflict: str) -> list[str]:
    found = []
    for name, numbers in sorted(plain.items()):
        others = numbers[1:]
        if not others or all(_equal(readers[numbers[0]], readers[number], name) for number in others):
            continue
        if on_conflict == ERROR:
            prefixes = " and in ".join(repr(readers[number].prefix) for number in numbers)
            raise AlreadyExistsError.of(
                f"tensor '{name}' is in {prefixes}, and not the same",
                name=name,
                path=readers[numbers[-1]].prefix,
                hint="Say which one holds: `--on-conflict first` or `last`. Nothing was written.",
            )
        found.append(name)
    return found


def _equal(a: TensorReader, b: TensorReader, name: str) -> bool:
    """Whether two checkpoints have the same elements, to the bit, under a name."""
    one, other = a.info(name), b.info(name)
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(
        x.tolist() == y.tolist() if x.dtype.hasobject else x.tobytes() == y.tobytes()
        for x, y in side_by_side([tensor_pieces(a, one), tensor_pieces(b, other)])
    )
