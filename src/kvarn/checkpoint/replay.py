"""A full save and the increments that lead from it to a step, written as one full checkpoint.

    embedding variables        by key (kvarn.checkpoint.embeddings.replay)
    variables with single rows of an increment: the rows are put into the tensor
    everything else            as in the last link that has it

`kvarn.checkpoint.chain` says which saves these are, and whether they fit each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kvarn.checkpoint.chain import Link
from kvarn.checkpoint.embeddings.part_numbers import write_numbers
from kvarn.checkpoint.embeddings.replay import ReplayedTable, replay
from kvarn.checkpoint.embeddings.stored_table import StoredTable, places_of_parts, stored_tables
from kvarn.checkpoint.verbs.merge import check_v2_target
from kvarn.checkpoint.verbs.progress import Counter, Progress
from kvarn.checkpoint.verbs.transfer import aborting, copy_tensor
from kvarn.errors import DataLossError, InvalidArgumentError, OpError
from kvarn.formats import embedding
from kvarn.formats import embedding_increment as increment
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.embedding_names import may_follow_part
from kvarn.formats.increment_rows import put_rows
from kvarn.formats.manifest import FREQS, FULL, VERSIONS, Manifest, RowCounts
from kvarn.formats.part_numbers import has_number_per_part
from kvarn.formats.reader import TensorInfo
from kvarn.formats.tensor_slice import TensorSlice
from kvarn.io import FileSystem, Path, as_path

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Replay:
    """What was written.

    Attributes:
      target: prefix of the new checkpoint.
      chain: whose state it is.
      step: the last step in it; None if unknown.
      numbers: of the saves it was made of, the full one first.
      embeddings: number of keys with values, by embedding variable; slots left out.
      num_tensors: ordinary ones.
    """

    target: str
    chain: str
    step: int | None
    numbers: tuple[int, ...]
    embeddings: dict[str, int]
    num_tensors: int


def replay_links(
    links: Sequence[Link],
    output: Path,
    *,
    partitions: int | None,
    overwrite: bool,
    fs: FileSystem,
    output_fs: FileSystem | None,
    progress: Progress | None,
) -> Replay:
    """Writes what a full save and the increments on it, in their order, make up; see `Chain.at`."""
    if partitions is not None and not 0 <= partitions <= embedding.SAVED_PARTITION_NUM:
        raise InvalidArgumentError.of(
            f"{partitions} partitions",
            hint=f"There can be 1 to {embedding.SAVED_PARTITION_NUM}, or 0: not partitioned.",
        )
    with contextlib.ExitStack() as stack:
        opened: list[_Opened] = []
        with naming(links):
            for link in links:
                reader = stack.enter_context(BundleReader(link.prefix, fs))
                opened.append(_Opened(link, reader, opened[0] if opened else None))
        check_v2_target(output, [one.reader for one in opened], output_fs, overwrite)
        stack.enter_context(naming(links))
        for one in opened:
            one.check()
        last = opened[-1]
        for one in opened:
            _check_same_variables(opened[0], one)
        plain = {name: number for number, one in enumerate(opened) for name in one.plain}
        counter = Counter(progress, sum(one.size_bytes for one in opened))
        writer = BundleWriter(output, output_fs)
        with aborting(writer):
            recut: dict[str, int] = {}
            splits = _splits(opened)
            for variable in sorted(last.tables):
                tables = [one.table(variable, splits) for one in opened]
                keeps = {what for one in opened for what in one.keeps(variable)}
                parts = tables[-1].table.num_partitions if tables[-1].table.partitioned else 0
                if partitions is not None and partitions != parts:
                    recut[variable] = parts = partitions
                replay(
                    writer,
                    tables,
                    partitions=parts,
                    keeps_versions=VERSIONS in keeps,
                    keeps_freqs=FREQS in keeps,
                    count=counter,
                )
            for name, number in sorted(plain.items()):
                reader, new_parts = opened[number].reader, recut.get(name.rpartition("/")[0])
                if new_parts is not None and has_number_per_part(opened[0].reader, name):
                    write_numbers(reader, reader.info(name), new_parts, lambda _: writer)
                    continue
                overlays = [
                    (one, stem, rows)
                    for one in opened[number + 1 :]
                    for stem, rows in one.manifest.rows.items()
                    if rows.tensor == name
                ]
                _write_plain(writer, reader, name, overlays, counter)
    with BundleReader(output, output_fs) as made:
        keys = {
            table.name: sum(
                made.info(stem + embedding.KEYS).shape[0] for stem in table.stems(min(table.families))
            )
            for table in stored_tables(made)
        }
    return Replay(
        as_path(output),
        last.manifest.chain,
        last.manifest.step,
        tuple(link.number for link in links),
        keys,
        len(plain),
    )


@contextlib.contextmanager
def naming(links: Sequence[Link]) -> Iterator[None]:
    """Says of errors in the files of a link which number it is."""
    try:
        yield
    except OpError as error:
        path = error.path or ""
        link = next(
            (link for link in links if path == link.prefix or path.startswith(link.prefix + ".")), None
        )
        if link is None or str(link) in error.without_hint:
            raise
        raise type(error).of(
            f"number {link} of the chain cannot be used: {error.without_hint}",
            name=error.name,
            path=error.path,
            offset=error.offset,
            hint="Take another copy, or a step that needs it not: `kvarn chain verify` names all that is wrong.",
        ) from error


class _Opened:
    """A link with its checkpoint open.

    Args:
      full: the full save that it follows; None if it is that itself.

    Attributes:
      tables: by variable or slot without part (``b/Adagrad``) the stems of its parts, in their order.
      parts: of stems that are parts, what is before the part, its number, what is behind.
      plain: names of the ordinary tensors.
    """

    def __init__(self, link: Link, reader: BundleReader, full: _Opened | None) -> None:
        self.link = link
        self.manifest: Manifest = link.manifest
        self.reader = reader
        self.tables: dict[str, list[str]] = {}
        self.parts = self._find_parts(full)
        for stem in sorted(self.manifest.variables, key=self._in_order_of_parts):
            self.tables.setdefault(self._in_order_of_parts(stem)[0], []).append(stem)
        suffixes = embedding.SUFFIXES if self.is_full else increment.SUFFIXES
        taken = {stem + suffix for stem in self.manifest.variables for suffix in suffixes}
        taken |= {name + s for name in self.manifest.rows for s in (increment.KEYS, increment.VALUES)}
        self.plain = [name for name in list(reader.keys()) if name not in taken]

    def _find_parts(self, full: _Opened | None) -> dict[str, tuple[str, int, str]]:
        """What is before, in and behind the part, of stems that are parts.

        What is no part in the full save is none in an increment, whose keys are too few to tell.
        """
        if full is not None:
            counts = {stem: rows.upserts for stem, rows in self.manifest.variables.items()}
            whole = full.manifest.variables.keys() - full.parts.keys()
            return {stem: place for stem, place in places_of_parts(counts).items() if stem not in whole}
        return {
            stem: (table.name, part, rest)
            for table in stored_tables(self.reader)
            if table.partitioned
            for rest, stems in table.families.items()
            for part, stem in enumerate(stems)
            if stem is not None
        }

    def _in_order_of_parts(self, stem: str) -> tuple[str, int]:
        """The variable or slot without part, and the number of the part."""
        place = self.parts.get(stem)
        return (stem, 0) if place is None else (place[0] + place[2], place[1])

    @property
    def is_full(self) -> bool:
        return self.manifest.kind == FULL

    @property
    def size_bytes(self) -> int:
        return sum(info.size_bytes for info in self.reader.tensors())

    def keeps(self, variable: str) -> set[str]:
        return {what for stem in self.tables[variable] for what in self.manifest.variables[stem].keeps}

    def table(self, variable: str, splits: dict[str, str]) -> ReplayedTable:
        """A variable or slot as the one family of a table."""
        stems = self.tables[variable]
        rest = splits.get(variable, "")
        families: dict[str, list[str | None]] = {rest: list(stems)}
        table = StoredTable(variable.removesuffix(rest), stems[0] in self.parts, families)
        return ReplayedTable(self.reader, table, self.is_full)

    def check(self) -> None:
        """Raises DataLossError if the tensors are not those that the manifest tells of."""
        for stem, counts in self.manifest.variables.items():
            if self.is_full:
                wanted = {embedding.KEYS: counts.upserts, embedding.KEYS_FILTERED: counts.filtered}
            else:
                wanted = {
                    increment.KEYS: counts.upserts,
                    increment.KEYS_FILTERED: counts.filtered,
                    increment.REMOVED_KEYS: counts.deletions,
                }
            for suffix, number in wanted.items():
                self._check_length(stem + suffix, number)
        for stem, rows in self.manifest.rows.items():
            self._check_length(stem + increment.KEYS, rows.upserts)
            self._check_length(stem + increment.VALUES, rows.upserts)
        for stems in self.tables.values():
            for number, stem in enumerate(stems):
                if self._in_order_of_parts(stem)[1] != number:
                    raise self._unfit(f"it has '{stem}', but not all parts before it", stem)

    def _check_length(self, name: str, number: int) -> None:
        shape = self.reader.info(name).shape if self.reader.contains(name) else ()
        if not shape or shape[0] != number:
            found = f"{shape[0]} rows" if shape else "nothing"
            raise self._unfit(f"its manifest tells of {number} rows in '{name}', there is {found}", name)

    def _unfit(self, what: str, name: str) -> OpError:
        return DataLossError.of(
            f"number {self.link} of the chain, '{self.reader.prefix}', does not fit its manifest: {what}",
            name=name,
            path=self.reader.prefix,
            hint="Take another copy, or a step that needs it not: `kvarn chain ls` lists them.",
        )


def _splits(opened: Sequence[_Opened]) -> dict[str, str]:
    """What of the name of each variable or slot is behind its part, or would be: ``b/Adagrad`` -> ``/Adagrad``.

    The names of parts tell in every link that has any; without, blocks count as those of one variable of dynamic
    dimension if the first is there.
    """
    tables = stored_tables(opened[0].reader)
    names = {table.name for table in tables}
    found = {}
    for table in tables:
        head, _, tail = table.name.rpartition("/")
        is_block = may_follow_part(f"/{tail}") and f"{head}/block0" in names and head not in names
        for rest in table.families:
            found[table.name + rest] = f"/{tail}{rest}" if is_block and not table.partitioned else rest
    for one in opened:
        found |= {before + rest: rest for before, _, rest in one.parts.values()}
    return found


def _check_same_variables(full: _Opened, other: _Opened) -> None:
    odd = full.tables.keys() ^ other.tables.keys()
    if odd:
        name = min(odd)
        has, lacks = (full, other) if name in full.tables else (other, full)
        raise InvalidArgumentError.of(
            f"embedding variable '{name}' is in number {has.link} of the chain and not in {lacks.link}",
            name=name,
            path=lacks.reader.prefix,
            hint="Both were saved with other variables: give the Savers of full saves and increments the same.",
        )


# Ordinary variables ---------------------------------------------------------------------------------


def _write_plain(
    writer: BundleWriter,
    reader: BundleReader,
    name: str,
    overlays: Sequence[tuple[_Opened, str, RowCounts]],
    count: Callable[[int], None],
) -> None:
    """A tensor, with rows of later increments put in."""
    info = reader.info(name)
    if not overlays:
        copy_tensor(reader, writer, info, count=count)
        return
    whole = TensorSlice.of_shape(info.shape)
    for piece in info.slices or (whole,):
        values = np.array(reader.lookup_stored_slice(name, piece) if info.slices else reader.lookup(name))
        count(values.nbytes)
        for opened, stem, rows in overlays:
            _put_rows(values, piece.resolve(info.shape), info, opened, stem, rows)
        if info.slices:
            writer.add_slice(name, info.shape, piece, values, info.dtype)
        else:
            writer.add(name, values, info.dtype)


def _put_rows(
    values: Array, piece: TensorSlice, info: TensorInfo, opened: _Opened, stem: str, rows: RowCounts
) -> None:
    """Puts the rows of an increment into that region of a tensor which ``values`` are."""
    put_rows(
        values,
        piece,
        tuple(info.shape),
        opened.reader,
        stem,
        rows.slice,
        lambda what: _unlike(opened.reader, stem, what),
    )


def _unlike(reader: BundleReader, stem: str, what: str) -> OpError:
    return DataLossError.of(
        f"the rows of '{stem}' in '{reader.prefix}' do not fit the full save: {what}",
        name=stem,
        path=reader.prefix,
        hint="Save in full after a variable has changed its shape or its parts.",
    )
