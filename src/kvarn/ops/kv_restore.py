"""Embedding variables from checkpoints: looked through as a whole, then filled table by table.

An `EmbeddingRestore` is one restore.  First it is told of every variable that will ask for rows (`look_at`), reads
all that they need and compares checksums, types and key sets, changing nothing.  Then each importing op hands in its
variable (`add`); the last of a primary and its slots fills their table for all of them, one pass over the keys
where the files have them in the same order, as saves write them.

A Saver does so for all importing ops of its graph and makes its restore the one that they find (`running`).  An
importing op that runs by itself is a restore of its own.

What a policy makes of the rows is the table's: see `import_rows` and `import_filtered` of
`kvarn.engine.table.EmbeddingTable`.

Source: tensorflow/core/framework/embedding/embedding_var_restore.cc of DeepRec.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kvarn import errors, tf_logging
from kvarn.ops import kv_key_sets
from kvarn.ops.kv_resource import EmbeddingResource

if TYPE_CHECKING:
    from kvarn.dtypes import DType
    from kvarn.formats.embedding_rows import EmbeddingInfo, EmbeddingRows, StoredPart
    from kvarn.formats.reader import TensorReader
    from kvarn.formats.ssd_record import SsdRecord


# On an importing node: the variable is not partitioned, though it is called as if it were the only part of one.
UNPARTITIONED: Final = "_kvarn_unpartitioned"

_running: ContextVar[EmbeddingRestore | None] = ContextVar("running", default=None)


def restore(
    resource: EmbeddingResource,
    prefix: str,
    name: str,
    *,
    partitioned: bool | None = None,
    partition_id: int = 0,
    partition_num: int = 1,
    reset_version: bool = False,
    zeros: bool = False,
    key_mismatch: str | bytes | None = None,
) -> None:
    """Adds to a variable the rows that checkpoint ``prefix`` has of ``name``; keys it has stay.

    The checkpoint may have another number of parts.  If it has another embedding_dim, the common columns are
    taken; what is missing comes from the variable's initial values if its initializer has run and ``zeros`` is
    not set, else it is 0.

    Inside `running` the rows are there when the last of the variables that share a table was handed in.

    Args:
      name: the variable's name in the checkpoint, such as ``ev/part_0/Adagrad``.
      partitioned: whether the name is that of a part; None to go by the checkpoint.
      partition_id, partition_num: only keys with ``key mod 1000 mod partition_num == partition_id``.
      reset_version: let all versions be 0; so does the environment variable ``TF_EV_RESET_VERSION``.
      key_mismatch: what to do if a slot has other keys than its variable, see `kvarn.ops.kv_key_sets`.

    Raises:
      NotFoundError: the checkpoint, the variable in it, or a tensor of it does not exist.
      InvalidArgumentError: keys or values of another type.
      DataLossError: damaged bytes, or a slot whose keys are not those of its variable.
    """
    from kvarn.formats.detect import open_checkpoint

    run = _running.get()
    if run is not None and run.reader.prefix == prefix:
        name = run.renamed.get(name, name)
    member = _Member(resource, name, partition_id, partition_num, reset_version or _resets_versions(), zeros)
    if run is not None and run.reader.prefix == prefix and run.expects(name):
        run.add(member)
        return
    with open_checkpoint(prefix) as reader:
        run = EmbeddingRestore(reader)
        primary = name if resource.slot == 0 else name.rpartition("/")[0]
        run.look_at(
            name,
            variable=resource.name,
            key_dtype=resource.shared.key_dtype,
            family=name,
            owner=primary,
            partitioned=partitioned,
            part=(partition_id, partition_num),
            key_mismatch=key_mismatch,
        )
        if primary != name and run.is_stored(primary, partitioned):
            run.compare_keys(primary, [name], key_mismatch)
        run.add(member)


@contextlib.contextmanager
def running(run: EmbeddingRestore) -> Iterator[None]:
    """Inside, importing ops of this thread take their rows from ``run``."""
    token = _running.set(run)
    try:
        yield
        run.finish()
    finally:
        _running.reset(token)


@dataclass(slots=True)
class _Member:
    """A variable that asks for rows; arguments as of `restore`."""

    resource: EmbeddingResource
    name: str
    partition_id: int
    partition_num: int
    reset_version: bool
    zeros: bool


@dataclass(slots=True)
class _Family:
    """A primary and its slots, which share a table."""

    primary: str | None = None
    names: list[str] = field(default_factory=list)
    key_mismatch: str | bytes | None = None
    added: list[_Member] = field(default_factory=list)


class EmbeddingRestore:
    """One restore of embedding variables.  For one thread.

    Args:
      reader: the checkpoint; it stays open until the last variable was added.
      renamed: by the name that an importing op asks for, the one to read instead, where they differ.
    """

    def __init__(self, reader: TensorReader, renamed: Mapping[str, str] | None = None) -> None:
        self.reader = reader
        self.renamed: Mapping[str, str] = renamed or {}
        self._verified: set[str] = set()
        self._infos: dict[str, EmbeddingInfo | None] = {}
        # By name: the variable that it is a slot of, or itself, and whether that is partitioned.
        self._places: dict[str, tuple[str | None, bool | None]] = {}
        self._parts: dict[str, StoredPart] = {}
        self._families: dict[Any, _Family] = {}
        self._family_of: dict[str, _Family] = {}
        self._seen: set[str] = set()
        # What the rule for key sets leaves out, by the parts that a variable is read from.
        self._without: dict[tuple[str, ...], Any] = {}
        # Rows that DeepRec's SSD tier saved beside the checkpoint, by the part they are of.
        self._ssd_records: dict[str, SsdRecord] = {}
        self._beside: frozenset[str] | None = None

    # -- looking ----------------------------------------------------------------------------------

    def look_at(
        self,
        name: str,
        *,
        variable: str,
        key_dtype: DType,
        family: Any,
        owner: str | None = None,
        partitioned: bool | None = None,
        part: tuple[int, int] = (0, 1),
        is_primary: bool = False,
        key_mismatch: str | bytes | None = None,
    ) -> None:
        """Finds all that `add` of ``name`` will read, and compares its checksums and types.

        Args:
          variable: what errors call the variable.
          family: equal for a primary and its slots.
          owner: the name of the primary in the checkpoint; None if it is not known which that is.
          partitioned: whether the variable is a part of another.
          part: its number, and of how many.

        Raises: see `restore`.
        """
        self._places.setdefault(name, (owner, partitioned))
        info = self._info(name)
        if info is not None:
            if owner == name and info.sources != (name,):
                _tell_of_gaps(info.sources, self.reader.prefix, part)
            _check_types(variable, info, name, self.reader.prefix, key_dtype)
            for source in info.sources:
                self._part(source).verify()
            self._find_ssd_records(variable, info, key_dtype)
        found = self._families.setdefault(family, _Family())
        if name in self._seen:
            # Of several variables that read the same each is a restore of its own.
            before = self._family_of.pop(name, None)
            if before is not None:
                before.names.remove(name)
            return
        self._seen.add(name)
        self._family_of[name] = found
        found.names.append(name)
        if is_primary:
            found.primary = name
        if key_mismatch is not None:
            found.key_mismatch = key_mismatch

    def settle(self) -> None:
        """Compares the keys of each slot with those of its primary, once all variables were looked at.

        Raises:
          DataLossError: they differ, and no rule says what to do.
        """
        for family in self._families.values():
            if family.primary in family.names:
                slots = [name for name in family.names if name != family.primary]
                self.compare_keys(family.primary, slots, family.key_mismatch)

    def compare_keys(self, primary: str, slots: Sequence[str], key_mismatch: str | bytes | None) -> None:
        """`settle` for one primary and some of its slots."""
        rule = kv_key_sets.rule(key_mismatch)
        if self._info(primary) is None:
            return
        differences = {}
        for slot in slots:
            if self._info(slot) is None or self._lie_alike(primary, slot):
                continue
            found = kv_key_sets.difference(self.reader, self._sources(primary), self._sources(slot))
            if found is not None:
                differences[slot] = found
        if not differences:
            return
        text = kv_key_sets.describe(self.reader.prefix, primary, differences)
        if rule == kv_key_sets.REFUSE:
            raise kv_key_sets.refusal(self.reader.prefix, primary, text)
        tf_logging.warning("%s\n  restored by the rule '%s'", text, rule)
        for name, keys in kv_key_sets.left_out(rule, primary, slots, differences).items():
            self._without[self._sources(name)] = keys

    def is_stored(self, name: str, partitioned: bool | None) -> bool:
        """Whether the checkpoint has an embedding variable ``name``, which is no slot."""
        from kvarn.formats.embedding_names import embedding_sources

        self._places.setdefault(name, (name, partitioned))
        return bool(name) and bool(embedding_sources(self.reader, name, owner=name, partitioned=partitioned))

    # -- filling ----------------------------------------------------------------------------------

    def expects(self, name: str) -> bool:
        """Whether a variable of that name was looked at and not added yet."""
        family = self._family_of.get(name)
        return family is not None and all(member.name != name for member in family.added)

    def add(self, member: _Member) -> None:
        """Takes a variable that was looked at; fills its table if it is the last of its family."""
        family = self._family_of[member.name]
        family.added.append(member)
        if len(family.added) == len(family.names):
            self._fill(family)

    def finish(self) -> None:
        """Fills the tables of families that were not added as a whole."""
        for family in self._families.values():
            if family.added:
                self._fill(family)

    def _fill(self, family: _Family) -> None:
        members, family.added = family.added, []
        # The primary first: its rows say what a key's frequency is.
        members.sort(key=lambda member: member.resource.slot)
        beside = self._ssd_records_of(members)
        stored = [member for member in members if self._info(member.name) is not None]
        first = stored[0] if stored else None
        alike = [m for m in stored if first is not None and self._go_together(first, m)]
        others = [[m] for m in stored if m not in alike]
        info = None if first is None else self._info(first.name)
        if first is not None and info is not None:
            first.resource.table.reserve(info.num_keys // first.partition_num)
        for together in [alike, *others] if stored else []:
            for parts in zip(*(self._sources(m.name) for m in together), strict=True):
                self._import(together, [self._part(source) for source in parts], together[0] is first)
        for record in beside:
            self._import_ssd_record(members, record)
        for member in members:
            member.resource.is_initialized = True

    def _go_together(self, first: _Member, other: _Member) -> bool:
        return (
            other.resource.shared is first.resource.shared
            and (other.partition_id, other.partition_num) == (first.partition_id, first.partition_num)
            and not any(self._sources(m.name) in self._without for m in (first, other))
            and self._lie_alike(first.name, other.name)
        )

    def _import(self, members: Sequence[_Member], parts: Sequence[StoredPart], counted: bool) -> None:
        """Rows of parts that lie alike, one for each member.

        Args:
          counted: these are the first rows of the family: they bring versions, frequencies and filtered keys.
        """
        from kvarn.formats.embedding_rows import read_parts

        first = members[0]
        with _Arrival(members, parts[0], counted) as arrival:
            for rows in read_parts(
                parts,
                partition_id=first.partition_id,
                partition_num=first.partition_num,
                without=self._without.get(self._sources(first.name)),
            ):
                if rows.admitted:
                    arrival.add(rows)
                    continue
                arrival.let_in()
                if counted:
                    _import_filtered(first, rows)
            arrival.let_in()

    # -- rows beside the checkpoint -----------------------------------------------------------------

    def _find_ssd_records(self, variable: str, info: EmbeddingInfo, key_dtype: DType) -> None:
        from kvarn.formats.ssd_record import SsdRecord, ssd_record_prefix, ssd_records_beside

        if self._beside is None:
            self._beside = ssd_records_beside(self.reader.fs, self.reader.prefix)

        # A slot's rows are in the records of its primary.
        for source in {*info.sources, *(source.rpartition("/")[0] for source in info.sources)}:
            if (
                source in self._ssd_records
                or ssd_record_prefix(self.reader.prefix, source) not in self._beside
            ):
                continue
            record = SsdRecord(self.reader.fs, self.reader.prefix, source)
            if record.key_dtype is not key_dtype:
                raise _other_type(
                    variable, "keys", source, record.prefix, record.key_dtype.name, key_dtype.name
                )
            self._ssd_records[source] = record

    def _ssd_records_of(self, members: Sequence[_Member]) -> list[SsdRecord]:
        """The records that the members' table takes rows from; they have room for its slots."""
        from kvarn.formats.embedding_names import embedding_sources

        first = members[0]
        owner, partitioned = self._places[first.name]
        primary = owner or (first.name if first.resource.slot == 0 else first.name.rpartition("/")[0])
        sources = (
            embedding_sources(self.reader, primary, owner=primary, partitioned=partitioned)
            if self._ssd_records
            else []
        )
        found = [self._ssd_records[source] for source in sources if source in self._ssd_records]
        for record in found:
            record.check_slots(self._stored_dims(members))
        return found

    def _stored_dims(self, members: Sequence[_Member]) -> list[int]:
        """Of the table's slots, as the checkpoint has them; of those that it does not tell of, as they are."""
        dims = [dim for _, dim in members[0].resource.table.slots]
        for member in members:
            info = self._info(member.name)
            if info is not None:
                dims[member.resource.slot] = info.dim
        return dims

    def _import_ssd_record(self, members: Sequence[_Member], record: SsdRecord) -> None:
        from kvarn.formats.embedding import part_of
        from kvarn.formats.embedding_rows import EmbeddingRows

        first = members[0]
        for rows in record.rows(self._stored_dims(members)):
            own = part_of(rows.keys, first.partition_num) == first.partition_id
            columns = tuple(rows.columns[member.resource.slot][own] for member in members)
            found = EmbeddingRows(rows.keys[own], columns, rows.versions[own], rows.freqs[own])
            first.resource.table.import_columns(*_columns(members, found, counted=True))

    # -- what is stored ---------------------------------------------------------------------------

    def _info(self, name: str) -> EmbeddingInfo | None:
        """None for what the checkpoint lacks, if that is to be passed over."""
        from kvarn.formats.embedding_rows import embedding_info

        if name not in self._infos:
            try:
                owner, partitioned = self._places[name]
                self._infos[name] = embedding_info(self.reader, name, owner=owner, partitioned=partitioned)
            except errors.NotFoundError as error:
                if not _passes_over_missing():
                    raise
                tf_logging.error("Embedding variable %s is not restored: %s", name, error.message)
                self._infos[name] = None
        return self._infos[name]

    def _sources(self, name: str) -> tuple[str, ...]:
        info = self._info(name)
        return () if info is None else info.sources

    def _part(self, source: str) -> StoredPart:
        from kvarn.formats.embedding_rows import StoredPart

        if source not in self._parts:
            self._parts[source] = StoredPart(self.reader, source, self._verified)
        return self._parts[source]

    def _lie_alike(self, first: str, second: str) -> bool:
        """Whether two variables have the same keys in the same order, part by part."""
        pairs = list(zip(self._sources(first), self._sources(second), strict=False))
        if len(pairs) != max(len(self._sources(first)), len(self._sources(second))):
            return False
        return all(a == b or self._part(a).has_keys_of(self._part(b)) for a, b in pairs)


def is_part(attrs: Mapping[str, Any], name: str, owner: str | None) -> bool:
    """Whether an importing operation fills a part of a partitioned variable.

    Args:
      attrs: of the operation.
      name: that it asks for.
      owner: the variable that this is a slot of, or ``name`` itself; None if that is not known.
    """
    from kvarn.formats.embedding_names import is_only_part

    if attrs.get(UNPARTITIONED):
        return False
    return attrs["partition_num"] > 1 or is_only_part(owner or name)


def _tell_of_gaps(sources: Sequence[str], prefix: str, part: tuple[int, int]) -> None:
    """Warns of parts that the checkpoint does not have, though it has later ones.

    Args:
      part: the number of the part that is restored, and of how many.  If the checkpoint has it, and not more
        parts, all is well: a Saver of some parts has saved it.
    """
    from kvarn.formats.embedding import split_part

    numbers = {split[1] for source in sources if (split := split_part(source)) is not None}
    if len(numbers) < len(sources) or (part[0] in numbers and max(numbers) < part[1]):
        return
    gaps = sorted(set(range(max(numbers))) - numbers)
    if gaps:
        tf_logging.warning(
            "'%s' has %s, but not part %s of it: their keys are not restored",
            prefix,
            ", ".join(map(repr, sources)),
            ", ".join(map(str, gaps)),
        )


class _Arrival:
    """The admitted rows of one part on their way into a table.

    Where the table can, they come in together when the last was read: it is quicker, and a part that cannot be read
    to its end leaves nothing behind.
    """

    _SAMPLE: Final = 256

    def __init__(self, members: Sequence[_Member], part: StoredPart, counted: bool) -> None:
        self._members = members
        self._part = part
        self._counted = counted
        self._table = members[0].resource.table
        self._keys: list[Any] = []
        self._staged = None
        if {member.resource.slot for member in members} == set(range(len(self._table.slots))):
            keys = part.keys
            sample = keys[:: max(1, len(keys) // self._SAMPLE)]
            self._staged = self._table.stage_import(len(keys), _aligned(sample))

    def add(self, rows: EmbeddingRows) -> None:
        keys, columns, freqs, versions = _columns(self._members, rows, self._counted)
        if self._staged is None:
            self._table.import_columns(keys, columns, freqs, versions)
            return
        self._staged.write(columns, freqs, versions)
        self._keys.append(keys)

    def let_in(self) -> None:
        if not self._keys or self._staged is None:
            return
        stored = self._part.keys
        all_of_them = sum(map(len, self._keys)) == len(stored)
        keys = _aligned(stored) if all_of_them else np.concatenate(self._keys)
        self._keys.clear()
        self._table.commit_import(self._staged, keys)

    def __enter__(self) -> _Arrival:
        return self

    def __exit__(self, *error: object) -> None:
        if self._staged is not None:
            self._staged.release()


def _columns(
    members: Sequence[_Member], rows: EmbeddingRows, counted: bool
) -> tuple[Any, dict[int, Any], Any, Any]:
    """Keys, the columns of the slots, frequencies and versions, as tables import them."""
    first = members[0]
    shared = first.resource.shared
    freqs, versions = (rows.freqs, rows.versions) if counted else (None, None)
    if first.resource.slot == 0:
        # A key that comes without them has been seen once, or as often as a filter asks, and never updated.
        if freqs is None and shared.options.is_save_freq and shared.table.admission is None:
            freqs = np.ones(len(rows.keys), np.int64)
        if versions is None and shared.options.is_save_version:
            versions = np.full(len(rows.keys), -1, np.int64)
    if first.reset_version and counted:
        versions = np.zeros(len(rows.keys), np.int64)
    keys = _aligned(rows.keys)
    columns = {
        member.resource.slot: _of_dim(member.resource, keys, _aligned(values), member.zeros)
        for member, values in zip(members, rows.columns, strict=True)
    }
    return keys, columns, freqs, versions


def _import_filtered(member: _Member, rows: EmbeddingRows) -> None:
    """Keys that a filter had not admitted: they have no values."""
    # One whose count is not told was seen at least once.
    freqs = np.ones(len(rows.keys), np.int64) if rows.freqs is None else rows.freqs
    versions = np.zeros(len(rows.keys), np.int64) if member.reset_version else rows.versions
    member.resource.table.import_filtered(rows.keys, freqs, versions)


def _aligned(array: Any) -> Any:
    """The map of a file may have elements at any address."""
    return array if array.flags.aligned else array.copy()


def _of_dim(resource: EmbeddingResource, keys: Any, values: Any, zeros: bool) -> Any:
    """``values`` [n, any] with ``resource.dim`` columns."""
    found, dim = values.shape[1], resource.dim
    if found >= dim:
        return values[:, :dim]
    out = np.zeros((len(values), dim), np.float32)
    if resource.init_ran and not zeros:
        out[:, found:] = resource.default_rows(keys)[:, found:]
    out[:, :found] = values
    return out


def _check_types(variable: str, info: EmbeddingInfo, name: str, prefix: str, key_dtype: DType) -> None:
    for what, found, wanted in (
        ("keys", info.key_dtype.name, key_dtype.name),
        ("values", info.value_dtype.name, "float32"),
    ):
        if found != wanted:
            raise _other_type(variable, what, name, prefix, found, wanted)


def _other_type(variable: str, what: str, name: str, prefix: str, found: str, wanted: str) -> errors.OpError:
    return errors.InvalidArgumentError.of(
        f"The {what} of '{name}' in '{prefix}' are {found}, those of embedding variable '{variable}' {wanted}.",
        name=name,
        path=prefix,
        hint="Create the variable with the types of the checkpoint.",
    )


def _resets_versions() -> bool:
    return os.environ.get("TF_EV_RESET_VERSION", "false").lower() in ("1", "true")


def _passes_over_missing() -> bool:
    """Whether a variable that the checkpoint lacks stays without its rows, as in DeepRec, instead of an error."""
    rule = os.environ.get("KVARN_EV_MISSING", "refuse")
    if rule not in ("refuse", "skip"):
        raise errors.InvalidArgumentError.of(
            f"The environment variable KVARN_EV_MISSING is '{rule}'; it can be 'refuse' or 'skip'.",
            name="KVARN_EV_MISSING",
            hint="Unset it for the default, 'refuse': what a checkpoint lacks is an error.",
        )
    return rule == "skip"
