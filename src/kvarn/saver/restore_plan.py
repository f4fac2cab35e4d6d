"""A restore plan: what a restore would do with each variable and each stored tensor, as data.

    plan = saver.plan("/m/model.ckpt-9")        from the index of the checkpoint; no values are read
    print(plan)                                 a table
    plan.save("plan.json")                      a file, one line a row, to be edited
    saver.restore(sess, "/m/model.ckpt-9", plan="plan.json")

A row has what is so, which is compared again before anything is restored, and two fields that are a choice:

    action   restore   the variable takes what is stored under `source`
             keep      the same, of a slot: the optimizer goes on where it was
             reset     the variable's initializer runs
             leave     the variable stays as the session has it
             drop      of what is stored and no variable takes: it is not read
             refuse    nobody has chosen yet; the plan cannot be run
    source   the name in the checkpoint

A plan says where each name came from (`status`, `rule`), and for what is missing which names come near.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kvarn import errors
from kvarn.checkpoint.verbs.patterns import Pattern, matcher, nearest, text_of
from kvarn.io import Buffer, Path, as_path, atomic_replace, file_system_of

RESTORE, KEEP, RESET, LEAVE, DROP, REFUSE = "restore", "keep", "reset", "leave", "drop", "refuse"

TENSOR, EMBEDDING = "tensor", "embedding"

# How what is stored becomes a variable's value.
MATCHED: Final = "matched"
RENAMED: Final = "renamed"
JOINED: Final = "slices joined"
RESHARDED: Final = "resharded"
OTHER_DIM: Final = "other dim"
CAST: Final = "cast"
RESHAPED: Final = "reshaped"
# Why it cannot.
OTHER_SHAPE: Final = "other shape"
OTHER_PARTS: Final = "other parts"
OTHER_TYPE: Final = "other type"
MISSING: Final = "missing"
DAMAGED: Final = "damaged"
# Of what is stored: no variable takes it.
UNUSED: Final = "unused"

OBSTACLES: Final = frozenset((OTHER_SHAPE, OTHER_PARTS, OTHER_TYPE, MISSING, DAMAGED))


@dataclass(frozen=True, slots=True)
class Stored:
    """What the index of a checkpoint says of a tensor, or of an embedding variable or slot with all its parts.

    Attributes:
      name: of the tensor; of an embedding variable without its part.
      kind: `TENSOR` or `EMBEDDING`.
      dtype: of its values.
      shape: of an embedding variable, of one row.
      slices: the slices of a tensor that is kept in some; the names of an embedding variable's parts.
      key_dtype: of an embedding variable.
      keys: how many an embedding variable has; the one field that another checkpoint may have otherwise.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    slices: tuple[str, ...] = ()
    key_dtype: str | None = None
    keys: int | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        """``float32[3, 2]``, ``float32[*, 8] of int64 in 4 parts``."""
        shape = ", ".join(map(str, self.shape))
        if self.kind == EMBEDDING:
            count = "*" if self.keys is None else str(self.keys)
            parts = f" in {len(self.slices)} parts" if len(self.slices) > 1 else ""
            return f"{self.dtype}[{count}, {shape}] by {self.key_dtype}{parts}"
        return f"{self.dtype}[{shape}]" + (f" in {len(self.slices)} slices" if self.slices else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One variable that a Saver restores with what is stored of it, or something stored that no variable takes.

    Attributes:
      action, source: the choice; see the module.
      variable: its name in the graph; None for something stored alone.
      key: the name that the Saver reads without a plan.
      slice: which part of that the variable is, ``10 4 0,5:0,4``; empty for all of it.
      dtype, shape: what the variable must get; of an embedding variable, of one row.  A shape of None takes any.
      slot_of: the variable that it is a slot of.
      status: what is to be done to the stored values, or why it cannot be.
      rule: which rule has renamed it.
      stored: what the checkpoint has there; None if nothing.
      near: of something missing, names in the checkpoint that come near.
      note: a few words more.
    """

    action: str
    source: str | None = None
    variable: str | None = None
    kind: str = TENSOR
    key: str | None = None
    slice: str = ""
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    key_dtype: str | None = None
    slot_of: str | None = None
    status: tuple[str, ...] = ()
    rule: str | None = None
    stored: Stored | None = None
    near: tuple[str, ...] = ()
    note: str = ""

    @property
    def name(self) -> str:
        """The variable's name, or of what no variable takes the stored one."""
        if self.variable is not None:
            return self.variable
        assert self.stored is not None
        return self.stored.name

    @property
    def taking(self) -> str:
        """The action of this row that takes what is stored."""
        return KEEP if self.slot_of is not None else RESTORE

    @property
    def actions(self) -> tuple[str, ...]:
        """What may be chosen for this row."""
        return (DROP,) if self.variable is None else (self.taking, RESET, LEAVE, REFUSE)

    @property
    def reads(self) -> bool:
        """Whether stored values are taken."""
        return self.variable is not None and self.action == self.taking

    @property
    def blocked(self) -> bool:
        """Whether what the row says of the checkpoint keeps it from being restored as proposed."""
        return not OBSTACLES.isdisjoint(self.status)


@dataclass(frozen=True)
class RestorePlan:
    """A restore, worked out and not done.  Immutable: changes give a new plan.

    Attributes:
      checkpoint: the prefix that it was made for.
      rows: variables in the order of their names in the checkpoint, then what none of them takes.
    """

    checkpoint: str
    rows: tuple[PlanRow, ...]

    @property
    def undecided(self) -> list[PlanRow]:
        """The rows that somebody has to choose an action for."""
        return [row for row in self.rows if row.action == REFUSE]

    @property
    def variables(self) -> list[PlanRow]:
        """The rows of variables."""
        return [row for row in self.rows if row.variable is not None]

    def with_action(self, pattern: Pattern, action: str) -> RestorePlan:
        """The plan with another action for all variables that ``pattern`` means.

        Args:
          pattern: a name, a shell pattern or ``re:`` and a regular expression.
          action: ``restore`` (of slots the same as ``keep``), ``keep``, ``reset``, ``leave`` or ``refuse``.

        Raises:
          InvalidArgumentError: there is no such variable, or no such action for it.
        """
        expression = matcher(pattern)
        names = [row.name for row in self.variables]
        if not any(map(expression.search, names)):
            raise errors.InvalidArgumentError.of(
                f"no variable of the plan fits '{text_of(pattern)}'", hint=nearest(pattern, names)
            )

        def changed(row: PlanRow) -> PlanRow:
            if row.variable is None or not expression.search(row.variable):
                return row
            wanted = row.taking if action == RESTORE else action
            if wanted not in row.actions:
                raise errors.InvalidArgumentError.of(
                    f"'{row.name}' cannot have the action '{action}'",
                    name=row.name,
                    hint=f"It can have {', '.join(row.actions)}.",
                )
            return dataclasses.replace(row, action=wanted)

        return dataclasses.replace(self, rows=tuple(map(changed, self.rows)))

    def with_source(self, variable: str, source: str) -> RestorePlan:
        """The plan with ``variable`` taken from what is stored as ``source``; all parts of one in parts.

        Raises:
          InvalidArgumentError: there is no such variable.
        """
        if variable not in {row.variable for row in self.variables}:
            raise errors.InvalidArgumentError.of(
                f"no variable of the plan is called '{variable}'",
                name=variable,
                hint=nearest(variable, [row.name for row in self.variables]),
            )
        return dataclasses.replace(
            self,
            rows=tuple(
                dataclasses.replace(row, source=source, action=row.taking)
                if row.variable == variable
                else row
                for row in self.rows
            ),
        )

    # -- as text ----------------------------------------------------------------------------------

    def to_json(self) -> str:
        """The plan as it is in a file: one JSON object, a line for each row."""
        from kvarn.saver.plan_file import to_json

        return to_json(self)

    def save(self, path: Path) -> None:
        """Writes the plan as a file, whole or not at all."""
        atomic_replace(file_system_of(path), as_path(path), self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> RestorePlan:
        """The plan in a file.

        Raises:
          NotFoundError: there is no such file.
          InvalidArgumentError: it is no plan.
        """
        name, fs = as_path(path), file_system_of(path)
        with contextlib.closing(fs.open_read(name)) as file:
            return cls.from_json(file.read(0, file.size), path=name)

    @classmethod
    def from_json(cls, text: str | Buffer, *, path: str | None = None) -> RestorePlan:
        """What `to_json` gave, edited perhaps.

        Args:
          path: of the file that it is from, for errors.

        Raises:
          InvalidArgumentError: it is no plan; the text says where.
        """
        from kvarn.saver.plan_file import from_json

        return from_json(text, path)

    def table(self) -> Iterator[tuple[str, ...]]:
        """The cells of a table for people, the headers first."""
        yield ("action", "variable", "wanted", "status", "source", "stored", "remarks")
        for row in self.rows:
            wanted = "-" if row.variable is None else _wanted(row)
            source = "-" if row.source in (None, row.key) else row.source or "-"
            stored = "-" if row.stored is None else row.stored.text
            name = row.name if row.variable is not None else f"({row.name})"
            status = ", ".join(row.status)
            yield (row.action, name, wanted, status, source, stored, "; ".join(_remarks(row)))

    def summary(self) -> str:
        """How many rows have which action: ``12 restore, 2 reset, 1 refuse``."""
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row.action] = counts.get(row.action, 0) + 1
        order = (RESTORE, KEEP, RESET, LEAVE, DROP, REFUSE)
        return ", ".join(f"{counts[action]} {action}" for action in order if action in counts) or "nothing"

    def text(self, *, matched: bool = True) -> str:
        """The plan for people: a line with numbers, and the table.

        Args:
          matched: with the rows that are restored just as they are.
        """
        shown = [row for row in self.rows if matched or row.status != (MATCHED,)]
        lines = [f"restore of {self.checkpoint}: {self.summary()}"]
        if shown:
            cells = list(dataclasses.replace(self, rows=tuple(shown)).table())
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            lines.append("")
            lines += [
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                for row in cells
            ]
        if len(shown) < len(self.rows):
            lines += ["", f"and {len(self.rows) - len(shown)} that match as they are"]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def _wanted(row: PlanRow) -> str:
    shape = "any shape" if row.shape is None else ", ".join(map(str, row.shape))
    if row.kind == EMBEDDING:
        return f"{row.dtype}[*, {shape}] by {row.key_dtype}"
    return f"{row.dtype}[{shape}]"


def _remarks(row: PlanRow) -> Iterator[str]:
    if row.slot_of is not None:
        yield f"slot of {row.slot_of}"
    if row.slice:
        yield f"part {row.slice.rpartition(' ')[2]} of {row.key}"
    elif row.variable is not None and row.key != row.variable:
        yield f"saved as {row.key}"
    if row.rule is not None:
        yield f"by rule {row.rule}"
    if row.note:
        yield row.note
    if row.near:
        yield f"near: {', '.join(row.near)}"
