"""``kvarn reshard`` and ``kvarn repair``: a checkpoint in other parts and files; what is whole of a damaged one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from kvarn.checkpoint.embeddings.repair import Missing
from kvarn.checkpoint.verbs.repair import Notice, Repair
from kvarn.checkpoint.verbs.repair import repair as repair_checkpoint
from kvarn.checkpoint.verbs.reshard import Resharding
from kvarn.checkpoint.verbs.reshard import reshard as reshard_checkpoint
from kvarn.cli.arguments import Json, Overwrite, Source, Target
from kvarn.cli.output import (
    NO,
    Progress,
    count_text,
    escaped,
    escaped_lines,
    line,
    print_json,
    print_table,
    size_text,
)


def reshard(
    source: Source,
    target: Target,
    partitions: Annotated[
        list[str] | None,
        typer.Option(
            "--partitions",
            "-p",
            metavar="[NAME=]N",
            help="parts for all that is partitioned, or for what fits NAME (a name, a shell pattern, or re: and a "
            "regular expression); may be given again, the first that fits decides; 0: not partitioned",
        ),
    ] = None,
    shards: Annotated[int, typer.Option("--shards", "-s", help="data files to write")] = 1,
    axis: Annotated[
        int | None, typer.Option("--axis", help="along which dense tensors are cut [default: as they are]")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a checkpoint with other numbers of partitions and data files.

    Embedding variables go by key, their slots, versions and frequencies along; partitioned tensors by rows.

    Example: kvarn reshard /m/model.ckpt-9 /n/model.ckpt-9 --partitions 7 --shards 2
    """
    with Progress("reshard", quiet=as_json) as progress:
        done = reshard_checkpoint(
            source,
            target,
            partitions=_partitions(partitions or []),
            shards=shards,
            axis=axis,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json(asdict(done))
    else:
        _print(done, for_all=any("=" not in text for text in partitions or []))


def repair(
    source: Source,
    target: Target,
    missing: Annotated[
        str,
        typer.Option(
            "--missing", help="rows that a slot lacks: fill them, or drop their keys everywhere: fill | drop"
        ),
    ] = "fill",
    slot_init: Annotated[
        list[str] | None,
        typer.Option(
            "--slot-init",
            metavar="[SLOT=]VALUE",
            help="what filled rows hold, for all slots or for one; may be given again [default: 0]",
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="keep the whole parts of an embedding variable that has broken ones"),
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a checkpoint of what is whole in a damaged one; the source is only read.

    Status 0: all was kept or mended; 1: something had to be left out.

    Example: kvarn repair /m/model.ckpt-9 /m/mended.ckpt-9 --slot-init Adagrad=0.1
    """
    rule = _one_of(missing)
    with Progress("repair", quiet=as_json) as progress:
        done = repair_checkpoint(
            source,
            target,
            missing=rule,
            slot_init=_slot_init(slot_init or []),
            partial=partial,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json({**asdict(done), "complete": done.complete})
    else:
        _print_repair(done)
    if not done.complete:
        raise typer.Exit(NO)


def _one_of(missing: str) -> Missing:
    if missing == "fill":
        return "fill"
    if missing == "drop":
        return "drop"
    raise typer.BadParameter(f"'{missing}' is neither fill nor drop", param_hint="--missing")


def _slot_init(given: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        slot, _, value = text.rpartition("=")
        try:
            found[slot] = float(value)
        except ValueError:
            raise typer.BadParameter(
                f"'{text}' is neither VALUE nor SLOT=VALUE", param_hint="--slot-init"
            ) from None
    return found


def _print_repair(done: Repair) -> None:
    line(f"{escaped(done.target)}  ({count_text(len(done.kept), 'tensor')} kept as they are)")
    _print_notices("changed", done.changed)
    _print_notices("left out", done.left_out)
    if not done.changed and not done.left_out:
        line("nothing needed it")


def _print_notices(title: str, notices: Sequence[Notice]) -> None:
    if notices:
        line(f"{title}:")
    for notice in notices:
        text = escaped_lines(notice.text).replace("\n", "\n    ")
        line(f"  {escaped(notice.name)}: {text}")


def _partitions(given: list[str]) -> int | dict[str, int] | None:
    """The numbers as `reshard` takes them: one for all, or by pattern."""
    found: dict[str, int] = {}
    for text in given:
        pattern, _, number = text.rpartition("=")
        if pattern in found:
            raise typer.BadParameter(f"'{text}' says something else again", param_hint="--partitions")
        try:
            found[pattern] = int(number)
        except ValueError:
            raise typer.BadParameter(f"'{text}' is neither N nor NAME=N", param_hint="--partitions") from None
    if "" not in found:
        return found or None
    if len(found) > 1:
        raise typer.BadParameter("N for all and NAME=N do not go together", param_hint="--partitions")
    return found[""]


def _print(done: Resharding, *, for_all: bool) -> None:
    """Args: for_all: a number of parts was given for all that is partitioned."""
    if for_all and not done.changed:
        line("no variable is in other parts now: N alone is for those that are partitioned, NAME=N for any")
    if done.changed:
        rows = [
            (escaped(v.name), v.kind, str(v.before) if v.before else "-", str(v.after) if v.after else "-")
            for v in done.changed
        ]
        print_table(("variable", "kind", "parts before", "after"), rows, right=("parts before", "after"))
    files = count_text(done.num_shards, "data file")
    tensors = f"{count_text(done.num_tensors, 'tensor')}, {size_text(done.size_bytes)}"
    line(f"{escaped(done.target)}  ({files}, made of {tensors})")
