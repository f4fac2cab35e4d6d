"""Makes a checkpoint of what is whole in a damaged one: `repair`.

    repair("m.ckpt-9", "mended.ckpt-9")
    repair(…, slot_init={"Adagrad": 0.1})        what rows get that a slot has lost
    repair(…, missing="drop")                    or without the keys that are not in all slots

    tensors              copied, bit for bit, if their checksums are right; else left out
    embedding variables  copied if all fits; else mended as kvarn.checkpoint.embeddings.repair says
    index                made anew; of a damaged one what can still be read is used (kvarn.checkpoint.verbs.salvage)

The source is only read.  What was done and what could not be kept is in the report.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kvarn.checkpoint.embeddings.repair import BrokenVariable, Missing, Rule, TableRepair
from kvarn.checkpoint.embeddings.stored_table import StoredTable, stored_tables, tensor_names
from kvarn.checkpoint.findings import ENTRY, HEADER, INDEX, MISSING_FILE, SHORT_FILE, Finding
from kvarn.checkpoint.verbs.progress import Counter, Progress
from kvarn.checkpoint.verbs.salvage import open_damaged
from kvarn.checkpoint.verbs.transfer import (
    aborting,
    check_target,
    copy_tensor,
    open_source,
    refuse_own_source,
)
from kvarn.checkpoint.verbs.verify import Verification, verify
from kvarn.errors import DataLossError, InvalidArgumentError, NotFoundError
from kvarn.formats.bundle import BundleReader, BundleWriter
from kvarn.formats.detect import V1, V2
from kvarn.formats.embedding import SUFFIXES
from kvarn.formats.names import encode_name
from kvarn.formats.reader import TensorReader
from kvarn.io import FileSystem, Path, as_path, file_system_of


@dataclass(frozen=True, slots=True)
class Notice:
    """What was done to a tensor or an embedding variable, or why it is not there.

    Attributes:
      name: of it; of the index file for what concerns no tensor alone.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Repair:
    """What `repair` did.

    Attributes:
      source, target: prefixes.
      kept: names of the tensors that are the same, bit for bit.
      changed: what was mended.
      left_out: what could not be kept.
    """

    source: str
    target: str
    kept: tuple[str, ...]
    changed: tuple[Notice, ...]
    left_out: tuple[Notice, ...]

    @property
    def complete(self) -> bool:
        """True if nothing had to be left out."""
        return not self.left_out


def repair(
    source: Path,
    target: Path,
    *,
    missing: Missing = "fill",
    slot_init: float | Mapping[str, float] = 0.0,
    partial: bool = False,
    overwrite: bool = False,
    fs: FileSystem | None = None,
    target_fs: FileSystem | None = None,
    progress: Progress | None = None,
) -> Repair:
    """Writes what is whole of a checkpoint to another place (a V2 checkpoint with one data file).

    Everything is read twice: to see what is whole, and to write it.

    Args:
      source: a prefix, one of the checkpoint's files, or a directory for its newest checkpoint.
      target: prefix of the new one.
      missing: rows that a slot of an embedding variable lacks: ``fill`` them, or ``drop`` their keys.
      slot_init: the value for filled rows, or values by slot name with ``""`` for all others.  0 unless
        said otherwise, which is not what Adagrad starts from (0.1).
      partial: of a partitioned embedding variable with broken parts keep the others; by default a variable
        of which any key or value is broken is left out, with its slots.
      overwrite: replace another checkpoint of that prefix, once the new one is whole.
      fs, target_fs: where the files are; by default what the paths say, and ``fs`` for both.
      progress: called with bytes done and bytes in all.

    Raises:
      NotFoundError, InvalidArgumentError: there is no such checkpoint; the arguments are wrong; the target
        is the source.
      AlreadyExistsError: the target exists.
      DataLossError: nothing is whole.
      On any error nothing is left of the target.
    """
    rule = _rule(missing, slot_init, partial)
    found = _verify(source, fs, progress)
    with _open(found, fs) as reader:
        out_fs = target_fs or fs or file_system_of(target)
        # The reader of a damaged index has a file system of its own.
        source_fs, name = fs or file_system_of(found.prefix), as_path(target)
        refuse_own_source(reader, source_fs, name, f"{name}.index", out_fs)
        check_target(target, V2, out_fs, sources=[reader], overwrite=overwrite)
        plan = _Plan(reader, found, rule)
        if not plan.kept and not plan.tables:
            raise DataLossError.of(
                f"nothing of '{found.prefix}' is whole\n  " + "\n  ".join(_texts(found)),
                path=found.prefix,
                hint="Take another copy of its files, or an older checkpoint.",
            )
        size = found.size_bytes
        count = Counter(functools.partial(_second_half, progress) if progress else None, size)
        writer = BundleWriter(target, out_fs)
        with aborting(writer):
            for name in plan.kept:
                copy_tensor(reader, writer, reader.info(name), count=count)
            for table in plan.tables:
                table.write(writer, count)
        return Repair(
            found.prefix,
            as_path(target),
            tuple(plan.kept),
            tuple(Notice(*notice) for notice in plan.changed),
            tuple(Notice(*notice) for notice in plan.left_out),
        )


def _rule(missing: Missing, slot_init: float | Mapping[str, float], partial: bool) -> Rule:
    if missing not in ("fill", "drop"):
        raise InvalidArgumentError.of(
            f"missing is '{missing}'", hint="Say `fill` or `drop`: what is to be done with missing rows."
        )
    return Rule(missing, slot_init, partial)


def _check_slots(rule: Rule, tables: Collection[StoredTable]) -> None:
    """Raises InvalidArgumentError for a slot that no embedding variable has: its rows would get another value."""
    if not isinstance(rule.slot_init, Mapping):
        return
    known = {
        rest.rpartition("/")[2]
        for table in tables
        for rest in table.families
        if table.owner(rest) is not None
    }
    for slot in rule.slot_init:
        if slot and known and slot not in known:
            raise InvalidArgumentError.of(
                f"no embedding variable has a slot '{slot}'",
                name=slot,
                hint=f"They have the slots {', '.join(sorted(known))}.",
            )


def _verify(source: Path, fs: FileSystem | None, progress: Progress | None) -> Verification:
    try:
        found = verify(source, fs=fs, progress=functools.partial(_first_half, progress) if progress else None)
    except ValueError as error:
        raise NotFoundError.of(
            str(error),
            path=as_path(source),
            hint="Give a checkpoint's prefix, or a folder with a `checkpoint` file.",
        ) from None
    if not found.intact and not found.broken and not found.whole:
        raise DataLossError.of(
            f"nothing of '{found.prefix}' can be read\n  " + "\n  ".join(_texts(found)),
            path=found.prefix,
            hint="Take another copy of its files, or an older checkpoint.",
        )
    return found


def _open(found: Verification, fs: FileSystem | None) -> TensorReader:
    return open_source(found.prefix, fs) if found.format == V1 else open_damaged(found.prefix, fs).reader


def _first_half(progress: Progress, done: int, total: int) -> None:
    progress(done, 2 * total)


def _second_half(progress: Progress, done: int, total: int) -> None:
    progress(total + done, 2 * total)


def _texts(found: Verification) -> list[str]:
    return [finding.text for finding in found.findings if finding.broken]


class _Plan:
    """What is copied, what is mended, and what is not there."""

    def __init__(self, reader: TensorReader, found: Verification, rule: Rule) -> None:
        self._reader = reader
        self._broken = frozenset(found.broken)
        self._reasons = {f.name: f for f in reversed(found.findings) if f.name is not None and f.broken}
        self._reasons_of_files = {
            f.file: f for f in found.findings if f.kind in (MISSING_FILE, SHORT_FILE) and f.file is not None
        }
        self.kept: list[str] = []
        self.tables: list[TableRepair] = []
        self.changed: list[tuple[str, str]] = []
        self.left_out: list[tuple[str, str]] = []
        for finding in found.findings:
            if finding.broken and finding.kind in (INDEX, HEADER, ENTRY) and finding.name not in self._broken:
                self._note_index(finding)
        taken: set[str] = set()
        names = [*found.intact, *found.broken]
        tables = stored_tables(reader, self._broken)
        _check_slots(rule, tables)
        for table in tables:
            own = tensor_names(table, names)
            rest = {stem + suffix for stem in table.missing() for suffix in SUFFIXES}.intersection(names)
            self.left_out += (
                (name, "its part of the embedding variable is not whole") for name in sorted(rest)
            )
            taken |= own | rest
            self._add_table(table, own, rule)
        for name in names:
            if name not in taken:
                self._add_tensor(name)
        self.kept.sort(key=encode_name)

    def _note_index(self, finding: Finding) -> None:
        notice = (finding.file or "", finding.text)
        # A damaged block takes names with it; a header can be made anew.
        (self.changed if finding.kind == HEADER else self.left_out).append(notice)

    def _add_tensor(self, name: str) -> None:
        if name in self._broken:
            self.left_out.append((name, self._reason(name)))
        elif isinstance(self._reader, BundleReader) and self._reader.entry(name).hash_slices:
            self.left_out.append((name, "it is a hash table of DeepRec, which only DeepRec can write"))
        else:
            self.kept.append(name)

    def _reason(self, name: str) -> str:
        if name in self._reasons:
            return self._reasons[name].text
        # A data file that is missing or short is one finding for all the tensors in it.
        if self._reader.contains(name):
            files = self._reader.files()[1:]
            for shard in self._reader.info(name).shards:
                if shard < len(files) and files[shard][0] in self._reasons_of_files:
                    return self._reasons_of_files[files[shard][0]].text
        return "its bytes cannot be read"

    def _add_table(self, table: StoredTable, own: Collection[str], rule: Rule) -> None:
        try:
            mended = TableRepair(self._reader, table, self._broken, rule)
        except BrokenVariable as error:
            self.left_out.append((table.name, f"embedding variable with its slots: {error}"))
            return
        if not mended.needed:
            self.kept += own
            return
        self.tables.append(mended)
        self.changed += mended.notices.changed
        self.left_out += mended.notices.left_out
