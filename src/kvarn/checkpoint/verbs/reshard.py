"""Other numbers of parts and of data files for a checkpoint: `reshard`.

    reshard("m.ckpt-9", "n.ckpt-9", partitions=7)             what is partitioned, into 7 parts
    reshard(…, partitions={"emb/*": 4, "wide/w": 0})          by name; 0: not partitioned
    reshard(…, shards=3)                                      the same tensors in three data files

    dense tensors        cut along one axis as fixed_size_partitioner(n) cuts: of s rows the first s mod n
                         parts have one more; stored as slices of the whole tensor
    embedding variables  b/part_p of n has the keys with key mod 1000 mod n == p, and so have its slots;
                         versions, frequencies and keys not yet admitted go with their keys
    everything else      is copied

What was read is compared with its checksums before the new checkpoint is there; if anything does not fit,
there is none.  Memory does not grow with the size of the tensors (exceptions: `reshard`).

Which tensor goes to which of several data files: part p of a variable to file ``p mod shards``, as a
sharded Saver does when the parts take turns on its devices; whole tensors by their bytes, in the order of
their names, so that each file gets a stretch of names of about the same size.

Source: `fixed_size_partitioner` in tensorflow/python/ops/partitioned_variables.py; kvarn.formats.embedding.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from kvarn.checkpoint.embeddings.moves import move_table, unfit
from kvarn.checkpoint.embeddings.part_numbers import write_numbers
from kvarn.checkpoint.embeddings.stored_table import StoredTable, stored_tables, tensor_names
from kvarn.checkpoint.sharded_output import ShardedOutput
from kvarn.checkpoint.verbs.dense_cuts import DenseCut, copy, cut_anew, cut_of
from kvarn.checkpoint.verbs.patterns import matcher
from kvarn.checkpoint.verbs.progress import Counter, Progress
from kvarn.checkpoint.verbs.transfer import check_target, open_source
from kvarn.errors import InvalidArgumentError, OpError, UnimplementedError
from kvarn.formats import multihash_parts
from kvarn.formats.bundle import BundleReader
from kvarn.formats.detect import V2
from kvarn.formats.embedding import KEYS, SAVED_PARTITION_NUM, SUFFIXES
from kvarn.formats.multihash_parts import is_of_multihash
from kvarn.formats.names import encode_name
from kvarn.formats.part_numbers import has_number_per_part
from kvarn.formats.reader import TensorInfo, TensorReader
from kvarn.io import FileSystem, Path, as_path, file_system_of


@dataclass(frozen=True, slots=True)
class ReshardedVariable:
    """A variable whose number of parts is another now.

    Attributes:
      kind: ``embedding`` or ``dense``.
      before, after: numbers of parts; 0 if it is not partitioned.
    """

    name: str
    kind: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Resharding:
    """What `reshard` did.

    Attributes:
      source, target: prefixes.
      changed: the variables whose number of parts changed, by name.
      num_tensors: in the source.
      size_bytes: of them.
      num_shards: data files of the target.
    """

    source: str
    target: str
    changed: tuple[ReshardedVariable, ...]
    num_tensors: int
    size_bytes: int
    num_shards: int


def reshard(
    source: Path,
    target: Path,
    *,
    partitions: int | Mapping[str, int] | None = None,
    shards: int = 1,
    axis: int | None = None,
    overwrite: bool = False,
    fs: FileSystem | None = None,
    target_fs: FileSystem | None = None,
    progress: Progress | None = None,
) -> Resharding:
    """Writes a checkpoint with the same content in other numbers of parts and data files (a V2 checkpoint).

    Memory: some tens of MiB beside what must be held: strings; a part of a tensor cut along another axis than
    the first; the keys of one bucket; all keys of embedding variables whose rows do not lie bucket by bucket
    (DeepRec's first era), which are gathered in several passes over the file.

    Args:
      source: prefix of the checkpoint, which is only read.
      target: prefix of the new one.
      partitions: parts for every variable that is partitioned; or parts by pattern of names
        (kvarn.checkpoint.verbs.patterns), where the first that fits decides, 0 is "not partitioned", and what fits
        none stays as it is; so do multi-hash variables under a number for all.  Embedding variables go by their
        own name, their slots with them; slots of dense variables by their own.
      shards: data files to write; fewer if there is not enough to put in.
      axis: along which dense tensors are cut; by default that along which they are cut already, else 0.
      overwrite: replace another checkpoint of that prefix, once the new one is whole.
      fs, target_fs: where the files are; by default what the paths say, and ``fs`` for both.
      progress: called with bytes done and bytes in all.

    Raises:
      AlreadyExistsError: the target exists.
      NotFoundError, InvalidArgumentError: there is no such checkpoint; the arguments are wrong; the target
        is the source.
      DataLossError: the source is damaged, or the keys of a slot are not those of its variable.
      UnimplementedError: the source has what cannot be moved: rows in files of an SSD tier, hash tables.
      On any error nothing is left of the target, and an older one stays.
    """
    with open_source(source, fs) as reader:
        out_fs = target_fs or fs or file_system_of(target)
        if shards < 1:
            raise _wrong(f"{shards} shards", "A checkpoint has at least one data file.")
        check_target(target, V2, out_fs, sources=[reader], overwrite=overwrite)
        plan = _plan(reader, partitions, axis)
        spread = _Spread(plan, shards)
        with ShardedOutput(target, shards, out_fs) as output:
            total = sum(info.size_bytes for info in plan.infos.values())
            count = Counter(progress, total)
            for info in plan.copied:
                copy(reader, info, functools.partial(spread.of, info.name), output, count)
            for cut in plan.cuts:
                cut_anew(reader, cut, output, count)
            for table, parts in plan.tables:
                move_table(reader, table, parts, output, count)
            for info, parts in plan.numbers:
                write_numbers(reader, info, parts, output.of_part)
                count(info.size_bytes)
        changed = [ReshardedVariable(c.info.name, "dense", c.before, c.after) for c in plan.cuts]
        changed += [
            ReshardedVariable(t.name, "embedding", t.num_partitions if t.partitioned else 0, n)
            for t, n in plan.tables
        ]
        return Resharding(
            reader.prefix,
            as_path(target),
            tuple(sorted((c for c in changed if c.before != c.after), key=lambda c: c.name)),
            len(plan.infos),
            total,
            output.num_shards,
        )


# The plan -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Plan:
    """What becomes of each tensor; ``parts`` has the number of the part of copied tensors that belong to one."""

    infos: dict[str, TensorInfo]
    copied: list[TensorInfo] = field(default_factory=list)
    cuts: list[DenseCut] = field(default_factory=list)
    tables: list[tuple[StoredTable, int]] = field(default_factory=list)
    numbers: list[tuple[TensorInfo, int]] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)


def _plan(reader: TensorReader, partitions: int | Mapping[str, int] | None, axis: int | None) -> _Plan:
    wanted = _checked(partitions)
    infos = {info.name: info for info in reader.tensors()}
    plan = _Plan(infos)
    taken: set[str] = set()
    used: set[str] = set()

    def parts_of(name: str, partitioned: bool) -> int | None:
        if not isinstance(wanted, Mapping):
            return wanted if partitioned else None
        for pattern, number in wanted.items():
            if matcher(pattern).search(name):
                used.add(pattern)
                return number
        return None

    for table in stored_tables(reader):
        parts = parts_of(table.name, table.partitioned)
        own = tensor_names(table, infos)
        taken |= own
        if parts is not None:
            _refuse_gaps(reader, table)
        if parts is not None and parts != (table.num_partitions if table.partitioned else 0):
            plan.tables.append((table, parts))
            owners = [table.name + rest for rest in table.families if table.owner(rest) is None]
            numbers = [name for name in infos if name.rpartition("/")[0] in owners and name not in own]
            numbers = [name for name in numbers if has_number_per_part(reader, name)]
            plan.numbers += [(infos[name], parts) for name in numbers]
            taken.update(numbers)
            continue
        plan.copied += [infos[name] for name in own]
        if table.partitioned:
            plan.parts |= {
                stem + suffix: part
                for stems in table.families.values()
                for part, stem in enumerate(stems)
                if stem is not None
                for suffix in SUFFIXES
            }
    for name, info in infos.items():
        if name in taken:
            continue
        if isinstance(reader, BundleReader) and reader.entry(name).hash_slices:
            raise UnimplementedError.of(
                f"tensor '{name}' in '{reader.prefix}' is a hash table of DeepRec, which cannot be moved",
                name=name,
                path=reader.prefix,
                hint="Only DeepRec itself can write it again.",
            )
        parts = parts_of(name, bool(info.slices) and not is_of_multihash(name))
        if parts is not None and is_of_multihash(name) and parts != len(info.slices):
            raise _wrong(f"{parts} parts of '{name}'", multihash_parts.HINT)
        if parts and not info.shape and isinstance(wanted, Mapping) and name in wanted:
            raise _wrong(f"{parts} parts of '{name}'", "A scalar cannot be cut.")
        cut = None if parts is None else cut_of(info, parts, axis)
        if cut is None:
            plan.copied.append(info)
        else:
            plan.cuts.append(cut)
    plan.copied.sort(key=lambda info: encode_name(info.name))
    if isinstance(wanted, Mapping) and (idle := [pattern for pattern in wanted if pattern not in used]):
        raise _wrong(
            f"no tensor or embedding variable of '{reader.prefix}' fits the pattern '{idle[0]}'",
            f"`kvarn ls {reader.prefix}` lists the names; a pattern behind one that fits all is never used.",
        )
    return plan


def _checked(partitions: int | Mapping[str, int] | None) -> int | Mapping[str, int] | None:
    numbers = list(partitions.values()) if isinstance(partitions, Mapping) else [partitions]
    for number in numbers:
        if number is not None and not 0 <= number <= SAVED_PARTITION_NUM:
            raise _wrong(
                f"{number} partitions", f"There can be 1 to {SAVED_PARTITION_NUM}, or 0: not partitioned."
            )
    return partitions


def _refuse_gaps(reader: TensorReader, table: StoredTable) -> None:
    if missing := table.missing():
        raise unfit(reader, missing[0], f"'{missing[0]}{KEYS}' is missing among its parts")


class _Spread:
    """To which data file a part of a variable goes, or a whole tensor."""

    def __init__(self, plan: _Plan, shards: int) -> None:
        self._shards = shards
        self._chosen = {name: part % shards for name, part in plan.parts.items()}
        whole = [info for info in plan.copied if not info.slices and info.name not in plan.parts]
        total = sum(info.size_bytes for info in whole) or 1
        before = 0
        for info in whole:
            # By the middle of its bytes.
            at = (2 * before + info.size_bytes) * shards // (2 * total)
            self._chosen[info.name] = min(shards - 1, at)
            before += info.size_bytes

    def of(self, name: str, part: int) -> int:
        """The data file of a copied tensor, or of its slice number ``part``."""
        return self._chosen.get(name, part % self._shards)


def _wrong(what: str, hint: str) -> OpError:
    return InvalidArgumentError.of(f"cannot reshard: {what}", hint=hint)
