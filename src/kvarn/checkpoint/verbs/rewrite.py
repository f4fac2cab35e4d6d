"""A checkpoint with other names, fewer tensors or other element types: `rewrite`.

    rewrite("m/model.ckpt-10", "m/serving", slim=True)                              without optimizer slots
    rewrite(a, b, rename=[("re:^tower_0/", "")], drop=["*/ExponentialMovingAverage"])
    rewrite(a, b, cast={"dnn/*": "bfloat16"})

An embedding variable is one thing under its name, with all its parts and slots; a rule may also mean one of
its slots (``b/Adagrad``).  Stored slices stay slices.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kvarn import dtypes
from kvarn.checkpoint.verbs.casting import can_cast, cast
from kvarn.checkpoint.verbs.patterns import Pattern, is_name, matcher, nearest, renamed, text_of
from kvarn.checkpoint.verbs.progress import Counter, Progress
from kvarn.checkpoint.verbs.transfer import (
    aborting,
    check_target,
    copy_tensor,
    format_of,
    open_source,
    open_target,
)
from kvarn.checkpoint.verbs.units import Unit, optimizer_tensors, units_of
from kvarn.errors import InvalidArgumentError
from kvarn.formats.detect import V2
from kvarn.formats.names import encode_name
from kvarn.formats.reader import TensorInfo, TensorReader
from kvarn.io import FileSystem, Path, as_path, atomic_replace, file_system_of

DROPPED, NOT_KEPT, SLOT = "dropped", "not kept", "optimizer slot"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a tensor, an embedding variable or one of its slots.

    Attributes:
      name, dtype: before; of an embedding variable the type of its values.
      new_name, new_dtype: after; the name is empty for what is removed.
      why: of what is removed.
      size_bytes: in the source.
    """

    name: str
    new_name: str
    dtype: str
    new_dtype: str
    size_bytes: int
    why: str = ""

    @property
    def kept(self) -> bool:
        return not self.why


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """What `rewrite` did, or would do.

    Attributes:
      changes: for everything that is in the source, in the order of its names.
      unmatched: rules that meant nothing.
      notes: what its user should know.
      meta_copied: whether the source's ``.meta`` stands beside the target.
    """

    source: str
    target: str
    changes: tuple[Change, ...]
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    meta_copied: bool = False
    dry_run: bool = False

    @property
    def removed(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if not change.kept)


@dataclass(frozen=True, slots=True)
class _Step:
    """One tensor on its way."""

    info: TensorInfo
    name: str
    dtype: dtypes.DType


def rewrite(
    source: Path,
    target: Path,
    *,
    rename: Sequence[tuple[Pattern, str]] = (),
    keep: Sequence[Pattern] = (),
    drop: Sequence[Pattern] = (),
    cast: Mapping[Pattern, Any] | None = None,
    slim: bool = False,
    unslice: bool = False,
    strict: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
    fs: FileSystem | None = None,
    target_fs: FileSystem | None = None,
    progress: Progress | None = None,
) -> RewriteReport:
    """Writes a changed copy of a checkpoint.

    First it is decided what stays (`keep`, then `drop`, then `slim`), then what it is called (`rename`) and of
    which type it is (`cast`); rules are about the names in the source.

    Args:
      source: a checkpoint, or a directory for its newest.
      target: the prefix of the copy, a V2 checkpoint; ``.safetensors`` and ``.npz`` make such a file.
      rename: (pattern, new name); the first rule that means a name decides.  A string is the whole name; in
        one that begins with ``re:`` what is found is replaced, and the new name may have ``\\1``.
      keep: only what one of these patterns means (`kvarn.checkpoint.verbs.patterns`); all if there is none.
      drop: nothing that one of these means.
      cast: element type by pattern; the first that means a name decides.  A pattern that may mean many passes
        over types it cannot convert: floats become floats, integers integers.  Embedding variables stay.
      slim: without the slots that optimizers of TensorFlow and DeepRec keep, where the variable itself is
        there, and their beta powers; global_step stays.
      unslice: tensors kept in slices become whole.
      strict: a rule that means nothing is an error instead of a warning.
      dry_run: only tell what would be done.
      overwrite: replace an existing target.
      progress: called with bytes done and bytes in all.

    Returns:
      What was done.  The ``.meta`` of the source is copied only if names, types and slices are as before: it
      would tell of tensors that are not there.

    Raises:
      InvalidArgumentError: two things get one name (both are told), a value does not fit its new type, the
        target is the source, or (strict) a rule means nothing.  Nothing is left of the target.
      AlreadyExistsError: the target is there.
    """
    with open_source(source, fs) as reader:
        rules = _Rules(rename, keep, drop, cast or {}, slim)
        changes, steps = rules.apply(units_of(reader))
        unmatched = rules.unmatched(changes)
        notes = [*unmatched, *rules.notes, *_object_graph_note(reader, changes)]
        if strict and unmatched:
            raise InvalidArgumentError.of(
                unmatched[0],
                path=reader.prefix,
                hint=f"`kvarn ls {reader.prefix}` lists all names. Nothing was written.",
            )
        for note in notes:
            _logger.warning("%s", note)
        format_name = format_of(target) or V2
        report = RewriteReport(
            reader.prefix,
            as_path(target),
            tuple(changes),
            tuple(unmatched),
            tuple(notes),
            dry_run=dry_run,
        )
        if dry_run:
            check_target(target, format_name, target_fs or fs, sources=[reader], overwrite=overwrite)
            return report
        _write(reader, target, format_name, steps, unslice, overwrite, target_fs or fs, progress)
        same = all(change.kept and change.name == change.new_name for change in changes) and all(
            step.dtype == step.info.dtype and not (unslice and step.info.slices) for step in steps
        )
        if same and reader.format == format_name == V2:
            files = target_fs or fs or file_system_of(target)
            return replace(report, meta_copied=_copy_meta(reader, as_path(target), files))
    return report


def _write(
    reader: TensorReader,
    target: Path,
    format_name: str,
    steps: list[_Step],
    unslice: bool,
    overwrite: bool,
    fs: FileSystem | None,
    progress: Progress | None,
) -> None:
    plan = {step.name: step for step in steps}
    announced = [replace(step.info, name=step.name, dtype=step.dtype) for step in steps]
    join = unslice or format_name != V2
    writer, order = open_target(target, format_name, announced, fs, sources=[reader], overwrite=overwrite)
    counter = Counter(progress, sum(step.info.size_bytes for step in steps))
    with aborting(writer):
        for name in order:
            step = plan[name]
            copy_tensor(
                reader,
                writer,
                step.info,
                name=name,
                dtype=step.dtype,
                convert=_converter(step) if step.dtype != step.info.dtype else None,
                join=join,
                count=counter,
            )


def _converter(step: _Step) -> Callable[[Any], Any]:
    return lambda array: cast(array, step.dtype, step.info.name)


def _copy_meta(reader: TensorReader, target: str, fs: FileSystem) -> bool:
    path = f"{reader.prefix}.meta"
    if not reader.fs.exists(path):
        return False
    file = reader.fs.open_read(path)
    try:
        atomic_replace(fs, f"{target}.meta", file.read(0, file.size))
    finally:
        file.close()
    return True


def _object_graph_note(reader: TensorReader, changes: list[Change]) -> list[str]:
    if not reader.contains(_OBJECT_GRAPH) or all(c.kept and c.name == c.new_name for c in changes):
        return []
    return [
        f"'{reader.prefix}' is an object-based checkpoint: its object graph ({_OBJECT_GRAPH}) goes on naming "
        "the tensors by their old names; slots in it are not recognized as such"
    ]


class _Rules:
    """The rules of a `rewrite`, and which of them have meant something."""

    def __init__(
        self,
        rename: Sequence[tuple[Pattern, str]],
        keep: Sequence[Pattern],
        drop: Sequence[Pattern],
        casts: Mapping[Pattern, Any],
        slim: bool,
    ) -> None:
        self._rename = list(rename)
        self._keep = [(pattern, matcher(pattern)) for pattern in keep]
        self._drop = [(pattern, matcher(pattern)) for pattern in drop]
        self._cast = [(pattern, matcher(pattern), _dtype(dtype)) for pattern, dtype in casts.items()]
        self._slim = slim
        self._used: set[tuple[str, str]] = set()
        self._names: list[str] = []
        self.notes: list[str] = []

    def apply(self, units: list[Unit]) -> tuple[list[Change], list[_Step]]:
        """What becomes of everything, and the tensors to copy, in the order of their new names."""
        slots, orphans = optimizer_tensors(units) if self._slim else (set(), set())
        if orphans:
            shown = ", ".join(map(repr, sorted(orphans)[:5])) + (" and others" if len(orphans) > 5 else "")
            self.notes.append(f"kept, as their variables are not there: {shown} look like optimizer slots")
        changes: list[Change] = []
        steps: dict[str, _Step] = {}
        for unit in units:
            own, tensors = self._unit(unit, slots)
            changes += own
            for step in tensors:
                if other := steps.get(step.name):
                    raise InvalidArgumentError.of(
                        f"'{other.info.name}' and '{step.info.name}' would both be called '{step.name}'",
                        name=step.name,
                        hint="Change the rules for names, or drop one. Nothing was written.",
                    )
                steps[step.name] = step
        ordered = sorted(steps.values(), key=lambda step: encode_name(step.name))
        return changes, ordered

    def unmatched(self, changes: list[Change]) -> list[str]:
        """A sentence for each rule that meant nothing."""
        rules = [("rename", pattern) for pattern, _ in self._rename]
        rules += [("keep", pattern) for pattern, _ in self._keep]
        rules += [("drop", pattern) for pattern, _ in self._drop]
        rules += [("cast", pattern) for pattern, _, _ in self._cast]
        names = [change.name for change in changes]
        return [
            f"{kind} '{text_of(pattern)}' means nothing in the checkpoint. {nearest(pattern, names)}".rstrip()
            for kind, pattern in rules
            if (kind, text_of(pattern)) not in self._used
        ]

    def _unit(self, unit: Unit, optimizer: set[str]) -> tuple[list[Change], list[_Step]]:
        why = self._why_removed(unit.name, slim=unit.name in optimizer)
        new_name = self._new_name(unit.name)
        if not new_name and not why:
            raise InvalidArgumentError.of(
                f"'{unit.name}' would get an empty name", name=unit.name, hint="Use `drop` to remove it."
            )
        if not unit.is_embedding:
            info = unit.tensors[0]
            dtype = self._new_dtype(unit, info.dtype)
            change = Change(
                unit.name, "" if why else new_name, info.dtype.name, dtype.name, info.size_bytes, why
            )
            return [change], [] if why else [_Step(info, new_name, dtype)]
        return self._embedding(unit, new_name, why)

    def _embedding(self, unit: Unit, new_name: str, why: str) -> tuple[list[Change], list[_Step]]:
        values = next(info.dtype for info in unit.tensors if unit.places[info.name].suffix == "-values")
        self._new_dtype(unit, values)
        # Of its parts and slots that stay, by slot: the empty one is the variable itself.
        reasons, new_slots = {"": why}, {"": ""}
        for slot in unit.slots:
            old = f"{unit.name}/{slot}"
            reasons[slot] = why or self._why_removed(old, slim=self._slim, kept=True)
            new_slots[slot] = self._new_slot(old, slot, new_name)
        changes = []
        for slot, reason in reasons.items():
            size = sum(info.size_bytes for info in unit.tensors if unit.slot_of(info.name) == slot)
            end = f"/{new_slots[slot]}" if slot else ""
            old = f"{unit.name}/{slot}" if slot else unit.name
            changes.append(
                Change(old, "" if reason else new_name + end, values.name, values.name, size, reason)
            )
        steps = [
            _Step(info, unit.renamed(info.name, new_name, new_slots), info.dtype)
            for info in unit.tensors
            if not reasons[unit.slot_of(info.name)]
        ]
        return changes, steps

    def _new_slot(self, old: str, slot: str, owner: str) -> str:
        found = self._new_name(old)
        if found == old:
            return slot
        if not found.startswith(f"{owner}/"):
            raise InvalidArgumentError.of(
                f"the slot '{old}' would be called '{found}', away from its embedding variable '{owner}'",
                name=old,
                hint="A slot's name is that of its embedding variable, a slash, and its own.",
            )
        return found[len(owner) + 1 :]

    def _why_removed(self, name: str, *, slim: bool, kept: bool = False) -> str:
        keeps = [pattern for pattern, expression in self._keep if expression.search(name)]
        drops = [pattern for pattern, expression in self._drop if expression.search(name)]
        self._used |= {("keep", text_of(pattern)) for pattern in keeps}
        self._used |= {("drop", text_of(pattern)) for pattern in drops}
        if self._keep and not keeps and not kept:
            return NOT_KEPT
        return DROPPED if drops else SLOT if slim else ""

    def _new_name(self, name: str) -> str:
        for pattern, new in self._rename:
            found = renamed(pattern, new, name)
            if found is not None:
                self._used.add(("rename", text_of(pattern)))
                return found
        return name

    def _new_dtype(self, unit: Unit, old: dtypes.DType) -> dtypes.DType:
        for pattern, expression, dtype in self._cast:
            if not expression.search(unit.name):
                continue
            self._used.add(("cast", text_of(pattern)))
            if not unit.is_embedding and can_cast(old, dtype):
                return dtype
            if is_name(pattern):
                what = f"an embedding variable of {old.name}" if unit.is_embedding else f"of type {old.name}"
                raise InvalidArgumentError.of(
                    f"'{unit.name}' is {what} and cannot become {dtype.name}",
                    name=unit.name,
                    hint="Floats become floats, integers integers; embedding variables stay as they are.",
                )
            return old
        return old


def _dtype(dtype: Any) -> dtypes.DType:
    try:
        found = dtypes.as_dtype(dtype).base_dtype
    except TypeError as error:
        raise InvalidArgumentError.of(str(error), hint="For example float16, bfloat16, int32.") from error
    if not can_cast(found, found):
        raise InvalidArgumentError.of(
            f"nothing is converted to {found.name}", hint="Types to convert to are floats and integers."
        )
    return found
